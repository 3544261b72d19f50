//! What the edge costs: the same handler as axum serves it, and behind Porth's connections and layer (framing, deadlines,
//! the checks of each request, the header fields of each answer).

use crate::load::Load;
use crate::processes::{Cores, cpu_ns, tree};
use crate::servers::{self, Server};
use crate::{Result, callgrind, compiled_in};

/// How many rounds there are.
const ROUNDS: usize = 20;
/// How many requests come before each sample.
const WARM_UP: usize = 640;
/// How many requests a sample is made of.
const SAMPLE: usize = 10_000;

/// What a browser sends along, about.
const BROWSER: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
    accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    accept-language: en-GB,en;q=0.7,cy;q=0.3\r\naccept-encoding: gzip, deflate, br, zstd\r\ndnt: 1\r\n\
    connection: keep-alive\r\nreferer: https://id.example.org/profile?tab=sessions\r\nupgrade-insecure-requests: 1\r\n\
    cookie: PORTH_SESSION=kq1v0Yb3x8jY5o2T0m8wqJ6cQy1nH3uP9sZ4rA7dE2f; theme=dark\r\nsec-fetch-dest: document\r\n\
    sec-fetch-mode: navigate\r\nsec-fetch-site: same-origin\r\npriority: u=0, i\r\n";

/// What came out for one kind of request.
pub(crate) struct Edge {
    /// What is asked.
    pub(crate) what: &'static str,
    /// CPU time per request in nanoseconds as axum serves it, ascending.
    pub(crate) plain_ns: Vec<u64>,
    /// The same behind the edge.
    pub(crate) edge_ns: Vec<u64>,
    /// Instructions per request of both; nothing where valgrind is not installed.
    pub(crate) instructions: Option<(u64, u64)>,
}

/// Measures on a core of the server's own, both servers in turn.
pub(crate) fn run() -> Result<Vec<Edge>> {
    let cores = Cores::find()?;
    let start = |edge| cores.on_server(|| servers::compiled_in(edge, |command| command));
    let (plain, edge) = (start(compiled_in::PLAIN)?, start(compiled_in::SAME_EDGE)?);
    let mut found = Vec::new();
    for (what, fields) in [("a short request", ""), ("a browser's request", BROWSER)] {
        let (mut plain_ns, mut edge_ns) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (server, samples) in [(&plain, &mut plain_ns), (&edge, &mut edge_ns)] {
                samples.push(cores.on_load(|| sample(server, fields))?);
            }
        }
        plain_ns.sort_unstable();
        edge_ns.sort_unstable();
        let instructions = instructions(compiled_in::PLAIN, fields)?.zip(instructions(compiled_in::SAME_EDGE, fields)?);
        found.push(Edge { what, plain_ns, edge_ns, instructions });
    }
    Ok(found)
}

fn sample(server: &Server, fields: &str) -> Result<u64> {
    let processes = tree(server.id())?;
    let mut load = Load::connect_with(server.address, &[compiled_in::PATH.to_owned()], fields)?;
    load.ask(WARM_UP)?;
    let before_ns = cpu_ns(&processes)?;
    load.ask(SAMPLE)?;
    Ok((cpu_ns(&processes)? - before_ns) / SAMPLE as u64)
}

fn instructions(edge: &str, fields: &str) -> Result<Option<u64>> {
    if servers::find("valgrind").is_none() {
        return Ok(None);
    }
    let directory = tempfile::tempdir()?;
    let output = directory.path().join(edge);
    let server = servers::compiled_in(edge, |command| callgrind::under_callgrind(&command, &output))?;
    callgrind::count(&server, &output, 1, &[compiled_in::PATH.to_owned()], fields).map(Some)
}
