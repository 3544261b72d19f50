//! The host's functions behind safe ones, and the calls that take a while.

use core::ffi::c_void;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll};
use std::sync::OnceLock;

use porth_abi as abi;
use porth_abi::code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bytes::HostBytes;
use crate::guard::Entered;
use crate::host_error::HostError;
use crate::request::Request;
use crate::waker::with_host_waker;

/// The host's table, and the context that every call names.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    table: &'static abi::Host,
    context: u64,
}

// SAFETY: the table lives as long as the process and its functions may be called from any thread. The one thing in it
// that changes is behind `max_log_level`, which is read atomically.
unsafe impl Send for Callbacks {}
// SAFETY: see above.
unsafe impl Sync for Callbacks {}

impl Callbacks {
    /// Takes what `load` got; `None` for a table that is shorter than any host's that this SDK can work with.
    ///
    /// # Safety
    /// `host` must be the host's: as many bytes as its `size` says, valid as long as the process.
    pub(crate) unsafe fn new(host: abi::HostIn, context: u64) -> Option<Self> {
        // SAFETY: every host's table starts with its size.
        let size = unsafe { host.0.cast::<usize>().read() };
        if size < size_of::<abi::Host>() {
            return None;
        }
        // SAFETY: the table is as long as this SDK's, and the caller vouches for the rest.
        Some(Self { table: unsafe { &*host.0 }, context })
    }

    /// The same host for another context.
    pub(crate) const fn with_context(self, context: u64) -> Self {
        Self { context, ..self }
    }

    /// Says that this thread works for the context, until the result is dropped.
    pub(crate) fn enter(self) -> Entered {
        Entered::new(self.context)
    }

    /// The least severe level that the host logs now.
    pub(crate) fn max_log_level(self) -> u32 {
        // SAFETY: the host keeps an aligned number there as long as the process, and changes it atomically only.
        let level = unsafe { AtomicU32::from_ptr(self.table.max_log_level.cast_mut()) };
        level.load(Ordering::Relaxed)
    }

    /// Writes to the host's log.
    pub(crate) fn log(self, record: &abi::LogRecord) {
        // SAFETY: the record and what it points to are borrowed for the call.
        unsafe { (self.table.log)(self.context, abi::LogRecordIn(record)) }
    }

    /// Makes a metric or finds it; answers its number.
    pub(crate) fn metric_add(self, name: &str, kind: u32, help: &str) -> Result<u32, HostError> {
        let (mut id, mut detail) = (0, abi::Bytes::EMPTY);
        let (name, help) = (abi::Str::new(name.as_bytes()), abi::Str::new(help.as_bytes()));
        // SAFETY: the texts, `id` and `detail` are borrowed for the call.
        let code = unsafe { (self.table.metric_add)(self.context, name, kind, help, &raw mut id, &raw mut detail) };
        // SAFETY: the host filled it in, or left it empty.
        let detail = unsafe { HostBytes::new(detail) };
        HostError::check(code, &detail).map(|()| id)
    }

    /// Adds to a counter or a gauge. The host logs what it refuses.
    pub(crate) fn metric_increment(self, id: u32, labels: &[abi::Parameter], value: f64) {
        // SAFETY: the labels are borrowed for the call.
        unsafe { (self.table.metric_increment)(self.context, id, labels.as_ptr(), labels.len(), value) };
    }

    /// Records a duration in seconds in a histogram, or sets a gauge. The host logs what it refuses.
    pub(crate) fn metric_observe(self, id: u32, labels: &[abi::Parameter], value: f64) {
        // SAFETY: the labels are borrowed for the call.
        unsafe { (self.table.metric_observe)(self.context, id, labels.as_ptr(), labels.len(), value) };
    }

    /// Registers an endpoint.
    ///
    /// # Safety
    /// `endpoint.handler` must be callable with `endpoint.user` until `close` returns, or `init` if it fails.
    pub(crate) unsafe fn add_endpoint(self, endpoint: &abi::Endpoint) -> Result<(), HostError> {
        let mut detail = abi::Bytes::EMPTY;
        // SAFETY: the caller vouches for the endpoint, which is borrowed for the call as `detail` is.
        let code = unsafe { (self.table.add_endpoint)(self.context, abi::EndpointIn(endpoint), &raw mut detail) };
        // SAFETY: the host filled it in, or left it empty.
        let detail = unsafe { HostBytes::new(detail) };
        HostError::check(code, &detail)
    }

