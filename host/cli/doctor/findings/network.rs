//! What is unsafe or odd about how clients come here.

use std::net::IpAddr;

use super::super::facts::Facts;
use super::{Finding, error, warning, when};
use crate::config::Listener;

fn is_open(listener: &Listener) -> bool {
    !listener.address.ip().is_loopback()
}

pub(super) fn encryption(facts: &Facts) -> Vec<Finding> {
    let listeners = facts.config.listeners();
    let plain = listeners.iter().filter(|listener| listener.tls.is_none() && is_open(listener));
    let found = plain.map(|listener| {
        let text = format!("{} can be reached from other machines and is not encrypted", listener.url());
        let remedy = "give the listener `tls`, or let it listen at 127.0.0.1 behind a proxy that encrypts";
        warning("plain-http", text, remedy)
    });
    found.collect()
}

pub(super) fn certificates(facts: &Facts) -> Vec<Finding> {
    let config = &facts.config;
    let url = config.external_url();
    let host = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    let found = facts.certificates.iter().flat_map(|certificate| {
        let path = certificate.path.display();
        let renew = "renew it; the server takes the new file without a restart";
        let mut found = match &certificate.about {
            Err(reason) => {
                vec![error("certificate", reason, "a certificate that is a listener's own, and its key, in PEM")]
            }
            Ok(about) => {
                let days = about.days_left(facts.now_ms);
                let mut found = when(i128::from(about.not_before_s) * 1000 > i128::from(facts.now_ms), || {
                    let text = format!("the certificate `{path}` is not valid yet: clients refuse it");
                    error("certificate", text, "set the clock right, or wait with it")
                });
                found.extend(when(days < 0.0, || {
                    error("certificate", format!("the certificate `{path}` has ended: clients refuse it"), renew)
                }));
                found.extend(when((0.0..DAYS_LEFT).contains(&days), || {
                    warning("certificate", format!("the certificate `{path}` ends in {days:.0} days"), renew)
                }));
                // Behind a proxy clients see another one.
                let is_for_it = about.names.iter().any(|name| is_named(name, host));
                found.extend(when(config.external_url.is_some() && config.is_https() && !is_for_it, || {
                    let text = format!("the certificate `{path}` is not for `{host}`, by which clients come");
                    warning("certificate-name", text, "one for that name, unless a proxy in front shows its own")
                }));
                found
            }
        };
        found.extend(certificate.key.as_ref().filter(|key| key.mode & 0o077 != 0).map(|key| {
            let (path, mode) = (key.path.display(), key.mode);
            let text = format!("the key `{path}` has mode {mode:04o}: others can read or replace it");
            error("certificate-key", text, format!("chmod 0600 {path}"))
        }));
        found
    });
    found.collect()
}

/// Whether a certificate's name is a host's (RFC 6125, section 6.4.3: a star is one label).
fn is_named(name: &str, host: &str) -> bool {
    let of_star = |rest: &str| host.split_once('.').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(rest));
    name.eq_ignore_ascii_case(host) || name.strip_prefix("*.").is_some_and(of_star)
}

pub(super) fn external_url(facts: &Facts) -> Vec<Finding> {
    let config = &facts.config;
    let reached = config.external_url.is_some() || config.listeners().iter().any(is_open);
    let url = config.external_url();
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    let is_local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| host.starts_with(local));
    when(reached && !config.is_https() && !is_local, || {
        let text = format!("clients come by {url}: passwords and session cookies can be read on their way");
        warning("no-https", text, "`external_url = \"https://…\"`, with `tls` of a listener or a proxy that encrypts")
    })
}

pub(super) fn origins(facts: &Facts) -> Vec<Finding> {
    let plain = facts.config.cors_origins.iter().filter(|origin| origin.starts_with("http://"));
    let found = plain.map(|origin| {
        let text = format!("pages of {origin} act for people, and can be changed on their way");
        warning("plain-origin", text, "name it by https in `cors_origins`, or take it out")
    });
    found.collect()
}

pub(super) fn proxies(facts: &Facts) -> Vec<Finding> {
    let networks = facts.config.trusted_proxies.iter();
    let everybody: [IpAddr; 4] =
        [[192, 0, 2, 1].into(), [8, 8, 8, 8].into(), [203, 0, 113, 9].into(), [1, 1, 1, 1].into()];
    let all = networks.filter(|network| {
        everybody.iter().all(|address| network.contains(*address)) || network.to_string().ends_with("/0")
    });
    let found = all.map(|network| {
        let text = format!("`trusted_proxies` has {network}: everybody can say that they come from elsewhere");
        error("proxies", text, "name the addresses of your proxies alone")
    });
    found.collect()
}

/// So that there is time to find out why a renewal fails: most are tried a month before the end.
const DAYS_LEFT: f64 = 30.0;
