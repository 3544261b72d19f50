//! Instances that panic too often, and others beside them.

use std::time::Duration;

use serde_json::json;

use crate::support::server::{Server, Setup, wait_until};

fn server() -> Server {
    let config = "[limits]\npanics_max = 3\nbroken_ms = 1500";
    let server = Setup::new().libraries(&["misbehaves"]).config(config).start();
    server.add("misbehaves", "bad", &json!({}));
    server.add("misbehaves", "same", &json!({}));
    server
}

fn status(server: &Server, name: &str) -> String {
    let instance = server.admin("GET", &format!("/api/mod/plugin/{name}"), None).json();
    format!("{} {}", instance["health"]["status"].as_str().unwrap(), instance["health"]["reasons"][0])
}

fn panics(server: &Server, times: usize) {
    for _ in 0..times {
        assert_eq!(server.get("/api/bad/panic-async").summary(), "500 plugin_panicked");
    }
}

#[test]
fn an_instance_that_panics_too_often_is_closed_until_a_request_succeeds() {
    let server = server();
    panics(&server, 2);
    assert_eq!(status(&server, "bad"), r#"degraded "2 calls panicked within 60 s""#);
    assert_eq!(server.get("/api/bad/ok").status, 200);
    panics(&server, 1);

    let reply = server.get("/api/bad/ok");
    assert_eq!(
        (reply.summary().as_str(), reply.headers["retry-after"].to_str().unwrap()),
        ("503 instance_broken", "2")
    );
    assert!(
        status(&server, "bad").starts_with(r#"broken "it panicked 3 times within 60 s: "#),
        "{}",
        status(&server, "bad")
    );
    server.wait_for_log("instance plugin/bad is closed to requests: it panicked 3 times");
    // Another instance of the same module has panics of its own to answer for.
    assert_eq!(server.get("/api/same/ok").status, 200);
    assert_eq!(server.get("/api/same/panic-async").summary(), "500 plugin_panicked");
    assert_eq!(server.get("/api/same/ok").status, 200);

    // The first request after the pause is the trial: when it panics, too, the instance stays closed.
    wait_until("the trial", || server.get("/api/bad/panic-async").summary() == "500 plugin_panicked");
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_broken");
    wait_until("a trial that succeeds", || server.get("/api/bad/ok").status == 200);
    assert_eq!(status(&server, "bad"), r#"degraded "4 calls panicked within 60 s""#);
    panics(&server, 2);
    assert_eq!(server.get("/api/bad/ok").status, 200, "it counts anew");
}

#[test]
fn a_reset_opens_it_again_and_a_trial_without_an_answer_decides_nothing() {
    let server = server();
    panics(&server, 3);
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_broken");
    std::thread::sleep(Duration::from_millis(1600));
    // One at a time: while the trial is under way, nobody else gets in.
    std::thread::scope(|scope| {
        let trial = scope.spawn(|| server.get("/api/bad/delay/1000"));
        wait_until("the trial", || status(&server, "bad").contains("one request tries it now"));
        assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_broken");
        assert_eq!(trial.join().unwrap().status, 200);
    });
    assert_eq!(server.get("/api/bad/ok").status, 200);

    panics(&server, 3);
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_broken");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/bad/reset", None).status, 200);
    assert_eq!(server.get("/api/bad/ok").status, 200);
    assert_eq!(status(&server, "bad"), "healthy null");
}
