//! Porth, a service host: users, clients, sessions and permissions in one binary, everything else from plug-ins.
//!
//! `ARCHITECTURE.md` draws the floors below in one screen. They look down only, and `tests/it/tidy.rs` sees to it.
#![deny(unsafe_code)]

pub mod abi;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod runtime;
pub mod store;
pub mod supervisor;
pub mod telemetry;
