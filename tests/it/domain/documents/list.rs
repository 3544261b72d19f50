//! Lists, page by page.

use porth::domain::documents::{DocumentError, Documents};
pub(super) use porth::domain::documents::{List, Wanted};
use serde_json::{Value, json};

use super::{NOW_MS, delete, documents, put};
use crate::support::database::{Store, on_both_engines};

on_both_engines!(
    by_key_in_the_order_of_bytes,
    by_a_field_in_the_order_of_its_values,
    pages_go_on_where_the_one_before_ended,
    pages_go_on_although_documents_come_and_go,
    what_is_no_list_is_refused_with_a_sentence,
);

pub(super) fn all() -> List {
    List { limit: 1_000, ..List::default() }
}

pub(super) fn by(field: &str, equals: &str) -> List {
    wanted(field, Wanted { equals: Some(Value::from(equals)), ..Wanted::default() })
}

fn wanted(field: &str, wanted: Wanted) -> List {
    List { field: Some(field.to_owned()), wanted, ..all() }
}

/// The keys of all pages.
pub(super) async fn keys_at(documents: &Documents, id: &str, list: &List, now_ms: i64) -> Vec<String> {
    let (mut list, mut keys) = (list.clone(), Vec::new());
    loop {
        let page = documents.list(id, "notes", &list, now_ms).await.unwrap();
        assert!(page.documents.len() <= list.limit);
        keys.extend(page.documents.into_iter().map(|document| document.key));
        match page.next {
            Some(next) => list.after = Some(next),
            None => return keys,
        }
    }
}

pub(super) async fn keys(documents: &Documents, id: &str, field: &str, equals: &str) -> Vec<String> {
    keys_at(documents, id, &by(field, equals), NOW_MS).await
}

async fn by_key_in_the_order_of_bytes(store: &Store) {
    let (documents, id) = documents(store).await;
    let sorted = ["10", "2", "A", "a", "a b", "a/1", "a/2", "ab", "z", "é", "\u{e000}", "\u{10ffff}", "\u{10ffff}a"];
    for key in sorted.iter().rev() {
        documents.put(&id, put(key, "1"), NOW_MS).await.unwrap();
    }
    assert_eq!(keys_at(&documents, &id, &all(), NOW_MS).await, sorted);
    let prefix = async |prefix: &str, limit| {
        let wanted = Wanted { prefix: Some(prefix.to_owned()), ..Wanted::default() };
        keys_at(&documents, &id, &List { wanted, limit, ..List::default() }, NOW_MS).await
    };
    for limit in [1, 2, 1_000] {
        assert_eq!(prefix("a", limit).await, ["a", "a b", "a/1", "a/2", "ab"]);
        assert_eq!(prefix("a/", limit).await, ["a/1", "a/2"]);
        assert_eq!(prefix("\u{10ffff}", limit).await, ["\u{10ffff}", "\u{10ffff}a"]);
        assert_eq!(prefix("b", limit).await, [""; 0]);
        assert_eq!(prefix("", limit).await, sorted);
    }
}

