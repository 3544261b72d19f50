//! `make bench`: what a plug-in's endpoint costs, against the same handler compiled in, everything in one run.
//!
//! Times on a shared machine scatter, so nothing here is one: a request costs the CPU time (user and system) that the
//! server's processes spent, on a core of their own with one worker, at the minimum of many rounds in which every
//! subject has its turn; beside it stands the number of instructions that callgrind counts, kernel excluded. A bar is
//! missed only if both miss it.
//!
//! Start at [`measure`]. This binary is also what it measures: with arguments it is the handler compiled in
//! ([`compiled_in`]), or the parent of a child that runs under callgrind ([`under_callgrind`]).

mod callgrind;
mod compiled_in;
mod edge;
mod guesses;
mod identity;
mod load;
mod once;
mod processes;
mod report;
mod rounds;
mod servers;
mod under_callgrind;

use std::process::ExitCode;

use rounds::Rounds;

/// What goes wrong here ends the run; the text says what it was.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments.as_slice() {
        [compiled_in::COMMAND, edge] => compiled_in::serve(edge),
        [under_callgrind::COMMAND, config, output] => under_callgrind::serve(config, output),
        ref parts => measure(parts),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all parts, or those that are named: `rounds`, `callgrind`, `once`, `identity`, `guesses`, `edge`.
fn measure(parts: &[&str]) -> Result<()> {
    // Cargo adds an option that says that this is a benchmark.
    let named: Vec<&&str> = parts.iter().filter(|part| !part.starts_with("--")).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| **name == part);
    let rounds = if wanted("rounds") { rounds::run()? } else { Rounds::default() };
    let counts = if wanted("callgrind") { callgrind::run()? } else { Vec::new() };
    let once = if wanted("once") { Some(once::run()?) } else { None };
    let identity = if wanted("identity") { Some(identity::run()?) } else { None };
    let guesses = if wanted("guesses") { Some(guesses::run()?) } else { None };
    let edge = if wanted("edge") { edge::run()? } else { Vec::new() };
    report::print(&rounds, &counts, once.as_ref(), identity.as_ref());
    if let Some(guesses) = &guesses {
        report::print_guesses(guesses);
    }
    if !edge.is_empty() {
        report::print_edge(&edge);
    }
    Ok(())
}
