//! The plug-in directory: what is dropped into it, replaced in it and taken out of it, watched or not.

use serde_json::json;

use super::server_with;
use crate::support::server::{Server, Setup, wait_until};
use crate::support::versions::{FILE, compile};

fn wait_for_version(server: &Server, version: &str) {
    wait_until(&format!("version {version}"), || server.version("a") == version);
}

fn wait_for_verdict(server: &Server, verdict: &str, reason: &str) {
    wait_until(&format!("the verdict {verdict}"), || {
        let library = server.library(FILE);
        library["verdict"] == verdict && library["reason"].as_str().unwrap_or_default().contains(reason)
    });
}

#[test]
fn a_watched_directory_is_loaded_from_without_being_asked_to() {
    let server = server_with("", &compile(1, &[]));
    let path = server.plugins().join(FILE);
    // Renamed into place, then overwritten in place.
    server.install(FILE, &compile(2, &[]));
    wait_for_version(&server, "2.2");
    std::fs::write(&path, compile(3, &[])).unwrap();
    wait_for_version(&server, "3.3");

    // A torn file never replaces a good one, and a whole one follows.
    let whole = compile(4, &[]);
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    wait_for_verdict(&server, "refused", "damaged or incomplete");
    assert_eq!(server.version("a"), "3.3");
    std::fs::write(&path, &whole).unwrap();
    wait_for_version(&server, "4.4");
    wait_for_verdict(&server, "loaded", "");

    // Removing it unloads nothing, and it can come back.
    std::fs::remove_file(&path).unwrap();
    wait_for_verdict(&server, "gone", "the file is gone");
    assert_eq!(server.version("a"), "4.4");
    assert_eq!(server.ask_reload(FILE).summary(), "404 not_found");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/a/reset", None).status, 200);
    assert_eq!(server.version("a"), "4.4");
    server.install(FILE, &whole);
    wait_for_verdict(&server, "loaded", "");
    server.install(FILE, &compile(5, &[]));
    wait_for_version(&server, "5.5");

    // What is new is there to be used.
    server.install("libnew.so", &compile(1, &[r#"MODULES="[{\"name\": \"new\"}]""#]));
    wait_until("the new module", || server.try_add("new", "n", &json!({})).status == 200);
    assert_eq!(server.version("n"), "1.1");
}

#[test]
fn a_file_that_is_written_slowly_counts_when_it_is_whole() {
    use std::io::Write as _;
    let server = server_with("", &compile(1, &[]));
    let whole = compile(2, &[]);
    let mut file = std::fs::File::create(server.plugins().join(FILE)).unwrap();
    for chunk in whole.chunks(whole.len() / 8) {
        file.write_all(chunk).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(server.version("a"), "1.1");
    }
    drop(file);
    wait_for_version(&server, "2.2");
    assert!(!server.log().contains("refused"));
}

#[test]
fn a_directory_that_is_exchanged_is_watched_again() {
    let server = server_with("", &compile(1, &[]));
    let plugins = server.plugins();
    std::fs::rename(&plugins, plugins.with_file_name("away")).unwrap();
    server.wait_for_log("was taken away");
    assert_eq!(server.version("a"), "1.1");
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o755).create(&plugins).unwrap();
    server.install(FILE, &compile(2, &[]));
    wait_for_version(&server, "2.2");
    server.install(FILE, &compile(3, &[]));
    wait_for_version(&server, "3.3");
}

#[test]
fn a_directory_that_others_may_write_loads_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = server_with("watch = false", &compile(1, &[]));
    server.install(FILE, &compile(2, &[]));
    let set_mode = |mode| std::fs::set_permissions(server.plugins(), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o777);
    for path in ["/api/admin/library/libversions.so/reload", "/api/mod/reload/"] {
        let reply = server.admin("PUT", path, None);
        assert_eq!(reply.summary(), "409 conflict");
        assert!(reply.body.contains("group and others must not write"), "{reply:?}");
    }
    assert_eq!(server.version("a"), "1.1");
    set_mode(0o755);
    assert_eq!(server.ask_reload(FILE).status, 200);
    assert_eq!(server.version("a"), "2.2");
}

#[test]
fn a_rescan_finds_what_is_new_changed_and_gone() {
    let module = |name: &str| format!(r#"MODULES="[{{\"name\": \"{name}\"}}]""#);
    let setup = Setup::new().config("watch = false");
    for name in ["changed", "gone", "same"] {
        setup.file(&format!("lib{name}.so"), &compile(1, &[&module(name)]));
    }
    let server = setup.start();
    for name in ["changed", "gone", "same"] {
        server.add(name, name, &json!({}));
    }
    // A stored instance whose library comes later.
    std::fs::remove_file(server.plugins().join("libsame.so")).unwrap();
    let server = server.restart();
    assert_eq!(server.version("same"), "503 instance_not_running");
    server.install("libsame.so", &compile(1, &[&module("same")]));
    server.install("libchanged.so", &compile(2, &[&module("changed")]));
    server.install("libconflict.so", &compile(2, &[&module("gone")]));
    std::fs::remove_file(server.plugins().join("libgone.so")).unwrap();
    let reports = server.admin("PUT", "/api/mod/reload/", None).json();
    let short: Vec<_> = reports
        .as_array()
        .unwrap()
        .iter()
        .map(|report| format!("{} {} {}", report["file"], report["outcome"], report["instances"]))
        .collect();
    let expected = [
        r#""libchanged.so" "reloaded" ["plugin/changed"]"#,
        r#""libconflict.so" "refused" []"#,
        r#""libgone.so" "gone" []"#,
        r#""libsame.so" "loaded" ["plugin/same"]"#,
    ];
    assert_eq!(short, expected);
    let conflict =
        "library `libconflict.so` declares the plugin module `gone`, which library `libgone.so` declares already";
    assert_eq!(reports[1]["errors"], json!([conflict]));
    for (name, version) in [("same", "1.1"), ("changed", "2.2"), ("gone", "1.1")] {
        assert_eq!(server.version(name), version, "{name}");
    }
}

#[test]
fn with_a_lock_only_listed_digests_are_loaded_or_probed() {
    // Whoever opens it, even to probe it, leaves a trace.
    let trace = tempfile::tempdir().unwrap();
    let opened = trace.path().join("opened");
    let load = format!(r#"LOAD=fclose(fopen("{}", "w"))"#, opened.display());
    let setup = Setup::new().config("watch = false\ntrust = 'lock'");
    setup.file(FILE, &compile(1, &[&load]));
    let server = setup.start();
    let library = server.library(FILE);
    assert_eq!((&library["verdict"], &library["digest"]), (&json!("unlisted"), &json!(null)));
    let digest = library["file_digest"].as_str().unwrap();
    let reason = library["reason"].as_str().unwrap();
    assert!(reason.contains(digest) && reason.contains("`porth plugin allow FILE` adds it"), "{reason}");
    let missing = server.try_add("versions", "a", &json!({}));
    assert_eq!(missing.status, 400);
    let where_it_may_be =
        format!("no library declares the plugin module `versions`; `{FILE}` is not in `plugins.lock`");
    assert!(super::errors(&missing).contains(&where_it_may_be), "{}", missing.body);
    assert!(super::errors(&server.ask_reload(FILE)).contains("does not list"));
    assert!(!opened.exists());

    let said = server.allow(FILE);
    assert!(said.starts_with(&format!("{FILE}, SHA-256 {digest}, is now in ")), "{said}");
    assert_eq!(server.ask_reload(FILE).json()["outcome"], "loaded");
    server.add("versions", "a", &json!({}));
    assert_eq!(server.reload(&compile(2, &[])).status, 400);
    assert_eq!((server.version("a"), server.library(FILE)["verdict"].clone()), ("1.1".to_owned(), json!("unlisted")));
    server.allow(FILE);
    assert_eq!(server.ask_reload(FILE).json()["outcome"], "reloaded");
    assert_eq!(server.version("a"), "2.2");

    // A list that cannot be read allows nothing, and takes nothing away.
    std::fs::write(server.lock_file(), "nonsense\n").unwrap();
    let reply = server.reload(&compile(3, &[]));
    assert!(super::errors(&reply).starts_with("line 1 of the list of digests"), "{reply:?}");
    assert_eq!(server.version("a"), "2.2");
}

/// What runs is not ended by a file that is gone: the fresh process could not run it, so there is none until it can.
#[test]
fn an_instance_whose_library_is_gone_keeps_its_process() {
    let server = server_with("", &compile(1, &[]));
    let pid = server.child_pid();
    std::fs::remove_file(server.plugins().join(FILE)).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("is dropped and child 1 goes on: the instance plugin/");
    assert_eq!(server.version("a"), "1.1");
    assert_eq!(server.child_pids()[0], pid);

    server.install(FILE, &compile(2, &[]));
    wait_for_version(&server, "2.2");
    server.recycle();
    assert_ne!(server.child_pid(), pid);
    assert_eq!(server.version("a").split('.').next(), Some("2"));
}
