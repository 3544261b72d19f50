//! Who goes is forgotten everywhere before anybody else gets the name, whatever happens in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use porth::domain::departures::{Departures, Telling, Told};
use porth::domain::documents::{DocumentLimits, Documents};
use porth::domain::instances::{Instances, NewInstance, Settings};
use porth::domain::passwords::Passwords;
use porth::domain::users::{PutUserError, Users};
use serde_json::Map;

use super::back_ends::{Memory, database, memory};
use super::users::user;
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    everybody_hears_of_who_goes,
    a_deletion_that_was_cut_off_is_finished_first,
    who_runs_and_does_not_forget_keeps_the_name,
    who_does_not_run_is_told_when_it_does,
    who_does_not_forget_is_not_let_near_the_next_of_the_name,
    a_name_that_changes_its_back_end_is_forgotten_first,
    the_name_of_a_back_end_that_is_gone_is_cleaned_up,
    sixteen_who_want_a_name_that_is_given_up,
);

/// Notes who was told of whom; says what it is told to say of each instance, else that it forgot.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) told: Mutex<Vec<String>>,
    says: Mutex<BTreeMap<&'static str, Told>>,
}

impl Noted {
    fn says(&self, key: &'static str, told: Told) {
        self.says.lock().unwrap().insert(key, told);
    }

    fn take(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.sort();
        told
    }
}

impl Departures for Noted {
    fn tell<'a>(&'a self, key: &'a str, username: &'a str) -> Telling<'a> {
        self.told.lock().unwrap().push(format!("{key} {username}"));
        let told = self.says.lock().unwrap().get(key).cloned().unwrap_or(Told::Forgot);
        Box::pin(async move {
            tokio::task::yield_now().await;
            told
        })
    }
}

async fn instance(store: &Store, kind: &str, name: &str) {
    let new = NewInstance {
        kind: kind.to_owned(),
        module: if name == "database" { "database" } else { "m" }.to_owned(),
        name: name.to_owned(),
        display_name: String::new(),
        parameters: Map::new(),
        enabled: true,
        grants: None,
        allow_public: false,
        settings: Settings::default(),
    };
    Instances::new(store.db.clone()).add(new, NOW_MS).await.unwrap();
}

/// As a process has them that just started; without `noted` as a command without a server.
fn process(store: &Store, noted: Option<&Arc<Noted>>) -> Users {
    let users = Users::new(store.db.clone(), Passwords::new(2, 64));
    let limits = DocumentLimits { documents_max: 100, documents_bytes_max: 1 << 20, document_bytes_max: 1 << 20 };
    users.departing().connect_documents(Documents::new(store.db.clone(), limits));
    if let Some(noted) = noted {
        users.departing().connect(Arc::clone(noted) as _);
    }
    users
}

