//! `/metrics`: who may read it, and what is in it.

use expect_test::expect;
use serde_json::json;

use crate::support::server::{Server, Setup, new_key};

/// The samples whose line has a text, without those whose value depends on the machine.
fn samples(server: &Server, text: &str) -> String {
    let reply = server.admin("GET", "/metrics", None);
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let shown = reply.body.lines().filter(|line| line.contains(text));
    shown.filter(|line| !line.contains("_bucket{") && !line.contains("_sum{")).collect::<Vec<_>>().join("\n")
}

/// Read line by line, as its grammar says: a counter's family lacks the end that its samples have, and the text has one.
#[test]
fn open_metrics_is_there_for_who_asks() {
    let server = Setup::new().libraries(&["hello"]).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    server.get("/api/good/hello/you");
    let key = format!("token {}", new_key(&server.data(), "scraper"));
    let ask = |accept: &str| server.send("GET", "/metrics", &[("authorization", &key), ("accept", accept)], b"");
    let plain = ask("text/plain");
    assert_eq!(plain.headers["vary"], "accept");
    let reply = ask("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    assert_eq!(reply.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = reply.body.strip_suffix("# EOF\n").expect("its end");
    let (mut family, mut kind, mut counters, mut families) = ("", "", 0, std::collections::BTreeSet::new());
    for line in text.lines() {
        assert!(!line.is_empty() && line != "# EOF", "{text}");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert!(families.insert(family), "a second {family}");
            assert!(kind == "unknown" || !family.ends_with("_total"), "{line}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            assert!(
                name.strip_prefix(family).is_some_and(|suffix| suffixes.contains(&suffix)),
                "{family} {kind}: {line}"
            );
            counters += usize::from(kind == "counter");
        }
    }
    assert!(counters > 5 && text.contains("porth_requests_total{instance=\"good\""), "{text}");
}

