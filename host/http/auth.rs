//! `/auth`: logging in and out.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::State;
use http::header::{HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request};
use serde::Deserialize;

use super::caller;
use super::error::{NOT_FOUND, Problem, UNAUTHORIZED};
use super::fields::Fields;
use super::modules::detached;
use super::query::Query;
use super::{App, audit, cookie, now_ms, peer};
use crate::domain::access::{LogInError, SchemeProof};
use crate::domain::login::{LoginSession, Origin};
use crate::domain::schemes::Sent;

/// What an answer carries besides its status.
type Answer = axum::response::AppendHeaders<Option<(HeaderName, HeaderValue)>>;

/// `POST /auth/`: by password, by a scheme, or, by the name alone, another user of the session becomes the current one.
pub(super) async fn log_in(State(app): State<App>, request: Request<Body>) -> Result<Answer, Problem> {
    let headers = request.headers().clone();
    let peer = peer::of(request.extensions(), &headers, &app.0.config);
    let mut fields = Fields::read(request).await?;
    let by_scheme = fields.has("scheme_type") || fields.has("scheme_name");
    let username = if by_scheme { fields.text("username") } else { Some(fields.required_text("username")) };
    let password = fields.text("password");
    let scheme = by_scheme.then(|| (fields.required_text("scheme_type"), fields.required_text("scheme_name")));
    let value = fields.value("value");
    fields.finish()?;
    // To its end, also when the caller leaves: a guess counts for who does not wait for the answer, too.
    detached(enter(app, headers, peer, Shown { username, password, scheme, value })).await?
}

/// What somebody shows who wants to come in.
struct Shown {
    username: Option<String>,
    password: Option<String>,
    /// Module and instance of the scheme.
    scheme: Option<(String, String)>,
    value: serde_json::Value,
}

async fn enter(app: App, headers: HeaderMap, peer: Option<IpAddr>, shown: Shown) -> Result<Answer, Problem> {
    let Shown { username, password, scheme, value } = shown;
    let cookie = cookie::read(&headers, &app.0.config);
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some((module, scheme)) = scheme {
        let sent = Sent { data: value, origin: Some(origin(&headers, peer)) };
        let proof = SchemeProof { username: username.as_deref(), module: &module, scheme: &scheme, sent: &sent };
        let logged_in = app.0.access.log_in_by_scheme(cookie, proof, peer, user_agent, now_ms()).await;
        return noted(&app, username.as_deref(), peer, logged_in).await;
    }
    let username = username.unwrap_or_default();
    if let Some(password) = password {
        let logged_in = app.0.access.log_in(cookie, &username, &password, peer, user_agent, now_ms()).await;
        return noted(&app, Some(&username), peer, logged_in).await;
    }
    let session = session(&app, &headers).await?;
    if !app.0.access.switch(&session, &username).await? {
        return Err(Problem::new(UNAUTHORIZED, "the session has no such user"));
    }
    Ok(axum::response::AppendHeaders(None))
}

/// The answer to who logged in, or did not; those who administer are in the audit log then.
async fn noted(
    app: &App,
    username: Option<&str>,
    peer: Option<IpAddr>,
    logged_in: Result<String, LogInError>,
) -> Result<Answer, Problem> {
    match logged_in {
        Ok(cookie) => {
            audit::logged_in(app, &cookie, peer).await?;
            Ok(axum::response::AppendHeaders(cookie::set(&cookie, &app.0.config)))
        }
        Err(error) => {
            if let Some(username) = username {
                audit::not_logged_in(app, username, peer, &error);
            }
            Err(error.into())
        }
    }
}

/// Who logs out.
#[derive(Debug, Deserialize)]
pub(super) struct Who {
    username: Option<String>,
}

/// `DELETE /auth/`: logs out one user of the session, or all.
pub(super) async fn log_out(State(app): State<App>, request: Request<Body>) -> Result<Answer, Problem> {
    let Query(who) = Query::<Who>::of(request.uri())?;
    // Unlike elsewhere a cookie that opens nothing is told apart from none.
    let cookie = cookie::read(request.headers(), &app.0.config).ok_or_else(caller::needs_session)?;
    let session = app.0.access.sessions.find(cookie, now_ms()).await?;
    let session = session.ok_or_else(|| Problem::new(NOT_FOUND, "there is no such session"))?;
    let sessions = &app.0.access.sessions;
    let Some(username) = who.username else {
        sessions.end(&session.id).await?;
        return Ok(axum::response::AppendHeaders(cookie::clear(&app.0.config)));
    };
    let unknown = || Problem::new(NOT_FOUND, "the session has no such user");
    let user = session.user(&username).ok_or_else(unknown)?;
    if !sessions.leave(&session.id, &user.id).await? {
        return Err(unknown());
    }
    let last = session.others.is_empty();
    Ok(axum::response::AppendHeaders(last.then(|| cookie::clear(&app.0.config)).flatten()))
}

/// Where a request comes from.
pub(super) fn origin(headers: &HeaderMap, peer: Option<std::net::IpAddr>) -> Origin {
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Origin { user_agent: user_agent.to_owned(), peer: peer.map(|peer| peer.to_string()).unwrap_or_default() }
}

/// The session of the request, or 401.
pub(super) async fn session(app: &App, headers: &HeaderMap) -> Result<LoginSession, Problem> {
    let cookie = cookie::read(headers, &app.0.config).ok_or_else(caller::needs_session)?;
    app.0.access.sessions.find(cookie, now_ms()).await?.ok_or_else(caller::needs_session)
}
