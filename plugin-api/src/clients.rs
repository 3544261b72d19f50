//! The host's clients (applications), as a plug-in reads and changes them, and what users granted to them.
//!
//! Start at [`Clients`].

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::callbacks::Callbacks;
use crate::documents::Ask;

/// The host's clients, over all back ends: [`Host::clients`](crate::Host::clients).
///
/// Reading needs [`Right::ClientsRead`](crate::Right::ClientsRead), changing
/// [`Right::ClientsWrite`](crate::Right::ClientsWrite), and [`granted_scopes`](Self::granted_scopes)
/// [`Right::Grants`](crate::Right::Grants); without it everything fails with
/// [`HostError::Denied`](crate::HostError::Denied).
///
/// A handle that any thread may use and clone, and that keeps nothing alive. What is given is copied before a function returns;
/// each question is an [`Ask`](crate::Ask), awaited anywhere, or waited for where blocking is allowed.
///
/// ```
/// # use porth_plugin::Plugin;
/// # use porth_plugin::prelude::*;
/// async fn may_return_to<P: Plugin>(host: &Host<P>, client_id: &str, uri: &str) -> Result<bool, HostError> {
///     let client = host.clients().get(client_id).await?;
///     Ok(client.is_some_and(|client| client.enabled && client.redirect_uri.iter().any(|known| known == uri)))
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Clients(Callbacks);

/// A client as the host shows it; its secrets are never shown.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ClientRecord {
    /// What it calls itself.
    pub client_id: String,
    /// The name for people.
    #[serde(default)]
    pub name: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
    /// Whether it can keep a secret, and must show it.
    #[serde(default)]
    pub confidential: bool,
    /// How it may ask: `code`, `client_credentials`, …
    #[serde(default)]
    pub authorization_type: Vec<String>,
    /// Where users may be sent back to; to be compared as a whole.
    #[serde(default)]
    pub redirect_uri: Vec<String>,
    /// What it may ask for in its own name.
    #[serde(default)]
    pub scope: Vec<String>,
    /// Whether it may ask at all.
    #[serde(default)]
    pub enabled: bool,
    /// The back end that knows it.
    #[serde(default)]
    pub source: String,
    /// Whatever else it has.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// What is said of a client that is added or changed. What is `None` is left as it is, or to the host.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ClientFields {
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it can keep a secret, and must show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidential: Option<bool>,
    /// A password that a person chose; `Some(None)` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Option<String>>,
    /// The secret; `Some(None)` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Option<String>>,
    /// How it may ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_type: Option<Vec<String>>,
    /// Where users may be sent back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<Vec<String>>,
    /// What it may ask for in its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<String>>,
    /// Whether it may ask at all; a client that is added may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Further properties; null takes one away.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// What a user granted to a client.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct GrantedScopes {
    /// The client.
    pub client: ClientName,
    /// Of the scopes asked for, those that the user has.
    pub scope: Vec<GrantedScope>,
}

/// A client by its names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ClientName {
    /// What it calls itself.
    pub client_id: String,
    /// The name for people.
    pub name: String,
}

/// A scope that may be granted.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct GrantedScope {
    /// Its name.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// What it permits, for people.
    pub description: String,
    /// Whether the password must be proved.
    pub password_required: bool,
    /// Whether the user granted it.
    pub granted: bool,
}

impl Clients {
    pub(crate) const fn new(callbacks: Callbacks) -> Self {
        Self(callbacks)
    }

    /// Whether a client may come in, with its secret or password. Without one this proves nothing, and only says that there is
    /// such a client and that it is enabled: for requests that a user's browser brings, not the client.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for none, [`Unauthorized`](crate::HostError::Unauthorized) for one that is
    /// disabled and for a wrong secret, [`Busy`](crate::HostError::Busy) when too many passwords are being compared.
    pub fn check(&self, client_id: &str, secret: Option<&str>) -> Ask<ClientRecord> {
        #[derive(Deserialize)]
        struct Answer {
            client: ClientRecord,
        }
        let arguments = json!({"client_id": client_id, "password": secret});
        let call = self.0.ask(|table| table.check_client_valid, &arguments);
        Ask::new(call, |answer| Ok(crate::callbacks::decode::<Answer>(&answer?)?.client))
    }

    /// Of these scopes those that a user has, and whether they are granted to a client.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for an unknown client or user, and for a client that is disabled.
    pub fn granted_scopes(&self, client_id: &str, username: &str, scopes: &[&str]) -> Ask<GrantedScopes> {
        let arguments = json!({"client_id": client_id, "username": username, "scope_list": scopes});
        Ask::record(self.0.ask(|table| table.get_client_granted_scopes, &arguments))
    }

    /// A client; `None` for none.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn get(&self, client_id: &str) -> Ask<Option<ClientRecord>> {
        Ask::record_if_any(self.0.ask(|table| table.get_client, &json!({ "client_id": client_id })))
    }

    /// Clients by client id, those that `pattern` occurs in (in the id, the name or the description): at most `limit`, which
    /// is 1 to 200, without the first `offset`.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn list(&self, pattern: &str, offset: u32, limit: u32) -> Ask<Vec<ClientRecord>> {
        let arguments = json!({"pattern": pattern, "offset": offset, "limit": limit});
        Ask::record(self.0.ask(|table| table.get_client_list, &arguments))
    }

    /// All for which [`add`](Self::add) would refuse a client.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn errors_to_add(&self, client_id: &str, fields: &ClientFields) -> Ask<Vec<String>> {
        let arguments = json!({"client_id": client_id, "client": fields, "add": true});
        Ask::record(self.0.ask(|table| table.is_client_valid, &arguments))
    }

    /// All for which [`set`](Self::set) would refuse a change.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for none, and what else the host fails with.
    pub fn errors_to_set(&self, client_id: &str, fields: &ClientFields) -> Ask<Vec<String>> {
        Ask::record(self.0.ask(|table| table.is_client_valid, &json!({"client_id": client_id, "client": fields})))
    }

    /// Adds a client.
    ///
    /// # Errors
    /// [`Parameter`](crate::HostError::Parameter) with what is wrong.
    pub fn add(&self, client_id: &str, fields: &ClientFields) -> Ask<()> {
        #[derive(Serialize)]
        struct New<'a> {
            client_id: &'a str,
            #[serde(flatten)]
            fields: &'a ClientFields,
        }
        Ask::done(self.0.ask(|table| table.add_client, &json!({"client": New { client_id, fields }})))
    }

    /// Changes what is given of a client.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for none, [`Parameter`](crate::HostError::Parameter) with what is wrong.
    pub fn set(&self, client_id: &str, fields: &ClientFields) -> Ask<()> {
        Ask::done(self.0.ask(|table| table.set_client, &json!({"client_id": client_id, "client": fields})))
    }

    /// Deletes a client with everything that refers to it.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for none.
    pub fn delete(&self, client_id: &str) -> Ask<()> {
        Ask::done(self.0.ask(|table| table.delete_client, &json!({ "client_id": client_id })))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clients")
    }
}

/// The secrets are not shown.
impl fmt::Debug for ClientFields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientFields")
            .field("name", &self.name)
            .field("confidential", &self.confidential)
            .field("scope", &self.scope)
            .field("enabled", &self.enabled)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
