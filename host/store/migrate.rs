//! Brings a database to the schema of this Porth, once, whoever starts first.
//!
//! Start at [`migrate_sqlite`] and [`migrate_postgres`]. A version is a file in `migrations/`, the same for both engines
//! but for a few tokens, and is never changed after a release. The table `porth_ledger` records which versions a
//! database has, with the files' checksums, by owner: plug-ins that ship with Porth may bring versions of their own.
//!
//! The runner is our own because refinery 0.10, which fits the drivers, panics on a damaged ledger row, takes no lock
//! and begins its own transactions, so that none can be held around checks and changes on SQLite, and knows no owner:
//! what would have to be built around it is longer than this.

use std::fmt::Display;

use deadpool_postgres::{GenericClient, Object};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sha2::{Digest, Sha256};

use super::{OpenError, Row, StoreError, Value, postgres, sqlite, values};

/// Which text a token stands for.
#[derive(Clone, Copy)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// What is still to be done to a database.
struct Step {
    version: i64,
    sql: String,
    /// What the ledger gets; the step that makes the ledger is not in it.
    checksum: Option<String>,
}

/// Refuses a file that is not Porth's, without changing it.
pub(super) fn look(connection: &mut Connection, database: &str) -> Result<(), OpenError> {
    let transaction = connection.transaction().map_err(|error| not_opened(database, &error))?;
    check_file(&transaction, database).map(drop)
}

/// The schema's version of a file; refuses one that is not Porth's, newer than this Porth, or damaged.
pub(super) fn version(connection: &mut Connection, database: &str) -> Result<i64, OpenError> {
    let transaction = connection.transaction().map_err(|error| not_opened(database, &error))?;
    if check_file(&transaction, database)? {
        return Err(OpenError::Foreign { database: database.to_owned(), reason: "it is empty".to_owned() });
    }
    let ledger = || sqlite::query(&transaction, LEDGER_READ, &[]).map_err(|error| unreadable(database, &error));
    steps(database, Some(ledger()?), Dialect::Sqlite)?;
    let last = ledger()?.pop().map(|mut row| row.take::<i64>(0)).transpose();
    Ok(last.map_err(|error| damaged(database, &error))?.unwrap_or_default())
}

/// Refuses a file that is not Porth's, and says whether it is empty. In a transaction, since another process may fill the
/// file between two looks.
fn check_file(connection: &Transaction<'_>, database: &str) -> Result<bool, OpenError> {
    let foreign = |reason: String| OpenError::Foreign { database: database.to_owned(), reason };
    let id = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0));
    let id = id.map_err(|error| not_opened(database, &error))?;
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name LIMIT 1";
    let table = first_text(sqlite::query(connection, tables, &[])).map_err(|error| unreadable(database, &error))?;
    match (id, table) {
        (APPLICATION_ID, _) => Ok(false),
        (0, None) => Ok(true),
        (0, Some(table)) => Err(foreign(format!("it holds a table `{table}`"))),
        (id, _) => Err(foreign(format!("its application_id is {id:#x}"))),
    }
}

/// Why SQLite could not look into the file.
pub(super) fn not_opened(database: &str, error: &rusqlite::Error) -> OpenError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        let reason = "it is no SQLite file".to_owned();
        return OpenError::Foreign { database: database.to_owned(), reason };
    }
    unreachable(database, error)
}

/// Brings a SQLite file to the newest version, or, without a time, makes sure that it is.
pub(super) fn migrate_sqlite(
    connection: &mut Connection,
    database: &str,
    now_ms: Option<i64>,
) -> Result<(), OpenError> {
    sqlite::be_patient(connection, PATIENCE_MS).map_err(|error| unreachable(database, &error))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = transaction.map_err(|error| unreachable(database, &error))?;

    let empty = check_file(&transaction, database)?;
    let ledger = if empty { Ok(None) } else { sqlite::query(&transaction, LEDGER_READ, &[]).map(Some) };
    let ledger = ledger.map_err(|error| unreadable(database, &error))?;
    for step in steps(database, ledger, Dialect::Sqlite)? {
        let now_ms = now_ms.ok_or_else(|| step.not_allowed(database))?;
        transaction.execute_batch(&step.sql).map_err(|error| step.failed(database, &error))?;
        if let Some(values) = step.ledger_row(now_ms) {
            sqlite::query(&transaction, LEDGER_ADD, &values).map_err(|error| step.failed(database, &error))?;
        }
    }
    let marked = transaction.pragma_update(None, "application_id", APPLICATION_ID);
    marked.and_then(|()| transaction.commit()).map_err(|error| unreachable(database, &error))
}

