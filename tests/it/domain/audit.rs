//! The audit log.

use std::time::Instant;

use porth::config::DeclaredInstance;
use porth::domain::audit::{Act, Actor, Audit, AuditEvent, AuditQuery, End, Outcome};
use porth::domain::instances::Instances;
use serde_json::{Map, Value, json};

use super::users::of_sixteen;
use crate::support::database::{NOW_MS, Store, on_both_engines};
use crate::support::scale::scaled;

on_both_engines!(
    an_act_is_there_before_it_is_done,
    entries_are_found_by_everything,
    a_part_of_the_list_begins_after_another,
    sixteen_write_at_once,
    old_entries_go,
    declarations_are_noted_with_what_they_change,
    nothing_that_is_sent_breaks_an_entry,
    what_is_refused_to_instances_again_and_again_is_told_together,
    a_long_log_is_read_page_by_page,
);

fn key(name: &str) -> Actor {
    Actor::Key { name: name.to_owned(), token_hash: "h".to_owned() }
}

fn act(actor: Actor, action: &str, object: &str) -> Act {
    Act {
        actor,
        peer: "192.0.2.1".to_owned(),
        action: action.to_owned(),
        object_kind: action.split('.').next().unwrap().to_owned(),
        object_id: object.to_owned(),
        before: None,
        request_id: "r".to_owned(),
    }
}

fn done(after: Option<Value>) -> End {
    End { outcome: Outcome::Done, object_id: None, after, detail: String::new() }
}

async fn list(audit: &Audit, query: AuditQuery) -> Vec<AuditEvent> {
    audit.list(AuditQuery { limit: 100, ..query }).await.unwrap()
}

async fn an_act_is_there_before_it_is_done(store: &Store) {
    let audit = Audit::new(store.db.clone());
    let before = json!({"name": "Anna", "password": "old"});
    let begun =
        audit.begin(Act { before: Some(before), ..act(key("ci"), "user.change", "anna") }, NOW_MS).await.unwrap();
    let event = list(&audit, AuditQuery::default()).await.remove(0);
    assert_eq!((event.outcome.as_str(), &event.after), ("begun", &None));
    assert_eq!((event.actor_kind.as_str(), event.actor.as_str(), event.actor_id.as_str()), ("key", "ci", "h"));
    assert_eq!((event.peer.as_str(), event.request_id.as_str(), event.at_ms), ("192.0.2.1", "r", NOW_MS));

    audit.end(begun, done(Some(json!({"name": "Anna B", "password": "new"})))).await.unwrap();
    let event = list(&audit, AuditQuery::default()).await.remove(0);
    assert_eq!(event.outcome, "done");
    assert_eq!(event.before, Some(json!({"name": "Anna", "password": "(secret)"})));
    assert_eq!(event.after, Some(json!({"name": "Anna B", "password": "(changed)"})));

    let begun = audit.begin(act(Actor::Local, "key.add", ""), NOW_MS + 1).await.unwrap();
    let made = End { object_id: Some("hash".to_owned()), detail: "why".to_owned(), ..done(None) };
    audit.end(begun, made).await.unwrap();
    let event = list(&audit, AuditQuery::default()).await.remove(0);
    assert_eq!((event.object_id.as_str(), event.detail.as_str(), event.actor_kind.as_str()), ("hash", "why", "local"));
    assert_eq!(event.id, list(&Audit::new(store.open_again().await.unwrap()), AuditQuery::default()).await[0].id);
}