    /// Registers an endpoint at `/.well-known`.
    ///
    /// # Safety
    /// As [`add_endpoint`](Self::add_endpoint).
    pub(crate) unsafe fn add_well_known(self, endpoint: &abi::Endpoint) -> Result<(), HostError> {
        let mut detail = abi::Bytes::EMPTY;
        // SAFETY: the caller vouches for the endpoint, which is borrowed for the call as `detail` is.
        let code = unsafe { (self.table.add_well_known)(self.context, abi::EndpointIn(endpoint), &raw mut detail) };
        // SAFETY: the host filled it in, or left it empty.
        let detail = unsafe { HostBytes::new(detail) };
        HostError::check(code, &detail)
    }

    /// Takes back the handlers of a method and pattern.
    pub(crate) fn remove_endpoint(self, method: &str, path: &str) -> Result<(), HostError> {
        let (method, path) = (abi::Str::new(method.as_bytes()), abi::Str::new(path.as_bytes()));
        // SAFETY: the texts are borrowed for the call.
        let code = unsafe { (self.table.remove_endpoint)(self.context, method, path) };
        match HostError::from_code(code, String::new()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Keeps a request of the host.
    ///
    /// # Safety
    /// `request` must be the handle of a request that is borrowed or retained now.
    pub(crate) unsafe fn retain(self, request: *const c_void) {
        // SAFETY: the caller vouches for it.
        unsafe { (self.table.request_retain)(request) }
    }

    /// Gives a request back.
    ///
    /// # Safety
    /// `request` must have been retained; nothing of that reference may be used afterwards.
    pub(crate) unsafe fn release(self, request: *const c_void) {
        // SAFETY: the caller vouches for it.
        unsafe { (self.table.request_release)(request) }
    }

    /// Asks for the session behind a request.
    ///
    /// # Safety
    /// `request` must be the handle of a request that is borrowed or retained now.
    pub(crate) unsafe fn check_session_valid(
        self,
        request: *const c_void,
        scopes: &str,
    ) -> Result<HostCall, HostError> {
        self.start(|call| {
            // SAFETY: the caller vouches for the request; the text and `call` are borrowed for the call.
            unsafe { (self.table.check_session_valid)(self.context, request, abi::Str::new(scopes.as_bytes()), call) }
        })
    }

    /// Counts a use of what the session behind a request has proved.
    ///
    /// # Safety
    /// `request` must be the handle of a request that is borrowed or retained now.
    pub(crate) unsafe fn trigger_session_used(
        self,
        request: *const c_void,
        scopes: &str,
    ) -> Result<HostCall, HostError> {
        // SAFETY: the caller vouches for the request; the text and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.trigger_session_used)(self.context, request, str(scopes), call) })
    }

    /// Asks when the session behind a request last proved something.
    ///
    /// # Safety
    /// `request` must be the handle of a request that is borrowed or retained now.
    pub(crate) unsafe fn get_session_age(self, request: *const c_void, scopes: &str) -> Result<HostCall, HostError> {
        // SAFETY: the caller vouches for the request; the text and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.get_session_age)(self.context, request, str(scopes), call) })
    }

    /// Asks for a scheme.
    pub(crate) fn get_scheme_module(self, scheme: &str) -> Result<HostCall, HostError> {
        // SAFETY: the text and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.get_scheme_module)(self.context, str(scheme), call) })
    }

    /// Asks for the schemes of a user.
    pub(crate) fn get_scheme_list(self, username: &str) -> Result<HostCall, HostError> {
        // SAFETY: the text and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.get_scheme_list)(self.context, str(username), call) })
    }

    /// Registers a user with a scheme.
    pub(crate) fn scheme_register(
        self,
        scheme: &str,
        request: Option<&Request>,
        username: &str,
        data: &str,
    ) -> Result<HostCall, HostError> {
        let [scheme, username, data] = [scheme, username, data].map(str);
        let request = request.map_or(core::ptr::null(), Request::handle);
        // SAFETY: the request is none or lives as long as it is borrowed here; texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.scheme_register)(self.context, scheme, request, username, data, call) })
    }

    /// Asks what a user has registered with a scheme.
    pub(crate) fn scheme_register_get(
        self,
        scheme: &str,
        request: Option<&Request>,
        username: &str,
    ) -> Result<HostCall, HostError> {
        let [scheme, username] = [scheme, username].map(str);
        let request = request.map_or(core::ptr::null(), Request::handle);
        // SAFETY: as in `scheme_register`.
        self.start(|call| unsafe { (self.table.scheme_register_get)(self.context, scheme, request, username, call) })
    }

    /// Makes a scheme forget a user.
    pub(crate) fn scheme_deregister(
        self,
        scheme: &str,
        request: Option<&Request>,
        username: &str,
    ) -> Result<HostCall, HostError> {
        let [scheme, username] = [scheme, username].map(str);
        let request = request.map_or(core::ptr::null(), Request::handle);
        // SAFETY: as in `scheme_register`.
        self.start(|call| unsafe { (self.table.scheme_deregister)(self.context, scheme, request, username, call) })
    }

    /// Asks whether a user can prove something with a scheme.
    pub(crate) fn scheme_can_use(self, scheme: &str, username: &str) -> Result<HostCall, HostError> {
        // SAFETY: the texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.scheme_can_use)(self.context, str(scheme), str(username), call) })
    }

    /// Asks for the next piece of a request's body.
    ///
    /// # Safety
    /// `request` must be the handle of a request that is borrowed or retained now.
    pub(crate) unsafe fn request_body_next(self, request: *const c_void) -> Result<HostCall, HostError> {
        // SAFETY: the caller vouches for the request; `call` is borrowed for the call.
        self.start(|call| unsafe { (self.table.request_body_next)(self.context, request, call) })
    }

    /// Starts a timer.
    pub(crate) fn timer(self, delay_ms: u64) -> Result<HostCall, HostError> {
        // SAFETY: `call` is borrowed for the call.
        self.start(|call| unsafe { (self.table.timer)(self.context, delay_ms, call) })
    }

    /// Asks for a document.
    pub(crate) fn document_get(self, collection: &str, key: &str) -> Result<HostCall, HostError> {
        // SAFETY: the texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.document_get)(self.context, str(collection), str(key), call) })
    }

    /// Writes a document.
    pub(crate) fn document_put(
        self,
        collection: &str,
        key: &str,
        value: &str,
        options: &str,
    ) -> Result<HostCall, HostError> {
        let [collection, key, value, options] = [collection, key, value, options].map(str);
        // SAFETY: the texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.document_put)(self.context, collection, key, value, options, call) })
    }

    /// Deletes a document.
    pub(crate) fn document_delete(self, collection: &str, key: &str, options: &str) -> Result<HostCall, HostError> {
        let [collection, key, options] = [collection, key, options].map(str);
        // SAFETY: the texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.document_delete)(self.context, collection, key, options, call) })
    }

    /// Asks for a page of documents.
    pub(crate) fn document_list(self, collection: &str, options: &str) -> Result<HostCall, HostError> {
        // SAFETY: the texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.document_list)(self.context, str(collection), str(options), call) })
    }

    /// Makes changes of documents.
    pub(crate) fn document_apply(self, operations: &str) -> Result<HostCall, HostError> {
        // SAFETY: the text and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.document_apply)(self.context, str(operations), call) })
    }

    /// Uses a one-time document.
    pub(crate) fn document_consume(self, collection: &str, key: &str) -> Result<HostCall, HostError> {
        // SAFETY: the texts and `call` are borrowed for the call.
        self.start(|call| unsafe { (self.table.document_consume)(self.context, str(collection), str(key), call) })
    }

    /// Asks one of the questions of the table, with arguments that become a JSON object.
    pub(crate) fn ask(
        self,
        question: impl FnOnce(&abi::Host) -> abi::Question,
        arguments: &impl Serialize,
    ) -> Result<HostCall, HostError> {
        let arguments = to_json(arguments)?;
        // SAFETY: the text and `call` are borrowed for the call.
        self.start(|call| unsafe { (question(self.table).call)(self.context, str(&arguments), call) })
    }

    /// The page where a user logs in; the arguments become a JSON object.
    pub(crate) fn login_url(self, arguments: &impl Serialize) -> Result<String, HostError> {
        let arguments = to_json(arguments)?;
        // SAFETY: the text and `result` are borrowed for the call.
        let url = fetch(|result| unsafe { (self.table.get_login_url)(self.context, str(&arguments), result) })?;
        Ok(url.to_text())
    }

    /// The hash of some data.
    pub(crate) fn generate_hash(self, data: &[u8]) -> Result<String, HostError> {
        // SAFETY: the data and `result` are borrowed for the call.
        let hash = fetch(|result| unsafe { (self.table.generate_hash)(self.context, abi::Str::new(data), result) })?;
        Ok(hash.to_text())
    }

    /// What the host says about itself.
    pub(crate) fn host_info<T: DeserializeOwned>(self) -> Result<T, HostError> {
        // SAFETY: `result` is borrowed for the call.
        let bytes = fetch(|result| unsafe { (self.table.host_info)(self.context, result) })?;
        decode(&bytes)
    }

    /// The URL of the instance.
    pub(crate) fn external_url(self) -> Result<String, HostError> {
        // SAFETY: `result` is borrowed for the call.
        let url = fetch(|result| unsafe { (self.table.get_plugin_external_url)(self.context, result) })?;
        Ok(url.to_text())
    }

    fn start(self, begin: impl FnOnce(*mut abi::HostCall) -> i32) -> Result<HostCall, HostError> {
        let mut call = abi::HostCall::NONE;
        let code = begin(&raw mut call);
        // What the host filled in is dropped by this, also when it answers an error.
        let call = HostCall { call, callbacks: self };
        match HostError::from_code(code, String::new()) {
            Some(error) => Err(error),
            None => Ok(call),
        }
    }
}

fn to_json(value: &impl Serialize) -> Result<String, HostError> {
    serde_json::to_string(value)
        .map_err(|error| HostError::Parameter(format!("an argument cannot be written as JSON: {error}")))
}

/// Text as it crosses the border.
const fn str(text: &str) -> abi::Str {
    abi::Str::new(text.as_bytes())
}

/// Calls a function that answers a code and fills in bytes.
fn fetch(get: impl FnOnce(*mut abi::Bytes) -> i32) -> Result<HostBytes, HostError> {
    let mut result = abi::Bytes::EMPTY;
    let code = get(&raw mut result);
    // SAFETY: the host filled it in, or left it empty.
    let result = unsafe { HostBytes::new(result) };
    HostError::check(code, &result)?;
    Ok(result)
}

/// Reads a JSON result.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a HostBytes) -> Result<T, HostError> {
    serde_json::from_slice(bytes.as_slice())
        .map_err(|error| HostError::Failed(format!("the host's answer cannot be read: {error}")))
}

/// A call of the host that is under way: a future of its result, or a wait for it.
pub(crate) struct HostCall {
    call: abi::HostCall,
    callbacks: Callbacks,
}

// SAFETY: the border says that a call may be polled and dropped from any thread, one at a time.
unsafe impl Send for HostCall {}
// SAFETY: a shared reference to it gives access to nothing.
unsafe impl Sync for HostCall {}

impl HostCall {
    /// Waits for the result, on a thread that may block.
    pub(crate) fn wait(mut self) -> Result<HostBytes, HostError> {
        let callbacks = self.callbacks;
        // The host takes the call over, whatever it answers: nothing is left to drop here.
        let mut call = core::mem::replace(&mut self.call, abi::HostCall::NONE);
        // SAFETY: the call is the host's and used for the last time; `result` is borrowed for the call.
        fetch(|result| unsafe { (callbacks.table.call_wait)(callbacks.context, &raw mut call, result) })
    }
}

impl Future for HostCall {
    type Output = Result<HostBytes, HostError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(poll) = self.call.poll else {
            return Poll::Ready(Err(HostError::Failed("the call has ended".to_owned())));
        };
        let (mut code, mut result) = (code::ERROR, abi::Bytes::EMPTY);
        let answer = with_host_waker(context.waker(), |waker| {
            // SAFETY: the call is the host's, not yet dropped, and polled by nobody else: it is borrowed mutably here.
            unsafe { poll(self.call.state, waker, &raw mut code, &raw mut result) }
        });
        if answer == code::PENDING {
            return Poll::Pending;
        }
        // SAFETY: the host filled it in, or left it empty.
        let result = unsafe { HostBytes::new(result) };
        let this = self.get_mut();
        // It must not be polled again.
        this.call.poll = None;
        if answer != code::READY {
            return Poll::Ready(Err(HostError::Failed("the host could not carry out the call".to_owned())));
        }
        Poll::Ready(HostError::check(code, &result).map(|()| result))
    }
}

impl Drop for HostCall {
    fn drop(&mut self) {
        if let Some(free) = self.call.drop {
            // SAFETY: the call is the host's, and this is its last use.
            unsafe { free(self.call.state) }
        }
    }
}

/// The callbacks that `load` got, for what belongs to no instance: log records of the plug-in's own threads.
///
/// Each loading of a library has a copy of this, and of everything else that is static.
static LIBRARY: OnceLock<Callbacks> = OnceLock::new();

/// Keeps what `load` got.
pub(crate) fn set_library(callbacks: Callbacks) {
    // A second `load` of the same copy would come from the same host.
    let _ = LIBRARY.set(callbacks);
}

/// The callbacks to log with: for the instance that this thread works for, else for the library.
pub(crate) fn for_log() -> Option<Callbacks> {
    let library = *LIBRARY.get()?;
    Some(crate::guard::current().map_or(library, |context| library.with_context(context)))
}
