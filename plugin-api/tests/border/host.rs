//! A host in a few lines: enough of the callbacks to drive a library, with nothing forgiven.

use core::ffi::c_void;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use porth_abi as abi;
use porth_abi::code;

use crate::documents;
use crate::questions::{self, entry};
use crate::waiting::{Wakes, later};

/// An endpoint as it was registered.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) auth: String,
    pub(crate) priority: u32,
    pub(crate) flags: u32,
    pub(crate) body_bytes_max: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) handler: abi::Handler,
    pub(crate) user: *mut c_void,
}

// SAFETY: `user` is used by the handler only, which may be called from any thread.
unsafe impl Send for Endpoint {}

/// A line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: u32,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// What happened under each context.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) endpoints: HashMap<u64, Vec<Endpoint>>,
    pub(crate) lines: HashMap<u64, Vec<Line>>,
    pub(crate) metrics: HashMap<u64, Vec<String>>,
    /// What was asked about documents.
    pub(crate) asked: HashMap<u64, Vec<String>>,
}

pub(crate) static STATE: Mutex<Option<State>> = Mutex::new(None);
pub(crate) static MAX_LOG_LEVEL: AtomicU32 = AtomicU32::new(code::level::INFO);
static NEXT_CONTEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Whether this thread plays a worker of the host, which must not block.
    pub(crate) static IS_WORKER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

pub(crate) fn with_state<R>(body: impl FnOnce(&mut State) -> R) -> R {
    body(STATE.lock().unwrap().get_or_insert_default())
}

pub(crate) fn new_context() -> u64 {
    NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed)
}

/// The request that `Request::handle` points to.
#[derive(Debug, Default)]
pub(crate) struct HostRequest {
    pub(crate) retained: AtomicUsize,
    pub(crate) retains: AtomicUsize,
    pub(crate) session: Option<&'static str>,
    /// Codes and results of what is asked of the body.
    pub(crate) pieces: Mutex<VecDeque<(i32, &'static str)>>,
}

pub(crate) struct Table(abi::Host);

// SAFETY: the table is made of numbers, functions, and a pointer to an atomic.
unsafe impl Sync for Table {}

impl Table {
    pub(crate) const fn host(&'static self) -> abi::HostIn {
        abi::HostIn(&raw const self.0)
    }

