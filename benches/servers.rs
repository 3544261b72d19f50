//! The servers that are measured: each a process in a directory of its own, ended when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, compiled_in, load, under_callgrind};

/// How long a server may take to start and to end, even under callgrind on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one that writes its address on a line of standard output, after `before`.
    pub(crate) fn that_says_where(mut command: Command, before: &str) -> Result<Self> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| cannot(&command, &error))?;
        let lines = BufReader::new(process.stdout.take().ok_or("a child without standard output")?).lines();
        let address = lines.map_while(std::io::Result::ok).find_map(|line| line.strip_prefix(before)?.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            return Err(format!("{command:?} did not start: {}", process.wait()?).into());
        };
        Ok(Self { process, address })
    }

    /// Starts one that listens where it is told, and waits until it answers.
    fn that_is_told(command: &mut Command, address: SocketAddr, path: &str) -> Result<Self> {
        let process = command.stdin(Stdio::null()).spawn().map_err(|error| cannot(command, &error))?;
        let mut server = Self { process, address };
        let began = Instant::now();
        while let Err(error) = load::ask_once(address, path) {
            if began.elapsed() > PATIENCE || server.process.try_wait()?.is_some() {
                return Err(format!("{command:?} does not answer: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

fn cannot(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().display())
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Some(process) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a parent says once it listens, before the address.
const LISTENING: &str = "listening on http://";

/// A directory for Porth: configuration, libraries, data.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    /// With these instances, as module and name.
    pub(crate) fn new(instances: &[(&str, String)]) -> Result<Self> {
        let home = Self(tempfile::tempdir()?);
        let plugins = home.0.path().join("plugins");
        // The host refuses a plug-in directory that others may write to, whatever this process's umask is.
        std::fs::DirBuilder::new().mode(0o755).create(&plugins)?;
        let mut config = "[quarantine]\ncrashes = 0\nunattributed_crashes = 0\n".to_owned();
        for (module, name) in instances {
            let library = format!("lib{module}.so");
            if !plugins.join(&library).exists() {
                // Cargo puts the libraries of development dependencies beside whoever depends on them.
                std::fs::copy(std::env::current_exe()?.with_file_name(&library), plugins.join(&library))
                    .map_err(|error| format!("{library}: {error}"))?;
            }
            let parameters = if *module == "hello" { r#"{ greeting = "Hello" }"# } else { "{}" };
            config += &format!("[[instance]]\nmodule = \"{module}\"\nname = \"{name}\"\nparameters = {parameters}\n");
        }
        std::fs::write(home.config(), config)?;
        Ok(home)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.path().join("porth.toml")
    }

    /// Adds tables to the configuration, before it is served.
    pub(crate) fn configure(&self, tables: &str) -> Result<()> {
        let config = std::fs::read_to_string(self.config())?;
        Ok(std::fs::write(self.config(), config + tables)?)
    }

    /// A key to administer with.
    pub(crate) fn new_key(&self) -> Result<String> {
        let output = porth().args(["key", "new", "--name", "bench", "--config"]).arg(self.config()).output()?;
        let key = String::from_utf8(output.stdout)?.lines().next().map(str::to_owned);
        key.ok_or_else(|| format!("no key: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// `porth serve`: parent and child. It logs errors.
    pub(crate) fn serve(&self) -> Result<Server> {
        self.serve_and_log("error")
    }

    /// `porth serve` with what it logs.
    pub(crate) fn serve_and_log(&self, what: &str) -> Result<Server> {
        let mut command = porth();
        command.arg("serve").arg("--config").arg(self.config()).args(["--listen", "127.0.0.1:0"]);
        command.env("PORTH_LOG", what).env_remove("PORTH_LISTEN");
        Server::that_says_where(command, LISTENING)
    }

    /// The same with the child under callgrind, which writes to `output`.
    pub(crate) fn serve_under_callgrind(&self, output: &Path) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(under_callgrind::COMMAND).arg(self.config()).arg(output);
        Server::that_says_where(command, LISTENING)
    }
}

/// The program.
pub(crate) fn porth() -> Command {
    Command::new(env!("CARGO_BIN_EXE_porth"))
}

/// This binary as the handler compiled in; `wrap` may put another program around it.
pub(crate) fn compiled_in(edge: &str, wrap: impl FnOnce(Command) -> Command) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([compiled_in::COMMAND, edge]);
    Server::that_says_where(wrap(command), "")
}

/// nginx with one worker that answers by itself. `None` where it is not installed.
pub(crate) fn nginx(directory: &Path) -> Result<Option<Server>> {
    let address = free_address()?;
    let config = directory.join("nginx.conf");
    std::fs::write(
        &config,
        format!(
            r#"daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    server {{
        listen {address};
        default_type application/json;
        location / {{ return 200 '{{"message":"hello host"}}'; }}
    }}
}}
"#
        ),
    )?;
    let Some(program) = find("nginx") else { return Ok(None) };
    let mut command = Command::new(program);
    command.arg("-p").arg(directory).arg("-c").arg(config).args(["-e", "stderr"]);
    Server::that_is_told(&mut command, address, "/").map(Some)
}

/// Debian's Glewlwyd on a database as its package makes it. `None` where it is not installed.
pub(crate) fn glewlwyd(directory: &Path) -> Result<Option<Server>> {
    const SQL: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
    let (Some(program), Ok(sql)) = (find("glewlwyd"), std::fs::read_to_string(SQL)) else { return Ok(None) };
    let address = free_address()?;
    let database = directory.join("glewlwyd.db");
    let config = directory.join("glewlwyd.conf");
    if !database.exists() {
        rusqlite::Connection::open(&database)?.execute_batch(&sql)?;
    }
    let settings = [
        ("bind_address", "127.0.0.1"),
        ("external_url", &format!("http://{address}/")),
        ("api_prefix", "api"),
        ("log_mode", "console"),
        ("log_level", "ERROR"),
        ("session_key", "session"),
        ("admin_scope", "g_admin"),
        ("profile_scope", "g_profile"),
        ("user_module_path", "/usr/lib/glewlwyd/user"),
        ("client_module_path", "/usr/lib/glewlwyd/client"),
        ("user_auth_scheme_module_path", "/usr/lib/glewlwyd/scheme"),
        ("plugin_module_path", "/usr/lib/glewlwyd/plugin"),
        // Not used, but it will not start without.
        ("secure_connection_key_file", "none"),
        ("secure_connection_pem_file", "none"),
        ("hash_algorithm", "SHA512"),
    ];
    let mut text: String = settings.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    text += &format!("port = {}\nuse_secure_connection = false\ncookie_secure = 0\n", address.port());
    text += &format!("database = {{ type = \"sqlite3\" path = \"{}\" }}\n", database.display());
    std::fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg(format!("--config-file={}", config.display()));
    Server::that_is_told(&mut command, address, "/config").map(Some)
}

/// A port that nobody has, for servers that cannot choose one.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A program where Debian puts servers, or where the shell looks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.find_map(|directory| Some(directory.join(program)).filter(|file| file.is_file()))
}
