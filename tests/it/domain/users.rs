//! People of the built-in back end.

use std::sync::Arc;

use porth::domain::Page;
use porth::domain::passwords::{PasswordError, Passwords};
use porth::domain::scopes::Scopes;
use porth::domain::users::{CheckError, NewUser, PutUserError, User, UserChange, Users};
use serde_json::json;

use super::scopes::scope;
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_user_lives_from_add_to_delete,
    every_spelling_is_one_user,
    look_alikes_are_refused,
    everything_wrong_is_named_at_once,
    a_refused_change_leaves_everything,
    only_enabled_users_with_the_right_password_are_told,
    one_of_sixteen_gets_a_name,
    one_of_sixteen_changes_the_password,
    lists_are_cut_out_of_the_whole,
    passwords_are_not_stored_in_clear,
);

pub(crate) async fn users(store: &Store) -> Users {
    let scopes = Scopes::new(store.db.clone());
    for name in ["read", "write"] {
        scopes.add(scope(name, &[])).await.unwrap();
    }
    Users::new(store.db.clone(), Passwords::new(2, 64))
}

pub(crate) fn user(username: &str) -> NewUser {
    NewUser { username: username.to_owned(), enabled: true, ..NewUser::default() }
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

async fn get(users: &Users, username: &str) -> User {
    users.get(username).await.unwrap().unwrap()
}

async fn a_user_lives_from_add_to_delete(store: &Store) {
    let users = users(store).await;
    let new = NewUser {
        name: "Anna".to_owned(),
        email: "anna@example.org".to_owned(),
        password: Some("secret".to_owned()),
        scopes: vec!["write".to_owned(), "read".to_owned(), "write".to_owned()],
        properties: object(json!({"phone": ["1", 2], "nothing": null})),
        ..user("Anna")
    };
    let id = users.add(new, NOW_MS).await.unwrap();
    let anna = get(&users, "anna").await;
    assert_eq!((anna.id.as_str(), anna.username.as_str(), anna.name.as_str()), (id.as_str(), "anna", "Anna"));
    assert_eq!((anna.email.as_str(), anna.enabled, anna.source.as_str()), ("anna@example.org", true, "database"));
    assert_eq!(anna.scopes, ["write", "read"]);
    assert_eq!(anna.properties, object(json!({"phone": ["1", 2]})));

    users.set("ANNA", UserChange::default(), NOW_MS).await.unwrap();
    assert_eq!(get(&users, "anna").await, anna, "nothing was to change");
    let change = UserChange {
        email: Some(String::new()),
        scopes: Some(vec!["read".to_owned()]),
        properties: object(json!({"phone": null, "city": "Cardiff"})),
        ..UserChange::default()
    };
    users.set("anna", change, NOW_MS).await.unwrap();
    let changed = get(&users, "anna").await;
    let properties = object(json!({"city": "Cardiff"}));
    assert_eq!(changed, User { email: String::new(), scopes: vec!["read".to_owned()], properties, ..anna });
    assert!(users.check_password("anna", "secret").await.unwrap().is_some());

    Scopes::new(store.db.clone()).delete("read").await.unwrap();
    assert!(get(&users, "anna").await.scopes.is_empty());
    assert!(users.delete("Anna").await.unwrap().is_some());
    assert_eq!(users.delete("anna").await.unwrap(), None);
    assert_eq!(users.get("anna").await.unwrap(), None);
    assert_ne!(users.add(user("anna"), NOW_MS).await.unwrap(), id, "a name given anew is somebody else");
    assert!(get(&users, "anna").await.properties.is_empty());
}

async fn every_spelling_is_one_user(store: &Store) {
    let users = users(store).await;
    users.add(user("Änne"), NOW_MS).await.unwrap();
    for spelling in ["änne", "ÄNNE", "A\u{308}nne"] {
        assert_eq!(get(&users, spelling).await.username.as_str(), "änne");
        let taken = users.add(user(spelling), NOW_MS).await.unwrap_err();
        assert!(matches!(taken, PutUserError::NameTaken { .. }), "{taken}");
    }
    assert_eq!(users.get("a\0").await.unwrap(), None);
}

async fn look_alikes_are_refused(store: &Store) {
    let users = users(store).await;
    users.add(user("paypal"), NOW_MS).await.unwrap();
    users.add(user("иван"), NOW_MS).await.unwrap();
    for alike in ["раураl", "pаypal", "PАYPAL"] {
        let refused = users.add(user(alike), NOW_MS).await.unwrap_err();
        assert!(matches!(refused, PutUserError::LooksAlike { .. }), "{alike}: {refused}");
    }
    users.add(user("paypa1"), NOW_MS).await.unwrap();
    users.delete("paypal").await.unwrap();
    users.delete("paypa1").await.unwrap();
    users.add(user("раураl"), NOW_MS).await.unwrap();
    assert!(matches!(users.add(user("paypal"), NOW_MS).await, Err(PutUserError::LooksAlike { .. })));
}

async fn everything_wrong_is_named_at_once(store: &Store) {
    let users = users(store).await;
    let bad = NewUser {
        name: "a\0".to_owned(),
        email: "a".repeat(300),
        password: Some("a".repeat(1025)),
        properties: object(json!({"": 1})),
        ..user("a b")
    };
    let Err(PutUserError::Invalid(errors)) = users.add(bad, NOW_MS).await else { panic!("expected a refusal") };
    for expected in ["username: ", "name: ", "email: ", "password: ", "properties: "] {
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}: {errors:?}");
    }
    let scopes = ["read", "no", "nor"].map(str::to_owned).to_vec();
    let Err(PutUserError::Invalid(errors)) = users.add(NewUser { scopes, ..user("a") }, NOW_MS).await else {
        panic!("expected a refusal")
    };
    assert_eq!(errors, ["scope: there is no scope `no`", "scope: there is no scope `nor`"]);
    assert_eq!(users.list(&Page::all()).await.unwrap(), []);
}

