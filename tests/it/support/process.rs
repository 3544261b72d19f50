//! Other programs that a test runs: none is waited for without end, and one that hangs is named.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a program may take that a test waits for: on a cold cache and a busy machine, a compiler takes a while.
const PATIENCE: Duration = Duration::from_secs(240);

/// [`Command::output`] with an end.
pub(crate) trait InTime {
    /// Runs a program to its end; what it wrote.
    fn output_in_time(&mut self) -> Output;
}

impl InTime for Command {
    fn output_in_time(&mut self) -> Output {
        let called = format!("{self:?}");
        let child = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{called} is needed by this test: {error}"));
        let until = Instant::now() + PATIENCE;
        let (stdout, stderr) = (all_of(child.stdout.take().unwrap()), all_of(child.stderr.take().unwrap()));
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                let doing = doing(&child);
                let _ = child.kill();
                let said = stderr.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                panic!("{called} does not end:\n{doing}{}", String::from_utf8_lossy(&said));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let read = |pipe: mpsc::Receiver<Vec<u8>>| {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            pipe.recv_timeout(left).unwrap_or_else(|_| panic!("{called} left a process behind that holds its output"))
        };
        Output { status: child.wait().unwrap(), stdout: read(stdout), stderr: read(stderr) }
    }
}

/// Reads a pipe to its end, elsewhere.
fn all_of(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        let _ = sender.send(all);
    });
    receiver
}

/// What each thread of a program waits for, as far as the kernel tells.
pub(crate) fn doing(child: &Child) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
    let lines = tasks.map(|task| {
        let of = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default().trim().to_owned();
        format!("{}: in {} with the system call {}\n", of("comm"), of("wchan"), of("syscall"))
    });
    lines.collect()
}
