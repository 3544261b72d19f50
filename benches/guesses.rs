//! Whether the time of a log-in that fails tells who there is: of known, unknown and disabled users, and of locked names
//! that are known and unknown, each at random among the others.
//!
//! Start at [`run`]. Every guess goes over the same connection, which is more than a stranger far away can see.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::identity::post;
use crate::load::answer_len;
use crate::processes::Cores;
use crate::servers::Home;
use crate::{Result, report};

/// How many guesses are made for each kind of name. Where times tell nothing, the area then strays by 0.013 (standard
/// deviation), a quarter of what the bar lets it.
const GUESSES: usize = 1200;
/// How many names of each kind there are.
const NAMES: usize = 40;
/// Says which names are of which kind, and in which order they are guessed.
const SEED: u8 = 7;

const UNLOCKED: &str = "[login]\nname_failures_max = 0\npeer_failures_max = 0\n";
const LOCKED: &str = "[login]\nname_failures_max = 1\nname_lock_s = 3600\npeer_failures_max = 0\n";

/// The kinds of names.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Known,
    Unknown,
    Disabled,
}

/// Pairs of kinds, each with the area under the curve: how likely a guess at the first takes longer than one at the
/// second. Half means that times tell nothing.
pub(crate) struct Guesses {
    pub(crate) areas: Vec<(&'static str, f64)>,
}

/// Guesses with lockout off, and at names that are locked.
pub(crate) fn run() -> Result<Guesses> {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]);
    let all = [Kind::Known, Kind::Unknown, Kind::Disabled];
    let [known, unknown, disabled] = guess(UNLOCKED, all, "401", &mut random)?;
    let both = [Kind::Known, Kind::Unknown];
    let [locked_known, locked_unknown] = guess(LOCKED, both, "429", &mut random)?;
    let areas = vec![
        ("failed log-in, known against unknown, AUC", area(&known, &unknown)),
        ("failed log-in, known against disabled, AUC", area(&known, &disabled)),
        ("failed log-in, disabled against unknown, AUC", area(&disabled, &unknown)),
        ("locked name, known against unknown, AUC", area(&locked_known, &locked_unknown)),
    ];
    Ok(Guesses { areas })
}

/// How long guesses at names of each kind take on a server of their own, which answers them with a status.
fn guess<const N: usize>(
    config: &str,
    kinds: [Kind; N],
    status: &str,
    random: &mut TestRng,
) -> Result<[Vec<Duration>; N]> {
    let cores = Cores::find()?;
    let home = Home::new(&[])?;
    home.configure(config)?;
    let server = cores.on_server(|| home.serve())?;
    let key = home.new_key()?;

    // The names say nothing, also not by the order in which they were added.
    let mut names: Vec<(usize, String)> =
        (0..N).cycle().zip((0..N * NAMES).map(|number| format!("person{number:03}"))).collect();
    shuffle(&mut names, random);
    for (place, name) in &names {
        match kinds.get(*place) {
            Some(Kind::Known) => add(server.address, &key, name, true)?,
            Some(Kind::Disabled) => add(server.address, &key, name, false)?,
            Some(Kind::Unknown) | None => {}
        }
    }
    let mut times = [const { Vec::new() }; N];
    let mut order: Vec<&(usize, String)> = names.iter().cycle().take(N * GUESSES).collect();
    shuffle(&mut order, random);
    cores.on_load(|| {
        let mut connection = Connection::open(server.address)?;
        // Once each, to warm up and, where a failure locks, to lock.
        for (_, name) in &names {
            connection.guess(name, "4")?;
        }
        for (place, name) in order {
            let time = connection.guess(name, status)?;
            times.get_mut(*place).ok_or("a kind without a place")?.push(time);
        }
        Ok(())
    })?;
    Ok(times)
}

fn add(address: SocketAddr, key: &str, name: &str, enabled: bool) -> Result<()> {
    let body = format!(r#"{{"username": "{name}", "password": "correct horse", "scope": [], "enabled": {enabled}}}"#);
    post(address, "/api/user/", &format!("authorization: token {key}\r\n"), &body).map(drop)
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, address })
    }

    /// How long a wrong password for a name takes to be answered with a status that begins so.
    fn guess(&mut self, name: &str, status: &str) -> Result<Duration> {
        let body = format!(r#"{{"username": "{name}", "password": "wrong horse!"}}"#);
        let request = format!(
            "POST /api/auth/ HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut buffer = [0; 4096];
        let mut len = 0;
        let began = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        loop {
            let read = self.stream.read(buffer.get_mut(len..).unwrap_or_default())?;
            len += read;
            let answer = buffer.get(..len).unwrap_or_default();
            if answer_len(answer).is_some_and(|expected| len >= expected) {
                let time = began.elapsed();
                let is_right = answer.starts_with(format!("HTTP/1.1 {status}").as_bytes());
                let text = String::from_utf8_lossy(answer);
                return if is_right { Ok(time) } else { Err(format!("expected {status}, got: {text}").into()) };
            }
            if read == 0 {
                return Err("the server ended a connection instead of answering".into());
            }
        }
    }
}

/// Any order is as likely as any other (Fisher and Yates).
fn shuffle<T>(all: &mut [T], random: &mut TestRng) {
    for end in (1..all.len()).rev() {
        let place = random.next_u64() % (end as u64 + 1);
        all.swap(end, usize::try_from(place).unwrap_or_default());
    }
}

/// The part of all pairs in which the first is longer; of those that are alike, half (Mann and Whitney).
fn area(first: &[Duration], second: &[Duration]) -> f64 {
    let mut second = second.to_vec();
    second.sort_unstable();
    let halves: usize = first
        .iter()
        .map(|time| second.partition_point(|other| other < time) + second.partition_point(|other| other <= time))
        .sum();
    report::ratio_of(halves, 2 * first.len() * second.len())
}
