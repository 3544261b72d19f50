//! `host/domain` on SQLite and on PostgreSQL.

mod back_ends;
mod clients;
mod documents;
mod instances;
mod keys;
mod lockout;
mod login;
mod schemes;
mod scopes;
mod users;
mod validity;
