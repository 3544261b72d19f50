//! What the doctor looks at: files, limits, the store, and a server if one runs.
//!
//! Start at [`Facts`]. Nothing is changed by looking: a data directory that is not there is not made.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;

use super::super::asker::Asker;
use super::super::output::text;
use super::super::plugin::{self, FileState};
use super::super::{Failure, Place, instance, now_ms};
use crate::abi::{self, Allowed};
use crate::config::{Config, Loaded, Trust};
use crate::http::tls::{About, Certificate};
use crate::store::server::{self, DatabaseServer};
use crate::store::{Db, OpenError};

/// Everything that findings follow from.
pub(super) struct Facts {
    pub(super) config: Config,
    /// Whether the configuration file says the database's URL itself.
    pub(super) database_in_file: bool,
    pub(super) config_file: Option<Entry>,
    pub(super) database_file: Option<Entry>,
    /// What the configuration itself complains of.
    pub(super) warnings: Vec<String>,
    /// Whose process the server is, or would be.
    pub(super) uid: u32,
    pub(super) now_ms: i64,
    /// The folders above the plug-in directory, the nearest first.
    pub(super) above_plugins: Vec<Entry>,
    /// Why nothing is loaded from the plug-in directory.
    pub(super) plugins_refused: Option<String>,
    /// None while no server has made it.
    pub(super) data: Option<Entry>,
    pub(super) data_noexec: bool,
    pub(super) free_bytes: Option<u64>,
    pub(super) open_files_max: Option<u64>,
    pub(super) core_bytes_max: Option<u64>,
    pub(super) libraries: Vec<LibraryFact>,
    /// Names in `plugins.lock` whose digests no file has.
    pub(super) lock_unmatched: Vec<String>,
    pub(super) lock_refused: Option<String>,
    pub(super) certificates: Vec<CertificateFact>,
    /// A PostgreSQL server, or why it cannot be asked; none for SQLite, and where there are no tables yet.
    pub(super) postgres: Option<Result<DatabaseServer, String>>,
    /// Why the store cannot be used.
    pub(super) store_refused: Option<String>,
    /// What a running server says of itself.
    pub(super) server: Option<Value>,
    pub(super) records: Option<Records>,
}

/// What the store has, by itself or by a server.
#[derive(Default)]
pub(super) struct Records {
    pub(super) administered: bool,
    pub(super) setup_link_open: bool,
    /// As `GET /api/mod/<kind>/` shows them, with their `kind`.
    pub(super) instances: Vec<Value>,
    pub(super) drift: Vec<String>,
    pub(super) keys: Vec<Value>,
    /// When the newest entry of the audit log was written, in milliseconds since 1970.
    pub(super) last_write_ms: Option<i64>,
}

/// A file or a folder.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) mode: u32,
}

/// A file of the plug-in directory.
pub(super) struct LibraryFact {
    pub(super) file: String,
    /// As `porth plugin list --json` has it.
    pub(super) verdict: String,
    pub(super) reason: Option<String>,
    /// What it declares, as `kind/name`; empty unless a server has loaded it.
    pub(super) modules: Vec<String>,
}

/// A certificate that a listener shows.
pub(super) struct CertificateFact {
    pub(super) path: PathBuf,
    /// What it says of itself, or why it cannot be used with its key.
    pub(super) about: Result<About, String>,
    pub(super) key: Option<Entry>,
}

impl Facts {
    pub(super) fn gather(place: &Place) -> Result<Self, Failure> {
        let Loaded { config, file, origins, warnings } = place.loaded(None, None)?;
        let database_in_file = origins.get("database").is_some_and(|origin| origin.kind() == "file");
        let (server, records, store_refused) = match ask(place, &config) {
            Ok((server, records)) => (server, records, None),
            Err(reason) => (None, None, Some(reason)),
        };
        let pid = server.as_ref().and_then(|server| server.get("pid")?.as_u64());
        let process = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
        let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap_or_default();
        let (libraries, plugins_refused) = match server.is_some() {
            true => (of_server(place), abi::check_plugin_directory(&config.plugins, &config.data).err()),
            false => (of_files(&config), abi::check_plugin_directory(&config.plugins, &config.data).err()),
        };
        let (lock_unmatched, lock_refused) = match lock_unmatched(&config) {
            Ok(unmatched) => (unmatched, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let system = rustix::fs::statvfs(&config.data).ok();
        let noexec = rustix::fs::StatVfsMountFlags::NOEXEC;
        Ok(Self {
            database_in_file: database_in_file && config.database_file.is_none(),
            config_file: file.as_deref().and_then(Entry::of),
            database_file: config.database_file.as_deref().and_then(Entry::of),
            warnings,
            uid: std::fs::metadata(&process).map_or_else(|_| rustix::process::geteuid().as_raw(), |found| found.uid()),
            now_ms: now_ms(),
            above_plugins: above(&config.plugins),
            plugins_refused: plugins_refused.map(|error| error.to_string()),
            data: Entry::of(&config.data),
            data_noexec: system.as_ref().is_some_and(|system| system.f_flag.contains(noexec)),
            free_bytes: system.map(|system| system.f_bavail.saturating_mul(system.f_frsize)),
            open_files_max: limit(&limits, "Max open files"),
            core_bytes_max: limit(&limits, "Max core file size"),
            libraries,
            lock_unmatched,
            lock_refused,
            certificates: certificates(&config),
            postgres: postgres(&config),
            store_refused,
            server,
            records,
            config,
        })
    }
}

impl Entry {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self { path: path.to_owned(), uid: found.uid(), mode: found.mode() & 0o7777 })
    }
}

