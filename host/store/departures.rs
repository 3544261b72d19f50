//! The table `departure`.

use super::{Db, Row, StoreError, Transaction, values};

/// Somebody who was deleted, and whom not everybody has forgotten yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns are described in migrations/0014_departures.sql")]
pub struct DepartureRow {
    pub username: String,
    pub user_id: String,
    pub remains: Option<String>,
    pub blocks: bool,
}

/// Notes that somebody is gone and that nothing was done about it yet.
///
/// # Errors
/// [`StoreError`].
pub async fn put(transaction: &Transaction<'_>, username: &str, user_id: &str, now_ms: i64) -> Result<(), StoreError> {
    transaction.run(PUT, values![username, user_id, now_ms]).await.map(drop)
}

/// Whether a name may be given to nobody yet.
///
/// # Errors
/// [`StoreError`].
pub async fn blocks(transaction: &Transaction<'_>, username: &str) -> Result<bool, StoreError> {
    Ok(!transaction.run(BLOCKS, values![username]).await?.is_empty())
}

/// What is left to do of a name.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, username: &str) -> Result<Option<DepartureRow>, StoreError> {
    db.read(FIND, values![username]).await?.pop().map(read).transpose()
}

/// The names after one that may be given to nobody yet.
///
/// # Errors
/// [`StoreError`].
pub async fn list_blocking(db: &Db, after: &str, limit: i64) -> Result<Vec<DepartureRow>, StoreError> {
    db.scan(LIST_BLOCKING, values![after, limit]).await?.into_iter().map(read).collect()
}

/// The names after one that an instance is still to be told of; others may be among them whose instance's key is alike.
///
/// # Errors
/// [`StoreError`].
pub async fn list_of(db: &Db, key: &str, after: &str, limit: i64) -> Result<Vec<DepartureRow>, StoreError> {
    db.scan(LIST_OF, values![after, limit, format!("%\"{key}\"%")]).await?.into_iter().map(read).collect()
}

/// Lets a name be given to nobody, unless somebody else of the name went meanwhile.
///
/// # Errors
/// [`StoreError`].
pub async fn block(transaction: &Transaction<'_>, row: &DepartureRow) -> Result<(), StoreError> {
    transaction.run(BLOCK, values![row.username.as_str(), row.user_id.as_str()]).await.map(drop)
}

/// Writes what is left to do, unless somebody else of the name went meanwhile.
///
/// # Errors
/// [`StoreError`].
pub async fn set(db: &Db, row: &DepartureRow) -> Result<(), StoreError> {
    let DepartureRow { username, user_id, remains, blocks } = row;
    db.write_one(SET, values![username.as_str(), user_id.as_str(), remains.as_deref(), *blocks]).await.map(drop)
}

/// Nothing is left to do, unless somebody else of the name went meanwhile.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, row: &DepartureRow) -> Result<(), StoreError> {
    db.write_one(DELETE, values![row.username.as_str(), row.user_id.as_str()]).await.map(drop)
}

fn read(mut row: Row) -> Result<DepartureRow, StoreError> {
    Ok(DepartureRow { username: row.take(0)?, user_id: row.take(1)?, remains: row.take(2)?, blocks: row.take(3)? })
}

const PUT: &str = "INSERT INTO departure (username, user_id, remains, blocks, departed_at) VALUES ($1, $2, NULL, 1, $3) \
    ON CONFLICT (username) DO UPDATE SET user_id = excluded.user_id, remains = NULL, blocks = 1, \
    departed_at = excluded.departed_at";
const BLOCKS: &str = "SELECT username FROM departure WHERE username = $1 AND blocks = 1";
const FIND: &str = "SELECT username, user_id, remains, blocks FROM departure WHERE username = $1";
const LIST_BLOCKING: &str = "SELECT username, user_id, remains, blocks FROM departure \
    WHERE blocks = 1 AND username > $1 ORDER BY username LIMIT $2";
const LIST_OF: &str = "SELECT username, user_id, remains, blocks FROM departure \
    WHERE username > $1 AND (remains IS NULL OR remains LIKE $3) ORDER BY username LIMIT $2";
const BLOCK: &str = "UPDATE departure SET blocks = 1 WHERE username = $1 AND user_id = $2";
const SET: &str = "UPDATE departure SET remains = $3, blocks = $4 WHERE username = $1 AND user_id = $2";
const DELETE: &str = "DELETE FROM departure WHERE username = $1 AND user_id = $2";
