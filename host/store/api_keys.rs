//! The table `api_key`.

use super::{Db, Row, Statement, StoreError, values};

/// A row, as it is stored.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0001_instances.sql")]
pub struct ApiKeyRow {
    pub id: String,
    pub name: String,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
    pub use_count: i64,
}

/// All rows in the order they were made.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db) -> Result<Vec<ApiKeyRow>, StoreError> {
    db.scan(LIST, values![]).await?.into_iter().map(read).collect()
}

/// The row of a hash.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, token_hash: &[u8]) -> Result<Option<ApiKeyRow>, StoreError> {
    db.read(FIND, values![token_hash.to_vec()]).await?.pop().map(read).transpose()
}

/// Adds a row that was never used.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(db: &Db, id: &str, name: &str, token_hash: &[u8], created_at: i64) -> Result<(), StoreError> {
    db.write_one(INSERT, values![id, name, token_hash.to_vec(), created_at]).await.map(drop)
}

/// How often a key was used since this was last stored.
#[derive(Clone, Debug)]
pub struct Uses {
    /// The key's id.
    pub id: String,
    /// How often.
    pub count: i64,
    /// When for the last time, in milliseconds since 1970.
    pub last_used_at: i64,
}

/// Adds to the counters. Keys that are gone are passed over.
///
/// # Errors
/// [`StoreError`].
pub async fn add_uses(db: &Db, uses: Vec<Uses>) -> Result<(), StoreError> {
    let statement = |uses: Uses| Statement { sql: ADD_USES, values: values![uses.id, uses.count, uses.last_used_at] };
    db.write(uses.into_iter().map(statement).collect()).await.map(drop)
}

/// Deletes a row. False means that there was none.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, id: &str) -> Result<bool, StoreError> {
    Ok(!db.write_one(DELETE, values![id]).await?.is_empty())
}

fn read(mut row: Row) -> Result<ApiKeyRow, StoreError> {
    Ok(ApiKeyRow {
        id: row.take(0)?,
        name: row.take(1)?,
        created_at: row.take(2)?,
        last_used_at: row.take(3)?,
        use_count: row.take(4)?,
    })
}

const LIST: &str = "SELECT id, name, created_at, last_used_at, use_count FROM api_key ORDER BY id";
const FIND: &str = "SELECT id, name, created_at, last_used_at, use_count FROM api_key WHERE token_hash = $1";
const INSERT: &str =
    "INSERT INTO api_key (id, name, token_hash, created_at, last_used_at, use_count) VALUES ($1, $2, $3, $4, NULL, 0)";
const ADD_USES: &str = "UPDATE api_key SET use_count = use_count + $2, \
    last_used_at = CASE WHEN last_used_at > $3 THEN last_used_at ELSE $3 END WHERE id = $1";
const DELETE: &str = "DELETE FROM api_key WHERE id = $1 RETURNING id";