async fn a_refused_change_leaves_everything(store: &Store) {
    let users = users(store).await;
    users.add(NewUser { password: Some("old".to_owned()), ..user("anna") }, NOW_MS).await.unwrap();
    let before = get(&users, "anna").await;
    let change = UserChange {
        name: Some("Anne".to_owned()),
        password: Some("new".to_owned()),
        scopes: Some(vec!["no".to_owned()]),
        ..UserChange::default()
    };
    assert!(matches!(users.set("anna", change, NOW_MS).await, Err(PutUserError::Invalid(_))));
    assert_eq!(get(&users, "anna").await, before);
    assert!(users.check_password("anna", "old").await.unwrap().is_some());
    let nobody = users.set("nobody", UserChange::default(), NOW_MS).await;
    assert!(matches!(nobody, Err(PutUserError::Unknown { .. })));
}

async fn only_enabled_users_with_the_right_password_are_told(store: &Store) {
    let users = users(store).await;
    let id = users.add(NewUser { password: Some("secret".to_owned()), ..user("anna") }, NOW_MS).await.unwrap();
    users.add(user("bare"), NOW_MS).await.unwrap();
    let told = async |username: &str, password: &str| users.check_password(username, password).await.unwrap();
    assert_eq!(told("ANNA", "secret").await, Some(id.clone()));
    for (username, password) in [("anna", "Secret"), ("bare", "secret"), ("nobody", "secret"), ("a\0", "secret")] {
        assert_eq!(told(username, password).await, None, "{username}");
    }
    let long = users.check_password("nobody", &"a".repeat(1025)).await;
    assert!(matches!(long, Err(CheckError::Password(PasswordError::Length { found: 1025 }))));

    users.set("anna", UserChange { enabled: Some(false), ..UserChange::default() }, NOW_MS).await.unwrap();
    assert_eq!(told("anna", "secret").await, None);
    let change = UserChange { enabled: Some(true), password: Some("other".to_owned()), ..UserChange::default() };
    users.set("anna", change, NOW_MS).await.unwrap();
    assert_eq!(told("anna", "secret").await, None);
    assert_eq!(told("anna", "other").await, Some(id));
}

