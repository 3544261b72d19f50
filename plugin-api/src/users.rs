//! The host's users, as a plug-in reads and changes them.
//!
//! Start at [`Users`].

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::callbacks::Callbacks;
use crate::documents::Ask;

/// The host's users, over all back ends: [`Host::users`](crate::Host::users).
///
/// Reading needs [`Right::UsersRead`](crate::Right::UsersRead), changing [`Right::UsersWrite`](crate::Right::UsersWrite);
/// without it everything fails with [`HostError::Denied`](crate::HostError::Denied). Names are taken in any spelling.
///
/// A handle that any thread may use and clone, and that keeps nothing alive. What is given is copied before a function returns;
/// each question is an [`Ask`](crate::Ask), awaited anywhere, or waited for where blocking is allowed.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # use porth_plugin::{Plugin, UserFields};
/// async fn move_out<P: Plugin>(host: &Host<P>, username: &str) -> Result<(), HostError> {
///     let Some(user) = host.users().get(username).await? else { return Ok(()) };
///     let scope = user.scope.into_iter().filter(|scope| scope != "residents").collect();
///     host.users().set(username, &UserFields { scope: Some(scope), ..UserFields::default() }).await
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Users(Callbacks);

/// A user as the host shows them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct UserRecord {
    /// The name that the user logs in with.
    pub username: String,
    /// The name for people.
    #[serde(default)]
    pub name: String,
    /// The mail address.
    #[serde(default)]
    pub email: String,
    /// What the user may ask for.
    #[serde(default)]
    pub scope: Vec<String>,
    /// Whether the user may log in.
    #[serde(default)]
    pub enabled: bool,
    /// The back end that knows the user; none where the user sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whatever else the user has.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// What is said of a user who is added or changed. What is `None` is left as it is, or to the host.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct UserFields {
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What the user may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<String>>,
    /// Whether the user may log in; a user who is added may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Further properties; null takes one away.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// A user who may come in.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ValidUser {
    /// The user.
    pub user: UserRecord,
    /// Of the scopes asked for, those that the user has and that want nothing but, perhaps, the password.
    pub scope_list: Vec<String>,
}

impl Users {
    pub(crate) const fn new(callbacks: Callbacks) -> Self {
        Self(callbacks)
    }

    /// Whether a user may come in, with a password or, without one, at all.
    ///
    /// # Errors
    /// [`Unauthorized`](crate::HostError::Unauthorized) for whatever is wrong with the name or the password, for a user who is
    /// disabled, and for one who has none of the `scopes` asked for, if any are, by a password alone;
    /// [`NotFound`](crate::HostError::NotFound), without a password only, for nobody; [`Busy`](crate::HostError::Busy) when
    /// too many failed before or too many passwords are being compared.
    pub fn check(&self, username: &str, password: Option<&str>, scopes: &[&str]) -> Ask<ValidUser> {
        let arguments = json!({"username": username, "password": password, "scope_list": scopes});
        Ask::record(self.0.ask(|table| table.check_user_valid, &arguments))
    }

    /// A user as administrators see them; `None` for nobody.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn get(&self, username: &str) -> Ask<Option<UserRecord>> {
        Ask::record_if_any(self.0.ask(|table| table.get_user, &json!({ "username": username })))
    }

    /// A user as they see themselves; `None` for nobody.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn profile(&self, username: &str) -> Ask<Option<UserRecord>> {
        Ask::record_if_any(self.0.ask(|table| table.get_user_profile, &json!({ "username": username })))
    }

    /// Users by name, those that `pattern` occurs in (in the name, the full name or the address): at most `limit`, which is 1
    /// to 200, without the first `offset`.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn list(&self, pattern: &str, offset: u32, limit: u32) -> Ask<Vec<UserRecord>> {
        let arguments = json!({"pattern": pattern, "offset": offset, "limit": limit});
        Ask::record(self.0.ask(|table| table.get_user_list, &arguments))
    }

    /// All for which [`add`](Self::add) would refuse a user.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn errors_to_add(&self, username: &str, fields: &UserFields) -> Ask<Vec<String>> {
        let arguments = json!({"username": username, "user": fields, "add": true});
        Ask::record(self.0.ask(|table| table.is_user_valid, &arguments))
    }

    /// All for which [`set`](Self::set) would refuse a change.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for nobody, and what else the host fails with.
    pub fn errors_to_set(&self, username: &str, fields: &UserFields) -> Ask<Vec<String>> {
        Ask::record(self.0.ask(|table| table.is_user_valid, &json!({"username": username, "user": fields})))
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`Parameter`](crate::HostError::Parameter) with what is wrong.
    pub fn add(&self, username: &str, fields: &UserFields) -> Ask<()> {
        #[derive(Serialize)]
        struct New<'a> {
            username: &'a str,
            #[serde(flatten)]
            fields: &'a UserFields,
        }
        Ask::done(self.0.ask(|table| table.add_user, &json!({"user": New { username, fields }})))
    }

    /// Changes what is given of a user.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for nobody, [`Parameter`](crate::HostError::Parameter) with what is wrong.
    pub fn set(&self, username: &str, fields: &UserFields) -> Ask<()> {
        Ask::done(self.0.ask(|table| table.set_user, &json!({"username": username, "user": fields})))
    }

    /// Deletes a user with everything that refers to them. Gives a text for each scheme that did not forget them, of which
    /// there should be none; they are gone all the same.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for nobody.
    pub fn delete(&self, username: &str) -> Ask<Vec<String>> {
        #[derive(Deserialize)]
        struct Answer {
            failures: Vec<String>,
        }
        let call = self.0.ask(|table| table.delete_user, &json!({ "username": username }));
        Ask::new(call, |answer| Ok(crate::callbacks::decode::<Answer>(&answer?)?.failures))
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// [`NotFound`](crate::HostError::NotFound) for nobody, [`Parameter`](crate::HostError::Parameter) for what is no
    /// password.
    pub fn set_password(&self, username: &str, password: &str) -> Ask<()> {
        let arguments = json!({"username": username, "password": password});
        Ask::done(self.0.ask(|table| table.user_update_password, &arguments))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Users")
    }
}

/// The password is not shown.
impl fmt::Debug for UserFields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserFields")
            .field("name", &self.name)
            .field("email", &self.email)
            .field("scope", &self.scope)
            .field("enabled", &self.enabled)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
