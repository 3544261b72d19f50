//! `porth check-config`, and what the environment says to every command.

use std::process::{Command, Output, Stdio};

use expect_test::expect;
use serde_json::Value;

use crate::support::process::InTime as _;

/// Checks `text` as a configuration, with these variables and nothing else of `PORTH_…`.
fn check(text: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("porth.toml");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_porth"));
    command.arg("check-config").arg("--config").arg(&config).args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTH_")) {
        command.env_remove(name);
    }
    let mut output = command.envs(variables.iter().copied()).output_in_time();
    let shown = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(directory.path().to_str().unwrap(), "DIR");
    output.stdout = shown(output.stdout).into();
    output.stderr = shown(output.stderr).into();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn what_counts_is_shown_with_who_said_so() {
    let config = "listen = '127.0.0.1:1'\ndatabase = 'postgres://a:secret@b/c'\n[[instance]]\nmodule = 'm'\nname = 'n'\n\
                  parameters = { password = 'secret' }";
    let variables = [("PORTH_LIMITS__DEADLINE_MS", "5"), ("PORTH_LIMIT__DEADLINE_MS", "5"), ("PORTH_TRUST", "")];
    let output = check(config, &variables, &["--changed", "--set", "watch=false"]);
    expect![[r#"
        # DIR/porth.toml
        listen = "127.0.0.1:1"                            # line 1
        watch = false                                     # --set watch
        database = "postgres://a:…@b/c"                   # line 2
        limits.deadline_ms = 5                            # PORTH_LIMITS__DEADLINE_MS
        # 1 x [[instance]]                                # line 3
    "#]]
    .assert_eq(text(&output.stdout));
    expect![[r#"
        warning: the environment variable `PORTH_LIMIT__DEADLINE_MS` means nothing; did you mean `PORTH_LIMITS__DEADLINE_MS`?
    "#]]
    .assert_eq(text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(check(config, &variables, &["--strict"]).status.code(), Some(1));
    let listeners = check("[[listener]]\naddress = '127.0.0.1:1'\n", &[], &["--changed"]);
    assert!(text(&listeners.stdout).contains("# 1 x [[listener]]  "), "{}", text(&listeners.stdout));
    assert_eq!(check(config, &[], &["--strict"]).status.code(), Some(0));
}

#[test]
fn programs_get_every_key_in_json() {
    let output = check("", &[("PORTH_WATCH", "false")], &["--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = shown["keys"].as_object().unwrap();
    assert_eq!(keys.len(), porth::config::keys().len());
    assert_eq!(keys["watch"], serde_json::json!({"value": false, "origin": "environment", "from": "PORTH_WATCH"}));
    assert_eq!(keys["data"]["value"], "DIR/data");
    assert_eq!((&shown["file"], &shown["warnings"]), (&"DIR/porth.toml".into(), &Value::Array(Vec::new())));
}

#[test]
fn what_the_server_would_refuse_is_refused() {
    for (config, variables, reason) in [
        ("lisen = 1", &[][..], "line 1, column 1: there is no key `lisen`; did you mean `listen`?"),
        ("listen = 1", &[], "line 1, column 10"),
        ("", &[("PORTH_LISTEN", "1")][..], "`PORTH_LISTEN` is `1`: invalid socket address syntax"),
        ("[limits]\nstuck_ms = 1", &[], "`limits.stuck_ms` is 1; it must be 100 to 86400000"),
        ("[[instance]]\nmodule = 'm'\nname = 'N'", &[], "the configuration declares the instance `plugin/N`"),
    ] {
        let output = check(config, variables, &["--json"]);
        assert_eq!(output.status.code(), Some(78), "{config}");
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told["error"]["message"].as_str().unwrap().contains(reason), "{told}");
        assert_eq!(told["error"]["exit_code"], 78);
    }
}

#[test]
fn a_sample_is_a_configuration() {
    let sample = check("", &[], &["--sample"]).stdout;
    let output = check(text(&sample), &[], &["--changed"]);
    assert_eq!((text(&output.stdout), output.status.code()), ("# DIR/porth.toml\n", Some(0)));
}
