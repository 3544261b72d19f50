//! What a line of the log looks like, as text or as JSON: one line whatever is in it, of bounded length, with the ids of the
//! request that it was written for.
//!
//! Start at [`Lines`]. What callers send may be in any text here, so that nothing of it may end a line, reach into a
//! terminal, or fill a disk.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::request;

/// The form of every line.
pub(super) struct Lines {
    /// Whether levels have colours in text.
    pub(super) colours: bool,
}

/// Whether lines are JSON. It may change at any time.
pub(super) static JSON: AtomicBool = AtomicBool::new(false);

/// The longest message in bytes, before anything in it is escaped.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
/// The longest value of a field.
const VALUE_BYTES_MAX: usize = 2 << 10;
/// All fields of a line together; those after it are left out.
const FIELDS_BYTES_MAX: usize = 16 << 10;

/// Named texts that a plug-in or another source brings, as one value of an event's field: each becomes a field of the
/// line. An error only because `tracing` hands on nothing else whole.
#[derive(Debug, Default)]
pub struct Pairs(pub Vec<(String, String)>);

impl fmt::Display for Pairs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(formatter, " {name}={value:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Pairs {}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(ids) = request::current() {
            fields.add("request_id", Value::Text(ids.request.to_string()));
            fields.add("trace_id", Value::Text(ids.trace.trace_id().to_string()));
            fields.add("span_id", Value::Text(ids.trace.span_id().to_string()));
        }
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let mut line = String::new();
        if JSON.load(Ordering::Relaxed) {
            json(&mut line, &time, level, target, &fields);
        } else {
            self.text(&mut line, &time, level, target, &fields);
        }
        writer.write_str(&line)
    }
}

impl Lines {
    /// `time LEVEL target: message name=value …`
    fn text(&self, line: &mut String, time: &str, level: Level, target: &str, fields: &Fields) {
        let (colour, plain) = if self.colours { (colour(level), "\x1b[0m") } else { ("", "") };
        // Writing to a string never fails, here and below.
        let _ = write!(line, "{time} {colour}{level:>5}{plain} {target}:");
        if !fields.message.is_empty() {
            line.push(' ');
            escape(line, &fields.message, Form::Text);
        }
        for (name, value) in &fields.fields {
            line.push(' ');
            escape(line, name, Form::Text);
            line.push('=');
            match value {
                Value::Plain(value) => escape(line, value, Form::Text),
                Value::Text(value) => {
                    line.push('"');
                    escape(line, value, Form::Quoted);
                    line.push('"');
                }
            }
        }
        line.push('\n');
    }
}

/// One object; the fields of the event are below `fields`.
fn json(line: &mut String, time: &str, level: Level, target: &str, fields: &Fields) {
    let _ = write!(line, r#"{{"timestamp":"{time}","level":"{level}","target":"{target}","message":""#);
    escape(line, &fields.message, Form::Quoted);
    line.push('"');
    // What says for which request the line is stands at the top, where it can be searched for.
    let (top, below): (Vec<_>, Vec<_>) = fields.fields.iter().partition(|(name, _)| IDS.contains(&name.as_str()));
    for (name, value) in top {
        line.push(',');
        member(line, name, value);
    }
    if !below.is_empty() {
        line.push_str(r#","fields":{"#);
        for (index, (name, value)) in below.into_iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            member(line, name, value);
        }
        line.push('}');
    }
    line.push_str("}\n");
}

fn member(line: &mut String, name: &str, value: &Value) {
    line.push('"');
    escape(line, name, Form::Quoted);
    line.push_str("\":");
    match value {
        Value::Plain(value) => line.push_str(value),
        Value::Text(value) => {
            line.push('"');
            escape(line, value, Form::Quoted);
            line.push('"');
        }
    }
}

/// The fields that every line of a request has.
const IDS: [&str; 3] = ["request_id", "trace_id", "span_id"];

/// How a text is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is, but for what cannot be seen.
    Text,
    /// Between quotation marks, as JSON wants it.
    Quoted,
}

