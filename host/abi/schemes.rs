//! The callbacks about schemes: arguments copied, and handed to [`Services::schemes`](super::Services::schemes).

use porth_abi::{HostCall, Str};

use super::callbacks::{services, start, text};

/// What a plug-in wants to know of a scheme, or of it; texts are as it gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the arguments of `porth_abi::Host`'s functions")]
pub enum SchemeCall {
    /// `get_scheme_module`.
    Module { scheme: String },
    /// `get_scheme_list`.
    List { username: String },
    /// `scheme_register`; `data` is JSON.
    Register { scheme: String, username: String, data: String },
    /// `scheme_register_get`.
    RegisterGet { scheme: String, username: String },
    /// `scheme_deregister`.
    Deregister { scheme: String, username: String },
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
    username: Str,
    data: Str,
    call: *mut HostCall,
) -> i32 {
    let register = |[scheme, username, data]: [String; 3]| SchemeCall::Register { scheme, username, data };
    // SAFETY: as in `module`.
    unsafe { ask(context, call, [scheme, username, data], register) }
}

pub(super) unsafe extern "C" fn register_get(context: u64, scheme: Str, username: Str, call: *mut HostCall) -> i32 {
    let register_get = |[scheme, username]: [String; 2]| SchemeCall::RegisterGet { scheme, username };
    // SAFETY: as in `module`.
    unsafe { ask(context, call, [scheme, username], register_get) }
}

pub(super) unsafe extern "C" fn deregister(context: u64, scheme: Str, username: Str, call: *mut HostCall) -> i32 {
    let deregister = |[scheme, username]: [String; 2]| SchemeCall::Deregister { scheme, username };
    // SAFETY: as in `module`.
    unsafe { ask(context, call, [scheme, username], deregister) }
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
        services.schemes(make(copies))
    };
    // SAFETY: the caller vouches for it.
    unsafe { start(call, body) }
}
