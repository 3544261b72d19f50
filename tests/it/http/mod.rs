//! `host/http`: the routes of the host and the mount of the plug-ins, by URL.

mod administration;
mod audit;
mod back_ends;
mod edge;
mod http2;
mod identity;
mod ids;
mod kinds;
mod listeners;
mod log;
mod metrics;
mod modules;
mod mount;
mod notes;
mod openapi;
mod profile;
mod schemes;
mod secrets;
mod setup;
mod table;
mod tls;
