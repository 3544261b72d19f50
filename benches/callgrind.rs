//! Instructions per request, counted by callgrind: the same on a busy machine and on an idle one. The kernel's are not
//! among them.
//!
//! Callgrind dumps its counts when a server is asked for its checkpoint, before and after a number of requests; what lies
//! between is theirs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::load::{Load, ask_once};
use crate::rounds::{HANDLERS, Subject, many, one, paths_of_many};
use crate::servers::{self, Home, Server};
use crate::{Result, compiled_in};

/// How many requests are counted.
const REQUESTS: usize = 2000;
/// How many come before, for what happens once.
const WARM_UP: usize = 400;
/// How long a server rests after a dump, which its watchdog may have taken for a call that does not come back.
const REST: Duration = Duration::from_millis(300);

/// Instructions per request for each subject; nothing where valgrind is not installed.
pub(crate) fn run() -> Result<Vec<(Subject, u64)>> {
    if servers::find("valgrind").is_none() {
        return Ok(Vec::new());
    }
    let directory = tempfile::tempdir()?;
    let mut counts = Vec::new();
    for (edge, subject) in [(compiled_in::PLAIN, Subject::Plain), (compiled_in::SAME_EDGE, Subject::SameEdge)] {
        let output = directory.path().join(edge);
        let server = servers::compiled_in(edge, |command| under_callgrind(&command, &output))?;
        counts.push((subject, count(&server, &output, 1, &[compiled_in::PATH.to_owned()], "")?));
    }
    let output = directory.path().join("one");
    let (_home, server) = start(one()?, &output)?;
    for (number, handler) in HANDLERS.into_iter().enumerate() {
        let paths = [format!("/api/bench/{handler}")];
        counts.push((Subject::Plugin(handler), count(&server, &output, 2 * number + 1, &paths, "")?));
    }
    drop(server);
    let output = directory.path().join("many");
    let (_home, server) = start(many()?, &output)?;
    counts.push((Subject::Many, count(&server, &output, 1, &paths_of_many(), "")?));
    Ok(counts)
}

fn start(home: Home, output: &Path) -> Result<(Home, Server)> {
    // Once without callgrind, so that the probe of the library is remembered: it would run under callgrind, too.
    drop(home.serve()?);
    let server = home.serve_under_callgrind(output)?;
    Ok((home, server))
}

/// The same command under callgrind, which dumps at each checkpoint: `output` with `.1`, `.2` and so on.
pub(crate) fn under_callgrind(command: &Command, output: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind"])
        .args(["--dump-before=bench::checkpoint", "--dump-before=*::compiled_in::checkpoint"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(command.get_program())
        .args(command.get_args())
        .stderr(Stdio::null());
    valgrind
}

/// Asks and counts, between the dump of the number `first` and the next.
pub(crate) fn count(server: &Server, output: &Path, first: usize, paths: &[String], fields: &str) -> Result<u64> {
    let mut load = Load::connect_with(server.address, paths, fields)?;
    load.ask(WARM_UP)?;
    ask_once(server.address, compiled_in::CHECKPOINT)?;
    std::thread::sleep(REST);
    load.ask(REQUESTS)?;
    ask_once(server.address, compiled_in::CHECKPOINT)?;
    let dump = std::fs::read_to_string(format!("{}.{}", output.display(), first + 1))?;
    let total = dump.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("a dump without a total")?;
    Ok(total.trim().parse::<u64>()? / REQUESTS as u64)
}
