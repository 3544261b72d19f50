//! One door to both engines.
//!
//! Start at [`Db`]. What an engine does behind it is in `sqlite` and `postgres`.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use super::counts::{Counts, StoreCounts};
use super::postgres::{Postgres, PostgresTransaction};
use super::sqlite::{Sqlite, SqliteTransaction};
use super::{OpenError, Row, SQLITE_FILE, StoreError, Value};

/// The database. A clone is cheap and the same database.
///
/// Every statement is one text that both engines run unchanged. So in SQL:
/// - placeholders are `$1`, `$2`…, each used at least once;
/// - whole numbers, times (milliseconds since 1970, UTC) and flags (0 and 1) are 64-bit integers; JSON is text;
/// - a condition belongs into the statement that writes (`UPDATE … WHERE used_at IS NULL RETURNING …`), an upsert is
///   `ON CONFLICT … DO UPDATE SET x = excluded.x` with old values qualified; no `FOR UPDATE`, no `ILIKE`;
/// - columns are listed, never `*`, so that a newer schema does not change what an older process reads;
/// - sums and averages are cast to the type they are read as.
///
/// Who stops waiting for a write has not taken it back: it may still be stored.
#[derive(Clone)]
pub struct Db {
    engine: Arc<Engine>,
    counts: Arc<Counts>,
}

enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The text; see [`Db`] for what it may say.
    pub sql: &'static str,
    /// The values of `$1`, `$2`…
    pub values: Vec<Value>,
}

/// A statement of [`Db::write_if`].
#[derive(Clone, Debug)]
pub struct Condition {
    /// The statement.
    pub statement: Statement,
    /// Whether none of the statements counts unless this one gives a row.
    pub must_match: bool,
}

/// What came of [`Db::write_if`].
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// All of it is stored; the rows of each statement.
    Stored(Vec<Vec<Row>>),
    /// Nothing is stored: the statement with this index had to give a row and gave none.
    Missed(usize),
}

/// What [`Db::transaction`] hands to the code inside it.
pub struct Transaction<'a> {
    inner: Inner<'a>,
    /// What the first statement failed with: from then on nothing of the transaction may be stored.
    failure: OnceLock<StoreError>,
}

