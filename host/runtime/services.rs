//! What the host answers when a plug-in calls: [`Services`] for instances and for libraries.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::{Mutex, RwLock};
use porth_abi::code;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::sync::{oneshot, watch};

use super::audit;
use super::counted::Metric;
use super::documents::InstanceDocuments;
use super::hooks;
use super::login_url::login_url;
use super::meter::{Meter, Meters};
use super::rights;
use super::routes::{Routes, RoutesBuilder};
use super::session::{self, session_cookie};
use crate::abi::{
    CallRequest, CallbackError, DocumentCall, HostFuture, LogLine, NewEndpoint, Question, SchemeCall, Services,
};
use crate::config::{Config, HashAlgorithm};
use crate::domain::access::Access;
use crate::domain::clients::Clients;
use crate::domain::documents::Documents;
use crate::domain::grants::Grants;
use crate::telemetry::Pairs;

/// What all instances share.
#[derive(Clone)]
pub(super) struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// Sessions and who is in them.
    pub access: Access,
    /// All applications.
    pub clients: Clients,
    /// What people granted to them.
    pub grants: Grants,
    /// The host's runtime, which drives what plug-ins wait for.
    pub runtime: tokio::runtime::Handle,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// The documents of all instances.
    pub documents: Documents,
}

/// The host as an instance sees it.
pub(super) struct InstanceServices {
    shared: Shared,
    key: String,
    name: String,
    module: String,
    generation: u64,
    rights: Vec<String>,
    /// The rights whose lack was logged.
    warned: Mutex<BTreeSet<&'static str>>,
    documents: InstanceDocuments,
    /// `None` once `init` is over.
    endpoints: Mutex<Option<RoutesBuilder>>,
    meter: Arc<Meter>,
    /// The plug-in's metrics by the numbers it knows, with their names.
    metrics: RwLock<Vec<(String, Arc<Metric>)>>,
    /// Waits of the instance end when this does.
    open: watch::Sender<()>,
}

impl InstanceServices {
    /// For an instance about to be initialised. `rights` are those granted.
    #[must_use]
    pub(super) fn new(
        shared: Shared,
        key: &str,
        (module, name): (&str, &str),
        generation: u64,
        rights: Vec<String>,
        documents: InstanceDocuments,
    ) -> Self {
        let meter = shared.meters.of(key);
        let endpoints = Mutex::new(Some(RoutesBuilder::new(&shared.config.limits, Arc::clone(&meter))));
        Self {
            shared,
            key: key.to_owned(),
            name: name.to_owned(),
            module: module.to_owned(),
            generation,
            rights,
            warned: Mutex::default(),
            documents,
            endpoints,
            meter,
            metrics: RwLock::default(),
            open: watch::Sender::new(()),
        }
    }

    /// For a migration of an instance's documents: it has no rights, and registers nothing.
    #[must_use]
    pub(super) fn of_migration(
        shared: Shared,
        key: &str,
        names: (&str, &str),
        generation: u64,
        documents: InstanceDocuments,
    ) -> Self {
        Self { endpoints: Mutex::new(None), ..Self::new(shared, key, names, generation, Vec::new(), documents) }
    }

    /// What is counted of the instance.
    #[must_use]
    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Runs `work` with a metric; what it refuses is logged once for each metric, because few plug-ins look.
    fn with_metric(
        &self,
        id: u32,
        work: impl FnOnce(&Metric) -> Result<(), CallbackError>,
    ) -> Result<(), CallbackError> {
        let metrics = self.metrics.read();
        let (name, metric) = usize::try_from(id)
            .ok()
            .and_then(|id| metrics.get(id))
            .ok_or_else(|| CallbackError::parameter("a number that is no metric's"))?;
        let done = work(metric);
        if let Err(error) = &done
            && metric.first_refusal()
        {
            let detail = &error.detail;
            tracing::warn!(instance = self.key, metric = name, "instance {}, metric `{name}`: {detail}", self.key);
        }
        done
    }

    /// Ends the time in which endpoints can be registered, and hands them over.
    #[must_use]
    pub(super) fn take_routes(&self) -> Option<Routes> {
        self.endpoints.lock().take().map(RoutesBuilder::build)
    }

    fn only_plugins(&self) -> Result<(), CallbackError> {
        if self.key.starts_with("plugin/") {
            return Ok(());
        }
        Err(CallbackError::new(code::UNSUPPORTED, "only instances of the kind `plugin` have endpoints"))
    }

    fn need(&self, right: &'static str) -> Result<(), CallbackError> {
        if rights::include(&self.rights, right) {
            return Ok(());
        }
        self.meter.denied(right);
        // Each is counted; of a plug-in that asks again and again the log needs to know once.
        if self.warned.lock().insert(right) {
            tracing::warn!(
                instance = self.key,
                right,
                "instance {} was denied: it lacks the right `{right}`",
                self.key
            );
        }
        Err(CallbackError::new(code::DENIED, format!("the instance was not granted the right `{right}`")))
    }

