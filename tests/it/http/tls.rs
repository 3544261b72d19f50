//! Listeners with TLS: who is told what, and certificates that are replaced while they serve.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::InTime as _;
use crate::support::scale::scaled;
use crate::support::server::{PATIENCE, Server, Setup, wait_for, wait_until};
use crate::support::tls::{Certificate, Peer, run};

/// A server with a plain listener, for tests to administer, and one with TLS.
pub(super) fn server(certificate: &Certificate, libraries: &[&str]) -> (Server, Peer) {
    let config = format!(
        "[[listener]]\naddress = '127.0.0.1:0'\n[[listener]]\naddress = '127.0.0.1:0'\n{}\n\
         [quarantine]\ncrashes = 0\nunattributed_crashes = 0\n",
        certificate.toml()
    );
    let server = Setup::new().libraries(libraries).config(&config).with_listeners().start();
    let peer = Peer::new(server.addresses()[1], &[certificate], &["h2", "http/1.1"]);
    (server, peer)
}

const GREETING: &str = "/api/hello/hello/you";

/// What administrators see of the second listener.
fn seen(server: &Server) -> Value {
    server.admin("GET", "/api/admin/listener/", None).json()[1].clone()
}

#[test]
fn clients_choose_the_version_of_http() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let (server, peer) = server(&certificate, &["hello"]);
    server.add("hello", "hello", &json!({"greeting": "Hello"}));
    assert!(server.said().contains(&format!("listening on https://{}\n", peer.address)), "{}", server.said());
    for (offered, version) in
        [(&["h2", "http/1.1"][..], 2), (&["http/1.1", "h2"], 2), (&["http/1.1"], 1), (&["h2"], 2), (&[], 1)]
    {
        let peer = Peer { protocols: offered.to_vec(), ..peer.clone() };
        assert_eq!(run(peer.connect()).unwrap().version(), version, "{offered:?}");
        assert_eq!(peer.get(GREETING).status, 200, "{offered:?}");
    }
    let neither = Peer { protocols: vec!["h3"], ..peer.clone() };
    assert!(run(neither.handshake()).is_err(), "RFC 7301, section 3.2");

    let stranger = Certificate::write(tempfile::tempdir().unwrap().path());
    assert!(run(Peer { trusted: vec![stranger.der], ..peer }.handshake()).is_err(), "the client would notice");
}

#[test]
fn who_does_not_speak_tls_is_told_or_left() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, peer) = server(&Certificate::write(directory.path()), &[]);
    let exchange = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(peer.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = exchange(b"GET /health/live HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("\"tls_expected\""), "{answer}");
    for nonsense in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x00\x01\x02", b"\x80\x2e\x01"] {
        let answer = exchange(nonsense);
        assert!(!answer.contains("HTTP"), "{answer}");
    }
    assert_eq!(peer.get("/health/live").status, 200);
}

