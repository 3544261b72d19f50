//! Users, clients, scopes and sessions by REST.

use serde_json::{Value, json};

use crate::support::server::{Reply, Server, Setup};

/// Somebody with a cookie, or without one yet.
pub(super) struct Browser<'a> {
    pub(super) server: &'a Server,
    pub(super) cookie: Option<String>,
}

impl<'a> Browser<'a> {
    pub(super) fn new(server: &'a Server) -> Self {
        Self { server, cookie: None }
    }

    pub(super) fn send(&mut self, method: &str, path: &str, body: Option<&Value>, more: &[(&str, &str)]) -> Reply {
        let mut headers = more.to_vec();
        let cookie = self.cookie.clone().map(|cookie| format!("a=b; {cookie}"));
        headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let reply = self.server.send(method, path, &headers, body.as_bytes());
        if let Some(set) = reply.headers.get("set-cookie") {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        reply
    }

    pub(super) fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, None, &[])
    }

    pub(super) fn log_in(&mut self, username: &str, password: &str) -> Reply {
        self.send("POST", "/api/auth/", Some(&json!({"username": username, "password": password})), &[])
    }

    fn switch(&mut self, username: &str) -> Reply {
        self.send("POST", "/api/auth/", Some(&json!({"username": username})), &[])
    }

    /// The names of the session's users, the current one first, or the status.
    pub(super) fn users(&mut self) -> String {
        let reply = self.get("/api/profile_list/");
        if reply.status != 200 {
            return reply.summary();
        }
        let names = reply.json();
        names.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }
}

/// A server with `anna`, who administers, and `bob`, who does not; their passwords are `secret`.
pub(super) fn server(setup: Setup) -> Server {
    let server = setup.start();
    for (username, scope) in [("anna", json!(["g_admin", "g_profile"])), ("bob", json!(["g_profile"]))] {
        let user = json!({"username": username, "password": "secret", "scope": scope});
        assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    }
    server
}

