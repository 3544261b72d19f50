//! How the first administrator comes in.

use serde_json::json;

use super::identity::{Browser, errors};
use crate::support::server::{Server, Setup, wait_for};

/// What the link that the server printed last holds.
fn token(server: &Server) -> String {
    wait_for("the link", || {
        let said = server.said();
        let link = said.lines().rfind(|line| line.contains("this link opens once"))?;
        Some(link.split_once("/setup?token=")?.1.to_owned())
    })
}

fn form(server: &Server, fields: &str) -> (u16, String) {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let reply = server.send("POST", "/setup", &headers, fields.as_bytes());
    (reply.status, reply.body)
}

#[test]
fn the_printed_link_makes_the_first_administrator() {
    let server = Setup::new().start();
    let token = token(&server);
    let page = server.get(&format!("/setup?token={token}"));
    assert!(page.status == 200 && page.body.contains("<form method=\"post\""), "{page:?}");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!(server.get("/setup?token=x").status, 404);
    assert_eq!(server.get("/setup").status, 404);

    let (status, page) = form(&server, &format!("token={token}&username=a%2Fb&password=secret"));
    assert!(status == 400 && page.contains("role=\"alert\"") && page.contains("value=\"a/b\""), "{page}");
    let (status, page) = form(&server, &format!("token={token}&username=anna&name=Anna+A&password=secret"));
    assert!(status == 200 && page.contains("Done"), "{page}");
    let mut anna = Browser::new(&server);
    assert_eq!(anna.log_in("anna", "secret").status, 200);
    assert_eq!(anna.get("/api/user/anna").json()["name"], "Anna A");
    assert_eq!(form(&server, &format!("token={token}&username=bob&password=secret")).0, 404);
    assert_eq!(server.get(&format!("/setup?token={token}")).status, 404);
    assert!(!server.log().contains(&token), "the link is in the log");
    let server = server.restart();
    assert_eq!(server.get("/health/ready").status, 200);
    assert!(!server.said().contains("this link opens once"), "somebody administers already");
}

#[test]
fn programs_post_json() {
    let server = Setup::new().start();
    let token = token(&server);
    let post = |body: &serde_json::Value| {
        server.send("POST", "/setup", &[("content-type", "application/json")], body.to_string().as_bytes())
    };
    assert_eq!(errors(&post(&json!({"token": token}))), "username: missing; password: missing");
    assert_eq!(
        errors(&post(&json!({"token": token, "username": "x", "password": ""}))),
        "password: a password has 0 bytes, expected 1 to 1024"
    );
    assert_eq!(post(&json!({"token": "x", "username": "x", "password": "secret"})).summary(), "404 not_found");
    let mut replies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let body = json!({"token": token, "username": format!("user{number}"), "password": "secret"});
                scope.spawn(move || post(&body).summary())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    replies.sort();
    replies.dedup_by(|reply, other| reply == other && reply == "404 not_found");
    assert_eq!(replies, ["200", "404 not_found"]);
    assert_eq!(server.admin("GET", "/api/user/", None).json().as_array().unwrap().len(), 1);
}

#[test]
fn a_child_that_stands_in_prints_no_other_link() {
    let server = Setup::new().start();
    let token = token(&server);
    server.recycle();
    assert_eq!(server.get(&format!("/setup?token={token}")).status, 200);
    assert_eq!(server.said().matches("this link opens once").count(), 1);
}
