//! `porth doctor`: what is unsafe or odd, each in a sentence with the remedy.
//!
//! Start at [`run`]. What is known is gathered in `facts`, once; what follows from it is one function each in `findings`,
//! so that every one can be tried without a server.

mod facts;
mod findings;

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use self::facts::Facts;
use self::findings::{Finding, Severity, findings};
use super::output::Output;
use super::{Failure, Place};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Ends with 1 for warnings, too.
    #[arg(long)]
    strict: bool,
}

/// Prints what was found, the worst first. Ends with 1 when there are errors.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let facts = Facts::gather(&arguments.place)?;
    let mut found = findings(&facts);
    found.sort_by_key(|finding| finding.severity);
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let list: Vec<Value> = found.iter().map(Finding::as_json).collect();
    let told = json!({
        "findings": list,
        "errors": errors,
        "warnings": warnings,
        "notes": notes,
        "server": facts.server.is_some(),
    });
    output.print(&told, |_| {
        for finding in &found {
            println!("{:8} {}", finding.severity.as_str(), finding.text);
            println!("         -> {}", finding.remedy);
        }
        let server = if facts.server.is_some() { "with the running server" } else { "without a server" };
        println!("{errors} errors, {warnings} warnings, {notes} notes, looked at {server}");
    });
    let is_fine = errors == 0 && (warnings == 0 || !arguments.strict);
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
