//! People and applications of several back ends, one of which keeps them in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use porth::domain::back_ends::{Asking, BackEnd, BackEndError, Keeper, Record, Source, UserMiddleware, View};
use porth::domain::clients::{ClientDetails, ClientSecrets, Clients, PutClientError, SecretChange};
use porth::domain::passwords::Passwords;
use porth::domain::users::{CheckError, NewUser, PutUserError, UserChange, Users};
use porth::domain::{Page, StoreError};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::users::{user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    people_of_a_back_end_live_as_those_of_the_house,
    a_name_belongs_to_whom_it_was_first_seen_at,
    a_name_given_anew_is_somebody_else,
    lists_go_through_all_back_ends_in_their_order,
    what_can_only_be_read_is_not_changed,
    who_fails_neither_hides_nor_gives_away_anybody,
    one_of_sixteen_gets_a_name,
    middlewares_add_and_take_off,
    clients_of_a_back_end_live_as_those_of_the_house,
    sixteen_who_meet_somebody_meet_the_same,
    the_database_may_be_several_back_ends,
);

/// Keeps records in memory.
#[derive(Default)]
pub(super) struct Memory {
    key: &'static str,
    records: Mutex<BTreeMap<String, (Record, Option<String>)>>,
    pub(super) broken: AtomicBool,
    /// The passwords that came, as they came.
    pub(super) given: Mutex<Vec<Value>>,
    /// Whether it has a hook for the whole record only.
    pub(super) bare: AtomicBool,
    asked: AtomicUsize,
    /// Met by whoever has compared a password, and then again.
    pub(super) compared: Mutex<Option<Arc<Barrier>>>,
}

impl Memory {
    pub(super) fn of(key: &'static str, names: &[&str]) -> Arc<Self> {
        let memory = Self { key, ..Self::default() };
        for name in names {
            memory.put(name, &json!({}));
        }
        Arc::new(memory)
    }

    pub(super) fn put(&self, name: &str, fields: &Value) {
        let mut record = fields.as_object().unwrap().clone();
        record.insert(self.key.to_owned(), name.into());
        self.records.lock().unwrap().insert(name.to_owned(), (record, Some("secret".to_owned())));
    }

    pub(super) fn remove(&self, name: &str) {
        self.records.lock().unwrap().remove(name);
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut BTreeMap<String, (Record, Option<String>)>) -> Result<T, BackEndError>,
    ) -> Asking<'a, T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = if self.broken.load(Ordering::SeqCst) {
            Err(BackEndError::Failed("the cable is cut".to_owned()))
        } else {
            work(&mut self.records.lock().unwrap())
        };
        Box::pin(async move { answer })
    }
}

fn found(records: &BTreeMap<String, (Record, Option<String>)>, pattern: &str) -> Vec<Record> {
    records.iter().filter(|(name, _)| name.contains(pattern)).map(|(_, (record, _))| record.clone()).collect()
}

fn secret(record: &mut Record) -> Option<Option<String>> {
    let given = record.remove("password").or(record.remove("client_secret"));
    given.map(|secret| secret.as_str().map(str::to_owned))
}

impl BackEnd for Memory {
    fn count<'a>(&'a self, pattern: &'a str) -> Asking<'a, u64> {
        self.answer(|records| Ok(found(records, pattern).len() as u64))
    }

    fn list<'a>(&'a self, page: &'a Page) -> Asking<'a, Vec<Record>> {
        self.answer(|records| {
            let found = found(records, &page.pattern).into_iter();
            Ok(found.skip(page.offset as usize).take(page.limit as usize).collect())
        })
    }

