//! Schemes and what their proofs are worth, with a scheme that is written here.

use std::sync::Arc;

use porth::domain::access::{Access, LogInError, Present, SchemeProof};
use porth::domain::instances::{Instances, NewInstance, Settings};
use porth::domain::lockout::{Lockout, LockoutRules};
use porth::domain::login::{LoginSessions, Means, Origin};
use porth::domain::passwords::Passwords;
use porth::domain::schemes::{AskError, Asking, By, CanUse, SchemeError, SchemeHook, SchemePort, Schemes, Sent};
use porth::domain::scopes::Scopes;
use porth::domain::users::{NewUser, UserChange, Users};
use serde_json::{Map, Value, json};
use tokio::sync::Barrier;

use super::back_ends::{Memory, memory};
use super::scopes::scope;
use super::users::user;
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_proof_counts_as_long_and_as_often_as_administrators_say,
    uses_are_counted_for_all_scopes_or_none,
    the_age_is_of_what_the_scopes_ask_for,
    who_is_told_logs_in,
    what_a_scheme_answers_is_checked,
    only_enabled_schemes_are_there,
    no_log_in_with_the_old_password_outlives_its_change,
    no_log_in_with_the_old_password_of_a_back_end_outlives_its_change,
);

/// Everybody but `stranger` is registered; the right value is 42, which may say whose it is.
struct Port;

