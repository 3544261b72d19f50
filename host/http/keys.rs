//! `/key`: API keys, as administrators see and make them in a session. No key makes or lists another.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;
use http::header::USER_AGENT;
use serde_json::{Value, json};

use super::audit::Made;
use super::caller::SessionAdmin;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::page::Asked;
use super::{App, now_ms, peer};
use crate::domain::Page;
use crate::domain::keys::{ApiKey, KeyOwner, NewKey};

/// `GET /key/`.
pub(super) async fn list(_: SessionAdmin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    shown(&app, &page).await
}

/// A part of the list.
pub(super) async fn shown(app: &App, page: &Page) -> Result<Json<Value>, Problem> {
    let keys = app.0.keys.list().await?;
    let pattern = page.pattern.to_lowercase();
    let found = keys.iter().filter(|key| {
        let owner = key.owner.as_ref();
        let named = [Some(key.name.as_str()), owner.map(|owner| owner.username.as_str())];
        // Hashes are told apart by case; the audit log has them.
        key.token_hash.starts_with(&page.pattern)
            || named.iter().flatten().any(|text| text.to_lowercase().contains(&pattern))
    });
    Ok(Json(page.cut(found.map(view)).collect()))
}

/// `POST /key/`: makes a key of the current user's, and shows it this once. There need not be a body.
pub(super) async fn add(
    SessionAdmin(present): SessionAdmin,
    State(app): State<App>,
    request: Request<Body>,
) -> Result<(Made, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let username = present.user.username.as_str().to_owned();
    let owner = KeyOwner {
        user_id: present.user.id,
        username: username.clone(),
        issued_for: peer::of(&parts.extensions, &parts.headers, &app.0.config)
            .map(|peer| peer.to_string())
            .unwrap_or_default(),
        user_agent: user_agent.to_owned(),
    };
    let now_ms = now_ms();
    let mut fields = Fields::read_or_none(Request::from_parts(parts, body)).await?;
    let name = fields.text("name").unwrap_or(username);
    let expires_at_ms = end(&mut fields, now_ms);
    fields.finish()?;
    Ok(made(app.0.keys.create_for(&name, owner, expires_at_ms, now_ms).await?))
}

/// When a key is to end: `expires_at`, in seconds since 1970, or `expires_in`, in seconds from now.
pub(super) fn end(fields: &mut Fields, now_ms: i64) -> Option<i64> {
    let (at, within) = (fields.number("expires_at"), fields.number("expires_in"));
    if at.is_some() && within.is_some() {
        fields.refuse("expires_in: there is `expires_at`, too".to_owned());
    }
    let at_ms = at.map(|seconds| seconds.saturating_mul(1_000));
    at_ms.or(within.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1_000))))
}

/// The answer that shows a key.
pub(super) fn made(new: NewKey) -> (Made, Json<Value>) {
    (Made(new.token_hash.clone()), Json(json!({"key": new.key, "token_hash": new.token_hash})))
}

/// `DELETE /key/:hash`: from then on it opens nothing.
pub(super) async fn delete(_: SessionAdmin, State(app): State<App>, Path(hash): Path<String>) -> Result<(), Problem> {
    remove(&app, &hash).await
}

/// Deletes a key by its hash.
pub(super) async fn remove(app: &App, hash: &str) -> Result<(), Problem> {
    let key = find(app, hash).await?;
    let key = key.ok_or_else(|| Problem::new(NOT_FOUND, format!("there is no key `{hash}`")))?;
    Ok(app.0.keys.delete(&key.id).await?)
}

/// The key of a hash.
pub(super) async fn find(app: &App, hash: &str) -> Result<Option<ApiKey>, Problem> {
    Ok(app.0.keys.list().await?.into_iter().find(|key| key.token_hash == hash))
}

/// As administrators see a key.
pub(super) fn view(key: &ApiKey) -> Value {
    let owner = key.owner.as_ref();
    json!({
        "token_hash": key.token_hash,
        "name": key.name,
        "counter": key.use_count,
        "username": owner.map(|owner| owner.username.as_str()),
        "issued_at": key.created_at_ms / 1_000,
        "expires_at": key.expires_at_ms.map(|expires_at_ms| expires_at_ms / 1_000),
        "last_used_at": key.last_used_at_ms.map(|used_at_ms| used_at_ms / 1_000),
        "issued_for": owner.map(|owner| owner.issued_for.as_str()),
        "user_agent": owner.map(|owner| owner.user_agent.as_str()),
        // One that is deleted is gone; one that ended is shown for a week.
        "enabled": key.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms()),
    })
}
