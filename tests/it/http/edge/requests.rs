//! What a request may ask for: which server, which path, which method. RFC 9110 and RFC 9112 where DESIGN 5 is silent.

use serde_json::json;

use super::{PATHS, POSTS, server, with};
use crate::support::raw::{Raw, exchange};
use crate::support::server::{Reply, Server};

/// One request on a connection of its own.
fn ask(server: &Server, line: &str, fields: &str) -> String {
    let answers = exchange(server, format!("{line}\r\nconnection: close\r\n{fields}\r\n"));
    assert_eq!(answers.len(), 1, "{line} {fields:?}: {answers:?}");
    answers.concat()
}

#[test]
fn a_request_names_one_host() {
    let server = server();
    for path in PATHS {
        let line = format!("GET {path} HTTP/1.1");
        for (fields, expected) in [
            ("", "400 bad_request"),
            ("host: a\r\nhost: a\r\n", "400 bad_request"),
            ("host: a\r\nHost: b\r\n", "400 bad_request"),
            ("host:\r\n", "400 bad_request"),
            ("host: a b\r\n", "400 bad_request"),
            ("host: a/b\r\n", "400 bad_request"),
            ("host: user@a\r\n", "400 bad_request"),
            ("host: [::1]:80\r\n", "200"),
            ("host: anything.example\r\n", "200"),
        ] {
            assert_eq!(ask(&server, &line, fields), expected, "{path} {fields:?}");
        }
        assert_eq!(ask(&server, &format!("GET {path} HTTP/1.0"), ""), "200");
    }
}

