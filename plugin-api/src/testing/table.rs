//! The fake host's table of callbacks: the border's functions, which look at nothing but [`Context`]s.

use core::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::{bytes_of, text};
use porth_abi as abi;
use porth_abi::code;
use serde_json::{Value, json};

use super::call::{Answer, answered, number_of, timer as hand_out_timer, wait};
use super::documents;
use super::request::{HostRequest, complete as complete_request};
use super::routes::{self, Endpoint};
use super::world::{Context, LogLine, Phase};
use super::{document_calls, people, session};
use crate::bytes::{array, from_vec};
use crate::guard::guard;
use crate::host_error::HostError;

/// Small conversions.
pub(super) mod base {
    use porth_abi as abi;

    use crate::bytes::slice;

    /// Text that is borrowed for the call.
    pub(in crate::testing) fn text(text: abi::Str) -> String {
        String::from_utf8_lossy(bytes_of(text)).into_owned()
    }

    /// Bytes that are borrowed for the call.
    pub(in crate::testing) fn bytes_of<'a>(text: abi::Str) -> &'a [u8] {
        // SAFETY: the plug-in lends it for the call that every use of this ends in.
        unsafe { slice(text) }
    }
}

/// All levels are logged.
static MAX_LOG_LEVEL: AtomicU32 = AtomicU32::new(code::level::TRACE);

pub(super) struct Table(abi::Host);

// SAFETY: the table is made of numbers, functions, and a pointer to an atomic.
unsafe impl Sync for Table {}

impl Table {
    pub(super) const fn host(&'static self) -> abi::HostIn {
        abi::HostIn(&raw const self.0)
    }
}

/// A question as an entry of the table.
macro_rules! question {
    ($name:literal, $right:literal) => {{
        unsafe extern "C" fn ask(context: u64, arguments: abi::Str, call: *mut abi::HostCall) -> i32 {
            let answer = |context: &Arc<Context>| {
                let given: Value = documents::read(&text(arguments), "the arguments")?;
                people::ask(&context.world, $name, &given).map(|answer| answer.to_string().into_bytes())
            };
            // SAFETY: the plug-in's to be filled in.
            unsafe { answer_call(context, $name, Some($right), call, answer) }
        }
        abi::Question { call: ask }
    }};
}

pub(super) static TABLE: Table = Table(abi::Host {
    size: size_of::<abi::Host>(),
    abi_draft: abi::ABI_DRAFT,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    reserved: 0,
    max_log_level: MAX_LOG_LEVEL.as_ptr(),
    log,
    metric_add: super::metrics::add,
    metric_increment: super::metrics::increment,
    metric_observe: super::metrics::observe,
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
    get_scheme_list,
    scheme_register,
    scheme_register_get,
    scheme_deregister,
    scheme_can_use,
    timer,
    document_get: document_calls::get,
    document_put: document_calls::put,
    document_delete: document_calls::delete,
    document_list: document_calls::list,
    document_apply: document_calls::apply,
    document_consume: document_calls::consume,
    call_wait,
    call_then,
    host_info,
    get_plugin_external_url,
    check_user_valid: question!("check_user_valid", "users:read"),
    check_client_valid: question!("check_client_valid", "clients:read"),
    get_client_granted_scopes: question!("get_client_granted_scopes", "grants"),
    get_user_list: question!("get_user_list", "users:read"),
    get_user: question!("get_user", "users:read"),
    get_user_profile: question!("get_user_profile", "users:read"),
    is_user_valid: question!("is_user_valid", "users:read"),
    add_user: question!("add_user", "users:write"),
    set_user: question!("set_user", "users:write"),
    delete_user: question!("delete_user", "users:write"),
    user_update_password: question!("user_update_password", "users:write"),
    get_client_list: question!("get_client_list", "clients:read"),
    get_client: question!("get_client", "clients:read"),
    is_client_valid: question!("is_client_valid", "clients:read"),
    add_client: question!("add_client", "clients:write"),
    set_client: question!("set_client", "clients:write"),
    delete_client: question!("delete_client", "clients:write"),
    add_well_known,
    get_login_url,
    generate_hash,
    extension,
});

