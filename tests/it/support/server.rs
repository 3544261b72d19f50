//! A whole server for a test: the binary, a data directory, a plug-in directory, a port of its own.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::process::InTime as _;
use serde_json::Value;

/// How long anything that should happen soon may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server about to be started.
pub(crate) struct Setup {
    directory: tempfile::TempDir,
    config: String,
    program: PathBuf,
    has_listeners: bool,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A data and a plug-in directory with nothing in them. Quarantine is off.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::DirBuilder::new().mode(0o755).create(directory.path().join("plugins")).unwrap();
        let config = "[quarantine]\ncrashes = 0\nunattributed_crashes = 0\n".to_owned();
        let program = env!("CARGO_BIN_EXE_porth").into();
        Self { directory, config, program, has_listeners: false, environment: Vec::new() }
    }

    /// Puts libraries that `cargo test` built into the plug-in directory, by the names of their crates.
    pub(crate) fn libraries(self, crates: &[&str]) -> Self {
        for name in crates {
            let file = library_name(name);
            self.file(&file, &std::fs::read(built(name)).unwrap());
        }
        self
    }

    /// Compiles a library from `tests/fixtures/c` into the plug-in directory.
    pub(crate) fn c_library(self, name: &str) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        let compiled = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-I"])
            .arg(sources.join("plugin-api/include"))
            .arg(sources.join(format!("tests/fixtures/c/{name}.c")))
            .arg("-o")
            .arg(self.plugins().join(library_name(name)))
            .output_in_time();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        self
    }

    /// Puts a file into the plug-in directory.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.plugins().join(name), bytes).unwrap();
    }

    /// Takes another configuration, in TOML.
    pub(crate) fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// The configuration says where to listen.
    pub(crate) fn with_listeners(self) -> Self {
        Self { has_listeners: true, ..self }
    }

    /// Runs another program than the one under test, such as a copy of it.
    pub(crate) fn program(self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// With these variables.
    pub(crate) fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        self.environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn start(self) -> Server {
        let config = self.directory.path().join("porth.toml");
        std::fs::write(&config, &self.config).unwrap();
        let listen: &[&str] = if self.has_listeners { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut process = Command::new(&self.program)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--data")
            .arg(self.directory.path().join("data"))
            .arg("--plugins")
            .arg(self.plugins())
            .args(listen)
            .env_remove("PORTH_LISTEN")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = process.stderr.take().unwrap();
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stderr.read(&mut buffer) {
                    log.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
                }
            }
        });
        let said = Arc::new(Mutex::new(String::new()));
        let output = Heard { output: process.stdout.take().unwrap(), said: Arc::clone(&said) };
        let address = listening_at(output).recv_timeout(PATIENCE);
        let Ok(address) = address else {
            let doing = super::process::doing(&process);
            let _ = process.kill();
            panic!("the server did not start: {:?}\n{doing}{}", process.wait(), log.lock().unwrap());
        };
        let data = self.directory.path().join("data");
        let key = new_key(&data, "tests");
        Server { setup: self, process, address, key, log, said }
    }
}

/// The output of a server, of which is kept what was read.
struct Heard<R> {
    output: R,
    said: Arc<Mutex<String>>,
}

impl<R: Read> Read for Heard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.output.read(buffer)?;
        self.said.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
        Ok(len)
    }
}

/// The first address that a server says it listens at, once it does. The rest of its output is read to nowhere.
pub(crate) fn listening_at(output: impl Read + Send + 'static) -> mpsc::Receiver<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some((_, url)) = line.split_once("listening on ") {
                let (_, address) = url.split_once("://").unwrap();
                let _ = sender.send(address.split(' ').next().unwrap().parse().unwrap());
            }
        }
    });
    receiver
}

/// `porth key new`: the key on the first line.
pub(crate) fn new_key(data: &Path, name: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(["key", "new", "--name", name, "--data"])
        .arg(data)
        .output_in_time();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
}

/// The file of a library that `cargo test` built beside this binary.
pub(crate) fn built(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(library_name(name))
}

pub(crate) fn library_name(name: &str) -> String {
    format!("lib{}.so", name.replace('-', "_"))
}

/// A running server; ended when dropped.
pub(crate) struct Server {
    setup: Setup,
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    log: Arc<Mutex<String>>,
    said: Arc<Mutex<String>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and, of a problem, its code.
    pub(crate) fn summary(&self) -> String {
        let code = serde_json::from_str::<Value>(&self.body).ok();
        let code = code.as_ref().and_then(|body| body.get("code")?.as_str()).unwrap_or_default();
        format!("{} {code}", self.status).trim_end().to_owned()
    }
}

impl Server {
    pub(crate) fn plugins(&self) -> PathBuf {
        self.setup.plugins()
    }

