//! `porth doctor` with a server and without one, and what the shell knows of the commands.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::postgres;
use crate::support::process::InTime as _;
use crate::support::server::{Server, Setup};
use crate::support::tls::Certificate;

fn examine(server: &Server, arguments: &[&str]) -> Output {
    server.porth(&[&["doctor"], arguments].concat()).stdin(Stdio::null()).output_in_time()
}

/// What is found, and how the command ends.
fn found(server: &Server) -> (Value, Option<i32>) {
    let plugins = server.plugins();
    let output = examine(server, &["--json", "--set", &format!("plugins={}", plugins.display())]);
    let told = serde_json::from_slice(&output.stdout);
    (told.unwrap_or_else(|_| panic!("{output:?}")), output.status.code())
}

fn codes(told: &Value) -> Vec<&str> {
    told["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// Findings are of the machine, too: only those that a test makes are looked for.
fn has(server: &Server, code: &str, text: &str) -> bool {
    let (told, _) = found(server);
    let findings = told["findings"].as_array().unwrap();
    findings.iter().any(|finding| finding["code"] == code && finding["text"].as_str().unwrap().contains(text))
}

#[test]
fn what_is_wrong_with_a_running_server_is_found() {
    let config = "[[instance]]\nmodule = 'hello'\nname = 'g'\nparameters = { greeting = 'Hi' }\n";
    let server = Setup::new().libraries(&["hello", "mock"]).config(config).start();
    let (told, code) = found(&server);
    assert_eq!((&told["server"], code), (&json!(true), Some(1)));
    let all = codes(&told);
    for expected in ["trust", "mock-library", "no-administrator", "endless-keys"] {
        assert!(all.contains(&expected), "{expected} in {told:#}");
    }
    assert!(!all.contains(&"drift") && !all.contains(&"mock-instance") && !all.contains(&"data-mode"), "{told:#}");
    assert_eq!(told["errors"].as_u64().unwrap() as usize, {
        told["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] == "error").count()
    });

    std::fs::write(server.config_path(), format!("{config}[limits]\ndrain_deadline_ms = 1\n").replace("Hi", "Ho"))
        .unwrap();
    server.add("mock", "m", &json!({}));
    std::fs::set_permissions(server.data(), std::fs::Permissions::from_mode(0o750)).unwrap();
    std::fs::write(server.plugins().join("libwrong.so"), b"\x7fELF").unwrap();
    server.admin("PUT", "/api/mod/reload/", None);
    server.admin("POST", "/api/user/", Some(&json!({"username": "a", "scope": ["g_admin"], "password": "secret"})));
    assert!(has(&server, "drift", "plugin/g"));
    assert!(has(&server, "drain", "after 1 ms"));
    assert!(has(&server, "mock-instance", "plugin/m is a mock"));
    assert!(has(&server, "data-mode", "0750"));
    assert!(has(&server, "library-refused", "libwrong.so"));
    assert!(!has(&server, "no-administrator", ""));

    let people = String::from_utf8(examine(&server, &[]).stdout).unwrap();
    assert!(
        people.contains("-> porth instance delete plugin/m") && people.contains("with the running server"),
        "{people}"
    );
}

#[test]
fn without_a_server_files_and_store_are_looked_at_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let examine = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_porth"));
        command.args(["doctor", "--json", "--data", data.to_str().unwrap()]).env_remove("PORTH_CONFIG");
        command.current_dir(directory.path()).envs(variables.iter().copied()).stdin(Stdio::null()).output_in_time()
    };
    let told: Value = serde_json::from_slice(&examine(&[]).stdout).unwrap();
    assert!(codes(&told).contains(&"no-data") && codes(&told).contains(&"plugins"), "{told:#}");
    assert_eq!((told["server"].as_bool(), data.exists()), (Some(false), false));

    let key = Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(["key", "new", "--name", "k", "--data", data.to_str().unwrap()])
        .stdin(Stdio::null())
        .output_in_time();
    assert!(key.status.success(), "{key:?}");
    let told: Value = serde_json::from_slice(&examine(&[("PORTH_LISTN", "x")]).stdout).unwrap();
    for expected in ["no-administrator", "endless-keys", "configuration"] {
        assert!(codes(&told).contains(&expected), "{expected} in {told:#}");
    }

    std::fs::write(data.join("porth.db"), vec![7; 4096]).unwrap();
    let output = examine(&[]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(codes(&told).contains(&"store"), "{told:#}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn shells_and_the_manual_know_every_command() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_porth")).args(arguments).stdin(Stdio::null()).output_in_time();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        for word in ["check-config", "doctor", "instance", "restore", "dry-run"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        let mut checker = Command::new(shell);
        if shell == "bash" {
            let checked = checker.args(["-n", "-c", &script]).stdin(Stdio::null()).output_in_time();
            assert!(checked.status.success(), "{checked:?}");
        }
    }
    let page = run(&["man"]);
    assert!(page.starts_with(".ie") && page.contains("check\\-config"), "{page}");
    assert!(page.contains("EXIT STATUS") && page.contains("SIGHUP") && page.contains("PORTH_LOG_FORMAT"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    run(&["man", "--dir", directory.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(directory.path().join("porth-instance-add.1")).unwrap();
    assert!(page.contains("dry\\-run"), "{page}");
    let page = std::fs::read_to_string(directory.path().join("porth.toml.5")).unwrap();
    for wanted in ["deadline_ms", "PORTH_LIMITS__DEADLINE_MS", "[[listener]]", "1048576"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(!directory.path().join("porth-child.1").exists(), "hidden commands are nobody's");
}

/// A doctor for files that no server works with.
fn examine_files(directory: &Path, settings: &[&str]) -> Value {
    let data = directory.join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_porth"));
    command.args(["doctor", "--json", "--data", data.to_str().unwrap()]).env_remove("PORTH_CONFIG");
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.current_dir(directory).stdin(Stdio::null()).output_in_time();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_postgresql_that_loses_what_it_acknowledged_is_found() {
    let Some(url) = postgres::create_database() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let database = format!("database={url}");
    assert!(!codes(&examine_files(directory.path(), &[&database])).contains(&"postgres"), "it is empty yet");
    let key = Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(["key", "new", "--name", "k", "--data", data.to_str().unwrap(), "--set", &database])
        .stdin(Stdio::null())
        .output_in_time();
    assert!(key.status.success(), "{key:?}");
    // That of these tests waits for no disk, and they may do everything.
    let told = examine_files(directory.path(), &[&database]);
    let all = codes(&told);
    for expected in ["postgres-durability", "postgres-superuser"] {
        assert!(all.contains(&expected), "{expected} in {told:#}");
    }
    for unexpected in ["postgres", "postgres-rights", "postgres-clock", "postgres-connections", "store"] {
        assert!(!all.contains(&unexpected), "{unexpected} in {told:#}");
    }

    let schema = url.split("application_name=").nth(1).unwrap();
    let role = format!("{schema}_reader");
    postgres::execute(
        &url,
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; \
             GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
        ),
    );
    let weak = format!("database={}", url.replace("postgres@", &format!("{role}@")));
    let told = examine_files(directory.path(), &[&weak]);
    assert!(codes(&told).contains(&"postgres-rights"), "{told:#}");
    assert!(!codes(&told).contains(&"postgres-superuser"), "{told:#}");

    let nobody = "database=postgres://porth@127.0.0.1:9/porth";
    let told = examine_files(directory.path(), &[nobody]);
    assert!(codes(&told).iter().any(|code| ["postgres", "store"].contains(code)), "{told:#}");
}

#[test]
fn a_certificate_is_looked_at_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| {
        let place = directory.path().join(name);
        std::fs::create_dir(&place).unwrap();
        Certificate::write(&place)
    });
    let listener = |key: &Certificate| {
        let (certificate, key) = (one.certificate.display(), key.key.display());
        format!("listener=[{{address = \"127.0.0.1:0\", tls = {{certificate = \"{certificate}\", key = \"{key}\"}}}}]")
    };
    let told = examine_files(directory.path(), &[&listener(&one)]);
    assert!(!codes(&told).contains(&"certificate"), "{told:#}");
    let told = examine_files(directory.path(), &[&listener(&other)]);
    let findings = told["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == "certificate");
    assert!(found.is_some_and(|found| found["text"].as_str().unwrap().contains("does not belong")), "{told:#}");
    let told = examine_files(directory.path(), &[&listener(&one), "external_url=https://id.example.org"]);
    assert!(codes(&told).contains(&"certificate-name"), "{told:#}");
}
