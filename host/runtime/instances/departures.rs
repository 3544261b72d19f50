//! People who went while an instance did not run: it hears of them before anybody can reach it.
//!
//! Start at [`Runtime::ready`].

use std::sync::Arc;

use parking_lot::Mutex;

use super::{ChangeError, Present, Runtime, StartError};
use crate::runtime::running::{Call, Running};

/// Instances that are initialised and that nobody reaches yet; who goes meanwhile is told to them, too.
#[derive(Default)]
pub(in crate::runtime) struct Starting(Mutex<Vec<Arc<Running>>>);

impl Starting {
    /// Begins a call of each of a key.
    pub(in crate::runtime) fn begin(&self, key: &str) -> Vec<Call> {
        let all = self.0.lock();
        all.iter().filter(|running| running.key == key).filter_map(|running| running.begin()).collect()
    }
}

/// An instance that is about to be routed. Keep it until it is.
pub(super) struct Ready {
    running: Arc<Running>,
    starting: Arc<Starting>,
}

impl std::ops::Deref for Ready {
    type Target = Arc<Running>;

    fn deref(&self) -> &Arc<Running> {
        &self.running
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.starting.0.lock().retain(|running| !Arc::ptr_eq(running, &self.running));
    }
}

impl Runtime {
    /// Lets an instance that was initialised hear of who goes from now on.
    pub(super) fn starting(&self, running: Arc<Running>) -> Ready {
        let starting = Arc::clone(&self.0.starting);
        starting.0.lock().push(Arc::clone(&running));
        Ready { running, starting }
    }

    /// Tells an instance that was initialised who went while it did not run. A process that does not lead yet leaves that
    /// to [`see_off`](Self::see_off): it stores nothing.
    ///
    /// # Errors
    /// `NotForgotten`, or when the store fails; then the instance is retired.
    pub(super) async fn ready(&self, running: Arc<Running>) -> Result<Ready, ChangeError> {
        let ready = self.starting(running);
        if !self.0.leadership.leads() {
            return Ok(ready);
        }
        match self.forgets(&ready.key).await {
            Ok(()) => Ok(ready),
            Err(error) => {
                self.retire(Some(Present::Running(Arc::clone(&ready))));
                Err(error)
            }
        }
    }

    /// Tells all instances that run who went before they did, for a process that nobody reaches yet. What does not forget
    /// somebody whose name another has by now does not run then.
    pub async fn see_off(&self) {
        for running in self.0.all_running() {
            let Some((kind, name)) = running.key.split_once('/') else { continue };
            if let Err(error) = self.forgets(&running.key).await {
                tracing::error!(instance = name, %error, "instance {name} is not started: {error}");
                self.swap_out(kind, name, Some(error.to_string()));
            }
        }
    }

    async fn forgets(&self, key: &str) -> Result<(), ChangeError> {
        let unforgotten = self.0.shared.access.users.departing().see_off(key).await?;
        if unforgotten.is_empty() { Ok(()) } else { Err(StartError::NotForgotten(unforgotten).into()) }
    }
}
