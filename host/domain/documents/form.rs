//! What form the documents of an instance have: a version, up to which its module's migrations were run, and the fields
//! that they are listed by.
//!
//! Start at [`Documents::prepare`], which brings them into the form that a module declares, before the module's `init`.
//! An instance with the form before may be at work meanwhile, here or in another process, and goes on if this one fails:
//!
//! - One process at a time changes the form; it holds a lease in the database, which runs out when the process dies.
//! - A migration is a list of operations for each step from one version to the next, stored together with the version:
//!   all of it or nothing. A document that somebody writes while a step is worked out is not overwritten: the step is
//!   worked out again.
//! - Every write says by which form it was made, and is made again by the present one when that is another. So from the
//!   moment in which a field is declared everybody writes it, and what was there before is indexed in chunks.
//! - Fields that are no longer declared stay until the version goes up, for an older library may still want them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::index::{self, Fields};
use super::{ApplyError, DocumentError, Documents, Operation, Set};
use crate::store::document_sets::{self as sets, SetRow};
use crate::store::documents::{self as rows, Place};
use crate::store::{Condition, Statement, StoreError, Written};

/// What a module says of its documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declaration {
    /// The version that it reads and writes.
    pub version: i64,
    /// The fields that it lists by.
    pub indexes: Fields,
}

/// The module's side of a migration.
pub trait Migrate: Sync {
    /// What has to be done to bring the documents from version `from` to the next; the error is a sentence.
    fn migrate(&self, from: i64) -> impl Future<Output = Result<Vec<Operation>, String>> + Send;
}

/// Why documents were not brought into the form that a module declares. Steps that were done before stay done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PrepareError {
    /// A newer library has changed them.
    #[error("its documents have version {stored}, this module knows versions up to {declared}; use the newer library")]
    Newer {
        /// The version that they have.
        stored: i64,
        /// The newest version that the module knows.
        declared: i64,
    },
    /// A step failed.
    #[error("its documents could not be brought from version {from} to {}: {reason}", from + 1)]
    Migration {
        /// The version that they have.
        from: i64,
        /// Why.
        reason: String,
    },
    /// A document cannot be indexed.
    #[error("a document of `{collection}` cannot be indexed: {reason}")]
    Index {
        /// The collection.
        collection: String,
        /// Why.
        reason: String,
    },
    /// Another process has been at it all the time.
    #[error("another process has been changing the form of its documents for {patience_ms} ms")]
    Held {
        /// How long this one waited.
        patience_ms: i64,
    },
    /// The lease was lost: this process was too slow.
    #[error("another process has taken over changing the form of its documents")]
    TakenOver,
    /// The instance was deleted meanwhile.
    #[error("the instance is deleted")]
    Gone,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DocumentError> for PrepareError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Store(error) => Self::Store(error),
            _ => Self::Gone,
        }
    }
}

/// The form, as far as this process knows.
#[derive(Debug)]
pub(super) struct Form {
    /// Counts its changes.
    pub(super) number: i64,
    /// The fields that every write writes.
    pub(super) fields: Fields,
    /// Those of them that know all documents.
    pub(super) complete: Fields,
}

impl Form {
    fn new(row: &SetRow) -> Result<Self, StoreError> {
        let complete = read(&row.indexes)?;
        Ok(Self { number: row.form, fields: index::union(&complete, &read(&row.building)?), complete })
    }
}

