//! What is counted of an instance: its calls by endpoint, its failures, and what the plug-in itself counts.
//!
//! Start at [`Meters`]. A meter belongs to the name of an instance and outlives its restarts, so that its numbers go on;
//! it goes when the instance is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use super::call::CallError;
use super::counted::Counted;
use crate::telemetry::metrics::{Answers, UnderWay};

/// The meters of all instances, by key.
#[derive(Default)]
pub(super) struct Meters(Mutex<BTreeMap<String, Arc<Meter>>>);

impl Meters {
    /// The meter of an instance, or a new one, which does not belong to anything before [`keep`](Self::keep).
    #[must_use]
    pub(super) fn of(&self, key: &str) -> Arc<Meter> {
        self.0.lock().get(key).cloned().unwrap_or_default()
    }

    /// Makes a meter that of a running instance.
    pub(super) fn keep(&self, key: &str, meter: &Arc<Meter>) {
        self.0.lock().insert(key.to_owned(), Arc::clone(meter));
    }

    /// Forgets the numbers of an instance.
    pub(super) fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// All of them, ordered by key.
    #[must_use]
    pub(super) fn all(&self) -> Vec<(String, Arc<Meter>)> {
        self.0.lock().iter().map(|(key, meter)| (key.clone(), Arc::clone(meter))).collect()
    }
}

/// What is counted of one instance.
#[derive(Default)]
pub(super) struct Meter {
    /// By path pattern and method.
    routes: Mutex<BTreeMap<(String, String), Arc<RouteMeter>>>,
    failures: Failures,
    /// Callbacks that were denied, by the right that lacked.
    denied: Mutex<BTreeMap<&'static str, u64>>,
    /// What the plug-in counts.
    pub(super) counted: Counted,
}

impl Meter {
    /// The meter of an endpoint.
    #[must_use]
    pub(super) fn route(&self, method: &str, path: &str) -> Arc<RouteMeter> {
        let mut routes = self.routes.lock();
        Arc::clone(routes.entry((path.to_owned(), method.to_owned())).or_default())
    }

    /// All endpoints as path pattern, method and meter.
    #[must_use]
    pub(super) fn routes(&self) -> Vec<((String, String), Arc<RouteMeter>)> {
        self.routes.lock().iter().map(|(key, route)| (key.clone(), Arc::clone(route))).collect()
    }

    pub(super) fn failed(&self, error: &CallError) {
        self.failures.count(failure(error));
    }

    /// Counts a request below the instance's prefix that it has no endpoint for.
    pub(super) fn no_endpoint(&self) {
        self.failures.count(NO_ENDPOINT);
    }

    /// Counts a callback that was denied for want of a right.
    pub(super) fn denied(&self, right: &'static str) {
        *self.denied.lock().entry(right).or_default() += 1;
    }

    /// How many callbacks were denied, by the right that lacked.
    #[must_use]
    pub(super) fn denials(&self) -> Vec<(&'static str, u64)> {
        self.denied.lock().iter().map(|(right, count)| (*right, *count)).collect()
    }

    /// How often each kind of failure came; what only an endpoint can have is not among them.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.failures.all().filter(|(reason, _)| !matches!(*reason, "cancelled" | "refused"))
    }
}

/// Why there was no answer of the plug-in, as it stands in metrics.
const FAILURES: [&str; 12] = [
    "not_taken",
    "body_too_large",
    "panic",
    "failed",
    "malformed",
    "deadline",
    "busy",
    "broken",
    "cancelled",
    "refused",
    "no_endpoint",
    "body_too_slow",
];

/// Their places in [`FAILURES`] that no [`CallError`] stands for.
const CANCELLED: usize = 8;
const REFUSED: usize = 9;
const NO_ENDPOINT: usize = 10;

/// The place of an error in [`FAILURES`].
fn failure(error: &CallError) -> usize {
    match error {
        CallError::NotTaken => 0,
        CallError::BodyTooLarge(_) => 1,
        CallError::Panicked => 2,
        CallError::Failed(_) => 3,
        CallError::Malformed(_) => 4,
        CallError::Deadline(_) => 5,
        CallError::Busy => 6,
        CallError::Broken(_) => 7,
        CallError::BodyTooSlow => 11,
    }
}

/// How often each kind of failure came.
#[derive(Debug, Default)]
struct Failures([AtomicU64; FAILURES.len()]);

impl Failures {
    fn count(&self, place: usize) {
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAILURES.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The calls of one endpoint: how long until there was an answer, by the class of its status, and why there was none.
#[derive(Debug, Default)]
pub(super) struct RouteMeter {
    answers: Answers,
    failures: Failures,
}

impl RouteMeter {
    /// Counts an answer.
    #[inline]
    pub(super) fn answered(&self, status: StatusCode, duration: Duration) {
        self.answers.answered(status.as_u16(), duration);
    }

    /// Counts a call that brought no answer.
    pub(super) fn failed(&self, error: &CallError, duration: Duration) {
        let status = match error {
            CallError::NotTaken | CallError::BodyTooLarge(_) | CallError::BodyTooSlow => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        self.failures.count(failure(error));
        self.answered(status, duration);
    }

    /// Counts a request that the host answered itself before the call: it was not let in, or its body was wrong.
    pub(super) fn refused(&self) {
        self.failures.count(REFUSED);
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin(&self) -> Calling<'_> {
        Calling { meter: self, _under_way: self.answers.begin(), has_ended: false }
    }

    /// The answers.
    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// How often each kind of failure came.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.failures.all()
    }
}

/// A call under way; dropped before its end, it was cancelled: the client has left.
pub(super) struct Calling<'a> {
    meter: &'a RouteMeter,
    _under_way: UnderWay<'a>,
    has_ended: bool,
}

impl Calling<'_> {
    /// There is an answer, or a failure.
    #[inline]
    pub(super) fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.meter.failures.count(CANCELLED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brings_no_answer_is_counted_by_its_reason() {
        let route = RouteMeter::default();
        route.answered(StatusCode::OK, Duration::from_micros(5));
        route.failed(&CallError::NotTaken, Duration::ZERO);
        route.failed(&CallError::Panicked, Duration::ZERO);
        route.refused();
        let calling = route.begin();
        assert_eq!(route.answers().under_way(), 1);
        calling.ended();
        drop(route.begin());
        assert_eq!(route.answers().under_way(), 0);
        let classes: Vec<_> = route.answers().classes().collect();
        assert_eq!(classes, [("2xx", 1), ("3xx", 0), ("4xx", 1), ("5xx", 1)]);
        let failures: Vec<_> = route.failures().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failures, [("not_taken", 1), ("panic", 1), ("cancelled", 1), ("refused", 1)]);
    }

    #[test]
    fn the_numbers_of_an_instance_outlive_a_restart_only() {
        let meters = Meters::default();
        let first = meters.of("plugin/a");
        first.route("GET", "/").answered(StatusCode::OK, Duration::ZERO);
        meters.keep("plugin/a", &first);
        assert_eq!(meters.of("plugin/a").route("GET", "/").answers().totals().count(), 1);
        meters.forget("plugin/a");
        assert_eq!(meters.of("plugin/a").route("GET", "/").answers().totals().count(), 0);
    }
}
