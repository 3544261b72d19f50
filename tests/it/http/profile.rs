//! What people see and change of themselves, and administrators of them.

use serde_json::{Value, json};

use super::identity::{Browser, errors, server};
use crate::support::server::{Server, Setup};

const PROFILE: &str = "[profile]\nproperties_shown = ['badge']\nproperties_writable = ['phone']\n";

fn put(browser: &mut Browser<'_>, path: &str, body: &Value) -> String {
    browser.send("PUT", path, Some(body), &[]).summary()
}

/// A browser in which somebody has logged in.
fn browser<'a>(server: &'a Server, username: &str) -> Browser<'a> {
    let mut browser = Browser::new(server);
    assert_eq!(browser.log_in(username, "secret").status, 200);
    browser
}

#[test]
fn people_change_what_is_theirs() {
    let server = server(Setup::new().config(PROFILE));
    let properties = json!({"badge": 7, "note": "late", "email": "bob@example.org"});
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&properties)).status, 200);
    let mut bob = browser(&server, "bob");
    let mut shown = json!({
        "username": "bob", "name": "", "email": "bob@example.org", "scope": ["g_profile"], "enabled": true, "badge": 7,
    });
    assert_eq!(bob.get("/api/profile/").json(), shown);
    assert_eq!(bob.get("/api/profile_list/").json(), json!([shown]));

    let mut change = shown.clone();
    (change["name"], change["phone"]) = (json!("Bob"), json!(["1"]));
    assert_eq!(put(&mut bob, "/api/profile/", &change), "200");
    (shown["name"], shown["phone"]) = (json!("Bob"), json!(["1"]));
    assert_eq!(bob.get("/api/profile/").json(), shown);
    assert_eq!(server.admin("GET", "/api/user/bob", None).json()["note"], "late");
    let bad = json!({"scope": ["g_admin"], "enabled": false, "badge": 8, "note": "x", "name": "B"});
    let refused = errors(&bob.send("PUT", "/api/profile/", Some(&bad), &[]));
    for field in ["scope", "enabled", "badge", "note"] {
        assert!(refused.contains(&format!("{field}: only an administrator")), "{refused}");
    }
    assert_eq!(bob.get("/api/profile/").json(), shown);
    assert_eq!(put(&mut bob, "/api/profile/", &json!({"phone": null})), "200");
    assert_eq!(bob.get("/api/profile/").json()["phone"], Value::Null);
    assert_eq!(bob.send("DELETE", "/api/profile/", None, &[]).summary(), "403 forbidden");
}

#[test]
fn a_password_changes_for_who_knows_the_old_one() {
    let server = server(Setup::new());
    let mut bob = browser(&server, "bob");
    let mut change =
        |old: &str, new: &str| put(&mut bob, "/api/profile/password", &json!({"old_password": old, "password": new}));
    assert_eq!(change("wrong", "new"), "400 invalid");
    assert_eq!(change("secret", ""), "400 invalid");
    assert_eq!(change("secret", "new"), "200");
    assert_eq!(change("secret", "other"), "400 invalid");
    let mut again = Browser::new(&server);
    assert_eq!(again.log_in("bob", "secret").status, 401);
    assert_eq!(again.log_in("bob", "new").status, 200);
    // Who got hold of a session cannot guess for ever.
    let mut last = String::new();
    for _ in 0..20 {
        last = change("guess", "x");
    }
    assert_eq!(last, "429 locked_out");
    assert_eq!(change("new", "x"), "429 locked_out");
}

#[test]
fn any_of_several_passwords_logs_in() {
    let server = server(Setup::new());
    let list = json!({"password": ["one", "two"]});
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&list)).summary(), "400 invalid");
    let several = json!({"multiple_passwords": true});
    for kind in ["user", "client"] {
        assert_eq!(server.admin("PUT", &format!("/api/mod/{kind}/database"), Some(&several)).status, 200);
    }
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&list)).status, 200);
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&json!({"password": ["", "three"]}))).status, 200);
    for (password, status) in [("one", 200), ("two", 401), ("three", 200), ("secret", 401)] {
        assert_eq!(Browser::new(&server).log_in("bob", password).status, status, "{password}");
    }
    let app = json!({"client_id": "several", "password": ["one", "two"]});
    assert_eq!(server.admin("POST", "/api/client/", Some(&app)).status, 200);
    assert_eq!(server.admin("PUT", "/api/client/several", Some(&json!({"password": [1]}))).summary(), "400 invalid");
}

