//! The baseline: the fixture's handler compiled into a server, without any border.

use axum::extract::Request;
use axum::routing::get;
use axum::{Json, Router};
use porth::http::Edge;
use porth::http::server::{Connections, serve_tcp};
use serde::Serialize;

use crate::{Result, callgrind};

/// The command that serves it.
pub(crate) const COMMAND: &str = "compiled-in";
/// Where the handler is.
pub(crate) const PATH: &str = "/api/bench/sync";
/// As axum itself serves an application.
pub(crate) const PLAIN: &str = "plain";
/// With Porth's layer around it, over Porth's connections.
pub(crate) const SAME_EDGE: &str = "same-edge";

/// Serves until standard input ends; the first line of standard output is the address.
pub(crate) fn serve(edge: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?);
    let router = Router::new().route(PATH, get(handler));
    if edge == PLAIN {
        runtime.spawn(async { axum::serve(listener, router).await });
    } else {
        runtime.spawn(serve_tcp(listener, Edge::new(router), Connections::default()));
    }
    callgrind::obey()
}

#[derive(Serialize)]
struct Answer {
    message: &'static str,
}

async fn handler(_: Request) -> Json<Answer> {
    Json(Answer { message: "hello host" })
}
