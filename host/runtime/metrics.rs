//! What was counted of the instances, as text for whoever watches the server.
//!
//! Start at [`Runtime::expose`]. What is counted, and where, is in [`super::meter`] and [`super::counted`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::counted::{Metric, Series};
use super::health::{HealthView, Trouble};
use super::instances::{PLUGIN, Runtime};
use super::meter::Meter;
use crate::telemetry::metrics::{Exposition, Kind, labels};

impl Runtime {
    /// Writes the samples of all instances, those that plug-ins count themselves among them. An endpoint that was never
    /// called has none.
    pub fn expose(&self, exposition: &mut Exposition) {
        let meters = self.0.shared.meters.all();
        expose_requests(&meters, exposition);
        expose_denials(&meters, exposition);
        let now = Instant::now();
        let running: Vec<_> = self.0.all_running();
        let running: Vec<_> =
            running.iter().map(|one| (one.key.as_str(), one.generation.number, one.health_view(now))).collect();
        expose_running(&running, exposition);
        self.expose_libraries(exposition);
        expose_counted(&meters, exposition);
    }

    fn expose_libraries(&self, exposition: &mut Exposition) {
        let views = self.libraries().views();
        let name = "porth_library_generations";
        exposition.family(name, Kind::Gauge, "Loadings of a library in this process");
        for view in &views {
            let counts = [
                ("present", u64::from(view.present.is_some())),
                ("draining", count(view.past.draining.len())),
                ("retired", view.past.retired),
            ];
            for (state, number) in counts {
                exposition.sample(name, &labels(&[("library", &view.file), ("state", state)]), number);
            }
        }
        let name = "porth_library_retired_bytes";
        exposition.family(name, Kind::Gauge, "Size of the files of retired loadings, whose code stays in memory");
        for view in &views {
            exposition.sample(name, &labels(&[("library", &view.file)]), view.past.retired_bytes);
        }
    }
}

type Meters = [(String, Arc<Meter>)];

fn expose_requests(meters: &Meters, exposition: &mut Exposition) {
    exposition.family("porth_requests_total", Kind::Counter, "Requests that reached an endpoint, by its answer");
    for (key, meter) in meters {
        for ((route, method), counted) in meter.routes() {
            for (status, count) in counted.answers().classes().filter(|(_, count)| *count > 0) {
                let pairs = [("instance", instance(key)), ("method", &method), ("route", &route), ("status", status)];
                exposition.sample("porth_requests_total", &labels(&pairs), count);
            }
        }
    }
    let help = "Time from the call of an endpoint to the head of its answer, in seconds";
    exposition.family("porth_request_seconds", Kind::Histogram, help);
    for (key, meter) in meters {
        for ((route, method), counted) in meter.routes() {
            let totals = counted.answers().totals();
            if totals.count() > 0 {
                let pairs = [("instance", instance(key)), ("method", &method), ("route", &route)];
                exposition.histogram("porth_request_seconds", &labels(&pairs), &totals);
            }
        }
    }
    let name = "porth_requests_in_flight";
    exposition.family(name, Kind::Gauge, "Requests that an endpoint is answering now, until the head of its answer");
    for (key, meter) in meters {
        for ((route, method), counted) in meter.routes() {
            let under_way = counted.answers().under_way();
            if under_way > 0 || counted.answers().totals().count() > 0 {
                let pairs = [("instance", instance(key)), ("method", &*method), ("route", &*route)];
                exposition.sample(name, &labels(&pairs), under_way);
            }
        }
    }
    let name = "porth_request_failures_total";
    exposition.family(name, Kind::Counter, "Requests that got no answer of the endpoint, by reason");
    for (key, meter) in meters {
        for ((route, method), counted) in meter.routes() {
            for (reason, count) in counted.failures().filter(|(_, count)| *count > 0) {
                let pairs = [("instance", instance(key)), ("method", &*method), ("reason", reason), ("route", &*route)];
                exposition.sample(name, &labels(&pairs), count);
            }
        }
    }
    exposition.family(
        "porth_call_failures_total",
        Kind::Counter,
        "Calls of endpoints and hooks of an instance that got no answer of the plug-in, by reason",
    );
    for (key, meter) in meters {
        for (reason, count) in meter.failures() {
            let pairs = [("instance", instance(key)), ("reason", reason)];
            exposition.sample("porth_call_failures_total", &labels(&pairs), count);
        }
    }
}

