//! Versions, migrations, and index fields that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use porth::domain::documents::{Declaration, DocumentError, Documents, Migrate, Operation, PrepareError, Put};
use serde_json::{Value, json};

use super::{LIMITS, NOW_MS, Never, fields, get, instance, list, now, put, sixteen_at_once, value};
use crate::support::database::{Store, on_both_engines};

on_both_engines!(
    a_new_instance_has_nothing_to_migrate,
    each_step_is_made_once_and_in_order,
    a_step_that_fails_changes_nothing,
    a_step_goes_again_when_a_document_has_changed,
    of_sixteen_that_start_one_migrates,
    a_lease_runs_out_with_its_process,
    newer_documents_are_refused,
    a_new_field_knows_what_was_there_before,
    a_field_goes_with_the_next_version,
    who_knows_an_old_form_writes_the_new_one,
    a_field_can_be_added_while_others_write,
    a_document_that_cannot_be_indexed_keeps_the_old_form,
);

/// The time as it is: leases run out by it.
fn clock() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn declared(version: i64, index: &[&str]) -> Declaration {
    Declaration { version, indexes: if index.is_empty() { fields(&[]) } else { fields(&[("notes", index)]) } }
}

/// Writes down its version in every document: `{"steps": [0, 1, …]}`.
struct Steps {
    documents: Documents,
    id: String,
    made: AtomicUsize,
    /// The step that fails.
    fails_at: i64,
}

impl Steps {
    fn new(documents: &Documents, id: &str) -> Self {
        Self { documents: documents.clone(), id: id.to_owned(), made: AtomicUsize::new(0), fails_at: -1 }
    }
}

impl Migrate for Steps {
    async fn migrate(&self, from: i64) -> Result<Vec<Operation>, String> {
        self.made.fetch_add(1, Ordering::SeqCst);
        if from == self.fails_at {
            return Err("on purpose".to_owned());
        }
        let page = self.documents.list(&self.id, "notes", &list::all(), NOW_MS).await.unwrap();
        let step = page.documents.into_iter().map(|document| {
            let mut json: Value = serde_json::from_str(&document.value).unwrap();
            json["steps"].as_array_mut().unwrap().push(json!(from));
            Operation::Put(Put { version: Some(document.version), ..put(&document.key, &json.to_string()) })
        });
        Ok(step.collect())
    }
}

