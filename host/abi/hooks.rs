//! Hooks: what the host calls in an instance beside its endpoints, from tables that its library hands out by id.
//!
//! Every table is a size and then functions, so that one reader and one caller serve all of them; which place is which
//! function is said by the structs of `porth_abi::hooks`.

use std::ffi::c_void;

use porth_abi::{Bytes, Str, code};
use serde_json::Value;

use super::bytes::OwnedBytes;
use super::fault::{self, InstanceSlot};
use super::library::Foreign;

type Function = unsafe extern "C" fn(instance: *mut c_void, arguments: Str, result: *mut Bytes) -> i32;

/// One table of hooks for one instance. Valid until the instance's `close`; the runtime sees to it that no call is under
/// way then.
pub struct Hooks {
    functions: Box<[Option<Function>]>,
    instance: Foreign,
    slot: &'static InstanceSlot,
}

/// Why a hook brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookFailure {
    /// The instance has no such hook.
    #[error("the instance has no such hook")]
    Unsupported,
    /// It panicked; the message is in the log already.
    #[error("it panicked")]
    Panicked,
    /// It answered a code, with its texts.
    #[error("it answered {code}: {}", .details.join("; "))]
    Refused {
        /// One of [`porth_abi::code`].
        code: i32,
        /// What it says of that; may be empty.
        details: Vec<String>,
    },
    /// It answered something that means nothing.
    #[error("it answered {0}")]
    Malformed(String),
}

impl Hooks {
    /// Copies the functions of a table; `None` for one that cannot be read.
    ///
    /// # Safety
    /// `table` is null or points to a table as the border describes it: a size, and so many bytes altogether.
    pub(super) unsafe fn read(table: *const c_void, instance: Foreign, slot: &'static InstanceSlot) -> Option<Self> {
        const WORD: usize = size_of::<usize>();
        if table.is_null() || !table.cast::<usize>().is_aligned() {
            return None;
        }
        // SAFETY: not null, aligned, and every table of an extension begins with its size.
        let size = unsafe { table.cast::<usize>().read() };
        let len = size.checked_sub(WORD).filter(|bytes| bytes % WORD == 0)? / WORD;
        if len > FUNCTIONS_MAX {
            return None;
        }
        // SAFETY: the size is within the table, so that what follows it is, or is one past its end.
        let first = unsafe { table.cast::<Option<Function>>().add(1) };
        // SAFETY: the caller vouches for so many bytes, and a hook is a function or null.
        let functions = unsafe { std::slice::from_raw_parts(first, len) };
        Some(Self { functions: functions.into(), instance, slot })
    }

    /// Whether there is a function at that place.
    #[must_use]
    pub fn has(&self, hook: usize) -> bool {
        self.function(hook).is_some()
    }

    fn function(&self, hook: usize) -> Option<Function> {
        self.functions.get(hook).copied().flatten()
    }

    /// Calls the hook at that place with a JSON object; it blocks if the plug-in does. Answers JSON.
    ///
    /// # Errors
    /// See [`HookFailure`].
    pub fn call(&self, hook: usize, arguments: &str) -> Result<Value, HookFailure> {
        let function = self.function(hook).ok_or(HookFailure::Unsupported)?;
        let mut result = Bytes::EMPTY;
        let number = {
            let _blamed = fault::enter(self.slot);
            // SAFETY: the instance is open (the runtime's promise), and arguments and result outlive the call.
            unsafe { function(self.instance.0, Str::new(arguments.as_bytes()), &raw mut result) }
        };
        // SAFETY: filled in by the hook or empty, and owned by nobody else.
        let result = unsafe { OwnedBytes::take(result) }.map_err(|bad| HookFailure::Malformed(bad.to_string()))?;
        let bytes = result.as_slice();
        match number {
            code::OK if bytes.is_empty() => Ok(Value::Null),
            code::OK => {
                serde_json::from_slice(bytes).map_err(|error| HookFailure::Malformed(format!("no JSON: {error}")))
            }
            code::UNSUPPORTED => Err(HookFailure::Unsupported),
            code::PANIC => Err(HookFailure::Panicked),
            code if code > code::OK => Err(HookFailure::Refused { code, details: details(bytes) }),
            other => Err(HookFailure::Malformed(format!("the number {other}, which means nothing here"))),
        }
    }
}

/// A list of texts; anything else is one text.
fn details(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| vec![String::from_utf8_lossy(bytes).into_owned()])
}

/// More functions than this are a mistake.
const FUNCTIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    struct Table {
        size: usize,
        hooks: [porth_abi::Hook; 3],
    }

    unsafe extern "C" fn echo(_: *mut c_void, arguments: Str, result: *mut Bytes) -> i32 {
        // SAFETY: the caller lends the text for the call.
        let text = unsafe { std::slice::from_raw_parts(arguments.ptr, arguments.len) };
        let text: &'static [u8] = Box::leak(text.to_vec().into_boxed_slice());
        // SAFETY: the caller's place.
        unsafe { result.write(Bytes::from_static(text)) };
        code::OK
    }

    unsafe extern "C" fn refuse(_: *mut c_void, _: Str, result: *mut Bytes) -> i32 {
        // SAFETY: the caller's place.
        unsafe { result.write(Bytes::from_static(br#"["one", "two"]"#)) };
        code::PARAM
    }

    fn read(size: usize) -> Option<Hooks> {
        let hooks = [Some(echo as Function), None, Some(refuse)].map(|call| porth_abi::Hook { call });
        let table = Box::leak(Box::new(Table { size, hooks }));
        let slot = InstanceSlot::register("scheme/test", "libtest.so");
        // SAFETY: the table lives for ever, and no size below is larger than it.
        unsafe { Hooks::read(std::ptr::from_ref(table).cast(), Foreign(std::ptr::null_mut()), slot) }
    }

    #[test]
    fn a_hook_answers_json_or_refuses() {
        let hooks = read(size_of::<Table>()).unwrap();
        assert_eq!(hooks.call(0, r#"{"a": 1}"#), Ok(serde_json::json!({"a": 1})));
        assert!(matches!(hooks.call(0, "{"), Err(HookFailure::Malformed(_))));
        assert_eq!(hooks.call(1, "{}"), Err(HookFailure::Unsupported));
        let details = vec!["one".to_owned(), "two".to_owned()];
        assert_eq!(hooks.call(2, "{}"), Err(HookFailure::Refused { code: code::PARAM, details }));
        assert_eq!(hooks.call(3, "{}"), Err(HookFailure::Unsupported));
    }

    #[test]
    fn a_shorter_table_has_fewer_hooks() {
        let hooks = read(2 * size_of::<usize>()).unwrap();
        assert!(hooks.has(0) && !hooks.has(2));
        for size in [0, size_of::<usize>() - 1, size_of::<usize>() + 1] {
            assert!(read(size).is_none(), "{size}");
        }
    }
}