    fn get<'a>(&'a self, key: &'a str, view: View) -> Asking<'a, Option<Record>> {
        self.answer(|records| {
            let mut record = records.get(key).map(|(record, _)| record.clone());
            if let (Some(record), View::Profile) = (&mut record, view) {
                record.insert("seen".to_owned(), "by oneself".into());
            }
            Ok(record)
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Asking<'a, ()> {
        self.answer(|records| {
            let mut record = record.clone();
            if record.get("name") == Some(&json!("refuse me")) {
                return Err(BackEndError::Refused(vec!["name: not that one".to_owned()]));
            }
            let secret = secret(&mut record).flatten();
            let key = record[self.key].as_str().unwrap().to_owned();
            assert!(records.insert(key, (record, secret)).is_none(), "added twice");
            Ok(())
        })
    }

    fn set<'a>(&'a self, key: &'a str, record: &'a Record) -> Asking<'a, ()> {
        self.given.lock().unwrap().extend(record.get("password").cloned());
        self.answer(|records| {
            let (old, old_secret) = records.get_mut(key).ok_or(BackEndError::NotFound)?;
            *old = record.clone();
            if let Some(secret) = secret(old) {
                *old_secret = secret;
            }
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Asking<'a, bool> {
        self.answer(|records| Ok(records.remove(key).is_some()))
    }

    fn check_password<'a>(&'a self, key: &'a str, password: &'a str) -> Asking<'a, bool> {
        let right =
            self.answer(|records| Ok(records.get(key).is_some_and(|(_, secret)| secret.as_deref() == Some(password))));
        let compared = self.compared.lock().unwrap().clone();
        Box::pin(async move {
            let right = right.await;
            if let Some(compared) = compared {
                compared.wait().await;
                compared.wait().await;
            }
            right
        })
    }

    fn set_password<'a>(&'a self, key: &'a str, password: &'a str) -> Asking<'a, ()> {
        self.answer(|records| {
            if self.bare.load(Ordering::SeqCst) {
                return Err(BackEndError::Unsupported);
            }
            if password == "gone" {
                records.remove(key);
            }
            records.get_mut(key).ok_or(BackEndError::NotFound)?.1 = Some(password.to_owned());
            Ok(())
        })
    }
}

fn source(name: &str, keeper: Keeper) -> Source {
    Source { name: name.to_owned(), readonly: false, multiple_passwords: false, keeper }
}

pub(super) fn memory(name: &str, memory: &Arc<Memory>) -> Source {
    source(name, Keeper::Instance(memory.clone()))
}

pub(super) fn database() -> Source {
    source("database", Keeper::Database)
}

async fn id(users: &Users, name: &str) -> String {
    users.get(name).await.unwrap().unwrap().id
}

async fn names(users: &Users, pattern: &str, offset: u32, limit: u32) -> String {
    let page = Page { pattern: pattern.to_owned(), offset, limit };
    let found = users.list(&page).await.unwrap();
    found.iter().map(|user| format!("{}/{}", user.source, user.username)).collect::<Vec<_>>().join(" ")
}

async fn people_of_a_back_end_live_as_those_of_the_house(store: &Store) {
    let users = users(store).await;
    let kept = Memory::of("username", &["dave"]);
    users.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    kept.put("dave", &json!({"name": "Dave", "email": null, "scope": ["read", "of another house"], "phone": [1]}));

    let dave = users.get("DAVE").await.unwrap().unwrap();
    assert_eq!((dave.username.as_str(), dave.name.as_str(), dave.email.as_str()), ("dave", "Dave", ""));
    assert_eq!((dave.scopes.len(), dave.enabled, dave.source.as_str()), (2, true, "ldap"));
    assert_eq!(dave.properties, *json!({"phone": [1]}).as_object().unwrap());
    assert_eq!(id(&users, "dave").await, dave.id, "the identity stays");
    let profile = users.profile("dave").await.unwrap().unwrap();
    assert_eq!(profile.properties, *json!({"phone": [1], "seen": "by oneself"}).as_object().unwrap());

    assert_eq!(users.check_password("Dave", "secret").await.unwrap(), Some(dave.id.clone()));
    assert_eq!(users.check_password("dave", "Secret").await.unwrap(), None);
    assert!(!users.change_password("dave", "wrong", "new", None, NOW_MS).await.unwrap());
    assert!(users.change_password("dave", "secret", "new", None, NOW_MS).await.unwrap());
    assert_eq!(users.check_password("dave", "new").await.unwrap(), Some(dave.id.clone()));

    let change = UserChange {
        email: Some("dave@example.org".to_owned()),
        enabled: Some(false),
        password: Some("newer".to_owned()),
        properties: json!({"phone": null, "city": "Cardiff"}).as_object().unwrap().clone(),
        ..UserChange::default()
    };
    users.set("dave", change, NOW_MS).await.unwrap();
    let changed = users.get("dave").await.unwrap().unwrap();
    assert_eq!((changed.name.as_str(), changed.email.as_str(), changed.enabled), ("Dave", "dave@example.org", false));
    assert_eq!(changed.properties, *json!({"city": "Cardiff"}).as_object().unwrap());
    assert_eq!(users.check_password("dave", "newer").await.unwrap(), None, "disabled");
    let change = UserChange { scopes: Some(vec!["no".to_owned()]), ..UserChange::default() };
    assert!(matches!(users.set("dave", change, NOW_MS).await, Err(PutUserError::Invalid(_))));

    let new = NewUser { password: Some("pass".to_owned()), scopes: vec!["read".to_owned()], ..user("Erin") };
    let erin = users.add_to(Some("ldap"), new, NOW_MS).await.unwrap();
    assert_eq!(users.check_password("erin", "pass").await.unwrap(), Some(erin));
    let refused = NewUser { name: "refuse me".to_owned(), ..user("frank") };
    let refused = users.add_to(Some("ldap"), refused, NOW_MS).await.unwrap_err();
    assert_eq!(refused.to_string(), "name: not that one");
    users.add(user("frank"), NOW_MS).await.unwrap();
    let refused = users.add_to(Some("nowhere"), user("grace"), NOW_MS).await.unwrap_err();
    assert_eq!(refused.to_string(), "source: there is no back end `nowhere`");
    assert!(users.delete("dave").await.unwrap().is_some());
    assert_eq!(users.delete("dave").await.unwrap(), None);
    assert_eq!(users.get("dave").await.unwrap(), None);
}

