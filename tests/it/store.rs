//! `host/store` on SQLite and on PostgreSQL.

mod ledger;
mod sqlite;
mod tls;

use std::sync::Arc;

use porth::store::{Statement, StoreError, Value};

use crate::support::database::{Store, on_both_engines};

on_both_engines!(
    values_come_back_as_they_were,
    text_with_a_nul_is_refused,
    a_wrong_number_of_values_is_refused,
    a_write_is_all_or_nothing,
    constraints_are_told_apart,
    a_transaction_that_fails_leaves_nothing,
    a_failed_statement_cannot_be_committed,
    transactions_run_as_if_one_after_the_other,
    a_panic_in_a_transaction_harms_nobody_else,
    one_of_sixteen_consumers_wins,
    a_closed_database_says_so,
    broken_connections_are_replaced,
);

const TABLE: &str = "CREATE TABLE thing (id BIGINT PRIMARY KEY, word TEXT UNIQUE, weight DOUBLE PRECISION, \
    parent BIGINT REFERENCES thing (id))";
const ADD: &str = "INSERT INTO thing (id, word) VALUES ($1, $2)";
const COUNT: &str = "SELECT COUNT(*) FROM thing";

fn add(id: i64, word: &str) -> Statement {
    Statement { sql: ADD, values: vec![id.into(), word.into()] }
}

async fn count(store: &Store) -> i64 {
    store.db.read(COUNT, vec![]).await.unwrap()[0].take(0).unwrap()
}

async fn values_come_back_as_they_were(store: &Store) {
    store.execute(TABLE);
    // The second placeholder comes first: SQLite would number them by appearance.
    let sql = "INSERT INTO thing (word, id, weight, parent) VALUES ($2, $1, $3, $4) RETURNING id, word, weight, parent";
    let values = vec![i64::MIN.into(), "ünï '\"\\".into(), (-0.5).into(), None::<i64>.into()];
    let mut row = store.db.write_one(sql, values).await.unwrap().pop().unwrap();
    assert_eq!(row.take::<i64>(0).unwrap(), i64::MIN);
    assert_eq!(row.take::<String>(1).unwrap(), "ünï '\"\\");
    assert_eq!(row.take::<f64>(2).unwrap(), -0.5);
    assert_eq!(row.take::<Option<i64>>(3).unwrap(), None);

    let mut rows = store.db.scan("SELECT id = $1, id FROM thing", vec![7_i64.into()]).await.unwrap();
    assert!(!rows[0].take::<bool>(0).unwrap());
    let text = rows[0].take::<String>(1).unwrap_err().to_string();
    assert_eq!(text, "column 1 of `SELECT id = $1, id FROM thing` holds an integer, expected text");
}

async fn text_with_a_nul_is_refused(store: &Store) {
    store.execute(TABLE);
    let refused = store.db.write(vec![add(1, "a"), add(2, "b\0")]).await.unwrap_err();
    assert!(matches!(refused, StoreError::NulInText), "{refused}");
    let refused = store.db.read("SELECT id FROM thing WHERE word = $1", vec!["\0".into()]).await.unwrap_err();
    assert!(matches!(refused, StoreError::NulInText), "{refused}");
    assert_eq!(count(store).await, 0);
}

async fn a_wrong_number_of_values_is_refused(store: &Store) {
    store.execute(TABLE);
    for values in [vec![], vec![1_i64.into()], vec![1_i64.into(), "a".into(), "b".into()]] {
        let refused = store.db.write_one(ADD, values).await.unwrap_err();
        assert!(refused.to_string().contains("2 placeholders"), "{refused}");
    }
    assert_eq!(count(store).await, 0);
}

async fn a_write_is_all_or_nothing(store: &Store) {
    store.execute(TABLE);
    assert!(store.db.write(vec![]).await.unwrap().is_empty());
    assert_eq!(store.db.write(vec![add(1, "a"), add(2, "b")]).await.unwrap().len(), 2);
    store.db.write(vec![add(3, "c"), add(4, "a")]).await.unwrap_err();
    assert_eq!(count(store).await, 2);
}

