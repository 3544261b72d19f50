//! Who calls, and whether that suffices.

use std::borrow::Cow;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde_json::json;

use super::error::{BAD_PATH, FORBIDDEN, NOT_FOUND, Problem, UNAUTHORIZED};
use super::{App, Local, cookie, now_ms};
use crate::domain::access::Present;
use crate::domain::audit::Actor;
use crate::domain::keys::ApiKey;
use crate::domain::users::User;
use crate::runtime::Auth;

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Caller {
    /// Nobody in particular.
    Nobody,
    /// Whoever may open the control socket: this administers.
    Local,
    /// The holder of an API key: this administers.
    Key(Box<ApiKey>),
    /// The current user of the cookie's session.
    User(Box<Present>),
    /// An application, by its client id.
    Client(String),
}

impl Caller {
    /// Reads the credentials of a request, unless that was done before: the control socket, `Authorization: token <key>`, or else the session's cookie.
    pub(super) async fn of(parts: &Parts, app: &App) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        if parts.extensions.get::<Local>().is_some() {
            return Ok(Self::Local);
        }
        let Some(key) = parts.headers.get(AUTHORIZATION).and_then(|value| token(value.as_bytes())) else {
            let Some(cookie) = cookie::read(&parts.headers, &app.0.config) else { return Ok(Self::Nobody) };
            let present = app.0.access.present(cookie, now_ms()).await?;
            return Ok(present.map_or(Self::Nobody, |present| Self::User(Box::new(present))));
        };
        let Some(key) = app.0.keys.verify(key, now_ms()).await? else { return Ok(Self::Nobody) };
        if let Some(owner) = &key.owner
            && !app.0.access.has_scope(&owner.user_id, &owner.username, &app.0.config.admin_scope).await?
        {
            return Ok(Self::Nobody);
        }
        Ok(Self::Key(Box::new(key)))
    }

    /// As plug-ins get it.
    pub(super) fn json(&self) -> Cow<'static, str> {
        match self {
            Self::Nobody => Cow::Borrowed(r#"{"kind":"none"}"#),
            Self::Local => Cow::Borrowed(r#"{"kind":"key","name":"porth.sock"}"#),
            Self::Key(key) => Cow::Owned(json!({"kind": "key", "name": key.name}).to_string()),
            Self::User(present) => {
                Cow::Owned(json!({"kind": "user", "name": present.user.username.as_str()}).to_string())
            }
            Self::Client(client_id) => Cow::Owned(json!({"kind": "client", "name": client_id}).to_string()),
        }
    }

    /// As the audit log names who acts; nobody and applications do not.
    pub(super) fn actor(&self) -> Option<Actor> {
        match self {
            Self::Nobody | Self::Client(_) => None,
            Self::Local => Some(Actor::Local),
            Self::Key(key) => Some(Actor::Key { name: key.name.clone(), token_hash: key.token_hash.clone() }),
            Self::User(present) => {
                let user = &present.user;
                Some(Actor::User { username: user.username.as_str().to_owned(), id: user.id.clone() })
            }
        }
    }

    /// Whether an endpoint lets this caller in.
    pub(super) async fn satisfies(&self, auth: &Auth, app: &App) -> Result<bool, Problem> {
        match (auth, self) {
            (Auth::None, _) => Ok(true),
            (Auth::Admin, _) => self.administers(app).await,
            (Auth::Session, Self::User(_)) => Ok(true),
            (Auth::Scope(scope), Self::User(present)) => Ok(app.0.access.permits(present, scope, now_ms()).await?),
            (Auth::Client, Self::Client(_)) => Ok(true),
            (Auth::Session | Auth::Scope(_) | Auth::Client, _) => Ok(false),
        }
    }

    /// Whether this caller administers.
    pub(super) async fn administers(&self, app: &App) -> Result<bool, Problem> {
        match self {
            Self::Nobody | Self::Client(_) => Ok(false),
            Self::Local | Self::Key(_) => Ok(true),
            Self::User(present) => Ok(app.0.access.permits(present, &app.0.config.admin_scope, now_ms()).await?),
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
        if Caller::of(parts, app).await?.administers(app).await? { Ok(Self) } else { Err(needs_admin()) }
    }
}

/// An administrator in a session; everybody else gets 401, also with a key.
#[derive(Debug)]
pub(super) struct SessionAdmin(pub(super) Box<Present>);

impl FromRequestParts<App> for SessionAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::of(parts, app).await?;
        match caller.administers(app).await? {
            true => match caller {
                Caller::User(present) => Ok(Self(present)),
                _ => Err(needs_scope(&app.0.config.admin_scope)),
            },
            false => Err(needs_scope(&app.0.config.admin_scope)),
        }
    }
}