#[test]
fn a_certificate_is_replaced_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let before = Certificate::write(directory.path());
    let (server, peer) = server(&before, &["hello"]);
    server.add("hello", "hello", &json!({"greeting": "Hello"}));
    let first = seen(&server);
    assert_eq!(first["url"], format!("https://{}", peer.address));
    assert_eq!(first["tls"]["names"], json!(["127.0.0.1", "localhost"]));
    assert!(first["tls"]["days_left"].as_f64().unwrap() > 100.0, "{first}");

    let elsewhere = tempfile::tempdir().unwrap();
    let after = Certificate::write(elsewhere.path());
    let two = Peer { trusted: vec![before.der.clone(), after.der.clone()], ..peer.clone() };
    let one = Peer { protocols: vec!["http/1.1"], ..two.clone() };
    let shown = || run(two.handshake()).unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown(), before.der);
    let (_, old) = one.under_load(2, GREETING, || {
        let (_, load) = two.under_load(2, GREETING, || {
            after.replaces(&before);
            // Those who are there stay, and whoever comes meanwhile is let in.
            wait_until("the new certificate", || {
                assert_eq!(one.get(GREETING).status, 200);
                shown() == after.der
            });
        });
        assert!(load.failures.is_empty() && !load.times.is_empty(), "{load:?}");
        assert_eq!(load.ended, 0, "no connection is ended for that");
    });
    assert!(old.failures.is_empty() && old.ended == 0, "{old:?}");
    assert!(server.log().contains(&format!("https://{} has another certificate now", peer.address)));
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let (server, peer) = server(&certificate, &[]);
    let metrics = || server.admin("GET", "/metrics", None).body;
    let listener = format!("{{listener=\"https://{}\"}}", peer.address);
    assert!(metrics().contains(&format!("porth_certificate_stale{listener} 0\n")), "{}", metrics());
    assert!(metrics().contains(&format!("porth_certificate_days_left{listener} ")), "{}", metrics());

    std::fs::write(&certificate.certificate, "nonsense").unwrap();
    let error = wait_for("the error", || seen(&server)["tls"]["error"].as_str().map(str::to_owned));
    assert!(error.ends_with("has no certificate in it: expected `-----BEGIN CERTIFICATE-----`"), "{error}");
    assert!(metrics().contains(&format!("porth_certificate_stale{listener} 1\n")), "{}", metrics());
    server.wait_for_log("keeps the certificate it has: ");
    assert_eq!(peer.get("/health/live").status, 200);

    // Nor does SIGHUP put a server without a certificate in the place of this one.
    let pid = server.child_pid();
    server.signal(Signal::HUP);
    server.wait_for_log("the recycle (SIGHUP) is dropped and child 1 goes on: ");
    wait_until("the end of the other child", || server.child_pids() == [pid]);
    assert_eq!(peer.get("/health/live").status, 200);

    let renewed = Certificate::write(directory.path());
    wait_until("the new certificate", || seen(&server)["tls"]["error"].is_null());
    assert_eq!(Peer { trusted: vec![renewed.der], ..peer }.get("/health/live").status, 200);
}

#[test]
fn a_server_without_its_certificate_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut certificate = Certificate::write(directory.path());
    certificate.key = Certificate::write(other.path()).key;
    let config = directory.path().join("porth.toml");
    std::fs::write(&config, format!("[[listener]]\naddress = '127.0.0.1:0'\n{}", certificate.toml())).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(["serve", "--config"])
        .arg(&config)
        .env_remove("PORTH_LISTEN")
        .stdin(Stdio::null())
        .output_in_time();
    let log = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{log}");
    assert!(log.contains("does not belong to the first certificate in "), "{log}");
}

#[test]
fn a_plain_listener_leads_to_https() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let config = format!(
        "[[listener]]\naddress = '127.0.0.1:0'\n{}\n[[listener]]\naddress = '127.0.0.1:0'\nserves = 'redirect'\n",
        certificate.toml()
    );
    let server = Setup::new().libraries(&["hello"]).config(&config).with_listeners().start();
    let [encrypted, plain] = server.addresses()[..] else { panic!("{}", server.said()) };
    assert!(server.said().contains(&format!("http://{plain} to lead to https\n")), "{}", server.said());
    let https = Peer::new(encrypted, &[&certificate], &["http/1.1"]);
    let http = Peer::new(plain, &[], &["http/1.1"]);
    for (method, path) in
        [("GET", "/health/live"), ("POST", "/api/hello/hello/you?a=b"), ("GET", "/api/user"), ("DELETE", "/nowhere")]
    {
        let reply = http.send(http::Request::builder().method(method).uri(path), b"");
        assert_eq!((reply.status, reply.body.as_str()), (308, ""), "{path}");
        assert_eq!(reply.headers["location"], format!("https://{encrypted}{path}").as_str(), "{path}");
        assert!(!reply.headers.contains_key("strict-transport-security") && reply.headers.contains_key("x-request-id"));
    }
    assert_eq!(https.get("/health/live").status, 200);
    for wrong in ["/%2e%2e/x", "/a%2fb"] {
        assert_eq!(http.get(wrong).summary(), "400 bad_path");
    }
    // Where the server says how it is called, that counts, and not what the client says.
    std::fs::write(server.config_path(), format!("external_url = 'https://id.example.org/porth'\n{config}")).unwrap();
    server.recycle();
    let reply = http.send(http::Request::get("/x?y").header("host", "evil.example"), b"");
    assert_eq!((reply.status, &reply.headers["location"]), (308, &"https://id.example.org/porth/x?y".parse().unwrap()));
}