/// Finds the context and answers a code.
pub(super) fn with(context: u64, body: impl FnOnce(&Arc<Context>) -> i32) -> i32 {
    guard(|| Context::find(context).map_or(code::CLOSED, |context| body(&context)))
}

/// Starts a call whose answer is worked out now: what was handed to the store stays there, whoever waits.
///
/// # Safety
/// `call` is the plug-in's to be filled in.
pub(super) unsafe fn answer_call(
    context: u64,
    name: &str,
    right: Option<&str>,
    call: *mut abi::HostCall,
    answer: impl FnOnce(&Arc<Context>) -> Answer,
) -> i32 {
    with(context, |context| {
        let answer = match context.admit(name, right) {
            Err(error @ (HostError::Closed(_) | HostError::Denied(_))) => return number_of(&error),
            Err(error) => Err(error),
            Ok(()) => answer(context),
        };
        // SAFETY: the caller vouches for it.
        unsafe { answered(context, answer, call) };
        code::OK
    })
}

/// Answers at once, with bytes or a detail.
///
/// # Safety
/// `result` is the plug-in's to be filled in.
unsafe fn answer_now(
    context: u64,
    name: &str,
    result: *mut abi::Bytes,
    answer: impl FnOnce(&Arc<Context>) -> Answer,
) -> i32 {
    with(context, |context| {
        let answer = context.admit(name, None).and_then(|()| answer(context));
        let (number, bytes) = match answer {
            Ok(bytes) => (code::OK, bytes),
            Err(error) => (number_of(&error), error.detail().as_bytes().to_vec()),
        };
        // SAFETY: the caller vouches for it.
        unsafe { result.write(from_vec(bytes)) };
        number
    })
}

pub(super) fn to_bytes(value: Result<Value, HostError>) -> Answer {
    value.map(|value| value.to_string().into_bytes())
}

unsafe extern "C" fn log(context: u64, record: abi::LogRecordIn) {
    guard(|| {
        // SAFETY: lent for the call.
        let record = unsafe { &*record.0 };
        // SAFETY: lent for the call.
        let fields = unsafe { array(record.fields, record.fields_len) };
        let level = match record.level {
            code::level::WARN => tracing::Level::WARN,
            code::level::INFO => tracing::Level::INFO,
            code::level::DEBUG => tracing::Level::DEBUG,
            code::level::TRACE => tracing::Level::TRACE,
            _ => tracing::Level::ERROR,
        };
        let context = Context::find(context);
        let line = LogLine {
            instance: context.as_ref().map(|context| context.name.clone()).unwrap_or_default(),
            level,
            target: text(record.target),
            message: text(record.message),
            fields: fields.iter().map(|field| (text(field.name), text(field.value))).collect(),
        };
        // The panic hook of the test is the plug-in's: without this a test that fails would not say why.
        println!("{level} {} {} ({}:{})", line.instance, line.message, text(record.file), record.line);
        if line.target == "panic"
            && let Some(context) = &context
        {
            context.panics.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(context) = context {
            context.world.lock().log.push(line);
        }
        code::OK
    });
}

fn register(context: u64, endpoint: abi::EndpointIn, detail: *mut abi::Bytes, well_known: bool) -> i32 {
    let add = |context: &Arc<Context>| {
        if context.phase() != Phase::Init {
            return Err(HostError::Closed("endpoints are registered in `init`".to_owned()));
        }
        // SAFETY: lent for the call.
        let endpoint = unsafe { &*endpoint.0 };
        let path = text(endpoint.path);
        let path = if well_known { format!("/.well-known{path}") } else { path };
        let new = Endpoint {
            method: text(endpoint.method),
            path,
            auth: text(endpoint.auth),
            priority: endpoint.priority,
            flags: endpoint.flags,
            body_bytes_max: endpoint.body_bytes_max,
            deadline_ms: endpoint.deadline_ms,
            handler: endpoint.handler,
            user: endpoint.user,
        };
        let mut endpoints = context.endpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = |other: &Endpoint| (&other.method, &other.path) == (&new.method, &new.path);
        if well_known && endpoints.iter().any(taken) {
            return Err(HostError::Parameter(format!("{} is registered for `{}` already", new.method, new.path)));
        }
        routes::add(&mut endpoints, new).map(|()| Vec::new())
    };
    let (name, right) = if well_known { ("add_well_known", Some("well-known")) } else { ("add_endpoint", None) };
    let add = |context: &Arc<Context>| context.admit(name, right).and_then(|()| add(context));
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_now(context, "", detail, add) }
}

