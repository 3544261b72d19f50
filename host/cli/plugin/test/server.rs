//! A server of its own for the library under test: this program, in a folder that goes with it.
//!
//! Start at [`Server`]. The library is never opened by this process.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use super::super::super::Failure;
use super::super::super::local;
use super::client::{self, Answer};
use crate::supervisor::local_path;

/// A running server; ended when dropped.
pub(super) struct Server {
    process: Child,
    data: PathBuf,
    pub(super) plugins: PathBuf,
    pub(super) address: SocketAddr,
    log: Arc<Mutex<String>>,
    /// How many crashes were told of.
    pub(super) crashes_known: AtomicU64,
}

/// How patient the server is: much less than in earnest, so that what hangs is found soon.
pub(super) const LIFECYCLE_DEADLINE: Duration = Duration::from_secs(5);

impl Server {
    /// Starts a server without plug-ins in `folder`.
    pub(super) fn start(folder: &Path, more: &str) -> Result<Self, Failure> {
        let (data, plugins) = (folder.join("data"), folder.join("plugins"));
        for made in [&data, &plugins] {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new().mode(0o700).recursive(true).create(made)?;
        }
        let config = folder.join("porth.toml");
        let deadline_ms = LIFECYCLE_DEADLINE.as_millis();
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndata = \"data\"\nplugins = \"plugins\"\nwatch = false\n\n[quarantine]\ncrashes = 0\n\
             unattributed_crashes = 0\n\n[limits]\ndeadline_ms = {deadline_ms}\nlifecycle_deadline_ms = {deadline_ms}\n\
             drain_deadline_ms = 2000\npanics_max = 0\n{more}\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("/proc/self/exe");
        // What the caller's shell says is about another server.
        for name in ["PORTH_CONFIG", "PORTH_DATA", "PORTH_PLUGINS", "PORTH_LISTEN"] {
            command.env_remove(name);
        }
        command.arg("serve").arg("--config").arg(&config);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let log: Arc<Mutex<String>> = Arc::default();
        let (sender, listening) = mpsc::channel();
        if let Some(output) = process.stdout.take() {
            each_line(output, move |line| {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    // Nobody waits for it any more when this server is started anew after a crash.
                    let _ = sender.send(address.split(' ').next().unwrap_or_default().parse().ok());
                }
            });
        }
        if let Some(output) = process.stderr.take() {
            let log = Arc::clone(&log);
            each_line(output, move |line| {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            });
        }
        let address = match listening.recv_timeout(PATIENCE) {
            Ok(Some(address)) => address,
            Ok(None) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let _ = process.kill();
                let said = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(Failure::new(format!("a server to test with does not start:\n{said}")));
            }
        };
        Ok(Self { process, data, plugins, address, log, crashes_known: AtomicU64::new(0) })
    }

    /// Asks as its administrator; again where a fresh process takes over, as one does soon after reloads of large
    /// libraries.
    pub(super) async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let (socket, path) = (local_path(&self.data), format!("/api{path}"));
        let asked = async {
            loop {
                let (status, value) = local::exchange(&socket, method.clone(), &path, body.clone()).await?;
                let answer = Answer::of_json(status.as_u16(), value);
                if answer.code() != "recycling" {
                    return Ok(answer);
                }
                tokio::time::sleep(RECYCLING_PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err::<_, Box<dyn std::error::Error + Send + Sync>>(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer for {} s", PATIENCE.as_secs())),
        }
    }

    /// How many crashes the server counts.
    pub(super) async fn crashes(&self) -> Option<u64> {
        self.admin(Method::GET, "/local/status", None).await.ok()?.json.get("crashes")?.as_u64()
    }

    /// Asks as a client.
    pub(super) async fn ask(&self, request: client::Request) -> Result<Answer, String> {
        client::ask(self.address, request).await
    }

    /// What was logged since a place in the log.
    pub(super) fn log_since(&self, place: usize) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.get(place..).unwrap_or_default().to_owned()
    }

    /// Where the log ends now.
    pub(super) fn log_end(&self) -> usize {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The process that serves: another after a crash; none while one ends and the next begins.
    pub(super) fn child(&self) -> Option<u32> {
        let parent = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        let mut children = children.split_whitespace();
        let child = children.next()?.parse().ok();
        if children.next().is_some() { None } else { child }
    }

    /// Threads, open files and memory in KiB of the process that serves.
    pub(super) fn usage(&self) -> Option<Usage> {
        let child = self.child()?;
        let count = |what: &str| Some(std::fs::read_dir(format!("/proc/{child}/{what}")).ok()?.count());
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let memory_kib = memory.split_whitespace().next()?.parse().ok()?;
        Some(Usage { threads: count("task")?, files: count("fd")?, memory_kib })
    }
}

/// Reads what a program writes to its end, on a thread: what nobody reads would hold it up.
fn each_line(output: impl Read + Send + 'static, mut take: impl FnMut(String) + Send + 'static) {
    std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).for_each(&mut take));
}

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) threads: usize,
    pub(super) files: usize,
    pub(super) memory_kib: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        // As an administrator stops it; who does not end is killed.
        let ended = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = ended {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < LIFECYCLE_DEADLINE * 2 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Until the next look whether a fresh process has taken over.
const RECYCLING_PAUSE: Duration = Duration::from_millis(50);

/// Longer than anything takes that is within the deadlines.
const PATIENCE: Duration = Duration::from_secs(30);
