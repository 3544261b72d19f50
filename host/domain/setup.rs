//! How the first administrator comes in: by a link that the server prints once, since no password is a good default.
//!
//! Start at [`Setup`]. The link holds 256 random bits of which only the SHA-256 is kept. It opens once, until somebody
//! administers, whichever back end keeps them, and for a day at most; the next start of the server makes another if it is
//! still needed. Who uses it takes it away first, so that no crash leaves it open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::users::{NewUser, PutUserError, Users};
use super::{DATABASE, StoreError};
use crate::store::{Db, setup_links as rows};

/// The link for the first administrator.
#[derive(Clone)]
pub struct Setup {
    db: Db,
    users: Users,
    admin_scope: String,
}

/// Why no link was made.
#[derive(Debug, thiserror::Error)]
pub enum OpenSetupError {
    /// The system gave no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nobody became the first administrator.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// There is no such link, or no longer: it was used, somebody administers by now, or it has expired.
    #[error("this link was used, or is too old; if nobody administers yet, a restart of the server prints another")]
    Closed,
    /// Something is wrong with what was given; the link stays.
    #[error(transparent)]
    Put(PutUserError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Setup {
    /// The link of a database, for who shall hold `admin_scope`.
    #[must_use]
    pub fn new(db: Db, users: Users, admin_scope: String) -> Self {
        Self { db, users, admin_scope }
    }

    /// Makes a link and gives what it holds. `None` means that somebody administers, or that there is a link already,
    /// which `renew` replaces.
    ///
    /// # Errors
    /// [`OpenSetupError`].
    pub async fn open(&self, renew: bool, now_ms: i64) -> Result<Option<String>, OpenSetupError> {
        if self.is_held().await? {
            rows::delete(&self.db).await?;
            return Ok(None);
        }
        if !renew && rows::is_any_open(&self.db, now_ms).await? {
            return Ok(None);
        }
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(OpenSetupError::Random)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        rows::replace(&self.db, &hash(&token), now_ms.saturating_add(LIFETIME_MS)).await?;
        Ok(Some(token))
    }

    /// Whether somebody administers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_administered(&self) -> Result<bool, StoreError> {
        rows::is_held(&self.db, &self.admin_scope).await
    }

    /// Whether there is a link that opens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_any_open(&self, now_ms: i64) -> Result<bool, StoreError> {
        rows::is_any_open(&self.db, now_ms).await
    }

    /// Whether a link still opens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_open(&self, token: &str, now_ms: i64) -> Result<bool, StoreError> {
        Ok(rows::is_open(&self.db, &hash(token), now_ms).await? && !self.close_if_held().await?)
    }

    /// Deletes the link for good once somebody administers, and says so: to be asked now and then, that it does not come
    /// alive again when they go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_if_held(&self) -> Result<bool, StoreError> {
        let is_held = self.is_held().await?;
        if is_held {
            rows::delete(&self.db).await?;
        }
        Ok(is_held)
    }

    /// As [`close_if_held`](Self::close_if_held), without a look at anybody while there is no link.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle(&self, now_ms: i64) -> Result<(), StoreError> {
        if rows::is_any_open(&self.db, now_ms).await? {
            self.close_if_held().await?;
        }
        Ok(())
    }

    /// Whether somebody administers, whoever keeps them. As long as a back end does not answer, somebody may.
    async fn is_held(&self) -> Result<bool, StoreError> {
        if rows::is_held(&self.db, &self.admin_scope).await? {
            return Ok(true);
        }
        match self.users.is_scope_kept(&self.admin_scope).await {
            Err(error @ StoreError::BackEnd { .. }) => {
                tracing::warn!(%error, "it is not known whether anybody administers: {error}");
                Ok(true)
            }
            held => held,
        }
    }

    /// Makes the first administrator, enabled and with the scope for that besides those given. Of several at once one is
    /// made.
    ///
    /// # Errors
    /// [`RedeemError`].
    pub async fn redeem(&self, token: &str, mut new: NewUser, now_ms: i64) -> Result<(), RedeemError> {
        new.enabled = true;
        if !new.scopes.contains(&self.admin_scope) {
            new.scopes.insert(0, self.admin_scope.clone());
        }
        let hash = hash(token);
        let Some(expires_at) = rows::claim(&self.db, &hash, now_ms).await? else { return Err(RedeemError::Closed) };
        match self.is_held().await {
            Ok(false) => {}
            Ok(true) => return Err(RedeemError::Closed),
            Err(error) => {
                rows::release(&self.db, &hash, expires_at).await?;
                return Err(error.into());
            }
        }
        let added = match new.password {
            Some(_) => self.users.add_to(Some(DATABASE), new, now_ms).await.map(drop),
            None => Err(PutUserError::Invalid(vec!["password: missing".to_owned()])),
        };
        match added {
            Ok(()) => Ok(()),
            Err(error) => {
                rows::release(&self.db, &hash, expires_at).await?;
                Err(RedeemError::Put(error))
            }
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

const TOKEN_BYTES: usize = 32;
const LIFETIME_MS: i64 = 86_400_000;
