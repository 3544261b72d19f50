//! The link for the first administrator.

use std::sync::Arc;

use porth::domain::scopes::Scopes;
use porth::domain::setup::{RedeemError, Setup};
use porth::domain::users::{NewUser, UserChange};

use super::scopes::scope;
use super::users::{user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_link_makes_one_administrator,
    a_refused_user_leaves_the_link,
    a_link_ends_with_the_first_administrator_the_next_one_or_the_day,
    one_of_sixteen_is_the_first_administrator,
    a_link_that_was_used_stays_closed,
);

async fn setup(store: &Store) -> Setup {
    let users = users(store).await;
    Scopes::new(store.db.clone()).add(scope("admin", &[])).await.unwrap();
    Setup::new(store.db.clone(), users, "admin".to_owned())
}

fn administrator(username: &str) -> NewUser {
    NewUser { password: Some("secret".to_owned()), ..user(username) }
}

async fn a_link_makes_one_administrator(store: &Store) {
    let setup = setup(store).await;
    let users = porth::domain::users::Users::new(store.db.clone(), porth::domain::passwords::Passwords::new(1, 1));
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    assert_eq!(token.len(), 43);
    assert!(setup.is_open(&token, NOW_MS).await.unwrap());
    for wrong in ["", "x", &token[1..], &token.to_uppercase()] {
        assert!(!setup.is_open(wrong, NOW_MS).await.unwrap());
        let refused = setup.redeem(wrong, administrator("mallory"), NOW_MS).await;
        assert!(matches!(refused, Err(RedeemError::Closed)), "{refused:?}");
    }
    let new = NewUser { enabled: false, scopes: vec!["read".to_owned()], ..administrator("Anna") };
    setup.redeem(&token, new, NOW_MS).await.unwrap();
    let anna = users.get("anna").await.unwrap().unwrap();
    assert_eq!((anna.enabled, anna.scopes), (true, vec!["admin".to_owned(), "read".to_owned()]));
    assert!(users.check_password("anna", "secret").await.unwrap().is_some());
    assert!(!setup.is_open(&token, NOW_MS).await.unwrap());
    assert!(matches!(setup.redeem(&token, administrator("bob"), NOW_MS).await, Err(RedeemError::Closed)));
    assert_eq!(setup.open(true, NOW_MS).await.unwrap(), None);
}

async fn a_refused_user_leaves_the_link(store: &Store) {
    let setup = setup(store).await;
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    for bad in [administrator("a/b"), user("anna"), NewUser { scopes: vec!["no".to_owned()], ..administrator("anna") }]
    {
        assert!(matches!(setup.redeem(&token, bad, NOW_MS).await, Err(RedeemError::Put(_))));
        assert!(setup.is_open(&token, NOW_MS).await.unwrap());
    }
    setup.redeem(&token, administrator("anna"), NOW_MS).await.unwrap();
}

async fn a_link_ends_with_the_first_administrator_the_next_one_or_the_day(store: &Store) {
    let setup = setup(store).await;
    let users = porth::domain::users::Users::new(store.db.clone(), porth::domain::passwords::Passwords::new(1, 1));
    let old = setup.open(true, NOW_MS).await.unwrap().unwrap();
    assert_eq!(setup.open(false, NOW_MS).await.unwrap(), None, "what was printed goes on");
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    assert!(!setup.is_open(&old, NOW_MS).await.unwrap() && setup.is_open(&token, NOW_MS).await.unwrap());
    assert!(!setup.is_open(&token, NOW_MS + 86_400_000).await.unwrap());
    let token = setup.open(false, NOW_MS + 86_400_000).await.unwrap().unwrap();
    users.add(NewUser { scopes: vec!["admin".to_owned()], ..administrator("anna") }, NOW_MS).await.unwrap();
    assert!(!setup.is_open(&token, NOW_MS).await.unwrap());
    assert!(matches!(setup.redeem(&token, administrator("bob"), NOW_MS).await, Err(RedeemError::Closed)));
    // Who is disabled does not administer.
    let change = UserChange { enabled: Some(false), ..UserChange::default() };
    users.set("anna", change, NOW_MS).await.unwrap();
    assert!(setup.open(true, NOW_MS).await.unwrap().is_some());
}

async fn one_of_sixteen_is_the_first_administrator(store: &Store) {
    let setup = setup(store).await;
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    let barrier = Arc::new(tokio::sync::Barrier::new(16));
    let tasks = (0..16).map(|number| {
        let (setup, token, barrier) = (setup.clone(), token.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            setup.redeem(&token, administrator(&format!("user{number}")), NOW_MS).await.is_ok()
        })
    });
    let mut made = 0;
    for task in tasks.collect::<Vec<_>>() {
        made += usize::from(task.await.unwrap());
    }
    assert_eq!(made, 1);
    assert_eq!(store.db.read("SELECT id FROM user_identity", vec![]).await.unwrap().len(), 1);
}

async fn a_link_that_was_used_stays_closed(store: &Store) {
    let setup = setup(store).await;
    let users = porth::domain::users::Users::new(store.db.clone(), porth::domain::passwords::Passwords::new(1, 1));
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    setup.redeem(&token, administrator("anna"), NOW_MS).await.unwrap();
    users.delete("anna").await.unwrap().unwrap();
    assert!(!setup.is_open(&token, NOW_MS).await.unwrap());
    assert!(matches!(setup.redeem(&token, administrator("bob"), NOW_MS).await, Err(RedeemError::Closed)));

    // Also when somebody administers who came in another way.
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    users.add(NewUser { scopes: vec!["admin".to_owned()], ..administrator("carol") }, NOW_MS).await.unwrap();
    assert!(setup.close_if_held().await.unwrap());
    users.delete("carol").await.unwrap().unwrap();
    assert!(!setup.close_if_held().await.unwrap());
    assert!(!setup.is_open(&token, NOW_MS).await.unwrap());
}
