//! `/user`: people, as administrators see and change them.

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
use crate::domain::users::{NewUser, User, UserChange};

/// `GET /user/`.
pub(super) async fn list(_: Admin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    Ok(Json(app.0.access.users.list(&page).await?.into_iter().map(view).collect()))
}

/// `POST /user/`.
pub(super) async fn add(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let username = fields.required_text("username");
    let source = fields.text("source");
    let UserChange { name, email, password, scopes, enabled, properties } = read(&mut fields);
    fields.finish()?;
    let new = NewUser {
        username,
        name: name.unwrap_or_default(),
        email: email.unwrap_or_default(),
        password,
        scopes: scopes.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
        properties,
    };
    app.0.access.users.add_to(source.as_deref(), new, now_ms()).await?;
    Ok(())
}

/// `GET /user/:username`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let user = app.0.access.users.get(&name).await?;
    user.map(|user| Json(view(user))).ok_or_else(|| unknown(&name))
}

/// `PUT /user/:username`: changes what is given.
pub(super) async fn change(
    _: Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let change = read(&mut fields);
    fields.finish()?;
    Ok(app.0.access.users.set(&name, change, now_ms()).await?)
}

/// `DELETE /user/:username`.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<(), Problem> {
    let failures = app.0.access.delete_user(&name).await?.ok_or_else(|| unknown(&name))?;
    for failure in failures {
        tracing::warn!("a user was deleted, but not everywhere: {failure}");
    }
    Ok(())
}

/// What a body says; whatever is none of the fields is a property.
fn read(fields: &mut Fields) -> UserChange {
    let mut change = UserChange {
        name: fields.text("name"),
        email: fields.text("email"),
        password: fields.text("password"),
        scopes: fields.texts("scope").flatten(),
        enabled: fields.flag("enabled"),
        ..UserChange::default()
    };
    change.properties = fields.rest();
    // What an answer says of them cannot be changed; it may stand in a body that was an answer.
    change.properties.retain(|name, _| !matches!(name.as_str(), "username" | "source"));
    change
}

/// As administrators see a person.
fn view(user: User) -> Value {
    let mut view = user.properties;
    let fields = json!({
        "username": user.username.as_str(),
        "name": user.name,
        "email": user.email,
        "scope": user.scopes,
        "enabled": user.enabled,
        "source": user.source,
    });
    if let Value::Object(fields) = fields {
        view.extend(fields);
    }
    Value::Object(view)
}

fn unknown(name: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no user `{name}`"))
}
