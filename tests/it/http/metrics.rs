//! `/metrics` as a whole: strictly readable, documented, bounded; and the access log beside it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::exposition::{self, Family};
use crate::support::server::{Server, Setup, wait_for, wait_until};

fn families(server: &Server) -> std::collections::BTreeMap<String, Family> {
    let text = server.admin("GET", "/metrics", None).body;
    exposition::read(&text).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

/// The value of the one sample that has these labels, or 0.
fn value(server: &Server, family: &str, labels: &[(&str, &str)]) -> f64 {
    let families = families(server);
    let has = |sample: &&exposition::Sample| {
        labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
    };
    families[family].samples.iter().filter(has).map(|sample| sample.value).sum()
}

#[test]
fn all_of_it_is_well_formed_and_in_the_table_of_the_documentation() {
    let server = Setup::new().libraries(&["misbehaves"]).start();
    server.add("misbehaves", "bad", &json!({}));
    for path in
        ["/api/bad/ok", "/api/bad/count/a%22%0A%5C", "/api/bad/panic-async", "/health/live", "/nowhere", "/a\\\"b"]
    {
        server.get(path);
    }
    let families = families(&server);
    for (name, family) in &families {
        assert!(family.help.ends_with(|end: char| end.is_alphanumeric() || end == ')'), "{name}: {}", family.help);
    }
    let exposed: BTreeSet<&str> =
        families.keys().map(String::as_str).filter(|name| !name.starts_with("porth_plugin_")).collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/administrators.md")).unwrap();
    let (_, section) = page.split_once("## Metrics").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let documented: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('|').map(|(names, _)| names))
        .flat_map(|names| {
            names.split(['`', ',', ' ']).filter(|name| name.starts_with("porth_") || name.starts_with("process_"))
        })
        .filter(|name| !name.starts_with("porth_plugin_"))
        .collect();
    assert_eq!(documented, exposed);
    for (name, family) in families.iter().filter(|(_, family)| !family.samples.is_empty()) {
        let line = section.lines().find(|line| line.contains(&format!("`{name}`")));
        let Some(labels) = line.and_then(|line| line.split('|').nth(2)) else { continue };
        let shown: BTreeSet<&str> =
            labels.split([',', ' ', '(', ')']).filter(|word| !word.is_empty() && *word != "and").collect();
        let found: BTreeSet<&str> = family
            .samples
            .iter()
            .flat_map(|sample| sample.labels.keys().map(String::as_str))
            .filter(|label| *label != "le")
            .collect();
        assert!(found.is_subset(&shown), "{name}: {found:?}, documented {shown:?}");
    }
}

#[test]
fn who_asks_makes_no_series() {
    let server = Setup::new().libraries(&["misbehaves"]).start();
    server.add("misbehaves", "bad", &json!({}));
    let series = |server: &Server| families(server).values().map(|family| family.samples.len()).sum::<usize>();
    let ask = |round: usize| {
        for number in 0..20 {
            let name = format!("{round}-{number}");
            for path in [
                format!("/{name}"),
                format!("/api/{name}/x"),
                format!("/api/bad/{name}"),
                format!("/api/user/{name}"),
                format!("/api/bad/delay/{number}"),
            ] {
                server.get(&path);
            }
            server.send(&format!("X{round}{number}"), "/config", &[], b"");
        }
    };
    ask(0);
    // What counts this very question is there from the second time on.
    series(&server);
    let before = series(&server);
    ask(1);
    assert_eq!(series(&server), before);
    assert_eq!(value(&server, "porth_host_requests_total", &[("route", "(none)"), ("method", "GET")]), 80.0);
    assert_eq!(
        value(&server, "porth_host_requests_total", &[("route", "/api/user/{username}"), ("status", "4xx")]),
        40.0
    );
    assert_eq!(value(&server, "porth_call_failures_total", &[("instance", "bad"), ("reason", "no_endpoint")]), 40.0);
    assert_eq!(value(&server, "porth_requests_total", &[("instance", "bad"), ("route", "/delay/{ms}")]), 40.0);
}

