//! CPU time per request of every subject, in rounds: each has its turn in each, so that a busy spell hits all of them.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::processes::{Cores, cpu_ns, threads_named, tree};
use crate::servers::{self, Home, Server};
use crate::{Result, compiled_in};

/// How many rounds there are: always the lower number, more while there is time.
const ROUNDS: RangeInclusive<usize> = 10..=30;
/// When no further round begins.
const TIME: Duration = Duration::from_secs(120);
/// How many instances there are instead of one.
pub(crate) const MANY: usize = 200;
/// The paths of the fixture's handlers.
pub(crate) const HANDLERS: [&str; 4] = ["sync", "async", "pending", "own"];
/// How many requests come before each sample, for connections and caches to be ready.
const WARM_UP: usize = 640;
/// How many requests a sample is made of: less than a tenth of a second of work.
const SAMPLE: usize = 10_000;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The handler compiled in, as axum serves it.
    Plain,
    /// The handler compiled in, with the same edge.
    SameEdge,
    /// A handler of the plug-in's one instance, by its path.
    Plugin(&'static str),
    /// The short handler, the requests spread over [`MANY`] instances.
    Many,
    /// nginx.
    Nginx,
    /// Glewlwyd.
    Glewlwyd,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Rounds {
    /// For each subject, CPU time per request in nanoseconds, ascending.
    pub(crate) samples: Vec<(Subject, Vec<u64>)>,
    /// What was not measured, and why.
    pub(crate) left_out: Vec<String>,
}

/// A subject with what its turns need.
struct Turn {
    subject: Subject,
    address: SocketAddr,
    processes: Vec<u32>,
    paths: Vec<String>,
    samples: Vec<u64>,
}

impl Turn {
    fn new(subject: Subject, server: &Server, paths: Vec<String>) -> Result<Self> {
        let (address, processes) = (server.address, tree(server.id())?);
        Ok(Self { subject, address, processes, paths, samples: Vec::new() })
    }

    fn take(&mut self) -> Result<()> {
        // Glewlwyd takes several times as long for each, and needs no fine comparison.
        let requests = if self.subject == Subject::Glewlwyd { SAMPLE / 5 } else { SAMPLE };
        // New connections each time: a server may end one that was idle for the length of a round.
        let mut load = Load::connect(self.address, &self.paths)?;
        load.ask(WARM_UP)?;
        let before_ns = cpu_ns(&self.processes)?;
        load.ask(requests)?;
        let used_ns = cpu_ns(&self.processes)? - before_ns;
        self.samples.push(used_ns / requests as u64);
        Ok(())
    }
}

/// Starts every server, measures, ends them.
pub(crate) fn run() -> Result<Rounds> {
    let cores = Cores::find()?;
    let directory = tempfile::tempdir()?;
    let (one, many) = (one()?, many()?);
    let mut left_out = Vec::new();
    let mut turns = Vec::new();

    let plain = cores.on_server(|| servers::compiled_in(compiled_in::PLAIN, |command| command))?;
    turns.push(Turn::new(Subject::Plain, &plain, vec![compiled_in::PATH.to_owned()])?);
    let same_edge = cores.on_server(|| servers::compiled_in(compiled_in::SAME_EDGE, |command| command))?;
    turns.push(Turn::new(Subject::SameEdge, &same_edge, vec![compiled_in::PATH.to_owned()])?);
    let one = cores.on_server(|| one.serve())?;
    for handler in HANDLERS {
        turns.push(Turn::new(Subject::Plugin(handler), &one, vec![format!("/api/bench/{handler}")])?);
    }
    let many = cores.on_server(|| many.serve())?;
    turns.push(Turn::new(Subject::Many, &many, paths_of_many())?);
    let nginx = cores.on_server(|| servers::nginx(directory.path()))?;
    match &nginx {
        Some(server) => turns.push(Turn::new(Subject::Nginx, server, vec!["/".to_owned()])?),
        None => left_out.push("nginx is not installed, so it is left out".to_owned()),
    }
    let glewlwyd = cores.on_server(|| servers::glewlwyd(directory.path()))?;
    match &glewlwyd {
        Some(server) => turns.push(Turn::new(Subject::Glewlwyd, server, vec!["/config".to_owned()])?),
        None => left_out.push("Glewlwyd is not installed, so it is left out".to_owned()),
    }

    let began = Instant::now();
    for round in 1..=*ROUNDS.end() {
        cores.on_load(|| turns.iter_mut().try_for_each(Turn::take))?;
        if round >= *ROUNDS.start() && began.elapsed() > TIME {
            break;
        }
    }
    // By now the threads that only helped at the start have ended, which have the same name.
    let workers = threads_named(&tree(one.id())?, "tokio-rt-worker")?;
    if workers != 1 {
        return Err(format!("the server had {workers} workers on one core, expected 1").into());
    }
    let samples = turns.into_iter().map(|mut turn| {
        turn.samples.sort_unstable();
        (turn.subject, turn.samples)
    });
    Ok(Rounds { samples: samples.collect(), left_out })
}

/// A server with one instance of the fixture.
pub(crate) fn one() -> Result<Home> {
    Home::new(&[("bench", "bench".to_owned())])
}

/// A server with many.
pub(crate) fn many() -> Result<Home> {
    let instances: Vec<_> = (0..MANY).map(|number| ("bench", format!("bench-{number}"))).collect();
    Home::new(&instances)
}

/// The short handler of each of the many.
pub(crate) fn paths_of_many() -> Vec<String> {
    (0..MANY).map(|number| format!("/api/bench-{number}/sync")).collect()
}
