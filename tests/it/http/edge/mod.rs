//! Hostile clients, with raw sockets, at a route of the host and at one of a plug-in alike.

mod crowd;
mod frames;
mod framing;
mod json;
mod pace;
mod requests;
mod slow;
mod smuggling;
mod texts;

use serde_json::json;

use crate::support::server::{Server, Setup};

/// A path that is answered by the host and one that is by a plug-in, both by anybody's GET.
const PATHS: [&str; 2] = ["/health/live", "/api/m/ok"];

/// The same for a POST that reads its body; the host wants JSON.
const POSTS: [&str; 2] = ["/api/auth", "/api/m/echo"];

fn server() -> Server {
    with("")
}

/// With a configuration.
fn with(config: &str) -> Server {
    let server = Setup::new().libraries(&["misbehaves", "streams"]).config(config).start();
    server.add("misbehaves", "m", &json!({}));
    server.add("streams", "s", &json!({}));
    server
}
