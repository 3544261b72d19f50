//! The OpenAPI document: a golden file, and answers that keep to it.

use std::collections::BTreeSet;

use expect_test::expect_file;
use serde_json::{Value, json};

use super::identity::{Browser, server};
use crate::support::server::{Reply, Server, Setup};

fn document(server: &Server) -> Value {
    let reply = server.get("/api/openapi.json");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn the_contract_is_the_golden_file() {
    let server = Setup::new().start();
    let found = format!("{:#}\n", document(&server));
    // With UPDATE_EXPECT=1 it is written anew.
    expect_file!["../../golden/openapi.json"].assert_eq(&found);
}

#[test]
fn every_method_is_described_and_none_else() {
    let server = Setup::new().start();
    let document = document(&server);
    let mut seen = 0;
    for (path, described) in document["paths"].as_object().unwrap() {
        let asked: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "xyz" } else { part }).collect();
        let reply = server.send("PATCH", &asked.join("/"), &[], b"");
        assert_eq!(reply.status, 405, "{path}: {reply:?}");
        let allow = reply.headers["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<_> = allow.split(',').map(str::trim).filter(|method| *method != "head").collect();
        let described: BTreeSet<_> = described.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, allowed, "{path}");
        seen += 1;
    }
    assert!(seen > 40, "only {seen} routes");
}

/// Compares an answer with what the document says of it; members that it does not name are wrong, too.
fn check(document: &Value, method: &str, path: &str, reply: &Reply) {
    let what = format!("{method} {path}: {reply:?}");
    let described = &document["paths"][path][method.to_lowercase()]["responses"][reply.status.to_string()];
    assert!(described.is_object(), "no such status: {what}");
    let described = match described["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap(),
        None => described,
    };
    let Some(content) = described["content"].as_object() else {
        assert_eq!(reply.body, "", "{what}");
        return;
    };
    let media_type = reply.headers["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let schema = content.get(&media_type).unwrap_or_else(|| panic!("no such media type: {what}"));
    if !media_type.ends_with("json") {
        return;
    }
    let mut components = document["components"].clone();
    let is_problem = media_type == "application/problem+json";
    if !is_problem {
        strict(&mut components);
    }
    let mut whole = schema["schema"].clone();
    if let Some(whole) = whole.as_object_mut() {
        whole.insert("components".to_owned(), components);
    }
    let validator = jsonschema::validator_for(&whole).unwrap();
    let wrong: Vec<_> =
        validator.iter_errors(&reply.json()).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{what}");
}

/// Objects whose schema says nothing of other members have none.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(strict);
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        _ => {}
    }
}

