//! Passwords of people: hashed with Argon2id, a few at a time.
//!
//! Start at [`Passwords`]. What programs made themselves needs no such hash: see `super::keys`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;

/// Why a password was not hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is empty or too long. Found out before any work.
    #[error("a password has {found} bytes, expected 1 to {BYTES_MAX}")]
    Length {
        /// How many it has.
        found: usize,
    },
    /// Too many wait already; trying again later may help.
    #[error("too many passwords are being compared")]
    Busy,
    /// What is stored is no hash, or the system gave no random bytes.
    #[error("a password could not be hashed: {0}")]
    Hash(String),
}

/// Hashes and compares passwords. A clone shares the bulkhead.
#[derive(Clone)]
pub struct Passwords(Arc<Inner>);

struct Inner {
    /// One for each hash at a time: each takes 19 MiB and a whole processor.
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Passwords {
    /// At most `running_max` at a time, and at most `waiting_max` that wait for their turn.
    #[must_use]
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        let running = Arc::new(Semaphore::new(running_max.max(1)));
        Self(Arc::new(Inner { running, waiting: AtomicUsize::new(0), waiting_max }))
    }

    /// Refuses what no password can be, without any work.
    ///
    /// # Errors
    /// [`PasswordError::Length`].
    pub fn check_length(password: &str) -> Result<(), PasswordError> {
        let found = password.len();
        if (1..=BYTES_MAX).contains(&found) { Ok(()) } else { Err(PasswordError::Length { found }) }
    }

    /// The hash of a password with a salt of its own, in PHC form.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        Self::check_length(password)?;
        let password = password.to_owned();
        let hash = self.run(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()));
        hash.await?.map_err(|error| PasswordError::Hash(error.to_string()))
    }

    /// Whether a password is the one of a hash. Without a hash the answer is no, after the same work.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, PasswordError> {
        Self::check_length(password)?;
        let password = password.to_owned();
        self.run(move || verify(password.as_bytes(), hash.as_deref())).await?
    }

    /// Runs one hash when its turn comes. Who stops waiting gives up the turn, not the hash that has begun: its permit
    /// goes with it, so that leaving does not let more of them run.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let permit = match Arc::clone(&self.0.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::begin(&self.0)?;
                Arc::clone(&self.0.running).acquire_owned().await.map_err(|_| PasswordError::Busy)?
            }
        };
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| PasswordError::Hash(error.to_string()))
    }
}

/// Somebody's place in the queue.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn begin(inner: &'a Inner) -> Result<Self, PasswordError> {
        let before = inner.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(inner);
        if before < inner.waiting_max { Ok(waiting) } else { Err(PasswordError::Busy) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn verify(password: &[u8], hash: Option<&str>) -> Result<bool, PasswordError> {
    let wrong = |error: &dyn std::fmt::Display| PasswordError::Hash(error.to_string());
    let Some(hash) = hash else {
        let mut nowhere = [0; Params::DEFAULT_OUTPUT_LEN];
        Argon2::default().hash_password_into(password, DECOY_SALT, &mut nowhere).map_err(|error| wrong(&error))?;
        std::hint::black_box(nowhere);
        return Ok(false);
    };
    let hash = PasswordHash::new(hash).map_err(|error| wrong(&error))?;
    match Argon2::default().verify_password(password, &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(wrong(&error)),
    }
}

/// More would be work for the attacker's sake.
const BYTES_MAX: usize = 1024;
/// Any salt of the usual length: nothing is compared with what comes out.
const DECOY_SALT: &[u8] = b"sixteen bytes of";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_only() {
        let passwords = Passwords::new(2, 16);
        let (hash, other) = (passwords.hash("secret").await.unwrap(), passwords.hash("secret").await.unwrap());
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, other, "the salt is not random");
        assert!(passwords.verify("secret", Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("Secret", Some(hash)).await.unwrap());
        assert!(!passwords.verify("secret", None).await.unwrap());
        assert!(matches!(passwords.verify("secret", Some("x".to_owned())).await, Err(PasswordError::Hash(_))));
    }

    #[tokio::test]
    async fn impossible_lengths_cost_nothing() {
        let passwords = Passwords::new(1, 0);
        let _all = Arc::clone(&passwords.0.running).try_acquire_owned().unwrap();
        for (password, found) in [(String::new(), 0), ("a".repeat(1025), 1025)] {
            let length = |error| matches!(error, PasswordError::Length { found: len } if len == found);
            assert!(passwords.hash(&password).await.is_err_and(length));
            assert!(passwords.verify(&password, None).await.is_err_and(length));
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_said_at_once() {
        let passwords = Passwords::new(1, 1);
        let all = Arc::clone(&passwords.0.running).try_acquire_owned().unwrap();
        let waiting = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.hash("a").await }
        });
        while passwords.0.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.hash("b").await, Err(PasswordError::Busy)));
        drop(all);
        waiting.await.unwrap().unwrap();
        passwords.hash("b").await.unwrap();
    }
}
