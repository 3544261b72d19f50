//! The callbacks about schemes: arguments copied, and handed to [`Services::schemes`](super::Services::schemes).

use std::ffi::c_void;
use std::sync::Arc;

use porth_abi::{HostCall, Str};

use super::callbacks::{services, start, text};
use super::context::CallbackError;
use super::request::CallRequest;

/// What a plug-in wants to know of a scheme, or of it; texts are as it gave them. A `request` is the one that it comes of.
#[derive(Clone)]
#[expect(missing_docs, reason = "the arguments of `porth_abi::Host`'s functions")]
pub enum SchemeCall {
    /// `get_scheme_module`.
    Module { scheme: String },
    /// `get_scheme_list`.
    List { username: String },
    /// `scheme_register`; `data` is JSON.
    Register { scheme: String, request: Option<Arc<CallRequest>>, username: String, data: String },
    /// `scheme_register_get`.
    RegisterGet { scheme: String, request: Option<Arc<CallRequest>>, username: String },
    /// `scheme_deregister`.
    Deregister { scheme: String, request: Option<Arc<CallRequest>>, username: String },
    /// `scheme_can_use`.
    CanUse { scheme: String, username: String },
}

pub(super) unsafe extern "C" fn module(context: u64, scheme: Str, call: *mut HostCall) -> i32 {
    // SAFETY: the border says that the texts are valid for this call, and that `call` may be written.
    unsafe { ask(context, call, [scheme], |[scheme]| SchemeCall::Module { scheme }) }
}

pub(super) unsafe extern "C" fn list(context: u64, username: Str, call: *mut HostCall) -> i32 {
    // SAFETY: as in `module`.
    unsafe { ask(context, call, [username], |[username]| SchemeCall::List { username }) }
}

pub(super) unsafe extern "C" fn register(
    context: u64,
    scheme: Str,
    request: *const c_void,
    username: Str,
    data: Str,
    call: *mut HostCall,
) -> i32 {
    let register =
        |request, [scheme, username, data]: [String; 3]| SchemeCall::Register { scheme, request, username, data };
    // SAFETY: as in `module`; and that the request is lent or retained.
    unsafe { ask_about(context, call, request, [scheme, username, data], register) }
}

pub(super) unsafe extern "C" fn register_get(
    context: u64,
    scheme: Str,
    request: *const c_void,
    username: Str,
    call: *mut HostCall,
) -> i32 {
    let register_get = |request, [scheme, username]: [String; 2]| SchemeCall::RegisterGet { scheme, request, username };
    // SAFETY: as in `register`.
    unsafe { ask_about(context, call, request, [scheme, username], register_get) }
}

pub(super) unsafe extern "C" fn deregister(
    context: u64,
    scheme: Str,
    request: *const c_void,
    username: Str,
    call: *mut HostCall,
) -> i32 {
    let deregister = |request, [scheme, username]: [String; 2]| SchemeCall::Deregister { scheme, request, username };
    // SAFETY: as in `register`.
    unsafe { ask_about(context, call, request, [scheme, username], deregister) }
}

pub(super) unsafe extern "C" fn can_use(context: u64, scheme: Str, username: Str, call: *mut HostCall) -> i32 {
    let can_use = |[scheme, username]: [String; 2]| SchemeCall::CanUse { scheme, username };
    // SAFETY: as in `module`.
    unsafe { ask(context, call, [scheme, username], can_use) }
}

/// Copies the texts of a callback and starts it.
///
/// # Safety
/// The texts are valid for this call; `call` is null or may be written.
unsafe fn ask<const N: usize>(
    context: u64,
    call: *mut HostCall,
    texts: [Str; N],
    make: impl FnOnce([String; N]) -> SchemeCall,
) -> i32 {
    // SAFETY: the caller vouches for it; there is no request.
    unsafe { ask_about(context, call, std::ptr::null(), texts, |_, texts| make(texts)) }
}

/// The same, for what a request led to; a null one is none.
///
/// # Safety
/// As [`ask`]; and the request is null, or lent or retained.
unsafe fn ask_about<const N: usize>(
    context: u64,
    call: *mut HostCall,
    request: *const c_void,
    texts: [Str; N],
    make: impl FnOnce(Option<Arc<CallRequest>>, [String; N]) -> SchemeCall,
) -> i32 {
    let body = || {
        let services = services(context)?;
        let mut copies = [const { String::new() }; N];
        for (copy, borrowed) in copies.iter_mut().zip(texts) {
            // SAFETY: the caller vouches for it.
            match unsafe { text(borrowed, "a text") } {
                Ok(text) => text.clone_into(copy),
                // Later, as everything else that is wrong with an argument: an answer at once has no detail.
                Err(error) => return Ok(Box::pin(std::future::ready(Err(error))) as super::HostFuture),
            }
        }
        // SAFETY: the caller vouches for it.
        let held = unsafe { CallRequest::hold(request) };
        if held.is_none() && !request.is_null() {
            return Err(CallbackError::parameter("no request"));
        }
        services.schemes(make(held, copies))
    };
    // SAFETY: the caller vouches for it.
    unsafe { start(call, body) }
}
