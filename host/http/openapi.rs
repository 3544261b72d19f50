//! The host's routes as an OpenAPI document (version 3.1), made from the table in `operations`.
//!
//! Start at [`document`]. What plug-ins say of their endpoints is added in `plugins`.

mod operations;
mod plugins;
mod records;
mod schemas;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use self::operations::{Access, Answer, Operation, Query};
use super::App;
use super::error::{self, Kind};
use crate::config::Config;
use crate::runtime::{InstanceOffers, Offered};

/// `GET /openapi.json`.
pub(super) async fn show(State(app): State<App>) -> Response {
    let document = of(&app).await;
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document.json.clone()).into_response()
}

/// The document as it was last asked for: making it takes a thousand times as long as handing it out, and anybody may ask.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<Arc<Document>>>);

/// The document of a server.
pub(super) struct Document {
    /// As it is sent.
    pub(super) json: Bytes,
    /// The same as a page, once somebody has asked for that.
    pub(super) html: OnceLock<Bytes>,
    /// What it was made of.
    offered: Vec<Offered>,
}

/// The document of a server, made anew when instances have changed.
pub(super) async fn of(app: &App) -> Arc<Document> {
    let config = &app.0.config;
    // Held while it is made, so that it is made once however many ask.
    let mut kept = app.0.openapi.0.lock().await;
    let offers = app.0.runtime.offers().await;
    let is_still = |document: &&Arc<Document>| {
        document.offered.len() == offers.len()
            && document.offered.iter().zip(&offers).all(|(offered, offers)| offers.is_still(offered))
    };
    if let Some(document) = kept.as_ref().filter(is_still) {
        return Arc::clone(document);
    }
    let mut document = document(config);
    for offers in &offers {
        let said = offers.document.as_deref().cloned().unwrap_or_default();
        let refused = plugins::add(&mut document, &config.api_prefix, &offers.name, &offers.endpoints(), said);
        if offers.is_new && !refused.is_empty() {
            let (instance, refused) = (&offers.name, refused.join("; "));
            tracing::warn!(instance, "what the instance {instance} says of its API is not shown: {refused}");
        }
    }
    let made = Arc::new(Document {
        json: document.to_string().into(),
        html: OnceLock::new(),
        offered: offers.iter().map(InstanceOffers::offered).collect(),
    });
    *kept = Some(Arc::clone(&made));
    made
}