#[test]
fn answers_keep_to_the_contract() {
    let server = server(Setup::new().libraries(&["hello", "mock"]));
    let document = document(&server);
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    let mut covered = BTreeSet::new();
    // What is asked, by whom, and the status that is expected.
    let asked: Vec<(&str, &str, &str, Option<Value>, u16)> = vec![
        ("GET", "/config", "", None, 200),
        ("GET", "/health/live", "", None, 200),
        ("GET", "/health/ready", "", None, 200),
        ("GET", "/metrics", "key", None, 200),
        ("GET", "/metrics", "", None, 401),
        ("GET", "/docs", "", None, 200),
        ("GET", "/docs/problems", "", None, 200),
        ("GET", "/setup", "", None, 404),
        ("POST", "/setup", "", Some(json!({"token": "x", "username": "x", "password": "x"})), 404),
        ("GET", "/api/mod/type", "key", None, 200),
        (
            "POST",
            "/api/mod/{kind=scheme}",
            "key",
            Some(json!({"module": "mock", "name": "m", "parameters": {"mock-value": "42"}})),
            200,
        ),
        (
            "POST",
            "/api/mod/{kind=plugin}",
            "key",
            Some(json!({"module": "hello", "name": "h", "parameters": {"greeting": "x"}})),
            200,
        ),
        ("POST", "/api/mod/{kind=plugin}", "key", Some(json!({"module": "hello", "name": "h"})), 400),
        ("GET", "/api/mod/{kind=plugin}", "key", None, 200),
        ("GET", "/api/mod/{kind=scheme}", "key", None, 200),
        ("GET", "/api/mod/{kind=user}", "key", None, 200),
        ("GET", "/api/mod/{kind=plugin}/{name=h}", "key", None, 200),
        ("PUT", "/api/mod/{kind=plugin}/{name=h}", "key", Some(json!({"display_name": "H"})), 200),
        ("PUT", "/api/mod/{kind=plugin}/{name=h}/{action=disable}", "key", None, 200),
        ("PUT", "/api/mod/{kind=plugin}/{name=h}/{action=explode}", "key", None, 400),
        ("GET", "/api/mod/{kind=plugin}/{name=h}", "key", None, 200),
        ("DELETE", "/api/mod/{kind=plugin}/{name=h}", "key", None, 200),
        ("GET", "/api/mod/{kind=none}/{name=h}", "key", None, 404),
        ("PUT", "/api/mod/reload", "key", None, 200),
        ("GET", "/api/admin/library", "key", None, 200),
        ("GET", "/api/admin/library/{file=libhello.so}", "key", None, 200),
        ("PUT", "/api/admin/library/{file=libhello.so}/reload", "key", None, 200),
        ("PUT", "/api/admin/library/{file=libno.so}/reload", "key", None, 404),
        ("POST", "/api/scope", "key", Some(json!({"name": "s", "scheme": {"g": [{"scheme_name": "m"}]}})), 200),
        ("GET", "/api/scope", "key", None, 200),
        ("GET", "/api/scope/{scope=s}", "key", None, 200),
        ("PUT", "/api/scope/{scope=s}", "key", Some(json!({"description": "S"})), 200),
        (
            "POST",
            "/api/user",
            "key",
            Some(json!({"username": "carl", "password": "p", "phone": [1], "scope": ["s"]})),
            200,
        ),
        ("POST", "/api/user", "key", Some(json!({"username": ""})), 400),
        ("GET", "/api/user", "key", None, 200),
        ("GET", "/api/user/{username=carl}", "key", None, 200),
        ("GET", "/api/user/{username=no}", "key", None, 404),
        ("PUT", "/api/user/{username=anna}", "key", Some(json!({"scope": ["g_admin", "g_profile", "s"]})), 200),
        ("POST", "/api/client", "key", Some(json!({"client_id": "c", "scope": ["s"], "x": 1})), 200),
        ("GET", "/api/client", "key", None, 200),
        ("GET", "/api/client/{client_id=c}", "key", None, 200),
        ("PUT", "/api/client/{client_id=c}", "key", Some(json!({"client_secret": "s"})), 200),
        ("PUT", "/api/misc/{name=m}", "key", Some(json!({"type": "t", "value": [1]})), 200),
        ("GET", "/api/misc", "key", None, 200),
        ("GET", "/api/misc/{name=m}", "key", None, 200),
        ("DELETE", "/api/misc/{name=m}", "key", None, 200),
        ("POST", "/api/auth", "", Some(json!({"username": "carl", "password": "wrong"})), 401),
        ("GET", "/api/auth/scheme", "anna", None, 400),
        ("GET", "/api/auth/scheme?scope=s%20g_admin", "anna", None, 200),
        (
            "POST",
            "/api/auth/scheme/trigger",
            "anna",
            Some(json!({"username": "anna", "scheme_type": "mock", "scheme_name": "m"})),
            401,
        ),
        ("PUT", "/api/auth/grant/{client_id=c}", "anna", Some(json!({"scope": "s"})), 200),
        ("GET", "/api/auth/grant/{client_id=c}/{scopes=s}", "anna", None, 200),
        ("GET", "/api/profile_list", "anna", None, 200),
        ("GET", "/api/profile", "anna", None, 200),
        ("PUT", "/api/profile", "anna", Some(json!({"name": "A"})), 200),
        ("DELETE", "/api/profile", "anna", None, 403),
        ("PUT", "/api/profile/password", "anna", Some(json!({"old_password": "x", "password": "y"})), 400),
        ("GET", "/api/profile/grant", "anna", None, 200),
        (
            "POST",
            "/api/profile/scheme/register",
            "anna",
            Some(json!({"scheme_type": "mock", "scheme_name": "m", "value": {"register": true}})),
            200,
        ),
        ("PUT", "/api/profile/scheme/register", "anna", Some(json!({"scheme_type": "mock", "scheme_name": "m"})), 200),
        ("GET", "/api/profile/scheme", "anna", None, 200),
        ("GET", "/api/profile/plugin", "anna", None, 200),
        ("GET", "/api/profile/session", "anna", None, 200),
        ("DELETE", "/api/profile/session/{hash=x}", "anna", None, 404),
        ("GET", "/api/delegate/{username=carl}/profile", "key", None, 200),
        ("GET", "/api/delegate/{username=carl}/session", "key", None, 200),
        ("GET", "/api/delegate/{username=carl}/grant", "key", None, 200),
        ("PUT", "/api/delegate/{username=carl}/password", "key", Some(json!({"password": "y"})), 200),
        ("POST", "/api/key", "anna", Some(json!({"expires_in": 60})), 200),
        ("POST", "/api/key", "key", None, 401),
        ("GET", "/api/key", "anna", None, 200),
        ("DELETE", "/api/key/{hash=x}", "anna", None, 404),
        ("GET", "/api/local/key", "anna", None, 404),
        ("GET", "/api/admin/audit", "key", None, 200),
        ("GET", "/api/admin/audit?limit=0", "key", None, 400),
        ("DELETE", "/api/client/{client_id=c}", "key", None, 200),
        ("DELETE", "/api/scope/{scope=s}", "key", None, 200),
        ("DELETE", "/api/user/{username=carl}", "key", None, 200),
        ("DELETE", "/api/auth?username=no", "anna", None, 404),
    ];
    for (method, path, who, body, status) in asked {
        let (route, _) = path.split_once('?').unwrap_or((path, ""));
        // `{name=value}` is a parameter with its value.
        let template: Vec<_> = route
            .split('/')
            .map(|part| part.split_once('=').map_or(part.to_owned(), |(name, _)| format!("{name}}}")))
            .collect();
        let filled: Vec<_> = path
            .split('/')
            .map(|part| {
                part.strip_prefix('{').map_or(part, |part| part.split_once('=').unwrap().1.trim_end_matches('}'))
            })
            .collect();
        let (template, filled) = (template.join("/"), filled.join("/"));
        let reply = match who {
            "key" => server.admin(method, &filled, body.as_ref()),
            "anna" => anna.send(method, &filled, body.as_ref(), &[]),
            _ => Browser::new(&server).send(method, &filled, body.as_ref(), &[]),
        };
        assert_eq!(reply.status, status, "{method} {filled}: {reply:?}");
        check(&document, method, &template, &reply);
        covered.insert(format!("{method} {template}"));
    }
    assert!(covered.len() > 60, "only {} operations", covered.len());
}

