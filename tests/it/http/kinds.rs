//! `/api/mod/<kind>`: instances of every kind by REST.

use serde_json::json;

use crate::support::server::{Reply, Setup};

fn errors(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{reply:?}");
    let errors = reply.json()["errors"].clone();
    errors.as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn every_kind_has_its_own_list_of_types() {
    let types = Setup::new().libraries(&["mock"]).start().admin("GET", "/api/mod/type/", None).json();
    for kind in ["plugin", "scheme"] {
        assert_eq!(types[kind][0]["name"], "mock", "{kind}");
    }
    for kind in ["user", "client", "user_middleware"] {
        assert!(types[kind].is_array(), "{kind}");
    }
}

#[test]
fn a_scheme_has_settings_and_no_address() {
    let server = Setup::new().libraries(&["mock"]).start();
    let scheme = json!({
        "module": "mock", "name": "code", "display_name": "A code", "parameters": {"mock-value": "42"},
        "expiration": 600, "max_use": 1, "forbid_user_profile": true,
    });
    assert_eq!(server.admin("POST", "/api/mod/scheme/", Some(&scheme)).status, 200);
    // Each kind has names of its own.
    assert_eq!(server.try_add("mock", "code", &json!({})).status, 200);
    let shown = server.admin("GET", "/api/mod/scheme/code", None).json();
    for (name, value) in [
        ("status", json!("running")),
        ("expiration", json!(600)),
        ("max_use", json!(1)),
        ("allow_user_register", json!(true)),
        ("forbid_user_profile", json!(true)),
        ("forbid_user_reset_credential", json!(false)),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert_eq!(shown.get("order_rank"), None);
    assert_eq!(server.admin("GET", "/api/mod/scheme/", None).json().as_array().unwrap().len(), 1);

    let change = json!({"max_use": 3, "allow_user_register": false});
    assert_eq!(server.admin("PUT", "/api/mod/scheme/code", Some(&change)).status, 200);
    let shown = server.admin("GET", "/api/mod/scheme/code", None).json();
    assert_eq!((&shown["max_use"], &shown["expiration"]), (&json!(3), &json!(600)));
    assert_eq!(
        errors(&server.admin("PUT", "/api/mod/scheme/code", Some(&json!({"max_use": -1, "expiration": "x"})))),
        "expiration: expected 0 to 2147483647, found \"x\"; max_use: expected 0 to 2147483647, found -1"
    );
    for action in ["disable", "enable", "reset"] {
        assert_eq!(server.admin("PUT", &format!("/api/mod/scheme/code/{action}"), None).status, 200, "{action}");
    }
    assert_eq!(server.admin("DELETE", "/api/mod/scheme/code", None).status, 200);
    assert_eq!(server.admin("GET", "/api/mod/scheme/code", None).summary(), "404 not_found");
}

#[test]
fn what_is_no_kind_is_not_found() {
    let server = Setup::new().start();
    assert_eq!(server.admin("GET", "/api/mod/toaster/", None).summary(), "404 not_found");
    assert_eq!(server.admin("POST", "/api/mod/toaster/", Some(&json!({}))).summary(), "404 not_found");
    assert_eq!(server.get("/api/mod/scheme/").summary(), "401 unauthorized");
}

#[test]
fn the_configuration_declares_settings() {
    let config = "[[instance]]\nkind = \"scheme\"\nmodule = \"mock\"\nname = \"code\"\n\
        parameters = { mock-value = \"42\" }\nsettings = { max_use = 1 }";
    let server = Setup::new().libraries(&["mock"]).config(config).start();
    let shown = server.admin("GET", "/api/mod/scheme/code", None).json();
    assert_eq!((&shown["status"], &shown["max_use"]), (&json!("running"), &json!(1)));
    let change = json!({"max_use": 2});
    assert_eq!(server.admin("PUT", "/api/mod/scheme/code", Some(&change)).summary(), "409 declared_instance");
}
