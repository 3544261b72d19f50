//! What a document may be: its place, its size, and what is said of it.

use super::{Delete, Operation, Put};

/// The largest key, and the largest text of an index field, in bytes. PostgreSQL keeps no more than 2700 in an index.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest name of a collection or an index field.
pub const NAME_CHARS_MAX: usize = 64;
/// How many operations are applied at once.
pub const OPERATIONS_MAX: usize = 1_000;
/// How many bytes of values are applied at once.
pub const OPERATIONS_BYTES_MAX: usize = 16 << 20;
/// The longest name of a user in bytes.
const USER_BYTES_MAX: usize = 128;

/// Checks everything about an operation that can be checked without the database; the error is a sentence.
pub(super) fn check_operation(operation: &Operation, document_bytes_max: u64) -> Result<(), String> {
    match operation {
        Operation::Put(put) => check_put(put, document_bytes_max),
        Operation::Delete(Delete { collection, key, version }) => {
            check_place(collection, key)?;
            match version {
                Some(version) if *version < 1 => Err(format!("no document has version {version}; expected 1 or more")),
                _ => Ok(()),
            }
        }
    }
}

fn check_put(put: &Put, document_bytes_max: u64) -> Result<(), String> {
    check_place(&put.collection, &put.key)?;
    let bytes = put.value.get().len();
    if bytes as u64 > document_bytes_max {
        return Err(format!("the value has {bytes} bytes, a document may have {document_bytes_max}"));
    }
    if let Some(version) = put.version.filter(|version| *version < 0) {
        return Err(format!("no document has version {version}; expected 1 or more, or 0 for a new one"));
    }
    if let Some(expires_at_ms) = put.expires_at_ms.filter(|expires_at_ms| *expires_at_ms < 1) {
        return Err(format!("`expires_at_ms` is {expires_at_ms}; expected milliseconds since 1970"));
    }
    match &put.user {
        Some(user) if user.is_empty() || user.len() > USER_BYTES_MAX || user.contains('\0') => {
            Err(format!("`user` must be a name of 1 to {USER_BYTES_MAX} bytes without NUL"))
        }
        _ => Ok(()),
    }
}

/// Checks where a document is.
pub(super) fn check_place(collection: &str, key: &str) -> Result<(), String> {
    check_collection(collection)?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(format!("the key has {} bytes, expected 1 to {KEY_BYTES_MAX}", key.len()));
    }
    if key.contains('\0') {
        return Err("the key holds a NUL character".to_owned());
    }
    Ok(())
}

/// Checks the name of a collection.
pub(super) fn check_collection(collection: &str) -> Result<(), String> {
    if is_name(collection) {
        return Ok(());
    }
    let name: String = collection.chars().take(NAME_CHARS_MAX).collect();
    Err(format!(
        "`{}` is no name of a collection: [a-z0-9][a-z0-9_-]*, at most {NAME_CHARS_MAX} characters",
        name.escape_debug()
    ))
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    starts_well && name.len() <= NAME_CHARS_MAX && name.bytes().all(is_allowed)
}
