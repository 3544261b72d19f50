//! What people granted to applications, as people and programs see it.
//!
//! Start at [`Grants`]. A grant counts only while its person has the scope: what was granted of a scope that was taken
//! away is not shown, and is there again when the scope is given back.

use super::StoreError;
use super::clients::{Client, Clients, GrantError};
use super::scopes::{Scope, Scopes};
use super::users::User;
use crate::store::{Db, grants as rows};

/// What a person granted to applications.
#[derive(Clone)]
pub struct Grants {
    db: Db,
    scopes: Scopes,
    clients: Clients,
}

/// An application with scopes, and whether a person granted them.
#[derive(Clone, Debug)]
pub struct ClientGrant {
    /// The application.
    pub client: Client,
    /// The scopes in the order they were asked for.
    pub scopes: Vec<ScopeGrant>,
}

/// A scope, and whether it was granted.
#[derive(Clone, Debug)]
pub struct ScopeGrant {
    /// The scope.
    pub scope: Scope,
    /// Whether the person granted it.
    pub granted: bool,
}

/// Why nothing was granted.
#[derive(Debug, thiserror::Error)]
pub enum PutGrantError {
    /// There is no such application, or it is disabled.
    #[error("there is no client `{client_id}`")]
    NoClient {
        /// The client id.
        client_id: String,
    },
    /// Nobody can grant what they do not have.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The person, the application or a scope went meanwhile.
    #[error("the user, the client or a scope was deleted meanwhile")]
    Gone,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Grants {
    /// The grants in a database, between those people and applications.
    #[must_use]
    pub fn new(db: Db, scopes: Scopes, clients: Clients) -> Self {
        Self { db, scopes, clients }
    }

    /// What of these scopes a person granted to an application. Scopes that do not exist or that the person does not have
    /// are left out. `None` means that there is no such application, or that it is disabled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of_client(
        &self,
        user: &User,
        client_id: &str,
        scopes: &[String],
    ) -> Result<Option<ClientGrant>, StoreError> {
        let client = self.clients.get(client_id).await?.filter(|client| client.details.enabled);
        let Some(client) = client else { return Ok(None) };
        let granted = self.clients.granted(&user.id, &client.id).await?;
        let mut shown: Vec<ScopeGrant> = Vec::new();
        for name in scopes.iter().filter(|name| user.scopes.contains(name)) {
            if shown.iter().any(|grant| &grant.scope.name == name) {
                continue;
            }
            let scope = self.scopes.get(name).await?;
            shown.extend(scope.map(|scope| ScopeGrant { granted: granted.contains(name), scope }));
        }
        Ok(Some(ClientGrant { client, scopes: shown }))
    }

    /// Replaces what a person granted to an application. Nothing at all can also be granted to a disabled one.
    ///
    /// # Errors
    /// [`PutGrantError`].
    pub async fn put(
        &self,
        user: &User,
        client_id: &str,
        scopes: Vec<String>,
        now_ms: i64,
    ) -> Result<(), PutGrantError> {
        let no_client = || PutGrantError::NoClient { client_id: client_id.to_owned() };
        let client = self.clients.get(client_id).await?;
        // What a disabled one has can be taken back.
        let client = client.filter(|client| client.details.enabled || scopes.is_empty()).ok_or_else(no_client)?;
        let lacking = scopes.iter().filter(|name| !user.scopes.contains(name));
        let errors: Vec<_> = lacking.map(|name| format!("scope: the user does not have `{name}`")).collect();
        if !errors.is_empty() {
            return Err(PutGrantError::Invalid(errors));
        }
        self.clients.grant(&user.id, &client.id, scopes, now_ms).await.map_err(|error| match error {
            GrantError::Unknown => PutGrantError::Gone,
            GrantError::Store(error) => error.into(),
        })
    }

    /// All applications to which a person granted something that counts, by client id, with what was granted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of_user(&self, user: &User) -> Result<Vec<ClientGrant>, StoreError> {
        let mut grants = Vec::new();
        for (client_id, scopes) in rows::of_user(&self.db, &user.id).await? {
            // One that is disabled asks for nothing, but the person may want to take back what it has.
            let Some(client) = self.clients.get(&client_id).await? else { continue };
            let mut granted = Vec::new();
            for name in scopes.iter().filter(|name| user.scopes.contains(name)) {
                let scope = self.scopes.get(name).await?;
                granted.extend(scope.map(|scope| ScopeGrant { scope, granted: true }));
            }
            if !granted.is_empty() {
                grants.push(ClientGrant { client, scopes: granted });
            }
        }
        Ok(grants)
    }
}
