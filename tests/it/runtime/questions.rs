//! What plug-ins ask about users, clients and grants, in Rust and C, waiting and not; and what they are denied.

use serde_json::{Value, json};

use crate::support::server::{Server, Setup, wait_until};

/// The instance and the way it asks: each must get the same answers.
const WAYS: [&str; 4] = ["a/async", "a/blocking", "c/wait", "c/then"];

fn server() -> Server {
    let server = Setup::new().libraries(&["asks"]).c_library("asks_c").start();
    server.add("asks", "a", &json!({}));
    server.add("asks_c", "c", &json!({}));
    let scope = json!({"name": "otp", "display_name": "OTP", "scheme": {"a": [{"scheme_name": "otp"}]}});
    assert_eq!(server.admin("POST", "/api/scope/", Some(&scope)).status, 200);
    server
}

/// An answer, or the kind of error with its detail.
type Answer = Result<Value, (String, String)>;

/// Asks by the plug-in `way`. What an answer is comes as text from both: a kind or code, and what belongs to it.
fn ask(server: &Server, way: &str, question: &str, arguments: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    let reply = server.send("POST", &format!("/api/{way}/{question}"), &json, arguments.to_string().as_bytes());
    assert_eq!(reply.status, 200, "{way} {question}: {reply:?}");
    let (kind, rest) = reply.body.split_once(' ').unwrap();
    let kind = match kind {
        "0" => "Ok",
        "2" => "Unauthorized",
        "3" => "Parameter",
        "6" => "NotFound",
        "7" => "Denied",
        "8" => "WouldBlock",
        "10" => "Unsupported",
        other => other,
    };
    // What is text comes as such in C.
    let value = || serde_json::from_str(rest).unwrap_or_else(|_| rest.into());
    if kind == "Ok" { Ok(value()) } else { Err((kind.to_owned(), rest.to_owned())) }
}

fn kind(answer: Answer) -> String {
    answer.map_or_else(|(kind, _)| kind, |answer| answer.to_string())
}

#[test]
fn users_live_from_add_to_delete() {
    let server = server();
    for (index, way) in WAYS.into_iter().enumerate() {
        let ask = |question: &str, arguments: Value| ask(&server, way, question, &arguments);
        let name = format!("anna{index}");
        let named = || json!({ "username": name });
        let user = json!({
            "username": name, "name": "Anna", "email": "a@x.org", "password": "secret", "scope": ["g_profile", "otp"],
            "phone": ["1"],
        });
        assert_eq!(ask("is_user_valid", json!({"user": user, "add": true})), Ok(json!([])), "{way}");
        assert!(ask("add_user", json!({ "user": user })).is_ok(), "{way}");
        let errors = ask("is_user_valid", json!({"user": {"username": name, "scope": ["no"]}, "add": true})).unwrap();
        let taken = format!("username: there is a user `{name}` already");
        assert_eq!(errors, json!([taken, "scope: there is no scope `no`"]), "{way}");
        let refused = ask("add_user", json!({ "user": user })).unwrap_err();
        assert_eq!(refused, ("Parameter".to_owned(), taken), "{way}");

        let shown = json!({
            "username": name, "name": "Anna", "email": "a@x.org", "scope": ["g_profile", "otp"], "enabled": true,
            "source": "database", "phone": ["1"],
        });
        let spelt = json!({"username": format!("ANNA{index}")});
        assert_eq!(ask("get_user", spelt), Ok(shown.clone()), "{way}");
        assert_eq!(ask("get_user_list", json!({"pattern": name, "limit": 1})), Ok(json!([shown])), "{way}");
        assert_eq!(ask("get_user_list", json!({"pattern": name, "offset": 1})), Ok(json!([])), "{way}");
        assert_eq!(kind(ask("get_user_list", json!({"limit": 201}))), "Parameter", "{way}");
        let profile = ask("get_user_profile", named()).unwrap();
        assert_eq!(
            (&profile["name"], &profile["phone"], &profile["source"]),
            (&json!("Anna"), &json!(null), &json!(null))
        );

        let change = json!({"email": "", "phone": null, "city": 1});
        assert_eq!(ask("is_user_valid", json!({"username": name, "user": change})), Ok(json!([])), "{way}");
        let long = json!({"name": "x".repeat(300)});
        let errors = ask("is_user_valid", json!({"username": name, "user": long})).unwrap();
        assert_eq!(errors, json!(["name: has 300 characters, at most 256 are possible"]), "{way}");
        assert!(ask("set_user", json!({"username": name, "user": change})).is_ok(), "{way}");
        let user = ask("get_user", named()).unwrap();
        assert_eq!((&user["email"], &user["phone"], &user["city"]), (&json!(""), &json!(null), &json!(1)), "{way}");
        assert_eq!(kind(ask("set_user", json!({"username": "nobody", "user": {}}))), "NotFound", "{way}");
        assert_eq!(kind(ask("is_user_valid", json!({"username": "nobody", "user": {}}))), "NotFound", "{way}");

        let deleted = ask("delete_user", named());
        assert_eq!(deleted, Ok(if way.starts_with('a') { json!([]) } else { json!({"failures": []}) }), "{way}");
        assert_eq!(kind(ask("delete_user", named())), "NotFound", "{way}");
        // In Rust nobody is `None`.
        let gone = kind(ask("get_user", named()));
        assert_eq!(gone, if way.starts_with('a') { "null" } else { "NotFound" });
    }
}

