//! The log: where it goes, what of it, and in which form; which request is worked for; and numbers in [`metrics`].
//!
//! Start at [`init`]. A leaf: it names no other floor. Passwords, tokens, mail addresses and bodies are in no line; that
//! is up to whoever writes one.

mod lines;
pub mod metrics;
pub mod process;
pub mod request;
pub mod server;
pub mod trace;

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use lines::Pairs;

/// What the configuration says of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log<'a> {
    /// Whether each line is a JSON object.
    pub json: bool,
    /// Which lines: `info`, `porth::http=debug,warn`, …
    pub filter: &'a str,
    /// Whether each request gets a line.
    pub access: bool,
}

impl Default for Log<'_> {
    fn default() -> Self {
        Self { json: false, filter: "info", access: false }
    }
}

/// Sends the log to standard error, in the form and as much of it as `log` says, unless `PORTH_LOG_FORMAT` (`text`, `json`)
/// and `PORTH_LOG` (a filter) say otherwise.
///
/// # Errors
/// A sentence when a filter or one of the two variables is not understood.
pub fn init(log: &Log<'_>) -> Result<(), String> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter(log)?);
    set_form(log)?;
    let colours = std::io::stderr().is_terminal() && !lines::JSON.load(Ordering::Relaxed);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(lines::Lines { colours })
        .with_ansi(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    let _ = FILTER.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
    Ok(())
}

/// As [`init`] for a log that is written already.
///
/// # Errors
/// As for [`init`]; then nothing is changed.
pub fn change(log: &Log<'_>) -> Result<(), String> {
    let filter = filter(log)?;
    set_form(log)?;
    FILTER.get().map_or(Ok(()), |change| change(filter))
}

/// Whether a request gets a line of its own.
#[must_use]
pub fn is_access_logged() -> bool {
    ACCESS.load(Ordering::Relaxed)
}

fn filter(log: &Log<'_>) -> Result<EnvFilter, String> {
    let said = std::env::var("PORTH_LOG").unwrap_or_default();
    let (directives, by) = if said.is_empty() { (log.filter, "log.filter") } else { (said.as_str(), "PORTH_LOG") };
    EnvFilter::try_new(directives).map_err(|error| format!("{by} is `{directives}`: {error}"))
}

fn set_form(log: &Log<'_>) -> Result<(), String> {
    let is_json = match std::env::var("PORTH_LOG_FORMAT").unwrap_or_default().as_str() {
        "" => log.json,
        "text" => false,
        "json" => true,
        other => return Err(format!("PORTH_LOG_FORMAT is `{other}`; it must be `text` or `json`")),
    };
    lines::JSON.store(is_json, Ordering::Relaxed);
    ACCESS.store(log.access, Ordering::Relaxed);
    Ok(())
}

type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Puts another filter in the place of the present one.
static FILTER: OnceLock<Change> = OnceLock::new();
static ACCESS: AtomicBool = AtomicBool::new(false);

/// The most verbose level that is written: 0 nothing, 1 errors, 2 warnings, 3 info, 4 debug, 5 everything.
///
/// Plug-ins read this number to spare the host the records that nobody would see.
#[must_use]
pub fn max_level() -> u32 {
    match LevelFilter::current() {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        LevelFilter::TRACE => 5,
    }
}
