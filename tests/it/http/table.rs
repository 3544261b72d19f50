//! Every route of the host with every method it has, asked by everybody who may come.
//!
//! The routes come from the router itself. A route that nothing is said of here is for administrators.

use porth::config::Serves;
use serde_json::json;

use super::identity::{Browser, server};
use crate::support::server::{Reply, Server, Setup};

/// Who asks, in the order of the columns.
const CALLERS: [&str; 5] = ["nobody", "user", "disabled", "administrator", "key"];

/// Who is let in: `x` for each caller who is.
const RULES: [(&str, &str); 16] = [
    ("", "...xx"),
    ("/config", "xxxxx"),
    ("/docs", "xxxxx"),
    ("/health", "xxxxx"),
    ("/api/openapi.json", "xxxxx"),
    ("/setup", "xxxxx"),
    // Whoever knows a password, or has a cookie of any kind.
    ("POST /api/auth", "xxxxx"),
    ("DELETE /api/auth", ".xxx."),
    ("/api/auth/grant", ".x.x."),
    // Whoever is about to log in.
    ("/api/auth/scheme", "xxxxx"),
    ("/api/profile", ".x.x."),
    ("/api/profile_list", ".x.x."),
    // What deletes oneself is off.
    ("DELETE /api/profile", "....."),
    ("DELETE /api/profile/session", ".x.x."),
    // Cookie sessions only.
    ("/api/key", "...x."),
    // The control socket only.
    ("/api/local", "00000"),
];

/// The rule with the longest path that begins this one; with a method a rule is more exact.
fn rule(method: &str, path: &str) -> &'static str {
    let fits = |begin: &str| {
        let (of_method, begin) = begin.split_once(' ').map_or((true, begin), |(of, begin)| (of == method, begin));
        let rest = path.strip_prefix(begin);
        of_method && rest.is_some_and(|rest| begin.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    let exactness = |begin: &str| (begin.rsplit(' ').next().unwrap().len(), begin.contains(' '));
    let fitting = RULES.iter().filter(|(begin, _)| fits(begin));
    fitting.max_by_key(|(begin, _)| exactness(begin)).unwrap().1
}

/// `x` when a caller is let in, `.` when not, `0` when there is nothing for them.
fn told(reply: &Reply) -> char {
    match reply.summary().as_str() {
        "401 unauthorized" | "403 forbidden" => '.',
        "404 not_found" if reply.json()["detail"] == "no such path" => '0',
        _ => 'x',
    }
}

fn methods(server: &Server, path: &str) -> Vec<String> {
    let reply = server.send("PATCH", path, &[], b"");
    assert_eq!(reply.status, 405, "{path}: {reply:?}");
    let allow = reply.headers["allow"].to_str().unwrap();
    allow.split(',').filter(|method| *method != "HEAD").map(str::to_owned).collect()
}

#[test]
fn nobody_gets_in_where_the_table_says_nothing() {
    let server = server(Setup::new().libraries(&["hello"]));
    let mut browsers = Vec::new();
    for name in ["", "user", "disabled", "administrator"] {
        let mut browser = Browser::new(&server);
        if !name.is_empty() {
            let scopes = if name == "administrator" { json!(["g_admin", "g_profile"]) } else { json!(["g_profile"]) };
            let user = json!({"username": name, "password": "secret", "scope": scopes});
            assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
            assert_eq!(browser.log_in(name, "secret").status, 200);
        }
        browsers.push(browser);
    }
    server.admin("PUT", "/api/user/disabled", Some(&json!({"enabled": false})));
    let cookies: Vec<_> = browsers.iter().map(|browser| browser.cookie.clone()).collect();

    let (mut wrong, mut seen) = (String::new(), 0);
    for path in porth::http::paths("api", Serves::All) {
        // Names that nothing has, so that nothing happens; the user of a path must be there to be acted for.
        let path: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "xyz" } else { part }).collect();
        let path = path.join("/");
        for method in methods(&server, &path) {
            let expected = rule(&method, &path);
            let mut found = String::new();
            for caller in 0..CALLERS.len() {
                // A log-out at once ends the session, so the next one asks with a session of its own.
                let ends = method == "DELETE" && path == "/api/auth";
                let reply = match browsers.get_mut(caller) {
                    None => server.admin(&method, &path, None),
                    Some(browser) if ends => {
                        let name = ["", "user", "", "administrator"][caller];
                        let mut own = Browser::new(&server);
                        if name.is_empty() {
                            own.cookie.clone_from(&cookies[caller]);
                        } else {
                            own.log_in(name, "secret");
                        }
                        let _ = browser;
                        own.send(&method, &path, None, &[])
                    }
                    Some(browser) => browser.send(&method, &path, None, &[]),
                };
                assert!(reply.status < 500 || reply.status == 503, "{method} {path}: {reply:?}");
                found.push(told(&reply));
            }
            seen += 1;
            if found != expected {
                wrong.push_str(&format!("{method} {path}: expected {expected}, found {found}\n"));
            }
        }
    }
    assert!(seen > 50, "only {seen} routes");
    assert!(wrong.is_empty(), "of {}:\n{wrong}", CALLERS.join(", "));
}
