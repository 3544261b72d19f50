//! `host/domain` on SQLite and on PostgreSQL.

mod audit;
mod back_ends;
mod changes;
mod clients;
mod departures;
mod documents;
mod grants;
mod instances;
mod keys;
mod lockout;
mod login;
mod misc;
mod schemes;
mod scopes;
mod setup;
mod users;
mod validity;
