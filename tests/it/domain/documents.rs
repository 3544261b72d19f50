//! `host/domain/documents` on both engines.

mod form;
mod list;
mod quota;

use std::sync::Arc;

use porth::domain::documents::{
    Consumed, Declaration, Delete, Document, DocumentError, DocumentLimits, Documents, Fields, Migrate, Operation, Put,
};
use porth::domain::instances::{Instances, NewInstance};
use serde_json::value::RawValue;
use tokio::sync::Barrier;

use crate::support::database::{NOW_MS, Store, on_both_engines};
use crate::support::scale::scaled;

on_both_engines!(
    a_document_lives_from_put_to_delete,
    a_version_decides_who_writes,
    no_version_comes_back,
    of_sixteen_writers_one_wins_each_round,
    of_sixteen_consumers_one_gets_it_fresh,
    a_one_time_document_says_what_became_of_it,
    expired_documents_are_not_there,
    what_cannot_be_is_refused_with_a_sentence,
    operations_are_applied_all_or_none,
    opposite_batches_at_once_come_to_their_end,
    large_and_odd_values_come_back_as_they_were,
    instances_keep_apart_and_documents_go_with_theirs,
    documents_of_an_instance_that_was_not_added_are_discarded,
    documents_go_with_their_user,
    a_purge_deletes_what_expired_long_ago,
    rates,
);

const LIMITS: DocumentLimits =
    DocumentLimits { documents_max: 100_000, documents_bytes_max: 256 << 20, document_bytes_max: 1 << 20 };

/// Nothing to migrate.
struct Never;

impl Migrate for Never {
    async fn migrate(&self, _: i64) -> Result<Vec<Operation>, String> {
        panic!("there is nothing to migrate");
    }
}

fn now() -> i64 {
    NOW_MS
}

fn fields(collections: &[(&str, &[&str])]) -> Fields {
    let fields = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
    collections.iter().map(|(name, index)| ((*name).to_owned(), fields(index))).collect()
}

/// The id of a new instance.
async fn instance(store: &Store, name: &str) -> String {
    let new = NewInstance {
        kind: "plugin".to_owned(),
        module: "m".to_owned(),
        name: name.to_owned(),
        display_name: String::new(),
        parameters: serde_json::Map::new(),
        enabled: true,
        grants: None,
        allow_public: false,
        settings: porth::domain::instances::Settings::default(),
    };
    Instances::new(store.db.clone()).add(new, NOW_MS).await.unwrap().id
}

/// The documents of a new instance, which it lists by `owner` and `due`.
async fn documents(store: &Store) -> (Documents, String) {
    let documents = Documents::new(store.db.clone(), LIMITS);
    let id = instance(store, "one").await;
    let declared = Declaration { version: 0, indexes: fields(&[("notes", &["due", "owner"])]) };
    documents.prepare(&id, &declared, &Never, 1_000, now).await.unwrap();
    (documents, id)
}

