//! Which requests go on to the router: those that name one host, this server, and a path that means one thing.
//!
//! Start at [`check`]. What a request may look like as bytes is the business of [`super::framing`]; here is what it may ask
//! for (RFC 9110, RFC 9112).

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use super::error::{BAD_PATH, BAD_REQUEST, EXPECTATION, METHOD_NOT_ALLOWED, MISDIRECTED, Problem};
use super::path;
use crate::config::Config;

/// Whether a request may go on to the router. What is refused here never gets to a handler.
pub(super) fn check<B>(request: &mut Request<B>, authorities: &Authorities) -> Result<(), Box<Response>> {
    let refused = |problem: Problem| Err(Box::new(problem.into_response()));
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return refused(Problem::new(METHOD_NOT_ALLOWED, "see the header field `Allow`").with(header::ALLOW, ALLOWED));
    }
    if let Err(problem) = check_host(request, authorities) {
        return refused(problem);
    }
    let path = request.uri().path();
    if path == "*" && request.method() == Method::OPTIONS {
        // Of the server as a whole (RFC 9110, section 9.3.7).
        return Err(Box::new((StatusCode::NO_CONTENT, [(header::ALLOW, ALLOWED)]).into_response()));
    }
    if !path.starts_with('/') {
        return refused(Problem::new(BAD_PATH, "the path does not begin with a slash"));
    }
    if let Err(bad) = path::decode(path) {
        return refused(Problem::new(BAD_PATH, bad.to_string()));
    }
    let promised = |expected: &HeaderValue| expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if request.headers().get_all(header::EXPECT).iter().all(promised) {
        return Ok(());
    }
    refused(Problem::new(EXPECTATION, "expected `100-continue` or nothing"))
}

/// Sees to it that there is one `Host` and that it is the one that is meant.
fn check_host<B>(request: &mut Request<B>, authorities: &Authorities) -> Result<(), Problem> {
    let malformed = |what| Err(Problem::new(BAD_REQUEST, what));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return malformed("there are two header fields `Host`"),
        (host, None) => host,
    };
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return malformed("the header field `Host` names no host");
    }
    let Some(authority) = request.uri().authority() else {
        // HTTP/1.0 has no `Host` (RFC 9112, section 3.2).
        return if host.is_none() && request.version() != Version::HTTP_10 {
            malformed("there is no header field `Host`")
        } else {
            Ok(())
        };
    };
    if request.version() == Version::HTTP_2 {
        if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
            return malformed("`Host` and `:authority` differ");
        }
        if host.is_some() {
            return Ok(());
        }
    } else if request.uri().scheme().is_none() {
        return malformed("the request target is malformed");
    } else if host.is_none() && request.version() != Version::HTTP_10 {
        return malformed("there is no header field `Host`");
    } else if !authorities.have(request.uri()) {
        return Err(Problem::new(MISDIRECTED, "another server answers for this address"));
    }
    // What the target says counts (RFC 9112, section 3.2.2), also to plug-ins.
    let host = HeaderValue::from_str(authority.as_str());
    let host = host.map_err(|_| Problem::new(BAD_REQUEST, "the request target is malformed"))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

/// A name or an address, perhaps with a port (RFC 3986, section 3.2, without user information).
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host.ends_with(b"]") => {
            let (name, port) = host.split_at(at);
            (name, port.get(1..).unwrap_or_default())
        }
        _ => (host, &b""[..]),
    };
    let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    let is_name = match name {
        [b'[', address @ .., b']'] => address.iter().all(|byte| may(byte) || *byte == b':'),
        name => name.iter().all(may),
    };
    !name.is_empty() && is_name && port.iter().all(u8::is_ascii_digit)
}

/// What clients reach the server by, as a request in absolute form may name it (RFC 9112, section 3.2.2).
#[derive(Clone, Debug)]
pub(super) struct Authorities(Arc<[Own]>);

#[derive(Debug)]
enum Own {
    /// Of `external_url` or of a listener, without the port that its scheme has anyway.
    Exact(String),
    /// Of a listener at all addresses of the machine, or at a port that the system chooses.
    Address { port: u16 },
}

impl Authorities {
    pub(super) fn of(config: &Config) -> Self {
        let external = config.external_url().parse::<Uri>().ok().and_then(|url| Some(Own::Exact(plain(&url)?)));
        let listeners = config.listeners().into_iter().flat_map(|listener| {
            let (address, port) = (listener.address, listener.address.port());
            if address.ip().is_unspecified() || port == 0 {
                return vec![Own::Address { port }];
            }
            let named = address.ip().is_loopback().then(|| Own::Exact(format!("localhost:{port}")));
            named.into_iter().chain([Own::Exact(address.to_string())]).collect()
        });
        Self(external.into_iter().chain(listeners).collect())
    }

    fn have(&self, uri: &Uri) -> bool {
        if !uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
            return false;
        }
        let (Some(authority), Some(named)) = (uri.authority(), plain(uri)) else { return false };
        self.0.iter().any(|own| match own {
            Own::Exact(own) => *own == named,
            Own::Address { port } => is_address(authority) && (*port == 0 || authority.port_u16() == Some(*port)),
        })
    }
}

/// The authority in small letters, without the port that its scheme has anyway and never with user information.
fn plain(uri: &Uri) -> Option<String> {
    let authority =
        uri.authority().filter(|authority| !authority.as_str().contains('@'))?.as_str().to_ascii_lowercase();
    let port = if uri.scheme() == Some(&Scheme::HTTPS) { ":443" } else { ":80" };
    Some(authority.strip_suffix(port).map_or_else(|| authority.clone(), str::to_owned))
}

fn is_address(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

/// What a resource may have.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_names_this_server() {
        let config = Config {
            external_url: Some("https://Id.example.org/porth".to_owned()),
            listen: Some("127.0.0.1:4593".parse().unwrap()),
            ..Config::default()
        };
        let authorities = Authorities::of(&config);
        for (target, own) in [
            ("https://id.example.org/x", true),
            ("https://ID.example.org:443/x", true),
            ("http://127.0.0.1:4593/x", true),
            ("http://localhost:4593/", true),
            ("https://id.example.org:8443/x", false),
            ("https://id.example.org.evil/x", false),
            ("https://a@id.example.org/x", false),
            ("http://127.0.0.1/x", false),
            ("http://192.0.2.1:4593/x", false),
            ("ftp://127.0.0.1:4593/x", false),
        ] {
            assert_eq!(authorities.have(&target.parse().unwrap()), own, "{target}");
        }
        let everywhere = Config { listen: Some("[::]:80".parse().unwrap()), ..Config::default() };
        let authorities = Authorities::of(&everywhere);
        for (target, own) in [
            ("http://192.0.2.1:80/", true),
            ("http://[2001:db8::1]:80/", true),
            ("http://192.0.2.1:81/", false),
            ("http://example.org:80/", false),
        ] {
            assert_eq!(authorities.have(&target.parse().unwrap()), own, "{target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for (host, fine) in [
            ("example.org", true),
            ("example.org:80", true),
            ("example.org:", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("", false),
            (":80", false),
            ("a:b", false),
            ("a:80:80", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("a[b]", false),
            ("a b", false),
            ("a/b", false),
            ("a@b", false),
            ("a\\b", false),
        ] {
            assert_eq!(is_host(host.as_bytes()), fine, "{host}");
        }
    }
}