enum Inner<'a> {
    Sqlite(SqliteTransaction<'a>),
    Postgres(PostgresTransaction<'a>),
}

impl Db {
    /// Opens the database and brings its schema up to date, in one step that other processes wait for.
    ///
    /// `database` is `sqlite`, which means the file `porth.db` in the directory `data`, or a URL
    /// `postgres://user:password@host:port/name`. `sslmode` in the URL is `disable` (the default), `prefer` or `require`
    /// (encrypted, but nobody checks whose certificate it is), or `verify-full` (certificate and host name are checked
    /// against the PEM file that `sslrootcert` names).
    ///
    /// Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`], which names the database and what to do.
    pub async fn open(database: &str, data: &Path, now_ms: i64) -> Result<Self, OpenError> {
        Self::open_at(database, data, Some(now_ms)).await
    }

    /// As [`open`](Self::open), but leaves the schema as it is: another process works with it, and will go on with it if
    /// this one does not.
    ///
    /// # Errors
    /// [`OpenError`], also when the schema is not the newest.
    pub async fn open_unchanged(database: &str, data: &Path) -> Result<Self, OpenError> {
        Self::open_at(database, data, None).await
    }

    /// Without a time, the schema must not be changed.
    async fn open_at(database: &str, data: &Path, now_ms: Option<i64>) -> Result<Self, OpenError> {
        let engine = if database == "sqlite" {
            Engine::Sqlite(Sqlite::open(data.join(SQLITE_FILE), now_ms).await?)
        } else if database.starts_with("postgres://") || database.starts_with("postgresql://") {
            Engine::Postgres(Postgres::open(database, now_ms).await?)
        } else {
            return Err(OpenError::Unknown);
        };
        Ok(Self { engine: Arc::new(engine), counts: Arc::default() })
    }

    /// Whether it is a server's, and not a file of this one.
    pub(super) fn is_postgres(&self) -> bool {
        matches!(&*self.engine, Engine::Postgres(_))
    }

    /// Runs a short, indexed query. On SQLite it runs on the caller's thread.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Value::check(&values)?;
        match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.read(sql, &values).await,
            Engine::Postgres(postgres) => postgres.read(sql, &values).await,
        }
    }

    /// As [`read`](Self::read), for what is asked again and again: on SQLite the answer comes from memory while nothing
    /// was written, by whichever process of this server. What another program writes into the file may be missed for a
    /// few seconds.
    ///
    /// Values that are another each time, such as a time, do not belong here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recall(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Value::check(&values)?;
        match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.recall(sql, &values).await,
            Engine::Postgres(postgres) => postgres.read(sql, &values).await,
        }
    }

    /// Runs a query that may take long: a list or a search. On SQLite a few of them at a time run on threads of their
    /// own, so that they hold up nobody else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scan(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Value::check(&values)?;
        match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.scan(sql, values).await,
            Engine::Postgres(postgres) => postgres.read(sql, &values).await,
        }
    }

    /// Carries out all statements or none, and gives the rows of each. What it answers is durable.
    ///
    /// # Errors
    /// [`StoreError`]; but for [`StoreError::Unreachable`] nothing was stored.
    pub async fn write(&self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
        let always = |statement| Condition { statement, must_match: false };
        match self.write_if(statements.into_iter().map(always).collect()).await? {
            Written::Stored(rows) => Ok(rows),
            Written::Missed(_) => Err(StoreError::Conflict),
        }
    }

    /// As [`write`](Self::write), but nothing is stored either when a statement that must match gives no row. On
    /// PostgreSQL each statement sees what others committed before it began.
    ///
    /// # Errors
    /// As `write`.
    pub async fn write_if(&self, statements: Vec<Condition>) -> Result<Written, StoreError> {
        for condition in &statements {
            Value::check(&condition.statement.values)?;
        }
        let _writing = self.counts.begin();
        let written = match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.write(statements).await,
            Engine::Postgres(postgres) => postgres.write(&statements).await,
        };
        written.inspect_err(|_| self.counts.failed())
    }

    /// Carries out one statement and gives its rows; the short form of [`write`](Self::write).
    ///
    /// # Errors
    /// As `write`.
    pub async fn write_one(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let mut answers = self.write(vec![Statement { sql, values }]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Runs `work`, which decides by what it reads what it writes; all of it is stored when it gives `Ok`, none when it
    /// gives `Err`.
    ///
    /// Transactions behave as if they ran one after the other. What one only reads is safe from other transactions, not
    /// from a [`write`](Self::write) of another process to PostgreSQL; a condition that such a write may break
    /// belongs into the statement that depends on it.
    ///
    /// `work` may run more than once, so it must change nothing but the database; and it may wait for nothing but the
    /// transaction: on SQLite it runs on the thread that does all writes.
    ///
    /// # Errors
    /// What `work` gave, or the [`StoreError`] that kept it from being stored.
    pub async fn transaction<T, E>(
        &self,
        work: impl for<'a> Fn(&'a Transaction<'a>) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let _writing = self.counts.begin();
        match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.transaction(work).await,
            Engine::Postgres(postgres) => postgres.transaction(work).await,
        }
    }

    /// What was counted since the database was opened.
    #[must_use]
    pub fn counts(&self) -> StoreCounts {
        let counts = self.counts.view();
        let commits = match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.commits(),
            Engine::Postgres(_) => counts.writes,
        };
        StoreCounts { commits, ..counts }
    }

    /// Carries out the writes that wait already, then lets go of files and connections. Whatever comes later is answered
    /// with [`StoreError::Closed`].
    pub async fn close(&self) {
        match &*self.engine {
            Engine::Sqlite(sqlite) => sqlite.close().await,
            Engine::Postgres(postgres) => postgres.close(),
        }
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn on_sqlite(transaction: SqliteTransaction<'a>) -> Self {
        Self { inner: Inner::Sqlite(transaction), failure: OnceLock::new() }
    }

    pub(super) fn on_postgres(transaction: PostgresTransaction<'a>) -> Self {
        Self { inner: Inner::Postgres(transaction), failure: OnceLock::new() }
    }

    /// Carries out one statement, reading or writing, and gives its rows.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing of the transaction is stored, whatever the code inside it gives.
    pub async fn run(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Value::check(&values)?;
        let answer = match &self.inner {
            Inner::Sqlite(transaction) => transaction.run(sql, &values),
            Inner::Postgres(transaction) => transaction.run(sql, &values).await,
        };
        answer.inspect_err(|error| {
            self.failure.get_or_init(|| error.clone());
        })
    }

    /// The first failure of a statement. PostgreSQL gives a transaction up at that point and answers a later commit as
    /// if nothing had happened, so both engines ask here.
    pub(super) fn failure(&self) -> Option<&StoreError> {
        self.failure.get()
    }
}
