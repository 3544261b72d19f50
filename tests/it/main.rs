//! What needs a real library, a compiler, a socket or a database: one module for each part, one binary for all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod support;

mod border;
mod cli;
mod configuration;
mod docs;
mod domain;
mod http;
mod packaging;
mod runtime;
mod store;
mod supervisor;
mod tidy;
