//! Whether the server lives, whether it is ready, what it has counted, and what the pages must know of it.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::caller::Admin;
use crate::config::DeleteProfile;
use crate::telemetry;
use crate::telemetry::metrics::{Exposition, Form};

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// `GET /health/ready`: the instances were started, and the server is not draining.
pub(super) async fn ready(State(app): State<App>) -> Response {
    if app.0.ready.load(Ordering::Relaxed) {
        Json(json!({"status": "ready"})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready"}))).into_response()
    }
}

/// `GET /metrics`: what was counted, in the text format of Prometheus or as OpenMetrics, as `Accept` says. For administrators only: it tells which endpoints
/// there are and how they are used, and behind a proxy every caller looks local.
pub(super) async fn metrics(_: Admin, State(app): State<App>, headers: HeaderMap) -> Response {
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let form = Form::wanted(&accept.join(","));
    let mut exposition = Exposition::new(form);
    telemetry::process::expose(&mut exposition);
    telemetry::server::expose(&mut exposition);
    app.0.measured.expose(&mut exposition);
    app.0.store.expose(&mut exposition);
    super::listeners::expose(&app, &mut exposition);
    app.0.runtime.expose(&mut exposition);
    ([(CONTENT_TYPE, form.media_type()), (VARY, "accept")], exposition.into_text()).into_response()
}

/// `GET /config`: what pages and clients need before anybody logs in.
pub(super) async fn config(State(app): State<App>) -> Json<Value> {
    let config = &app.0.config;
    Json(json!({
        "api_prefix": config.api_prefix,
        "admin_scope": config.admin_scope,
        "profile_scope": config.profile_scope,
        "delete_profile": config.profile.delete != DeleteProfile::No,
    }))
}
