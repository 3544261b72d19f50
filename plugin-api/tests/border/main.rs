//! The entry points that `export_plugin!` makes, driven by a host in test code: no dlopen, the same calls.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests, down to their helpers")]

mod documents;
mod host;
mod library;
mod plugins;
mod questions;
mod waiting;

use std::sync::atomic::Ordering;

use expect_test::expect;
use host::IS_WORKER;
use library::{Library, Outcome, Request};
use porth_abi::code;

const STEADY: &str = r#"{"greeting": "Hello"}"#;

#[test]
fn a_library_describes_its_modules() {
    let library = Library::load();
    let modules: Vec<serde_json::Value> = serde_json::from_str(&library.description).unwrap();
    let names: Vec<_> = modules.iter().map(|module| module["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["steady", "panics", "refuses"]);
    expect![[r#"{"description":"Panics","display_name":"Panics","kind":"plugin","name":"panics","needs":[],"parameters_schema":{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"place":{"type":"string"}},"required":["place"],"title":"Place","type":"object"}}"#]]
    .assert_eq(&modules[1].to_string());
    assert_eq!(modules[0]["needs"].to_string(), r#"["sessions","users:read"]"#);
}

#[test]
fn a_host_with_a_shorter_table_is_refused() {
    let (answer, description) = Library::load_from(host::Table::cut(24));
    assert_eq!(answer, code::UNSUPPORTED);
    expect!["the host's table of callbacks is shorter than this plug-in needs"].assert_eq(&description);
}

#[test]
fn endpoints_carry_their_limits() {
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    let show = |path: &str| {
        let endpoint = steady.endpoint(path);
        format!(
            "{} {} auth={} priority={} flags={} body={} deadline={}",
            endpoint.method,
            endpoint.path,
            endpoint.auth,
            endpoint.priority,
            endpoint.flags,
            endpoint.body_bytes_max,
            endpoint.deadline_ms
        )
    };
    expect!["GET /short auth=none priority=0 flags=1 body=0 deadline=0"].assert_eq(&show("/short"));
    expect!["POST /own auth=scope:a priority=0 flags=0 body=9 deadline=0"].assert_eq(&show("/own"));
    expect!["GET /async/{name} auth= priority=3 flags=1 body=0 deadline=2000"].assert_eq(&show("/async/{name}"));
    expect!["PROPFIND /panic auth= priority=0 flags=1 body=0 deadline=0"].assert_eq(&show("/panic"));
    expect!["* /next auth= priority=0 flags=0 body=0 deadline=0"].assert_eq(&show("/next"));
    assert!(!steady.endpoints.iter().any(|endpoint| endpoint.path == "/removed"));
}

fn check(request: Request, expected: expect_test::Expect) {
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    let (outcome, request) = steady.call(request);
    expected.assert_eq(&outcome.to_string());
    assert_eq!(request.retained.load(Ordering::SeqCst), 0, "retained more often than released");
    assert_eq!(steady.close(), code::OK);
}

#[test]
fn synchronous_handlers_answer() {
    check(
        Request::to("/short"),
        expect![[r#"READY 200 content-type: application/json | {"greeting":"Hello","path":"/short"}"#]],
    );
    check(Request::to("/own").body("shout"), expect!["READY 200 content-type: application/octet-stream | SHOUT"]);
    check(Request::to("/static"), expect!["READY 200 content-type: text/plain; charset=utf-8 | static"]);
    check(
        Request::to("/kept").caller("user", "dave"),
        expect![[r#"READY 200 content-type: text/plain; charset=utf-8 | /kept User("dave")"#]],
    );
    check(
        Request::to("/kept").caller("robot", "r"),
        expect!["READY 200 content-type: text/plain; charset=utf-8 | /kept None"],
    );
}

#[test]
fn asynchronous_handlers_answer() {
    check(
        Request::to("/async/{name}").param("name", "you"),
        expect!["PENDING READY 200 content-type: text/plain; charset=utf-8 | Hello, you"],
    );
    check(Request::to("/timer"), expect!["PENDING PENDING READY 204 | "]);
    check(
        Request::to("/user").session("valid"),
        expect![[r#"PENDING PENDING READY 200 content-type: application/json | {"username":"dave","email":"d@x"}"#]],
    );
    check(
        Request::to("/user").session("old"),
        expect!["PENDING PENDING READY 200 content-type: application/json | null"],
    );
    check(Request::to("/user"), expect!["PENDING PENDING READY 200 content-type: application/json | null"]);
}

#[test]
fn blocking_forms_answer_where_they_may() {
    check(
        Request::to("/user-blocking").session("valid"),
        expect![[r#"READY 200 content-type: application/json | {"username":"dave","email":"d@x"}"#]],
    );
    IS_WORKER.set(true);
    check(
        Request::to("/user-blocking").session("valid"),
        expect![[
            r#"READY 500 content-type: application/problem+json | {"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal","detail":"The plug-in failed; the log says why.","request_id":"0190"}"#
        ]],
    );
    IS_WORKER.set(false);
}

#[test]
fn bodies_come_in_pieces() {
    let pieces = [(code::OK, "one"), (code::OK, "two"), (code::OK, "")];
    let text = "content-type: text/plain; charset=utf-8";
    for path in ["/stream-body", "/stream-body-own", "/through"] {
        let library = Library::load();
        let steady = library.init("steady", STEADY).unwrap();
        let (outcome, request) = steady.call(Request::to(path).pieces(&pieces));
        let expected = match path {
            "/stream-body" => format!("PENDING PENDING PENDING PENDING READY 200 {text} | one+two"),
            "/stream-body-own" => "READY 200 content-type: application/json | 6".to_owned(),
            _ => "PENDING READY 200 content-type: application/octet-stream | [one] [two] end".to_owned(),
        };
        assert_eq!(outcome.to_string(), expected);
        assert_eq!(request.retained.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_body_that_is_cut_off_is_the_clients_fault() {
    let cut = |code| {
        let library = Library::load();
        let steady = library.init("steady", STEADY).unwrap();
        let (outcome, _) = steady.call(Request::to("/stream-body").pieces(&[(code::OK, "one"), (code, "")]));
        assert!(steady.lines().iter().all(|line| line.level > code::level::WARN), "{:?}", steady.lines());
        outcome.to_string()
    };
    expect![[r#"PENDING PENDING PENDING READY 413 content-type: application/problem+json | {"type":"about:blank","title":"Content Too Large","status":413,"code":"content_too_large","detail":"The body is larger than allowed."}"#]].assert_eq(&cut(code::TOO_LARGE));
    expect![[r#"PENDING PENDING PENDING READY 400 content-type: application/problem+json | {"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request","detail":"The body ended early."}"#]].assert_eq(&cut(code::CANCELLED));
}

#[test]
fn responses_come_in_pieces() {
    check(Request::to("/stream"), expect!["PENDING READY 200 content-type: text/plain | [one] [two] -2 on purpose"]);
    check(
        Request::to("/stream-own"),
        expect!["READY 200 content-type: application/octet-stream | [0] [1] [2] [3] [4] end"],
    );
    check(
        Request::to("/events"),
        expect![[r#"
        PENDING READY 200 content-type: text/event-stream, x-accel-buffering: no | [id: 1
        data: a
        data: b

        ] [: 

        ] [event: list
        data: [1]

        ] end"#]],
    );
}

#[test]
fn a_panic_in_a_stream_breaks_it_off() {
    let answer = "PENDING READY 200 content-type: application/octet-stream |";
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    assert_eq!(steady.call(Request::to("/panic-stream")).0.to_string(), format!("{answer} [one] -1 "));
    let line = steady.lines().pop().unwrap();
    assert_eq!((line.target.as_str(), line.message.as_str()), ("panic", "panicked: in a stream"));
    assert_eq!(steady.call(Request::to("/panic-stream-drop")).0.to_string(), format!("{answer} end"));
    assert_eq!(steady.lines().pop().unwrap().message, "panicked: in the drop of a stream");
    assert_eq!(steady.close(), code::OK);
}

#[test]
fn a_handler_can_pass_a_request_on() {
    check(Request::to("/next"), expect!["NEXT"]);
    check(Request::to("/next-async"), expect!["PENDING NEXT"]);
}

#[test]
fn header_fields_are_checked() {
    check(
        Request::to("/header").query("v=a%09b"),
        expect!["READY 200 content-type: text/plain; charset=utf-8, x-value: a\tb | text"],
    );
    for bad in ["v=a%0d%0aset-cookie:b", "v=a%0a", "v=%20%0d", "v=%00", "v=%7f"] {
        check(
            Request::to("/header").query(bad),
            expect![[
                r#"READY 500 content-type: application/problem+json | {"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal","detail":"The plug-in failed; the log says why.","request_id":"0190"}"#
            ]],
        );
    }
    check(
        Request::to("/headers").header("cookie", "7"),
        expect!["READY 200 content-type: text/css, X-One: 1, set-cookie: id=7 | <p>"],
    );
}

#[test]
fn json_is_checked() {
    check(
        Request::to("/json").header("content-type", "Application/JSON; charset=utf-8").body(r#"{"items": [1, 2]}"#),
        expect!["READY 202 content-type: text/plain; charset=utf-8 | ordered"],
    );
    check(
        Request::to("/json").body(r#"{"items": [1, 2]}"#),
        expect![[
            r#"READY 400 content-type: application/problem+json | {"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request","detail":"The body must be JSON with `Content-Type: application/json`."}"#
        ]],
    );
    check(
        Request::to("/json").header("content-type", "application/json").body(r#"{"items": [1, 999]}"#),
        expect![[
            r#"READY 400 content-type: application/problem+json | {"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request","detail":"The body does not fit.","errors":["items[1]: invalid value: integer `999`, expected u8 at line 1 column 17"]}"#
        ]],
    );
}

#[test]
fn errors_are_problem_documents() {
    check(
        Request::to("/not-found"),
        expect![[
            r#"READY 404 content-type: application/problem+json | {"type":"about:blank","title":"Not Found","status":404,"code":"thing_unknown","detail":"no such thing","errors":["one","two"]}"#
        ]],
    );
    check(
        Request::to("/number/{number}").param("number", "7"),
        expect!["READY 200 content-type: application/json | 7"],
    );
    check(
        Request::to("/number/{number}").param("number", "seven"),
        expect![[
            r#"READY 400 content-type: application/problem+json | {"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request","detail":"`number` in the path cannot be read: invalid digit found in string"}"#
        ]],
    );
}

#[test]
fn a_cause_is_logged_and_not_sent() {
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    let (outcome, _) = steady.call(Request::to("/cause"));
    assert!(outcome.to_string().contains(" 500 ") && !outcome.to_string().contains("No such file"), "{outcome}");
    let line = steady.lines().pop().unwrap();
    assert_eq!(line.level, code::level::ERROR);
    expect!["a handler failed: No such file or directory (os error 2)"].assert_eq(&line.message);
    assert!(line.fields.contains(&("handler".into(), "border::plugins::Steady::cause".into())), "{line:?}");
    let (outcome, _) = steady.call(Request::to("/user").session("denied"));
    assert!(outcome.to_string().contains(" 500 "), "{outcome}");
    expect!["a handler failed: the instance was not granted the right"]
        .assert_eq(&steady.lines().pop().unwrap().message);
}

#[test]
fn what_is_counted_reaches_the_host() {
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    let (outcome, _) = steady.call(Request::to("/count"));
    expect![[r#"READY 200 content-type: text/plain; charset=utf-8 | Err(Parameter("no `-` in names"))"#]]
        .assert_eq(&outcome.to_string());
    expect![[r#"
        a_total 1 A
        0 += 2 x:1 y:2
        b 2 B
        2 = 5
        2 += -1.5
        c_seconds 3 C
        5 = 0.25 x:"#]]
    .assert_eq(&steady.metrics().join("\n"));
}

#[test]
fn events_reach_the_log_with_their_spans() {
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    steady.call(Request::to("/log"));
    let lines = steady.lines();
    expect![[r#"[("greeting", "Hello")]"#]].assert_eq(&format!("{:?}", lines[0].fields));
    let line = lines.last().unwrap();
    expect![[r#"2 border::plugins hello log [("color", "red"), ("later", "7"), ("span", "outer"), ("count", "3"), ("what", "shown")]"#]]
    .assert_eq(&format!("{} {} {} {:?}", line.level, line.target, line.message, line.fields));
}

#[test]
fn a_panic_is_an_answer_and_a_line() {
    for (path, answer, message) in
        [("/panic", "PANIC", "panicked: in a handler"), ("/panic-poll", "PENDING PENDING PANIC", "panicked: in a poll")]
    {
        let library = Library::load();
        let steady = library.init("steady", STEADY).unwrap();
        let (outcome, request) = steady.call(Request::to(path));
        assert_eq!(outcome.to_string(), answer);
        assert_eq!(request.retained.load(Ordering::SeqCst), 0);
        let line = steady.lines().pop().unwrap();
        assert_eq!((line.target.as_str(), line.message.as_str()), ("panic", message));
        // The instance goes on.
        assert!(matches!(steady.call(Request::to("/short")).0, Outcome::Ready { .. }));
        assert_eq!(steady.close(), code::OK);
    }
}

#[test]
fn a_cancelled_future_lets_go_of_everything() {
    for path in ["/panic-drop", "/timer"] {
        let library = Library::load();
        let steady = library.init("steady", STEADY).unwrap();
        let request = steady.start_and_cancel(Request::to(path));
        assert_eq!(request.retains.load(Ordering::SeqCst), 1);
        assert_eq!(request.retained.load(Ordering::SeqCst), 0);
        assert_eq!(steady.close(), code::OK);
    }
}

#[test]
fn a_panic_in_an_entry_point_is_an_answer() {
    let library = Library::load();
    assert_eq!(library.init("panics", r#"{"place": "init"}"#).unwrap_err(), (code::PANIC, String::new()));
    assert_eq!(library.init("panics", r#"{"place": "close"}"#).unwrap().close(), code::PANIC);
    assert_eq!(library.init("panics", r#"{"place": "drop"}"#).unwrap().close(), code::PANIC);
    assert_eq!(library.init("panics", r#"{"place": "nowhere"}"#).unwrap().close(), code::OK);
}

#[test]
fn init_says_what_is_wrong() {
    let library = Library::load();
    let refused = |module, parameters| {
        let (code, errors) = library.init(module, parameters).unwrap_err();
        format!("{code} {errors}")
    };
    expect![[r#"3 ["greeting: invalid type: integer `7`, expected a string at line 1 column 14"]"#]]
        .assert_eq(&refused("steady", r#"{"greeting": 7}"#));
    expect![[r#"3 ["missing field `greeting` at line 1 column 2"]"#]].assert_eq(&refused("steady", "{}"));
    expect![[r#"3 ["options[0].times: invalid type: string \"x\", expected u32 at line 1 column 43"]"#]]
        .assert_eq(&refused("steady", r#"{"greeting": "a", "options": [{"times": "x"}]}"#));
    expect![[r#"3 ["one","two"]"#]].assert_eq(&refused("refuses", r#"{"parameters": ["one", "two"]}"#));
    expect![[r#"1 ["the host refuses an argument: the same handler twice"]"#]].assert_eq(&refused("refuses", "{}"));
    expect![[r#"1 ["this library has no module `other` of the asked kind"]"#]].assert_eq(&refused("other", "{}"));
}

#[test]
fn the_host_is_asked_through_its_handle() {
    check(
        Request::to("/info"),
        expect![[
            r#"READY 200 content-type: application/json | {"cookie":"S","deadline_ms":30000,"id":"0190","late":{"Err":"the instance is closed: endpoints are registered in `init`"},"name":"one","url":"http://x/api/one","version":"9"}"#
        ]],
    );
}

#[test]
fn a_call_allocates_nothing_but_the_future() {
    let library = Library::load();
    let steady = library.init("steady", STEADY).unwrap();
    assert_eq!(steady.allocations_of(Request::to("/static")), 0);
    assert_eq!(steady.allocations_of(Request::to("/ready")), 1);
}

#[cfg(feature = "tokio")]
#[test]
fn a_module_can_have_a_tokio_of_its_own() {
    let library = Library::load();
    let timed = library.init("timed", r#"{"place": "nowhere"}"#).unwrap();
    let (outcome, _) = timed.call(Request::to("/sleep"));
    assert!(outcome.to_string().ends_with("READY 204 | "), "{outcome}");
    expect!["READY 200 content-type: text/plain; charset=utf-8 | spawned"]
        .assert_eq(&timed.call(Request::to("/spawn")).0.to_string());
    timed.start_and_cancel(Request::to("/cancel"));
    while timed.lines().iter().all(|line| line.message != "ticked") {
        std::thread::yield_now();
    }
    assert!(!timed.lines().iter().any(|line| line.target == "panic"), "{:?}", timed.lines());
    assert_eq!(timed.close(), code::OK);
    // What is dropped by a panic in `close` is dropped within the runtime: a second panic would be the end.
    assert_eq!(library.init("timed", r#"{"place": "close"}"#).unwrap().close(), code::PANIC);
}
