//! A server whose parent is real and whose child is not: it answers lines and dies in the way that a line says.
//!
//! Both are this test binary, started again: [`parent`] and [`child`] are tests that do nothing unless the environment
//! says which of the two the process is. Start at [`Server::start`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use porth::config::{Config, Overrides};
use porth::supervisor::child::{Control, EXIT_CONFIGURATION, Handover};
use porth::supervisor::{Ended, Supervisor};
use rustix::process::{Pid, Signal};

/// How long a test waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A running fake server. Dropping one kills it.
pub(super) struct Server {
    parent: Child,
    /// Held open: the test harness in each child writes to it.
    _output: BufReader<ChildStdout>,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts one with `data`, the lines of `config`, and `mode` (see [`child`]); answers when it listens, or what it
    /// said when it ended before.
    pub(super) fn start(data: &Path, config: &str, mode: &str) -> Result<Self, (ExitStatus, String)> {
        let path = data.with_extension("toml");
        std::fs::write(&path, config).unwrap();
        let mut parent = again("supervisor::fake::parent")
            .env("PORTH_TEST_PARENT", &path)
            .env("PORTH_TEST_DATA", data)
            .env("PORTH_TEST_CHILD", mode)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(parent.stdout.take().unwrap());
        let lines = (&mut output).lines().map_while(Result::ok);
        let address = lines.filter_map(|line| Some(line.split_once("listening on http://")?.1.to_owned())).next();
        match address {
            Some(address) => Ok(Self { parent, _output: output, address: address.parse().unwrap() }),
            None => {
                let log = read(parent.stderr.take().unwrap());
                Err((parent.wait().unwrap(), log))
            }
        }
    }

    /// What the child answers to `line`.
    pub(super) fn ask(&self, line: &str) -> std::io::Result<String> {
        ask(self.address, line)
    }

    /// The first good answer to `hello`. A connection may be lost with a dying child, but none may be refused.
    pub(super) fn hello(&self) -> Hello {
        let start = Instant::now();
        loop {
            match self.ask("hello") {
                Ok(text) if !text.is_empty() => return serde_json::from_str(&text).unwrap(),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => panic!("refused"),
                _ if start.elapsed() > PATIENCE => panic!("no answer"),
                _ => {}
            }
        }
    }

    /// Makes the child die as `line` says, and waits for its successor.
    pub(super) fn dies_of(&self, line: &str) -> Hello {
        let before = self.hello();
        let _ = self.ask(line);
        let after = self.hello();
        assert_ne!(before.pid, after.pid, "`{line}` must end the child");
        after
    }

