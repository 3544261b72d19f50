//! A server whose parent is real and whose child is not: it answers lines and dies in the way that a line says.
//!
//! Both are this test binary, started again: [`parent`] and [`child`] are tests that do nothing unless the environment
//! says which of the two the process is. Start at [`Server::start`].

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use porth::config::{Config, Overrides};
use porth::supervisor::child::{Control, EXIT_CONFIGURATION, Handover, Order};
use porth::supervisor::{Ended, Sources, Supervisor};
use rustix::process::{Pid, Signal};

use crate::support::process;
use crate::support::server::listening_at;

/// How long a test waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A running fake server. Dropping one kills it.
pub(super) struct Server {
    parent: Child,
    log: Arc<Mutex<String>>,
    reader: thread::JoinHandle<()>,
    data: PathBuf,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts one with `data`, the lines of `config`, and `mode` (see [`child`]); answers when it listens, or what it
    /// said when it ended before.
    pub(super) fn start(data: &Path, config: &str, mode: &str) -> Result<Self, (ExitStatus, String)> {
        let path = data.with_extension("toml");
        std::fs::write(&path, config).unwrap();
        let mut parent = again("supervisor::fake::parent", &std::env::current_exe().unwrap())
            .env("PORTH_TEST_PARENT", &path)
            .env("PORTH_TEST_DATA", data)
            .env("PORTH_TEST_CHILD", mode)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = parent.stderr.take().unwrap();
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stderr.read(&mut buffer) {
                    log.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
                }
            }
        });
        let listening = listening_at(parent.stdout.take().unwrap());
        let mut server = Self { parent, log, reader, data: data.to_owned(), address: ([0; 4], 0).into() };
        match listening.recv_timeout(PATIENCE) {
            Ok(address) => server.address = address,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(server.wait()),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it neither listens nor ends: {}", server.state()),
        }
        Ok(server)
    }

    /// Writes another configuration, and asks for a recycle.
    pub(super) fn reconfigure(&self, config: &str) {
        std::fs::write(self.data.with_extension("toml"), config).unwrap();
        self.signal(Signal::HUP);
    }

    /// What children do that are to take over from now on; see [`take_over`].
    pub(super) fn next_ones(&self, what: &str) {
        std::fs::write(self.data.join("next"), what).unwrap();
    }

    /// Waits until a child of this generation answers.
    pub(super) fn wait_for(&self, generation: u64) -> Hello {
        let start = Instant::now();
        loop {
            let hello = self.hello();
            if hello.generation >= generation {
                assert_eq!(hello.generation, generation, "{}", self.log());
                return hello;
            }
            assert!(start.elapsed() < PATIENCE, "no child {generation}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// What was logged up to now.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a text is in the log so many times.
    pub(super) fn wait_for_log(&self, text: &str, times: usize) {
        let start = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(start.elapsed() < PATIENCE, "no {times} × `{text}`: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Who led, one after the other, as they say themselves, see [`Leads`].
    pub(super) fn leaders(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.data.join("leaders")).unwrap();
        text.lines().map(|line| line.split(" by ").next().unwrap().to_owned()).collect()
    }

    /// Waits until they are these, which must then have been one at a time.
    pub(super) fn wait_for_leaders(&self, expected: &[&str]) {
        let start = Instant::now();
        while self.leaders() != expected {
            assert!(start.elapsed() < PATIENCE, "{:?} instead of {expected:?}: {}", self.leaders(), self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The processes of all children.
    pub(super) fn children(&self) -> Vec<i32> {
        // By the thread that started them.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.parent.id())).into_iter().flatten().flatten();
        let children = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
        children.flat_map(|pids| pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
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
        let start = Instant::now();
        let status = loop {
            match self.parent.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.state()),
            }
            thread::sleep(Duration::from_millis(2));
        };
        // Children that outlive it have the log open; what they do is for the test to find out.
        while !self.reader.is_finished() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        (status, self.log())
    }

    /// What it does and has logged, for a test that fails.
    fn state(&self) -> String {
        format!("{}\n{}", process::doing(&self.parent), self.log())
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
    /// What its configuration says.
    pub(super) admin_scope: String,
    pub(super) must_run: Option<Vec<String>>,
}

pub(super) fn ask(address: SocketAddr, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// This test binary, found at `program` and told to run only `test`.
fn again(test: &str, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// The parent. Exit code 0: drained, 3: cut short, [`EXIT_CONFIGURATION`]: the child said so, 1: anything else.
#[test]
fn parent() {
    let Some(path) = std::env::var_os("PORTH_TEST_PARENT") else { return };
    porth::telemetry::init(&porth::telemetry::Log::default()).unwrap();
    let read = move || {
        let overrides = Overrides {
            data: std::env::var_os("PORTH_TEST_DATA").map(Into::into),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..Overrides::default()
        };
        Config::load(Some(Path::new(&path)), overrides)
    };
    let command = |program: &Path| {
        let mut command = again("supervisor::fake::child", program);
        command.env_remove("PORTH_TEST_PARENT");
        command
    };
    let config = read().unwrap();
    let sources = Sources { config: Box::new(read), command: Box::new(command) };
    let code = match Supervisor::new(config, sources).and_then(Supervisor::run) {
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
/// run with its configuration; `die N` for one whose first N generations die before they are ready; `resign-slowly` for
/// one that takes a second to resign; `worn-out` for one that asks for another at once. Whatever the mode, while there is a
/// file `die` it dies before it is ready.
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
    if handover.start.generation <= deaths || handover.config.data.join("die").exists() {
        std::process::abort();
    }
    let alive = Arc::new(AtomicBool::new(true));
    let beats = (control.clone(), Arc::clone(&alive), handover.config.limits.hang_ms / 4);
    thread::spawn(move || beat(&beats.0, &beats.1, Duration::from_millis(beats.2)));

    let leads = Leads::new(&handover);
    let accepting = Arc::new(AtomicBool::new(true));
    let (told, orders) = mpsc::channel();
    control.listen(move |order| told.send(order).unwrap()).unwrap();
    let heeding = (control.clone(), mode.clone(), Arc::clone(&leads), Arc::clone(&accepting));
    thread::spawn(move || heed(&orders, &heeding.0, &heeding.1, &heeding.2, &heeding.3));
    if handover.must_run.is_some() {
        take_over(&control, &handover, &leads, &alive);
    }
    control.ready().unwrap();
    if mode == "worn-out" {
        control.recycle("worn out").unwrap();
    }
    serve(&control, handover, &alive, &accepting);
}

/// A file that says who leads, one line each time: `lead N by PID` and `resigned N by PID`, or `two` when a child is to
/// lead while another does.
struct Leads {
    path: PathBuf,
    generation: u64,
    /// Whether the child is to accept.
    goes_on: AtomicBool,
}

impl Leads {
    fn new(handover: &Handover) -> Arc<Self> {
        let (path, generation) = (handover.config.data.join("leaders"), handover.start.generation);
        let leads = Arc::new(Self { path, generation, goes_on: AtomicBool::new(false) });
        if handover.start.lead {
            leads.lead();
        }
        leads
    }

    fn lead(&self) {
        let before = std::fs::read_to_string(&self.path).unwrap_or_default();
        // Whoever led before has said that it does not, or is gone.
        let other_leads = before.lines().last().and_then(|line| line.strip_prefix("lead ")?.split(" by ").nth(1));
        let alive = other_leads.is_some_and(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        });
        self.write(if alive { "two" } else { "lead" });
    }

    fn go_on(&self) {
        self.goes_on.store(true, Ordering::SeqCst);
    }

    fn write(&self, what: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(format!("{what} {} by {}\n", self.generation, std::process::id()).as_bytes()).unwrap();
    }

    fn wait(&self) {
        while !self.goes_on.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn heed(orders: &mpsc::Receiver<Order>, control: &Control, mode: &str, leads: &Leads, accepting: &AtomicBool) {
    for order in orders {
        match order {
            Order::TellRunning => control.running(&["plugin/fake".to_owned()]).unwrap(),
            Order::Resign => {
                if mode == "resign-slowly" {
                    thread::sleep(Duration::from_secs(1));
                }
                leads.write("resigned");
                control.resigned().unwrap();
            }
            Order::TakeOver => leads.go_on(),
            Order::Lead => {
                leads.lead();
                leads.go_on();
            }
            Order::Drain(_) if mode == "stay" => {
                accepting.store(false, Ordering::SeqCst);
                control.closed().unwrap();
            }
            Order::Drain(_) => {
                accepting.store(false, Ordering::SeqCst);
                let _ = control.closed();
                let control = control.clone();
                // Longer than `slow` takes.
                let pause = Duration::from_millis(if mode == "worn-out" { 0 } else { 600 });
                thread::spawn(move || {
                    thread::sleep(pause);
                    control.leave(0);
                });
            }
        }
    }
}

/// What a child does that is to take over, by what is in the file `next`: nothing special; `fail`; `exit`, `crash JSON`
/// or `hang` before it is initialised; `slow`, takes a second until then; `slow-crash`, crashes then; `crash-waiting`,
/// while the other one shall resign; `crash-accepting`, when it is to accept.
fn take_over(control: &Control, handover: &Handover, leads: &Leads, alive: &AtomicBool) {
    let what = std::fs::read_to_string(handover.config.data.join("next")).unwrap_or_default();
    let (verb, rest) = what.split_once(' ').unwrap_or((&what, ""));
    match verb {
        "fail" => {
            control.failed("on purpose").unwrap();
            control.leave(1);
        }
        "exit" => std::process::exit(0),
        "crash" => crash(control, rest),
        "hang" => {
            alive.store(false, Ordering::SeqCst);
            thread::sleep(PATIENCE);
        }
        "slow" => thread::sleep(Duration::from_secs(1)),
        "slow-crash" => {
            thread::sleep(Duration::from_secs(1));
            std::process::abort();
        }
        _ => {}
    }
    control.initialised().unwrap();
    if verb == "crash-waiting" {
        thread::sleep(Duration::from_millis(300));
        std::process::abort();
    }
    leads.wait();
    if verb == "crash-accepting" {
        std::process::abort();
    }
}

fn beat(control: &Control, alive: &AtomicBool, interval: Duration) {
    while alive.load(Ordering::Relaxed) {
        control.alive();
        thread::sleep(interval);
    }
}

fn serve(control: &Control, handover: Handover, alive: &Arc<AtomicBool>, accepting: &AtomicBool) {
    let Handover { start, must_run, config, mut listeners, lock, .. } = handover;
    let hello = Hello {
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        generation: start.generation,
        quarantine: start.quarantine.into_iter().map(|entry| entry.instance.or(entry.library).unwrap()).collect(),
        without_plugins: start.without_plugins,
        admin_scope: config.admin_scope,
        must_run,
    };
    let hello = Arc::new(serde_json::to_string(&hello).unwrap());
    let listener: TcpListener = listeners.remove(0);
    // Another child may take what this one was woken for.
    listener.set_nonblocking(true).unwrap();
    while accepting.load(Ordering::SeqCst) {
        let mut polled = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&Duration::from_millis(10).try_into().unwrap())).unwrap();
        let Ok((stream, _)) = listener.accept() else { continue };
        stream.set_nonblocking(false).unwrap();
        let (hello, control, alive) = (Arc::clone(&hello), control.clone(), Arc::clone(alive));
        thread::spawn(move || answer(stream, &hello, &control, &alive));
    }
    drop(listener);
    loop {
        thread::sleep(Duration::from_secs(1));
        let _held = &lock;
    }
}

/// `hello`; `slow`, the same after 200 ms; `crash JSON`, dies with this fault; `exit`, leaves unasked; `hang`, no longer
/// tells that the child lives; `lifted INSTANCE` and `recycle REASON`, passed on.
fn answer(mut stream: TcpStream, hello: &str, control: &Control, alive: &AtomicBool) {
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    let (verb, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match verb {
        "hello" => {}
        "slow" => thread::sleep(Duration::from_millis(200)),
        "crash" => crash(control, rest),
        "exit" => std::process::exit(0),
        "hang" => alive.store(false, Ordering::Relaxed),
        "lifted" => control.lifted(rest).unwrap(),
        "recycle" => control.recycle(rest).unwrap(),
        _ => {}
    }
    let _ = stream.write_all(format!("{hello}\n").as_bytes());
    let _ = stream.shutdown(Shutdown::Both);
}

fn crash(control: &Control, fault: &str) {
    let fault = format!(r#"{{"fault":{fault}}}"#);
    rustix::net::send(control.socket(), fault.as_bytes(), rustix::net::SendFlags::NOSIGNAL).unwrap();
    std::process::abort();
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
