//! The table `audit_event`.

use super::{Db, Row, Statement, StoreError, Transaction, values};

/// A row, as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in migrations/0015_audit.sql")]
pub struct AuditRow {
    pub id: String,
    pub at: i64,
    pub actor_kind: String,
    pub actor: String,
    pub actor_id: String,
    pub peer: String,
    pub action: String,
    pub object_kind: String,
    pub object_id: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub request_id: String,
    pub outcome: String,
    pub detail: String,
}

/// Which rows are looked for; the empty text matches all.
#[derive(Clone, Debug)]
pub struct AuditFilter {
    /// The actor's name.
    pub actor: String,
    /// The action, or what it begins with up to a dot.
    pub action: String,
    /// The kind of object.
    pub object_kind: String,
    /// The object.
    pub object_id: String,
    /// No earlier than this.
    pub from: i64,
    /// No later than this.
    pub to: i64,
    /// Only those before the row of this id.
    pub before_id: String,
    /// How many of the newest are left out.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

/// What became of an act.
#[derive(Clone, Debug)]
pub struct AuditEnd {
    /// The row.
    pub id: String,
    /// What it was done to, where nobody knew that before.
    pub object_id: Option<String>,
    /// The object after it, as JSON.
    pub after: Option<String>,
    /// `done`, `refused` or `failed`.
    pub outcome: &'static str,
    /// Why.
    pub detail: String,
}

/// Adds a row.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(db: &Db, row: AuditRow) -> Result<(), StoreError> {
    db.write_one(INSERT, bound(row)).await.map(drop)
}

/// Adds a row with what it tells of.
///
/// # Errors
/// [`StoreError`].
pub async fn insert_inside(transaction: &Transaction<'_>, row: AuditRow) -> Result<(), StoreError> {
    transaction.run(INSERT, bound(row)).await.map(drop)
}

/// Says what became of an act.
///
/// # Errors
/// [`StoreError`].
pub async fn end(db: &Db, end: AuditEnd) -> Result<(), StoreError> {
    let AuditEnd { id, object_id, after, outcome, detail } = end;
    let mut statements =
        vec![Statement { sql: END, values: values![id.as_str(), after.as_deref(), outcome, detail.as_str()] }];
    if let Some(object_id) = object_id {
        statements.push(Statement { sql: SET_OBJECT, values: values![id, object_id] });
    }
    db.write(statements).await.map(drop)
}

/// The newest rows that match, the newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, filter: AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
    let AuditFilter { actor, action, object_kind, object_id, from, to, before_id, offset, limit } = filter;
    let values = values![actor, action, object_kind, object_id, from, to, before_id, limit, offset];
    db.scan(LIST, values).await?.into_iter().map(read).collect()
}

/// Deletes the rows before a time, some thousand at a time. Gives how many it deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn purge(db: &Db, before: i64) -> Result<usize, StoreError> {
    Ok(db.write_one(PURGE, values![before, PURGE_MAX]).await?.len())
}

/// So many rows are deleted in one go, so that nobody waits long behind it.
pub const PURGE_MAX: i64 = 5_000;

fn bound(row: AuditRow) -> Vec<super::Value> {
    values![
        row.id,
        row.at,
        row.actor_kind,
        row.actor,
        row.actor_id,
        row.peer,
        row.action,
        row.object_kind,
        row.object_id,
        row.before.as_deref(),
        row.after.as_deref(),
        row.request_id,
        row.outcome,
        row.detail,
    ]
}

fn read(mut row: Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        id: row.take(0)?,
        at: row.take(1)?,
        actor_kind: row.take(2)?,
        actor: row.take(3)?,
        actor_id: row.take(4)?,
        peer: row.take(5)?,
        action: row.take(6)?,
        object_kind: row.take(7)?,
        object_id: row.take(8)?,
        before: row.take(9)?,
        after: row.take(10)?,
        request_id: row.take(11)?,
        outcome: row.take(12)?,
        detail: row.take(13)?,
    })
}

const INSERT: &str = "INSERT INTO audit_event \
    (id, at, actor_kind, actor, actor_id, peer, action, object_kind, object_id, before, after, request_id, outcome, \
    detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const END: &str = "UPDATE audit_event SET after = $2, outcome = $3, detail = $4 WHERE id = $1";
const SET_OBJECT: &str = "UPDATE audit_event SET object_id = $2 WHERE id = $1";
const LIST: &str = "SELECT id, at, actor_kind, actor, actor_id, peer, action, object_kind, object_id, before, after, \
    request_id, outcome, detail FROM audit_event \
    WHERE ($1 = '' OR actor = $1) AND ($2 = '' OR action = $2 OR action LIKE $2 || '.%') \
    AND ($3 = '' OR object_kind = $3) AND ($4 = '' OR object_id = $4) AND at >= $5 AND at <= $6 \
    AND ($7 = '' OR id < $7) ORDER BY id DESC LIMIT $8 OFFSET $9";
const PURGE: &str = "DELETE FROM audit_event WHERE id IN \
    (SELECT id FROM audit_event WHERE at < $1 ORDER BY at LIMIT $2) RETURNING id";
