//! The table of callbacks: what a plug-in calls, turned into calls of [`Services`].
//!
//! Every function here guards itself, so that no panic of the host reaches a plug-in's frames, and looks its context up,
//! so that a late or made-up number answers CLOSED.

mod metrics;

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use porth_abi::{
    ABI_DRAFT, ABI_MAJOR, ABI_MINOR, Bytes, Done, Endpoint, EndpointIn, Host, HostCall, HostIn, LogRecord, LogRecordIn,
    ResponseOut, Str, Waker, code,
};

use self::metrics::{metric_add, metric_increment, metric_observe};
use super::answer;
use super::body;
use super::bytes::{borrow, borrow_text, hand_over};
use super::call::Handler;
use super::context::{self, CallbackError, HostFuture, LogLine, NewEndpoint, Services};
use super::documents;
use super::questions;
use super::request::CallRequest;
use super::schemes;
use super::token::{self, CompleteError};
use super::waker::ForeignWaker;

/// The table, as `load` gets it.
#[must_use]
pub(super) fn host_table() -> HostIn {
    HostIn(&raw const TABLE.0)
}

/// Sets the least severe level that plug-ins are asked to log: 0 (nothing) to 5 (everything).
pub fn set_max_log_level(level: u32) {
    MAX_LOG_LEVEL.store(level, Ordering::Relaxed);
}

/// Marks this thread as one that must never wait: blocking callbacks answer WOULD_BLOCK on it.
pub fn this_thread_must_not_block() {
    MUST_NOT_BLOCK.set(true);
}

thread_local! {
    static MUST_NOT_BLOCK: Cell<bool> = const { Cell::new(false) };
}

static MAX_LOG_LEVEL: AtomicU32 = AtomicU32::new(code::level::INFO);

struct Table(Host);

// SAFETY: the table is numbers, functions and a pointer to an atomic.
unsafe impl Sync for Table {}

static TABLE: Table = Table(Host {
    size: size_of::<Host>(),
    abi_draft: ABI_DRAFT,
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    reserved: 0,
    max_log_level: MAX_LOG_LEVEL.as_ptr().cast_const(),
    log,
    metric_add,
    metric_increment,
    metric_observe,
    add_endpoint,
    remove_endpoint,
    request_retain,
    request_release,
    request_token,
    request_body_next,
    complete,
    check_session_valid,
    trigger_session_used,
    get_session_age,
    get_scheme_module: schemes::module,
    get_scheme_list: schemes::list,
    scheme_register: schemes::register,
    scheme_register_get: schemes::register_get,
    scheme_deregister: schemes::deregister,
    scheme_can_use: schemes::can_use,
    timer,
    document_get: documents::get,
    document_put: documents::put,
    document_delete: documents::delete,
    document_list: documents::list,
    document_apply: documents::apply,
    document_consume: documents::consume,
    call_wait,
    call_then,
    host_info,
    get_plugin_external_url,
    check_user_valid: questions::CHECK_USER_VALID,
    check_client_valid: questions::CHECK_CLIENT_VALID,
    get_client_granted_scopes: questions::GET_CLIENT_GRANTED_SCOPES,
    get_user_list: questions::GET_USER_LIST,
    get_user: questions::GET_USER,
    get_user_profile: questions::GET_USER_PROFILE,
    is_user_valid: questions::IS_USER_VALID,
    add_user: questions::ADD_USER,
    set_user: questions::SET_USER,
    delete_user: questions::DELETE_USER,
    user_update_password: questions::USER_UPDATE_PASSWORD,
    get_client_list: questions::GET_CLIENT_LIST,
    get_client: questions::GET_CLIENT,
    is_client_valid: questions::IS_CLIENT_VALID,
    add_client: questions::ADD_CLIENT,
    set_client: questions::SET_CLIENT,
    delete_client: questions::DELETE_CLIENT,
    add_well_known,
    get_login_url,
    generate_hash,
    extension,
});

/// Runs a callback's body; a panic becomes `on_panic` and a line in the log.
fn guard<T>(on_panic: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        forget_payload(payload);
        on_panic
    })
}

/// A payload whose own drop panics must not bring the guard down.
fn forget_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Runs a callback's body that answers a code.
fn answer_code(body: impl FnOnce() -> Result<(), CallbackError>) -> i32 {
    guard(code::ERROR, || body().map_or_else(|error| error.code, |()| code::OK))
}

