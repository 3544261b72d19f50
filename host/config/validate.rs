//! What a value may be, beyond its type. All problems are told at once.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use tracing_subscriber::EnvFilter;

use super::{Config, ConfigError};

impl Config {
    /// Checks every value.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check_texts(&mut problems);
        self.check_numbers(&mut problems);
        self.check_listeners(&mut problems);
        self.check_instances(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems }) }
    }

    fn check_texts(&self, problems: &mut Vec<String>) {
        let mut check = |fine: bool, key: &str, value: &str, wanted: &str| {
            if !fine {
                problems.push(format!("`{key}` is `{value}`; it must be {wanted}"));
            }
        };
        // The value may hold a password, so it is not repeated.
        let engine_known = self.database == "sqlite"
            || ["postgres://", "postgresql://"].iter().any(|scheme| self.database.starts_with(scheme));
        check(engine_known, "database", "…", "`sqlite` or a URL that starts with `postgres://`");
        if let Some(url) = &self.external_url {
            check(is_external_url(url), "external_url", url, "`http://` or `https://` and a host, without a final `/`");
        }
        let prefix = &self.api_prefix;
        let segment = !prefix.is_empty()
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        check(segment, "api_prefix", prefix, "one path segment of letters, digits, `-` and `_`");
        let taken = HOST_SEGMENTS.contains(&prefix.as_str());
        check(!taken, "api_prefix", prefix, "none of the host's own paths");
        check(is_scope(&self.admin_scope), "admin_scope", &self.admin_scope, SCOPE_WANTED);
        check(is_scope(&self.profile_scope), "profile_scope", &self.profile_scope, SCOPE_WANTED);
        for origin in &self.cors_origins {
            check(
                is_origin(origin),
                "cors_origins",
                origin,
                "an origin such as `https://example.org`, in small letters",
            );
        }
        let cookie = &self.session_cookie_name;
        let page = &self.login_url;
        let path = !page.is_empty()
            && !page.starts_with('/')
            && page.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
        check(path, "login_url", page, "a path of letters, digits, `-`, `.`, `_`, `~` and `/`, without a `/` in front");
        let filter = &self.log.filter;
        let understood = !filter.trim().is_empty() && EnvFilter::try_new(filter).is_ok();
        check(understood, "log.filter", filter, "a level or a list such as `info,porth::http=debug`");
        check(is_token(cookie), "session_cookie_name", cookie, "a token as in RFC 9110, section 5.6.2");
    }

    fn check_numbers(&self, problems: &mut Vec<String>) {
        let (limits, quarantine) = (&self.limits, &self.quarantine);
        check_range(problems, "hsts_max_age_s", self.hsts_max_age_s, 0..=2 * 365 * 86_400);
        check_range(problems, "limits.body_bytes_max", limits.body_bytes_max, 1..=1 << 40);
        check_range(problems, "limits.header_bytes_max", limits.header_bytes_max, 1024..=1 << 20);
        check_range(problems, "limits.header_deadline_ms", limits.header_deadline_ms, 100..=DAY_MS);
        check_range(problems, "limits.keep_alive_ms", limits.keep_alive_ms, 100..=DAY_MS);
        check_range(problems, "limits.connections_max", limits.connections_max, 16..=1 << 20);
        check_range(problems, "limits.connections_peer_max", limits.connections_peer_max, 0..=1 << 20);
        check_range(problems, "limits.body_bytes_s_min", limits.body_bytes_s_min, 0..=1 << 30);
        check_range(problems, "limits.body_grace_ms", limits.body_grace_ms, 100..=DAY_MS);
        check_range(problems, "limits.deadline_ms", limits.deadline_ms, 1..=DAY_MS);
        check_range(problems, "limits.lifecycle_deadline_ms", limits.lifecycle_deadline_ms, 1..=DAY_MS);
        check_range(problems, "limits.drain_deadline_ms", limits.drain_deadline_ms, 0..=DAY_MS);
        check_range(problems, "limits.library_bytes_max", limits.library_bytes_max, 1..=1 << 40);
        check_range(problems, "limits.instance_threads_max", limits.instance_threads_max, 1..=1024);
        check_range(problems, "limits.documents_max", limits.documents_max, 0..=1 << 40);
        check_range(problems, "limits.documents_bytes_max", limits.documents_bytes_max, 0..=1 << 50);
        check_range(problems, "limits.document_bytes_max", limits.document_bytes_max, 1..=64 << 20);
        if limits.hang_ms != 0 {
            // A child tells that it lives four times in this long; a shorter one would call a busy machine a hang.
            check_range(problems, "limits.hang_ms (unless 0)", limits.hang_ms, 200..=DAY_MS);
        }
        // The watchdog looks every 20 ms; what is shorter than some of its looks would blame whoever is merely scheduled out.
        check_range(problems, "limits.stuck_ms", limits.stuck_ms, 100..=DAY_MS);
        check_range(problems, "limits.panics_max", limits.panics_max, 0..=1000);
        check_range(problems, "limits.panics_window_ms", limits.panics_window_ms, 1..=DAY_MS);
        check_range(problems, "limits.broken_ms", limits.broken_ms, 1..=DAY_MS);
        let login = &self.login;
        check_range(problems, "login.session_lifetime_s", login.session_lifetime_s, 60..=YEARS_S);
        check_range(problems, "login.name_lock_s", login.name_lock_s, 1..=DAY_MS / 1000);
        check_range(problems, "login.peer_window_s", login.peer_window_s, 1..=DAY_MS / 1000);
        check_range(problems, "login.passwords_waiting_max", login.passwords_waiting_max, 0..=65_536);
        check_range(problems, "quarantine.crashes", quarantine.crashes, 0..=1000);
        check_range(problems, "quarantine.unattributed_crashes", quarantine.unattributed_crashes, 0..=1000);
        check_range(problems, "audit.retention_days", self.audit.retention_days, 0..=36_500);
        check_range(problems, "quarantine.window_s", quarantine.window_s, 1..=DAY_MS / 1000);
    }

    fn check_instances(&self, problems: &mut Vec<String>) {
        let mut seen = HashSet::new();
        for instance in &self.instances {
            if !seen.insert((&instance.kind, &instance.name)) {
                problems.push(format!("the instance `{}/{}` is declared twice", instance.kind, instance.name));
            }
        }
    }
}

