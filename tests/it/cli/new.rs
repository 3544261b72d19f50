//! `porth plugin new`: what it writes builds without a warning, passes its own test, and serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::expect;
use serde_json::json;

use super::{check_refused, text};
use crate::support::process::InTime as _;
use crate::support::scale::scaled;
use crate::support::server::Setup;

/// Makes a plug-in where the last run of these tests made it, so that little is built anew.
fn make(name: &str, arguments: &[&str]) -> PathBuf {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(["plugin", "new", name])
        .args(arguments)
        .current_dir(directory.path())
        .output_in_time();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something is left beside it");
    let place = target().join("kit").join(name);
    mirror(&directory.path().join(name), &place);
    place
}

/// <target>/<profile>/deps/it-…
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// Copies what differs.
fn mirror(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let place = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            mirror(&entry, &place);
        } else if fs::read(&entry).ok() != fs::read(&place).ok() {
            fs::copy(&entry, &place).unwrap();
        }
    }
}

/// Runs cargo as an author would, with what the workspace's build has left where that fits.
fn cargo(place: &Path, arguments: &[&str]) -> Output {
    let ran = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(place)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        .env("CARGO_PROFILE_TEST_DEBUG", "line-tables-only")
        .args(["--config", "profile.dev.package.'*'.debug=false"])
        .output_in_time();
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "cargo {arguments:?} in {}:\n{said}{complained}", place.display());
    assert!(!complained.contains("warning"), "cargo {arguments:?} in {}:\n{complained}", place.display());
    ran
}

/// Tests a crate, and answers its library.
fn test_and_build(place: &Path, name: &str, tests: usize) -> PathBuf {
    let tested = cargo(place, &["test"]);
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(said.contains(&format!("test result: ok. {tests} passed")), "{said}");
    cargo(place, &["build"]);
    target().join(format!("debug/lib{name}.so"))
}

/// As rustfmt has it without settings; here it would find those of this repository.
fn check_format(place: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("rustfmt.toml");
    fs::write(&settings, "").unwrap();
    let formatted = Command::new("cargo")
        .args(["fmt", "--check", "--", "--config-path", text(&settings)])
        .current_dir(place)
        .output_in_time();
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stdout));
}

