//! `host/runtime`: plug-ins that misbehave, and what becomes of the server, their neighbours and themselves.

mod crash;
mod misbehaviour;
mod raw;
mod recycle;
mod streams;
mod zoo;
