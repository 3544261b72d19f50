//! Who a callback speaks for: numbers that plug-ins hold, and what stands behind them in the host.
//!
//! A plug-in never holds a pointer to the host's state. It holds a number; a number that was closed or never given out
//! finds nothing, so a late callback gets CLOSED instead of freed memory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use porth_abi::code;

use super::call::Handler;
use super::documents::DocumentCall;
use super::questions::Question;
use super::request::CallRequest;
use super::schemes::SchemeCall;

/// A failed callback: the code that the plug-in gets, and a text that says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackError {
    /// One of [`porth_abi::code`], not OK.
    pub code: i32,
    /// What happened, for the plug-in's author.
    pub detail: String,
}

impl CallbackError {
    /// An error with a text.
    #[must_use]
    pub fn new(code: i32, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// An argument is wrong.
    #[must_use]
    pub fn parameter(detail: impl Into<String>) -> Self {
        Self::new(code::PARAM, detail)
    }
}

/// A callback's result that is not there yet; the host drives it, whoever waits only hears of the end.
pub type HostFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>, CallbackError>> + Send>>;

/// A line that a plug-in logs.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// One of [`porth_abi::code::level`].
    pub level: u32,
    /// Which part of the plug-in speaks.
    pub target: &'a str,
    /// The text.
    pub message: &'a str,
    /// The source file; empty when unknown.
    pub file: &'a str,
    /// The line in the file; 0 when unknown.
    pub line: u32,
    /// Further fields.
    pub fields: &'a [(&'a str, &'a str)],
}

/// An endpoint that a plug-in registers, copied and checked for form only.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// The method, or `*`.
    pub method: String,
    /// The pattern below the instance's prefix.
    pub path: String,
    /// Lower runs first.
    pub priority: u32,
    /// It is short and never blocks.
    pub short: bool,
    /// It asks for the body piece by piece.
    pub stream_body: bool,
    /// Who may call, as text.
    pub auth: String,
    /// The largest body in bytes, if the endpoint says one.
    pub body_bytes_max: Option<u64>,
    /// How long it may take, if the endpoint says so.
    pub deadline: Option<Duration>,
    /// What to call.
    pub handler: Handler,
}

