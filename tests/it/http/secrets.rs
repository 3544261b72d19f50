//! Secrets in parameters of instances: nobody is shown them, and who writes back what was shown loses none.

use serde_json::{Value, json};

use crate::support::process::InTime as _;
use crate::support::server::{Reply, Server, Setup};

const AT: &str = "/api/mod/plugin/p";
/// What no answer, no log and no audit entry holds.
const SECRETS: [&str; 5] = ["hunter1", "hunter2", "hunter3", "hunter4", "§§"];

fn given() -> Value {
    json!({
        "phrase": "hunter1", "api_key": "hunter2", "public_key": "open",
        "relays": [{"host": "a", "phrase": "hunter3"}, {"host": "b", "phrase": "hunter4"}],
    })
}

fn masked() -> Value {
    json!({
        "phrase": "(secret)", "api_key": "(secret)", "public_key": "open",
        "relays": [{"host": "a", "phrase": "(secret)"}, {"host": "b", "phrase": "(secret)"}],
    })
}

fn server() -> Server {
    let server = Setup::new().libraries(&["proves"]).start();
    server.add("asks_schemes", "p", &given());
    server
}

fn put(server: &Server, parameters: &Value) -> Reply {
    server.admin("PUT", AT, Some(&json!({ "parameters": parameters })))
}

/// What the instance got.
fn got(server: &Server) -> Value {
    server.get("/api/p/parameters").json()
}

fn errors(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 400, "{reply:?}");
    reply.json()["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap().to_owned()).collect()
}

fn text(reply: &Reply) -> String {
    reply.body.clone()
}

#[test]
fn secrets_are_shown_nowhere() {
    let server = server();
    assert_eq!(got(&server), given());
    assert_eq!(server.admin("GET", AT, None).json()["parameters"], masked());
    assert_eq!(server.admin("GET", "/api/mod/plugin/", None).json()[0]["parameters"], masked());
    let short = errors(&put(&server, &json!({"phrase": "§§"})));
    assert_eq!(short, ["parameters/phrase: (secret) is shorter than 3 characters"]);

    let mut told = vec![server.log(), text(&server.get("/docs"))];
    for route in [AT, "/api/mod/plugin/", "/api/mod/type/", "/api/admin/audit/", "/api/openapi.json"] {
        told.push(text(&server.admin("GET", route, None)));
    }
    for command in [&["instance", "show", "p"][..], &["instance", "list", "--json"], &["audit", "--json"], &["status"]]
    {
        let output = server.porth(command).output_in_time();
        told.push(String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap());
    }
    for (text, secret) in told.iter().flat_map(|text| SECRETS.map(|secret| (text, secret))) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    // Without its library nobody knows what is secret.
    std::fs::remove_file(server.plugins().join("libproves.so")).unwrap();
    let server = server.restart();
    let shown = server.admin("GET", AT, None).json()["parameters"].clone();
    assert_eq!((&shown["phrase"], &shown["public_key"]), (&json!("(secret)"), &json!("(secret)")));
}

#[test]
fn the_mask_means_what_is_stored() {
    let server = server();
    let mut change = masked();
    change["public_key"] = json!("other");
    change["relays"][1] = json!({"host": "c", "phrase": "(secret)"});
    assert_eq!(put(&server, &change).status, 200);
    let mut expected = given();
    expected["public_key"] = json!("other");
    expected["relays"][1]["host"] = json!("c");
    assert_eq!(got(&server), expected);

    // In a list only the place tells whose it is.
    let relays = json!({"relays": [{"host": "c", "phrase": "(secret)"}]});
    let short = errors(&put(&server, &relays));
    assert!(short[0].starts_with("parameters/relays/0: ") && short[0].contains("2 items and has 1"), "{short:?}");
    let swapped = json!({"relays": [{"host": "c", "phrase": "(secret)"}, {"host": "a", "phrase": "(secret)"}]});
    assert_eq!(errors(&put(&server, &swapped)).len(), 2);
    // Nor is a mask a value.
    let unknown = errors(&put(&server, &json!({"other": "(secret)"})));
    assert!(unknown[0].starts_with("parameters/other: `(secret)` stands for"), "{unknown:?}");
    let new = errors(&server.try_add("asks_schemes", "q", &masked()));
    assert_eq!(new.len(), 4, "{new:?}");
    assert_eq!(got(&server), expected);

    // The audit log tells that a secret was changed, and not to what.
    let mut change = masked();
    change["phrase"] = json!("hunter2");
    change["relays"] = json!([]);
    assert_eq!(put(&server, &change).status, 200);
    assert_eq!(got(&server)["phrase"], "hunter2");
    let event = server.admin("GET", "/api/admin/audit/?limit=1", None).json()[0].clone();
    assert_eq!(event.pointer("/after/parameters/phrase/secret"), Some(&json!("(changed)")), "{event}");
    assert_eq!(event.pointer("/after/parameters/api_key"), Some(&json!("(secret)")), "{event}");
}

#[test]
fn a_command_changes_one_parameter_beside_secrets() {
    let server = server();
    let run = |more: &[&str]| {
        let set = ["instance", "set", "p", "--parameter", "public_key=other"];
        let output = server.porth(&[&set[..], more].concat()).output_in_time();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["--dry-run"]);
    assert_eq!(got(&server), given());
    run(&[]);
    let mut expected = given();
    expected["public_key"] = json!("other");
    assert_eq!(got(&server), expected);
}

#[test]
fn a_declaration_with_a_mask_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("porth.toml");
    let declared = "[[instance]]\nmodule = 'm'\nname = 'p'\nparameters = { word = '(secret)' }\n";
    std::fs::write(&file, declared).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_porth"));
    let output = command.args(["check-config", "--config"]).arg(&file).output_in_time();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && complaint.contains("plugin/p`: parameters/word: `(secret)`"), "{complaint}");
}
