//! `host/runtime`: plug-ins that misbehave, and what becomes of the server, their neighbours and themselves.

mod crash;
mod documents;
mod misbehaviour;
mod raw;
mod streams;
mod zoo;
