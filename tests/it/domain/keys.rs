//! API keys.

use porth::domain::keys::{ApiKeys, CreateKeyError, DeleteKeyError};

use super::users::of_sixteen;
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_key_opens_until_it_is_deleted,
    what_is_no_key_opens_nothing,
    uses_are_counted_without_a_write_each,
    impossible_names_are_refused,
    a_key_is_not_stored_in_clear,
    one_of_sixteen_deletes_a_key,
    a_key_ends,
);

async fn a_key_opens_until_it_is_deleted(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    let first = keys.create("ci", NOW_MS).await.unwrap();
    let second = keys.create("ci", NOW_MS + 1).await.unwrap();
    assert_eq!(first.key.len(), 43);
    assert_ne!(first.key, second.key);

    let found = keys.verify(&first.key, NOW_MS + 2).await.unwrap().unwrap();
    assert_eq!((found.id, found.name.as_str(), found.created_at_ms), (first.id.clone(), "ci", NOW_MS));
    let listed: Vec<_> = keys.list().await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(listed, [first.id.clone(), second.id]);

    keys.delete(&first.id).await.unwrap();
    assert_eq!(keys.verify(&first.key, NOW_MS + 3).await.unwrap(), None);
    assert!(keys.verify(&second.key, NOW_MS + 3).await.unwrap().is_some());
    assert!(matches!(keys.delete(&first.id).await, Err(DeleteKeyError::Unknown { .. })));
}

async fn what_is_no_key_opens_nothing(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    let key = keys.create("ci", NOW_MS).await.unwrap().key;
    for wrong in ["", "a", &key[1..], &format!("{key}="), &key.to_uppercase(), &"\0".repeat(43), &"A".repeat(43)] {
        assert_eq!(keys.verify(wrong, NOW_MS).await.unwrap(), None, "{wrong:?}");
    }
}

async fn uses_are_counted_without_a_write_each(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    let key = keys.create("ci", NOW_MS).await.unwrap().key;
    let stored = async || {
        let mut rows = store.db.read("SELECT use_count, last_used_at FROM api_key", vec![]).await.unwrap();
        (rows[0].take::<i64>(0).unwrap(), rows[0].take::<Option<i64>>(1).unwrap())
    };
    let seen = async |keys: &ApiKeys| {
        let key = keys.list().await.unwrap().remove(0);
        (key.use_count, key.last_used_at_ms)
    };
    assert_eq!(seen(&keys).await, (0, None));

    keys.verify(&key, NOW_MS).await.unwrap();
    assert_eq!(stored().await, (1, Some(NOW_MS)));
    for later_ms in 1..=10 {
        keys.verify(&key, NOW_MS + later_ms).await.unwrap();
    }
    assert_eq!(stored().await, (1, Some(NOW_MS)));
    assert_eq!(seen(&keys).await, (11, Some(NOW_MS + 10)));

    keys.verify(&key, NOW_MS + 60_000).await.unwrap();
    assert_eq!(stored().await, (12, Some(NOW_MS + 60_000)));
    keys.verify(&key, NOW_MS + 60_001).await.unwrap();
    keys.flush().await.unwrap();
    assert_eq!(stored().await, (13, Some(NOW_MS + 60_001)));
    assert_eq!(seen(&ApiKeys::new(store.db.clone())).await, (13, Some(NOW_MS + 60_001)));
}

async fn impossible_names_are_refused(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    for name in ["", "a\0", "a\nb", &"a".repeat(129)] {
        assert!(matches!(keys.create(name, NOW_MS).await, Err(CreateKeyError::Name)), "{name:?}");
    }
    keys.create(&"ü".repeat(128), NOW_MS).await.unwrap();
    assert_eq!(keys.list().await.unwrap().len(), 1);
}

async fn a_key_is_not_stored_in_clear(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    let new = keys.create("ci", NOW_MS).await.unwrap();
    assert!(!format!("{new:?}").contains(&new.key));
    if store.is_sqlite() {
        store.db.close().await;
        let bytes = std::fs::read(store.file()).unwrap();
        assert!(!bytes.windows(new.key.len()).any(|window| window == new.key.as_bytes()));
    }
    let mut rows = store.open_again().await.unwrap().read("SELECT token_hash FROM api_key", vec![]).await.unwrap();
    assert_eq!(rows[0].take::<Vec<u8>>(0).unwrap().len(), 32);
}

async fn one_of_sixteen_deletes_a_key(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    for _ in 0..4 {
        let made = keys.create("ci", NOW_MS).await.unwrap();
        let deleted = of_sixteen(|_| {
            let (keys, id) = (keys.clone(), made.id.clone());
            async move { keys.delete(&id).await.is_ok() }
        });
        assert_eq!(deleted.await, 1);
        assert_eq!(keys.verify(&made.key, NOW_MS).await.unwrap(), None);
    }
}

async fn a_key_ends(store: &Store) {
    let keys = ApiKeys::new(store.db.clone());
    for wrong_ms in [NOW_MS, NOW_MS - 1, i64::MAX] {
        let made = keys.create_until("ci", Some(wrong_ms), NOW_MS).await;
        assert!(matches!(made, Err(CreateKeyError::End)), "{wrong_ms}");
    }
    let key = keys.create_until("ci", Some(NOW_MS + 1_000), NOW_MS).await.unwrap();
    let lasting = keys.create("lasting", NOW_MS + 1).await.unwrap();
    assert!(keys.verify(&key.key, NOW_MS + 999).await.unwrap().is_some());
    assert_eq!(keys.verify(&key.key, NOW_MS + 1_000).await.unwrap(), None);

    // It is listed for a week, and what it was not used for after its end does not count.
    let week_ms = 7 * 86_400_000;
    keys.purge(NOW_MS + 1_000 + week_ms).await.unwrap();
    let listed = keys.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].use_count, listed[0].expires_at_ms), (2, 1, Some(NOW_MS + 1_000)));
    keys.purge(NOW_MS + 1_001 + week_ms).await.unwrap();
    let listed: Vec<_> = keys.list().await.unwrap().into_iter().map(|key| key.token_hash).collect();
    assert_eq!(listed, [lasting.token_hash]);
}