fn check_range<T: PartialOrd + Display>(problems: &mut Vec<String>, key: &str, value: T, range: RangeInclusive<T>) {
    if !range.contains(&value) {
        problems.push(format!("`{key}` is {value}; it must be {} to {}", range.start(), range.end()));
    }
}

fn is_external_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && !rest.ends_with('/')
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'@' | b'"' | b'<' | b'>'))
    })
}

/// A scheme and a host, perhaps with a port, as browsers write it in `Origin`.
fn is_origin(origin: &str) -> bool {
    is_external_url(origin)
        && origin.split_once("://").is_some_and(|(_, authority)| !authority.contains('/'))
        && !origin.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// RFC 6749, section 3.3: printable ASCII without space, `"` and `\`.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

const DAY_MS: u64 = 86_400_000;
/// Ten years: no session is meant to outlive its browser.
const YEARS_S: u64 = 10 * 366 * 86_400;
const SCOPE_WANTED: &str = "printable ASCII without space, `\"` and `\\` (RFC 6749, section 3.3)";
/// What the host serves outside the prefix.
const HOST_SEGMENTS: [&str; 9] =
    ["admin", "config", "docs", "health", "login", "metrics", "profile", "services", "setup"];

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(change: impl FnOnce(&mut Config), expected: Expect) {
        let mut config = Config::default();
        change(&mut config);
        expected.assert_eq(&config.validate().map_or_else(|error| error.to_string(), |()| "fine".to_owned()));
    }

    #[test]
    fn the_defaults_are_fine() {
        check(|_| {}, expect!["fine"]);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        check(
            |config| {
                config.database = "mysql://root:secret@db".to_owned();
                config.api_prefix = "a/b".to_owned();
                config.admin_scope = "two words".to_owned();
                config.session_cookie_name = "a=b".to_owned();
                config.limits.deadline_ms = 0;
                config.limits.hang_ms = 5;
                config.quarantine.window_s = 0;
            },
            expect![[r#"
                the configuration cannot be used:
                  `database` is `…`; it must be `sqlite` or a URL that starts with `postgres://`
                  `api_prefix` is `a/b`; it must be one path segment of letters, digits, `-` and `_`
                  `admin_scope` is `two words`; it must be printable ASCII without space, `"` and `\` (RFC 6749, section 3.3)
                  `session_cookie_name` is `a=b`; it must be a token as in RFC 9110, section 5.6.2
                  `limits.deadline_ms` is 0; it must be 1 to 86400000
                  `limits.hang_ms (unless 0)` is 5; it must be 200 to 86400000
                  `quarantine.window_s` is 0; it must be 1 to 86400"#]],
        );
    }

    #[test]
    fn zero_turns_hang_detection_and_quarantine_off() {
        check(
            |config| {
                config.limits.hang_ms = 0;
                config.quarantine.crashes = 0;
                config.quarantine.unattributed_crashes = 0;
            },
            expect!["fine"],
        );
    }

    #[test]
    fn an_instance_is_declared_once_a_kind() {
        let instance = |kind: &str| super::super::DeclaredInstance {
            kind: kind.to_owned(),
            module: "m".to_owned(),
            name: "n".to_owned(),
            display_name: String::new(),
            parameters: serde_json::Map::new(),
            grants: None,
            allow_public: false,
            settings: serde_json::Map::new(),
        };
        check(|config| config.instances = vec![instance("plugin"), instance("user")], expect!["fine"]);
        check(
            |config| config.instances = vec![instance("plugin"), instance("plugin")],
            expect![[r#"
            the configuration cannot be used:
              the instance `plugin/n` is declared twice"#]],
        );
    }

    #[test]
    fn an_external_url_is_an_origin_and_perhaps_a_path() {
        for (url, fine) in [
            ("https://id.example.org", true),
            ("http://[::1]:8080/porth", true),
            ("https://id.example.org/", false),
            ("id.example.org", false),
            ("https://", false),
            ("https://a@b", false),
            ("https://a?b", false),
        ] {
            assert_eq!(is_external_url(url), fine, "{url}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (origin, fine) in [
            ("https://app.example.org", true),
            ("http://127.0.0.1:8080", true),
            ("https://Example.org", false),
            ("https://example.org/", false),
            ("https://example.org/x", false),
            ("*", false),
            ("null", false),
        ] {
            assert_eq!(is_origin(origin), fine, "{origin}");
        }
    }

    #[test]
    fn the_prefix_is_none_of_the_hosts_paths() {
        check(
            |config| config.api_prefix = "health".to_owned(),
            expect![[r#"
            the configuration cannot be used:
              `api_prefix` is `health`; it must be none of the host's own paths"#]],
        );
    }
}
