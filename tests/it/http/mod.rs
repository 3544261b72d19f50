//! `host/http`: the routes of the host and the mount of the plug-ins, by URL.

mod back_ends;
mod identity;
mod kinds;
mod modules;
mod mount;
mod notes;
mod schemes;
