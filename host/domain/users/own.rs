//! People whom the built-in module `database` keeps.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{PutUserError, User, UserChange, Users, identity};
use crate::domain::departures;
use crate::domain::passwords::PasswordError;
use crate::domain::search::folded;
use crate::domain::username::Username;
use crate::domain::{Page, StoreError};
use crate::store::users::{self as rows, RecordValues, UserRow};
use crate::store::{Transaction, scopes};

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
        password: Option<String>,
        now_ms: i64,
    ) -> Result<String, PutUserError> {
        let hash = self.hash(password.as_deref()).await?;
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
        let hash = self.hash(change.password.as_deref()).await?;
        let change = Arc::new((username, change, hash));
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
