//! Users and clients of several back ends, and middlewares, by REST, with the mock modules.

use std::io::Write as _;

use serde_json::{Value, json};

use super::identity::Browser;
use crate::support::server::{Reply, Server, Setup, wait_until};

fn errors(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{reply:?}");
    let errors = reply.json()["errors"].clone();
    errors.as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

fn add(server: &Server, kind: &str, module: &str, name: &str, more: &Value) {
    let mut instance = json!({"module": module, "name": name});
    instance.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let added = server.admin("POST", &format!("/api/mod/{kind}/"), Some(&instance));
    assert_eq!(added.status, 200, "{added:?}");
}

/// A member of every record of a list, in its order.
fn listed(server: &Server, path: &str, member: &str) -> String {
    let list = server.admin("GET", path, None).json();
    list.as_array().unwrap().iter().map(|record| record[member].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

fn change(server: &Server, path: &str, change: &Value) -> Reply {
    server.admin("PUT", path, Some(change))
}

fn mock() -> Server {
    Setup::new().libraries(&["mock"]).start()
}

#[test]
fn the_database_is_a_back_end_from_the_first_start() {
    let server = Setup::new().start();
    let types = server.admin("GET", "/api/mod/type/", None).json();
    for kind in ["user", "client"] {
        assert_eq!(types[kind][0]["name"], "database", "{kind}");
        let database = server.admin("GET", &format!("/api/mod/{kind}/database"), None).json();
        for (member, value) in [
            ("module", json!("database")),
            ("status", json!("running")),
            ("enabled", json!(true)),
            ("order_rank", json!(0)),
            ("readonly", json!(false)),
            ("multiple_passwords", json!(false)),
            ("error", Value::Null),
        ] {
            assert_eq!(database[member], value, "{kind} {member}");
        }
        let parameters = change(&server, &format!("/api/mod/{kind}/database"), &json!({"parameters": {"a": 1}}));
        assert_eq!(errors(&parameters), "parameters: the module `database` has none");
        assert_eq!(server.admin("PUT", &format!("/api/mod/{kind}/database/reset"), None).status, 200);
    }
    let anna = json!({"username": "anna", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
    assert_eq!(change(&server, "/api/mod/user/database", &json!({"readonly": true})).status, 200);
    let refusal = "source: the back end `database` can only be read";
    assert_eq!(errors(&change(&server, "/api/user/anna", &json!({"name": "Anna"}))), refusal);
    assert_eq!(errors(&server.admin("DELETE", "/api/user/anna", None)), refusal);
    let nowhere = errors(&server.admin("POST", "/api/user/", Some(&json!({"username": "bob"}))));
    assert_eq!(nowhere, "source: no back end takes anything new");
    let server = server.restart();
    assert_eq!(errors(&change(&server, "/api/user/anna", &json!({"name": "Anna"}))), refusal);
    assert_eq!(Browser::new(&server).log_in("anna", "secret").status, 200);
    assert_eq!(server.admin("PUT", "/api/mod/user/database/disable", None).status, 200);
    assert_eq!(Browser::new(&server).log_in("anna", "secret").status, 401);
    assert_eq!(server.admin("GET", "/api/user/anna", None).status, 404);
    assert_eq!(server.admin("PUT", "/api/mod/user/database/enable", None).status, 200);
    assert_eq!(Browser::new(&server).log_in("anna", "secret").status, 200);
    assert_eq!(server.admin("DELETE", "/api/mod/user/database", None).status, 200);
    let server = server.restart();
    assert_eq!(server.admin("GET", "/api/mod/user/database", None).status, 404, "it is made once");
    add(&server, "user", "database", "database", &json!({}));
    assert_eq!(Browser::new(&server).log_in("anna", "secret").status, 200);
}

#[test]
fn users_of_the_mock_come_in_and_are_changed() {
    let server = mock();
    for scope in ["openid", "scope1", "scope2", "scope3"] {
        assert_eq!(server.admin("POST", "/api/scope/", Some(&json!({"name": scope}))).status, 200);
    }
    let refused = json!({"module": "mock", "name": "mock", "parameters": {"error": "not today"}});
    assert_eq!(errors(&server.admin("POST", "/api/mod/user/", Some(&refused))), "not today");
    add(&server, "user", "mock", "mock", &json!({"order_rank": 1}));
    add(
        &server,
        "user",
        "mock",
        "more",
        &json!({"order_rank": 2, "parameters": {"username-prefix": "x-", "password": "p"}}),
    );
    let anna = json!({"username": "anna", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
    assert_eq!(
        listed(&server, "/api/user/", "username"),
        "anna admin user1 user2 user3 x-admin x-user1 x-user2 x-user3"
    );
    assert_eq!(listed(&server, "/api/user/?offset=2&limit=4", "username"), "user1 user2 user3 x-admin");
    assert_eq!(listed(&server, "/api/user/?pattern=lopper%203", "username"), "user3 x-user3");
    let user = json!({
        "username": "user1", "name": "Dave Lopper 1", "email": "dev1@glewlwyd", "enabled": true, "source": "mock",
        "scope": ["g_profile", "openid", "scope1", "scope2", "scope3"],
    });
    assert_eq!(server.admin("GET", "/api/user/USER1", None).json(), user);

    let mut admin = Browser::new(&server);
    assert_eq!(admin.log_in("Admin", "wrong").summary(), "401 unauthorized");
    assert_eq!(admin.log_in("Admin", "password").status, 200);
    assert_eq!(admin.get("/api/user/").status, 200, "administers by the scope that the back end gave");
    assert_eq!(admin.log_in("x-user1", "p").status, 200, "two of one session");
    let names = admin.get("/api/profile_list/").json();
    assert_eq!((&names[0]["username"], &names[1]["username"]), (&json!("x-user1"), &json!("admin")));

    let to = json!({"name": "Dave", "password": "new", "scope": ["scope1"], "phone": "1"});
    assert_eq!(change(&server, "/api/user/user1", &to).status, 200);
    let shown = server.admin("GET", "/api/user/user1", None).json();
    assert_eq!(
        (&shown["name"], &shown["phone"], &shown["email"]),
        (&json!("Dave"), &json!("1"), &json!("dev1@glewlwyd"))
    );
    assert_eq!(shown.get("password"), None);
    assert_eq!(Browser::new(&server).log_in("user1", "password").status, 401);
    assert_eq!(Browser::new(&server).log_in("user1", "new").status, 200);
    assert_eq!(change(&server, "/api/user/user1", &json!({"enabled": false})).status, 200);
    assert_eq!(Browser::new(&server).log_in("user1", "new").status, 401);

    let new = json!({"username": "Erin", "password": "e", "source": "mock"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&new)).status, 200);
    assert_eq!(server.admin("GET", "/api/user/erin", None).json()["source"], "mock");
    assert_eq!(server.admin("POST", "/api/user/", Some(&json!({"username": "user2"}))).status, 400, "taken");
    let mut erin = Browser::new(&server);
    assert_eq!(erin.log_in("erin", "e").status, 200);
    assert_eq!(server.admin("DELETE", "/api/user/erin", None).status, 200);
    assert_eq!(server.admin("GET", "/api/user/erin", None).status, 404);
    assert_eq!(erin.get("/api/profile_list/").status, 401, "the sessions go with the user");

    let mut user2 = Browser::new(&server);
    assert_eq!(user2.log_in("user2", "password").status, 200);
    assert_eq!(server.admin("PUT", "/api/mod/user/mock/disable", None).status, 200);
    assert_eq!(user2.get("/api/profile_list/").status, 401);
    assert_eq!(listed(&server, "/api/user/", "username"), "anna x-admin x-user1 x-user2 x-user3");
    assert_eq!(server.admin("PUT", "/api/mod/user/mock/enable", None).status, 200);
    assert_eq!(user2.get("/api/profile_list/").status, 200);
    let first = json!({"order_rank": 0, "name": "x"});
    assert_eq!(change(&server, "/api/mod/user/mock", &first).status, 200);
    assert_eq!(change(&server, "/api/mod/user/database", &json!({"order_rank": 9})).status, 200);
    assert_eq!(listed(&server, "/api/user/?pattern=a&limit=1", "username"), "admin", "another order");
    let server = server.restart();
    assert_eq!(listed(&server, "/api/user/?pattern=a&limit=1", "username"), "admin");
}

#[test]
fn clients_of_the_mock_are_shown_and_changed() {
    let server = mock();
    for scope in ["scope2", "scope3"] {
        assert_eq!(server.admin("POST", "/api/scope/", Some(&json!({"name": scope}))).status, 200);
    }
    add(&server, "client", "mock", "mock", &json!({"parameters": {"client-id-prefix": "m-"}}));
    assert_eq!(server.admin("POST", "/api/client/", Some(&json!({"client_id": "own"}))).status, 200);
    assert_eq!(listed(&server, "/api/client/", "client_id"), "own m-client1_id m-client2_id m-client3_id m-client4_id");
    let third = server.admin("GET", "/api/client/m-client3_id", None).json();
    let expected = json!({
        "client_id": "m-client3_id", "name": "client3", "description": "Client mock 3", "confidential": true,
        "authorization_type":
            ["code", "token", "id_token", "none", "password", "client_credentials", "refresh_token", "delete_token"],
        "redirect_uri": ["../../test-oauth2.html?param=client3", "../../test-oidc.html?param=client3"],
        "scope": ["scope2", "scope3"], "enabled": true, "source": "mock",
    });
    assert_eq!(third, expected);
    let to = json!({"description": "Other", "client_secret": "s", "logo": 1});
    assert_eq!(change(&server, "/api/client/m-client3_id", &to).status, 200);
    let changed = server.admin("GET", "/api/client/m-client3_id", None).json();
    assert_eq!((&changed["description"], &changed["logo"]), (&json!("Other"), &json!(1)));
    assert_eq!(changed.get("client_secret"), None);
    let new = json!({"client_id": "new", "source": "mock", "password": "p"});
    assert_eq!(server.admin("POST", "/api/client/", Some(&new)).status, 200);
    assert_eq!(server.admin("GET", "/api/client/new", None).json()["source"], "mock");
    assert_eq!(server.admin("POST", "/api/client/", Some(&json!({"client_id": "new"}))).status, 400);
    assert_eq!(server.admin("DELETE", "/api/client/new", None).status, 200);
    assert_eq!(server.admin("GET", "/api/client/new", None).status, 404);
}

#[test]
fn the_mock_middleware_marks_and_takes_the_mark_off() {
    let server = mock();
    add(&server, "user", "mock", "mock", &json!({}));
    let missing = json!({"module": "mock", "name": "mark", "parameters": {}});
    assert_eq!(server.admin("POST", "/api/mod/user_middleware/", Some(&missing)).status, 400);
    add(&server, "user_middleware", "mock", "mark", &json!({"parameters": {"middleware": "m"}}));
    let anna = json!({"username": "anna", "password": "secret", "middleware": "by hand"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
    for (name, password) in [("anna", "secret"), ("user1", "password")] {
        let shown = server.admin("GET", &format!("/api/user/{name}"), None).json();
        assert_eq!(shown["middleware"], format!("m-{name}"));
        let mut browser = Browser::new(&server);
        assert_eq!(browser.log_in(name, password).status, 200);
        assert_eq!(browser.get("/api/profile_list/").json()[0]["middleware"], format!("m-{name}-profile"));
    }
    // An answer may come back as it is. The scope is left out: those of the mock do not exist here.
    let mut shown = server.admin("GET", "/api/user/user1", None).json();
    shown.as_object_mut().unwrap().remove("scope");
    assert_eq!(change(&server, "/api/user/user1", &shown).status, 200);
    assert_eq!(server.admin("PUT", "/api/mod/user_middleware/mark/disable", None).status, 200);
    for name in ["anna", "user1"] {
        let bare = server.admin("GET", &format!("/api/user/{name}"), None).json();
        assert_eq!(bare.get("middleware"), None, "{name}");
    }
}

#[test]
fn middlewares_come_in_their_order_and_cannot_change_who_it_is() {
    let server = Setup::new().libraries(&["mock", "knows"]).start();
    assert_eq!(server.admin("POST", "/api/user/", Some(&json!({"username": "anna"}))).status, 200);
    add(&server, "user_middleware", "mock", "a", &json!({"order_rank": 2, "parameters": {"middleware": "last"}}));
    add(&server, "user_middleware", "mock", "b", &json!({"order_rank": 1, "parameters": {"middleware": "first"}}));
    let shown = || server.admin("GET", "/api/user/anna", None).json();
    assert_eq!(shown()["middleware"], "last-anna");
    assert_eq!(change(&server, "/api/mod/user_middleware/a", &json!({"order_rank": 0})).status, 200);
    assert_eq!(shown()["middleware"], "first-anna");
    add(&server, "user_middleware", "meddler", "meddler", &json!({}));
    let meddled = json!({
        "username": "anna", "name": "", "email": "", "enabled": true, "source": "database", "scope": ["lent"],
        "middleware": "first-anna",
    });
    assert_eq!(shown(), meddled);
    assert_eq!(errors(&change(&server, "/api/user/anna", &json!({"name": "No"}))), "name: not this one");
}

#[test]
fn a_back_end_that_fails_is_nobody_elses_failure() {
    let config = "[quarantine]\ncrashes = 0\nunattributed_crashes = 0\n[limits]\ndeadline_ms = 300\n";
    let server = Setup::new().config(config).libraries(&["knows"]).start();
    let anna = json!({"username": "anna", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
    add(&server, "user", "moody", "moody", &json!({}));
    let show = |name: &str| server.admin("GET", &format!("/api/user/{name}"), None).summary();
    assert_eq!(show("plain"), "200");
    assert_eq!(show("nobody"), "404 not_found");
    for name in ["fails", "other", "panics", "sleeps"] {
        assert_eq!(show(name), "503 back_end_failed", "{name}");
        let log_in = Browser::new(&server).log_in(name, "secret").summary();
        assert_eq!(log_in, "401 unauthorized", "{name}: nobody knows yet whose name it is");
    }
    assert_eq!(Browser::new(&server).log_in("plain", "secret").status, 200);
    assert_eq!(Browser::new(&server).log_in("plain", "Secret").status, 401);
    assert_eq!(Browser::new(&server).log_in("anna", "secret").status, 200);
    assert_eq!(listed(&server, "/api/user/", "username"), "anna");
    // What the instance leaves out.
    let refused = errors(&change(&server, "/api/user/plain", &json!({"name": "P"})));
    assert_eq!(refused, "source: the back end cannot do that");
    let refused = json!({"username": "new", "source": "moody"});
    assert_eq!(errors(&server.admin("POST", "/api/user/", Some(&refused))), "source: the back end cannot do that");
    assert_eq!(
        server.admin("POST", "/api/user/", Some(&json!({"username": "new"}))).status,
        200,
        "nothing is left behind"
    );
}

#[test]
fn everybody_hears_of_a_deleted_user() {
    let server = Setup::new().libraries(&["knows"]).start();
    add(&server, "plugin", "hears", "one", &json!({}));
    add(&server, "plugin", "hears", "bad", &json!({"parameters": {"fails": true}}));
    add(&server, "plugin", "deaf", "deaf", &json!({}));
    assert_eq!(server.admin("POST", "/api/user/", Some(&json!({"username": "Anna"}))).status, 200);
    assert_eq!(server.admin("DELETE", "/api/user/ANNA", None).status, 200);
    assert_eq!(server.admin("DELETE", "/api/user/anna", None).status, 404);
    for instance in ["one", "bad"] {
        assert_eq!(server.get(&format!("/api/{instance}/heard")).json(), json!(["anna"]), "{instance}");
    }
    server.wait_for_log("instance plugin/bad: ");
}

#[test]
fn a_client_that_leaves_stops_no_change_of_a_password() {
    let server = Setup::new().libraries(&["knows"]).start();
    add(&server, "user", "moody", "moody", &json!({}));
    let [mut here, mut there] = [Browser::new(&server), Browser::new(&server)];
    assert_eq!((here.log_in("leaver", "secret").status, there.log_in("leaver", "secret").status), (200, 200));
    let body = json!({"old_password": "secret", "password": "another"}).to_string();
    let request = format!(
        "PUT /api/profile/password HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nCookie: {}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        here.cookie.clone().unwrap(),
        body.len(),
    );
    let mut left = std::net::TcpStream::connect(server.address).unwrap();
    left.write_all(request.as_bytes()).unwrap();
    // It has begun, and nobody waits for its answer.
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(left);
    wait_until("the end of the other session", || there.send("GET", "/api/profile/", None, &[]).status == 401);
    assert_eq!(here.send("GET", "/api/profile/", None, &[]).status, 200);
}

/// Adds somebody, who is to be deleted while an instance does not run, and then somebody else of the name.
fn exchange(server: &Server, name: &str, meanwhile: impl FnOnce()) {
    let somebody = json!({ "username": name });
    assert_eq!(server.admin("POST", "/api/user/", Some(&somebody)).status, 200);
    meanwhile();
    assert_eq!(server.admin("DELETE", &format!("/api/user/{name}"), None).status, 200);
    assert_eq!(server.admin("POST", "/api/user/", Some(&somebody)).status, 200);
}

/// What the instance has heard when it first answers.
fn first_heard(server: &Server) -> serde_json::Value {
    let mut heard = None;
    wait_until("an answer of the instance", || {
        let reply = server.get("/api/one/heard");
        heard = (reply.status == 200).then(|| reply.json());
        heard.is_some()
    });
    heard.unwrap()
}

#[test]
fn an_instance_hears_who_went_before_it_is_reached() {
    let server = Setup::new().libraries(&["knows"]).start();
    let library = server.plugins().join("libknows.so");
    let act = |action: &str| server.admin("PUT", &format!("/api/mod/plugin/one/{action}"), None);
    add(&server, "plugin", "hears", "one", &json!({"parameters": {"slow_ms": 300}}));
    exchange(&server, "anna", || assert_eq!(act("disable").status, 200));
    let heard = std::thread::scope(|scope| {
        let enabling = scope.spawn(|| act("enable").status);
        let heard = first_heard(&server);
        assert_eq!(enabling.join().unwrap(), 200);
        heard
    });
    assert_eq!(heard, json!(["anna"]));

    // Its library is missing when the server starts, and comes back.
    let bytes = std::fs::read(&library).unwrap();
    std::fs::remove_file(&library).unwrap();
    let server = server.restart();
    exchange(&server, "bob", || {});
    std::fs::write(&library, &bytes).unwrap();
    assert_eq!(first_heard(&server), json!(["bob"]));
}

#[test]
fn a_fresh_process_tells_who_went_before_it_accepts() {
    let server = Setup::new().config("watch = false").libraries(&["knows"]).start();
    let library = server.plugins().join("libknows.so");
    add(&server, "plugin", "hears", "one", &json!({"parameters": {"slow_ms": 300}}));
    let bytes = std::fs::read(&library).unwrap();
    std::fs::remove_file(&library).unwrap();
    let server = server.restart();
    exchange(&server, "anna", || {});
    std::fs::write(&library, &bytes).unwrap();
    server.recycle();
    assert_eq!(first_heard(&server), json!(["anna"]));
}

#[test]
fn an_instance_that_does_not_forget_is_not_let_near_the_next_of_the_name() {
    let server = Setup::new().libraries(&["knows"]).start();
    add(&server, "plugin", "hears", "one", &json!({"parameters": {"fails": true}}));
    exchange(&server, "anna", || assert_eq!(server.admin("PUT", "/api/mod/plugin/one/disable", None).status, 200));
    let refused = server.admin("PUT", "/api/mod/plugin/one/enable", None);
    assert_eq!(refused.summary(), "500 instance_init_failed");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("it has not forgotten `anna`"), "{detail}");
    assert_eq!(server.get("/api/one/heard").summary(), "503 instance_not_running");
    let change = json!({"parameters": {"fails": false}});
    assert_eq!(server.admin("PUT", "/api/mod/plugin/one", Some(&change)).status, 200);
    assert_eq!(server.admin("PUT", "/api/mod/plugin/one/enable", None).status, 200);
    assert_eq!(first_heard(&server), json!(["anna"]));
}

#[test]
fn back_ends_may_be_written_in_c() {
    let server = Setup::new().c_library("directory").start();
    assert_eq!(server.admin("POST", "/api/user/", Some(&json!({"username": "anna"}))).status, 200);
    add(&server, "user", "c-users", "c", &json!({}));
    add(&server, "client", "c-clients", "c", &json!({}));
    add(&server, "plugin", "c-revoke", "c", &json!({}));
    assert_eq!(listed(&server, "/api/user/", "username"), "anna carl");
    assert_eq!(listed(&server, "/api/client/", "client_id"), "app");
    let carl = server.admin("GET", "/api/user/carl", None).json();
    assert_eq!((&carl["shell"], &carl["source"], &carl["enabled"]), (&json!("/bin/sh"), &json!("c"), &json!(true)));
    let mut browser = Browser::new(&server);
    assert_eq!(browser.log_in("carl", "wrong").status, 401);
    assert_eq!(browser.log_in("carl", "secret").status, 200);
    assert_eq!(server.admin("GET", "/api/client/none", None).status, 404);
    assert_eq!(
        errors(&change(&server, "/api/user/carl", &json!({"name": "x"}))),
        "name: it is Carl; email: he has none"
    );
    let kept = "source: the back end `c` can only be read";
    assert_eq!(errors(&server.admin("DELETE", "/api/user/carl", None)), kept);
    assert_eq!(server.admin("DELETE", "/api/user/anna", None).status, 200);
    server.wait_for_log("anna was revoked in C");
    add(&server, "user_middleware", "c-middleware", "c", &json!({}));
    let shown = json!({
        "username": "carl", "name": "Somebody", "email": "", "scope": [], "enabled": true, "source": "c",
    });
    assert_eq!(server.admin("GET", "/api/user/carl", None).json(), shown);
}

#[test]
fn a_back_end_goes_on_over_reloads_and_is_missed_when_it_is_gone() {
    let server = mock();
    add(&server, "user", "mock", "mock", &json!({}));
    let anna = json!({"username": "anna", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
    let mut user1 = Browser::new(&server);
    assert_eq!(user1.log_in("user1", "password").status, 200);
    assert_eq!(server.admin("PUT", "/api/admin/library/libmock.so/reload", None).status, 200);
    assert_eq!(user1.get("/api/profile_list/").status, 200);
    assert_eq!(server.admin("PUT", "/api/mod/user/mock/reset", None).status, 200);
    assert_eq!(user1.get("/api/profile_list/").status, 200);
    server.recycle();
    assert_eq!(user1.get("/api/profile_list/").status, 200);
    let cookie = user1.cookie.take();

    std::fs::remove_file(server.plugins().join("libmock.so")).unwrap();
    let server = server.restart();
    let mut user1 = Browser::new(&server);
    user1.cookie = cookie;
    assert_eq!(user1.get("/api/profile_list/").summary(), "503 back_end_failed");
    assert_eq!(user1.log_in("user1", "password").summary(), "503 back_end_failed");
    assert_eq!(Browser::new(&server).log_in("anna", "secret").status, 200);
    assert_eq!(Browser::new(&server).log_in("nobody", "secret").status, 401);
    assert_eq!(server.admin("DELETE", "/api/mod/user/mock", None).status, 200);
    assert_eq!(user1.get("/api/profile_list/").status, 401);
    let own = json!({"username": "user1", "password": "own"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&own)).status, 200, "the name is free again");
    assert_eq!(user1.get("/api/profile_list/").status, 401, "and the session is not");
    assert_eq!(user1.log_in("user1", "own").status, 200);
}
