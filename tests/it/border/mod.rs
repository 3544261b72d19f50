//! What libraries carry for the host: see `plugin-api`.

mod header;
