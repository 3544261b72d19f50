//! Failed log-ins: who may not try again for a while.
//!
//! Start at [`Lockout`]. Names and peers are counted whether they exist or not, so that an answer does not tell. Several
//! that try at once may all get as far as their password's hash, but whatever it says, they are answered as locked out
//! when the limit was reached meanwhile: guesses beyond it learn nothing.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::StoreError;
use super::username::{WRITTEN_CHARS_MAX, fold};
use crate::store::Db;
use crate::store::login_failures::{self as rows, Counting};
use crate::telemetry::server::{LogIn, log_in};

/// How many failures are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutRules {
    /// How many failures in a row lock a name; 0 means that none do.
    pub name_failures_max: u32,
    /// How long a name is locked, in milliseconds.
    pub name_lock_ms: i64,
    /// How many failures within the window lock a peer; 0 means that none do.
    pub peer_failures_max: u32,
    /// The window of a peer, and how long it is locked, in milliseconds.
    pub peer_window_ms: i64,
}

impl Default for LockoutRules {
    fn default() -> Self {
        Self { name_failures_max: 20, name_lock_ms: 10 * 60_000, peer_failures_max: 100, peer_window_ms: 10 * 60_000 }
    }
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many log-ins failed; the next may be tried in {retry_after_ms} ms")]
pub struct LockedOut {
    /// In how many milliseconds to try again; at least 1.
    pub retry_after_ms: i64,
}

/// Against whom a failure counts beside the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guesser<'a> {
    /// Nobody knows.
    Unknown,
    /// The peer of this address.
    Peer(IpAddr),
    /// An instance that asks without saying for whom, by its key.
    Instance(&'a str),
}

impl From<Option<IpAddr>> for Guesser<'_> {
    fn from(peer: Option<IpAddr>) -> Self {
        peer.map_or(Self::Unknown, Self::Peer)
    }
}

/// Who tries to log in.
#[derive(Clone, Debug)]
pub struct Attempt {
    name: Option<[u8; 32]>,
    peer: Option<[u8; 32]>,
}

impl Attempt {
    /// By the name that was given, and whoever guesses where that is known.
    #[must_use]
    pub fn new<'a>(username: &str, guesser: impl Into<Guesser<'a>>) -> Self {
        // Nobody has a longer name, and normalising is work.
        let username: String = username.chars().take(WRITTEN_CHARS_MAX).collect();
        let name = Sha256::new().chain_update("name:").chain_update(fold(&username)).finalize().into();
        Self { name: Some(name), ..Self::of_guesser(guesser) }
    }

    /// By who guesses alone: for names that nobody shall be able to lock.
    #[must_use]
    pub fn of_guesser<'a>(guesser: impl Into<Guesser<'a>>) -> Self {
        let peer = match guesser.into() {
            Guesser::Unknown => None,
            Guesser::Peer(peer) => Some(Sha256::new().chain_update("peer:").chain_update(network(peer))),
            Guesser::Instance(key) => Some(Sha256::new().chain_update("instance:").chain_update(key)),
        };
        Self { name: None, peer: peer.map(|hash| hash.finalize().into()) }
    }

    /// By a scheme. Counted apart from the password: who knows the one could else guess the other for ever. Where nobody
    /// is named, the peer takes the name's place, so that nobody is locked out by others.
    #[must_use]
    pub fn by_scheme(username: Option<&str>, scheme: &str, peer: Option<IpAddr>) -> Self {
        let attempt = Self::new(username.unwrap_or_default(), peer);
        let hash = Sha256::new().chain_update("scheme:").chain_update(scheme).chain_update("\0");
        let name = match (username, attempt.peer) {
            (None, Some(peer)) => hash.chain_update("peer:").chain_update(peer),
            _ => hash.chain_update("name:").chain_update(attempt.name.unwrap_or_default()),
        };
        Self { name: Some(name.finalize().into()), ..attempt }
    }
}

impl Attempt {
    /// The beginning of a proof by a scheme, which may send something to somebody. Counted apart from guesses, so that many
    /// who begin behind one address do not lock each other out.
    #[must_use]
    pub fn of_trigger(username: Option<&str>, scheme: &str, peer: Option<IpAddr>) -> Self {
        let again = |hash: [u8; 32]| Sha256::new().chain_update("trigger:").chain_update(hash).finalize().into();
        let Self { name, peer } = Self::by_scheme(username, scheme, peer);
        Self { name: name.map(again), peer: peer.map(again) }
    }
}

