//! To the host's log: events of `tracing`, and panics.

use std::fmt::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Once;

use porth_abi as abi;
use porth_abi::code::level;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Interest, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::callbacks::for_log;

/// Sends this copy's events and panics to the host. Called by `load`.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A plug-in that brings a subscriber of its own has set it before, and keeps it.
        let _ = tracing_core::dispatcher::set_global_default(tracing_core::Dispatch::new(
            Registry::default().with(Forward),
        ));
        std::panic::set_hook(Box::new(panicked));
    });
}

/// Says what panicked and where. It captures no backtrace: symbols would be read and kept anew for each loading of a
/// library, tens of megabytes each.
fn panicked(info: &PanicHookInfo<'_>) {
    let Some(callbacks) = for_log() else { return };
    let message = format!("panicked: {}", info.payload_as_str().unwrap_or("with a payload that is no text"));
    let (file, line) = info.location().map_or(("", 0), |location| (location.file(), location.line()));
    callbacks.log(&abi::LogRecord {
        size: size_of::<abi::LogRecord>(),
        level: level::ERROR,
        line,
        target: abi::Str::new(b"panic"),
        message: abi::Str::new(message.as_bytes()),
        file: abi::Str::new(file.as_bytes()),
        fields: core::ptr::null(),
        fields_len: 0,
    });
}

/// Forwards events with their fields and those of the spans that they lie in.
struct Forward;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    /// The host's level may change at any time, so nothing is decided once and for all.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        for_log().is_some_and(|callbacks| number(*metadata.level()) <= callbacks.max_log_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(callbacks) = for_log() else { return };
        let mut own = Fields::default();
        event.record(&mut own);
        let mut all = Vec::new();
        let mut spans = String::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if !spans.is_empty() {
                spans.push(':');
            }
            spans.push_str(span.name());
            if let Some(fields) = span.extensions().get::<Fields>() {
                all.extend(fields.0.iter().cloned());
            }
        }
        if !spans.is_empty() {
            all.push(("span", spans));
        }
        let mut message = String::new();
        for (name, value) in own.0 {
            if name == "message" {
                message = value;
            } else {
                all.push((name, value));
            }
        }
        let fields: Vec<_> = all
            .iter()
            .map(|(name, value)| abi::Parameter {
                name: abi::Str::new(name.as_bytes()),
                value: abi::Str::new(value.as_bytes()),
            })
            .collect();
        let metadata = event.metadata();
        callbacks.log(&abi::LogRecord {
            size: size_of::<abi::LogRecord>(),
            level: number(*metadata.level()),
            line: metadata.line().unwrap_or(0),
            target: abi::Str::new(metadata.target().as_bytes()),
            message: abi::Str::new(message.as_bytes()),
            file: abi::Str::new(metadata.file().unwrap_or_default().as_bytes()),
            fields: fields.as_ptr(),
            fields_len: fields.len(),
        });
    }
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => level::ERROR,
        Level::WARN => level::WARN,
        Level::INFO => level::INFO,
        Level::DEBUG => level::DEBUG,
        Level::TRACE => level::TRACE,
    }
}

/// The fields of an event or a span as text.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.push((field.name(), crate::error::chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A value that cannot be written leaves what it has written so far.
        let _ = write!(text, "{value:?}");
        self.0.push((field.name(), text));
    }
}
