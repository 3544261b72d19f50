//! `/api/mod`: instances by REST.

use serde_json::{Value, json};

use crate::support::server::{Server, Setup};
use crate::support::until::Until;

fn server() -> Server {
    Setup::new().libraries(&["hello", "mock", "misbehaves"]).start()
}

/// The fields of an instance that say how it does.
fn doing(server: &Server, name: &str) -> String {
    let instance = server.admin("GET", &format!("/api/mod/plugin/{name}"), None);
    if instance.status != 200 {
        return instance.summary();
    }
    let instance = instance.json();
    format!("enabled {} {} {}", instance["enabled"], instance["status"], instance["error"])
}

fn errors(reply: &crate::support::server::Reply) -> Vec<String> {
    reply.json()["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_types_show_every_module_with_its_schema() {
    let types = server().admin("GET", "/api/mod/type/", None).json();
    let plugins = types["plugin"].as_array().unwrap();
    let names: Vec<_> = plugins.iter().map(|module| module["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hello", "misbehaves", "mock"]);
    assert_eq!(plugins[0]["display_name"], "Hello");
    assert_eq!(plugins[0]["needs"], json!(["sessions"]));
    assert_eq!(plugins[0]["parameters_schema"]["properties"]["greeting"]["type"], "string");
}

#[test]
fn an_instance_lives_from_post_to_delete() {
    let server = server();
    assert_eq!(server.get("/api/greeter/hello/World").summary(), "404 not_found");
    server.add("hello", "greeter", &json!({"greeting": "Hello"}));
    let reply = server.get("/api/greeter/hello/World");
    assert_eq!((reply.status, reply.json()), (200, json!({"message": "Hello, World", "user": null})));
    assert_eq!(doing(&server, "greeter"), r#"enabled true "running" null"#);
    let listed = server.admin("GET", "/api/mod/plugin/", None).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["parameters"], json!({"greeting": "Hello"}));

    let change = json!({"module": "hello", "parameters": {"greeting": "Hei"}});
    assert_eq!(server.admin("PUT", "/api/mod/plugin/greeter", Some(&change)).status, 200);
    assert_eq!(server.get("/api/greeter/hello/World").json()["message"], "Hei, World");

    for _ in 0..2 {
        assert_eq!(server.admin("PUT", "/api/mod/plugin/greeter/disable", None).status, 200);
        assert_eq!(server.get("/api/greeter/hello/World").summary(), "503 instance_not_running");
    }
    assert_eq!(doing(&server, "greeter"), r#"enabled false "stopped" null"#);
    let change = json!({"parameters": {"greeting": "Salut"}});
    assert_eq!(server.admin("PUT", "/api/mod/plugin/greeter", Some(&change)).status, 200);
    assert_eq!(doing(&server, "greeter"), r#"enabled false "stopped" null"#);
    for _ in 0..2 {
        assert_eq!(server.admin("PUT", "/api/mod/plugin/greeter/enable", None).status, 200);
        assert_eq!(server.get("/api/greeter/hello/World").json()["message"], "Salut, World");
    }
    assert_eq!(server.admin("PUT", "/api/mod/plugin/greeter/reset", None).status, 200);
    assert_eq!(server.get("/api/greeter/hello/World").json()["message"], "Salut, World");

    assert_eq!(server.admin("DELETE", "/api/mod/plugin/greeter", None).status, 200);
    assert_eq!(server.get("/api/greeter/hello/World").summary(), "404 not_found");
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/greeter", None).summary(), "404 not_found");
}

#[test]
fn everything_wrong_is_named_at_once_and_nothing_is_left() {
    let server = server();
    let bad = json!({"module": 7, "name": ["x"], "parameters": "no", "grants": "all"});
    assert_eq!(
        errors(&server.admin("POST", "/api/mod/plugin/", Some(&bad))),
        [
            "module: expected a text, found a number",
            "name: expected a text, found a list",
            "parameters: expected an object, found a text",
            "grants: expected a list of texts or null, found a text",
        ]
    );
    let refused: Vec<(Value, &str)> = vec![
        (json!({"name": "x"}), "module"),
        (json!({"module": "hello", "name": "Bad Name", "parameters": {"greeting": "a"}}), "name"),
        (json!({"module": "hello", "name": "mod", "parameters": {"greeting": "a"}}), "name"),
        (json!({"module": "hello", "name": "auth2", "parameters": {"greeting": "a"}}), "name"),
        (json!({"module": "hello", "name": "x", "parameters": {}}), "greeting"),
        (json!({"module": "nothing", "name": "x"}), "nothing"),
        (json!({"module": "mock", "name": "x", "parameters": {"error": true}}), ""),
        (json!({"module": "hello", "name": "x", "parameters": {"greeting": "a"}, "grants": ["users:write"]}), "grants"),
    ];
    for (body, named) in refused {
        let reply = server.admin("POST", "/api/mod/plugin/", Some(&body));
        assert_eq!(reply.status, 400, "{body} {reply:?}");
        assert!(errors(&reply).iter().any(|error| error.contains(named)), "{body} {reply:?}");
    }
    let reply = server.try_add("misbehaves", "x", &json!({"at": "init-refuses"}));
    assert_eq!(errors(&reply), ["first reason", "second reason"]);
    let reply = server.try_add("misbehaves", "x", &json!({"at": "init-fails"}));
    assert_eq!(reply.summary(), "500 instance_init_failed");
    assert!(reply.json()["detail"].as_str().unwrap().contains("on purpose"));
    assert_eq!(server.try_add("misbehaves", "x", &json!({"at": "init-panics"})).summary(), "500 instance_init_failed");
    for (at, named) in [("init-routes-outside", "/../hello/x"), ("init-routes-twice", "twice")] {
        let reply = server.try_add("misbehaves", "x", &json!({"at": at}));
        assert_eq!(reply.summary(), "500 instance_init_failed");
        assert!(reply.json()["detail"].as_str().unwrap().contains(named), "{reply:?}");
    }
    assert_eq!(server.get("/api/x/ok").summary(), "404 not_found");
    assert_eq!(server.admin("GET", "/api/mod/plugin/", None).json(), json!([]));

    server.add("hello", "x", &json!({"greeting": "a"}));
    assert!(errors(&server.try_add("hello", "x", &json!({"greeting": "b"})))[0].contains("exists already"));
    let reply = server.admin("PUT", "/api/mod/plugin/x", Some(&json!({"parameters": {"greeting": 3}})));
    assert_eq!(reply.status, 400);
    let reply = server.admin("PUT", "/api/mod/plugin/x", Some(&json!({"module": "mock"})));
    assert_eq!(reply.status, 400);
    assert_eq!(server.get("/api/x/hello/you").json()["message"], "a, you");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/x/explode", None).summary(), "400 invalid");
}

#[test]
fn administration_needs_a_key() {
    let server = server();
    for (method, path) in [
        ("GET", "/api/mod/type/"),
        ("GET", "/api/mod/plugin/"),
        ("POST", "/api/mod/plugin/"),
        ("GET", "/api/mod/plugin/x"),
        ("PUT", "/api/mod/plugin/x"),
        ("DELETE", "/api/mod/plugin/x"),
        ("PUT", "/api/mod/plugin/x/enable"),
    ] {
        assert_eq!(server.send(method, path, &[], b"").summary(), "401 unauthorized", "{method} {path}");
        let bad = [("authorization", "token AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
        assert_eq!(server.send(method, path, &bad, b"").summary(), "401 unauthorized", "{method} {path}");
    }
    // The control socket's route does not exist for the network, key or not.
    let reply = server.admin("POST", "/api/local/key", Some(&json!({"name": "x"})));
    assert_eq!(reply.summary(), "404 not_found");
}

#[test]
fn the_manners_of_the_host_hold() {
    let server = server();
    for path in ["/api/mod/plugin", "/api/mod/plugin/", "//api//mod///plugin/"] {
        assert_eq!(server.admin("GET", path, None).status, 200, "{path}");
    }
    let reply = server.send("DELETE", "/api/mod/plugin/", &[], b"");
    assert_eq!(reply.summary(), "405 method_not_allowed");
    assert!(reply.headers["allow"].to_str().unwrap().contains("GET"));
    let reply = server.send(
        "POST",
        "/api/mod/plugin/",
        &[("authorization", &format!("token {}", server.key)), ("content-type", "text/plain")],
        b"{}",
    );
    assert_eq!(reply.summary(), "400 invalid");
    assert_eq!(server.admin("GET", "/api/mod/plugin/?limit=201", None).summary(), "400 invalid");
    let reply = server.get("/config");
    assert_eq!(reply.json()["api_prefix"], "api");
    for (name, value) in
        [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")]
    {
        assert_eq!(reply.headers[name], value);
    }
    assert_eq!(server.send("HEAD", "/config", &[], b"").status, 200);
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.get("/health/ready").status, 200);
    assert_eq!(server.get("/nothing").summary(), "404 not_found");
}

#[test]
fn instances_are_there_again_after_a_restart() {
    let server = server();
    server.add("hello", "one", &json!({"greeting": "Hello"}));
    server.add("hello", "two", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "three", &json!({}));
    assert_eq!(server.admin("PUT", "/api/mod/plugin/two/disable", None).status, 200);
    std::fs::remove_file(server.plugins().join("libmisbehaves.so")).unwrap();
    let server = server.restart();
    assert_eq!(server.get("/api/one/hello/you").status, 200);
    assert_eq!(server.get("/api/two/hello/you").summary(), "503 instance_not_running");
    // Its library is gone: it can be seen, and deleted.
    assert_eq!(server.get("/api/three/ok").summary(), "503 instance_not_running");
    assert_eq!(
        doing(&server, "three"),
        r#"enabled true "failed" "no library declares the plugin module `misbehaves`""#
    );
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/three", None).status, 200);
    assert_eq!(server.get("/api/three/ok").summary(), "404 not_found");
}

#[test]
fn the_configuration_declares_instances() {
    let config = r#"
        [[instance]]
        module = "hello"
        name = "declared"
        parameters = { greeting = "Welcome" }

        [[instance]]
        module = "hello"
        name = "broken"
    "#;
    let server = Setup::new().libraries(&["hello"]).config(config).start();
    assert_eq!(server.get("/api/declared/hello/you").json()["message"], "Welcome, you");
    // One that fails keeps nobody else from starting, and says why.
    let broken = server.admin("GET", "/api/mod/plugin/broken", None).json();
    assert_eq!((&broken["status"], &broken["declared"]), (&json!("failed"), &json!(true)));
    assert!(broken["error"].as_str().unwrap().contains("greeting"), "{broken}");
    let change = json!({"parameters": {"greeting": "Other"}});
    for (method, body) in [("PUT", Some(&change)), ("DELETE", None)] {
        assert_eq!(server.admin(method, "/api/mod/plugin/declared", body).summary(), "409 declared_instance");
    }
}

#[test]
fn no_request_fails_while_an_instance_is_reset_and_changed() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let server = server();
    server.add("misbehaves", "busy", &json!({"label": "0"}));
    let (until, answered) = (Until::new(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _going = until.go();
        for path in ["/api/busy/ok", "/api/busy/ok-own", "/api/busy/delay/30", "/api/busy/large/100000"] {
            let (server, until, answered) = (&server, &until, &answered);
            scope.spawn(move || {
                while !until.is_over() {
                    let reply = server.get(path);
                    assert_eq!(reply.status, 200, "{path} {reply:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..crate::support::scale::scaled(30, 300) {
            assert_eq!(server.admin("PUT", "/api/mod/plugin/busy/reset", None).status, 200);
            let change = json!({"parameters": {"label": round.to_string()}});
            assert_eq!(server.admin("PUT", "/api/mod/plugin/busy", Some(&change)).status, 200);
            assert_eq!(server.get("/api/busy/ok").json()["label"], round.to_string());
        }
    });
    assert!(answered.into_inner() > 30);
}
