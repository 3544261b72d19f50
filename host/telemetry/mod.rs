//! The log: where it goes, what of it, and in which form; and numbers in [`metrics`].
//!
//! Start at [`init`]. A leaf: it names no other floor. Passwords, tokens, mail addresses and bodies are in no line; that
//! is up to whoever writes one.

pub mod metrics;
pub mod process;

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Sends the log to standard error: text, or JSON lines with `PORTH_LOG_FORMAT=json`; what `PORTH_LOG` says
/// (`info`, `porth::http=debug,warn`, …; by default `info`).
///
/// # Errors
/// A sentence when one of the two variables is not understood.
pub fn init() -> Result<(), String> {
    let directives = std::env::var("PORTH_LOG").unwrap_or_default();
    let directives = if directives.is_empty() { "info" } else { &directives };
    let filter = EnvFilter::try_new(directives).map_err(|error| format!("PORTH_LOG is `{directives}`: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match std::env::var("PORTH_LOG_FORMAT").unwrap_or_default().as_str() {
        "" | "text" => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        "json" => lines.json().try_init(),
        other => return Err(format!("PORTH_LOG_FORMAT is `{other}`; it must be `text` or `json`")),
    };
    done.map_err(|error| error.to_string())
}

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
