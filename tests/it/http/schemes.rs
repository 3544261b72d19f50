//! Ways to authenticate beside the password, by REST, with the mock scheme.

use serde_json::{Value, json};

use super::identity::Browser;
use crate::support::server::{Reply, Server, Setup};

/// `anna` has the scope `safe`, which asks for the scheme `code` beside the password, and `open`, which asks for any
/// scheme of two and no password. Her password is `secret`.
fn server() -> Server {
    let server = Setup::new().libraries(&["mock"]).start();
    add_scheme(&server, "code", &json!({}));
    add_scheme(&server, "other", &json!({"display_name": "The other"}));
    let safe = json!({"name": "safe", "scheme": {"2": [{"scheme_name": "code"}]}});
    assert_eq!(server.admin("POST", "/api/scope/", Some(&safe)).status, 200);
    let schemes = json!([{"scheme_name": "code"}, {"scheme_name": "other"}]);
    let open = json!({
        "name": "open", "display_name": "Open", "password_required": false, "scheme": {"any": schemes},
        "scheme_required": {"any": 1},
    });
    assert_eq!(server.admin("POST", "/api/scope/", Some(&open)).status, 200);
    let scopes = json!(["g_profile", "safe", "open"]);
    let anna = json!({"username": "anna", "password": "secret", "scope": scopes});
    assert_eq!(server.admin("POST", "/api/user/", Some(&anna)).status, 200);
    server
}

fn add_scheme(server: &Server, name: &str, more: &Value) {
    let mut scheme = json!({"module": "mock", "name": name, "parameters": {"mock-value": "42"}});
    scheme.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(server.admin("POST", "/api/mod/scheme/", Some(&scheme)).status, 200);
}

/// Sends something of a scheme.
fn of(
    browser: &mut Browser<'_>,
    method: &str,
    path: &str,
    username: Option<&str>,
    scheme: &str,
    value: Value,
) -> Reply {
    let body = json!({"username": username, "scheme_type": "mock", "scheme_name": scheme, "value": value});
    browser.send(method, path, Some(&body), &[])
}

fn register(browser: &mut Browser<'_>, scheme: &str, value: Value) -> Reply {
    of(browser, "POST", "/api/profile/scheme/register/", None, scheme, value)
}

fn prove(browser: &mut Browser<'_>, username: Option<&str>, value: Value) -> String {
    of(browser, "POST", "/api/auth/", username, "code", value).summary()
}

/// Of `code` in the scope `safe`: whether it is authenticated and registered.
fn code_of_safe(browser: &mut Browser<'_>) -> (Value, Value) {
    let offers = browser.get("/api/auth/scheme/?scope=safe").json();
    let code = &offers["safe"]["schemes"]["2"][0];
    (code["scheme_authenticated"].clone(), code["scheme_registered"].clone())
}

#[test]
fn a_user_registers_and_logs_in_by_a_scheme() {
    let server = server();
    let mut anna = Browser::new(&server);
    assert_eq!(register(&mut anna, "code", json!({"register": true})).summary(), "401 unauthorized");
    assert_eq!(prove(&mut anna, Some("anna"), json!({"code": "42"})), "401 unauthorized", "not registered");
    assert_eq!(anna.cookie, None);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    assert_eq!(code_of_safe(&mut anna), (json!(false), json!(false)));
    assert_eq!(register(&mut anna, "code", json!({"register": 1})).summary(), "400 invalid");
    assert_eq!(register(&mut anna, "nothing", json!({"register": true})).summary(), "404 not_found");
    assert_eq!(register(&mut anna, "code", json!({"register": true})).status, 200);
    let registered = of(&mut anna, "PUT", "/api/profile/scheme/register/", None, "code", Value::Null);
    assert_eq!((registered.status, registered.json()), (200, json!(true)));
    assert_eq!(code_of_safe(&mut anna), (json!(false), json!(true)));

    for (value, answer) in
        [(json!({"code": "41"}), "401 unauthorized"), (json!({}), "401 unauthorized"), (json!({"code": "42"}), "200")]
    {
        assert_eq!(prove(&mut anna, Some("anna"), value), answer);
    }
    assert_eq!(code_of_safe(&mut anna), (json!(true), json!(true)));
    assert_eq!(prove(&mut anna, Some("nobody"), json!({"code": "42"})), "401 unauthorized");

    // With a session that began with the scheme.
    let mut other = Browser::new(&server);
    assert_eq!(prove(&mut other, Some("ANNA"), json!({"code": "42"})), "200");
    assert_eq!(other.get("/api/profile_list/").json()[0]["username"], "anna");
    let offers = other.get("/api/auth/scheme/?scope=open%20safe").json();
    assert_eq!(offers["safe"]["password_authenticated"], false);
    assert_eq!(other.get("/api/profile/scheme/").summary(), "401 unauthorized", "without the password");

    assert_eq!(register(&mut anna, "code", json!({"register": false})).status, 200);
    assert_eq!(code_of_safe(&mut anna), (json!(true), json!(false)), "what was proved stays proved");
}