/// Writes a text without anything in it that controls a terminal, ends the line, or changes the order of what is read.
fn escape(line: &mut String, text: &str, form: Form) {
    for character in text.chars() {
        match character {
            '"' | '\\' if form == Form::Quoted => line.extend(['\\', character]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            other if is_unseen(other) => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            other => line.push(other),
        }
    }
}

/// Control characters, line ends of Unicode, marks of direction, what has no width, and tags.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// A value of a field.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// A number or `true` or `false`, as JSON writes it, too.
    Plain(String),
    Text(String),
}

/// What an event says, cut to its bounds.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<(String, Value)>,
    bytes: usize,
}

impl Fields {
    fn add(&mut self, name: &str, value: Value) {
        let (Value::Plain(text) | Value::Text(text)) = &value;
        self.bytes += name.len() + text.len();
        // The ids come last, and always. What has one of its own keeps that.
        let is_id = IDS.contains(&name);
        if (self.bytes <= FIELDS_BYTES_MAX || is_id) && !(is_id && self.fields.iter().any(|(known, _)| known == name)) {
            self.fields.push((name.to_owned(), value));
        }
    }

    fn text(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if name == "message" {
            self.message = cut(value, MESSAGE_BYTES_MAX);
        } else {
            self.add(name, Value::Text(cut(value, VALUE_BYTES_MAX)));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no other numbers.
        let value = if value.is_finite() { Value::Plain(value.to_string()) } else { Value::Text(value.to_string()) };
        self.add(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), Value::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), Value::Plain(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        match value.downcast_ref::<Pairs>() {
            Some(Pairs(pairs)) => {
                for (name, value) in pairs {
                    // Not the message: that is the line's.
                    let name = if name == "message" { "message_field" } else { name };
                    self.text(&cut(format_args!("{name}"), NAME_BYTES_MAX), format_args!("{value}"));
                }
            }
            None => self.text(field.name(), format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), format_args!("{value:?}"));
    }
}

const NAME_BYTES_MAX: usize = 100;

/// A text up to so many bytes, and how much was cut off. No more of it than that is ever held.
fn cut(text: fmt::Arguments<'_>, bytes_max: usize) -> String {
    let mut cut = Cut { text: String::new(), bytes_max, cut: 0 };
    // What cannot be written leaves what it has written so far.
    let _ = cut.write_fmt(text);
    if cut.cut > 0 {
        let bytes = cut.cut;
        let _ = write!(cut.text, "… ({bytes} bytes more)");
    }
    cut.text
}

struct Cut {
    text: String,
    bytes_max: usize,
    cut: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = if self.cut > 0 { 0 } else { self.bytes_max.saturating_sub(self.text.len()) };
        let mut end = room.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(text.get(..end).unwrap_or_default());
        self.cut += text.len() - end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::request::{Ids, RequestId, enter};
    use crate::telemetry::trace::Trace;

