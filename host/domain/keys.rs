//! Keys with which programs administer the house.
//!
//! Start at [`ApiKeys`]. A key is 256 random bits, so its SHA-256 is all that is kept, and a look-up by that hash tells an
//! attacker nothing about other keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{StoreError, new_id};
use crate::store::Db;
use crate::store::api_keys::{self as rows, ApiKeyRow, OwnerRow, Uses};

/// What is known of a key; not the key itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// What it is deleted by, a UUID of version 7.
    pub id: String,
    /// What people call it; several may be called the same.
    pub name: String,
    /// The SHA-256 of the key, in base64url.
    pub token_hash: String,
    /// Whose it is; `None` means that it administers by itself.
    pub owner: Option<KeyOwner>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it was used last, in milliseconds since 1970.
    pub last_used_at_ms: Option<i64>,
    /// When it ends, in milliseconds since 1970; `None` means never.
    pub expires_at_ms: Option<i64>,
    /// How often it was used, give or take what a killed server had not stored yet.
    pub use_count: i64,
}

/// Whose a key is. It administers as long as that person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The person's id.
    pub user_id: String,
    /// The person's name.
    pub username: String,
    /// The address that the key was asked for from.
    pub issued_for: String,
    /// What the browser said of itself.
    pub user_agent: String,
}

/// A key that was just made. This is the only time that anybody sees it.
pub struct NewKey {
    /// The key's id.
    pub id: String,
    /// The SHA-256 of the key, in base64url.
    pub token_hash: String,
    /// The key: 32 random bytes as 43 characters of base64url.
    pub key: String,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// The name is empty, too long or holds control characters.
    #[error("the name of a key is 1 to {NAME_CHARS_MAX} characters, none of them a control character")]
    Name,
    /// It would end before it begins, or too late for anybody to care.
    #[error("a key ends between now and a hundred years from now")]
    End,
    /// The system gave no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a key was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteKeyError {
    /// There is none of that id.
    #[error("there is no key `{id}`")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All keys.
#[derive(Clone)]
pub struct ApiKeys {
    db: Db,
    /// Uses that are not stored yet, by the key's id.
    uses: Arc<Mutex<HashMap<String, Unstored>>>,
}

#[derive(Default)]
struct Unstored {
    count: i64,
    last_used_at_ms: i64,
    /// When uses of this key were stored last; `None` means not since the server started.
    stored_at_ms: Option<i64>,
}

impl ApiKeys {
    /// The keys in a database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, uses: Arc::default() }
    }

    /// Makes a key that is nobody's and never ends.
    ///
    /// # Errors
    /// [`CreateKeyError`].
    pub async fn create(&self, name: &str, now_ms: i64) -> Result<NewKey, CreateKeyError> {
        self.create_until(name, None, now_ms).await
    }

    /// Makes a key that is nobody's and ends at a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`CreateKeyError`].
    pub async fn create_until(
        &self,
        name: &str,
        expires_at_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<NewKey, CreateKeyError> {
        self.add(name, None, expires_at_ms, now_ms).await
    }

    /// Makes a key of somebody's, which goes with them.
    ///
    /// # Errors
    /// [`CreateKeyError`].
    pub async fn create_for(
        &self,
        name: &str,
        owner: KeyOwner,
        expires_at_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<NewKey, CreateKeyError> {
        let KeyOwner { user_id, username, issued_for, user_agent } = owner;
        let user_agent = user_agent.chars().filter(|found| !found.is_control()).take(USER_AGENT_CHARS_MAX).collect();
        let owner = OwnerRow { user_id, username, issued_for, user_agent };
        self.add(name, Some(owner), expires_at_ms, now_ms).await
    }

    async fn add(
        &self,
        name: &str,
        owner: Option<OwnerRow>,
        expires_at_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<NewKey, CreateKeyError> {
        let chars = name.chars().count();
        if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(CreateKeyError::Name);
        }
        let possible = now_ms.saturating_add(1)..=now_ms.saturating_add(LIFETIME_MS_MAX);
        if expires_at_ms.is_some_and(|expires_at_ms| !possible.contains(&expires_at_ms)) {
            return Err(CreateKeyError::End);
        }
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(CreateKeyError::Random)?;
        let key = URL_SAFE_NO_PAD.encode(bytes);
        let (id, hash) = (new_id(now_ms), hash(&key));
        rows::insert(&self.db, &id, name, &hash, owner.as_ref(), now_ms, expires_at_ms).await?;
        Ok(NewKey { id, token_hash: URL_SAFE_NO_PAD.encode(hash), key })
    }

    /// The key that a caller showed, if it is one that has not ended. Counts as a use, which is not yet in what is given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn verify(&self, key: &str, now_ms: i64) -> Result<Option<ApiKey>, StoreError> {
        if key.len() != KEY_CHARS {
            return Ok(None);
        }
        let Some(row) = rows::find(&self.db, &hash(key)).await? else { return Ok(None) };
        if row.expires_at.is_some_and(|expires_at| expires_at <= now_ms) {
            return Ok(None);
        }
        let key = self.with_unstored(row);
        if let Some(uses) = self.note(&key.id, now_ms) {
            // A counter that cannot be stored is no reason to turn an administrator away; it is stored the next time.
            let _ = self.store(vec![uses]).await;
        }
        Ok(Some(key))
    }

    /// All keys in the order they were made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(rows::list(&self.db).await?.into_iter().map(|row| self.with_unstored(row)).collect())
    }

