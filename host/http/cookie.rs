//! The session's cookie: the only one of the host's own.

use http::{HeaderMap, HeaderValue, header};

use crate::config::Config;
use crate::runtime;

/// What the session's cookie holds.
pub(super) fn read<'a>(headers: &'a HeaderMap, config: &Config) -> Option<&'a str> {
    runtime::session_cookie(headers, config)
}

/// Sets the cookie; the session behind it ends by itself, so the browser may keep it.
pub(super) fn set(value: &str, config: &Config) -> Option<(header::HeaderName, HeaderValue)> {
    field(value, MAX_AGE_S, config)
}

/// Takes the cookie away.
pub(super) fn clear(config: &Config) -> Option<(header::HeaderName, HeaderValue)> {
    field("", 0, config)
}

fn field(value: &str, max_age_s: u32, config: &Config) -> Option<(header::HeaderName, HeaderValue)> {
    let secure = if config.is_https() { "; Secure" } else { "" };
    let name = config.session_cookie();
    let field = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    Some((header::SET_COOKIE, HeaderValue::try_from(field).ok()?))
}

/// A year.
const MAX_AGE_S: u32 = 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(external_url: Option<&str>) -> Config {
        Config { external_url: external_url.map(str::to_owned), ..Config::default() }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; XPORTH_SESSION=no;PORTH_SESSIONX=no"));
        assert_eq!(read(&headers, &config(None)), None);
        headers.append(header::COOKIE, HeaderValue::from_static("c; PORTH_SESSION=yes=; d=e"));
        assert_eq!(read(&headers, &config(None)), Some("yes="));
        assert_eq!(read(&headers, &config(Some("https://example.org"))), None);
    }

    #[test]
    fn under_https_the_cookie_stays_with_this_host() {
        let (_, plain) = set("x", &config(None)).unwrap();
        assert_eq!(plain, "PORTH_SESSION=x; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax");
        let (_, secure) = clear(&config(Some("https://example.org"))).unwrap();
        assert_eq!(secure, "__Host-PORTH_SESSION=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure");
    }
}