    /// The list of digests, beside the configuration file.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.setup.directory.path().join("plugins.lock")
    }

    /// A command for this server's place.
    pub(crate) fn porth(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_porth"));
        let directory = self.setup.directory.path();
        command
            .args(arguments)
            .env("PORTH_CONFIG", directory.join("porth.toml"))
            .env("PORTH_DATA", directory.join("data"));
        command
    }

    /// What the server has logged up to now.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What the server has written to its standard output up to now.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The addresses that the server has said it listens at, in the order of its configuration.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let said = self.said();
        let urls = said.lines().filter_map(|line| line.split_once("listening on ")?.1.split_once("://"));
        urls.map(|(_, address)| address.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// Waits until the log has a text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("`{text}` in the log"), || self.log().contains(text));
    }

    /// The process id of the child that serves now; after a crash, of the next one as soon as it is there.
    pub(crate) fn child_pid(&self) -> i32 {
        let list = format!("/proc/{0}/task/{0}/children", self.process.id());
        let mut found = None;
        wait_until("a child", || {
            let children = std::fs::read_to_string(&list).unwrap();
            found = children.split_whitespace().next().map(|pid| pid.parse().unwrap());
            found.is_some()
        });
        found.unwrap()
    }

    /// The process ids of all children, the oldest first.
    pub(crate) fn child_pids(&self) -> Vec<i32> {
        let list = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(list).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.parent_pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks for a fresh child with `SIGHUP`, and waits until the one before has finished.
    pub(crate) fn recycle(&self) {
        let finished = || self.log().matches(" has finished\n").count();
        let before = finished();
        self.signal(rustix::process::Signal::HUP);
        wait_until("the end of a recycle", || finished() > before);
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.setup.directory.path().join("porth.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.setup.directory.path().join("data")
    }

    pub(crate) fn parent_pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// A request with a connection of its own. `Err` when the connection ended before an answer came.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            headers.push(("content-length", &length));
        }
        self.try_send_framed(method, path, &headers, body)
    }

    /// A request without fields or a body to one of several listeners.
    pub(crate) fn try_send_to(&self, address: SocketAddr, method: &str, path: &str) -> std::io::Result<Reply> {
        exchange(address, method, path, &[], b"")
    }

    /// As [`try_send`](Self::try_send), but the header fields say how the body is framed.
    fn try_send_framed(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        exchange(self.address, method, path, headers, body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.expect(method, path, self.try_send(method, path, headers, body))
    }

    pub(crate) fn send_framed(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.expect(method, path, self.try_send_framed(method, path, headers, body))
    }

    fn expect(&self, method: &str, path: &str, reply: std::io::Result<Reply>) -> Reply {
        reply.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    /// As an administrator; a body is JSON.
    pub(crate) fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let authorization = format!("token {}", self.key);
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut headers = vec![("authorization", authorization.as_str())];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        self.send(method, path, &headers, body.as_bytes())
    }

    /// Adds an instance and expects that to work.
    pub(crate) fn add(&self, module: &str, name: &str, parameters: &Value) {
        let reply = self.try_add(module, name, parameters);
        assert_eq!(reply.status, 200, "{reply:?}\n{}", self.log());
    }

    pub(crate) fn try_add(&self, module: &str, name: &str, parameters: &Value) -> Reply {
        let body = serde_json::json!({"module": module, "name": name, "parameters": parameters});
        self.admin("POST", "/api/mod/plugin/", Some(&body))
    }

    /// Stops the server as an administrator would (SIGTERM) and starts it anew on the same data.
    pub(crate) fn restart(mut self) -> Self {
        self.terminate();
        let setup = Setup::new();
        std::mem::replace(&mut self.setup, setup).start()
    }

    /// Starts the server anew on the same data after its parent process was killed.
    pub(crate) fn start_after_kill(mut self) -> Self {
        self.process.wait().unwrap();
        let setup = Setup::new();
        std::mem::replace(&mut self.setup, setup).start()
    }

    fn terminate(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(rustix::process::Signal::TERM);
            self.wait();
        }
    }

    /// Waits for the end of a server that was asked to stop. Answers its exit code and everything it logged.
    pub(crate) fn wait(&mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        let status = loop {
            match self.process.try_wait() {
                Ok(None) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(status)) => break status,
                _ => {
                    let _ = self.process.kill();
                    break self.process.wait().unwrap();
                }
            }
        };
        (status.code(), self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// A request with a connection of its own, and its answer.
fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", address);
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server that refuses the body may close before all of it is written; its answer counts.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    parse(&answer).ok_or_else(|| read.err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into()))
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads an answer whose end is the end of the connection.
fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = http::HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(http::HeaderName::try_from(name).ok()?, value.trim().parse().ok()?);
    }
    let mut body = answer[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        body = unchunk(&body)?;
    } else if let Some(length) = headers.get("content-length")
        && body.len() < length.to_str().ok()?.parse().ok()?
        && status != 304
    {
        // A HEAD's answer has no body; any other is cut short.
        if !body.is_empty() {
            return None;
        }
    }
    Some(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).ok()?, 16).ok()?;
        if len == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunks.get(end + 2..end + 2 + len)?);
        chunks = chunks.get(end + 4 + len..)?;
    }
}
