//! `/user`: people, as administrators see and change them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::Request;
use serde_json::{Value, json};

use super::caller::Admin;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::modules::detached;
use super::page::Asked;
use super::{App, now_ms};
use crate::domain::users::{NewUser, User, UserChange};

/// `GET /user/`.
pub(super) async fn list(_: Admin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    Ok(Json(app.0.access.users.list(&page).await?.into_iter().map(User::view).collect()))
}

/// `POST /user/`.
pub(super) async fn add(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let source = fields.text("source");
    let new = NewUser::read(&mut fields);
    fields.finish()?;
    app.0.access.users.add_to(source.as_deref(), new, now_ms()).await?;
    Ok(())
}

/// `GET /user/:username`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let user = app.0.access.users.get(&name).await?;
    user.map(|user| Json(user.view())).ok_or_else(|| unknown(&name))
}

/// `PUT /user/:username`: changes what is given.
pub(super) async fn change(
    _: Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let change = UserChange::read(&mut fields);
    fields.finish()?;
    Ok(app.0.access.users.set(&name, change, now_ms()).await?)
}

/// `DELETE /user/:username`: gone, whoever has not forgotten them; who has not stands in the answer.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    let missing = unknown(&name);
    // To its end, also when the caller leaves: else others hear of it a minute later.
    let failures = detached(async move { app.0.access.users.delete(&name).await }).await??.ok_or(missing)?;
    Ok(if failures.is_empty() { ().into_response() } else { Json(json!({ "failures": failures })).into_response() })
}

fn unknown(name: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no user `{name}`"))
}
