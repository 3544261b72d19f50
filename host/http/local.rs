//! What only the control socket serves: for `porth` commands beside a running server.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use http::Request;
use http::request::Parts;
use serde_json::{Value, json};

use super::audit::Made;
use super::error::{self, Problem};
use super::fields::Fields;
use super::page::Asked;
use super::{App, keys};
use crate::telemetry::process;

/// Marks a request that came by the control socket, which only the server's own user can open.
#[derive(Clone, Copy, Debug)]
pub struct Local;

/// The caller came by the control socket.
#[derive(Debug)]
pub(super) struct OnlyLocal;

impl FromRequestParts<App> for OnlyLocal {
    type Rejection = Problem;

    /// For everybody else these paths do not exist.
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        if parts.extensions.get::<Local>().is_some() { Ok(Self) } else { Err(error::not_found().await) }
    }
}

/// `POST /local/key`: makes an API key that is nobody's; `{"name", "expires_at"?, "expires_in"?}` → `{"key"}`.
pub(super) async fn new_key(
    _: OnlyLocal,
    State(app): State<App>,
    request: Request<Body>,
) -> Result<(Made, Json<Value>), Problem> {
    let now_ms = super::now_ms();
    let mut fields = Fields::read(request).await?;
    let name = fields.required_text("name");
    let expires_at_ms = keys::end(&mut fields, now_ms);
    fields.finish()?;
    Ok(keys::made(app.0.keys.create_until(&name, expires_at_ms, now_ms).await?))
}

/// `GET /local/key`.
pub(super) async fn list_keys(
    _: OnlyLocal,
    State(app): State<App>,
    Asked(page): Asked,
) -> Result<Json<Value>, Problem> {
    keys::shown(&app, &page).await
}

/// `DELETE /local/key/:hash`.
pub(super) async fn delete_key(_: OnlyLocal, State(app): State<App>, Path(hash): Path<String>) -> Result<(), Problem> {
    keys::remove(&app, &hash).await
}

/// `GET /local/status`: this server as a whole, and what the doctor must know of it.
pub(super) async fn status(_: OnlyLocal, State(app): State<App>) -> Result<Json<Value>, Problem> {
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
