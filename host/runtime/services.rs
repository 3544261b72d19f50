//! What the host answers when a plug-in calls: [`Services`] for instances and for libraries.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use porth_abi::code;
use tokio::sync::oneshot;

use super::documents::InstanceDocuments;
use super::routes::{Routes, RoutesBuilder};
use crate::abi::{CallRequest, CallbackError, DocumentCall, HostFuture, LogLine, NewEndpoint, Services};
use crate::config::Config;
use crate::domain::documents::Documents;

/// What all instances share.
#[derive(Clone)]
pub(super) struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// The host's runtime, which drives what plug-ins wait for.
    pub runtime: tokio::runtime::Handle,
    /// The documents of all instances.
    pub documents: Documents,
}

/// The host as an instance sees it.
pub(super) struct InstanceServices {
    shared: Shared,
    key: String,
    name: String,
    generation: u64,
    rights: Vec<String>,
    documents: InstanceDocuments,
    /// `None` once `init` is over.
    endpoints: Mutex<Option<RoutesBuilder>>,
}

impl InstanceServices {
    /// For an instance about to be initialised. `rights` are those granted.
    #[must_use]
    pub(super) fn new(
        shared: Shared,
        key: &str,
        name: &str,
        generation: u64,
        rights: Vec<String>,
        documents: InstanceDocuments,
    ) -> Self {
        let endpoints = Mutex::new(Some(RoutesBuilder::new(&shared.config.limits)));
        Self { shared, key: key.to_owned(), name: name.to_owned(), generation, rights, documents, endpoints }
    }

    /// For a migration of an instance's documents: it has no rights, and registers nothing.
    #[must_use]
    pub(super) fn of_migration(
        shared: Shared,
        key: &str,
        name: &str,
        generation: u64,
        documents: InstanceDocuments,
    ) -> Self {
        Self { endpoints: Mutex::new(None), ..Self::new(shared, key, name, generation, Vec::new(), documents) }
    }

    /// Ends the time in which endpoints can be registered, and hands them over.
    #[must_use]
    pub(super) fn take_routes(&self) -> Option<Routes> {
        self.endpoints.lock().take().map(RoutesBuilder::build)
    }

    fn need(&self, right: &str) -> Result<(), CallbackError> {
        if self.rights.iter().any(|granted| granted == right || granted == "all") {
            return Ok(());
        }
        tracing::warn!(instance = self.key, right, "instance {} was denied: it lacks the right `{right}`", self.key);
        Err(CallbackError::new(code::DENIED, format!("the instance was not granted the right `{right}`")))
    }

    fn with_endpoints<T>(
        &self,
        work: impl FnOnce(&mut RoutesBuilder) -> Result<T, CallbackError>,
    ) -> Result<T, CallbackError> {
        match self.endpoints.lock().as_mut() {
            Some(builder) => work(builder),
            None => Err(CallbackError::new(code::CLOSED, "endpoints can be registered in `init` only")),
        }
    }
}

impl Services for InstanceServices {
    fn log(&self, line: LogLine<'_>) {
        log(&self.key, line);
    }

    fn add_endpoint(&self, endpoint: NewEndpoint) -> Result<(), CallbackError> {
        self.with_endpoints(|builder| builder.add(endpoint))
    }

    fn remove_endpoint(&self, method: &str, path: &str) -> Result<(), CallbackError> {
        self.with_endpoints(|builder| builder.remove(method, path))
    }

    fn check_session_valid(&self, request: Arc<CallRequest>, _scopes: &str) -> Result<HostFuture, CallbackError> {
        self.need("sessions")?;
        // No log-in exists before the identity core: whatever cookie comes, there is no session behind it.
        let cookie = format!("{}=", self.shared.config.session_cookie_name);
        let mut cookies = request.parts().headers.get_all(http::header::COOKIE).iter();
        let sent = cookies.any(|value| {
            value.to_str().is_ok_and(|value| value.split(';').any(|pair| pair.trim_start().starts_with(&cookie)))
        });
        let error = if sent {
            CallbackError::new(code::NOT_FOUND, "no such session")
        } else {
            CallbackError::new(code::UNAUTHORIZED, "the request has no session cookie")
        };
        Ok(Box::pin(std::future::ready(Err(error))))
    }

    fn timer(&self, delay: Duration) -> Result<HostFuture, CallbackError> {
        let (sender, receiver) = oneshot::channel();
        // Driven by the host: a plug-in polls from threads that know nothing of the host's runtime.
        let timer = self.shared.runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = sender.send(());
        });
        Ok(Box::pin(async move {
            let _stopped_with_the_wait = AbortOnDrop(timer.abort_handle());
            receiver.await.map_err(|_| CallbackError::new(code::CLOSED, "the host is ending"))?;
            Ok(Vec::new())
        }))
    }

    fn documents(&self, call: DocumentCall) -> Result<HostFuture, CallbackError> {
        Ok(self.documents.ask(call))
    }

    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<(), CallbackError> {
        self.shared.runtime.spawn(work);
        Ok(())
    }

    fn host_info(&self) -> String {
        let config = &self.shared.config;
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "generation": self.generation,
            "external_url": config.external_url(),
            "api_prefix": config.api_prefix,
            "admin_scope": config.admin_scope,
            "profile_scope": config.profile_scope,
            "session_cookie_name": config.session_cookie_name,
        })
        .to_string()
    }

    fn external_url(&self) -> Result<String, CallbackError> {
        let config = &self.shared.config;
        Ok(format!("{}/{}/{}", config.external_url(), config.api_prefix, self.name))
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The host as a library sees it in `load`: a log, and who it is.
pub(super) struct LibraryServices {
    file: String,
}

impl LibraryServices {
    /// For a library by its file name.
    #[must_use]
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned() }
    }
}

fn only_instances<T>() -> Result<T, CallbackError> {
    Err(CallbackError::new(code::UNSUPPORTED, "a library's context can only log; use an instance's"))
}

impl Services for LibraryServices {
    fn log(&self, line: LogLine<'_>) {
        log(&self.file, line);
    }

    fn add_endpoint(&self, _: NewEndpoint) -> Result<(), CallbackError> {
        only_instances()
    }

    fn remove_endpoint(&self, _: &str, _: &str) -> Result<(), CallbackError> {
        only_instances()
    }

    fn check_session_valid(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn timer(&self, _: Duration) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn documents(&self, _: DocumentCall) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<(), CallbackError> {
        only_instances()
    }

    fn host_info(&self) -> String {
        serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }).to_string()
    }

    fn external_url(&self) -> Result<String, CallbackError> {
        only_instances()
    }
}

/// Writes a plug-in's line with the host's own log; `who` is the instance's key or the library's file.
fn log(who: &str, line: LogLine<'_>) {
    use std::fmt::Write as _;
    let mut fields = String::new();
    for (name, value) in line.fields {
        let _ = write!(fields, " {name}={value:?}");
    }
    let LogLine { level, target: part, message, file, line, .. } = line;
    macro_rules! event {
        ($level:expr) => {
            tracing::event!(target: "plugin", $level, instance = who, part, file, line, "{message:?}{fields}")
        };
    }
    match level {
        code::level::WARN => event!(tracing::Level::WARN),
        code::level::INFO => event!(tracing::Level::INFO),
        code::level::DEBUG => event!(tracing::Level::DEBUG),
        code::level::TRACE => event!(tracing::Level::TRACE),
        _ => event!(tracing::Level::ERROR),
    }
}
