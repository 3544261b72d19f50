//! Changes of people and applications, several at once, and what back ends make of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use porth::domain::back_ends::Source;
use porth::domain::clients::{ClientDetails, ClientSecrets, Clients, SecretChange};
use porth::domain::passwords::Passwords;
use porth::domain::users::{NewUser, PutUserError, UserChange};
use serde_json::{Map, json};

use super::back_ends::{Memory, database, memory};
use super::users::{user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    sixteen_who_change_something_lose_nothing,
    any_of_several_passwords_opens,
    what_a_back_end_says_of_a_change_is_told_apart,
    an_administrator_of_any_back_end_closes_the_link,
);

async fn sixteen_who_change_something_lose_nothing(store: &Store) {
    let users = users(store).await;
    let clients = Clients::new(store.db.clone(), Passwords::new(2, 64)).of(users.back_ends().clone());
    let (people, apps) = (Memory::of("username", &["dave"]), Memory::of("client_id", &["kept"]));
    users.back_ends().set_users(vec![database(), memory("ldap", &people)]);
    users.back_ends().set_clients(vec![database(), memory("directory", &apps)]);
    users.add(user("anna"), NOW_MS).await.unwrap();
    let own = ClientDetails { client_id: "own".to_owned(), ..ClientDetails::default() };
    clients.add(own, ClientSecrets::default(), NOW_MS).await.unwrap();
    let (own, kept) = (clients.get("own").await.unwrap().unwrap(), clients.get("kept").await.unwrap().unwrap());
    let barrier = Arc::new(tokio::sync::Barrier::new(16));
    let changing: Vec<_> = (0..16)
        .map(|number| {
            let (users, clients, barrier) = (users.clone(), clients.clone(), Arc::clone(&barrier));
            // All of them have read what there was before anybody changed it.
            let olds = [own.details.clone(), kept.details.clone()];
            tokio::spawn(async move {
                barrier.wait().await;
                for name in ["anna", "dave"] {
                    let properties = Map::from_iter([(format!("p{number}"), json!(number))]);
                    users.set(name, UserChange { properties, ..UserChange::default() }, NOW_MS).await.unwrap();
                }
                for old in olds {
                    let mut new = old.clone();
                    new.properties.insert(format!("p{number}"), json!(number));
                    clients.change(&old, new, ClientSecrets::default(), NOW_MS).await.unwrap();
                }
            })
        })
        .collect();
    for change in changing {
        change.await.unwrap();
    }
    for name in ["anna", "dave"] {
        assert_eq!(users.get(name).await.unwrap().unwrap().properties.len(), 16, "{name}");
    }
    for id in ["own", "kept"] {
        assert_eq!(clients.get(id).await.unwrap().unwrap().details.properties.len(), 16, "{id}");
    }
}

async fn what_a_back_end_says_of_a_change_is_told_apart(store: &Store) {
    let users = users(store).await;
    let kept = Memory::of("username", &["dave", "erin"]);
    users.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    users.set_password("dave", "new".to_owned(), NOW_MS).await.unwrap();
    assert!(users.check_password("dave", "new").await.unwrap().is_some());
    // With nothing for the password alone the whole record is written.
    kept.bare.store(true, Ordering::SeqCst);
    users.set_password("dave", "newer".to_owned(), NOW_MS).await.unwrap();
    assert!(users.check_password("dave", "newer").await.unwrap().is_some());
    assert!(users.change_password("dave", "newer", "newest", None, NOW_MS).await.unwrap());
    assert!(users.check_password("dave", "newest").await.unwrap().is_some());
    kept.bare.store(false, Ordering::SeqCst);
    let gone = users.set_password("erin", "gone".to_owned(), NOW_MS).await.unwrap_err();
    assert!(matches!(gone, PutUserError::Unknown { .. }), "{gone}");
    let nobody = users.set_password("nobody", "x".to_owned(), NOW_MS).await.unwrap_err();
    assert!(matches!(nobody, PutUserError::Unknown { .. }), "{nobody}");
}

async fn an_administrator_of_any_back_end_closes_the_link(store: &Store) {
    let users = users(store).await;
    let setup = porth::domain::setup::Setup::new(store.db.clone(), users.clone(), "admin".to_owned());
    let kept = Memory::of("username", &[]);
    users.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    let token = setup.open(true, NOW_MS).await.unwrap().unwrap();
    kept.put("off", &json!({"scope": ["admin"], "enabled": false}));
    kept.put("dave", &json!({"scope": ["read"]}));
    assert!(setup.is_open(&token, NOW_MS).await.unwrap());
    kept.put("root", &json!({"scope": ["read", "admin"]}));
    assert!(!setup.is_open(&token, NOW_MS).await.unwrap());
    assert_eq!(setup.open(true, NOW_MS).await.unwrap(), None);
    kept.remove("root");
    assert!(!setup.is_open(&token, NOW_MS).await.unwrap(), "it does not come alive again");
    // Who cannot be asked may keep one.
    kept.broken.store(true, Ordering::SeqCst);
    assert_eq!(setup.open(true, NOW_MS).await.unwrap(), None);
    kept.broken.store(false, Ordering::SeqCst);
    assert!(setup.open(true, NOW_MS).await.unwrap().is_some());
}

