//! Numbers for whoever watches the server from outside, and the text that they become.
//!
//! Start at [`Exposition`]. Which numbers there are is the business of whoever counts; here are only what counting needs,
//! cheap enough for every request, and the two forms of text that watchers read.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The form of an [`Exposition`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The text format of Prometheus, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a client would rather have, by its `Accept` (RFC 9110, section 12.5.1): OpenMetrics only where it names that, and
    /// likes it no less than the other.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for (parameter, value) in parts.filter_map(|part| part.split_once('=')) {
                match parameter.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match name.as_str() {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    open_metrics = open_metrics.max(quality);
                }
                "text/plain" | "text/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// The upper bounds of a histogram's buckets in nanoseconds: an endpoint takes some microseconds or, when it has to wait,
/// some milliseconds; the last one is the default deadline.
const BOUNDS_NS: [u64; 18] = [
    10_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, as long as the process lives.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// A sum of durations and how many they were.
    Summary,
}

impl Kind {
    /// As it stands in the text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A number with a fraction, of a counter or a gauge.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds to it.
    pub fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // Never fails: `add` always answers.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Replaces it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Durations in buckets. Recording one is two additions to atomics.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By bucket; the last one is for what is above all bounds.
    counts: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Records one.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(BOUNDS_NS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// What was recorded up to now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.add(self);
        totals
    }
}

/// What histograms have recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    counts: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u64,
}

impl Totals {
    /// Adds another histogram of the same thing.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *total += count.load(Ordering::Relaxed);
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.load(Ordering::Relaxed));
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The answers at one place: how long until each began, by the class of its status, and how many are under way.
#[derive(Debug, Default)]
pub struct Answers {
    by_class: [Histogram; CLASSES.len()],
    under_way: AtomicU64,
}

/// The classes of statuses that are answered; what is none of them counts as an error of the server.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl Answers {
    /// Counts an answer.
    #[inline]
    pub fn answered(&self, status: u16, duration: Duration) {
        let class = usize::from((status / 100).clamp(2, 5) - 2);
        if let Some(histogram) = self.by_class.get(class) {
            histogram.record(duration);
        }
    }

    /// Counts a request as under way until the answer is dropped.
    #[inline]
    #[must_use]
    pub fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Ends what was begun and forgotten.
    pub fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How many answers there were of each class.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(&self.by_class).map(|(name, histogram)| (name, histogram.totals().count()))
    }

    /// The durations of all of them.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for histogram in &self.by_class {
            totals.add(histogram);
        }
        totals
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay<'a>(&'a Answers);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A number that only grows, from 0.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Samples as text. All samples of a family follow its [`family`](Self::family).
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    form: Form,
    /// Families that OpenMetrics knows by these names.
    names: BTreeSet<String>,
}

