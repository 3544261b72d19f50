//! The child's side of a probe: alone with the library.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use porth_abi::{Bytes, code};
use rustix::process::{Resource, Rlimit, Signal};

use super::Line;
use crate::abi::bytes::OwnedBytes;
use crate::abi::callbacks;
use crate::abi::description::DESCRIPTION_BYTES_MAX;
use crate::abi::fault;
use crate::abi::judge::judge;
use crate::abi::open::open_step_by_step;
use crate::abi::refusal::{Reason, Step};
use crate::abi::staging::Staged;

/// Probes the copy at `path` of the library called `library` and reports to the pipe that is the standard input. It
/// ends the process: nothing of the library is to run any more.
pub fn main(path: &Path, library: &str) -> ! {
    let done = Report::take().and_then(|mut report| {
        limit()?;
        let verdict = probe(path, library, &mut report).unwrap_or_else(Line::Refused);
        report.write(&verdict)
    });
    match done {
        Ok(()) => fault::exit_now(0),
        Err(error) => {
            // Nobody but the parent reads this; without a verdict it takes the library for refused.
            let _ = writeln!(io::stderr(), "the probe failed: {error}");
            fault::exit_now(1)
        }
    }
}

fn probe(path: &Path, library: &str, report: &mut Report) -> Result<Line, Reason> {
    let staged =
        Staged::of_another_process(library, path).map_err(|error| Reason::Probe { detail: error.to_string() })?;
    let judged = judge(&staged).map_err(|refusal| refusal.reason)?;
    let opened = open_step_by_step(&staged, &judged, |step| report.next(step))?;
    report.next(Step::Load);
    let (mut state, mut description) = (std::ptr::null_mut(), Bytes::EMPTY);
    // SAFETY: the library was judged, opened and checked; both places live as long as the call. The context is one that
    // the host never gives out: whatever the library calls answers CLOSED.
    let answer = unsafe { (opened.plugin().load)(callbacks::host_table(), 0, &raw mut state, &raw mut description) };
    // SAFETY: filled in by `load` or empty, and owned by nobody else.
    let description = unsafe { OwnedBytes::take(description) };
    let description = description.as_ref().map_err(|bad| bad.clone()).and_then(OwnedBytes::as_text);
    match (answer, description) {
        (code::OK, Ok(text)) if text.len() <= DESCRIPTION_BYTES_MAX => {
            Ok(Line::Passed { digest: staged.digest().to_string(), description: text.to_owned() })
        }
        (code::OK, Ok(text)) => {
            let detail = format!("it has {} bytes, this host takes at most {DESCRIPTION_BYTES_MAX}", text.len());
            Err(Reason::Description { detail })
        }
        (code::OK, Err(bad)) => Err(Reason::Description { detail: bad.to_string() }),
        (code::PANIC, _) => Err(Reason::Load { code: answer, detail: "it panicked".to_owned() }),
        (code, text) => {
            let detail = text.unwrap_or_default().chars().take(DETAIL_CHARS_MAX).collect();
            Err(Reason::Load { code, detail })
        }
    }
}

/// The pipe to the parent.
struct Report(File);

impl Report {
    /// Takes the pipe from the standard input, puts nothing in its place, and closes every other descriptor.
    fn take() -> io::Result<Self> {
        let report = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), LEAST_DESCRIPTOR)?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        close_others(&report);
        Ok(Self(report.into()))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }

    /// The parent wants to know what a crash interrupted; if it cannot be told, the crash is as bad.
    fn next(&mut self, step: Step) {
        let _ = self.write(&Line::Next(step));
    }
}

/// The host's own descriptors close by themselves; this is for what a library in the parent left open.
fn close_others(report: &OwnedFd) {
    let report = report.as_raw_fd().unsigned_abs();
    for (first, last) in [(LEAST_DESCRIPTOR.unsigned_abs(), report - 1), (report + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: nothing in this process uses them. An old kernel does not know the call, which then does nothing.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

fn limit() -> io::Result<()> {
    // Without its parent nobody ends the child after its time.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Whoever started the server may have them ignored, as Python does; then a limit would only be an error somewhere.
    for signal in [libc::SIGXFSZ, libc::SIGXCPU] {
        // SAFETY: the default action is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    for (resource, limit) in LIMITS {
        rustix::process::setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

const LEAST_DESCRIPTOR: i32 = 3;
const DETAIL_CHARS_MAX: usize = 1000;

const LIMITS: [(Resource, u64); 6] = [
    // Seconds of all its threads.
    (Resource::Cpu, 5),
    // Some runtimes reserve a great many addresses; what they may fill is the next one.
    (Resource::As, 64 << 30),
    (Resource::Data, 1 << 30),
    (Resource::Fsize, 0),
    (Resource::Nofile, 64),
    (Resource::Core, 0),
];