unsafe extern "C" fn add_endpoint(context: u64, endpoint: abi::EndpointIn, detail: *mut abi::Bytes) -> i32 {
    register(context, endpoint, detail, false)
}

unsafe extern "C" fn add_well_known(context: u64, endpoint: abi::EndpointIn, detail: *mut abi::Bytes) -> i32 {
    register(context, endpoint, detail, true)
}

unsafe extern "C" fn remove_endpoint(context: u64, method: abi::Str, path: abi::Str) -> i32 {
    with(context, |context| {
        let mut endpoints = context.endpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = endpoints.len();
        endpoints.retain(|endpoint| endpoint.method != text(method) || endpoint.path != text(path));
        if endpoints.len() < before { code::OK } else { code::NOT_FOUND }
    })
}

unsafe extern "C" fn request_retain(request: *const c_void) {
    // SAFETY: the handle of a request that is lent or retained, which is an `Arc`'s.
    unsafe { Arc::increment_strong_count(request.cast::<HostRequest>()) };
}

unsafe extern "C" fn request_release(request: *const c_void) {
    guard(|| {
        // SAFETY: retained before, and given back once.
        drop(unsafe { Arc::from_raw(request.cast::<HostRequest>()) });
        code::OK
    });
}

/// The request behind a handle.
fn request<'a>(handle: *const c_void) -> &'a HostRequest {
    // SAFETY: the plug-in has it lent or retained as long as the call that every use of this ends in.
    unsafe { &*handle.cast::<HostRequest>() }
}

unsafe extern "C" fn request_token(context: u64, handle: *const c_void) -> u64 {
    let mut token = 0;
    with(context, |_| {
        token = request(handle).token();
        code::OK
    });
    token
}

unsafe extern "C" fn request_body_next(context: u64, handle: *const c_void, call: *mut abi::HostCall) -> i32 {
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "request_body_next", None, call, |_| request(handle).next_piece()) }
}

unsafe extern "C" fn complete(context: u64, token: u64, answer: i32, response: abi::ResponseOut) -> i32 {
    with(context, |_| {
        // SAFETY: lent for the call; what it owns is the host's from now on.
        unsafe { complete_request(token, answer, response) }
    })
}

unsafe extern "C" fn check_session_valid(
    context: u64,
    handle: *const c_void,
    scopes: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        to_bytes(session::check(&context.world.lock(), request(handle).session.as_deref(), &text(scopes)))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "check_session_valid", Some("sessions"), call, answer) }
}

unsafe extern "C" fn trigger_session_used(
    context: u64,
    handle: *const c_void,
    scopes: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        to_bytes(session::spend(&mut context.world.lock(), request(handle).session.as_deref(), &text(scopes)))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "trigger_session_used", Some("sessions"), call, answer) }
}

unsafe extern "C" fn get_session_age(
    context: u64,
    handle: *const c_void,
    scopes: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        to_bytes(session::age(&context.world.lock(), request(handle).session.as_deref(), &text(scopes)))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "get_session_age", Some("sessions"), call, answer) }
}

/// Asks about a scheme; `work` gets it, the name of a user in lower case, and JSON.
fn ask_scheme(
    context: u64,
    name: &str,
    (scheme, username, data): (abi::Str, abi::Str, abi::Str),
    call: *mut abi::HostCall,
    work: impl FnOnce(&mut super::TestScheme, String, Value) -> Result<Value, HostError>,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        let (scheme, username) = (text(scheme), text(username).to_lowercase());
        let data = documents::read(&text(data), "the data")?;
        let mut state = context.world.lock();
        if !username.is_empty() {
            people::user(&state, &username)?;
        }
        let found = state.schemes.get_mut(&scheme);
        let found = found.ok_or_else(|| HostError::NotFound(format!("there is no scheme `{scheme}`")))?;
        to_bytes(work(found, username, data))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, name, Some("schemes"), call, answer) }
}

