//! The same test on both engines.
//!
//! Start at [`on_both_engines`]. A test is an `async fn(&Store)`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use porth::store::{Db, OpenError};
use tempfile::TempDir;

use super::postgres;

/// A database of one test's own.
pub(crate) struct Store {
    pub(crate) db: Db,
    pub(crate) database: String,
    data: TempDir,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Makes tests of functions, which run once on each engine.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn on_sqlite() {
                $crate::support::database::run($crate::support::database::Engine::Sqlite, super::$name);
            }

            #[test]
            fn on_postgres() {
                $crate::support::database::run($crate::support::database::Engine::Postgres, super::$name);
            }
        }
    )*};
}
pub(crate) use on_both_engines;

/// A time that says nothing.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs a test with a new database.
pub(crate) fn run(engine: Engine, check: impl AsyncFnOnce(&Store)) {
    let data = tempfile::tempdir().unwrap();
    let database = match engine {
        Engine::Sqlite => "sqlite".to_owned(),
        Engine::Postgres => match postgres::create_database() {
            Some(url) => url,
            None => return,
        },
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = Db::open(&database, data.path(), NOW_MS).await.unwrap();
        let store = Store { db, database, data };
        let whole = async {
            check(&store).await;
            store.db.close().await;
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("a test of the database hangs");
    });
}

impl Store {
    /// Opens the same database once more.
    pub(crate) async fn open_again(&self) -> Result<Db, OpenError> {
        Db::open(&self.database, self.data.path(), NOW_MS).await
    }

    /// Runs SQL without Porth's help.
    pub(crate) fn execute(&self, sql: &str) {
        if self.is_sqlite() {
            rusqlite::Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
            // Porth does not look whether somebody else writes, see `Db::recall`.
            std::fs::write(
                self.file().with_extension("news"),
                [getrandom::u64().unwrap(); 8].map(u64::to_ne_bytes).concat(),
            )
            .unwrap();
        } else {
            postgres::execute(&self.database, sql);
        }
    }

    /// Takes everything out of the database, which must be closed.
    pub(crate) fn empty(&self) {
        if self.is_sqlite() {
            std::fs::remove_file(self.file()).unwrap();
            return;
        }
        self.execute(
            "DO $$ DECLARE found TEXT; BEGIN \
             FOR found IN SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() LOOP \
             EXECUTE format('DROP TABLE %I CASCADE', found); END LOOP; END $$",
        );
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.database == "sqlite"
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// SQLite's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.data().join("porth.db")
    }
}
