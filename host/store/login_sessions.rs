//! The tables `login_session`, `login_session_user` and `login_proof`.

use super::{Db, Row, Statement, StoreError, Transaction, values};

/// A session with one of its users; there is a row for each.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct MemberRow {
    pub session_id: String,
    pub user_id: String,
    pub username: String,
}

/// A session as its users see it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct SessionRow {
    pub id: String,
    pub user_agent: String,
    pub peer: String,
    pub created_at: i64,
    pub expires_at: i64,
}

/// A proof of one user in one session.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct ProofRow {
    pub scheme: String,
    pub proved_at: i64,
    pub use_count: i64,
}

/// The users of a session that has not expired, the current one first; none when there is no such session.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, cookie_hash: &[u8], now_ms: i64) -> Result<Vec<MemberRow>, StoreError> {
    let mut members = Vec::new();
    for mut row in db.recall(FIND, values![cookie_hash.to_vec()]).await? {
        if row.take::<i64>(3)? > now_ms {
            members.push(read_member(row)?);
        }
    }
    Ok(members)
}

/// The id of a session that has not expired.
///
/// # Errors
/// [`StoreError`].
pub async fn find_id(
    transaction: &Transaction<'_>,
    cookie_hash: &[u8],
    now_ms: i64,
) -> Result<Option<String>, StoreError> {
    let rows = transaction.run(FIND_ID, values![cookie_hash.to_vec(), now_ms]).await?;
    rows.into_iter().next().map(|mut row| row.take(0)).transpose()
}

/// Adds a session without users.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(transaction: &Transaction<'_>, cookie_hash: &[u8], row: &SessionRow) -> Result<(), StoreError> {
    let SessionRow { id, user_agent, peer, created_at, expires_at } = row;
    let values =
        values![id.as_str(), cookie_hash.to_vec(), user_agent.as_str(), peer.as_str(), *created_at, *expires_at,];
    transaction.run(INSERT, values).await.map(drop)
}

/// Stores that a user proved something: the user is the current one, and the session lives until `expires_at`.
///
/// # Errors
/// [`StoreError::Reference`] where there is no such user or session, or another.
pub async fn prove(
    transaction: &Transaction<'_>,
    session_id: &str,
    user_id: &str,
    scheme: &str,
    proved_at: i64,
    expires_at: i64,
) -> Result<(), StoreError> {
    transaction.run(EXTEND, values![session_id, expires_at]).await?;
    transaction.run(JOIN, values![session_id, user_id]).await?;
    transaction.run(PROVE, values![session_id, user_id, scheme, proved_at]).await.map(drop)
}

/// Gives a session that has not expired another cookie. False means that there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn exchange_cookie(db: &Db, old: &[u8], new: &[u8], now_ms: i64) -> Result<bool, StoreError> {
    Ok(!db.write_one(EXCHANGE_COOKIE, values![old.to_vec(), new.to_vec(), now_ms]).await?.is_empty())
}

/// Makes a user of a session its current one. False means that the session has no such user.
///
/// # Errors
/// [`StoreError`].
pub async fn choose(db: &Db, session_id: &str, user_id: &str) -> Result<bool, StoreError> {
    Ok(!db.write_one(CHOOSE, values![session_id, user_id]).await?.is_empty())
}

/// Takes a user with their proofs out of a session, which ends with its last user. False means that the session has no
/// such user.
///
/// # Errors
/// [`StoreError`].
pub async fn leave(db: &Db, session_id: &str, user_id: &str) -> Result<bool, StoreError> {
    let statements = vec![
        Statement { sql: LEAVE, values: values![session_id, user_id] },
        Statement { sql: DELETE_EMPTY, values: values![session_id] },
    ];
    Ok(db.write(statements).await?.first().is_some_and(|left| !left.is_empty()))
}

/// Takes a user with their proofs out of all sessions but one, which may be none; those end that have no other user.
///
/// # Errors
/// [`StoreError`].
pub async fn leave_others(transaction: &Transaction<'_>, user_id: &str, keep: &str) -> Result<(), StoreError> {
    for mut row in transaction.run(LEAVE_OTHERS, values![user_id, keep]).await? {
        transaction.run(DELETE_EMPTY, values![row.take::<String>(0)?]).await?;
    }
    Ok(())
}

/// Deletes a session. False means that there was none.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, session_id: &str) -> Result<bool, StoreError> {
    Ok(!db.write_one(DELETE, values![session_id]).await?.is_empty())
}

/// The sessions of a user that have not expired, in the order they were made, each with the user's last proof in it.
///
/// # Errors
/// [`StoreError`].
pub async fn list_of_user(db: &Db, user_id: &str, now_ms: i64) -> Result<Vec<(SessionRow, i64)>, StoreError> {
    let read = |mut row: Row| {
        let proved_at = row.take(5)?;
        Ok((read_session(row)?, proved_at))
    };
    db.scan(LIST_OF_USER, values![user_id, now_ms]).await?.into_iter().map(read).collect()
}