async fn constraints_are_told_apart(store: &Store) {
    store.execute(TABLE);
    store.db.write(vec![add(1, "a")]).await.unwrap();
    for same in [add(1, "b"), add(2, "a")] {
        let error = store.db.write(vec![same]).await.unwrap_err();
        assert!(matches!(error, StoreError::Duplicate(_)), "{error}");
    }
    let orphan = "INSERT INTO thing (id, parent) VALUES ($1, $2)";
    let error = store.db.write_one(orphan, vec![2_i64.into(), 3_i64.into()]).await.unwrap_err();
    assert!(matches!(error, StoreError::Reference(_)), "{error}");
    let error = store.db.read("SELECT nothing FROM thing", vec![]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("changed its mind")]
    Mind,
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn a_transaction_that_fails_leaves_nothing(store: &Store) {
    store.execute(TABLE);
    let work = store.db.transaction(|transaction| {
        Box::pin(async move {
            transaction.run(ADD, vec![1_i64.into(), "a".into()]).await?;
            Err::<(), _>(Failure::Mind)
        })
    });
    assert!(matches!(work.await, Err(Failure::Mind)));
    assert_eq!(count(store).await, 0);
}

async fn a_failed_statement_cannot_be_committed(store: &Store) {
    store.execute(TABLE);
    let work = store.db.transaction(|transaction| {
        Box::pin(async move {
            transaction.run(ADD, vec![1_i64.into(), "a".into()]).await?;
            let _ = transaction.run(ADD, vec![1_i64.into(), "a".into()]).await;
            Ok::<_, Failure>(())
        })
    });
    let error = work.await.unwrap_err();
    assert!(matches!(error, Failure::Store(StoreError::Duplicate(_))), "{error}");
    assert_eq!(count(store).await, 0);
}

async fn transactions_run_as_if_one_after_the_other(store: &Store) {
    store.execute(TABLE);
    store.db.write(vec![add(0, "counter")]).await.unwrap();
    let increment = |db: porth::store::Db| async move {
        let work = db.transaction(|transaction| {
            Box::pin(async move {
                let mut rows = transaction.run("SELECT id FROM thing WHERE word = 'counter'", vec![]).await?;
                let value = rows[0].take::<i64>(0)?;
                let values: Vec<Value> = vec![(value + 1).into()];
                transaction.run("UPDATE thing SET id = $1 WHERE word = 'counter'", values).await?;
                Ok::<_, StoreError>(())
            })
        });
        work.await.unwrap();
    };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(increment(store.db.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut rows = store.db.read("SELECT id FROM thing", vec![]).await.unwrap();
    assert_eq!(rows[0].take::<i64>(0).unwrap(), 8);
}

async fn a_panic_in_a_transaction_harms_nobody_else(store: &Store) {
    store.execute(TABLE);
    let neighbours: Vec<_> = (1..=32)
        .map(|id| {
            let db = store.db.clone();
            tokio::spawn(async move { db.write(vec![add(id, &id.to_string())]).await })
        })
        .collect();
    let panicking = store.db.transaction(|transaction| {
        Box::pin(async move {
            transaction.run(ADD, vec![99_i64.into(), "a".into()]).await?;
            assert!(std::hint::black_box(false), "on purpose");
            Ok::<_, StoreError>(())
        })
    });
    let error = panicking.await.unwrap_err();
    assert!(matches!(&error, StoreError::Panicked(text) if text == "on purpose"), "{error}");
    for neighbour in neighbours {
        neighbour.await.unwrap().unwrap();
    }
    store.db.write(vec![add(33, "33")]).await.unwrap();
    assert_eq!(count(store).await, 33);
}

async fn one_of_sixteen_consumers_wins(store: &Store) {
    store.execute(TABLE);
    for round in 0..8_i64 {
        store.db.write(vec![add(round, &round.to_string())]).await.unwrap();
        let consume = "UPDATE thing SET weight = 1 WHERE id = $1 AND weight IS NULL RETURNING id";
        let barrier = Arc::new(tokio::sync::Barrier::new(16));
        let consumers = (0..16).map(|_| {
            let (db, barrier) = (store.db.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                db.write_one(consume, vec![round.into()]).await.unwrap().len()
            })
        });
        let mut winners = 0;
        for consumer in consumers.collect::<Vec<_>>() {
            winners += consumer.await.unwrap();
        }
        assert_eq!(winners, 1);
    }
}

async fn a_closed_database_says_so(store: &Store) {
    store.execute(TABLE);
    store.db.write(vec![add(1, "a")]).await.unwrap();
    let again = store.open_again().await.unwrap();
    store.db.close().await;
    assert!(matches!(store.db.read(COUNT, vec![]).await, Err(StoreError::Closed)));
    assert!(matches!(store.db.scan(COUNT, vec![]).await, Err(StoreError::Closed)));
    assert!(matches!(store.db.write(vec![add(2, "b")]).await, Err(StoreError::Closed)));
    assert_eq!(again.read(COUNT, vec![]).await.unwrap()[0].take::<i64>(0).unwrap(), 1);
    again.close().await;
}

async fn broken_connections_are_replaced(store: &Store) {
    store.execute(TABLE);
    if !store.is_sqlite() {
        let others = "WHERE application_name = current_schema() AND pid <> pg_backend_pid()";
        store.execute(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity {others}"));
    }
    assert_eq!(count(store).await, 0);
    store.db.write(vec![add(1, "a")]).await.unwrap();
}
