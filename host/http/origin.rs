//! What every request to the host's routes, and to an endpoint that a session opens, is looked at for: that no page of
//! another origin changes anything with a person's cookie.

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, HeaderMap, Method, Request, header};

use super::error::{FOREIGN_ORIGIN, Problem};
use super::{App, cors, peer};
use crate::config::Config;

/// Refuses a change that a page of another origin asks for.
pub(super) async fn check(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    match admit(request.method(), request.headers(), request.extensions(), &app.0.config) {
        Ok(()) => next.run(request).await,
        Err(foreign) => foreign.into_response(),
    }
}

/// Lets a request pass, unless it changes something and a page of another origin asks for it. Without `Origin` no browser
/// asks for a change.
pub(super) fn admit(
    method: &Method,
    headers: &HeaderMap,
    extensions: &Extensions,
    config: &Config,
) -> Result<(), Problem> {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(origin) = headers.get(header::ORIGIN).filter(|_| !reads) else { return Ok(()) };
    let comes_by = |scheme: &str| comes_by(scheme, headers, extensions, config);
    // A page of ours that tells nobody where it is (`Referrer-Policy: no-referrer`); no page writes this field itself (W3C
    // Fetch Metadata).
    let hides = origin.as_bytes() == b"null"
        && headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"same-origin");
    if hides || is_own(headers, &config.external_url(), comes_by) || cors::is_allowed(origin, &config.cors_origins) {
        return Ok(());
    }
    let detail = "`Origin` names another origin than `external_url`, the address that was asked, and `cors_origins`";
    Err(Problem::new(FOREIGN_ORIGIN, detail))
}

/// Whether the origin, if one is named, is that of `external_url` or that of the address that was asked, by that scheme.
fn is_own(headers: &HeaderMap, external_url: &str, comes_by: impl Fn(&str) -> bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let external = external_url.split_once("://").is_some_and(|(external_scheme, rest)| {
        let host = rest.split('/').next().unwrap_or_default();
        // Browsers leave out the port that a scheme has anyway (RFC 6454, section 6.2).
        let usual = if external_scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let host = host.strip_suffix(usual).unwrap_or(host);
        external_scheme.eq_ignore_ascii_case(scheme) && host.eq_ignore_ascii_case(authority)
    });
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    external || host.is_some_and(|host| host.eq_ignore_ascii_case(authority) && comes_by(scheme))
}

/// Whether a request can have come by a scheme: a trusted proxy's word, else what the listeners speak.
fn comes_by(scheme: &str, headers: &HeaderMap, extensions: &Extensions, config: &Config) -> bool {
    let said = headers.get("x-forwarded-proto").and_then(|said| said.to_str().ok());
    if let Some(said) = said.filter(|_| peer::is_trusted_proxy(extensions, config)) {
        return said.rsplit(',').next().is_some_and(|said| said.trim().eq_ignore_ascii_case(scheme));
    }
    let by_tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return false,
    };
    config.listeners().iter().any(|listener| listener.tls.is_some() == by_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_origins() {
        let own = |origin: &'static str| {
            let fields = [(header::HOST, "127.0.0.1:4593"), (header::ORIGIN, origin)];
            let headers = fields.into_iter().map(|(name, value)| (name, http::HeaderValue::from_static(value)));
            is_own(&headers.collect(), "https://Example.org/porth", |scheme| scheme == "http")
        };
        for origin in ["https://example.org", "http://127.0.0.1:4593"] {
            assert!(own(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://example.org",
            "https://127.0.0.1:4593",
            "https://example.org.evil",
            "http://127.0.0.1",
            "https://a",
        ] {
            assert!(!own(origin), "{origin}");
        }
        assert!(is_own(&HeaderMap::new(), "https://example.org", |_| false));
        let at_443 = HeaderMap::from_iter([(header::ORIGIN, http::HeaderValue::from_static("https://example.org"))]);
        assert!(is_own(&at_443, "https://example.org:443", |_| false));
        assert!(!is_own(&at_443, "https://example.org:8443", |_| false));
    }
}