unsafe extern "C" fn get_scheme_module(context: u64, scheme: abi::Str, call: *mut abi::HostCall) -> i32 {
    let given = (scheme, abi::Str::EMPTY, abi::Str::EMPTY);
    ask_scheme(context, "get_scheme_module", given, call, |scheme, _, _| Ok(scheme.show()))
}

unsafe extern "C" fn get_scheme_list(context: u64, username: abi::Str, call: *mut abi::HostCall) -> i32 {
    let answer = |context: &Arc<Context>| {
        let (state, username) = (context.world.lock(), text(username).to_lowercase());
        let user = people::user(&state, &username)?;
        let wanted = user.scopes.iter().filter_map(|scope| state.scopes.get(scope)?.scheme.as_ref());
        let schemes = wanted.filter_map(|scheme| state.schemes.get(scheme));
        let schemes: Vec<Value> = schemes
            .map(|scheme| {
                let mut shown = scheme.show();
                shown["can_use"] = scheme.can_use(&username).into();
                shown
            })
            .collect();
        to_bytes(Ok(Value::Array(schemes)))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "get_scheme_list", Some("schemes"), call, answer) }
}

unsafe extern "C" fn scheme_register(
    context: u64,
    scheme: abi::Str,
    _: *const c_void,
    username: abi::Str,
    data: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask_scheme(context, "scheme_register", (scheme, username, data), call, |scheme, username, data| {
        scheme.registered.insert(username, data);
        Ok(Value::Null)
    })
}

unsafe extern "C" fn scheme_register_get(
    context: u64,
    scheme: abi::Str,
    _: *const c_void,
    username: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let given = (scheme, username, abi::Str::EMPTY);
    ask_scheme(context, "scheme_register_get", given, call, |scheme, username, _| {
        Ok(scheme.registered.get(&username).cloned().unwrap_or_default())
    })
}

unsafe extern "C" fn scheme_deregister(
    context: u64,
    scheme: abi::Str,
    _: *const c_void,
    username: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    ask_scheme(context, "scheme_deregister", (scheme, username, abi::Str::EMPTY), call, |scheme, username, _| {
        scheme.registered.remove(&username);
        Ok(Value::Null)
    })
}

unsafe extern "C" fn scheme_can_use(
    context: u64,
    scheme: abi::Str,
    username: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let given = (scheme, username, abi::Str::EMPTY);
    ask_scheme(context, "scheme_can_use", given, call, |scheme, username, _| Ok(scheme.can_use(&username).into()))
}

unsafe extern "C" fn timer(context: u64, delay_ms: u64, call: *mut abi::HostCall) -> i32 {
    with(context, |context| {
        if let Err(error) = context.admit("timer", None) {
            return number_of(&error);
        }
        // SAFETY: the plug-in's to be filled in.
        unsafe { hand_out_timer(context, Duration::from_millis(delay_ms), call) };
        code::OK
    })
}

unsafe extern "C" fn call_wait(context: u64, call: *mut abi::HostCall, result: *mut abi::Bytes) -> i32 {
    let mut answer = code::ERROR;
    guard(|| {
        // SAFETY: the plug-in gives it back, and lends the result.
        answer = unsafe { wait(call, result) };
        code::OK
    });
    // It was taken over all the same.
    if Context::find(context).is_none() { code::CLOSED } else { answer }
}

unsafe extern "C" fn call_then(_: u64, call: *mut abi::HostCall, done: abi::Done, user: *mut c_void) -> i32 {
    struct Given(abi::HostCall, abi::Done, *mut c_void);
    // SAFETY: the border says that `done` is called with `user` on a thread of the host.
    unsafe impl Send for Given {}
    guard(|| {
        // SAFETY: the plug-in gives it back.
        let given = Given(unsafe { call.read() }, done, user);
        std::thread::spawn(move || {
            let given = given;
            let Given(mut call, done, user) = given;
            let mut result = abi::Bytes::EMPTY;
            // SAFETY: it was taken over above.
            let number = unsafe { wait(&raw mut call, &raw mut result) };
            // SAFETY: once, as the border says; the result is the callee's.
            unsafe { (done.call)(user, number, result) };
        });
        code::OK
    })
}

