//! Asking the routes that programs ask, too, as the server's own administrator.
//!
//! Start at [`Asker`]: a running server answers over `porth.sock`, otherwise this process does with the same routes, in
//! which no instance of a plug-in runs.

use http::Method;
use serde_json::Value;

use super::local::{self, LocalError};
use super::{EXIT_NO_SERVER, Failure, Place, offline};
use crate::config::{Config, Environment, Loaded, Source};
use crate::supervisor::{DataLock, LockError, local_path};

/// Who answers.
pub(super) struct Asker {
    loaded: Loaded,
    runtime: tokio::runtime::Runtime,
    /// Held while no server may start.
    own: Option<(offline::Offline, DataLock)>,
    /// Who has the directory, if that was found out.
    in_use: Option<LockError>,
}

impl Asker {
    /// The server of a place, or else this process with its store.
    pub(super) fn new(place: &Place) -> Result<Self, Failure> {
        let mut asker = Self::server(place)?;
        let is_new = !asker.config().data.exists();
        match DataLock::take(&asker.config().data) {
            Ok(lock) => {
                let offline = asker.runtime.block_on(offline::Offline::open(asker.config().clone(), asker.source()))?;
                asker.own = Some((offline, lock));
            }
            Err(in_use @ LockError::InUse { .. }) => asker.in_use = Some(in_use),
            Err(other) => return Err(other.into()),
        }
        if is_new && asker.own.is_some() {
            eprintln!("porth: note: `{}` was made; no server has worked in it yet", asker.config().data.display());
        }
        Ok(asker)
    }

    /// As [`Self::new`], where something must be there already: who looks for it in a directory in which nothing ever was
    /// has named another one than was meant.
    pub(super) fn existing(place: &Place) -> Result<Self, Failure> {
        let config = place.load(None, None)?;
        let file = config.data.join(crate::store::SQLITE_FILE);
        if config.database == "sqlite" && !file.exists() {
            let reason = crate::store::backup::BackupError::Missing(file);
            return Err(Failure::new(format!("{reason}; `--config FILE` or `--data DIR` says which is meant")));
        }
        Self::new(place)
    }

    /// The server of a place and nobody else, for what only a server can do.
    pub(super) fn server(place: &Place) -> Result<Self, Failure> {
        let loaded = place.loaded(None, None)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { loaded, runtime, own: None, in_use: None })
    }

    fn source(&self) -> Source {
        Source { file: self.loaded.file.clone(), environment: Environment::of_process() }
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// What the route below the API's prefix answers.
    pub(super) fn ask(&mut self, method: Method, route: &str, body: Option<Value>) -> Result<Value, Failure> {
        let path = format!("/{}/{route}", self.config().api_prefix);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        match &self.own {
            Some((offline, _)) => self.runtime.block_on(offline.ask(method, &path, body)),
            None => {
                let socket = local_path(&self.config().data);
                let asked = self.runtime.block_on(local::ask(&socket, method, &path, body));
                asked.map_err(|error| match (&error, &self.in_use) {
                    (LocalError::Refused(_), _) => error.into(),
                    (_, Some(in_use)) => Failure { code: EXIT_NO_SERVER, message: format!("{in_use}, and {error}") },
                    (_, None) => Failure { code: EXIT_NO_SERVER, message: error.to_string() },
                })
            }
        }
    }

    /// Everything in a list that contains a text, page by page.
    pub(super) fn list(&mut self, route: &str, pattern: &str) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        loop {
            let query = format!("{route}?offset={}&limit={PAGE}&pattern={}", all.len(), encoded(pattern));
            let Value::Array(mut page) = self.ask(Method::GET, &query, None)? else { break };
            let len = page.len();
            all.append(&mut page);
            if len < PAGE {
                break;
            }
        }
        Ok(all)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some((offline, _)) = &self.own {
            self.runtime.block_on(offline.close());
        }
    }
}

/// A text as it stands in a segment of a path, or in a query (RFC 3986, section 2.1).
pub(super) fn encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let shown = |byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(shown).collect()
}

/// How many records one request asks for: as many as there may be.
pub(super) const PAGE: usize = 200;
