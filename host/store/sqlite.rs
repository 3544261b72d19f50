//! SQLite: a file in the data directory.
//!
//! Start at [`Sqlite`]. Readers have connections of their own and never wait for the [`writer`], which is the one thread
//! that changes anything.

mod recall;
mod writer;

use std::fmt::Display;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tokio::sync::Semaphore;

use self::recall::Recall;
use self::writer::Writer;
use super::migrate;
use super::{Condition, OpenError, Row, StoreError, Transaction, Value, Written};

/// An open database.
pub(super) struct Sqlite {
    readers: Arc<Readers>,
    recall: Arc<Recall>,
    writer: Writer,
}

/// Connections that only read.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    closed: AtomicBool,
    /// How many more scans may run.
    scans: Arc<Semaphore>,
}

/// The statements of one [`Transaction`].
pub(super) struct SqliteTransaction<'a> {
    /// Locked by nobody else while the transaction runs; the lock makes it `Sync`, as the futures inside must be `Send`.
    connection: &'a Mutex<Connection>,
}

/// Why a write is undone.
enum NotWritten {
    Missed(usize),
    Store(StoreError),
}

impl From<StoreError> for NotWritten {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Sqlite {
    /// Opens the file, makes it where there is none, and brings the schema up to date.
    pub(super) async fn open(path: PathBuf, now_ms: Option<i64>) -> Result<Self, OpenError> {
        let database = format!("`{}`", path.display());
        let opened = tokio::task::spawn_blocking(move || Self::open_here(path, now_ms)).await;
        opened.unwrap_or_else(|error| Err(OpenError::Unreachable { database, reason: error.to_string() }))
    }

    fn open_here(path: PathBuf, now_ms: Option<i64>) -> Result<Self, OpenError> {
        let database = format!("`{}`", path.display());
        let unreachable =
            |reason: &dyn Display| OpenError::Unreachable { database: database.clone(), reason: reason.to_string() };
        create_file(&path).map_err(|error| unreachable(&error))?;
        let mut connection = connect(&path, Use::Write).map_err(|error| migrate::not_opened(&database, &error))?;
        migrate::look(&mut connection, &database)?;
        write_ahead(&connection).map_err(|reason| unreachable(&reason))?;
        migrate::migrate_sqlite(&mut connection, &database, now_ms)?;
        be_patient(&mut connection, BUSY_MS).map_err(|error| unreachable(&error))?;

        let reopen = {
            let path = path.clone();
            move || connect(&path, Use::Write)
        };
        let recall = Arc::new(Recall::open(&path).map_err(|error| unreachable(&error))?);
        let writer = Writer::start(connection, reopen, Arc::clone(&recall)).map_err(|error| unreachable(&error))?;
        let readers = Readers {
            path,
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
        };
        Ok(Self { readers: Arc::new(readers), recall, writer })
    }

    pub(super) async fn read(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        // The query is ready at once, so without this a loop of reads would never let the worker's other tasks run.
        tokio::task::coop::consume_budget().await;
        self.readers.query(sql, values)
    }

    /// As [`read`](Self::read), from memory if nothing was written since it was read last.
    pub(super) async fn recall(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let Some(seen) = self.recall.look() else { return self.read(sql, values).await };
        if let Some(rows) = self.recall.get(sql, values, &seen)
            && !self.readers.closed.load(Ordering::SeqCst)
        {
            tokio::task::coop::consume_budget().await;
            return Ok(rows);
        }
        let rows = self.read(sql, values).await?;
        self.recall.put(sql, values, seen, &rows);
        Ok(rows)
    }

    pub(super) async fn scan(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.scans).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let scan = tokio::task::spawn_blocking(move || {
            // Held by the thread, which goes on when the caller waits no longer.
            let _permit = permit;
            readers.query(sql, &values)
        });
        // The runtime drops what it has not begun when it shuts down.
        scan.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) async fn write(&self, statements: Vec<Condition>) -> Result<Written, StoreError> {
        let several = statements.len() > 1;
        let work = move |connection: &Mutex<Connection>| {
            let connection = connection.lock();
            let mut answers = Vec::with_capacity(statements.len());
            for (index, Condition { statement, must_match }) in statements.iter().enumerate() {
                let rows = query(&connection, statement.sql, &statement.values)?;
                if *must_match && rows.is_empty() {
                    return Err(NotWritten::Missed(index));
                }
                answers.push(rows);
            }
            Ok(answers)
        };
        match self.writer.run(several, work).await {
            Ok(answers) => Ok(Written::Stored(answers)),
            Err(NotWritten::Missed(index)) => Ok(Written::Missed(index)),
            Err(NotWritten::Store(error)) => Err(error),
        }
    }

    pub(super) async fn transaction<T, E>(
        &self,
        work: impl for<'a> Fn(&'a Transaction<'a>) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let work = move |connection: &Mutex<Connection>| {
            let transaction = Transaction::on_sqlite(SqliteTransaction { connection });
            let value = finish(work(&transaction))?;
            transaction.failure().map_or(Ok(value), |error| Err(error.clone().into()))
        };
        self.writer.run(true, work).await
    }

    pub(super) fn commits(&self) -> u64 {
        self.writer.commits()
    }

    pub(super) async fn close(&self) {
        self.readers.closed.store(true, Ordering::SeqCst);
        self.readers.scans.close();
        // Before the writer's, so that the last connection to go is one that can empty the write-ahead log.
        self.readers.idle.lock().clear();
        self.writer.close().await;
    }
}

