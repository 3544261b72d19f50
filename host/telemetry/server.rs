//! What is counted of this process beside its requests: connections and log-ins.
//!
//! Start at [`expose`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::{Counter, Exposition, Kind, labels};

/// How an attempt to prove who one is ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogIn {
    /// It was right.
    Succeeded,
    /// It was wrong.
    Failed,
    /// It was not looked at: too many before it were wrong.
    LockedOut,
}

/// Counts an attempt.
pub fn log_in(outcome: LogIn) {
    if let Some((_, counter)) = LOG_INS.get(outcome as usize) {
        counter.increment();
    }
}

/// Counts a connection, which is open until the answer is dropped.
#[must_use]
pub fn connection() -> Connection {
    ACCEPTED.increment();
    OPEN.fetch_add(1, Ordering::Relaxed);
    Connection(())
}

/// An open connection.
#[derive(Debug)]
pub struct Connection(());

impl Drop for Connection {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a connection that the system did not give.
pub fn accept_failed() {
    NOT_ACCEPTED.increment();
}

/// Counts a connection that was closed at once, because its address has too many.
pub fn turned_away() {
    TURNED_AWAY.increment();
}

/// Counts a connection that has to wait until another one ends.
pub fn held_back() {
    HELD_BACK.increment();
}

/// How many connections there may be at listeners that are not for administration.
pub fn set_connections_max(max: usize) {
    MAX.store(max as u64, Ordering::Relaxed);
}

/// Writes the samples.
pub fn expose(exposition: &mut Exposition) {
    let open = OPEN.load(Ordering::Relaxed);
    exposition.single("porth_connections", Kind::Gauge, "Open connections, by TCP and by porth.sock", open);
    exposition.single("porth_connections_total", Kind::Counter, "Connections that were accepted", ACCEPTED.value());
    let help = "Connections that could not be accepted, for want of descriptors or memory";
    exposition.single("porth_accept_errors_total", Kind::Counter, help, NOT_ACCEPTED.value());
    let help = "Connections that may be open at listeners that are not for administration";
    exposition.single("porth_connections_max", Kind::Gauge, help, MAX.load(Ordering::Relaxed));
    let help = "Connections that were turned away, because their address had too many";
    exposition.single("porth_connections_turned_away_total", Kind::Counter, help, TURNED_AWAY.value());
    let help = "Connections that had to wait until another one ended";
    exposition.single("porth_connections_held_back_total", Kind::Counter, help, HELD_BACK.value());
    let name = "porth_log_ins_total";
    let help =
        "Attempts to prove who one is, by password, scheme or client secret; those locked out were not looked at";
    exposition.family(name, Kind::Counter, help);
    for (outcome, counter) in &LOG_INS {
        exposition.sample(name, &labels(&[("outcome", outcome)]), counter.value());
    }
}

static OPEN: AtomicU64 = AtomicU64::new(0);
static MAX: AtomicU64 = AtomicU64::new(0);
static TURNED_AWAY: Counter = Counter::new();
static HELD_BACK: Counter = Counter::new();
static ACCEPTED: Counter = Counter::new();
static NOT_ACCEPTED: Counter = Counter::new();
static LOG_INS: [(&str, Counter); 3] =
    [("succeeded", Counter::new()), ("failed", Counter::new()), ("locked_out", Counter::new())];
