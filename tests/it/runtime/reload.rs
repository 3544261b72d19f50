//! Reloading libraries while they serve.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::support::connection::Connection;
use crate::support::server::{PATIENCE, Server, Setup, wait_until};
use crate::support::versions::{FILE, compile, disguised};

mod administrators;
mod directory;
mod load;

/// Version 1 as the instances `a` and `b`, and nothing happens unless it is asked for.
fn server() -> Server {
    server_with("watch = false", &compile(1, &[]))
}

fn server_with(config: &str, first: &[u8]) -> Server {
    let setup = Setup::new().config(config);
    setup.file(FILE, first);
    let server = setup.start();
    server.add("versions", "a", &json!({}));
    server.add("versions", "b", &json!({}));
    server
}

fn errors(reply: &crate::support::server::Reply) -> String {
    assert_eq!(reply.summary(), "400 invalid", "{reply:?}");
    let body = reply.json();
    body["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

/// Waits until generations that nothing uses have ended.
fn wait_for_retired(server: &Server, count: u64) {
    wait_until(&format!("{count} retired generations"), || {
        let generations = &server.library(FILE)["generations"];
        generations["draining"] == json!([]) && generations["retired"] == json!(count)
    });
}

#[test]
fn a_changed_file_becomes_a_new_generation_of_all_instances() {
    let server = server();
    assert_eq!((server.version("a"), server.version("b")), ("1.1".to_owned(), "1.1".to_owned()));
    let second = compile(2, &[]);
    let report = server.reload(&second).json();
    let instances = json!(["plugin/a", "plugin/b"]);
    let expected = json!({
        "file": FILE, "outcome": "reloaded", "errors": [], "generation": 2, "modules": ["plugin/versions"],
        "instances": instances,
    });
    assert_eq!(report, expected);
    assert_eq!((server.version("a"), server.version("b")), ("2.2".to_owned(), "2.2".to_owned()));
    // Each instance closes before its library unloads.
    server.wait_for_log("version 1 unloads");
    assert_eq!(server.log().matches("version 1 closes").count(), 2);
    wait_for_retired(&server, 1);

    // The same bytes again are no change.
    let report = server.ask_reload(FILE).json();
    assert_eq!((&report["outcome"], &report["generation"]), (&json!("unchanged"), &json!(2)));
    // Nor is a reset one: it starts an instance anew in the generation there is.
    assert_eq!(server.admin("PUT", "/api/mod/plugin/a/reset", None).status, 200);
    assert_eq!(server.version("a"), "2.2");
    // What was there before can be there again.
    assert_eq!(server.reload(&compile(1, &[])).json()["generation"], 3);
    assert_eq!(server.version("a"), "1.3");
    wait_for_retired(&server, 2);
}

#[test]
fn administrators_see_every_file() {
    let server = server();
    server.reload(&compile(2, &[]));
    wait_for_retired(&server, 1);
    server.install("libnonsense.so", b"nonsense");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/b/disable", None).status, 200);
    let reports = server.admin("PUT", "/api/mod/reload/", None).json();
    let outcomes: Vec<_> = reports.as_array().unwrap().iter().map(|report| report["outcome"].clone()).collect();
    assert_eq!(outcomes, ["refused", "unchanged"]);
    let libraries = server.admin("GET", "/api/admin/library/", None).json();
    let mut loaded = libraries[1].clone();
    assert_eq!(loaded, server.library(FILE));
    let digest = loaded["digest"].take();
    assert_eq!((digest.as_str().unwrap().len(), &digest), (64, &loaded["file_digest"].take()));
    let bytes = loaded["generations"]["retired_bytes"].take();
    assert!(bytes.as_u64().unwrap() > 10_000);
    let abi = json!({"draft": porth_abi::ABI_DRAFT, "major": porth_abi::ABI_MAJOR, "minor": porth_abi::ABI_MINOR});
    let expected = json!({
        "file": FILE, "verdict": "loaded", "reason": null, "digest": null, "file_digest": null, "abi": abi,
        "modules": ["plugin/versions"],
        "generations": {"present": 2, "draining": [], "retired": 1, "retired_bytes": null},
        "instances": [
            {"kind": "plugin", "name": "a", "status": "running"}, {"kind": "plugin", "name": "b", "status": "stopped"},
        ],
    });
    assert_eq!(loaded, expected);
    let refused = &libraries[0];
    assert_eq!(
        (&refused["verdict"], &refused["reason"], &refused["generations"]["present"]),
        (&json!("refused"), &json!("library `libnonsense.so` is no ELF file"), &Value::Null)
    );
}

#[test]
fn only_administrators_see_and_reload_libraries() {
    let server = server();
    for (method, path) in [
        ("GET", "/api/admin/library/"),
        ("GET", "/api/admin/library/libversions.so"),
        ("PUT", "/api/admin/library/libversions.so/reload"),
        ("PUT", "/api/mod/reload/"),
    ] {
        assert_eq!(server.send(method, path, &[], b"").summary(), "401 unauthorized", "{method} {path}");
    }
    for file in ["libnothing.so", "..%2Flibx.so", "porth.toml", "%00.so"] {
        let reply = server.ask_reload(file);
        assert!(matches!(reply.status, 400 | 404), "{file} {reply:?}");
    }
    assert_eq!(server.admin("GET", "/api/admin/library/libnothing.so", None).summary(), "404 not_found");
    assert_eq!(server.admin("GET", "/api/admin/library/", None).json().as_array().unwrap().len(), 1);
}

#[test]
fn a_version_that_refuses_one_instance_changes_none() {
    let server = server();
    server.add("versions", "bad", &json!({"label": "bad"}));
    let refuse =
        r#"result->errors = porth_bytes_static(PORTH_STR("[\"no label is bad enough\"]")); return PORTH_PARAM;"#;
    let init = format!(r#"INIT=if (strstr(instance->parameters, "bad")) {{ {refuse} }}"#);
    let reply = server.reload(&compile(2, &[&init]));
    assert_eq!(errors(&reply), "instance plugin/bad: `init` refused the parameters: no label is bad enough");
    for instance in ["a", "b", "bad"] {
        assert_eq!(server.version(instance), "1.1");
    }
    // The two that could be initialised are closed again, and the new version unloads.
    server.wait_for_log("version 2 unloads");
    assert_eq!(server.log().matches("version 2 closes").count(), 2);
    wait_for_retired(&server, 1);
    let library = server.library(FILE);
    assert_eq!((&library["verdict"], &library["generations"]["present"]), (&json!("refused"), &json!(1)));
    assert_ne!(library["digest"], library["file_digest"]);
    assert!(library["reason"].as_str().unwrap().contains("plugin/bad"), "{library}");

    // Without the instance, the same file will do.
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/bad", None).status, 200);
    assert_eq!(server.ask_reload(FILE).json()["generation"], 3);
    assert_eq!(server.version("a"), "2.3");
    assert_eq!(server.library(FILE)["verdict"], "loaded");
}

#[test]
fn a_version_that_hangs_or_fails_changes_nothing() {
    let config = "watch = false\n[limits]\nlifecycle_deadline_ms = 1000";
    let server = server_with(config, &compile(1, &[]));
    let reply = server.reload(&compile(2, &["INIT=sleep(3)"]));
    assert!(errors(&reply).contains("instance plugin/a: `init` took longer than 1000 ms"), "{reply:?}");
    // `load` works in the probe, and from then on only until a file is there.
    let flag = server.plugins().join("flag");
    let load = format!(r#"LOAD=if (access("{}", F_OK) == 0) {{ return PORTH_ERROR; }}"#, flag.display());
    let fails = compile(3, &[&load]);
    assert_eq!(server.reload(&fails).status, 200);
    assert_eq!(server.reload(&compile(1, &[])).status, 200);
    std::fs::write(&flag, "").unwrap();
    assert!(errors(&server.reload(&fails)).contains("`load` answered 1"));
    assert!(server.version("a").starts_with("1."));
    // So does one that fails in the probe already.
    assert!(errors(&server.reload(&compile(4, &["LOAD=return PORTH_ERROR"]))).contains("refuses to load"));
    assert!(errors(&server.reload(&compile(5, &["LOAD=abort()"]))).contains("SIGABRT"));
    assert!(server.version("b").starts_with("1."));
}

#[test]
fn an_old_version_that_ends_badly_is_gone_all_the_same() {
    let config = "watch = false\n[limits]\nlifecycle_deadline_ms = 1000";
    let server = server_with(config, &compile(1, &["CLOSE=return PORTH_ERROR"]));
    let pid = server.child_pid();
    assert_eq!(server.reload(&compile(2, &["UNLOAD=sleep(2)"])).status, 200);
    server.wait_for_log("version 1 unloads");
    assert_eq!(server.reload(&compile(3, &["CLOSE=sleep(2)"])).status, 200);
    server.wait_for_log("unloading library libversions.so took longer than 1000 ms");
    assert_eq!(server.reload(&compile(4, &[])).status, 200);
    wait_for_retired(&server, 3);
    // Its instances may still be at work, so it is not unloaded.
    assert!(!server.log().contains("version 3 unloads"));
    assert_eq!((server.version("a"), server.child_pid()), ("4.4".to_owned(), pid));
}

#[test]
fn a_panic_at_the_end_of_an_old_version_reaches_nobody() {
    let server = Setup::new().libraries(&["misbehaves"]).config("watch = false").start();
    let pid = server.child_pid();
    for at in ["close-panics", "drop-panics", "init-slow", "nowhere"] {
        server.add("misbehaves", at, &json!({"at": at}));
    }
    let file = "libmisbehaves.so";
    let good = std::fs::read(server.plugins().join(file)).unwrap();
    for number in 2..4 {
        server.install(file, &disguised(&good, number));
        assert_eq!(server.ask_reload(file).json()["generation"], number);
        assert_eq!(server.get("/api/close-panics/ok").status, 200);
    }
    server.wait_for_log("on purpose, in close");
    server.wait_for_log("on purpose, in drop");
    wait_until("two retired generations", || server.library(file)["generations"]["retired"] == json!(2));
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_module_with_instances_stays_declared() {
    let both = r#"MODULES="[{\"name\": \"versions\"}, {\"name\": \"other\"}]""#;
    let server = server_with("watch = false", &compile(1, &[both]));
    server.add("other", "c", &json!({}));
    assert_eq!(server.admin("PUT", "/api/mod/plugin/c/disable", None).status, 200);
    let reply = server.reload(&compile(2, &[]));
    let expected = "library `libversions.so` does not declare the plugin module `other` any more, of which there are \
                    instances: c";
    assert_eq!(errors(&reply), expected);
    assert_eq!(server.version("a"), "1.1");
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/c", None).status, 200);
    assert_eq!(server.ask_reload(FILE).status, 200);
    assert_eq!(server.version("a"), "2.2");
    assert_eq!(server.try_add("other", "c", &json!({})).status, 400);
    // It comes back with the next version that has it.
    assert_eq!(server.reload(&compile(3, &[both])).status, 200);
    server.add("other", "c", &json!({}));
    assert_eq!(server.version("c"), "3.3");
}

#[test]
fn what_could_not_start_before_may_start_with_the_next_version() {
    let refuses = r#"INIT=if (strstr(instance->parameters, "new")) { return PORTH_ERROR; }"#;
    let setup = Setup::new().config(
        "watch = false\n[[instance]]\nmodule = 'versions'\nname = 'c'\nparameters = { wants = 'something new' }",
    );
    setup.file(FILE, &compile(1, &[refuses]));
    let server = setup.start();
    assert_eq!(server.version("c"), "503 instance_not_running");
    assert_eq!(server.reload(&compile(2, &[])).json()["instances"], json!(["plugin/c"]));
    assert_eq!(server.version("c"), "2.2");
    // A disabled one stays so.
    assert_eq!(server.admin("PUT", "/api/mod/plugin/c/disable", None).status, 200);
    assert_eq!(server.reload(&compile(3, &[])).json()["instances"], json!([]));
    assert_eq!(server.version("c"), "503 instance_not_running");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/c/enable", None).status, 200);
    assert_eq!(server.version("c"), "3.3");
}

#[test]
fn a_generation_ends_with_the_last_call_and_the_last_body() {
    let server = server();
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("/api/a/slow/500").unwrap();
    // More than any buffer between here and there holds.
    const BYTES: usize = 64 << 20;
    let mut reader = std::net::TcpStream::connect(server.address).unwrap();
    reader.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /api/b/large/{BYTES} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut reader, request.as_bytes()).unwrap();
    let mut first = [0; 1000];
    reader.read_exact(&mut first).unwrap();
    // Both calls have begun once the slow one is seen to have; there is no way to ask, so wait for a moment.
    std::thread::sleep(std::time::Duration::from_millis(100));

    assert_eq!(server.reload(&compile(2, &[])).status, 200);
    assert_eq!(server.version("a"), "2.2");
    assert_eq!(server.library(FILE)["generations"]["draining"], json!([1]));
    let (status, body) = slow.receive().unwrap();
    assert_eq!(status, 200);
    assert!(body.starts_with(br#"{"version":1,"generation":1"#), "{}", String::from_utf8_lossy(&body));
    assert!(slow.get("/api/a/version").unwrap().1.starts_with(br#"{"version":2,"generation":2"#));
    // The instances are closed, but the body is still on its way, and its memory the old library's.
    wait_until("both instances to close", || server.log().matches("version 1 closes").count() == 2);
    assert_eq!(server.library(FILE)["generations"]["draining"], json!([1]));
    assert!(!server.log().contains("version 1 unloads"));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > BYTES - first.len());
    server.wait_for_log("version 1 unloads");
    wait_for_retired(&server, 1);
}

#[test]
fn a_ninth_generation_waits_until_one_has_drained() {
    let server = server();
    let versions = [compile(1, &[]), compile(2, &[])];
    let mut slow = Vec::new();
    for number in 2..10 {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send("/api/a/slow/4000").unwrap();
        slow.push(connection);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(server.reload(&versions[(number + 1) % 2]).json()["generation"], json!(number));
    }
    assert_eq!(server.library(FILE)["generations"]["draining"], json!([1, 2, 3, 4, 5, 6, 7, 8]));
    let reply = server.reload(&versions[1]);
    assert_eq!(reply.summary(), "409 conflict", "{reply:?}");
    assert_eq!(server.version("a"), "1.9");
    assert!(server.library(FILE)["reason"].as_str().unwrap().contains("calls under way"));
    for (number, mut connection) in slow.into_iter().enumerate() {
        let (status, body) = connection.receive().unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["generation"]), (200, &json!(number + 1)));
    }
    wait_for_retired(&server, 8);
    assert_eq!(server.ask_reload(FILE).json()["generation"], 10);
}

#[test]
fn a_reload_holds_up_nobody_elses_administration() {
    let setup = Setup::new().libraries(&["hello"]).config("watch = false");
    setup.file(FILE, &compile(1, &[]));
    let server = setup.start();
    server.add("versions", "a", &json!({}));
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    let slow = compile(2, &["INIT=sleep(2)"]);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            let reply = server.reload(&slow);
            (reply.status, std::time::Instant::now())
        });
        std::thread::sleep(std::time::Duration::from_millis(500));
        let same = scope.spawn(|| {
            let reply = server.admin("PUT", "/api/mod/plugin/a/disable", None);
            (reply.status, std::time::Instant::now())
        });
        assert_eq!(server.admin("PUT", "/api/mod/plugin/good/reset", None).status, 200);
        server.add("hello", "meanwhile", &json!({"greeting": "Hello"}));
        assert_eq!(server.version("a"), "1.1");
        let others_done = std::time::Instant::now();
        // A change of an instance that is being exchanged waits.
        let ((reloaded, reloaded_at), (disabled, disabled_at)) = (reloading.join().unwrap(), same.join().unwrap());
        assert_eq!((reloaded, disabled), (200, 200));
        assert!(others_done < reloaded_at && reloaded_at <= disabled_at + std::time::Duration::from_millis(500));
    });
    assert_eq!(server.version("a"), "503 instance_not_running");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/a/enable", None).status, 200);
    assert_eq!(server.version("a"), "2.2");
}
