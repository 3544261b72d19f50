//! `/misc`: settings that administrators' programs keep here.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::{Value, json};

use super::App;
use super::caller::Admin;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::page::Asked;
use crate::domain::misc::MiscEntry;

/// `GET /misc/`.
pub(super) async fn list(_: Admin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    let entries = app.0.misc.list(&page).await?.into_iter();
    Ok(Json(entries.map(|entry| json!({"name": entry.name, "type": entry.kind, "value": entry.value})).collect()))
}

/// `GET /misc/:name`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let entry = app.0.misc.get(&name).await?.ok_or_else(|| unknown(&name))?;
    Ok(Json(json!({"type": entry.kind, "value": entry.value})))
}

/// `PUT /misc/:name`: adds or replaces it.
pub(super) async fn put(
    _: Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let kind = fields.required_text("type");
    if !fields.has("value") {
        fields.refuse("value: missing".to_owned());
    }
    let value = fields.rest().remove("value").unwrap_or_default();
    fields.finish()?;
    Ok(app.0.misc.put(MiscEntry { name, kind, value }).await?)
}

/// `DELETE /misc/:name`.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<(), Problem> {
    if app.0.misc.delete(&name).await? { Ok(()) } else { Err(unknown(&name)) }
}

fn unknown(name: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no setting `{name}`"))
}
