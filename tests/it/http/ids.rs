//! What a request is called: in its answer, in errors, in the log, for plug-ins; and the trace that it belongs to.

use serde_json::{Value, json};

use crate::support::server::{Reply, Server, Setup, wait_for};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn server(config: &str) -> Server {
    let server = Setup::new().libraries(&["misbehaves"]).config(config).start();
    server.add("misbehaves", "bad", &json!({}));
    server
}

fn id(reply: &Reply) -> String {
    reply.headers["x-request-id"].to_str().unwrap().to_owned()
}

/// The line of the log that has all of these, once it is there.
fn line(server: &Server, texts: &[&str]) -> String {
    wait_for(&format!("a line with {texts:?}"), || {
        let log = server.log();
        log.lines().find(|line| texts.iter().all(|text| line.contains(text))).map(str::to_owned)
    })
}

#[test]
fn an_answer_an_error_and_the_log_share_the_id() {
    let server = server("");
    let ids: Vec<String> = ["/health/live", "/config", "/api/bad/ok", "/nowhere", "/api/bad/nowhere", "/api/user/"]
        .into_iter()
        .map(|path| id(&server.get(path)))
        .collect();
    for (index, id) in ids.iter().enumerate() {
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(!ids[..index].contains(id), "{ids:?}");
    }
    for path in ["/nowhere", "/api/bad/nowhere", "/api/user/", "/api/bad/sleep/1000", "/api/%zz"] {
        let reply = server.get(path);
        assert_eq!(reply.json()["request_id"], json!(id(&reply)), "{path} {reply:?}");
    }
    let panicked = server.get("/api/bad/panic-async");
    assert_eq!(panicked.json()["request_id"], json!(id(&panicked)));
    let written = format!("request_id=\"{}\"", id(&panicked));
    line(&server, &["ERROR porth::http::error: instance plugin/bad: the handler panicked", &written]);
    line(&server, &["ERROR plugin: panicked: on purpose", &written]);
}

#[test]
fn a_plug_ins_lines_carry_the_id_of_their_call() {
    let server = server("");
    let reply = server.get("/api/bad/ids?a%0Ab");
    let seen = reply.json();
    assert_eq!(seen["request_id"], json!(id(&reply)));
    let own = server.get("/api/bad/ids-own");
    for (reply, text) in [
        (&reply, "INFO plugin: asked for its ids"),
        (&reply, "INFO plugin: answers its ids after a wait"),
        (&own, "INFO plugin: answers its ids on a thread of its own"),
    ] {
        let seen = reply.json();
        let [request_id, trace_id, span_id] = ["request_id", "trace_id", "span_id"]
            .map(|name| format!("{name}=\"{}\"", seen[name].as_str().unwrap_or_default()));
        line(&server, &[text, "instance=\"plugin/bad\"", &request_id, &trace_id, &span_id]);
    }
}

#[test]
fn only_a_trusted_proxy_says_what_a_request_is_called() {
    let asked = |server: &Server, fields: &[(&str, &str)]| id(&server.send("GET", "/api/bad/ids", fields, b""));
    let stranger = server("");
    assert_ne!(asked(&stranger, &[("X-Request-Id", "from-outside")]), "from-outside");
    let behind = server("trusted_proxies = ['127.0.0.1']");
    let seen = behind.send("GET", "/api/bad/ids", &[("X-Request-Id", "from-the-proxy")], b"");
    assert_eq!((id(&seen).as_str(), &seen.json()["request_id"]), ("from-the-proxy", &json!("from-the-proxy")));
    line(&behind, &["asked for its ids", "request_id=\"from-the-proxy\""]);
    for fields in [
        &[("X-Request-Id", "")][..],
        &[("X-Request-Id", "a b")],
        &[("X-Request-Id", "a\"b")],
        &[("X-Request-Id", &"x".repeat(65))],
        &[("X-Request-Id", "one"), ("X-Request-Id", "two")],
        &[],
    ] {
        assert_eq!(asked(&behind, fields).len(), 16, "{fields:?}");
    }
}

fn traced(server: &Server, fields: &[(&str, &str)]) -> Value {
    let seen = server.send("GET", "/api/bad/ids", fields, b"").json();
    assert_eq!(seen["traceparents"], 1, "{seen}");
    let traceparent = seen["traceparent"].as_str().unwrap().to_owned();
    let [trace_id, span_id] = ["trace_id", "span_id"].map(|name| seen[name].as_str().unwrap());
    assert_eq!(traceparent[..53], format!("00-{trace_id}-{span_id}-"));
    seen
}

#[test]
fn a_trace_goes_on_and_another_begins_where_there_is_none() {
    let server = server("");
    let given = [("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
    let seen = traced(&server, &given);
    assert_eq!(seen["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_ne!(seen["span_id"], "b7ad6b7169203331", "the host is a place of its own");
    assert_eq!(seen["tracestate"], "a=1,b=2");
    assert!(seen["traceparent"].as_str().unwrap().ends_with("-01"), "the caller records it: {seen}");

    let first = traced(&server, &[]);
    let second = traced(&server, &[("tracestate", "a=1")]);
    assert_ne!(first["trace_id"], second["trace_id"]);
    assert_eq!(second["tracestate"], Value::Null, "it was about no trace");
    for wrong in [
        &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0")][..],
        &[("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"), ("tracestate", "a=1")],
        &[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)],
    ] {
        let seen = traced(&server, wrong);
        assert_ne!(seen["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert!(seen["traceparent"].as_str().unwrap().ends_with("-00"), "{seen}");
        assert_eq!(seen["tracestate"], Value::Null);
    }
}