/// How many of sixteen at once succeed.
pub(super) async fn of_sixteen<F: Future<Output = bool> + Send + 'static>(work: impl Fn(usize) -> F) -> usize {
    let barrier = Arc::new(tokio::sync::Barrier::new(16));
    let tasks = (0..16).map(|number| {
        let (work, barrier) = (work(number), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            work.await
        })
    });
    let mut succeeded = 0;
    for task in tasks.collect::<Vec<_>>() {
        succeeded += usize::from(task.await.unwrap());
    }
    succeeded
}

async fn one_of_sixteen_gets_a_name(store: &Store) {
    let users = users(store).await;
    for round in 0..4 {
        // Half of them write the name with a Cyrillic letter.
        let added = of_sixteen(|number| {
            let (users, first) = (users.clone(), if number % 2 == 0 { 'a' } else { 'а' });
            async move { users.add(user(&format!("{first}nna{round}")), NOW_MS).await.is_ok() }
        });
        assert_eq!(added.await, 1);
    }
}

async fn one_of_sixteen_changes_the_password(store: &Store) {
    let users = users(store).await;
    users.add(NewUser { password: Some("old".to_owned()), ..user("anna") }, NOW_MS).await.unwrap();
    let changed = of_sixteen(|number| {
        let users = users.clone();
        async move { users.change_password("anna", "old", &format!("new{number}"), None, NOW_MS).await.unwrap() }
    });
    assert_eq!(changed.await, 1);
    assert!(!users.change_password("anna", "old", "new", None, NOW_MS).await.unwrap());
    let long = users.change_password("anna", "old", &"a".repeat(1025), None, NOW_MS).await;
    assert!(matches!(long, Err(PutUserError::Password(PasswordError::Length { .. }))));
}

async fn lists_are_cut_out_of_the_whole(store: &Store) {
    let users = users(store).await;
    for (username, name) in [("dave", "Émile"), ("carol", "100%"), ("bob", "Bob"), ("anna", "Anna")] {
        let scopes = vec!["read".to_owned()];
        let properties = object(json!({"of": username}));
        let new = NewUser { name: name.to_owned(), scopes, properties, ..user(username) };
        users.add(new, NOW_MS).await.unwrap();
    }
    let found = async |pattern: &str, offset, limit| {
        let page = Page { pattern: pattern.to_owned(), offset, limit };
        let found = users.list(&page).await.unwrap();
        for user in &found {
            assert_eq!(*user, get(&users, user.username.as_str()).await);
        }
        found.iter().map(|user| user.username.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("", 0, 100).await, "anna bob carol dave");
    assert_eq!(found("", 1, 2).await, "bob carol");
    assert_eq!(found("é", 0, 100).await, "dave");
    assert_eq!(found("0%", 0, 100).await, "carol");
    assert_eq!(found("_", 0, 100).await, "");
}

async fn passwords_are_not_stored_in_clear(store: &Store) {
    let users = users(store).await;
    let password = "correct horse battery staple";
    users.add(NewUser { password: Some(password.to_owned()), ..user("anna") }, NOW_MS).await.unwrap();
    let mut rows = store.db.read("SELECT password_hash FROM user_record", vec![]).await.unwrap();
    assert!(rows[0].take::<String>(0).unwrap().starts_with("$argon2id$"));
    store.db.close().await;
    if store.is_sqlite() {
        for entry in std::fs::read_dir(store.data()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(password.len()).any(|window| window == password.as_bytes()));
        }
    }
}
