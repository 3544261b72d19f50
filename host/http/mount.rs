//! The mount of the plug-ins, `/<prefix>/<instance>/<path>`: in front of the host's routes.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use axum::{BoxError, Router};
use bytes::Bytes;
use futures_util::TryFutureExt as _;
use http::request::Parts;
use http::{HeaderName, Method, Request, StatusCode, header};
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt as _};

use super::App;
use super::access::{Line, Place, Unanswered};
use super::caller::{self, Caller};
use super::error::{self, BAD_PATH, INSTANCE_NOT_RUNNING, METHOD_NOT_ALLOWED, NOT_FOUND, Problem};
use super::measured::{Asked, NO_ROUTE};
use super::{body, client_credentials, origin, path, peer};
use crate::config::Serves;
use crate::runtime::{Auth, Call, Chain, Found, Incoming, Looked, PathParameters, RequestBody};
use crate::telemetry::request::{self, Ids};

/// The plug-ins at their paths, the routes of the host at all others.
///
/// No instance has the name of a host's route, so that the order does not matter; this one saves plug-ins the way
/// through the host's routes.
#[derive(Clone)]
pub struct Mount {
    app: App,
    routes: Router,
    serves: Serves,
}

impl Mount {
    /// In front of the host's routes.
    pub(super) fn new(app: App, routes: Router, serves: Serves) -> Self {
        Self { app, routes, serves }
    }
}

impl<B> Service<Request<B>> for Mount
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let path = request.uri().path();
        if let Some((name, path_start)) =
            instance(path, &self.app.0.config.api_prefix).or_else(|| outside(path, &self.app))
            && let Looked::Call(call) = self.app.0.runtime.begin(name)
        {
            let line = Line::begin(&request, &self.app.0.config);
            let noted = line.as_ref().and_then(Unanswered::line).cloned();
            let answer = dispatch(self.app.clone(), call, (self.serves, path_start), request, noted);
            Answering::PlugIn { future: Box::pin(answer.unwrap_or_else(Problem::into_response)), line }
        } else {
            let measured = &self.app.0.measured;
            let line = Line::begin(&request, &self.app.0.config);
            if let Some(line) = line.as_ref().and_then(Unanswered::line) {
                let template = Some(measured.template(path)).filter(|template| *template != NO_ROUTE);
                line.at(Place { instance: None, route: template.map(str::to_owned) });
            }
            let asked = measured.begin(request.method(), path);
            Answering::Host { future: self.routes.call(request), asked, line }
        }
    }
}

pin_project! {
    /// An answer on its way.
    #[project = AnsweringProject]
    pub enum Answering {
        Host { #[pin] future: RouteFuture<Infallible>, asked: Asked, line: Option<Unanswered> },
        PlugIn { future: Pin<Box<dyn Future<Output = Response> + Send>>, line: Option<Unanswered> },
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProject::Host { future, asked, line } => {
                let answer = std::task::ready!(future.poll(task));
                Poll::Ready(answer.map(|response| {
                    asked.answered(response.status());
                    with_line(line, response)
                }))
            }
            AnsweringProject::PlugIn { future, line } => {
                future.as_mut().poll(task).map(|response| Ok(with_line(line, response)))
            }
        }
    }
}

/// The answer, with a line in the access log if there is one.
fn with_line(line: &mut Option<Unanswered>, response: Response) -> Response {
    match line.take() {
        Some(line) => line.answered(response),
        None => response,
    }
}

/// Calls the plug-in, if its endpoint is one that is served here. The path belongs to its instance from `path_start` on: all
/// of it when it is outside of its prefix.
fn dispatch<B>(
    app: App,
    call: Call,
    (serves, path_start): (Serves, usize),
    request: Request<B>,
    line: Option<Arc<Line>>,
) -> impl Future<Output = Result<Response, Problem>>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, sent) = request.into_parts();
    let ids = request::current().unwrap_or_else(|| Ids::new(None, None));
    // A block: a function that is `async` has room for its arguments twice.
    async move {
        let found = find(&call, serves, path_start, &parts);
        if let Ok(Found::MethodNotAllowed(allow)) = &found
            && parts.method == Method::OPTIONS
        {
            return Ok((StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response());
        }
        let found = found.and_then(handlers);
        if let Some(line) = line {
            let endpoint = found.as_ref().ok().and_then(|(chain, _)| chain.first());
            line.at(Place {
                instance: Some(call.key.clone()),
                route: endpoint.map(|endpoint| endpoint.pattern.to_string()),
            });
        }
        let (chain, parameters) = found.inspect_err(|_| call.no_endpoint())?;
        let turned_away = |_: &Problem| crate::runtime::refused(&chain);
        let limit = chain.iter().map(|endpoint| endpoint.body_bytes_max).min().unwrap_or(0);
        // One handler that wants it whole is enough: the others then get it in one piece.
        let whole = !chain.iter().all(|endpoint| endpoint.stream_body);
        let (caller, body) = if whole && client_credentials::are_posted(&parts, &chain) {
            // The credentials are in the body, so it comes before the answer to whether the caller may.
            Box::pin(admit_posted(&app, &parts, &chain, Body::new(sent), limit)).await.inspect_err(turned_away)?
        } else {
            let caller = admit(&app, &parts, &chain).await.inspect_err(turned_away)?;
            let body = if sent.is_end_stream() {
                RequestBody::Whole(Bytes::new())
            } else if whole {
                body::read(Body::new(sent), limit).await.inspect_err(turned_away)?
            } else {
                body::pieces(Body::new(sent), limit).inspect_err(turned_away)?
            };
            (caller, body)
        };
        let by_proxy = peer::is_trusted_proxy(&parts.extensions, &app.0.config);
        let hidden = if by_proxy { is_identity } else { is_identity_or_forwarded };
        let instance = Arc::clone(&call);
        let from = peer::of(&parts.extensions, &parts.headers, &app.0.config);
        let incoming = Incoming { parts, path_start, body, parameters, ids, caller, peer: from };
        let answer = crate::runtime::call(call, &chain, incoming, hidden).await;
        answer.map(|response| response.map(Body::new)).map_err(|error| error::from_call(&error, &instance.key))
    }
}

