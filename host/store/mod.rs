//! The database: the only floor with SQL. It returns plain rows and holds no rules.
//!
//! Start at [`Db`]. SQLite in the data directory or PostgreSQL by URL run the same statements; each table has a module
//! with its queries. How SQL must be written for both is said at [`Db`].

pub mod api_keys;
pub mod audit_events;
pub mod backup;
pub mod clients;
pub mod departures;
pub mod document_sets;
pub mod documents;
pub mod grants;
pub mod instances;
pub mod login_failures;
pub mod login_sessions;
pub mod misc_config;
pub mod scopes;
pub mod server;
pub mod setup_links;
pub mod users;

mod counts;
mod db;
mod error;
mod migrate;
mod postgres;
mod sqlite;
mod value;

/// What the file of a SQLite database is called, in the data directory.
pub const SQLITE_FILE: &str = "porth.db";

pub use counts::StoreCounts;
pub use db::{Condition, Db, Statement, Transaction, Written};
pub use error::{OpenError, StoreError};
pub(crate) use value::values;
pub use value::{Column, Row, Value};