#[test]
fn another_password_ends_the_other_sessions() {
    let server = server(Setup::new());
    let (mut here, mut there) = (browser(&server, "bob"), browser(&server, "bob"));
    let change = json!({"old_password": "secret", "password": "new"});
    assert_eq!(put(&mut here, "/api/profile/password", &change), "200");
    assert_eq!(here.get("/api/profile/").status, 200);
    assert_eq!(there.get("/api/profile/").status, 401);
    assert_eq!(there.log_in("bob", "new").status, 200);
    // Of an administrator, all.
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&json!({"name": "Bob"}))).status, 200);
    assert_eq!(here.get("/api/profile/").status, 200);
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&json!({"password": "newer"}))).status, 200);
    for browser in [&mut here, &mut there] {
        assert_eq!(browser.get("/api/profile/").status, 401);
        assert_eq!(browser.log_in("bob", "newer").status, 200);
    }
    // Who acts for somebody need not say the old one; what is no text is wrong all the same.
    let odd = json!({"password": "newest", "old_password": ["newer"]});
    assert_eq!(server.admin("PUT", "/api/delegate/bob/profile/password", Some(&odd)).summary(), "400 invalid");
    assert_eq!(
        server.admin("PUT", "/api/delegate/bob/profile/password", Some(&json!({"password": "newest"}))).status,
        200
    );
    assert_eq!(here.get("/api/profile/").status, 401);
}

#[test]
fn sessions_are_listed_and_ended() {
    let server = server(Setup::new());
    let (mut bob, mut other) = (browser(&server, "bob"), browser(&server, "bob"));
    other.log_in("anna", "secret");
    let sessions = bob.get("/api/profile/session").json();
    assert_eq!(sessions.as_array().unwrap().len(), 2, "{sessions}");
    let current: Vec<_> = sessions.as_array().unwrap().iter().map(|session| session["current"].clone()).collect();
    assert_eq!(current, [true, false]);
    assert_eq!(sessions[0]["issued_for"], "127.0.0.1");
    assert_eq!(bob.get("/api/profile/session?limit=1&offset=1").json(), json!([sessions[1]]));
    let path = format!("/api/profile/session/{}", sessions[1]["session_hash"].as_str().unwrap());
    assert_eq!(bob.send("DELETE", &path, None, &[]).status, 200);
    assert_eq!(bob.send("DELETE", &path, None, &[]).summary(), "404 not_found");
    assert_eq!(other.users(), "anna", "others in the session stay");
    let own = format!("/api/profile/session/{}", sessions[0]["session_hash"].as_str().unwrap());
    assert_eq!(other.send("DELETE", &own, None, &[]).summary(), "404 not_found", "it is not hers");
    assert_eq!(bob.send("DELETE", &own, None, &[]).status, 200);
    assert_eq!(bob.users(), "401 unauthorized");
}

