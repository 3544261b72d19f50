//! How commands answer: text for people, or with `--json` one JSON value for programs.

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