async fn entries_are_found_by_everything(store: &Store) {
    let audit = Audit::new(store.db.clone());
    let acts =
        [("ci", "user.add", "anna"), ("ci", "user.delete", "bob"), ("x", "userx", "anna"), ("x", "scope.add", "s")];
    for (number, (who, action, object)) in (0..).zip(acts) {
        audit.note(act(key(who), action, object), done(None), NOW_MS + number).await.unwrap();
    }
    let check = async |query: AuditQuery, expected: &[usize]| {
        let found = list(&audit, query.clone()).await;
        let found: Vec<_> = found.iter().map(|event| usize::try_from(event.at_ms - NOW_MS).unwrap()).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    let query = AuditQuery::default;
    check(query(), &[3, 2, 1, 0]).await;
    check(AuditQuery { who: "ci".into(), ..query() }, &[1, 0]).await;
    check(AuditQuery { action: "user".into(), ..query() }, &[1, 0]).await;
    check(AuditQuery { action: "user.add".into(), ..query() }, &[0]).await;
    check(AuditQuery { object: "user".into(), ..query() }, &[1, 0]).await;
    check(AuditQuery { object: "user/anna".into(), ..query() }, &[0]).await;
    check(AuditQuery { from_ms: Some(NOW_MS + 1), to_ms: Some(NOW_MS + 2), ..query() }, &[2, 1]).await;
    check(AuditQuery { who: "'; DROP TABLE audit_event; --".into(), ..query() }, &[]).await;
}

async fn a_part_of_the_list_begins_after_another(store: &Store) {
    let audit = Audit::new(store.db.clone());
    for number in 0..5 {
        audit.note(act(key("ci"), "user.add", &number.to_string()), done(None), NOW_MS + number).await.unwrap();
    }
    let part = async |query: AuditQuery| {
        let found = audit.list(AuditQuery { limit: 2, ..query }).await.unwrap();
        let names: Vec<_> = found.iter().map(|event| event.object_id.clone()).collect();
        (names.concat(), found.last().map(|event| event.id.clone()).unwrap_or_default())
    };
    let (first, last) = part(AuditQuery::default()).await;
    // What comes meanwhile moves nothing.
    audit.note(act(key("ci"), "user.add", "5"), done(None), NOW_MS + 5).await.unwrap();
    let (second, last) = part(AuditQuery { before_id: last, ..AuditQuery::default() }).await;
    let (third, _) = part(AuditQuery { before_id: last, ..AuditQuery::default() }).await;
    assert_eq!((first.as_str(), second.as_str(), third.as_str()), ("43", "21", "0"));
    assert_eq!(part(AuditQuery { offset: 1, ..AuditQuery::default() }).await.0, "43");
}

async fn sixteen_write_at_once(store: &Store) {
    let audit = Audit::new(store.db.clone());
    let written = of_sixteen(|number| {
        let audit = audit.clone();
        async move {
            for _ in 0..4 {
                let begun = audit.begin(act(key(&number.to_string()), "user.add", "a"), NOW_MS).await.unwrap();
                audit.end(begun, done(Some(json!(number)))).await.unwrap();
            }
            true
        }
    });
    assert_eq!(written.await, 16);
    let events = list(&audit, AuditQuery::default()).await;
    assert_eq!(events.len(), 64);
    let own = |event: &AuditEvent| event.after.as_ref().map(Value::to_string) == Some(event.actor.clone());
    assert!(events.iter().all(|event| event.outcome == "done" && own(event)));
}

async fn old_entries_go(store: &Store) {
    let audit = Audit::new(store.db.clone());
    for number in 0..3 {
        audit.note(act(key("ci"), "user.add", "a"), done(None), NOW_MS + number).await.unwrap();
    }
    assert_eq!(audit.purge(10, NOW_MS + 12).await.unwrap(), 2);
    let left = list(&audit, AuditQuery::default()).await;
    assert_eq!(left.iter().map(|event| event.at_ms).collect::<Vec<_>>(), [NOW_MS + 2]);
}

async fn declarations_are_noted_with_what_they_change(store: &Store) {
    store.execute("DELETE FROM instance");
    let (audit, instances) = (Audit::new(store.db.clone()), Instances::new(store.db.clone()));
    let declared = |secret: &str| DeclaredInstance {
        kind: "plugin".into(),
        module: "hello".into(),
        name: "a".into(),
        display_name: String::new(),
        parameters: Map::from_iter([("secret".to_owned(), json!(secret))]),
        grants: None,
        allow_public: false,
        settings: Map::new(),
    };
    instances.declare(&[declared("one")], NOW_MS).await.unwrap();
    instances.declare(&[declared("one")], NOW_MS + 1).await.unwrap();
    instances.declare(&[declared("two")], NOW_MS + 2).await.unwrap();
    // What cannot be declared is noted no more than done.
    instances.declare(&[DeclaredInstance { module: "other".into(), ..declared("x") }], NOW_MS + 3).await.unwrap_err();
    instances.declare(&[], NOW_MS + 4).await.unwrap();
    let events = list(&audit, AuditQuery { object: "instance/plugin/a".into(), ..AuditQuery::default() }).await;
    let shown = events.iter().map(|event| {
        let secret = |object: &Option<Value>| object.as_ref().map(|object| object["parameters"]["secret"].clone());
        let enabled = event.after.as_ref().map(|after| after["enabled"].clone());
        (event.at_ms - NOW_MS, event.action.as_str(), secret(&event.before), secret(&event.after), enabled)
    });
    let (secret, changed) = (Some(json!("(secret)")), Some(json!("(changed)")));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            (4, "instance.change", secret.clone(), secret.clone(), Some(json!(false))),
            (2, "instance.change", secret.clone(), changed, Some(json!(true))),
            (0, "instance.add", None, secret, Some(json!(true))),
        ]
    );
    assert!(events.iter().all(|event| event.actor_kind == "configuration"));
}