/// An instance with two documents of version 1.
async fn old(store: &Store) -> (Documents, String) {
    let documents = Documents::new(store.db.clone(), LIMITS);
    let id = instance(store, "one").await;
    documents.prepare(&id, &declared(1, &[]), &Never, 1_000, clock).await.unwrap();
    for key in ["a", "b"] {
        documents.put(&id, put(key, r#"{"steps": []}"#), NOW_MS).await.unwrap();
    }
    (documents, id)
}

async fn steps(documents: &Documents, id: &str, key: &str) -> Value {
    serde_json::from_str::<Value>(&get(documents, id, key).await.unwrap().value).unwrap()["steps"].clone()
}

async fn a_new_instance_has_nothing_to_migrate(store: &Store) {
    let documents = Documents::new(store.db.clone(), LIMITS);
    let id = instance(store, "one").await;
    for _ in 0..2 {
        documents.prepare(&id, &declared(7, &["owner"]), &Never, 1_000, now).await.unwrap();
    }
    documents.put(&id, put("a", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    assert_eq!(list::keys(&documents, &id, "owner", "dave").await, ["a"]);
}

async fn each_step_is_made_once_and_in_order(store: &Store) {
    let (documents, id) = old(store).await;
    let migrate = Steps::new(&documents, &id);
    documents.prepare(&id, &declared(3, &[]), &migrate, 1_000, clock).await.unwrap();
    for key in ["a", "b"] {
        assert_eq!(steps(&documents, &id, key).await, json!([1, 2]));
    }
    documents.prepare(&id, &declared(3, &[]), &migrate, 1_000, clock).await.unwrap();
    assert_eq!(migrate.made.load(Ordering::SeqCst), 2);
    documents.prepare(&id, &declared(4, &[]), &migrate, 1_000, clock).await.unwrap();
    assert_eq!(steps(&documents, &id, "a").await, json!([1, 2, 3]));
}

async fn a_step_that_fails_changes_nothing(store: &Store) {
    let (documents, id) = old(store).await;
    let failing = Steps { fails_at: 2, ..Steps::new(&documents, &id) };
    let error = documents.prepare(&id, &declared(4, &[]), &failing, 1_000, clock).await.unwrap_err();
    assert_eq!(error.to_string(), "its documents could not be brought from version 2 to 3: on purpose");
    // The step before it stays, and the old version goes on.
    assert_eq!(steps(&documents, &id, "a").await, json!([1]));
    documents.put(&id, put("a", r#"{"steps": [1]}"#), NOW_MS).await.unwrap();

    struct Half;
    impl Migrate for Half {
        async fn migrate(&self, _: i64) -> Result<Vec<Operation>, String> {
            let bad = Put { value: value("1"), ..put("b\0", "1") };
            Ok(vec![Operation::Put(put("a", r#"{"steps": "half"}"#)), Operation::Put(bad)])
        }
    }
    let error = documents.prepare(&id, &declared(4, &[]), &Half, 1_000, clock).await.unwrap_err();
    assert!(error.to_string().ends_with("operation 1 (counted from 0): the key holds a NUL character"), "{error}");
    assert_eq!(steps(&documents, &id, "a").await, json!([1]));
    documents.prepare(&id, &declared(3, &[]), &Steps::new(&documents, &id), 1_000, clock).await.unwrap();
    assert_eq!(steps(&documents, &id, "a").await, json!([1, 2]));
}

/// A predecessor that writes while a step is worked out.
struct Interrupted {
    steps: Steps,
    times: usize,
}

impl Migrate for Interrupted {
    async fn migrate(&self, from: i64) -> Result<Vec<Operation>, String> {
        let operations = self.steps.migrate(from).await?;
        if self.steps.made.load(Ordering::SeqCst) <= self.times {
            let Steps { documents, id, .. } = &self.steps;
            documents.put(id, put("b", r#"{"steps": [], "late": true}"#), NOW_MS).await.unwrap();
        }
        Ok(operations)
    }
}

async fn a_step_goes_again_when_a_document_has_changed(store: &Store) {
    let (documents, id) = old(store).await;
    let migrate = Interrupted { steps: Steps::new(&documents, &id), times: 3 };
    documents.prepare(&id, &declared(2, &[]), &migrate, 1_000, clock).await.unwrap();
    assert_eq!(migrate.steps.made.load(Ordering::SeqCst), 4);
    let found = get(&documents, &id, "b").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&found.value).unwrap(), json!({"steps": [1], "late": true}));
    assert_eq!(steps(&documents, &id, "a").await, json!([1]));

    let migrate = Interrupted { steps: Steps::new(&documents, &id), times: 100 };
    let error = documents.prepare(&id, &declared(3, &[]), &migrate, 1_000, clock).await.unwrap_err();
    assert!(error.to_string().ends_with("8 times in a row"), "{error}");
    assert_eq!(steps(&documents, &id, "a").await, json!([1]));
}

async fn of_sixteen_that_start_one_migrates(store: &Store) {
    let (documents, id) = old(store).await;
    let results = sixteen_at_once(|_| {
        // Each a process of its own, as it were.
        let documents = Documents::new(store.db.clone(), LIMITS);
        let migrate = Steps::new(&documents, &id);
        let id = id.clone();
        async move {
            documents.prepare(&id, &declared(3, &["owner"]), &migrate, 60_000, clock).await.unwrap();
            migrate.made.load(Ordering::SeqCst)
        }
    });
    assert_eq!(results.await.into_iter().sum::<usize>(), 2);
    assert_eq!(steps(&documents, &id, "a").await, json!([1, 2]));
}

async fn a_lease_runs_out_with_its_process(store: &Store) {
    static NOW: [AtomicI64; 2] = [const { AtomicI64::new(NOW_MS) }; 2];
    let (now, clock): (_, fn() -> i64) = if store.is_sqlite() {
        (&NOW[0], || NOW[0].load(Ordering::SeqCst))
    } else {
        (&NOW[1], || NOW[1].load(Ordering::SeqCst))
    };
    let (documents, id) = old(store).await;
    let held = format!("UPDATE document_set SET lease_holder = 'somebody', lease_until = {}", NOW_MS + 3_000);
    store.execute(&held);
    let migrate = Steps::new(&documents, &id);
    // No time passes by itself here, so that no patience ends.
    let second = declared(2, &[]);
    let waiting = documents.prepare(&id, &second, &migrate, 1_000, clock);
    tokio::time::timeout(Duration::from_millis(200), waiting).await.unwrap_err();
    assert_eq!(migrate.made.load(Ordering::SeqCst), 0);
    now.store(NOW_MS + 3_000, Ordering::SeqCst);
    documents.prepare(&id, &second, &migrate, 1_000, clock).await.unwrap();
    assert_eq!(steps(&documents, &id, "a").await, json!([1]));

    store.execute("UPDATE document_set SET lease_holder = 'somebody', lease_until = 9000000000000");
    let error = documents.prepare(&id, &declared(3, &[]), &migrate, -1, clock).await.unwrap_err();
    assert!(matches!(error, PrepareError::Held { .. }), "{error}");
}

async fn newer_documents_are_refused(store: &Store) {
    let (documents, id) = old(store).await;
    let error = documents.prepare(&id, &declared(0, &[]), &Never, 1_000, clock).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "its documents have version 1, this module knows versions up to 0; use the newer library"
    );
    documents.prepare(&id, &declared(1, &[]), &Never, 1_000, clock).await.unwrap();
}

async fn a_new_field_knows_what_was_there_before(store: &Store) {
    let (documents, id) = old(store).await;
    for number in 0..250 {
        let json = format!(r#"{{"owner": "{}", "title": {number}}}"#, number % 2);
        documents.put(&id, put(&format!("{number:03}"), &json), NOW_MS).await.unwrap();
    }
    documents.prepare(&id, &declared(1, &["owner"]), &Never, 1_000, clock).await.unwrap();
    assert_eq!(list::keys(&documents, &id, "owner", "1").await.len(), 125);
    let refused = documents.list(&id, "notes", &list::by("title", "x"), NOW_MS).await.unwrap_err();
    assert!(matches!(refused, DocumentError::Parameter(_)), "{refused}");
    documents.prepare(&id, &declared(1, &["title"]), &Never, 1_000, clock).await.unwrap();
    let titles = list::List { field: Some("title".to_owned()), ..list::all() };
    assert_eq!(list::keys_at(&documents, &id, &titles, NOW_MS).await.len(), 250);
    // The other one stays: a library that wants it may still be at work.
    assert_eq!(list::keys(&documents, &id, "owner", "1").await.len(), 125);
    // What a process left half done that ended over it is done again.
    store.execute("UPDATE document_set SET indexes = '{}', building = '{\"notes\":[\"owner\",\"title\"]}'");
    store.execute("DELETE FROM document_index WHERE key < '100'");
    let documents = Documents::new(store.db.clone(), LIMITS);
    documents.prepare(&id, &declared(1, &["owner", "title"]), &Never, 1_000, clock).await.unwrap();
    assert_eq!(list::keys(&documents, &id, "owner", "1").await.len(), 125);
    assert_eq!(list::keys_at(&documents, &id, &titles, NOW_MS).await.len(), 250);
}

async fn a_field_goes_with_the_next_version(store: &Store) {
    let (documents, id) = old(store).await;
    documents.prepare(&id, &declared(1, &["owner", "steps"]), &Never, 1_000, clock).await.unwrap();
    documents.put(&id, put("c", r#"{"owner": "dave", "due": 1, "steps": []}"#), NOW_MS).await.unwrap();
    let migrate = Steps::new(&documents, &id);
    documents.prepare(&id, &declared(2, &["due"]), &migrate, 1_000, clock).await.unwrap();
    let refused = documents.list(&id, "notes", &list::by("owner", "dave"), NOW_MS).await;
    assert!(matches!(refused, Err(DocumentError::Parameter(_))), "{refused:?}");
    let due = list::List { field: Some("due".to_owned()), ..list::all() };
    assert_eq!(list::keys_at(&documents, &id, &due, NOW_MS).await, ["c"]);
    assert_eq!(super::count(store, "document_index").await, 1);
    // Declared once more, it knows nothing of the time before.
    documents.put(&id, put("c", r#"{"due": 1, "steps": []}"#), NOW_MS).await.unwrap();
    documents.prepare(&id, &declared(2, &["due", "owner"]), &migrate, 1_000, clock).await.unwrap();
    assert_eq!(list::keys(&documents, &id, "owner", "dave").await, [""; 0]);
}

async fn who_knows_an_old_form_writes_the_new_one(store: &Store) {
    let (predecessor, id) = old(store).await;
    predecessor.put(&id, put("a", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    let successor = Documents::new(store.db.clone(), LIMITS);
    successor.prepare(&id, &declared(1, &["owner"]), &Never, 1_000, clock).await.unwrap();
    // In every way of writing.
    predecessor.put(&id, put("b", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    let version = predecessor.put(&id, put("a", r#"{"owner": "ann"}"#), NOW_MS).await.unwrap();
    assert_eq!(list::keys(&successor, &id, "owner", "dave").await, ["b"]);
    successor.prepare(&id, &declared(1, &["owner", "due"]), &Never, 1_000, clock).await.unwrap();
    let update = Put { version: Some(version), ..put("a", r#"{"due": 7}"#) };
    predecessor.put(&id, update, NOW_MS).await.unwrap();
    predecessor.put(&id, Put { version: Some(0), ..put("c", r#"{"due": 7}"#) }, NOW_MS).await.unwrap();
    let due = list::List { field: Some("due".to_owned()), ..list::all() };
    assert_eq!(list::keys_at(&successor, &id, &due, NOW_MS).await, ["a", "c"]);
    assert_eq!(list::keys(&successor, &id, "owner", "ann").await, [""; 0]);
    // A wrong version is told apart from an old form.
    successor.prepare(&id, &declared(1, &["owner", "due", "steps"]), &Never, 1_000, clock).await.unwrap();
    let stale = predecessor.put(&id, Put { version: Some(5), ..put("a", "1") }, NOW_MS).await;
    assert!(matches!(stale, Err(DocumentError::Stale)), "{stale:?}");
}

async fn a_field_can_be_added_while_others_write(store: &Store) {
    let (predecessor, id) = old(store).await;
    let keys = 40;
    for key in 0..keys {
        predecessor.put(&id, put(&key.to_string(), r#"{"owner": "first"}"#), NOW_MS).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (predecessor, id, stop) = (predecessor.clone(), id.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut round = 0;
                while !stop.load(Ordering::SeqCst) {
                    // Each writer has its own documents, so that it knows what is in them in the end.
                    let key = (round * 4 + writer) % keys;
                    let owner = if round % 3 == 0 { "null".to_owned() } else { format!("\"{}\"", round % 5) };
                    let json = format!(r#"{{"owner": {owner}}}"#);
                    predecessor.put(&id, put(&key.to_string(), &json), NOW_MS).await.unwrap();
                    round += 1;
                }
            })
        })
        .collect();
    let successor = Documents::new(store.db.clone(), LIMITS);
    successor.prepare(&id, &declared(1, &["owner"]), &Never, 1_000, clock).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let listed = list::List { field: Some("owner".to_owned()), ..list::all() };
    let mut listed = list::keys_at(&successor, &id, &listed, NOW_MS).await;
    listed.sort();
    let page = successor.list(&id, "notes", &list::all(), NOW_MS).await.unwrap();
    let has_owner = |value: &str| serde_json::from_str::<Value>(value).unwrap()["owner"].is_string();
    let mut expected: Vec<_> =
        page.documents.into_iter().filter(|document| has_owner(&document.value)).map(|document| document.key).collect();
    expected.sort();
    assert_eq!(listed, expected);
    for owner in ["0", "1", "2", "3", "4", "first"] {
        for key in list::keys(&successor, &id, "owner", owner).await {
            let value = get(&successor, &id, &key).await.unwrap().value;
            assert_eq!(value, format!(r#"{{"owner": "{owner}"}}"#));
        }
    }
}

async fn a_document_that_cannot_be_indexed_keeps_the_old_form(store: &Store) {
    let (documents, id) = old(store).await;
    let long = format!(r#"{{"title": "{}"}}"#, "x".repeat(600));
    documents.put(&id, put("c", &long), NOW_MS).await.unwrap();
    let error = documents.prepare(&id, &declared(1, &["title"]), &Never, 1_000, clock).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a document of `notes` cannot be indexed: the index field `title` holds a text of 600 bytes, at most 512 can be indexed"
    );
    // The old library goes on as before.
    documents.put(&id, put("d", &long), NOW_MS).await.unwrap();
    documents.prepare(&id, &declared(1, &[]), &Never, 1_000, clock).await.unwrap();
}
