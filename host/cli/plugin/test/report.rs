//! What was found out about a library, for people and for programs.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// As it should be.
    Pass,
    /// Worth knowing.
    Note,
    /// Odd: somebody should look.
    Warn,
    /// Not fit for a server.
    Fail,
}

impl Grade {
    const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A check that was made.
struct Check {
    name: &'static str,
    grade: Grade,
    detail: String,
    remedy: Option<&'static str>,
}

/// All checks of one module, or of the library as a whole.
struct Section {
    title: String,
    checks: Vec<Check>,
}

/// A report under way. What is found is shown at once, unless it is for programs.
pub(super) struct Report {
    is_json: bool,
    sections: Vec<Section>,
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, sections: Vec::new() }
    }

    /// What follows is about this.
    pub(super) fn section(&mut self, title: impl Into<String>) {
        let title = title.into();
        if !self.is_json {
            println!("{title}");
        }
        self.sections.push(Section { title, checks: Vec::new() });
    }

    pub(super) fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(Check { name, grade: Grade::Pass, detail: detail.into(), remedy: None });
    }

    /// Something that is not as it should be, with what to do about it.
    pub(super) fn found(&mut self, grade: Grade, name: &'static str, detail: impl Into<String>, remedy: &'static str) {
        self.add(Check { name, grade, detail: detail.into(), remedy: Some(remedy) });
    }

    /// One of the two: nothing is wrong, or a list of what is.
    pub(super) fn verdict(
        &mut self,
        name: &'static str,
        passed: impl Into<String>,
        wrong: &[String],
        (grade, remedy): (Grade, &'static str),
    ) {
        if wrong.is_empty() { self.pass(name, passed) } else { self.found(grade, name, few(wrong), remedy) }
    }

    fn add(&mut self, check: Check) {
        if !self.is_json {
            println!("  {}  {:27} {}", check.grade.name(), check.name, check.detail.replace('\n', INDENT));
            if let Some(remedy) = check.remedy {
                println!("        {:27} → {remedy}", "");
            }
        }
        if let Some(section) = self.sections.last_mut() {
            section.checks.push(check);
        }
    }

    fn count(&self, grade: Grade) -> usize {
        self.sections.iter().flat_map(|section| &section.checks).filter(|check| check.grade == grade).count()
    }

    /// Says what it comes to; a failure is an exit code.
    pub(super) fn finish(self, took: Duration) -> ExitCode {
        let (failures, warnings) = (self.count(Grade::Fail), self.count(Grade::Warn));
        let (notes, passed) = (self.count(Grade::Note), self.count(Grade::Pass));
        let verdict = if failures == 0 { "passes" } else { "fails" };
        if self.is_json {
            let check = |check: &Check| json!({"name": check.name, "grade": check.grade.name(), "detail": check.detail, "remedy": check.remedy});
            let section = |section: &Section| json!({"about": section.title, "checks": section.checks.iter().map(check).collect::<Vec<_>>()});
            let sections: Vec<Value> = self.sections.iter().map(section).collect();
            let report = json!({"verdict": verdict, "failures": failures, "warnings": warnings, "notes": notes,
                "passed": passed, "seconds": took.as_secs_f64(), "sections": sections});
            println!("{report:#}");
        } else {
            let seconds = took.as_secs_f64();
            println!(
                "{verdict}: {failures} failures, {warnings} warnings, {notes} notes, {passed} passed, in {seconds:.1} s"
            );
        }
        if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Where the details of a check stand.
const INDENT: &str = "\n                                    ";

/// The first few of many.
fn few(all: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut lines: Vec<String> = all.iter().take(SHOWN).cloned().collect();
    if all.len() > SHOWN {
        lines.push(format!("and {} more", all.len() - SHOWN));
    }
    lines.join("\n")
}