async fn nothing_that_is_sent_breaks_an_entry(store: &Store) {
    let audit = Audit::new(store.db.clone());
    let long = "ü\0".repeat(10_000);
    let act = Act { before: Some(json!({"a\0": long})), ..act(key("ci"), "user.add", &long) };
    let begun = audit.begin(act, NOW_MS).await.unwrap();
    audit.end(begun, End { detail: long, ..done(Some(json!("\0"))) }).await.unwrap();
    let event = list(&audit, AuditQuery::default()).await.remove(0);
    assert_eq!(event.object_id, "ü".repeat(512));
    assert_eq!(event.after, Some(json!("\0")));
    assert!(event.before.unwrap().get("(left out)").is_some());
}

async fn what_is_refused_to_instances_again_and_again_is_told_together(store: &Store) {
    let audit = Audit::new(store.db.clone());
    let instance = "plugin/busy";
    let ended = async |action: &str, outcome: Outcome, now_ms: i64| {
        let actor = Actor::Instance { key: instance.to_owned() };
        let begun = audit.begin(act(actor, action, "anna"), now_ms).await.unwrap();
        let end = End { outcome, ..done(None) };
        audit.end_of_instance(begun, instance, end, now_ms).await.unwrap();
    };
    for number in 0..25 {
        ended("user.add", Outcome::Refused, NOW_MS + number).await;
        ended("user.add", Outcome::Done, NOW_MS + number).await;
    }
    ended("user.delete", Outcome::Failed, NOW_MS + 30).await;
    let count = async |outcome: &str| {
        let events = list(&audit, AuditQuery { who: instance.into(), ..AuditQuery::default() }).await;
        events.iter().filter(|event| event.outcome == outcome).count()
    };
    assert_eq!((count("refused").await, count("done").await, count("failed").await), (20, 25, 1));
    audit.tell_refusals(false, NOW_MS + 59_999).await.unwrap();
    assert_eq!(count("refused").await, 20);
    // The next minute begins anew.
    ended("user.add", Outcome::Refused, NOW_MS + 60_000).await;
    let newest = list(&audit, AuditQuery { action: "user.add".into(), ..AuditQuery::default() }).await;
    let together = newest.iter().find(|event| event.object_id.is_empty()).unwrap();
    assert_eq!((together.detail.as_str(), together.actor.as_str()), ("5 more were refused within a minute", instance));
    assert_eq!((count("refused").await, count("begun").await), (22, 0));
    audit.tell_refusals(true, NOW_MS + 60_001).await.unwrap();
    assert_eq!(count("refused").await, 22, "nothing was left out since");
}

async fn a_long_log_is_read_page_by_page(store: &Store) {
    let (audit, count) = (Audit::new(store.db.clone()), scaled(2_000, 100_000));
    // One of a hundred is of `rare`, and each has a millisecond of its own.
    let id = |number: &str| {
        if store.is_sqlite() {
            format!("printf('018bcfe5-%04x-7000-8000-%012x', ({number}) / 16, {number})")
        } else {
            format!(
                "'018bcfe5-' || lpad(to_hex(({number}) / 16), 4, '0') || '-7000-8000-' || lpad(to_hex({number}), 12, '0')"
            )
        }
    };
    store.execute(&format!(
        "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < {count}) \
         INSERT INTO audit_event (id, at, actor_kind, actor, actor_id, peer, action, object_kind, object_id, before, after, \
         request_id, outcome, detail) SELECT {}, {NOW_MS}, 'key', CASE n % 100 WHEN 0 THEN 'rare' ELSE 'ci' END, '', '', \
         CASE n % 100 WHEN 0 THEN 'library.load' ELSE 'user.add' END, CASE n % 100 WHEN 0 THEN 'library' ELSE 'user' END, \
         'o' || (n % 1000), NULL, '{{}}', '', 'done', '' FROM number",
        id("n")
    ));
    // As both engines do by themselves, sooner or later.
    store.execute("ANALYZE audit_event");
    for (query, expected) in [
        (AuditQuery::default(), count),
        (AuditQuery { who: "rare".into(), ..AuditQuery::default() }, count / 100),
        (AuditQuery { action: "library".into(), ..AuditQuery::default() }, count / 100),
        (AuditQuery { action: "library.load".into(), object: "library".into(), ..AuditQuery::default() }, count / 100),
        (AuditQuery { object: "user/o7".into(), ..AuditQuery::default() }, count / 1000),
    ] {
        let (mut seen, mut last) = (Vec::new(), String::new());
        let started = Instant::now();
        loop {
            let page = AuditQuery { limit: 200, before_id: last.clone(), ..query.clone() };
            let page: Vec<_> = audit.list(page).await.unwrap().into_iter().map(|event| event.id).collect();
            let Some(end) = page.last() else { break };
            last.clone_from(end);
            seen.extend(page);
        }
        eprintln!("{} of {count} entries in {:?} by {query:?}", seen.len(), started.elapsed());
        assert_eq!(seen.len(), expected, "{query:?}");
        assert!(seen.is_sorted_by(|one, next| one > next), "{query:?}");
    }
}
