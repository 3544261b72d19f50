//! Who calls, and whether that suffices.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde_json::json;

use super::error::{Problem, UNAUTHORIZED};
use super::{App, Local};
use crate::runtime::Auth;

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Nobody in particular.
    Nobody,
    /// Whoever may open the control socket: this administers.
    Local,
    /// The holder of an API key, by the key's name: this administers.
    Key(String),
}

impl Caller {
    /// Reads the credentials of a request: the control socket, or `Authorization: token <key>`.
    pub(super) async fn of(parts: &Parts, app: &App) -> Result<Self, Problem> {
        if parts.extensions.get::<Local>().is_some() {
            return Ok(Self::Local);
        }
        let Some(key) = parts.headers.get(AUTHORIZATION).and_then(|value| token(value.as_bytes())) else {
            return Ok(Self::Nobody);
        };
        Ok(app.0.keys.verify(key, super::now_ms()).await?.map_or(Self::Nobody, |key| Self::Key(key.name)))
    }

    /// As plug-ins get it.
    pub(super) fn json(&self) -> Cow<'static, str> {
        match self {
            Self::Nobody => Cow::Borrowed(r#"{"kind":"none"}"#),
            Self::Local => Cow::Borrowed(r#"{"kind":"key","name":"porth.sock"}"#),
            Self::Key(name) => Cow::Owned(json!({"kind": "key", "name": name}).to_string()),
        }
    }

    /// Whether an endpoint lets this caller in.
    pub(super) fn satisfies(&self, auth: &Auth) -> bool {
        match auth {
            Auth::None => true,
            Auth::Admin => *self != Self::Nobody,
            // There is no session and no client before the identity core, so nobody can have one.
            Auth::Session | Auth::Scope(_) | Auth::Client => false,
        }
    }
}

/// The key in `token <key>`; the scheme's name is case-insensitive (RFC 9110, section 11.1).
fn token(value: &[u8]) -> Option<&str> {
    let (scheme, key) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("token").then(|| key.trim())
}

/// An administrator; everybody else gets 401.
#[derive(Debug)]
pub(super) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Caller::of(parts, app).await? {
            Caller::Nobody => Err(unauthorized()),
            Caller::Local | Caller::Key(_) => Ok(Self),
        }
    }
}

/// The answer to a caller who must not.
pub(super) fn unauthorized() -> Problem {
    Problem::new(UNAUTHORIZED, "expected `Authorization: token <API key>`; `porth key new` makes a key")
}
