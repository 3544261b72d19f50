//! What administrators do, noted as they do it, and what was noted, as administrators see it.
//!
//! Start at [`layer`]: it stands around the routes below the prefix and goes by the table [`ACTS`].

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, State};
use axum::middleware::Next;
use axum::response::{IntoResponseParts, Response, ResponseParts};
use http::{Method, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::caller::{Admin, Caller};
use super::error::{INVALID, Problem, Told};
use super::fields::BODY_BYTES_MAX;
use super::modules::detached;
use super::query::Query;
use super::{App, body, edge, json, keys, libraries, modules, now_ms, peer, scopes};
use crate::domain::StoreError;
use crate::domain::access::{LogInError, Present};
use crate::domain::audit::{Act, Actor, AuditEvent, AuditQuery, End, Outcome, is_secret};
use crate::domain::misc::MiscEntry;
use crate::telemetry::request;

/// What is noted of a request.
struct Noted {
    method: Method,
    /// The route below the prefix.
    path: &'static str,
    /// The action; one that ends with a dot ends with the action in the path.
    action: &'static str,
    record: Record,
    name: Name,
}

/// What kind of object it is done to, and how that is looked at before and after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Record {
    User,
    Client,
    Scope,
    Setting,
    Instance,
    Key,
    Library,
}