/// The document.
pub(super) fn document(config: &Config) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let problem = generator.subschema_for::<schemas::Problem>();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in operations::all() {
        let prefix = if operation.below_prefix { format!("/{}", config.api_prefix) } else { String::new() };
        let path = paths.entry(format!("{prefix}{}", operation.path)).or_default();
        path.insert(operation.method.to_owned(), describe(&operation, &mut generator, problem.as_value(), config));
    }
    let responses = shared_problems(&mut paths);
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Porth",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The host's own routes, and those that plug-ins describe. A trailing `/` may stand behind \
                every path. What a connection does wrong is answered before any route is looked for, with problems as \
                well: see `/docs/problems`.",
        },
        "servers": [{"url": config.external_url.as_deref().unwrap_or("/")}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "session": {
                    "type": "apiKey", "in": "cookie", "name": config.session_cookie(),
                    "description": "The session that `POST /auth` begins.",
                },
                "client": {
                    "type": "http", "scheme": "basic",
                    "description": "A client's id and its secret or password.",
                },
                "key": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`token` and a space in front of an API key.",
                },
            },
        },
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator, problem: &Value, config: &Config) -> Value {
    let Operation { method, path, tag, summary, access, body, body_required, .. } = operation;
    let id: String = path.chars().map(|found| if found.is_ascii_alphanumeric() { found } else { '_' }).collect();
    let id: Vec<_> = id.split('_').filter(|part| !part.is_empty()).collect();
    let mut parameters: Vec<Value> = names(path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": path_schema(name)}))
        .collect();
    parameters.extend(query(operation.query));
    let mut described = json!({
        "operationId": format!("{method}_{}", id.join("_")),
        "tags": [tag],
        "summary": summary,
        "security": security(*access),
    });
    let Some(members) = described.as_object_mut() else { return described };
    if let Some(description) = description(*access, config) {
        members.insert("description".to_owned(), description.into());
    }
    if !parameters.is_empty() {
        members.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(body) = body {
        let schema = body(generator);
        members.insert(
            "requestBody".to_owned(),
            json!({"required": body_required, "content": {"application/json": {"schema": schema}}}),
        );
    }
    members.insert("responses".to_owned(), responses(operation, generator, problem));
    described
}

/// The names in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn path_schema(name: &str) -> Value {
    match name {
        "kind" => json!({"type": "string", "enum": crate::runtime::KINDS}),
        "action" => json!({"type": "string", "enum": ["enable", "disable", "reset"]}),
        _ => json!({"type": "string", "minLength": 1}),
    }
}

fn query(query: Query) -> Vec<Value> {
    let number = |minimum: u32, maximum: u32, default: u32| json!({"type": "integer", "minimum": minimum, "maximum": maximum, "default": default});
    let parameter = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let page = |least, limit: &str| {
        vec![
            parameter("offset", "How many are left out.", number(0, u32::MAX, 0)),
            parameter("limit", limit, number(least, 200, 100)),
            parameter("pattern", "Only those that contain this.", json!({"type": "string"})),
        ]
    };
    match query {
        Query::Nothing => Vec::new(),
        Query::Page => page(1, "How many at most."),
        Query::PageOrAll => page(0, "How many at most; 0 means all."),
        Query::These(these) => {
            let described = these.iter().map(|(name, description, is_number)| {
                let schema = match (*name, is_number) {
                    ("limit", _) => number(1, 200, 100),
                    ("offset", _) => number(0, u32::MAX, 0),
                    (_, true) => json!({"type": "integer", "format": "int64"}),
                    (_, false) => json!({"type": "string"}),
                };
                parameter(name, description, schema)
            });
            described.collect()
        }
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::All | Access::Local => json!([]),
        Access::Session | Access::Profile | Access::SessionAdmin => json!([{"session": []}]),
        Access::Admin => json!([{"session": []}, {"key": []}]),
    }
}

fn description(access: Access, config: &Config) -> Option<String> {
    Some(match access {
        Access::All => return None,
        Access::Session => "Needs a session.".to_owned(),
        Access::Profile => format!("Needs a session that satisfies the scope `{}`.", config.profile_scope),
        Access::Admin => format!("Needs a session that satisfies the scope `{}`, or a key.", config.admin_scope),
        Access::SessionAdmin => {
            format!("Needs a session that satisfies the scope `{}`; a key does not suffice.", config.admin_scope)
        }
        Access::Local => "Only by the control socket; elsewhere there is no such path.".to_owned(),
    })
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator, problem: &Value) -> Value {
    let done = match operation.answer {
        Answer::Nothing => json!({"description": "Done."}),
        Answer::Json(of) => {
            json!({"description": "Here it is.", "content": {"application/json": {"schema": of(generator)}}})
        }
        Answer::List(of) => {
            let schema = json!({"type": "array", "items": of(generator)});
            json!({"description": "Here they are.", "content": {"application/json": {"schema": schema}}})
        }
        Answer::Text(media_types) => {
            let one = |media_type: &&str| ((*media_type).to_owned(), json!({"schema": {"type": "string"}}));
            json!({"description": "Here it is.", "content": media_types.iter().map(one).collect::<Map<_, _>>()})
        }
    };
    let mut responses = Map::from_iter([("200".to_owned(), done)]);
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for kind in problems(operation) {
        let codes = by_status.entry(kind.status().as_u16()).or_default();
        if !codes.contains(&kind.code()) {
            codes.push(kind.code());
        }
    }
    for (status, codes) in by_status {
        let mut schema = problem.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("properties".to_owned(), json!({"code": {"enum": codes}, "status": {"const": status}}));
        }
        let response = json!({
            "description": codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", "),
            "content": {"application/problem+json": {"schema": schema}},
        });
        responses.insert(status.to_string(), response);
    }
    special(operation, &mut responses);
    Value::Object(responses)
}

