//! `init` and `close` on threads of their own, with deadlines: a plug-in that hangs in either holds up nobody else.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::abi;

/// Runs something that may block or hang on a thread of its own.
///
/// What comes too late, or cannot be handed over, goes to `late` on that thread.
///
/// # Errors
/// `None` when the deadline passed or no thread could be started.
pub(super) async fn within<T: Send + 'static>(
    name: String,
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        if let Err(result) = sender.send(work()) {
            late(result);
        }
    });
    if let Err(error) = thread {
        tracing::error!(%error, "the thread {name} could not be started");
        return None;
    }
    tokio::time::timeout(deadline, receiver).await.ok()?.ok()
}

/// Closes an instance; what goes wrong is logged, for it is gone all the same. Answers whether `close` came to its end.
pub(super) async fn close(key: &str, instance: abi::Instance, deadline: Duration) -> bool {
    let closed = within(format!("close {key}"), deadline, move || instance.close(), drop).await;
    let has_ended = closed.is_some();
    match closed {
        Some(Ok(())) => tracing::debug!(instance = key, "instance {key} is closed"),
        Some(Err(error)) => tracing::error!(instance = key, %error, "closing instance {key}: {error}"),
        None => tracing::error!(
            instance = key,
            "closing instance {key} took longer than {} ms; its thread is left behind",
            deadline.as_millis()
        ),
    }
    has_ended
}