#[test]
fn an_absolute_target_names_this_server_or_is_421() {
    let server = with("external_url = 'https://id.example.org'\n");
    let port = server.address.port();
    for path in PATHS {
        for (authority, expected) in [
            (format!("http://127.0.0.1:{port}"), "200"),
            ("https://id.example.org".to_owned(), "200"),
            ("https://ID.example.org:443".to_owned(), "200"),
            ("http://evil.example".to_owned(), "421 misdirected"),
            ("https://id.example.org.evil.example".to_owned(), "421 misdirected"),
            ("https://me@id.example.org".to_owned(), "421 misdirected"),
        ] {
            let line = format!("GET {authority}{path} HTTP/1.1");
            assert_eq!(ask(&server, &line, "host: elsewhere.example\r\n"), expected, "{line}");
        }
        let bare = path.trim_start_matches('/');
        assert_eq!(ask(&server, &format!("GET {bare} HTTP/1.1"), "host: h\r\n"), "400 bad_request");
    }
    // What the target says is what the plug-in hears.
    let mut raw = Raw::open(&server);
    raw.send("GET https://id.example.org/api/m/seen HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n");
    raw.read_until("}");
    assert!(raw.text().contains(r#""host":"id.example.org""#), "{}", raw.text());
}

#[test]
fn connect_and_trace_are_405() {
    let server = server();
    let lines = PATHS.iter().flat_map(|path| [format!("TRACE {path} HTTP/1.1"), format!("TRACE {path} HTTP/1.0")]);
    for line in lines.chain(["CONNECT h:443 HTTP/1.1".to_owned()]) {
        assert_eq!(ask(&server, &line, "host: h:443\r\n"), "405 method_not_allowed", "{line}");
    }
}

#[test]
fn a_path_that_two_readers_could_read_differently_is_400() {
    let server = server();
    for base in ["/health", "/api", "/api/m", "/setup", "/nowhere"] {
        for rest in [
            "/../m/ok",
            "/./ok",
            "/%2e%2e/ok",
            "/%2E/ok",
            "/.%2e/x",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/%zz",
            "/%",
            "/%2",
            "/%ff",
            "/..",
            "/%252e/%2e%2e",
        ] {
            assert_eq!(
                ask(&server, &format!("GET {base}{rest} HTTP/1.1"), "host: h\r\n"),
                "400 bad_path",
                "{base}{rest}"
            );
        }
    }
    // All of these are ordinary, and nothing is decoded twice.
    for (path, expected) in [
        ("/api/m/%6fk", "200"),
        ("/api/m/ok?x=/../%2e%2e%00", "200"),
        ("/health/live?%zz", "200"),
        ("/api/m/ok;a=b", "404 not_found"),
        ("/health/live;a=b", "404 not_found"),
        ("/api/m;x/ok", "404 not_found"),
        ("/api/m/...", "404 not_found"),
        ("/api/m/%252e%252e/ok", "404 not_found"),
    ] {
        assert_eq!(ask(&server, &format!("GET {path} HTTP/1.1"), "host: h\r\n"), expected, "{path}");
    }
}

#[test]
fn whatever_answers_get_answers_head() {
    let server = server();
    let head = |path: &str| {
        let mut raw = Raw::open(&server);
        raw.send(format!("HEAD {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"));
        raw.rest()
    };
    for path in PATHS.into_iter().chain(["/config", "/api/m/large/70000", "/api/m/seen"]) {
        let (reply, answer) = (server.get(path), head(path));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{path}: {answer}");
        if path != "/api/m/seen" {
            assert!(answer.contains(&format!("content-length: {}\r\n", reply.body.len())), "{path}: {answer}");
        }
    }
    // The handler of a stream runs, too, and what it would send is dropped.
    let answer = head("/api/s/large/3");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    // An error has no body either.
    for path in ["/nowhere", "/api/m/nowhere", "/api/user"] {
        assert!(head(path).ends_with("\r\n\r\n"), "{path}");
    }
}

#[test]
fn another_method_is_405_and_options_tells_which_there_are() {
    let server = server();
    let allow = |reply: &Reply| {
        let mut methods: Vec<String> =
            reply.headers["allow"].to_str().unwrap().split(',').map(|method| method.trim().to_owned()).collect();
        methods.sort();
        methods.join(" ")
    };
    for (path, methods) in [
        ("/health/live", "GET HEAD"),
        ("/api/auth", "DELETE POST"),
        ("/api/m/ok", "GET HEAD"),
        ("/api/m/echo", "POST"),
        ("/api/m/client", "GET HEAD POST"),
    ] {
        for method in ["PATCH", "PROPFIND", "get"] {
            let reply = server.send(method, path, &[], b"");
            assert_eq!(
                (reply.summary().as_str(), allow(&reply).as_str()),
                ("405 method_not_allowed", methods),
                "{path}"
            );
        }
        let reply = server.send("OPTIONS", path, &[], b"");
        assert_eq!((reply.status, reply.body.as_str(), allow(&reply).as_str()), (204, "", methods), "{path}");
    }
    assert_eq!(ask(&server, "OPTIONS * HTTP/1.1", "host: h\r\n"), "204");
    assert_eq!(ask(&server, "GET * HTTP/1.1", "host: h\r\n"), "400 bad_path");
    for path in ["/nowhere", "/api/m/nowhere", "/api/nobody/x"] {
        assert_eq!(server.send("OPTIONS", path, &[], b"").summary(), "404 not_found", "{path}");
    }
}

#[test]
fn what_cannot_be_promised_is_417() {
    let server = server();
    for path in POSTS {
        let fields = "host: h\r\nexpect: miracles\r\ncontent-length: 0\r\n";
        assert_eq!(ask(&server, &format!("POST {path} HTTP/1.1"), fields), "417 expectation", "{path}");
    }
}

#[test]
fn identity_fields_never_reach_a_plug_in_and_forwarded_ones_only_from_a_trusted_proxy() {
    const IDENTITY: [&str; 12] = [
        "Remote-User",
        "remote_user",
        "REMOTE-USER",
        "X-Remote-User",
        "x_remote_user",
        "X-Forwarded-User",
        "x_forwarded-user",
        "X-Auth-Request-User",
        "x_auth_request_email",
        "X-Auth-Request-Access-Token",
        "X-Porth-User",
        "x_porth_anything",
    ];
    const FORWARDED: [&str; 5] =
        ["Forwarded", "X-Forwarded-For", "x_forwarded_for", "X-Forwarded-Proto", "x-forwarded-host"];
    for (config, trusts) in
        [("", false), ("trusted_proxies = ['127.0.0.0/8']\n", true), ("trusted_proxies = ['192.0.2.1']\n", false)]
    {
        let server = with(config);
        for (name, seen) in IDENTITY.map(|name| (name, false)).into_iter().chain(FORWARDED.map(|name| (name, trusts))) {
            let reply = server.send("GET", "/api/m/seen", &[(name, "192.0.2.7"), ("x-fine", "1")], b"").json();
            let has = |name: &str| reply["headers"].as_array().unwrap().contains(&json!(name.to_ascii_lowercase()));
            assert!(has("x-fine") && has(name) == seen, "{config} {name}: {reply}");
        }
    }
}

#[test]
fn an_origin_is_own_by_its_scheme_too() {
    let server = with("external_url = 'https://id.example.org'\ntrusted_proxies = ['127.0.0.1']\n");
    let host = server.address.to_string();
    for (origin, fields, expected) in [
        ("https://id.example.org".to_owned(), None, "400 invalid"),
        ("http://id.example.org".to_owned(), None, "403 foreign_origin"),
        (format!("http://{host}"), None, "400 invalid"),
        (format!("https://{host}"), None, "403 foreign_origin"),
        (format!("https://{host}"), Some(("x-forwarded-proto", "https")), "400 invalid"),
        (format!("http://{host}"), Some(("x-forwarded-proto", "https")), "403 foreign_origin"),
        ("null".to_owned(), None, "403 foreign_origin"),
    ] {
        let mut headers = vec![("origin", origin.as_str())];
        headers.extend(fields);
        assert_eq!(server.send("POST", "/api/auth", &headers, b"").summary(), expected, "{origin} {fields:?}");
    }
}
