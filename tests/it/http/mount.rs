//! `/api/<instance>/…`: from a request to an endpoint and back.

use serde_json::json;

use crate::support::server::{Server, Setup};

fn server() -> Server {
    let server = Setup::new().libraries(&["misbehaves"]).start();
    server.add("misbehaves", "m", &json!({}));
    server
}

#[test]
fn handlers_of_a_route_are_asked_in_turn() {
    let server = server();
    assert_eq!(server.get("/api/m/chain").status, 200);
    assert_eq!(server.get("/api/m/nobody").summary(), "404 not_found");
    let reply = server.send("POST", "/api/m/chain", &[], b"");
    assert_eq!(
        (reply.summary().as_str(), &reply.headers["allow"]),
        ("405 method_not_allowed", &"GET, HEAD".parse().unwrap())
    );
    let reply = server.send("HEAD", "/api/m/ok", &[], b"");
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
}

#[test]
fn who_may_not_is_401() {
    let server = server();
    assert_eq!(server.get("/api/m/admin").summary(), "401 unauthorized");
    assert_eq!(server.admin("GET", "/api/m/admin", None).status, 200);
    assert_eq!(server.admin("GET", "/api/m/session", None).summary(), "401 unauthorized");
}

#[test]
fn a_path_that_two_readers_could_read_differently_is_400() {
    let server = server();
    for path in
        ["/api/m/../x", "/api/m/%2e%2e/x", "/api/m/a%2fb", "/api/m/a%5Cb", "/api/m/a%00", "/api/m/%zz", "/api/m/./ok"]
    {
        assert_eq!(server.get(path).summary(), "400 bad_path", "{path}");
    }
    // Those of the host's routes as well; a name that cannot be read is not nobody's, which would mean one's own.
    for path in ["/api/user/%2e%2e", "/api/user/a%2Fb", "/api/delegate/m%FCller/profile", "/api/mod/plugin/%zz"] {
        assert_eq!(server.admin("GET", path, None).summary(), "400 bad_path", "{path}");
    }
    assert_eq!(server.get("/api/m/%6fk").status, 200);
    assert_eq!(server.get("/api/m/ok;x").summary(), "404 not_found");
}

#[test]
fn a_body_over_the_limit_is_413_and_others_arrive() {
    let server = server();
    let body = vec![b'a'; 1000];
    assert_eq!(server.send("POST", "/api/m/echo", &[], &body).body.len(), 1000);
    assert_eq!(server.send("POST", "/api/m/echo", &[], &vec![b'a'; 1001]).summary(), "413 body_too_large");
    // Announced or not, over the limit is over the limit.
    let chunked = [("transfer-encoding", "chunked")];
    let mut body = format!("{:x}\r\n", 1001).into_bytes();
    body.extend(vec![b'a'; 1001]);
    body.extend(b"\r\n0\r\n\r\n");
    assert_eq!(server.send_framed("POST", "/api/m/echo", &chunked, &body).summary(), "413 body_too_large");
}

#[test]
fn plug_ins_see_the_request_but_no_identity_from_outside() {
    let server = server();
    let headers = [("x-remote-user", "root"), ("X_Auth_Request_Email", "a"), ("X-Porth-User", "root"), ("x-fine", "1")];
    let seen = server.send("GET", "/api/m/seen?a=b&c", &headers, b"").json();
    assert_eq!((&seen["method"], &seen["path"], &seen["query"]), (&json!("GET"), &json!("/seen"), &json!("a=b&c")));
    assert_eq!(seen["headers"], json!(["host", "connection", "x-fine", "traceparent"]));
}

#[test]
fn plug_ins_see_what_trusted_proxies_say() {
    for (config, fields) in [
        ("", json!(["host", "connection", "x-fine", "traceparent"])),
        (
            "trusted_proxies = ['127.0.0.1']\n",
            json!(["host", "connection", "x-forwarded-for", "forwarded", "x-fine", "traceparent"]),
        ),
    ] {
        let server = Setup::new().libraries(&["misbehaves"]).config(config).start();
        server.add("misbehaves", "m", &json!({}));
        let headers = [
            ("x-forwarded-for", "198.51.100.7"),
            ("forwarded", "for=198.51.100.7"),
            ("x-forwarded-user", "root"),
            ("x-fine", "1"),
        ];
        assert_eq!(server.send("GET", "/api/m/seen", &headers, b"").json()["headers"], fields, "{config}");
    }
}

#[test]
fn large_bodies_arrive_whole() {
    let server = server();
    for bytes in [0, 1, 1024, 1025, 65_536, 5_000_000] {
        let reply = server.get(&format!("/api/m/large/{bytes}"));
        assert_eq!((reply.status, reply.body.len()), (200, bytes));
    }
}