type Asked = (Option<Value>, Option<Records>);

/// What a server or else the store says; nothing while there is no store.
fn ask(place: &Place, config: &Config) -> Result<Asked, String> {
    if !config.data.join("porth.lock").exists() {
        return Ok((None, None));
    }
    let mut asker = Asker::server(place).map_err(|failure| failure.message)?;
    let server = asker.ask(Method::GET, "local/status", None).ok();
    if server.is_none() {
        // Looked at before anything is opened for real, since that brings an older schema up to date.
        match look(config) {
            Ok(()) => {}
            Err(OpenError::Outdated { .. }) => return Ok((None, None)),
            Err(error) => return Err(error.to_string()),
        }
        asker = Asker::new(place).map_err(|failure| failure.message)?;
    }
    let records = records(&mut asker).map_err(|failure| failure.message)?;
    Ok((server, Some(records)))
}

fn look(config: &Config) -> Result<(), OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // A system that cannot even start a runtime is told when the store is opened.
    let Ok(runtime) = runtime else { return Ok(()) };
    runtime.block_on(async {
        let db = Db::open_unchanged(&config.database, &config.data).await?;
        db.close().await;
        Ok(())
    })
}

fn records(asker: &mut Asker) -> Result<Records, Failure> {
    let status = asker.ask(Method::GET, "local/status", None)?;
    let flag = |member: &str| status.get(member) == Some(&Value::Bool(true));
    let instances = instance::all(asker, None, "")?;
    let drift = instance::drift(asker)?;
    let newest = asker.ask(Method::GET, "admin/audit?limit=1", None)?;
    Ok(Records {
        administered: flag("administered"),
        setup_link_open: flag("setup_link_open"),
        instances,
        drift,
        keys: asker.list("local/key", "")?,
        last_write_ms: newest.pointer("/0/at").and_then(Value::as_i64),
    })
}

fn of_server(place: &Place) -> Vec<LibraryFact> {
    let listed = Asker::server(place).and_then(|mut asker| asker.ask(Method::GET, "admin/library", None));
    let listed = listed.unwrap_or_default();
    let fact = |library: &Value| LibraryFact {
        file: text(library, "file").to_owned(),
        verdict: text(library, "verdict").to_owned(),
        reason: library.get("reason").and_then(Value::as_str).map(str::to_owned),
        modules: {
            let modules = library.get("modules").and_then(Value::as_array).into_iter().flatten();
            modules.filter_map(Value::as_str).map(str::to_owned).collect()
        },
    };
    listed.as_array().into_iter().flatten().map(fact).collect()
}

fn of_files(config: &Config) -> Vec<LibraryFact> {
    let files = plugin::files(config).unwrap_or_default();
    let fact = |FileState { file, verdict, reason, .. }| LibraryFact {
        file,
        verdict: String::from(verdict),
        reason,
        modules: Vec::new(),
    };
    files.into_iter().map(fact).collect()
}

/// What `plugins.lock` lists that is not there. Files are read whether or not the list counts.
fn lock_unmatched(config: &Config) -> Result<Vec<String>, String> {
    let allowed = Allowed::read(&config.plugins_lock()).map_err(|error| error.to_string())?;
    let all = Config { trust: Trust::Directory, ..config.clone() };
    let present: Vec<_> = plugin::files(&all).unwrap_or_default().into_iter().filter_map(|file| file.digest).collect();
    let missing = allowed.iter().filter(|(digest, _)| !present.contains(digest));
    Ok(missing.map(|(_, name)| name.to_owned()).collect())
}

/// The folders above a path, as the system resolves it.
fn above(path: &Path) -> Vec<Entry> {
    let path = std::fs::canonicalize(path).unwrap_or_default();
    path.ancestors().skip(1).filter_map(Entry::of).collect()
}

/// A soft limit in `/proc/<pid>/limits`; none when there is no limit.
fn limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn certificates(config: &Config) -> Vec<CertificateFact> {
    let listeners = config.listeners();
    let files = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    files
        .map(|tls| CertificateFact {
            path: tls.certificate.clone(),
            about: Certificate::load(tls).map(|certificate| certificate.about).map_err(|error| error.to_string()),
            key: Entry::of(&tls.key),
        })
        .collect()
}

fn postgres(config: &Config) -> Option<Result<DatabaseServer, String>> {
    if config.database == "sqlite" {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = async {
        let db = Db::open_unchanged(&config.database, &config.data).await?;
        let about = server::about(&db).await;
        db.close().await;
        Ok(about)
    };
    match runtime.ok()?.block_on(asked) {
        Ok(Ok(about)) => about.map(Ok),
        Ok(Err(error)) => Some(Err(error.to_string())),
        // The first start, or an upgrade, makes the tables.
        Err(OpenError::Outdated { .. }) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_kernel() {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert!(limit(&limits, "Max open files").unwrap() > 0);
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax core file size        0     unlimited   bytes\n\
                    Max open files            unlimited            1048576              files\n";
        assert_eq!((limit(text, "Max core file size"), limit(text, "Max open files")), (Some(0), None));
    }
}