#[test]
fn who_may_come_in_is_told_by_password_and_scopes() {
    let server = server();
    let user = json!({"username": "bob", "password": "old", "scope": ["g_profile", "otp"]});
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    for way in WAYS {
        let check = |arguments: Value| ask(&server, way, "check_user_valid", &arguments);
        let change = |user: Value| ask(&server, way, "set_user", &json!({"username": "bob", "user": user})).unwrap();
        let update = json!({"username": "bob", "password": "secret"});
        assert!(ask(&server, way, "user_update_password", &update).is_ok(), "{way}");
        let valid =
            check(json!({"username": "Bob", "password": "secret", "scope_list": ["otp", "g_profile", "g_admin"]}));
        let valid = valid.unwrap();
        assert_eq!((&valid["user"]["username"], &valid["scope_list"]), (&json!("bob"), &json!(["g_profile"])), "{way}");
        assert_eq!(check(json!({"username": "bob"})).unwrap()["scope_list"], json!([]), "{way}");
        // Nobody, a wrong password, one that cannot be, and too little are the same to whoever has a password.
        for wrong in [
            json!({"username": "nobody", "password": "secret"}),
            json!({"username": "bob", "password": "old"}),
            json!({"username": "bob", "password": ""}),
            json!({"username": "bob", "password": "secret", "scope_list": ["otp"]}),
            json!({"username": "bob", "scope_list": ["g_admin"]}),
        ] {
            assert_eq!(kind(check(wrong.clone())), "Unauthorized", "{way} {wrong}");
        }
        assert_eq!(kind(check(json!({"username": "nobody"}))), "NotFound", "{way}");
        change(json!({"enabled": false}));
        assert_eq!(kind(check(json!({"username": "bob"}))), "Unauthorized", "{way}");
        assert_eq!(kind(check(json!({"username": "bob", "password": "secret"}))), "Unauthorized", "{way}");
        change(json!({"enabled": true, "password": "old"}));
    }
}