impl Exposition {
    /// Nothing yet, in a form.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self { form, ..Self::default() }
    }

    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let mut help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let (mut name, mut kind) = (name, kind.as_str());
        if self.form == Form::OpenMetrics {
            help = help.replace('"', "\\\"");
            if kind == "counter" {
                // There the family of a counter is called without what its samples must end with, if that is nobody's name.
                let short = name.strip_suffix("_total").filter(|short| !self.names.contains(*short));
                (name, kind) = short.map_or((name, "unknown"), |short| (short, kind));
            } else if self.names.contains(name) {
                // A counter came first and took it.
                for (taken, given) in [
                    (format!("# HELP {name} "), format!("# HELP {name}_total ")),
                    (format!("# TYPE {name} counter\n"), format!("# TYPE {name}_total unknown\n")),
                ] {
                    self.text = self.text.replacen(&taken, &given, 1);
                }
            }
            self.names.insert(name.to_owned());
        }
        // Writing to a string never fails, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample. `labels` come from [`labels`]; they may be empty.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            labels => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }

    /// A counter or gauge without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    /// The samples of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &str, totals: &Totals) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (count, bound) in totals.counts.iter().zip(&BOUNDS_NS) {
            below += count;
            // OpenMetrics has a float there, of which nobody takes the point away.
            let bound = seconds(*bound);
            let point = if self.form == Form::OpenMetrics && bound.fract() == 0.0 { ".0" } else { "" };
            let _ = writeln!(self.text, "{name}_bucket{{{labels}{comma}le=\"{bound}{point}\"}} {below}");
        }
        let count = totals.count();
        let _ = writeln!(self.text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        self.sample(&format!("{name}_sum"), labels, seconds(totals.sum_ns));
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The text.
    #[must_use]
    pub fn into_text(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[expect(clippy::cast_precision_loss, reason = "a sum of years is still exact to some milliseconds")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Labels as they stand in a sample; the names are valid ones.
#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// Whether a metric or a label may have this name: letters, digits and `_`, no digit first.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn samples_become_text() {
        let mut exposition = Exposition::default();
        exposition.family("porth_up", Kind::Gauge, "One line,\nno \\ more");
        exposition.sample("porth_up", "", 1);
        let number = Number::default();
        number.add(1.5);
        number.add(1.0);
        exposition.sample("porth_up", &labels(&[("a", "say \"x\\y\"\n"), ("b", "ü")]), number.value());
        let histogram = Histogram::default();
        for us in [2, 10, 11, 3_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        histogram.record(Duration::from_secs(100));
        exposition.family("porth_seconds", Kind::Histogram, "Durations");
        exposition.histogram("porth_seconds", "", &histogram.totals());
        expect![[r#"
            # HELP porth_up One line,\nno \\ more
            # TYPE porth_up gauge
            porth_up 1
            porth_up{a="say \"x\\y\"\n",b="ü"} 2.5
            # HELP porth_seconds Durations
            # TYPE porth_seconds histogram
            porth_seconds_bucket{le="0.00001"} 2
            porth_seconds_bucket{le="0.0001"} 3
            porth_seconds_bucket{le="0.00025"} 3
            porth_seconds_bucket{le="0.0005"} 3
            porth_seconds_bucket{le="0.001"} 3
            porth_seconds_bucket{le="0.0025"} 3
            porth_seconds_bucket{le="0.005"} 3
            porth_seconds_bucket{le="0.01"} 3
            porth_seconds_bucket{le="0.025"} 3
            porth_seconds_bucket{le="0.05"} 3
            porth_seconds_bucket{le="0.1"} 3
            porth_seconds_bucket{le="0.25"} 3
            porth_seconds_bucket{le="0.5"} 3
            porth_seconds_bucket{le="1"} 3
            porth_seconds_bucket{le="2.5"} 3
            porth_seconds_bucket{le="5"} 4
            porth_seconds_bucket{le="10"} 4
            porth_seconds_bucket{le="30"} 4
            porth_seconds_bucket{le="+Inf"} 5
            porth_seconds_sum 103.000023
            porth_seconds_count 5
        "#]]
        .assert_eq(&exposition.into_text());
    }

    #[test]
    fn open_metrics_is_another_text() {
        let mut exposition = Exposition::new(Form::OpenMetrics);
        exposition.single("porth_x_total", Kind::Counter, "Say \"x\"", 1);
        exposition.single("porth_plugin_odd", Kind::Counter, "No suffix", 2);
        exposition.single("porth_y", Kind::Gauge, "Y", 3);
        exposition.single("porth_y_total", Kind::Counter, "Y", 4);
        exposition.single("porth_z_total", Kind::Counter, "Z", 5);
        exposition.single("porth_z", Kind::Gauge, "Z", 6);
        exposition.family("porth_seconds", Kind::Histogram, "Durations");
        exposition.histogram("porth_seconds", "a=\"b\"", &Totals::default());
        let text = exposition.into_text();
        expect![[r#"
            # HELP porth_x Say \"x\"
            # TYPE porth_x counter
            porth_x_total 1
            # HELP porth_plugin_odd No suffix
            # TYPE porth_plugin_odd unknown
            porth_plugin_odd 2
            # HELP porth_y Y
            # TYPE porth_y gauge
            porth_y 3
            # HELP porth_y_total Y
            # TYPE porth_y_total unknown
            porth_y_total 4
            # HELP porth_z_total Z
            # TYPE porth_z_total unknown
            porth_z_total 5
            # HELP porth_z Z
            # TYPE porth_z gauge
            porth_z 6
            # HELP porth_seconds Durations
        "#]]
        .assert_eq(&text[..text.find("# TYPE porth_seconds").unwrap()]);
        assert!(text.contains("porth_seconds_bucket{a=\"b\",le=\"10.0\"} 0\n"), "{text}");
        assert!(text.contains("le=\"0.0001\"") && text.ends_with("porth_seconds_count{a=\"b\"} 0\n# EOF\n"), "{text}");
    }

    #[test]
    fn who_asks_says_which_form() {
        // As Prometheus asks.
        let both = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, form) in [
            (both, Form::OpenMetrics),
            ("application/openmetrics-text", Form::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\", text/plain", Form::OpenMetrics),
            ("", Form::Prometheus),
            ("*/*", Form::Prometheus),
            ("application/openmetrics-text;version=2.0.0", Form::Prometheus),
            ("application/openmetrics-text;q=0.5, text/plain", Form::Prometheus),
            ("application/openmetrics-text;q=0", Form::Prometheus),
            ("application/openmetrics-text;q=x", Form::Prometheus),
        ] {
            assert_eq!(Form::wanted(accept), form, "{accept}");
        }
    }

    #[test]
    fn answers_are_counted_by_class() {
        let answers = Answers::default();
        for status in [200, 204, 302, 404, 503, 999, 101] {
            answers.answered(status, Duration::from_micros(5));
        }
        let classes: Vec<_> = answers.classes().collect();
        assert_eq!(classes, [("2xx", 3), ("3xx", 1), ("4xx", 1), ("5xx", 2)]);
        assert_eq!(answers.totals().count(), 7);
        let (one, two) = (answers.begin(), answers.begin());
        drop(one);
        assert_eq!(answers.under_way(), 1);
        drop(two);
        assert_eq!(answers.under_way(), 0);
    }

    #[test]
    fn names_are_plain() {
        for (name, fine) in [("a_b1", true), ("_x", true), ("1a", false), ("", false), ("a-b", false), ("ä", false)] {
            assert_eq!(is_name(name), fine, "{name}");
        }
    }
}
