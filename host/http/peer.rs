//! Where a request comes from, also through proxies that the configuration trusts.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap};

use super::Peer;
use crate::config::{Config, Network, ProxyHeader};

/// The address that a request comes from: the connection's, or, where that is a trusted proxy's, the last one before it
/// that is none. Nobody knows the address of who comes by the control socket.
pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, config: &Config) -> Option<IpAddr> {
    let peer = extensions.get::<Peer>()?.0.to_canonical();
    let trusted = |address: IpAddr| is_trusted(address, config);
    if !trusted(peer) {
        return Some(peer);
    }
    let values = headers.get_all(config.proxy_header.name()).iter().rev();
    let mut nearest = peer;
    // By bytes: what the client has written must not hide what a proxy has put behind it.
    for entry in values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        let said = std::str::from_utf8(entry).ok().and_then(|entry| match config.proxy_header {
            ProxyHeader::XForwardedFor => address(entry),
            ProxyHeader::Forwarded => forwarded_for(entry).and_then(address),
        });
        // What a trusted proxy could not tell, nobody before it can.
        let Some(said) = said else { return Some(nearest) };
        nearest = said;
        if !trusted(said) {
            break;
        }
    }
    Some(nearest)
}

/// Whether the header fields of proxies count in a request.
pub(super) fn is_trusted_proxy(extensions: &Extensions, config: &Config) -> bool {
    !config.trusted_proxies.is_empty()
        && extensions.get::<Peer>().is_some_and(|peer| is_trusted(peer.0.to_canonical(), config))
}

pub(super) fn is_trusted(address: IpAddr, config: &Config) -> bool {
    config.trusted_proxies.iter().any(|network: &Network| network.contains(address))
}

/// The `for` of an element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address, perhaps with a port, and in brackets where there are colons in it.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: ProxyHeader, peer: &str, fields: &[&str], expected: &str) {
        let trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let config = Config { trusted_proxies, proxy_header: header, ..Config::default() };
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header.name(), http::HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        let found = of(&extensions, &headers, &config).unwrap();
        assert_eq!(found.to_string(), expected, "{peer} {fields:?}");
    }

    #[test]
    fn only_trusted_proxies_say_who_comes() {
        let by = |peer, fields: &[&str], expected| check(ProxyHeader::XForwardedFor, peer, fields, expected);
        by("192.0.2.1", &["198.51.100.1"], "192.0.2.1");
        by("10.0.0.1", &[], "10.0.0.1");
        by("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        by("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        // What the client itself had written stands before.
        by("10.0.0.1", &["127.0.0.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        by("10.0.0.1", &["127.0.0.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1");
        by("fd00::1", &["[2001:db8::1]:80"], "2001:db8::1");
        by("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        // Bytes that are no ASCII hide nothing.
        by("10.0.0.1", &["\u{ff}, 198.51.100.1"], "198.51.100.1");
        by("10.0.0.1", &["127.0.0.1", "\u{ff}, 198.51.100.1"], "198.51.100.1");
        by("10.0.0.1", &["127.0.0.1, 198.51.100.\u{ff}"], "10.0.0.1");
        by("10.0.0.1", &["198.51.100.1, 10.0.0.3, _hidden, 10.0.0.2"], "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_where_the_proxy_writes_it() {
        let by = |fields: &[&str], expected| check(ProxyHeader::Forwarded, "10.0.0.1", fields, expected);
        by(&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60");
        by(&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17");
        by(&["for=127.0.0.1, for=192.0.2.43, for=10.0.0.9"], "192.0.2.43");
        by(&["for=unknown"], "10.0.0.1");
    }
}
