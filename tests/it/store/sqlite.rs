//! What only SQLite has: one writer for all, a file that others may open, a disk that may be full.

use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::process::Command;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use porth::store::{Db, Statement, StoreError};
use tokio::task::JoinHandle;

use super::{COUNT, TABLE, add, count};
use crate::support::database::{Engine, NOW_MS, Store, run};

/// Holds the writer, so that what is written meanwhile waits for one commit, until the sender is dropped.
async fn hold(store: &Store) -> (mpsc::Sender<()>, JoinHandle<Result<(), StoreError>>) {
    let (release, released) = mpsc::channel::<()>();
    let (held, holds) = tokio::sync::oneshot::channel();
    let db = store.db.clone();
    let shared = std::sync::Mutex::new(Some((released, held)));
    let work = tokio::spawn(async move {
        let work = db.transaction(move |_| {
            let (released, held) = shared.lock().unwrap().take().unwrap();
            Box::pin(async move {
                held.send(()).unwrap();
                let _ = released.recv();
                Ok::<_, StoreError>(())
            })
        });
        work.await
    });
    holds.await.unwrap();
    (release, work)
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + 'a>>;

/// Writes that wait for the writer, in this order.
async fn queue(store: &Store, statements: Vec<Statement>) -> Vec<Waiting<'_>> {
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for statement in statements {
        let mut write: Waiting<'_> = Box::pin(async { store.db.write(vec![statement]).await.map(drop) });
        // The first look puts the write into the queue.
        let pending = poll_fn(|context| Poll::Ready(write.as_mut().poll(context).is_pending())).await;
        assert!(pending);
        waiting.push(write);
    }
    waiting
}

#[test]
fn writes_that_wait_share_a_commit() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        let log = || std::fs::metadata(store.data().join("porth.db-wal")).map_or(0, |file| file.len());
        let (release, holder) = hold(store).await;
        let before = log();
        let writes = queue(store, (0..100).map(|id| add(id, &id.to_string())).collect()).await;
        drop(release);
        for write in writes {
            write.await.unwrap();
        }
        holder.await.unwrap().unwrap();
        assert_eq!(count(store).await, 100);
        // Alone, each of them would write at least a page into the log.
        assert!(log() - before < 20 * 4096, "{} bytes", log() - before);
    });
}

#[test]
fn a_failed_write_does_not_harm_its_neighbours() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        let (release, holder) = hold(store).await;
        let writes = queue(store, vec![add(1, "a"), add(1, "b"), add(2, "c")]).await;
        drop(release);
        let mut answers = Vec::new();
        for write in writes {
            answers.push(write.await);
        }
        holder.await.unwrap().unwrap();
        assert!(matches!(answers[..], [Ok(()), Err(StoreError::Duplicate(_)), Ok(())]), "{answers:?}");
        assert_eq!(count(store).await, 2);
    });
}

#[test]
fn what_a_full_disk_undoes_is_not_acknowledged() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        store.db.write_one("PRAGMA max_page_count = 40", vec![]).await.unwrap();
        let (release, holder) = hold(store).await;
        let writes = queue(store, vec![add(1, "a"), add(2, &"b".repeat(1 << 20)), add(3, "c")]).await;
        drop(release);
        let mut stored = 0;
        for (index, write) in writes.into_iter().enumerate() {
            let answer = write.await;
            stored += i64::from(answer.is_ok());
            assert!(index != 1 || answer.unwrap_err().to_string().contains("full"));
        }
        let _ = holder.await.unwrap();
        assert_eq!(count(store).await, stored);
        assert!(stored >= 1, "the write after the one that failed begins a new commit");
        store.db.write(vec![add(4, "d")]).await.unwrap();
    });
}

#[test]
fn a_full_queue_says_busy() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        let (release, holder) = hold(store).await;
        let writes = (0..1_500).map(|id| {
            let db = store.db.clone();
            tokio::spawn(async move { db.write(vec![add(id, &id.to_string())]).await })
        });
        let writes: Vec<_> = writes.collect();
        while writes.iter().filter(|write| write.is_finished()).count() < 400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(release);
        let (mut stored, mut busy) = (0, 0);
        for write in writes {
            match write.await.unwrap() {
                Ok(_) => stored += 1,
                Err(StoreError::Busy(_)) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        holder.await.unwrap().unwrap();
        assert!(busy >= 400 && stored >= 1_024, "{busy} busy, {stored} stored");
        assert_eq!(count(store).await, stored);
    });
}

