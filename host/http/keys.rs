//! `/key`: API keys, as administrators see and make them in a session. No key makes or lists another.

use axum::Json;
use axum::extract::{Path, State};
use http::header::USER_AGENT;
use http::request::Parts;
use serde_json::{Value, json};

use super::caller::SessionAdmin;
use super::error::{NOT_FOUND, Problem};
use super::page::Asked;
use super::{App, now_ms, peer};
use crate::domain::keys::{ApiKey, KeyOwner};

/// `GET /key/`.
pub(super) async fn list(_: SessionAdmin, State(app): State<App>, Asked(page): Asked) -> Result<Json<Value>, Problem> {
    let keys = app.0.keys.list().await?;
    let pattern = page.pattern.to_lowercase();
    let found = keys.iter().filter(|key| {
        let owner = key.owner.as_ref();
        [Some(key.name.as_str()), owner.map(|owner| owner.username.as_str())]
            .iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(&pattern))
    });
    Ok(Json(page.cut(found.map(view)).collect()))
}

/// `POST /key/`: makes a key of the current user's, and shows it this once.
pub(super) async fn add(
    SessionAdmin(present): SessionAdmin,
    State(app): State<App>,
    parts: Parts,
) -> Result<Json<Value>, Problem> {
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
    let new = app.0.keys.create_for(&username, owner, now_ms()).await?;
    Ok(Json(json!({"key": new.key})))
}

/// `DELETE /key/:hash`: from then on it opens nothing.
pub(super) async fn delete(_: SessionAdmin, State(app): State<App>, Path(hash): Path<String>) -> Result<(), Problem> {
    let keys = app.0.keys.list().await?;
    let unknown = || Problem::new(NOT_FOUND, format!("there is no key `{hash}`"));
    let key = keys.into_iter().find(|key| key.token_hash == hash).ok_or_else(unknown)?;
    Ok(app.0.keys.delete(&key.id).await?)
}

fn view(key: &ApiKey) -> Value {
    let owner = key.owner.as_ref();
    json!({
        "token_hash": key.token_hash,
        "name": key.name,
        "counter": key.use_count,
        "username": owner.map(|owner| owner.username.as_str()),
        "issued_at": key.created_at_ms / 1_000,
        "last_used_at": key.last_used_at_ms.map(|used_at_ms| used_at_ms / 1_000),
        "issued_for": owner.map(|owner| owner.issued_for.as_str()),
        "user_agent": owner.map(|owner| owner.user_agent.as_str()),
        // One that is deleted is gone.
        "enabled": true,
    })
}
