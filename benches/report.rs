//! What is printed: a table of what a request costs, and one of the bars that DESIGN.md sets.
//!
//! Start at [`print`].

use std::time::Duration;

use crate::edge::Edge;
use crate::guesses::Guesses;
use crate::identity::Identity;
use crate::load::CONNECTIONS;
use crate::once::Once;
use crate::rounds::{MANY, Rounds, Subject};

/// The CPU time of a plug-in's request, in µs.
const REQUEST_US_MAX: f64 = 7.5;
/// A plug-in's handler against the same one compiled in with the same edge.
const BORDER_MAX: f64 = 1.10;
/// Many instances against one.
const MANY_MAX: f64 = 1.05;
/// From the start to the first 200, in ms.
const START_MS_MAX: f64 = 63.0;
/// From a crash to the next 200, in ms.
const OUTAGE_MS_MAX: f64 = 50.0;
/// Memory of both processes, in MB.
const MEMORY_MB_MAX: f64 = 24.0;

/// A request with a session's cookie, in µs.
const SESSION_US_MAX: f64 = 20.0;
/// How many times as much Glewlwyd takes, at least.
const GLEWLWYD_SESSION_MIN: f64 = 9.0;
/// A log-in against the bare hash.
const LOG_IN_MAX: f64 = 1.03;

/// The edge over plain axum, in µs of CPU a request.
const EDGE_US_MAX: f64 = 1.0;

/// Between these the times of failed log-ins do not tell who there is.
const AREA: std::ops::RangeInclusive<f64> = 0.45..=0.55;

/// Prints what was measured.
pub(crate) fn print(rounds: &Rounds, counts: &[(Subject, u64)], once: Option<&Once>, identity: Option<&Identity>) {
    let measured = Measured { rounds, counts };
    if !rounds.samples.is_empty() || !counts.is_empty() {
        measured.print_costs();
    }
    let is_anything = !rounds.samples.is_empty() || !counts.is_empty() || once.is_some() || identity.is_some();
    if is_anything {
        println!("\n{:<58}{:>18}{:>10}", "bar", "measured", "at most");
    }
    if !rounds.samples.is_empty() || !counts.is_empty() {
        measured.print_bars();
    }
    if let Some(once) = once {
        print_once(once);
    }
    if let Some(identity) = identity {
        print_identity(identity);
    }
}

struct Measured<'a> {
    rounds: &'a Rounds,
    counts: &'a [(Subject, u64)],
}

impl Measured<'_> {
    fn print_costs(&self) {
        let taken = self.rounds.samples.first().map_or(0, |(_, samples)| samples.len());
        println!(
            "\nA request: CPU time of all processes of the server (user and system), minimum and median of {taken} \
             rounds,\n{CONNECTIONS} connections, one core, one worker; and instructions outside the kernel \
             (callgrind).\n"
        );
        println!(
            "{:<38}{:>8}{:>8}{:>9}{:>9}{:>14}{:>9}",
            "", "µs", "median", "× plain", "× edge", "instructions", "× edge"
        );
        for (subject, samples) in &self.rounds.samples {
            let [shortest, median] = [samples.first(), samples.get(samples.len() / 2)].map(|ns| ns.map(us));
            let count = self.count(*subject);
            println!(
                "{:<38}{:>8}{:>8}{:>9}{:>9}{:>14}{:>9}",
                name(*subject),
                number(shortest),
                number(median),
                number(ratio(shortest, self.cpu_us(Subject::Plain))),
                number(ratio(shortest, self.cpu_us(Subject::SameEdge))),
                count.map(|count| count.to_string()).unwrap_or_default(),
                number(ratio(count.map(f64_of), self.count(Subject::SameEdge).map(f64_of))),
            );
        }
        for reason in &self.rounds.left_out {
            println!("{reason}");
        }
        if self.counts.is_empty() {
            println!("valgrind is not installed, so instructions are left out");
        }
    }

    fn print_bars(&self) {
        let (sync, asynchronous) = (Subject::Plugin("sync"), Subject::Plugin("async"));
        for subject in [sync, asynchronous] {
            bar(&format!("{}, µs", name(subject)), [self.cpu_us(subject), None], REQUEST_US_MAX);
        }
        for subject in [sync, asynchronous] {
            let what = format!("{}, × compiled in, same edge", name(subject));
            bar(&what, self.ratios(subject, Subject::SameEdge), BORDER_MAX);
        }
        bar(&format!("{MANY} instances instead of 1, ×"), self.ratios(Subject::Many, sync), MANY_MAX);
    }

    /// By CPU time and by instructions.
    fn ratios(&self, subject: Subject, to: Subject) -> [Option<f64>; 2] {
        let count = |subject| self.count(subject).map(f64_of);
        [ratio(self.cpu_us(subject), self.cpu_us(to)), ratio(count(subject), count(to))]
    }

    fn cpu_us(&self, subject: Subject) -> Option<f64> {
        let (_, samples) = self.rounds.samples.iter().find(|(other, _)| *other == subject)?;
        samples.first().map(us)
    }

    fn count(&self, subject: Subject) -> Option<u64> {
        self.counts.iter().find(|(other, _)| *other == subject).map(|(_, count)| *count)
    }
}