    /// A host whose table ends early.
    pub(crate) const fn cut(size: usize) -> Self {
        Self(abi::Host { size, ..TABLE.0 })
    }
}

pub(crate) static TABLE: Table = Table(abi::Host {
    size: size_of::<abi::Host>(),
    abi_draft: abi::ABI_DRAFT,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    reserved: 0,
    max_log_level: MAX_LOG_LEVEL.as_ptr(),
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
    get_scheme_module,
    get_scheme_list: get_scheme_module,
    scheme_register,
    scheme_register_get,
    scheme_deregister: scheme_register_get,
    scheme_can_use,
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
    check_user_valid: entry!("check_user_valid"),
    check_client_valid: entry!("check_client_valid"),
    get_client_granted_scopes: entry!("get_client_granted_scopes"),
    get_user_list: entry!("get_user_list"),
    get_user: entry!("get_user"),
    get_user_profile: entry!("get_user_profile"),
    is_user_valid: entry!("is_user_valid"),
    add_user: entry!("add_user"),
    set_user: entry!("set_user"),
    delete_user: entry!("delete_user"),
    user_update_password: entry!("user_update_password"),
    get_client_list: entry!("get_client_list"),
    get_client: entry!("get_client"),
    is_client_valid: entry!("is_client_valid"),
    add_client: entry!("add_client"),
    set_client: entry!("set_client"),
    delete_client: entry!("delete_client"),
    add_well_known,
    get_login_url: questions::get_login_url,
    generate_hash: questions::generate_hash,
    extension,
});

/// Text that is borrowed for the call.
pub(crate) fn text(text: abi::Str) -> String {
    if text.len == 0 {
        return String::new();
    }
    // SAFETY: the plug-in's side lends it for the call that this runs in.
    let bytes = unsafe { core::slice::from_raw_parts(text.ptr, text.len) };
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Bytes for the plug-in, which must drop them once: the test's leak check and the allocator would tell.
pub(crate) fn bytes(content: &str) -> abi::Bytes {
    unsafe extern "C" fn free(owner: *mut c_void, _: *const u8, _: usize) {
        // SAFETY: made below of such a box.
        drop(unsafe { Box::from_raw(owner.cast::<String>()) });
    }
    let owner = Box::new(content.to_owned());
    let (ptr, len) = (owner.as_ptr(), owner.len());
    abi::Bytes { ptr, len, owner: Box::into_raw(owner).cast(), drop: Some(free) }
}

unsafe extern "C" fn log(context: u64, record: abi::LogRecordIn) {
    // SAFETY: lent for the call.
    let record = unsafe { &*record.0 };
    assert_eq!(record.size, size_of::<abi::LogRecord>());
    let fields = if record.fields_len == 0 {
        &[]
    } else {
        // SAFETY: lent for the call.
        unsafe { core::slice::from_raw_parts(record.fields, record.fields_len) }
    };
    let line = Line {
        level: record.level,
        target: text(record.target),
        message: text(record.message),
        fields: fields.iter().map(|field| (text(field.name), text(field.value))).collect(),
    };
    // The panic hook of the tests is the plug-in's: without this a failed test would not say why.
    println!("{context}: {line:?} at {}:{}", text(record.file), record.line);
    with_state(|state| state.lines.entry(context).or_default().push(line));
}

unsafe extern "C" fn metric_add(
    context: u64,
    name: abi::Str,
    kind: u32,
    help: abi::Str,
    id: *mut u32,
    detail: *mut abi::Bytes,
) -> i32 {
    if text(name).contains('-') {
        // SAFETY: the plug-in's to be filled in.
        unsafe { detail.write(bytes("no `-` in names")) };
        return code::PARAM;
    }
    with_state(|state| {
        let metrics = state.metrics.entry(context).or_default();
        metrics.push(format!("{} {kind} {}", text(name), text(help)));
        // SAFETY: the plug-in's to be filled in.
        unsafe { id.write(u32::try_from(metrics.len() - 1).unwrap()) };
    });
    code::OK
}

unsafe extern "C" fn metric_increment(
    context: u64,
    id: u32,
    labels: *const abi::Parameter,
    labels_len: usize,
    value: f64,
) -> i32 {
    sample(context, format!("{id} += {value}{}", pairs(labels, labels_len)))
}

unsafe extern "C" fn metric_observe(
    context: u64,
    id: u32,
    labels: *const abi::Parameter,
    labels_len: usize,
    value: f64,
) -> i32 {
    sample(context, format!("{id} = {value}{}", pairs(labels, labels_len)))
}

fn pairs(pairs: *const abi::Parameter, len: usize) -> String {
    if len == 0 {
        return String::new();
    }
    // SAFETY: the plug-in's side lends them for the call that this runs in.
    let pairs = unsafe { core::slice::from_raw_parts(pairs, len) };
    pairs.iter().map(|pair| format!(" {}:{}", text(pair.name), text(pair.value))).collect()
}

fn sample(context: u64, sample: String) -> i32 {
    with_state(|state| state.metrics.entry(context).or_default().push(sample));
    code::OK
}

unsafe extern "C" fn add_endpoint(context: u64, endpoint: abi::EndpointIn, detail: *mut abi::Bytes) -> i32 {
    // SAFETY: lent for the call.
    let endpoint = unsafe { &*endpoint.0 };
    assert_eq!(endpoint.size, size_of::<abi::Endpoint>());
    let endpoint = Endpoint {
        method: text(endpoint.method),
        path: text(endpoint.path),
        auth: text(endpoint.auth),
        priority: endpoint.priority,
        flags: endpoint.flags,
        body_bytes_max: endpoint.body_bytes_max,
        deadline_ms: endpoint.deadline_ms,
        handler: endpoint.handler,
        user: endpoint.user,
    };
    with_state(|state| {
        let endpoints = state.endpoints.entry(context).or_default();
        let same = |other: &&mut Endpoint| {
            (&other.method, &other.path, other.user) == (&endpoint.method, &endpoint.path, endpoint.user)
                && core::ptr::fn_addr_eq(other.handler.call, endpoint.handler.call)
        };
        if endpoints.iter_mut().find(same).is_some() {
            // SAFETY: the plug-in's to be filled in.
            unsafe { detail.write(bytes("the same handler twice")) };
            return code::PARAM;
        }
        endpoints.push(endpoint);
        code::OK
    })
}

unsafe extern "C" fn add_well_known(context: u64, endpoint: abi::EndpointIn, detail: *mut abi::Bytes) -> i32 {
    // SAFETY: lent for the call.
    let mut endpoint = unsafe { *endpoint.0 };
    let path = format!("/.well-known{}", text(endpoint.path));
    endpoint.path = abi::Str::new(path.as_bytes());
    // SAFETY: lent for the call, as the path is.
    unsafe { add_endpoint(context, abi::EndpointIn(&raw const endpoint), detail) }
}

unsafe extern "C" fn remove_endpoint(context: u64, method: abi::Str, path: abi::Str) -> i32 {
    with_state(|state| {
        let endpoints = state.endpoints.entry(context).or_default();
        let before = endpoints.len();
        endpoints.retain(|endpoint| endpoint.method != text(method) || endpoint.path != text(path));
        if endpoints.len() < before { code::OK } else { code::NOT_FOUND }
    })
}

fn request<'a>(handle: *const c_void) -> &'a HostRequest {
    // SAFETY: the tests hand out such handles and keep what they point to until the answer is there.
    unsafe { &*handle.cast::<HostRequest>() }
}

unsafe extern "C" fn request_retain(handle: *const c_void) {
    request(handle).retained.fetch_add(1, Ordering::SeqCst);
    request(handle).retains.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn request_release(handle: *const c_void) {
    assert!(request(handle).retained.fetch_sub(1, Ordering::SeqCst) > 0, "released more often than retained");
}

unsafe extern "C" fn request_token(_: u64, _: *const c_void) -> u64 {
    0
}

unsafe extern "C" fn request_body_next(_: u64, handle: *const c_void, call: *mut abi::HostCall) -> i32 {
    let (code, piece) = request(handle).pieces.lock().unwrap().pop_front().unwrap_or((code::OK, ""));
    // SAFETY: the plug-in's to be filled in.
    unsafe { call.write(later(Duration::from_millis(2), code, piece)) };
    code::OK
}

unsafe extern "C" fn complete(_: u64, _: u64, _: i32, _: abi::ResponseOut) -> i32 {
    code::PARAM
}

unsafe extern "C" fn check_session_valid(
    _: u64,
    handle: *const c_void,
    scopes: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    assert_eq!(text(scopes), "");
    let (code, result) = match request(handle).session {
        Some("valid") => (code::OK, r#"{"session": {"user": {"username": "dave", "email": "d@x"}, "scope": {}}}"#),
        Some("old") => (code::NOT_FOUND, ""),
        Some("denied") => return code::DENIED,
        Some(other) => (code::STORE, other),
        None => (code::UNAUTHORIZED, ""),
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { call.write(later(Duration::from_millis(2), code, result)) };
    code::OK
}

unsafe extern "C" fn trigger_session_used(_: u64, _: *const c_void, _: abi::Str, _: *mut abi::HostCall) -> i32 {
    code::DENIED
}

unsafe extern "C" fn get_session_age(_: u64, _: *const c_void, _: abi::Str, _: *mut abi::HostCall) -> i32 {
    code::DENIED
}

unsafe extern "C" fn get_scheme_module(_: u64, _: abi::Str, _: *mut abi::HostCall) -> i32 {
    code::DENIED
}

unsafe extern "C" fn scheme_register(
    _: u64,
    _: abi::Str,
    _: *const c_void,
    _: abi::Str,
    _: abi::Str,
    _: *mut abi::HostCall,
) -> i32 {
    code::DENIED
}

unsafe extern "C" fn scheme_register_get(
    _: u64,
    _: abi::Str,
    _: *const c_void,
    _: abi::Str,
    _: *mut abi::HostCall,
) -> i32 {
    code::DENIED
}

unsafe extern "C" fn scheme_can_use(_: u64, _: abi::Str, _: abi::Str, _: *mut abi::HostCall) -> i32 {
    code::DENIED
}

unsafe extern "C" fn timer(_: u64, delay_ms: u64, call: *mut abi::HostCall) -> i32 {
    // SAFETY: the plug-in's to be filled in.
    unsafe { call.write(later(Duration::from_millis(delay_ms), code::OK, "")) };
    code::OK
}

unsafe extern "C" fn call_wait(_: u64, call: *mut abi::HostCall, result: *mut abi::Bytes) -> i32 {
    // SAFETY: taken over, as the border says.
    let call = unsafe { call.read() };
    let mut code = code::WOULD_BLOCK;
    if !IS_WORKER.get() {
        let wakes = Arc::new(Wakes::default());
        loop {
            let answer = wakes.poll(|waker| {
                // SAFETY: polled on this thread only, and not after READY.
                unsafe { call.poll.unwrap()(call.state, waker, &raw mut code, result) }
            });
            if answer.is_some() {
                break;
            }
            wakes.wait();
        }
    }
    // SAFETY: taken over above, and used for the last time.
    unsafe { call.drop.unwrap()(call.state) };
    code
}

unsafe extern "C" fn call_then(_: u64, _: *mut abi::HostCall, _: abi::Done, _: *mut c_void) -> i32 {
    code::UNSUPPORTED
}

unsafe extern "C" fn host_info(_: u64, result: *mut abi::Bytes) -> i32 {
    let info = r#"{"version": "9", "generation": 4, "external_url": "http://x", "api_prefix": "api",
        "admin_scope": "g_admin", "profile_scope": "g_profile", "session_cookie_name": "S", "more": 1}"#;
    // SAFETY: the plug-in's to be filled in.
    unsafe { result.write(bytes(info)) };
    code::OK
}

unsafe extern "C" fn get_plugin_external_url(_: u64, result: *mut abi::Bytes) -> i32 {
    // SAFETY: the plug-in's to be filled in.
    unsafe { result.write(bytes("http://x/api/one")) };
    code::OK
}

unsafe extern "C" fn extension(_: u64, _: abi::Str) -> *const c_void {
    core::ptr::null()
}
