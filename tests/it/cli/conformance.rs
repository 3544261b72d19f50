//! `porth plugin test`: the examples pass, and each misbehaviour is found by the check that is for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use expect_test::expect;
use serde_json::Value;

use super::text;
use crate::support::client::Client;
use crate::support::process::InTime as _;
use crate::support::server::{Setup, built, library_name};

/// Tests a library; the report, and whether it passed.
fn report(library: &Path, parameters: &[&str]) -> (Value, bool) {
    let mut arguments = vec!["--json", "plugin", "test", text(library)];
    for parameters in parameters {
        arguments.extend(["--parameters", parameters]);
    }
    let tested = Command::new(env!("CARGO_BIN_EXE_porth")).args(arguments).output_in_time();
    let (said, complained) = (String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{complained}"));
    (report, tested.status.success())
}

/// The checks of these grades, with what they say.
fn checks<'a>(report: &'a Value, grades: &[&str]) -> Vec<(&'a str, &'a str)> {
    let sections = report["sections"].as_array().unwrap().iter();
    let checks = sections.flat_map(|section| section["checks"].as_array().unwrap());
    let wanted = checks.filter(|check| grades.contains(&check["grade"].as_str().unwrap()));
    wanted.map(|check| (check["name"].as_str().unwrap(), check["detail"].as_str().unwrap())).collect()
}

fn check_passes(library: &Path) {
    let (report, passes) = report(library, &[]);
    assert_eq!(checks(&report, &["warn", "fail"]), [], "{report:#}");
    assert!(passes && report["passed"].as_u64().unwrap() > 10, "{report:#}");
}

/// The names of the checks that fail.
fn failures(report: &Value) -> BTreeSet<&str> {
    checks(report, &["fail"]).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn hello_passes() {
    check_passes(&built("hello"));
}

#[test]
fn clock_passes() {
    check_passes(&built("clock"));
}

#[test]
fn notes_passes() {
    check_passes(&built("notes"));
}

/// As they are in debug builds: after a reload or two so much code is retired that a fresh process takes over.
#[test]
fn a_large_library_passes() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libhello.so");
    std::fs::copy(built("hello"), &library).unwrap();
    std::fs::OpenOptions::new().write(true).open(&library).unwrap().set_len(80 << 20).unwrap();
    check_passes(&library);
}

#[test]
fn a_plug_in_in_c_passes() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("salut");
    let porth = env!("CARGO_BIN_EXE_porth");
    let made = super::porth(&["plugin", "new", "--c", "--with", "documents,sessions,metrics,events", text(&place)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // As its README says.
    let tested = Command::new("make")
        .args(["test", "CFLAGS=-O1 -Werror", &format!("PORTH={porth}")])
        .current_dir(&place)
        .output_in_time();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(tested.status.success(), "{said}{}", String::from_utf8_lossy(&tested.stderr));
    assert!(said.contains("passes: 0 failures, 0 warnings"), "{said}");
    let server = Setup::new();
    server.file(&library_name("salut"), &std::fs::read(place.join("libsalut.so")).unwrap());
    let server = server.start();
    server.add("salut", "salut", &serde_json::json!({"greeting": "Salut"}));
    assert_eq!(server.get("/api/salut/hello/toi").json(), serde_json::json!({"message": "Salut, toi"}));
    assert_eq!(server.get("/api/salut/hello/%22").json(), serde_json::json!({"message": "Salut, \""}));
    for visits in 1..3 {
        assert_eq!(server.send("POST", "/api/salut/visits", &[], b"").json(), serde_json::json!({"visits": visits}));
    }
    assert_eq!(server.get("/api/salut/me").status, 401);
    let mut ticks = Client::get(&server, "/api/salut/ticks");
    assert_eq!([ticks.text(), ticks.text()], ["data: 1\n\n", "data: 2\n\n"]);
    let metrics = server.admin("GET", "/metrics", None).body;
    assert!(metrics.contains("porth_plugin_salut_greetings_total{instance=\"salut\"} 2"), "{metrics}");
}

#[test]
fn every_kind_of_module_passes() {
    let (report, passes) = report(&built("mock"), &[]);
    assert!(passes, "{report:#}");
    let about: Vec<&str> =
        report["sections"].as_array().unwrap().iter().map(|one| one["about"].as_str().unwrap()).collect();
    assert_eq!(about.len(), 6, "{about:?}");
}

#[test]
fn what_endpoints_do_wrong_is_found() {
    let (report, passes) = report(&built("misbehaves"), &[r#"misbehaves={"label": "x"}"#]);
    assert!(!passes);
    let failures = failures(&report);
    for check in ["crashes", "panics", "odd parameters"] {
        assert!(failures.contains(check), "{check}: {report:#}");
    }
    let said = |check: &str| -> String {
        let all = checks(&report, &["warn", "fail"]);
        all.into_iter().filter(|(name, _)| *name == check).map(|(_, detail)| detail).collect()
    };
    assert!(said("crashes").contains("GET /abort"), "{}", said("crashes"));
    assert!(said("deadlines").contains("GET /hang-async: 504 plugin_deadline"), "{}", said("deadlines"));
    assert!(said("odd parameters").contains("`at` is \"init-panics\""), "{}", said("odd parameters"));
}

#[test]
fn what_takes_the_store_for_granted_and_what_hoards_is_found() {
    let (report, passes) = report(&built("misbehaves"), &[r#"misbehaves={"at": "careless"}"#]);
    assert!(!passes);
    let found = checks(&report, &["warn", "fail"]);
    let said = |check: &str| found.iter().find(|(name, _)| *name == check).map(|(_, detail)| *detail);
    assert!(said("store that fails").unwrap().contains("panicked"), "{report:#}");
    assert!(said("memory of requests").is_some(), "{report:#}");
    assert_eq!(said("end while it is asked"), None, "{report:#}");
}

#[test]
fn what_an_instance_leaves_behind_is_found() {
    let (report, _) = report(&built("misbehaves"), &[r#"misbehaves={"at": "leaks"}"#]);
    assert!(failures(&report).contains("threads and files"), "{report:#}");
}

#[test]
fn a_close_that_does_not_end_is_found() {
    let (report, _) = report(&built("misbehaves"), &[r#"misbehaves={"at": "close-hangs"}"#]);
    assert!(failures(&report).contains("close and unload"), "{report:#}");
}

#[test]
fn what_is_no_library_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("libx.so");
    std::fs::write(&file, b"no library").unwrap();
    let (report, passes) = report(&file, &[]);
    assert!(!passes);
    assert_eq!(failures(&report), BTreeSet::from(["judged by its bytes"]));
    let refused = super::porth(&["plugin", "test", text(&built("hello")), "--parameters", "other={}"]);
    expect!["porth: `--parameters`: the library has no module `other`"]
        .assert_eq(String::from_utf8_lossy(&refused.stderr).trim_end());
    assert_eq!(refused.status.code(), Some(1));
}
