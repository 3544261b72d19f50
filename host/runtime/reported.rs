//! What instances say themselves of how well they do, by the extension `porth.health/1`.
//!
//! Start at [`Runtime::watch_health`]. They are asked from time to time and not when somebody looks, so that looking is quick
//! and an instance is never asked more often because many look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use porth_abi::HEALTH;
use serde::Deserialize;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::call::CallError;
use super::health::HealthStatus;
use super::hooks::{Hook, HookError};
use super::instances::Runtime;
use super::running::Running;

/// What an instance said last, and whether it is being asked.
#[derive(Default)]
pub(super) struct Reporting {
    last: Mutex<Option<Reported>>,
    /// It is being asked, or has nothing to say ever.
    closed: AtomicBool,
}

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Answer")]
pub(super) struct Reported {
    pub(super) status: HealthStatus,
    /// Sentences.
    pub(super) reasons: Vec<String>,
}

impl Reporting {
    /// What was said last, if the instance says anything.
    pub(super) fn last(&self) -> Option<Reported> {
        self.last.lock().clone()
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

impl TryFrom<Answer> for Reported {
    type Error = String;

    fn try_from(Answer { status, reasons }: Answer) -> Result<Self, String> {
        let all = [HealthStatus::Healthy, HealthStatus::Degraded, HealthStatus::Broken];
        let known = all.into_iter().find(|known| known.as_str() == status);
        let status = known.ok_or_else(|| format!("`status` is `{status}`; expected healthy, degraded or broken"))?;
        let reasons = reasons.into_iter().take(REASONS_MAX).map(|reason| shortened(&reason)).collect();
        Ok(Self { status, reasons })
    }
}

/// The first characters of a text, none of which could disturb a line.
fn shortened(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).map(|one| if one.is_control() { ' ' } else { one }).collect()
}

impl Runtime {
    /// Asks every running instance that has something to say, once in `every`, until the runtime is dropped.
    pub fn watch_health(&self, every: Duration) {
        let (inner, runtime) = (Arc::downgrade(&self.0), self.0.shared.runtime.clone());
        self.0.shared.runtime.spawn(async move {
            let mut looks = tokio::time::interval(every);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(inner) = inner.upgrade() else { return };
                for running in inner.all_running() {
                    if may_be_asked(&running) {
                        runtime.spawn(ask(Runtime(Arc::clone(&inner)), running));
                    }
                }
            }
        });
    }
}

/// Whether to ask now, which is to be done then.
fn may_be_asked(running: &Running) -> bool {
    // Of one that panics too often the next request is to decide whether it does better.
    running.hooks.contains_key(HEALTH)
        && running.health.breaker.is_closed()
        && !running.health.reported.closed.swap(true, Ordering::Relaxed)
}

async fn ask(runtime: Runtime, running: Arc<Running>) {
    let Some((kind, name)) = running.key.split_once('/') else { return };
    let answered = runtime.ask(kind, name, Hook { table: HEALTH, place: 0 }, &json!({})).await;
    let reporting = &running.health.reported;
    let reported = match answered {
        Ok(answer) => serde_json::from_value(answer).map(Some).map_err(|error| CallError::Malformed(error.to_string())),
        // Another module of its library has something to say.
        Err(HookError::Unsupported) => return,
        // Ended, or refused to say; a failure was counted where it was seen.
        Err(_) => Ok(None),
    };
    *reporting.last.lock() = reported.unwrap_or_else(|error| {
        running.failed(&error, Instant::now());
        tracing::warn!(
            instance = running.key,
            "what instance {} says of its health means nothing: {error}",
            running.key
        );
        None
    });
    reporting.closed.store(false, Ordering::Relaxed);
}

/// More is not kept.
const REASONS_MAX: usize = 16;
const REASON_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_strictly_and_kept_short() {
        let read = |text: &str| serde_json::from_str::<Reported>(text).map_err(|error| error.to_string());
        let healthy = Reported { status: HealthStatus::Healthy, reasons: Vec::new() };
        assert_eq!(read(r#"{"status": "healthy"}"#), Ok(healthy));
        let long = json!({"status": "broken", "reasons": vec!["a\nb".repeat(1000); 100]}).to_string();
        let kept = read(&long).unwrap();
        assert_eq!((kept.status, kept.reasons.len()), (HealthStatus::Broken, REASONS_MAX));
        assert!(kept.reasons.iter().all(|reason| reason.chars().count() == REASON_CHARS_MAX && !reason.contains('\n')));
        for bad in ["{}", "null", "[]", r#"{"status": "fine"}"#, r#"{"status": "healthy", "reasons": "x"}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
