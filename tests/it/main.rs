//! Everything that needs a real library, a compiler, a socket or a database, filed as the source or the URL is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests, down to their helpers")]

mod border;