#[test]
fn people_grant_what_they_have() {
    let server = server(Setup::new());
    let client = json!({"client_id": "app", "name": "App"});
    assert_eq!(server.admin("POST", "/api/client/", Some(&client)).status, 200);
    let mut bob = browser(&server, "bob");
    let grant = |granted: bool| {
        json!({
            "client": {"client_id": "app", "name": "App"},
            "scope": [{
                "name": "g_profile", "display_name": "One's own profile", "description": "", "password_required": true,
                "granted": granted,
            }],
        })
    };
    assert_eq!(bob.get("/api/auth/grant/app/g_profile%20g_admin").json(), grant(false));
    assert_eq!(put(&mut bob, "/api/auth/grant/app/", &json!({"scope": "g_profile"})), "200");
    assert_eq!(bob.get("/api/auth/grant/app/g_profile/").json(), grant(true));
    let listed = bob.get("/api/profile/grant").json();
    assert_eq!((&listed[0]["client_id"], &listed[0]["scope"]), (&json!("app"), &grant(true)["scope"]));
    assert_eq!(put(&mut bob, "/api/auth/grant/app/", &json!({"scope": "g_profile g_admin"})), "400 invalid");
    assert_eq!(put(&mut bob, "/api/auth/grant/app/", &json!({})), "400 invalid");
    assert_eq!(put(&mut bob, "/api/auth/grant/no/", &json!({"scope": ""})), "404 not_found");
    for path in ["/api/auth/grant/no/g_profile", "/api/auth/grant/app/g_admin"] {
        assert_eq!(bob.get(path).summary(), "404 not_found", "{path}");
    }
    assert_eq!(put(&mut bob, "/api/auth/grant/app/", &json!({"scope": ""})), "200");
    assert_eq!(bob.get("/api/profile/grant").json(), json!([]));
}

#[test]
fn people_see_which_plug_ins_there_are() {
    let server = server(Setup::new().libraries(&["hello"]));
    server.add("hello", "greeter", &json!({"greeting": "Hello"}));
    server.add("hello", "off", &json!({"greeting": "Hello"}));
    server.admin("PUT", "/api/mod/plugin/off/disable", None);
    let shown = json!([{"module": "hello", "name": "greeter", "display_name": ""}]);
    assert_eq!(browser(&server, "bob").get("/api/profile/plugin").json(), shown);
}

#[test]
fn administrators_act_for_others() {
    let server = server(Setup::new());
    let (mut anna, mut bob) = (browser(&server, "anna"), browser(&server, "bob"));
    for base in ["/api/delegate/bob/profile", "/api/delegate/Bob"] {
        assert_eq!(anna.get(base).json()["username"], "bob");
        assert_eq!(put(&mut anna, base, &json!({"name": base})), "200");
        assert_eq!(bob.get("/api/profile").json()["name"], base);
        assert_eq!(bob.get(base).summary(), "401 unauthorized");
        for list in ["grant", "session", "plugin"] {
            assert_eq!(anna.get(&format!("{base}/{list}")).status, 200, "{list}");
        }
    }
    assert_eq!(anna.get("/api/delegate/nobody/profile").summary(), "404 not_found");
    assert_eq!(put(&mut anna, "/api/delegate/bob/profile/password", &json!({"password": "new"})), "200");
    assert_eq!(Browser::new(&server).log_in("bob", "new").status, 200);
    let session = anna.get("/api/delegate/bob/session").json()[0]["session_hash"].as_str().unwrap().to_owned();
    assert_eq!(anna.send("DELETE", &format!("/api/delegate/bob/session/{session}"), None, &[]).status, 200);
    assert_eq!(bob.users(), "401 unauthorized");
}

#[test]
fn people_go_as_the_configuration_says() {
    for (delete, left) in [("disable", "200"), ("delete", "404 not_found")] {
        let server = server(Setup::new().config(&format!("[profile]\ndelete = '{delete}'\n")));
        assert_eq!(server.get("/config").json()["delete_profile"], true);
        let mut bob = browser(&server, "bob");
        assert_eq!(bob.send("DELETE", "/api/profile/", None, &[]).status, 200);
        assert_eq!(bob.get("/api/profile/").summary(), "401 unauthorized");
        assert_eq!(server.admin("GET", "/api/user/bob", None).summary(), left);
    }
}

#[test]
fn limits_of_log_ins_are_configured() {
    let config = "[login]\nname_failures_max = 2\nname_lock_s = 60\nsession_lifetime_s = 60\n";
    let server = server(Setup::new().config(config));
    let mut bob = browser(&server, "bob");
    let session = bob.get("/api/profile/session").json()[0].clone();
    let lifetime = session["expiration"].as_i64().unwrap() - session["last_login"].as_i64().unwrap();
    assert_eq!(lifetime, 60);
    assert_eq!(bob.log_in("bob", "wrong").status, 401);
    let reply = bob.log_in("bob", "wrong");
    assert_eq!(reply.summary(), "429 locked_out");
    let seconds: u32 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((50..=60).contains(&seconds), "{seconds}");
}

