//! What a plug-in counts, for whoever watches the host.
//!
//! Start at [`Metrics`].

use std::fmt;
use std::time::Duration;

use porth_abi as abi;
use porth_abi::code::metric;

use crate::callbacks::Callbacks;
use crate::host_error::HostError;

/// Makes what an instance counts with: [`Host::metrics`](crate::Host::metrics).
///
/// The host shows each metric as `porth_plugin_<module>_<name>` with the label `instance`, and its `help`, which is a
/// sentence. By custom a counter's name ends in `_total` and a histogram's in `_seconds`. Make them in
/// [`init`](crate::Plugin::init) and keep them; asking for one again by its name gives the same.
///
/// Labels are pairs of a name and a value. Each set of them is a series of its own, and an instance may have about a
/// thousand: a label is for what has few values, never for a user or a path. Samples that the host refuses are logged, the
/// first of each metric, and lost; nothing else comes of it.
///
/// Metrics and what counts into them are handles that any thread may use and clone, on a worker as well: nothing blocks. After
/// `close` nothing is counted any more.
///
/// # Examples
///
/// ```
/// # use porth_plugin::prelude::*;
/// # use porth_plugin::{Counter, HostError, Plugin};
/// fn counters<P: Plugin>(host: &Host<P>) -> Result<Counter, HostError> {
///     let greetings = host.metrics().counter("greetings_total", "Greetings by language")?;
///     greetings.increment(&[("language", "cy")]);
///     Ok(greetings)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Metrics(Callbacks);

impl Metrics {
    pub(crate) const fn new(callbacks: Callbacks) -> Self {
        Self(callbacks)
    }

    /// A number that only grows.
    ///
    /// # Errors
    /// [`HostError::Parameter`] for a name that is not made of letters, digits and `_`, or that has another kind already;
    /// [`HostError::Busy`] when there are too many.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, HostError> {
        self.add(name, metric::COUNTER, help).map(Counter)
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// As [`counter`](Self::counter).
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, HostError> {
        self.add(name, metric::GAUGE, help).map(Gauge)
    }

    /// Durations, in buckets from 10 µs to 30 s.
    ///
    /// # Errors
    /// As [`counter`](Self::counter).
    pub fn histogram(&self, name: &str, help: &str) -> Result<Histogram, HostError> {
        self.add(name, metric::HISTOGRAM, help).map(Histogram)
    }

    fn add(self, name: &str, kind: u32, help: &str) -> Result<Metric, HostError> {
        Ok(Metric { callbacks: self.0, id: self.0.metric_add(name, kind, help)? })
    }
}

/// A number that only grows.
#[derive(Clone, Copy)]
pub struct Counter(Metric);

impl Counter {
    /// Adds one.
    pub fn increment(&self, labels: &[(&str, &str)]) {
        self.add(1.0, labels);
    }

    /// Adds `value`, which is not negative.
    pub fn add(&self, value: f64, labels: &[(&str, &str)]) {
        self.0.with(labels, |callbacks, id, pairs| callbacks.metric_increment(id, pairs, value));
    }
}

/// A number that goes up and down.
///
/// ```
/// # use porth_plugin::Gauge;
/// fn taken(free: &Gauge, left: u32) {
///     free.set(f64::from(left), &[("room", "blue")]);
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Gauge(Metric);

impl Gauge {
    /// Replaces it.
    pub fn set(&self, value: f64, labels: &[(&str, &str)]) {
        self.0.with(labels, |callbacks, id, pairs| callbacks.metric_observe(id, pairs, value));
    }

    /// Adds `value`, which may be negative.
    pub fn add(&self, value: f64, labels: &[(&str, &str)]) {
        self.0.with(labels, |callbacks, id, pairs| callbacks.metric_increment(id, pairs, value));
    }
}

/// Durations in buckets.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use porth_plugin::Histogram;
/// fn timed<R>(durations: &Histogram, work: impl FnOnce() -> R) -> R {
///     let began = Instant::now();
///     let result = work();
///     durations.observe(began.elapsed(), &[("step", "work")]);
///     result
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Histogram(Metric);

impl Histogram {
    /// Records one.
    pub fn observe(&self, duration: Duration, labels: &[(&str, &str)]) {
        let seconds = duration.as_secs_f64();
        self.0.with(labels, |callbacks, id, pairs| callbacks.metric_observe(id, pairs, seconds));
    }
}

#[derive(Clone, Copy)]
struct Metric {
    callbacks: Callbacks,
    id: u32,
}

impl Metric {
    fn with(&self, labels: &[(&str, &str)], call: impl FnOnce(Callbacks, u32, &[abi::Parameter])) {
        let pair = |(name, value): &(&str, &str)| abi::Parameter {
            name: abi::Str::new(name.as_bytes()),
            value: abi::Str::new(value.as_bytes()),
        };
        let pairs: Vec<abi::Parameter> = labels.iter().map(pair).collect();
        call(self.callbacks, self.id, &pairs);
    }
}

macro_rules! debug {
    ($($type:ident),*) => {
        $(impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        })*
    };
}
debug!(Metrics, Counter, Gauge, Histogram);