#[test]
fn a_scheme_can_say_who_it_is() {
    let server = server();
    let mut browser = Browser::new(&server);
    let trigger = "/api/auth/scheme/trigger/";
    assert_eq!(of(&mut browser, "POST", trigger, None, "code", Value::Null).json(), json!({"code": "42"}));
    assert_eq!(of(&mut browser, "POST", trigger, Some("anna"), "code", Value::Null).summary(), "401 unauthorized");
    assert_eq!(of(&mut browser, "POST", trigger, Some("nobody"), "code", Value::Null).summary(), "401 unauthorized");
    assert_eq!(of(&mut browser, "POST", trigger, None, "nothing", Value::Null).summary(), "404 not_found");
    assert_eq!(prove(&mut browser, None, json!({"username": "anna", "code": "1"})), "401 unauthorized");
    assert_eq!(prove(&mut browser, None, json!({"username": "nobody", "code": "42"})), "401 unauthorized");
    assert_eq!(prove(&mut browser, None, json!({"code": "42"})), "400 invalid");
    assert_eq!(prove(&mut browser, None, json!({"username": "Anna", "code": "42"})), "200");
    assert_eq!(browser.get("/api/profile_list/").json()[0]["username"], "anna");
    assert_eq!(browser.log_in("anna", "secret").status, 200);
    assert_eq!(register(&mut browser, "code", json!({"register": true})).status, 200);
    assert_eq!(of(&mut browser, "POST", trigger, Some("anna"), "code", Value::Null).json(), json!({"code": "42"}));
}

#[test]
fn what_is_offered_for_scopes() {
    let server = server();
    let mut anna = Browser::new(&server);
    let scheme = |name: &str, display_name: &str| {
        json!({
            "scheme_type": "mock", "scheme_name": name, "scheme_display_name": display_name,
            "scheme_authenticated": false, "scheme_registered": false,
        })
    };
    let mut open = json!({
        "password_required": false, "password_authenticated": false, "schemes": {"any": [scheme("code", ""),
        scheme("other", "The other")]}, "scheme_required": {"any": 1}, "display_name": "Open", "description": "",
        "available": false,
    });
    assert_eq!(anna.get("/api/auth/scheme/?scope=open").json(), json!({"open": open}));
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    open["available"] = true.into();
    open["password_authenticated"] = true.into();
    assert_eq!(anna.get("/api/auth/scheme/?scope=open").json(), json!({"open": open}));
    assert_eq!(anna.get("/api/auth/scheme/?scope=open%20nothing").summary(), "404 not_found");
    assert_eq!(anna.get("/api/auth/scheme/").summary(), "400 invalid");

    assert_eq!(server.admin("PUT", "/api/mod/scheme/other/disable", None).status, 200);
    let offers = anna.get("/api/auth/scheme/?scope=open").json();
    assert_eq!(offers["open"]["schemes"]["any"].as_array().unwrap().len(), 1);
    assert_eq!(register(&mut anna, "other", json!({"register": true})).summary(), "404 not_found");
}

#[test]
fn administrators_say_what_people_may() {
    let server = server();
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    let names = |anna: &mut Browser<'_>| {
        let schemes = anna.get("/api/profile/scheme/").json();
        let names = schemes.as_array().unwrap().iter().map(|scheme| scheme["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&mut anna), "code other");
    let set = |settings: Value| server.admin("PUT", "/api/mod/scheme/code", Some(&settings)).status;
    assert_eq!(set(json!({"allow_user_register": false})), 200);
    assert_eq!(register(&mut anna, "code", json!({"register": true})).summary(), "403 forbidden");
    assert_eq!(set(json!({"allow_user_register": true, "forbid_user_profile": true})), 200);
    assert_eq!(register(&mut anna, "code", json!({"register": true})).summary(), "403 forbidden");
    assert_eq!(names(&mut anna), "other");
    assert_eq!(set(json!({"forbid_user_profile": false, "max_use": 1, "expiration": 600})), 200);
    assert_eq!(register(&mut anna, "code", json!({"register": true})).status, 200);
    let schemes = anna.get("/api/profile/scheme/").json();
    let shown = &schemes[0];
    assert_eq!((&shown["can_use"], &shown["max_use"], &shown["module"]), (&json!(2), &json!(1), &json!("mock")));
}

#[test]
fn guesses_are_counted_apart_from_passwords() {
    let server = server();
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    assert_eq!(register(&mut anna, "code", json!({"register": true})).status, 200);
    for guess in 0..20 {
        // A password in between does not help.
        if guess % 10 == 5 {
            assert_eq!(anna.log_in("anna", "secret").status, 200);
        }
        let answer = prove(&mut anna, Some("anna"), json!({"code": guess.to_string()}));
        assert!(answer == "401 unauthorized" || guess == 19, "{guess}: {answer}");
    }
    assert_eq!(prove(&mut anna, Some("anna"), json!({"code": "42"})), "429 locked_out");
    assert_eq!(anna.log_in("anna", "secret").status, 200);
}

#[test]
fn a_name_given_anew_proves_nothing_old() {
    let server = server();
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    assert_eq!(register(&mut anna, "code", json!({"register": true})).status, 200);
    assert_eq!(prove(&mut anna, Some("anna"), json!({"code": "42"})), "200");
    assert_eq!(code_of_safe(&mut anna), (json!(true), json!(true)));
    // The scheme of that name.
    assert_eq!(server.admin("DELETE", "/api/mod/scheme/code", None).status, 200);
    add_scheme(&server, "code", &json!({}));
    assert_eq!(code_of_safe(&mut anna), (json!(false), json!(false)));
    // The user of that name.
    assert_eq!(register(&mut anna, "code", json!({"register": true})).status, 200);
    assert_eq!(server.admin("DELETE", "/api/user/anna", None).status, 200);
    let user = json!({"username": "anna", "password": "secret", "scope": ["g_profile", "safe"]});
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    assert_eq!(code_of_safe(&mut anna), (json!(false), json!(false)));
}