fn is_departing(added: Result<String, PutUserError>) -> bool {
    match added {
        Err(PutUserError::Departing { .. }) => true,
        Ok(_) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn everybody_hears_of_who_goes(store: &Store) {
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    for (kind, name) in [("scheme", "code"), ("plugin", "a"), ("user_middleware", "m")] {
        instance(store, kind, name).await;
    }
    let kept = Memory::of("username", &["dave"]);
    users.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    users.add(user("anna"), NOW_MS).await.unwrap();
    assert_eq!(noted.take(), [""; 0]);
    assert_eq!(users.delete("ANNA").await.unwrap(), Some(Vec::new()));
    assert_eq!(noted.take(), ["plugin/a anna", "scheme/code anna", "user_middleware/m anna"]);
    assert_eq!(users.delete("dave").await.unwrap(), Some(Vec::new()));
    assert_eq!(noted.take(), ["plugin/a dave", "scheme/code dave", "user_middleware/m dave"]);
    assert_eq!(users.delete("nobody").await.unwrap(), None);
    users.departing().work_off().await.unwrap();
    assert_eq!(noted.take(), [""; 0], "nothing is left to do");
}

async fn a_deletion_that_was_cut_off_is_finished_first(store: &Store) {
    instance(store, "scheme", "code").await;
    let offline = process(store, None);
    offline.add(user("anna"), NOW_MS).await.unwrap();
    let failures = offline.delete("anna").await.unwrap().unwrap();
    assert!(failures[0].contains("when the server starts"), "{failures:?}");
    assert!(is_departing(offline.add(user("anna"), NOW_MS).await));
    // As the other kinds of getting a name.
    let kept = Memory::of("username", &["anna"]);
    offline.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    assert!(offline.get("anna").await.is_err());
    assert!(offline.list(&porth::domain::Page::all()).await.unwrap().is_empty());

    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    users.add(user("anna"), NOW_MS).await.unwrap();
    assert_eq!(noted.take(), ["scheme/code anna"]);

    // Or at the start, whoever gets the name.
    process(store, None).delete("anna").await.unwrap().unwrap();
    users.departing().work_off().await.unwrap();
    assert_eq!(noted.take(), ["scheme/code anna"]);
    process(store, None).add(user("anna"), NOW_MS).await.unwrap();
}

async fn who_runs_and_does_not_forget_keeps_the_name(store: &Store) {
    for name in ["code", "mail"] {
        instance(store, "scheme", name).await;
    }
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    noted.says("scheme/code", Told::Failed("the cable is cut".to_owned()));
    users.add(user("anna"), NOW_MS).await.unwrap();
    let failures = users.delete("anna").await.unwrap().unwrap();
    assert_eq!(failures, ["instance scheme/code: the cable is cut"]);
    assert!(users.get("anna").await.unwrap().is_none(), "gone all the same");
    assert_eq!(noted.take(), ["scheme/code anna", "scheme/mail anna"], "all are tried");
    let errors = users.errors_to_add(None, &user("Anna")).await.unwrap();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("username: ") && errors[0].contains("anna"), "{errors:?}");
    let refused = users.add(user("Anna"), NOW_MS).await.unwrap_err().to_string();
    assert!(refused.contains("scheme/code: the cable is cut"), "{refused}");
    assert_eq!(noted.take(), ["scheme/code anna"], "who forgot is not asked again");
    noted.says("scheme/code", Told::Forgot);
    users.add(user("anna"), NOW_MS).await.unwrap();
    assert_eq!(noted.take(), ["scheme/code anna"]);

    // An instance that is deleted keeps nothing back.
    noted.says("scheme/code", Told::Failed("the cable is cut".to_owned()));
    users.delete("anna").await.unwrap().unwrap();
    assert!(is_departing(users.add(user("anna"), NOW_MS).await));
    Instances::new(store.db.clone()).delete("scheme", "code").await.unwrap();
    users.add(user("anna"), NOW_MS).await.unwrap();
}

/// `anna` and `bob` go while the instance `code` does not run, and another `anna` comes.
async fn go_while_code_does_not_run(users: &Users, noted: &Noted) {
    noted.says("scheme/code", Told::NotRunning);
    for name in ["anna", "bob"] {
        users.add(user(name), NOW_MS).await.unwrap();
        assert_eq!(users.delete(name).await.unwrap(), Some(Vec::new()));
    }
    users.add(user("anna"), NOW_MS).await.unwrap();
    noted.take();
}

async fn who_does_not_run_is_told_when_it_does(store: &Store) {
    for name in ["code", "mail"] {
        instance(store, "scheme", name).await;
    }
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    go_while_code_does_not_run(&users, &noted).await;
    noted.says("scheme/code", Told::Forgot);
    assert_eq!(users.departing().see_off("scheme/mail").await.unwrap(), [""; 0]);
    users.departing().work_off().await.unwrap();
    assert_eq!(noted.take(), [""; 0], "who does not run is not asked again and again");
    users.departing().see_off("scheme/code").await.unwrap();
    assert_eq!(noted.take(), ["scheme/code anna", "scheme/code bob"]);
    users.departing().work_off().await.unwrap();
    assert_eq!(noted.take(), [""; 0]);
}

async fn who_does_not_forget_is_not_let_near_the_next_of_the_name(store: &Store) {
    for name in ["code", "code_2"] {
        instance(store, "scheme", name).await;
    }
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    go_while_code_does_not_run(&users, &noted).await;
    noted.says("scheme/code", Told::Failed("the cable is cut".to_owned()));
    assert_eq!(users.departing().see_off("scheme/code").await.unwrap(), ["anna"]);
    assert_eq!(noted.take(), ["scheme/code anna", "scheme/code bob"]);
    // Nobody has this name, and nobody gets it before it is forgotten.
    assert!(is_departing(users.add(user("bob"), NOW_MS).await));
    noted.says("scheme/code", Told::Forgot);
    assert_eq!(users.departing().see_off("scheme/code").await.unwrap(), [""; 0]);
    users.add(user("bob"), NOW_MS).await.unwrap();
}

async fn a_name_that_changes_its_back_end_is_forgotten_first(store: &Store) {
    instance(store, "scheme", "code").await;
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    let (one, other) = (Memory::of("username", &["dave", "erin"]), Memory::of("username", &[]));
    users.back_ends().set_users(vec![memory("one", &one), memory("other", &other)]);
    let before = users.get("dave").await.unwrap().unwrap();
    let erin = users.get("erin").await.unwrap().unwrap();
    one.remove("dave");
    other.put("dave", &serde_json::json!({}));
    noted.says("scheme/code", Told::Failed("the cable is cut".to_owned()));
    assert!(users.get("dave").await.is_err(), "the new one would have what the old one registered");
    noted.says("scheme/code", Told::Forgot);
    noted.take();
    let after = users.get("dave").await.unwrap().unwrap();
    assert_eq!(noted.take(), ["scheme/code dave"]);
    assert_ne!(before.id, after.id);
    assert_eq!(after.source, "other");

    // Nobody at any back end, but still known here: to be deleted, once.
    one.remove("erin");
    assert_eq!(users.get("erin").await.unwrap(), None);
    assert_eq!(users.delete("erin").await.unwrap(), Some(Vec::new()));
    assert_eq!(noted.take(), ["scheme/code erin"]);
    assert_eq!(users.delete("erin").await.unwrap(), None);
    one.put("erin", &serde_json::json!({}));
    assert_ne!(users.get("erin").await.unwrap().unwrap().id, erin.id);
}

async fn the_name_of_a_back_end_that_is_gone_is_cleaned_up(store: &Store) {
    instance(store, "scheme", "code").await;
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    let kept = Memory::of("username", &["dave", "erin"]);
    users.back_ends().set_users(vec![database(), memory("ldap", &kept)]);
    for name in ["dave", "erin"] {
        users.get(name).await.unwrap().unwrap();
    }
    users.back_ends().set_users(vec![database()]);
    assert_eq!(users.delete("dave").await.unwrap(), Some(Vec::new()));
    assert_eq!(noted.take(), ["scheme/code dave"]);
    users.add(user("erin"), NOW_MS).await.unwrap();
    assert_eq!(noted.take(), ["scheme/code erin"]);
}

async fn sixteen_who_want_a_name_that_is_given_up(store: &Store) {
    instance(store, "scheme", "code").await;
    let noted = Arc::new(Noted::default());
    let users = process(store, Some(&noted));
    users.add(user("anna"), NOW_MS).await.unwrap();
    users.back_ends().set_users(vec![database(), memory("ldap", &Memory::of("username", &[]))]);
    let deleting = tokio::spawn({
        let users = users.clone();
        async move { users.delete("anna").await.unwrap() }
    });
    let adding: Vec<_> = (0..16)
        .map(|_| {
            let users = users.clone();
            tokio::spawn(async move { users.add(user("anna"), NOW_MS).await })
        })
        .collect();
    assert_eq!(deleting.await.unwrap(), Some(Vec::new()));
    let mut added = 0;
    for add in adding {
        match add.await.unwrap() {
            Ok(_) => added += 1,
            Err(PutUserError::NameTaken { .. } | PutUserError::Departing { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(added <= 1, "{added}");
    assert_eq!(noted.take(), ["scheme/code anna"], "never of the one who has the name by now");
}
