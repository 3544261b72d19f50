//! People, whichever back end keeps them.
//!
//! Start at [`Users`]. Who has proved to be one of them is in `super::login`; how passwords are hashed in
//! `super::passwords`; which back ends there are in `super::back_ends`. What the built-in module `database` keeps is read
//! and written in `own`, what instances of other modules keep in `kept`.

mod kept;
mod own;
mod password;
mod validity;

use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use self::kept::{Kept, Nobody};
pub(super) use self::password::Told;
use self::password::distinct_passwords;
use super::back_ends::{BackEnds, Keeper, Sources, View, failed, not_deleted, passwords_error, read_only};
use super::departures::{self, Departing, Left};
use super::identity;
use super::names::NameLocks;
use super::passwords::{PasswordError, Passwords};
use super::search::Page;
use super::username::{Username, UsernameError};
use super::{StoreError, new_id};
use crate::store::Db;
use crate::store::users as rows;

/// A person.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// What everything else refers to, a UUID of version 7; a name that is given anew has another.
    pub id: String,
    /// What the person logs in by.
    pub username: Username,
    /// The name for people.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// What the person may ask for, in the order given.
    pub scopes: Vec<String>,
    /// Whether the person may log in.
    pub enabled: bool,
    /// The instance of the back end that knows the person.
    pub source: String,
    /// Anything else, as JSON.
    pub properties: Map<String, Value>,
}

/// What is said of a person that is added.
#[derive(Clone, Default)]
pub struct NewUser {
    /// What the person logs in by, in any spelling.
    pub username: String,
    /// The name for people.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// The password; without one no password opens.
    pub password: Option<String>,
    /// Several passwords instead, where the back end keeps several. Empty ones are passed over.
    pub passwords: Option<Vec<String>>,
    /// What the person may ask for.
    pub scopes: Vec<String>,
    /// Whether the person may log in.
    pub enabled: bool,
    /// Anything else. Null is the same as nothing.
    pub properties: Map<String, Value>,
}

/// What is changed of a person; what is `None` stays.
#[derive(Clone, Default)]
pub struct UserChange {
    /// The name for people.
    pub name: Option<String>,
    /// The mail address.
    pub email: Option<String>,
    /// The password, in the place of all that there are.
    pub password: Option<String>,
    /// Several passwords instead, where the back end keeps several: each in the place of the one that is there, an empty one
    /// for what is there. Those beyond the list go.
    pub passwords: Option<Vec<String>>,
    /// What the person may ask for.
    pub scopes: Option<Vec<String>>,
    /// Whether the person may log in.
    pub enabled: Option<bool>,
    /// Properties to write, and with null to take away; others stay.
    pub properties: Map<String, Value>,
}

/// Why a person was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum PutUserError {
    /// Something is wrong with what was given; all of it.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// Somebody has the name, of whatever back end.
    #[error("there is a user `{username}` already")]
    NameTaken {
        /// The name.
        username: Username,
    },
    /// The name could be taken for somebody else's.
    #[error("the name `{username}` can be taken for that of another user")]
    LooksAlike {
        /// The name.
        username: Username,
    },
    /// Who had the name before is not forgotten everywhere yet.
    #[error("the name `{username}` was another user's, who is not forgotten everywhere yet: {}", .failures.join("; "))]
    Departing {
        /// The name.
        username: Username,
        /// A text for each that did not forget.
        failures: Vec<String>,
    },
    /// There is nobody of that name.
    #[error("there is no user `{username}`")]
    Unknown {
        /// The name as it was given.
        username: String,
    },
    /// The password could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nobody could be told by a name and a password.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The password could not be compared.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everybody.
#[derive(Clone)]
pub struct Users {
    db: Db,
    passwords: Passwords,
    back_ends: BackEnds,
    departing: Departing,
    /// Held while somebody is added, changed or deleted and instances are asked for it: their part and the house's are not
    /// one transaction.
    names: NameLocks,
}

/// Where a person was found.
enum Found {
    /// In the house's own database.
    Own {
        /// The person.
        user: User,
        /// Whether the back end can only be read.
        readonly: bool,
    },
    /// At an instance.
    Kept(Kept),
    /// Nowhere.
    Nobody(Nobody),
}

