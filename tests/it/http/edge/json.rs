//! JSON and forms that two readers could read differently, at every route of the host that takes any.

use serde_json::{Value, json};

use super::{server, with};
use crate::support::server::{Server, Setup};

/// Routes that read a body, as whoever may ask them.
const ROUTES: [(&str, &str); 8] = [
    ("POST", "/api/auth"),
    ("POST", "/api/user"),
    ("POST", "/api/client"),
    ("POST", "/api/scope"),
    ("POST", "/api/mod/plugin"),
    ("PUT", "/api/misc/x"),
    ("POST", "/api/auth/scheme/trigger"),
    ("POST", "/setup"),
];

fn send(server: &Server, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> (String, Value) {
    let authorization = format!("token {}", server.key);
    let mut headers = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
    headers.extend(fields);
    let reply = server.send(method, path, &headers, body);
    (reply.summary(), reply.json()["errors"].clone())
}

#[test]
fn json_that_could_be_read_differently_is_400_with_its_place() {
    let server = server();
    let deep = "[".repeat(1000);
    for (method, path) in ROUTES {
        for (body, error) in [
            (&br#"{"username": "a", "username": "b"}"#[..], "the member `username` is there twice at line 1 column 28"),
            (b"{\"a\": {\"b\": 1,\n \"b\": 1}}", "the member `b` is there twice at line 2 column 4"),
            (deep.as_bytes(), "more than 64 levels at line 1 column 65"),
            (b"{\"a\": 1e400}", "number out of range at line 1 column 11"),
            (b"{\"a\": 1000000000000000000000000000000}", "a number beyond 64 bits at line 1 column 37"),
            (b"{\"a\": \"\xff\"}", "invalid unicode code point at line 1 column 8"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
        ] {
            let expected = ("400 invalid".to_owned(), json!([format!("body: no valid JSON: {error}")]));
            assert_eq!(send(&server, method, path, &[], body), expected, "{method} {path}");
        }
        let coded = send(&server, method, path, &[("content-encoding", "gzip")], b"{}");
        assert_eq!(coded.0, "415 content_coding", "{method} {path}");
    }
}

/// What a plug-in reads by `Request::json` is as strict, whatever its type leaves out.
#[test]
fn a_plug_in_reads_json_as_strictly() {
    let server = Setup::new().libraries(&["notes"]).start();
    server.add("notes", "notes", &json!({}));
    let put = |body: &[u8], fields: &[(&str, &str)]| {
        let mut headers = vec![("content-type", "application/json"), ("if-none-match", "*")];
        headers.extend(fields);
        server.send("PUT", "/api/notes/notes/a", &headers, body)
    };
    let deep = format!(r#"{{"owner":"a","text":"b","x":{}"#, "[".repeat(1000));
    for (body, error) in [
        (&br#"{"owner": "a", "owner": "b", "text": "c"}"#[..], "the member `owner` is there twice"),
        (br#"{"owner": "a", "text": "b", "x": 1, "x": 2}"#, "the member `x` is there twice"),
        (br#"{"owner": "a", "text": "b", "x": {"y": 1, "\u0079": 2}}"#, "the member `y` is there twice"),
        (deep.as_bytes(), "more than 64 levels"),
        (br#"{"owner": "a", "text": "b", "x": 1e400}"#, "number out of range"),
        (br#"{"owner": "a", "text": "b"} {}"#, "trailing characters"),
    ] {
        let reply = put(body, &[]);
        let told = reply.json()["errors"][0].as_str().unwrap_or_default().to_owned();
        let place = told.strip_prefix(error).unwrap_or_else(|| panic!("{reply:?}, expected {error}"));
        assert!(reply.status == 400 && place.starts_with(" at line 1 column "), "{reply:?}");
    }
    assert_eq!(put(br#"{"owner": "a", "text": "b"}"#, &[]).status, 201);
}

#[test]
fn plug_ins_get_encoded_bodies_as_they_are() {
    let server = server();
    let reply = server.send("POST", "/api/m/echo", &[("content-encoding", "gzip")], b"no gzip at all");
    assert_eq!((reply.status, reply.body.as_str()), (200, "no gzip at all"));
}

#[test]
fn a_repeated_member_of_a_form_is_400() {
    let server = with("");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = b"token=a&username=b&username=c&password=d";
    let reply = server.send("POST", "/setup", &form, body);
    assert_eq!(
        (reply.summary().as_str(), &reply.json()["detail"]),
        ("400 bad_request", &json!("`username` is there twice"))
    );
    for body in ["client_id=a&client_secret=b&client_id=a", "client_id=a&client_secret=b&client%5fsecret=c"] {
        assert_eq!(server.send("POST", "/api/m/client", &form, body.as_bytes()).summary(), "400 bad_request", "{body}");
    }
    assert_eq!(server.send("POST", "/api/m/client", &form, b"client_id=a&client_secret=b&x=1&x=2").status, 401);
}

#[test]
fn a_query_that_cannot_be_read_is_400() {
    let server = server();
    for path in [
        "/api/user?limit=1&limit=2",
        "/api/user?offset=x",
        "/api/auth/scheme?scope=a&scope=b",
        "/setup?token=a&token=b",
    ] {
        assert_eq!(server.admin("GET", path, None).summary(), "400 invalid", "{path}");
    }
}
