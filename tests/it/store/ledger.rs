//! Which databases are opened, and which are refused.

use porth::store::{Db, OpenError};

use crate::support::database::{NOW_MS, Store, on_both_engines};
use crate::support::postgres;

on_both_engines!(
    opening_again_changes_nothing,
    many_open_a_new_database_at_once,
    a_newer_database_is_refused,
    a_schema_that_must_stay_is_only_looked_at,
    a_damaged_ledger_is_refused,
    a_foreign_database_is_refused,
);

async fn opening_again_changes_nothing(store: &Store) {
    let ledger = "SELECT version, checksum FROM porth_ledger ORDER BY version";
    let before = store.db.read(ledger, vec![]).await.unwrap();
    assert!(!before.is_empty());
    store.db.close().await;
    let again = store.open_again().await.unwrap();
    assert_eq!(again.read(ledger, vec![]).await.unwrap(), before);
    again.close().await;
}

async fn many_open_a_new_database_at_once(store: &Store) {
    store.db.close().await;
    store.empty();
    let opened = futures_util::future::join_all((0..8).map(|_| store.open_again())).await;
    for db in opened {
        db.unwrap().close().await;
    }
}

async fn check_refused(store: &Store, expected: &str) -> OpenError {
    let error = store.open_again().await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains(expected), "{text}");
    assert!(text.contains(if store.is_sqlite() { "porth.db" } else { "database `postgres` at 127.0.0.1" }), "{text}");
    error
}

async fn a_newer_database_is_refused(store: &Store) {
    store.execute("INSERT INTO porth_ledger (owner, version, checksum, applied_at) VALUES ('porth', 99, 'x', 0)");
    let error = check_refused(store, "has schema version 99, this Porth knows versions up to ").await;
    assert!(matches!(error, OpenError::Newer { found: 99, .. }));
}

async fn a_schema_that_must_stay_is_only_looked_at(store: &Store) {
    let again = Db::open_unchanged(&store.database, store.data()).await.unwrap();
    again.close().await;
    let empty = if store.is_sqlite() { store.database.clone() } else { postgres::create_database().unwrap() };
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let error = Db::open_unchanged(&empty, directory.path()).await.err().unwrap();
        assert!(matches!(error, OpenError::Outdated { version: 0, .. }), "{error}");
    }
    Db::open(&empty, directory.path(), NOW_MS).await.unwrap().close().await;
}

async fn a_damaged_ledger_is_refused(store: &Store) {
    let damages = [
        ("UPDATE porth_ledger SET checksum = 'x' WHERE version = 1", "version 1 has checksum `x`"),
        ("UPDATE porth_ledger SET version = 0 WHERE version = 1", "version 1 is missing before version 0"),
        ("DELETE FROM porth_ledger", "no version is recorded"),
        ("ALTER TABLE porth_ledger DROP COLUMN checksum", "checksum"),
    ];
    for (damage, expected) in damages {
        store.execute(damage);
        let error = check_refused(store, expected).await;
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}

async fn a_foreign_database_is_refused(store: &Store) {
    store.db.close().await;
    store.empty();
    store.execute("CREATE TABLE invoice (id BIGINT)");
    let error = check_refused(store, "it holds a table `invoice`").await;
    assert!(matches!(error, OpenError::Foreign { .. }));
}