#[test]
fn a_query_cannot_change_anything() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        let statement = add(1, "a");
        assert!(store.db.read(statement.sql, statement.values.clone()).await.is_err());
        assert!(store.db.scan(statement.sql, statement.values).await.is_err());
        assert_eq!(count(store).await, 0);
    });
}

#[tokio::test]
async fn a_loop_of_queries_lets_others_run() {
    let data = tempfile::tempdir().unwrap();
    let db = Db::open("sqlite", data.path(), NOW_MS).await.unwrap();
    let endless = async {
        loop {
            db.read("SELECT 1", vec![]).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_millis(20), endless).await.unwrap_err();
}

#[tokio::test]
async fn the_file_is_its_users_alone() {
    let data = tempfile::tempdir().unwrap();
    let db = Db::open("sqlite", data.path(), NOW_MS).await.unwrap();
    for name in ["porth.db", "porth.db-wal", "porth.db-shm"] {
        let mode = std::fs::metadata(data.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    db.close().await;
    assert!(!data.path().join("porth.db-wal").exists(), "closing leaves one file");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_stays_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let text = "Dear diary, ".repeat(1_000);
    std::fs::write(data.path().join("porth.db"), &text).unwrap();
    let error = Db::open("sqlite", data.path(), NOW_MS).await.err().unwrap();
    assert!(error.to_string().contains("it is no SQLite file"), "{error}");
    assert_eq!(std::fs::read_to_string(data.path().join("porth.db")).unwrap(), text);
}

/// Two processes: this test runs itself once more.
#[test]
fn two_processes_write_one_file() {
    const WRITES: i64 = 200;
    let write = async |data: &std::path::Path, from: i64| {
        let db = Db::open("sqlite", data, NOW_MS).await.unwrap();
        for id in from..from + WRITES {
            db.write(vec![add(id, &id.to_string())]).await.unwrap();
            db.read(COUNT, vec![]).await.unwrap();
        }
        db.close().await;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(data) = std::env::var_os("PORTH_TEST_SECOND_PROCESS") {
        return runtime.block_on(write(data.as_ref(), WRITES));
    }
    let data = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let db = Db::open("sqlite", data.path(), NOW_MS).await.unwrap();
        db.write_one(TABLE, vec![]).await.unwrap();
        let mut other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::two_processes_write_one_file"])
            .env("PORTH_TEST_SECOND_PROCESS", data.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        write(data.path(), 0).await;
        assert!(other.wait().unwrap().success());
        assert_eq!(db.read(COUNT, vec![]).await.unwrap()[0].take::<i64>(0).unwrap(), 2 * WRITES);
        db.close().await;
    });
}

/// Two processes with one file, as while one takes over from the other: here two openings, which share no memory either.
#[test]
fn what_is_recalled_is_as_new_as_the_last_write_of_anybody() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        let other = store.open_again().await.unwrap();
        let counted = async |db: &Db| db.recall(COUNT, vec![]).await.unwrap()[0].take::<i64>(0).unwrap();
        for id in 0..200 {
            let (writes, reads) = if id % 3 == 0 { (&store.db, &other) } else { (&other, &store.db) };
            writes.write(vec![add(id, &id.to_string())]).await.unwrap();
            assert_eq!((counted(reads).await, counted(writes).await), (id + 1, id + 1));
            assert_eq!(counted(reads).await, id + 1);
        }
        other.close().await;
        assert!(matches!(other.recall(COUNT, vec![]).await, Err(StoreError::Closed)));
    });
}

#[test]
fn what_others_write_meanwhile_is_not_remembered_as_new() {
    run(Engine::Sqlite, async |store: &Store| {
        store.execute(TABLE);
        let writer = {
            let db = store.db.clone();
            tokio::spawn(async move {
                for id in 0..300 {
                    db.write(vec![add(id, &id.to_string())]).await.unwrap();
                    // What was answered is seen by whoever asks from then on.
                    let seen = db.recall(COUNT, vec![]).await.unwrap()[0].take::<i64>(0).unwrap();
                    assert!(seen > id, "{seen} after {id}");
                }
            })
        };
        let mut before = 0;
        while !writer.is_finished() {
            let seen = store.db.recall(COUNT, vec![]).await.unwrap()[0].take::<i64>(0).unwrap();
            assert!(seen >= before, "{seen} after {before}");
            before = seen;
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
        assert_eq!(store.db.recall(COUNT, vec![]).await.unwrap()[0].take::<i64>(0).unwrap(), 300);
    });
}