    /// The session's cookie of a request, if it has one, and the names in a text.
    fn cookie_and_scopes(&self, request: &CallRequest, scopes: &str) -> (Option<String>, Vec<String>) {
        let cookie = session_cookie(&request.parts().headers, &self.shared.config).map(str::to_owned);
        (cookie, scopes.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// A future that the host drives: a plug-in polls from threads that know nothing of the host's runtime.
    fn on_host(&self, work: impl Future<Output = Result<Vec<u8>, CallbackError>> + Send + 'static) -> HostFuture {
        let (sender, receiver) = oneshot::channel();
        let work = hooks::led_here(work);
        let task = self.shared.runtime.spawn(async move {
            let _ = sender.send(work.await);
        });
        Box::pin(async move {
            let _stopped_with_the_wait = AbortOnDrop(task.abort_handle());
            receiver.await.map_err(|_| CallbackError::new(code::CLOSED, "the host is ending"))?
        })
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

    fn metric_add(&self, name: &str, kind: u32, help: &str) -> Result<u32, CallbackError> {
        let metric = self.meter.counted.add(&self.module, name, kind, help)?;
        let mut metrics = self.metrics.write();
        let id = metrics.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            metrics.push((name.to_owned(), metric));
            metrics.len() - 1
        });
        u32::try_from(id).map_err(|_| CallbackError::new(code::BUSY, "too many metrics"))
    }

    fn metric_increment(&self, id: u32, labels: &[(&str, &str)], value: f64) -> Result<(), CallbackError> {
        self.with_metric(id, |metric| metric.increment(labels, value))
    }

    fn metric_observe(&self, id: u32, labels: &[(&str, &str)], value: f64) -> Result<(), CallbackError> {
        self.with_metric(id, |metric| metric.observe(labels, value))
    }

    fn add_endpoint(&self, endpoint: NewEndpoint) -> Result<(), CallbackError> {
        self.only_plugins()?;
        self.with_endpoints(|builder| builder.add(endpoint))
    }

    fn remove_endpoint(&self, method: &str, path: &str) -> Result<(), CallbackError> {
        self.with_endpoints(|builder| builder.remove(method, path))
    }

    fn add_well_known(&self, endpoint: NewEndpoint) -> Result<(), CallbackError> {
        self.only_plugins()?;
        self.need("well-known")?;
        self.with_endpoints(|builder| builder.add_well_known(endpoint))
    }

    fn check_session_valid(&self, request: Arc<CallRequest>, scopes: &str) -> Result<HostFuture, CallbackError> {
        self.need("sessions")?;
        let (cookie, scopes) = self.cookie_and_scopes(&request, scopes);
        let (access, now_ms) = (self.shared.access.clone(), now_ms());
        Ok(self.on_host(async move { session::check(&access, cookie.as_deref(), &scopes, now_ms).await }))
    }

    fn trigger_session_used(&self, request: Arc<CallRequest>, scopes: &str) -> Result<HostFuture, CallbackError> {
        self.need("sessions")?;
        let (cookie, scopes) = self.cookie_and_scopes(&request, scopes);
        let (access, now_ms) = (self.shared.access.clone(), now_ms());
        Ok(driven(self.shared.runtime.clone(), async move {
            session::spend(&access, cookie.as_deref(), &scopes, now_ms).await
        }))
    }

    fn session_age(&self, request: Arc<CallRequest>, scopes: &str) -> Result<HostFuture, CallbackError> {
        self.need("sessions")?;
        let (cookie, scopes) = self.cookie_and_scopes(&request, scopes);
        let (access, now_ms) = (self.shared.access.clone(), now_ms());
        Ok(driven(self.shared.runtime.clone(), async move {
            session::age(&access, cookie.as_deref(), &scopes, now_ms).await
        }))
    }

    fn schemes(&self, call: SchemeCall) -> Result<HostFuture, CallbackError> {
        self.need("schemes")?;
        let (shared, key) = (self.shared.clone(), self.key.clone());
        let answer = async move { audit::scheme(&shared, &key, call, now_ms()).await };
        Ok(driven(self.shared.runtime.clone(), answer))
    }

    fn timer(&self, delay: Duration) -> Result<HostFuture, CallbackError> {
        let mut open = self.open.subscribe();
        // Driven by the host: a plug-in polls from threads that know nothing of the host's runtime.
        Ok(self.on_host(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => Ok(Vec::new()),
                // Nothing is ever sent: this is the end of the instance, whose waits end with it.
                _ = open.changed() => Err(CallbackError::new(code::CLOSED, "the instance is closed")),
            }
        }))
    }

    fn documents(&self, call: DocumentCall) -> Result<HostFuture, CallbackError> {
        Ok(self.documents.ask(call))
    }

    fn ask(&self, question: Question, arguments: &str) -> Result<HostFuture, CallbackError> {
        self.need(question.right())?;
        let (shared, key, arguments) = (self.shared.clone(), self.key.clone(), arguments.to_owned());
        let runtime = shared.runtime.clone();
        Ok(driven(runtime, async move {
            let answer = audit::answer(&shared, &key, question, &arguments, now_ms()).await?;
            Ok(answer.to_string().into_bytes())
        }))
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
            "session_cookie_name": config.session_cookie(),
        })
        .to_string()
    }

    fn external_url(&self) -> Result<String, CallbackError> {
        let config = &self.shared.config;
        Ok(format!("{}/{}/{}", config.external_url(), config.api_prefix, self.name))
    }

    fn login_url(&self, arguments: &str) -> Result<String, CallbackError> {
        login_url(&self.shared.config, arguments)
    }

    fn hash(&self, data: &[u8]) -> Result<String, CallbackError> {
        Ok(hash(self.shared.config.hash_algorithm, data))
    }
}