#[test]
fn a_new_plug_in_builds_passes_its_test_and_serves() {
    let place = make("greeter", &["--with", "documents,sessions,metrics,tokio,events"]);
    check_format(&place);
    let library = test_and_build(&place, "greeter", 7);

    let setup = Setup::new();
    setup.file("libgreeter.so", &fs::read(library).unwrap());
    let server = setup.start();
    server.add("greeter", "greeter", &json!({"greeting": "Hello"}));
    assert_eq!(server.get("/api/greeter/hello/World").json(), json!({"message": "Hello, World"}));
    assert_eq!(server.send("POST", "/api/greeter/visits", &[], b"").json(), json!({"visits": 1}));
    assert_eq!(server.get("/api/greeter/me").status, 401);
    let shown = server.admin("GET", "/api/mod/plugin/greeter", None).json();
    let me = json!({"method": "GET", "path": "/me", "auth": "session"});
    assert!(shown["endpoints"].as_array().unwrap().contains(&me), "{shown}");
    let port = server.addresses()[0].port();
    assert_eq!(server.admin("GET", &format!("/api/greeter/port/{port}"), None).json(), json!({"answers": true}));
    assert_eq!(server.get("/api/greeter/port/1").status, 401);
    let refused = server.try_add("greeter", "other", &json!({"greeting": ""}));
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[test]
fn every_kind_builds_and_passes_its_test() {
    let sdk = env!("CARGO_MANIFEST_DIR");
    for kind in ["scheme", "user", "client", "user_middleware"] {
        let name = format!("a-{}", kind.replace('_', "-"));
        let place = make(&name, &["--kind", kind, "--sdk", sdk]);
        assert!(!place.join("sdk").exists());
        check_format(&place);
        let library = test_and_build(&place, &name.replace('-', "_"), 1);
        let checked = super::porth(&["plugin", "check", text(&library)]);
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(said.contains(&format!("module    {kind}/{name}: ")), "{said}");
    }
}

/// What each example adds does not need what another one does.
#[test]
fn every_choice_of_examples_is_whole() {
    let examples = ["documents", "sessions", "metrics", "tokio", "events"];
    let choices = (0..1_u32 << examples.len()).map(|chosen| {
        let chosen = examples.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
        chosen.map(|(_, example)| *example).collect::<Vec<_>>()
    });
    let sdk = env!("CARGO_MANIFEST_DIR");
    // In `make test` each alone; what there is of them together is built above.
    let choices: Vec<_> = choices.filter(|chosen| is_full() || chosen.len() == 1).collect();
    assert_eq!(choices.len(), scaled(5, 32));
    for chosen in choices {
        let mut arguments = vec!["--sdk", sdk];
        let with = chosen.join(",");
        if !chosen.is_empty() {
            arguments.extend(["--with", &with]);
        }
        let place = make("choice", &arguments);
        check_format(&place);
        if is_full() {
            let documents = usize::from(chosen.contains(&"documents"));
            let others = chosen.iter().filter(|example| **example != "metrics").count();
            test_and_build(&place, "choice", 2 + documents + others);
        }
        if chosen.contains(&"tokio") {
            continue;
        }
        let place = make("choice-c", &[&["--c"], arguments.as_slice()].concat());
        build_c(&place, "choice_c");
    }
}

/// Whether there is time for everything.
fn is_full() -> bool {
    scaled(0, 1) == 1
}

/// Builds a plug-in in C as its README says, with warnings as errors, and answers its library.
fn build_c(place: &Path, name: &str) -> PathBuf {
    let made = Command::new("make").args(["-B", "CFLAGS=-O1 -Werror -Wconversion"]).current_dir(place).output_in_time();
    assert!(made.status.success(), "{}: {}", place.display(), String::from_utf8_lossy(&made.stderr));
    place.join(format!("lib{name}.so"))
}

#[test]
fn every_kind_in_c_serves() {
    let setup = Setup::new();
    for kind in ["scheme", "user", "client", "user_middleware"] {
        let name = format!("c-{}", kind.replace('_', "-"));
        let place = make(&name, &["--c", "--kind", kind]);
        let library = build_c(&place, &name.replace('-', "_"));
        if is_full() {
            let tested = super::porth(&["plugin", "test", text(&library)]);
            assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
        }
        setup.file(&format!("lib{}.so", name.replace('-', "_")), &fs::read(library).unwrap());
    }
    let server = setup.start();
    let add = |kind: &str, module: &str, parameters: serde_json::Value| {
        let instance = json!({"module": module, "name": module, "parameters": parameters});
        let added = server.admin("POST", &format!("/api/mod/{kind}/"), Some(&instance));
        assert_eq!(added.status, 200, "{added:?}");
    };
    add("user_middleware", "c-user-middleware", json!({"organisation": "A \"C\" shop"}));
    add("user", "c-user", json!({"people": {"ann": "se\"cret", "bob": "other", "bo\u{17c}ena": "x"}}));
    add("client", "c-client", json!({"clients": {"app": "hush"}}));
    add("scheme", "c-scheme", json!({"length_min": 4}));

    let ann = server.admin("GET", "/api/user/ann", None).json();
    assert_eq!((&ann["source"], &ann["organisation"]), (&json!("c-user"), &json!("A \"C\" shop")), "{ann}");
    let names = |query: &str| {
        let found = server.admin("GET", &format!("/api/user/?{query}"), None).json();
        found.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("pattern=bo"), ["bob", "bo\u{17c}ena"]);
    assert_eq!(names("pattern=bo&offset=1&limit=1"), ["bo\u{17c}ena"]);
    assert_eq!(server.admin("GET", "/api/user/carl", None).status, 404);
    assert_eq!(server.admin("GET", "/api/client/app", None).json()["source"], "c-client");
    assert_eq!(server.admin("GET", "/api/client/ap", None).status, 404);

    let post = |path: &str, cookie: &str, body: &serde_json::Value| {
        let headers = [("content-type", "application/json"), ("cookie", cookie)];
        server.send("POST", path, &headers, body.to_string().as_bytes())
    };
    let log_in = |password: &str| post("/api/auth/", "", &json!({"username": "ann", "password": password}));
    assert_eq!(log_in("secret").status, 401);
    let cookie = log_in("se\"cret").headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let scope = json!({"name": "payments", "scheme": {"second": [{"scheme_name": "c-scheme"}]}});
    assert_eq!(server.admin("POST", "/api/scope/", Some(&scope)).status, 200);
    let registered = |code: &str| {
        let code =
            json!({"scheme_type": "c-scheme", "scheme_name": "c-scheme", "username": "ann", "value": {"code": code}});
        server.admin("POST", "/api/delegate/ann/profile/scheme/register/", Some(&code)).status
    };
    assert_eq!((registered("abc"), registered("abcd")), (400, 200));
    let proved = |code: &str| {
        let proof =
            json!({"username": "ann", "scheme_type": "c-scheme", "scheme_name": "c-scheme", "value": {"code": code}});
        post("/api/auth/", cookie, &proof).status
    };
    assert_eq!((proved("abce"), proved("abcd")), (401, 200));
}

#[test]
fn a_folder_that_is_there_and_a_name_that_cannot_be_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path().join("there");
    fs::create_dir(&there).unwrap();
    let mut refused = super::porth(&["plugin", "new", text(&there)]);
    let complaint = String::from_utf8(std::mem::take(&mut refused.stderr)).unwrap();
    assert!(complaint.ends_with("/there` is there already, and is left as it is\n"), "{complaint}");
    assert_eq!(fs::read_dir(&there).unwrap().count(), 0);
    for (name, why) in [
        (
            "Greeter",
            expect!["porth: a plug-in cannot be called `Greeter`: expected a letter a-z, and then a-z, 0-9, _ and -"],
        ),
        ("fn", expect!["porth: a plug-in cannot be called `fn`: Rust has that word for itself"]),
        ("serde", expect!["porth: a plug-in cannot be called `serde`: it is built with a crate of that name"]),
        (
            "auth",
            expect![
                "porth: a plug-in cannot be called `auth`: the name `auth` of an instance is reserved for the host"
            ],
        ),
    ] {
        check_refused(&["plugin", "new", name], 1, why);
    }
    check_refused(
        &["plugin", "new", "x", "--kind", "scheme", "--with", "events"],
        1,
        expect!["porth: `--with` adds endpoints, which only a module of the kind `plugin` has"],
    );
    check_refused(
        &["plugin", "new", "x", "--c", "--with", "tokio"],
        1,
        expect!["porth: `--with tokio` is for Rust; in C a plug-in has threads of its own, and the host's timers"],
    );
    check_refused(
        &["plugin", "new", "x", "--sdk", "tests"],
        1,
        expect!["porth: `tests` is neither a checkout of Porth nor its `plugin-api`"],
    );
}

#[test]
fn what_cannot_be_written_whole_is_not_written_at_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    // Nobody may write there, and root has no folder to write to.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let missing = directory.path().join("missing/x");
    for place in [missing, closed.join("missing/x")] {
        let refused = super::porth(&["plugin", "new", text(&place)]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(!place.exists());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// The examples' tests turn the feature on for all libraries of this workspace.
#[test]
fn nothing_of_the_fake_host_is_in_a_library() {
    let library = fs::read(crate::support::server::built("hello")).unwrap();
    let holds = |text: &str| library.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("porth_plugin"), "its functions have names");
    for text in ["7testing", "http://porth.test"] {
        assert!(!holds(text), "{text}");
    }
}
