//! Ways to authenticate: modules of the kind `scheme`.
//!
//! Start at [`Scheme`].

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::block_on::block_on;
use crate::hooks::{Extends, Extension, HookAnswer, HookError, answer, arguments};
use crate::module::Plugin;

/// Whether a user can prove something with a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CanUse {
    /// This user cannot have it.
    Unavailable,
    /// The user could register with it.
    Available,
    /// The user is registered.
    Registered,
}

impl<'de> Deserialize<'de> for CanUse {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Unavailable),
            1 => Ok(Self::Available),
            2 => Ok(Self::Registered),
            other => Err(serde::de::Error::custom(format!("{other}, expected 0, 1 or 2"))),
        }
    }
}

impl CanUse {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Unavailable => 0,
            Self::Available => 1,
            Self::Registered => 2,
        }
    }
}

/// What a client sent to a scheme.
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct Sent {
    /// Any JSON.
    #[serde(default)]
    pub data: Value,
    #[serde(default)]
    request: Option<Origin>,
}

#[derive(Clone, Debug, Deserialize)]
struct Origin {
    #[serde(default)]
    peer: String,
    #[serde(default)]
    user_agent: String,
}

impl Sent {
    /// Reads the data. `expected` is what a client is told that sent something else.
    ///
    /// # Errors
    /// [`HookError::Invalid`].
    pub fn read<T: DeserializeOwned>(&self, expected: &str) -> Result<T, HookError> {
        T::deserialize(&self.data).map_err(|_| HookError::invalid(format!("expected {expected}")))
    }

    /// The address that it comes from, where it comes from a client and that is known.
    #[must_use]
    pub fn peer(&self) -> Option<&str> {
        self.request.as_ref().map(|origin| origin.peer.as_str()).filter(|peer| !peer.is_empty())
    }

    /// What the client says of itself, if it comes from one.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.request.as_ref().map(|origin| origin.user_agent.as_str()).filter(|text| !text.is_empty())
    }
}

/// A way to authenticate beside the password, such as a code by mail or a key.
///
/// For a module of [`Kind::Scheme`](crate::Kind::Scheme), exported with `export_plugin!(Code: Scheme)`. Usernames come
/// normalised; the users exist. What a user has registered belongs into [`Documents`](crate::Documents) that go with the
/// user. It is called on threads of the instance's own, many at once, and may block.
///
/// ```standalone_crate
/// use porth_plugin::prelude::*;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Parameters {
///     code: String,
/// }
///
/// /// Everybody has the same code.
/// struct Code {
///     code: String,
/// }
///
/// impl Plugin for Code {
///     const MODULE: Module = Module::new("code", "Code", "One code for all").kind(Kind::Scheme);
///     type Parameters = Parameters;
///
///     async fn init(_: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
///         Ok(Self { code: parameters.code })
///     }
/// }
///
/// impl Scheme for Code {
///     async fn can_use(&self, _username: &str) -> Result<CanUse, HookError> {
///         Ok(CanUse::Registered)
///     }
///
///     async fn validate(&self, _username: &str, sent: Sent) -> Result<(), HookError> {
///         if sent.data["code"] == self.code { Ok(()) } else { Err(HookError::unauthorized("another code")) }
///     }
/// }
///
/// export_plugin!(Code: Scheme);
/// # fn main() {}
/// ```
pub trait Scheme: Plugin {
    /// Whether the user can prove something with it.
    ///
    /// # Errors
    /// When that cannot be told.
    fn can_use(&self, username: &str) -> impl Future<Output = Result<CanUse, HookError>> + Send;

    /// Registers the user, goes a step on with it, or registers anew. Answers what the client gets.
    ///
    /// # Errors
    /// Invalid for data that is wrong, Unauthorized for a user who may not; Unsupported where nobody registers.
    fn register(&self, username: &str, sent: Sent) -> impl Future<Output = Result<Value, HookError>> + Send {
        let _ = (username, sent);
        async { Err(HookError::Unsupported) }
    }

    /// What a client gets to know of the user's registration. Nothing is sent but where the question comes from.
    ///
    /// # Errors
    /// When that cannot be told.
    fn registration(&self, username: &str, sent: Sent) -> impl Future<Output = Result<Value, HookError>> + Send {
        let _ = (username, sent);
        async { Ok(Value::Null) }
    }

    /// Forgets the user's registration, if there is one. The user may be gone already; whoever has the name next must find
    /// nothing.
    ///
    /// # Errors
    /// When that failed.
    fn deregister(&self, username: &str) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = username;
        async { Ok(()) }
    }

    /// Begins a proof, as sending a code does. Answers what the client gets. Without a username nobody is told yet: for
    /// schemes that [`identify`](Self::identify).
    ///
    /// # Errors
    /// Unauthorized for a user who is not registered, Invalid for data that is wrong.
    fn trigger(&self, username: Option<&str>, sent: Sent) -> impl Future<Output = Result<Value, HookError>> + Send {
        let _ = (username, sent);
        async { Ok(Value::Null) }
    }

    /// Checks a proof.
    ///
    /// # Errors
    /// Unauthorized when it proves nothing, Invalid when it is none.
    fn validate(&self, username: &str, sent: Sent) -> impl Future<Output = Result<(), HookError>> + Send;

    /// Checks a proof that also says whose it is, and answers the username.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); Unsupported where a username must be known before.
    fn identify(&self, sent: Sent) -> impl Future<Output = Result<String, HookError>> + Send {
        let _ = sent;
        async { Err(HookError::Unsupported) }
    }
}

/// Stands for [`Scheme`] in `export_plugin!`.
#[derive(Debug)]
pub enum Hooks {}

#[derive(Deserialize)]
struct OfUser {
    username: String,
    #[serde(flatten)]
    sent: Sent,
}

#[derive(Deserialize)]
struct OfAnybody {
    username: Option<String>,
    #[serde(flatten)]
    sent: Sent,
}

impl<P: Scheme> Extends<P> for Hooks {
    const EXTENSION: Extension = Extension::Scheme;

    fn call(plugin: &P, hook: usize, given: &[u8]) -> HookAnswer {
        if let 4 | 6 = hook {
            let OfAnybody { username, sent } = arguments(given)?;
            return match hook {
                4 => answer(block_on(plugin.trigger(username.as_deref(), sent))),
                _ => answer(block_on(plugin.identify(sent)).map(|username| json!({ "username": username }))),
            };
        }
        let OfUser { username, sent } = arguments(given)?;
        match hook {
            0 => answer(block_on(plugin.can_use(&username)).map(CanUse::number)),
            1 => answer(block_on(plugin.register(&username, sent))),
            2 => answer(block_on(plugin.registration(&username, sent))),
            3 => answer(block_on(plugin.deregister(&username))),
            5 => answer(block_on(plugin.validate(&username, sent))),
            _ => Err(HookError::Unsupported),
        }
    }
}
