//! Hooks and callbacks of schemes: what a scheme does to those who ask it, and what plug-ins are told.

use serde_json::{Value, json};

use crate::support::scale::scaled;
use crate::support::server::{Reply, Server, Setup};
use crate::support::until::Until;

/// `anna` has the scope `safe`, which asks for `scheme` beside the password.
fn user(server: &Server, scheme: &str) {
    let safe = json!({"name": "safe", "scheme": {"2": [{"scheme_name": scheme}]}});
    assert_eq!(server.admin("POST", "/api/scope/", Some(&safe)).status, 200);
    let anna = json!({"username": "anna", "password": "secret", "scope": ["g_profile", "safe"]});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
}

fn add(server: &Server, module: &str, name: &str, more: &Value) -> Reply {
    let mut scheme = json!({"module": module, "name": name, "parameters": {}});
    scheme.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.admin("POST", "/api/mod/scheme/", Some(&scheme))
}

fn post(server: &Server, cookie: Option<&str>, path: &str, body: &Value) -> Reply {
    let mut headers = vec![("content-type", "application/json"), ("user-agent", "test")];
    headers.extend(cookie.map(|cookie| ("cookie", cookie)));
    server.send("POST", path, &headers, body.to_string().as_bytes())
}

fn log_in(server: &Server) -> String {
    let reply = post(server, None, "/api/auth/", &json!({"username": "anna", "password": "secret"}));
    reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

fn prove(server: &Server, cookie: Option<&str>, module: &str, name: &str, value: Value) -> Reply {
    let body = json!({"username": "anna", "scheme_type": module, "scheme_name": name, "value": value});
    post(server, cookie, "/api/auth/", &body)
}

#[test]
fn a_scheme_that_misbehaves_fails_alone() {
    let config = "[limits]\ndeadline_ms = 300\npanics_max = 3\nbroken_ms = 60000";
    let server = Setup::new().libraries(&["proves"]).config(config).start();
    user(&server, "odd");
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    let pid = server.child_pid();
    let asked = |value: &str| prove(&server, None, "odd", "odd", json!(value)).summary();
    assert_eq!(asked("no"), "401 unauthorized");
    assert_eq!(asked("timer"), "200");
    assert_eq!(asked("origin"), "200", "it knows where the proof comes from");
    assert_eq!(asked("fail"), "500 plugin_failed");
    assert_eq!(asked("sleep"), "500 plugin_failed");
    for _ in 0..3 {
        assert_eq!(asked("panic"), "500 plugin_failed");
    }
    assert_eq!(asked("timer"), "503 instance_not_running", "it panicked too often");
    let shown = server.admin("GET", "/api/mod/scheme/odd", None).json();
    assert_eq!(shown["health"]["status"], "broken");
    assert_eq!((&shown["health"]["panics"], &shown["health"]["deadlines"]), (&json!(3), &json!(1)));
    assert_eq!(server.child_pid(), pid);
    // What the scheme says is for the log.
    server.wait_for_log("the handler failed: on purpose");
}

#[test]
fn nobody_notices_that_a_scheme_is_reset() {
    let server = Setup::new().libraries(&["proves"]).start();
    user(&server, "odd");
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    let until = Until::new();
    std::thread::scope(|scope| {
        let _going = until.go();
        for _ in 0..2 {
            scope.spawn(|| {
                while !until.is_over() {
                    let reply = prove(&server, None, "odd", "odd", json!("timer"));
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
            });
        }
        for _ in 0..scaled(10, 200) {
            assert_eq!(server.admin("PUT", "/api/mod/scheme/odd/reset", None).status, 200);
        }
    });
}

#[test]
fn a_scheme_that_crashes_is_to_blame() {
    let server = Setup::new().libraries(&["proves"]).config("[quarantine]\ncrashes = 1").start();
    user(&server, "odd");
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    let body = json!({"username": "anna", "scheme_type": "odd", "scheme_name": "odd", "value": "abort"});
    let headers = [("content-type", "application/json")];
    let _ = server.try_send("POST", "/api/auth/", &headers, body.to_string().as_bytes());
    let shown = server.admin("GET", "/api/mod/scheme/odd", None).json();
    assert_eq!(shown["status"], "failed");
    assert!(shown["quarantine"].as_str().unwrap().contains("SIGABRT"), "{shown}");
    assert_eq!(prove(&server, None, "odd", "odd", json!("timer")).summary(), "503 instance_not_running");
    // Lifted, it works as before.
    assert_eq!(server.admin("PUT", "/api/mod/scheme/odd/enable", None).status, 200);
    assert_eq!(prove(&server, None, "odd", "odd", json!("timer")).status, 200);
}

#[test]
fn a_module_must_have_the_hooks_of_its_kind() {
    let server = Setup::new().libraries(&["proves"]).start();
    // The library has the table, for other modules of it.
    let refused = add(&server, "empty", "empty", &json!({}));
    assert_eq!(refused.summary(), "500 instance_init_failed");
    let detail = "the module `empty` is of the kind `scheme`, but exported without its trait";
    assert!(refused.json()["detail"].as_str().unwrap().contains(detail), "{refused:?}");
    let refused = add(&server, "addressed", "addressed", &json!({}));
    assert_eq!(refused.summary(), "500 instance_init_failed");
    assert!(refused.json()["detail"].as_str().unwrap().contains("only instances of the kind `plugin`"), "{refused:?}");
}

#[test]
fn a_scheme_in_c_has_the_same_table() {
    let server = Setup::new().c_library("code").start();
    user(&server, "code");
    assert_eq!(add(&server, "code", "code", &json!({})).status, 200);
    let asked = |value: Value| prove(&server, None, "code", "code", value);
    assert_eq!(asked(json!("42")).status, 200);
    assert_eq!(asked(json!("43")).summary(), "401 unauthorized");
    assert_eq!(asked(json!("ask")).status, 200);
    // As it would be for a name that nobody has.
    assert_eq!(asked(Value::Null).summary(), "401 unauthorized");
    assert_eq!(asked(json!("odd")).summary(), "500 plugin_failed");
    let body = json!({"scheme_type": "code", "scheme_name": "code", "value": "42"});
    assert_eq!(post(&server, None, "/api/auth/", &body).summary(), "400 invalid", "it has no `identify`");
    assert_eq!(post(&server, None, "/api/auth/scheme/trigger/", &body).summary(), "500 plugin_failed", "no JSON");
}

#[test]
fn plugins_are_told_of_schemes() {
    let server = Setup::new().libraries(&["proves", "mock"]).start();
    user(&server, "code");
    let settings = json!({
        "parameters": {"mock-value": "42"}, "expiration": 600, "max_use": 2, "allow_user_register": false,
    });
    assert_eq!(add(&server, "mock", "code", &settings).status, 200);
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    server.add("asks_schemes", "a", &json!({}));
    let get = |path: &str| server.get(&format!("/api/a/{path}")).json();
    let error = |name: &str| json!({ "error": name });
    assert_eq!(get("module/code"), json!(["mock", "code", 600, 2, false, null]));
    assert_eq!(get("module/nothing"), error("NotFound"));
    assert_eq!(get("list/ANNA"), json!([["mock", "code", 600, 2, false, "Available"]]));
    assert_eq!(get("list/nobody"), error("NotFound"));
    assert_eq!(get("can-use/code/anna"), "Available");
    assert_eq!(get("can-use/code/nobody"), error("NotFound"));
    assert_eq!(get("can-use/nothing/anna"), error("NotFound"));
    assert_eq!(get("blocking/code/anna"), "Available");
    assert_eq!(get("blocking-short/code/anna"), error("WouldBlock"));

    let registration = "/api/a/registration/code/anna";
    let register =
        |body: &str| server.send("PUT", registration, &[("content-type", "application/json")], body.as_bytes());
    assert_eq!(register(r#"{"register": 1}"#).json(), error("Parameter"));
    // What people may not do themselves a plug-in with the right may.
    assert_eq!(register(r#"{"register": true}"#).json(), Value::Null);
    assert_eq!(get("registration/code/anna"), true);
    assert_eq!(get("can-use/code/anna"), "Registered");
    assert_eq!(server.send("DELETE", registration, &[], b"").json(), Value::Null);
    assert_eq!(get("registration/code/anna"), false);
    // The scheme is told where the request comes from that led to it.
    let origin = || {
        let headers = [("content-type", "application/json"), ("user-agent", "test")];
        server.send("PUT", "/api/a/registration/odd/anna", &headers, br#""origin""#).json()
    };
    assert_eq!(origin(), json!(["127.0.0.1", "test"]));
    assert_eq!(get("registration/odd/anna"), json!(["127.0.0.1", null]));
    // A scheme that asks for itself while it is asked.
    let nested = server.send("PUT", "/api/a/registration/odd/anna", &[("content-type", "application/json")], b"1");
    assert_eq!(nested.json(), "Registered");
    assert_eq!(server.admin("PUT", "/api/mod/scheme/odd/disable", None).status, 200);
    assert_eq!(get("can-use/odd/anna"), error("NotFound"));

    let without = json!({"grants": ["sessions"]});
    assert_eq!(server.admin("PUT", "/api/mod/plugin/a", Some(&without)).status, 200);
    assert_eq!(get("can-use/code/anna"), error("Denied"));
}

#[test]
fn plugins_count_uses_and_ask_how_old_a_proof_is() {
    let server = Setup::new().libraries(&["proves", "mock"]).start();
    user(&server, "code");
    assert_eq!(add(&server, "mock", "code", &json!({"parameters": {"mock-value": "42"}, "max_use": 2})).status, 200);
    server.add("asks_schemes", "a", &json!({}));
    let ask = |method: &str, path: &str, cookie: Option<&str>| {
        let headers: Vec<_> = cookie.map(|cookie| ("cookie", cookie)).into_iter().collect();
        server.send(method, &format!("/api/a/{path}"), &headers, b"").json()
    };
    let error = |name: &str| json!({ "error": name });
    assert_eq!(ask("POST", "used/safe", None), error("Unauthorized"));
    assert_eq!(ask("GET", "age/safe", Some("PORTH_SESSION=x")), error("NotFound"));
    let cookie = log_in(&server);
    let cookie = Some(cookie.as_str());
    assert_eq!(ask("POST", "used/safe", cookie), error("Unauthorized"), "the code is missing");
    assert_eq!(ask("POST", "used/nothing", cookie), error("Unauthorized"));
    assert_eq!(ask("POST", "used/g_admin", cookie), error("Unauthorized"), "not her scope");
    let logged_in = ask("GET", "age/safe", cookie).as_u64().unwrap();
    assert!(logged_in > 1_700_000_000, "{logged_in}");

    let register = server.send(
        "PUT",
        "/api/a/registration/code/anna",
        &[("content-type", "application/json")],
        br#"{"register": true}"#,
    );
    assert_eq!(register.json(), Value::Null);
    assert_eq!(prove(&server, cookie, "mock", "code", json!({"code": "42"})).status, 200);
    for _ in 0..2 {
        assert_eq!(ask("POST", "used/safe%20g_profile", cookie), Value::Null);
    }
    assert_eq!(ask("POST", "used/safe", cookie), error("Unauthorized"), "used up");
    assert_eq!(prove(&server, cookie, "mock", "code", json!({"code": "42"})).status, 200);
    assert_eq!(ask("POST", "used/safe", cookie), Value::Null);
    assert!(ask("GET", "age/safe", cookie).as_u64().unwrap() >= logged_in);
}

#[test]
fn who_has_not_proved_enough_is_told_apart() {
    let server = Setup::new().libraries(&["proves", "mock"]).start();
    user(&server, "code");
    server.add("asks_schemes", "a", &json!({}));
    let asked = |scopes: &str, cookie: Option<&str>| {
        let headers: Vec<_> = cookie.map(|cookie| ("cookie", cookie)).into_iter().collect();
        server.send("GET", &format!("/api/a/standing/{scopes}"), &headers, b"").json()
    };
    let none = asked("safe", None);
    assert_eq!(none["refused"], "the request has no session cookie", "{none}");
    assert_eq!(asked("safe", Some("PORTH_SESSION=x")), json!({"error": "NotFound"}));
    let cookie = log_in(&server);
    let asked = |scopes: &str| asked(scopes, Some(&cookie));
    assert_eq!(asked("g_profile"), json!(["anna", [], ["g_profile"]]));
    let lacks = json!({
        "refused": "g_admin: the user does not have it; safe: a scheme is missing",
        "standing": {"Ok": ["anna", [["g_admin", "Scope"], ["safe", "Scheme"]], []]},
    });
    assert_eq!(asked("safe%20g_profile%20g_admin"), lacks);
    // A scope that does not exist is one that nobody has, not a session that is not there.
    let lacks = json!({
        "refused": "nothing: the user does not have it; safe: a scheme is missing",
        "standing": {"Ok": ["anna", [["nothing", "Scope"], ["safe", "Scheme"]], []]},
    });
    assert_eq!(asked("safe%20nothing"), lacks);
}

#[test]
fn a_scheme_that_does_not_forget_keeps_the_name() {
    let server = Setup::new().libraries(&["proves"]).start();
    user(&server, "odd");
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    let stubborn = json!({"username": "stubborn", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&stubborn)).status, 200);
    let gone = server.admin("DELETE", "/api/user/stubborn", None);
    assert_eq!(
        (gone.status, &gone.json()["failures"][0]),
        (200, &json!("instance scheme/odd: the handler failed: on purpose"))
    );
    assert_eq!(server.admin("GET", "/api/user/stubborn", None).status, 404);
    let refused = server.admin("POST", "/api/user/", Some(&stubborn));
    assert_eq!(refused.summary(), "409 conflict");
    assert!(refused.json()["detail"].as_str().unwrap().contains("instance scheme/odd"), "{refused:?}");
    // Who does not run keeps nothing back, and is told before it runs again, which it does not while it does not forget.
    assert_eq!(server.admin("PUT", "/api/mod/scheme/odd/disable", None).status, 200);
    assert_eq!(server.admin("POST", "/api/user/", Some(&stubborn)).status, 200);
    let refused = server.admin("PUT", "/api/mod/scheme/odd/enable", None);
    assert_eq!(refused.summary(), "500 instance_init_failed");
    assert!(refused.json()["detail"].as_str().unwrap().contains("`stubborn`"), "{refused:?}");
    server.wait_for_log("a user was deleted, but not everywhere: instance scheme/odd");
    assert_eq!(server.admin("DELETE", "/api/user/stubborn", None).status, 200);
    assert_eq!(
        server.admin("PUT", "/api/mod/scheme/odd/enable", None).status,
        200,
        "the name is nobody's, and kept back"
    );
    assert_eq!(server.admin("POST", "/api/user/", Some(&stubborn)).summary(), "409 conflict");
    assert_eq!(server.admin("DELETE", "/api/user/anna", None).body, "");
}

#[test]
fn nobody_begins_proofs_without_end() {
    let config = "trusted_proxies = [\"127.0.0.1\"]\n[login]\nname_failures_max = 3\npeer_failures_max = 5";
    let server = Setup::new().libraries(&["proves"]).config(config).start();
    user(&server, "odd");
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    let trigger = |username: &str, peer: &str| {
        let body = json!({"username": username, "scheme_type": "odd", "scheme_name": "odd", "value": null});
        let headers = [("content-type", "application/json"), ("x-forwarded-for", peer)];
        server.send("POST", "/api/auth/scheme/trigger/", &headers, body.to_string().as_bytes()).status
    };
    for (username, status) in [("anna", 200), ("nobody", 401)] {
        for peer in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert_eq!(trigger(username, peer), status, "{username}");
        }
        assert_eq!(trigger(username, "192.0.2.4"), 429, "{username}");
    }
    // A proof still comes in, and then she may begin again.
    assert_eq!(trigger("anna", "192.0.2.5"), 429);
    for number in 0..5 {
        assert_eq!(trigger(&format!("nobody{number}"), "192.0.2.6"), 401);
    }
    assert_eq!(trigger("nobody9", "192.0.2.6"), 429, "the peer has begun too many");
    assert_eq!(post(&server, None, "/api/auth/", &json!({"username": "anna", "password": "secret"})).status, 200);
}

#[test]
fn a_wrong_proof_does_not_tell_who_exists() {
    let server = Setup::new().libraries(&["mock"]).start();
    user(&server, "code");
    assert_eq!(add(&server, "mock", "code", &json!({"parameters": {"mock-value": "42"}})).status, 200);
    let cookie = log_in(&server);
    let register = json!({"scheme_type": "mock", "scheme_name": "code", "value": {"register": true}});
    assert_eq!(post(&server, Some(&cookie), "/api/profile/scheme/register/", &register).status, 200);
    for value in [json!(null), json!({"code": 1}), json!({"code": "wrong"}), json!([])] {
        for username in ["anna", "nobody"] {
            let body = json!({"username": username, "scheme_type": "mock", "scheme_name": "code", "value": value});
            let refused = post(&server, None, "/api/auth/", &body);
            assert_eq!(refused.summary(), "401 unauthorized", "{username} {value}");
        }
    }
    let offers = |scopes: &str| server.get(&format!("/api/auth/scheme/?scope={scopes}"));
    assert_eq!(offers("safe%20safe%20safe").json().as_object().unwrap().len(), 1);
    let many: Vec<_> = (0..65).map(|number| format!("s{number}")).collect();
    assert_eq!(offers(&many.join("%20")).summary(), "400 invalid");
    assert_eq!(offers(&["safe"; 200].join("%20")).status, 200);
}

/// With one thread, that thread waits for what only this instance can answer.
#[test]
fn a_scheme_that_asks_for_itself_keeps_nobody_waiting() {
    let config = "[limits]\ninstance_threads_max = 1\ndeadline_ms = 20000";
    let server = Setup::new().libraries(&["proves"]).config(config).start();
    user(&server, "odd");
    assert_eq!(add(&server, "odd", "odd", &json!({})).status, 200);
    server.add("asks_schemes", "a", &json!({}));
    let fields = [("content-type", "application/json")];
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.send("PUT", "/api/a/registration/odd/anna", &fields, b"1").json()))
            .collect();
        for thread in asking {
            assert_eq!(thread.join().unwrap(), "Registered");
        }
    });

    let endless = json!({"username": "endless", "password": "password", "scope": []});
    assert_eq!(server.admin("POST", "/api/user/", Some(&endless)).status, 200);
    assert_eq!(server.get("/api/a/can-use/odd/endless").json()["error"], "Failed");
    server.wait_for_log("scheme/odd was not asked: calls within calls are 4 deep already");
}
