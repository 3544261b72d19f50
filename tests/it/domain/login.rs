//! Log-in sessions.

mod enough;

use porth::domain::login::{LoginSession, LoginSessions, Means, Origin, Proof, ProveError, SchemeLimits, Schemes};
use porth::domain::users::Users;

use super::scopes::scope;
use super::users::{of_sixteen, user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_session_begins_with_a_proof_and_ends_with_its_last_user,
    the_user_chosen_last_is_the_current_one,
    a_cookie_is_only_what_was_made_here,
    a_session_expires_after_the_last_proof,
    the_newest_proof_counts,
    a_user_sees_their_sessions,
    a_deleted_user_is_in_no_session,
    four_of_sixteen_spend_four_uses,
    sixteen_logins_share_a_session,
    sixteen_choices_leave_one_current_user,
    each_of_two_logs_out_once_of_sixteen_times,
);

const LIFETIME_MS: i64 = 1_000;

/// Sessions, everybody, and the ids of `anna`, `bob` and `carol`.
async fn setup(store: &Store) -> (LoginSessions, Users, [String; 3]) {
    let users = users(store).await;
    let mut ids = [const { String::new() }; 3];
    for (id, name) in ids.iter_mut().zip(["anna", "bob", "carol"]) {
        *id = users.add(user(name), NOW_MS).await.unwrap();
    }
    (LoginSessions::new(store.db.clone(), LIFETIME_MS), users, ids)
}

async fn prove(sessions: &LoginSessions, cookie: Option<&str>, user_id: &str, now_ms: i64) -> String {
    sessions.prove(cookie, user_id, Means::Password, Origin::default(), now_ms).await.unwrap()
}

async fn find(sessions: &LoginSessions, cookie: &str) -> LoginSession {
    sessions.find(cookie, NOW_MS).await.unwrap().unwrap()
}

/// The names of a session's users, the current one first.
async fn names(sessions: &LoginSessions, cookie: &str, now_ms: i64) -> String {
    let Some(session) = sessions.find(cookie, now_ms).await.unwrap() else { return "none".to_owned() };
    let others = session.others.iter().map(|user| user.username.to_string());
    std::iter::once(session.current.username.to_string()).chain(others).collect::<Vec<_>>().join(" ")
}

async fn a_session_begins_with_a_proof_and_ends_with_its_last_user(store: &Store) {
    let (sessions, _, [anna, bob, carol]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    assert_eq!(cookie.len(), 43);
    assert_eq!(prove(&sessions, Some(&cookie), &bob, NOW_MS).await, cookie, "a log-in keeps the session");
    let other = prove(&sessions, None, &anna, NOW_MS).await;
    assert_ne!(other, cookie);
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "bob anna");

    let id = find(&sessions, &cookie).await.id;
    assert!(sessions.leave(&id, &bob).await.unwrap());
    assert!(!sessions.leave(&id, &carol).await.unwrap());
    assert!(sessions.proofs(&id, &bob).await.unwrap().is_empty());
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "anna");
    assert!(sessions.leave(&id, &anna).await.unwrap());
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "none");
    assert!(!sessions.end(&id).await.unwrap());
    assert_ne!(prove(&sessions, Some(&cookie), &anna, NOW_MS).await, cookie, "an ended session does not come back");

    let id = find(&sessions, &other).await.id;
    assert!(sessions.end(&id).await.unwrap());
    assert_eq!(names(&sessions, &other, NOW_MS).await, "none");
}

async fn the_user_chosen_last_is_the_current_one(store: &Store) {
    let (sessions, _, [anna, bob, carol]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    for id in [&bob, &carol, &bob] {
        prove(&sessions, Some(&cookie), id, NOW_MS).await;
    }
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "bob carol anna");
    let id = find(&sessions, &cookie).await.id;
    assert!(sessions.choose(&id, &anna).await.unwrap());
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "anna bob carol");
    assert!(sessions.leave(&id, &bob).await.unwrap());
    assert!(!sessions.choose(&id, &bob).await.unwrap());
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "anna carol");
}