/// What the host does for a library or an instance. The runtime implements it; all of it may be called from any thread.
pub trait Services: Send + Sync {
    /// Writes a line to the log.
    fn log(&self, line: LogLine<'_>);
    /// Makes a metric, or finds it; answers its number.
    ///
    /// # Errors
    /// PARAM for what is wrong with it, BUSY when there are too many.
    fn metric_add(&self, name: &str, kind: u32, help: &str) -> Result<u32, CallbackError>;
    /// Adds to a counter or a gauge.
    ///
    /// # Errors
    /// PARAM for what is wrong, BUSY when there are too many series.
    fn metric_increment(&self, id: u32, labels: &[(&str, &str)], value: f64) -> Result<(), CallbackError>;
    /// Records a duration in seconds in a histogram, or sets a gauge.
    ///
    /// # Errors
    /// As [`metric_increment`](Self::metric_increment).
    fn metric_observe(&self, id: u32, labels: &[(&str, &str)], value: f64) -> Result<(), CallbackError>;
    /// Registers an endpoint.
    ///
    /// # Errors
    /// PARAM for what is wrong with it, CLOSED outside `init`.
    fn add_endpoint(&self, endpoint: NewEndpoint) -> Result<(), CallbackError>;
    /// Takes back an endpoint.
    ///
    /// # Errors
    /// NOT_FOUND when the instance registered none there, CLOSED outside `init`.
    fn remove_endpoint(&self, method: &str, path: &str) -> Result<(), CallbackError>;
    /// Registers an endpoint outside of the instance's prefix, by a name that is its path.
    ///
    /// # Errors
    /// DENIED without the right, and as [`add_endpoint`](Self::add_endpoint).
    fn add_well_known(&self, endpoint: NewEndpoint) -> Result<(), CallbackError>;
    /// Asks for the session behind a request.
    ///
    /// # Errors
    /// DENIED without the right; the future's own errors are those of the callback.
    fn check_session_valid(&self, request: Arc<CallRequest>, scopes: &str) -> Result<HostFuture, CallbackError>;
    /// Counts a use of what the session behind a request has proved.
    ///
    /// # Errors
    /// DENIED without the right; the future's own errors are those of the callback.
    fn trigger_session_used(&self, request: Arc<CallRequest>, scopes: &str) -> Result<HostFuture, CallbackError>;
    /// Asks when the session behind a request last proved something.
    ///
    /// # Errors
    /// As the one before.
    fn session_age(&self, request: Arc<CallRequest>, scopes: &str) -> Result<HostFuture, CallbackError>;
    /// Asks for a scheme, or asks a scheme.
    ///
    /// # Errors
    /// As the one before.
    fn schemes(&self, call: SchemeCall) -> Result<HostFuture, CallbackError>;
    /// A future that is ready after a while.
    ///
    /// # Errors
    /// UNSUPPORTED for a library's context.
    fn timer(&self, delay: Duration) -> Result<HostFuture, CallbackError>;
    /// Reads or changes documents of the instance. What is wrong with the arguments is the future's answer.
    ///
    /// # Errors
    /// UNSUPPORTED for a library's context.
    fn documents(&self, call: DocumentCall) -> Result<HostFuture, CallbackError>;
    /// Asks about users, clients and grants; `arguments` is JSON. What is wrong with them is the future's answer, which is
    /// JSON.
    ///
    /// # Errors
    /// DENIED without the right, UNSUPPORTED for a library's context.
    fn ask(&self, question: Question, arguments: &str) -> Result<HostFuture, CallbackError>;
    /// Lets the host drive a future to its end.
    ///
    /// # Errors
    /// CLOSED when the host is ending.
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<(), CallbackError>;
    /// What the plug-in may know of the host, as JSON.
    fn host_info(&self) -> String;
    /// The URL of the instance's prefix.
    ///
    /// # Errors
    /// UNSUPPORTED for a library's context.
    fn external_url(&self) -> Result<String, CallbackError>;
    /// The URL of the page where a user logs in for a client; `arguments` is JSON.
    ///
    /// # Errors
    /// PARAM for what is wrong with them, UNSUPPORTED for a library's context.
    fn login_url(&self, arguments: &str) -> Result<String, CallbackError>;
    /// The hash of some data in the form that the administrator chose.
    ///
    /// # Errors
    /// UNSUPPORTED for a library's context.
    fn hash(&self, data: &[u8]) -> Result<String, CallbackError>;
}

/// A number that a plug-in holds, taken back when this is dropped.
pub(super) struct Context(u64);

struct Entry {
    generation: u32,
    services: Option<Arc<dyn Services>>,
}

struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

static TABLE: RwLock<Table> = RwLock::new(Table { entries: Vec::new(), free: Vec::new() });

impl Context {
    /// Gives out a number for `services`.
    #[must_use]
    pub(super) fn open(services: Arc<dyn Services>) -> Self {
        let mut table = TABLE.write();
        let index = table.free.pop();
        if let Some(index) = index
            && let Some(entry) = table.entries.get_mut(index as usize)
        {
            entry.services = Some(services);
            return Self(number(index, entry.generation));
        }
        let index = u32::try_from(table.entries.len()).unwrap_or(u32::MAX);
        table.entries.push(Entry { generation: 1, services: Some(services) });
        Self(number(index, 1))
    }

    /// The number.
    #[must_use]
    pub(super) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let (index, _) = parts(self.0);
        let mut table = TABLE.write();
        // Dropped after the lock is gone: the services' own drop must not find the table locked.
        let mut services = None;
        let mut reusable = false;
        if let Some(entry) = table.entries.get_mut(index as usize) {
            services = entry.services.take();
            // A place whose generations are used up is given up, so that no old number ever fits again.
            if let Some(next) = entry.generation.checked_add(1) {
                entry.generation = next;
                reusable = true;
            }
        }
        if reusable {
            table.free.push(index);
        }
        drop(table);
        drop(services);
    }
}

/// What stands behind a number, if it is still open.
#[must_use]
pub(super) fn find(number: u64) -> Option<Arc<dyn Services>> {
    let (index, generation) = parts(number);
    let table = TABLE.read();
    let entry = table.entries.get(index as usize)?;
    if entry.generation == generation { entry.services.clone() } else { None }
}

fn number(index: u32, generation: u32) -> u64 {
    (u64::from(generation) << 32) | u64::from(index)
}

fn parts(number: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
    let parts = (number as u32, (number >> 32) as u32);
    parts
}