impl Documents {
    /// Brings the documents of an instance, stored or about to be, into the form that its module declares. `clock` gives
    /// the time in milliseconds since 1970: this may wait for another process, up to `patience_ms`.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub async fn prepare(
        &self,
        instance_id: &str,
        declared: &Declaration,
        migrate: &impl Migrate,
        patience_ms: i64,
        clock: fn() -> i64,
    ) -> Result<(), PrepareError> {
        let db = &self.inner.db;
        let mut row = sets::find(db, instance_id).await?;
        if row.is_none() {
            // There are no documents: nothing to migrate, nothing to index.
            sets::insert(db, instance_id, declared.version, &write(&declared.indexes), clock()).await?;
            row = sets::find(db, instance_id).await?;
        }
        let row = row.ok_or(PrepareError::Gone)?;
        let set = self.set(instance_id).await?;
        if !is_current(&row, declared)? {
            let lease = Lease::take(self, instance_id, patience_ms, clock).await?;
            let change = Change { documents: self, instance_id, set: &set, holder: &lease.holder, clock };
            let changed = change.run(declared, migrate).await;
            lease.release(self, instance_id).await;
            changed?;
        }
        self.refresh(instance_id, &set).await?;
        Ok(())
    }

    /// Deletes the documents of an instance that was not stored in the end.
    ///
    /// # Errors
    /// [`StoreError`]; then a later [`purge`](Self::purge) deletes them.
    pub async fn discard(&self, instance_id: &str) -> Result<(), StoreError> {
        self.forget(instance_id);
        sets::discard(&self.inner.db, instance_id).await
    }

    /// Forgets what this process knows of an instance, which was deleted: its documents went with it.
    pub fn forget(&self, instance_id: &str) {
        self.inner.sets.write().remove(instance_id);
    }

    /// What this process knows of an instance's documents; it learns it where it knows nothing.
    pub(super) async fn set(&self, instance_id: &str) -> Result<Arc<Set>, DocumentError> {
        if let Some(set) = self.inner.sets.read().get(instance_id) {
            return Ok(Arc::clone(set));
        }
        let row = sets::find(&self.inner.db, instance_id).await?.ok_or(DocumentError::Gone)?;
        let form = Arc::new(Form::new(&row)?);
        let mut known = self.inner.sets.write();
        let set = known
            .entry(instance_id.to_owned())
            .or_insert_with(|| Arc::new(Set { form: form.into(), usage: Default::default() }));
        Ok(Arc::clone(set))
    }

    /// Looks which form the documents have.
    pub(super) async fn refresh(&self, instance_id: &str, set: &Set) -> Result<(), DocumentError> {
        let Some(row) = sets::find(&self.inner.db, instance_id).await? else {
            self.forget(instance_id);
            return Err(DocumentError::Gone);
        };
        let form = Form::new(&row)?;
        let mut known = set.form.write();
        // Of two looks at once the later may be here first.
        if form.number > known.number {
            *known = Arc::new(form);
        }
        Ok(())
    }
}

/// Whether nothing has to be done.
fn is_current(row: &SetRow, declared: &Declaration) -> Result<bool, PrepareError> {
    if row.version > declared.version {
        return Err(PrepareError::Newer { stored: row.version, declared: declared.version });
    }
    let (indexes, building) = (read(&row.indexes)?, read(&row.building)?);
    let complete = index::difference(&declared.indexes, &indexes).is_empty();
    Ok(row.version == declared.version && complete && building.is_empty())
}

/// A change of the form under way, with the lease for it.
struct Change<'a> {
    documents: &'a Documents,
    instance_id: &'a str,
    set: &'a Set,
    holder: &'a str,
    clock: fn() -> i64,
}

