//! What would be refused is told without writing anything, and is what is refused then.

use porth::domain::Page;
use porth::domain::clients::{ClientDetails, ClientSecrets, Clients, PutClientError, SecretChange};
use porth::domain::passwords::Passwords;
use porth::domain::users::{NewUser, PutUserError, UserChange};

use super::users::{user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_user_is_refused_for_what_was_told,
    a_change_is_refused_for_what_was_told,
    a_client_is_refused_for_what_was_told,
);

/// The texts of a refusal, as `errors_to_…` tell them.
fn refusal(refused: Result<(), PutUserError>) -> Vec<String> {
    match refused {
        Ok(()) => Vec::new(),
        Err(PutUserError::Invalid(errors)) => errors,
        Err(other) => vec![format!("username: {other}")],
    }
}

async fn a_user_is_refused_for_what_was_told(store: &Store) {
    let users = users(store).await;
    users.add(user("Anna"), NOW_MS).await.unwrap();
    users.add(user("paypal"), NOW_MS).await.unwrap();
    let texts = |new: NewUser| async { (users.errors_to_add(None, &new).await.unwrap(), new) };
    for (new, expected) in [
        (user("bob"), 0),
        (user("ANNA"), 1),
        (user("раураl"), 1),
        (user(""), 1),
        (NewUser { scopes: vec!["none".to_owned(), "read".to_owned()], ..user("carol") }, 1),
        (
            NewUser {
                name: "x".repeat(300),
                email: "a\u{7}".to_owned(),
                password: Some(String::new()),
                ..user("dave")
            },
            3,
        ),
    ] {
        let before = users.list(&Page::all()).await.unwrap().len();
        let (told, new) = texts(new).await;
        assert_eq!(told.len(), expected, "{told:?}");
        assert_eq!(users.list(&Page::all()).await.unwrap().len(), before);
        assert_eq!(refusal(users.add(new, NOW_MS).await.map(drop)), told);
    }
    // Where it is to be is looked at, too.
    let told = users.errors_to_add(Some("nowhere"), &user("erin")).await.unwrap();
    assert_eq!(told, ["source: there is no back end `nowhere`"]);
    assert_eq!(refusal(users.add_to(Some("nowhere"), user("erin"), NOW_MS).await.map(drop)), told);
    // What cannot be written at all is told together with what only the database knows.
    let (told, _) = texts(NewUser { name: "x".repeat(300), scopes: vec!["none".to_owned()], ..user("Anna") }).await;
    assert_eq!(told.len(), 3, "{told:?}");
}

async fn a_change_is_refused_for_what_was_told(store: &Store) {
    let users = users(store).await;
    users.add(user("Anna"), NOW_MS).await.unwrap();
    let before = users.get("anna").await.unwrap();
    for (change, expected) in [
        (UserChange::default(), 0),
        (UserChange { scopes: Some(vec!["none".to_owned()]), ..UserChange::default() }, 1),
        (UserChange { name: Some("x".repeat(300)), password: Some(String::new()), ..UserChange::default() }, 2),
    ] {
        let told = users.errors_to_set("ANNA", &change).await.unwrap().unwrap();
        assert_eq!(told.len(), expected, "{told:?}");
        assert_eq!(users.get("anna").await.unwrap(), before);
        assert_eq!(refusal(users.set("anna", change, NOW_MS).await), told);
    }
    for nobody in ["bob", "", "a\0b"] {
        assert_eq!(users.errors_to_set(nobody, &UserChange::default()).await.unwrap(), None);
    }
}

async fn a_client_is_refused_for_what_was_told(store: &Store) {
    let clients = Clients::new(store.db.clone(), Passwords::new(2, 64));
    let details = |client_id: &str| ClientDetails { client_id: client_id.to_owned(), ..ClientDetails::default() };
    clients.add(details("app"), ClientSecrets::default(), NOW_MS).await.unwrap();
    let secrets = ClientSecrets { password: SecretChange::Set(String::new()), ..ClientSecrets::default() };
    let told = clients.errors_to_put(Some("nowhere"), &details("other"), &ClientSecrets::default(), true).await;
    assert_eq!(told.unwrap().unwrap(), ["source: there is no back end `nowhere`"]);
    for (details, secrets, new, expected) in [
        (details("other"), ClientSecrets::default(), true, Some(0)),
        (details("app"), ClientSecrets::default(), true, Some(1)),
        (details("app"), ClientSecrets::default(), false, Some(0)),
        (details("nobody"), ClientSecrets::default(), false, None),
        (details("a/b"), secrets.clone(), true, Some(2)),
        (ClientDetails { scopes: vec!["none".to_owned()], ..details("app") }, secrets, false, Some(2)),
    ] {
        let told = clients.errors_to_put(None, &details, &secrets, new).await.unwrap();
        assert_eq!(told.as_ref().map(Vec::len), expected, "{told:?}");
        let put = if new {
            clients.add(details, secrets, NOW_MS).await.map(drop)
        } else {
            clients.set(details, secrets, NOW_MS).await
        };
        match put {
            Ok(()) => assert_eq!(told, Some(Vec::new())),
            Err(PutClientError::Unknown { .. }) => assert_eq!(told, None),
            Err(PutClientError::Invalid(errors)) => {
                let told = told.unwrap();
                assert!(errors.iter().all(|error| told.contains(error)), "{errors:?} {told:?}");
            }
            Err(other) => assert_eq!(told, Some(vec![format!("client_id: {other}")])),
        }
    }
}
