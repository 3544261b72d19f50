//! What only the control socket serves: for `porth` commands beside a running server.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use http::Request;
use serde_json::{Value, json};

use super::App;
use super::error::{self, Problem};
use super::fields::Fields;
use crate::telemetry::process;

/// Marks a request that came by the control socket, which only the server's own user can open.
#[derive(Clone, Copy, Debug)]
pub struct Local;

/// `POST /local/key`: makes an API key; `{"name"}` → `{"key"}`.
pub(super) async fn new_key(
    local: Option<Extension<Local>>,
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<Value>, Problem> {
    // For everybody else this path does not exist.
    if local.is_none() {
        return Err(error::not_found().await);
    }
    let mut fields = Fields::read(request).await?;
    let name = fields.required_text("name");
    fields.finish()?;
    let new = app.0.keys.create(&name, super::now_ms()).await?;
    Ok(Json(json!({"key": new.key})))
}

/// `GET /local/status`: this server as a whole, and what the doctor must know of it.
pub(super) async fn status(local: Option<Extension<Local>>, State(app): State<App>) -> Result<Json<Value>, Problem> {
    if local.is_none() {
        return Err(error::not_found().await);
    }
    let (generation, crashes) = process::child();
    let now_ms = super::now_ms();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("PORTH_COMMIT"),
        "pid": std::process::id(),
        "generation": generation,
        "crashes": crashes,
        "uptime_s": process::uptime_s().map(f64::floor),
        "ready": app.0.ready.load(Ordering::Relaxed),
        "administered": app.0.setup.is_administered().await?,
        "setup_link_open": app.0.setup.is_any_open(now_ms).await?,
        "now": now_ms,
    })))
}