/// Counts failed log-ins.
#[derive(Clone)]
pub struct Lockout {
    db: Db,
    rules: LockoutRules,
}

impl Lockout {
    /// The failures in a database.
    #[must_use]
    pub fn new(db: Db, rules: LockoutRules) -> Self {
        Self { db, rules }
    }

    /// Whether somebody must wait. To be asked before the password's hash is computed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check(&self, attempt: &Attempt, now_ms: i64) -> Result<Option<LockedOut>, StoreError> {
        let mut until_ms = 0;
        if let Some(name) = self.name(attempt) {
            until_ms = rows::locked_until(&self.db, &name, now_ms).await?;
        }
        if let Some(peer) = self.peer(attempt) {
            until_ms = until_ms.max(rows::locked_until(&self.db, &peer, now_ms).await?);
        }
        Ok(locked_out(until_ms, now_ms).inspect(|_| log_in(LogIn::LockedOut)))
    }

    /// Counts a failure. The answer says whether this or an earlier one locks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn failed(&self, attempt: &Attempt, now_ms: i64) -> Result<Option<LockedOut>, StoreError> {
        log_in(LogIn::Failed);
        let LockoutRules { name_failures_max, name_lock_ms, peer_failures_max, peer_window_ms } = self.rules;
        let mut until_ms = 0;
        if let Some(name) = self.name(attempt) {
            let counting = Counting {
                failures_max: name_failures_max.into(),
                lock_ms: name_lock_ms,
                keep_ms: NAME_KEEP_MS,
                extend: true,
            };
            until_ms = rows::count(&self.db, &name, counting, now_ms).await?;
        }
        if let Some(peer) = self.peer(attempt) {
            let counting = Counting {
                failures_max: peer_failures_max.into(),
                lock_ms: peer_window_ms,
                keep_ms: peer_window_ms,
                extend: false,
            };
            until_ms = until_ms.max(rows::count(&self.db, &peer, counting, now_ms).await?);
        }
        Ok(locked_out(until_ms, now_ms))
    }

    /// Ends the row of failures of a name after the right password. When others have locked the name or the peer
    /// meanwhile, the answer says so, and the log-in must not count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn succeeded(&self, attempt: &Attempt, now_ms: i64) -> Result<Option<LockedOut>, StoreError> {
        if let Some(locked_out) = self.check(attempt, now_ms).await? {
            return Ok(Some(locked_out));
        }
        let until_ms = match self.name(attempt) {
            Some(name) => rows::forget(&self.db, &name, now_ms).await?,
            None => 0,
        };
        let locked_out = locked_out(until_ms, now_ms);
        log_in(if locked_out.is_some() { LogIn::LockedOut } else { LogIn::Succeeded });
        Ok(locked_out)
    }

    /// Deletes what says nothing any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(&self, now_ms: i64) -> Result<(), StoreError> {
        while rows::purge(&self.db, now_ms).await? > 0 {}
        Ok(())
    }

    fn name(&self, attempt: &Attempt) -> Option<[u8; 32]> {
        attempt.name.filter(|_| self.rules.name_failures_max > 0)
    }

    fn peer(&self, attempt: &Attempt) -> Option<[u8; 32]> {
        attempt.peer.filter(|_| self.rules.peer_failures_max > 0)
    }
}

fn locked_out(until_ms: i64, now_ms: i64) -> Option<LockedOut> {
    (until_ms > now_ms).then(|| LockedOut { retry_after_ms: until_ms - now_ms })
}

/// What one subscriber has: an IPv4 address, or an IPv6 network of 64 bits.
fn network(peer: IpAddr) -> Vec<u8> {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}

/// How long failures in a row are remembered after the last: nobody keeps guessing that slowly.
const NAME_KEEP_MS: i64 = 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_attempt() {
        let name = |name: &str, peer: &str| Attempt::new(name, Some(peer.parse().unwrap()));
        let anna = name("Anna", "127.0.0.1");
        assert_eq!(anna.name, name("ａNNA", "127.0.0.2").name);
        assert_eq!(anna.peer, name("x", "::ffff:127.0.0.1").peer);
        assert_eq!(name("x", "2001:db8::1").peer, name("x", "2001:db8::2:0:0:1").peer);
        assert_ne!(name("x", "2001:db8::1").peer, name("x", "2001:db8:0:1::1").peer);
    }
}