/// Runs a callback's body that answers a code and, on failure, a detail.
///
/// # Safety
/// `detail` is null or may be written.
unsafe fn answer_detail(detail: *mut Bytes, body: impl FnOnce() -> Result<(), CallbackError>) -> i32 {
    guard(code::ERROR, || match body() {
        Ok(()) => code::OK,
        Err(error) => {
            // SAFETY: the caller vouches for it.
            unsafe { write(detail, error.detail.into_bytes()) };
            error.code
        }
    })
}

/// Runs a callback's body that answers a code and a result, which on failure is the detail.
///
/// # Safety
/// `result` is null or may be written.
unsafe fn answer_result(result: *mut Bytes, body: impl FnOnce() -> Result<Vec<u8>, CallbackError>) -> i32 {
    guard(code::ERROR, || {
        let (code, bytes) = match body() {
            Ok(bytes) => (code::OK, bytes),
            Err(error) => (error.code, error.detail.into_bytes()),
        };
        // SAFETY: the caller vouches for it.
        unsafe { write(result, bytes) };
        code
    })
}

/// Writes bytes where a plug-in wants them.
///
/// # Safety
/// `place` is null or may be written.
unsafe fn write(place: *mut Bytes, bytes: Vec<u8>) {
    if !place.is_null() {
        // SAFETY: not null, and the caller vouches for it. What was there is not the host's to drop.
        unsafe { place.write(hand_over(bytes)) }
    }
}

pub(super) fn services(context: u64) -> Result<Arc<dyn Services>, CallbackError> {
    context::find(context).ok_or_else(|| CallbackError::new(code::CLOSED, "the instance is closed"))
}

/// Reads text that a plug-in lent for the call.
///
/// # Safety
/// The text is valid for this call.
pub(super) unsafe fn text<'a>(text: Str, what: &str) -> Result<&'a str, CallbackError> {
    // SAFETY: the caller vouches for it.
    unsafe { borrow_text(text) }.map_err(|bad| CallbackError::parameter(format!("{what} is {bad}")))
}

unsafe extern "C" fn log(context: u64, record: LogRecordIn) {
    guard((), || {
        let Some(services) = context::find(context) else { return };
        if record.0.is_null() {
            return;
        }
        // SAFETY: not null, and every record begins with its size. No reference before it is known to be whole.
        if unsafe { record.0.cast::<usize>().read() } < size_of::<LogRecord>() {
            return;
        }
        // SAFETY: as long as its size says, and valid for this call.
        let record = unsafe { &*record.0 };
        // SAFETY: texts of the record are valid for this call.
        let target = unsafe { text(record.target, "target") }.unwrap_or("?");
        // SAFETY: as above.
        let message = unsafe { text(record.message, "message") }.unwrap_or("(a message that is not UTF-8)");
        // SAFETY: as above.
        let file = unsafe { text(record.file, "file") }.unwrap_or_default();
        let raw = if record.fields.is_null() {
            &[]
        } else {
            // SAFETY: so many fields are valid for this call; a bound keeps a wrong number from reading far.
            unsafe { std::slice::from_raw_parts(record.fields, record.fields_len.min(LOG_FIELDS_MAX)) }
        };
        let mut fields = Vec::with_capacity(raw.len());
        for field in raw {
            // SAFETY: as above.
            let name = unsafe { text(field.name, "name") };
            // SAFETY: as above.
            let value = unsafe { text(field.value, "value") };
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.push((name, value));
            }
        }
        services.log(LogLine { level: record.level, target, message, file, line: record.line, fields: &fields });
    });
}

/// More fields than this on one line are cut off.
const LOG_FIELDS_MAX: usize = 64;

unsafe extern "C" fn add_endpoint(context: u64, endpoint: EndpointIn, detail: *mut Bytes) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: the border says that the endpoint is valid for this call.
        services.add_endpoint(unsafe { new_endpoint(endpoint) }?)
    };
    // SAFETY: the border says that `detail` is null or may be written.
    unsafe { answer_detail(detail, body) }
}

unsafe extern "C" fn add_well_known(context: u64, endpoint: EndpointIn, detail: *mut Bytes) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: the border says that the endpoint is valid for this call.
        services.add_well_known(unsafe { new_endpoint(endpoint) }?)
    };
    // SAFETY: the border says that `detail` is null or may be written.
    unsafe { answer_detail(detail, body) }
}