impl Users {
    /// The people in a database, and of the back ends that are named later.
    #[must_use]
    pub fn new(db: Db, passwords: Passwords) -> Self {
        let departing = Departing::new(db.clone());
        Self { db, passwords, back_ends: BackEnds::default(), departing, names: NameLocks::default() }
    }

    /// Those who go.
    #[must_use]
    pub fn departing(&self) -> &Departing {
        &self.departing
    }

    /// Who keeps people and applications.
    #[must_use]
    pub fn back_ends(&self) -> &BackEnds {
        &self.back_ends
    }

    /// A part of the list: by back end in their order, then by username. A back end that fails is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, page: &Page) -> Result<Vec<User>, StoreError> {
        let (mut rest, mut users) = (page.clone(), Vec::new());
        for source in self.back_ends.users().iter() {
            if rest.limit == 0 {
                break;
            }
            let part = match &source.keeper {
                Keeper::Database => self.list_own(&source.name, &mut rest).await?,
                Keeper::Instance(back_end) => {
                    let part = async {
                        if rest.offset > 0 {
                            let count = back_end.count(&rest.pattern).await;
                            if !rest.skip(count.map_err(|error| failed(&source.name, &error))?) {
                                return Ok(Vec::new());
                            }
                        }
                        let (given, part) = self.list_kept(source, back_end, &rest).await?;
                        rest.took(given);
                        Ok(part)
                    };
                    let part: Result<_, StoreError> = part.await;
                    part.unwrap_or_else(|error| {
                        tracing::warn!(instance = source.name, %error, "users are left out of a list: {error}");
                        Vec::new()
                    })
                }
                Keeper::Disabled => continue,
            };
            users.extend(part);
        }
        if self.back_ends.has_middlewares() {
            for user in &mut users {
                *user = self.shown(user.clone(), View::Administrator).await?;
            }
        }
        Ok(users)
    }

    /// The person of a name in any spelling, as administrators see them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, username: &str) -> Result<Option<User>, StoreError> {
        self.show(username, View::Administrator).await
    }

    /// The person of a name in any spelling, as they see themselves: without the properties that the house keeps, which
    /// may be what administrators note.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn profile(&self, username: &str) -> Result<Option<User>, StoreError> {
        self.show(username, View::Profile).await
    }

    /// All that is wrong with a person to be added, without what only the database knows. Changes nothing.
    #[must_use]
    pub fn errors(new: &NewUser) -> Vec<String> {
        let mut errors = Vec::new();
        if let Err(error) = Username::new(&new.username) {
            errors.push(format!("username: {error}"));
        }
        check_texts(&mut errors, Some(&new.name), Some(&new.email), new.password.as_deref());
        identity::check_properties(&mut errors, &new.properties);
        errors
    }

    /// Adds a person at the first back end that takes new ones, and gives the id.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn add(&self, new: NewUser, now_ms: i64) -> Result<String, PutUserError> {
        self.add_to(None, new, now_ms).await
    }

    /// Adds a person at a back end, by its instance's name, and gives the id.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn add_to(&self, source: Option<&str>, new: NewUser, now_ms: i64) -> Result<String, PutUserError> {
        let mut errors = Self::errors(&new);
        let sources = self.back_ends.users();
        let target = sources.target(source).map_err(|error| errors.push(error));
        if let (Ok(target), Some(passwords)) = (&target, &new.passwords) {
            errors.extend(passwords_error(Some(target), passwords));
        }
        let (true, Ok(target)) = (errors.is_empty(), target) else { return Err(PutUserError::Invalid(errors)) };
        let invalid = |error: UsernameError| PutUserError::Invalid(vec![format!("username: {error}")]);
        let username = Username::new(&new.username).map_err(invalid)?;
        let NewUser { name, email, password, passwords, scopes, enabled, properties, .. } = new;
        let (id, source) = (new_id(now_ms), target.name.clone());
        let user = User { id, username: username.clone(), name, email, scopes, enabled, source, properties };
        let mut user = match self.back_ends.stored(username.as_str(), || kept::write(&user)).await? {
            Some(record) => kept::read(&user.id, username.clone(), &user.source, record)?,
            None => user,
        };
        user.scopes = identity::distinct(user.scopes);

        let _alone = self.hold(&username).await?;
        let stale = match self.find(&sources, &username, View::Administrator).await? {
            Found::Nobody(Nobody { failure: Some(failure), .. }) => return Err(failure.into()),
            Found::Nobody(nobody) => nobody.stale,
            Found::Own { .. } | Found::Kept(_) => return Err(PutUserError::NameTaken { username }),
        };
        let left = self.free(&username, stale).await?;
        if left.blocks {
            return Err(PutUserError::Departing { username, failures: left.failures });
        }
        match &target.keeper {
            Keeper::Instance(back_end) => {
                self.check_scopes(&user.scopes).await?;
                let met = self.meet(&username, &target.name).await?;
                let id = met.ok_or(PutUserError::LooksAlike { username })?;
                let mut record = kept::write(&user);
                record.retain(|_, value| !value.is_null());
                kept::write_passwords(&mut record, password, passwords.map(distinct_passwords));
                if let Err(error) = back_end.add(&record).await {
                    self.forget(&id).await?;
                    return Err(kept::refused(&user, error));
                }
                Ok(id)
            }
            _ => {
                let passwords = passwords.map(distinct_passwords).or(password.map(|password| vec![password]));
                self.add_own(user, passwords.unwrap_or_default(), now_ms).await
            }
        }
    }

    /// Changes a person. Another password ends all their sessions.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn set(&self, username: &str, change: UserChange, now_ms: i64) -> Result<(), PutUserError> {
        let mut errors = Vec::new();
        let UserChange { name, email, password, properties, .. } = &change;
        check_texts(&mut errors, name.as_deref(), email.as_deref(), password.as_deref());
        identity::check_properties(&mut errors, properties);
        if !errors.is_empty() {
            return Err(PutUserError::Invalid(errors));
        }
        let unknown = || PutUserError::Unknown { username: username.to_owned() };
        let normalised = Username::new(username).map_err(|_| unknown())?;
        let _alone = self.hold(&normalised).await?;
        let found = self.find(&self.back_ends.users(), &normalised, View::Administrator).await?;
        found.check_writable(username)?;
        if let (Some(passwords), Some(source)) = (&change.passwords, found.source()) {
            let wrong = passwords_error(self.back_ends.users().find(source), passwords);
            wrong.map_or(Ok(()), |wrong| Err(PutUserError::Invalid(vec![wrong])))?;
        }
        let change = match self.back_ends.stored(normalised.as_str(), || kept::write_change(&change)).await? {
            Some(record) => UserChange { passwords: change.passwords, ..kept::read_change(record, change.password)? },
            None => change,
        };
        match found {
            Found::Own { .. } => self.set_own(normalised, change, now_ms).await,
            Found::Kept(kept) => {
                if let Some(scopes) = &change.scopes {
                    self.check_scopes(scopes).await?;
                }
                let (id, has_password) =
                    (kept.user.id.clone(), change.password.is_some() || change.passwords.is_some());
                kept.change(change).await?;
                if has_password { Ok(self.end_sessions(&id, "").await?) } else { Ok(()) }
            }
            Found::Nobody(_) => Err(unknown()),
        }
    }

    /// Deletes a person with sessions, grants and everything else that refers to them, and tells everybody who may keep
    /// something of them. Gives a text for each that did not forget them, which is in the log; `None` means that there is
    /// nobody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, username: &str) -> Result<Option<Vec<String>>, StoreError> {
        let Ok(username) = Username::new(username) else { return Ok(None) };
        let _alone = self.hold(&username).await?;
        let back_end = match self.find(&self.back_ends.users(), &username, View::Administrator).await? {
            Found::Nobody(Nobody { failure: Some(failure), .. }) => return Err(failure),
            // Who is gone from the back end, but not from here, is deleted now.
            Found::Nobody(Nobody { stale: Some(stale), .. }) => {
                let failures = self.free(&username, Some(stale)).await?.failures;
                departures::log(&failures);
                return Ok(Some(failures));
            }
            Found::Nobody(_) => return Ok(None),
            Found::Own { readonly: true, user, .. } | Found::Kept(Kept { readonly: true, user, .. }) => {
                return Err(StoreError::ReadOnly { back_end: user.source });
            }
            Found::Own { user, .. } => user.source,
            Found::Kept(Kept { user, back_end, .. }) => {
                back_end.delete(username.as_str()).await.map_err(|error| not_deleted(&user.source, &error))?;
                user.source
            }
        };
        if !self.departing.delete(username.as_str(), &back_end).await? {
            return Ok(None);
        }
        let failures = self.departing.finish(username.as_str()).await?.failures;
        departures::log(&failures);
        Ok(Some(failures))
    }

    /// Keeps others from a name, if more than the house's own database may have to do with it.
    async fn hold(&self, username: &Username) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        if self.back_ends.users().are_own() {
            return Ok(None);
        }
        let held = self.names.lock(username.as_str()).await;
        held.map(Some).ok_or(StoreError::Busy("the same user is being changed"))
    }

    /// Sees to it that nothing is left of whoever had a name before: an identity that is nobody's any more, and what
    /// others keep.
    async fn free(&self, username: &Username, stale: Option<String>) -> Result<Left, StoreError> {
        if let Some(stale) = stale {
            self.departing.forget(username.as_str(), &stale).await?;
        }
        self.departing.finish(username.as_str()).await
    }

    async fn show(&self, username: &str, view: View) -> Result<Option<User>, StoreError> {
        let Ok(username) = Username::new(username) else { return Ok(None) };
        let mut user = match self.find(&self.back_ends.users(), &username, view).await? {
            Found::Own { user, .. } => user,
            Found::Kept(Kept { user, .. }) => return self.shown(user, view).await.map(Some),
            Found::Nobody(Nobody { failure: Some(failure), .. }) => return Err(failure),
            Found::Nobody(_) => return Ok(None),
        };
        if view == View::Profile {
            user.properties.clear();
        }
        self.shown(user, view).await.map(Some)
    }

    /// A person as middlewares show them.
    async fn shown(&self, user: User, view: View) -> Result<User, StoreError> {
        let username = user.username.clone();
        match self.back_ends.shown(username.as_str(), view, || kept::write(&user)).await? {
            Some(record) => kept::read(&user.id, username, &user.source, record),
            None => Ok(user),
        }
    }

    async fn find(&self, sources: &Sources, username: &Username, view: View) -> Result<Found, StoreError> {
        if let Some(row) = rows::find(&self.db, username.as_str()).await? {
            let source = sources.find(&row.back_end).filter(|source| matches!(source.keeper, Keeper::Database));
            let Some(source) = source else { return Ok(Found::Nobody(Nobody::default())) };
            return Ok(Found::Own { user: own::read(row)?, readonly: source.readonly });
        }
        if sources.are_own() {
            // The name may have been of a back end that was deleted.
            let known = rows::identity(&self.db, username.as_str()).await?;
            let gone = |known: &rows::IdentityRow| self.back_ends.are_told() && sources.find(&known.back_end).is_none();
            let stale = known.filter(gone).map(|known| known.id);
            return Ok(Found::Nobody(Nobody { stale, failure: None }));
        }
        Ok(match self.find_kept(sources, username, view).await? {
            Ok(kept) => Found::Kept(kept),
            Err(nobody) => Found::Nobody(nobody),
        })
    }
}