impl SchemePort for Port {
    fn ask<'a>(&'a self, scheme: &'a str, hook: SchemeHook, arguments: &'a Value) -> Asking<'a> {
        let answer = match (hook, scheme) {
            (_, "dead") => Err(AskError::Unavailable("dead".to_owned())),
            (SchemeHook::CanUse, "mad") => Ok(json!("yes")),
            (SchemeHook::Identify, "mad") => Ok(json!({"user": 1})),
            (SchemeHook::CanUse, _) => Ok(json!(if arguments["username"] == "stranger" { 1 } else { 2 })),
            (SchemeHook::Validate, _) if arguments["data"] == 42 => Ok(Value::Null),
            (SchemeHook::Identify, _) if arguments["data"]["value"] == 42 => {
                Ok(json!({"username": arguments["data"]["username"]}))
            }
            (SchemeHook::Validate | SchemeHook::Identify, _) => Err(AskError::Unauthorized("no".to_owned())),
            _ => Ok(arguments.clone()),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// With the enabled schemes `a` and `b`, and `anna` (of the scopes `one`, `two`) and `stranger`. Proofs of `a` count for
/// ten seconds, those of `b` twice. `one` asks for the password and `a`, `two` for one of `a` and `b`.
async fn access(store: &Store) -> Access {
    let db = &store.db;
    let access = Access {
        users: Users::new(db.clone(), Passwords::new(2, 64)),
        scopes: Scopes::new(db.clone()),
        sessions: LoginSessions::new(db.clone(), 3_600_000),
        lockout: Lockout::new(db.clone(), LockoutRules { name_failures_max: 3, ..LockoutRules::default() }),
        schemes: Schemes::new(db.clone()),
        audit: porth::domain::audit::Audit::new(store.db.clone()),
    };
    access.schemes.connect(Arc::new(Port));
    add(store, "a", Settings { expiration_s: 10, ..Settings::default() }).await;
    add(store, "b", Settings { use_max: 2, ..Settings::default() }).await;
    access.scopes.add(scope("one", &[("2", 1, &["a"])])).await.unwrap();
    let mut two = scope("two", &[("any", 1, &["a", "b", "gone"])]);
    two.password_required = false;
    access.scopes.add(two).await.unwrap();
    for name in ["anna", "stranger"] {
        let scopes = vec!["one".to_owned(), "two".to_owned()];
        access.users.add(NewUser { scopes, ..user(name) }, NOW_MS).await.unwrap();
    }
    access
}

async fn add(store: &Store, name: &str, settings: Settings) {
    let new = NewInstance {
        kind: "scheme".to_owned(),
        module: "m".to_owned(),
        name: name.to_owned(),
        display_name: String::new(),
        parameters: Map::new(),
        enabled: true,
        grants: None,
        allow_public: false,
        settings,
    };
    Instances::new(store.db.clone()).add(new, NOW_MS).await.unwrap();
}

/// Stores that `anna` has proved something; gives her session.
async fn proved(access: &Access, cookie: Option<&str>, means: Means<'_>, now_ms: i64) -> String {
    let anna = access.users.get("anna").await.unwrap().unwrap();
    access.sessions.prove(cookie, &anna.id, means, Origin::default(), now_ms).await.unwrap()
}

async fn present(access: &Access, cookie: &str, now_ms: i64) -> Present {
    access.present(cookie, now_ms).await.unwrap().unwrap()
}

async fn permits(access: &Access, cookie: &str, scope: &str, now_ms: i64) -> bool {
    access.permits(&present(access, cookie, now_ms).await, scope, now_ms).await.unwrap()
}

async fn spends(access: &Access, cookie: &str, scopes: &[&str]) -> Option<bool> {
    let scopes: Vec<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    access.spend(&present(access, cookie, NOW_MS).await, &scopes, NOW_MS).await.unwrap()
}

async fn log_in(access: &Access, username: Option<&str>, scheme: &str, value: Value) -> Result<String, LogInError> {
    let sent = Sent { data: value, origin: None };
    let proof = SchemeProof { username, module: "m", scheme, sent: &sent };
    access.log_in_by_scheme(None, proof, None, "test", NOW_MS).await
}

async fn a_proof_counts_as_long_and_as_often_as_administrators_say(store: &Store) {
    let access = access(store).await;
    let cookie = proved(&access, None, Means::Password, NOW_MS).await;
    assert!(!permits(&access, &cookie, "one", NOW_MS).await);
    proved(&access, Some(&cookie), Means::Scheme("a"), NOW_MS).await;
    assert!(permits(&access, &cookie, "one", NOW_MS + 9_999).await);
    assert!(!permits(&access, &cookie, "one", NOW_MS + 10_000).await);
    // What an administrator changes counts at once.
    Instances::new(store.db.clone()).set_enabled("scheme", "a", false, NOW_MS).await.unwrap();
    assert!(!permits(&access, &cookie, "one", NOW_MS).await);
    assert!(!permits(&access, &cookie, "two", NOW_MS).await);
    proved(&access, Some(&cookie), Means::Scheme("b"), NOW_MS).await;
    assert!(permits(&access, &cookie, "two", NOW_MS + 3_000_000).await);
}

async fn uses_are_counted_for_all_scopes_or_none(store: &Store) {
    let access = access(store).await;
    let cookie = proved(&access, None, Means::Scheme("b"), NOW_MS).await;
    assert_eq!(spends(&access, &cookie, &["one", "two"]).await, Some(false));
    assert_eq!(spends(&access, &cookie, &["two", "nothing"]).await, None);
    assert_eq!(spends(&access, &cookie, &["two"]).await, Some(true));
    assert_eq!(spends(&access, &cookie, &["two", "two"]).await, Some(true));
    assert_eq!(spends(&access, &cookie, &["two"]).await, Some(false), "used up");
    proved(&access, Some(&cookie), Means::Scheme("b"), NOW_MS).await;
    assert_eq!(spends(&access, &cookie, &["two"]).await, Some(true));
}

async fn the_age_is_of_what_the_scopes_ask_for(store: &Store) {
    let access = access(store).await;
    let cookie = proved(&access, None, Means::Scheme("b"), NOW_MS + 2_000).await;
    let age = async |scopes: &[&str]| {
        let scopes: Vec<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        access.age(&present(&access, &cookie, NOW_MS).await, &scopes).await.unwrap()
    };
    assert_eq!(age(&["one"]).await, 0);
    assert_eq!(age(&["two"]).await, NOW_MS / 1_000 + 2);
    proved(&access, Some(&cookie), Means::Password, NOW_MS + 1_000).await;
    assert_eq!(age(&["one"]).await, NOW_MS / 1_000 + 1);
    assert_eq!(age(&["one", "two"]).await, NOW_MS / 1_000 + 2);
    assert_eq!(age(&["nothing"]).await, 0);
}

async fn who_is_told_logs_in(store: &Store) {
    let access = access(store).await;
    let cookie = log_in(&access, Some("ANNA"), "a", json!(42)).await.unwrap();
    assert_eq!(present(&access, &cookie, NOW_MS).await.user.username.as_str(), "anna");
    assert!(permits(&access, &cookie, "two", NOW_MS).await);
    let cookie = log_in(&access, None, "a", json!({"username": "stranger", "value": 42})).await.unwrap();
    assert_eq!(present(&access, &cookie, NOW_MS).await.user.username.as_str(), "stranger");

    for (username, value) in [
        (Some("stranger"), json!(42)),
        (Some("nobody"), json!(42)),
        (Some("anna"), json!(41)),
        (None, json!({"username": "nobody", "value": 42})),
    ] {
        let refused = log_in(&access, username, "a", value).await;
        assert!(matches!(refused, Err(LogInError::Wrong)), "{username:?} {refused:?}");
    }
    let unknown = log_in(&access, Some("anna"), "nothing", json!(42)).await;
    assert!(matches!(unknown, Err(LogInError::Scheme(SchemeError::Unknown { .. }))));

    // Three guesses are too many, for this scheme; what another says or an answer that never came counts nothing.
    for _ in 0..2 {
        assert!(log_in(&access, Some("anna"), "a", json!(41)).await.is_err());
    }
    assert!(matches!(log_in(&access, Some("anna"), "a", json!(42)).await, Err(LogInError::LockedOut(_))));
    assert!(log_in(&access, Some("anna"), "b", json!(42)).await.is_ok());
    add(store, "dead", Settings::default()).await;
    for _ in 0..4 {
        let dead = log_in(&access, Some("anna"), "dead", json!(42)).await;
        assert!(matches!(dead, Err(LogInError::Scheme(SchemeError::Ask(AskError::Unavailable(_))))), "{dead:?}");
    }
}

async fn what_a_scheme_answers_is_checked(store: &Store) {
    let access = access(store).await;
    add(store, "mad", Settings::default()).await;
    for username in [Some("anna"), None] {
        let failed = log_in(&access, username, "mad", json!({"username": "anna", "value": 42})).await;
        assert!(matches!(failed, Err(LogInError::Scheme(SchemeError::Ask(AskError::Failed(_))))), "{failed:?}");
    }
    let mad = scope("mad", &[("2", 1, &["mad", "dead"])]);
    access.scopes.add(mad).await.unwrap();
    // What a scheme does not say is unknown, and keeps nobody from the others.
    let offers = access.offers(None, &["mad".to_owned(), "two".to_owned()], NOW_MS).await.unwrap().unwrap();
    assert_eq!(offers[0].schemes["2"].iter().map(|offered| offered.registered).collect::<Vec<_>>(), [false]);
    assert_eq!(offers[1].schemes["any"].len(), 2);
}

async fn only_enabled_schemes_are_there(store: &Store) {
    let access = access(store).await;
    let anna = access.users.get("anna").await.unwrap().unwrap();
    let names = async || {
        let schemes = access.schemes_of(&anna).await.unwrap();
        schemes.iter().map(|(scheme, can_use)| format!("{} {can_use:?}", scheme.name)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(names().await, format!("a {0:?}, b {0:?}", Some(CanUse::Registered)));
    let instances = Instances::new(store.db.clone());
    instances.set_enabled("scheme", "a", false, NOW_MS).await.unwrap();
    assert_eq!(names().await, format!("b {:?}", Some(CanUse::Registered)));
    assert!(matches!(access.schemes.find(None, "a").await, Err(SchemeError::Unknown { .. })));
    assert!(matches!(access.schemes.find(Some("other"), "b").await, Err(SchemeError::Unknown { .. })));
    let mut b = access.schemes.find(Some("m"), "b").await.unwrap();
    b.settings.allow_user_register = false;
    let sent = Sent { data: json!(1), origin: None };
    let refused = access.schemes.register(&b, &anna, &sent, By::Themselves).await;
    assert!(matches!(refused, Err(SchemeError::Forbidden { .. })));
    let registered = access.schemes.register(&b, &anna, &sent, By::Others).await.unwrap();
    assert_eq!(registered, json!({"username": "anna", "data": 1, "request": null}));
}

/// Log-ins compare for a while, so that some have compared before the change and store afterwards.
async fn no_log_in_with_the_old_password_outlives_its_change(store: &Store) {
    let mut access = access(store).await;
    // Those that come after the change are wrong; that they lock the name is not what this is about.
    access.lockout = Lockout::new(store.db.clone(), LockoutRules { name_failures_max: 0, ..LockoutRules::default() });
    for round in 0..4 {
        let (old, new) = (format!("old{round}"), format!("new{round}"));
        let name = format!("dora{round}");
        let dora = NewUser { password: Some(old.clone()), ..user(&name) };
        access.users.add(dora, NOW_MS).await.unwrap();
        let log_ins: Vec<_> = (0..12)
            .map(|_| {
                let (access, name, old) = (access.clone(), name.clone(), old.clone());
                tokio::spawn(async move { access.log_in(None, &name, &old, None, "", NOW_MS).await })
            })
            .collect();
        assert!(access.users.change_password(&name, &old, &new, None, NOW_MS).await.unwrap());
        for log_in in log_ins {
            if let Ok(cookie) = log_in.await.unwrap() {
                assert!(access.present(&cookie, NOW_MS).await.unwrap().is_none(), "round {round}");
            }
        }
        let cookie = access.log_in(None, &name, &new, None, "", NOW_MS).await.unwrap();
        assert!(access.present(&cookie, NOW_MS).await.unwrap().is_some());
    }
}

async fn no_log_in_with_the_old_password_of_a_back_end_outlives_its_change(store: &Store) {
    let access = access(store).await;
    let kept = Memory::of("username", &["dave"]);
    access.users.back_ends().set_users(vec![memory("ldap", &kept)]);
    let log_in = |password: &'static str| {
        let access = access.clone();
        tokio::spawn(async move { access.log_in(None, "dave", password, None, "", NOW_MS).await })
    };
    let cookie = log_in("secret").await.unwrap().unwrap();
    let compared = Arc::new(Barrier::new(2));
    for change in [false, true] {
        *kept.compared.lock().unwrap() = Some(Arc::clone(&compared));
        let late = log_in(if change { "one" } else { "secret" });
        compared.wait().await;
        *kept.compared.lock().unwrap() = None;
        if change {
            let change = UserChange { password: Some("two".to_owned()), ..UserChange::default() };
            access.users.set("dave", change, NOW_MS).await.unwrap();
        } else {
            access.users.set_password("dave", "one".to_owned(), NOW_MS).await.unwrap();
        }
        compared.wait().await;
        assert!(matches!(late.await.unwrap(), Err(LogInError::Wrong)), "it compared the one before");
    }
    assert!(access.present(&cookie, NOW_MS).await.unwrap().is_none());
    log_in("two").await.unwrap().unwrap();
}