/// Copies an endpoint that a plug-in lent for the call.
///
/// # Safety
/// The endpoint, as long as its `size` says, and its texts are valid for this call.
unsafe fn new_endpoint(endpoint: EndpointIn) -> Result<NewEndpoint, CallbackError> {
    if endpoint.0.is_null() {
        return Err(CallbackError::parameter("no endpoint"));
    }
    // SAFETY: not null, and every endpoint begins with its size. No reference before it is known to be whole.
    let size = unsafe { endpoint.0.cast::<usize>().read() };
    if size < size_of::<Endpoint>() {
        return Err(CallbackError::parameter(format!(
            "an endpoint of {size} bytes, expected at least {}",
            size_of::<Endpoint>()
        )));
    }
    // SAFETY: as long as its size says, and the caller vouches for it.
    let endpoint = unsafe { &*endpoint.0 };
    // SAFETY: the caller vouches for the texts.
    let method = unsafe { text(endpoint.method, "method") }?.to_owned();
    // SAFETY: as above.
    let path = unsafe { text(endpoint.path, "path") }?.to_owned();
    // SAFETY: as above.
    let auth = unsafe { text(endpoint.auth, "auth") }?.to_owned();
    Ok(NewEndpoint {
        method,
        path,
        priority: endpoint.priority,
        short: endpoint.flags & code::endpoint::SHORT != 0,
        stream_body: endpoint.flags & code::endpoint::STREAM_BODY != 0,
        auth,
        body_bytes_max: (endpoint.body_bytes_max > 0).then_some(endpoint.body_bytes_max),
        deadline: (endpoint.deadline_ms > 0).then(|| Duration::from_millis(endpoint.deadline_ms)),
        handler: Handler::new(endpoint.handler, endpoint.user),
    })
}

unsafe extern "C" fn remove_endpoint(context: u64, method: Str, path: Str) -> i32 {
    answer_code(|| {
        let services = services(context)?;
        // SAFETY: valid for this call.
        let method = unsafe { text(method, "method") }?;
        // SAFETY: valid for this call.
        let path = unsafe { text(path, "path") }?;
        services.remove_endpoint(method, path)
    })
}

unsafe extern "C" fn request_retain(request: *const c_void) {
    // SAFETY: the border says that the caller was lent this request.
    guard(false, || unsafe { CallRequest::retain(request) });
}

unsafe extern "C" fn request_release(request: *const c_void) {
    // SAFETY: the border says that the caller retained this request.
    guard((), || unsafe { CallRequest::release(request) });
}

unsafe extern "C" fn request_token(context: u64, request: *const c_void) -> u64 {
    guard(0, || {
        if context::find(context).is_none() {
            return 0;
        }
        // SAFETY: the border says that the caller was lent this request.
        let request = unsafe { CallRequest::hold(request) };
        request.and_then(|request| request.defer(|| token::issue(context))).unwrap_or(0)
    })
}

unsafe extern "C" fn request_body_next(context: u64, request: *const c_void, call: *mut HostCall) -> i32 {
    let body = || {
        services(context)?;
        // SAFETY: the border says that the caller was lent this request or retained it.
        let request = unsafe { CallRequest::hold(request) }.ok_or_else(|| CallbackError::parameter("no request"))?;
        body::next_piece(request)
    };
    // SAFETY: the border says that `call` may be written.
    unsafe { start(call, body) }
}

unsafe extern "C" fn complete(context: u64, token: u64, answer: i32, response: ResponseOut) -> i32 {
    guard(code::ERROR, || {
        if response.0.is_null() {
            return code::PARAM;
        }
        // SAFETY: not null, and every response begins with its size. No reference before it is known to be whole.
        if unsafe { response.0.cast::<usize>().read() } < size_of::<porth_abi::Response>() {
            return code::PARAM;
        }
        // SAFETY: as long as its size says, and valid for this call.
        let response = unsafe { &*response.0 };
        let answer = if matches!(answer, code::PENDING | code::NEXT) { code::FAILED } else { answer };
        // SAFETY: the border says that the host takes over what the response owns.
        let outcome = unsafe { answer::take(answer, *response) };
        if context::find(context).is_none() {
            return code::CLOSED;
        }
        match token::complete(context, token, outcome) {
            Ok(()) => code::OK,
            Err(CompleteError::Unknown) => code::PARAM,
            Err(CompleteError::Cancelled) => code::CANCELLED,
        }
    })
}

