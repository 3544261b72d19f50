//! What plug-ins keep: documents of JSON, by collection and key, each with a version.
//!
//! Start at [`Documents`]. Everything is said for an instance, by its id; no instance sees another's documents. What form
//! the documents of an instance have (version, index fields), and how they get there, is in [`form`].

mod check;
pub mod form;
mod index;
mod list;
mod quota;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::check::{KEY_BYTES_MAX, NAME_CHARS_MAX, OPERATIONS_BYTES_MAX, OPERATIONS_MAX};
use self::form::Form;
pub use self::form::{Declaration, Migrate, PrepareError};
pub use self::index::{Fields, Wanted};
pub use self::list::{LIST_MAX, List, Page};
pub use self::quota::DocumentLimits;
use self::quota::{Amount, Usage};
use super::StoreError;
use crate::store::document_sets as sets;
use crate::store::documents::{self as rows, Content, DocumentRow, Place};
use crate::store::{Condition, Db, Row, Written};

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its key, unique in the collection.
    pub key: String,
    /// Which write it is of: no two writes of a key have the same, also when it was deleted in between. It says nothing of
    /// the order of writes, and is always more than 0 and less than 2^53.
    pub version: i64,
    /// When it expires, in milliseconds since 1970; `None` means never.
    pub expires_at_ms: Option<i64>,
    /// When it was consumed, in milliseconds since 1970; `None` means that it was not.
    pub used_at_ms: Option<i64>,
    /// The user that it goes with.
    pub user: Option<String>,
    /// JSON, as it was put.
    pub value: String,
}

/// A change of a document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Writes it.
    Put(Put),
    /// Deletes it.
    Delete(Delete),
}

/// Writes a document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The collection: `[a-z0-9][a-z0-9_-]{0,63}`.
    pub collection: String,
    /// The key: any text of 1 to [`KEY_BYTES_MAX`] bytes without NUL.
    pub key: String,
    /// JSON.
    pub value: Box<RawValue>,
    /// The version that it must have now; 0 means that it must not exist, `None` that it is written in any case.
    #[serde(default)]
    pub version: Option<i64>,
    /// When it expires, in milliseconds since 1970; `None` means never.
    #[serde(default)]
    pub expires_at_ms: Option<i64>,
    /// The user that it goes with.
    #[serde(default)]
    pub user: Option<String>,
}

/// Deletes a document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The version that it must have now; `None` means any.
    #[serde(default)]
    pub version: Option<i64>,
}

/// What became of a one-time document.
#[derive(Clone, Debug, PartialEq)]
pub enum Consumed {
    /// This was its first use.
    Fresh(Document),
    /// It had been used before: somebody replays it.
    Used(Document),
    /// It was not used, and is not good any more.
    Expired,
    /// There is none, or it is long gone.
    Absent,
}

/// Why documents were not read or changed. Nothing was changed, unless the store says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DocumentError {
    /// What was asked for cannot be; the sentence says why.
    #[error("{0}")]
    Parameter(String),
    /// There is no such document.
    #[error("there is no such document")]
    Absent,
    /// The document has not the version given, or there is one where there should be none.
    #[error("the document has another version, or was deleted, or exists already")]
    Stale,
    /// The instance may not keep so much.
    #[error(
        "the instance keeps {documents} documents of {bytes} bytes together, and may not keep more (`documents_max` and \
         `documents_bytes_max` in the configuration's `limits`)"
    )]
    Full {
        /// How many documents it has.
        documents: i64,
        /// How many bytes they have.
        bytes: i64,
    },
    /// The instance is deleted.
    #[error("the instance is deleted")]
    Gone,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why operations were not applied: none of them was.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ApplyError {
    /// Which operation is to blame, counted from 0.
    pub operation: Option<usize>,
    /// Why.
    #[source]
    pub error: DocumentError,
}

impl std::fmt::Display for ApplyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.operation {
            Some(operation) => write!(formatter, "operation {operation} (counted from 0): {}", self.error),
            None => self.error.fmt(formatter),
        }
    }
}

impl From<DocumentError> for ApplyError {
    fn from(error: DocumentError) -> Self {
        Self { operation: None, error }
    }
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        DocumentError::from(error).into()
    }
}

/// The documents of all instances. A clone is cheap and the same.
#[derive(Clone)]
pub struct Documents {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    limits: DocumentLimits,
    /// By instance; what this process knows of them.
    sets: RwLock<HashMap<String, Arc<Set>>>,
    /// The last version given out.
    version: AtomicI64,
}

/// What this process knows of an instance's documents as a whole.
struct Set {
    form: RwLock<Arc<Form>>,
    usage: Usage,
}

impl Set {
    fn form(&self) -> Arc<Form> {
        Arc::clone(&self.form.read())
    }
}

