//! An instance's way to the host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::callbacks::Callbacks;
use crate::clients::Clients;
use crate::documents::Documents;
use crate::endpoint::{Endpoints, Registrations};
use crate::environment::Environment;
use crate::host_error::HostError;
use crate::metrics::Metrics;
use crate::module::Plugin;
use crate::schemes::Schemes;
use crate::users::Users;

/// An instance's way to the host: cheap to clone, and usable from any thread as long as the instance lives. Afterwards
/// everything fails with [`HostError::Closed`]. A clone that outlives the instance keeps nothing of it alive.
///
/// ```
/// # use std::time::Duration;
/// # use porth_plugin::Plugin;
/// # use porth_plugin::prelude::*;
/// async fn with_patience<P: Plugin>(host: &Host<P>, username: &str) -> Result<bool, HostError> {
///     for _ in 0..3 {
///         match host.users().get(username).await {
///             Err(HostError::Busy(_)) => host.timer(Duration::from_millis(100)).await?,
///             found => return Ok(found?.is_some()),
///         }
///     }
///     Err(HostError::Busy("still".to_owned()))
/// }
/// ```
pub struct Host<P> {
    inner: Arc<Inner<P>>,
}

struct Inner<P> {
    environment: Environment,
    name: String,
    generation: u64,
    registrations: Mutex<Option<Registrations<P>>>,
}

impl<P: Plugin> Host<P> {
    pub(crate) fn new(environment: Environment, name: String, generation: u64) -> Self {
        let registrations = Mutex::new(Some(Registrations::default()));
        Self { inner: Arc::new(Inner { environment, name, generation, registrations }) }
    }

    /// Registers endpoints; in [`init`](Plugin::init) only.
    #[must_use]
    pub const fn endpoints(&self) -> Endpoints<'_, P> {
        Endpoints::new(self)
    }

    /// Makes counters, gauges and histograms.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.callbacks())
    }

    /// The instance's name, which is part of its URLs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Which loading of the library this is in this process, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// What the instance keeps in the host's store.
    #[must_use]
    pub fn documents(&self) -> Documents {
        Documents::new(self.callbacks())
    }

    /// The host's ways to authenticate.
    #[must_use]
    pub fn schemes(&self) -> Schemes {
        Schemes::new(self.callbacks())
    }

    /// The host's users.
    #[must_use]
    pub fn users(&self) -> Users {
        Users::new(self.callbacks())
    }

    /// The host's clients, and what users granted to them.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients::new(self.callbacks())
    }

    /// What the host says about itself.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn info(&self) -> Result<HostInfo, HostError> {
        self.callbacks().host_info()
    }

    /// The URL below which the instance's endpoints lie, without a trailing slash.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn external_url(&self) -> Result<String, HostError> {
        self.callbacks().external_url()
    }

    /// The page where a user logs in.
    ///
    /// # Errors
    /// [`HostError::Parameter`] for further parameters that are called as one of the first three.
    pub fn login_url(&self, login: &Login<'_>) -> Result<String, HostError> {
        self.callbacks().login_url(login)
    }

    /// `{TYPE}base64` of some bytes, by a hash that the administrator chooses. For what other programs compare; never for
    /// passwords.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn generate_hash(&self, data: impl AsRef<[u8]>) -> Result<String, HostError> {
        self.callbacks().generate_hash(data.as_ref())
    }

    /// Waits without keeping a thread. Code on threads of its own may sleep as well.
    ///
    /// # Errors
    /// What the host fails with.
    pub async fn timer(&self, delay: Duration) -> Result<(), HostError> {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.callbacks().timer(delay_ms)?.await?;
        Ok(())
    }

    pub(crate) fn callbacks(&self) -> Callbacks {
        self.inner.environment.callbacks
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.inner.environment
    }

    /// Runs `body` with the registrations, unless `init` is over.
    pub(crate) fn with_registrations<R>(&self, body: impl FnOnce(&mut Registrations<P>) -> R) -> Option<R> {
        self.inner.registrations.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(body)
    }

    /// Ends registering and takes what was registered.
    pub(crate) fn take_registrations(&self) -> Registrations<P> {
        self.inner.registrations.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl<P> Clone for Host<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<P: Plugin> std::fmt::Debug for Host<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").field("name", &self.name()).field("generation", &self.generation()).finish()
    }
}

/// What a user is to log in for: see [`Host::login_url`].
///
/// ```
/// # use porth_plugin::{Login, Plugin};
/// # use porth_plugin::prelude::*;
/// fn to_log_in<P: Plugin>(host: &Host<P>) -> Result<Response, Error> {
///     let back = format!("{}/me", host.external_url()?);
///     let url = host.login_url(&Login { scopes: &["mail"], callback_url: Some(&back), ..Login::default() })?;
///     Response::empty(302).with_header("location", url)
/// }
/// ```
#[derive(Clone, Debug, Default, Serialize)]
pub struct Login<'a> {
    /// The client that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// What it asks for.
    #[serde(rename = "scope_list", skip_serializing_if = "<[_]>::is_empty")]
    pub scopes: &'a [&'a str],
    /// Where the user goes afterwards. The page sends nobody to what is not below the host's external URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<&'a str>,
    /// What else the page is told.
    pub parameters: BTreeMap<&'a str, &'a str>,
}

/// What the host says about itself.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct HostInfo {
    /// The host's version.
    pub version: String,
    /// Which loading of the library this is, from 1.
    pub generation: u64,
    /// How clients reach the host, without a trailing slash.
    pub external_url: String,
    /// The first path segment of the API.
    pub api_prefix: String,
    /// The scope that administrators need.
    pub admin_scope: String,
    /// The scope for one's own profile.
    pub profile_scope: String,
    /// The name of the session cookie.
    pub session_cookie_name: String,
}
