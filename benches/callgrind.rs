//! Instructions per request, counted by callgrind: the same on a busy machine and on an idle one. The kernel's are not
//! among them.
//!
//! A server runs under callgrind and dumps its counts whenever this side writes a line to its standard input, before and
//! after a number of requests; what lies between is theirs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::load::Load;
use crate::rounds::{HANDLERS, Subject, many, one, paths_of_many};
use crate::servers::{self, Server};
use crate::{Result, compiled_in};

/// How many requests are counted.
const REQUESTS: usize = 2000;
/// How many come before, for what happens once.
const WARM_UP: usize = 400;

/// Instructions per request for each subject; nothing where valgrind is not installed.
pub(crate) fn run() -> Result<Vec<(Subject, u64)>> {
    if servers::find("valgrind").is_none() {
        return Ok(Vec::new());
    }
    let directory = tempfile::tempdir()?;
    let mut counts = Vec::new();
    for (edge, subject) in [(compiled_in::PLAIN, Subject::Plain), (compiled_in::SAME_EDGE, Subject::SameEdge)] {
        let output = directory.path().join(edge);
        let mut server = servers::compiled_in(edge, |command| under_callgrind(&command, &output))?;
        counts.push((subject, count(&mut server, &output, 1, &[compiled_in::PATH.to_owned()])?));
    }
    let output = directory.path().join("one");
    let home = one()?;
    // Once without callgrind, so that the probe of the library is remembered: it would run under callgrind, too.
    drop(home.serve_in_process(|command| command)?);
    let mut server = home.serve_in_process(|command| under_callgrind(&command, &output))?;
    for (number, handler) in HANDLERS.into_iter().enumerate() {
        let paths = [format!("/api/bench/{handler}")];
        counts.push((Subject::Plugin(handler), count(&mut server, &output, 2 * number + 1, &paths)?));
    }
    drop(server);
    let output = directory.path().join("many");
    let home = many()?;
    drop(home.serve_in_process(|command| command)?);
    let mut server = home.serve_in_process(|command| under_callgrind(&command, &output))?;
    counts.push((Subject::Many, count(&mut server, &output, 1, &paths_of_many())?));
    Ok(counts)
}

fn under_callgrind(command: &Command, output: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind", "--dump-before=*callgrind*checkpoint*"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(command.get_program())
        .args(command.get_args())
        .stderr(Stdio::null());
    valgrind
}

/// Asks and counts, between the checkpoints `first` and the next.
fn count(server: &mut Server, output: &Path, first: usize, paths: &[String]) -> Result<u64> {
    let mut load = Load::connect(server.address, paths)?;
    load.ask(WARM_UP)?;
    server.pass_checkpoint()?;
    load.ask(REQUESTS)?;
    server.pass_checkpoint()?;
    let dump = std::fs::read_to_string(format!("{}.{}", output.display(), first + 1))?;
    let total = dump.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("a dump without a total")?;
    Ok(total.trim().parse::<u64>()? / REQUESTS as u64)
}

/// The server's side: passes a checkpoint for each line that comes, until standard input ends.
pub(crate) fn obey() -> Result<()> {
    for line in std::io::stdin().lines() {
        line?;
        checkpoint();
        println!("passed");
    }
    Ok(())
}

/// Callgrind dumps when this is called.
#[inline(never)]
fn checkpoint() {
    std::hint::black_box(());
}

impl Server {
    /// Makes a server under callgrind dump, and waits until it has.
    fn pass_checkpoint(&mut self) -> Result<()> {
        let stdin = self.process.stdin.as_mut().ok_or("a server that cannot be told")?;
        stdin.write_all(b"\n")?;
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if line.trim() == "passed" { Ok(()) } else { Err(format!("expected a checkpoint, got `{line}`").into()) }
    }
}
