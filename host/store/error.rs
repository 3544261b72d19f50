//! What can go wrong between the house and its database.
//!
//! [`StoreError`] is what a statement ends with, [`OpenError`] what opening ends with.

use std::any::Any;
use std::path::PathBuf;

/// Why a statement was not carried out, or gave what was not expected.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Too much waits already, or another process holds the database. Nothing was stored; trying again later may help.
    #[error("the database has more to do than it can take on: {0}")]
    Busy(&'static str),
    /// Others changed the same rows again and again. Nothing was stored; trying again may help.
    #[error("others kept changing what a transaction needed")]
    Conflict,
    /// A row with the same key exists. Nothing was stored.
    #[error("a row with the same key exists already: {0}")]
    Duplicate(String),
    /// A row that is referred to does not exist, or one that goes is still referred to. Nothing was stored.
    #[error("a reference to a row that does not exist: {0}")]
    Reference(String),
    /// A text to be stored holds a NUL character. Nothing was stored.
    #[error("a text holds a NUL character, which cannot be stored")]
    NulInText,
    /// A column does not hold what the reader expects.
    #[error("column {index} of `{sql}` holds {found}, expected {expected}")]
    Column {
        /// The statement.
        sql: &'static str,
        /// The column, counted from 0.
        index: usize,
        /// What is there.
        found: &'static str,
        /// What should be.
        expected: &'static str,
    },
    /// What is stored cannot be understood.
    #[error("{what} is stored damaged: {reason}")]
    Damaged {
        /// What it is.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The code that ran in a transaction panicked. Nothing was stored.
    #[error("the code inside a transaction panicked: {0}")]
    Panicked(String),
    /// The store was closed.
    #[error("the database is closed")]
    Closed,
    /// The connection could not be made or broke. A write may have been stored all the same.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// Anything else that the engine refuses. Nothing was stored.
    #[error("the database refused `{sql}`: {reason}")]
    Refused {
        /// The statement.
        sql: &'static str,
        /// The engine's words.
        reason: String,
    },
    /// Whoever keeps the records instead of the database does not answer, or answers what cannot be.
    #[error("`{back_end}` failed: {reason}")]
    BackEnd {
        /// The instance's name.
        back_end: String,
        /// What went wrong.
        reason: String,
    },
    /// The records may only be read.
    #[error("the back end `{back_end}` can only be read")]
    ReadOnly {
        /// The instance's name.
        back_end: String,
    },
}

impl StoreError {
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::Panicked(text.unwrap_or("it said nothing").to_owned())
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    // The text itself may hold a password, so it is not repeated.
    /// The setting names neither engine.
    #[error("`database` is neither `sqlite` nor a URL that starts with `postgres://`")]
    Unknown,
    /// The URL cannot be used.
    #[error("the URL of the PostgreSQL database cannot be used: {0}")]
    Url(String),
    /// The file of the root certificates cannot be used.
    #[error("`sslrootcert` names `{}`, which cannot be used: {reason}", path.display())]
    RootCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The schema is to be left as it is, and is older than this Porth's.
    #[error(
        "{database} has to be brought to version {version} of its schema, which cannot be done beside a process that \
         works with it: restart the server"
    )]
    Outdated {
        /// Which database.
        database: String,
        /// The first version that it lacks.
        version: i64,
    },
    /// The file cannot be opened, or the server not be reached.
    #[error("{database} cannot be opened: {reason}")]
    Unreachable {
        /// Which database.
        database: String,
        /// What went wrong.
        reason: String,
    },
    /// The database holds something that is not Porth's.
    #[error("{database} is not a database of Porth: {reason}; name another, or an empty one")]
    Foreign {
        /// Which database.
        database: String,
        /// What it holds.
        reason: String,
    },
    /// A newer Porth has changed the database.
    #[error("{database} has schema version {found}, this Porth knows versions up to {supported}; run the newer Porth")]
    Newer {
        /// Which database.
        database: String,
        /// The version that it has.
        found: i64,
        /// The newest version known here.
        supported: i64,
    },
    /// The record of schema versions contradicts itself or this Porth.
    #[error("{database} has a damaged record of its schema versions: {reason}; restore a backup")]
    Damaged {
        /// Which database.
        database: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Bringing the schema up to date failed; it is as it was before.
    #[error("{database} could not be brought to schema version {version}: {reason}")]
    Migration {
        /// Which database.
        database: String,
        /// The version that failed.
        version: i64,
        /// What went wrong.
        reason: String,
    },
}