impl Found {
    /// The back end that knows the person.
    fn source(&self) -> Option<&str> {
        match self {
            Self::Own { user, .. } | Self::Kept(Kept { user, .. }) => Some(&user.source),
            Self::Nobody(_) => None,
        }
    }

    /// Refuses to change nobody, and who can only be read.
    fn check_writable(&self, username: &str) -> Result<(), PutUserError> {
        match self {
            Self::Own { readonly: true, user } | Self::Kept(Kept { readonly: true, user, .. }) => {
                Err(PutUserError::Invalid(vec![read_only(&user.source)]))
            }
            Self::Own { .. } | Self::Kept(_) => Ok(()),
            Self::Nobody(Nobody { failure: Some(failure), .. }) => Err(failure.clone().into()),
            Self::Nobody(_) => Err(PutUserError::Unknown { username: username.to_owned() }),
        }
    }
}

fn check_texts(errors: &mut Vec<String>, name: Option<&str>, email: Option<&str>, password: Option<&str>) {
    for (field, text) in [("name", name), ("email", email)] {
        identity::check_text(errors, field, text.unwrap_or_default(), identity::NAME_CHARS_MAX);
    }
    if let Some(Err(error)) = password.map(Passwords::check_length) {
        errors.push(format!("password: {error}"));
    }
}
