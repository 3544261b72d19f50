//! For what a person would be refused, without writing anything.

use std::sync::Arc;

use super::{NewUser, PutUserError, UserChange, Users, check_texts};
use crate::domain::back_ends::View;
use crate::domain::username::Username;
use crate::domain::{StoreError, identity};
use crate::store::users as rows;

impl Users {
    /// All for which [`add_to`](Self::add_to) would refuse a person, but what a back end outside of the house has against them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn errors_to_add(&self, source: Option<&str>, new: &NewUser) -> Result<Vec<String>, StoreError> {
        let mut errors = Self::errors(new);
        errors.extend(self.back_ends.users().target(source).err());
        if let Ok(username) = Username::new(&new.username) {
            if self.get(username.as_str()).await?.is_some() {
                errors.push(format!("username: {}", PutUserError::NameTaken { username }));
            } else if self.looks_like_another(&username).await? {
                errors.push(format!("username: {}", PutUserError::LooksAlike { username }));
            } else if self.departing.keeps_back(username.as_str()).await? {
                let failures = vec!["an instance that runs is still to forget them".to_owned()];
                errors.push(format!("username: {}", PutUserError::Departing { username, failures }));
            }
        }
        errors.extend(listed(self.check_scopes(&new.scopes).await)?);
        Ok(errors)
    }

    /// All for which [`set`](Self::set) would refuse a change, but what a back end outside of the house has against it.
    /// `None` means that there is nobody of the name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn errors_to_set(&self, username: &str, change: &UserChange) -> Result<Option<Vec<String>>, StoreError> {
        let mut errors = Vec::new();
        let UserChange { name, email, password, scopes, properties, .. } = change;
        check_texts(&mut errors, name.as_deref(), email.as_deref(), password.as_deref());
        identity::check_properties(&mut errors, properties);
        let Ok(normalised) = Username::new(username) else { return Ok(None) };
        let found = self.find(&self.back_ends.users(), &normalised, View::Administrator).await?;
        match found.check_writable(username) {
            Err(PutUserError::Unknown { .. }) => return Ok(None),
            writable => errors.extend(listed(writable)?),
        }
        errors.extend(listed(self.check_scopes(scopes.as_deref().unwrap_or_default()).await)?);
        Ok(Some(errors))
    }

    async fn looks_like_another(&self, username: &Username) -> Result<bool, StoreError> {
        let asked = Arc::new(username.clone());
        let work = self.db.transaction(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let alike = rows::alike(transaction, &asked.skeleton()).await?;
                Ok(alike.iter().any(|other| asked.looks_like(other)))
            })
        });
        work.await
    }
}

/// What is wrong, if that can be listed.
fn listed(checked: Result<(), PutUserError>) -> Result<Vec<String>, StoreError> {
    match checked {
        Ok(()) => Ok(Vec::new()),
        Err(PutUserError::Invalid(errors)) => Ok(errors),
        Err(PutUserError::Store(error)) => Err(error),
        Err(other) => Ok(vec![other.to_string()]),
    }
}