/// The proofs of a user in a session.
///
/// # Errors
/// [`StoreError`].
pub async fn proofs(db: &Db, session_id: &str, user_id: &str) -> Result<Vec<ProofRow>, StoreError> {
    db.recall(PROOFS, values![session_id, user_id]).await?.into_iter().map(read_proof).collect()
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn proofs_inside(
    transaction: &Transaction<'_>,
    session_id: &str,
    user_id: &str,
) -> Result<Vec<ProofRow>, StoreError> {
    transaction.run(PROOFS, values![session_id, user_id]).await?.into_iter().map(read_proof).collect()
}

/// Counts a use of a proof.
///
/// # Errors
/// [`StoreError`].
pub async fn count_use(
    transaction: &Transaction<'_>,
    session_id: &str,
    user_id: &str,
    scheme: &str,
) -> Result<(), StoreError> {
    transaction.run(COUNT_USE, values![session_id, user_id, scheme]).await.map(drop)
}

/// Deletes some of the sessions that have expired, and gives how many.
///
/// # Errors
/// [`StoreError`].
pub async fn purge(db: &Db, now_ms: i64) -> Result<usize, StoreError> {
    Ok(db.write_one(PURGE, values![now_ms]).await?.len())
}

fn read_member(mut row: Row) -> Result<MemberRow, StoreError> {
    Ok(MemberRow { session_id: row.take(0)?, user_id: row.take(1)?, username: row.take(2)? })
}

fn read_session(mut row: Row) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        id: row.take(0)?,
        user_agent: row.take(1)?,
        peer: row.take(2)?,
        created_at: row.take(3)?,
        expires_at: row.take(4)?,
    })
}

fn read_proof(mut row: Row) -> Result<ProofRow, StoreError> {
    Ok(ProofRow { scheme: row.take(0)?, proved_at: row.take(1)?, use_count: row.take(2)? })
}

const FIND: &str = "SELECT session.id, member.user_id, identity.username, session.expires_at \
    FROM login_session AS session \
    JOIN login_session_user AS member ON member.session_id = session.id \
    JOIN user_identity AS identity ON identity.id = member.user_id \
    WHERE session.cookie_hash = $1 ORDER BY member.chosen DESC, member.user_id";
const FIND_ID: &str = "SELECT id FROM login_session WHERE cookie_hash = $1 AND expires_at > $2";
const INSERT: &str = "INSERT INTO login_session (id, cookie_hash, user_agent, peer, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6)";
const EXTEND: &str = "UPDATE login_session SET expires_at = $2 WHERE id = $1";
const JOIN: &str = "INSERT INTO login_session_user (session_id, user_id, chosen) VALUES ($1, $2, \
    (SELECT COALESCE(MAX(chosen), 0) + 1 FROM login_session_user WHERE session_id = $1)) \
    ON CONFLICT (session_id, user_id) DO UPDATE SET chosen = excluded.chosen";
const PROVE: &str = "INSERT INTO login_proof (session_id, user_id, scheme, proved_at, use_count) \
    VALUES ($1, $2, $3, $4, 0) ON CONFLICT (session_id, user_id, scheme) \
    DO UPDATE SET proved_at = excluded.proved_at, use_count = 0";
const EXCHANGE_COOKIE: &str =
    "UPDATE login_session SET cookie_hash = $2 WHERE cookie_hash = $1 AND expires_at > $3 RETURNING id";
const CHOOSE: &str = "UPDATE login_session_user SET chosen = \
    (SELECT COALESCE(MAX(other.chosen), 0) + 1 FROM login_session_user AS other WHERE other.session_id = $1) \
    WHERE session_id = $1 AND user_id = $2 RETURNING user_id";
const LEAVE: &str = "DELETE FROM login_session_user WHERE session_id = $1 AND user_id = $2 RETURNING user_id";
const LEAVE_OTHERS: &str =
    "DELETE FROM login_session_user WHERE user_id = $1 AND session_id <> $2 RETURNING session_id";
const DELETE_EMPTY: &str = "DELETE FROM login_session WHERE id = $1 \
    AND NOT EXISTS (SELECT 1 FROM login_session_user WHERE session_id = $1)";
const DELETE: &str = "DELETE FROM login_session WHERE id = $1 RETURNING id";
const LIST_OF_USER: &str = "SELECT session.id, session.user_agent, session.peer, session.created_at, \
    session.expires_at, CAST(COALESCE((SELECT MAX(proof.proved_at) FROM login_proof AS proof \
    WHERE proof.session_id = session.id AND proof.user_id = $1), session.created_at) AS BIGINT) \
    FROM login_session AS session JOIN login_session_user AS member ON member.session_id = session.id \
    WHERE member.user_id = $1 AND session.expires_at > $2 ORDER BY session.id";
const PROOFS: &str =
    "SELECT scheme, proved_at, use_count FROM login_proof WHERE session_id = $1 AND user_id = $2 ORDER BY scheme";
const COUNT_USE: &str = "UPDATE login_proof SET use_count = use_count + 1 \
    WHERE session_id = $1 AND user_id = $2 AND scheme = $3";
const PURGE: &str = "DELETE FROM login_session WHERE id IN \
    (SELECT id FROM login_session WHERE expires_at <= $1 LIMIT 1000) RETURNING id";
