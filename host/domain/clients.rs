//! Applications, as the built-in back end `database` keeps them, and what people granted to them.
//!
//! Start at [`Clients`].

mod errors;

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::identity::{self, DATABASE};
use super::passwords::{PasswordError, Passwords};
use super::search::{Page, folded};
use super::users::CheckError;
use super::{StoreError, new_id};
use crate::store::clients::{self as rows, ClientRow};
use crate::store::{Db, Transaction, scopes};

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
}

/// What becomes of the stored hashes.
#[derive(Clone)]
struct Hashes {
    password: Option<Option<String>>,
    secret: Option<Option<String>>,
}

impl Clients {
    /// The applications in a database.
    #[must_use]
    pub fn new(db: Db, passwords: Passwords) -> Self {
        Self { db, passwords }
    }

    /// A part of the list, by client id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, page: &Page) -> Result<Vec<Client>, StoreError> {
        let rows = rows::list(&self.db, &page.like(), page.offset.into(), page.limit.into()).await?;
        rows.into_iter().map(read).collect()
    }

    /// The application of a client id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        self.find(client_id).await?.map(read).transpose()
    }

    /// Adds an application, and gives the id.
    ///
    /// # Errors
    /// [`PutClientError`].
    pub async fn add(
        &self,
        details: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<String, PutClientError> {
        let id = new_id(now_ms);
        self.put(Some(id.clone()), details, secrets, now_ms).await?;
        Ok(id)
    }

    /// Replaces everything of an application but its client id, and of its secrets what is said.
    ///
    /// # Errors
    /// [`PutClientError`].
    pub async fn set(&self, details: ClientDetails, secrets: ClientSecrets, now_ms: i64) -> Result<(), PutClientError> {
        self.put(None, details, secrets, now_ms).await
    }

    /// Deletes an application with everything that refers to it. False means that there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, client_id: &str) -> Result<bool, StoreError> {
        if client_id.contains('\0') { Ok(false) } else { rows::delete(&self.db, client_id, DATABASE).await }
    }

    /// The application that a client id and a secret or password tell, if it is enabled. Which client ids there are is no
    /// secret, so those that are not cost nothing.
    ///
    /// # Errors
    /// [`CheckError`].
    pub async fn check_secret(&self, client_id: &str, secret: &str) -> Result<Option<Client>, CheckError> {
        Passwords::check_length(secret)?;
        let Some(row) = self.find(client_id).await?.filter(|row| row.enabled) else { return Ok(None) };
        for hash in [row.secret_hash.clone(), row.password_hash.clone()].into_iter().flatten() {
            let right = match hash.strip_prefix(DIGEST) {
                Some(stored) => bool::from(stored.as_bytes().ct_eq(digest(secret).as_bytes())),
                None => self.passwords.verify(secret, Some(hash)).await?,
            };
            if right {
                return Ok(Some(read(row)?));
            }
        }
        Ok(None)
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

    async fn find(&self, client_id: &str) -> Result<Option<ClientRow>, StoreError> {
        if client_id.contains('\0') { Ok(None) } else { rows::find(&self.db, client_id).await }
    }

    async fn put(
        &self,
        new_id: Option<String>,
        details: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<(), PutClientError> {
        let mut errors = details.errors();
        errors.extend(secrets.errors());
        if !errors.is_empty() {
            return Err(PutClientError::Invalid(errors));
        }
        let hashes = Hashes { password: self.hash(secrets.password).await?, secret: self.hash(secrets.secret).await? };
        let addition = Arc::new((new_id, write(details), hashes));
        let work = self.db.transaction(move |transaction| {
            let addition = Arc::clone(&addition);
            Box::pin(async move {
                let (new_id, row, hashes) = &*addition;
                put(transaction, new_id.as_deref(), row.clone(), hashes.clone(), now_ms).await
            })
        });
        work.await
    }

    /// What is to be stored of a secret; `None` means that what is there stays.
    async fn hash(&self, change: SecretChange) -> Result<Option<Option<String>>, PasswordError> {
        match change {
            SecretChange::Keep => Ok(None),
            SecretChange::Remove => Ok(Some(None)),
            // No person remembers that much: a program made it, and may show it a thousand times a second.
            SecretChange::Set(secret) if secret.len() >= MADE_BYTES_MIN => {
                Ok(Some(Some(format!("{DIGEST}{}", digest(&secret)))))
            }
            SecretChange::Set(secret) => self.passwords.hash(&secret).await.map(|hash| Some(Some(hash))),
        }
    }
}

async fn put(
    transaction: &Transaction<'_>,
    new_id: Option<&str>,
    mut row: ClientRow,
    hashes: Hashes,
    now_ms: i64,
) -> Result<(), PutClientError> {
    match new_id {
        Some(id) => {
            id.clone_into(&mut row.id);
            if !rows::insert_identity(transaction, &row, now_ms).await? {
                return Err(PutClientError::IdTaken { client_id: row.client_id });
            }
        }
        None => {
            let Some(old) = rows::find_inside(transaction, &row.client_id).await? else {
                return Err(PutClientError::Unknown { client_id: row.client_id });
            };
            row = ClientRow { id: old.id, password_hash: old.password_hash, secret_hash: old.secret_hash, ..row };
        }
    }
    row.password_hash = hashes.password.unwrap_or(row.password_hash);
    row.secret_hash = hashes.secret.unwrap_or(row.secret_hash);
    let missing = scopes::missing(transaction, &row.scopes).await?;
    if !missing.is_empty() {
        return Err(PutClientError::Invalid(identity::missing_scopes(missing)));
    }
    let search = folded(&[&row.client_id, &row.name, &row.description]);
    Ok(rows::put_record(transaction, &row, &search, now_ms).await?)
}

fn read(row: ClientRow) -> Result<Client, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: format!("the client `{}`", row.client_id),
        reason: error.to_string(),
    };
    let details = ClientDetails {
        client_id: row.client_id.clone(),
        name: row.name,
        description: row.description,
        confidential: row.confidential,
        authorization_types: serde_json::from_str(&row.authorization_types).map_err(damaged)?,
        redirect_uris: serde_json::from_str(&row.redirect_uris).map_err(damaged)?,
        scopes: row.scopes,
        enabled: row.enabled,
        properties: serde_json::from_str(&row.properties).map_err(damaged)?,
    };
    Ok(Client { id: row.id, details, source: row.back_end })
}

/// The row of an application, with neither id nor secrets.
fn write(details: ClientDetails) -> ClientRow {
    let list = |list: Vec<String>| Value::from(identity::distinct(list)).to_string();
    let mut properties = details.properties;
    properties.retain(|_, value| !value.is_null());
    ClientRow {
        id: String::new(),
        client_id: details.client_id,
        back_end: DATABASE.to_owned(),
        name: details.name,
        description: details.description,
        confidential: details.confidential,
        enabled: details.enabled,
        password_hash: None,
        secret_hash: None,
        authorization_types: list(details.authorization_types),
        redirect_uris: list(details.redirect_uris),
        properties: Value::from(properties).to_string(),
        scopes: identity::distinct(details.scopes),
    }
}

fn digest(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Marks the digest of a secret that a program made.
const DIGEST: &str = "sha256:";
/// A secret of so many bytes is taken for one that a program made.
const MADE_BYTES_MIN: usize = 32;