impl Documents {
    /// The documents in a database.
    #[must_use]
    pub fn new(db: Db, limits: DocumentLimits) -> Self {
        let inner = Inner { db, limits, sets: RwLock::default(), version: AtomicI64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// The document of a key. One that was consumed is still there.
    ///
    /// # Errors
    /// Parameter or Store.
    pub async fn get(
        &self,
        instance_id: &str,
        collection: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<Document>, DocumentError> {
        check::check_place(collection, key).map_err(DocumentError::Parameter)?;
        let found = rows::find(&self.inner.db, Place { instance_id, collection, key }, now_ms).await?;
        Ok(found.map(Document::from))
    }

    /// Writes a document and gives its new version. One that was consumed is fresh again.
    ///
    /// # Errors
    /// Everything but Absent.
    pub async fn put(&self, instance_id: &str, put: Put, now_ms: i64) -> Result<i64, DocumentError> {
        let versions = self.apply(instance_id, &[Operation::Put(put)], now_ms).await.map_err(|error| error.error)?;
        Ok(versions.into_iter().flatten().next().unwrap_or_default())
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// Parameter, Absent, Stale or Store.
    pub async fn delete(&self, instance_id: &str, delete: Delete, now_ms: i64) -> Result<(), DocumentError> {
        let deleted = self.apply(instance_id, &[Operation::Delete(delete)], now_ms).await;
        deleted.map(drop).map_err(|error| error.error)
    }

    /// Carries out all operations or none; gives the new versions of what was put. Operations of one document are carried
    /// out in their order.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn apply(
        &self,
        instance_id: &str,
        operations: &[Operation],
        now_ms: i64,
    ) -> Result<Vec<Option<i64>>, ApplyError> {
        let bytes: usize = operations.iter().map(Operation::value_bytes).sum();
        if operations.len() > OPERATIONS_MAX || (operations.len() > 1 && bytes > OPERATIONS_BYTES_MAX) {
            let text = format!(
                "{} operations with values of {bytes} bytes; at most {OPERATIONS_MAX} with {OPERATIONS_BYTES_MAX} bytes",
                operations.len()
            );
            return Err(DocumentError::Parameter(text).into());
        }
        let set = self.set(instance_id).await?;
        let mut tries = 0;
        loop {
            let form = set.form();
            let job = self.plan(instance_id, operations, &form.fields, form.number, now_ms)?;
            if tries == 0 {
                set.usage.check(&self.inner.db, &self.inner.limits, instance_id, operations, now_ms).await?;
            }
            tries += 1;
            let missed = match self.inner.db.write_if(job.statements).await? {
                Written::Stored(rows) => {
                    let (versions, change) = outcome(operations, &job.operations, rows)?;
                    set.usage.add(change);
                    return Ok(versions);
                }
                Written::Missed(statement) => job.operations.get(statement).copied().flatten(),
            };
            // Either the condition of the operation does not hold, or the form is another by now.
            let error = match missed.and_then(|index| operations.get(index)) {
                Some(Operation::Delete(Delete { version: None, .. })) => DocumentError::Absent,
                Some(Operation::Delete(_)) => DocumentError::Stale,
                put => {
                    self.refresh(instance_id, &set).await?;
                    let changed = set.form().number != form.number;
                    match put {
                        _ if changed && tries < TRIES_MAX => continue,
                        Some(Operation::Put(Put { version: Some(_), .. })) if !changed => DocumentError::Stale,
                        _ => StoreError::Conflict.into(),
                    }
                }
            };
            return Err(ApplyError { operation: missed, error });
        }
    }

    /// Uses a one-time document: of many that do so at once, one gets it fresh.
    ///
    /// # Errors
    /// Parameter or Store.
    pub async fn consume(
        &self,
        instance_id: &str,
        collection: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Consumed, DocumentError> {
        check::check_place(collection, key).map_err(DocumentError::Parameter)?;
        let (db, place) = (&self.inner.db, Place { instance_id, collection, key });
        for _ in 0..TRIES_MAX {
            if let Some(row) = rows::consume(db, place, self.new_version(now_ms), now_ms).await? {
                return Ok(Consumed::Fresh(row.into()));
            }
            match rows::find_stored(db, place).await? {
                None => return Ok(Consumed::Absent),
                Some((row, _)) if row.used_at.is_some() => return Ok(Consumed::Used(row.into())),
                Some((row, _)) if row.expires_at.is_some_and(|at| at <= now_ms) => return Ok(Consumed::Expired),
                // Put between the two looks.
                Some(_) => {}
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Deletes what expired some time ago, a thousand documents at a time, and what belongs to instances that never came
    /// to be; how many documents those were.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted before stays deleted.
    pub async fn purge(&self, now_ms: i64) -> Result<usize, StoreError> {
        let mut purged = 0;
        loop {
            let chunk = rows::delete_expired(&self.inner.db, now_ms - PURGE_AFTER_MS, CHUNK).await?;
            purged += chunk;
            if chunk < CHUNK as usize {
                break;
            }
        }
        sets::discard_old(&self.inner.db, now_ms - DISCARD_AFTER_MS).await?;
        self.count_anew(purged);
        Ok(purged)
    }

    /// Deletes all documents, of all instances, that go with a user; how many those were.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted before stays deleted.
    pub async fn delete_of_user(&self, user: &str) -> Result<usize, StoreError> {
        let mut deleted = 0;
        loop {
            let chunk = rows::delete_of_user(&self.inner.db, user, CHUNK).await?;
            deleted += chunk;
            if chunk < CHUNK as usize {
                self.count_anew(deleted);
                return Ok(deleted);
            }
        }
    }

    /// Checks operations and makes the statements of one write of them.
    fn plan(
        &self,
        instance_id: &str,
        operations: &[Operation],
        fields: &Fields,
        form: i64,
        now_ms: i64,
    ) -> Result<Job, ApplyError> {
        let mut order: Vec<_> = operations.iter().enumerate().collect();
        // Two writes that take the same documents in the same order cannot wait for each other.
        order.sort_by_key(|(_, operation)| {
            let Place { collection, key, .. } = operation.place(instance_id);
            (collection, key)
        });
        let mut job = Job::default();
        for (index, operation) in order {
            let refused = |text| ApplyError { operation: Some(index), error: DocumentError::Parameter(text) };
            check::check_operation(operation, self.inner.limits.document_bytes_max).map_err(refused)?;
            let place = operation.place(instance_id);
            let statement = match operation {
                Operation::Put(put) => {
                    let content = Content {
                        value: put.value.get(),
                        bytes: quota::bytes(place, put.value.get()),
                        expires_at: put.expires_at_ms,
                        username: put.user.as_deref(),
                        version: self.new_version(now_ms),
                        form,
                    };
                    match put.version {
                        None => rows::put(place, content),
                        Some(0) => rows::insert(place, content, now_ms),
                        Some(version) => rows::update(place, content, version, now_ms),
                    }
                }
                Operation::Delete(Delete { version: None, .. }) => rows::delete(place, now_ms),
                Operation::Delete(Delete { version: Some(version), .. }) => {
                    rows::delete_version(place, *version, now_ms)
                }
            };
            job.operations.push(Some(index));
            job.statements.push(Condition { statement, must_match: true });
            if let (Operation::Put(put), Some(fields)) = (operation, fields.get(place.collection)) {
                for (field, value) in index::values(fields, put.value.get()).map_err(refused)? {
                    let statement = match value {
                        Some(value) => rows::set_index(place, field, &value),
                        None => rows::clear_index(place, field),
                    };
                    job.operations.push(None);
                    job.statements.push(Condition { statement, must_match: false });
                }
            }
        }
        Ok(job)
    }

    /// A number that no write of this process had before.
    fn new_version(&self, now_ms: i64) -> i64 {
        let least = now_ms.saturating_mul(1_000).max(1);
        let next = |last: i64| Some(least.max(last + 1));
        // The closure never gives `None`.
        let last = self.inner.version.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        least.max(last + 1)
    }

    fn count_anew(&self, changed: usize) {
        if changed > 0 {
            self.inner.sets.read().values().for_each(|set| set.usage.forget());
        }
    }
}

/// One write.
#[derive(Default)]
struct Job {
    statements: Vec<Condition>,
    /// Which operation each statement stands for; `None` for those that only go along with one.
    operations: Vec<Option<usize>>,
}

/// What came of a write: the new versions, and how much more there is.
fn outcome(
    operations: &[Operation],
    of_statements: &[Option<usize>],
    answers: Vec<Vec<Row>>,
) -> Result<(Vec<Option<i64>>, Amount), StoreError> {
    let mut versions = vec![None; operations.len()];
    let mut change = Amount::default();
    for (index, rows) in of_statements.iter().zip(answers) {
        let Some((index, mut row)) = index.zip(rows.into_iter().next()) else { continue };
        match operations.get(index) {
            Some(operation @ Operation::Put(put)) => {
                let (version, before): (i64, i64) = (row.take(0)?, row.take(1)?);
                if let Some(place) = versions.get_mut(index) {
                    *place = Some(version);
                }
                let bytes = quota::bytes(operation.place(""), put.value.get());
                change.add(Amount { documents: i64::from(before == 0), bytes: bytes - before });
            }
            _ => change.add(Amount { documents: -1, bytes: -row.take::<i64>(0)? }),
        }
    }
    Ok((versions, change))
}

impl Operation {
    fn place<'a>(&'a self, instance_id: &'a str) -> Place<'a> {
        let (Self::Put(Put { collection, key, .. }) | Self::Delete(Delete { collection, key, .. })) = self;
        Place { instance_id, collection, key }
    }

    fn value_bytes(&self) -> usize {
        if let Self::Put(put) = self { put.value.get().len() } else { 0 }
    }
}

impl From<DocumentRow> for Document {
    fn from(row: DocumentRow) -> Self {
        let DocumentRow { key, version, expires_at, used_at, username, value } = row;
        Self { key, version, expires_at_ms: expires_at, used_at_ms: used_at, user: username, value }
    }
}

/// How often something is tried that others keep changing.
const TRIES_MAX: u32 = 8;
/// How many documents are deleted in one write.
const CHUNK: i64 = 1_000;
/// How long a document stays after it expired, so that whoever comes too late is told so.
const PURGE_AFTER_MS: i64 = 10 * 60_000;
/// How long the documents of an instance stay that is not stored: it may still be starting.
const DISCARD_AFTER_MS: i64 = 86_400_000;
