//! `porth user`, `client` and `scope`: with a server, and the same without one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::process::InTime as _;
use crate::support::server::{Server, Setup};

/// Where commands work.
enum At {
    Server(Box<Server>),
    Store(tempfile::TempDir),
}

impl At {
    fn command(&self, arguments: &[&str]) -> Command {
        match self {
            Self::Server(server) => server.porth(arguments),
            Self::Store(data) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_porth"));
                command.args(arguments).env_remove("PORTH_CONFIG").env("PORTH_DATA", data.path());
                command
            }
        }
    }

    /// What a command prints, or its complaint.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).stdin(Stdio::null()).output_in_time();
        let said = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8(said).unwrap().trim_end().to_owned()
    }

    /// As [`run`](Self::run), with a line on standard input.
    fn run_with(&self, arguments: &[&str], line: &str) {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn show(&self, kind: &str, id: &str) -> Value {
        let shown = self.run(&[kind, "show", id]);
        serde_json::from_str(&shown).unwrap_or_else(|_| shown.into())
    }
}

fn check(at: &At) {
    assert_eq!(at.run(&["scope", "add", "read", "--display-name", "Read", "--password-max-age", "60"]), "");
    assert!(at.run(&["scope", "list"]).ends_with("read                      Read"), "{}", at.run(&["scope", "list"]));
    assert_eq!(at.run(&["scope", "set", "read", "--password-required", "false"]), "");
    let scope = at.show("scope", "read");
    assert_eq!((&scope["password_required"], &scope["password_max_age"]), (&json!(false), &json!(60)));

    let add = ["user", "add", "Änna", "--name", "Anna A", "--scope", "g_admin", "--scope", "read", "--password-stdin"];
    at.run_with(&add, "secret");
    let properties = ["--property", "phone=[\"1\"]", "--property", "city=Bern", "--email", "a@example.org"];
    assert_eq!(at.run(&[&["user", "set", "änna"], &properties[..]].concat()), "");
    let shown = json!({
        "username": "änna", "name": "Anna A", "email": "a@example.org", "scope": ["g_admin", "read"], "enabled": true,
        "source": "database", "phone": ["1"], "city": "Bern",
    });
    assert_eq!(at.show("user", "ÄNNA"), shown);
    assert_eq!(at.run(&["user", "add", "bob", "--enabled", "false"]), "");
    assert_eq!(at.run(&["user", "list", "--pattern", "BOB"]), "bob                       disabled");
    assert_eq!(at.run(&["user", "list"]).lines().count(), 2);
    assert_eq!(at.run(&["user", "set", "bob", "--scope", "no"]).rsplit(": ").next(), Some("there is no scope `no`"));
    assert_eq!(at.run(&["user", "set", "bob", "--property", "x"]), "porth: a property is `NAME=VALUE`, not `x`");
    assert_eq!(at.run(&["user", "delete", "bob"]), "");
    let refused = at.run(&["user", "show", "bob"]);
    let by_server = if matches!(at, At::Server(_)) { "the server refuses: " } else { "" };
    assert_eq!(refused, format!("porth: {by_server}there is no user `bob`"));
    assert_eq!(at.run(&["user", "set", "änna", "--scope", ""]), "");
    assert_eq!(at.show("user", "änna")["scope"], json!([]));

    let uris = ["--redirect-uri", "https://example.org/a", "--redirect-uri", "https://example.org/b"];
    at.run_with(&[&["client", "add", "app", "--confidential", "true", "--secret-stdin"], &uris[..]].concat(), "s");
    assert_eq!(at.run(&["client", "set", "app", "--authorization-type", "code"]), "");
    let client = at.show("client", "app");
    assert_eq!(client["redirect_uri"], json!(["https://example.org/a", "https://example.org/b"]));
    assert_eq!(at.run(&["client", "list"]), "app                       enabled   code");
    assert_eq!(at.run(&["client", "delete", "app"]), "");
}

#[test]
fn records_are_changed_beside_a_server() {
    let server = Setup::new().start();
    check(&At::Server(Box::new(server)));
}

#[test]
fn records_are_changed_without_a_server() {
    let at = At::Store(tempfile::tempdir().unwrap());
    check(&at);
    let At::Store(data) = &at else { unreachable!() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let opens = runtime.block_on(async {
        let db = porth::store::Db::open("sqlite", data.path(), 0).await.unwrap();
        let passwords = porth::domain::passwords::Passwords::new(1, 1);
        porth::domain::users::Users::new(db, passwords).check_password("änna", "secret").await.unwrap()
    });
    assert!(opens.is_some());
}

#[test]
fn without_a_server_a_name_waits_for_who_must_forget_it() {
    let at = At::Store(tempfile::tempdir().unwrap());
    let At::Store(data) = &at else { unreachable!() };
    assert_eq!(at.run(&["user", "add", "anna"]), "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = porth::store::Db::open("sqlite", data.path(), 0).await.unwrap();
        let scheme = porth::domain::instances::NewInstance {
            kind: "scheme".to_owned(),
            module: "mock".to_owned(),
            name: "code".to_owned(),
            display_name: String::new(),
            parameters: serde_json::Map::new(),
            enabled: true,
            grants: None,
            allow_public: false,
            settings: porth::domain::instances::Settings::default(),
        };
        porth::domain::instances::Instances::new(db.clone()).add(scheme, 0).await.unwrap();
        db.close().await;
    });
    let deleted = at.command(&["user", "delete", "anna"]).stdin(Stdio::null()).output_in_time();
    assert!(deleted.status.success());
    let said = String::from_utf8(deleted.stderr).unwrap();
    assert!(said.contains("not forgotten everywhere") && said.contains("when the server starts"), "{said}");
    let refused = at.command(&["user", "add", "anna"]).stdin(Stdio::null()).output_in_time();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("was another user's"), "{said}");
}

#[test]
fn nothing_is_looked_for_where_nothing_was() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("nowhere");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_porth"));
        command.args(arguments).arg("--data").arg(&nowhere).env_remove("PORTH_CONFIG").stdin(Stdio::null());
        let output = command.output_in_time();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [
        &["user", "list"][..],
        &["scope", "show", "g_admin"],
        &["client", "delete", "app"],
        &["key", "list"],
        &["audit"],
        &["instance", "list"],
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("no server has worked in this data directory yet; `--config FILE`"), "{said}");
        assert!(!nowhere.exists(), "{arguments:?}");
    }
    // What may be meant as a beginning says so.
    let (code, said) = run(&["user", "add", "anna"]);
    assert_eq!((code, said.contains("was made; no server has worked in it yet")), (Some(0), true), "{said}");
    assert_eq!(run(&["user", "show", "anna"]).0, Some(0));
}
