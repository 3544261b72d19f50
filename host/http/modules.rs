//! `/mod`: the types of modules and their instances, as administrators see and change them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::{Value, json};

use super::caller::Admin;
use super::error::{INVALID, Problem};
use super::fields::Fields;
use super::page::Asked;
use super::{App, now_ms};
use crate::domain::instances::NewInstance;
use crate::runtime::instances::PLUGIN;
use crate::runtime::{Edit, HealthView, InstanceView};

/// `GET /mod/type/`: every module by kind, with what its parameters must satisfy.
pub(super) async fn types(_: Admin, State(app): State<App>) -> Json<Value> {
    let mut kinds = json!({PLUGIN: []});
    for module in app.0.runtime.libraries().modules() {
        let module = &module.description;
        let entry = json!({
            "name": module.name,
            "display_name": module.display_name,
            "description": module.description,
            "parameters_schema": module.parameters_schema,
            "needs": module.needs,
        });
        if let Some(list) = kinds.get_mut(&module.kind).and_then(Value::as_array_mut) {
            list.push(entry);
        }
    }
    Json(kinds)
}

/// `GET /mod/plugin/`: the instances.
pub(super) async fn list(_: Admin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    let pattern = page.pattern.to_lowercase();
    let instances = app.0.runtime.list(PLUGIN).await?;
    let shown = instances
        .iter()
        .filter(|instance| {
            let record = &instance.record;
            [&record.name, &record.display_name, &record.module]
                .iter()
                .any(|text| text.to_lowercase().contains(&pattern))
        })
        .skip(usize::try_from(page.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(page.limit).unwrap_or(usize::MAX))
        .map(view);
    Ok(Json(shown.collect()))
}

/// `POST /mod/plugin/`: adds an instance.
pub(super) async fn add(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let new = NewInstance {
        kind: PLUGIN.to_owned(),
        module: fields.required_text("module"),
        name: fields.required_text("name"),
        display_name: fields.text("display_name").unwrap_or_default(),
        parameters: fields.object("parameters").unwrap_or_default(),
        enabled: true,
        grants: fields.texts("grants").flatten(),
        allow_public: fields.flag("allow_public").unwrap_or_default(),
    };
    fields.finish()?;
    // A task of its own: a client that leaves must not stop a change half-way.
    Ok(detached(async move { app.0.runtime.add(new, now_ms()).await }).await??)
}

/// `GET /mod/plugin/:name`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&app.0.runtime.get(PLUGIN, &name).await?)))
}

/// `PUT /mod/plugin/:name`: changes what is given.
pub(super) async fn replace(
    _: Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let edit = Edit {
        module: fields.text("module"),
        display_name: fields.text("display_name"),
        parameters: fields.object("parameters"),
        grants: fields.texts("grants"),
        allow_public: fields.flag("allow_public"),
    };
    fields.finish()?;
    Ok(detached(async move { app.0.runtime.replace(PLUGIN, &name, edit, now_ms()).await }).await??)
}

/// `DELETE /mod/plugin/:name`.
pub(super) async fn delete(_: Admin, State(app): State<App>, Path(name): Path<String>) -> Result<(), Problem> {
    Ok(detached(async move { app.0.runtime.delete(PLUGIN, &name).await }).await??)
}

/// `PUT /mod/plugin/:name/:action`.
pub(super) async fn act(
    _: Admin,
    State(app): State<App>,
    Path((name, action)): Path<(String, String)>,
) -> Result<(), Problem> {
    let acted = detached(async move {
        let runtime = &app.0.runtime;
        match action.as_str() {
            "enable" => Some(runtime.enable(PLUGIN, &name, now_ms()).await),
            "disable" => Some(runtime.disable(PLUGIN, &name, now_ms()).await),
            "reset" => Some(runtime.reset(PLUGIN, &name, now_ms()).await),
            _ => None,
        }
    });
    match acted.await? {
        Some(result) => Ok(result?),
        None => Err(Problem::new(INVALID, "action: expected `enable`, `disable` or `reset`")),
    }
}

/// Runs a change to its end, also when the client leaves.
pub(super) async fn detached<T: Send + 'static>(
    change: impl Future<Output = T> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(change).await.map_err(|error| Problem::logged(super::error::INTERNAL, error))
}

fn view(instance: &InstanceView) -> Value {
    let InstanceView { record, status, error, health } = instance;
    json!({
        "module": record.module,
        "name": record.name,
        "display_name": record.display_name,
        "parameters": record.parameters,
        "grants": record.grants,
        "allow_public": record.allow_public,
        "declared": record.declared,
        "enabled": record.enabled,
        "status": status.as_str(),
        "error": error,
        "quarantine": record.quarantine,
        "health": health.as_ref().map(health_view),
    })
}

fn health_view(health: &HealthView) -> Value {
    let mut view = json!({
        "status": health.status.as_str(),
        "reasons": health.reasons,
        "moved": !health.on_workers(),
        "calls": health.calls,
        "threads": {
            "running": health.threads.threads,
            "idle": health.threads.idle,
            "overdue": health.threads.overdue,
            "waiting": health.threads.waiting,
        },
    });
    if let Some(view) = view.as_object_mut() {
        view.extend(health.totals.iter().map(|(name, total)| ((*name).to_owned(), json!(total))));
    }
    view
}
