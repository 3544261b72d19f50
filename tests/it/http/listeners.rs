//! Several listeners, and one for administration alone.

use std::net::{SocketAddr, TcpStream};

use porth::config::Serves;
use serde_json::json;

use crate::support::load::under_load;
use crate::support::scale::scaled;
use crate::support::server::{Reply, Server, Setup, wait_until};

/// A configuration with listeners of these addresses, each with lines of its own.
fn listeners(listeners: &[(&str, &str)]) -> String {
    let tables = listeners.iter().map(|(address, lines)| format!("[[listener]]\naddress = '{address}'\n{lines}\n"));
    format!("{}[quarantine]\ncrashes = 0\nunattributed_crashes = 0\n", tables.collect::<String>())
}

fn server(tables: &[(&str, &str)]) -> Server {
    let server = Setup::new().libraries(&["hello"]).config(&listeners(tables)).with_listeners().start();
    assert_eq!(server.addresses().len(), tables.len(), "{}", server.said());
    server
}

const GREETING: &str = "/api/hello/hello/you";

#[test]
fn every_listener_answers_through_recycles_and_crashes() {
    let server = server(&[("127.0.0.1:0", ""), ("[::1]:0", ""), ("127.0.0.1:0", "")]);
    server.add("hello", "hello", &json!({"greeting": "Hello"}));
    let addresses = server.addresses();
    assert!(addresses[1].is_ipv6() && addresses[0] != addresses[2], "{addresses:?}");
    let (_, first) = under_load(addresses[0], &[GREETING.to_owned()], || {
        let (_, second) = under_load(addresses[1], &[GREETING.to_owned()], || {
            for _ in 0..scaled(2, 10) {
                server.recycle();
            }
        });
        assert!(second.failures.is_empty() && !second.times.is_empty(), "{second:?}");
    });
    assert!(first.failures.is_empty() && !first.times.is_empty(), "{first:?}");

    let pid = rustix::process::Pid::from_raw(server.child_pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for address in addresses {
        assert_eq!(ask(&server, address, GREETING).status, 200, "{address}");
    }
}

/// The address counts, not the order; what stays keeps its socket, so that nobody is refused.
#[test]
fn listeners_come_and_go_with_the_configuration() {
    let server = server(&[("127.0.0.1:0", ""), ("[::1]:0", "")]);
    let [stays, goes] = server.addresses()[..] else { panic!("{}", server.said()) };
    let config = listeners(&[("[::1]:0", "serves = 'administration'"), ("127.0.0.1:0", ""), ("127.0.0.1:0", "")]);
    // Both of the addresses with port 0 are asked for, and one of them is there.
    std::fs::write(server.config_path(), config).unwrap();
    let (_, load) = under_load(stays, &["/health/live".to_owned()], || server.recycle());
    assert!(load.failures.is_empty(), "{load:?}");
    assert_eq!(ask(&server, stays, "/api/user/").summary(), "404 not_found");
    assert_eq!(ask(&server, goes, "/api/user/").summary(), "401 unauthorized");

    std::fs::write(server.config_path(), listeners(&[("127.0.0.1:0", "")])).unwrap();
    server.recycle();
    assert_eq!(ask(&server, stays, "/api/user/").summary(), "401 unauthorized");
    wait_until("the end of a listener", || TcpStream::connect(goes).is_err());

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    std::fs::write(server.config_path(), listeners(&[("127.0.0.1:0", ""), (&taken.to_string(), "")])).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("the configuration is refused, and everything stays as it is: ");
    assert_eq!(ask(&server, stays, "/health/live").status, 200);
}

#[test]
fn the_command_line_says_where_instead_of_the_file() {
    let file = listeners(&[("127.0.0.1:1", "serves = 'administration'"), ("127.0.0.1:2", "")]);
    let server = Setup::new().config(&file).start();
    assert_eq!(server.addresses(), [server.address]);
    assert_eq!(server.get("/api/user/").summary(), "401 unauthorized", "it serves everything");
}

/// What is answered on the public listener, where there is one for administration. Written down once more: a route that
/// nobody thought of is for administration.
const PUBLIC: [&str; 7] =
    ["/config", "/docs", "/health", "/api/auth", "/api/openapi.json", "/api/profile", "/api/profile_list"];

#[test]
fn administration_is_answered_at_its_listener_only() {
    let tables = [("127.0.0.1:0", "serves = 'administration'"), ("127.0.0.1:0", "")];
    let config = listeners(&tables);
    let server = Setup::new().libraries(&["hello", "misbehaves"]).config(&config).with_listeners().start();
    server.add("hello", "hello", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "m", &json!({}));
    let [private, public] = server.addresses()[..] else { panic!("{}", server.said()) };
    assert!(
        server.said().contains(&format!("listening on http://{private} for administration\n")),
        "{}",
        server.said()
    );
    assert!(server.said().contains(&format!("once: http://{private}/setup?token=")), "{}", server.said());

    let mut wrong = String::new();
    let paths = porth::http::paths("api", Serves::All);
    assert!(paths.len() > 40, "{paths:?}");
    for path in paths {
        let is_public = PUBLIC
            .iter()
            .any(|begin| path.strip_prefix(begin).is_some_and(|rest| !rest.starts_with(|next| next != '/')));
        let path: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "xyz" } else { part }).collect();
        let path = path.join("/");
        for (address, expected) in [(private, true), (public, is_public)] {
            // A method that no route has, and the path in another spelling: neither may tell that there is a route.
            for path in [path.clone(), format!("{path}//")] {
                let reply = send(&server, address, "PATCH", &path);
                let found = !(reply.status == 404 && reply.json()["detail"] == "no such path");
                if found != expected {
                    wrong.push_str(&format!("{path} at {address}: {reply:?}\n"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "private {private}, public {public}:\n{wrong}");

    assert_eq!(ask(&server, public, GREETING).status, 200);
    assert_eq!(ask(&server, private, GREETING).summary(), "404 not_found");
    // What a plug-in has for administrators is at the same listener, and no method tells of it at the other.
    assert_eq!(ask(&server, private, "/api/m/admin").summary(), "401 unauthorized");
    assert_eq!(server.admin("GET", "/api/m/admin", None).status, 200);
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        assert_eq!(send(&server, public, method, "/api/m/admin").status, 404, "{method}");
    }
    assert_eq!(ask(&server, public, "/api/m/session").summary(), "401 unauthorized");
    assert_eq!(ask(&server, private, "/api/m/session").summary(), "404 not_found");
    assert_eq!(ask(&server, private, "/api/m/ok").summary(), "404 not_found");
    server.admin("PUT", "/api/mod/plugin/hello/disable", None);
    assert_eq!(ask(&server, public, GREETING).summary(), "503 instance_not_running");
    assert_eq!(ask(&server, private, GREETING).summary(), "503 instance_not_running");
    // The control socket is a way of its own.
    let list = server.porth(&["user", "list"]).output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
}

#[test]
fn a_listener_may_serve_everything_beside_one_for_administration() {
    let server = server(&[("127.0.0.1:0", "serves = 'all'"), ("127.0.0.1:0", "serves = 'administration'")]);
    assert_eq!(server.get("/api/user/").summary(), "401 unauthorized");
}

fn ask(server: &Server, address: SocketAddr, path: &str) -> Reply {
    send(server, address, "GET", path)
}

fn send(server: &Server, address: SocketAddr, method: &str, path: &str) -> Reply {
    server
        .try_send_to(address, method, path)
        .unwrap_or_else(|error| panic!("{address}{path}: {error}\n{}", server.log()))
}
