//! Who did what, as `/api/admin/audit/` and `porth audit` tell it.

use serde_json::{Value, json};

use super::identity::{Browser, server};
use crate::support::process::InTime as _;
use crate::support::server::{Server, Setup, built, wait_until};

/// The newest entries that a query finds.
fn events(server: &Server, query: &str) -> Vec<Value> {
    let reply = server.admin("GET", &format!("/api/admin/audit/?{query}"), None);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json().as_array().unwrap().clone()
}

/// `who action object outcome` of the newest entries that a query finds.
fn told(server: &Server, query: &str) -> Vec<String> {
    let text = |event: &Value, path: &str| event.pointer(path).unwrap().as_str().unwrap().to_owned();
    let line = |event: &Value| {
        let parts = ["/who/kind", "/who/name", "/action", "/object/kind", "/object/name", "/outcome"];
        parts.map(|part| text(event, part)).join(" ")
    };
    events(server, query).iter().map(line).collect()
}

#[test]
fn what_administrators_do_is_noted_with_before_and_after() {
    let server = server(Setup::new().libraries(&["hello"]));
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    assert_eq!(told(&server, "limit=1"), ["user anna user.log_in user anna done"]);

    let change = json!({"name": "Bob B", "password": "another"});
    assert_eq!(anna.send("PUT", "/api/user/BOB", Some(&change), &[]).status, 200);
    let event = events(&server, "limit=1").remove(0);
    assert_eq!((&event["before"]["name"], &event["after"]["name"]), (&json!(""), &json!("Bob B")));
    assert_eq!((&event["before"]["password"], &event["after"]["password"]), (&Value::Null, &json!("(set)")));
    assert_eq!((&event["peer"], &event["who"]["name"]), (&json!("127.0.0.1"), &json!("anna")));
    assert!(!event.to_string().contains("another"));

    // What was refused, and why.
    assert_eq!(server.admin("POST", "/api/user/", Some(&json!({"username": "bob"}))).status, 400);
    let event = events(&server, "limit=1").remove(0);
    assert_eq!(event["detail"], "username: there is a user `bob` already");
    assert_eq!(told(&server, "limit=1"), ["key tests user.add user bob refused"]);

    // Who may not administer does nothing that is noted, nor does who only looks.
    let mut bob = Browser::new(&server);
    assert_eq!(bob.log_in("bob", "another").status, 200);
    let newest = events(&server, "limit=1").remove(0)["id"].clone();
    assert_eq!(bob.send("DELETE", "/api/user/anna", None, &[]).status, 401);
    assert_eq!(server.send("DELETE", "/api/user/anna", &[], b"").status, 401);
    assert_eq!(anna.send("GET", "/api/user/", None, &[]).status, 200);
    assert_eq!(events(&server, "limit=1").remove(0)["id"], newest);

    // For others.
    let password = json!({"password": "third"});
    assert_eq!(server.admin("PUT", "/api/delegate/bob/profile/password", Some(&password)).status, 200);
    assert_eq!(told(&server, "limit=1"), ["key tests user.password user bob done"]);

    // Instances and what they are allowed.
    let instance = json!({"module": "hello", "name": "x", "parameters": {"greeting": "Hi"}, "grants": ["sessions"]});
    assert_eq!(server.admin("POST", "/api/mod/plugin/", Some(&instance)).status, 200);
    let event = events(&server, "object=instance/plugin/x").remove(0);
    assert_eq!((&event["before"], &event["after"]["grants"]), (&Value::Null, &json!(["sessions"])));
    assert_eq!(server.admin("PUT", "/api/mod/plugin/x/disable", None).status, 200);
    assert_eq!(server.admin("PUT", "/api/mod/plugin/x/explode", None).status, 400);
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/x", None).status, 200);
    assert_eq!(
        told(&server, "object=instance/plugin/x"),
        [
            "key tests instance.delete instance plugin/x done",
            "key tests instance.explode instance plugin/x refused",
            "key tests instance.disable instance plugin/x done",
            "key tests instance.add instance plugin/x done",
        ]
    );
    assert_eq!(server.admin("PUT", "/api/mod/reload/", None).status, 200);
    assert_eq!(told(&server, "action=library"), ["key tests library.rescan library  done"]);

    // A key is named by its hash, and never shown.
    let made = anna.send("POST", "/api/key/", Some(&json!({"name": "mine", "expires_in": 60})), &[]).json();
    let event = events(&server, "action=key.add&who=anna").remove(0);
    assert_eq!((&event["object"]["name"], &event["after"]["name"]), (&made["token_hash"], &json!("mine")));
    assert!(!event.to_string().contains(made["key"].as_str().unwrap()));
}

