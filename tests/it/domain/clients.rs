//! Applications of the built-in back end, and what people granted to them.

use porth::domain::Page;
use porth::domain::clients::{ClientDetails, ClientSecrets, Clients, GrantError, PutClientError, SecretChange};
use porth::domain::passwords::Passwords;
use porth::domain::scopes::Scopes;
use serde_json::json;

use super::users::{user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_client_lives_from_add_to_delete,
    secrets_and_passwords_open,
    secrets_are_not_stored_in_clear,
    everything_wrong_is_named_at_once,
    lists_are_cut_out_of_the_whole,
    grants_are_replaced_and_go_with_what_they_name,
);

fn clients(store: &Store) -> Clients {
    Clients::new(store.db.clone(), Passwords::new(2, 64))
}

fn details(client_id: &str) -> ClientDetails {
    ClientDetails { client_id: client_id.to_owned(), enabled: true, confidential: true, ..ClientDetails::default() }
}

fn set(password: &str, secret: &str) -> ClientSecrets {
    let change = |text: &str| match text {
        "" => SecretChange::Remove,
        text => SecretChange::Set(text.to_owned()),
    };
    ClientSecrets { password: change(password), secret: change(secret) }
}

async fn add(clients: &Clients, details: ClientDetails) -> String {
    clients.add(details, ClientSecrets::default(), NOW_MS).await.unwrap()
}

async fn a_client_lives_from_add_to_delete(store: &Store) {
    users(store).await;
    let clients = clients(store);
    let full = ClientDetails {
        name: "App".to_owned(),
        description: "An app".to_owned(),
        authorization_types: vec!["code".to_owned(), "token".to_owned()],
        redirect_uris: vec!["https://example.org/cb?x=1".to_owned(), "../../test.html?param=cb".to_owned()],
        scopes: vec!["write".to_owned(), "read".to_owned()],
        properties: json!({"logo": {"url": 1}}).as_object().unwrap().clone(),
        ..details("App-1")
    };
    let id = add(&clients, full.clone()).await;
    let found = clients.get("App-1").await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), &found.details, found.source.as_str()), (id.as_str(), &full, "database"));
    assert_eq!(clients.get("app-1").await.unwrap(), None);
    assert_eq!(clients.get("\0").await.unwrap(), None);
    let taken = clients.add(details("App-1"), ClientSecrets::default(), NOW_MS).await.unwrap_err();
    assert!(matches!(taken, PutClientError::IdTaken { .. }), "{taken}");

    clients.set(details("App-1"), ClientSecrets::default(), NOW_MS).await.unwrap();
    assert_eq!(clients.get("App-1").await.unwrap().unwrap().details, details("App-1"));
    let unknown = clients.set(details("App-2"), ClientSecrets::default(), NOW_MS).await.unwrap_err();
    assert!(matches!(unknown, PutClientError::Unknown { .. }), "{unknown}");

    assert!(clients.delete("App-1").await.unwrap());
    assert!(!clients.delete("App-1").await.unwrap());
    assert_ne!(add(&clients, details("App-1")).await, id);
}

async fn secrets_and_passwords_open(store: &Store) {
    let clients = clients(store);
    let made = "0123456789abcdef0123456789abcdef";
    clients.add(details("app"), set("password", made), NOW_MS).await.unwrap();
    let opens = async |secret: &str| clients.check_secret("app", secret).await.unwrap().is_some();
    assert!(opens("password").await);
    assert!(opens(made).await);
    assert!(!opens("Password").await);
    assert!(clients.check_secret("none", "password").await.unwrap().is_none());
    clients.check_secret("app", &"a".repeat(1_025)).await.unwrap_err();

    clients.set(details("app"), ClientSecrets::default(), NOW_MS).await.unwrap();
    assert!(opens("password").await && opens(made).await, "a change says nothing of secrets");
    clients.set(ClientDetails { enabled: false, ..details("app") }, ClientSecrets::default(), NOW_MS).await.unwrap();
    assert!(!opens("password").await && !opens(made).await);
    clients.set(details("app"), set("", "short"), NOW_MS).await.unwrap();
    assert!(!opens("password").await && !opens(made).await && opens("short").await);
    clients.set(details("app"), set("", ""), NOW_MS).await.unwrap();
    assert!(!opens("short").await);
}

