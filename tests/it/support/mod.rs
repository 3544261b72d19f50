//! How a test gets to what it needs.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod postgres;
pub(crate) mod scale;
pub(crate) mod server;