#[test]
fn what_goes_on_is_counted() {
    let server = Setup::new().libraries(&["misbehaves"]).start();
    server.add("misbehaves", "bad", &json!({}));
    let in_flight = || value(&server, "porth_requests_in_flight", &[("route", "/delay/{ms}")]);
    {
        let mut waits = crate::support::connection::Connection::open(server.address).unwrap();
        waits.send("/api/bad/delay/60000").unwrap();
        wait_until("the request to be under way", || in_flight() == 1.0);
        assert!(value(&server, "porth_connections", &[]) >= 2.0);
    }
    // Its client has left.
    wait_until("its end", || in_flight() == 0.0);
    let left = [("route", "/delay/{ms}"), ("reason", "cancelled")];
    assert_eq!(value(&server, "porth_request_failures_total", &left), 1.0);

    let log_ins = |outcome| value(&server, "porth_log_ins_total", &[("outcome", outcome)]);
    let user = json!({"username": "anna", "password": "right and long", "scope": ["g_profile"]});
    assert_eq!(server.admin("POST", "/api/user/", Some(&user)).status, 200);
    let log_in = |password: &str| {
        let body = json!({"username": "anna", "password": password}).to_string();
        server.send("POST", "/api/auth/", &[("content-type", "application/json")], body.as_bytes()).status
    };
    assert_eq!((log_in("wrong"), log_in("right and long")), (401, 200));
    assert_eq!((log_ins("failed"), log_ins("succeeded"), log_ins("locked_out")), (1.0, 1.0, 0.0));
    let writes = value(&server, "porth_store_write_seconds", &[]);
    assert!(writes >= 3.0, "the instance, the user, the session: {writes}");
    assert!(value(&server, "porth_store_commits_total", &[]) >= 3.0);
    assert_eq!(value(&server, "porth_store_writes_in_flight", &[]), 0.0);
}

/// The lines of the access log about something, once there are as many.
fn access(server: &Server, about: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} lines about {about}"), || {
        let log = server.log();
        let lines: Vec<Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["target"] == "porth::access" && line["message"].as_str().unwrap().contains(about))
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_names_nobody() {
    let server = Setup::new().libraries(&["misbehaves"]).config("[log]\nformat = 'json'\naccess = true").start();
    server.add("misbehaves", "bad", &json!({}));
    let reply = server.get("/api/bad/delay/5?secret=1");
    let line = &access(&server, "GET /delay/{ms}", 1)[0];
    assert_eq!(line["request_id"], json!(reply.headers["x-request-id"].to_str().unwrap()));
    let fields = &line["fields"];
    assert_eq!((&fields["instance"], &fields["route"]), (&json!("plugin/bad"), &json!("/delay/{ms}")));
    assert_eq!((&fields["status"], &fields["whole"]), (&json!(200), &json!(true)));
    assert_eq!((&fields["bytes"], &fields["peer"]), (&json!(reply.body.len()), &json!("127.0.0.1")));
    assert!(fields["duration_ms"].as_f64().unwrap() >= 5.0, "{line}");

    server.get("/api/user/anna");
    assert_eq!(access(&server, "GET /api/user/{username}", 1)[0]["fields"]["status"], 401);
    server.get("/no/%0A/x");
    let line = &access(&server, "GET /no/", 1)[0]["fields"];
    assert_eq!((&line["path"], &line["route"]), (&json!("/no/%0A/x"), &Value::Null));
    let head = server.send("HEAD", "/config", &[], b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(access(&server, "HEAD /config", 1)[0]["fields"]["whole"], true);
    {
        let mut leaves = crate::support::connection::Connection::open(server.address).unwrap();
        leaves.send("/api/bad/delay/60001").unwrap();
        let under_way = [("route", "/delay/{ms}")];
        wait_until("the request", || value(&server, "porth_requests_in_flight", &under_way) == 1.0);
    }
    let left = &access(&server, "GET /delay/{ms}", 2)[1]["fields"];
    assert_eq!((&left["status"], &left["whole"]), (&Value::Null, &json!(false)), "{left}");
    for secret in ["anna", "secret"] {
        assert!(!server.log().contains(secret), "{secret}");
    }
}

#[test]
fn there_is_no_access_log_unless_it_is_asked_for() {
    let server = Setup::new().config("[log]\nformat = 'json'").start();
    server.get("/config");
    assert_eq!(server.admin("GET", "/metrics", None).status, 200);
    assert!(!server.log().contains("porth::access"), "{}", server.log());
}