/// Where the object's name stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// In the path.
    Path(&'static str),
    /// In the body.
    Body(&'static str),
    /// The handler says it, by [`Made`].
    Made,
    /// It is done to all.
    All,
}

const fn noted(method: Method, path: &'static str, action: &'static str, record: Record, name: Name) -> Noted {
    Noted { method, path, action, record, name }
}

/// Every administrative act by REST.
static ACTS: [Noted; 31] = [
    noted(Method::POST, "/user", "user.add", Record::User, Name::Body("username")),
    noted(Method::PUT, "/user/{username}", "user.change", Record::User, Name::Path("username")),
    noted(Method::DELETE, "/user/{username}", "user.delete", Record::User, Name::Path("username")),
    noted(Method::PUT, "/delegate/{username}", "user.change", Record::User, Name::Path("username")),
    noted(Method::PUT, "/delegate/{username}/profile", "user.change", Record::User, Name::Path("username")),
    noted(Method::DELETE, "/delegate/{username}", "user.delete", Record::User, Name::Path("username")),
    noted(Method::DELETE, "/delegate/{username}/profile", "user.delete", Record::User, Name::Path("username")),
    noted(Method::PUT, "/delegate/{username}/password", "user.password", Record::User, Name::Path("username")),
    noted(Method::PUT, "/delegate/{username}/profile/password", "user.password", Record::User, Name::Path("username")),
    noted(Method::POST, "/delegate/{username}/scheme/register", REGISTER, Record::User, Name::Path("username")),
    noted(Method::POST, "/delegate/{username}/profile/scheme/register", REGISTER, Record::User, Name::Path("username")),
    noted(Method::DELETE, "/delegate/{username}/session/{hash}", LOG_OUT, Record::User, Name::Path("username")),
    noted(Method::DELETE, "/delegate/{username}/profile/session/{hash}", LOG_OUT, Record::User, Name::Path("username")),
    noted(Method::POST, "/client", "client.add", Record::Client, Name::Body("client_id")),
    noted(Method::PUT, "/client/{client_id}", "client.change", Record::Client, Name::Path("client_id")),
    noted(Method::DELETE, "/client/{client_id}", "client.delete", Record::Client, Name::Path("client_id")),
    noted(Method::POST, "/scope", "scope.add", Record::Scope, Name::Body("name")),
    noted(Method::PUT, "/scope/{scope}", "scope.change", Record::Scope, Name::Path("scope")),
    noted(Method::DELETE, "/scope/{scope}", "scope.delete", Record::Scope, Name::Path("scope")),
    noted(Method::PUT, "/misc/{name}", "setting.put", Record::Setting, Name::Path("name")),
    noted(Method::DELETE, "/misc/{name}", "setting.delete", Record::Setting, Name::Path("name")),
    noted(Method::POST, "/mod/{kind}", "instance.add", Record::Instance, Name::Body("name")),
    noted(Method::PUT, "/mod/{kind}/{name}", "instance.change", Record::Instance, Name::Path("name")),
    noted(Method::DELETE, "/mod/{kind}/{name}", "instance.delete", Record::Instance, Name::Path("name")),
    noted(Method::PUT, "/mod/{kind}/{name}/{action}", "instance.", Record::Instance, Name::Path("name")),
    noted(Method::PUT, "/mod/reload", "library.rescan", Record::Library, Name::All),
    noted(Method::PUT, "/admin/library/{file}/reload", "library.reload", Record::Library, Name::Path("file")),
    noted(Method::POST, "/key", "key.add", Record::Key, Name::Made),
    noted(Method::DELETE, "/key/{hash}", "key.delete", Record::Key, Name::Path("hash")),
    noted(Method::POST, "/local/key", "key.add", Record::Key, Name::Made),
    noted(Method::DELETE, "/local/key/{hash}", "key.delete", Record::Key, Name::Path("hash")),
];
const REGISTER: &str = "user.scheme_register";
const LOG_OUT: &str = "user.session_end";

/// Whether an administrator's request is noted.
#[cfg(test)]
pub(super) fn is_noted(method: &str, path: &str) -> bool {
    ACTS.iter().any(|noted| noted.method.as_str().eq_ignore_ascii_case(method) && noted.path == path)
}

/// With an answer: what was made, where the request does not say its name.
#[derive(Clone, Debug)]
pub(super) struct Made(pub(super) String);

impl IntoResponseParts for Made {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Notes the acts of administrators: before they are done and with what became of them. Requests of others go through,
/// and are refused behind.
pub(super) async fn layer(
    State(app): State<App>,
    matched: MatchedPath,
    request: Request<Body>,
    next: Next,
) -> Result<Response, Problem> {
    let path = below_prefix(matched.as_str(), &app.0.config.api_prefix);
    let noted = ACTS.iter().find(|noted| noted.method == *request.method() && noted.path == path);
    let Some(noted) = noted else { return Ok(next.run(request).await) };
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts, &app).await?;
    let actor = match caller.administers(&app).await? {
        true => caller.actor(),
        false => None,
    };
    parts.extensions.insert(caller);
    let Some(actor) = actor else { return Ok(next.run(Request::from_parts(parts, body)).await) };

    let body = body::read_bytes(body, BODY_BYTES_MAX).await?;
    let sent = match json::read(&body) {
        Ok(Value::Object(sent)) => sent,
        // The handler says what is wrong with it.
        _ => Map::new(),
    };
    let object = Object::of(noted, &mut parts, &app, &sent).await;
    let before = object.look(&app).await?;
    let act = Act {
        actor,
        peer: peer::of(&parts.extensions, &parts.headers, &app.0.config)
            .map(|peer| peer.to_string())
            .unwrap_or_default(),
        action: format!("{}{}", noted.action, object.action.as_deref().unwrap_or_default()),
        object_kind: noted.record.as_str().to_owned(),
        object_id: object.id(),
        before,
        request_id: edge::request_id().to_string(),
    };
    let request = Request::from_parts(parts, Body::from(body));
    // To its end, also when the client leaves: what was begun is done, and noted.
    detached(async move { done(&app, act, object, sent, request, next).await }).await?
}

async fn done(
    app: &App,
    act: Act,
    mut object: Object,
    sent: Map<String, Value>,
    request: Request<Body>,
    next: Next,
) -> Result<Response, Problem> {
    let begun = app.0.access.audit.begin(act, now_ms()).await?;
    let response = next.run(request).await;
    let status = response.status();
    let outcome = match status {
        _ if status.is_success() => Outcome::Done,
        _ if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Refused,
    };
    let made = response.extensions().get::<Made>().map(|made| made.0.clone());
    if let Some(made) = &made {
        object.name.clone_from(made);
    }
    let after = match outcome {
        // What it is now is worth less than the answer to what was done.
        Outcome::Done => object.look(app).await.unwrap_or_default().map(|after| with_secrets(after, sent)),
        Outcome::Refused | Outcome::Failed => None,
    };
    let detail = response.extensions().get::<Told>().map(|told| told.0.clone()).unwrap_or_default();
    let end = End { outcome, object_id: made, after, detail };
    if let Err(error) = app.0.access.audit.end(begun, end).await {
        tracing::error!(%error, "what became of an administrator's act is not in the audit log: {error}");
    }
    Ok(response)
}

/// Secrets that were sent are not in what is shown of an object: that they were set is told all the same.
fn with_secrets(mut after: Value, sent: Map<String, Value>) -> Value {
    if let Some(after) = after.as_object_mut() {
        for (name, value) in sent.into_iter().filter(|(name, value)| is_secret(name, value)) {
            after.entry(name).or_insert(value);
        }
    }
    after
}

fn below_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    path.strip_prefix('/').and_then(|path| path.strip_prefix(prefix)).unwrap_or(path)
}