/// Takes the answers that many operations have in common out of them.
fn shared_problems(paths: &mut BTreeMap<String, Map<String, Value>>) -> BTreeMap<String, Value> {
    let mut shared = BTreeMap::new();
    let operations = paths.values_mut().flat_map(Map::values_mut);
    let responses = operations.filter_map(|operation| operation.get_mut("responses")?.as_object_mut());
    for (status, response) in responses.flatten() {
        let codes = response.pointer("/content/application~1problem+json/schema/properties/code/enum");
        let only = response.get("content").and_then(Value::as_object).is_some_and(|content| content.len() == 1);
        let codes =
            codes.and_then(Value::as_array).filter(|_| only).map(|codes| codes.iter().filter_map(Value::as_str));
        let Some(codes) = codes else { continue };
        let name = format!("{status}-{}", codes.collect::<Vec<_>>().join("-"));
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        shared.insert(name, std::mem::replace(response, reference));
    }
    shared
}

/// What two routes answer that is no problem.
fn special(operation: &Operation, responses: &mut Map<String, Value>) {
    let ready = operation.path == "/health/ready";
    let form = operation.path == "/setup";
    let other = match responses.get("200").and_then(|done| done.get("content")) {
        Some(content) if ready => [("503", json!({"description": "Not ready.", "content": content}))].to_vec(),
        _ if form => {
            let page = json!({"description": "A page, where a page was asked for.", "content": {"text/html": {"schema": {"type": "string"}}}});
            vec![("404", page)]
        }
        _ => Vec::new(),
    };
    for (status, other) in other {
        let described = responses.entry(status).or_insert_with(|| other.clone());
        if let (Some(described), Some(Value::Object(content))) =
            (described.get_mut("content").and_then(Value::as_object_mut), other.get("content"))
        {
            described.extend(content.clone());
        }
    }
}

/// Every kind of error that the operation may answer.
fn problems(operation: &Operation) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let has_parameters = operation.path.contains('{');
    if operation.body.is_some() {
        kinds.extend([error::INVALID, error::BAD_REQUEST, error::BODY_TOO_LARGE]);
    }
    if operation.query != Query::Nothing {
        kinds.push(error::INVALID);
    }
    if has_parameters {
        kinds.extend([error::BAD_PATH, error::INVALID, error::NOT_FOUND]);
    }
    match operation.access {
        Access::All => {}
        Access::Local => kinds.push(error::NOT_FOUND),
        Access::Session | Access::Profile | Access::Admin | Access::SessionAdmin => kinds.push(error::UNAUTHORIZED),
    }
    if operation.below_prefix && operation.method != "get" {
        kinds.push(error::FOREIGN_ORIGIN);
    }
    kinds.extend(operation.problems);
    let is_static = matches!(operation.path.as_str(), "/config" | "/health/live" | "/health/ready")
        || operation.path.starts_with("/docs")
        || operation.path == "/openapi.json";
    if !is_static {
        kinds.extend([error::INTERNAL, error::STORE_BUSY]);
    }
    kinds
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Serves;
    use crate::http::{audit, routes};

    #[test]
    fn every_route_is_described_and_none_else() {
        let described: BTreeSet<_> =
            document(&Config::default())["paths"].as_object().unwrap().keys().cloned().collect();
        let known: BTreeSet<_> = routes::paths("api", Serves::All).into_iter().collect();
        assert_eq!(described, known);
    }

    #[test]
    fn operations_have_ids_of_their_own() {
        let document = document(&Config::default());
        let mut ids = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            }
        }
    }

    #[test]
    fn what_administrators_change_is_noted() {
        let looks = ["/delegate/{username}/scheme/register", "/delegate/{username}/profile/scheme/register"];
        for operation in operations::all() {
            let Operation { method, path, access, .. } = operation;
            let administrates = matches!(access, Access::Admin | Access::SessionAdmin | Access::Local);
            let changes = method != "get" && !(method == "put" && looks.contains(&path.as_str()));
            assert_eq!(audit::is_noted(method, &path), administrates && changes, "{method} {path}");
        }
    }
}