#[test]
fn endpoints_and_instances_are_counted() {
    let server = Setup::new().libraries(&["misbehaves", "hello"]).start();
    server.add("misbehaves", "bad", &json!({}));
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    for path in [
        "bad/ok",
        "bad/ok",
        "bad/ok-own",
        "bad/nobody",
        "bad/chain",
        "bad/panic-async",
        "bad/sleep/1000",
        "good/hello/you",
        "bad/unknown",
        "bad/admin",
    ] {
        server.get(&format!("/api/{path}"));
    }
    // A restart of the instance does not begin anew what is counted of its endpoints.
    assert_eq!(server.admin("PUT", "/api/mod/plugin/bad/reset", None).status, 200);
    server.get("/api/bad/ok");
    expect![[r#"
        porth_requests_total{instance="bad",method="GET",route="/chain",status="2xx"} 1
        porth_requests_total{instance="bad",method="GET",route="/nobody",status="4xx"} 1
        porth_requests_total{instance="bad",method="GET",route="/ok",status="2xx"} 3
        porth_requests_total{instance="bad",method="GET",route="/ok-own",status="2xx"} 1
        porth_requests_total{instance="bad",method="GET",route="/panic-async",status="5xx"} 1
        porth_requests_total{instance="bad",method="GET",route="/sleep/{ms}",status="5xx"} 1
        porth_request_seconds_count{instance="bad",method="GET",route="/chain"} 1
        porth_request_seconds_count{instance="bad",method="GET",route="/nobody"} 1
        porth_request_seconds_count{instance="bad",method="GET",route="/ok"} 3
        porth_request_seconds_count{instance="bad",method="GET",route="/ok-own"} 1
        porth_request_seconds_count{instance="bad",method="GET",route="/panic-async"} 1
        porth_request_seconds_count{instance="bad",method="GET",route="/sleep/{ms}"} 1
        porth_requests_in_flight{instance="bad",method="GET",route="/chain"} 0
        porth_requests_in_flight{instance="bad",method="GET",route="/nobody"} 0
        porth_requests_in_flight{instance="bad",method="GET",route="/ok"} 0
        porth_requests_in_flight{instance="bad",method="GET",route="/ok-own"} 0
        porth_requests_in_flight{instance="bad",method="GET",route="/panic-async"} 0
        porth_requests_in_flight{instance="bad",method="GET",route="/sleep/{ms}"} 0
        porth_request_failures_total{instance="bad",method="GET",reason="refused",route="/admin"} 1
        porth_request_failures_total{instance="bad",method="GET",reason="not_taken",route="/nobody"} 1
        porth_request_failures_total{instance="bad",method="GET",reason="panic",route="/panic-async"} 1
        porth_request_failures_total{instance="bad",method="GET",reason="deadline",route="/sleep/{ms}"} 1
        porth_call_failures_total{instance="bad",reason="not_taken"} 1
        porth_call_failures_total{instance="bad",reason="body_too_large"} 0
        porth_call_failures_total{instance="bad",reason="panic"} 1
        porth_call_failures_total{instance="bad",reason="failed"} 0
        porth_call_failures_total{instance="bad",reason="malformed"} 0
        porth_call_failures_total{instance="bad",reason="deadline"} 1
        porth_call_failures_total{instance="bad",reason="busy"} 0
        porth_call_failures_total{instance="bad",reason="broken"} 0
        porth_call_failures_total{instance="bad",reason="no_endpoint"} 1
        porth_call_failures_total{instance="bad",reason="body_too_slow"} 0
        porth_instance_generation{instance="bad"} 1
        porth_instance_health{instance="bad"} 0
        porth_instance_moved{instance="bad"} 0
        porth_instance_strikes_total{instance="bad"} 0
        porth_instance_calls{instance="bad"} 0
        porth_instance_threads{instance="bad",state="busy"} 0
        porth_instance_threads{instance="bad",state="idle"} 0
        porth_instance_threads{instance="bad",state="overdue"} 0
        porth_instance_waiting{instance="bad"} 0"#]]
    .assert_eq(&samples(&server, "instance=\"bad\""));
    let latency = server.admin("GET", "/metrics", None).body;
    let bucket = r#"porth_request_seconds_bucket{instance="good",method="GET",route="/hello/{name}",le="30"} 1"#;
    assert!(latency.contains(bucket), "{latency}");

    // With the instance its numbers go.
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/bad", None).status, 200);
    assert_eq!(samples(&server, "instance=\"bad\""), "");
    let process = samples(&server, "p");
    for name in [
        r#"porth_library_generations{library="libhello.so",state="present"} 1"#,
        r#"porth_library_retired_bytes{library="libhello.so"} 0"#,
        "porth_child_generation 1",
        "porth_crashes_total 0",
        "process_resident_memory_bytes ",
        "process_threads ",
    ] {
        assert!(process.contains(&format!("\n{name}")), "{name}\n{process}");
    }
}

#[test]
fn plug_ins_count_for_themselves() {
    let server = Setup::new().libraries(&["misbehaves"]).start();
    for name in ["one", "two"] {
        server.add("misbehaves", name, &json!({}));
    }
    for path in ["one/count/a", "one/count/a", "one/count/b%22%0A", "two/count/a"] {
        let reply = server.get(&format!("/api/{path}"));
        assert_eq!(reply.body, r#"Err(Parameter("`seen_total` is a counter already"))"#);
    }
    expect![[r#"
        # HELP porth_plugin_misbehaves_level A level
        # TYPE porth_plugin_misbehaves_level gauge
        porth_plugin_misbehaves_level{instance="one"} 1.5
        porth_plugin_misbehaves_level{instance="two"} 1.5
        # HELP porth_plugin_misbehaves_seen_total Seen labels
        # TYPE porth_plugin_misbehaves_seen_total counter
        porth_plugin_misbehaves_seen_total{instance="one",label="a"} 2
        porth_plugin_misbehaves_seen_total{instance="one",label="b\"\n"} 1
        porth_plugin_misbehaves_seen_total{instance="two",label="a"} 1
        # HELP porth_plugin_misbehaves_waits_seconds Waits
        # TYPE porth_plugin_misbehaves_waits_seconds histogram
        porth_plugin_misbehaves_waits_seconds_count{instance="one"} 3
        porth_plugin_misbehaves_waits_seconds_count{instance="two"} 1"#]]
    .assert_eq(&samples(&server, "porth_plugin_"));

    // A plug-in that takes something endless for a label loses samples and learns it from the log; nothing else happens.
    for number in 0..1100 {
        server.get(&format!("/api/one/count/{number}"));
    }
    server.wait_for_log("instance plugin/one, metric `seen_total`: more than 1000 series");
    assert_eq!(samples(&server, "seen_total{instance=\"two\"").lines().count(), 1);
    assert!(samples(&server, "seen_total{instance=\"one\"").lines().count() < 1000);
}

#[test]
fn only_administrators_read_metrics() {
    let server = Setup::new().start();
    assert_eq!(server.get("/metrics").summary(), "401 unauthorized");
    assert_eq!(server.send("POST", "/metrics", &[], b"").summary(), "405 method_not_allowed");
    assert_eq!(server.admin("GET", "/metrics", None).status, 200);
}