/// The current user of the session; everybody else gets 401.
#[derive(Debug)]
pub(super) struct Current(pub(super) Box<Present>);

impl FromRequestParts<App> for Current {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Caller::of(parts, app).await? {
            Caller::User(present) => Ok(Self(present)),
            _ => Err(needs_session()),
        }
    }
}

/// Whom a request for a profile is about: the current user of the session, who needs the scope for that; or, where the
/// path names somebody, that person, for an administrator.
#[derive(Debug)]
pub(super) struct Subject {
    /// The person.
    pub(super) user: User,
    /// The session by which people look at themselves.
    pub(super) own_session: Option<String>,
}

impl FromRequestParts<App> for Subject {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::of(parts, app).await?;
        let named = match RawPathParams::from_request_parts(parts, app).await {
            Ok(named) => Some(named),
            Err(RawPathParamsRejection::MissingPathParams(_)) => None,
            // Not as if nobody were named: that would be the caller.
            Err(bad) => return Err(Problem::new(BAD_PATH, bad.body_text())),
        };
        let named = named.as_ref().and_then(|named| named.iter().find(|(name, _)| *name == "username"));
        if let Some((_, username)) = named {
            if !caller.administers(app).await? {
                return Err(needs_admin());
            }
            let user = app.0.access.users.get(username).await?;
            let user = user.ok_or_else(|| Problem::new(NOT_FOUND, format!("there is no user `{username}`")))?;
            return Ok(Self { user, own_session: None });
        }
        let Caller::User(present) = caller else { return Err(needs_session()) };
        if !app.0.access.permits(&present, &app.0.config.profile_scope, now_ms()).await? {
            return Err(needs_scope(&app.0.config.profile_scope));
        }
        let Present { session, user } = *present;
        Ok(Self { user, own_session: Some(session.id) })
    }
}

/// The answer to a caller who must be somebody: a key stands for nobody.
pub(super) fn needs_session() -> Problem {
    Problem::new(UNAUTHORIZED, "expected the cookie of a session: log in first; an API key is not enough")
}

/// The answer to a caller whose session must have a scope.
fn needs_scope(scope: &str) -> Problem {
    let detail = format!("expected the cookie of a session with the scope `{scope}`; an API key is not enough");
    Problem::new(UNAUTHORIZED, detail)
}

/// The answer to a caller who must administer.
fn needs_admin() -> Problem {
    Problem::new(UNAUTHORIZED, "expected `Authorization: token <API key>`, or the session of an administrator")
}

/// The answer to a caller whom an endpoint of a plug-in does not let in.
pub(super) fn refused(caller: &Caller, auth: &Auth, admin_scope: &str) -> Problem {
    let scope = match (caller, auth) {
        (_, Auth::Client) => {
            return Problem::new(UNAUTHORIZED, "expected a client's id and secret, as HTTP Basic or in a form");
        }
        (Caller::User(_), Auth::Scope(scope)) => scope.as_ref(),
        (Caller::User(_), _) => admin_scope,
        (_, Auth::Admin) => return needs_admin(),
        (_, Auth::Scope(scope)) => return needs_scope(scope),
        (_, Auth::None | Auth::Session) => return needs_session(),
    };
    Problem::new(FORBIDDEN, format!("the session lacks the scope `{scope}`, or a proof that the scope asks for"))
}
