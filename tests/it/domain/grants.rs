//! What people granted to applications, as they see it.

use porth::domain::clients::{ClientDetails, ClientSecrets, Clients};
use porth::domain::grants::{ClientGrant, Grants, PutGrantError};
use porth::domain::passwords::Passwords;
use porth::domain::scopes::Scopes;
use porth::domain::users::{User, UserChange, Users};

use super::users::{of_sixteen, user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    what_was_asked_for_is_shown_in_order,
    only_what_the_user_has_can_be_granted,
    a_disabled_client_can_only_lose,
    a_user_sees_all_clients_with_grants,
    of_sixteen_grants_one_stays,
);

struct House {
    users: Users,
    clients: Clients,
    grants: Grants,
}

/// `anna`, who has the scopes `read` and `write`, and the clients `app` and `other`.
async fn house(store: &Store) -> House {
    let users = users(store).await;
    let clients = Clients::new(store.db.clone(), Passwords::new(1, 1));
    for client_id in ["other", "app"] {
        let details = ClientDetails { client_id: client_id.to_owned(), enabled: true, ..ClientDetails::default() };
        clients.add(details, ClientSecrets::default(), NOW_MS).await.unwrap();
    }
    users.add(user("anna"), NOW_MS).await.unwrap();
    let grants = Grants::new(store.db.clone(), Scopes::new(store.db.clone()), clients.clone());
    let house = House { users, clients, grants };
    house.give(&["read", "write"]).await;
    house
}

impl House {
    /// Gives `anna` these scopes and no others.
    async fn give(&self, scopes: &[&str]) {
        let change = UserChange { scopes: Some(texts(scopes)), ..UserChange::default() };
        self.users.set("anna", change, NOW_MS).await.unwrap();
    }

    async fn anna(&self) -> User {
        self.users.get("anna").await.unwrap().unwrap()
    }

    async fn put(&self, client_id: &str, scopes: &[&str]) -> Result<(), PutGrantError> {
        self.grants.put(&self.anna().await, client_id, texts(scopes), NOW_MS).await
    }

    async fn shown(&self, client_id: &str, scopes: &[&str]) -> String {
        let grant = self.grants.of_client(&self.anna().await, client_id, &texts(scopes)).await.unwrap();
        grant.map_or("none".to_owned(), |grant| text(&grant))
    }

    async fn all(&self) -> String {
        let grants = self.grants.of_user(&self.anna().await).await.unwrap();
        grants
            .iter()
            .map(|grant| format!("{}: {}", grant.client.details.client_id, text(grant)))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn text(grant: &ClientGrant) -> String {
    let shown =
        grant.scopes.iter().map(|grant| format!("{}{}", if grant.granted { "+" } else { "-" }, grant.scope.name));
    shown.collect::<Vec<_>>().join(" ")
}

async fn what_was_asked_for_is_shown_in_order(store: &Store) {
    let house = house(store).await;
    assert_eq!(house.shown("app", &["write", "read", "write"]).await, "-write -read");
    house.put("app", &["read"]).await.unwrap();
    assert_eq!(house.shown("app", &["write", "read"]).await, "-write +read");
    assert_eq!(house.shown("other", &["read"]).await, "-read");
    assert_eq!(house.shown("app", &["no", "\0"]).await, "");
    assert_eq!(house.shown("nothing", &["read"]).await, "none");
}

async fn only_what_the_user_has_can_be_granted(store: &Store) {
    let house = house(store).await;
    house.put("app", &["read", "write"]).await.unwrap();
    let refused = house.put("app", &["read", "no"]).await.unwrap_err();
    assert_eq!(refused.to_string(), "scope: the user does not have `no`");
    assert!(matches!(house.put("nothing", &["read"]).await, Err(PutGrantError::NoClient { .. })));

    // A grant counts only while the user has the scope.
    house.give(&["read"]).await;
    assert_eq!(house.shown("app", &["write", "read"]).await, "+read");
    assert_eq!(house.all().await, "app: +read");
    house.give(&["read", "write"]).await;
    assert_eq!(house.shown("app", &["write", "read"]).await, "+write +read");
    Scopes::new(store.db.clone()).delete("write").await.unwrap();
    assert_eq!(house.shown("app", &["write", "read"]).await, "+read");
}

async fn a_disabled_client_can_only_lose(store: &Store) {
    let house = house(store).await;
    house.put("app", &["read"]).await.unwrap();
    let details = ClientDetails { client_id: "app".to_owned(), enabled: false, ..ClientDetails::default() };
    house.clients.set(details, ClientSecrets::default(), NOW_MS).await.unwrap();
    assert_eq!(house.shown("app", &["read"]).await, "none");
    assert!(matches!(house.put("app", &["write"]).await, Err(PutGrantError::NoClient { .. })));
    assert_eq!(house.all().await, "app: +read");
    house.put("app", &[]).await.unwrap();
    assert_eq!(house.all().await, "");
}

async fn a_user_sees_all_clients_with_grants(store: &Store) {
    let house = house(store).await;
    house.users.add(user("bob"), NOW_MS).await.unwrap();
    assert_eq!(house.all().await, "");
    house.put("other", &["write", "read"]).await.unwrap();
    house.put("app", &["write"]).await.unwrap();
    assert_eq!(house.all().await, "app: +write; other: +read +write");
    let bob = house.users.get("bob").await.unwrap().unwrap();
    assert!(house.grants.of_user(&bob).await.unwrap().is_empty());
    house.clients.delete("app").await.unwrap();
    assert_eq!(house.all().await, "other: +read +write");
}

async fn of_sixteen_grants_one_stays(store: &Store) {
    let house = house(store).await;
    let anna = house.anna().await;
    for _ in 0..8 {
        house.put("app", &[]).await.unwrap();
        let granted = of_sixteen(|number| {
            let (grants, anna) = (house.grants.clone(), anna.clone());
            let scope = if number % 2 == 0 { "read" } else { "write" };
            async move { grants.put(&anna, "app", texts(&[scope]), NOW_MS).await.is_ok() }
        });
        assert_eq!(granted.await, 16);
        let shown = house.shown("app", &["read", "write"]).await;
        assert!(["+read -write", "-read +write"].contains(&shown.as_str()), "{shown}");
    }
}