fn value(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn put(key: &str, json: &str) -> Put {
    let (collection, key) = ("notes".to_owned(), key.to_owned());
    Put { collection, key, value: value(json), version: None, expires_at_ms: None, user: None }
}

fn delete(key: &str, version: Option<i64>) -> Delete {
    Delete { collection: "notes".to_owned(), key: key.to_owned(), version }
}

async fn get(documents: &Documents, id: &str, key: &str) -> Option<Document> {
    documents.get(id, "notes", key, NOW_MS).await.unwrap()
}

async fn a_document_lives_from_put_to_delete(store: &Store) {
    let (documents, id) = documents(store).await;
    assert_eq!(get(&documents, &id, "a").await, None);
    let first = documents.put(&id, put("a", r#"{"n": 1}"#), NOW_MS).await.unwrap();
    let found = get(&documents, &id, "a").await.unwrap();
    assert_eq!((found.key.as_str(), found.version, found.value.as_str()), ("a", first, r#"{"n": 1}"#));
    assert_eq!((found.expires_at_ms, found.used_at_ms, found.user), (None, None, None));

    let change = Put { expires_at_ms: Some(NOW_MS + 5), user: Some("dave".to_owned()), ..put("a", "[1, 2]") };
    let second = documents.put(&id, change, NOW_MS).await.unwrap();
    assert_ne!(second, first);
    let found = get(&documents, &id, "a").await.unwrap();
    assert_eq!((found.version, found.value.as_str()), (second, "[1, 2]"));
    assert_eq!((found.expires_at_ms, found.user.as_deref()), (Some(NOW_MS + 5), Some("dave")));
    assert!(documents.get(&id, "other", "a", NOW_MS).await.unwrap().is_none());

    documents.delete(&id, delete("a", None), NOW_MS).await.unwrap();
    assert_eq!(get(&documents, &id, "a").await, None);
    let error = documents.delete(&id, delete("a", None), NOW_MS).await.unwrap_err();
    assert!(matches!(error, DocumentError::Absent), "{error}");
}

async fn a_version_decides_who_writes(store: &Store) {
    let (documents, id) = documents(store).await;
    let write = async |version| documents.put(&id, Put { version, ..put("a", "1") }, NOW_MS).await;
    let stale = |result: Result<i64, DocumentError>| assert!(matches!(result, Err(DocumentError::Stale)), "{result:?}");
    stale(write(Some(5)).await);
    let first = write(Some(0)).await.unwrap();
    stale(write(Some(0)).await);
    stale(write(Some(first + 1)).await);
    let second = write(Some(first)).await.unwrap();
    stale(write(Some(first)).await);
    let third = write(None).await.unwrap();
    stale(write(Some(second)).await);

    let refused = documents.delete(&id, delete("a", Some(second)), NOW_MS).await;
    assert!(matches!(refused, Err(DocumentError::Stale)), "{refused:?}");
    documents.delete(&id, delete("a", Some(third)), NOW_MS).await.unwrap();
    stale(write(Some(third)).await);
}

/// Who holds an old version must not pass for the holder of a new document of the same key.
async fn no_version_comes_back(store: &Store) {
    let (documents, id) = documents(store).await;
    let mut versions = std::collections::HashSet::new();
    for _ in 0..20 {
        assert!(versions.insert(documents.put(&id, put("a", "1"), NOW_MS).await.unwrap()));
        assert!(versions.insert(documents.put(&id, put("a", "1"), NOW_MS).await.unwrap()));
        let Consumed::Fresh(used) = documents.consume(&id, "notes", "a", NOW_MS).await.unwrap() else { panic!() };
        assert!(versions.insert(used.version));
        documents.delete(&id, delete("a", None), NOW_MS).await.unwrap();
    }
    assert!(versions.iter().all(|version| (1..1 << 53).contains(version)));
}

/// What sixteen futures give that begin at the same moment, each on a task of its own.
async fn sixteen_at_once<F>(make: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(16));
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let (barrier, future) = (Arc::clone(&barrier), make(number));
            tokio::spawn(async move {
                barrier.wait().await;
                future.await
            })
        })
        .collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.unwrap());
    }
    outputs
}

