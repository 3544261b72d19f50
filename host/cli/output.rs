//! How commands answer: text for people, or with `--json` one JSON value for programs.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

use serde_json::{Value, json};

use super::Failure;

/// How a command answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Whether in JSON.
    pub(super) json: bool,
}

impl Output {
    /// Prints a value, in JSON or as `text` tells it.
    pub(super) fn print(self, value: &Value, text: impl FnOnce(&Value)) {
        if self.json { println!("{value:#}") } else { text(value) }
    }

    /// Says why a command did not do what it was asked to.
    pub(super) fn fail(self, failure: &Failure) {
        if self.json {
            println!("{:#}", json!({"error": {"message": failure.message, "exit_code": failure.code}}));
        }
        eprintln!("porth: {}", failure.message);
    }
}

/// Writes a line to standard output. Who stops reading has seen enough; anything else ends the command.
pub(in crate::cli) fn write_line(line: Arguments<'_>) {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("porth: cannot write to standard output: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints rows with their columns aligned; the last one may be as long as it likes.
pub(super) fn print_table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A member of an object that is text, or nothing.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}
