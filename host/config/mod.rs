//! What an administrator decides before the server starts: `porth.toml`, the environment, the command line.
//!
//! Start at [`Config`]; [`Loaded::load`] puts together what the file, the environment and the command line say. A leaf:
//! it names no other floor.
//!
//! A key is a field with a doc comment, a line in [`Default`], and a check in `validate` where not every value of its
//! type will do. That alone makes it known to the environment, to `porth check-config` and to suggestions. A path also
//! says `#[schemars(extend("x-path" = true))]`, so that it counts from the file's folder. Then
//! `UPDATE_EXPECT=1 cargo test --test it -- configuration` writes its line into `docs/configuration.md`.

mod environment;
mod keys;
mod layers;
mod listener;
mod load;
mod network;
mod place;
mod sample;
mod unknown;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use environment::{Environment, OTHER_VARIABLES};
pub use keys::{Choice, Key, Kind, keys};
pub use listener::{LISTENERS_MAX, Listener, Serves, Tls};
pub use load::{ConfigError, Loaded, Origin, Overrides, Source, redacted};
pub use network::Network;
pub use sample::sample;

/// Everything that can be configured, with its defaults.
///
/// The parent reads it once and hands it to every child as it is, so that a file that is being edited cannot keep a
/// server from coming back after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the server listens, in plain HTTP: the short form of one `[[listener]]`; 127.0.0.1:4593 unless it is said.
    pub listen: Option<SocketAddr>,
    /// Where the server listens, how, and for whom, instead of `listen`.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// The data directory: database, lock, control socket, private copies of libraries. It is made with mode 0700.
    #[schemars(extend("x-path" = true))]
    pub data: PathBuf,
    /// The directory that administrators drop libraries into. Only the server's user or root may be able to write there.
    #[schemars(extend("x-path" = true))]
    pub plugins: PathBuf,
    /// Whether libraries that change in that directory are loaded without being asked to.
    pub watch: bool,
    /// Which libraries may be loaded or probed.
    pub trust: Trust,
    /// The list of digests that `trust = "lock"` goes by; without it `plugins.lock` beside the configuration file, or
    /// without one in the data directory.
    #[schemars(extend("x-path" = true))]
    pub plugins_lock: Option<PathBuf>,
    /// `sqlite` (a file in the data directory) or `postgres://user:password@host/name?sslmode=verify-full&sslrootcert=FILE`.
    #[schemars(extend("x-secret" = true))]
    pub database: String,
    /// A file whose first line is what `database` would be, so that a password stands in no configuration file. Instead
    /// of `database`, not beside it.
    #[schemars(extend("x-path" = true))]
    pub database_file: Option<PathBuf>,
    /// How clients reach the server from outside, without a trailing slash; by default that of the first public listener.
    pub external_url: Option<String>,
    /// For how many seconds browsers are told to use nothing but https, once they came by it (`Strict-Transport-Security`,
    /// RFC 6797); 0 to 63072000. 0 tells them nothing. Only while `external_url` begins with `https`.
    pub hsts_max_age_s: u64,
    /// The first path segment of the API.
    pub api_prefix: String,
    /// The scope that administrators need.
    pub admin_scope: String,
    /// The scope for one's own profile.
    pub profile_scope: String,
    /// The name of the session cookie.
    pub session_cookie_name: String,
    /// The path of the page where users log in, below `external_url`.
    pub login_url: String,
    /// The instance that answers at `/.well-known/<name>`; others do at `/.well-known/<name>/<api_prefix>/<instance>` only.
    pub root_issuer: Option<String>,
    /// How `generate_hash` hashes what plug-ins give it; never passwords.
    pub hash_algorithm: HashAlgorithm,
    /// The origins whose pages may call the host's own routes with a person's cookie, and change what endpoints for
    /// sessions offer; as browsers write them: `https://app.example.org`.
    pub cors_origins: Vec<String>,
    /// The proxies in front of the server: what they say of where a request comes from counts.
    pub trusted_proxies: Vec<Network>,
    /// The header field in which they say it.
    pub proxy_header: ProxyHeader,
    /// What people may do with their own profile.
    pub profile: Profile,
    /// Limits of log-ins and their sessions.
    pub login: Login,
    /// What is logged, and in which form.
    pub log: Log,
    /// Limits of requests.
    pub limits: Limits,
    /// When a crashing instance is taken out.
    pub quarantine: Quarantine,
    /// What administrators did, and how long that is known.
    pub audit: Audit,
    /// Instances that the configuration declares.
    #[serde(rename = "instance")]
    pub instances: Vec<DeclaredInstance>,
}

