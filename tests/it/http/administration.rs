//! Keys, settings, and what is configured of the edge.

use serde_json::{Value, json};

use super::identity::{Browser, errors, server};
use crate::support::server::{Reply, Server, Setup};

fn with_key(server: &Server, key: &str, method: &str, path: &str) -> Reply {
    server.send(method, path, &[("authorization", &format!("token {key}"))], b"")
}

#[test]
fn keys_are_made_in_a_session_and_go_with_their_user() {
    let server = server(Setup::new());
    let mut anna = Browser::new(&server);
    anna.log_in("anna", "secret");
    for (method, path) in [("GET", "/api/key/"), ("POST", "/api/key/"), ("DELETE", "/api/key/x")] {
        assert_eq!(with_key(&server, &server.key, method, path).summary(), "401 unauthorized", "{method}");
    }
    let reply = anna.send("POST", "/api/key/", None, &[("user-agent", "tests")]);
    let key = reply.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(with_key(&server, &key, "GET", "/api/user/anna").status, 200);
    let keys = anna.get("/api/key/?pattern=ANNA").json();
    let shown = &keys.as_array().unwrap()[0];
    assert_eq!(
        (&shown["username"], &shown["counter"], &shown["issued_for"], &shown["user_agent"], &shown["enabled"]),
        (&json!("anna"), &json!(1), &json!("127.0.0.1"), &json!("tests"), &json!(true))
    );
    assert!(!keys.to_string().contains(&key));
    let hash = shown["token_hash"].as_str().unwrap().to_owned();
    let all = anna.get("/api/key/").json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0]["username"], Value::Null, "the one from the command line is nobody's");

    // It administers as long as its user does.
    let administers = |change: Value| {
        assert_eq!(server.admin("PUT", "/api/user/anna", Some(&change)).status, 200);
        with_key(&server, &key, "GET", "/api/user/bob").status == 200
    };
    assert!(!administers(json!({"enabled": false})));
    assert!(administers(json!({"enabled": true})));
    assert!(!administers(json!({"scope": ["g_profile"]})));
    assert!(administers(json!({"scope": ["g_profile", "g_admin"]})));

    assert_eq!(anna.send("DELETE", "/api/key/no", None, &[]).summary(), "404 not_found");
    assert_eq!(anna.send("DELETE", &format!("/api/key/{hash}"), None, &[]).status, 200);
    assert_eq!(with_key(&server, &key, "GET", "/api/user/bob").summary(), "401 unauthorized");
    let key = anna.send("POST", "/api/key/", None, &[]).json()["key"].as_str().unwrap().to_owned();
    assert_eq!(with_key(&server, &key, "DELETE", "/api/user/anna").status, 200);
    assert_eq!(with_key(&server, &key, "GET", "/api/user/bob").summary(), "401 unauthorized");
}

#[test]
fn settings_are_kept() {
    let server = Setup::new().start();
    let mail = json!({"type": "mail", "value": {"from": "x"}});
    assert_eq!(server.admin("PUT", "/api/misc/m", Some(&mail)).status, 200);
    assert_eq!(server.admin("GET", "/api/misc/m", None).json(), mail);
    assert_eq!(
        server.admin("GET", "/api/misc/", None).json(),
        json!([{"name": "m", "type": "mail", "value": {"from": "x"}}])
    );
    let null = json!({"type": "", "value": null});
    assert_eq!(server.admin("PUT", "/api/misc/m", Some(&null)).status, 200);
    assert_eq!(server.admin("GET", "/api/misc/m", None).json(), null);
    assert_eq!(errors(&server.admin("PUT", "/api/misc/m", Some(&json!({})))), "type: missing; value: missing");
    assert_eq!(server.admin("DELETE", "/api/misc/m", None).status, 200);
    for method in ["GET", "DELETE"] {
        assert_eq!(server.admin(method, "/api/misc/m", None).summary(), "404 not_found");
    }
}

#[test]
fn pages_of_configured_origins_may_call() {
    let app = "https://app.example.org";
    let server = server(Setup::new().config(&format!("cors_origins = ['{app}']\n")));
    let mut anna = Browser::new(&server);
    anna.log_in("anna", "secret");
    let preflight = |path: &str, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        server.send("OPTIONS", path, &headers, b"")
    };
    for path in ["/api/user/anna", "/api/user/anna/", "/config"] {
        let reply = preflight(path, app);
        assert_eq!(
            (reply.status, &reply.headers["access-control-allow-origin"]),
            (204, &app.parse().unwrap()),
            "{path}"
        );
        assert!(reply.headers["access-control-allow-headers"].to_str().unwrap().contains("content-type"));
        assert_eq!(reply.headers["vary"], "origin");
    }
    let change = json!({"name": "A"});
    let reply = anna.send("PUT", "/api/user/anna/", Some(&change), &[("origin", app)]);
    assert_eq!((reply.status, &reply.headers["access-control-allow-credentials"]), (200, &"true".parse().unwrap()));
    let reply = server.send("GET", "/api/user/anna", &[("origin", app)], b"");
    assert_eq!((reply.status, &reply.headers["access-control-allow-origin"]), (401, &app.parse().unwrap()));
    for other in ["https://app.example.org.evil", "null", "http://app.example.org"] {
        let reply = preflight("/api/user/anna", other);
        assert!(reply.status == 204 && !reply.headers.contains_key("access-control-allow-origin"), "{reply:?}");
        let reply = anna.send("PUT", "/api/user/anna", Some(&change), &[("origin", other)]);
        assert_eq!(reply.summary(), "403 foreign_origin");
    }
}