async fn a_cookie_is_only_what_was_made_here(store: &Store) {
    let (sessions, _, [anna, bob, _]) = setup(store).await;
    let chosen = "a".repeat(43);
    let cookie = prove(&sessions, Some(&chosen), &anna, NOW_MS).await;
    assert_ne!(cookie, chosen);
    for wrong in ["", "a", &chosen, &cookie.to_uppercase(), &format!("{cookie}="), &"\0".repeat(43)] {
        assert_eq!(names(&sessions, wrong, NOW_MS).await, "none");
        assert_eq!(sessions.renew(wrong, NOW_MS).await.unwrap(), None);
    }
    let renewed = sessions.renew(&cookie, NOW_MS).await.unwrap().unwrap();
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "none");
    assert_eq!(names(&sessions, &renewed, NOW_MS).await, "anna");
    assert_ne!(prove(&sessions, Some(&cookie), &bob, NOW_MS).await, renewed);

    let mut rows = store.db.read("SELECT cookie_hash FROM login_session", vec![]).await.unwrap();
    for row in &mut rows {
        assert_eq!(row.take::<Vec<u8>>(0).unwrap().len(), 32);
    }
}

async fn a_session_expires_after_the_last_proof(store: &Store) {
    let (sessions, _, [anna, ..]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    assert_eq!(prove(&sessions, Some(&cookie), &anna, NOW_MS + 600).await, cookie);
    assert_eq!(names(&sessions, &cookie, NOW_MS + 1_599).await, "anna");
    assert_eq!(names(&sessions, &cookie, NOW_MS + 1_600).await, "none");
    assert_ne!(prove(&sessions, Some(&cookie), &anna, NOW_MS + 1_600).await, cookie);
    sessions.purge(NOW_MS + 1_600).await.unwrap();
    assert_eq!(store.db.read("SELECT id FROM login_session", vec![]).await.unwrap().len(), 1);
}

async fn the_newest_proof_counts(store: &Store) {
    let (sessions, _, [anna, bob, _]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    let by = async |means, at_ms| {
        sessions.prove(Some(&cookie), &anna, means, Origin::default(), NOW_MS + at_ms).await.unwrap();
    };
    by(Means::Scheme("otp"), 1).await;
    by(Means::Scheme("fido"), 2).await;
    by(Means::Scheme("otp"), 3).await;
    by(Means::Password, 4).await;
    prove(&sessions, Some(&cookie), &bob, NOW_MS + 5).await;
    let id = find(&sessions, &cookie).await.id;
    let proofs = sessions.proofs(&id, &anna).await.unwrap();
    let proof = |at_ms| Proof { proved_at_ms: NOW_MS + at_ms, use_count: 0 };
    assert_eq!(proofs.password, Some(proof(4)));
    assert_eq!(proofs.schemes.into_iter().collect::<Vec<_>>(), [("fido".into(), proof(2)), ("otp".into(), proof(3))]);
    assert_eq!(sessions.proofs(&id, &bob).await.unwrap().password, Some(proof(5)));
}

async fn a_user_sees_their_sessions(store: &Store) {
    let (sessions, _, [anna, bob, _]) = setup(store).await;
    let origin = Origin { user_agent: format!("a\r\n{}", "b".repeat(1_000)), peer: "192.0.2.1".to_owned() };
    let cookie = sessions.prove(None, &anna, Means::Password, origin, NOW_MS).await.unwrap();
    prove(&sessions, Some(&cookie), &bob, NOW_MS).await;
    prove(&sessions, None, &bob, NOW_MS + 500).await;
    let of_anna = sessions.of_user(&anna, NOW_MS).await.unwrap();
    assert_eq!(of_anna.len(), 1);
    assert_eq!((of_anna[0].peer.as_str(), of_anna[0].user_agent.len()), ("192.0.2.1", 256));
    assert!(of_anna[0].user_agent.starts_with("ab"));
    assert_eq!((of_anna[0].created_at_ms, of_anna[0].expires_at_ms), (NOW_MS, NOW_MS + LIFETIME_MS));
    assert_eq!(sessions.of_user(&bob, NOW_MS).await.unwrap().len(), 2);
    assert_eq!(sessions.of_user(&bob, NOW_MS + LIFETIME_MS).await.unwrap().len(), 1);
}

async fn a_deleted_user_is_in_no_session(store: &Store) {
    let (sessions, users, [anna, bob, _]) = setup(store).await;
    let cookie = prove(&sessions, None, &bob, NOW_MS).await;
    prove(&sessions, Some(&cookie), &anna, NOW_MS).await;
    users.delete("anna").await.unwrap();
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "bob");
    users.delete("bob").await.unwrap();
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "none");
    let gone = sessions.prove(None, &bob, Means::Password, Origin::default(), NOW_MS).await;
    assert!(matches!(gone, Err(ProveError::UserGone)), "{gone:?}");
}

