//! How a test gets to what it needs.

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod database;
pub(crate) mod exposition;
pub(crate) mod load;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod scale;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod until;
pub(crate) mod versions;
