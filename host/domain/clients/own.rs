//! Applications that the built-in module `database` keeps.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Client, ClientDetails, ClientSecrets, Clients, PutClientError, SecretChange, identity};
use crate::domain::passwords::PasswordError;
use crate::domain::search::folded;
use crate::domain::users::CheckError;
use crate::domain::{Page, StoreError};
use crate::store::clients::{self as rows, ClientRow};
use crate::store::{Transaction, scopes};

/// What an application that is added is besides its details.
#[derive(Clone)]
pub(super) struct New {
    /// The id that it will have.
    pub(super) id: String,
    /// The instance of the module.
    pub(super) source: String,
    /// An identity of the same client id that is nobody's any more.
    pub(super) stale: Option<String>,
}

/// What becomes of the stored hashes.
#[derive(Clone)]
struct Hashes {
    /// The passwords that must still be there, where that matters.
    before: Option<Option<String>>,
    password: Option<Option<String>>,
    secret: Option<Option<String>>,
}

impl Clients {
    /// A part of the applications of an instance of the module; what was found is taken off the page.
    pub(super) async fn list_own(&self, source: &str, page: &mut Page) -> Result<Vec<Client>, StoreError> {
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

    /// The application of a row, if it is enabled and the secret or password is its own.
    pub(super) async fn check_own(&self, row: ClientRow, secret: &str) -> Result<Option<Client>, CheckError> {
        if !row.enabled {
            return Ok(None);
        }
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

    /// Adds an application, or replaces what there is: all of it, or what differs from `old`.
    pub(super) async fn put_own(
        &self,
        new: Option<New>,
        old: Option<ClientDetails>,
        details: ClientDetails,
        secrets: ClientSecrets,
        now_ms: i64,
    ) -> Result<(), PutClientError> {
        for _ in 0..TRIES {
            // By their places passwords can only be told apart when the others are those that were read.
            let before = match (&secrets.password, &new) {
                (SecretChange::Several(_), None) => {
                    let row = rows::find(&self.db, &details.client_id).await?;
                    Some(row.and_then(|row| row.password_hash))
                }
                (SecretChange::Several(_), Some(_)) => Some(None),
                _ => None,
            };
            let kept = before.as_ref().and_then(Option::as_deref);
            let password = self.hash(secrets.password.clone(), kept).await?;
            let hashes =
                Hashes { before: before.clone(), password, secret: self.hash(secrets.secret.clone(), None).await? };
            if self.put_own_once(new.clone(), old.clone(), details.clone(), hashes, now_ms).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// False means that the passwords are no more those that there were.
    async fn put_own_once(
        &self,
        new: Option<New>,
        old: Option<ClientDetails>,
        details: ClientDetails,
        hashes: Hashes,
        now_ms: i64,
    ) -> Result<bool, PutClientError> {
        let addition = Arc::new((new, old, details, hashes));
        let work = self.db.transaction(move |transaction| {
            let addition = Arc::clone(&addition);
            Box::pin(async move {
                let (new, old, details, hashes) = &*addition;
                put(transaction, new.as_ref(), old.as_ref(), details.clone(), hashes.clone(), now_ms).await
            })
        });
        work.await
    }

    /// What is to be stored of a secret; `None` means that what is there stays.
    async fn hash(&self, change: SecretChange, before: Option<&str>) -> Result<Option<Option<String>>, PasswordError> {
        match change {
            SecretChange::Several(secrets) => {
                // What a program made was stored in another form, beside which none of this one can stand.
                let before = before.filter(|before| !before.starts_with(DIGEST));
                self.passwords.hash_several(before, &secrets).await.map(Some)
            }
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
    new: Option<&New>,
    old: Option<&ClientDetails>,
    details: ClientDetails,
    hashes: Hashes,
    now_ms: i64,
) -> Result<bool, PutClientError> {
    let mut row;
    match new {
        Some(New { id, source, stale }) => {
            if let Some(stale) = stale {
                rows::forget(transaction, stale).await?;
            }
            row = write(details);
            id.clone_into(&mut row.id);
            if !rows::insert_identity(transaction, id, &row.client_id, source, now_ms).await? {
                return Err(PutClientError::IdTaken { client_id: row.client_id });
            }
        }
        None => {
            let Some(found) = rows::find_inside(transaction, &details.client_id).await? else {
                return Err(PutClientError::Unknown { client_id: details.client_id });
            };
            let (id, password_hash, secret_hash) =
                (found.id.clone(), found.password_hash.clone(), found.secret_hash.clone());
            if hashes.before.as_ref().is_some_and(|before| *before != password_hash) {
                return Ok(false);
            }
            let details = match old {
                Some(old) => details.over(old, read(found)?.details),
                None => details,
            };
            let errors = details.errors();
            if !errors.is_empty() {
                return Err(PutClientError::Invalid(errors));
            }
            row = ClientRow { id, password_hash, secret_hash, ..write(details) };
        }
    }
    row.password_hash = hashes.password.unwrap_or(row.password_hash);
    row.secret_hash = hashes.secret.unwrap_or(row.secret_hash);
    let missing = scopes::missing(transaction, &row.scopes).await?;
    if !missing.is_empty() {
        return Err(PutClientError::Invalid(identity::missing_scopes(missing)));
    }
    let search = folded(&[&row.client_id, &row.name, &row.description]);
    rows::put_record(transaction, &row, &search, now_ms).await?;
    Ok(true)
}

pub(super) fn read(row: ClientRow) -> Result<Client, StoreError> {
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

/// The row of an application, with neither id, back end nor secrets.
fn write(details: ClientDetails) -> ClientRow {
    let list = |list: Vec<String>| Value::from(identity::distinct(list)).to_string();
    let mut properties = details.properties;
    properties.retain(|_, value| !value.is_null());
    ClientRow {
        id: String::new(),
        client_id: details.client_id,
        back_end: String::new(),
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
/// How often a change of passwords is begun anew that others have changed meanwhile.
const TRIES: usize = 5;
