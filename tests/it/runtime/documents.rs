//! Documents of plug-ins in a whole server: callbacks, life cycle, migrations, and what a kill leaves.

mod kill;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::InTime as _;
use crate::support::server::{Server, Setup, wait_until};

fn server(config: &str) -> Server {
    let server = Setup::new().libraries(&["keeps"]).config(config).start();
    server.add("keeps", "k", &json!({}));
    server
}

fn put(server: &Server, path: &str, json: &Value) -> crate::support::server::Reply {
    server.send("PUT", path, &[("content-type", "application/json")], json.to_string().as_bytes())
}

#[test]
fn documents_are_there_in_init_and_outlast_everything_but_their_instance() {
    let server = server("");
    let starts = |server: &Server| server.get("/api/k/things/starts").json();
    assert_eq!(starts(&server), 1);
    assert_eq!(server.admin("PUT", "/api/mod/plugin/k/reset", None).status, 200);
    assert_eq!(starts(&server), 2);
    let server = server.restart();
    assert_eq!(starts(&server), 3);
    server.admin("PUT", "/api/mod/plugin/k/disable", None);
    server.admin("PUT", "/api/mod/plugin/k/enable", None);
    assert_eq!(starts(&server), 4);
    // What an instance wrote that did not come to be is gone.
    assert_eq!(server.try_add("keeps", "x", &json!({"at": "init-fails"})).status, 500);
    server.add("keeps", "x", &json!({}));
    assert_eq!(server.get("/api/x/things/starts").json(), 1);
    assert_eq!(starts(&server), 4);
    server.admin("DELETE", "/api/mod/plugin/k", None);
    server.add("keeps", "k", &json!({}));
    assert_eq!(starts(&server), 1);
}

#[test]
fn blocking_forms_work_on_the_instances_own_threads_only() {
    let server = server("");
    assert_eq!(server.get("/api/k/blocking").json(), json!([{"Ok": null}, {"Ok": "there"}]));
    let refused = server.get("/api/k/blocking-short").body;
    assert_eq!(refused.matches("WouldBlock").count(), 2, "{refused}");
}

#[test]
fn who_stops_waiting_has_not_taken_it_back() {
    let server = server("");
    assert_eq!(put(&server, "/api/k/given-up/a", &json!(null)).body, "true");
    wait_until("the document", || server.get("/api/k/things/a").status == 200);
    assert_eq!(server.get("/api/k/panic").status, 500);
    assert_eq!(server.get("/api/k/things/a").json(), "written all the same");
}

#[test]
fn one_of_many_gets_a_one_time_document() {
    let server = server("");
    assert_eq!(server.send("POST", "/api/k/things/code/consume", &[], b"").body, "absent");
    put(&server, "/api/k/things/code", &json!(7));
    let answers: Vec<String> = std::thread::scope(|scope| {
        let consume = || server.send("POST", "/api/k/things/code/consume", &[], b"").body;
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(consume)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| *answer == "fresh").count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| *answer == "used").count(), 15, "{answers:?}");
}

#[test]
fn limits_are_the_administrators() {
    let server = server("[limits]\ndocuments_max = 3\ndocument_bytes_max = 2097152");
    let large = json!("x".repeat(2_000_000));
    assert_eq!(put(&server, "/api/k/things/large", &large).status, 200);
    assert_eq!(server.get("/api/k/things/large").json(), large);
    assert_eq!(put(&server, "/api/k/things/too-large", &json!("x".repeat(2_100_000))).status, 500);
    assert_eq!(put(&server, "/api/k/things/third", &json!(3)).status, 200);
    let refused = put(&server, "/api/k/things/fourth", &json!(4));
    assert_eq!(refused.status, 507);
    assert!(refused.json()["detail"].as_str().unwrap().contains("`documents_max`"), "{refused:?}");
}

#[test]
fn an_instance_may_write_until_it_is_closed() {
    let server = server("");
    server.add("keeps", "c", &json!({"at": "close"}));
    server.admin("PUT", "/api/mod/plugin/c/reset", None);
    wait_until("the document", || server.get("/api/c/things/closed").status == 200);
    // Not when its documents are gone already.
    server.admin("DELETE", "/api/mod/plugin/c", None);
    server.wait_for_log("written in close: Err(Closed(");
}

/// Puts the plug-in in C of this version into the plug-in directory.
fn compile(plugins: &Path, version: u32) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", &format!("-DVERSION={version}"), "-I"])
        .arg(sources.join("plugin-api/include"))
        .arg(sources.join("tests/fixtures/c/migrates.c"))
        .arg("-o")
        .arg(plugins.join(".new"))
        .output_in_time();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    std::fs::rename(plugins.join(".new"), plugins.join("libmigrates.so")).unwrap();
}

/// What its documents hold, by key.
fn documents(server: &Server) -> Value {
    let listed: Value = server.get("/api/m/documents").json();
    let pairs = listed["documents"].as_array().unwrap().iter();
    pairs.map(|document| (document["key"].as_str().unwrap().to_owned(), document["value"].clone())).collect()
}

#[test]
fn documents_are_migrated_before_the_instance_starts() {
    let setup = Setup::new().config("watch = false");
    compile(&setup.plugins(), 1);
    let server = setup.start();
    server.add("migrates", "m", &json!({}));
    for key in ["a", "b"] {
        assert_eq!(put(&server, &format!("/api/m/documents/{key}"), &json!({"steps": []})).body, "0");
    }
    assert_eq!(documents(&server), json!({"a": {"steps": []}, "b": {"steps": []}}));

    // Two steps at once; then one that fails: the old one goes on, with all it had.
    compile(server.plugins().as_path(), 3);
    let server = server.restart();
    assert_eq!(documents(&server), json!({"a": {"steps": [1, 2]}, "b": {"steps": [1, 2]}}));
    compile(server.plugins().as_path(), 4);
    let refused = server.admin("PUT", "/api/mod/reload", None);
    assert!(refused.body.contains("could not be brought from version 3 to 4"), "{refused:?}");
    assert!(refused.body.contains("version 3 is the end"), "{refused:?}");
    assert_eq!(documents(&server), json!({"a": {"steps": [1, 2]}, "b": {"steps": [1, 2]}}));
    assert_eq!(put(&server, "/api/m/documents/c", &json!({"steps": [9]})).body, "0");

    // An older library does not touch what it does not understand.
    compile(server.plugins().as_path(), 2);
    let server = server.restart();
    let instance = server.admin("GET", "/api/mod/plugin/m", None).json();
    assert_eq!(instance["status"], "failed");
    let error = instance["error"].as_str().unwrap();
    assert!(error.contains("its documents have version 3, this module knows versions up to 2"), "{error}");
    compile(server.plugins().as_path(), 3);
    let server = server.restart();
    assert_eq!(documents(&server)["c"], json!({"steps": [9]}));
}
