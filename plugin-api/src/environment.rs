//! What code of a plug-in finds around it: its instance's way to the host, and its tokio if it has one.
//!
//! Start at [`Environment`].

use crate::callbacks::Callbacks;
use crate::guard::Entered;
use crate::module::{InitError, Module};

/// What code of an instance finds around it. It is entered around every call, poll and drop.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) callbacks: Callbacks,
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Handle>,
}

/// While this lives, the thread is in an environment.
pub(crate) struct InEnvironment<'a> {
    #[cfg(feature = "tokio")]
    _runtime: Option<tokio::runtime::EnterGuard<'a>>,
    _entered: Entered,
    #[cfg(not(feature = "tokio"))]
    _environment: core::marker::PhantomData<&'a Environment>,
}

impl Environment {
    pub(crate) fn enter(&self) -> InEnvironment<'_> {
        InEnvironment {
            #[cfg(feature = "tokio")]
            _runtime: self.runtime.as_ref().map(tokio::runtime::Handle::enter),
            _entered: self.callbacks.enter(),
            #[cfg(not(feature = "tokio"))]
            _environment: core::marker::PhantomData,
        }
    }
}

/// An instance's tokio: made before `init`, ended after `close`.
pub(crate) struct Runtime {
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Runtime>,
}

#[cfg(not(feature = "tokio"))]
impl Runtime {
    /// Makes nothing: the feature is off.
    pub(crate) const fn new(_: &Module, _: Callbacks) -> Result<Self, InitError> {
        Ok(Self {})
    }

    pub(crate) const fn environment(&self, callbacks: Callbacks) -> Environment {
        Environment { callbacks }
    }
}

#[cfg(feature = "tokio")]
impl Runtime {
    /// Makes the runtime that the module asks for.
    pub(crate) fn new(module: &Module, callbacks: Callbacks) -> Result<Self, InitError> {
        if module.tokio_threads == 0 {
            return Ok(Self { runtime: None });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(module.tokio_threads)
            .thread_name(module.name)
            // Tasks log for the instance, too.
            .on_thread_start(move || core::mem::forget(callbacks.enter()))
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    pub(crate) fn environment(&self, callbacks: Callbacks) -> Environment {
        Environment { callbacks, runtime: self.runtime.as_ref().map(|runtime| runtime.handle().clone()) }
    }
}

/// Tasks are dropped at their next `.await`; what blocks is left behind, so that it cannot hold up the host.
#[cfg(feature = "tokio")]
impl Drop for Runtime {
    fn drop(&mut self) {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}