/// Work of which nothing happens before it is polled; then the host drives it to its end, whoever waits.
pub(super) fn driven(
    runtime: tokio::runtime::Handle,
    work: impl Future<Output = Result<Vec<u8>, CallbackError>> + Send + 'static,
) -> HostFuture {
    let work = hooks::led_here(work);
    Box::pin(async move {
        match runtime.spawn(work).await {
            Ok(answer) => answer,
            Err(ended) if ended.is_panic() => Err(CallbackError::new(code::ERROR, "the host failed; see its log")),
            Err(_) => Err(CallbackError::new(code::CLOSED, "the host is ending")),
        }
    })
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

    fn metric_add(&self, _: &str, _: u32, _: &str) -> Result<u32, CallbackError> {
        only_instances()
    }

    fn metric_increment(&self, _: u32, _: &[(&str, &str)], _: f64) -> Result<(), CallbackError> {
        only_instances()
    }

    fn metric_observe(&self, _: u32, _: &[(&str, &str)], _: f64) -> Result<(), CallbackError> {
        only_instances()
    }

    fn add_endpoint(&self, _: NewEndpoint) -> Result<(), CallbackError> {
        only_instances()
    }

    fn remove_endpoint(&self, _: &str, _: &str) -> Result<(), CallbackError> {
        only_instances()
    }

    fn add_well_known(&self, _: NewEndpoint) -> Result<(), CallbackError> {
        only_instances()
    }

    fn check_session_valid(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn trigger_session_used(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn session_age(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn schemes(&self, _: SchemeCall) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn timer(&self, _: Duration) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn documents(&self, _: DocumentCall) -> Result<HostFuture, CallbackError> {
        only_instances()
    }

    fn ask(&self, _: Question, _: &str) -> Result<HostFuture, CallbackError> {
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

    fn login_url(&self, _: &str) -> Result<String, CallbackError> {
        only_instances()
    }

    fn hash(&self, _: &[u8]) -> Result<String, CallbackError> {
        only_instances()
    }
}

/// The hash of some data, with the name of how it was made in front.
fn hash(algorithm: HashAlgorithm, data: &[u8]) -> String {
    let (name, digest) = match algorithm {
        HashAlgorithm::Sha256 => ("SHA256", STANDARD.encode(Sha256::digest(data))),
        HashAlgorithm::Sha384 => ("SHA384", STANDARD.encode(Sha384::digest(data))),
        HashAlgorithm::Sha512 => ("SHA512", STANDARD.encode(Sha512::digest(data))),
    };
    format!("{{{name}}}{digest}")
}

/// Milliseconds since 1970, UTC.
pub(super) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Writes a plug-in's line with the host's own log; `who` is the instance's key or the library's file.
fn log(who: &str, line: LogLine<'_>) {
    let LogLine { level, target: part, message, file, line, fields } = line;
    let fields = Pairs(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    let fields: &(dyn std::error::Error + 'static) = &fields;
    macro_rules! event {
        ($level:expr) => {
            tracing::event!(target: "plugin", $level, instance = who, part, file, line, fields, "{message}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_name_their_kind() {
        // The examples of FIPS 180-4 for `abc`, in base64.
        let sha256 = "{SHA256}ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(hash(HashAlgorithm::Sha256, b"abc"), sha256);
        for (algorithm, start) in
            [(HashAlgorithm::Sha384, "{SHA384}ywB1P0Wj"), (HashAlgorithm::Sha512, "{SHA512}3a81oZNh")]
        {
            let hash = hash(algorithm, b"abc");
            assert!(hash.starts_with(start), "{hash}");
        }
    }
}