unsafe extern "C" fn host_info(context: u64, result: *mut abi::Bytes) -> i32 {
    let info = |context: &Arc<Context>| {
        to_bytes(Ok(json!({"version": env!("CARGO_PKG_VERSION"), "generation": context.generation,
            "external_url": EXTERNAL_URL, "api_prefix": "api", "admin_scope": "g_admin",
            "profile_scope": "g_profile", "session_cookie_name": "porth_session"})))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_now(context, "host_info", result, info) }
}

unsafe extern "C" fn get_plugin_external_url(context: u64, result: *mut abi::Bytes) -> i32 {
    let url = |context: &Arc<Context>| Ok(format!("{EXTERNAL_URL}/api/{}", context.name).into_bytes());
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_now(context, "get_plugin_external_url", result, url) }
}

unsafe extern "C" fn get_login_url(context: u64, arguments: abi::Str, result: *mut abi::Bytes) -> i32 {
    let url = |_: &Arc<Context>| {
        let given: Value = documents::read(&text(arguments), "the arguments")?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        let scopes = given["scope_list"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let scopes = scopes.collect::<Vec<_>>().join(" ");
        let known = [("client_id", given["client_id"].as_str()), ("callback_url", given["callback_url"].as_str())];
        for (name, value) in known.into_iter().chain([("scope", Some(scopes.as_str()).filter(|text| !text.is_empty()))])
        {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for (name, value) in given["parameters"].as_object().into_iter().flatten() {
            if matches!(name.as_str(), "client_id" | "callback_url" | "scope") {
                return Err(HostError::Parameter(format!("parameters: `{name}` has an argument of its own")));
            }
            query.append_pair(name, value.as_str().unwrap_or_default());
        }
        Ok(format!("{EXTERNAL_URL}/login?{}", query.finish()).into_bytes())
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_now(context, "get_login_url", result, url) }
}

/// No cryptography: another number for other bytes, which is what a test can see.
unsafe extern "C" fn generate_hash(context: u64, data: abi::Str, result: *mut abi::Bytes) -> i32 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let hash = |_: &Arc<Context>| {
        let mut hasher = DefaultHasher::new();
        bytes_of(data).hash(&mut hasher);
        Ok(format!("{{TEST}}{:016x}", hasher.finish()).into_bytes())
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_now(context, "generate_hash", result, hash) }
}

unsafe extern "C" fn extension(_: u64, _: abi::Str) -> *const c_void {
    core::ptr::null()
}

/// How clients reach the fake host.
pub(super) const EXTERNAL_URL: &str = "http://porth.test";

/// Whether a test names a function that can fail.
pub(super) fn check_callback(name: &str) {
    assert!(CALLBACKS.contains(&name), "`{name}` is no function that can fail; there are {}", CALLBACKS.join(", "));
}

/// All that asks [`Context::admit`], by the names of the border.
const CALLBACKS: &[&str] = &[
    "add_client",
    "add_endpoint",
    "add_user",
    "add_well_known",
    "check_client_valid",
    "check_session_valid",
    "check_user_valid",
    "delete_client",
    "delete_user",
    "document_apply",
    "document_consume",
    "document_delete",
    "document_get",
    "document_list",
    "document_put",
    "generate_hash",
    "get_client",
    "get_client_granted_scopes",
    "get_client_list",
    "get_login_url",
    "get_plugin_external_url",
    "get_scheme_list",
    "get_scheme_module",
    "get_session_age",
    "get_user",
    "get_user_list",
    "get_user_profile",
    "host_info",
    "is_client_valid",
    "is_user_valid",
    "request_body_next",
    "scheme_can_use",
    "scheme_deregister",
    "scheme_register",
    "scheme_register_get",
    "set_client",
    "set_user",
    "timer",
    "trigger_session_used",
    "user_update_password",
];
