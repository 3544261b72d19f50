//! The border from the host's side: files that claim to be libraries, and what becomes of them.

mod fault;
mod fixture;
mod foreign;
mod header;
mod judge;
mod probe;
mod staging;
