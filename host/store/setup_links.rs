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

/// Takes a link that has not expired and that nobody has taken. Of several at once one gets true.
///
/// # Errors
/// [`StoreError`].
pub async fn claim(db: &Db, token_hash: &[u8], until: i64, now_ms: i64) -> Result<bool, StoreError> {
    Ok(!db.write_one(CLAIM, values![token_hash.to_vec(), until, now_ms]).await?.is_empty())
}

/// Gives a link back.
///
/// # Errors
/// [`StoreError`].
pub async fn release(db: &Db, token_hash: &[u8]) -> Result<(), StoreError> {
    db.write_one(RELEASE, values![token_hash.to_vec()]).await.map(drop)
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
const CLAIM: &str = "UPDATE setup_link SET claimed_until = $2 \
    WHERE token_hash = $1 AND expires_at > $3 AND claimed_until <= $3 RETURNING place";
const RELEASE: &str = "UPDATE setup_link SET claimed_until = 0 WHERE token_hash = $1";
const DELETE: &str = "DELETE FROM setup_link";
const IS_HELD: &str = "SELECT record.user_id FROM user_scope AS held JOIN user_record AS record \
    ON record.user_id = held.user_id WHERE held.scope = $1 AND record.enabled = 1 LIMIT 1";
