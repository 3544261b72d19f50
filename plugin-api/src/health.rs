//! What an instance says of how well it does: [`Health`].

use serde::Serialize;

use crate::block_on::block_on;
use crate::hooks::{Extends, Extension, HookAnswer, HookError, answer};
use crate::module::Plugin;

/// Says how well an instance does, where the host cannot see it: a queue that grows, a directory that does not answer.
///
/// For modules of any kind, exported with `export_plugin!(Relay: Health)`. What the host sees itself (panics, deadlines,
/// threads that are stuck) needs no such help.
///
/// ```
/// use porth_plugin::prelude::*;
/// # #[derive(Deserialize, JsonSchema)]
/// # struct Parameters {}
/// struct Relay {
///     waiting: std::sync::atomic::AtomicUsize,
/// }
/// # impl Plugin for Relay {
/// #     const MODULE: Module = Module::new("relay", "Relay", "Relays");
/// #     type Parameters = Parameters;
/// #     async fn init(_: Host<Self>, _: Parameters) -> Result<Self, InitError> {
/// #         Ok(Self { waiting: Default::default() })
/// #     }
/// # }
///
/// impl Health for Relay {
///     async fn health(&self) -> Result<HealthReport, HookError> {
///         let waiting = self.waiting.load(std::sync::atomic::Ordering::Relaxed);
///         if waiting > 100 {
///             return Ok(HealthReport::healthy().degraded(format!("{waiting} messages wait")));
///         }
///         Ok(HealthReport::healthy())
///     }
/// }
/// ```
pub trait Health: Plugin {
    /// How well this instance does. Asked every some seconds (`limits.health_every_ms`) on a thread of the instance's own,
    /// never twice at once; it should answer what it knows, not find it out.
    ///
    /// # Errors
    /// Count as calls that failed.
    fn health(&self) -> impl Future<Output = Result<HealthReport, HookError>> + Send;
}

/// How well an instance does, as it says itself. Administrators see it beside what the host sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    status: Status,
    reasons: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Healthy,
    Degraded,
    Broken,
}

impl HealthReport {
    /// All is well, so far.
    #[must_use]
    pub fn healthy() -> Self {
        Self::default()
    }

    /// It answers, with less than it should: a sentence for administrators, without secrets. The worst that is said counts.
    #[must_use]
    pub fn degraded(self, reason: impl Into<String>) -> Self {
        self.with(Status::Degraded, reason.into())
    }

    /// It cannot do what it is for: a sentence for administrators, without secrets. The host goes on to call it.
    #[must_use]
    pub fn broken(self, reason: impl Into<String>) -> Self {
        self.with(Status::Broken, reason.into())
    }

    fn with(mut self, status: Status, reason: String) -> Self {
        self.status = self.status.max(status);
        self.reasons.push(reason);
        self
    }
}

/// Stands for [`Health`] in `export_plugin!`.
#[derive(Debug)]
pub enum HealthHooks {}

impl<P: Health> Extends<P> for HealthHooks {
    const EXTENSION: Extension = Extension::Health;

    fn call(plugin: &P, hook: usize, _: &[u8]) -> HookAnswer {
        match hook {
            0 => answer(block_on(plugin.health())),
            _ => Err(HookError::Unsupported),
        }
    }
}
