//! People whom the built-in module `database` keeps.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{PutUserError, User, UserChange, Users, identity};
use crate::domain::departures;
use crate::domain::search::folded;
use crate::domain::username::Username;
use crate::domain::{Page, StoreError};
use crate::store::users::{self as rows, RecordValues, UserRow};
use crate::store::{Transaction, login_sessions, scopes};

impl Users {
    /// A part of the people of an instance of the module; what was found is taken off the page.
    pub(super) async fn list_own(&self, source: &str, page: &mut Page) -> Result<Vec<User>, StoreError> {
        let found = rows::list(&self.db, &page.like(), page.offset.into(), page.limit.into(), source).await?;
        // A page that begins in this list ends in the next ones from their beginnings.
        if page.offset > 0 && found.is_empty() {
            let count = rows::count(&self.db, &page.like(), source).await?;
            page.skip(u64::try_from(count).unwrap_or_default());
        } else {
            page.took(found.len());
        }
        found.into_iter().map(read).collect()
    }

    pub(super) async fn add_own(
        &self,
        user: User,
        passwords: Vec<String>,
        now_ms: i64,
    ) -> Result<String, PutUserError> {
        let hash = self.passwords.hash_several(None, &passwords).await?;
        let User { id, username, name, email, scopes, enabled, source, properties } = user;
        let row = UserRow {
            id: id.clone(),
            username: username.as_str().to_owned(),
            back_end: source,
            name,
            email,
            enabled,
            scopes,
            properties: Vec::new(),
        };
        let addition = Arc::new((username, row, properties, hash));
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

    pub(super) async fn set_own(
        &self,
        username: Username,
        change: UserChange,
        now_ms: i64,
    ) -> Result<(), PutUserError> {
        for _ in 0..TRIES {
            // By their places passwords can only be told apart when the others are those that were read.
            let (before, hash) = match (&change.passwords, &change.password) {
                (Some(passwords), _) => {
                    let credential = rows::credential(&self.db, username.as_str()).await?;
                    let before = credential.and_then(|credential| credential.password_hash);
                    let hash = self.passwords.hash_several(before.as_deref(), passwords).await?;
                    (Some(before), Some(hash))
                }
                (None, Some(password)) => (None, Some(Some(self.passwords.hash(password).await?))),
                (None, None) => (None, None),
            };
            if self.set_own_once(&username, &change, before, hash, now_ms).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// False means that the passwords are no more those `before`.
    async fn set_own_once(
        &self,
        username: &Username,
        change: &UserChange,
        before: Option<Option<String>>,
        hash: Option<Option<String>>,
        now_ms: i64,
    ) -> Result<bool, PutUserError> {
        let change = Arc::new((username.clone(), change.clone(), before, hash));
        let work = self.db.transaction(move |transaction| {
            let change = Arc::clone(&change);
            Box::pin(async move {
                let (username, change, before, hash) = &*change;
                let unknown = || PutUserError::Unknown { username: username.to_string() };
                let mut row = rows::find_inside(transaction, username.as_str()).await?.ok_or_else(unknown)?;
                if let Some(before) = before
                    && rows::password_inside(transaction, &row.id).await? != *before
                {
                    return Ok(false);
                }
                row.name = change.name.clone().unwrap_or(row.name);
                row.email = change.email.clone().unwrap_or(row.email);
                row.enabled = change.enabled.unwrap_or(row.enabled);
                row.scopes = change.scopes.clone().map_or(row.scopes, identity::distinct);
                put(transaction, &row, &change.properties, None, now_ms).await?;
                if let Some(hash) = hash {
                    rows::set_password(transaction, &row.id, hash.as_deref(), now_ms).await?;
                    login_sessions::leave_others(transaction, &row.id, "").await?;
                }
                Ok(true)
            })
        });
        work.await
    }

    /// Exchanges the hash of a password that is still the one that was read, and ends all sessions but one. False means that
    /// it is another by now.
    pub(super) async fn exchange_own(
        &self,
        id: &str,
        hashes: (String, String),
        keep: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let exchange = Arc::new((id.to_owned(), hashes, keep.to_owned()));
        let work = self.db.transaction(move |transaction| {
            let exchange = Arc::clone(&exchange);
            Box::pin(async move {
                let (id, (old, new), keep) = &*exchange;
                let exchanged = rows::exchange_password(transaction, id, old, new, now_ms).await?;
                if exchanged {
                    login_sessions::leave_others(transaction, id, keep).await?;
                }
                Ok(exchanged)
            })
        });
        work.await
    }

    /// Ends all sessions of a person but one, which may be none.
    pub(super) async fn end_sessions(&self, id: &str, keep: &str) -> Result<(), StoreError> {
        let ended = Arc::new((id.to_owned(), keep.to_owned()));
        let work = self.db.transaction(move |transaction| {
            let ended = Arc::clone(&ended);
            Box::pin(async move {
                // Whoever compared the one before and opens a session only now sees it by this.
                rows::count_password_change(transaction, &ended.0).await?;
                login_sessions::leave_others(transaction, &ended.0, &ended.1).await
            })
        });
        work.await
    }
}

/// How often a change of passwords is begun anew that others have changed meanwhile.
const TRIES: usize = 5;

/// Adds the identity, unless the name is taken or could be taken for another.
async fn add(
    transaction: &Transaction<'_>,
    username: &Username,
    row: &UserRow,
    now_ms: i64,
) -> Result<(), PutUserError> {
    if departures::blocks(transaction, username.as_str()).await? {
        // They went while this was on its way.
        return Err(PutUserError::Departing { username: username.clone(), failures: Vec::new() });
    }
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

pub(super) fn read(row: UserRow) -> Result<User, StoreError> {
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
