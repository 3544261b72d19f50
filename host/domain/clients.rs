//! Applications, whichever back end keeps them, and what people granted to them.
//!
//! Start at [`Clients`]. Which back ends there are is in `super::back_ends`. What the built-in module `database` keeps is
//! read and written in `own`, what instances of other modules keep in `kept`.

mod kept;
mod own;
mod validity;

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use self::kept::{Kept, Nobody};
use super::back_ends::{BackEnds, Keeper, Sources, failed, not_deleted, passwords_error, read_only};
use super::identity::{self, picked};
use super::names::NameLocks;
use super::passwords::{PasswordError, Passwords};
use super::search::Page;
use super::users::CheckError;
use super::{StoreError, new_id};
use crate::store::Db;
use crate::store::clients::{self as rows, ClientRow};

/// An application.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// What everything else refers to, a UUID of version 7; a client id that is given anew has another.
    pub id: String,
    /// What it is and what it may.
    pub details: ClientDetails,
    /// The instance of the back end that knows it.
    pub source: String,
}

/// What is said of an application, but its secrets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientDetails {
    /// What it calls itself: 1 to 128 visible ASCII characters without separators of paths; case matters.
    pub client_id: String,
    /// The name for people.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Whether it can keep a secret, and must show it.
    pub confidential: bool,
    /// How it may ask: `code`, `client_credentials`, …
    pub authorization_types: Vec<String>,
    /// Where people may be sent back to; compared as a whole.
    pub redirect_uris: Vec<String>,
    /// What it may ask for in its own name.
    pub scopes: Vec<String>,
    /// Whether it may ask at all.
    pub enabled: bool,
    /// Anything else, as JSON. Null is the same as nothing.
    pub properties: Map<String, Value>,
}

/// What is done to a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum SecretChange {
    /// It stays.
    #[default]
    Keep,
    /// None opens any more.
    Remove,
    /// Another.
    Set(String),
    /// Several passwords, as of a person: see [`UserChange`](super::users::UserChange).
    Several(Vec<String>),
}

/// What is done to the secrets of an application.
#[derive(Clone, Default)]
pub struct ClientSecrets {
    /// A password that a person chose.
    pub password: SecretChange,
    /// The `client_secret`.
    pub secret: SecretChange,
}

/// Why an application was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum PutClientError {
    /// Something is wrong with it; all of it.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// Another has the client id.
    #[error("there is a client `{client_id}` already")]
    IdTaken {
        /// The client id.
        client_id: String,
    },
    /// There is none of that client id.
    #[error("there is no client `{client_id}`")]
    Unknown {
        /// The client id.
        client_id: String,
    },
    /// A secret could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing was granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The person, the application or a scope is not there.
    #[error("the user, the client or a scope is not there")]
    Unknown,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All applications.
#[derive(Clone)]
pub struct Clients {
    db: Db,
    passwords: Passwords,
    back_ends: BackEnds,
    /// Held while one is added, changed or deleted and instances are asked for it: their part and the house's are not one
    /// transaction.
    names: NameLocks,
}

/// Where an application was found.
enum Found {
    /// In the house's own database.
    Own {
        /// Its row.
        row: Box<ClientRow>,
        /// Whether the back end can only be read.
        readonly: bool,
    },
    /// At an instance.
    Kept(Kept),
    /// Nowhere.
    Nobody(Nobody),
}

impl Clients {
    /// The applications in a database.
    #[must_use]
    pub fn new(db: Db, passwords: Passwords) -> Self {
        Self { db, passwords, back_ends: BackEnds::default(), names: NameLocks::default() }
    }

    /// The same, and those of some back ends.
    #[must_use]
    pub fn of(self, back_ends: BackEnds) -> Self {
        Self { back_ends, ..self }
    }