/// Brings a PostgreSQL database to the newest version, or, without a time, makes sure that it is.
pub(super) async fn migrate_postgres(
    connection: &mut Object,
    database: &str,
    now_ms: Option<i64>,
) -> Result<(), OpenError> {
    let failed = |error: tokio_postgres::Error| unreachable(database, &postgres::failure(&error, "BEGIN"));
    let transaction = connection.transaction().await.map_err(failed)?;
    let lock = format!("SET LOCAL lock_timeout = {PATIENCE_MS}; SELECT pg_advisory_xact_lock({APPLICATION_ID})");
    transaction.batch_execute(&lock).await.map_err(failed)?;

    let table = postgres::query(&transaction, POSTGRES_TABLES, &[]).await;
    let ledger = match first_text(table).map_err(|error| unreachable(database, &error))? {
        None => None,
        Some(table) if table == "porth_ledger" => {
            let rows = postgres::query(&transaction, LEDGER_READ, &[]).await;
            Some(rows.map_err(|error| unreadable(database, &error))?)
        }
        Some(table) => {
            let reason = format!("it holds a table `{table}` but none `porth_ledger`");
            return Err(OpenError::Foreign { database: database.to_owned(), reason });
        }
    };
    for step in steps(database, ledger, Dialect::Postgres)? {
        let now_ms = now_ms.ok_or_else(|| step.not_allowed(database))?;
        let done = transaction.batch_execute(&step.sql).await;
        done.map_err(|error| step.failed(database, &postgres::failure(&error, "a migration")))?;
        if let Some(values) = step.ledger_row(now_ms) {
            let added = postgres::query(&transaction, LEDGER_ADD, &values).await;
            added.map_err(|error| step.failed(database, &error))?;
        }
    }
    transaction.commit().await.map_err(failed)
}

/// What is missing by the ledger; `None` means a database without one.
fn steps(database: &str, ledger: Option<Vec<Row>>, dialect: Dialect) -> Result<Vec<Step>, OpenError> {
    let mut steps = Vec::new();
    let mut recorded = Vec::new();
    match ledger {
        None => steps.push(Step { version: 0, sql: dialect.render(LEDGER), checksum: None }),
        Some(rows) if rows.is_empty() => return Err(damaged(database, &"no version is recorded")),
        Some(rows) => {
            for mut row in rows {
                let entry = row.take::<i64>(0).and_then(|version| Ok((version, row.take::<String>(1)?)));
                recorded.push(entry.map_err(|error| damaged(database, &error))?);
            }
        }
    }

    let supported = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    if let Some((found, _)) = recorded.last().filter(|(version, _)| *version > supported) {
        return Err(OpenError::Newer { database: database.to_owned(), found: *found, supported });
    }
    let mut recorded = recorded.into_iter();
    for &(version, sql) in MIGRATIONS {
        let checksum = checksum(sql);
        match recorded.next() {
            None => steps.push(Step { version, sql: dialect.render(sql), checksum: Some(checksum) }),
            Some(entry) if entry == (version, checksum.clone()) => {}
            Some((found, _)) if found != version => {
                return Err(damaged(database, &format!("version {version} is missing before version {found}")));
            }
            Some((_, found)) => {
                let reason = format!("version {version} has checksum `{found}`, this Porth's has `{checksum}`");
                return Err(damaged(database, &reason));
            }
        }
    }
    Ok(steps)
}

impl Dialect {
    fn render(self, sql: &str) -> String {
        TOKENS.iter().fold(sql.to_owned(), |sql, (token, sqlite, postgres)| {
            let text = match self {
                Self::Sqlite => sqlite,
                Self::Postgres => postgres,
            };
            sql.replace(token, text)
        })
    }
}

impl Step {
    fn ledger_row(&self, now_ms: i64) -> Option<Vec<Value>> {
        Some(values![self.version, self.checksum.as_deref()?, now_ms])
    }

    fn not_allowed(&self, database: &str) -> OpenError {
        OpenError::Outdated { database: database.to_owned(), version: self.version }
    }

    fn failed(&self, database: &str, reason: &dyn Display) -> OpenError {
        OpenError::Migration { database: database.to_owned(), version: self.version, reason: reason.to_string() }
    }
}

