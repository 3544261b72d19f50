//! What instances say themselves of how well they do.

use serde_json::json;

use crate::support::server::{Server, Setup, wait_until};

const OFTEN: &str = "[limits]\nhealth_every_ms = 50";

/// Status and reasons.
fn health(server: &Server, name: &str) -> String {
    let health = &server.admin("GET", &format!("/api/mod/plugin/{name}"), None).json()["health"];
    let reasons: Vec<_> = health["reasons"].as_array().unwrap().iter().filter_map(|reason| reason.as_str()).collect();
    format!("{}: {}", health["status"].as_str().unwrap(), reasons.join("; "))
}

#[test]
fn an_instance_says_how_it_does() {
    let server = Setup::new().libraries(&["knows"]).config(OFTEN).start();
    server.add("feels", "it", &json!({}));
    server.add("deaf", "other", &json!({}));
    let says = |status: &str, expected: &str| {
        assert_eq!(server.get(&format!("/api/it/say/{status}")).status, 204);
        wait_until(expected, || health(&server, "it") == expected);
    };
    says("healthy", "healthy: ");
    says("degraded", "degraded: it says: the queue grows");
    says("broken", "broken: it says: the directory is away; it says: the queue grows");
    assert_eq!(server.get("/api/it/say/broken").status, 204, "it is called as before");
    let metrics = server.admin("GET", "/metrics", None).body;
    assert!(metrics.contains("porth_instance_health{instance=\"it\"} 2"), "{metrics}");
    says("healthy", "healthy: ");
    // One that has nothing to say is not asked, and not to blame.
    assert_eq!(health(&server, "other"), "healthy: ");

    assert_eq!(server.get("/api/it/say/fails").status, 204);
    wait_until("a failure", || {
        health(&server, "it").starts_with("degraded: ") && health(&server, "it").contains("calls failed")
    });
}

#[test]
fn it_may_say_so_in_c() {
    let server = Setup::new().c_library("directory").config(OFTEN).start();
    server.add("c-revoke", "c", &json!({}));
    wait_until("an answer", || health(&server, "c") == "degraded: 1 calls failed within 60 s; it says: in C");
    server.wait_for_log("what instance plugin/c says of its health means nothing");
}
