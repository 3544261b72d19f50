//! `/auth/grant`: what the current user grants to applications.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::Value;

use super::caller::Current;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::{App, now_ms};

/// `GET /auth/grant/:client_id/:scopes`: which of these scopes, divided by spaces, are granted.
pub(super) async fn show(
    Current(present): Current,
    State(app): State<App>,
    Path((client_id, scopes)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let grant = app.0.grants.of_client(&present.user, &client_id, &words(&scopes)).await?;
    let grant = grant.ok_or_else(|| Problem::new(NOT_FOUND, format!("there is no client `{client_id}`")))?;
    if grant.scopes.is_empty() {
        return Err(Problem::new(NOT_FOUND, "the user has none of these scopes"));
    }
    Ok(Json(grant.view()))
}

/// `PUT /auth/grant/:client_id/`: grants these scopes and no others.
pub(super) async fn put(
    Current(present): Current,
    State(app): State<App>,
    Path(client_id): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let scopes = fields.required_text("scope");
    fields.finish()?;
    Ok(app.0.grants.put(&present.user, &client_id, words(&scopes), now_ms()).await?)
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