async fn a_name_belongs_to_whom_it_was_first_seen_at(store: &Store) {
    let users = users(store).await;
    users.add(user("anna"), NOW_MS).await.unwrap();
    let (first, second) = (Memory::of("username", &["anna", "bob"]), Memory::of("username", &["bob", "раураl"]));
    users.back_ends().set_users(vec![memory("first", &first), memory("second", &second), database()]);
    let of = async |name: &str| users.get(name).await.unwrap().map(|user| user.source);
    assert_eq!(of("anna").await.as_deref(), Some("database"));
    assert_eq!(of("bob").await.as_deref(), Some("first"));
    users.back_ends().set_users(vec![memory("second", &second), memory("first", &first), database()]);
    assert_eq!(of("bob").await.as_deref(), Some("first"), "the order decides at first sight only");
    for taken in ["bob", "anna"] {
        let taken = users.add_to(Some("database"), user(taken), NOW_MS).await.unwrap_err();
        assert!(matches!(taken, PutUserError::NameTaken { .. }), "{taken}");
    }
    users.add_to(Some("database"), user("paypal"), NOW_MS).await.unwrap();
    assert_eq!(of("раураl").await, None, "a look-alike is nobody");
    assert_eq!(users.check_password("раураl", "secret").await.unwrap(), None);

    users.back_ends().set_users(vec![memory("second", &second), source("first", Keeper::Disabled), database()]);
    assert_eq!(of("bob").await, None, "a disabled back end keeps its names");
    assert_eq!(users.check_password("bob", "secret").await.unwrap(), None);
}

async fn a_name_given_anew_is_somebody_else(store: &Store) {
    let users = users(store).await;
    let (first, second) = (Memory::of("username", &["bob", "carol"]), Memory::of("username", &["bob"]));
    users.back_ends().set_users(vec![database(), memory("first", &first), memory("second", &second)]);
    let (bob, carol) = (id(&users, "bob").await, id(&users, "carol").await);
    first.remove("bob");
    first.remove("carol");
    let other = users.get("bob").await.unwrap().unwrap();
    assert_eq!(other.source, "second");
    assert_ne!(other.id, bob);
    assert_eq!(users.get("carol").await.unwrap(), None);
    let new = users.add(user("carol"), NOW_MS).await.unwrap();
    assert_ne!(new, carol);
    assert_eq!(id(&users, "carol").await, new);
    // Who knows the database alone gives away no names.
    let alone = Users::new(store.db.clone(), Passwords::new(2, 64));
    assert!(matches!(alone.add(user("bob"), NOW_MS).await, Err(PutUserError::NameTaken { .. })));
    // A back end that is deleted gives its names back.
    users.back_ends().set_users(vec![database(), memory("third", &Memory::of("username", &["bob"]))]);
    let third = users.get("bob").await.unwrap().unwrap();
    assert_eq!(third.source, "third");
    assert_ne!(third.id, other.id);
    users.back_ends().set_users(vec![database()]);
    assert_ne!(users.add(user("bob"), NOW_MS).await.unwrap(), third.id);
}

