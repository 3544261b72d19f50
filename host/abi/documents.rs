//! The callbacks about documents: arguments copied, and handed to [`Services::documents`](super::Services::documents).

use porth_abi::{HostCall, Str};

use super::callbacks::{services, start, text};
use super::context::CallbackError;

/// What a plug-in wants of its documents; texts are as it gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the arguments of `porth_abi::Host`'s functions")]
pub enum DocumentCall {
    /// `document_get`.
    Get { collection: String, key: String },
    /// `document_put`; `value` and `options` are JSON.
    Put { collection: String, key: String, value: String, options: String },
    /// `document_delete`; `options` is JSON.
    Delete { collection: String, key: String, options: String },
    /// `document_list`; `options` is JSON.
    List { collection: String, options: String },
    /// `document_apply`; `operations` is JSON.
    Apply { operations: String },
    /// `document_consume`.
    Consume { collection: String, key: String },
}

pub(super) unsafe extern "C" fn get(context: u64, collection: Str, key: Str, call: *mut HostCall) -> i32 {
    // SAFETY: the border says that the texts are valid for this call, and that `call` may be written.
    unsafe { ask(context, call, [collection, key], |[collection, key]| DocumentCall::Get { collection, key }) }
}

pub(super) unsafe extern "C" fn put(
    context: u64,
    collection: Str,
    key: Str,
    value: Str,
    options: Str,
    call: *mut HostCall,
) -> i32 {
    let put = |[collection, key, value, options]: [String; 4]| DocumentCall::Put { collection, key, value, options };
    // SAFETY: as in `get`.
    unsafe { ask(context, call, [collection, key, value, options], put) }
}

pub(super) unsafe extern "C" fn delete(
    context: u64,
    collection: Str,
    key: Str,
    options: Str,
    call: *mut HostCall,
) -> i32 {
    let delete = |[collection, key, options]: [String; 3]| DocumentCall::Delete { collection, key, options };
    // SAFETY: as in `get`.
    unsafe { ask(context, call, [collection, key, options], delete) }
}

pub(super) unsafe extern "C" fn list(context: u64, collection: Str, options: Str, call: *mut HostCall) -> i32 {
    let list = |[collection, options]: [String; 2]| DocumentCall::List { collection, options };
    // SAFETY: as in `get`.
    unsafe { ask(context, call, [collection, options], list) }
}

pub(super) unsafe extern "C" fn apply(context: u64, operations: Str, call: *mut HostCall) -> i32 {
    // SAFETY: as in `get`.
    unsafe { ask(context, call, [operations], |[operations]| DocumentCall::Apply { operations }) }
}

pub(super) unsafe extern "C" fn consume(context: u64, collection: Str, key: Str, call: *mut HostCall) -> i32 {
    // SAFETY: as in `get`.
    unsafe { ask(context, call, [collection, key], |[collection, key]| DocumentCall::Consume { collection, key }) }
}

/// Copies the texts of a callback and starts it.
///
/// # Safety
/// The texts are valid for this call; `call` is null or may be written.
unsafe fn ask<const N: usize>(
    context: u64,
    call: *mut HostCall,
    texts: [Str; N],
    make: impl FnOnce([String; N]) -> DocumentCall,
) -> i32 {
    let body = || {
        let services = services(context)?;
        let mut copies = [const { String::new() }; N];
        for (copy, borrowed) in copies.iter_mut().zip(texts) {
            // SAFETY: the caller vouches for it.
            match unsafe { text(borrowed, "a text") } {
                Ok(text) => text.clone_into(copy),
                // Later, as everything else that is wrong with an argument: an answer at once has no detail.
                Err(error) => return Ok(answer(error)),
            }
        }
        services.documents(make(copies))
    };
    // SAFETY: the caller vouches for it.
    unsafe { start(call, body) }
}

fn answer(error: CallbackError) -> super::HostFuture {
    Box::pin(std::future::ready(Err(error)))
}