unsafe extern "C" fn check_session_valid(
    context: u64,
    request: *const c_void,
    scopes: Str,
    call: *mut HostCall,
) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: the border says that the caller was lent this request or retained it.
        let request = unsafe { CallRequest::hold(request) }.ok_or_else(|| CallbackError::parameter("no request"))?;
        // SAFETY: valid for this call.
        services.check_session_valid(request, unsafe { text(scopes, "scopes") }?)
    };
    // SAFETY: the border says that `call` may be written.
    unsafe { start(call, body) }
}

unsafe extern "C" fn trigger_session_used(
    context: u64,
    request: *const c_void,
    scopes: Str,
    call: *mut HostCall,
) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: the border says that the caller was lent this request or retained it.
        let request = unsafe { CallRequest::hold(request) }.ok_or_else(|| CallbackError::parameter("no request"))?;
        // SAFETY: valid for this call.
        services.trigger_session_used(request, unsafe { text(scopes, "scopes") }?)
    };
    // SAFETY: the border says that `call` may be written.
    unsafe { start(call, body) }
}

unsafe extern "C" fn get_session_age(context: u64, request: *const c_void, scopes: Str, call: *mut HostCall) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: the border says that the caller was lent this request or retained it.
        let request = unsafe { CallRequest::hold(request) }.ok_or_else(|| CallbackError::parameter("no request"))?;
        // SAFETY: valid for this call.
        services.session_age(request, unsafe { text(scopes, "scopes") }?)
    };
    // SAFETY: the border says that `call` may be written.
    unsafe { start(call, body) }
}

unsafe extern "C" fn timer(context: u64, delay_ms: u64, call: *mut HostCall) -> i32 {
    // SAFETY: the border says that `call` may be written.
    unsafe { start(call, || services(context)?.timer(Duration::from_millis(delay_ms))) }
}

/// Runs the start of an asynchronous callback and hands its future out.
///
/// # Safety
/// `call` is null or may be written.
pub(super) unsafe fn start(call: *mut HostCall, body: impl FnOnce() -> Result<HostFuture, CallbackError>) -> i32 {
    answer_code(|| {
        if call.is_null() {
            return Err(CallbackError::parameter("no place for the call"));
        }
        let future: Box<HostFuture> = Box::new(body()?);
        let started = HostCall { state: Box::into_raw(future).cast(), poll: Some(call_poll), drop: Some(call_drop) };
        // SAFETY: not null, and the caller vouches for it.
        unsafe { call.write(started) };
        Ok(())
    })
}

unsafe extern "C" fn call_poll(state: *mut c_void, waker: *const Waker, code: *mut i32, result: *mut Bytes) -> i32 {
    guard(code::PANIC, || {
        // SAFETY: made by `start`, and the border says that one thread polls at a time and not after `drop`.
        let Some(future) = (unsafe { state.cast::<HostFuture>().as_mut() }) else { return code::FAILED };
        // SAFETY: the waker is valid for this call.
        let Some(waker) = (unsafe { ForeignWaker::keep(waker) }) else { return code::FAILED };
        let waker = std::task::Waker::from(Arc::new(waker));
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Pending => code::PENDING,
            Poll::Ready(outcome) => {
                // SAFETY: the border says that both may be written.
                unsafe { settle(outcome, code, result) };
                code::READY
            }
        }
    })
}

/// Writes an outcome as a code and bytes.
///
/// # Safety
/// Both places are null or may be written.
unsafe fn settle(outcome: Result<Vec<u8>, CallbackError>, code: *mut i32, result: *mut Bytes) {
    let (number, bytes) = split(outcome);
    if !code.is_null() {
        // SAFETY: not null, and the caller vouches for it.
        unsafe { code.write(number) };
    }
    // SAFETY: the caller vouches for it.
    unsafe { write(result, bytes) };
}

fn split(outcome: Result<Vec<u8>, CallbackError>) -> (i32, Vec<u8>) {
    match outcome {
        Ok(bytes) => (code::OK, bytes),
        Err(error) => (error.code, error.detail.into_bytes()),
    }
}

