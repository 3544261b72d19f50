//! The host's ways to authenticate, as a plug-in asks for them.
//!
//! What such a way is made of is in [`scheme`](crate::Scheme).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bytes::HostBytes;
use crate::callbacks::{Callbacks, decode};
use crate::documents::Ask;
use crate::host_error::HostError;
use crate::request::Request;
use crate::scheme::CanUse;

/// Asks for the host's schemes, by the names of their instances. Needs [`Right::Schemes`](crate::Right::Schemes): without
/// it every question fails with [`HostError::Denied`].
///
/// What a scheme itself refuses comes as the error that it says: [`HostError::Parameter`] for data that is wrong,
/// [`HostError::Unauthorized`] for a user who may not. A scheme that does not run, or has too much to do, is
/// [`HostError::Busy`].
///
/// A handle that any thread may use and clone, and that keeps nothing alive. What is given is copied before a function returns;
/// each question is an [`Ask`](crate::Ask), awaited anywhere, or waited for where blocking is allowed.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # use porth_plugin::Schemes;
/// async fn may_need_a_code(schemes: &Schemes, username: &str) -> Result<bool, HostError> {
///     Ok(schemes.can_use("code", username).await? == CanUse::Registered)
/// }
/// ```
#[derive(Clone)]
pub struct Schemes {
    callbacks: Callbacks,
}

/// A scheme as its administrator has made it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SchemeRecord {
    /// The name of its module.
    pub module: String,
    /// The name of its instance.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// How long a proof counts, in seconds; 0 means for ever.
    #[serde(rename = "expiration")]
    pub expiration_s: u64,
    /// How often a proof counts; 0 means without end.
    #[serde(rename = "max_use")]
    pub use_max: u64,
    /// Whether people may register themselves.
    pub allow_user_register: bool,
    /// Whether people do not see it in their profile.
    pub forbid_user_profile: bool,
    /// Whether nobody resets lost credentials with it.
    pub forbid_user_reset_credential: bool,
    /// In a user's list: whether the user can prove something with it; `None` where it did not say.
    #[serde(default)]
    pub can_use: Option<CanUse>,
}

impl Schemes {
    pub(crate) const fn new(callbacks: Callbacks) -> Self {
        Self { callbacks }
    }

    /// A scheme.
    ///
    /// # Errors
    /// [`HostError::NotFound`] for one that there is not or that is disabled, and what else the host fails with.
    pub fn get(&self, scheme: &str) -> Ask<SchemeRecord> {
        Ask::new(self.callbacks.get_scheme_module(scheme), |answer| decode(&answer?))
    }

    /// The schemes that a user's scopes name.
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such user, and what else the host fails with.
    pub fn list(&self, username: &str) -> Ask<Vec<SchemeRecord>> {
        Ask::new(self.callbacks.get_scheme_list(username), |answer| decode(&answer?))
    }

    /// Registers a user with a scheme, or goes a step on with it. Gives what the scheme answers. The request that it comes of
    /// tells the scheme address and browser; give none where nobody asked.
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such scheme or user, [`HostError::Unsupported`] where nobody registers, what the
    /// scheme itself refuses, and what else the host fails with.
    pub fn register<D: Serialize>(
        &self,
        scheme: &str,
        request: Option<&Request>,
        username: &str,
        data: &D,
    ) -> Ask<Value> {
        let data = serde_json::to_string(data)
            .map_err(|error| HostError::Parameter(format!("the data cannot be written as JSON: {error}")));
        Ask::new(data.and_then(|data| self.callbacks.scheme_register(scheme, request, username, &data)), value)
    }

    /// What is registered of a user, as the scheme says it. For the request see [`register`](Self::register).
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn registration(&self, scheme: &str, request: Option<&Request>, username: &str) -> Ask<Value> {
        Ask::new(self.callbacks.scheme_register_get(scheme, request, username), value)
    }

    /// Makes a scheme forget what a user registered, if anything. For the request see [`register`](Self::register).
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn deregister(&self, scheme: &str, request: Option<&Request>, username: &str) -> Ask<()> {
        Ask::new(self.callbacks.scheme_deregister(scheme, request, username), |answer| answer.map(drop))
    }

    /// Whether a user can prove something with a scheme.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn can_use(&self, scheme: &str, username: &str) -> Ask<CanUse> {
        Ask::new(self.callbacks.scheme_can_use(scheme, username), |answer| decode(&answer?))
    }
}

fn value(answer: Result<HostBytes, HostError>) -> Result<Value, HostError> {
    decode(&answer?)
}

impl fmt::Debug for Schemes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Schemes")
    }
}
