//! `examples/notes` over HTTP: versions as entity tags, lists by owner, expiry.

use serde_json::{Value, json};

use crate::support::server::{Reply, Server, Setup, wait_until};

fn server() -> Server {
    let server = Setup::new().libraries(&["notes"]).start();
    server.add("notes", "notes", &json!({}));
    server
}

fn note(owner: &str, text: &str) -> Value {
    json!({"owner": owner, "text": text})
}

fn put(server: &Server, id: &str, condition: &[(&str, &str)], note: &Value) -> Reply {
    let mut headers = condition.to_vec();
    headers.push(("content-type", "application/json"));
    server.send("PUT", &format!("/api/notes/notes/{id}"), &headers, note.to_string().as_bytes())
}

fn tag(reply: &Reply) -> String {
    reply.headers["etag"].to_str().unwrap().to_owned()
}

const NEW: [(&str, &str); 1] = [("if-none-match", "*")];

#[test]
fn a_note_lives_from_put_to_delete() {
    let server = server();
    assert_eq!(server.get("/api/notes/notes/a").summary(), "404 not_found");
    let made = put(&server, "a", &NEW, &json!({"owner": "ann", "text": "Bread", "tags": ["shop"]}));
    assert_eq!((made.status, made.body.as_str()), (201, ""));
    let read = server.get("/api/notes/notes/a");
    let expected = json!({"id": "a", "owner": "ann", "text": "Bread", "tags": ["shop"], "expires_at_s": null});
    assert_eq!((read.status, read.json(), tag(&read)), (200, expected, tag(&made)));

    let changed = put(&server, "a", &[("if-match", &tag(&read))], &note("ann", "Butter"));
    assert_eq!(changed.status, 204);
    assert_ne!(tag(&changed), tag(&made));
    assert_eq!(server.get("/api/notes/notes/a").json()["text"], "Butter");
    let reply = server.send("DELETE", "/api/notes/notes/a", &[("if-match", &tag(&changed))], b"");
    assert_eq!(reply.status, 204);
    assert_eq!(server.get("/api/notes/notes/a").summary(), "404 not_found");
}

/// RFC 9110, section 13.1, and RFC 6585, section 3.
#[test]
fn who_changes_a_note_says_which() {
    let server = server();
    let first = tag(&put(&server, "a", &NEW, &note("ann", "1")));
    let second = tag(&put(&server, "a", &[("if-match", &first)], &note("ann", "2")));
    let several = format!("\"1\", {second}");
    for (condition, expected) in [
        (None, "428 precondition_required"),
        (Some(("if-none-match", "*")), "412 precondition_failed"),
        (Some(("if-none-match", second.as_str())), "400 bad_request"),
        (Some(("if-match", first.as_str())), "412 precondition_failed"),
        (Some(("if-match", "\"0\"")), "412 precondition_failed"),
        (Some(("if-match", "\"somebody's\"")), "412 precondition_failed"),
        (Some(("if-match", "\"18446744073709551615\"")), "400 bad_request"),
    ] {
        let condition: Vec<_> = condition.into_iter().collect();
        assert_eq!(put(&server, "a", &condition, &note("ann", "3")).summary(), expected, "{condition:?}");
    }
    assert_eq!(put(&server, "absent", &[("if-match", "*")], &note("ann", "3")).status, 412);
    assert_eq!(put(&server, "absent", &[("if-match", "\"0\"")], &note("ann", "3")).status, 412);
    assert_eq!(server.send("DELETE", "/api/notes/notes/a", &[], b"").status, 428);
    assert_eq!(server.send("DELETE", "/api/notes/notes/a", &[("if-match", &first)], b"").status, 412);
    assert_eq!(server.send("DELETE", "/api/notes/notes/absent", &[("if-match", "*")], b"").status, 412);
    assert_eq!(server.get("/api/notes/notes/a").json()["text"], "2");

    assert_eq!(put(&server, "a", &[("if-match", &several)], &note("ann", "3")).status, 204);
    assert_eq!(put(&server, "a", &[("if-match", "*")], &note("ann", "4")).status, 204);
    assert_eq!(server.get("/api/notes/notes/a").json()["text"], "4");
    // A note that is made anew has another version than the one that was deleted.
    let fourth = tag(&server.get("/api/notes/notes/a"));
    server.send("DELETE", "/api/notes/notes/a", &[("if-match", "*")], b"");
    put(&server, "a", &NEW, &note("ann", "5"));
    assert_eq!(put(&server, "a", &[("if-match", &fourth)], &note("ann", "6")).status, 412);
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let server = server();
    let version = tag(&put(&server, "a", &NEW, &note("ann", "1")));
    let read = |tags: &str| server.send("GET", "/api/notes/notes/a", &[("if-none-match", tags)], b"");
    for known in [version.clone(), format!("W/{version}"), format!("\"x\", {version}"), "*".to_owned()] {
        let reply = read(&known);
        assert_eq!((reply.status, reply.body.as_str(), tag(&reply)), (304, "", version.clone()), "{known}");
    }
    assert_eq!(read("\"x\"").status, 200);
}

#[test]
fn notes_are_listed_by_their_owner() {
    let server = server();
    for number in 0..25 {
        put(&server, &format!("n{number:02}"), &NEW, &note(if number % 5 == 0 { "bob" } else { "ann" }, "text"));
    }
    let page = |query: &str| server.get(&format!("/api/notes/notes?{query}")).json();
    let ids = |page: &Value| -> Vec<String> {
        page["notes"].as_array().unwrap().iter().map(|note| note["id"].as_str().unwrap().to_owned()).collect()
    };
    let bobs = page("owner=bob");
    assert_eq!(
        (ids(&bobs), &bobs["next"]),
        (["n00", "n05", "n10", "n15", "n20"].map(str::to_owned).into(), &Value::Null)
    );
    let mut seen = Vec::new();
    let mut query = "owner=ann&limit=8".to_owned();
    loop {
        let page = page(&query);
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        let next: String = next.bytes().map(|byte| format!("%{byte:02x}")).collect();
        query = format!("owner=ann&limit=8&after={next}");
    }
    assert_eq!(seen.len(), 20);
    assert!(seen.is_sorted());
    assert_eq!(page("owner=nobody")["notes"], json!([]));
    assert_eq!(server.get("/api/notes/notes?owner=ann&limit=0").summary(), "400 bad_request");
    assert_eq!(server.get("/api/notes/notes?owner=ann&after=x").summary(), "400 bad_request");
    assert_eq!(server.get("/api/notes/notes").summary(), "400 bad_request");
}

#[test]
fn notes_outlast_the_server_but_not_their_expiry() {
    let server = server();
    put(&server, "stays", &NEW, &note("ann", "1"));
    let expiring = json!({"owner": "ann", "text": "2", "expires_in_s": 2});
    assert_eq!(put(&server, "goes", &NEW, &expiring).status, 201);
    assert!(server.get("/api/notes/notes/goes").json()["expires_at_s"].as_u64().unwrap() > 1_700_000_000);
    let server = server.restart();
    assert_eq!(server.get("/api/notes/notes/stays").json()["text"], "1");
    wait_until("the note's end", || server.get("/api/notes/notes/goes").status == 404);
    assert_eq!(server.get("/api/notes/notes?owner=ann").json()["notes"].as_array().unwrap().len(), 1);
    assert_eq!(put(&server, "goes", &NEW, &note("ann", "3")).status, 201);

    // With the instance its notes go; one of the same name begins with none.
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/notes", None).status, 200);
    server.add("notes", "notes", &json!({}));
    assert_eq!(server.get("/api/notes/notes/stays").status, 404);
}
