//! Scopes.

use porth::domain::Page;
use porth::domain::scopes::{PutScopeError, SchemeGroup, Scope, Scopes};

use crate::support::database::{Store, on_both_engines};

on_both_engines!(
    a_scope_comes_back_as_it_was,
    a_change_replaces_everything,
    impossible_scopes_are_refused,
    lists_are_cut_out_of_the_whole,
    those_who_change_something_at_once_lose_nothing,
);

pub(crate) fn scope(name: &str, groups: &[(&str, u32, &[&str])]) -> Scope {
    let group = |(name, required, schemes): &(&str, u32, &[&str])| {
        let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
        ((*name).to_owned(), SchemeGroup { required: *required, schemes })
    };
    Scope {
        name: name.to_owned(),
        display_name: format!("Scope {name}"),
        description: String::new(),
        password_required: true,
        password_max_age_s: 600,
        groups: groups.iter().map(group).collect(),
    }
}

async fn a_scope_comes_back_as_it_was(store: &Store) {
    let scopes = Scopes::new(store.db.clone());
    let first = scope("read", &[("b", 2, &["otp", "fido", "mail"]), ("a", 1, &["mail"])]);
    scopes.add(first.clone()).await.unwrap();
    scopes.add(scope("write", &[])).await.unwrap();
    assert_eq!(scopes.get("read").await.unwrap(), Some(first.clone()));
    assert_eq!(scopes.list(&Page::all()).await.unwrap(), [first, scope("write", &[])]);
    assert_eq!(scopes.get("Read").await.unwrap(), None);
    let taken = scopes.add(scope("read", &[])).await.unwrap_err();
    assert_eq!(taken.to_string(), "there is a scope `read` already");

    assert!(scopes.delete("read").await.unwrap());
    assert!(!scopes.delete("read").await.unwrap());
    assert!(!scopes.delete("\0").await.unwrap());
    assert_eq!(scopes.get("read").await.unwrap(), None);
}

async fn a_change_replaces_everything(store: &Store) {
    let scopes = Scopes::new(store.db.clone());
    scopes.add(scope("read", &[("a", 1, &["otp", "fido"]), ("b", 1, &["otp"])])).await.unwrap();
    let changed = Scope { password_required: false, ..scope("read", &[("a", 2, &["fido", "otp"])]) };
    scopes.set(changed.clone()).await.unwrap();
    assert_eq!(scopes.get("read").await.unwrap(), Some(changed));
    assert!(matches!(scopes.set(scope("none", &[])).await, Err(PutScopeError::Unknown { .. })));
}

async fn impossible_scopes_are_refused(store: &Store) {
    let scopes = Scopes::new(store.db.clone());
    let bad = Scope {
        password_max_age_s: -1,
        description: "\0".to_owned(),
        ..scope("a b", &[("few", 0, &["otp"]), ("many", 2, &["otp"]), ("twice", 1, &["otp", "otp"])])
    };
    let Err(PutScopeError::Invalid(errors)) = scopes.add(bad).await else { panic!("expected a refusal") };
    for expected in [
        "name: the name of a scope holds ' '",
        "description: holds the control character",
        "password_max_age: expected 0 to",
        "the group `few` requires 0 of 1 schemes",
        "the group `many` requires 2 of 1 schemes",
        "the group `twice` names a scheme twice",
    ] {
        assert!(errors.iter().any(|error| error.contains(expected)), "{expected}: {errors:?}");
    }
    assert_eq!(scopes.list(&Page::all()).await.unwrap(), []);
}

async fn lists_are_cut_out_of_the_whole(store: &Store) {
    let scopes = Scopes::new(store.db.clone());
    for name in ["a1", "a2", "b_1", "bx1"] {
        scopes.add(scope(name, &[("g", 1, &["otp", "fido"])])).await.unwrap();
    }
    let found = async |pattern: &str, offset, limit| {
        let page = Page { pattern: pattern.to_owned(), offset, limit };
        let found = scopes.list(&page).await.unwrap();
        found.into_iter().map(|scope| scope.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("", 1, 2).await, "a2 b_1");
    assert_eq!(found("B_1", 0, 9).await, "b_1");
    assert_eq!(found("SCOPE A", 0, 9).await, "a1 a2");
    assert_eq!(found("%", 0, 9).await, "");
}

async fn those_who_change_something_at_once_lose_nothing(store: &Store) {
    let scopes = Scopes::new(store.db.clone());
    scopes.add(scope("read", &[("g", 1, &["otp"])])).await.unwrap();
    let old = scopes.get("read").await.unwrap().unwrap();
    let news = [
        Scope { display_name: "1".to_owned(), ..old.clone() },
        Scope { description: "2".to_owned(), ..old.clone() },
        Scope { password_required: false, ..old.clone() },
        Scope { password_max_age_s: 4, ..old.clone() },
        Scope { groups: scope("read", &[("h", 1, &["fido"])]).groups, ..old.clone() },
    ];
    let changing = news.map(|new| {
        let (scopes, old) = (scopes.clone(), old.clone());
        tokio::spawn(async move { scopes.change(old, new).await.unwrap() })
    });
    for change in changing {
        change.await.unwrap();
    }
    let expected = Scope {
        display_name: "1".to_owned(),
        description: "2".to_owned(),
        password_required: false,
        password_max_age_s: 4,
        ..scope("read", &[("h", 1, &["fido"])])
    };
    assert_eq!(scopes.get("read").await.unwrap().unwrap(), expected);
    scopes.delete("read").await.unwrap();
    assert!(matches!(scopes.change(old.clone(), old).await, Err(PutScopeError::Unknown { .. })));
}