#[test]
fn proxies_say_who_comes_where_they_are_trusted() {
    let from = |config: &str| {
        let server = server(Setup::new().config(config));
        let mut bob = Browser::new(&server);
        let body = json!({"username": "bob", "password": "secret"});
        let headers = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.8")];
        assert_eq!(bob.send("POST", "/api/auth/", Some(&body), &headers).status, 200);
        bob.get("/api/profile/session").json()[0]["issued_for"].as_str().unwrap().to_owned()
    };
    assert_eq!(from(""), "127.0.0.1");
    assert_eq!(from("trusted_proxies = ['127.0.0.0/8']\n"), "198.51.100.7");
    assert_eq!(from("trusted_proxies = ['127.0.0.1']\nproxy_header = 'forwarded'\n"), "198.51.100.8");
}

/// Whoever is not let in is told what would open.
#[test]
fn what_is_missing_is_named() {
    let server = server(Setup::new().libraries(&["misbehaves"]));
    server.add("misbehaves", "x", &json!({}));
    let detail = |reply: Reply| reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail(server.get("/api/x/admin")).contains("API key>`, or the session of an administrator"));
    assert!(detail(server.get("/api/user/")).contains("API key>`, or the session of an administrator"));
    assert!(detail(server.admin("GET", "/api/x/session", None)).contains("an API key is not enough"));
    assert!(detail(server.admin("GET", "/api/profile/", None)).contains("an API key is not enough"));
    let mut bob = Browser::new(&server);
    bob.log_in("bob", "secret");
    let refused = bob.get("/api/x/admin");
    assert_eq!(refused.summary(), "403 forbidden");
    assert!(detail(refused).contains("lacks the scope `g_admin`"));
}

#[test]
fn clients_show_their_credentials() {
    use base64::Engine as _;
    let server = server(Setup::new().libraries(&["misbehaves"]).config("[login]\npeer_failures_max = 8\n"));
    server.add("misbehaves", "x", &json!({}));
    let client = json!({"client_id": "app", "confidential": true, "client_secret": "a+b&c d"});
    assert_eq!(server.admin("POST", "/api/client/", Some(&client)).status, 200);
    let basic = |credentials: &str| {
        let field = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials));
        server.send("GET", "/api/x/client", &[("authorization", &field)], b"")
    };
    let posted = |form: &str| {
        server.send("POST", "/api/x/client", &[("content-type", "application/x-www-form-urlencoded")], form.as_bytes())
    };
    for reply in [
        basic("app:a+b&c d"),
        basic("app:a%2Bb%26c+d"),
        posted("client_id=app&client_secret=a%2Bb%26c+d&grant_type=client_credentials"),
    ] {
        assert_eq!((reply.status, reply.body.as_str()), (200, "Client(\"app\")"));
    }
    let reply = server.get("/api/x/client");
    assert_eq!(reply.summary(), "401 unauthorized");
    assert!(
        reply.headers.get_all("www-authenticate").iter().any(|value| value.to_str().unwrap().starts_with("Basic "))
    );
    // Neither an administrator nor a session is a client.
    assert_eq!(reply.json()["detail"], "expected a client's id and secret, as HTTP Basic or in a form");
    assert_eq!(server.admin("GET", "/api/x/client", None).summary(), "401 unauthorized");
    let mut anna = Browser::new(&server);
    anna.log_in("anna", "secret");
    assert_eq!(anna.get("/api/x/client").summary(), "401 unauthorized");
    assert_eq!(posted("client_id=app").summary(), "401 unauthorized");

    server.admin("PUT", "/api/client/app", Some(&json!({"enabled": false})));
    assert_eq!(basic("app:a+b&c d").summary(), "401 unauthorized");
    server.admin("PUT", "/api/client/app", Some(&json!({"enabled": true})));
    assert_eq!(basic("no:a").summary(), "401 unauthorized");
    let mut last = String::new();
    for _ in 0..8 {
        last = basic("app:wrong").summary();
    }
    assert_eq!(last, "429 locked_out");
    assert_eq!(basic("app:a+b&c d").summary(), "429 locked_out");
}
