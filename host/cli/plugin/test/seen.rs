//! What came of the requests to a module under test.

use std::collections::BTreeSet;

use super::client::Answer;
use super::endpoints::Endpoint;

/// What came of some requests.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) asked: usize,
    pub(super) panics: BTreeSet<String>,
    pub(super) malformed: BTreeSet<String>,
    pub(super) late: BTreeSet<String>,
    pub(super) failed: BTreeSet<String>,
    /// No answer at all.
    pub(super) lost: BTreeSet<String>,
}

impl Seen {
    pub(super) fn note_panics(&mut self, endpoint: &Endpoint, log: &str) {
        if let Some(panic) = panics(log).into_iter().next() {
            self.panics.insert(format!("{}: {panic}", endpoint.name()));
        }
    }

    pub(super) fn take(&mut self, endpoint: &Endpoint, answer: Result<Answer, String>) {
        self.asked += 1;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.lost.insert(error);
                return;
            }
        };
        let line = format!("{}: {} {}", endpoint.name(), answer.status, answer.code());
        match (answer.status, answer.code()) {
            (500, "plugin_panicked") | (503, "instance_broken") => self.panics.insert(line),
            (502, "plugin_malformed") => self.malformed.insert(line),
            (504, "plugin_deadline") => self.late.insert(line),
            (500..=599, _) => self.failed.insert(line),
            _ => false,
        };
    }
}

/// What the plug-in's panic hook has said.
pub(super) fn panics(log: &str) -> Vec<String> {
    // Behind the text come the fields of the line.
    let text = |line: &str| {
        let said = line.find("panicked").and_then(|at| line.get(at..)).unwrap_or_default();
        said.split(" instance=").next().unwrap_or_default().to_owned()
    };
    let all: BTreeSet<String> = log.lines().filter(|line| line.contains("panicked: ")).map(text).collect();
    all.into_iter().collect()
}
