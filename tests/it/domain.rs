//! `host/domain` on SQLite and on PostgreSQL.

mod instances;
mod keys;