#[test]
fn administrators_register_others_with_schemes() {
    let server = server(Setup::new().libraries(&["mock"]));
    let scheme = json!({
        "module": "mock", "name": "code", "parameters": {"mock-value": "42"}, "allow_user_register": false,
    });
    assert_eq!(server.admin("POST", "/api/mod/scheme/", Some(&scheme)).status, 200);
    let asks = json!({"scheme": {"a": [{"scheme_name": "code"}]}});
    assert_eq!(server.admin("POST", "/api/scope/", Some(&json!({"name": "safe"}))).status, 200);
    assert_eq!(server.admin("PUT", "/api/scope/safe", Some(&asks)).status, 200);
    assert_eq!(server.admin("PUT", "/api/user/bob", Some(&json!({"scope": ["g_profile", "safe"]}))).status, 200);
    let (mut anna, mut bob) = (browser(&server, "anna"), browser(&server, "bob"));
    let body = json!({"scheme_type": "mock", "scheme_name": "code", "value": {"register": true}});
    let register = |browser: &mut Browser<'_>, base: &str| {
        browser.send("POST", &format!("{base}/scheme/register/"), Some(&body), &[]).status
    };
    assert_eq!(register(&mut bob, "/api/profile"), 403);
    assert_eq!(register(&mut bob, "/api/delegate/bob/profile"), 401);
    assert_eq!(register(&mut anna, "/api/delegate/bob/profile"), 200);
    let listed = anna.get("/api/delegate/bob/profile/scheme").json();
    assert!(listed[0]["scheme_name"] == "code" || listed[0]["name"] == "code", "{listed}");
    let offers = bob.get("/api/auth/scheme/?scope=safe").json();
    assert_eq!(offers["safe"]["schemes"]["a"][0]["scheme_registered"], true, "{offers}");
}

#[test]
fn whoever_keeps_people_they_have_a_profile() {
    let server = server(Setup::new().libraries(&["mock"]));
    for (kind, module) in [
        ("user", json!({"module": "mock", "name": "staff", "order_rank": 9, "parameters": {"password": "secret"}})),
        ("user_middleware", json!({"module": "mock", "name": "mark", "parameters": {"middleware": "m"}})),
    ] {
        let reply = server.admin("POST", &format!("/api/mod/{kind}/"), Some(&module));
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let client = json!({"client_id": "app"});
    assert_eq!(server.admin("POST", "/api/client/", Some(&client)).status, 200);
    let mut user = browser(&server, "user1");
    let profile = user.get("/api/profile/").json();
    assert_eq!((&profile["username"], &profile["middleware"]), (&json!("user1"), &json!("m-user1-profile")));
    assert_eq!(user.get("/api/profile_list/").json(), json!([profile]));
    assert_eq!(put(&mut user, "/api/profile/", &json!({"name": "One", "middleware": "m-user1-profile"})), "200");
    assert_eq!(user.get("/api/profile/").json()["name"], "One");
    assert_eq!(put(&mut user, "/api/auth/grant/app", &json!({"scope": "g_profile"})), "200");
    assert_eq!(user.get("/api/profile/grant").json()[0]["client_id"], "app");
    assert_eq!(user.get("/api/profile/session").json()[0]["current"], true);
    let change = json!({"old_password": "secret", "password": "new"});
    assert_eq!(put(&mut user, "/api/profile/password", &change), "200");
    assert_eq!(Browser::new(&server).log_in("user1", "new").status, 200);

    // `admin` of the mock administers, and so does a key of theirs, as long as the back end runs.
    let mut admin = browser(&server, "admin");
    let key = admin.send("POST", "/api/key/", None, &[]).json()["key"].as_str().unwrap().to_owned();
    let authorization = format!("token {key}");
    let asks = || server.send("GET", "/api/delegate/user1/profile", &[("authorization", &authorization)], b"").status;
    assert_eq!(asks(), 200);
    assert_eq!(server.admin("PUT", "/api/mod/user/staff/disable", None).status, 200);
    assert_ne!(asks(), 200);
}