    /// A part of the list: by back end in their order, then by client id. A back end that fails is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, page: &Page) -> Result<Vec<Client>, StoreError> {
        let (mut rest, mut clients) = (page.clone(), Vec::new());
        for source in self.back_ends.clients().iter() {
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
                        tracing::warn!(instance = source.name, %error, "clients are left out of a list: {error}");
                        Vec::new()
                    })
                }
                Keeper::Disabled => continue,
            };
            clients.extend(part);
        }
        Ok(clients)
    }

    /// The application of a client id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        match self.find(&self.back_ends.clients(), client_id).await? {
            Found::Own { row, .. } => own::read(*row).map(Some),
            Found::Kept(Kept { client, .. }) => Ok(Some(client)),
            Found::Nobody(Nobody { failure: Some(failure), .. }) => Err(failure),
            Found::Nobody(_) => Ok(None),
        }
    }

    /// Adds an application at the first back end that takes new ones, and gives the id.
    ///
    /// # Errors
    /// [`PutClientError`].
    pub async fn add(
        &self,
        details: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<String, PutClientError> {
        self.add_to(None, details, secrets, now_ms).await
    }

    /// Adds an application at a back end, by its instance's name, and gives the id.
    ///
    /// # Errors
    /// [`PutClientError`].
    pub async fn add_to(
        &self,
        source: Option<&str>,
        details: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<String, PutClientError> {
        let mut errors = errors(&details, &secrets);
        let sources = self.back_ends.clients();
        let target = sources.target(source).map_err(|error| errors.push(error));
        if let (Ok(target), SecretChange::Several(passwords)) = (&target, &secrets.password) {
            errors.extend(passwords_error(Some(target), passwords));
        }
        let (true, Ok(target)) = (errors.is_empty(), target) else { return Err(PutClientError::Invalid(errors)) };
        let _alone = self.hold(&details.client_id).await?;
        let stale = if sources.are_own() {
            // The client id may have been of a back end that was deleted.
            let known = rows::identity(&self.db, &details.client_id).await?;
            known.filter(|(_, home)| self.back_ends.are_told() && sources.find(home).is_none()).map(|(id, _)| id)
        } else {
            match self.find(&sources, &details.client_id).await? {
                Found::Nobody(Nobody { failure: Some(failure), .. }) => return Err(failure.into()),
                Found::Nobody(nobody) => nobody.stale,
                Found::Own { .. } | Found::Kept(_) => {
                    return Err(PutClientError::IdTaken { client_id: details.client_id });
                }
            }
        };
        match &target.keeper {
            Keeper::Instance(back_end) => {
                self.check_scopes(&details.scopes).await?;
                let met = self.meet(&details.client_id, &target.name, stale).await?;
                let id = met.ok_or_else(|| PutClientError::IdTaken { client_id: details.client_id.clone() })?;
                let client_id = details.client_id.clone();
                if let Err(error) = back_end.add(&kept::write(details, secrets)).await {
                    self.forget(&id).await?;
                    return Err(kept::refused(&target.name, &client_id, error));
                }
                Ok(id)
            }
            _ => {
                let id = new_id(now_ms);
                let new = own::New { id: id.clone(), source: target.name.clone(), stale };
                self.put_own(Some(new), None, details, secrets, now_ms).await?;
                Ok(id)
            }
        }
    }

    /// Replaces everything of an application but its client id, and of its secrets what is said.
    ///
    /// # Errors
    /// [`PutClientError`].
    pub async fn set(&self, details: ClientDetails, secrets: ClientSecrets, now_ms: i64) -> Result<(), PutClientError> {
        self.put(None, details, secrets, now_ms).await
    }

    /// Changes an application that was read as `old`: writes what is otherwise in `new`. What others have changed meanwhile
    /// stays as they left it.
    ///
    /// # Errors
    /// [`PutClientError`].
    pub async fn change(
        &self,
        old: &ClientDetails,
        new: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<(), PutClientError> {
        self.put(Some(old), new, secrets, now_ms).await
    }

    async fn put(
        &self,
        old: Option<&ClientDetails>,
        mut details: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<(), PutClientError> {
        let errors = errors(&details, &secrets);
        if !errors.is_empty() {
            return Err(PutClientError::Invalid(errors));
        }
        let _alone = self.hold(&details.client_id).await?;
        let found = self.find(&self.back_ends.clients(), &details.client_id).await?;
        let source = match &found {
            Found::Own { row, .. } => Some(&row.back_end),
            Found::Kept(kept) => Some(&kept.client.source),
            Found::Nobody(_) => None,
        };
        if let (Some(source), SecretChange::Several(passwords)) = (source, &secrets.password) {
            let wrong = passwords_error(self.back_ends.clients().find(source), passwords);
            wrong.map_or(Ok(()), |wrong| Err(PutClientError::Invalid(vec![wrong])))?;
        }
        match found {
            Found::Own { readonly: true, row } => Err(PutClientError::Invalid(vec![read_only(&row.back_end)])),
            Found::Kept(Kept { readonly: true, client, .. }) => {
                Err(PutClientError::Invalid(vec![read_only(&client.source)]))
            }
            Found::Own { .. } => self.put_own(None, old.cloned(), details, secrets, now_ms).await,
            Found::Kept(Kept { client, back_end, .. }) => {
                if let Some(old) = old {
                    details = details.over(old, client.details.clone());
                }
                self.check_scopes(&details.scopes).await?;
                let client_id = details.client_id.clone();
                let set = back_end.set(&client_id, &kept::write(details, secrets)).await;
                set.map_err(|error| kept::refused(&client.source, &client_id, error))
            }
            Found::Nobody(Nobody { failure: Some(failure), .. }) => Err(failure.into()),
            Found::Nobody(_) => Err(PutClientError::Unknown { client_id: details.client_id }),
        }
    }

    /// Deletes an application with everything that refers to it. False means that there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, client_id: &str) -> Result<bool, StoreError> {
        let _alone = self.hold(client_id).await?;
        let (deleted, back_end) = match self.find(&self.back_ends.clients(), client_id).await? {
            Found::Nobody(Nobody { failure: Some(failure), .. }) => return Err(failure),
            Found::Nobody(Nobody { stale, .. }) => {
                if let Some(stale) = stale {
                    self.forget(&stale).await?;
                }
                return Ok(false);
            }
            Found::Own { readonly: true, row } => return Err(StoreError::ReadOnly { back_end: row.back_end }),
            Found::Kept(Kept { readonly: true, client, .. }) => {
                return Err(StoreError::ReadOnly { back_end: client.source });
            }
            Found::Own { row, .. } => (true, row.back_end),
            Found::Kept(Kept { client, back_end, .. }) => {
                let deleted = back_end.delete(client_id).await;
                (deleted.map_err(|error| not_deleted(&client.source, &error))?, client.source)
            }
        };
        let forgotten = rows::delete(&self.db, client_id, &back_end).await?;
        Ok(deleted && forgotten)
    }

    /// The application that a client id and a secret or password tell, if it is enabled. Which client ids there are is no
    /// secret, so those that are not cost nothing.
    ///
    /// # Errors
    /// [`CheckError`].
    pub async fn check_secret(&self, client_id: &str, secret: &str) -> Result<Option<Client>, CheckError> {
        Passwords::check_length(secret)?;
        match self.find(&self.back_ends.clients(), client_id).await? {
            Found::Own { row, .. } => self.check_own(*row, secret).await,
            Found::Kept(Kept { client, back_end, .. }) if client.details.enabled => {
                let right = back_end.check_password(client_id, secret).await;
                Ok(right.map_err(|error| failed(&client.source, &error))?.then_some(client))
            }
            Found::Nobody(Nobody { failure: Some(failure), .. }) => Err(failure.into()),
            Found::Kept(_) | Found::Nobody(_) => Ok(None),
        }
    }

    /// What a person granted to an application, both by their ids; by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn granted(&self, user_id: &str, id: &str) -> Result<Vec<String>, StoreError> {
        rows::grants(&self.db, user_id, id).await
    }

    /// Replaces what a person granted to an application, both by their ids.
    ///
    /// # Errors
    /// [`GrantError`].
    pub async fn grant(&self, user_id: &str, id: &str, scopes: Vec<String>, now_ms: i64) -> Result<(), GrantError> {
        let granted = Arc::new((user_id.to_owned(), id.to_owned(), identity::distinct(scopes)));
        let work = self.db.transaction(move |transaction| {
            let granted = Arc::clone(&granted);
            Box::pin(async move {
                let (user_id, id, scopes) = &*granted;
                rows::put_grants(transaction, user_id, id, scopes, now_ms).await
            })
        });
        work.await.map_err(|error| match error {
            StoreError::Reference(_) => GrantError::Unknown,
            error => error.into(),
        })
    }

    /// Keeps others from a client id, if more than the house's own database may have to do with it.
    async fn hold(&self, client_id: &str) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        if self.back_ends.clients().are_own() {
            return Ok(None);
        }
        let held = self.names.lock(client_id).await;
        held.map(Some).ok_or(StoreError::Busy("the same client is being changed"))
    }

    async fn find(&self, sources: &Sources, client_id: &str) -> Result<Found, StoreError> {
        if client_id.contains('\0') {
            return Ok(Found::Nobody(Nobody::default()));
        }
        if let Some(row) = rows::find(&self.db, client_id).await? {
            let source = sources.find(&row.back_end).filter(|source| matches!(source.keeper, Keeper::Database));
            let Some(source) = source else { return Ok(Found::Nobody(Nobody::default())) };
            return Ok(Found::Own { row: Box::new(row), readonly: source.readonly });
        }
        if sources.are_own() {
            return Ok(Found::Nobody(Nobody::default()));
        }
        Ok(match self.find_kept(sources, client_id).await? {
            Ok(kept) => Found::Kept(kept),
            Err(nobody) => Found::Nobody(nobody),
        })
    }
}