async fn four_of_sixteen_spend_four_uses(store: &Store) {
    let (sessions, _, [anna, ..]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    let means = Means::Scheme("otp");
    sessions.prove(Some(&cookie), &anna, means, Origin::default(), NOW_MS).await.unwrap();
    let session = find(&sessions, &cookie).await.id;
    let schemes = Schemes::from([("otp".to_owned(), SchemeLimits { expiration_s: 0, use_max: 4 })]);
    // A proof that two scopes rely on is used once.
    let scopes = vec![scope("a", &[("g", 1, &["otp"])]), scope("b", &[("g", 1, &["otp"]), ("h", 1, &["otp"])])];
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(16));
    let tasks = (0..16).map(|_| {
        let (sessions, session, anna) = (sessions.clone(), session.clone(), anna.clone());
        let (scopes, schemes, barrier) = (scopes.clone(), schemes.clone(), barrier.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            sessions.spend(&session, &anna, scopes, schemes, NOW_MS).await.unwrap()
        })
    });
    let mut spent = 0;
    for task in tasks.collect::<Vec<_>>() {
        spent += usize::from(task.await.unwrap());
    }
    assert_eq!(spent, 4);
    assert_eq!(sessions.proofs(&session, &anna).await.unwrap().schemes["otp"].use_count, 4);
}

async fn sixteen_logins_share_a_session(store: &Store) {
    let (sessions, users, [anna, ..]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    let mut tasks = Vec::new();
    for number in 0..16 {
        let id = users.add(user(&format!("user{number}")), NOW_MS).await.unwrap();
        let (sessions, cookie) = (sessions.clone(), cookie.clone());
        tasks.push(tokio::spawn(async move { prove(&sessions, Some(&cookie), &id, NOW_MS).await }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), cookie);
    }
    assert_eq!(find(&sessions, &cookie).await.others.len(), 16);
}

async fn sixteen_choices_leave_one_current_user(store: &Store) {
    let (sessions, _, ids) = setup(store).await;
    let cookie = prove(&sessions, None, &ids[0], NOW_MS).await;
    for id in &ids[1..] {
        prove(&sessions, Some(&cookie), id, NOW_MS).await;
    }
    let session = find(&sessions, &cookie).await.id;
    for _ in 0..4 {
        let chosen = of_sixteen(|number| {
            let (sessions, session, id) = (sessions.clone(), session.clone(), ids[number % 3].clone());
            async move { sessions.choose(&session, &id).await.unwrap() }
        });
        assert_eq!(chosen.await, 16);
        let shown = names(&sessions, &cookie, NOW_MS).await;
        assert_eq!(names(&sessions, &cookie, NOW_MS).await, shown);
        assert_eq!(shown.split(' ').collect::<std::collections::BTreeSet<_>>().len(), 3);
        // Whoever is chosen after them all is the current one, however those met.
        for id in &ids {
            assert!(sessions.choose(&session, id).await.unwrap());
            assert_eq!(&find(&sessions, &cookie).await.current.id, id);
        }
    }
}

async fn each_of_two_logs_out_once_of_sixteen_times(store: &Store) {
    let (sessions, _, [anna, bob, _]) = setup(store).await;
    let cookie = prove(&sessions, None, &anna, NOW_MS).await;
    prove(&sessions, Some(&cookie), &bob, NOW_MS).await;
    let session = find(&sessions, &cookie).await.id;
    let ids = [anna, bob];
    let left = of_sixteen(|number| {
        let (sessions, session, id) = (sessions.clone(), session.clone(), ids[number % 2].clone());
        async move { sessions.leave(&session, &id).await.unwrap() }
    });
    assert_eq!(left.await, 2);
    assert_eq!(names(&sessions, &cookie, NOW_MS).await, "none");
}
