//! Which process does what only one may do at a time: changes of instances, the directory watch, queues, timers, billing.
//!
//! While a child replaces another, two processes work on one data directory, and one of them leads. Start at
//! [`Leadership`]; [`LeaderToken`] is for whoever hears from the parent. Nodes on one PostgreSQL each have a leader of
//! their own: what must happen once for all of them needs a lock in the database besides.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};

/// Whether this process leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
    /// Read by what is under way, written by who waits for its end.
    under_way: Arc<RwLock<()>>,
}

/// What makes this process the leader, and ends that.
#[derive(Debug)]
pub struct LeaderToken {
    leads: watch::Sender<bool>,
    under_way: Arc<RwLock<()>>,
}

/// A piece of a leader's work that is under way: nobody else leads before it is dropped.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "held, not looked at")] OwnedRwLockReadGuard<()>);

impl LeaderToken {
    /// Leads, or does not yet.
    #[must_use]
    pub fn new(leads: bool) -> (Self, Leadership) {
        let (sender, receiver) = watch::channel(leads);
        let under_way = Arc::new(RwLock::new(()));
        let leadership = Leadership { leads: receiver, under_way: Arc::clone(&under_way) };
        (Self { leads: sender, under_way }, leadership)
    }

    /// Leads from now on. Whoever else did must have resigned or be dead.
    pub fn lead(&self) {
        self.leads.send_replace(true);
    }

    /// Leads no more, and waits until no leader's work is under way: from then on another process may lead.
    pub async fn resign(&self) {
        self.leads.send_replace(false);
        drop(self.under_way.write().await);
    }
}

impl Leadership {
    /// Whether this process leads just now. What one does because of it belongs behind [`begin`](Self::begin).
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Begins a piece of work that only the leader does; none if this process is not it. Keep it short, or look at
    /// [`leads`](Self::leads) meanwhile: the next leader waits for its end.
    #[must_use]
    pub fn begin(&self) -> Option<Lease> {
        // Held first and asked second, the reverse of `resign`: one of the two sees the other.
        let lease = Lease(Arc::clone(&self.under_way).try_read_owned().ok()?);
        self.leads().then_some(lease)
    }

    /// Waits until this process leads.
    pub async fn gained(&mut self) {
        self.becomes(true).await;
    }

    /// Waits until this process does not lead.
    pub async fn lost(&mut self) {
        self.becomes(false).await;
    }

    async fn becomes(&mut self, leads: bool) {
        if self.leads.wait_for(|now| *now == leads).await.is_err() {
            // Nobody is left to change it.
            std::future::pending().await
        }
    }
}

impl Default for Leadership {
    /// Leads for good, as a process does that is alone.
    fn default() -> Self {
        LeaderToken::new(true).1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_begins_only_while_leading() {
        let (token, mut leadership) = LeaderToken::new(false);
        assert!(leadership.begin().is_none());
        token.lead();
        leadership.gained().await;
        assert!(leadership.begin().is_some());
        token.resign().await;
        leadership.lost().await;
        assert!(leadership.begin().is_none());
        assert!(Leadership::default().begin().is_some());
    }

    #[tokio::test]
    async fn resigning_waits_for_the_work_under_way_and_lets_none_begin() {
        let (token, leadership) = LeaderToken::new(true);
        let lease = leadership.begin().unwrap();
        {
            let mut resigning = std::pin::pin!(token.resign());
            tokio::time::timeout(Duration::from_millis(20), resigning.as_mut()).await.unwrap_err();
            assert!(leadership.begin().is_none());
            drop(lease);
            resigning.await;
        }
        token.lead();
        assert!(leadership.begin().is_some());
    }
}
