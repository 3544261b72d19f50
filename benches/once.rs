//! What happens once: a start, a crash; and what a server that waits takes in memory.

use std::time::{Duration, Instant};

use crate::load::{Load, ask_once};
use crate::processes::{memory_bytes, tree};
use crate::servers::{self, Home};
use crate::{Result, compiled_in};

/// How often the server is started, and how often it crashes.
const TIMES: usize = 20;

/// What came out.
pub(crate) struct Once {
    /// From starting a server with four instances to its first 200, ascending.
    pub(crate) starts: Vec<Duration>,
    /// The same for Glewlwyd with the two instances it comes with; empty where it is not installed.
    pub(crate) glewlwyd_starts: Vec<Duration>,
    /// From a SIGSEGV in a plug-in to the next 200, ascending.
    pub(crate) outages: Vec<Duration>,
    /// Memory of both processes after some requests, in bytes.
    pub(crate) memory_bytes: u64,
    /// Memory of Glewlwyd likewise.
    pub(crate) glewlwyd_memory_bytes: Option<u64>,
}

/// Measures on all cores.
pub(crate) fn run() -> Result<Once> {
    let instances = [("bench", "bench"), ("bench", "other"), ("hello", "hello"), ("mock", "mock")];
    let home = Home::new(&instances.map(|(module, name)| (module, name.to_owned())))?;
    // The first start of all makes the database and probes the libraries.
    drop(home.serve()?);
    let starts = sorted(|| {
        let began = Instant::now();
        let server = home.serve()?;
        ask_once(server.address, compiled_in::PATH)?;
        Ok(Some(began.elapsed()))
    })?;
    let server = home.serve()?;
    Load::connect(server.address, &[compiled_in::PATH.to_owned(), "/api/hello/hello/you".to_owned()])?.ask(1000)?;
    let memory_bytes = memory_bytes_at_rest(server.id())?;
    drop(server);

    let directory = tempfile::tempdir()?;
    let glewlwyd_starts = sorted(|| {
        let began = Instant::now();
        Ok(servers::glewlwyd(directory.path())?.map(|_| began.elapsed()))
    })?;
    let glewlwyd = servers::glewlwyd(directory.path())?;
    let glewlwyd_memory_bytes = match &glewlwyd {
        Some(server) => {
            Load::connect(server.address, &["/config".to_owned()])?.ask(1000)?;
            Some(memory_bytes_at_rest(server.id())?)
        }
        None => None,
    };

    let home = Home::new(&[("bench", "bench".to_owned()), ("misbehaves", "bad".to_owned())])?;
    let server = home.serve_and_log("off")?;
    let outages = sorted(|| {
        // It takes the connection with it.
        let _ = ask_once(server.address, "/api/bad/segv");
        let began = Instant::now();
        ask_once(server.address, compiled_in::PATH)?;
        Ok(Some(began.elapsed()))
    })?;
    Ok(Once { starts, glewlwyd_starts, outages, memory_bytes, glewlwyd_memory_bytes })
}

fn sorted(mut measure: impl FnMut() -> Result<Option<Duration>>) -> Result<Vec<Duration>> {
    let mut all = Vec::new();
    for _ in 0..TIMES {
        all.extend(measure()?);
    }
    all.sort_unstable();
    Ok(all)
}

fn memory_bytes_at_rest(process: u32) -> Result<u64> {
    std::thread::sleep(Duration::from_secs(1));
    memory_bytes(&tree(process)?)
}
