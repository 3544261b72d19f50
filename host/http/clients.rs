//! `/client`: applications, as administrators see and change them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::Value;

use super::caller::Admin;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::page::Asked;
use super::{App, now_ms};
use crate::domain::clients::{Client, ClientDetails, ClientSecrets};

/// `GET /client/`.
pub(super) async fn list(_: Admin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    Ok(Json(app.0.clients.list(&page).await?.into_iter().map(Client::view).collect()))
}

/// `POST /client/`.
pub(super) async fn add(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let source = fields.text("source");
    let secrets = ClientSecrets::read(&mut fields);
    let details = ClientDetails::read(&mut fields);
    fields.finish()?;
    app.0.clients.add_to(source.as_deref(), details, secrets, now_ms()).await?;
    Ok(())
}

/// `GET /client/:client_id`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(find(&app, &id).await?.view()))
}

/// `PUT /client/:client_id`: changes what is given; a secret that is null opens no more.
pub(super) async fn change(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let secrets = ClientSecrets::read(&mut fields);
    let old = find(&app, &id).await?.details;
    let new = old.clone().changed(&mut fields);
    fields.finish()?;
    Ok(app.0.clients.change(&old, new, secrets, now_ms()).await?)
}

/// `DELETE /client/:client_id`.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(id): Path<String>) -> Result<(), Problem> {
    if app.0.clients.delete(&id).await? { Ok(()) } else { Err(unknown(&id)) }
}

async fn find(app: &App, id: &str) -> Result<Client, Problem> {
    app.0.clients.get(id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no client `{id}`"))
}