impl Change<'_> {
    async fn run(&self, declared: &Declaration, migrate: &impl Migrate) -> Result<(), PrepareError> {
        // Whoever had the lease before may have done it already.
        let before = self.row().await?;
        if is_current(&before, declared)? {
            return Ok(());
        }
        for from in before.version..declared.version {
            self.step(from, migrate).await?;
        }
        let indexes = read(&before.indexes)?;
        let wanted = if declared.version > before.version {
            declared.indexes.clone()
        } else {
            index::union(&indexes, &declared.indexes)
        };
        let kept = index::difference(&indexes, &index::difference(&indexes, &wanted));
        let missing = index::difference(&wanted, &kept);
        if !missing.is_empty() {
            self.set_indexes(&indexes, &missing).await?;
            for (collection, fields) in &missing {
                if let Err(error) = self.index(collection, fields).await {
                    // Nobody needs the new fields now, and an older library at work does not know what they ask for.
                    self.set_indexes(&indexes, &Fields::new()).await?;
                    return Err(error);
                }
            }
        }
        self.set_indexes(&wanted, &Fields::new()).await?;
        for (collection, fields) in &index::difference(&indexes, &wanted) {
            self.drop_values(collection, fields).await?;
        }
        Ok(())
    }

    /// Goes from one version to the next.
    async fn step(&self, from: i64, migrate: &impl Migrate) -> Result<(), PrepareError> {
        let failed = |reason: String| PrepareError::Migration { from, reason };
        let mut missed = None;
        for _ in 0..STEP_TRIES_MAX {
            let operations = migrate.migrate(from).await.map_err(failed)?;
            let form = Form::new(&self.row().await?)?;
            let job = self
                .documents
                .plan(self.instance_id, &operations, &form.fields, form.number + 1, (self.clock)())
                .map_err(|error| failed(error.to_string()))?;
            let step = sets::step(self.instance_id, self.holder, from, from + 1);
            let mut statements = vec![Condition { statement: step, must_match: true }];
            statements.extend(job.statements);
            match self.documents.inner.db.write_if(statements).await? {
                Written::Stored(_) => {
                    self.set.usage.forget();
                    self.documents.refresh(self.instance_id, self.set).await?;
                    tracing::info!(
                        "the documents of instance {} are brought from version {from} to {}: {} operations",
                        self.instance_id,
                        from + 1,
                        operations.len()
                    );
                    return Ok(());
                }
                Written::Missed(0) => return Err(PrepareError::TakenOver),
                Written::Missed(statement) => missed = job.operations.get(statement - 1).copied().flatten(),
            }
        }
        let error = ApplyError { operation: missed, error: DocumentError::Stale };
        Err(failed(format!("{error}, {STEP_TRIES_MAX} times in a row")))
    }

    /// Indexes the documents of a collection by further fields.
    async fn index(&self, collection: &str, fields: &BTreeSet<String>) -> Result<(), PrepareError> {
        let (db, instance_id) = (&self.documents.inner.db, self.instance_id);
        let place = (instance_id, collection);
        let mut documents = rows::list_stored(db, place, "", 1).await?;
        if documents.is_empty() {
            return Ok(());
        }
        // What was being written when the new form was stored may be written by the old one; it is seen below once it is
        // stored itself.
        tokio::time::sleep(SETTLE).await;
        // Left from when it was declared before, or from a change that did not come to its end.
        self.drop_values(collection, fields).await?;
        let mut after = String::new();
        loop {
            documents = rows::list_stored(db, place, &after, CHUNK).await?;
            let Some(last) = documents.last() else { return Ok(()) };
            after.clone_from(&last.key);
            let mut statements = Vec::new();
            for row in &documents {
                let place = Place { instance_id, collection, key: &row.key };
                let values = index::values(fields, &row.value)
                    .map_err(|reason| PrepareError::Index { collection: collection.to_owned(), reason })?;
                statements.push(rows::hold(place, row.version));
                for (field, value) in values {
                    statements.extend(value.map(|value| rows::add_index(place, field, &value, row.version)));
                }
            }
            db.write(statements).await?;
        }
    }

    async fn drop_values(&self, collection: &str, fields: &BTreeSet<String>) -> Result<(), StoreError> {
        for field in fields {
            let place = (self.instance_id, collection, field.as_str());
            while rows::drop_index(&self.documents.inner.db, place, CHUNK).await? > 0 {}
        }
        Ok(())
    }

    async fn set_indexes(&self, indexes: &Fields, building: &Fields) -> Result<(), PrepareError> {
        let Statement { sql, values } =
            sets::set_indexes(self.instance_id, self.holder, &write(indexes), &write(building));
        if self.documents.inner.db.write_one(sql, values).await?.is_empty() {
            return Err(PrepareError::TakenOver);
        }
        self.documents.refresh(self.instance_id, self.set).await?;
        Ok(())
    }

    async fn row(&self) -> Result<SetRow, PrepareError> {
        sets::find(&self.documents.inner.db, self.instance_id).await?.ok_or(PrepareError::Gone)
    }
}

/// The right to change the form, kept up as long as this lives.
struct Lease {
    holder: String,
    kept_up: tokio::task::JoinHandle<()>,
}

impl Lease {
    async fn take(
        documents: &Documents,
        instance_id: &str,
        patience_ms: i64,
        clock: fn() -> i64,
    ) -> Result<Self, PrepareError> {
        let db = documents.inner.db.clone();
        let holder = super::super::new_id(clock());
        let began_ms = clock();
        while !sets::lease(&db, instance_id, &holder, clock(), clock() + LEASE_MS).await? {
            if sets::find(&db, instance_id).await?.is_none() {
                return Err(PrepareError::Gone);
            }
            if clock() - began_ms > patience_ms {
                return Err(PrepareError::Held { patience_ms });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let kept_up = {
            let (instance_id, holder) = (instance_id.to_owned(), holder.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(LEASE_MS.unsigned_abs() / 3)).await;
                    // Who cannot keep it up finds out when it writes.
                    let _ = sets::lease(&db, &instance_id, &holder, clock(), clock() + LEASE_MS).await;
                }
            })
        };
        Ok(Self { holder, kept_up })
    }

    async fn release(self, documents: &Documents, instance_id: &str) {
        self.kept_up.abort();
        if let Err(error) = sets::release(&documents.inner.db, instance_id, &self.holder).await {
            tracing::warn!(%error, "the lease on the documents of instance {instance_id} runs out by itself: {error}");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.kept_up.abort();
    }
}

fn read(fields: &str) -> Result<Fields, StoreError> {
    serde_json::from_str(fields).map_err(|error| StoreError::Damaged {
        what: "the list of index fields of an instance's documents".to_owned(),
        reason: error.to_string(),
    })
}

fn write(fields: &Fields) -> String {
    serde_json::json!(fields).to_string()
}

/// How long a lease lasts that nobody keeps up.
const LEASE_MS: i64 = 3_000;
/// How long to wait before asking for it again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Longer than a write takes that has begun.
const SETTLE: Duration = Duration::from_millis(200);
/// How many documents are indexed in one write.
const CHUNK: i64 = 100;
/// How often a step is worked out that collides with writes of others.
const STEP_TRIES_MAX: u32 = 8;