async fn any_of_several_passwords_opens(store: &Store) {
    let users = users(store).await;
    let clients = Clients::new(store.db.clone(), Passwords::new(2, 64)).of(users.back_ends().clone());
    let several = |source: Source| Source { multiple_passwords: true, ..source };
    let texts = |passwords: &[&str]| passwords.iter().map(|password| (*password).to_owned()).collect::<Vec<_>>();
    let list = |passwords: &[&str]| UserChange { passwords: Some(texts(passwords)), ..UserChange::default() };
    let new = |passwords: &[&str]| NewUser { password: None, passwords: Some(texts(passwords)), ..user("anna") };
    let refused = users.add(new(&["one", "two"]), NOW_MS).await.unwrap_err().to_string();
    assert!(refused.contains("keeps one of each"), "{refused}");
    users.back_ends().set_users(vec![several(database())]);
    users.back_ends().set_clients(vec![several(database())]);
    users.add(new(&["one", "", "two", "two"]), NOW_MS).await.unwrap();
    let check = async |open: &[&str], closed: &[&str]| {
        for (passwords, opens) in [(open, true), (closed, false)] {
            for password in passwords {
                let told = users.check_password("anna", password).await.unwrap();
                assert_eq!(told.is_some(), opens, "{password}");
            }
        }
    };
    check(&["one", "two"], &["three"]).await;
    users.set("anna", list(&["", "three"]), NOW_MS).await.unwrap();
    check(&["one", "three"], &["two"]).await;
    assert!(users.change_password("anna", "three", "four", None, NOW_MS).await.unwrap());
    check(&["one", "four"], &["three"]).await;
    users.set("anna", list(&["five"]), NOW_MS).await.unwrap();
    check(&["five"], &["one", "four"]).await;
    users.set("anna", list(&["1", "2", "3", "4"]), NOW_MS).await.unwrap();
    let changing: Vec<_> = (0..4)
        .map(|place| {
            let mut passwords = vec![String::new(); 4];
            passwords[place] = format!("new{place}");
            let (users, change) = (users.clone(), UserChange { passwords: Some(passwords), ..UserChange::default() });
            tokio::spawn(async move { users.set("anna", change, NOW_MS).await.unwrap() })
        })
        .collect();
    for change in changing {
        change.await.unwrap();
    }
    check(&["new0", "new1", "new2", "new3"], &["1", "2", "3", "4"]).await;
    users.set("anna", UserChange { password: Some("only".to_owned()), ..UserChange::default() }, NOW_MS).await.unwrap();
    check(&["only"], &["new0", "new1"]).await;
    users.set("anna", list(&[]), NOW_MS).await.unwrap();
    check(&[], &["only"]).await;
    for bad in [vec!["x"; 9], vec!["x", &"a".repeat(1025)]] {
        let refused = users.set("anna", list(&bad), NOW_MS).await.unwrap_err();
        assert!(matches!(refused, PutUserError::Invalid(_)), "{refused}");
    }

    let secrets = |passwords: &[&str]| ClientSecrets {
        password: SecretChange::Several(texts(passwords)),
        ..ClientSecrets::default()
    };
    let app = || ClientDetails { client_id: "app".to_owned(), enabled: true, ..ClientDetails::default() };
    clients.add(app(), secrets(&["one", "two"]), NOW_MS).await.unwrap();
    clients.set(app(), secrets(&["", "three"]), NOW_MS).await.unwrap();
    for (secret, opens) in [("one", true), ("two", false), ("three", true)] {
        assert_eq!(clients.check_secret("app", secret).await.unwrap().is_some(), opens, "{secret}");
    }

    // Instances get the list as it is.
    let kept = Memory::of("username", &["dave"]);
    users.back_ends().set_users(vec![several(memory("ldap", &kept))]);
    users.set("dave", list(&["", "x"]), NOW_MS).await.unwrap();
    assert_eq!(*kept.given.lock().unwrap(), [json!(["", "x"])]);
    users.back_ends().set_users(vec![memory("ldap", &kept)]);
    assert!(matches!(users.set("dave", list(&["x"]), NOW_MS).await, Err(PutUserError::Invalid(_))));
}