#[test]
fn failed_log_ins_of_administrators_are_noted() {
    let server = server(Setup::new());
    for name in ["bob", "nobody", "ANNA"] {
        assert_eq!(Browser::new(&server).log_in(name, "wrong").status, 401);
    }
    wait_until("a failed log-in in the audit log", || told(&server, "action=user.log_in").len() == 1);
    assert_eq!(told(&server, "action=user.log_in"), ["nobody  user.log_in user anna refused"]);
}

#[test]
fn a_query_that_cannot_be_is_refused() {
    let server = Setup::new().start();
    for query in ["limit=0", "limit=201", "from=yesterday", "offset=-1", "limit=99999999999", "who=%00"] {
        let reply = server.admin("GET", &format!("/api/admin/audit/?{query}"), None);
        assert_eq!(reply.summary(), "400 invalid", "{query}: {reply:?}");
    }
    assert_eq!(server.get("/api/admin/audit/").status, 401);
}

#[test]
fn plug_ins_are_noted_as_they_write() {
    let server = server(Setup::new().libraries(&["asks"]));
    server.add("asks", "asks", &json!({}));
    let user = json!({"user": {"username": "carl", "password": "secret"}});
    let json = [("content-type", "application/json")];
    let reply = server.send("POST", "/api/asks/async/add_user", &json, user.to_string().as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
    let event = events(&server, "object=user/carl").remove(0);
    assert_eq!((&event["who"]["kind"], &event["who"]["name"]), (&json!("instance"), &json!("plugin/asks")));
    assert_eq!((&event["outcome"], &event["after"]["password"]), (&json!("done"), &json!("(secret)")));
    assert!(!server.log().contains("is not in the audit log"));
}

#[test]
fn what_is_refused_to_a_plug_in_again_and_again_fills_no_log() {
    let server = server(Setup::new().libraries(&["asks"]));
    server.add("asks", "asks", &json!({}));
    let json = [("content-type", "application/json")];
    let user = json!({"user": {"username": "anna", "password": "secret"}});
    for _ in 0..30 {
        let reply = server.send("POST", "/api/asks/async/add_user", &json, user.to_string().as_bytes());
        assert!(reply.body.contains("there is a user `anna` already"), "{reply:?}");
    }
    let server = server.restart();
    let refused = events(&server, "who=plugin/asks&action=user.add");
    assert_eq!(refused.len(), 21);
    assert_eq!(refused[0]["detail"], "10 more were refused within a minute");
}

#[test]
fn what_plug_ins_register_is_noted_without_what_they_send() {
    let server = server(Setup::new().libraries(&["proves"]));
    server.add("asks_schemes", "asks", &json!({}));
    let scheme = json!({"module": "odd", "name": "odd", "parameters": {}});
    assert_eq!(server.admin("POST", "/api/mod/scheme/", Some(&scheme)).status, 200);
    let json = [("content-type", "application/json")];
    let sent = json!("hunter2").to_string();
    for (method, user) in [("PUT", "bob"), ("PUT", "nobody"), ("DELETE", "bob")] {
        let path = format!("/api/asks/registration/odd/{user}");
        assert_eq!(server.send(method, &path, &json, sent.as_bytes()).status, 200);
    }
    assert_eq!(
        told(&server, "who=plugin/asks"),
        [
            "instance plugin/asks user.scheme_deregister user bob done",
            "instance plugin/asks user.scheme_register user nobody refused",
            "instance plugin/asks user.scheme_register user bob done",
        ]
    );
    let noted = events(&server, "who=plugin/asks");
    assert_eq!(
        (&noted[2]["after"], &noted[1]["detail"]),
        (&json!({"scheme": "odd"}), &json!("scheme `odd`: no such user"))
    );
    assert!(!json!(noted).to_string().contains("hunter2"));
}

#[test]
fn what_the_plug_in_directory_brings_is_noted() {
    let server = server(Setup::new().libraries(&["hello"]));
    let library = server.plugins().join("libasks.so");
    let noted = |count: usize| {
        wait_until("an entry", || {
            let told = told(&server, "action=library.load");
            told.len() == count && !told[0].ends_with("begun")
        });
        events(&server, "action=library.load").remove(0)
    };
    // As a program writes that installs it: whole, and then in its place.
    let put = |bytes: &[u8]| {
        std::fs::write(server.plugins().join("new"), bytes).unwrap();
        std::fs::rename(server.plugins().join("new"), &library).unwrap();
    };
    put(&std::fs::read(built("asks")).unwrap());
    let event = noted(1);
    assert_eq!(told(&server, "action=library.load"), ["directory  library.load library libasks.so done"]);
    let state = server.admin("GET", "/api/admin/library/libasks.so", None).json();
    assert_eq!((&event["before"], &event["after"]["digest"]), (&Value::Null, &state["digest"]));
    assert_eq!(event["after"]["generation"], state["generations"]["present"]);
    put(b"no library");
    let event = noted(2);
    assert_eq!((&event["outcome"], &event["before"]["digest"]), (&json!("refused"), &state["digest"]));
    assert!(!event["detail"].as_str().unwrap().is_empty());
    std::fs::remove_file(&library).unwrap();
    assert_eq!(noted(3)["outcome"], "done");
    // What an administrator reloads is theirs alone.
    assert_eq!(server.admin("PUT", "/api/mod/reload/", None).status, 200);
    assert_eq!(told(&server, "action=library.load").len(), 3);
}

#[test]
fn the_command_tells_the_same_with_and_without_a_server() {
    let server = server(Setup::new());
    let run = |arguments: &[&str]| {
        let output = server.porth(arguments).output_in_time();
        (
            output.status.success(),
            String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap(),
        )
    };
    let (done, said) = run(&["audit", "--object", "user/anna", "--from", "1h"]);
    assert!(done && said.contains("key tests") && said.contains("user.add") && said.lines().count() == 1, "{said}");
    let (done, said) = run(&["audit", "--json", "--limit", "2"]);
    let events: Value = serde_json::from_str(&said).unwrap();
    assert!(done && events.as_array().unwrap().len() == 2 && events[0]["object"]["name"] == "bob", "{said}");
    assert_eq!(run(&["audit", "--to", "1h"]), (true, String::new()));
    let (done, said) = run(&["audit", "--from", "soon"]);
    assert!(!done && said.starts_with("porth: --from: `soon` is no time"), "{said}");

    let (done, key) = run(&["key", "new", "--name", "short", "--expires", "90d"]);
    assert!(done && key.len() == 44, "{key}");
    let (_, list) = run(&["key", "list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let short = list.as_array().unwrap().iter().find(|key| key["name"] == "short").unwrap();
    assert_eq!(short["expires_at"].as_i64().unwrap() - short["issued_at"].as_i64().unwrap(), 90 * 86_400);
    let hash = short["token_hash"].as_str().unwrap();
    let found = |pattern: &str| run(&["key", "list", "--pattern", pattern]).1.lines().count();
    assert_eq!((found(&hash[..8]), found("SHORT"), found(&hash[1..9])), (1, 1, 0), "hashes by their beginning");
    assert_eq!(run(&["key", "delete", hash]), (true, String::new()));
    assert!(!run(&["key", "list"]).1.contains("short"));
    let (done, said) = run(&["key", "delete", hash]);
    assert!(!done && said.contains(&format!("there is no key `{hash}`")), "{said}");
    assert_eq!(
        told(&server, "action=key.delete"),
        ["local  key.delete key ".to_owned() + hash + " refused", "local  key.delete key ".to_owned() + hash + " done"]
    );
}