/// The handlers for a request, with its path parameters.
fn find(call: &Call, serves: Serves, path_start: usize, parts: &Parts) -> Result<Found, Problem> {
    let decoded = path::decode(parts.uri.path()).map_err(|bad| Problem::new(BAD_PATH, bad.to_string()))?;
    if path_start == 0 {
        let name = decoded.strip_prefix(WELL_KNOWN).and_then(|below| below.split('/').next()).unwrap_or_default();
        return Ok(call.routes.find_well_known(&parts.method, name, |chain| is_served(chain, serves)));
    }
    // The part below the prefix, decoded: the prefix and the name are plain, so they are as long in both.
    let below = match decoded.get(path_start..) {
        Some("") | None => "/",
        Some(below) => below,
    };
    Ok(call.routes.find(&parts.method, below, |chain| is_served(chain, serves)))
}

/// Whether a listener has an endpoint. What is for administrators is at theirs alone, as the host's own is.
fn is_served(chain: &Chain, serves: Serves) -> bool {
    let for_administrators = || chain.iter().any(|endpoint| endpoint.auth == Auth::Admin);
    match serves {
        Serves::All => true,
        Serves::Public => !for_administrators(),
        Serves::Administration => for_administrators(),
        Serves::Redirect => false,
    }
}

fn handlers(found: Found) -> Result<(Chain, PathParameters), Problem> {
    match found {
        Found::Chain(chain, parameters) => Ok((chain, parameters)),
        Found::MethodNotAllowed(allow) => {
            Err(Problem::new(METHOD_NOT_ALLOWED, format!("allowed here: {allow}")).with(header::ALLOW, &allow))
        }
        Found::Nothing => Err(Problem::new(NOT_FOUND, "the instance has no such endpoint")),
    }
}

/// What no running instance and no route has: a path that is refused, an instance that does not run, or perhaps a path
/// that a route has with other slashes.
pub(super) async fn unmatched(
    serves: Serves,
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let path = request.uri().path();
    path::decode(path).map_err(|bad| Problem::new(BAD_PATH, bad.to_string()))?;
    match instance(path, &app.0.config.api_prefix).or_else(|| outside(path, &app)) {
        // One that runs by now did not when the request came.
        Some((name, _)) if !matches!(app.0.runtime.begin(name), Looked::Nothing) => Err(not_running(name)),
        _ => host_again(&app, serves, request).await,
    }
}

/// The instance's name in a path below the prefix, and where in the path what follows it begins.
fn instance<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, usize)> {
    let below = path.strip_prefix('/')?.strip_prefix(prefix)?.strip_prefix('/')?;
    let len = below.find('/').unwrap_or(below.len());
    let name = below.get(..len)?;
    (!name.is_empty()).then_some((name, path.len() - below.len() + len))
}

/// The instance whose endpoint a path outside of the prefix belongs to, as a whole.
fn outside<'a>(path: &'a str, app: &'a App) -> Option<(&'a str, usize)> {
    let config = &app.0.config;
    well_known(path, &config.api_prefix, config.root_issuer.as_deref()).map(|instance| (instance, 0))
}

