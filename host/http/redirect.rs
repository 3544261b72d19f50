//! A listener that answers nothing itself and leads to the same place with https: for those who type a name without it.
//!
//! Start at [`Redirect`].

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use tower::Service;

use super::error::{BAD_REQUEST, Problem};
use crate::config::Config;

/// Answers 308 (RFC 9110, section 15.4.9): the method and the body are the same there.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The configured `external_url`; without one, the host that the client has asked for counts.
    external_url: Option<Arc<str>>,
    /// Where TLS is spoken.
    port: u16,
}

impl Redirect {
    /// To the `external_url` of a configuration, or else to this port of whichever name clients use.
    #[must_use]
    pub fn new(config: &Config, port: u16) -> Self {
        Self { external_url: config.external_url.as_deref().map(Arc::from), port }
    }

    /// Where a request is led.
    fn location(&self, headers: &HeaderMap, target: &str) -> Option<HeaderValue> {
        let base = match &self.external_url {
            Some(url) => without_twice(url, target).to_owned(),
            None => {
                let host = headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok()?;
                let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
                format!("https://{}{port}", host.host())
            }
        };
        HeaderValue::try_from(format!("{base}{target}")).ok()
    }
}

/// The URL, without its path where a target has that already: no proxy has taken it off.
fn without_twice<'a>(url: &'a str, target: &str) -> &'a str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let below = url.get(authority..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| authority + at);
    let (origin, path) = url.split_at(below);
    let has = |target: &str| target.is_empty() || target.starts_with(['/', '?']);
    if !path.is_empty() && target.strip_prefix(path).is_some_and(has) { origin } else { url }
}

impl<B> Service<Request<B>> for Redirect {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        ready(Ok(match self.location(request.headers(), target) {
            Some(location) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response(),
            None => Problem::new(BAD_REQUEST, "expected a `Host`, to know where https is spoken").into_response(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(external_url: Option<&str>, port: u16, host: &str, target: &str, expected: Option<&str>) {
        let config = Config { external_url: external_url.map(str::to_owned), ..Config::default() };
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        let location = Redirect::new(&config, port).location(&headers, target);
        assert_eq!(location.as_ref().map(|location| location.to_str().unwrap()), expected, "{host} {target}");
    }

    #[test]
    fn the_same_place_with_https() {
        check(None, 443, "id.example.org", "/a?b=c", Some("https://id.example.org/a?b=c"));
        check(None, 443, "id.example.org:80", "/", Some("https://id.example.org/"));
        check(None, 8443, "[::1]:8080", "/a", Some("https://[::1]:8443/a"));
        // A path that looks like a host is none behind one.
        check(None, 443, "id.example.org", "//evil.example/", Some("https://id.example.org//evil.example/"));
        check(None, 443, "a,b/c", "/", None);
        let url = Some("https://id.example.org/porth");
        check(url, 8443, "evil.example", "/a", Some("https://id.example.org/porth/a"));
        check(url, 8443, "id.example.org", "/porth/a", Some("https://id.example.org/porth/a"));
        check(url, 8443, "id.example.org", "/porth?a", Some("https://id.example.org/porth?a"));
        check(url, 8443, "id.example.org", "/portha", Some("https://id.example.org/porth/portha"));
    }
}
