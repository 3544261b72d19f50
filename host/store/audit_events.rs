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
    /// Only those from this id on. Ids are in the order of time.
    pub from_id: String,
    /// Only those before this id.
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
    let sql = filter.statement();
    let AuditFilter { actor, action, object_kind, object_id, from_id, before_id, offset, limit } = filter;
    let values = values![actor, action, object_kind, object_id, from_id, before_id, limit, offset];
    db.scan(sql, values).await?.into_iter().map(read).collect()
}

impl AuditFilter {
    /// The statement that begins with the index by which fewest rows are looked at: neither engine finds it behind a
    /// condition that may not count.
    fn statement(&self) -> &'static str {
        match self {
            Self { object_id, .. } if !object_id.is_empty() => OF_OBJECT,
            Self { actor, .. } if !actor.is_empty() => OF_ACTOR,
            Self { action, .. } if action.contains('.') => OF_ACTION,
            Self { object_kind, .. } if !object_kind.is_empty() => OF_KIND,
            Self { action, .. } if !action.is_empty() => OF_ACTIONS,
            _ => LIST,
        }
    }
}

/// Takes a row out again.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, id: &str) -> Result<(), StoreError> {
    db.write_one(DELETE, values![id]).await.map(drop)
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
/// The newest rows for which this holds, and all that is asked for.
macro_rules! list {
    ($($first:literal)?) => {
        concat!(
            "SELECT id, at, actor_kind, actor, actor_id, peer, action, object_kind, object_id, before, after, request_id, \
             outcome, detail FROM audit_event WHERE ",
            $($first, " AND ",)?
            "($1 = '' OR actor = $1) AND ($2 = '' OR action = $2 OR action LIKE $2 || '.%') \
             AND ($3 = '' OR object_kind = $3) AND ($4 = '' OR object_id = $4) AND id >= $5 AND id < $6 \
             ORDER BY id DESC LIMIT $7 OFFSET $8"
        )
    };
}

const LIST: &str = list!();
const OF_OBJECT: &str = list!("object_kind = $3 AND object_id = $4");
const OF_ACTOR: &str = list!("actor = $1");
const OF_ACTION: &str = list!("action = $2");
const OF_KIND: &str = list!("object_kind = $3");
/// `/` follows `.`: all actions that begin with this one and a dot are between the two.
const OF_ACTIONS: &str =
    list!("id IN (SELECT id FROM audit_event WHERE action >= $2 AND action < $2 || '/' AND id >= $5 AND id < $6)");
const DELETE: &str = "DELETE FROM audit_event WHERE id = $1";
const PURGE: &str = "DELETE FROM audit_event WHERE id IN \
    (SELECT id FROM audit_event WHERE at < $1 ORDER BY at LIMIT $2) RETURNING id";

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite goes about a query.
    async fn plan(db: &Db, filter: AuditFilter) -> String {
        let sql: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {}", filter.statement()).into_boxed_str());
        let AuditFilter { actor, action, object_kind, object_id, from_id, before_id, offset, limit } = filter;
        let values = values![actor, action, object_kind, object_id, from_id, before_id, limit, offset];
        let lines = db.read(sql, values).await.unwrap().into_iter();
        lines.map(|mut row| row.take::<String>(3).unwrap()).collect::<Vec<_>>().join("; ")
    }

    #[tokio::test]
    async fn what_is_asked_for_is_looked_up() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open("sqlite", directory.path(), 0).await.unwrap();
        let all = || AuditFilter {
            actor: String::new(),
            action: String::new(),
            object_kind: String::new(),
            object_id: String::new(),
            from_id: String::new(),
            before_id: "~".to_owned(),
            limit: 10,
            offset: 0,
        };
        let (user, anna) = ("user".to_owned(), "anna".to_owned());
        for (filter, index) in [
            (all(), "sqlite_autoindex_audit_event_1 (id>? AND id<?)"),
            (AuditFilter { actor: anna.clone(), ..all() }, "audit_event_actor (actor=? AND id>? AND id<?)"),
            (AuditFilter { action: "user.add".into(), ..all() }, "audit_event_action (action=? AND id>? AND id<?)"),
            (AuditFilter { action: user.clone(), ..all() }, "audit_event_action (action>? AND action<?)"),
            (AuditFilter { object_kind: user.clone(), ..all() }, "audit_event_kind (object_kind=? AND id>? AND id<?)"),
            (
                AuditFilter { object_kind: user, object_id: anna, ..all() },
                "audit_event_object (object_kind=? AND object_id=? AND id>? AND id<?)",
            ),
        ] {
            let plan = plan(&db, filter.clone()).await;
            assert!(plan.contains(index), "{filter:?}: {plan}");
            assert!(!plan.contains("SCAN audit_event"), "{filter:?}: {plan}");
            // Only of a word without its second part the entries found are sorted, by their ids alone.
            let sorts = plan.contains("TEMP B-TREE");
            assert!(!sorts || filter.action == "user", "{filter:?}: {plan}");
        }
        db.close().await;
    }
}
