//! The table `api_key`.

use super::{Db, Row, Statement, StoreError, values};

/// A row, as it is stored.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0001_instances.sql")]
pub struct ApiKeyRow {
    pub id: String,
    pub name: String,
    pub token_hash: Vec<u8>,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
    pub use_count: i64,
    pub expires_at: Option<i64>,
    pub owner: Option<OwnerRow>,
}

/// Whose a key is, and how it came to be.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0013_administration.sql")]
pub struct OwnerRow {
    pub user_id: String,
    pub username: String,
    pub issued_for: String,
    pub user_agent: String,
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
/// [`StoreError::Reference`] where there is no such user, or another.
pub async fn insert(
    db: &Db,
    id: &str,
    name: &str,
    token_hash: &[u8],
    owner: Option<&OwnerRow>,
    created_at: i64,
    expires_at: Option<i64>,
) -> Result<(), StoreError> {
    let values = values![
        id,
        name,
        token_hash.to_vec(),
        created_at,
        owner.map(|owner| owner.user_id.as_str()),
        owner.map_or("", |owner| owner.issued_for.as_str()),
        owner.map_or("", |owner| owner.user_agent.as_str()),
        expires_at,
    ];
    db.write_one(INSERT, values).await.map(drop)
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

/// Deletes the rows that ended before a time.
///
/// # Errors
/// [`StoreError`].
pub async fn purge(db: &Db, ended_before: i64) -> Result<(), StoreError> {
    db.write_one(PURGE, values![ended_before]).await.map(drop)
}

fn read(mut row: Row) -> Result<ApiKeyRow, StoreError> {
    let user_id: Option<String> = row.take(6)?;
    let owner = match user_id {
        Some(user_id) => {
            Some(OwnerRow { user_id, username: row.take(7)?, issued_for: row.take(8)?, user_agent: row.take(9)? })
        }
        None => None,
    };
    Ok(ApiKeyRow {
        id: row.take(0)?,
        name: row.take(1)?,
        token_hash: row.take(2)?,
        created_at: row.take(3)?,
        last_used_at: row.take(4)?,
        use_count: row.take(5)?,
        expires_at: row.take(10)?,
        owner,
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT api_key.id, api_key.name, api_key.token_hash, api_key.created_at, api_key.last_used_at, \
             api_key.use_count, api_key.user_id, identity.username, api_key.issued_for, api_key.user_agent, api_key.expires_at \
             FROM api_key LEFT JOIN user_identity AS identity ON identity.id = api_key.user_id ",
            $rest
        )
    };
}

const LIST: &str = select!("ORDER BY api_key.id");
const FIND: &str = select!("WHERE api_key.token_hash = $1");
const INSERT: &str = "INSERT INTO api_key \
    (id, name, token_hash, created_at, last_used_at, use_count, user_id, issued_for, user_agent, \
    expires_at) VALUES ($1, $2, $3, $4, NULL, 0, $5, $6, $7, $8)";
const ADD_USES: &str = "UPDATE api_key SET use_count = use_count + $2, \
    last_used_at = CASE WHEN last_used_at > $3 THEN last_used_at ELSE $3 END WHERE id = $1";
const PURGE: &str = "DELETE FROM api_key WHERE expires_at < $1";
const DELETE: &str = "DELETE FROM api_key WHERE id = $1 RETURNING id";
