//! Where the server listens, and for whom.
//!
//! Start at [`Listener`]; which there are is told by [`Config::listeners`].

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Limits};

/// One address that the server listens at: a `[[listener]]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where; with port 0 the system chooses a port.
    pub address: SocketAddr,
    /// With which certificate; plain HTTP without it.
    pub tls: Option<Tls>,
    /// Whether clients may speak HTTP/2; unless it is said, where there is `tls`.
    pub http2: Option<bool>,
    /// What it answers. Unless it is said: `all`, or, beside a listener for administration, `public`.
    pub serves: Option<Serves>,
}

/// What proves to clients that they are at the right server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the server's certificate, and then those that lead from it to one that clients know.
    #[schemars(extend("x-path" = true))]
    pub certificate: PathBuf,
    /// A PEM file with the key that belongs to it (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    #[schemars(extend("x-path" = true))]
    pub key: PathBuf,
}

/// What a listener answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// Everything.
    #[default]
    All,
    /// Endpoints of plug-ins and what people do for themselves; nothing that only administrators may.
    Public,
    /// The host's own routes, those for administrators among them; of plug-ins only endpoints for administrators.
    Administration,
    /// Nothing: it leads every request to the same path with https, at `external_url` or at the first listener with TLS.
    Redirect,
}

impl Listener {
    /// Plain HTTP/1.1 for everybody.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, http2: None, serves: None }
    }

    /// Whether clients may speak HTTP/2. Unless it is said: with TLS, where both sides agree on it beforehand (RFC 7301).
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        self.http2.unwrap_or(self.tls.is_some())
    }

    /// The URL of its root, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

impl Config {
    /// Every listener: those of `[[listener]]`, or else the one of `listen`. Never empty.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        if self.listeners.is_empty() { vec![self.short_form()] } else { self.listeners.clone() }
    }

    /// What a listener answers. Unless it is said: everything, or, beside one for administration, what is public.
    #[must_use]
    pub fn serves(&self, listener: &Listener) -> Serves {
        listener.serves.unwrap_or_else(|| {
            let apart = self.listeners.iter().any(|listener| listener.serves == Some(Serves::Administration));
            if apart { Serves::Public } else { Serves::All }
        })
    }

    /// How clients reach the server from outside, without a trailing slash.
    #[must_use]
    pub fn external_url(&self) -> String {
        let own = || self.first_public().map_or_else(|| self.short_form().url(), Listener::url);
        self.external_url.clone().unwrap_or_else(own)
    }

    /// Whether clients come by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        match &self.external_url {
            Some(url) => url.starts_with("https://"),
            None => self.first_public().is_some_and(|listener| listener.tls.is_some()),
        }
    }

    /// How administrators reach the server, without a trailing slash.
    #[must_use]
    pub fn administration_url(&self) -> String {
        let apart = self.listeners.iter().find(|listener| listener.serves == Some(Serves::Administration));
        apart.map_or_else(|| self.external_url(), Listener::url)
    }

    fn first_public(&self) -> Option<&Listener> {
        let serves_all =
            |listener: &&Listener| !matches!(listener.serves, Some(Serves::Administration | Serves::Redirect));
        let public = || self.listeners.iter().filter(serves_all);
        // Beside one with TLS a plain one most likely is for a proxy.
        public().find(|listener| listener.tls.is_some()).or_else(|| public().next())
    }

    /// What `listen` means, or its absence.
    fn short_form(&self) -> Listener {
        Listener::plain(self.listen.unwrap_or(DEFAULT_ADDRESS))
    }

    /// What is wrong with the listeners, one sentence each. Files are looked at later, by whoever reads them.
    pub(super) fn check_listeners(&self, problems: &mut Vec<String>) {
        if self.listen.is_some() && !self.listeners.is_empty() {
            problems
                .push("`listen` and `[[listener]]` are both there; make `listen` another `[[listener]]`".to_owned());
        }
        if self.listeners.len() > LISTENERS_MAX {
            problems.push(format!("there are {} `[[listener]]`; at most {LISTENERS_MAX} can be", self.listeners.len()));
        }
        let mut seen = HashSet::new();
        for listener in &self.listeners {
            let address = listener.address;
            if address.port() != 0 && !seen.insert(address) {
                problems.push(format!("two `[[listener]]` have the address {address}"));
            }
        }
        if !self.listeners.is_empty() && self.first_public().is_none() {
            problems.push("no `[[listener]]` serves \"all\" or \"public\"; one must".to_owned());
        }
        for listener in self.listeners.iter().filter(|listener| listener.serves == Some(Serves::Redirect)) {
            let address = listener.address;
            if listener.tls.is_some() {
                problems
                    .push(format!("the `[[listener]]` {address} leads to https and has `tls`; leave one of both out"));
            }
            if !self.is_https() {
                problems.push(format!(
                    "the `[[listener]]` {address} leads to https, and there is none; expected one with `tls`, or an \
                    `external_url` with https"
                ));
            }
        }
    }
}