async fn secrets_are_not_stored_in_clear(store: &Store) {
    let made = "0123456789abcdef0123456789abcdef";
    clients(store).add(details("app"), set("password", made), NOW_MS).await.unwrap();
    let mut rows = store.db.read("SELECT password_hash, secret_hash FROM client_record", vec![]).await.unwrap();
    assert!(rows[0].take::<String>(0).unwrap().starts_with("$argon2id$"));
    let hash = rows[0].take::<String>(1).unwrap();
    assert!(hash.starts_with("sha256:") && hash.len() == 71 && !hash.contains(made), "{hash}");
}

async fn everything_wrong_is_named_at_once(store: &Store) {
    let clients = clients(store);
    let bad = ClientDetails {
        name: "\0".to_owned(),
        description: "a".repeat(5_000),
        authorization_types: vec!["a b".to_owned()],
        redirect_uris: vec!["https://example.org/#x".to_owned()],
        properties: json!({"": 1}).as_object().unwrap().clone(),
        ..details("a/b")
    };
    let refused = clients.add(bad, set(&"a".repeat(1_025), &"a".repeat(1_025)), NOW_MS).await;
    let Err(PutClientError::Invalid(errors)) = refused else { panic!("expected a refusal") };
    let fields: Vec<_> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    let expected = [
        "client_id",
        "name",
        "description",
        "authorization_type",
        "redirect_uri",
        "properties",
        "password",
        "client_secret",
    ];
    assert_eq!(fields, expected);
    let unknown = ClientDetails { scopes: vec!["no".to_owned()], ..details("app") };
    let refused = clients.add(unknown, ClientSecrets::default(), NOW_MS).await.unwrap_err();
    assert_eq!(refused.to_string(), "scope: there is no scope `no`");
    assert_eq!(clients.list(&Page::all()).await.unwrap(), []);
}

async fn lists_are_cut_out_of_the_whole(store: &Store) {
    users(store).await;
    let clients = clients(store);
    for name in ["d", "c", "b", "a"] {
        let scopes = vec!["write".to_owned(), "read".to_owned()];
        add(&clients, ClientDetails { name: format!("Näme {name}"), scopes, ..details(name) }).await;
    }
    let found = async |pattern: &str, offset, limit| {
        let page = Page { pattern: pattern.to_owned(), offset, limit };
        let found = clients.list(&page).await.unwrap();
        for client in &found {
            assert_eq!(client.details.scopes, ["write", "read"]);
        }
        found.into_iter().map(|client| client.details.client_id).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("", 1, 2).await, "b c");
    assert_eq!(found("NÄME B", 0, 9).await, "b");
    assert_eq!(found("%", 0, 9).await, "");
}

async fn grants_are_replaced_and_go_with_what_they_name(store: &Store) {
    let users = users(store).await;
    let clients = clients(store);
    let [anna, bob] = [users.add(user("anna"), NOW_MS).await.unwrap(), users.add(user("bob"), NOW_MS).await.unwrap()];
    let app = add(&clients, details("app")).await;
    let grant = async |user: &str, scopes: &[&str]| {
        clients.grant(user, &app, scopes.iter().map(|scope| (*scope).to_owned()).collect(), NOW_MS).await
    };
    let granted = async |user: &str| clients.granted(user, &app).await.unwrap().join(" ");
    grant(&anna, &["write", "read", "read"]).await.unwrap();
    grant(&bob, &["read"]).await.unwrap();
    assert_eq!(granted(&anna).await, "read write");
    assert!(matches!(grant(&anna, &["read", "no"]).await, Err(GrantError::Unknown)));
    assert!(matches!(grant("nobody", &["read"]).await, Err(GrantError::Unknown)));
    assert_eq!(granted(&anna).await, "read write", "a refused change leaves everything");
    grant(&anna, &["write"]).await.unwrap();
    assert_eq!((granted(&anna).await, granted(&bob).await), ("write".to_owned(), "read".to_owned()));
    Scopes::new(store.db.clone()).delete("read").await.unwrap();
    assert_eq!(granted(&bob).await, "");
    users.delete("anna").await.unwrap();
    assert_eq!(granted(&anna).await, "");
    clients.delete("app").await.unwrap();
}
