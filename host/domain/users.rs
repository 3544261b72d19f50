//! People, as the built-in back end `database` keeps them.
//!
//! Start at [`Users`]. Who has proved to be one of them is in `super::login`; how passwords are hashed in
//! `super::passwords`.

mod errors;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::identity::{self, DATABASE};
use super::passwords::{PasswordError, Passwords};
use super::search::{Page, folded};
use super::username::{Username, UsernameError};
use super::{StoreError, new_id};
use crate::store::users::{self as rows, RecordValues, UserRow};
use crate::store::{Db, Transaction, scopes};

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
    /// The password.
    pub password: Option<String>,
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
}

impl Users {
    /// The people in a database.
    #[must_use]
    pub fn new(db: Db, passwords: Passwords) -> Self {
        Self { db, passwords }
    }

    /// A part of the list, by username.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, page: &Page) -> Result<Vec<User>, StoreError> {
        let rows = rows::list(&self.db, &page.like(), page.offset.into(), page.limit.into()).await?;
        rows.into_iter().map(read).collect()
    }

    /// The person of a name in any spelling.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, username: &str) -> Result<Option<User>, StoreError> {
        let Ok(username) = Username::new(username) else { return Ok(None) };
        rows::find(&self.db, username.as_str()).await?.map(read).transpose()
    }

    /// Adds a person, and gives the id.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn add(&self, new: NewUser, now_ms: i64) -> Result<String, PutUserError> {
        let errors = new.errors();
        if !errors.is_empty() {
            return Err(PutUserError::Invalid(errors));
        }
        let invalid = |error: UsernameError| PutUserError::Invalid(vec![format!("username: {error}")]);
        let username = Username::new(&new.username).map_err(invalid)?;
        let hash = self.hash(new.password.as_deref()).await?;
        let id = new_id(now_ms);
        let row = UserRow {
            id: id.clone(),
            username: username.as_str().to_owned(),
            back_end: DATABASE.to_owned(),
            name: new.name,
            email: new.email,
            enabled: new.enabled,
            scopes: identity::distinct(new.scopes),
            properties: Vec::new(),
        };
        let addition = Arc::new((username, row, new.properties, hash));
        let work = self.db.transaction(move |transaction| {
            let addition = Arc::clone(&addition);
            Box::pin(async move {
                let (username, row, properties, hash) = &*addition;
                add(transaction, username, row, now_ms).await?;
                put(transaction, row, properties, hash.as_deref(), now_ms).await
            })
        });
        work.await?;
        Ok(id)
    }

    /// Changes a person.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn set(&self, username: &str, change: UserChange, now_ms: i64) -> Result<(), PutUserError> {
        let errors = change.errors();
        if !errors.is_empty() {
            return Err(PutUserError::Invalid(errors));
        }
        let unknown = || PutUserError::Unknown { username: username.to_owned() };
        let normalised = Username::new(username).map_err(|_| unknown())?;
        let hash = self.hash(change.password.as_deref()).await?;
        let change = Arc::new((normalised, change, hash));
        let work = self.db.transaction(move |transaction| {
            let change = Arc::clone(&change);
            Box::pin(async move {
                let (username, change, hash) = &*change;
                let unknown = || PutUserError::Unknown { username: username.to_string() };
                let mut row = rows::find_inside(transaction, username.as_str()).await?.ok_or_else(unknown)?;
                row.name = change.name.clone().unwrap_or(row.name);
                row.email = change.email.clone().unwrap_or(row.email);
                row.enabled = change.enabled.unwrap_or(row.enabled);
                row.scopes = change.scopes.clone().map_or(row.scopes, identity::distinct);
                put(transaction, &row, &change.properties, hash.as_deref(), now_ms).await
            })
        });
        work.await
    }

    /// Deletes a person with sessions, grants and everything else that refers to them. False means that there is nobody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, username: &str) -> Result<bool, StoreError> {
        let Ok(username) = Username::new(username) else { return Ok(false) };
        rows::delete(&self.db, username.as_str(), DATABASE).await
    }

    /// The id of the person whom a name and a password tell, if they may log in. Names that nobody has, people without a
    /// password and disabled ones take the same work.
    ///
    /// # Errors
    /// [`CheckError`].
    pub async fn check_password(&self, username: &str, password: &str) -> Result<Option<String>, CheckError> {
        Passwords::check_length(password)?;
        let credential = match Username::new(username) {
            Ok(username) => rows::credential(&self.db, username.as_str()).await?,
            Err(_) => None,
        };
        let (hash, who) = match credential {
            Some(row) => (row.password_hash, row.enabled.then_some(row.user_id)),
            None => (None, None),
        };
        let right = self.passwords.verify(password, hash).await?;
        Ok(who.filter(|_| right))
    }

    /// Changes a password for who knows the old one; of several at once with the same old one, the first. False means
    /// that the old one is wrong.
    ///
    /// # Errors
    /// [`PutUserError`].
    pub async fn change_password(
        &self,
        username: &str,
        old: &str,
        new: &str,
        now_ms: i64,
    ) -> Result<bool, PutUserError> {
        Passwords::check_length(new)?;
        let unknown = || PutUserError::Unknown { username: username.to_owned() };
        let normalised = Username::new(username).map_err(|_| unknown())?;
        let credential = rows::credential(&self.db, normalised.as_str()).await?.ok_or_else(unknown)?;
        let right = self.passwords.verify(old, credential.password_hash.clone()).await?;
        let (true, Some(old_hash)) = (right, credential.password_hash) else { return Ok(false) };
        let new_hash = self.passwords.hash(new).await?;
        Ok(rows::exchange_password(&self.db, &credential.user_id, &old_hash, &new_hash, now_ms).await?)
    }

    async fn hash(&self, password: Option<&str>) -> Result<Option<String>, PasswordError> {
        match password {
            Some(password) => self.passwords.hash(password).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Adds the identity, unless the name is taken or could be taken for another.
async fn add(
    transaction: &Transaction<'_>,
    username: &Username,
    row: &UserRow,
    now_ms: i64,
) -> Result<(), PutUserError> {
    let skeleton = username.skeleton();
    let alike = rows::alike(transaction, &skeleton).await?;
    if alike.iter().any(|other| username.looks_like(other)) {
        return Err(PutUserError::LooksAlike { username: username.clone() });
    }
    if !rows::insert_identity(transaction, &row.id, &row.username, &skeleton, &row.back_end, now_ms).await? {
        return Err(PutUserError::NameTaken { username: username.clone() });
    }
    Ok(())
}

/// Writes the record of an identity.
async fn put(
    transaction: &Transaction<'_>,
    row: &UserRow,
    properties: &Map<String, Value>,
    hash: Option<&str>,
    now_ms: i64,
) -> Result<(), PutUserError> {
    let missing = scopes::missing(transaction, &row.scopes).await?;
    if !missing.is_empty() {
        return Err(PutUserError::Invalid(identity::missing_scopes(missing)));
    }
    let search = folded(&[&row.username, &row.name, &row.email]);
    let record = RecordValues { name: &row.name, email: &row.email, enabled: row.enabled, search: &search };
    rows::put_record(transaction, &row.id, record, now_ms).await?;
    rows::put_scopes(transaction, &row.id, &row.scopes).await?;
    for (name, value) in properties {
        let value = (!value.is_null()).then(|| value.to_string());
        rows::put_property(transaction, &row.id, name, value.as_deref()).await?;
    }
    if hash.is_some() {
        rows::set_password(transaction, &row.id, hash, now_ms).await?;
    }
    Ok(())
}

fn read(row: UserRow) -> Result<User, StoreError> {
    let UserRow { id, username, back_end, name, email, enabled, scopes, properties } = row;
    let property = |(name, value): (String, String)| {
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            what: format!("the property `{name}` of the user `{username}`"),
            reason: error.to_string(),
        };
        Ok((name.clone(), serde_json::from_str(&value).map_err(damaged)?))
    };
    let properties = properties.into_iter().map(property).collect::<Result<_, StoreError>>()?;
    let username = Username::from_stored(username);
    Ok(User { id, username, name, email, scopes, enabled, source: back_end, properties })
}