    /// Deletes a key; from then on it opens nothing.
    ///
    /// # Errors
    /// [`DeleteKeyError`].
    pub async fn delete(&self, id: &str) -> Result<(), DeleteKeyError> {
        let found = rows::delete(&self.db, id).await?;
        self.uses.lock().remove(id);
        if found { Ok(()) } else { Err(DeleteKeyError::Unknown { id: id.to_owned() }) }
    }

    /// Deletes keys a week after they ended: until then the list says why a program gets in no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(&self, now_ms: i64) -> Result<(), StoreError> {
        rows::purge(&self.db, now_ms.saturating_sub(ENDED_SHOWN_MS)).await
    }

    /// Stores the uses that were only counted so far. To be called before the database is closed.
    ///
    /// # Errors
    /// [`StoreError`]; the uses stay counted.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let uses = {
            let mut unstored = self.uses.lock();
            let used = unstored.iter_mut().filter(|(_, unstored)| unstored.count > 0);
            used.map(|(id, unstored)| unstored.take(id)).collect()
        };
        self.store(uses).await
    }

    /// Counts a use, and gives what is to be stored if that is due.
    fn note(&self, id: &str, now_ms: i64) -> Option<Uses> {
        let mut unstored = self.uses.lock();
        let unstored = unstored.entry(id.to_owned()).or_default();
        unstored.count += 1;
        unstored.last_used_at_ms = now_ms;
        if unstored.stored_at_ms.is_some_and(|stored_at_ms| now_ms.abs_diff(stored_at_ms) < STORE_EVERY_MS) {
            return None;
        }
        unstored.stored_at_ms = Some(now_ms);
        Some(unstored.take(id))
    }

    async fn store(&self, uses: Vec<Uses>) -> Result<(), StoreError> {
        let stored = rows::add_uses(&self.db, uses.clone()).await;
        if stored.is_err() {
            let mut unstored = self.uses.lock();
            for uses in uses {
                unstored.entry(uses.id).or_default().count += uses.count;
            }
        }
        stored
    }

    fn with_unstored(&self, row: ApiKeyRow) -> ApiKey {
        let unstored = self.uses.lock();
        let (count, last_used_at_ms) = match unstored.get(&row.id) {
            Some(unstored) if unstored.count > 0 => (unstored.count, Some(unstored.last_used_at_ms)),
            _ => (0, None),
        };
        ApiKey {
            id: row.id,
            name: row.name,
            token_hash: URL_SAFE_NO_PAD.encode(row.token_hash),
            owner: row.owner.map(|owner| KeyOwner {
                user_id: owner.user_id,
                username: owner.username,
                issued_for: owner.issued_for,
                user_agent: owner.user_agent,
            }),
            created_at_ms: row.created_at,
            expires_at_ms: row.expires_at,
            last_used_at_ms: last_used_at_ms.max(row.last_used_at),
            use_count: row.use_count + count,
        }
    }
}

impl Unstored {
    fn take(&mut self, id: &str) -> Uses {
        Uses { id: id.to_owned(), count: std::mem::take(&mut self.count), last_used_at: self.last_used_at_ms }
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

const KEY_BYTES: usize = 32;
const KEY_CHARS: usize = 43;
const NAME_CHARS_MAX: usize = 128;
/// A hundred years.
const LIFETIME_MS_MAX: i64 = 100 * 366 * 86_400_000;
const ENDED_SHOWN_MS: i64 = 7 * 86_400_000;
const USER_AGENT_CHARS_MAX: usize = 256;
/// How often the uses of a key are stored: a program that asks a thousand times a second must not make as many writes.
const STORE_EVERY_MS: u64 = 60_000;