pub(super) fn errors(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{reply:?}");
    reply.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn a_user_lives_from_post_to_delete() {
    let server = Setup::new().start();
    let user = json!({
        "username": "Anna", "name": "Anna A", "email": "anna@example.org", "password": "secret",
        "scope": ["g_profile"], "phone": ["1"], "note": null,
    });
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    let shown = json!({
        "username": "anna", "name": "Anna A", "email": "anna@example.org", "scope": ["g_profile"], "enabled": true,
        "source": "database", "phone": ["1"],
    });
    assert_eq!(server.admin("GET", "/api/user/ANNA", None).json(), shown);
    assert_eq!(server.admin("GET", "/api//user/?pattern=ANNA&limit=1", None).json(), json!([shown]));
    assert_eq!(server.admin("GET", "/api/user/?offset=1", None).json(), json!([]));
    assert!(errors(&server.admin("POST", "/api/user/", Some(&user))).contains("already"));
    let alike = json!({"username": "аnna"});
    assert!(errors(&server.admin("POST", "/api/user/", Some(&alike))).contains("can be taken for"));

    let change = json!({"username": "x", "source": "y", "email": "", "enabled": false, "phone": null, "city": 1});
    assert_eq!(server.admin("PUT", "/api/user/anna", Some(&change)).status, 200);
    let shown = json!({
        "username": "anna", "name": "Anna A", "email": "", "scope": ["g_profile"], "enabled": false,
        "source": "database", "city": 1,
    });
    assert_eq!(server.admin("GET", "/api/user/anna", None).json(), shown);
    let bad = json!({"name": 1, "scope": "x", "enabled": "no"});
    assert_eq!(
        errors(&server.admin("PUT", "/api/user/anna", Some(&bad))),
        "name: expected a text, found a number; scope: expected a list of texts or null, found a text; \
         enabled: expected true or false, found a text"
    );
    assert_eq!(
        errors(&server.admin("PUT", "/api/user/anna", Some(&json!({"scope": ["no"]})))),
        "scope: there is no scope `no`"
    );
    assert_eq!(server.admin("PUT", "/api/user/nobody", Some(&json!({}))).summary(), "404 not_found");

    assert_eq!(server.admin("DELETE", "/api/user/anna", None).status, 200);
    assert_eq!(server.admin("DELETE", "/api/user/anna", None).summary(), "404 not_found");
    assert_eq!(server.admin("GET", "/api/user/anna", None).summary(), "404 not_found");
}

#[test]
fn a_scope_lives_from_post_to_delete() {
    let server = Setup::new().start();
    let names = |reply: Reply| reply.json().as_array().unwrap().iter().map(|s| s["name"].clone()).collect::<Value>();
    assert_eq!(names(server.admin("GET", "/api/scope/?limit=0", None)), json!(["g_admin", "g_profile"]));
    assert_eq!(server.admin("GET", "/api/user/?limit=0", None).summary(), "400 invalid");
    assert_eq!(server.admin("GET", "/api/scope/?limit=201", None).summary(), "400 invalid");
    let scope = json!({
        "name": "read", "display_name": "Read", "description": "", "password_required": false,
        "password_max_age": 60, "scheme": {"a": [{"scheme_name": "otp"}, {"scheme_name": "fido"}], "b": [{"scheme_name": "otp"}]},
        "scheme_required": {"a": 2},
    });
    assert_eq!(server.admin("POST", "/api/scope/", Some(&scope)).status, 200);
    let mut shown = scope.clone();
    shown["scheme_required"]["b"] = json!(1);
    assert_eq!(server.admin("GET", "/api/scope/read", None).json(), shown);
    assert!(errors(&server.admin("POST", "/api/scope/", Some(&scope))).contains("already"));
    assert_eq!(server.admin("PUT", "/api/scope/read", Some(&json!({"password_max_age": 1, "scheme": {}}))).status, 200);
    (shown["password_max_age"], shown["scheme"], shown["scheme_required"]) = (json!(1), json!({}), json!({}));
    assert_eq!(server.admin("GET", "/api/scope/read", None).json(), shown);
    for (bad, named) in [
        (json!({"scheme_required": {"a": 1}}), "scheme: missing"),
        (json!({"scheme": {"a": [1]}}), "the group `a` is no list"),
        (json!({"scheme": {"a": [{"scheme_name": "otp"}]}, "scheme_required": {"a": 2}}), "requires 2 of 1"),
        (json!({"scheme": {}, "scheme_required": {"a": 1}}), "there is no group `a`"),
        (json!({"password_max_age": "x"}), "expected a whole number"),
    ] {
        let found = errors(&server.admin("PUT", "/api/scope/read", Some(&bad)));
        assert!(found.contains(named), "{bad} {found}");
    }
    assert_eq!(server.admin("DELETE", "/api/scope/read", None).status, 200);
    for method in ["GET", "DELETE"] {
        assert_eq!(server.admin(method, "/api/scope/read", None).summary(), "404 not_found");
    }
}

#[test]
fn a_client_lives_from_post_to_delete() {
    let server = Setup::new().start();
    let client = json!({
        "client_id": "App", "name": "App", "description": "d", "confidential": true, "authorization_type": ["code"],
        "redirect_uri": ["https://example.org/cb"], "scope": ["g_profile"], "enabled": true, "logo": 1,
    });
    let mut with_secrets = client.clone();
    (with_secrets["password"], with_secrets["client_secret"]) = (json!("p"), json!("s"));
    assert_eq!(server.admin("POST", "/api/client/", Some(&with_secrets)).status, 200);
    let mut shown = client;
    shown["source"] = json!("database");
    assert_eq!(server.admin("GET", "/api/client/App", None).json(), shown);
    assert_eq!(server.admin("GET", "/api/client/?pattern=app", None).json(), json!([shown]));
    assert_eq!(server.admin("GET", "/api/client/app", None).summary(), "404 not_found");
    assert!(errors(&server.admin("POST", "/api/client/", Some(&with_secrets))).contains("already"));
    let change = json!({"name": "B", "logo": null, "client_secret": null});
    assert_eq!(server.admin("PUT", "/api/client/App", Some(&change)).status, 200);
    shown["name"] = json!("B");
    shown.as_object_mut().unwrap().remove("logo");
    assert_eq!(server.admin("GET", "/api/client/App", None).json(), shown);
    assert!(errors(&server.admin("PUT", "/api/client/App", Some(&json!({"scope": ["no"]})))).contains("no scope `no`"));
    assert_eq!(server.admin("DELETE", "/api/client/App", None).status, 200);
    assert_eq!(server.admin("DELETE", "/api/client/App", None).summary(), "404 not_found");
}

#[test]
fn users_log_in_switch_and_log_out() {
    let server = server(Setup::new());
    let mut browser = Browser::new(&server);
    assert_eq!(browser.users(), "401 unauthorized");
    assert_eq!(browser.switch("anna").summary(), "401 unauthorized");
    assert_eq!(browser.send("DELETE", "/api/auth/", None, &[]).summary(), "401 unauthorized");

    let reply = browser.log_in("ANNA", "secret");
    assert_eq!(reply.status, 200);
    let set = reply.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.starts_with("PORTH_SESSION=") && set.ends_with("; HttpOnly; SameSite=Lax"), "{set}");
    let first = browser.cookie.clone();
    assert_eq!(browser.users(), "anna");
    assert_eq!(browser.log_in("bob", "secret").status, 200);
    assert_eq!(browser.cookie, first, "a log-in with a valid cookie keeps it");
    assert_eq!(browser.users(), "bob anna");
    assert_eq!(browser.switch("anna").status, 200);
    assert_eq!(browser.users(), "anna bob");
    assert_eq!(browser.switch("nobody").summary(), "401 unauthorized");

    let profile = browser.get("/api/profile_list/").json()[0].clone();
    let expected =
        json!({"username": "anna", "name": "", "email": "", "scope": ["g_admin", "g_profile"], "enabled": true});
    assert_eq!(profile, expected);
    server.admin("PUT", "/api/user/bob", Some(&json!({"enabled": false})));
    assert_eq!(browser.users(), "anna");
    assert_eq!(browser.switch("bob").summary(), "401 unauthorized");
    server.admin("PUT", "/api/user/bob", Some(&json!({"enabled": true})));

    assert_eq!(browser.send("DELETE", "/api/auth/?username=nobody", None, &[]).summary(), "404 not_found");
    assert_eq!(browser.send("DELETE", "/api/auth/?username=Anna", None, &[]).status, 200);
    assert_eq!(browser.users(), "bob");
    let reply = browser.send("DELETE", "/api/auth/", None, &[]);
    assert!(reply.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"), "{reply:?}");
    browser.cookie = first;
    assert_eq!(browser.users(), "401 unauthorized");
    assert_eq!(browser.send("DELETE", "/api/auth/", None, &[]).summary(), "404 not_found");
}

#[test]
fn a_session_outlives_the_server() {
    let server = server(Setup::new());
    let mut browser = Browser::new(&server);
    browser.log_in("anna", "secret");
    let cookie = browser.cookie;
    let server = server.restart();
    assert_eq!(Browser { server: &server, cookie }.users(), "anna");
}

#[test]
fn what_is_no_log_in() {
    let server = server(Setup::new());
    server.admin("POST", "/api/user/", Some(&json!({"username": "off", "password": "secret", "enabled": false})));
    let mut browser = Browser::new(&server);
    let mut answers = Vec::new();
    for (username, password) in [("anna", "wrong"), ("nobody", "secret"), ("off", "secret"), ("a/b", "secret")] {
        let reply = browser.log_in(username, password);
        assert_eq!(reply.summary(), "401 unauthorized");
        assert!(reply.headers.get("set-cookie").is_none());
        // Each has its own id, and nothing else of its own.
        let mut answer = reply.json();
        assert!(answer.as_object_mut().unwrap().remove("request_id").is_some(), "{answer}");
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "answers tell who there is: {answers:?}");
    assert!(errors(&browser.log_in("anna", &"a".repeat(1_025))).contains("1025 bytes"));
    assert!(
        errors(&browser.send("POST", "/api/auth/", Some(&json!({"password": "x"})), &[])).contains("username: missing")
    );
    let scheme = json!({"username": "anna", "scheme_type": "mock", "scheme_name": "mock", "value": {}});
    assert_eq!(browser.send("POST", "/api/auth/", Some(&scheme), &[]).summary(), "404 not_found");
    let plain = server.send("POST", "/api/auth/", &[], br#"{"username": "anna", "password": "secret"}"#);
    assert_eq!(plain.summary(), "400 invalid");

    browser.cookie = Some(format!("PORTH_SESSION={}", "a".repeat(43)));
    browser.log_in("anna", "secret");
    assert!(!browser.cookie.as_ref().unwrap().contains("aaaaaa"), "an id was taken from a request");
    assert_eq!(browser.users(), "anna");
}

#[test]
fn twenty_failures_lock_a_name_known_or_not() {
    let server = server(Setup::new());
    let mut browser = Browser::new(&server);
    for name in ["anna", "nobody"] {
        for _ in 0..19 {
            assert_eq!(browser.log_in(name, "wrong").summary(), "401 unauthorized");
        }
        assert_eq!(browser.log_in(name, "wrong").summary(), "429 locked_out");
        let reply = browser.log_in(name, "secret");
        assert_eq!(reply.summary(), "429 locked_out");
        let seconds: u32 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((500..=600).contains(&seconds), "{seconds}");
    }
    assert_eq!(browser.log_in("bob", "secret").status, 200);
}

#[test]
fn a_session_administers_as_a_key_does() {
    let server = server(Setup::new());
    let (mut anna, mut bob) = (Browser::new(&server), Browser::new(&server));
    anna.log_in("anna", "secret");
    bob.log_in("bob", "secret");
    for path in ["/api/user/", "/api/client/", "/api/scope/", "/api/mod/type/", "/api/mod/plugin/"] {
        assert_eq!(server.get(path).summary(), "401 unauthorized", "{path}");
        assert_eq!(bob.get(path).summary(), "401 unauthorized", "{path}");
        assert_eq!(anna.get(path).status, 200, "{path}");
    }
    assert_eq!(anna.send("POST", "/api/user/", Some(&json!({"username": "carol"})), &[]).status, 200);
    // Only what the current user has proved counts.
    anna.log_in("bob", "secret");
    assert_eq!(anna.get("/api/user/").summary(), "401 unauthorized");
    anna.switch("anna");
    assert_eq!(anna.get("/api/user/").status, 200);
    // With a scheme that nobody can prove, the password alone is not enough any more.
    let scheme = json!({"scheme": {"a": [{"scheme_name": "otp"}]}});
    assert_eq!(server.admin("PUT", "/api/scope/g_admin", Some(&scheme)).status, 200);
    assert_eq!(anna.get("/api/user/").summary(), "401 unauthorized");
    server.admin("PUT", "/api/scope/g_admin", Some(&json!({"scheme": {}})));
    assert_eq!(anna.get("/api/user/").status, 200);
    server.admin("DELETE", "/api/user/anna", None);
    assert_eq!(anna.get("/api/user/").summary(), "401 unauthorized");
}

#[test]
fn pages_of_other_origins_change_nothing() {
    let server = server(Setup::new());
    let mut browser = Browser::new(&server);
    browser.log_in("anna", "secret");
    let own = format!("http://{}", server.address);
    let user = |name: &str| json!({"username": name});
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let headers = [("origin", origin)];
        let reply = browser.send("POST", "/api//user/", Some(&user("x")), &headers);
        assert_eq!(reply.summary(), "403 foreign_origin", "{origin}");
        assert_eq!(browser.send("DELETE", "/api/user/bob", None, &headers).summary(), "403 foreign_origin");
        assert_eq!(browser.send("GET", "/api/user/", None, &headers).status, 200);
    }
    assert_eq!(browser.send("POST", "/api/user/", Some(&user("x")), &[("origin", &own)]).status, 200);
}

/// A page of a sibling domain is of the same site: `SameSite` alone would send it the cookie.
#[test]
fn pages_of_other_origins_change_nothing_at_a_plug_in_either() {
    let app = "https://app.example.org";
    let server = server(Setup::new().libraries(&["misbehaves"]).config(&format!("cors_origins = ['{app}']\n")));
    server.add("misbehaves", "x", &json!({}));
    let mut browser = Browser::new(&server);
    browser.log_in("anna", "secret");
    let own = format!("http://{}", server.address);
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let headers = [("origin", origin)];
        assert_eq!(browser.send("POST", "/api/x/session", None, &headers).summary(), "403 foreign_origin", "{origin}");
        assert_eq!(browser.send("GET", "/api/x/session", None, &headers).status, 200);
        assert_eq!(server.send("POST", "/api/x/echo", &headers, b"a").status, 200, "no cookie opens it");
    }
    let hiding = [("origin", "null"), ("sec-fetch-site", "same-origin")];
    for headers in [&[("origin", own.as_str())][..], &[("origin", app)], &hiding, &[]] {
        assert_eq!(browser.send("POST", "/api/x/session", None, headers).status, 200, "{headers:?}");
    }
}