fn expose_denials(meters: &Meters, exposition: &mut Exposition) {
    let name = "porth_callbacks_denied_total";
    exposition.family(name, Kind::Counter, "Callbacks denied, by the right that the instance was not granted");
    for (key, meter) in meters {
        for (right, count) in meter.denials() {
            exposition.sample(name, &labels(&[("instance", instance(key)), ("right", right)]), count);
        }
    }
}

/// Instances that run, by key, with their generation.
type Running<'a> = [(&'a str, u64, HealthView)];

fn expose_running(running: &Running<'_>, exposition: &mut Exposition) {
    let mut family = |name: &str, kind, help: &str, value: &dyn Fn(u64, &HealthView) -> u64| {
        exposition.family(name, kind, help);
        for (key, generation, view) in running {
            exposition.sample(name, &labels(&[("instance", instance(key))]), value(*generation, view));
        }
    };
    let help = "Which loading of its library a running instance belongs to";
    family("porth_instance_generation", Kind::Gauge, help, &|generation, _| generation);
    let help = "How well a running instance does: 0 healthy, 1 degraded, 2 broken";
    family("porth_instance_health", Kind::Gauge, help, &|_, view| view.status as u64);
    let help = "Whether a call has kept a worker too long, so that the instance runs on threads of its own";
    family("porth_instance_moved", Kind::Gauge, help, &|_, view| u64::from(!view.on_workers()));
    let help = "Calls that have kept a worker too long, since the instance was started";
    family("porth_instance_strikes_total", Kind::Counter, help, &|_, view| view.total(Trouble::Strike));
    family("porth_instance_calls", Kind::Gauge, "Calls under way", &|_, view| count(view.calls));
    let name = "porth_instance_threads";
    exposition.family(
        name,
        Kind::Gauge,
        "Threads of an instance, by what they do; those it started itself do not count",
    );
    for (key, _, view) in running {
        let threads = view.threads;
        let busy = threads.threads.saturating_sub(threads.idle + threads.overdue);
        for (state, number) in [("busy", busy), ("idle", threads.idle), ("overdue", threads.overdue)] {
            exposition.sample(name, &labels(&[("instance", instance(key)), ("state", state)]), number);
        }
    }
    exposition.family("porth_instance_waiting", Kind::Gauge, "Calls that wait for a thread of the instance");
    for (key, _, view) in running {
        exposition.sample("porth_instance_waiting", &labels(&[("instance", instance(key))]), view.threads.waiting);
    }
}

fn expose_counted(meters: &Meters, exposition: &mut Exposition) {
    // All instances of a module share a family.
    let mut families: BTreeMap<String, Vec<(&str, Arc<Metric>)>> = BTreeMap::new();
    for (key, meter) in meters {
        for (name, metric) in meter.counted.all() {
            families.entry(name).or_default().push((instance(key), metric));
        }
    }
    for (name, metrics) in families {
        let Some((kind, help)) = metrics.first().map(|(_, metric)| (metric.kind, metric.help.clone())) else {
            continue;
        };
        exposition.family(&name, kind, &help);
        // A family has one kind: where instances differ, the first one has it.
        for (instance, metric) in metrics.iter().filter(|(_, metric)| metric.kind == kind) {
            for (own, series) in metric.all() {
                let mut text = labels(&[("instance", instance)]);
                if !own.is_empty() {
                    text = format!("{text},{own}");
                }
                match &*series {
                    Series::Number(number) => exposition.sample(&name, &text, number.value()),
                    Series::Histogram(histogram) => exposition.histogram(&name, &text, &histogram.totals()),
                }
            }
        }
    }
}

/// The instance's name, which is unique among those of the kind `plugin`; others show their kind.
fn instance(key: &str) -> &str {
    key.strip_prefix(PLUGIN).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
