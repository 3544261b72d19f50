//! What becomes of people's records on their way, and of what instances keep of people: modules of the kind
//! `user_middleware`, and [`UserRevoke`] for those of any kind.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::block_on::block_on;
use crate::hooks::{Extends, Extension, HookAnswer, HookError, answer, arguments};
use crate::module::Plugin;

/// Changes people's records between whoever keeps them and everybody else.
///
/// For a module of [`Kind::UserMiddleware`](crate::Kind::UserMiddleware), exported with
/// `export_plugin!(Marker: UserMiddleware)`. A record is a JSON object with `username`, `name`, `email`, `scope`, `enabled`
/// and whatever else there is. It is called on threads of the instance's own, many at once, and may block; every log-in
/// waits for it.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # use porth_plugin::serde_json::{Map, Value};
/// # struct Marker { mark: String }
/// # impl Plugin for Marker {
/// #     const MODULE: Module = Module::new("marker", "Marker", "").kind(Kind::UserMiddleware);
/// #     type Parameters = std::collections::BTreeMap<String, String>;
/// #     async fn init(_: Host<Self>, _: Self::Parameters) -> Result<Self, InitError> {
/// #         Ok(Self { mark: String::new() })
/// #     }
/// # }
/// type Record = Map<String, Value>;
///
/// impl UserMiddleware for Marker {
///     async fn show(&self, _username: &str, _profile: bool, mut user: Record) -> Result<Record, HookError> {
///         user.insert("mark".to_owned(), self.mark.clone().into());
///         Ok(user)
///     }
///
///     async fn store(&self, _username: &str, mut user: Record) -> Result<Record, HookError> {
///         user.remove("mark");
///         Ok(user)
///     }
/// }
/// ```
pub trait UserMiddleware: Plugin {
    /// The record as it is to be shown: with `profile` to the person, else to administrators and for log-ins.
    ///
    /// # Errors
    /// Then the person is not shown at all.
    fn show(
        &self,
        username: &str,
        profile: bool,
        user: Map<String, Value>,
    ) -> impl Future<Output = Result<Map<String, Value>, HookError>> + Send;

    /// The record as it is to be stored. Of a person who is changed it holds only what changes, and null where a property is
    /// to go.
    ///
    /// # Errors
    /// Invalid for what must not be stored.
    fn store(
        &self,
        username: &str,
        user: Map<String, Value>,
    ) -> impl Future<Output = Result<Map<String, Value>, HookError>> + Send;

    /// A person was deleted.
    ///
    /// # Errors
    /// Only for the host's log: the person is gone.
    fn delete(&self, username: &str) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = username;
        async { Ok(()) }
    }
}

/// Hears of people who were deleted.
///
/// For modules of any kind, exported with `export_plugin!(Tokens: UserRevoke)`. Documents that go with a user need no such
/// help. It is called on threads of the instance's own and may block; somebody waits for it.
///
/// ```
/// # use std::collections::BTreeSet;
/// # use std::sync::Mutex;
/// # use porth_plugin::prelude::*;
/// # struct Tokens { issued: Mutex<BTreeSet<String>> }
/// # impl Plugin for Tokens {
/// #     const MODULE: Module = Module::new("tokens", "Tokens", "");
/// #     type Parameters = std::collections::BTreeMap<String, String>;
/// #     async fn init(_: Host<Self>, _: Self::Parameters) -> Result<Self, InitError> {
/// #         Ok(Self { issued: Mutex::default() })
/// #     }
/// # }
/// impl UserRevoke for Tokens {
///     async fn user_revoke(&self, username: &str) -> Result<(), HookError> {
///         let mut issued = self.issued.lock().map_err(|_| HookError::failed("a lock is poisoned"))?;
///         issued.remove(username);
///         Ok(())
///     }
/// }
/// ```
pub trait UserRevoke: Plugin {
    /// A person was deleted: whatever was issued to that name must not count any more. It may come for somebody of whom this
    /// instance never heard, and it is no way to forbid it.
    ///
    /// # Errors
    /// Only for the host's log.
    fn user_revoke(&self, username: &str) -> impl Future<Output = Result<(), HookError>> + Send;
}

/// Stands for [`UserMiddleware`] in `export_plugin!`.
#[derive(Debug)]
pub enum MiddlewareHooks {}

/// Stands for [`UserRevoke`] in `export_plugin!`.
#[derive(Debug)]
pub enum RevokeHooks {}

#[derive(Deserialize)]
struct Given {
    username: String,
    #[serde(default)]
    profile: bool,
    #[serde(default)]
    user: Map<String, Value>,
}

impl<P: UserMiddleware> Extends<P> for MiddlewareHooks {
    const EXTENSION: Extension = Extension::UserMiddleware;

    fn call(plugin: &P, hook: usize, given: &[u8]) -> HookAnswer {
        let Given { username, profile, user } = arguments(given)?;
        match hook {
            0 => answer(block_on(plugin.show(&username, profile, user))),
            1 => answer(block_on(plugin.store(&username, user))),
            2 => answer(block_on(plugin.delete(&username))),
            _ => Err(HookError::Unsupported),
        }
    }
}

impl<P: UserRevoke> Extends<P> for RevokeHooks {
    const EXTENSION: Extension = Extension::UserRevoke;

    fn call(plugin: &P, hook: usize, given: &[u8]) -> HookAnswer {
        let Given { username, .. } = arguments(given)?;
        match hook {
            0 => answer(block_on(plugin.user_revoke(&username))),
            _ => Err(HookError::Unsupported),
        }
    }
}
