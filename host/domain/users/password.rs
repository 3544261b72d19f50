//! People's passwords: who is told by one, and how one is changed.

use std::sync::Arc;

use super::kept::{self, Kept};
use super::{CheckError, Found, PutUserError, UserChange, Users};
use crate::domain::StoreError;
use crate::domain::back_ends::{BackEndError, Sources, View, failed};
use crate::domain::identity;
use crate::domain::passwords::Passwords;
use crate::domain::username::Username;
use crate::store::users as rows;

/// Whom a name and a password told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The person's id.
    pub(crate) id: String,
    verified: Verified,
}

/// What a password was compared with.
#[derive(Clone, Debug)]
enum Verified {
    /// This, which the house's own database holds.
    Hash(Option<String>),
    /// What an instance holds, after so many changes.
    Kept(i64),
}

impl Users {
    /// Gives a person another password, by what the back end has for that, and ends all their sessions.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn set_password(&self, username: &str, password: String, now_ms: i64) -> Result<(), PutUserError> {
        Passwords::check_length(&password)?;
        let unknown = || PutUserError::Unknown { username: username.to_owned() };
        let normalised = Username::new(username).map_err(|_| unknown())?;
        let _alone = self.hold(&normalised).await?;
        let found = self.find(&self.back_ends.users(), &normalised, View::Administrator).await?;
        found.check_writable(username)?;
        match found {
            Found::Own { .. } => {
                let change = UserChange { password: Some(password), ..UserChange::default() };
                self.set_own(normalised, change, now_ms).await
            }
            Found::Kept(kept) => self.set_kept_password(kept, password, "").await,
            Found::Nobody(_) => Err(unknown()),
        }
    }

    async fn set_kept_password(&self, kept: Kept, password: String, keep: &str) -> Result<(), PutUserError> {
        let id = kept.user.id.clone();
        match kept.back_end.set_password(kept.user.username.as_str(), &password).await {
            // It has a hook for the whole record only.
            Err(BackEndError::Unsupported) => {
                kept.change(UserChange { password: Some(password), ..UserChange::default() }).await?;
            }
            set => set.map_err(|error| kept::refused(&kept.user, error))?,
        }
        Ok(self.end_sessions(&id, keep).await?)
    }

    /// The id of the person whom a name and a password tell, if they may log in; see [`told`](Self::told).
    ///
    /// # Errors
    /// [`CheckError`].
    pub async fn check_password(&self, username: &str, password: &str) -> Result<Option<String>, CheckError> {
        Ok(self.told(username, password).await?.map(|told| told.id))
    }

    /// Whether the password by which somebody was told is still theirs, as far as the house knows. A transaction: to
    /// PostgreSQL a change that ends sessions and does not see the new one is only then one that comes before it.
    pub(crate) async fn is_still_told(&self, username: &str, told: &Told) -> Result<bool, StoreError> {
        let Ok(username) = Username::new(username) else { return Ok(false) };
        let asked = Arc::new((username, told.clone()));
        let work = self.db.transaction(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (username, told) = &*asked;
                let identity = rows::identity_inside(transaction, username.as_str()).await?;
                let Some(now) = identity.filter(|now| now.id == told.id) else { return Ok(false) };
                match &told.verified {
                    Verified::Hash(hash) => Ok(rows::password_inside(transaction, &now.id).await? == *hash),
                    Verified::Kept(changes) => Ok(now.password_changes == *changes),
                }
            })
        });
        work.await
    }

    /// Whom a name and a password tell, if they may log in. Names that nobody has, people without a
    /// password and disabled ones take the same work, also where instances are asked, if those are no slower than a hash.
    ///
    /// # Errors
    /// [`CheckError`].
    pub(crate) async fn told(&self, username: &str, password: &str) -> Result<Option<Told>, CheckError> {
        Passwords::check_length(password)?;
        let sources = self.back_ends.users();
        let normalised = Username::new(username).ok();
        let credential = match &normalised {
            Some(username) => rows::credential(&self.db, username.as_str()).await?,
            None => None,
        };
        let mut told = None;
        let mut hash = None;
        match (credential, &normalised) {
            (Some(row), _) => {
                hash = row.password_hash;
                told = (row.enabled && sources.is_own(&row.back_end)).then_some(row.user_id);
            }
            (None, Some(username)) if !sources.are_own() => {
                let identity = rows::identity(&self.db, username.as_str()).await?;
                let verified = Verified::Kept(identity.map_or(0, |identity| identity.password_changes));
                // At the same time, so that it takes as long as for people of the house's own database.
                let (told, same_work) =
                    tokio::join!(self.check_kept(&sources, username, password), self.passwords.verify(password, None));
                same_work?;
                return Ok(told?.map(|id| Told { id, verified }));
            }
            (None, _) => {}
        }
        let right = self.passwords.verify(password, hash.clone()).await?;
        let told = told.filter(|_| right).map(|id| Told { id, verified: Verified::Hash(hash) });
        if told.is_some() && self.back_ends.has_middlewares() {
            let shown = self.get(username).await?;
            return Ok(told.filter(|told| shown.is_some_and(|user| user.enabled && user.id == told.id)));
        }
        Ok(told)
    }

    /// Changes a password for who knows the old one; of several at once with the same old one, the first. It ends all
    /// sessions of the person but the one to keep. False means that the old one is wrong.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn change_password(
        &self,
        username: &str,
        old: &str,
        new: &str,
        keep_session: Option<&str>,
        now_ms: i64,
    ) -> Result<bool, PutUserError> {
        Passwords::check_length(new)?;
        let keep = keep_session.unwrap_or_default();
        let unknown = || PutUserError::Unknown { username: username.to_owned() };
        let normalised = Username::new(username).map_err(|_| unknown())?;
        let _alone = self.hold(&normalised).await?;
        let found = self.find(&self.back_ends.users(), &normalised, View::Profile).await?;
        found.check_writable(username)?;
        match found {
            Found::Own { .. } => {}
            Found::Kept(_) => {
                Passwords::check_length(old)?;
                // What is written by its `set` where it has nothing else is what administrators see.
                let found = self.find(&self.back_ends.users(), &normalised, View::Administrator).await?;
                let Found::Kept(kept) = found else { return Err(unknown()) };
                let right = kept.back_end.check_password(normalised.as_str(), old).await;
                if !right.map_err(|error| failed(&kept.user.source, &error))? {
                    return Ok(false);
                }
                return self.set_kept_password(kept, new.to_owned(), keep).await.map(|()| true);
            }
            Found::Nobody(_) => return Err(unknown()),
        }
        let credential = rows::credential(&self.db, normalised.as_str()).await?.ok_or_else(unknown)?;
        let found = self.passwords.find(old, credential.password_hash.clone()).await?;
        let (Some(place), Some(old_hash)) = (found, credential.password_hash) else { return Ok(false) };
        // Of several the one that was shown, with their salt.
        let mut hashes: Vec<_> = old_hash.split('\n').map(str::to_owned).collect();
        let beside = hashes.iter().enumerate().find(|(other, _)| *other != place).map(|(_, hash)| hash.clone());
        let new_hash = match beside {
            Some(beside) => self.passwords.hash_beside(new, &beside).await?,
            None => self.passwords.hash(new).await?,
        };
        if let Some(hash) = hashes.get_mut(place) {
            *hash = new_hash;
        }
        let new_hash = hashes.join("\n");
        Ok(self.exchange_own(&credential.user_id, (old_hash, new_hash), keep, now_ms).await?)
    }

    /// As [`check_password`](Self::check_password), for a name that the house's own database does not know.
    async fn check_kept(
        &self,
        sources: &Sources,
        username: &Username,
        password: &str,
    ) -> Result<Option<String>, CheckError> {
        let kept = match self.find_kept(sources, username, View::Administrator).await? {
            Ok(kept) => kept,
            Err(nobody) => {
                // Who fails must not give away which names the house's own database has.
                if let Some(error) = nobody.failure {
                    tracing::warn!(%error, "somebody could not be asked for a user: {error}");
                }
                return Ok(None);
            }
        };
        let right = kept.back_end.check_password(username.as_str(), password).await;
        let right = right.map_err(|error| failed(&kept.user.source, &error))?;
        let user = self.shown(kept.user, View::Administrator).await?;
        Ok((right && user.enabled).then_some(user.id))
    }
}

/// Those of a list that are passwords, each once.
pub(super) fn distinct_passwords(passwords: Vec<String>) -> Vec<String> {
    identity::distinct(passwords.into_iter().filter(|password| !password.is_empty()).collect())
}
