//! `host/runtime`: plug-ins that misbehave, and what becomes of the server, their neighbours and themselves.

mod crash;
mod misbehaviour;
mod raw;
mod recycle;
mod reload;
mod streams;
mod zoo;
