//! How much an instance may keep.

use porth::domain::documents::{Declaration, DocumentError, DocumentLimits, Documents, Operation, Put};

use super::{LIMITS, NOW_MS, Never, delete, instance, now, put};
use crate::support::database::{Store, on_both_engines};

on_both_engines!(
    so_many_documents_and_no_more,
    so_many_bytes_and_no_more,
    what_others_delete_is_noticed,
    what_frees_more_than_it_takes_is_never_refused,
);

async fn limited(store: &Store, limits: DocumentLimits) -> (Documents, String) {
    let documents = Documents::new(store.db.clone(), limits);
    let id = instance(store, "one").await;
    documents.prepare(&id, &Declaration::default(), &Never, 1_000, now).await.unwrap();
    (documents, id)
}

fn check_full<T: std::fmt::Debug>(result: Result<T, DocumentError>, expected: &str) {
    match result {
        Err(error @ DocumentError::Full { .. }) => assert!(error.to_string().contains(expected), "{error}"),
        other => panic!("{other:?}"),
    }
}

async fn so_many_documents_and_no_more(store: &Store) {
    let (documents, id) = limited(store, DocumentLimits { documents_max: 3, ..LIMITS }).await;
    for key in ["a", "b", "c"] {
        documents.put(&id, put(key, "1"), NOW_MS).await.unwrap();
    }
    let full = "the instance keeps 3 documents of 21 bytes together, and may not keep more (`documents_max`";
    check_full(documents.put(&id, put("d", "1"), NOW_MS).await, full);
    let both = [Operation::Put(put("a", "2")), Operation::Put(put("d", "1"))];
    check_full(documents.apply(&id, &both, NOW_MS).await.map_err(|error| error.error), full);
    // What is there can be changed, replaced and deleted.
    documents.put(&id, put("a", "22"), NOW_MS).await.unwrap();
    let exchange = [Operation::Put(put("d", "1")), Operation::Delete(delete("b", None))];
    documents.apply(&id, &exchange, NOW_MS).await.unwrap();
    check_full(documents.put(&id, put("b", "1"), NOW_MS).await, "3 documents of 22 bytes");
    documents.delete(&id, delete("c", None), NOW_MS).await.unwrap();
    documents.put(&id, put("b", "1"), NOW_MS).await.unwrap();
    check_full(documents.put(&id, put("c", "1"), NOW_MS).await, "3 documents");
    // Another process counts what it finds.
    let documents = Documents::new(store.db.clone(), DocumentLimits { documents_max: 3, ..LIMITS });
    check_full(documents.put(&id, put("c", "1"), NOW_MS).await, "3 documents");
}

async fn so_many_bytes_and_no_more(store: &Store) {
    let (documents, id) = limited(store, DocumentLimits { documents_bytes_max: 1_000, ..LIMITS }).await;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    // With the names of the collection and the document, 500 bytes each.
    documents.put(&id, put("a", &text(494)), NOW_MS).await.unwrap();
    documents.put(&id, put("b", &text(494)), NOW_MS).await.unwrap();
    check_full(documents.put(&id, put("c", "1"), NOW_MS).await, "2 documents of 1000 bytes");
    check_full(documents.put(&id, put("a", &text(495)), NOW_MS).await, "2 documents of 1000 bytes");
    documents.put(&id, put("a", &text(400)), NOW_MS).await.unwrap();
    documents.put(&id, put("c", &text(87)), NOW_MS).await.unwrap();
    documents.put(&id, put("c", &text(88)), NOW_MS).await.unwrap();
    check_full(documents.put(&id, put("c", &text(89)), NOW_MS).await, "3 documents of 1000 bytes");
}

async fn what_others_delete_is_noticed(store: &Store) {
    let limits = DocumentLimits { documents_max: 2, ..LIMITS };
    let (documents, id) = limited(store, limits).await;
    let other = Documents::new(store.db.clone(), limits);
    documents.put(&id, put("a", "1"), NOW_MS).await.unwrap();
    documents.put(&id, Put { user: Some("dave".to_owned()), ..put("b", "1") }, NOW_MS).await.unwrap();
    check_full(documents.put(&id, put("c", "1"), NOW_MS).await, "2 documents");
    other.delete(&id, delete("a", None), NOW_MS).await.unwrap();
    // A refusal counts anew, but not more often than once a second.
    documents.put(&id, put("c", "1"), NOW_MS + 1_000).await.unwrap();
    // The other counts what this one wrote before it refuses.
    check_full(other.put(&id, put("d", "1"), NOW_MS + 2_000).await, "2 documents");
    documents.delete_of_user("dave").await.unwrap();
    documents.put(&id, put("d", "1"), NOW_MS + 1_000).await.unwrap();
}

async fn what_frees_more_than_it_takes_is_never_refused(store: &Store) {
    let (documents, id) = limited(store, LIMITS).await;
    for key in ["a", "b", "c", "d"] {
        documents.put(&id, put(key, "\"text\""), NOW_MS).await.unwrap();
    }
    // The administrator allows less than there is.
    let documents = Documents::new(store.db.clone(), DocumentLimits { documents_max: 2, ..LIMITS });
    check_full(documents.put(&id, put("e", "1"), NOW_MS).await, "4 documents");
    check_full(documents.put(&id, put("a", "\"longer\""), NOW_MS).await, "4 documents");
    documents.put(&id, put("a", "1"), NOW_MS).await.unwrap();
    documents.delete(&id, delete("b", None), NOW_MS).await.unwrap();
}