/// The first column of the first row.
fn first_text(rows: Result<Vec<Row>, StoreError>) -> Result<Option<String>, StoreError> {
    rows?.first_mut().map(|row| row.take(0)).transpose()
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why the ledger could not be read.
fn unreadable(database: &str, error: &StoreError) -> OpenError {
    match error {
        StoreError::Busy(_) | StoreError::Unreachable(_) => unreachable(database, error),
        _ => damaged(database, error),
    }
}

fn damaged(database: &str, reason: &dyn Display) -> OpenError {
    OpenError::Damaged { database: database.to_owned(), reason: reason.to_string() }
}

fn unreachable(database: &str, reason: &dyn Display) -> OpenError {
    OpenError::Unreachable { database: database.to_owned(), reason: reason.to_string() }
}

/// The versions in order. Until the first release numbers may be left out, for work that is under way elsewhere.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("migrations/0001_instances.sql")),
    (2, include_str!("migrations/0002_documents.sql")),
    (10, include_str!("migrations/0010_identity.sql")),
    (11, include_str!("migrations/0011_schemes.sql")),
    (12, include_str!("migrations/0012_back_ends.sql")),
    (13, include_str!("migrations/0013_administration.sql")),
    (14, include_str!("migrations/0014_departures.sql")),
    (15, include_str!("migrations/0015_audit.sql")),
    (16, include_str!("migrations/0016_looks.sql")),
];
/// Marks a SQLite file as Porth's: "PRTH". On PostgreSQL the number of the lock under which the schema changes.
const APPLICATION_ID: i64 = 0x5052_5448;
/// How long to wait for another process that changes the schema.
const PATIENCE_MS: u64 = 60_000;
const LEDGER: &str = "CREATE TABLE porth_ledger (owner {key} NOT NULL, version {integer} NOT NULL, \
    checksum TEXT NOT NULL, applied_at {integer} NOT NULL, PRIMARY KEY (owner, version)){table}";
const LEDGER_READ: &str = "SELECT version, checksum FROM porth_ledger WHERE owner = 'porth' ORDER BY version";
const LEDGER_ADD: &str = "INSERT INTO porth_ledger (owner, version, checksum, applied_at) VALUES ('porth', $1, $2, $3)";
/// The tables of our schema but those of extensions, the ledger first.
const POSTGRES_TABLES: &str = "SELECT class.relname FROM pg_catalog.pg_class AS class \
    WHERE class.relnamespace = to_regnamespace(quote_ident(current_schema())) AND class.relkind IN ('r', 'p') \
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS depend WHERE depend.objid = class.oid \
        AND depend.classid = 'pg_catalog.pg_class'::regclass AND depend.deptype = 'e') \
    ORDER BY class.relname = 'porth_ledger' DESC, class.relname LIMIT 1";
/// What the tokens in migrations stand for: first on SQLite, then on PostgreSQL.
///
/// SQLite's tables are strict, so that it refuses what PostgreSQL refuses. Keys compare by bytes on both.
const TOKENS: [(&str, &str, &str); 5] = [
    ("{key}", "TEXT", "TEXT COLLATE \"C\""),
    ("{integer}", "INTEGER", "BIGINT"),
    ("{blob}", "BLOB", "BYTEA"),
    ("{table}", " STRICT", ""),
    // For tables that are read by their primary key: SQLite then has one tree where it would have two.
    ("{keyed}", " STRICT, WITHOUT ROWID", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check_damaged(ledger: Vec<Vec<Value>>, expected: &str) {
        let rows = ledger.into_iter().map(|values| Row::new(LEDGER_READ, values)).collect();
        let error = steps("`x`", Some(rows), Dialect::Sqlite).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn a_new_database_gets_everything() {
        let steps = steps("`x`", None, Dialect::Postgres).unwrap();
        assert_eq!(steps.len(), MIGRATIONS.len() + 1);
        for (token, ..) in TOKENS {
            assert!(steps.iter().all(|step| !step.sql.contains(token)), "{token} was left");
        }
    }

    #[test]
    fn a_database_of_today_gets_nothing() {
        let recorded = MIGRATIONS.iter().map(|(version, sql)| Row::new(LEDGER_READ, values![*version, checksum(sql)]));
        assert!(steps("`x`", Some(recorded.collect()), Dialect::Sqlite).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_ledger_is_told_apart() {
        check_damaged(Vec::new(), "no version is recorded");
        check_damaged(vec![values!["one", "x"]], "column 0");
        check_damaged(vec![values![1_i64, None::<i64>]], "column 1");
        check_damaged(vec![values![1_i64, "x"]], "version 1 has checksum `x`");
        check_damaged(vec![values![0_i64, "x"]], "version 1 is missing before version 0");
    }
}
