//! `host/http`: the routes of the host and the mount of the plug-ins, by URL.

mod identity;
mod modules;
mod mount;
mod notes;
mod profile;