#[test]
fn guesses_by_a_plug_in_lock_the_name() {
    let server = server();
    let user = json!({"username": "eve", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    let wrong = json!({"username": "eve", "password": "x"});
    let mut kinds = (0..21).map(|_| kind(ask(&server, "a/async", "check_user_valid", &wrong)));
    assert!(kinds.any(|kind| kind == "Busy"));
    let right = json!({"username": "eve", "password": "secret"});
    assert_eq!(kind(ask(&server, "a/async", "check_user_valid", &right)), "Busy");
    let log_in =
        server.send("POST", "/api/auth/", &[("content-type", "application/json")], right.to_string().as_bytes());
    assert_eq!(log_in.summary(), "429 locked_out");
}

#[test]
fn clients_live_from_add_to_delete() {
    let server = server();
    for (index, way) in WAYS.into_iter().enumerate() {
        let ask = |question: &str, arguments: Value| ask(&server, way, question, &arguments);
        let id = format!("app{index}");
        let named = || json!({ "client_id": id });
        let client = json!({
            "client_id": id, "name": "App", "confidential": true, "client_secret": "s".repeat(40), "redirect_uri": ["https://x/"],
            "authorization_type": ["code"], "scope": ["g_profile"], "colour": "red",
        });
        assert_eq!(ask("is_client_valid", json!({"client": client, "add": true})), Ok(json!([])), "{way}");
        assert!(ask("add_client", json!({ "client": client })).is_ok(), "{way}");
        let bad = json!({"client_id": id, "redirect_uri": ["#"], "scope": ["no"]});
        let errors = ask("is_client_valid", json!({"client": bad, "add": true})).unwrap();
        assert_eq!(errors.as_array().unwrap().len(), 3, "{way} {errors}");
        assert_eq!(kind(ask("add_client", json!({ "client": client }))), "Parameter", "{way}");

        let shown = json!({
            "client_id": id, "name": "App", "description": "", "confidential": true, "redirect_uri": ["https://x/"],
            "authorization_type": ["code"], "scope": ["g_profile"], "colour": "red", "enabled": true, "source": "database",
        });
        assert_eq!(ask("get_client", named()), Ok(shown.clone()), "{way}");
        assert_eq!(ask("get_client_list", json!({ "pattern": id })), Ok(json!([shown])), "{way}");

        let check = |secret: Value| ask("check_client_valid", json!({"client_id": id, "password": secret}));
        assert_eq!(check(json!("s".repeat(40))).unwrap(), json!({ "client": shown }), "{way}");
        assert_eq!(check(json!(null)).unwrap(), json!({ "client": shown }), "{way}");
        assert_eq!(kind(check(json!("x"))), "Unauthorized", "{way}");
        assert_eq!(kind(ask("check_client_valid", json!({"client_id": "none", "password": "x"}))), "NotFound", "{way}");
        let set = |client: Value| ask("set_client", json!({"client_id": id, "client": client}));
        set(json!({"enabled": false, "password": "p"})).unwrap();
        assert_eq!(kind(check(json!("s".repeat(40)))), "Unauthorized", "{way}");
        set(json!({"enabled": true, "colour": null})).unwrap();
        assert_eq!(check(json!("p")).unwrap()["client"]["colour"], json!(null), "{way}");
        let errors = ask("is_client_valid", json!({"client_id": id, "client": {"scope": ["no"]}})).unwrap();
        assert_eq!(errors, json!(["scope: there is no scope `no`"]), "{way}");

        assert!(ask("delete_client", named()).is_ok(), "{way}");
        assert_eq!(kind(ask("delete_client", named())), "NotFound", "{way}");
        assert_eq!(kind(ask("set_client", json!({"client_id": id, "client": {}}))), "NotFound", "{way}");
    }
}

#[test]
fn scopes_come_with_whether_they_are_granted() {
    let server = server();
    let user = json!({"username": "bob", "scope": ["g_profile", "otp"]});
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    for client in [json!({"client_id": "app", "name": "App"}), json!({"client_id": "off", "enabled": false})] {
        assert_eq!(server.admin("POST", "/api/client/", Some(&client)).status, 200);
    }
    for way in WAYS {
        let ask = |arguments: Value| ask(&server, way, "get_client_granted_scopes", &arguments);
        let scopes = json!(["otp", "g_admin", "none"]);
        let granted = ask(json!({"client_id": "app", "username": "BOB", "scope_list": scopes}));
        let otp = json!({
            "name": "otp", "display_name": "OTP", "description": "", "password_required": true, "granted": false,
        });
        let expected = json!({"client": {"client_id": "app", "name": "App"}, "scope": [otp]});
        assert_eq!(granted, Ok(expected), "{way}");
        assert_eq!(kind(ask(json!({"client_id": "off", "username": "bob"}))), "NotFound", "{way}");
        assert_eq!(kind(ask(json!({"client_id": "none", "username": "bob", "scope_list": []}))), "NotFound", "{way}");
        assert_eq!(kind(ask(json!({"client_id": "app", "username": "nobody", "scope_list": []}))), "NotFound", "{way}");
    }
}

#[test]
fn some_is_answered_at_once_without_any_right() {
    let config = "external_url = \"https://x.org\"\nhash_algorithm = \"SHA512\"\nlogin_url = \"in/\"";
    let server = Setup::new().libraries(&["asks"]).c_library("asks_c").config(config).start();
    server.add("asks_nothing", "a", &json!({}));
    server.add("asks_c", "c", &json!({}));
    for way in ["a/async", "a/short", "c/wait", "c/short"] {
        let login = json!({"client_id": "a b", "scope_list": ["x", "y"], "callback_url": "https://x.org/", "parameters": {"z": "&"}});
        let url = "https://x.org/in/?client_id=a%20b&scope=x%20y&callback_url=https%3A%2F%2Fx.org%2F&z=%26";
        assert_eq!(ask(&server, way, "get_login_url", &login), Ok(url.into()), "{way}");
        let bad = json!({"parameters": {"scope": "x"}});
        assert_eq!(kind(ask(&server, way, "get_login_url", &bad)), "Parameter", "{way}");
        let hash = ask(&server, way, "generate_hash", &json!({"data": "x"})).unwrap();
        assert!(hash.as_str().unwrap().starts_with("{SHA512}"), "{way} {hash}");
        let (instance, _) = way.split_once('/').unwrap();
        let url = ask(&server, way, "get_plugin_external_url", &json!({}));
        assert_eq!(url, Ok(format!("https://x.org/api/{instance}").into()), "{way}");
        let info = ask(&server, way, "host_info", &json!({})).unwrap();
        let url = if way.starts_with('a') { &info[0] } else { &info["external_url"] };
        assert_eq!(url, "https://x.org", "{way}");
    }
}

#[test]
fn wrong_guesses_count_against_who_sends_them() {
    let config = "trusted_proxies = [\"127.0.0.1\"]\n[login]\nname_failures_max = 0\npeer_failures_max = 3";
    let server = Setup::new().libraries(&["asks"]).c_library("asks_c").config(config).start();
    server.add("asks", "a", &json!({}));
    server.add("asks_c", "c", &json!({}));
    let app = json!({"client_id": "app", "client_secret": "secret"});
    assert_eq!(server.admin("POST", "/api/client/", Some(&app)).status, 200);
    let user = json!({"username": "bob", "password": "secret"});
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    for (index, way) in WAYS.into_iter().enumerate() {
        for (place, question, name) in [(0, "check_client_valid", "client_id"), (1, "check_user_valid", "username")] {
            let guess = |address: &str, whom: &str, password: &str| {
                let headers = [("content-type", "application/json"), ("x-forwarded-for", address)];
                let body = json!({name: whom, "password": password}).to_string();
                let reply = server.send("POST", &format!("/api/{way}/{question}"), &headers, body.as_bytes());
                reply.body.split(' ').next().unwrap().to_owned()
            };
            let busy = if way.starts_with('a') { "Busy" } else { "13" };
            let (one, other) =
                (format!("192.0.2.{}", 10 * index + place), format!("198.51.100.{}", 10 * index + place));
            let known = if place == 0 { "app" } else { "bob" };
            assert_ne!(guess(&one, known, "wrong"), busy, "{way} {question}");
            assert_ne!(guess(&one, "nobody", "wrong"), busy, "{way} {question}");
            assert_eq!(guess(&one, known, "wrong"), busy, "{way} {question}");
            assert_eq!(guess(&one, known, "secret"), busy, "{way} {question}: the right one is told nothing either");
            assert_eq!(guess(&other, known, "secret"), if busy == "13" { "0" } else { "Ok" }, "{way} {question}");
        }
    }
}

#[test]
fn nothing_blocks_where_nothing_may() {
    let server = server();
    for way in ["a/short", "c/short"] {
        assert_eq!(kind(ask(&server, way, "get_user", &json!({"username": "x"}))), "WouldBlock", "{way}");
    }
}

#[test]
fn arguments_that_nobody_knows_are_refused() {
    let server = server();
    let refused = |question: &str, arguments: &Value| ask(&server, "c/wait", question, arguments).unwrap_err();
    let misspelt = json!({"username": 1, "scopes": ["g_admin"]});
    assert_eq!(
        refused("check_user_valid", &misspelt),
        (
            "Parameter".to_owned(),
            "username: expected a text, found a number; scopes: there is no such argument".to_owned()
        )
    );
    assert_eq!(refused("get_user", &json!([])).0, "Parameter");
    assert_eq!(
        refused("add_user", &json!({})),
        ("Parameter".to_owned(), "user: missing; username: missing".to_owned())
    );
    let not_utf_8 = server.send("POST", "/api/c/wait/get_user", &[], b"\xff");
    assert_eq!(not_utf_8.body, "3 the text of the arguments is text that is not UTF-8");
}

/// A question for each right that has any.
fn questions() -> [(&'static str, &'static str, Value); 5] {
    [
        ("users:read", "get_user_list", json!({})),
        ("users:write", "set_user", json!({"username": "nobody", "user": {}})),
        ("clients:read", "get_client_list", json!({})),
        ("clients:write", "set_client", json!({"client_id": "none", "client": {}})),
        ("grants", "get_client_granted_scopes", json!({"client_id": "none", "username": "nobody"})),
    ]
}

#[test]
fn a_right_that_was_not_granted_is_denied_counted_and_logged() {
    let server = server();
    let create = |module: &str, name: &str, grants: Value| {
        let body = json!({"module": module, "name": name, "grants": grants});
        server.admin("POST", "/api/mod/plugin/", Some(&body))
    };
    for (index, (right, allowed, arguments)) in questions().into_iter().enumerate() {
        for (module, ways) in [("asks", ["async", "blocking"]), ("asks_c", ["wait", "then"])] {
            let name = format!("{module}{index}");
            assert_eq!(create(module, &name, json!([right])).status, 200);
            for way in ways.map(|way| format!("{name}/{way}")) {
                assert_ne!(kind(ask(&server, &way, allowed, &arguments)), "Denied", "{way}");
                for (other, question, arguments) in questions() {
                    let denied = kind(ask(&server, &way, question, &arguments)) == "Denied";
                    assert_eq!(denied, other != right, "{way} {question} with {right}");
                }
            }
        }
    }
    // A module that says it needs nothing gets nothing, and one that says it needs all may be granted less.
    assert_eq!(create("asks_nothing", "none", json!(null)).status, 200);
    assert_eq!(create("asks_nothing", "more", json!(["users:read"])).summary(), "400 invalid");
    assert_eq!(create("asks", "most", json!(["all"])).summary(), "400 invalid");
    assert_eq!(create("asks_all", "all", json!(null)).status, 200);
    assert_eq!(create("asks_all", "all-said", json!(["all"])).status, 200);
    assert_eq!(create("asks_all", "few", json!(["users:read"])).status, 200);
    assert_eq!(create("asks_all", "wrong", json!(["users"])).summary(), "400 invalid");
    for (right, question, arguments) in questions() {
        let denied = |name: &str| kind(ask(&server, &format!("{name}/async"), question, &arguments)) == "Denied";
        assert!(denied("none") && !denied("all") && !denied("all-said"), "{question}");
        assert_eq!(denied("few"), right != "users:read", "{question}");
    }
    let rights = |name: &str| server.admin("GET", &format!("/api/mod/plugin/{name}"), None).json()["rights"].clone();
    assert_eq!(rights("none"), json!([]));
    assert_eq!(rights("all"), json!(["all"]));
    assert_eq!(rights("few"), json!(["users:read"]));
    let needed = json!(["users:read", "users:write", "clients:read", "clients:write", "grants", "well-known"]);
    server.add("asks", "needed", &json!({}));
    assert_eq!(rights("needed"), needed);
    server.wait_for_log("instance plugin/none was denied: it lacks the right `grants`");
    let metrics = server.admin("GET", "/metrics", None).body;
    let counted = |line: &str| metrics.lines().any(|found| found == line);
    assert!(counted(r#"porth_callbacks_denied_total{instance="none",right="users:write"} 1"#), "{metrics}");
    assert!(counted(r#"porth_callbacks_denied_total{instance="asks_c0",right="grants"} 2"#), "{metrics}");
    assert!(!metrics.contains(r#"denied_total{instance="all""#), "{metrics}");

    // What is granted later counts at once; what is taken away, too.
    let edit = |grants: Value| {
        let body = json!({"display_name": "", "parameters": {}, "grants": grants});
        assert_eq!(server.admin("PUT", "/api/mod/plugin/few", Some(&body)).status, 200);
    };
    let list = || kind(ask(&server, "few/async", "get_client_list", &json!({})));
    edit(json!(["clients:read"]));
    wait_until("the right", || list() == "[]");
    edit(json!([]));
    wait_until("its loss", || list() == "Denied");
}

#[test]
fn well_known_names_are_the_instances_and_one_has_the_root() {
    let config = "root_issuer = \"b\"";
    let server = Setup::new().libraries(&["asks"]).c_library("asks_c").config(config).start();
    let well_known = json!({"well_known": "porth-asks"});
    for name in ["a", "b"] {
        server.add("asks", name, &well_known);
    }
    server.add("asks_c", "c", &json!({}));
    let get = |path: &str| server.get(path);
    assert_eq!(get("/.well-known/porth-asks/api/a").body, "a /.well-known/porth-asks/api/a");
    assert_eq!(get("/.well-known/porth-asks/api/b").body, "b /.well-known/porth-asks/api/b");
    assert_eq!(get("/.well-known/porth-asks").body, "b /.well-known/porth-asks");
    assert_eq!(get("/.well-known/asks-in-c/api/c").body, "in C");
    for nowhere in
        ["/.well-known/porth-asks/api/c", "/.well-known/asks-in-c", "/.well-known/other/api/a", "/.well-known/"]
    {
        assert_eq!(get(nowhere).summary(), "404 not_found", "{nowhere}");
    }
    assert_eq!(get("/.well-known/porth-asks/api/nobody").summary(), "404 not_found");
    assert_eq!(get("/.well-known/porth-asks/api/%61").summary(), "404 not_found");
    assert_eq!(get("/.well-known/..%2f/api/a").summary(), "400 bad_path");
    assert_eq!(server.send("POST", "/.well-known/porth-asks", &[], b"").summary(), "405 method_not_allowed");
    // It goes with its instance, and it is no way around the prefix of another.
    server.admin("PUT", "/api/mod/plugin/b/disable", None);
    wait_until("the end of b", || get("/.well-known/porth-asks").summary() == "503 instance_not_running");
    let denied = json!({"module": "asks", "name": "d", "parameters": well_known, "grants": []});
    let denied = server.admin("POST", "/api/mod/plugin/", Some(&denied));
    assert_eq!(denied.summary(), "500 instance_init_failed");
    for bad in ["", "a/b", "..%2f", "{x}", "é"] {
        assert_eq!(
            server.try_add("asks", "e", &json!({"well_known": bad})).summary(),
            "500 instance_init_failed",
            "{bad}"
        );
    }
}

#[test]
fn users_and_clients_of_every_back_end_are_told_alike() {
    let server = Setup::new().libraries(&["asks", "mock"]).c_library("asks_c").start();
    server.add("asks", "a", &json!({}));
    server.add("asks_c", "c", &json!({}));
    let create = |kind: &str, body: Value| server.admin("POST", &format!("/api/mod/{kind}/"), Some(&body)).status;
    assert_eq!(create("user", json!({"module": "mock", "name": "staff", "readonly": true, "order_rank": 9})), 200);
    assert_eq!(create("client", json!({"module": "mock", "name": "apps", "order_rank": 9})), 200);
    let middleware = json!({"module": "mock", "name": "m", "parameters": {"middleware": "seen"}});
    assert_eq!(create("user_middleware", middleware), 200);
    for way in WAYS {
        let ask = |question: &str, arguments: Value| ask(&server, way, question, &arguments);
        let user = ask("get_user", json!({"username": "USER1"})).unwrap();
        assert_eq!((&user["source"], &user["middleware"]), (&json!("staff"), &json!("seen-user1")), "{way}");
        let profile = ask("get_user_profile", json!({"username": "user1"})).unwrap();
        assert_eq!(profile["middleware"], "seen-user1-profile", "{way}");
        let listed = ask("get_user_list", json!({"pattern": "user2"})).unwrap();
        assert_eq!(listed[0]["username"], "user2", "{way}");
        let check = |password: &str| ask("check_user_valid", json!({"username": "user1", "password": password}));
        assert_eq!(check("password").unwrap()["user"]["username"], "user1", "{way}");
        assert_eq!(kind(check("wrong")), "Unauthorized", "{way}");
        let (code, detail) = ask("set_user", json!({"username": "user1", "user": {"name": "x"}})).unwrap_err();
        assert!(code == "Parameter" && detail.contains("can only be read"), "{way} {detail}");
        let errors = ask("is_user_valid", json!({"username": "user1", "user": {"name": "x"}})).unwrap();
        assert_eq!(errors, json!(["source: the back end `staff` can only be read"]), "{way}");
        let client = ask("check_client_valid", json!({"client_id": "client3_id", "password": "password"})).unwrap();
        assert_eq!(client["client"]["source"], "apps", "{way}");
    }
}