/// Which libraries may be loaded or probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// All in the plug-in directory: whoever can write there decides.
    Directory,
    /// Those among them whose digests `plugins.lock` lists.
    Lock,
}

/// The header field in which proxies say where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// What people may do with their own profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// The properties that people see of themselves.
    pub properties_shown: Vec<String>,
    /// The properties that people see and may set themselves.
    pub properties_writable: Vec<String>,
    /// What becomes of people who delete themselves.
    pub delete: DeleteProfile,
}

/// What becomes of people who delete themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeleteProfile {
    /// They cannot.
    #[default]
    No,
    /// They can no longer log in, and everything stays.
    Disable,
    /// They are gone, with everything that refers to them.
    Delete,
}

/// Limits of log-ins and their sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// How long a session lives after its last log-in, in seconds.
    pub session_lifetime_s: u64,
    /// How many failures in a row lock a name; 0 means that none do.
    pub name_failures_max: u32,
    /// How long a name is locked, in seconds.
    pub name_lock_s: u64,
    /// How many failures within the window lock an address; 0 means that none do.
    pub peer_failures_max: u32,
    /// The window of an address, and how long it is locked, in seconds.
    pub peer_window_s: u64,
    /// How many log-ins may wait for their password to be compared; more are told to come again (503).
    pub passwords_waiting_max: usize,
}

/// What is logged, and in which form. Lines go to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The form of each line, unless `PORTH_LOG_FORMAT` says another.
    pub format: LogFormat,
    /// Which lines are written, unless `PORTH_LOG` says otherwise: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`),
    /// or levels for parts of the program, such as `info,porth::http=debug,plugin=trace`.
    pub filter: String,
    /// Whether each request gets a line, with the target `porth::access` and the level `info`.
    pub access: bool,
}

/// The form of a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object for each line.
    Json,
}

/// How plug-ins have something hashed that other programs compare; never passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Limits of requests and of the code that answers them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body in bytes where an endpoint says nothing else.
    pub body_bytes_max: u64,
    /// How long an endpoint may take, in milliseconds, where it says nothing else; then the answer is 504.
    pub deadline_ms: u64,
    /// The largest header of a request in bytes.
    pub header_bytes_max: usize,
    /// How long the header of a request may take from its first byte on, in milliseconds.
    pub header_deadline_ms: u64,
    /// How long a connection may stay open without a request, in milliseconds; where seven eighths of `connections_max` are
    /// open, at most a second.
    pub keep_alive_ms: u64,
    /// How many connections may be open at once at all listeners but those for administration, which have 64 of their own.
    /// Further ones wait until one is free. The system's limit of open files bounds it, too: 256 of them are for others.
    pub connections_max: usize,
    /// How many of them one address may have, or in IPv6 one network of 64 bits, and never more than half; a proxy among
    /// `trusted_proxies` may have all. Further ones are answered 429, or just closed. 0 means any number.
    pub connections_peer_max: usize,
    /// How many bytes of a request's body, or of an answer, a client must send or read in a second, on average over
    /// `body_grace_ms`; 0 means that one byte in all that time is enough. Only time counts in which the server waits.
    pub body_bytes_s_min: u64,
    /// How long a client may be slower than that, in milliseconds.
    pub body_grace_ms: u64,
    /// How long `init` and `close` of an instance may take, in milliseconds.
    pub lifecycle_deadline_ms: u64,
    /// How long requests may finish when the server stops or their instance is replaced, in milliseconds; then endless
    /// streams are ended.
    pub drain_deadline_ms: u64,
    /// The largest library in bytes.
    pub library_bytes_max: u64,
    /// How many threads of its own an instance may have; as many again while some are stuck.
    pub instance_threads_max: usize,
    /// How long a child may be silent before the parent replaces it, in milliseconds; 0 means for ever.
    pub hang_ms: u64,
    /// How long code that runs between other requests may keep a worker, in milliseconds, until its instance has to run
    /// on threads of its own.
    pub stuck_ms: u64,
    /// How often instances that know how well they do are asked for it, in milliseconds; 0 means never.
    pub health_every_ms: u64,
    /// How many panics of an instance within `panics_window_ms` close it to requests; 0 means never.
    pub panics_max: u32,
    /// How long a panic counts, in milliseconds.
    pub panics_window_ms: u64,
    /// How long such an instance stays closed until one request may try it again, in milliseconds.
    pub broken_ms: u64,
    /// How many documents an instance may keep; more is refused, what is there stays.
    pub documents_max: u64,
    /// How many bytes the documents of an instance may have together.
    pub documents_bytes_max: u64,
    /// The largest document in bytes.
    pub document_bytes_max: u64,
}

