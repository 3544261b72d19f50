//! PostgreSQL: one database for several nodes.
//!
//! Start at [`Postgres`]. A pool of connections, each with its prepared statements.

mod bind;
mod tls;

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use deadpool_postgres::{
    GenericClient, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, IsolationLevel, NoTls};

use self::tls::Encryption;
use super::migrate;
use super::{Condition, OpenError, Row, StoreError, Transaction, Value, Written};

/// An open database.
pub(super) struct Postgres {
    pool: Pool,
}

/// The statements of one [`Transaction`].
pub(super) struct PostgresTransaction<'a> {
    transaction: &'a deadpool_postgres::Transaction<'a>,
}

impl Postgres {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(url: &str, now_ms: Option<i64>) -> Result<Self, OpenError> {
        let (mut config, encryption) = tls::parse(url)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(CONNECT_MS));
        }
        if config.get_application_name().is_none() {
            config.application_name("porth");
        }
        let database = describe(&config);
        let unreachable = |reason: String| OpenError::Unreachable { database: database.clone(), reason };

        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match encryption {
            Encryption::None => Manager::from_config(config, NoTls, manager_config),
            Encryption::Tls(connector) => Manager::from_config(config, connector, manager_config),
        };
        let wait = Some(Duration::from_millis(CONNECT_MS));
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .wait_timeout(wait)
            .create_timeout(wait)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unreachable(error.to_string()))?;

        let mut connection = pool.get().await.map_err(|error| unreachable(with_causes(&error)))?;
        check_encoding(&connection).await.map_err(unreachable)?;
        migrate::migrate_postgres(&mut connection, &database, now_ms).await?;
        drop(connection);
        Ok(Self { pool })
    }

    pub(super) async fn read(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        match query(&self.connection().await?, sql, values).await {
            // The server may have closed an idle connection without the pool's noticing; reading twice does no harm.
            Err(StoreError::Unreachable(_)) => query(&self.connection().await?, sql, values).await,
            answer => answer,
        }
    }

    pub(super) async fn write(&self, statements: &[Condition]) -> Result<Written, StoreError> {
        let mut tries = Tries::default();
        loop {
            match self.write_once(statements).await {
                Err(StoreError::Conflict) if tries.again().await => {}
                answer => return answer,
            }
        }
    }

    async fn write_once(&self, statements: &[Condition]) -> Result<Written, StoreError> {
        let mut connection = self.connection().await?;
        if let [Condition { statement, must_match }] = statements {
            let rows = query(&connection, statement.sql, &statement.values).await?;
            return Ok(if *must_match && rows.is_empty() { Written::Missed(0) } else { Written::Stored(vec![rows]) });
        }
        let transaction = connection.transaction().await.map_err(|error| failure(&error, "BEGIN"))?;
        let mut answers = Vec::with_capacity(statements.len());
        for (index, Condition { statement, must_match }) in statements.iter().enumerate() {
            let rows = query(&transaction, statement.sql, &statement.values).await?;
            if *must_match && rows.is_empty() {
                // What is dropped without a commit is rolled back.
                return Ok(Written::Missed(index));
            }
            answers.push(rows);
        }
        transaction.commit().await.map_err(|error| failure(&error, "COMMIT"))?;
        Ok(Written::Stored(answers))
    }

    pub(super) async fn transaction<T, E>(
        &self,
        work: impl for<'a> Fn(&'a Transaction<'a>) -> BoxFuture<'a, Result<T, E>> + Send + Sync,
    ) -> Result<T, E>
    where
        T: Send,
        E: From<StoreError> + Send,
    {
        let mut tries = Tries::default();
        loop {
            let mut connection = self.connection().await?;
            let begin = connection.build_transaction().isolation_level(IsolationLevel::Serializable).start();
            let inner = begin.await.map_err(|error| failure(&error, "BEGIN"))?;
            let (result, failed) = {
                let transaction = Transaction::on_postgres(PostgresTransaction { transaction: &inner });
                let result = AssertUnwindSafe(async { work(&transaction).await }).catch_unwind().await;
                let result = result.unwrap_or_else(|panic| Err(StoreError::panicked(&*panic).into()));
                (result, transaction.failure().cloned())
            };
            let error = match (result, failed) {
                (Ok(value), None) => match inner.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) => failure(&error, "COMMIT"),
                },
                (_, Some(StoreError::Conflict)) => StoreError::Conflict,
                (Ok(_), Some(error)) => error,
                // Whatever is dropped without a commit is rolled back.
                (Err(error), _) => return Err(error),
            };
            if !(matches!(error, StoreError::Conflict) && tries.again().await) {
                return Err(error.into());
            }
        }
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Closed => StoreError::Closed,
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Busy("all connections are in use"),
            other => StoreError::Unreachable(with_causes(&other)),
        })
    }
}

