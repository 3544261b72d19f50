//! The session behind a request, as a plug-in is told of it.

use http::HeaderMap;
use porth_abi::code;
use serde_json::{Map, Value, json};

use crate::abi::CallbackError;
use crate::config::Config;
use crate::domain::StoreError;
use crate::domain::access::{Access, Asked};

/// What the session's cookie holds, if the request has one.
#[must_use]
pub fn session_cookie<'a>(headers: &'a HeaderMap, config: &Config) -> Option<&'a str> {
    let name = config.session_cookie();
    let values = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The answer to `check_session_valid`: the user, and of each scope how the session stands towards it.
pub(super) async fn check(
    access: &Access,
    cookie: Option<&str>,
    scopes: &[String],
    now_ms: i64,
) -> Result<Vec<u8>, CallbackError> {
    let cookie = cookie.ok_or_else(|| CallbackError::new(code::UNAUTHORIZED, "the request has no session cookie"))?;
    let store = |error: StoreError| {
        tracing::error!(%error, "a session could not be looked up: {error}");
        CallbackError::new(code::STORE, "the store failed")
    };
    let present = access.present(cookie, now_ms).await.map_err(store)?;
    let present = present.ok_or_else(|| CallbackError::new(code::NOT_FOUND, "no such session"))?;
    let mut shown = Map::new();
    let mut missing = Vec::new();
    for name in scopes {
        let asked = access.asked(&present, name, now_ms).await.map_err(store)?;
        match asked {
            Some(asked) if asked.permitted() => {
                shown.insert(name.clone(), view(&asked));
            }
            Some(asked) => missing.push(format!("{name}: {}", wanting(&asked))),
            None => missing.push(format!("{name}: there is no such scope")),
        }
    }
    if !missing.is_empty() {
        return Err(CallbackError::new(code::UNAUTHORIZED, missing.join("; ")));
    }
    let user = &present.user;
    let user =
        json!({"username": user.username.as_str(), "name": user.name, "email": user.email, "scope": user.scopes});
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
        "the user does not have it"
    } else if asked.scope.password_required && !asked.standing.password_proved {
        "the password is missing"
    } else {
        "a scheme is missing"
    }
}
