//! The parent's side of a probe: starts the child, listens to it, and ends it.

use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::Line;
use crate::abi::refusal::{Output, Reason, Step};
use crate::abi::staging::Staged;

/// Runs a probe to its verdict.
pub(super) fn run(program: &Path, staged: &Staged, deadline: Duration) -> Result<Line, Reason> {
    let failed = |error: io::Error| Reason::Probe { detail: error.to_string() };
    let mut probe = Probe::start(program, staged, deadline).map_err(failed)?;
    let verdict = probe.listen();
    let has_ended = matches!(&verdict, Ok(None)) && probe.wait();
    let status = probe.end().map_err(failed)?;
    if let Some(line) = verdict.map_err(failed)? {
        return Ok(line);
    }
    let (step, output) = (probe.step, probe.output.shown());
    if !has_ended {
        let deadline = if step == Step::Start { START_DEADLINE } else { probe.deadline };
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        return Err(Reason::Hung { step, deadline_ms, output });
    }
    Err(match (status.code(), status.signal()) {
        (Some(code), _) => Reason::Exited { step, code, output },
        (None, signal) => {
            let signal = signal.unwrap_or(0);
            Reason::Crashed { step, signal, name: signal_name(signal), output }
        }
    })
}

/// A child in a process group of its own.
struct Probe {
    child: Child,
    report: PipeReader,
    report_line: Vec<u8>,
    output_pipe: Option<PipeReader>,
    output: Tail,
    step: Step,
    /// How long the library may take.
    deadline: Duration,
    until: Instant,
}

impl Probe {
    /// The pipe for the report goes to the child as its standard input, the one descriptor besides its output that it
    /// gets. It puts it elsewhere before anything of the library runs.
    fn start(program: &Path, staged: &Staged, deadline: Duration) -> io::Result<Self> {
        let (report, report_to) = io::pipe()?;
        let (output, output_to) = io::pipe()?;
        let child = Command::new(program)
            .args(["probe", "--"])
            .arg(staged.path())
            .arg(staged.library())
            .stdin(report_to)
            .stdout(output_to.try_clone()?)
            .stderr(output_to)
            .process_group(0)
            .spawn()?;
        Ok(Self {
            child,
            report,
            report_line: Vec::new(),
            output_pipe: Some(output),
            output: Tail::default(),
            step: Step::Start,
            deadline,
            until: Instant::now() + START_DEADLINE,
        })
    }

    /// Reads until there is a verdict; none if the report ends without one or does not come in time.
    fn listen(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some(left) = self.until.checked_duration_since(Instant::now()) else { return Ok(None) };
            let (has_report, has_output) = self.poll(left)?;
            if has_output {
                self.read_output()?;
            }
            if !has_report {
                continue;
            }
            let mut bytes = [0; 4096];
            let len = self.report.read(&mut bytes)?;
            if len == 0 || self.report_line.len() > REPORT_BYTES_MAX {
                self.drain_output()?;
                return Ok(None);
            }
            for byte in bytes.iter().take(len) {
                if *byte != b'\n' {
                    self.report_line.push(*byte);
                    continue;
                }
                match serde_json::from_slice(&std::mem::take(&mut self.report_line))? {
                    Line::Next(step) => self.go_on(step),
                    verdict => return Ok(Some(verdict)),
                }
            }
        }
    }

    /// The library's time starts when its code does: a busy machine, or a large file, is not its fault.
    fn go_on(&mut self, step: Step) {
        if self.step == Step::Start {
            self.until = Instant::now() + self.deadline;
        }
        self.step = step;
    }

    /// Whether there is something to read in the report, and in the output.
    fn poll(&self, left: Duration) -> io::Result<(bool, bool)> {
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let report = PollFd::new(&self.report, PollFlags::IN);
        let ready = |descriptor: &PollFd<'_>| !descriptor.revents().is_empty();
        let polled = match &self.output_pipe {
            None => {
                let mut all = [report];
                rustix::event::poll(&mut all, Some(&timeout)).map(|_| (ready(&all[0]), false))
            }
            Some(output) => {
                let mut all = [report, PollFd::new(output, PollFlags::IN)];
                rustix::event::poll(&mut all, Some(&timeout)).map(|_| (ready(&all[0]), ready(&all[1])))
            }
        };
        match polled {
            Err(rustix::io::Errno::INTR) => Ok((false, false)),
            polled => Ok(polled?),
        }
    }

    fn read_output(&mut self) -> io::Result<()> {
        let Some(output) = &mut self.output_pipe else { return Ok(()) };
        let mut bytes = [0; 4096];
        match output.read(&mut bytes)? {
            0 => self.output_pipe = None,
            len => self.output.push(bytes.get(..len).unwrap_or_default()),
        }
        Ok(())
    }

    /// Reads what was written before the child died; what a process that it left behind still writes is not waited for.
    fn drain_output(&mut self) -> io::Result<()> {
        for _ in 0..DRAIN_READS_MAX {
            let Some(output) = &self.output_pipe else { return Ok(()) };
            let mut all = [PollFd::new(output, PollFlags::IN)];
            if rustix::event::poll(&mut all, Some(&Timespec::default()))? == 0 {
                return Ok(());
            }
            self.read_output()?;
        }
        Ok(())
    }

    /// Waits for the end of the child without taking its exit status, which keeps its number from being used again.
    fn wait(&self) -> bool {
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            match rustix::process::waitid(WaitId::Pid(Pid::from_child(&self.child)), options) {
                Ok(None) | Err(rustix::io::Errno::INTR) if Instant::now() < self.until => std::thread::sleep(WAIT_STEP),
                Ok(status) => return status.is_some(),
                Err(_) => return false,
            }
        }
    }

    /// Ends the child and all that it started, and takes its exit status.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // An error means that nothing is left of the group.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.child.wait()
    }
}

/// The last bytes of an output.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(OUTPUT_BYTES_MAX);
        self.0.drain(..excess);
    }

    /// One line without control characters: it goes into sentences and logs.
    fn shown(&self) -> Output {
        let text = String::from_utf8_lossy(&self.0);
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
        Output(words.join(" "))
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU: too much processor time",
        libc::SIGXFSZ => "SIGXFSZ: it wrote to a file",
        libc::SIGSYS => "SIGSYS",
        _ => "a signal without a name here",
    };
    name.to_owned()
}

/// How long a child may take to get to the library.
const START_DEADLINE: Duration = Duration::from_secs(20);
const REPORT_BYTES_MAX: usize = 8 << 20;
const OUTPUT_BYTES_MAX: usize = 500;
const DRAIN_READS_MAX: usize = 64;
const WAIT_STEP: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_an_output_is_kept_in_one_line() {
        let mut tail = Tail::default();
        tail.push(&b"x".repeat(10 * OUTPUT_BYTES_MAX));
        tail.push(b" one\n\x1b[31mtwo\0");
        let shown = tail.shown().0;
        assert!(shown.ends_with("x one [31mtwo"), "{shown}");
        assert!(shown.len() <= OUTPUT_BYTES_MAX);
    }
}
