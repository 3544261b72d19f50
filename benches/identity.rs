//! What it costs to know somebody: a request with a session's cookie, a log-in against the bare hash, and what a storm of
//! log-ins does to everybody else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

use crate::load::Load;
use crate::processes::{Cores, cpu_ns, thread_cpu_ns, tree};
use crate::servers::{self, Server};
use crate::{Result, compiled_in, rounds};

/// How many rounds there are.
const ROUNDS: usize = 12;
/// How many requests with a cookie make a sample.
const REQUESTS: usize = 4000;
/// How many log-ins make a sample.
const LOG_INS: usize = 20;
/// How many log in at once in a storm.
const STORM: usize = 50;
/// How many storms there are.
const STORMS: usize = 5;

const USERNAME: &str = "bench";
const PASSWORD: &str = "correct horse";
const LIST: &str = "/api/profile_list/";

/// What came out; all ascending.
pub(crate) struct Identity {
    /// CPU time of a `GET /api/profile_list/` with a cookie, in nanoseconds.
    pub(crate) list_ns: Vec<u64>,
    /// The same for Glewlwyd; empty where it is not installed.
    pub(crate) glewlwyd_list_ns: Vec<u64>,
    /// CPU time of a log-in, in nanoseconds.
    pub(crate) log_in_ns: Vec<u64>,
    /// CPU time of the hash alone, in nanoseconds.
    pub(crate) hash_ns: Vec<u64>,
    /// How long a plug-in's answers took while nobody logged in.
    pub(crate) calm: Vec<Duration>,
    /// The same while as many as in [`STORM`] logged in at once, several times.
    pub(crate) storm: Vec<Duration>,
}

/// Measures on a core of the server's own, but for the storm, which has all.
pub(crate) fn run() -> Result<Identity> {
    let cores = Cores::find()?;
    let directory = tempfile::tempdir()?;
    let home = rounds::one()?;
    let server = cores.on_server(|| home.serve())?;
    add_user(server.address, &home.new_key()?)?;
    let cookie = log_in(server.address, USERNAME, PASSWORD)?;
    let glewlwyd = cores.on_server(|| servers::glewlwyd(directory.path()))?;
    // The administrator whom its package makes.
    let other = glewlwyd.as_ref().map(|server| Ok((server, log_in(server.address, "admin", "password")?)));
    let other = other.transpose().map_err(|error: Box<dyn std::error::Error>| format!("Glewlwyd: {error}"))?;

    let mut found = Identity {
        list_ns: Vec::new(),
        glewlwyd_list_ns: Vec::new(),
        log_in_ns: Vec::new(),
        hash_ns: Vec::new(),
        calm: Vec::new(),
        storm: Vec::new(),
    };
    for _ in 0..ROUNDS {
        found.list_ns.push(cores.on_load(|| list(&server, &cookie, REQUESTS))?);
        if let Some((server, cookie)) = &other {
            found.glewlwyd_list_ns.push(cores.on_load(|| list(server, cookie, REQUESTS / 10))?);
        }
        found.hash_ns.push(cores.on_server(hash)?);
        found.log_in_ns.push(cores.on_load(|| log_ins(&server))?);
    }
    drop(server);

    let server = home.serve()?;
    for _ in 0..STORMS {
        let storm = std::thread::scope(|scope| {
            let logging_in: Vec<_> = (0..STORM)
                .map(|_| scope.spawn(|| log_in(server.address, USERNAME, PASSWORD).map_err(|error| error.to_string())))
                .collect();
            let storm = ask_while(server.address, || logging_in.iter().any(|thread| !thread.is_finished()))?;
            for thread in logging_in {
                thread.join().map_err(|_| "a log-in panicked")??;
            }
            Result::Ok(storm)
        })?;
        let length: Duration = storm.iter().sum();
        let began = Instant::now();
        found.calm.extend(ask_while(server.address, || began.elapsed() < length)?);
        found.storm.extend(storm);
    }
    for times in [&mut found.list_ns, &mut found.glewlwyd_list_ns, &mut found.log_in_ns, &mut found.hash_ns] {
        times.sort_unstable();
    }
    found.calm.sort_unstable();
    found.storm.sort_unstable();
    Ok(found)
}

/// CPU time of a request for the users of a session.
fn list(server: &Server, cookie: &str, requests: usize) -> Result<u64> {
    let processes = tree(server.id())?;
    let mut load = Load::connect_with(server.address, &[LIST.to_owned()], &format!("cookie: {cookie}\r\n"))?;
    load.ask(requests / 10)?;
    let before = cpu_ns(&processes)?;
    load.ask(requests)?;
    Ok((cpu_ns(&processes)? - before) / requests as u64)
}

/// CPU time of a log-in.
fn log_ins(server: &Server) -> Result<u64> {
    let processes = tree(server.id())?;
    let before = cpu_ns(&processes)?;
    for _ in 0..LOG_INS {
        log_in(server.address, USERNAME, PASSWORD)?;
    }
    Ok((cpu_ns(&processes)? - before) / LOG_INS as u64)
}

/// CPU time of comparing a password with its hash.
fn hash() -> Result<u64> {
    let argon2 = Argon2::default();
    let hash = argon2.hash_password(PASSWORD.as_bytes()).map_err(|error| error.to_string())?.to_string();
    // On a thread of its own, as in the server, for its memory to be like that.
    let hashing = move || -> std::result::Result<u64, String> {
        let hash = PasswordHash::new(&hash).map_err(|error| error.to_string())?;
        let before = thread_cpu_ns().map_err(|error| error.to_string())?;
        for _ in 0..LOG_INS {
            argon2.verify_password(PASSWORD.as_bytes(), &hash).map_err(|error| error.to_string())?;
        }
        Ok((thread_cpu_ns().map_err(|error| error.to_string())? - before) / LOG_INS as u64)
    };
    Ok(std::thread::spawn(hashing).join().map_err(|_| "a hash panicked")??)
}

/// How long each answer of a plug-in takes while something goes on.
fn ask_while(address: SocketAddr, goes_on: impl Fn() -> bool) -> Result<Vec<Duration>> {
    let mut load = Load::connect(address, &[compiled_in::PATH.to_owned()])?;
    let mut times = Vec::new();
    while goes_on() {
        let began = Instant::now();
        load.ask(1)?;
        times.push(began.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(times)
}

fn add_user(address: SocketAddr, key: &str) -> Result<()> {
    let body = format!(r#"{{"username": "{USERNAME}", "password": "{PASSWORD}", "scope": []}}"#);
    post(address, "/api/user/", &format!("authorization: token {key}\r\n"), &body).map(drop)
}

/// Logs in; the cookie.
fn log_in(address: SocketAddr, username: &str, password: &str) -> Result<String> {
    let answer =
        post(address, "/api/auth/", "", &format!(r#"{{"username": "{username}", "password": "{password}"}}"#))?;
    let cookie = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap_or_default().to_owned())
    });
    cookie.ok_or_else(|| format!("a log-in without a cookie: {answer}").into())
}

/// The head of an answer, which must be a 200.
pub(crate) fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n{fields}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(format!("POST {path}: {answer}").into()) }
}
