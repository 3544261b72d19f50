//! Locks by name: what asks instances and the database in turn is no transaction, so that of one name only one is under way.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// A lock for each name that somebody holds or waits for. A clone has the same locks.
#[derive(Clone, Default)]
pub(super) struct NameLocks(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

impl NameLocks {
    /// Waits until nobody else holds the name. `None` after ten seconds: an instance that is asked while the name is held,
    /// and asks for the same itself, would else wait for itself.
    pub(super) async fn lock(&self, name: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock_within(name, PATIENCE).await
    }

    async fn lock_within(&self, name: &str, patience: Duration) -> Option<OwnedMutexGuard<()>> {
        let lock = {
            let mut locks = self.0.lock();
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(name).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::default();
                    locks.insert(name.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        tokio::time::timeout(patience, lock.lock_owned()).await.ok()
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holds_a_name_and_others_wait() {
        let locks = NameLocks::default();
        let held = locks.lock("a").await.unwrap();
        assert!(locks.lock("b").await.is_some());
        assert!(locks.clone().lock_within("a", Duration::from_millis(5)).await.is_none());
        drop(held);
        assert!(locks.lock("a").await.is_some());
        locks.lock("c").await.unwrap();
        assert_eq!(locks.0.lock().len(), 1, "names that nobody holds are forgotten");
    }
}
