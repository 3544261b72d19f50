//! The mount of the plug-ins: whatever no route of the host matches, most of it `/<prefix>/<instance>/<path>`.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, Request, header};
use tower::ServiceExt as _;

use super::App;
use super::caller::{self, Caller};
use super::error::{self, BAD_PATH, INSTANCE_NOT_RUNNING, METHOD_NOT_ALLOWED, NOT_FOUND, Problem};
use super::{body, path};
use crate::runtime::{Auth, Chain, Found, Incoming, Looked};

/// Calls the plug-in that the path belongs to.
pub(super) async fn mount(State(app): State<App>, request: Request<Body>) -> Response {
    match dispatch(&app, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn dispatch(app: &App, request: Request<Body>) -> Result<Response, Problem> {
    let (parts, sent) = request.into_parts();
    let path = parts.uri.path();
    let decoded = path::decode(path).map_err(|bad| Problem::new(BAD_PATH, bad.to_string()))?;
    let Some((name, path_start)) = instance(path, &app.0.config.api_prefix) else {
        return host_again(app, Request::from_parts(parts, sent)).await;
    };
    let call = match app.0.runtime.begin(name) {
        Looked::Call(call) => call,
        Looked::NotRunning => return Err(not_running(name)),
        Looked::Nothing => return host_again(app, Request::from_parts(parts, sent)).await,
    };
    // The part below the prefix, decoded: the prefix and the name are plain, so they are as long in both.
    let below = match decoded.get(path_start..) {
        Some("") | None => "/",
        Some(below) => below,
    };
    let (chain, parameters) = match call.routes.find(&parts.method, below) {
        Found::Chain(chain, parameters) => (chain, parameters),
        Found::MethodNotAllowed(allow) => {
            return Err(Problem::new(METHOD_NOT_ALLOWED, format!("allowed here: {allow}")).with(header::ALLOW, &allow));
        }
        Found::Nothing => return Err(Problem::new(NOT_FOUND, "the instance has no such endpoint")),
    };
    let caller = admit(app, &parts, &chain).await?;
    let limit = chain.iter().map(|endpoint| endpoint.body_bytes_max).min().unwrap_or(0);
    // One handler that wants it whole is enough: the others then get it in one piece.
    let body = if chain.iter().all(|endpoint| endpoint.stream_body) {
        body::pieces(sent, limit)?
    } else {
        body::read(sent, limit).await?
    };
    let request_id = super::edge::request_id();
    let instance = call.key.clone();
    let incoming = Incoming { parts, path_start, body, parameters, request_id, caller };
    let answer = crate::runtime::call(call, &chain, incoming, is_identity).await;
    answer.map(|response| response.map(Body::new)).map_err(|error| error::from_call(&error, &instance))
}

/// The instance's name in a path below the prefix, and where in the path what follows it begins.
fn instance<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, usize)> {
    let below = path.strip_prefix('/')?.strip_prefix(prefix)?.strip_prefix('/')?;
    let len = below.find('/').unwrap_or(below.len());
    let name = below.get(..len)?;
    (!name.is_empty()).then_some((name, path.len() - below.len() + len))
}

/// A path that no route and no instance has: perhaps a route of the host has it with other slashes.
async fn host_again(app: &App, mut request: Request<Body>) -> Result<Response, Problem> {
    let Some(normal) = path::normalise(request.uri().path()) else { return Err(error::not_found().await) };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    *request.uri_mut() = http::Uri::builder()
        .path_and_query(format!("{normal}{query}"))
        .build()
        .map_err(|_| Problem::new(BAD_PATH, "the path is malformed"))?;
    let Some(routes) = app.0.host_routes.get().cloned() else { return Err(error::not_found().await) };
    routes.oneshot(request).await.map_err(|never| match never {})
}

fn not_running(name: &str) -> Problem {
    Problem::new(INSTANCE_NOT_RUNNING, format!("the instance `{name}` is not running"))
}

/// Lets the caller in, or not. Credentials are only looked at where an endpoint asks for any: elsewhere they may be the
/// plug-in's own.
async fn admit(app: &App, parts: &http::request::Parts, chain: &Chain) -> Result<Cow<'static, str>, Problem> {
    if chain.iter().all(|endpoint| endpoint.auth == Auth::None) {
        return Ok(Caller::Nobody.json());
    }
    let caller = Caller::of(parts, app).await?;
    for endpoint in chain.iter() {
        if !caller.satisfies(&endpoint.auth, app).await? {
            return Err(caller::refused(&caller));
        }
    }
    Ok(caller.json())
}

/// Header fields by which a proxy in front would say who the user is: from outside they mean nothing, so plug-ins do not
/// see them. `_` counts as `-`, as in the variables of CGI (RFC 3875, section 4.1.18).
fn is_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Nearly all fields begin with another letter.
    if !name.starts_with(['x', 'r']) {
        return false;
    }
    let name = name.replace('_', "-");
    matches!(name.as_str(), "remote-user" | "x-remote-user" | "x-forwarded-user")
        || name.starts_with("x-auth-request-")
        || name.starts_with("x-porth-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_the_first_segment_below_the_prefix() {
        for (path, found) in [
            ("/api/hello/x/y", Some(("hello", 10))),
            ("/api/hello", Some(("hello", 10))),
            ("/api/hello/", Some(("hello", 10))),
            ("/api/", None),
            ("/api", None),
            ("/apix/hello", None),
            ("/api//hello", None),
        ] {
            assert_eq!(instance(path, "api"), found, "{path}");
        }
    }

    #[test]
    fn identity_fields_are_known_in_every_spelling() {
        for (name, identity) in [
            ("Remote-User", true),
            ("remote_user", true),
            ("X-Auth-Request-Email", true),
            ("x_porth_user", true),
            ("x-request-id", false),
            ("referer", false),
        ] {
            assert_eq!(is_identity(&name.parse().unwrap()), identity, "{name}");
        }
    }
}
