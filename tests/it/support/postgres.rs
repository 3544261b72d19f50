//! A PostgreSQL of this test run's own, from Debian's package.
//!
//! Start at [`create_database`]. The server is started once, with the first test that wants it. A shell waits at the end
//! of a pipe whose other end this process holds, so that however this process ends, the server is stopped and its
//! directory removed.

use super::process::InTime as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

struct Server {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    /// The server lives as long as this is open.
    _lifeline: ChildStdin,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();

/// Durability is not what these tests are about, so the server waits for no disk.
const SCRIPT: &str = r#"
set -e
trap 'cd /; rm -rf "$directory"' EXIT
"$programs/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale-provider=icu \
    --icu-locale=en --no-sync
printf '[req]\ndistinguished_name = name\n[name]\n' > certificate.conf
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=porth-test \
    -config certificate.conf -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.pem
chmod 600 server.key
"$programs/postgres" -D data -p "$port" -k "$directory" -c listen_addresses=127.0.0.1 -c fsync=off \
    -c max_connections=400 -c ssl=on -c ssl_cert_file=../server.pem -c ssl_key_file=../server.key &
server=$!
cat > /dev/null
# More than once: a server that is just starting does not listen to signals yet.
while kill -QUIT $server 2> /dev/null; do sleep 0.05; done
"#;

/// Makes an empty database and gives its URL. `None` means that PostgreSQL is not installed, which in CI is a failure.
///
/// It is a schema in truth: those are made ten times as fast, and Porth looks at nothing outside its own. Its connections
/// go by the schema's name.
pub(crate) fn create_database() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let server = SERVER.get_or_init(Server::start).as_ref()?;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let address = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    execute(&address, &format!("CREATE SCHEMA {name}"));
    Some(format!("{address}?options=-c%20search_path%3D{name}&application_name={name}"))
}

/// Runs SQL in a database without Porth's help.
pub(crate) fn execute(url: &str, sql: &str) {
    let server = SERVER.get().and_then(Option::as_ref).unwrap();
    let psql = Command::new(server.programs.join("psql"))
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", url, "--command", sql])
        .output_in_time();
    assert!(psql.status.success(), "{sql}: {}", String::from_utf8_lossy(&psql.stderr));
}

/// The certificate that the server shows.
pub(crate) fn certificate() -> PathBuf {
    SERVER.get().and_then(Option::as_ref).unwrap().directory.join("server.pem")
}

impl Server {
    #[expect(clippy::zombie_processes, reason = "the server ends after this process")]
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            let text = "PostgreSQL is not installed (Debian: apt-get install postgresql)";
            assert!(std::env::var_os("CI").is_none(), "{text}");
            // Not with a macro, whose output a passing test keeps to itself.
            io::stderr().write_all(format!("SKIPPED, what needs PostgreSQL: {text}\n").as_bytes()).unwrap();
            return None;
        };
        let temporary = tempfile::Builder::new().prefix("porth-postgres-").tempdir().unwrap();
        let directory = temporary.path().to_owned();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = File::create(directory.join("log")).unwrap();

        let mut shell = shell(&directory);
        shell.args(["-c", SCRIPT]).current_dir(&directory);
        shell.env("programs", &programs).env("directory", &directory).env("port", port.to_string());
        // A group of its own, so that an interrupt from the keyboard leaves the clearing up to the shell.
        shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let mut child = shell.spawn().unwrap();
        let lifeline = child.stdin.take().unwrap();
        // From here on the shell removes it.
        let _ = temporary.keep();

        let until = Instant::now() + Duration::from_secs(60);
        let log = directory.join("log");
        let mut said = String::new();
        while !said.contains("ready to accept connections") || TcpStream::connect(("127.0.0.1", port)).is_err() {
            let running = child.try_wait().unwrap().is_none() && Instant::now() < until;
            assert!(running, "PostgreSQL did not start: {said}");
            std::thread::sleep(Duration::from_millis(20));
            said = fs::read_to_string(&log).unwrap_or(said);
        }
        Some(Self { programs, directory, port, _lifeline: lifeline })
    }
}

/// A shell as a user that PostgreSQL starts for: it refuses root.
fn shell(directory: &Path) -> Command {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0);
    if !is_root {
        return Command::new("sh");
    }
    let user = if users.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" };
    let line = users.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap();
    let mut ids = line.split(':').skip(2).map(|id| id.parse::<u32>().unwrap());
    let (uid, gid) = (ids.next().unwrap(), ids.next().unwrap());
    std::os::unix::fs::chown(directory, Some(uid), Some(gid)).unwrap();
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "sh"]);
    command
}

/// Where the newest PostgreSQL's programs are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let directories = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    directories.filter(|directory| directory.join("postgres").exists()).max()
}