impl Limits {
    /// How many connections there may be, where the system gives the process so many files.
    #[must_use]
    pub fn connections_within(&self, open_files_max: Option<u64>) -> usize {
        let files = open_files_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        self.connections_max.min(files.saturating_sub(FILES_RESERVED)).max(CONNECTIONS_MIN)
    }
}

/// What files are open beside connections: the database, libraries, what plug-ins open, connections of administrators.
const FILES_RESERVED: usize = 256;
/// With less there would be no server.
const CONNECTIONS_MIN: usize = 16;

/// Where the server listens when nothing is said.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4593);
/// As many as can be handed over to a child in one message, beside what else comes with it.
pub const LISTENERS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    fn check(text: &str, expected: Expect) {
        let config = config(text);
        let mut problems = Vec::new();
        config.check_listeners(&mut problems);
        let mut listeners = String::new();
        for listener in config.listeners() {
            let http2 = if listener.speaks_http2() { " with HTTP/2" } else { "" };
            listeners.push_str(&format!("{} for {:?}{http2}\n", listener.url(), config.serves(&listener)));
        }
        let urls = format!("{} and {}\n", config.external_url(), config.administration_url());
        expected.assert_eq(&format!("{listeners}{urls}{}", problems.join("\n")));
    }

    #[test]
    fn the_short_form_is_one_listener_for_everything() {
        check(
            "",
            expect![[r#"
            http://127.0.0.1:4593 for All
            http://127.0.0.1:4593 and http://127.0.0.1:4593
        "#]],
        );
        check(
            "listen = '[::1]:1'",
            expect![[r#"
            http://[::1]:1 for All
            http://[::1]:1 and http://[::1]:1
        "#]],
        );
    }

    #[test]
    fn beside_a_listener_for_administration_the_others_are_public() {
        let text = "
            [[listener]]
            address = '127.0.0.1:2'
            serves = 'administration'
            [[listener]]
            address = '0.0.0.0:443'
            tls = { certificate = 'c', key = 'k' }
            [[listener]]
            address = '127.0.0.1:3'
            serves = 'all'
            http2 = true
        ";
        check(
            text,
            expect![[r#"
            http://127.0.0.1:2 for Administration
            https://0.0.0.0:443 for Public with HTTP/2
            http://127.0.0.1:3 for All with HTTP/2
            https://0.0.0.0:443 and http://127.0.0.1:2
        "#]],
        );
        assert!(config(text).is_https(), "the first public listener speaks TLS");
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        let twice = "[[listener]]\naddress = '127.0.0.1:1'\n".repeat(2);
        check(
            &format!("listen = '127.0.0.1:1'\n{twice}"),
            expect![[r#"
            http://127.0.0.1:1 for All
            http://127.0.0.1:1 for All
            http://127.0.0.1:1 and http://127.0.0.1:1
            `listen` and `[[listener]]` are both there; make `listen` another `[[listener]]`
            two `[[listener]]` have the address 127.0.0.1:1"#]],
        );
        check(
            "[[listener]]\naddress = '127.0.0.1:1'\nserves = 'administration'",
            expect![[r#"
            http://127.0.0.1:1 for Administration
            http://127.0.0.1:4593 and http://127.0.0.1:1
            no `[[listener]]` serves "all" or "public"; one must"#]],
        );
        let redirect = "[[listener]]\naddress = '127.0.0.1:1'\nserves = 'redirect'\n";
        check(
            &format!("{redirect}[[listener]]\naddress = '127.0.0.1:2'"),
            expect![[r#"
            http://127.0.0.1:1 for Redirect
            http://127.0.0.1:2 for All
            http://127.0.0.1:2 and http://127.0.0.1:2
            the `[[listener]]` 127.0.0.1:1 leads to https, and there is none; expected one with `tls`, or an `external_url` with https"#]],
        );
        let tls = "tls = { certificate = 'c', key = 'k' }";
        check(
            &format!("{redirect}{tls}\n[[listener]]\naddress = '127.0.0.1:2'\n{tls}"),
            expect![[r#"
            https://127.0.0.1:1 for Redirect with HTTP/2
            https://127.0.0.1:2 for All with HTTP/2
            https://127.0.0.1:2 and https://127.0.0.1:2
            the `[[listener]]` 127.0.0.1:1 leads to https and has `tls`; leave one of both out"#]],
        );
        let mut problems = Vec::new();
        config(&"[[listener]]\naddress = '127.0.0.1:0'\n".repeat(13)).check_listeners(&mut problems);
        assert_eq!(problems, ["there are 13 `[[listener]]`; at most 12 can be"]);
    }
}