    pub(super) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.parent), signal).unwrap();
    }

    /// Waits for the end and answers it with everything that was logged.
    pub(super) fn wait(mut self) -> (ExitStatus, String) {
        let log = read(self.parent.stderr.take().unwrap());
        (self.parent.wait().unwrap(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// What a child says of itself.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Hello {
    pub(super) pid: i32,
    pub(super) generation: u64,
    pub(super) quarantine: Vec<String>,
    pub(super) without_plugins: Option<String>,
}

pub(super) fn ask(address: SocketAddr, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

fn read(pipe: ChildStderr) -> String {
    BufReader::new(pipe).lines().map_while(Result::ok).collect::<Vec<_>>().join("\n")
}

/// This test binary, told to run only `test`.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// The parent. Exit code 0: drained, 3: cut short, [`EXIT_CONFIGURATION`]: the child said so, 1: anything else.
#[test]
fn parent() {
    let Some(path) = std::env::var_os("PORTH_TEST_PARENT") else { return };
    porth::telemetry::init().unwrap();
    let overrides = Overrides {
        data: std::env::var_os("PORTH_TEST_DATA").map(Into::into),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..Overrides::default()
    };
    let config = Config::load(Some(Path::new(&path)), overrides).unwrap();
    let command = || {
        let mut command = again("supervisor::fake::child");
        command.env_remove("PORTH_TEST_PARENT");
        command
    };
    let code = match Supervisor::new(config, command).and_then(Supervisor::run) {
        Ok(Ended::Drained) => 0,
        Ok(Ended::CutShort) => 3,
        Err(error) => {
            eprintln!("{error}");
            if matches!(error, porth::supervisor::SupervisorError::Configuration) {
                i32::from(EXIT_CONFIGURATION)
            } else {
                1
            }
        }
    };
    std::process::exit(code);
}

/// The child. Its mode is `serve`; `stay` for one that does not leave when it is asked to; `refuse` for one that cannot
/// run with its configuration; `die N` for one whose first N generations die before they are ready.
#[test]
fn child() {
    let Ok(mode) = std::env::var("PORTH_TEST_CHILD") else { return };
    if std::env::var_os("PORTH_TEST_PARENT").is_some() {
        return;
    }
    let (control, handover) = Control::from_stdin(std::process::exit).unwrap();
    assert!(std::io::stdin().lines().next().is_none(), "standard input is empty");
    if mode == "refuse" {
        control.leave(EXIT_CONFIGURATION);
    }
    let deaths = mode.strip_prefix("die ").map_or(0, |count| count.parse().unwrap());
    if handover.start.generation <= deaths {
        std::process::abort();
    }
    let alive = Arc::new(AtomicBool::new(true));
    let beats = (control.clone(), Arc::clone(&alive), handover.config.limits.hang_ms / 4);
    thread::spawn(move || beat(&beats.0, &beats.1, Duration::from_millis(beats.2)));
    let leaving = control.clone();
    control
        .listen(move |_| {
            if mode != "stay" {
                // Longer than `slow` takes.
                thread::sleep(Duration::from_millis(600));
                leaving.leave(0);
            }
        })
        .unwrap();
    control.ready().unwrap();
    serve(&control, handover, &alive);
}

fn beat(control: &Control, alive: &AtomicBool, interval: Duration) {
    while alive.load(Ordering::Relaxed) {
        control.alive();
        thread::sleep(interval);
    }
}

fn serve(control: &Control, handover: Handover, alive: &Arc<AtomicBool>) {
    let Handover { start, mut listeners, lock, .. } = handover;
    let hello = Hello {
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        generation: start.generation,
        quarantine: start.quarantine.into_iter().map(|entry| entry.instance.or(entry.library).unwrap()).collect(),
        without_plugins: start.without_plugins,
    };
    let hello = Arc::new(serde_json::to_string(&hello).unwrap());
    let listener: TcpListener = listeners.remove(0);
    for stream in listener.incoming() {
        let (hello, control, alive) = (Arc::clone(&hello), control.clone(), Arc::clone(alive));
        thread::spawn(move || answer(stream.unwrap(), &hello, &control, &alive));
    }
    drop(lock);
}

/// `hello`; `slow`, the same after 200 ms; `crash JSON`, dies with this fault; `exit`, leaves unasked; `hang`, no longer
/// tells that the child lives; `lifted INSTANCE`, passed on.
fn answer(mut stream: TcpStream, hello: &str, control: &Control, alive: &AtomicBool) {
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    let (verb, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match verb {
        "hello" => {}
        "slow" => thread::sleep(Duration::from_millis(200)),
        "crash" => {
            let fault = format!(r#"{{"fault":{rest}}}"#);
            rustix::net::send(control.socket(), fault.as_bytes(), rustix::net::SendFlags::NOSIGNAL).unwrap();
            std::process::abort();
        }
        "exit" => std::process::exit(0),
        "hang" => alive.store(false, Ordering::Relaxed),
        "lifted" => control.lifted(rest).unwrap(),
        _ => {}
    }
    let _ = stream.write_all(format!("{hello}\n").as_bytes());
    let _ = stream.shutdown(Shutdown::Both);
}

/// Waits until the process `pid` is gone.
pub(super) fn wait_for_end(pid: i32) {
    let Ok(pidfd) = rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), rustix::process::PidfdFlags::empty())
    else {
        return;
    };
    let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let timeout = PATIENCE.try_into().unwrap();
    assert_eq!(rustix::event::poll(&mut polled, Some(&timeout)).unwrap(), 1, "the process {pid} still lives");
}

/// The signal or the code, in words.
pub(super) fn ending(status: ExitStatus) -> String {
    status.signal().map_or_else(|| format!("code {}", status.code().unwrap()), |signal| format!("signal {signal}"))
}