    /// Where lines go in a test.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What some events look like, in both forms, without the times.
    fn both(events: impl Fn()) -> [String; 2] {
        // One test at a time decides on the form.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        [false, true].map(|is_json| {
            JSON.store(is_json, Ordering::Relaxed);
            let written = Written::default();
            let writer = written.clone();
            let lines = tracing_subscriber::fmt()
                .with_max_level(Level::TRACE)
                .event_format(Lines { colours: false })
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(lines, &events);
            JSON.store(false, Ordering::Relaxed);
            String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
        })
    }

    fn check(events: impl Fn(), expected: Expect) {
        let shown = both(events).concat();
        let mut without_times = String::new();
        for line in shown.lines() {
            let (before, time) = if line.starts_with('{') { line.split_at(14) } else { ("", line) };
            let after = time.split_once(['Z']).unwrap().1;
            without_times.push_str(&format!("{before}TIME{after}\n"));
        }
        expected.assert_eq(&without_times);
    }

    #[test]
    fn a_line_says_what_happened_and_for_which_request() {
        let request = RequestId::from_text(b"from-the-proxy");
        let trace = Trace::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let ids = Ids { request: request.unwrap(), trace };
        check(
            || {
                tracing::info!(target: "t", count = 3, ratio = f64::NAN, done = true, name = "x y", "it \"is\" so");
                let _entered = enter(Some(ids));
                tracing::warn!(target: "t", instance = "plugin/x", "late");
                tracing::error!(target: "t", request_id = "its own", "other");
            },
            expect![[r#"
                TIME  INFO t: it "is" so count=3 ratio="NaN" done=true name="x y"
                TIME  WARN t: late instance="plugin/x" request_id="from-the-proxy" trace_id="0af7651916cd43dd8448eb211c80319c" span_id="b7ad6b7169203331"
                TIME ERROR t: other request_id="its own" trace_id="0af7651916cd43dd8448eb211c80319c" span_id="b7ad6b7169203331"
                {"timestamp":"TIME","level":"INFO","target":"t","message":"it \"is\" so","fields":{"count":3,"ratio":"NaN","done":true,"name":"x y"}}
                {"timestamp":"TIME","level":"WARN","target":"t","message":"late","request_id":"from-the-proxy","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","fields":{"instance":"plugin/x"}}
                {"timestamp":"TIME","level":"ERROR","target":"t","message":"other","request_id":"its own","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"}
            "#]],
        );
    }

    #[test]
    fn nothing_in_a_text_ends_a_line_or_reaches_a_terminal() {
        let hostile = "a\nb\r\x1b[31mred\x07\u{9b}c\u{202e}d\u{2028}e\u{e0041}\t\"\\";
        let pairs = Pairs(vec![("na\nme".to_owned(), hostile.to_owned()), ("message".to_owned(), "m".to_owned())]);
        check(
            || {
                let error: &(dyn std::error::Error + 'static) = &pairs;
                tracing::info!(target: "t", field = hostile, error, "{hostile}");
            },
            expect![[r#"
                TIME  INFO t: a\nb\r\u001b[31mred\u0007\u009bc\u202ed\u2028e\udb40\udc41\t"\ field="a\nb\r\u001b[31mred\u0007\u009bc\u202ed\u2028e\udb40\udc41\t\"\\" na\nme="a\nb\r\u001b[31mred\u0007\u009bc\u202ed\u2028e\udb40\udc41\t\"\\" message_field="m"
                {"timestamp":"TIME","level":"INFO","target":"t","message":"a\nb\r\u001b[31mred\u0007\u009bc\u202ed\u2028e\udb40\udc41\t\"\\","fields":{"field":"a\nb\r\u001b[31mred\u0007\u009bc\u202ed\u2028e\udb40\udc41\t\"\\","na\nme":"a\nb\r\u001b[31mred\u0007\u009bc\u202ed\u2028e\udb40\udc41\t\"\\","message_field":"m"}}
            "#]],
        );
    }

    #[test]
    fn a_line_has_an_end() {
        let long = "ü".repeat(1 << 20);
        let many = Pairs((0..64).map(|number| (format!("name{number}"), "x".repeat(3000))).collect());
        let ids = Ids::new(None, None);
        for line in both(|| {
            let _entered = enter(Some(ids));
            let error: &(dyn std::error::Error + 'static) = &many;
            tracing::info!(target: "t", long, error, "{long}");
        }) {
            assert!(line.len() < 40_000, "{} bytes", line.len());
            assert!(line.contains("üü… (2088960 bytes more)") && line.contains("üü… (2095104 bytes more)"), "{line}");
            assert!(line.contains(ids.request.as_str()), "the id was cut off");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_logged_is_one_line_and_json_keeps_it(text: String, name: String, value: String) {
            let pairs = Pairs(vec![(format!("x{name}"), value.clone())]);
            let [as_text, as_json] = both(|| {
                let error: &(dyn std::error::Error + 'static) = &pairs;
                tracing::info!(target: "t", error, "{text}");
            });
            for line in [&as_text, &as_json] {
                prop_assert_eq!(line.matches('\n').count(), 1);
                prop_assert!(!line.trim_end_matches('\n').chars().any(is_unseen));
            }
            let read: serde_json::Value = serde_json::from_str(&as_json).unwrap();
            prop_assert_eq!(&read["message"], &serde_json::json!(text));
            prop_assert_eq!(&read["fields"][&format!("x{name}")], &serde_json::json!(value));
        }
    }
}