async fn lists_go_through_all_back_ends_in_their_order(store: &Store) {
    let users = users(store).await;
    for name in ["b", "d"] {
        users.add(user(name), NOW_MS).await.unwrap();
    }
    let (first, last) = (Memory::of("username", &["c", "a", "d"]), Memory::of("username", &["z", "not a name", "y"]));
    users.back_ends().set_users(vec![memory("first", &first), database(), memory("last", &last)]);
    assert_eq!(names(&users, "", 0, 100).await, "first/a first/c database/b database/d last/y last/z");
    // `d` of the first back end, whose name belongs to another, has its place and is not shown.
    assert_eq!(names(&users, "", 1, 3).await, "first/c database/b");
    assert_eq!(names(&users, "", 3, 2).await, "database/b database/d");
    assert_eq!(names(&users, "", 5, 3).await, "last/y last/z");
    assert_eq!(names(&users, "z", 0, 9).await, "last/z");
    assert_eq!(names(&users, "", 99, 9).await, "");
    for user in users.list(&Page::all()).await.unwrap() {
        assert_eq!(users.get(user.username.as_str()).await.unwrap(), Some(user));
    }
    first.broken.store(true, Ordering::SeqCst);
    assert_eq!(names(&users, "", 0, 100).await, "database/b database/d last/y last/z");
}

async fn what_can_only_be_read_is_not_changed(store: &Store) {
    let users = users(store).await;
    let kept = Memory::of("username", &["dave"]);
    let sources = vec![
        Source { readonly: true, ..memory("ldap", &kept) },
        Source { readonly: true, ..database() },
        memory("other", &Memory::of("username", &[])),
    ];
    users.add(user("anna"), NOW_MS).await.unwrap();
    users.back_ends().set_users(sources);
    for (name, back_end) in [("dave", "ldap"), ("anna", "database")] {
        let refusal = format!("source: the back end `{back_end}` can only be read");
        let set = users.set(name, UserChange::default(), NOW_MS).await.unwrap_err();
        assert_eq!(set.to_string(), refusal);
        let password = users.change_password(name, "secret", "new", None, NOW_MS).await.unwrap_err();
        assert_eq!(password.to_string(), refusal);
        assert!(matches!(users.delete(name).await, Err(StoreError::ReadOnly { .. })));
        let add = users.add_to(Some(back_end), user("new"), NOW_MS).await.unwrap_err();
        assert_eq!(add.to_string(), refusal);
    }
    users.add(user("new"), NOW_MS).await.unwrap();
    assert_eq!(users.get("new").await.unwrap().unwrap().source, "other", "the first that takes new ones");
}

async fn who_fails_neither_hides_nor_gives_away_anybody(store: &Store) {
    let users = users(store).await;
    let kept = Memory::of("username", &["dave"]);
    users.back_ends().set_users(vec![memory("ldap", &kept), database()]);
    let anna = users.add_to(Some("database"), NewUser { password: Some("secret".to_owned()), ..user("anna") }, NOW_MS);
    let anna = anna.await.unwrap();
    id(&users, "dave").await;
    kept.broken.store(true, Ordering::SeqCst);
    assert_eq!(users.check_password("anna", "secret").await.unwrap(), Some(anna));
    assert_eq!(users.check_password("nobody", "secret").await.unwrap(), None);
    assert!(matches!(users.check_password("dave", "secret").await, Err(CheckError::Store(StoreError::BackEnd { .. }))));
    for name in ["dave", "nobody"] {
        assert!(matches!(users.get(name).await, Err(StoreError::BackEnd { .. })), "{name}");
        let set = users.set(name, UserChange::default(), NOW_MS).await;
        assert!(matches!(set, Err(PutUserError::Store(StoreError::BackEnd { .. }))), "{name}");
        let add = users.add_to(Some("database"), user(name), NOW_MS).await;
        assert!(matches!(add, Err(PutUserError::Store(StoreError::BackEnd { .. }))), "{name}");
        assert!(matches!(users.delete(name).await, Err(StoreError::BackEnd { .. })), "{name}");
    }
    // An answer about another is a failure as well.
    kept.broken.store(false, Ordering::SeqCst);
    kept.put("dave", &json!({}));
    kept.records.lock().unwrap().get_mut("dave").unwrap().0.insert("username".to_owned(), "anna".into());
    assert!(matches!(users.get("dave").await, Err(StoreError::BackEnd { .. })));
    kept.put("dave", &json!({"enabled": "yes"}));
    assert!(matches!(users.get("dave").await, Err(StoreError::BackEnd { .. })));
}

