//! Texts that clients choose, where people read them: log lines and errors.

use serde_json::json;

use super::{server, with};
use crate::support::raw::exchange;

/// What would end a line, forge another, or reach into a terminal.
const NASTY: &str = "a\r\n2026-11-22T00:00:00Z  INFO porth: forged\u{1b}[31m\u{9b}2J\u{8}\u{2028}\u{202e}";

#[test]
fn no_line_of_the_log_is_ended_or_forged_by_what_clients_send() {
    let server = with("[log]\nfilter = 'debug'\naccess = true\n");
    let escaped: String = NASTY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in
        [format!("/{escaped}"), format!("/api/{escaped}"), format!("/api/m/{escaped}"), format!("/api/m/ok?{escaped}")]
    {
        server.get(&path);
        server.admin("GET", &path, None);
    }
    for _ in 0..25 {
        let body = json!({"username": NASTY, "password": NASTY});
        server.send("POST", "/api/auth", &[("content-type", "application/json")], body.to_string().as_bytes());
    }
    for (path, body) in [
        ("/api/user", json!({"username": NASTY, "name": NASTY, "email": NASTY})),
        ("/api/client", json!({"client_id": NASTY, "name": NASTY})),
        ("/api/scope", json!({"name": NASTY})),
        ("/api/mod/plugin", json!({"module": NASTY, "name": NASTY})),
        (
            "/api/mod/plugin",
            json!({"module": "misbehaves", "name": "x", "display_name": NASTY, "parameters": {"label": NASTY}}),
        ),
        ("/api/auth", json!({NASTY: 1})),
    ] {
        server.admin("POST", path, Some(&body));
    }
    exchange(&server, format!("GET /{NASTY} HTTP/1.1\r\n\r\n"));
    exchange(&server, format!("{NASTY} / HTTP/1.1\r\n\r\n"));
    server.send("GET", "/api/m/panic-async", &[("x-request-id", "a\tb"), ("traceparent", "00-forged")], b"");
    server.wait_for_log("panicked");
    let log = server.log();
    for line in log.lines() {
        assert!(line.len() > 20 && line.starts_with("20") && !line.contains("INFO porth: forged\u{1b}"), "{line:?}");
        assert!(
            !line.chars().any(|character| character.is_control() || matches!(character, '\u{2028}' | '\u{202e}')),
            "{line:?}"
        );
    }
    assert!(!log.contains("\nforged") && !log.lines().any(|line| line.starts_with("2026-11-22T00:00:00Z")), "{log}");
}

#[test]
fn errors_quote_no_more_than_they_need() {
    let server = server();
    let long = "ä".repeat(100_000);
    let name = "a".repeat(10_000);
    let mut all = Vec::new();
    for body in [
        format!(r#"{{"{long}": 1, "{long}": 2}}"#),
        json!({"username": long, "password": "x"}).to_string(),
        json!({"username": ["x"], "scope": vec![long.clone(); 3]}).to_string(),
    ] {
        for path in ["/api/user", "/api/auth", "/api/scope", "/api/mod/plugin"] {
            let authorization = format!("token {}", server.key);
            let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
            all.push(server.send("POST", path, &headers, body.as_bytes()));
        }
    }
    for path in [
        format!("/api/user/{name}"),
        format!("/api/{name}/x"),
        format!("/api/m/{name}"),
        format!("/api/user?limit={name}"),
    ] {
        all.push(server.admin("GET", &path, None));
    }
    for reply in all {
        assert!((400..500).contains(&reply.status), "{}", reply.status);
        assert!(reply.body.len() < 16_000, "{} bytes: {:.300}", reply.body.len(), reply.body);
        assert!(!reply.body.chars().any(char::is_control), "{:.300}", reply.body);
    }
}