impl PostgresTransaction<'_> {
    pub(super) async fn run(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        query(self.transaction, sql, values).await
    }
}

/// Counts how often something was tried.
#[derive(Default)]
struct Tries {
    failed: u32,
}

impl Tries {
    /// Waits a moment and says whether to try again. The moment is a random one, so that those who were in each other's
    /// way do not meet again.
    async fn again(&mut self) -> bool {
        self.failed += 1;
        let random = getrandom::u64().unwrap_or_default();
        tokio::time::sleep(Duration::from_micros(random % (1_000 << self.failed))).await;
        self.failed < TRIES_MAX
    }
}

/// Runs a statement, prepared once a connection, and reads all its rows.
pub(super) async fn query(
    client: &impl GenericClient,
    sql: &'static str,
    values: &[Value],
) -> Result<Vec<Row>, StoreError> {
    let statement = client.prepare_cached(sql).await.map_err(|error| failure(&error, sql))?;
    if statement.params().len() != values.len() {
        let reason = format!("{} placeholders, {} values", statement.params().len(), values.len());
        return Err(StoreError::Refused { sql, reason });
    }
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let rows = client.query(&statement, &values).await.map_err(|error| failure(&error, sql))?;
    let read = |row: tokio_postgres::Row| {
        let values = (0..row.len()).map(|index| row.try_get::<_, Value>(index)).collect::<Result<_, _>>();
        Ok(Row::new(sql, values.map_err(|error| failure(&error, sql))?))
    };
    rows.into_iter().map(read).collect()
}

/// The house's error for the server's.
pub(super) fn failure(error: &tokio_postgres::Error, sql: &'static str) -> StoreError {
    let Some(answer) = error.as_db_error() else {
        let broken = error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>());
        let reason = with_causes(error);
        return if broken { StoreError::Unreachable(reason) } else { StoreError::Refused { sql, reason } };
    };
    // The details of an answer quote what people stored, so they are left out.
    let reason = format!("{} (SQLSTATE {})", answer.message(), answer.code().code());
    let constraint = answer.constraint().unwrap_or("unnamed").to_owned();
    match *answer.code() {
        SqlState::UNIQUE_VIOLATION => StoreError::Duplicate(constraint),
        SqlState::FOREIGN_KEY_VIOLATION => StoreError::Reference(constraint),
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => StoreError::Conflict,
        SqlState::LOCK_NOT_AVAILABLE => StoreError::Busy("another process holds a lock"),
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
            StoreError::Unreachable(reason)
        }
        _ => StoreError::Refused { sql, reason },
    }
}

/// An error and what it says of its causes: the driver's own text is only "db error".
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(cause) = error.source() {
        text = format!("{text}: {cause}");
        error = cause;
    }
    text
}

/// What a database is called in messages: no password in it.
fn describe(config: &Config) -> String {
    let name = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{host}:{}", config.get_ports().first().unwrap_or(&5432)),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "an unknown host".to_owned(),
    };
    format!("the PostgreSQL database `{name}` at {host}")
}

/// Text is UTF-8 in the house, and SQL_ASCII for one would give back whatever went in.
async fn check_encoding(connection: &Object) -> Result<(), String> {
    let sql = "SELECT current_setting('server_encoding')";
    let mut rows = query(connection, sql, &[]).await.map_err(|error| error.to_string())?;
    let encoding: Option<String> = rows.first_mut().and_then(|row| row.take(0).ok());
    match encoding.as_deref() {
        Some("UTF8") => Ok(()),
        other => Err(format!("its encoding is {}, make one with ENCODING 'UTF8'", other.unwrap_or("unknown"))),
    }
}

/// How many connections a process has at most.
const CONNECTIONS_MAX: usize = 16;
/// How long a caller waits for a connection, and a connection for the server.
const CONNECT_MS: u64 = 5_000;
/// How often something is tried that the server wants tried again.
const TRIES_MAX: u32 = 8;
