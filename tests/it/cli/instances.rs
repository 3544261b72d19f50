//! `porth instance` and `porth status`, and what `--json` answers.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::process::InTime as _;
use crate::support::server::{Server, Setup, built};

/// Runs a command beside a server; its exit code, what it prints, and its complaint.
fn run(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let output = server.porth(arguments).stdin(Stdio::null()).output_in_time();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What a command prints that works.
fn done(server: &Server, arguments: &[&str]) -> String {
    let (code, said, complaint) = run(server, arguments);
    assert_eq!((code, complaint.as_str()), (0, ""), "{arguments:?}: {said}");
    said
}

fn json_of(server: &Server, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    serde_json::from_str(&done(server, &arguments)).unwrap()
}

fn greeting(server: &Server, instance: &str) -> (u16, String) {
    let reply = server.get(&format!("/api/{instance}/hello/X"));
    (reply.status, reply.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn an_instance_lives_at_a_terminal() {
    let server = Setup::new().libraries(&["hello"]).start();
    let (code, _, complaint) = run(&server, &["instance", "add", "g", "--module", "hello", "--dry-run"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("greeting"), "{complaint}");
    let fine = ["instance", "add", "g", "--module", "hello", "--parameter", "greeting=Hi"];
    assert!(done(&server, &[&fine[..], &["--dry-run"]].concat()).contains("`hello`"));
    assert_eq!(greeting(&server, "g").0, 404, "a dry run adds nothing");

    assert_eq!(done(&server, &fine), "g is running");
    assert_eq!(greeting(&server, "g"), (200, "Hi, X".to_owned()));
    let file = server.plugins().join("parameters.toml");
    std::fs::write(&file, "greeting = 'Moin'").unwrap();
    let set = ["instance", "set", "plugin/g", "--parameters", file.to_str().unwrap(), "--display-name", "G"];
    assert_eq!(json_of(&server, &set)["parameters"], json!({"greeting": "Moin"}));
    assert_eq!(greeting(&server, "g").1, "Moin, X");
    assert_eq!(json_of(&server, &["instance", "set", "g", "--display-name", "H"])["parameters"]["greeting"], "Moin");

    assert_eq!(done(&server, &["instance", "disable", "g"]), "g is stopped");
    let listed = json_of(&server, &["instance", "list", "--kind", "plugin"]);
    let shown = (&listed[0]["kind"], &listed[0]["name"], &listed[0]["status"], &listed[0]["drift"]);
    assert_eq!(shown, (&json!("plugin"), &json!("g"), &json!("stopped"), &Value::Null));
    assert_eq!(greeting(&server, "g").0, 503);
    assert_eq!(done(&server, &["instance", "enable", "g"]), "g is running");
    assert_eq!(done(&server, &["instance", "reset", "g"]), "g is running");
    assert!(done(&server, &["instance", "list"]).lines().any(|line| line.starts_with("plugin/g")));
    assert_eq!(json_of(&server, &["instance", "delete", "g"]), json!({"deleted": "g"}));
    let (code, _, complaint) = run(&server, &["instance", "show", "g"]);
    assert_eq!((code, complaint.contains("there is no plugin instance `g`")), (1, true), "{complaint}");
    let (code, _, complaint) = run(&server, &["instance", "list", "--kind", "plugins"]);
    assert_eq!((code, complaint.contains("there is no kind `plugins`")), (1, true), "{complaint}");
}

#[test]
fn parameters_are_laid_over_those_of_a_file_and_null_takes_one_away() {
    let server = Setup::new().libraries(&["hello"]).start();
    let file = server.plugins().join("parameters.json");
    std::fs::write(&file, r#"{"greeting": "Hi", "more": 1}"#).unwrap();
    let add = ["instance", "add", "g", "--module", "hello", "--parameters", file.to_str().unwrap()];
    let over = ["--parameter", "greeting=Ho", "--parameter", "more=null"];
    assert_eq!(json_of(&server, &[&add[..], &over].concat())["parameters"], json!({"greeting": "Ho"}));
    std::fs::write(&file, "{").unwrap();
    let (code, _, complaint) = run(&server, &add);
    assert_eq!(code, 1);
    assert!(complaint.contains("parameters.json` cannot be read: EOF"), "{complaint}");
}

#[test]
fn what_the_file_declares_is_changed_there_and_drift_is_told() {
    let config = "[[instance]]\nmodule = 'hello'\nname = 'g'\nparameters = { greeting = 'Hi' }\n";
    let server = Setup::new().libraries(&["hello"]).config(config).start();
    let (code, _, complaint) = run(&server, &["instance", "set", "g", "--display-name", "G"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("declared in the configuration file"), "{complaint}");
    assert_eq!(run(&server, &["instance", "list"]).2, "");

    std::fs::write(server.config_path(), config.replace("Hi", "Ho")).unwrap();
    let differs = "`plugin/g` is not as the file declares it: parameters.greeting";
    assert_eq!(run(&server, &["instance", "list"]).2, differs);
    assert_eq!(json_of(&server, &["instance", "list", "--kind", "plugin"])[0]["drift"], differs);
    std::fs::write(server.config_path(), "").unwrap();
    assert!(run(&server, &["instance", "list"]).2.contains("no more by the file"));

    // REST says the same, and what a file that is being edited holds is told nobody.
    let drift = || server.admin("GET", "/api/admin/drift/", None).json();
    std::fs::write(server.config_path(), config.replace("'g'", "'h'")).unwrap();
    let kinds = drift()["drift"].as_array().unwrap().iter().map(|one| one["what"].clone()).collect::<Vec<_>>();
    assert_eq!(kinds, ["orphan", "missing"]);
    assert_eq!(drift()["file"], server.config_path().to_str().unwrap());
    std::fs::write(server.config_path(), config.replace("Hi", "Ho")).unwrap();
    assert_eq!((&drift()["drift"][0]["text"], &drift()["error"]), (&json!(differs), &Value::Null));
    assert_eq!(drift()["drift"][0]["members"], json!(["parameters.greeting"]));
    assert_eq!(server.admin("GET", "/api/mod/plugin/g", None).json()["drift"], differs);
    assert_eq!(json_of(&server, &["instance", "show", "g"])["drift"], differs);
    std::fs::write(server.config_path(), "database = 'postgres://me:hunter2@h/").unwrap();
    let told = drift();
    assert!(told["error"].as_str().unwrap().contains("cannot be used as it is now"), "{told}");
    assert!(told["drift"] == json!([]) && !told.to_string().contains("hunter2"), "{told}");

    std::fs::write(server.config_path(), "").unwrap();
    server.recycle();
    let listed = run(&server, &["instance", "list", "--kind", "plugin"]);
    assert!(listed.1.contains("stopped") && listed.1.contains("orphan") && listed.2.is_empty(), "{listed:?}");
    assert_eq!(json_of(&server, &["instance", "enable", "g"])["orphan"], false);
}

#[test]
fn the_status_says_whether_all_is_well() {
    let server = Setup::new().libraries(&["hello", "misbehaves"]).start();
    let status = json_of(&server, &["status"]);
    assert_eq!((&status["unwell"], &status["server"]["ready"]), (&json!(0), &json!(true)));
    assert_eq!(status["server"]["generation"], 1);
    assert_eq!(status["server"]["pid"], server.child_pid());
    assert!(done(&server, &["status"]).contains(", child 1, 0 crashes, up for "));

    done(&server, &["instance", "add", "g", "--module", "hello", "--parameter", "greeting=Hi"]);
    std::fs::remove_file(server.plugins().join("libhello.so")).unwrap();
    assert_eq!(run(&server, &["status"]).0, 0, "what is loaded goes on");
}

#[test]
fn without_a_server_instances_are_shown_and_not_changed() {
    let data = tempfile::tempdir().unwrap();
    let porth = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_porth"));
        command.args(arguments).env_remove("PORTH_CONFIG").env("PORTH_DATA", data.path()).stdin(Stdio::null());
        command.output_in_time()
    };
    assert_eq!(porth(&["key", "new", "--name", "k"]).status.code(), Some(0), "a store to look into");
    let listed: Value = serde_json::from_slice(&porth(&["--json", "instance", "list"]).stdout).unwrap();
    let kinds: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds, ["user", "client"]);
    for arguments in
        [&["status"][..], &["instance", "add", "g", "--module", "m"], &["instance", "delete", "user/database"]]
    {
        let output = porth(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["error"]["exit_code"], 3);
    }
}

#[test]
fn commands_answer_programs() {
    let server = Setup::new().libraries(&["hello"]).start();
    assert_eq!(json_of(&server, &["key", "new", "--name", "k"])["key"].as_str().unwrap().len(), 43);
    let added = json_of(&server, &["user", "add", "anna", "--name", "Anna"]);
    assert_eq!((&added["username"], &added["name"]), (&json!("anna"), &json!("Anna")));
    assert_eq!(json_of(&server, &["user", "list"])[0]["username"], "anna");
    assert_eq!(json_of(&server, &["user", "delete", "anna"]), json!({"deleted": "anna"}));

    let library = built("hello");
    let checked = json_of(&server, &["plugin", "check", library.to_str().unwrap()]);
    assert_eq!((&checked["file"], &checked["modules"][0]["name"]), (&json!("libhello.so"), &json!("hello")));
    let allowed = json_of(&server, &["plugin", "allow", library.to_str().unwrap()]);
    assert_eq!((&allowed["digest"], &allowed["added"]), (&checked["digest"], &json!(true)));
    let listed = json_of(&server, &["plugin", "list"]);
    assert_eq!((&listed[0]["file"], &listed[0]["verdict"]), (&json!("libhello.so"), &json!("loaded")));
    assert_eq!(listed[0]["digest"], checked["digest"]);
}