impl Readers {
    fn query(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        let idle = self.idle.lock().pop();
        let connection =
            idle.map_or_else(|| connect(&self.path, Use::Read), Ok).map_err(|error| failure(error, sql))?;
        // A connection that gave an error is not used again.
        let rows = query(&connection, sql, values)?;
        let mut idle = self.idle.lock();
        if !self.closed.load(Ordering::SeqCst) {
            idle.push(connection);
        }
        Ok(rows)
    }
}

impl SqliteTransaction<'_> {
    pub(super) fn run(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        query(&self.connection.lock(), sql, values)
    }
}

/// Polls a future that waits for nothing.
fn finish<T, E: From<StoreError>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            let reason = "the code inside waited for something else than its transaction".to_owned();
            Err(StoreError::Refused { sql: "BEGIN", reason }.into())
        }
    }
}

/// Runs a statement and reads all its rows.
pub(super) fn query(connection: &Connection, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|error| failure(error, sql))?;
    let refused = |reason: String| StoreError::Refused { sql, reason };
    if statement.parameter_count() != values.len() {
        return Err(refused(format!("{} placeholders, {} values", statement.parameter_count(), values.len())));
    }
    for index in 1..=values.len() {
        // SQLite counts `$n` by first appearance, so the name says which value is meant.
        let name = statement.parameter_name(index).unwrap_or_default();
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        let value = value.ok_or_else(|| refused(format!("the placeholder `{name}` has no value")))?;
        let bound = match value {
            Value::Null => statement.raw_bind_parameter(index, Null),
            Value::Integer(number) => statement.raw_bind_parameter(index, number),
            Value::Real(number) => statement.raw_bind_parameter(index, number),
            Value::Text(text) => statement.raw_bind_parameter(index, text),
            Value::Blob(bytes) => statement.raw_bind_parameter(index, bytes),
        };
        bound.map_err(|error| failure(error, sql))?;
    }

    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut answer = Vec::new();
    while let Some(row) = rows.next().map_err(|error| failure(error, sql))? {
        let mut values = Vec::with_capacity(columns);
        for index in 0..columns {
            values.push(match row.get_ref(index).map_err(|error| failure(error, sql))? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                ValueRef::Text(text) => {
                    let text = std::str::from_utf8(text);
                    let found = "text that is not UTF-8";
                    let text = text.map_err(|_| StoreError::Column { sql, index, found, expected: "text" })?;
                    Value::Text(text.to_owned())
                }
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
            });
        }
        answer.push(Row::new(sql, values));
    }
    Ok(answer)
}

/// The house's error for the engine's.
pub(super) fn failure(error: rusqlite::Error, sql: &'static str) -> StoreError {
    let reason = error.to_string();
    let rusqlite::Error::SqliteFailure(code, _) = error else { return StoreError::Refused { sql, reason } };
    match (code.extended_code, code.code) {
        (ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY, _) => StoreError::Duplicate(reason),
        (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, _) => StoreError::Reference(reason),
        (_, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy("another process is writing"),
        _ => StoreError::Refused { sql, reason },
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Read,
    Write,
}

fn connect(path: &Path, purpose: Use) -> rusqlite::Result<Connection> {
    // Never made here: a file that vanished under a running server must not come back empty.
    let mut connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    be_patient(&mut connection, BUSY_MS)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "foreign_keys", true)?;
    // An answer means that the data is on the disk, not on its way there.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What a long read made the write-ahead log grow beyond this many bytes is given back.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "query_only", purpose == Use::Read)?;
    Ok(connection)
}

/// Makes the file where there is none, for the server's user alone; SQLite gives its side files the same mode.
fn create_file(path: &Path) -> std::io::Result<()> {
    // A file that is there must not be opened: closing it again would drop the locks that SQLite holds on it elsewhere
    // in this process.
    match std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes a connection wait up to so many milliseconds for another process. SQLite's own way of waiting sleeps ever longer
/// between two looks, and so misses the short gaps that a busy process leaves.
pub(super) fn be_patient(connection: &mut Connection, wait_ms: u64) -> rusqlite::Result<()> {
    let mut since = Instant::now();
    connection.busy_handler(Some(move |looks: i32| {
        if looks == 0 {
            since = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
        since.elapsed() < Duration::from_millis(wait_ms)
    }))
}

/// Turns the write-ahead log on, which lets others read while one writes.
fn write_ahead(connection: &Connection) -> Result<(), String> {
    let until = Instant::now() + Duration::from_millis(BUSY_MS);
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(format!("its journal stays in mode `{mode}`; the file system must be a local one")),
            // SQLite does not wait for another process that is doing the same.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// How long a connection waits for another process.
const BUSY_MS: u64 = 5_000;
/// How many scans run at a time.
const SCANS_MAX: usize = 4;
/// How many prepared statements a connection keeps.
const STATEMENTS_MAX: usize = 256;
