//! The fake host's functions for documents.

use std::sync::Arc;

use porth_abi as abi;
use serde_json::{Value, json};

use super::documents::{self, Operation};
use super::limits::TestLimits;
use super::table::base::{bytes_of, text};
use super::table::{answer_call, to_bytes};
use super::world::{Context, Phase};
use crate::host_error::HostError;

pub(super) unsafe extern "C" fn get(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        let mut state = context.world.lock();
        let now_ms = context.world.now_ms(&state);
        let store = state.stores.entry(context.place()).or_default();
        to_bytes(store.get(&text(collection), &text(key), now_ms))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "document_get", None, call, answer) }
}

/// Changes documents; a migration only reads.
fn change<R>(
    context: &Context,
    work: impl FnOnce(&mut documents::Store, &TestLimits, u64) -> Result<R, HostError>,
) -> Result<R, HostError> {
    if context.phase() == Phase::Library {
        return Err(HostError::Unsupported("a migration only reads".to_owned()));
    }
    let mut state = context.world.lock();
    let now_ms = context.world.now_ms(&state);
    let limits = state.limits.clone();
    work(state.stores.entry(context.place()).or_default(), &limits, now_ms)
}

pub(super) unsafe extern "C" fn put(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    value: abi::Str,
    options: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        let value: Value = serde_json::from_slice(bytes_of(value))
            .map_err(|error| HostError::Parameter(format!("the value is no JSON: {error}")))?;
        let mut put: Value = documents::read(&text(options), "`options`")?;
        if put.is_null() {
            put = json!({});
        }
        put["collection"] = text(collection).into();
        put["key"] = text(key).into();
        put["value"] = value;
        let put = documents::read_put(put)?;
        let version = change(context, |store, limits, now_ms| store.put(put, &context.index_fields, limits, now_ms))?;
        to_bytes(Ok(json!({ "version": version })))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "document_put", None, call, answer) }
}

pub(super) unsafe extern "C" fn delete(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    options: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        let options: Value = documents::read(&text(options), "`options`")?;
        let version = options.get("version").and_then(Value::as_u64);
        let delete = documents::Delete { collection: text(collection), key: text(key), version };
        change(context, |store, _, now_ms| store.delete(&delete, now_ms))?;
        to_bytes(Ok(json!({})))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "document_delete", None, call, answer) }
}

pub(super) unsafe extern "C" fn list(
    context: u64,
    collection: abi::Str,
    options: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        let list: documents::List = documents::read(&text(options), "`options`")?;
        let mut state = context.world.lock();
        let now_ms = context.world.now_ms(&state);
        let store = state.stores.entry(context.place()).or_default();
        to_bytes(store.list(&text(collection), &list, &context.index_fields, now_ms))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "document_list", None, call, answer) }
}

pub(super) unsafe extern "C" fn apply(context: u64, operations: abi::Str, call: *mut abi::HostCall) -> i32 {
    let answer = |context: &Arc<Context>| {
        let operations: Vec<Operation> = documents::read(&text(operations), "the operations")?;
        let versions = change(context, |store, limits, now_ms| {
            store.apply(operations, &context.index_fields, limits, now_ms).map_err(documents::of_operation)
        })?;
        to_bytes(Ok(json!({ "versions": versions })))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "document_apply", None, call, answer) }
}

pub(super) unsafe extern "C" fn consume(
    context: u64,
    collection: abi::Str,
    key: abi::Str,
    call: *mut abi::HostCall,
) -> i32 {
    let answer = |context: &Arc<Context>| {
        to_bytes(change(context, |store, _, now_ms| store.consume(&text(collection), &text(key), now_ms)))
    };
    // SAFETY: the plug-in's to be filled in.
    unsafe { answer_call(context, "document_consume", None, call, answer) }
}
