//! The session behind a request of the fake host.

use serde_json::{Map, Value, json};

use super::people;
use super::world::State;
use crate::host_error::HostError;

/// The user of a session, by the name that the request says.
fn user<'a>(state: &'a State, session: Option<&str>) -> Result<&'a super::TestUser, HostError> {
    let username = session.ok_or_else(|| HostError::Unauthorized("the request has no session cookie".to_owned()))?;
    people::logged_in(state, username).ok_or_else(|| HostError::NotFound("no such session".to_owned()))
}

/// What a session lacks for a scope.
fn wanting(state: &State, user: &super::TestUser, scope: &str) -> Option<&'static str> {
    if !user.scopes.iter().any(|known| known == scope) {
        return Some("scope");
    }
    let known = state.scopes.get(scope)?;
    let too_old = known.lapses.is_some_and(|lapses| state.elapsed() >= lapses);
    match (known.satisfied && !too_old, known.uses_left) {
        (false, _) | (_, Some(0)) => Some(if known.scheme.is_some() { "scheme" } else { "password" }),
        _ => None,
    }
}

/// Whether a session satisfies all scopes: the user, and how the session stands towards each.
pub(super) fn check(state: &State, session: Option<&str>, scopes: &str) -> Result<Value, HostError> {
    let user = user(state, session)?;
    let (mut shown, mut missing) = (Map::new(), Map::new());
    for scope in scopes.split_whitespace() {
        if let Some(what) = wanting(state, user, scope) {
            missing.insert(scope.to_owned(), what.into());
            continue;
        }
        let known = state.scopes.get(scope);
        let scheme = known.and_then(|known| known.scheme.as_ref());
        let group =
            scheme.map(|scheme| ("1".to_owned(), json!([{"scheme_name": scheme, "scheme_authenticated": true}])));
        let password_required = known.is_none_or(|known| known.password_required);
        let standing = json!({"display_name": known.map_or(scope, |known| &known.display_name),
            "password_required": password_required, "password_authenticated": true,
            "schemes": group.into_iter().collect::<Map<_, _>>()});
        shown.insert(scope.to_owned(), standing);
    }
    let mut user = user.show();
    if let Value::Object(record) = &mut user {
        record.remove("enabled");
        record.remove("source");
    }
    if !missing.is_empty() {
        let standing = json!({"session": {"user": user}, "missing": missing});
        return Err(HostError::Unauthorized(standing.to_string()));
    }
    Ok(json!({"session": {"user": user, "scope": shown}}))
}

/// Counts a use of all scopes or of none.
pub(super) fn spend(state: &mut State, session: Option<&str>, scopes: &str) -> Result<Value, HostError> {
    check(state, session, scopes)?;
    for scope in scopes.split_whitespace() {
        if let Some(left) = state.scopes.get_mut(scope).and_then(|scope| scope.uses_left.as_mut()) {
            *left = left.saturating_sub(1);
        }
    }
    Ok(json!({}))
}

/// When one of the scopes was last proved, in seconds since 1970.
pub(super) fn age(state: &State, session: Option<&str>, scopes: &str) -> Result<Value, HostError> {
    user(state, session)?;
    let proved = scopes.split_whitespace().filter_map(|scope| state.scopes.get(scope)).map(|scope| scope.proved_at_s);
    Ok(json!(proved.max().unwrap_or(0)))
}
