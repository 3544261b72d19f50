//! What is wrong with a person before anything is written.

use std::sync::Arc;

use super::{NewUser, PutUserError, UserChange, Users};
use crate::domain::passwords::Passwords;
use crate::domain::username::Username;
use crate::domain::{StoreError, identity};
use crate::store::scopes;
use crate::store::users as rows;

impl NewUser {
    /// All that is wrong with a person to be added, without what only the database knows.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if let Err(error) = Username::new(&self.username) {
            errors.push(format!("username: {error}"));
        }
        check_texts(&mut errors, Some(&self.name), Some(&self.email), self.password.as_deref());
        identity::check_properties(&mut errors, &self.properties);
        errors
    }
}

impl UserChange {
    /// All that is wrong with a change, without what only the database knows.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        check_texts(&mut errors, self.name.as_deref(), self.email.as_deref(), self.password.as_deref());
        identity::check_properties(&mut errors, &self.properties);
        errors
    }
}

impl Users {
    /// All for which [`add`](Self::add) would refuse a person. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn errors_to_add(&self, new: &NewUser) -> Result<Vec<String>, StoreError> {
        let mut errors = new.errors();
        errors.extend(self.stored_errors(Username::new(&new.username).ok(), new.scopes.clone()).await?);
        Ok(errors)
    }

    /// All for which [`set`](Self::set) would refuse a change, unless there is nobody of the name. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn errors_to_set(&self, change: &UserChange) -> Result<Vec<String>, StoreError> {
        let mut errors = change.errors();
        errors.extend(self.stored_errors(None, change.scopes.clone().unwrap_or_default()).await?);
        Ok(errors)
    }

    /// What the database knows against a new name and some scopes.
    async fn stored_errors(&self, name: Option<Username>, scopes: Vec<String>) -> Result<Vec<String>, StoreError> {
        let asked = Arc::new((name, scopes));
        let work = self.db.transaction(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (name, scopes) = &*asked;
                let mut errors = Vec::new();
                if let Some(name) = name {
                    let alike = rows::alike(transaction, &name.skeleton()).await?;
                    if alike.iter().any(|other| other == name.as_str()) {
                        errors.push(PutUserError::NameTaken { username: name.clone() });
                    } else if alike.iter().any(|other| name.looks_like(other)) {
                        errors.push(PutUserError::LooksAlike { username: name.clone() });
                    }
                }
                let mut errors: Vec<String> = errors.into_iter().map(|error| format!("username: {error}")).collect();
                errors.extend(identity::missing_scopes(scopes::missing(transaction, scopes).await?));
                Ok(errors)
            })
        });
        work.await
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
