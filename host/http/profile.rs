//! What people see and change of themselves; for administrators, of others.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Subject;
use super::error::{FORBIDDEN, NOT_FOUND, Problem};
use super::fields::Fields;
use super::modules::detached;
use super::page::Asked;
use super::{App, auth, caller, now_ms, peer};
use crate::config::{Config, DeleteProfile, Profile};
use crate::domain::login::SessionEntry;
use crate::domain::users::{User, UserChange};
use crate::runtime::instances::PLUGIN;

/// `GET /profile_list/`: the users of this session, the current one first.
pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let session = auth::session(&app, &headers).await?;
    let users = app.0.access.users_of(&session).await?;
    let mut shown = Vec::new();
    for profile in &users {
        shown.push(with_noted(&app, profile).await?);
    }
    if users.is_empty() { Err(caller::needs_session()) } else { Ok(Json(shown.into())) }
}

/// `GET /profile/`.
pub(super) async fn show(subject: Subject, State(app): State<App>) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&app, &subject.user).await?))
}

/// `PUT /profile/`: changes the name and the properties that people may set. The rest may stand in a body that was an
/// answer, but only as it was.
pub(super) async fn change(subject: Subject, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let mut fields = Fields::read(request).await?;
    let mut change = UserChange { name: fields.text("name"), ..UserChange::default() };
    let shown = shown(&app, &subject.user).await?;
    for (name, value) in fields.rest() {
        if !is_field(&name) && app.0.config.profile.properties_writable.contains(&name) {
            change.properties.insert(name, value);
        } else if shown.get(&name) != Some(&value) {
            fields.refuse(format!("{name}: only an administrator can change it"));
        }
    }
    fields.finish()?;
    Ok(app.0.access.users.set(subject.user.username.as_str(), change, now_ms()).await?)
}

/// `DELETE /profile/`: as the configuration says, for good or not at all.
pub(super) async fn delete(subject: Subject, State(app): State<App>) -> Result<(), Problem> {
    let username = subject.user.username.as_str();
    match app.0.config.profile.delete {
        DeleteProfile::No => return Err(Problem::new(FORBIDDEN, "people cannot delete themselves here")),
        DeleteProfile::Disable => {
            let change = UserChange { enabled: Some(false), ..UserChange::default() };
            app.0.access.users.set(username, change, now_ms()).await?;
        }
        DeleteProfile::Delete => {
            let username = username.to_owned();
            detached(async move { app.0.access.users.delete(&username).await }).await??;
        }
    }
    Ok(())
}

/// `PUT /profile/password`: who acts for somebody need not know the old one.
pub(super) async fn password(subject: Subject, State(app): State<App>, request: Request<Body>) -> Result<(), Problem> {
    let peer = peer::of(request.extensions(), request.headers(), &app.0.config);
    let mut fields = Fields::read(request).await?;
    let own = subject.own_session.as_deref();
    let old = if own.is_some() {
        fields.required_text("old_password")
    } else {
        fields.text("old_password").unwrap_or_default()
    };
    let new = fields.required_text("password");
    fields.finish()?;
    // To its end, also when the client leaves: another password ends sessions, whoever waits for the answer.
    detached(async move {
        let (access, username) = (&app.0.access, subject.user.username.as_str());
        match subject.own_session.as_deref() {
            Some(own) => Ok(access.change_password(username, &old, &new, Some(own), peer, now_ms()).await?),
            None => Ok(access.users.set_password(username, new, now_ms()).await?),
        }
    })
    .await?
}

/// `GET /profile/grant`: the applications to which something was granted.
pub(super) async fn grants(
    subject: Subject,
    State(app): State<App>,
    Asked(page): Asked,
) -> Result<Json<Value>, Problem> {
    let grants = app.0.grants.of_user(&subject.user).await?;
    let shown = grants.iter().map(|grant| {
        let mut view = grant.view();
        // As a row of a list an application is no object of its own.
        if let Some(Value::Object(client)) = view.as_object_mut().and_then(|view| view.remove("client"))
            && let Some(view) = view.as_object_mut()
        {
            view.extend(client);
        }
        view
    });
    Ok(Json(page.cut(shown).collect()))
}

/// `GET /profile/plugin`: what there is to use.
pub(super) async fn plug_ins(_: Subject, State(app): State<App>) -> Result<Json<Value>, Problem> {
    let instances = app.0.runtime.list(PLUGIN).await?;
    let enabled = instances.iter().map(|instance| &instance.record).filter(|record| record.enabled);
    let shown = enabled
        .map(|record| json!({"module": record.module, "name": record.name, "display_name": record.display_name}));
    Ok(Json(shown.collect()))
}

/// `GET /profile/session`: where somebody is logged in.
pub(super) async fn sessions(
    subject: Subject,
    State(app): State<App>,
    Asked(page): Asked,
) -> Result<Json<Value>, Problem> {
    let sessions = app.0.access.sessions.of_user(&subject.user.id, now_ms()).await?;
    let pattern = page.pattern.to_lowercase();
    let found = sessions.iter().filter(|session| session.user_agent.to_lowercase().contains(&pattern));
    let shown = found.map(|session| session_view(session, subject.own_session.as_deref()));
    Ok(Json(page.cut(shown).collect()))
}

/// The session in a path that may name a user, too.
#[derive(Debug, Deserialize)]
pub(super) struct SessionPath {
    hash: String,
}

/// `DELETE /profile/session/:hash`: logs somebody out there. Others in that session stay.
pub(super) async fn end_session(
    subject: Subject,
    State(app): State<App>,
    Path(path): Path<SessionPath>,
) -> Result<(), Problem> {
    let left = app.0.access.sessions.leave(&path.hash, &subject.user.id).await?;
    if left { Ok(()) } else { Err(Problem::new(NOT_FOUND, "there is no such session")) }
}

/// As somebody sees themselves, whom administrators see as `noted`.
async fn shown(app: &App, noted: &User) -> Result<Value, Problem> {
    let profile = app.0.access.users.profile(noted.username.as_str()).await?;
    Ok(view(profile.as_ref().unwrap_or(noted), Some(noted), &app.0.config))
}

/// As somebody sees themselves whose profile is at hand.
async fn with_noted(app: &App, profile: &User) -> Result<Value, Problem> {
    let Profile { properties_shown, properties_writable, .. } = &app.0.config.profile;
    let noted = match properties_shown.is_empty() && properties_writable.is_empty() {
        true => None,
        false => app.0.access.users.get(profile.username.as_str()).await?,
    };
    Ok(view(profile, noted.as_ref(), &app.0.config))
}

/// A profile, with what the configuration adds to it.
fn view(profile: &User, noted: Option<&User>, config: &Config) -> Value {
    profile.clone().profile_with(noted, &config.profile)
}

/// Whether a name is none of a property.
fn is_field(name: &str) -> bool {
    matches!(name, "username" | "name" | "email" | "scope" | "enabled" | "password" | "source")
}

fn session_view(session: &SessionEntry, own: Option<&str>) -> Value {
    json!({
        "session_hash": session.id,
        "user_agent": session.user_agent,
        "issued_for": session.peer,
        "issued_at": session.created_at_ms / 1_000,
        "last_login": session.proved_at_ms / 1_000,
        "expiration": session.expires_at_ms / 1_000,
        "enabled": true,
        "current": own == Some(session.id.as_str()),
    })
}