async fn one_of_sixteen_gets_a_name(store: &Store) {
    let users = users(store).await;
    users.back_ends().set_users(vec![memory("ldap", &Memory::of("username", &[])), database()]);
    for round in 0..3 {
        let added = (0..16).map(|number| {
            let users = users.clone();
            let source = if number % 2 == 0 { "ldap" } else { "database" };
            tokio::spawn(async move { users.add_to(Some(source), user(&format!("anna{round}")), NOW_MS).await })
        });
        let mut ids = Vec::new();
        for added in added.collect::<Vec<_>>() {
            ids.extend(added.await.unwrap().ok());
        }
        assert_eq!(ids, [id(&users, &format!("anna{round}")).await]);
    }
}

async fn sixteen_who_meet_somebody_meet_the_same(store: &Store) {
    let users = users(store).await;
    users.back_ends().set_users(vec![database(), memory("ldap", &Memory::of("username", &["dave"]))]);
    let met = (0..16).map(|_| {
        let users = users.clone();
        tokio::spawn(async move { id(&users, "dave").await })
    });
    let mut ids = std::collections::BTreeSet::new();
    for met in met.collect::<Vec<_>>() {
        ids.insert(met.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
}

/// Adds a property and takes it off again.
struct Marker {
    name: &'static str,
}

impl Marker {
    fn named(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name })
    }
}

impl UserMiddleware for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn show<'a>(&'a self, username: &'a str, view: View, mut record: Record) -> Asking<'a, Record> {
        let seen = record.len();
        let profile = if view == View::Profile { "-profile" } else { "" };
        record.insert(self.name.to_owned(), format!("{username}{profile}").into());
        assert_eq!(record.len(), seen + 1, "it was taken off before");
        if record["name"] == "banned" {
            record.insert("enabled".to_owned(), false.into());
        }
        Box::pin(async { Ok(record) })
    }

    fn store<'a>(&'a self, _: &'a str, mut record: Record) -> Asking<'a, Record> {
        record.remove(self.name);
        let refused = record.get("name") == Some(&json!("no"));
        let refusal = || BackEndError::Refused(vec![format!("name: {} says no", self.name)]);
        Box::pin(async move { if refused { Err(refusal()) } else { Ok(record) } })
    }
}

async fn middlewares_add_and_take_off(store: &Store) {
    let users = users(store).await;
    let kept = Memory::of("username", &["dave"]);
    users.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    users.back_ends().set_middlewares(vec![Marker::named("one"), Marker::named("two")]);
    users.add(NewUser { password: Some("secret".to_owned()), ..user("anna") }, NOW_MS).await.unwrap();
    for name in ["anna", "dave"] {
        let shown = users.get(name).await.unwrap().unwrap();
        assert_eq!((&shown.properties["one"], &shown.properties["two"]), (&json!(name), &json!(name)));
        let profile = users.profile(name).await.unwrap().unwrap();
        assert_eq!(profile.properties["two"], format!("{name}-profile"));
        // What an answer showed may come back.
        let mut change =
            UserChange { properties: shown.properties, name: Some("N".to_owned()), ..UserChange::default() };
        change.properties.insert("kept".to_owned(), true.into());
        users.set(name, change, NOW_MS).await.unwrap();
        assert_eq!(users.get(name).await.unwrap().unwrap().properties["kept"], true);
        let change = UserChange { name: Some("no".to_owned()), ..UserChange::default() };
        let refused = users.set(name, change, NOW_MS).await.unwrap_err();
        assert_eq!(refused.to_string(), "name: two says no", "the last comes first");
        assert!(users.check_password(name, "secret").await.unwrap().is_some());
        let banned = UserChange { name: Some("banned".to_owned()), ..UserChange::default() };
        users.set(name, banned, NOW_MS).await.unwrap();
        assert_eq!(users.check_password(name, "secret").await.unwrap(), None, "a middleware disables");
    }
    assert_eq!(users.list(&Page::all()).await.unwrap()[1].properties["one"], "dave");
    users.back_ends().set_middlewares(Vec::new());
    for name in ["anna", "dave"] {
        let bare = users.get(name).await.unwrap().unwrap().properties;
        assert_eq!(bare, *json!({"kept": true}).as_object().unwrap(), "{name}");
    }
}

