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
use crate::telemetry::metrics::{Histogram, Totals};

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
    failures: [AtomicU64; FAILURES.len()],
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
        if let Some(count) = self.failures.get(failure(error)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
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

    /// How often each kind of failure came.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAILURES.into_iter().zip(self.failures.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// Why there was no answer of the plug-in, as it stands in metrics.
const FAILURES: [&str; 8] =
    ["not_taken", "body_too_large", "panic", "failed", "malformed", "deadline", "busy", "broken"];

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
    }
}

/// The calls of one endpoint: how long until there was an answer, by the class of its status.
#[derive(Debug, Default)]
pub(super) struct RouteMeter([Histogram; CLASSES.len()]);

/// The classes of statuses that an endpoint can answer; others count as errors of the server.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl RouteMeter {
    /// Counts an answer.
    #[inline]
    pub(super) fn answered(&self, status: StatusCode, duration: Duration) {
        let class = usize::from((status.as_u16() / 100).clamp(2, 5) - 2);
        if let Some(histogram) = self.0.get(class) {
            histogram.record(duration);
        }
    }

    /// Counts a call that brought no answer.
    pub(super) fn failed(&self, error: &CallError, duration: Duration) {
        let status = match error {
            CallError::NotTaken | CallError::BodyTooLarge(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        self.answered(status, duration);
    }

    /// How many answers there were of each class.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(&self.0).map(|(name, histogram)| (name, histogram.totals().count()))
    }

    /// The durations of all of them.
    #[must_use]
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for histogram in &self.0 {
            totals.add(histogram);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let route = RouteMeter::default();
        for status in [200, 204, 302, 404, 503, 999] {
            route.answered(StatusCode::from_u16(status).unwrap(), Duration::from_micros(5));
        }
        route.failed(&CallError::NotTaken, Duration::ZERO);
        route.failed(&CallError::Panicked, Duration::ZERO);
        let classes: Vec<_> = route.classes().collect();
        assert_eq!(classes, [("2xx", 2), ("3xx", 1), ("4xx", 2), ("5xx", 3)]);
        assert_eq!(route.totals().count(), 8);
    }

    #[test]
    fn the_numbers_of_an_instance_outlive_a_restart_only() {
        let meters = Meters::default();
        let first = meters.of("plugin/a");
        first.route("GET", "/").answered(StatusCode::OK, Duration::ZERO);
        meters.keep("plugin/a", &first);
        assert_eq!(meters.of("plugin/a").route("GET", "/").totals().count(), 1);
        meters.forget("plugin/a");
        assert_eq!(meters.of("plugin/a").route("GET", "/").totals().count(), 0);
    }
}