async fn by_a_field_in_the_order_of_its_values(store: &Store) {
    let (documents, id) = documents(store).await;
    let values = [
        json!(true),
        json!(-2.5),
        json!(-1),
        json!(0),
        json!(7),
        json!(7),
        json!(9.5),
        json!(10),
        json!("10"),
        json!("9"),
        json!("a"),
        json!("ab"),
        json!("b"),
    ];
    for (number, due) in values.iter().enumerate().rev() {
        documents.put(&id, put(&format!("{number:02}"), &json!({ "due": due }).to_string()), NOW_MS).await.unwrap();
    }
    for none in ["null", "[1]", "{}"] {
        documents.put(&id, put(none, &format!(r#"{{"due": {none}}}"#)), NOW_MS).await.unwrap();
    }
    documents.put(&id, put("scalar", "7"), NOW_MS).await.unwrap();
    let listed = async |bounds: Wanted| {
        let keys = keys_at(&documents, &id, &wanted("due", bounds), NOW_MS).await;
        keys.iter().map(|key| values[key.parse::<usize>().unwrap()].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed(Wanted::default()).await, values);
    let equals = |value: Value| Wanted { equals: Some(value), ..Wanted::default() };
    assert_eq!(listed(equals(json!(7.0))).await, [json!(7), json!(7)]);
    assert_eq!(listed(equals(json!("a"))).await, [json!("a")]);
    assert!(listed(equals(json!(false))).await.is_empty());
    let range = |from: Option<Value>, to: Option<Value>| Wanted { from, to, ..Wanted::default() };
    assert_eq!(listed(range(Some(json!(-1)), Some(json!(9.5)))).await, [json!(-1), json!(0), json!(7), json!(7)]);
    assert_eq!(listed(range(Some(json!(8)), None)).await, [json!(9.5), json!(10)]);
    assert_eq!(listed(range(None, Some(json!(0)))).await, [json!(-2.5), json!(-1)]);
    assert_eq!(listed(range(Some(json!("9")), None)).await, [json!("9"), json!("a"), json!("ab"), json!("b")]);
    let prefix = Wanted { prefix: Some("a".to_owned()), ..Wanted::default() };
    assert_eq!(listed(prefix).await, [json!("a"), json!("ab")]);

    // A changed document is at its new place only.
    documents.put(&id, put("12", r#"{"due": false}"#), NOW_MS).await.unwrap();
    documents.put(&id, put("00", r#"{"owner": "x"}"#), NOW_MS).await.unwrap();
    documents.delete(&id, delete("01", None), NOW_MS).await.unwrap();
    let keys = keys_at(&documents, &id, &wanted("due", Wanted::default()), NOW_MS).await;
    assert_eq!(keys[..2], ["12", "02"]);
    assert_eq!(keys.len(), values.len() - 2);
}

async fn pages_go_on_where_the_one_before_ended(store: &Store) {
    let (documents, id) = documents(store).await;
    let mut expected = Vec::new();
    for number in 0..150 {
        let key = format!("{number:03}");
        let json = format!(r#"{{"owner": "dave", "due": {}}}"#, number / 7);
        documents.put(&id, put(&key, &json), NOW_MS).await.unwrap();
        expected.push(key);
    }
    for limit in [1, 7, 31, 32, 33, 149, 150, 151, 1_000] {
        for list in [all(), by("owner", "dave"), wanted("due", Wanted::default())] {
            let list = List { limit, ..list };
            assert_eq!(keys_at(&documents, &id, &list, NOW_MS).await, expected, "{list:?}");
            let page = documents.list(&id, "notes", &list, NOW_MS).await.unwrap();
            assert_eq!(page.documents.len(), limit.min(150));
            assert_eq!(page.next.is_some(), limit < 150, "{list:?}");
        }
    }
}

async fn pages_go_on_although_documents_come_and_go(store: &Store) {
    let (documents, id) = documents(store).await;
    for key in ["a", "b", "d"] {
        documents.put(&id, put(key, r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    }
    let lists = [List { limit: 2, ..all() }, List { limit: 2, ..by("owner", "dave") }];
    let mut nexts = Vec::new();
    for list in &lists {
        let page = documents.list(&id, "notes", list, NOW_MS).await.unwrap();
        assert_eq!(page.documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        nexts.push(page.next);
    }
    documents.delete(&id, delete("b", None), NOW_MS).await.unwrap();
    for key in ["aa", "c"] {
        documents.put(&id, put(key, r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    }
    for (list, after) in lists.into_iter().zip(nexts) {
        assert_eq!(keys_at(&documents, &id, &List { after, ..list }, NOW_MS).await, ["c", "d"]);
    }
}

async fn what_is_no_list_is_refused_with_a_sentence(store: &Store) {
    let (documents, id) = documents(store).await;
    documents.put(&id, put("a", r#"{"owner": "dave"}"#), NOW_MS).await.unwrap();
    let after = |after: &str, list: List| List { after: Some(after.to_owned()), ..list };
    let equals = Some(json!([]));
    let refused = [
        (List { limit: 0, ..all() }, "`limit` is 0; expected 1 to 1000"),
        (List { limit: 1_001, ..all() }, "`limit` is 1001; expected 1 to 1000"),
        (by("title", "x"), "`title` is no index field of `notes`; the module's description declares those"),
        (wanted("due", Wanted { equals, ..Wanted::default() }), "`equals` must be a boolean, a number or a text"),
        (by("owner", "a\0"), "`equals` holds a text with a NUL character, which cannot be indexed"),
        (List { field: None, ..by("owner", "x") }, "`equals`, `from` and `to` need a `field`"),
        (after("x", by("owner", "x")), "`after` is not what the page before gave as `next`"),
        (after("a\0", all()), "`after` is not what the page before gave as `next`"),
        (after(r#"["\u0000", ""]"#, by("owner", "x")), "`after` is not what the page before gave as `next`"),
    ];
    for (list, sentence) in refused {
        match documents.list(&id, "notes", &list, NOW_MS).await {
            Err(DocumentError::Parameter(text)) => assert_eq!(text, sentence),
            other => panic!("{sentence}: {other:?}"),
        }
    }
    // What somebody makes up as `after` gives nothing that the list does not.
    let made_up = after(r#"["b", ""]"#, by("owner", "x"));
    assert_eq!(keys_at(&documents, &id, &made_up, NOW_MS).await, [""; 0]);
    let long = after(&"x".repeat(100_000), all());
    assert_eq!(keys_at(&documents, &id, &long, NOW_MS).await, [""; 0]);
}