/// What an act is done to.
struct Object {
    record: Record,
    /// Of an instance.
    kind: String,
    /// Empty where it is done to all, and while nobody knows it.
    name: String,
    /// The last part of the path, where that says what is done.
    action: Option<String>,
}

impl Object {
    async fn of(noted: &Noted, parts: &mut http::request::Parts, app: &App, sent: &Map<String, Value>) -> Self {
        let named = RawPathParams::from_request_parts(parts, app).await.ok();
        let named = |wanted: &str| {
            let mut named = named.iter().flatten();
            named.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let name = match noted.name {
            Name::Path(name) => named(name),
            Name::Body(name) => sent.get(name).and_then(Value::as_str).map(str::to_owned),
            Name::Made | Name::All => None,
        };
        let action = if noted.action.ends_with('.') { named("action") } else { None };
        Self { record: noted.record, kind: named("kind").unwrap_or_default(), name: name.unwrap_or_default(), action }
    }

    /// What the entry calls it.
    fn id(&self) -> String {
        match self.record {
            Record::Instance => format!("{}/{}", self.kind, self.name),
            _ => self.name.clone(),
        }
    }

    /// What it is now, if there is such a one.
    async fn look(&self, app: &App) -> Result<Option<Value>, Problem> {
        let name = self.name.as_str();
        Ok(match self.record {
            Record::Library if name.is_empty() => {
                Some(app.0.runtime.library_states().await?.iter().map(libraries::brief).collect())
            }
            _ if name.is_empty() => None,
            Record::User => app.0.access.users.get(name).await?.map(|user| user.view()),
            Record::Client => app.0.clients.get(name).await?.map(|client| client.view()),
            Record::Scope => app.0.access.scopes.get(name).await?.as_ref().map(scopes::view),
            Record::Setting => {
                let entry = app.0.misc.get(name).await?;
                // By its name, the only thing that says what the value is.
                let value = |entry: &MiscEntry| if is_secret(name, &entry.value) { "secret" } else { "value" };
                entry.map(|entry| json!({"type": entry.kind, value(&entry): entry.value}))
            }
            Record::Instance => {
                let instance = app.0.runtime.get(&self.kind, name).await.ok();
                instance.map(|instance| modules::settings_view(app, &instance))
            }
            Record::Key => keys::find(app, name).await?.as_ref().map(keys::view),
            Record::Library => app.0.runtime.library_state(name).await?.as_ref().map(libraries::brief),
        })
    }
}

impl Record {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Client => "client",
            Self::Scope => "scope",
            Self::Setting => "setting",
            Self::Instance => "instance",
            Self::Key => "key",
            Self::Library => "library",
        }
    }
}

