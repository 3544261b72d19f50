//! Passwords of people: hashed with Argon2id, a few at a time.
//!
//! Start at [`Passwords`]. What programs made themselves needs no such hash: see `super::keys`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;

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
    memory: Mutex<Memory>,
}

/// What hashes have worked in: a sixth of their time would go into having it from the system anew each time.
#[derive(Default)]
struct Memory {
    free: Vec<Vec<Block>>,
    /// When it was used last; somebody waits to give it back then.
    used: Option<Instant>,
}

impl Passwords {
    /// At most `running_max` at a time, and at most `waiting_max` that wait for their turn.
    #[must_use]
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        let running = Arc::new(Semaphore::new(running_max.max(1)));
        Self(Arc::new(Inner { running, waiting: AtomicUsize::new(0), waiting_max, memory: Mutex::default() }))
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

    /// The hash of a password that somebody has beside others: with the salt of theirs, so that comparing with all of them
    /// costs as much as with one, and nobody sees by the time how many there are.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash_beside(&self, password: &str, other: &str) -> Result<String, PasswordError> {
        Self::check_length(password)?;
        let (password, other) = (password.to_owned(), other.to_owned());
        self.run(move || hash_beside(password.as_bytes(), &other)).await?
    }

    /// The hashes of a list of passwords, a line each, in the place of those `before`: an empty password stands for the one at
    /// its place, if there is one. `None` means that none is left.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash_several(
        &self,
        before: Option<&str>,
        passwords: &[String],
    ) -> Result<Option<String>, PasswordError> {
        let before: Vec<_> = before.map(|before| before.split('\n').collect()).unwrap_or_default();
        let kept = |(password, old): (&String, &&str)| password.is_empty().then(|| (*old).to_owned());
        let mut beside = passwords.iter().zip(&before).find_map(kept);
        let mut hashes = Vec::new();
        for (place, password) in passwords.iter().enumerate() {
            if password.is_empty() {
                hashes.extend(before.get(place).map(|old| (*old).to_owned()));
                continue;
            }
            let hash = match &beside {
                Some(beside) => self.hash_beside(password, beside).await?,
                None => self.hash(password).await?,
            };
            beside.get_or_insert_with(|| hash.clone());
            hashes.push(hash);
        }
        Ok((!hashes.is_empty()).then(|| hashes.join("\n")))
    }

    /// Whether a password is the one of a hash, or of one of several, a line each. Without a hash the answer is no, after the
    /// same work.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, PasswordError> {
        Ok(self.find(password, hash).await?.is_some())
    }

    /// As [`verify`](Self::verify), with the place of the line, counted from 0.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn find(&self, password: &str, hash: Option<String>) -> Result<Option<usize>, PasswordError> {
        Self::check_length(password)?;
        let password = password.to_owned();
        let inner = Arc::clone(&self.0);
        let verifying = self.run(move || {
            let mut memory = inner.memory.lock().free.pop().unwrap_or_default();
            let verified = verify(password.as_bytes(), hash.as_deref(), &mut memory);
            inner.memory.lock().free.push(memory);
            verified
        });
        let verified = verifying.await?;
        self.give_back_later();
        verified
    }

    /// Gives the memory back when nobody has used it for a while.
    fn give_back_later(&self) {
        if self.0.memory.lock().used.replace(Instant::now()).is_some() {
            return;
        }
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            loop {
                let Some(used) = inner.memory.lock().used else { return };
                if used.elapsed() < MEMORY_IDLE {
                    tokio::time::sleep_until(used + MEMORY_IDLE).await;
                    continue;
                }
                *inner.memory.lock() = Memory::default();
                return;
            }
        });
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