/// A pipe into which nobody writes keeps neither the server from starting nor the doctor from its work.
#[test]
fn a_certificate_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let files = Certificate::write(directory.path());
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let config = directory.path().join("porth.toml");
    let tls = format!("tls = {{ certificate = '{}', key = '{}' }}", pipe.display(), files.key.display());
    std::fs::write(&config, format!("[[listener]]\naddress = '127.0.0.1:0'\n{tls}\n")).unwrap();
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(["serve", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(directory.path().join("data"))
        .arg("--plugins")
        .arg(directory.path())
        .env_remove("PORTH_LISTEN")
        .stdin(Stdio::null())
        .output_in_time();
    let log = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && log.contains("expected a regular file"), "{log}");
}

#[test]
fn recycles_lose_no_request_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let (server, two) = server(&certificate, &["hello"]);
    server.add("hello", "hello", &json!({"greeting": "Hello"}));
    let one = Peer { protocols: vec!["http/1.1"], ..two.clone() };
    let (_, of_one) = one.under_load(3, GREETING, || {
        let (_, of_two) = two.under_load(3, GREETING, || {
            for _ in 0..scaled(2, 20) {
                std::thread::sleep(std::time::Duration::from_millis(100));
                server.recycle();
            }
        });
        println!("HTTP/2: {} answers, {} connections ended", of_two.times.len(), of_two.ended);
        assert!(of_two.failures.is_empty() && of_two.ended >= 3, "{:?} {}", of_two.failures, of_two.ended);
    });
    println!("HTTP/1.1: {} answers", of_one.times.len());
    assert!(of_one.failures.is_empty() && !of_one.times.is_empty(), "{:?}", of_one.failures);
}

#[test]
fn under_https_cookies_and_links_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let listener = format!("[[listener]]\naddress = '127.0.0.1:0'\n{}", certificate.toml());
    let server = Setup::new().config(&listener).with_listeners().start();
    let peer = Peer::new(server.addresses()[0], &[&certificate], &["h2"]);
    assert!(server.said().contains(&format!("once: https://{}/setup?token=", peer.address)), "{}", server.said());
    let added = server.porth(&["user", "add", "bob", "--scope", "g_profile", "--password-stdin"]);
    let mut added = { added }.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    added.stdin.take().unwrap().write_all(b"a password\n").unwrap();
    assert!(added.wait().unwrap().success());
    let log_in = http::Request::post("/api/auth/").header("content-type", "application/json");
    let reply = peer.send(log_in, br#"{"username": "bob", "password": "a password"}"#);
    assert_eq!(reply.status, 200, "{reply:?}");
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-PORTH_SESSION=") && cookie.ends_with("; Secure"), "{cookie}");
    // Split as browsers do in HTTP/2, the cookie is found all the same.
    let cookie = cookie.split(';').next().unwrap();
    let profile = http::Request::get("/api/profile/").header("cookie", "a=b").header("cookie", cookie);
    let reply = peer.send(profile, b"");
    assert_eq!(
        (reply.status, &reply.headers["strict-transport-security"]),
        (200, &"max-age=31536000".parse().unwrap())
    );
    std::fs::write(server.config_path(), format!("hsts_max_age_s = 0\n{listener}")).unwrap();
    server.recycle();
    assert!(!peer.get("/health/live").headers.contains_key("strict-transport-security"));
}
