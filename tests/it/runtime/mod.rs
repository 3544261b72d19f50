//! `host/runtime`: plug-ins that misbehave, and what becomes of the server, their neighbours and themselves.

mod beside;
mod breaker;
mod crash;
mod documents;
mod identity_kill;
mod metrics;
mod misbehaviour;
mod questions;
mod raw;
mod recycle;
mod reload;
mod reported;
mod schemes;
mod streams;
mod timers;
mod watchdog;
mod zoo;
