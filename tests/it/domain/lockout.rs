//! Failed log-ins.

use std::net::IpAddr;

use porth::domain::lockout::{Attempt, Lockout, LockoutRules};

use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    a_name_is_locked_after_failures_in_a_row,
    a_success_ends_the_row,
    a_peer_is_locked_by_the_window,
    a_success_while_locked_does_not_count,
    many_at_once_are_all_counted,
    what_is_over_is_purged,
    no_limit_locks_nobody,
);

const RULES: LockoutRules =
    LockoutRules { name_failures_max: 3, name_lock_ms: 1_000, peer_failures_max: 5, peer_window_ms: 10_000 };

fn lockout(store: &Store) -> Lockout {
    Lockout::new(store.db.clone(), RULES)
}

fn by_name(name: &str) -> Attempt {
    Attempt::new(name, None)
}

fn by_peer(name: &str, peer: u8) -> Attempt {
    Attempt::new(name, Some(IpAddr::from([127, 0, 0, peer])))
}

/// After so many milliseconds one failure more: how long to wait then, 0 for not at all.
async fn fail(lockout: &Lockout, attempt: &Attempt, after_ms: i64) -> i64 {
    let now_ms = NOW_MS + after_ms;
    let waits = lockout.failed(attempt, now_ms).await.unwrap();
    assert_eq!(lockout.check(attempt, now_ms).await.unwrap(), waits);
    waits.map_or(0, |locked_out| locked_out.retry_after_ms)
}

async fn a_name_is_locked_after_failures_in_a_row(store: &Store) {
    let lockout = lockout(store);
    let anna = by_name("Anna");
    let waits = [(0, 0), (1, 0), (2, 1_000), (3, 999), (1_001, 1), (1_002, 0), (1_003, 0), (1_004, 1_000)];
    for (after_ms, wait_ms) in waits {
        assert_eq!(fail(&lockout, &anna, after_ms).await, wait_ms, "after {after_ms} ms");
    }
    assert!(lockout.check(&by_name("ａNNA"), NOW_MS + 1_005).await.unwrap().is_some());
    assert_eq!(lockout.check(&by_name("bob"), NOW_MS + 1_005).await.unwrap(), None);
}

async fn a_success_ends_the_row(store: &Store) {
    let lockout = lockout(store);
    let anna = by_name("anna");
    for round in 0..3 {
        assert_eq!(fail(&lockout, &anna, round).await, 0);
        assert_eq!(fail(&lockout, &anna, round).await, 0);
        assert_eq!(lockout.succeeded(&anna, NOW_MS).await.unwrap(), None);
    }
}

async fn a_peer_is_locked_by_the_window(store: &Store) {
    let lockout = lockout(store);
    for number in 0..4 {
        assert_eq!(fail(&lockout, &by_peer(&format!("name{number}"), 1), number).await, 0);
    }
    // A success does not end a peer's count, or an account of one's own would open all others.
    assert_eq!(lockout.succeeded(&by_peer("mine", 1), NOW_MS + 5).await.unwrap(), None);
    assert_eq!(fail(&lockout, &by_peer("name5", 1), 5).await, 10_000);
    assert_eq!(lockout.check(&by_peer("name6", 2), NOW_MS + 6).await.unwrap(), None);
    assert!(lockout.check(&by_peer("name6", 1), NOW_MS + 10_004).await.unwrap().is_some());
    assert_eq!(lockout.check(&by_peer("name6", 1), NOW_MS + 10_005).await.unwrap(), None);
    // A count begins anew with the window, which later failures do not lengthen.
    for number in 0..4 {
        assert_eq!(fail(&lockout, &by_peer(&format!("more{number}"), 3), number * 2_000).await, 0);
    }
    assert_eq!(fail(&lockout, &by_peer("more5", 3), 10_000).await, 0);
}

async fn a_success_while_locked_does_not_count(store: &Store) {
    let lockout = lockout(store);
    let anna = by_name("anna");
    for _ in 0..3 {
        fail(&lockout, &anna, 0).await;
    }
    assert_eq!(lockout.succeeded(&anna, NOW_MS + 400).await.unwrap().unwrap().retry_after_ms, 600);
    assert!(lockout.check(&anna, NOW_MS + 401).await.unwrap().is_some());
    assert_eq!(lockout.succeeded(&anna, NOW_MS + 1_000).await.unwrap(), None);
}

async fn many_at_once_are_all_counted(store: &Store) {
    let rules = LockoutRules { name_failures_max: 16, ..RULES };
    let lockout = Lockout::new(store.db.clone(), rules);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let lockout = lockout.clone();
            tokio::spawn(async move { lockout.failed(&by_name("anna"), NOW_MS).await.unwrap().is_some() })
        })
        .collect();
    let mut locked = 0;
    for task in tasks {
        locked += usize::from(task.await.unwrap());
    }
    assert_eq!(locked, 1);
}

async fn what_is_over_is_purged(store: &Store) {
    let lockout = lockout(store);
    fail(&lockout, &by_peer("anna", 1), 0).await;
    let rows = async || store.db.read("SELECT failures FROM login_failure", vec![]).await.unwrap().len();
    lockout.purge(NOW_MS + 9_999).await.unwrap();
    assert_eq!(rows().await, 2);
    lockout.purge(NOW_MS + 10_000).await.unwrap();
    assert_eq!(rows().await, 1);
    lockout.purge(NOW_MS + 86_400_000).await.unwrap();
    assert_eq!(rows().await, 0);
}

async fn no_limit_locks_nobody(store: &Store) {
    let rules = LockoutRules { name_failures_max: 0, peer_failures_max: 0, ..RULES };
    let lockout = Lockout::new(store.db.clone(), rules);
    for _ in 0..10 {
        assert_eq!(fail(&lockout, &by_peer("anna", 1), 0).await, 0);
    }
    let one = Lockout::new(store.db.clone(), LockoutRules { name_failures_max: 1, ..rules });
    assert_eq!(fail(&one, &by_name("anna"), 0).await, 1_000);
}