async fn clients_of_a_back_end_live_as_those_of_the_house(store: &Store) {
    let users = users(store).await;
    let clients = Clients::new(store.db.clone(), Passwords::new(2, 64)).of(users.back_ends().clone());
    let details =
        |client_id: &str| ClientDetails { client_id: client_id.to_owned(), enabled: true, ..ClientDetails::default() };
    let kept = Memory::of("client_id", &["App", "both"]);
    clients.add(details("both"), ClientSecrets::default(), NOW_MS).await.unwrap();
    users.back_ends().set_clients(vec![memory("directory", &kept), database()]);
    kept.put("App", &json!({"confidential": true, "redirect_uri": ["https://example.org/cb"], "logo": 1}));

    let app = clients.get("App").await.unwrap().unwrap();
    assert_eq!((app.source.as_str(), app.details.confidential, app.details.enabled), ("directory", true, true));
    assert_eq!(app.details.redirect_uris, ["https://example.org/cb"]);
    assert_eq!(clients.get("app").await.unwrap(), None);
    assert_eq!(clients.get("both").await.unwrap().unwrap().source, "database");
    let check = async |id: &str, secret: &str| clients.check_secret(id, secret).await.unwrap().map(|client| client.id);
    assert_eq!(check("App", "secret").await, Some(app.id.clone()));
    assert_eq!(check("App", "Secret").await, None);

    let secrets = ClientSecrets { secret: SecretChange::Set("new".to_owned()), ..ClientSecrets::default() };
    clients.set(ClientDetails { name: "Ä".to_owned(), ..app.details.clone() }, secrets, NOW_MS).await.unwrap();
    let changed = clients.get("App").await.unwrap().unwrap();
    assert_eq!((changed.id, changed.details.name.as_str()), (app.id, "Ä"));
    assert_eq!(changed.details.properties, *json!({"logo": 1}).as_object().unwrap());
    assert_eq!(check("App", "secret").await, None);
    assert!(check("App", "new").await.is_some());

    let added = clients.add(details("new"), ClientSecrets::default(), NOW_MS).await.unwrap();
    let new = clients.get("new").await.unwrap().unwrap();
    assert_eq!((new.id, new.source.as_str()), (added, "directory"));
    let taken = clients.add_to(Some("database"), details("new"), ClientSecrets::default(), NOW_MS).await.unwrap_err();
    assert!(matches!(taken, PutClientError::IdTaken { .. }), "{taken}");
    let page = |offset, limit| Page { pattern: String::new(), offset, limit };
    let ids = async |page: Page| {
        let found = clients.list(&page).await.unwrap();
        found.into_iter().map(|client| client.details.client_id).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(Page::all()).await, "App new both");
    assert_eq!(ids(page(2, 9)).await, "new both");
    assert_eq!(ids(page(3, 9)).await, "both");
    assert!(clients.delete("App").await.unwrap());
    assert!(!clients.delete("App").await.unwrap());
    users.back_ends().set_clients(vec![Source { readonly: true, ..memory("directory", &kept) }, database()]);
    assert!(matches!(clients.delete("new").await, Err(StoreError::ReadOnly { .. })));
}

async fn the_database_may_be_several_back_ends(store: &Store) {
    let users = users(store).await;
    users.back_ends().set_users(vec![source("second", Keeper::Database), database()]);
    for (name, back_end) in [("a", "database"), ("b", "second"), ("c", "database"), ("d", "second")] {
        users.add_to(Some(back_end), user(name), NOW_MS).await.unwrap();
    }
    assert_eq!(names(&users, "", 0, 9).await, "second/b second/d database/a database/c");
    assert_eq!(names(&users, "", 1, 2).await, "second/d database/a");
    assert_eq!(names(&users, "", 3, 9).await, "database/c");
    let taken = users.add_to(Some("second"), user("a"), NOW_MS).await.unwrap_err();
    assert!(matches!(taken, PutUserError::NameTaken { .. }), "{taken}");
    users.back_ends().set_users(vec![source("second", Keeper::Disabled), database()]);
    assert_eq!(names(&users, "", 0, 9).await, "database/a database/c");
    assert_eq!(users.get("b").await.unwrap(), None);
    assert_eq!(users.delete("b").await.unwrap(), None);
    users.back_ends().set_users(vec![source("second", Keeper::Database)]);
    assert!(users.delete("b").await.unwrap().is_some());
    assert_eq!(users.get("a").await.unwrap(), None);
}
