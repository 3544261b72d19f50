//! `/scope`: scopes, as administrators see and change them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::{Map, Value, json};

use super::App;
use super::caller::Admin;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::page::AskedOrAll;
use crate::domain::scopes::{SchemeGroup, Scope};

/// `GET /scope/`.
pub(super) async fn list(
    _: Admin,
    State(app): State<App>,
    AskedOrAll(page): AskedOrAll,
) -> Result<Json<Value>, Problem> {
    Ok(Json(app.0.access.scopes.list(&page).await?.iter().map(view).collect()))
}

/// `POST /scope/`.
pub(super) async fn add(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let name = fields.required_text("name");
    let empty = Scope {
        name,
        display_name: String::new(),
        description: String::new(),
        password_required: true,
        password_max_age_s: 0,
        groups: BTreeMap::new(),
    };
    let scope = changed(empty, &mut fields);
    fields.finish()?;
    Ok(app.0.access.scopes.add(scope).await?)
}

/// `GET /scope/:scope`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&find(&app, &name).await?)))
}

/// `PUT /scope/:scope`: changes what is given.
pub(super) async fn change(
    _: Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let old = find(&app, &name).await?;
    let new = changed(old.clone(), &mut fields);
    fields.finish()?;
    Ok(app.0.access.scopes.change(old, new).await?)
}

/// `DELETE /scope/:scope`.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<(), Problem> {
    if app.0.access.scopes.delete(&name).await? { Ok(()) } else { Err(unknown(&name)) }
}

async fn find(app: &App, name: &str) -> Result<Scope, Problem> {
    app.0.access.scopes.get(name).await?.ok_or_else(|| unknown(name))
}

/// A scope with what a body says of it.
fn changed(old: Scope, fields: &mut Fields) -> Scope {
    let groups = match (fields.object("scheme"), fields.object("scheme_required")) {
        (None, None) => old.groups,
        (None, Some(_)) => {
            fields.refuse("scheme: missing, while there is `scheme_required`".to_owned());
            old.groups
        }
        (Some(groups), required) => read_groups(groups, required.unwrap_or_default(), fields),
    };
    Scope {
        display_name: fields.text("display_name").unwrap_or(old.display_name),
        description: fields.text("description").unwrap_or(old.description),
        password_required: fields.flag("password_required").unwrap_or(old.password_required),
        password_max_age_s: fields.number("password_max_age").unwrap_or(old.password_max_age_s),
        groups,
        ..old
    }
}

/// `{group: [{scheme_name}]}` with `{group: n}`.
fn read_groups(
    groups: Map<String, Value>,
    mut required: Map<String, Value>,
    fields: &mut Fields,
) -> BTreeMap<String, SchemeGroup> {
    let mut read = BTreeMap::new();
    for (name, members) in groups {
        let scheme = |member: &Value| member.get("scheme_name")?.as_str().map(str::to_owned);
        let schemes = members.as_array().and_then(|members| members.iter().map(scheme).collect::<Option<Vec<_>>>());
        let number = required.remove(&name).map_or(Some(1), |number| number.as_u64()?.try_into().ok());
        match (schemes, number) {
            (Some(schemes), Some(required)) => {
                read.insert(name, SchemeGroup { required, schemes });
            }
            (None, _) => fields.refuse(format!("scheme: the group `{name}` is no list of {{scheme_name}}")),
            (_, None) => fields.refuse(format!("scheme_required: the group `{name}` requires no number")),
        }
    }
    for name in required.keys() {
        fields.refuse(format!("scheme_required: there is no group `{name}`"));
    }
    read
}

/// As administrators see a scope.
pub(super) fn view(scope: &Scope) -> Value {
    let members =
        |group: &SchemeGroup| -> Value { group.schemes.iter().map(|scheme| json!({"scheme_name": scheme})).collect() };
    let groups = scope.groups.iter();
    json!({
        "name": scope.name,
        "display_name": scope.display_name,
        "description": scope.description,
        "password_required": scope.password_required,
        "password_max_age": scope.password_max_age_s,
        "scheme": groups.clone().map(|(name, group)| (name.clone(), members(group))).collect::<Map<_, _>>(),
        "scheme_required": groups.map(|(name, group)| (name.clone(), json!(group.required))).collect::<Map<_, _>>(),
    })
}

fn unknown(name: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no scope `{name}`"))
}