/// All that is wrong with an application and its secrets, but what only the database knows.
fn errors(details: &ClientDetails, secrets: &ClientSecrets) -> Vec<String> {
    let mut errors = details.errors();
    for (field, change) in [("password", &secrets.password), ("client_secret", &secrets.secret)] {
        if let SecretChange::Set(secret) = change
            && let Err(error) = Passwords::check_length(secret)
        {
            errors.push(format!("{field}: {error}"));
        }
    }
    errors
}

impl ClientDetails {
    /// These where they differ from `old`, else those of `current`.
    fn over(self, old: &Self, current: Self) -> Self {
        let mut properties = current.properties;
        for (name, value) in self.properties {
            if old.properties.get(&name) != Some(&value) {
                properties.insert(name, value);
            }
        }
        Self {
            name: picked(self.name, &old.name, current.name),
            description: picked(self.description, &old.description, current.description),
            confidential: picked(self.confidential, &old.confidential, current.confidential),
            authorization_types: picked(
                self.authorization_types,
                &old.authorization_types,
                current.authorization_types,
            ),
            redirect_uris: picked(self.redirect_uris, &old.redirect_uris, current.redirect_uris),
            scopes: picked(self.scopes, &old.scopes, current.scopes),
            enabled: picked(self.enabled, &old.enabled, current.enabled),
            client_id: current.client_id,
            properties,
        }
    }

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

const ID_CHARS_MAX: usize = 128;
const URI_BYTES_MAX: usize = 2048;
