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
    /// What the log has said of an endpoint: clients get no reasons.
    pub(super) fn note_log(&mut self, endpoint: &Endpoint, log: &str) {
        if let Some(panic) = panics(log).into_iter().next() {
            self.panics.insert(format!("{}: {panic}", endpoint.name()));
        }
        if let Some(failure) = told(log, "a handler failed: ").into_iter().next() {
            self.failed.insert(format!("{}: {failure}", endpoint.name()));
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
    told(log, "panicked: ")
}

/// Messages of the log from some words on, without the fields that come behind them; each once.
fn told(log: &str, words: &str) -> Vec<String> {
    let said = log.lines().filter_map(|line| line.find(words).and_then(|at| line.get(at..)));
    let said = said.map(|said| said.split(" instance=").next().unwrap_or_default().to_owned());
    said.collect::<BTreeSet<String>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_quoted_without_its_fields() {
        let log = "… ERROR plugin: a handler failed: the key has 2007 bytes instance=\"plugin/test\" status=\"500\"\n\
                   … INFO plugin: ready instance=\"plugin/test\"\n\
                   … ERROR plugin: a handler failed: the key has 2007 bytes instance=\"plugin/test\" status=\"500\"";
        assert_eq!(told(log, "a handler failed: "), ["a handler failed: the key has 2007 bytes"]);
        assert_eq!(panics(log), [""; 0]);
    }
}
