//! The baseline: the fixture's handler compiled into a server, without any border.

use std::sync::Arc;

use axum::extract::Request;
use axum::routing::get;
use axum::{Json, Router};
use porth::config::Serves;
use porth::http::server::{Connections, serve_tcp};
use porth::http::{Edge, Entrance};
use serde::Serialize;

use crate::Result;

/// The command that serves it.
pub(crate) const COMMAND: &str = "compiled-in";
/// Where the handler is.
pub(crate) const PATH: &str = "/api/bench/sync";
/// Where the fixture and this have what callgrind watches for.
pub(crate) const CHECKPOINT: &str = "/api/bench/checkpoint";
/// As axum itself serves an application.
pub(crate) const PLAIN: &str = "plain";
/// With Porth's layer around it, over Porth's connections.
pub(crate) const SAME_EDGE: &str = "same-edge";

/// Serves until standard input ends; the first line of standard output is the address.
pub(crate) fn serve(edge: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?);
    let router = Router::new().route(PATH, get(handler)).route(CHECKPOINT, get(pass_checkpoint));
    if edge == PLAIN {
        runtime.spawn(async { axum::serve(listener, router).await });
    } else {
        let edge = Edge::new(router, Arc::default());
        runtime.spawn(serve_tcp(listener, Entrance::plain(), Serves::All, edge, Connections::default()));
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

#[derive(Serialize)]
struct Answer {
    message: &'static str,
}

async fn handler(_: Request) -> Json<Answer> {
    Json(Answer { message: "hello host" })
}

async fn pass_checkpoint() {
    checkpoint();
}

/// Callgrind dumps when this is called.
#[inline(never)]
fn checkpoint() {
    std::hint::black_box(());
}