fn verify(password: &[u8], hash: Option<&str>, memory: &mut Vec<Block>) -> Result<Option<usize>, PasswordError> {
    // The same work to the last step for whoever has no hash.
    let (has_hash, hashes) = hash.map_or((false, DECOY), |hash| (true, hash));
    let mut found = None;
    let mut computed: Option<(&str, Vec<u8>)> = None;
    for (place, line) in hashes.split('\n').enumerate() {
        let hash = PasswordHash::new(line).map_err(wrong)?;
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            return Err(wrong("it has no salt or no output"));
        };
        // Everything but the output: of one person's passwords it is the same, so that they cost one hash.
        let form = line.rsplit_once('$').map_or(line, |(form, _)| form);
        let output = match computed.take().filter(|(of, _)| *of == form) {
            Some((_, output)) => output,
            None => {
                let argon2 = argon2_of(&hash)?;
                let mut output = vec![0; expected.as_bytes().len()];
                memory.resize(argon2.params().block_count(), Block::default());
                let filled = argon2.hash_password_into_with_memory(password, salt.as_ref(), &mut output, &mut *memory);
                filled.map_err(wrong)?;
                output
            }
        };
        let is_equal: bool = output.ct_eq(expected.as_bytes()).into();
        if is_equal {
            found = Some(place);
        }
        computed = Some((form, output));
    }
    Ok(found.filter(|_| has_hash))
}

fn hash_beside(password: &[u8], other: &str) -> Result<String, PasswordError> {
    let other = PasswordHash::new(other).map_err(wrong)?;
    let Some(salt) = &other.salt else { return Err(wrong("it has no salt")) };
    let hash = argon2_of(&other)?.hash_password_with_salt(password, salt.as_ref()).map_err(wrong)?;
    Ok(hash.to_string())
}

/// What makes hashes of the form of another.
fn argon2_of(hash: &PasswordHash) -> Result<Argon2<'static>, PasswordError> {
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(wrong)?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).map_err(wrong)?;
    Ok(Argon2::new(algorithm, version, Params::try_from(hash).map_err(wrong)?))
}

fn wrong(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Hash(error.to_string())
}

/// How long memory is kept that nobody uses.
const MEMORY_IDLE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });
/// More would be work for the attacker's sake.
const BYTES_MAX: usize = 1024;
/// A hash in the form that new ones have, of no password that is known.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2l4dGVlbiBieXRlcyBvZg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_only() {
        let passwords = Passwords::new(2, 16);
        let (hash, other) = (passwords.hash("secret").await.unwrap(), passwords.hash("secret").await.unwrap());
        let (form, _) = DECOY.split_once("$c2l4").unwrap();
        assert!(hash.starts_with(form) && hash.len() == DECOY.len(), "{hash}");
        assert_ne!(hash, other, "the salt is not random");
        assert!(passwords.verify("secret", Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("Secret", Some(hash)).await.unwrap());
        assert!(!passwords.verify("secret", None).await.unwrap());
        assert!(matches!(passwords.verify("secret", Some("x".to_owned())).await, Err(PasswordError::Hash(_))));
    }

    #[tokio::test]
    async fn several_passwords_cost_one_hash() {
        let passwords = Passwords::new(1, 16);
        let mut lines = vec![passwords.hash("p0").await.unwrap()];
        for number in 1..8 {
            lines.push(passwords.hash_beside(&format!("p{number}"), &lines[0]).await.unwrap());
        }
        let salt = |line: &str| line.rsplit_once('$').unwrap().0.to_owned();
        assert!(lines.iter().all(|line| salt(line) == salt(&lines[0])));
        let all = lines.join("\n");
        for number in 0..8 {
            assert_eq!(passwords.find(&format!("p{number}"), Some(all.clone())).await.unwrap(), Some(number));
        }
        assert_eq!(passwords.find("p8", Some(all.clone())).await.unwrap(), None);
        let time = async |hash: Option<String>| {
            let began = Instant::now();
            for _ in 0..8 {
                passwords.verify("wrong", hash.clone()).await.unwrap();
            }
            began.elapsed()
        };
        let (one, eight) = (time(Some(lines[0].clone())).await, time(Some(all)).await);
        assert!(eight < one * 4, "eight passwords: {eight:?}, one: {one:?}");
    }

    #[tokio::test]
    async fn memory_is_used_again_and_given_back() {
        let passwords = Passwords::new(1, 4);
        for _ in 0..3 {
            passwords.verify("secret", None).await.unwrap();
            assert_eq!(passwords.0.memory.lock().free.len(), 1);
        }
        let began = Instant::now();
        while !passwords.0.memory.lock().free.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // And again.
        passwords.verify("secret", None).await.unwrap();
        assert_eq!(passwords.0.memory.lock().free.len(), 1);
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