#[test]
fn under_https_the_cookie_is_bound_to_the_host() {
    let setup = Setup::new().config("external_url = \"https://example.org\"\n");
    let server = server(setup);
    let mut browser = Browser::new(&server);
    let reply = browser.log_in("anna", "secret");
    let set = reply.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.starts_with("__Host-PORTH_SESSION=") && set.contains("; Path=/;") && set.ends_with("; Secure"),
        "{set}"
    );
    assert_eq!(browser.users(), "anna");
}

#[test]
fn plug_ins_are_told_the_session() {
    let server = server(Setup::new().libraries(&["hello"]));
    server.add("hello", "greeter", &json!({"greeting": "Hello"}));
    let mut browser = Browser::new(&server);
    let user = |browser: &mut Browser<'_>| browser.get("/api/greeter/hello/World").json()["user"].clone();
    assert_eq!(user(&mut browser), Value::Null);
    browser.log_in("anna", "secret");
    let shown = user(&mut browser);
    assert!(shown.to_string().contains("anna"), "{shown}");
    browser.send("DELETE", "/api/auth/", None, &[]);
    assert_eq!(user(&mut browser), Value::Null);
}

#[test]
fn endpoints_let_in_whom_they_ask_for() {
    let server = server(Setup::new().libraries(&["misbehaves"]));
    server.add("misbehaves", "x", &json!({}));
    let (mut nobody, mut anna, mut bob) = (Browser::new(&server), Browser::new(&server), Browser::new(&server));
    anna.log_in("anna", "secret");
    bob.log_in("bob", "secret");
    let mut answers = |path: &str| [&mut nobody, &mut bob, &mut anna].map(|browser| browser.get(path).status);
    assert_eq!(answers("/api/x/session"), [401, 200, 200]);
    assert_eq!(answers("/api/x/admin"), [401, 403, 200]);
}
