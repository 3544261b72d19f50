//! The table `document_set`.

use super::{Db, Row, Statement, StoreError, values};

/// A row, as it is stored, without those columns that only statements look at.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_documents.sql")]
pub struct SetRow {
    pub instance_id: Option<String>,
    pub version: i64,
    pub form: i64,
    pub indexes: String,
    pub building: String,
}

/// The row of an instance.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, id: &str) -> Result<Option<SetRow>, StoreError> {
    db.read(FIND, values![id]).await?.pop().map(read).transpose()
}

/// Adds a row, unless there is one; it belongs to the instance if that is stored.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(db: &Db, id: &str, version: i64, indexes: &str, now_ms: i64) -> Result<(), StoreError> {
    db.write_one(INSERT, values![id, version, indexes, now_ms]).await.map(drop)
}

/// Makes a set that was there before its instance belong to that, if it is stored now.
#[must_use]
pub fn attach(id: &str) -> Statement {
    Statement { sql: ATTACH, values: values![id] }
}

/// Deletes the set of an instance that was never stored.
///
/// # Errors
/// [`StoreError`].
pub async fn discard(db: &Db, id: &str) -> Result<(), StoreError> {
    db.write_one(DISCARD, values![id]).await.map(drop)
}

/// Deletes sets made up to `until_ms` whose instances were never stored; how many those were.
///
/// # Errors
/// [`StoreError`].
pub async fn discard_old(db: &Db, until_ms: i64) -> Result<usize, StoreError> {
    Ok(db.write_one(DISCARD_OLD, values![until_ms]).await?.len())
}

/// Takes the lease, or goes on with it. False means that another has it.
///
/// # Errors
/// [`StoreError`].
pub async fn lease(db: &Db, id: &str, holder: &str, now_ms: i64, until_ms: i64) -> Result<bool, StoreError> {
    Ok(!db.write_one(LEASE, values![id, holder, now_ms, until_ms]).await?.is_empty())
}

/// Gives the lease back.
///
/// # Errors
/// [`StoreError`].
pub async fn release(db: &Db, id: &str, holder: &str) -> Result<(), StoreError> {
    db.write_one(RELEASE, values![id, holder]).await.map(drop)
}

/// Changes the index fields. One row, the new form, if `holder` has the lease.
#[must_use]
pub fn set_indexes(id: &str, holder: &str, indexes: &str, building: &str) -> Statement {
    Statement { sql: SET_INDEXES, values: values![id, holder, indexes, building] }
}

/// Goes from one version to the next. One row, the new form, if `holder` has the lease and `from` is the version.
#[must_use]
pub fn step(id: &str, holder: &str, from: i64, to: i64) -> Statement {
    Statement { sql: STEP, values: values![id, holder, from, to] }
}

fn read(mut row: Row) -> Result<SetRow, StoreError> {
    Ok(SetRow {
        instance_id: row.take(0)?,
        version: row.take(1)?,
        form: row.take(2)?,
        indexes: row.take(3)?,
        building: row.take(4)?,
    })
}

const FIND: &str = "SELECT instance_id, version, form, indexes, building FROM document_set WHERE id = $1";
const INSERT: &str = "INSERT INTO document_set (id, instance_id, version, form, indexes, building, created_at) \
    VALUES ($1, (SELECT id FROM instance WHERE id = $1), $2, 1, $3, '{}', $4) ON CONFLICT (id) DO NOTHING";
const ATTACH: &str =
    "UPDATE document_set SET instance_id = id WHERE id = $1 AND EXISTS (SELECT 1 FROM instance WHERE id = $1)";
const DISCARD: &str = "DELETE FROM document_set WHERE id = $1 AND instance_id IS NULL";
const DISCARD_OLD: &str = "DELETE FROM document_set WHERE instance_id IS NULL AND created_at <= $1 RETURNING id";
const LEASE: &str = "UPDATE document_set SET lease_holder = $2, lease_until = $4 \
    WHERE id = $1 AND (lease_holder IS NULL OR lease_holder = $2 OR lease_until <= $3) RETURNING id";
const RELEASE: &str =
    "UPDATE document_set SET lease_holder = NULL, lease_until = NULL WHERE id = $1 AND lease_holder = $2";
const SET_INDEXES: &str = "UPDATE document_set SET indexes = $3, building = $4, form = form + 1 \
    WHERE id = $1 AND lease_holder = $2 RETURNING form";
const STEP: &str = "UPDATE document_set SET version = $4, form = form + 1 \
    WHERE id = $1 AND lease_holder = $2 AND version = $3 RETURNING form";
