//! Settings that mean nothing to the house.

use porth::domain::Page;
use porth::domain::misc::{Misc, MiscEntry, PutMiscError};
use serde_json::{Value, json};

use crate::support::database::{Store, on_both_engines};

on_both_engines!(a_setting_lives_from_put_to_delete, impossible_settings_are_refused);

fn entry(name: &str, kind: &str, value: Value) -> MiscEntry {
    MiscEntry { name: name.to_owned(), kind: kind.to_owned(), value }
}

async fn a_setting_lives_from_put_to_delete(store: &Store) {
    let misc = Misc::new(store.db.clone());
    misc.put(entry("b", "mail", json!({"from": "x"}))).await.unwrap();
    misc.put(entry("a", "", Value::Null)).await.unwrap();
    let names = async |pattern: &str| {
        let found = misc.list(&Page { pattern: pattern.to_owned(), ..Page::all() }).await.unwrap();
        found.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("").await, "a b");
    assert_eq!(names("MAIL").await, "b");
    assert_eq!(misc.get("b").await.unwrap(), Some(entry("b", "mail", json!({"from": "x"}))));
    misc.put(entry("b", "mail", json!([1]))).await.unwrap();
    assert_eq!(misc.get("b").await.unwrap(), Some(entry("b", "mail", json!([1]))));
    assert!(misc.delete("b").await.unwrap());
    assert!(!misc.delete("b").await.unwrap());
    assert_eq!(misc.get("b").await.unwrap(), None);
    assert_eq!(misc.get("\0").await.unwrap(), None);
}

async fn impossible_settings_are_refused(store: &Store) {
    let misc = Misc::new(store.db.clone());
    for (bad, named) in [
        (entry("", "", Value::Null), "name"),
        (entry("a\nb", "", Value::Null), "name"),
        (entry(&"a".repeat(129), "", Value::Null), "name"),
        (entry("a", &"a".repeat(129), Value::Null), "type"),
        (entry("a", "", json!("a".repeat(70_000))), "value"),
    ] {
        let Err(PutMiscError::Invalid(errors)) = misc.put(bad).await else { panic!("expected a refusal") };
        assert!(errors.len() == 1 && errors[0].starts_with(named), "{errors:?}");
    }
}
