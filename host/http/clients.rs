//! `/client`: applications, as administrators see and change them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::{Value, json};

use super::caller::Admin;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::page::Asked;
use super::{App, now_ms};
use crate::domain::clients::{Client, ClientDetails, ClientSecrets, SecretChange};

/// `GET /client/`.
pub(super) async fn list(_: Admin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    Ok(Json(app.0.clients.list(&page).await?.into_iter().map(view).collect()))
}

/// `POST /client/`.
pub(super) async fn add(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let client_id = fields.required_text("client_id");
    let source = fields.text("source");
    let secrets = secrets(&mut fields);
    let empty = ClientDetails { client_id, enabled: true, ..ClientDetails::default() };
    let details = changed(empty, &mut fields);
    fields.finish()?;
    app.0.clients.add_to(source.as_deref(), details, secrets, now_ms()).await?;
    Ok(())
}

/// `GET /client/:client_id`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(view(find(&app, &id).await?)))
}

/// `PUT /client/:client_id`: changes what is given; a secret that is null opens no more.
pub(super) async fn change(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let secrets = secrets(&mut fields);
    let details = changed(find(&app, &id).await?.details, &mut fields);
    fields.finish()?;
    Ok(app.0.clients.set(details, secrets, now_ms()).await?)
}

/// `DELETE /client/:client_id`.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(id): Path<String>) -> Result<(), Problem> {
    if app.0.clients.delete(&id).await? { Ok(()) } else { Err(unknown(&id)) }
}

async fn find(app: &App, id: &str) -> Result<Client, Problem> {
    app.0.clients.get(id).await?.ok_or_else(|| unknown(id))
}

fn secrets(fields: &mut Fields) -> ClientSecrets {
    let mut change = |name| {
        let named = fields.has(name);
        match fields.text(name) {
            Some(secret) => SecretChange::Set(secret),
            None if named => SecretChange::Remove,
            None => SecretChange::Keep,
        }
    };
    ClientSecrets { password: change("password"), secret: change("client_secret") }
}

/// An application with what a body says of it; whatever is none of the fields is a property.
fn changed(old: ClientDetails, fields: &mut Fields) -> ClientDetails {
    let mut new = ClientDetails {
        name: fields.text("name").unwrap_or(old.name),
        description: fields.text("description").unwrap_or(old.description),
        confidential: fields.flag("confidential").unwrap_or(old.confidential),
        authorization_types: fields.texts("authorization_type").flatten().unwrap_or(old.authorization_types),
        redirect_uris: fields.texts("redirect_uri").flatten().unwrap_or(old.redirect_uris),
        scopes: fields.texts("scope").flatten().unwrap_or(old.scopes),
        enabled: fields.flag("enabled").unwrap_or(old.enabled),
        client_id: old.client_id,
        properties: old.properties,
    };
    let mut properties = fields.rest();
    // What an answer says of them cannot be changed; it may stand in a body that was an answer.
    properties.retain(|name, _| !matches!(name.as_str(), "client_id" | "source"));
    new.properties.extend(properties);
    new
}

/// As administrators see an application.
fn view(client: Client) -> Value {
    let details = client.details;
    let mut view = details.properties;
    let fields = json!({
        "client_id": details.client_id,
        "name": details.name,
        "description": details.description,
        "confidential": details.confidential,
        "authorization_type": details.authorization_types,
        "redirect_uri": details.redirect_uris,
        "scope": details.scopes,
        "enabled": details.enabled,
        "source": client.source,
    });
    if let Value::Object(fields) = fields {
        view.extend(fields);
    }
    Value::Object(view)
}

fn unknown(id: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no client `{id}`"))
}
