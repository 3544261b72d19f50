//! What needs a real library, a socket or a database; filed as the source or the URL is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows tests by their attribute, not their helpers; here all is test"
)]

mod support;

mod domain;
mod store;
