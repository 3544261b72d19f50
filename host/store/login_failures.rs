//! The table `login_failure`.

use super::{Db, StoreError, values};

/// Until when a subject is locked; 0 means that it is not.
///
/// # Errors
/// [`StoreError`].
pub async fn locked_until(db: &Db, subject: &[u8], now_ms: i64) -> Result<i64, StoreError> {
    let rows = db.read(LOCKED_UNTIL, values![subject.to_vec(), now_ms]).await?;
    rows.into_iter().next().map_or(Ok(0), |mut row| row.take(0))
}

/// How failures of a subject are counted.
#[derive(Clone, Copy, Debug)]
pub struct Counting {
    /// At how many failures the subject is locked.
    pub failures_max: i64,
    /// How long, in milliseconds.
    pub lock_ms: i64,
    /// How long a count lives after its last failure, in milliseconds.
    pub keep_ms: i64,
    /// Whether a later failure lets the count live longer.
    pub extend: bool,
}

/// Counts a failure of a subject that is not locked, and locks it when that was one too many. Gives until when it is
/// locked now; 0 means that it is not.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &Db, subject: &[u8], counting: Counting, now_ms: i64) -> Result<i64, StoreError> {
    let Counting { failures_max, lock_ms, keep_ms, extend } = counting;
    let values = values![
        subject.to_vec(),
        now_ms,
        failures_max,
        now_ms.saturating_add(lock_ms),
        now_ms.saturating_add(keep_ms),
        extend,
    ];
    let rows = db.write_one(COUNT, values).await?;
    rows.into_iter().next().map_or(Ok(0), |mut row| row.take(0))
}

/// Forgets the failures of a subject unless it is locked, and gives until when it is; 0 means that it is not.
///
/// # Errors
/// [`StoreError`].
pub async fn forget(db: &Db, subject: &[u8], now_ms: i64) -> Result<i64, StoreError> {
    db.write_one(FORGET, values![subject.to_vec(), now_ms]).await?;
    locked_until(db, subject, now_ms).await
}

/// Deletes some of the rows that say nothing any more, and gives how many.
///
/// # Errors
/// [`StoreError`].
pub async fn purge(db: &Db, now_ms: i64) -> Result<usize, StoreError> {
    Ok(db.write_one(PURGE, values![now_ms]).await?.len())
}

const LOCKED_UNTIL: &str = "SELECT locked_until FROM login_failure WHERE subject = $1 AND locked_until > $2";
// A count that has expired begins anew, and so does one whose lock is over. A lock that holds is left as it is.
const COUNT: &str = "INSERT INTO login_failure (subject, failures, locked_until, expires_at) \
    VALUES ($1, 1, CASE WHEN CAST($3 AS BIGINT) <= 1 THEN CAST($4 AS BIGINT) ELSE 0 END, \
    CASE WHEN $3 <= 1 THEN $4 ELSE CAST($5 AS BIGINT) END) \
    ON CONFLICT (subject) DO UPDATE SET \
    failures = CASE WHEN login_failure.locked_until > $2 THEN login_failure.failures \
        WHEN login_failure.locked_until > 0 OR login_failure.expires_at <= $2 THEN 1 \
        ELSE login_failure.failures + 1 END, \
    locked_until = CASE WHEN login_failure.locked_until > $2 THEN login_failure.locked_until \
        WHEN login_failure.locked_until > 0 OR login_failure.expires_at <= $2 THEN excluded.locked_until \
        WHEN login_failure.failures + 1 >= $3 THEN $4 ELSE 0 END, \
    expires_at = CASE WHEN login_failure.locked_until > $2 THEN login_failure.expires_at \
        WHEN login_failure.locked_until > 0 OR login_failure.expires_at <= $2 THEN excluded.expires_at \
        WHEN login_failure.failures + 1 >= $3 THEN $4 \
        WHEN CAST($6 AS BIGINT) = 1 THEN $5 ELSE login_failure.expires_at END \
    RETURNING locked_until";
const FORGET: &str = "DELETE FROM login_failure WHERE subject = $1 AND locked_until <= $2";
const PURGE: &str = "DELETE FROM login_failure WHERE subject IN \
    (SELECT subject FROM login_failure WHERE expires_at <= $1 LIMIT 1000) RETURNING subject";
