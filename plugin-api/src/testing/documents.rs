//! Documents in memory, by the rules of the host's store.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::limits::TestLimits;
use crate::host_error::HostError;

/// What an instance keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// The version of their form; none before the first start.
    pub(super) version: Option<u64>,
    /// By collection and key.
    documents: BTreeMap<(String, String), Document>,
    last_version: u64,
}

#[derive(Clone, Debug)]
struct Document {
    version: u64,
    expires_at_ms: Option<u64>,
    used_at_ms: Option<u64>,
    user: Option<String>,
    value: Value,
}

/// A change, as the border writes it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    Put(Put),
    Delete(Delete),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    pub(super) collection: String,
    pub(super) key: String,
    pub(super) value: Value,
    #[serde(default)]
    pub(super) version: Option<u64>,
    #[serde(default)]
    pub(super) expires_at_ms: Option<u64>,
    #[serde(default)]
    pub(super) user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delete {
    pub(super) collection: String,
    pub(super) key: String,
    #[serde(default)]
    pub(super) version: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct List {
    field: Option<String>,
    #[serde(deserialize_with = "present")]
    equals: Option<Value>,
    #[serde(deserialize_with = "present")]
    from: Option<Value>,
    #[serde(deserialize_with = "present")]
    to: Option<Value>,
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// A member that is there, even if it is null: otherwise a wrong bound would be none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads JSON; nothing is the default.
pub(super) fn read<T: DeserializeOwned + Default>(text: &str, what: &str) -> Result<T, HostError> {
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| HostError::Parameter(format!("{what} cannot be read: {error}")))
}

type Fields = BTreeMap<String, Vec<String>>;

impl Store {
    pub(super) fn get(&self, collection: &str, key: &str, now_ms: u64) -> Result<Value, HostError> {
        check_place(collection, key)?;
        let document = self.documents.get(&(collection.to_owned(), key.to_owned()));
        let document = document.filter(|document| document.is_good(now_ms)).ok_or_else(absent)?;
        Ok(document.show(key))
    }

    /// Carries out all of the operations or none. Answers the version of each that puts.
    pub(super) fn apply(
        &mut self,
        operations: Vec<Operation>,
        fields: &Fields,
        limits: &TestLimits,
        now_ms: u64,
    ) -> Result<Vec<Option<u64>>, (Option<usize>, HostError)> {
        if operations.len() > OPERATIONS_MAX {
            return Err((None, HostError::Parameter(format!("more than {OPERATIONS_MAX} operations"))));
        }
        let mut changed = self.clone();
        let mut versions = Vec::new();
        for (index, operation) in operations.into_iter().enumerate() {
            let version = match operation {
                Operation::Put(put) => changed.put_one(put, fields, limits, now_ms).map(Some),
                Operation::Delete(delete) => changed.delete(&delete, now_ms).map(|()| None),
            };
            versions.push(version.map_err(|error| (Some(index), error))?);
        }
        self.check_amount(&changed, limits, now_ms).map_err(|error| (None, error))?;
        *self = changed;
        Ok(versions)
    }

    pub(super) fn put(
        &mut self,
        put: Put,
        fields: &Fields,
        limits: &TestLimits,
        now_ms: u64,
    ) -> Result<u64, HostError> {
        let mut changed = self.clone();
        let version = changed.put_one(put, fields, limits, now_ms)?;
        self.check_amount(&changed, limits, now_ms)?;
        *self = changed;
        Ok(version)
    }

    /// Refuses a change that would exceed the quota. One that frees more than it takes is never refused.
    fn check_amount(&self, changed: &Self, limits: &TestLimits, now_ms: u64) -> Result<(), HostError> {
        let ((documents, bytes), (documents_after, bytes_after)) = (self.amount(now_ms), changed.amount(now_ms));
        let exceeds = documents_after > limits.documents_max || bytes_after > limits.documents_bytes_max;
        if exceeds && (documents_after > documents || bytes_after > bytes) {
            return Err(HostError::Busy(format!(
                "the instance keeps {documents} documents of {bytes} bytes together, and may not keep more"
            )));
        }
        Ok(())
    }

    /// How many documents it keeps, and their bytes: collections, keys and values.
    fn amount(&self, now_ms: u64) -> (usize, usize) {
        let kept = self.documents.iter().filter(|(_, document)| document.is_good(now_ms));
        kept.fold((0, 0), |(documents, bytes), ((collection, key), document)| {
            (documents + 1, bytes + collection.len() + key.len() + document.value.to_string().len())
        })
    }

    fn put_one(&mut self, put: Put, fields: &Fields, limits: &TestLimits, now_ms: u64) -> Result<u64, HostError> {
        check_place(&put.collection, &put.key)?;
        let (bytes, bytes_max) = (put.value.to_string().len(), limits.document_bytes_max);
        if bytes > bytes_max {
            let text = format!("the value has {bytes} bytes, a document may have {bytes_max}");
            return Err(HostError::Parameter(text));
        }
        for field in fields.get(&put.collection).into_iter().flatten() {
            if put.value.get(field).and_then(Value::as_str).is_some_and(|text| text.len() > KEY_BYTES_MAX) {
                let text = format!("the index field `{field}` holds more than {KEY_BYTES_MAX} bytes");
                return Err(HostError::Parameter(text));
            }
        }
        let place = (put.collection, put.key);
        let present = self.documents.get(&place).filter(|document| document.is_good(now_ms));
        if put.version.is_some_and(|version| version != present.map_or(0, |document| document.version)) {
            return Err(stale());
        }
        self.last_version += 1;
        let (version, expires_at_ms, user) = (self.last_version, put.expires_at_ms, put.user);
        self.documents.insert(place, Document { version, expires_at_ms, used_at_ms: None, user, value: put.value });
        Ok(version)
    }

    pub(super) fn delete(&mut self, delete: &Delete, now_ms: u64) -> Result<(), HostError> {
        check_place(&delete.collection, &delete.key)?;
        let place = (delete.collection.clone(), delete.key.clone());
        let present = self.documents.get(&place).filter(|document| document.is_good(now_ms)).ok_or_else(absent)?;
        if delete.version.is_some_and(|version| version != present.version) {
            return Err(stale());
        }
        self.documents.remove(&place);
        Ok(())
    }

    pub(super) fn consume(&mut self, collection: &str, key: &str, now_ms: u64) -> Result<Value, HostError> {
        check_place(collection, key)?;
        let Some(document) = self.documents.get_mut(&(collection.to_owned(), key.to_owned())) else {
            return Ok(json!({"state": "absent", "document": null}));
        };
        let state = match document.used_at_ms {
            None if !document.is_good(now_ms) => return Ok(json!({"state": "expired", "document": null})),
            None => {
                document.used_at_ms = Some(now_ms);
                self.last_version += 1;
                document.version = self.last_version;
                "fresh"
            }
            Some(_) => "used",
        };
        Ok(json!({"state": state, "document": document.show(key)}))
    }

    pub(super) fn list(&self, collection: &str, list: &List, fields: &Fields, now_ms: u64) -> Result<Value, HostError> {
        check_collection(collection)?;
        let limit = list.limit.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            return Err(HostError::Parameter(format!("`limit` is {limit}, expected 1 to 1000")));
        }
        if let Some(field) = &list.field
            && !fields.get(collection).is_some_and(|known| known.contains(field))
        {
            let text = format!("the module does not declare the index field `{field}` of `{collection}`");
            return Err(HostError::Parameter(text));
        }
        let all =
            self.documents.iter().filter(|((other, _), document)| other == collection && document.is_good(now_ms));
        let mut found: Vec<(&String, &Document)> = all
            .map(|((_, key), document)| (key, document))
            .filter(|(key, document)| list.wants(key, document))
            .collect();
        if let Some(field) = &list.field {
            found.sort_by(|(key, document), (other_key, other)| {
                compare(&document.value[field], &other.value[field]).then_with(|| key.cmp(other_key))
            });
        }
        // The key alone says where a page ended: of a field, too.
        let first = match &list.after {
            None => 0,
            Some(after) => found.iter().position(|(key, _)| *key == after).map_or(found.len(), |at| at + 1),
        };
        let page: Vec<&(&String, &Document)> = found.iter().skip(first).take(limit).collect();
        let next = page.last().filter(|_| found.len() > first + limit).map(|(key, _)| (*key).clone());
        let documents: Vec<Value> = page.iter().map(|(key, document)| document.show(key)).collect();
        Ok(json!({"documents": documents, "next": next}))
    }

    /// Everything that went with a user goes.
    pub(super) fn forget_user(&mut self, username: &str) {
        self.documents.retain(|_, document| document.user.as_deref() != Some(username));
    }

    /// The value of a document that is still good.
    pub(super) fn value(&self, collection: &str, key: &str, now_ms: u64) -> Option<&Value> {
        let document = self.documents.get(&(collection.to_owned(), key.to_owned()))?;
        document.is_good(now_ms).then_some(&document.value)
    }
}

