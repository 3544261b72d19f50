//! The table `setup_link`, and whether anybody administers.

use super::{Db, StoreError, values};

/// Puts a link in the place of the one that there was.
///
/// # Errors
/// [`StoreError`].
pub async fn replace(db: &Db, token_hash: &[u8], expires_at: i64) -> Result<(), StoreError> {
    db.write_one(REPLACE, values![token_hash.to_vec(), expires_at]).await.map(drop)
}

/// Whether there is such a link that has not expired.
///
/// # Errors
/// [`StoreError`].
pub async fn is_open(db: &Db, token_hash: &[u8], now_ms: i64) -> Result<bool, StoreError> {
    Ok(!db.read(IS_OPEN, values![token_hash.to_vec(), now_ms]).await?.is_empty())
}

/// Whether there is any link that has not expired.
///
/// # Errors
/// [`StoreError`].
pub async fn is_any_open(db: &Db, now_ms: i64) -> Result<bool, StoreError> {
    Ok(!db.read(IS_ANY_OPEN, values![now_ms]).await?.is_empty())
}

/// Takes a link that has not expired away, and gives when it would have. Of several at once one gets it.
///
/// # Errors
/// [`StoreError`].
pub async fn claim(db: &Db, token_hash: &[u8], now_ms: i64) -> Result<Option<i64>, StoreError> {
    db.write_one(CLAIM, values![token_hash.to_vec(), now_ms]).await?.pop().map(|mut row| row.take(0)).transpose()
}

/// Gives a link back, unless there is another by now.
///
/// # Errors
/// [`StoreError`].
pub async fn release(db: &Db, token_hash: &[u8], expires_at: i64) -> Result<(), StoreError> {
    db.write_one(RELEASE, values![token_hash.to_vec(), expires_at]).await.map(drop)
}

/// Deletes the link, if there is one.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db) -> Result<(), StoreError> {
    db.write_one(DELETE, values![]).await.map(drop)
}

/// Whether somebody who may log in has a scope.
///
/// # Errors
/// [`StoreError`].
pub async fn is_held(db: &Db, scope: &str) -> Result<bool, StoreError> {
    Ok(!db.read(IS_HELD, values![scope]).await?.is_empty())
}

const REPLACE: &str = "INSERT INTO setup_link (place, token_hash, expires_at, claimed_until) VALUES (1, $1, $2, 0) \
    ON CONFLICT (place) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at, \
    claimed_until = 0";
const IS_OPEN: &str = "SELECT place FROM setup_link WHERE token_hash = $1 AND expires_at > $2";
const IS_ANY_OPEN: &str = "SELECT place FROM setup_link WHERE expires_at > $1";
const CLAIM: &str = "DELETE FROM setup_link WHERE token_hash = $1 AND expires_at > $2 RETURNING expires_at";
const RELEASE: &str = "INSERT INTO setup_link (place, token_hash, expires_at, claimed_until) VALUES (1, $1, $2, 0) \
    ON CONFLICT (place) DO NOTHING";
const DELETE: &str = "DELETE FROM setup_link";
const IS_HELD: &str = "SELECT record.user_id FROM user_scope AS held JOIN user_record AS record \
    ON record.user_id = held.user_id WHERE held.scope = $1 AND record.enabled = 1 LIMIT 1";
