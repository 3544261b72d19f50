//! `/mod`: the types of modules and their instances, as administrators see and change them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use serde_json::{Value, json};

use super::caller::Admin;
use super::drift::Disagreements;
use super::error::{INVALID, NOT_FOUND, Problem};
use super::fields::Fields;
use super::page::Asked;
use super::{App, now_ms};
use crate::domain::instances::{NewInstance, Settings};
use crate::runtime::back_ends::BUILT_IN;
use crate::runtime::{Edit, EndpointView, HealthView, InstanceView, KINDS};
use crate::telemetry::request;

/// `GET /mod/type/`: every module by kind, with what its parameters must satisfy.
pub(super) async fn types(_: Admin, State(app): State<App>) -> Json<Value> {
    let mut kinds: Value = KINDS.iter().map(|kind| ((*kind).to_owned(), json!([]))).collect();
    let mut put = |kind: &str, entry: Value| {
        if let Some(list) = kinds.get_mut(kind).and_then(Value::as_array_mut) {
            list.push(entry);
        }
    };
    for module in BUILT_IN {
        let entry = json!({
            "name": module.name,
            "display_name": module.display_name,
            "description": module.description,
            "parameters_schema": {"type": "object", "additionalProperties": false},
            "needs": [],
        });
        put(module.kind, entry);
    }
    for module in app.0.runtime.libraries().modules() {
        let module = &module.description;
        let entry = json!({
            "name": module.name,
            "display_name": module.display_name,
            "description": module.description,
            "parameters_schema": module.parameters_schema,
            "needs": module.needs,
        });
        put(&module.kind, entry);
    }
    Json(kinds)
}

/// A kind of modules in a path; any other text is 404.
#[derive(Debug)]
pub(super) struct Kind(&'static str);

impl TryFrom<String> for Kind {
    type Error = Problem;

    fn try_from(kind: String) -> Result<Self, Problem> {
        let known = KINDS.iter().find(|known| **known == kind);
        known
            .map(|known| Self(known))
            .ok_or_else(|| Problem::new(NOT_FOUND, format!("there is no kind `{kind}` of modules")))
    }
}

/// `GET /mod/:kind/`: the instances.
pub(super) async fn list(
    _: Admin,
    State(app): State<App>,
    Path(kind): Path<String>,
    Asked(page): Asked,
) -> Result<Json<Value>, Problem> {
    let Kind(kind) = kind.try_into()?;
    let pattern = page.pattern.to_lowercase();
    let instances = app.0.runtime.list(kind).await?;
    let drift = Disagreements::look(&app).await?;
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
        .map(|instance| with_drift(instance, &drift));
    Ok(Json(shown.collect()))
}

/// `POST /mod/:kind/`: adds an instance.
pub(super) async fn add(
    _: Admin,
    State(app): State<App>,
    Path(kind): Path<String>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let Kind(kind) = kind.try_into()?;
    let mut fields = Fields::read(request).await?;
    let mut new = NewInstance {
        kind: kind.to_owned(),
        module: fields.required_text("module"),
        name: fields.required_text("name"),
        display_name: fields.text("display_name").unwrap_or_default(),
        parameters: fields.object("parameters").unwrap_or_default(),
        enabled: true,
        grants: fields.texts("grants").flatten(),
        allow_public: fields.flag("allow_public").unwrap_or_default(),
        settings: Settings::default(),
    };
    match new.settings.changed(kind, &fields.rest()) {
        Ok(settings) => new.settings = settings,
        Err(wrong) => wrong.into_iter().for_each(|error| fields.refuse(error)),
    }
    fields.finish()?;
    // A task of its own: a client that leaves must not stop a change half-way.
    Ok(detached(async move { app.0.runtime.add(new, now_ms()).await }).await??)
}

/// `GET /mod/:kind/:name`.
pub(super) async fn show(
    _: Admin,
    State(app): State<App>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let Kind(kind) = kind.try_into()?;
    let instance = app.0.runtime.get(kind, &name).await?;
    Ok(Json(with_drift(&instance, &Disagreements::look(&app).await?)))
}

/// `PUT /mod/:kind/:name`: changes what is given.
pub(super) async fn replace(
    _: Admin,
    State(app): State<App>,
    Path((kind, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<(), Problem> {
    let Kind(kind) = kind.try_into()?;
    let mut fields = Fields::read(request).await?;
    let edit = Edit {
        module: fields.text("module"),
        display_name: fields.text("display_name"),
        parameters: fields.object("parameters"),
        grants: fields.texts("grants"),
        allow_public: fields.flag("allow_public"),
        settings: fields.rest(),
    };
    fields.finish()?;
    Ok(detached(async move { app.0.runtime.replace(kind, &name, edit, now_ms()).await }).await??)
}

/// `DELETE /mod/:kind/:name`.
pub(super) async fn delete(
    _: Admin,
    State(app): State<App>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<(), Problem> {
    let Kind(kind) = kind.try_into()?;
    Ok(detached(async move { app.0.runtime.delete(kind, &name).await }).await??)
}

/// `PUT /mod/:kind/:name/:action`.
pub(super) async fn act(
    _: Admin,
    State(app): State<App>,
    Path((kind, name, action)): Path<(String, String, String)>,
) -> Result<(), Problem> {
    let Kind(kind) = kind.try_into()?;
    let acted = detached(async move {
        let runtime = &app.0.runtime;
        match action.as_str() {
            "enable" => Some(runtime.enable(kind, &name, now_ms()).await),
            "disable" => Some(runtime.disable(kind, &name, now_ms()).await),
            "reset" => Some(runtime.reset(kind, &name, now_ms()).await),
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
    tokio::spawn(request::within(request::current(), change))
        .await
        .map_err(|error| Problem::logged(super::error::INTERNAL, error))
}

/// What administrators decide of an instance, and whether it runs, for the audit log.
pub(super) fn settings_view(app: &App, instance: &InstanceView) -> Value {
    let mut view = view(instance);
    if let Some(view) = view.as_object_mut() {
        view.remove("health");
        view.insert("parameters".to_owned(), app.0.runtime.parameters_noted(&instance.record).into());
    }
    view
}

/// With where the configuration file and the server disagree about it.
fn with_drift(instance: &InstanceView, drift: &Disagreements) -> Value {
    let mut view = view(instance);
    if let Some(view) = view.as_object_mut() {
        view.insert("drift".to_owned(), drift.of(&instance.record.kind, &instance.record.name));
    }
    view
}

fn view(instance: &InstanceView) -> Value {
    let InstanceView { record, parameters, status, error, health, rights, endpoints, .. } = instance;
    let endpoint =
        |endpoint: &EndpointView| json!({"method": endpoint.method, "path": endpoint.path, "auth": endpoint.auth});
    let mut view = json!({
        "module": record.module,
        "name": record.name,
        "display_name": record.display_name,
        "parameters": parameters,
        "grants": record.grants,
        "rights": rights,
        "allow_public": record.allow_public,
        "declared": record.declared,
        // Whoever enabled it by hand keeps it.
        "orphan": record.settings.orphan && !record.enabled,
        "enabled": record.enabled,
        "status": status.as_str(),
        "error": error,
        "quarantine": record.quarantine,
        "health": health.as_ref().map(health_view),
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    });
    if let Some(members) = view.as_object_mut() {
        members.extend(record.settings.shown(&record.kind));
    }
    view
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