fn print_once(once: &Once) {
    let [start, start_median] = [once.starts.first(), once.starts.get(once.starts.len() / 2)].map(|time| time.map(ms));
    bar("start with four instances to the first 200, ms", [start, None], START_MS_MAX);
    bar("the same, median", [start_median, None], START_MS_MAX);
    let outage = once.outages.get(once.outages.len() / 2).map(ms);
    bar("SIGSEGV in a plug-in to the next 200, median, ms", [outage, None], OUTAGE_MS_MAX);
    bar("memory of both processes (PSS), MB", [Some(mb(once.memory_bytes)), None], MEMORY_MB_MAX);
    if let (Some(start), Some(bytes)) = (once.glewlwyd_starts.first(), once.glewlwyd_memory_bytes) {
        println!(
            "\nGlewlwyd with the two instances it comes with: start {:.1} ms, memory {:.1} MB",
            ms(start),
            mb(bytes)
        );
    }
}

fn print_identity(identity: &Identity) {
    let least = |times: &[u64]| times.first().map(us);
    let (list, log_in) = (least(&identity.list_ns), least(&identity.log_in_ns));
    bar("GET /api/profile_list/ with a cookie, µs", [list, None], SESSION_US_MAX);
    // The other way round, as every bar is a most.
    let of_glewlwyd = ratio(list, least(&identity.glewlwyd_list_ns));
    bar("the same, × Glewlwyd's", [of_glewlwyd, None], 1.0 / GLEWLWYD_SESSION_MIN);
    bar("log-in, × the bare hash", [ratio(log_in, least(&identity.hash_ns)), None], LOG_IN_MAX);
    let time = |times: &[Duration], percent: usize| {
        number(times.get(times.len() * percent / 100).map(|time| time.as_secs_f64() * 1e6))
    };
    println!(
        "\nA plug-in's answer, µs: p50 {} and p99 {} while nobody logs in, p50 {} and p99 {} in a storm of log-ins \
         ({} and {} answers)",
        time(&identity.calm, 50),
        time(&identity.calm, 99),
        time(&identity.storm, 50),
        time(&identity.storm, 99),
        identity.calm.len(),
        identity.storm.len(),
    );
    println!(
        "µs: profile list {}, Glewlwyd's {}, log-in {}, the bare hash {}",
        number(list),
        number(least(&identity.glewlwyd_list_ns)),
        number(log_in),
        number(least(&identity.hash_ns)),
    );
}

/// Prints how well the times of failed log-ins tell who there is.
pub(crate) fn print_guesses(guesses: &Guesses) {
    let between = format!("{:.2}-{:.2}", AREA.start(), AREA.end());
    println!("\n{:<58}{:>18}{:>10}", "bar", "measured", "between");
    for (what, area) in &guesses.areas {
        let verdict = if AREA.contains(area) { "met" } else { "MISSED" };
        println!("{what:<58}{area:>18.3}{between:>10}  {verdict}");
    }
}

/// Prints what the edge costs a request.
pub(crate) fn print_edge(edge: &[Edge]) {
    println!("\n{:<58}{:>18}{:>10}", "bar", "measured", "at most");
    for Edge { what, plain_ns, edge_ns, .. } in edge {
        let cost = edge_ns.first().zip(plain_ns.first()).map(|(edge, plain)| us(edge) - us(plain));
        bar(&format!("the edge over plain axum, {what}, µs"), [cost, None], EDGE_US_MAX);
    }
    for Edge { what, plain_ns, edge_ns, instructions } in edge {
        let shown = |times: &[u64]| number(times.first().map(us));
        println!("{what}: plain axum {} µs, behind the edge {} µs", shown(plain_ns), shown(edge_ns));
        if let Some((plain, edge)) = instructions {
            println!("{what}: {plain} instructions, behind the edge {edge}");
        }
    }
}

/// Prints a bar; it is missed only if all ways to measure it miss it.
fn bar(what: &str, measured: [Option<f64>; 2], most: f64) {
    let known: Vec<f64> = measured.into_iter().flatten().collect();
    let texts: Vec<String> = known.iter().map(|value| format!("{value:.2}")).collect();
    let verdict = match known.as_slice() {
        [] => "not measured",
        known if known.iter().any(|value| *value <= most) => "met",
        _ => "MISSED",
    };
    println!("{what:<58}{:>18}{most:>10.2}  {verdict}", texts.join(" / "));
}

fn name(subject: Subject) -> String {
    match subject {
        Subject::Plain => "handler compiled in, plain axum".to_owned(),
        Subject::SameEdge => "handler compiled in, same edge".to_owned(),
        Subject::Plugin("sync") => "plug-in, sync (short)".to_owned(),
        Subject::Plugin("own") => "plug-in, own threads".to_owned(),
        Subject::Plugin("pending") => "plug-in, async, pending once".to_owned(),
        Subject::Plugin(handler) => format!("plug-in, {handler}"),
        Subject::Many => format!("plug-in, sync, {MANY} instances"),
        Subject::Nginx => "nginx, `return 200`".to_owned(),
        Subject::Glewlwyd => "Glewlwyd, /config".to_owned(),
    }
}

fn ratio(value: Option<f64>, to: Option<f64>) -> Option<f64> {
    Some(value? / to?)
}

#[expect(clippy::cast_precision_loss, reason = "counts of pairs are small")]
pub(crate) fn ratio_of(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}

fn number(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.2}")).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts of instructions and nanoseconds per request are small")]
fn f64_of(count: u64) -> f64 {
    count as f64
}

fn us(ns: &u64) -> f64 {
    f64_of(*ns) / 1e3
}

fn ms(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mb(bytes: u64) -> f64 {
    f64_of(bytes) / 1e6
}