impl List {
    fn wants(&self, key: &str, document: &Document) -> bool {
        let Some(field) = &self.field else {
            return self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix));
        };
        let value = &document.value[field];
        if rank(value).is_none() {
            return false;
        }
        let same_kind = |bound: &Value| rank(bound) == rank(value);
        self.equals.as_ref().is_none_or(|equals| compare(value, equals).is_eq())
            && self.from.as_ref().is_none_or(|from| same_kind(from) && compare(value, from).is_ge())
            && self.to.as_ref().is_none_or(|to| same_kind(to) && compare(value, to).is_lt())
            && self.prefix.as_ref().is_none_or(|prefix| value.as_str().is_some_and(|text| text.starts_with(prefix)))
    }
}

impl Document {
    fn is_good(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms)
    }

    fn show(&self, key: &str) -> Value {
        let mut shown = json!({"key": key, "version": self.version, "value": self.value});
        let more = [("expires_at_ms", json!(self.expires_at_ms)), ("used_at_ms", json!(self.used_at_ms))];
        for (name, member) in more.into_iter().chain([("user", json!(self.user))]) {
            if !member.is_null() {
                shown[name] = member;
            }
        }
        shown
    }
}

/// Booleans, numbers and texts, in this order; nothing else is indexed.
const fn rank(value: &Value) -> Option<u8> {
    match value {
        Value::Bool(_) => Some(0),
        Value::Number(_) => Some(1),
        Value::String(_) => Some(2),
        _ => None,
    }
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => {
            let number = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
            number(one).total_cmp(&number(other))
        }
        (Value::String(one), Value::String(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn check_place(collection: &str, key: &str) -> Result<(), HostError> {
    check_collection(collection)?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
        let text = format!("the key has {} bytes, expected 1 to {KEY_BYTES_MAX} without NUL", key.len());
        return Err(HostError::Parameter(text));
    }
    Ok(())
}

fn check_collection(collection: &str) -> Result<(), HostError> {
    let plain = |found: char| found.is_ascii_lowercase() || found.is_ascii_digit();
    let possible = |found: char| plain(found) || found == '_' || found == '-';
    if collection.starts_with(plain) && collection.len() <= 64 && collection.chars().all(possible) {
        return Ok(());
    }
    let text = format!("`{}` is no name of a collection: [a-z0-9][a-z0-9_-]*, at most 64", collection.escape_debug());
    Err(HostError::Parameter(text))
}

fn absent() -> HostError {
    HostError::NotFound("there is no such document".to_owned())
}

fn stale() -> HostError {
    HostError::Conflict("the document has another version, or was deleted, or exists already".to_owned())
}

const KEY_BYTES_MAX: usize = 512;
const OPERATIONS_MAX: usize = 1000;

/// Reads what is to be written.
pub(super) fn read_put(put: Value) -> Result<Put, HostError> {
    serde_json::from_value(put).map_err(|error| HostError::Parameter(format!("`options` cannot be read: {error}")))
}

/// Says which of several operations could not be carried out.
pub(super) fn of_operation((index, error): (Option<usize>, HostError)) -> HostError {
    let Some(index) = index else { return error };
    let text = format!("operation {index} (counted from 0): {}", error.detail());
    match error {
        HostError::NotFound(_) => HostError::NotFound(text),
        HostError::Conflict(_) => HostError::Conflict(text),
        _ => HostError::Parameter(text),
    }
}
