//! The table `misc_config`.

use super::{Db, Row, StoreError, values};

/// A row, as it is stored.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0013_administration.sql")]
pub struct MiscRow {
    pub name: String,
    pub kind: String,
    pub value: String,
}

/// A page of those whose `search` is like a pattern, by name; `\` escapes in the pattern.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, like: &str, offset: i64, limit: i64) -> Result<Vec<MiscRow>, StoreError> {
    db.scan(LIST, values![like, offset, limit]).await?.into_iter().map(read).collect()
}

/// The row of a name.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, name: &str) -> Result<Option<MiscRow>, StoreError> {
    db.read(FIND, values![name]).await?.pop().map(read).transpose()
}

/// Adds a row, or replaces that of the same name.
///
/// # Errors
/// [`StoreError`].
pub async fn put(db: &Db, row: &MiscRow, search: &str) -> Result<(), StoreError> {
    let values = values![row.name.as_str(), row.kind.as_str(), row.value.as_str(), search];
    db.write_one(PUT, values).await.map(drop)
}

/// Deletes a row. False means that there was none.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, name: &str) -> Result<bool, StoreError> {
    Ok(!db.write_one(DELETE, values![name]).await?.is_empty())
}

fn read(mut row: Row) -> Result<MiscRow, StoreError> {
    Ok(MiscRow { name: row.take(0)?, kind: row.take(1)?, value: row.take(2)? })
}

const LIST: &str = "SELECT name, type, value FROM misc_config WHERE search LIKE $1 ESCAPE '\\' \
    ORDER BY name LIMIT $3 OFFSET $2";
const FIND: &str = "SELECT name, type, value FROM misc_config WHERE name = $1";
const PUT: &str = "INSERT INTO misc_config (name, type, value, search) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (name) DO UPDATE SET type = excluded.type, value = excluded.value, search = excluded.search";
const DELETE: &str = "DELETE FROM misc_config WHERE name = $1 RETURNING name";