/// Notes that somebody who administers logged in, before they are told so.
pub(super) async fn logged_in(app: &App, cookie: &str, peer: Option<IpAddr>) -> Result<(), Problem> {
    let Some(Present { user, .. }) = app.0.access.present(cookie, now_ms()).await? else { return Ok(()) };
    if !user.scopes.contains(&app.0.config.admin_scope) {
        return Ok(());
    }
    let username = user.username.as_str().to_owned();
    let act = log_in(username.clone(), Actor::User { username, id: user.id }, peer);
    let end = End { outcome: Outcome::Done, object_id: None, after: None, detail: String::new() };
    Ok(app.0.access.audit.note(act, end, now_ms()).await?)
}

/// Notes that a log-in failed, if it was that of somebody who administers. In its own time: how long the answer takes
/// must not tell who does.
pub(super) fn not_logged_in(app: &App, username: &str, peer: Option<IpAddr>, error: &LogInError) {
    if !matches!(error, LogInError::Wrong) {
        // Who is locked out failed often enough before.
        return;
    }
    let (app, username, detail) = (app.clone(), username.to_owned(), error.to_string());
    let noting = async move {
        let noted = async {
            let user = app.0.access.users.get(&username).await?;
            let Some(user) = user.filter(|user| user.scopes.contains(&app.0.config.admin_scope)) else { return Ok(()) };
            let act = log_in(user.username.as_str().to_owned(), Actor::Nobody, peer);
            let end = End { outcome: Outcome::Refused, object_id: None, after: None, detail };
            app.0.access.audit.note(act, end, now_ms()).await
        };
        let noted: Result<(), StoreError> = noted.await;
        if let Err(error) = noted {
            tracing::error!(%error, "an administrator's failed log-in is not in the audit log: {error}");
        }
    };
    tokio::spawn(request::within(request::current(), noting));
}

/// Notes that the link for the first administrator was used.
pub(super) async fn first_administrator(app: &App, username: &str, peer: Option<IpAddr>) -> Result<(), StoreError> {
    let user = app.0.access.users.get(username).await?;
    let actor = Actor::Link { username: username.to_owned() };
    let act = Act { action: "user.add".to_owned(), ..log_in(username.to_owned(), actor, peer) };
    let end =
        End { outcome: Outcome::Done, object_id: None, after: user.map(|user| user.view()), detail: String::new() };
    app.0.access.audit.note(act, end, now_ms()).await
}

fn log_in(username: String, actor: Actor, peer: Option<IpAddr>) -> Act {
    Act {
        actor,
        peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        action: "user.log_in".to_owned(),
        object_kind: Record::User.as_str().to_owned(),
        object_id: username,
        before: None,
        request_id: edge::request_id().to_string(),
    }
}

/// Which entries are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    who: String,
    action: String,
    object: String,
    from: Option<i64>,
    to: Option<i64>,
    before: String,
    offset: u32,
    limit: Option<u32>,
}

/// `GET /admin/audit/`: the newest entries, the newest first.
pub(super) async fn list(_: Admin, State(app): State<App>, request: Request<Body>) -> Result<Json<Value>, Problem> {
    let Query(asked) = Query::<Asked>::of(request.uri())?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::new(INVALID, format!("limit: expected 1 to {LIMIT_MAX}, found {limit}")));
    }
    let query = AuditQuery {
        who: asked.who,
        action: asked.action,
        object: asked.object,
        from_ms: asked.from,
        to_ms: asked.to,
        before_id: asked.before,
        offset: asked.offset,
        limit,
    };
    Ok(Json(app.0.access.audit.list(query).await?.iter().map(view).collect()))
}

fn view(event: &AuditEvent) -> Value {
    json!({
        "id": event.id,
        "at": event.at_ms,
        "who": {"kind": event.actor_kind, "name": event.actor, "id": event.actor_id},
        "peer": event.peer,
        "action": event.action,
        "object": {"kind": event.object_kind, "name": event.object_id},
        "before": event.before,
        "after": event.after,
        "request_id": event.request_id,
        "outcome": event.outcome,
        "detail": event.detail,
    })
}

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 200;
