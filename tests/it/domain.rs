//! `host/domain` on SQLite and on PostgreSQL.

mod documents;
mod instances;
mod keys;