#[test]
fn the_pages_need_nothing_from_elsewhere_and_no_scripts() {
    let server = Setup::new().start();
    for path in ["/docs", "/docs/problems"] {
        let reply = server.get(path);
        assert_eq!(reply.status, 200, "{reply:?}");
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        for foreign in ["<script", "http://", "https://", "src=", "url(", "@import", " style="] {
            assert!(!reply.body.contains(foreign), "{path}: {foreign}");
        }
        assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
    }
    let body = server.get("/docs").body;
    for part in ["/api/user/{username}", "id=\"schema-NewUser\"", "Changes what is given", "<h2 id=\"tag-audit\">"] {
        assert!(body.contains(part), "{part}");
    }
}

#[test]
fn instances_describe_their_endpoints() {
    let server = Setup::new().libraries(&["knows", "hello"]).c_library("directory").start();
    server.add("feels", "it", &json!({}));
    server.add("deaf", "other", &json!({}));
    server.add("hello", "h", &json!({"greeting": "x"}));
    server.add("c-revoke", "c", &json!({}));
    let found = document(&server);
    let said = &found["paths"]["/api/it/say/{status}"]["get"];
    assert_eq!((&said["summary"], &said["tags"]), (&json!("Says how it does"), &json!(["plug-in it"])));
    assert_eq!(
        said["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/it.Saying"
    );
    assert!(found["components"]["schemas"]["it.Saying"].is_object());
    assert!(found["components"]["schemas"].get("c.C").is_some());
    // What the host knows by itself, of one that says nothing.
    assert_eq!(found["paths"]["/api/h/hello/{name}"]["get"]["parameters"][0]["name"], "name");
    // No more than endpoints, told once.
    assert!(found["paths"].get("/api/it/nowhere").is_none());
    assert!(server.get("/docs").body.contains("/api/it/say/{status}"));
    let log = server.log();
    for lines in ["`get /nowhere` is no endpoint of the instance", "what the instance c says of its API is not shown"] {
        assert!(log.contains(lines), "{log}");
    }
    assert_eq!(log.matches("what the instance it says").count(), 1, "{log}");

    // One that fails leaves what the host knows, and is not asked again and again.
    server.add("feels", "sad", &json!({}));
    assert_eq!(server.get("/api/sad/say/fails").status, 204);
    for _ in 0..3 {
        let found = document(&server);
        assert!(found["paths"]["/api/sad/say/{status}"]["get"]["responses"].get("default").is_some());
    }
    assert_eq!(server.log().matches("instance plugin/sad does not describe its API").count(), 1, "{}", server.log());

    // An instance that is gone is gone from the document.
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/it", None).status, 200);
    assert!(document(&server)["paths"].get("/api/it/say/{status}").is_none());
}