/// The instance that `/.well-known/<name>/<prefix>/<instance>` names, as RFC 8414, section 3.1, puts it; of
/// `/.well-known/<name>` alone it is `root`.
fn well_known<'a>(path: &'a str, prefix: &str, root: Option<&'a str>) -> Option<&'a str> {
    let below = path.strip_prefix(WELL_KNOWN)?;
    let Some((_, issuer)) = below.split_once('/') else { return root };
    let name = issuer.strip_prefix(prefix)?.strip_prefix('/')?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Where names lie that every host has at the same place (RFC 8615).
const WELL_KNOWN: &str = "/.well-known/";

/// A path that no route and no instance has: perhaps a route of the host has it with other slashes.
async fn host_again(app: &App, serves: Serves, mut request: Request<Body>) -> Result<Response, Problem> {
    let Some(normal) = path::normalise(request.uri().path()) else { return Err(error::not_found().await) };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    *request.uri_mut() = http::Uri::builder()
        .path_and_query(format!("{normal}{query}"))
        .build()
        .map_err(|_| Problem::new(BAD_PATH, "the path is malformed"))?;
    let Some(routes) = app.0.routes_again(serves).get().cloned() else { return Err(error::not_found().await) };
    routes.oneshot(request).await.map_err(|never| match never {})
}

fn not_running(name: &str) -> Problem {
    Problem::new(INSTANCE_NOT_RUNNING, format!("the instance `{name}` is not running"))
}

/// Lets the caller in, or not. Credentials are only looked at where an endpoint asks for any: elsewhere they may be the
/// plug-in's own.
async fn admit(app: &App, parts: &Parts, chain: &Chain) -> Result<Cow<'static, str>, Problem> {
    if chain.iter().all(|endpoint| endpoint.auth == Auth::None) {
        return Ok(Caller::Nobody.json());
    }
    // In a box of its own: what asks the store is large, and most calls do not need it.
    Box::pin(let_in(app, parts, chain, &[])).await
}

/// Reads the body, and lets the client in whose credentials it holds, or not.
async fn admit_posted(
    app: &App,
    parts: &Parts,
    chain: &Chain,
    body: Body,
    limit: u64,
) -> Result<(Cow<'static, str>, RequestBody), Problem> {
    let body = body::read(body, limit).await?;
    let posted = match &body {
        RequestBody::Whole(bytes) => bytes.clone(),
        RequestBody::Pieces(_) => Bytes::new(),
    };
    Ok((let_in(app, parts, chain, &posted).await?, body))
}

async fn let_in(app: &App, parts: &Parts, chain: &Chain, posted: &[u8]) -> Result<Cow<'static, str>, Problem> {
    let for_clients = client_credentials::are_wanted(chain);
    let caller = if for_clients {
        client_credentials::caller(app, parts, posted).await?
    } else {
        Caller::of(parts, app).await?
    };
    for endpoint in chain.iter() {
        if !caller.satisfies(&endpoint.auth, app).await? {
            let refused = caller::refused(&caller, &endpoint.auth, &app.0.config.admin_scope);
            return Err(if for_clients {
                refused.with(header::WWW_AUTHENTICATE, "Basic realm=\"client\"")
            } else {
                refused
            });
        }
    }
    if let Caller::User(_) = caller {
        // The browser has shown the cookie, whoever made the page.
        origin::admit(&parts.method, &parts.headers, &parts.extensions, &app.0.config)?;
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
    says_who(&name.replace('_', "-"))
}

/// From whoever is no proxy of ours, what proxies say of a request means nothing either.
fn is_identity_or_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    if !name.starts_with(['x', 'r', 'f']) {
        return false;
    }
    let name = name.replace('_', "-");
    says_who(&name) || name == "forwarded" || name.starts_with("x-forwarded-")
}

fn says_who(name: &str) -> bool {
    matches!(name, "remote-user" | "x-remote-user" | "x-forwarded-user")
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
    fn a_well_known_name_belongs_to_the_issuer_behind_it() {
        for (path, found) in [
            ("/.well-known/openid-configuration/api/a", Some("a")),
            ("/.well-known/openid-configuration/api/a/", None),
            ("/.well-known/openid-configuration/api/a/b", None),
            ("/.well-known/openid-configuration/api/", None),
            ("/.well-known/openid-configuration/other/a", None),
            ("/.well-known/openid-configuration", Some("root")),
            ("/.well-known/openid-configuration/", None),
            ("/.well-known", None),
            ("/x/.well-known/openid-configuration", None),
        ] {
            assert_eq!(well_known(path, "api", Some("root")), found, "{path}");
        }
        assert_eq!(well_known("/.well-known/x", "api", None), None);
    }

    #[test]
    fn identity_fields_are_known_in_every_spelling() {
        for (name, identity, forwarded) in [
            ("Remote-User", true, true),
            ("remote_user", true, true),
            ("X-Auth-Request-Email", true, true),
            ("x_porth_user", true, true),
            ("X-Forwarded-User", true, true),
            ("X-Forwarded-For", false, true),
            ("x_forwarded_proto", false, true),
            ("Forwarded", false, true),
            ("x-request-id", false, false),
            ("referer", false, false),
            ("from", false, false),
        ] {
            let parsed = name.parse().unwrap();
            assert_eq!((is_identity(&parsed), is_identity_or_forwarded(&parsed)), (identity, forwarded), "{name}");
        }
    }
}
