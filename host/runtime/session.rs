//! The session behind a request, as a plug-in is told of it.

use http::HeaderMap;
use porth_abi::code;
use serde_json::{Map, Value, json};

use crate::abi::CallbackError;
use crate::config::Config;
use crate::domain::StoreError;
use crate::domain::access::{Access, Asked, Present};

/// What the session's cookie holds, if the request has one.
#[must_use]
pub fn session_cookie<'a>(headers: &'a HeaderMap, config: &Config) -> Option<&'a str> {
    let name = config.session_cookie();
    let values = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

async fn present(access: &Access, cookie: Option<&str>, now_ms: i64) -> Result<Present, CallbackError> {
    let cookie = cookie.ok_or_else(|| CallbackError::new(code::UNAUTHORIZED, "the request has no session cookie"))?;
    let present = access.present(cookie, now_ms).await.map_err(store)?;
    present.ok_or_else(|| CallbackError::new(code::NOT_FOUND, "no such session"))
}

fn store(error: StoreError) -> CallbackError {
    tracing::error!(%error, "a session could not be looked up: {error}");
    CallbackError::new(code::STORE, "the store failed")
}

/// The answer to `trigger_session_used`.
pub(super) async fn spend(
    access: &Access,
    cookie: Option<&str>,
    scopes: &[String],
    now_ms: i64,
) -> Result<Vec<u8>, CallbackError> {
    let present = present(access, cookie, now_ms).await?;
    match access.spend(&present, scopes, now_ms).await.map_err(store)? {
        None => Err(CallbackError::new(code::UNAUTHORIZED, "no such scope, so nobody satisfies it")),
        Some(false) => Err(CallbackError::new(code::UNAUTHORIZED, "what the session has proved is not enough")),
        Some(true) => Ok(b"{}".to_vec()),
    }
}

/// The answer to `get_session_age`: seconds since 1970.
pub(super) async fn age(
    access: &Access,
    cookie: Option<&str>,
    scopes: &[String],
    now_ms: i64,
) -> Result<Vec<u8>, CallbackError> {
    let present = present(access, cookie, now_ms).await?;
    let proved_at_s = access.age(&present, scopes).await.map_err(store)?;
    Ok(proved_at_s.to_string().into_bytes())
}

/// The answer to `check_session_valid`: the user, and of each scope how the session stands towards it.
pub(super) async fn check(
    access: &Access,
    cookie: Option<&str>,
    scopes: &[String],
    now_ms: i64,
) -> Result<Vec<u8>, CallbackError> {
    let present = present(access, cookie, now_ms).await?;
    let mut shown = Map::new();
    let mut missing = Map::new();
    for name in scopes {
        let Some(asked) = access.asked(&present, name, now_ms).await.map_err(store)? else {
            // Nobody has it. NOT_FOUND would read as if there were no session.
            missing.insert(name.clone(), "scope".into());
            continue;
        };
        if asked.permitted() {
            shown.insert(name.clone(), view(&asked));
        } else {
            missing.insert(name.clone(), wanting(&asked).into());
        }
    }
    let user = &present.user;
    let user =
        json!({"username": user.username.as_str(), "name": user.name, "email": user.email, "scope": user.scopes});
    if !missing.is_empty() {
        // Who it is suffices to let them prove the rest.
        let detail = json!({"session": {"user": user}, "missing": missing});
        return Err(CallbackError::new(code::UNAUTHORIZED, detail.to_string()));
    }
    Ok(json!({"session": {"user": user, "scope": shown}}).to_string().into_bytes())
}

fn view(asked: &Asked) -> Value {
    let scheme = |(name, proved): &(String, bool)| json!({"scheme_name": name, "scheme_authenticated": proved});
    let groups = asked.standing.groups.iter();
    let schemes = groups.map(|(group, schemes)| (group.clone(), schemes.iter().map(scheme).collect()));
    json!({
        "display_name": asked.scope.display_name,
        "password_required": asked.scope.password_required,
        "password_authenticated": asked.standing.password_proved,
        "schemes": schemes.collect::<Map<String, Value>>(),
    })
}

/// What a session lacks for a scope.
fn wanting(asked: &Asked) -> &'static str {
    if !asked.available {
        "scope"
    } else if asked.scope.password_required && !asked.standing.password_proved {
        "password"
    } else {
        "scheme"
    }
}