unsafe extern "C" fn call_drop(state: *mut c_void) {
    guard((), || {
        if !state.is_null() {
            // SAFETY: made by `start`, and the border says that this is its end.
            drop(unsafe { Box::from_raw(state.cast::<HostFuture>()) });
        }
    });
}

/// Takes a call over from a plug-in; `None` when it is not one that the host handed out.
///
/// # Safety
/// `call` is null, or points to a call that this host handed out and that was not used yet.
unsafe fn take_call(call: *mut HostCall) -> Option<HostFuture> {
    // SAFETY: the caller vouches for it.
    let call = unsafe { call.as_mut() }?;
    let ours = call.drop.is_some_and(|free| std::ptr::fn_addr_eq(free, call_drop as unsafe extern "C" fn(*mut c_void)));
    let taken = std::mem::replace(call, HostCall::NONE);
    if !ours || taken.state.is_null() {
        return None;
    }
    // SAFETY: made by `start`; the place was emptied, so nobody else frees it.
    Some(*unsafe { Box::from_raw(taken.state.cast::<HostFuture>()) })
}

unsafe extern "C" fn call_wait(context: u64, call: *mut HostCall, result: *mut Bytes) -> i32 {
    let body = || {
        // SAFETY: the border says that this is a call not used yet.
        let future = unsafe { take_call(call) }.ok_or_else(|| CallbackError::parameter("no call"))?;
        services(context)?;
        if MUST_NOT_BLOCK.get() {
            return Err(CallbackError::new(
                code::WOULD_BLOCK,
                "this thread serves other requests; use the asynchronous form, or do not declare the endpoint short",
            ));
        }
        wait(future)
    };
    // SAFETY: the border says that `result` may be written.
    unsafe { answer_result(result, body) }
}

/// Parks the thread until a future is ready. The future is driven elsewhere: this only hears of its end.
fn wait(mut future: HostFuture) -> Result<Vec<u8>, CallbackError> {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut task = TaskContext::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut task) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => std::thread::park(),
        }
    }
}

unsafe extern "C" fn call_then(context: u64, call: *mut HostCall, done: Done, user: *mut c_void) -> i32 {
    struct Then {
        done: Done,
        user: *mut c_void,
    }
    // SAFETY: the border says that `done` may be called from a thread of the host.
    unsafe impl Send for Then {}
    impl Then {
        fn finish(self, outcome: Result<Vec<u8>, CallbackError>) {
            let (number, bytes) = split(outcome);
            // SAFETY: consumed, so this is the one call.
            unsafe { (self.done.call)(self.user, number, hand_over(bytes)) }
        }
    }
    answer_code(|| {
        // SAFETY: the border says that this is a call not used yet.
        let future = unsafe { take_call(call) }.ok_or_else(|| CallbackError::parameter("no call"))?;
        let then = Then { done, user };
        services(context)?.spawn(Box::pin(async move { then.finish(future.await) }))
    })
}

unsafe extern "C" fn host_info(context: u64, result: *mut Bytes) -> i32 {
    // SAFETY: the border says that `result` may be written.
    unsafe { answer_result(result, || Ok(services(context)?.host_info().into_bytes())) }
}

unsafe extern "C" fn get_plugin_external_url(context: u64, result: *mut Bytes) -> i32 {
    // SAFETY: the border says that `result` may be written.
    unsafe { answer_result(result, || Ok(services(context)?.external_url()?.into_bytes())) }
}

unsafe extern "C" fn get_login_url(context: u64, arguments: Str, result: *mut Bytes) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: valid for this call.
        Ok(services.login_url(unsafe { text(arguments, "arguments") }?)?.into_bytes())
    };
    // SAFETY: the border says that `result` may be written.
    unsafe { answer_result(result, body) }
}

unsafe extern "C" fn generate_hash(context: u64, data: Str, result: *mut Bytes) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: valid for this call.
        let data = unsafe { borrow(data) }.map_err(|bad| CallbackError::parameter(format!("data is {bad}")))?;
        Ok(services.hash(data)?.into_bytes())
    };
    // SAFETY: the border says that `result` may be written.
    unsafe { answer_result(result, body) }
}

/// There is no extension of the host yet: every id answers null.
unsafe extern "C" fn extension(_context: u64, _id: Str) -> *const c_void {
    std::ptr::null()
}