async fn of_sixteen_writers_one_wins_each_round(store: &Store) {
    let (documents, id) = documents(store).await;
    let mut version = 0;
    for round in 0..scaled(10, 200) {
        let results = sixteen_at_once(|number| {
            let (documents, id) = (documents.clone(), id.clone());
            let json = format!(r#"{{"owner": "{number}", "due": {round}}}"#);
            let change = Put { version: Some(version), ..put("a", &json) };
            async move { documents.put(&id, change, NOW_MS).await }
        });
        let mut winners = Vec::new();
        for (number, result) in results.await.into_iter().enumerate() {
            match result {
                Ok(version) => winners.push((number, version)),
                Err(DocumentError::Stale) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let [(winner, written)] = winners[..] else { panic!("{winners:?} in round {round}") };
        version = written;
        let found = get(&documents, &id, "a").await.unwrap();
        assert_eq!(found.version, version);
        // The index is the winner's, too.
        let listed = list::keys(&documents, &id, "owner", &winner.to_string()).await;
        assert_eq!(listed, ["a"], "{}", found.value);
        let rows = store.db.read("SELECT COUNT(*) FROM document_index", vec![]).await.unwrap();
        assert_eq!(rows.into_iter().next().unwrap().take::<i64>(0).unwrap(), 2);
    }
}

async fn of_sixteen_consumers_one_gets_it_fresh(store: &Store) {
    let (documents, id) = documents(store).await;
    for round in 0..scaled(10, 200) {
        let key = format!("code {round}");
        documents.put(&id, Put { expires_at_ms: Some(NOW_MS + 1), ..put(&key, "{}") }, NOW_MS).await.unwrap();
        let results = sixteen_at_once(|_| {
            let (documents, id, key) = (documents.clone(), id.clone(), key.clone());
            async move { documents.consume(&id, "notes", &key, NOW_MS).await.unwrap() }
        });
        let results = results.await;
        let fresh = results.iter().filter(|consumed| matches!(consumed, Consumed::Fresh(_))).count();
        let used = results.iter().filter(|consumed| matches!(consumed, Consumed::Used(_))).count();
        assert_eq!((fresh, used), (1, 15), "{results:?}");
    }
}

async fn a_one_time_document_says_what_became_of_it(store: &Store) {
    let (documents, id) = documents(store).await;
    let consume = async |key, now_ms| documents.consume(&id, "notes", key, now_ms).await.unwrap();
    assert_eq!(consume("a", NOW_MS).await, Consumed::Absent);
    let code = Put { expires_at_ms: Some(NOW_MS + 10), ..put("a", "7") };
    documents.put(&id, code.clone(), NOW_MS).await.unwrap();
    documents.put(&id, Put { key: "b".to_owned(), ..code.clone() }, NOW_MS).await.unwrap();

    let Consumed::Fresh(fresh) = consume("a", NOW_MS + 9).await else { panic!("it was not used before") };
    assert_eq!((fresh.value.as_str(), fresh.used_at_ms), ("7", Some(NOW_MS + 9)));
    assert_eq!(consume("a", NOW_MS + 9).await, Consumed::Used(fresh.clone()));
    // A replay is a replay, however late.
    assert_eq!(consume("a", NOW_MS + 10).await, Consumed::Used(fresh.clone()));
    assert_eq!(consume("b", NOW_MS + 10).await, Consumed::Expired);
    assert_eq!(get(&documents, &id, "a").await, Some(fresh.clone()));

    // Who read it before it was used cannot bring it back; who writes it on purpose can.
    let stale = documents.put(&id, Put { version: Some(fresh.version - 1), ..code.clone() }, NOW_MS).await;
    assert!(matches!(stale, Err(DocumentError::Stale)), "{stale:?}");
    documents.put(&id, code, NOW_MS).await.unwrap();
    assert!(matches!(consume("a", NOW_MS).await, Consumed::Fresh(_)));
}

async fn expired_documents_are_not_there(store: &Store) {
    let (documents, id) = documents(store).await;
    let json = r#"{"owner": "dave"}"#;
    let expiring = Put { expires_at_ms: Some(NOW_MS + 10), ..put("a", json) };
    let version = documents.put(&id, expiring.clone(), NOW_MS).await.unwrap();
    documents.put(&id, put("b", json), NOW_MS).await.unwrap();
    let (before, after) = (NOW_MS + 9, NOW_MS + 10);
    for (now_ms, keys) in [(before, &["a", "b"][..]), (after, &["b"][..])] {
        assert_eq!(documents.get(&id, "notes", "a", now_ms).await.unwrap().is_some(), keys.len() == 2);
        assert_eq!(list::keys_at(&documents, &id, &list::all(), now_ms).await, keys);
        assert_eq!(list::keys_at(&documents, &id, &list::by("owner", "dave"), now_ms).await, keys);
    }
    let stale = documents.put(&id, Put { version: Some(version), ..put("a", "1") }, after).await;
    assert!(matches!(stale, Err(DocumentError::Stale)), "{stale:?}");
    let absent = documents.delete(&id, delete("a", None), after).await;
    assert!(matches!(absent, Err(DocumentError::Absent)), "{absent:?}");
    let stale = documents.delete(&id, delete("a", Some(version)), after).await;
    assert!(matches!(stale, Err(DocumentError::Stale)), "{stale:?}");
    // Its place is free.
    documents.put(&id, Put { version: Some(0), ..put("a", "1") }, after).await.unwrap();
    assert_eq!(documents.get(&id, "notes", "a", after).await.unwrap().unwrap().expires_at_ms, None);
}

async fn what_cannot_be_is_refused_with_a_sentence(store: &Store) {
    let (documents, id) = documents(store).await;
    let long = "k".repeat(513);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let refused = [
        (put("", "1"), "the key has 0 bytes, expected 1 to 512"),
        (put(&long, "1"), "the key has 513 bytes, expected 1 to 512"),
        (put("a\0b", "1"), "the key holds a NUL character"),
        (
            Put { collection: "No tes".to_owned(), ..put("a", "1") },
            "`No tes` is no name of a collection: [a-z0-9][a-z0-9_-]*, at most 64 characters",
        ),
        (
            Put { collection: String::new(), ..put("a", "1") },
            "`` is no name of a collection: [a-z0-9][a-z0-9_-]*, at most 64 characters",
        ),
        (put("a", &large), "the value has 1048578 bytes, a document may have 1048576"),
        (
            Put { version: Some(-1), ..put("a", "1") },
            "no document has version -1; expected 1 or more, or 0 for a new one",
        ),
        (Put { expires_at_ms: Some(0), ..put("a", "1") }, "`expires_at_ms` is 0; expected milliseconds since 1970"),
        (Put { user: Some("\0".to_owned()), ..put("a", "1") }, "`user` must be a name of 1 to 128 bytes without NUL"),
        (
            put("a", r#"{"owner": "a\u0000"}"#),
            "the index field `owner` holds a text with a NUL character, which cannot be indexed",
        ),
        (
            put("a", &format!(r#"{{"owner": "{long}"}}"#)),
            "the index field `owner` holds a text of 513 bytes, at most 512 can be indexed",
        ),
    ];
    for (put, sentence) in refused {
        match documents.put(&id, put, NOW_MS).await {
            Err(DocumentError::Parameter(text)) => assert_eq!(text, sentence),
            other => panic!("{sentence}: {other:?}"),
        }
    }
    for result in [
        documents.get(&id, "notes", "a\0", NOW_MS).await.map(drop),
        documents.consume(&id, "notes", "a\0", NOW_MS).await.map(drop),
        documents.delete(&id, delete("a\0", None), NOW_MS).await,
        documents.delete(&id, delete("a", Some(0)), NOW_MS).await,
    ] {
        assert!(matches!(result, Err(DocumentError::Parameter(_))), "{result:?}");
    }
    let many: Vec<_> = (0..1_001).map(|number| Operation::Put(put(&number.to_string(), "1"))).collect();
    let refused = documents.apply(&id, &many, NOW_MS).await.unwrap_err().to_string();
    assert!(refused.starts_with("1001 operations"), "{refused}");
    assert_eq!(list::keys_at(&documents, &id, &list::all(), NOW_MS).await, [""; 0]);
}

async fn operations_are_applied_all_or_none(store: &Store) {
    let (documents, id) = documents(store).await;
    let version = documents.put(&id, put("old", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    let kept = documents.put(&id, put("kept", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    let good = || {
        vec![
            Operation::Put(put("z", r#"{"owner": "ann"}"#)),
            Operation::Delete(delete("old", Some(version))),
            Operation::Put(Put { version: Some(0), ..put("a", r#"{"owner": "ann"}"#) }),
        ]
    };
    let stale = "the document has another version, or was deleted, or exists already";
    let bad = [
        (Operation::Put(Put { version: Some(9), ..put("b", "1") }), stale),
        (Operation::Put(Put { version: Some(0), ..put("kept", "1") }), stale),
        (Operation::Put(Put { version: Some(kept + 1), ..put("kept", "1") }), stale),
        (Operation::Delete(delete("kept", Some(kept + 1))), stale),
        (Operation::Delete(delete("b", None)), "there is no such document"),
        (Operation::Put(put("", "1")), "the key has 0 bytes, expected 1 to 512"),
    ];
    for (operation, reason) in bad {
        for place in 0..4 {
            let mut operations = good();
            operations.insert(place, operation.clone());
            let error = documents.apply(&id, &operations, NOW_MS).await.unwrap_err();
            assert_eq!(error.to_string(), format!("operation {place} (counted from 0): {reason}"));
            assert_eq!(list::keys_at(&documents, &id, &list::all(), NOW_MS).await, ["kept", "old"]);
            assert_eq!(list::keys(&documents, &id, "owner", "ann").await, [""; 0]);
            assert_eq!(list::keys(&documents, &id, "owner", "dave").await, ["kept", "old"]);
        }
    }
    let versions = documents.apply(&id, &good(), NOW_MS).await.unwrap();
    assert_eq!(list::keys_at(&documents, &id, &list::all(), NOW_MS).await, ["a", "kept", "z"]);
    assert_eq!(list::keys(&documents, &id, "owner", "ann").await, ["a", "z"]);
    assert_eq!(versions[0], get(&documents, &id, "z").await.map(|found| found.version));
    assert_eq!(versions[1], None);
    assert_eq!(versions[2], get(&documents, &id, "a").await.map(|found| found.version));

    // Several of one document, in their order.
    let operations = [
        Operation::Put(put("b", "1")),
        Operation::Delete(delete("b", None)),
        Operation::Put(Put { version: Some(0), ..put("b", "2") }),
        Operation::Put(put("b", "3")),
    ];
    documents.apply(&id, &operations, NOW_MS).await.unwrap();
    assert_eq!(get(&documents, &id, "b").await.unwrap().value, "3");
    assert_eq!(documents.apply(&id, &[], NOW_MS).await.unwrap(), []);
}

/// Two batches that take the same documents the other way round must not wait for each other.
async fn opposite_batches_at_once_come_to_their_end(store: &Store) {
    let (documents, id) = documents(store).await;
    for round in 0..scaled(5, 50) {
        let results = sixteen_at_once(|number| {
            let (documents, id) = (documents.clone(), id.clone());
            let json = format!(r#"{{"owner": "{number}", "due": {round}}}"#);
            let mut operations: Vec<_> = (0..8).map(|key| Operation::Put(put(&key.to_string(), &json))).collect();
            if number % 2 == 1 {
                operations.reverse();
            }
            async move { documents.apply(&id, &operations, NOW_MS).await.map(drop) }
        });
        for result in results.await {
            result.unwrap();
        }
        let mut values = Vec::new();
        for key in 0..8 {
            values.push(get(&documents, &id, &key.to_string()).await.unwrap().value);
        }
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    }
}

async fn large_and_odd_values_come_back_as_they_were(store: &Store) {
    let (documents, id) = documents(store).await;
    let large = format!("\"{}\"", "ü".repeat((1 << 19) - 1));
    assert_eq!(large.len(), 1 << 20);
    let values = [
        large.as_str(),
        "null",
        "\"a\\u0000b\"",
        " { \"a\" : 1e999, \"a\":123456789012345678901234567890.10 } ",
        "[[[]]]",
        &format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)),
    ];
    for (number, json) in values.into_iter().enumerate() {
        for key in [number.to_string(), "é/ \u{10ffff}\n%00'\"".to_owned()] {
            documents.put(&id, put(&key, json), NOW_MS).await.unwrap();
            // Of a value in JSON, white space around it is no part.
            assert_eq!(get(&documents, &id, &key).await.unwrap().value, json.trim());
        }
    }
    // In a batch, too, and in a list, whose pages end early.
    let operations: Vec<_> = (0..12).map(|key| Operation::Put(put(&format!("l{key:02}"), &large))).collect();
    documents.apply(&id, &operations, NOW_MS).await.unwrap();
    let all = list::List { wanted: list::Wanted { prefix: Some("l".to_owned()), ..Default::default() }, ..list::all() };
    let page = documents.list(&id, "notes", &all, NOW_MS).await.unwrap();
    assert!(page.documents.len() < 12 && page.next.is_some(), "{}", page.documents.len());
    assert_eq!(list::keys_at(&documents, &id, &all, NOW_MS).await.len(), 12);
}

async fn instances_keep_apart_and_documents_go_with_theirs(store: &Store) {
    let (documents, one) = documents(store).await;
    let two = instance(store, "two").await;
    documents.prepare(&two, &Declaration::default(), &Never, 1_000, now).await.unwrap();
    for id in [&one, &two] {
        documents.put(id, put("a", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
        assert_eq!(list::keys_at(&documents, id, &list::all(), NOW_MS).await, ["a"]);
    }
    documents.delete(&two, delete("a", None), NOW_MS).await.unwrap();
    assert!(get(&documents, &one, "a").await.is_some());

    Instances::new(store.db.clone()).delete("plugin", "one").await.unwrap();
    for table in ["document", "document_index"] {
        assert_eq!(count(store, table).await, 0, "{table}");
    }
    assert_eq!(count(store, "document_set").await, 1);
    // An instance that is still draining does not bring them back.
    let gone = documents.put(&one, put("a", "1"), NOW_MS).await.unwrap_err();
    assert!(matches!(gone, DocumentError::Gone), "{gone}");
    assert_eq!(get(&documents, &one, "a").await, None);
    let one = instance(store, "one").await;
    documents.prepare(&one, &Declaration::default(), &Never, 1_000, now).await.unwrap();
    assert_eq!(get(&documents, &one, "a").await, None);
}

async fn count(store: &Store, table: &str) -> i64 {
    let sql = match table {
        "document" => "SELECT COUNT(*) FROM document",
        "document_set" => "SELECT COUNT(*) FROM document_set",
        _ => "SELECT COUNT(*) FROM document_index",
    };
    store.db.read(sql, vec![]).await.unwrap()[0].take(0).unwrap()
}

async fn documents_of_an_instance_that_was_not_added_are_discarded(store: &Store) {
    let documents = Documents::new(store.db.clone(), LIMITS);
    let instances = Instances::new(store.db.clone());
    let draft = |name: &str| {
        let new = NewInstance {
            kind: "plugin".to_owned(),
            module: "m".to_owned(),
            name: name.to_owned(),
            display_name: String::new(),
            parameters: serde_json::Map::new(),
            enabled: true,
            grants: None,
            allow_public: false,
            settings: porth::domain::instances::Settings::default(),
        };
        Instances::draft(new, NOW_MS).unwrap()
    };
    let (added, refused, lost) = (draft("a"), draft("a"), draft("b"));
    for record in [&added, &refused, &lost] {
        documents.prepare(&record.id, &Declaration::default(), &Never, 1_000, now).await.unwrap();
        // As `init` does before the instance is stored.
        documents.put(&record.id, put("a", "1"), NOW_MS).await.unwrap();
    }
    instances.add_draft(&added).await.unwrap();
    instances.add_draft(&refused).await.unwrap_err();
    documents.discard(&refused.id).await.unwrap();
    documents.discard(&added.id).await.unwrap();
    assert!(get(&documents, &added.id, "a").await.is_some());
    assert_eq!(get(&documents, &refused.id, "a").await, None);
    // The process ended while `b` was being added.
    documents.purge(NOW_MS + 1_000).await.unwrap();
    assert_eq!(count(store, "document").await, 2);
    documents.purge(NOW_MS + 86_400_001).await.unwrap();
    assert_eq!(get(&documents, &lost.id, "a").await, None);
    assert!(get(&documents, &added.id, "a").await.is_some());
    instances.delete("plugin", "a").await.unwrap();
    assert_eq!(count(store, "document").await, 0);
}

async fn documents_go_with_their_user(store: &Store) {
    let (documents, id) = documents(store).await;
    for chunk in 0..2 {
        let of_users = (0..550).map(|number| {
            let number = chunk * 550 + number;
            let user = Some(if number == 7 { "ann" } else { "dave" }.to_owned());
            Operation::Put(Put { user, ..put(&number.to_string(), "1") })
        });
        documents.apply(&id, &of_users.collect::<Vec<_>>(), NOW_MS).await.unwrap();
    }
    documents.put(&id, put("nobody's", "1"), NOW_MS).await.unwrap();
    assert_eq!(documents.delete_of_user("dave").await.unwrap(), 1_099);
    assert_eq!(documents.delete_of_user("dave").await.unwrap(), 0);
    assert_eq!(list::keys_at(&documents, &id, &list::all(), NOW_MS).await, ["7", "nobody's"]);
}

async fn a_purge_deletes_what_expired_long_ago(store: &Store) {
    let (documents, id) = documents(store).await;
    let total = 2_050;
    for chunk in 0..total / 205 {
        let expiring = (0..205).map(|number| {
            let put = put(&format!("{chunk} {number}"), r#"{"owner": "dave"}"#);
            Operation::Put(Put { expires_at_ms: Some(NOW_MS + 1), ..put })
        });
        documents.apply(&id, &expiring.collect::<Vec<_>>(), NOW_MS).await.unwrap();
    }
    documents.put(&id, put("stays", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    assert_eq!(documents.purge(NOW_MS + 60_000).await.unwrap(), 0);
    assert_eq!(documents.purge(NOW_MS + 600_001).await.unwrap(), total);
    assert_eq!(count(store, "document").await, 1);
    assert_eq!(count(store, "document_index").await, 1);
}

/// Rough figures, to be read with `--nocapture`: 64 callers, values of about 200 bytes.
async fn rates(store: &Store) {
    let (documents, id) = documents(store).await;
    let rate =
        async |what: &str,
               each: usize,
               ask: fn(Documents, String, i64, i64) -> futures_util::future::BoxFuture<'static, ()>| {
            let began = std::time::Instant::now();
            let callers = (0..64_i64).map(|caller| {
                let (documents, id) = (documents.clone(), id.clone());
                tokio::spawn(async move {
                    for number in 0..each as i64 {
                        ask(documents.clone(), id.clone(), caller, number).await;
                    }
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.unwrap();
            }
            let engine = if store.is_sqlite() { "SQLite" } else { "PostgreSQL" };
            println!("{what} on {engine}: {:.0}/s", (64 * each) as f64 / began.elapsed().as_secs_f64());
        };
    let each = scaled(10, 300);
    rate("put", each, |documents, id, caller, number| {
        Box::pin(async move {
            let json = format!(r#"{{"text": "{}"}}"#, "x".repeat(190));
            let put = Put { collection: "plain".to_owned(), ..put(&format!("{caller}/{number}"), &json) };
            documents.put(&id, put, NOW_MS).await.unwrap();
        })
    })
    .await;
    rate("put with two index fields", each, |documents, id, caller, number| {
        Box::pin(async move {
            let json = format!(r#"{{"owner": "{caller}", "due": {number}, "text": "{}"}}"#, "x".repeat(160));
            documents.put(&id, put(&format!("{caller}/{number}"), &json), NOW_MS).await.unwrap();
        })
    })
    .await;
    rate("get", each, |documents, id, caller, number| {
        Box::pin(async move {
            let key = format!("{caller}/{number}");
            assert!(documents.get(&id, "plain", &key, NOW_MS).await.unwrap().is_some());
        })
    })
    .await;
    rate("consume", each, |documents, id, caller, number| {
        Box::pin(async move {
            let key = format!("{caller}/{number}");
            let consumed = documents.consume(&id, "plain", &key, NOW_MS).await.unwrap();
            assert!(matches!(consumed, Consumed::Fresh(_)));
        })
    })
    .await;
    rate("list of ten by an index field", each, |documents, id, caller, _| {
        Box::pin(async move {
            let list = list::List { limit: 10, ..list::by("owner", &caller.to_string()) };
            assert_eq!(documents.list(&id, "notes", &list, NOW_MS).await.unwrap().documents.len(), 10);
        })
    })
    .await;
}