/// When a crashing instance is taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quarantine {
    /// How many crashes within the window; 0 means never.
    pub crashes: u32,
    /// The window in seconds.
    pub window_s: u64,
    /// How many crashes that nobody can be blamed for, within the window, until the server starts without plug-ins;
    /// 0 means never.
    pub unattributed_crashes: u32,
}

/// What administrators did, and how long that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How long entries are kept, in days; 0 means for ever.
    pub retention_days: u32,
}

/// An instance that the configuration declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredInstance {
    /// The module's kind; `plugin` unless it is said.
    #[serde(default = "plugin_kind")]
    pub kind: String,
    /// The module's name.
    pub module: String,
    /// The instance's name.
    pub name: String,
    /// The instance's name for people.
    #[serde(default)]
    pub display_name: String,
    /// What `init` gets.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Rights granted; absent means all that the module needs.
    pub grants: Option<Vec<String>>,
    /// Whether a service may have public endpoints.
    #[serde(default)]
    pub allow_public: bool,
    /// What else can be set of an instance of its kind, by the names that REST has.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

fn plugin_kind() -> String {
    "plugin".to_owned()
}

impl Config {
    /// The list of digests that `trust = "lock"` goes by: beside the configuration file, or without one in the data
    /// directory.
    #[must_use]
    pub fn plugins_lock(&self) -> PathBuf {
        self.plugins_lock.clone().unwrap_or_else(|| self.data.join(PLUGINS_LOCK))
    }
}

impl Config {
    /// The name of the session cookie as browsers see it: under https with the prefix that keeps other hosts and plain
    /// http from setting it (RFC 6265bis, section 4.1.3.2).
    #[must_use]
    pub fn session_cookie(&self) -> String {
        let prefix = if self.is_https() { "__Host-" } else { "" };
        format!("{prefix}{}", self.session_cookie_name)
    }
}

/// What the list of digests is called unless it is called otherwise.
const PLUGINS_LOCK: &str = "plugins.lock";

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            listeners: Vec::new(),
            data: PathBuf::from("data"),
            plugins: PathBuf::from("plugins"),
            // Dropping a file into the directory is how plug-ins are installed, and a bad one changes nothing.
            watch: true,
            trust: Trust::Directory,
            plugins_lock: None,
            database: "sqlite".to_owned(),
            database_file: None,
            external_url: None,
            hsts_max_age_s: 365 * 86_400,
            api_prefix: "api".to_owned(),
            admin_scope: "g_admin".to_owned(),
            profile_scope: "g_profile".to_owned(),
            session_cookie_name: "PORTH_SESSION".to_owned(),
            login_url: "login".to_owned(),
            root_issuer: None,
            hash_algorithm: HashAlgorithm::Sha256,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::XForwardedFor,
            profile: Profile::default(),
            login: Login::default(),
            log: Log::default(),
            limits: Limits::default(),
            quarantine: Quarantine::default(),
            audit: Audit::default(),
            instances: Vec::new(),
        }
    }
}

impl Default for Login {
    fn default() -> Self {
        Self {
            session_lifetime_s: 28 * 86_400,
            name_failures_max: 20,
            name_lock_s: 600,
            peer_failures_max: 100,
            peer_window_s: 600,
            passwords_waiting_max: 256,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned(), access: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            header_bytes_max: 16 << 10,
            header_deadline_ms: 10_000,
            keep_alive_ms: 75_000,
            connections_max: 4096,
            connections_peer_max: 512,
            body_bytes_s_min: 1024,
            body_grace_ms: 10_000,
            deadline_ms: 30_000,
            lifecycle_deadline_ms: 30_000,
            drain_deadline_ms: 30_000,
            library_bytes_max: 256 << 20,
            instance_threads_max: 16,
            hang_ms: 10_000,
            stuck_ms: 1000,
            health_every_ms: 15_000,
            panics_max: 10,
            panics_window_ms: 60_000,
            broken_ms: 30_000,
            documents_max: 100_000,
            documents_bytes_max: 256 << 20,
            document_bytes_max: 1 << 20,
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention_days: 365 }
    }
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { crashes: 3, window_s: 60, unattributed_crashes: 5 }
    }
}
