//! What a plug-in counts itself: its metrics, their series, and the bounds of both.
//!
//! Start at [`Counted`]. A plug-in cannot fill the host's memory with series, nor break the text that they become.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use porth_abi::code;
use smallvec::SmallVec;

use crate::abi::CallbackError;
use crate::telemetry::metrics::{Histogram, Kind, Number, is_name, labels as written};

/// The metrics of one instance.
#[derive(Default)]
pub(super) struct Counted {
    /// By the name that each has outside.
    metrics: Mutex<BTreeMap<String, Arc<Metric>>>,
    series: Arc<AtomicUsize>,
}

/// One metric, with a series for each set of labels that was ever used.
pub(super) struct Metric {
    pub(super) kind: Kind,
    pub(super) help: String,
    /// By the labels as they are written.
    series: RwLock<HashMap<Box<str>, Arc<Series>>>,
    /// How many series all metrics of the instance have.
    series_of_instance: Arc<AtomicUsize>,
    refused: AtomicBool,
}

/// One line of numbers.
pub(super) enum Series {
    Number(Number),
    Histogram(Histogram),
}

/// Metrics of one instance.
const METRICS_MAX: usize = 64;
/// Series of all metrics of one instance.
const SERIES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 100;
const HELP_BYTES_MAX: usize = 1000;
const LABELS_MAX: usize = 8;
const LABEL_BYTES_MAX: usize = 200;

impl Counted {
    /// The metric of a name, made if need be. `module` is part of the name that it has outside.
    ///
    /// # Errors
    /// PARAM for a name that is none, an unknown kind, or a name that has another kind already; BUSY when there are too
    /// many.
    pub(super) fn add(&self, module: &str, name: &str, kind: u32, help: &str) -> Result<Arc<Metric>, CallbackError> {
        let kind = match kind {
            code::metric::COUNTER => Kind::Counter,
            code::metric::GAUGE => Kind::Gauge,
            code::metric::HISTOGRAM => Kind::Histogram,
            other => return Err(CallbackError::parameter(format!("the kind {other}, expected 1 to 3"))),
        };
        if !is_name(name) || name.len() > NAME_BYTES_MAX {
            return Err(CallbackError::parameter(format!(
                "the name `{name}`, expected at most {NAME_BYTES_MAX} letters, digits and `_`, no digit first"
            )));
        }
        if help.len() > HELP_BYTES_MAX {
            return Err(CallbackError::parameter(format!("a help of more than {HELP_BYTES_MAX} bytes")));
        }
        let full_name = format!("porth_plugin_{}_{name}", module.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        let mut metrics = self.metrics.lock();
        if let Some(known) = metrics.get(&full_name) {
            if known.kind != kind {
                return Err(CallbackError::parameter(format!("`{name}` is a {} already", known.kind.as_str())));
            }
            return Ok(Arc::clone(known));
        }
        if metrics.len() >= METRICS_MAX {
            return Err(CallbackError::new(code::BUSY, format!("more than {METRICS_MAX} metrics")));
        }
        let metric = Arc::new(Metric {
            kind,
            help: help.to_owned(),
            series: RwLock::default(),
            series_of_instance: Arc::clone(&self.series),
            refused: AtomicBool::new(false),
        });
        metrics.insert(full_name, Arc::clone(&metric));
        Ok(metric)
    }

    /// All metrics, ordered by name.
    #[must_use]
    pub(super) fn all(&self) -> Vec<(String, Arc<Metric>)> {
        self.metrics.lock().iter().map(|(name, metric)| (name.clone(), Arc::clone(metric))).collect()
    }
}

impl Metric {
    /// Adds to a counter or a gauge.
    ///
    /// # Errors
    /// PARAM for a histogram, a number that is none, a counter that would shrink, or labels that cannot be; BUSY when there
    /// are too many series.
    pub(super) fn increment(&self, labels: &[(&str, &str)], value: f64) -> Result<(), CallbackError> {
        if !value.is_finite() || (self.kind == Kind::Counter && value < 0.0) {
            return Err(CallbackError::parameter(format!("the number {value} for a {}", self.kind.as_str())));
        }
        match &*self.series(labels)? {
            Series::Number(number) => number.add(value),
            Series::Histogram(_) => return Err(CallbackError::parameter("a histogram is observed, not incremented")),
        }
        Ok(())
    }

    /// Sets a gauge, or records a duration in seconds in a histogram.
    ///
    /// # Errors
    /// PARAM for a counter, a number that is none, a duration below zero, or labels that cannot be; BUSY when there are
    /// too many series.
    pub(super) fn observe(&self, labels: &[(&str, &str)], value: f64) -> Result<(), CallbackError> {
        let bad = || CallbackError::parameter(format!("the number {value} for a {}", self.kind.as_str()));
        match self.kind {
            Kind::Counter => return Err(CallbackError::parameter("a counter is incremented, not observed")),
            Kind::Gauge if !value.is_finite() => return Err(bad()),
            Kind::Gauge | Kind::Histogram | Kind::Summary => {}
        }
        // What no duration can be is refused here: below zero, no number, centuries.
        let duration = Duration::try_from_secs_f64(value);
        match &*self.series(labels)? {
            Series::Number(number) => number.set(value),
            Series::Histogram(histogram) => histogram.record(duration.map_err(|_| bad())?),
        }
        Ok(())
    }

    /// Whether this is the first call that was refused, which is logged.
    pub(super) fn first_refusal(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }

    fn series(&self, labels: &[(&str, &str)]) -> Result<Arc<Series>, CallbackError> {
        // Most plug-ins count without labels, or with few short ones: then this allocates for the text at most.
        let text = if labels.is_empty() { String::new() } else { canonical(labels)? };
        if let Some(series) = self.series.read().get(text.as_str()) {
            return Ok(Arc::clone(series));
        }
        let mut all = self.series.write();
        if let Some(series) = all.get(text.as_str()) {
            return Ok(Arc::clone(series));
        }
        if self.series_of_instance.fetch_add(1, Ordering::Relaxed) >= SERIES_MAX {
            self.series_of_instance.fetch_sub(1, Ordering::Relaxed);
            return Err(CallbackError::new(
                code::BUSY,
                format!("more than {SERIES_MAX} series: labels are for what has few values"),
            ));
        }
        let series = Arc::new(match self.kind {
            Kind::Counter | Kind::Gauge => Series::Number(Number::default()),
            Kind::Histogram | Kind::Summary => Series::Histogram(Histogram::default()),
        });
        all.insert(text.into(), Arc::clone(&series));
        Ok(series)
    }

    /// All series with their labels as they are written, ordered by them.
    #[must_use]
    pub(super) fn all(&self) -> Vec<(String, Arc<Series>)> {
        let mut all: Vec<_> =
            self.series.read().iter().map(|(labels, series)| (String::from(&**labels), Arc::clone(series))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

/// Checked labels as they are written, in the order of their names.
fn canonical(labels: &[(&str, &str)]) -> Result<String, CallbackError> {
    let mut problem = String::new();
    if labels.len() > LABELS_MAX {
        let _ = write!(problem, "{} labels, expected at most {LABELS_MAX}", labels.len());
    }
    for (name, value) in labels {
        // The host's own, and the one of histograms.
        if !is_name(name) || name.starts_with("__") || matches!(*name, "instance" | "le") {
            let _ = write!(problem, "the label `{name}`, expected letters, digits and `_`, and none of the host's");
        }
        if name.len() + value.len() > LABEL_BYTES_MAX {
            let _ = write!(problem, "a label of more than {LABEL_BYTES_MAX} bytes");
        }
    }
    let mut sorted: SmallVec<[(&str, &str); LABELS_MAX]> = labels.iter().copied().take(LABELS_MAX).collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| matches!(pair, [one, other] if one.0 == other.0)) {
        problem.push_str("a label twice");
    }
    if problem.is_empty() { Ok(written(&sorted)) } else { Err(CallbackError::parameter(problem)) }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(result: Result<(), CallbackError>, expected: Expect) {
        expected
            .assert_eq(&result.map_or_else(|error| format!("{} {}", error.code, error.detail), |()| "OK".to_owned()));
    }

    #[test]
    fn what_cannot_be_a_metric_is_refused() {
        let counted = Counted::default();
        let add = |name: &str, kind| counted.add("m", name, kind, "").map(drop);
        check(add("a-b", 1), expect!["3 the name `a-b`, expected at most 100 letters, digits and `_`, no digit first"]);
        check(add("a", 4), expect!["3 the kind 4, expected 1 to 3"]);
        check(add("a", 1), expect!["OK"]);
        check(add("a", 1), expect!["OK"]);
        check(add("a", 2), expect!["3 `a` is a counter already"]);
        for number in 1..METRICS_MAX {
            add(&format!("a{number}"), 2).unwrap();
        }
        check(add("one_more", 2), expect!["13 more than 64 metrics"]);
    }

    #[test]
    fn what_cannot_be_a_sample_is_refused() {
        let counted = Counted::default();
        let counter = counted.add("m", "a", code::metric::COUNTER, "").unwrap();
        check(counter.increment(&[], -1.0), expect!["3 the number -1 for a counter"]);
        check(counter.increment(&[], f64::NAN), expect!["3 the number NaN for a counter"]);
        check(counter.observe(&[], 1.0), expect!["3 a counter is incremented, not observed"]);
        check(
            counter.increment(&[("instance", "x")], 1.0),
            expect!["3 the label `instance`, expected letters, digits and `_`, and none of the host's"],
        );
        check(counter.increment(&[("a", "x"), ("a", "y")], 1.0), expect!["3 a label twice"]);
        check(counter.increment(&[("a", &"x".repeat(200))], 1.0), expect!["3 a label of more than 200 bytes"]);
        let histogram = counted.add("m", "b", code::metric::HISTOGRAM, "").unwrap();
        check(histogram.increment(&[], 1.0), expect!["3 a histogram is observed, not incremented"]);
        check(histogram.observe(&[], -0.1), expect!["3 the number -0.1 for a histogram"]);
        check(histogram.observe(&[], 0.1), expect!["OK"]);
    }

    #[test]
    fn the_order_of_labels_means_nothing() {
        let counted = Counted::default();
        let gauge = counted.add("m", "a", code::metric::GAUGE, "").unwrap();
        gauge.observe(&[("b", "1"), ("a", "2")], 5.0).unwrap();
        gauge.increment(&[("a", "2"), ("b", "1")], -2.0).unwrap();
        let all = gauge.all();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0, r#"a="2",b="1""#);
        assert!(matches!(&*all[0].1, Series::Number(number) if number.value() == 3.0));
    }

    #[test]
    fn the_series_of_an_instance_are_bounded() {
        let counted = Counted::default();
        let counter = counted.add("m", "a", code::metric::COUNTER, "").unwrap();
        for number in 0..SERIES_MAX {
            counter.increment(&[("n", &number.to_string())], 1.0).unwrap();
        }
        check(
            counter.increment(&[("n", "more")], 1.0),
            expect!["13 more than 1000 series: labels are for what has few values"],
        );
        check(counter.increment(&[("n", "5")], 1.0), expect!["OK"]);
        let other = counted.add("m", "b", code::metric::COUNTER, "").unwrap();
        assert_eq!(other.increment(&[], 1.0).unwrap_err().code, code::BUSY);
        assert!(counter.first_refusal() && !counter.first_refusal());
    }
}
