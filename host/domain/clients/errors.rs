//! What is wrong with an application before anything is written.

use std::sync::Arc;

use super::{ClientDetails, ClientSecrets, Clients, PutClientError, SecretChange};
use crate::domain::passwords::Passwords;
use crate::domain::{StoreError, identity};
use crate::store::clients as rows;
use crate::store::scopes;

impl ClientDetails {
    /// All that is wrong with it, but what only the database knows.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let possible = |found: char| found.is_ascii_graphic() && !matches!(found, '/' | '\\' | ':');
        let id = &self.client_id;
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(possible) || matches!(id.as_str(), "." | "..") {
            errors
                .push(format!("client_id: expected 1 to {ID_CHARS_MAX} visible ASCII characters without /, \\ and :"));
        }
        identity::check_text(&mut errors, "name", &self.name, identity::NAME_CHARS_MAX);
        identity::check_text(&mut errors, "description", &self.description, identity::DESCRIPTION_CHARS_MAX);
        for kind in &self.authorization_types {
            if kind.is_empty() || kind.len() > ID_CHARS_MAX || !kind.chars().all(|found| found.is_ascii_graphic()) {
                errors.push(format!("authorization_type: {kind:?} is no name of a way to ask"));
            }
        }
        for uri in &self.redirect_uris {
            // RFC 6749, section 3.1.2: no fragment.
            let wrong = |found: char| !found.is_ascii_graphic() || found == '#';
            if uri.is_empty() || uri.len() > URI_BYTES_MAX || uri.contains(wrong) {
                errors.push(format!("redirect_uri: {uri:?} is no URI without a fragment"));
            }
        }
        identity::check_properties(&mut errors, &self.properties);
        errors
    }
}

impl ClientSecrets {
    /// All that is wrong with new secrets.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let changes = [("password", &self.password), ("client_secret", &self.secret)];
        let error = |(field, change): (&str, &SecretChange)| match change {
            SecretChange::Set(secret) => Passwords::check_length(secret).err().map(|error| format!("{field}: {error}")),
            SecretChange::Keep | SecretChange::Remove => None,
        };
        changes.into_iter().filter_map(error).collect()
    }
}

impl Clients {
    /// All for which [`add`](Self::add) or, when it is not `new`, [`set`](Self::set) would refuse an application, unless
    /// there is none to set. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn errors_to_put(
        &self,
        details: &ClientDetails,
        secrets: &ClientSecrets,
        new: bool,
    ) -> Result<Vec<String>, StoreError> {
        let mut errors = details.errors();
        errors.extend(secrets.errors());
        // What cannot be an id is none yet.
        let id = details.client_id.clone();
        let asked = Arc::new(((new && !id.contains('\0')).then_some(id), details.scopes.clone()));
        let work = self.db.transaction(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (id, scopes) = &*asked;
                let mut errors = Vec::new();
                if let Some(client_id) = id
                    && rows::find_inside(transaction, client_id).await?.is_some()
                {
                    let taken = PutClientError::IdTaken { client_id: client_id.clone() };
                    errors.push(format!("client_id: {taken}"));
                }
                errors.extend(identity::missing_scopes(scopes::missing(transaction, scopes).await?));
                Ok(errors)
            })
        });
        let stored: Result<Vec<String>, StoreError> = work.await;
        errors.extend(stored?);
        Ok(errors)
    }
}

const ID_CHARS_MAX: usize = 128;
const URI_BYTES_MAX: usize = 2048;
