//! People and applications that others keep: modules of the kinds `user` and `client`.
//!
//! Start at [`UserBackEnd`] and [`ClientBackEnd`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::block_on::block_on;
use crate::hooks::{Extends, Extension, HookAnswer, HookError, answer, arguments};
use crate::module::Plugin;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// What must occur in a record; empty means all.
    pub pattern: String,
    /// How many to leave out.
    pub offset: u32,
    /// How many at most.
    pub limit: u32,
}

impl Part {
    /// The part of what was found.
    pub fn of<T>(&self, found: impl IntoIterator<Item = T>) -> Vec<T> {
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        found.into_iter().skip(offset).take(usize::try_from(self.limit).unwrap_or(usize::MAX)).collect()
    }
}

/// A person, as a back end keeps them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptUser {
    /// What the person logs in by; the host normalises it.
    pub username: String,
    /// The name for people.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// What the person may ask for.
    pub scope: Vec<String>,
    /// Whether the person may log in.
    pub enabled: bool,
    /// Anything else.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// An application, as a back end keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptClient {
    /// What it calls itself.
    pub client_id: String,
    /// The name for people.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Whether it can keep a secret, and must show it.
    pub confidential: bool,
    /// How it may ask: `code`, `client_credentials`, …
    pub authorization_type: Vec<String>,
    /// Where people may be sent back to.
    pub redirect_uri: Vec<String>,
    /// What it may ask for in its own name.
    pub scope: Vec<String>,
    /// Whether it may ask at all.
    pub enabled: bool,
    /// Anything else.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// What becomes of a secret. Its `Debug` form does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Secret {
    /// It stays as it is; of somebody who is added, there is none.
    #[default]
    Keep,
    /// None opens any more.
    Remove,
    /// Another.
    Set(String),
    /// Several, where administrators let people have several passwords (`multiple_passwords`): each in the place of the one
    /// that is there, an empty text for the one that is there; those beyond the list go.
    Several(Vec<String>),
}

impl Secret {
    /// Changes what is kept, where one is kept: of several, the first that is new.
    pub fn apply(self, kept: &mut Option<String>) {
        match self {
            Self::Keep => {}
            Self::Remove => *kept = None,
            Self::Set(secret) => *kept = Some(secret),
            Self::Several(secrets) if secrets.is_empty() => *kept = None,
            Self::Several(secrets) => *kept = secrets.into_iter().find(|secret| !secret.is_empty()).or(kept.take()),
        }
    }

    fn take(properties: &mut Map<String, Value>, field: &str) -> Self {
        match properties.remove(field) {
            None => Self::Keep,
            Some(Value::String(secret)) => Self::Set(secret),
            Some(Value::Array(secrets)) => Self::Several(
                secrets.into_iter().map(|secret| secret.as_str().unwrap_or_default().to_owned()).collect(),
            ),
            Some(_) => Self::Remove,
        }
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Keep => "Keep",
            Self::Remove => "Remove",
            Self::Set(_) => "Set",
            Self::Several(_) => "Several",
        })
    }
}

/// What becomes of the secrets of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// A password that a person chose.
    pub password: Secret,
    /// The `client_secret`.
    pub client_secret: Secret,
}

/// People whom something else than the host keeps, such as a directory.
///
/// For a module of [`Kind::User`](crate::Kind::User), exported with `export_plugin!(Directory: UserBackEnd)`. Usernames
/// come normalised: lower case, Unicode form KC. The host gives everybody whom it sees an identity of its own, so that
/// sessions and grants work as for its own people; a name belongs to the back end that the host first saw it at. It is
/// called on threads of the instance's own, many at once, and may block. What the instance cannot do it leaves out.
///
/// ```standalone_crate
/// use porth_plugin::prelude::*;
/// use porth_plugin::{KeptUser, Part};
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Parameters {
///     password: String,
/// }
///
/// /// Knows one person.
/// struct Alone {
///     password: String,
/// }
///
/// impl Plugin for Alone {
///     const MODULE: Module = Module::new("alone", "Alone", "One person").kind(Kind::User);
///     type Parameters = Parameters;
///
///     async fn init(_: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
///         Ok(Self { password: parameters.password })
///     }
/// }
///
/// impl UserBackEnd for Alone {
///     async fn count(&self, pattern: &str) -> Result<u64, HookError> {
///         Ok(u64::from("crusoe".contains(pattern)))
///     }
///
///     async fn list(&self, part: Part) -> Result<Vec<KeptUser>, HookError> {
///         let found = self.get("crusoe").await?.filter(|user| user.username.contains(&part.pattern));
///         Ok(part.of(found))
///     }
///
///     async fn get(&self, username: &str) -> Result<Option<KeptUser>, HookError> {
///         let crusoe = KeptUser { username: "crusoe".to_owned(), enabled: true, ..KeptUser::default() };
///         Ok((username == "crusoe").then_some(crusoe))
///     }
///
///     async fn check_password(&self, username: &str, password: &str) -> Result<bool, HookError> {
///         Ok(username == "crusoe" && password == self.password)
///     }
/// }
///
/// export_plugin!(Alone: UserBackEnd);
/// # fn main() {}
/// ```
pub trait UserBackEnd: Plugin {
    /// How many people a pattern finds; the empty one finds all.
    ///
    /// # Errors
    /// When that cannot be told.
    fn count(&self, pattern: &str) -> impl Future<Output = Result<u64, HookError>> + Send;

    /// A part of the people whom a pattern finds, always in the same order.
    ///
    /// # Errors
    /// When that cannot be told.
    fn list(&self, part: Part) -> impl Future<Output = Result<Vec<KeptUser>, HookError>> + Send;

    /// The person of a name, as administrators may see them.
    ///
    /// # Errors
    /// When that cannot be told; `None` says that there is nobody, and then the name is free for others.
    fn get(&self, username: &str) -> impl Future<Output = Result<Option<KeptUser>, HookError>> + Send;

    /// The person of a name, as they may see themselves.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn profile(&self, username: &str) -> impl Future<Output = Result<Option<KeptUser>, HookError>> + Send {
        self.get(username)
    }

    /// Adds a person.
    ///
    /// # Errors
    /// Invalid for one who cannot be, Conflict for a name that somebody has.
    fn add(&self, user: KeptUser, password: Secret) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = (user, password);
        async { Err(HookError::Unsupported) }
    }

    /// Replaces what is known of a person.
    ///
    /// # Errors
    /// Invalid for what cannot be, NotFound for nobody.
    fn set(
        &self,
        username: &str,
        user: KeptUser,
        password: Secret,
    ) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = (username, user, password);
        async { Err(HookError::Unsupported) }
    }

    /// Deletes a person.
    ///
    /// # Errors
    /// NotFound for nobody.
    fn delete(&self, username: &str) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = username;
        async { Err(HookError::Unsupported) }
    }

    /// Whether a password is the right one. Whether the person is enabled is the host's to look at.
    ///
    /// # Errors
    /// When that cannot be told.
    fn check_password(&self, username: &str, password: &str) -> impl Future<Output = Result<bool, HookError>> + Send;

    /// Replaces a password.
    ///
    /// # Errors
    /// Invalid for one that cannot be, NotFound for nobody.
    fn set_password(&self, username: &str, password: &str) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = (username, password);
        async { Err(HookError::Unsupported) }
    }
}

/// Applications that something else than the host keeps.
///
/// For a module of [`Kind::Client`](crate::Kind::Client), exported with `export_plugin!(Registry: ClientBackEnd)`. As with
/// [`UserBackEnd`], a client id belongs to the back end that the host first saw it at. What it cannot do it leaves out: the host
/// answers for it that this is not supported. The host asks many things at once, on the instance's runtime or threads.
///
/// ```standalone_crate
/// # use std::collections::BTreeMap;
/// # use porth_plugin::prelude::*;
/// use porth_plugin::{KeptClient, Part};
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Parameters {
///     /// Secrets by client id.
///     clients: BTreeMap<String, String>,
/// }
///
/// struct Registry(BTreeMap<String, String>);
///
/// impl Registry {
///     fn found(&self, pattern: &str) -> impl Iterator<Item = KeptClient> {
///         let ids = self.0.keys().filter(move |id| id.contains(pattern));
///         ids.map(|id| KeptClient { client_id: id.clone(), enabled: true, ..KeptClient::default() })
///     }
/// }
///
/// impl ClientBackEnd for Registry {
///     async fn count(&self, pattern: &str) -> Result<u64, HookError> {
///         Ok(u64::try_from(self.found(pattern).count())?)
///     }
///
///     async fn list(&self, part: Part) -> Result<Vec<KeptClient>, HookError> {
///         Ok(part.of(self.found(&part.pattern)))
///     }
///
///     async fn get(&self, client_id: &str) -> Result<Option<KeptClient>, HookError> {
///         Ok(self.found(client_id).find(|client| client.client_id == client_id))
///     }
///
///     async fn check_secret(&self, client_id: &str, secret: &str) -> Result<bool, HookError> {
///         Ok(self.0.get(client_id).is_some_and(|known| known == secret))
///     }
/// }
/// # impl Plugin for Registry {
/// #     const MODULE: Module = Module::new("registry", "Registry", "").kind(Kind::Client);
/// #     type Parameters = Parameters;
/// #     async fn init(_: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
/// #         Ok(Self(parameters.clients))
/// #     }
/// # }
///
/// export_plugin!(Registry: ClientBackEnd);
/// # fn main() {}
/// ```
pub trait ClientBackEnd: Plugin {
    /// How many applications a pattern finds; the empty one finds all.
    ///
    /// # Errors
    /// When that cannot be told.
    fn count(&self, pattern: &str) -> impl Future<Output = Result<u64, HookError>> + Send;

    /// A part of the applications that a pattern finds, always in the same order.
    ///
    /// # Errors
    /// When that cannot be told.
    fn list(&self, part: Part) -> impl Future<Output = Result<Vec<KeptClient>, HookError>> + Send;

    /// The application of a client id.
    ///
    /// # Errors
    /// When that cannot be told; `None` says that there is none.
    fn get(&self, client_id: &str) -> impl Future<Output = Result<Option<KeptClient>, HookError>> + Send;

    /// Adds an application.
    ///
    /// # Errors
    /// Invalid for one that cannot be, Conflict for a client id that another has.
    fn add(&self, client: KeptClient, secrets: Secrets) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = (client, secrets);
        async { Err(HookError::Unsupported) }
    }

    /// Replaces what is known of an application.
    ///
    /// # Errors
    /// Invalid for what cannot be, NotFound for none.
    fn set(
        &self,
        client_id: &str,
        client: KeptClient,
        secrets: Secrets,
    ) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = (client_id, client, secrets);
        async { Err(HookError::Unsupported) }
    }

    /// Deletes an application.
    ///
    /// # Errors
    /// NotFound for none.
    fn delete(&self, client_id: &str) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = client_id;
        async { Err(HookError::Unsupported) }
    }

    /// Whether a password or client secret is a right one. Whether the application is enabled is the host's to look at.
    ///
    /// # Errors
    /// When that cannot be told.
    fn check_secret(&self, client_id: &str, secret: &str) -> impl Future<Output = Result<bool, HookError>> + Send;
}

/// Stands for [`UserBackEnd`] in `export_plugin!`.
#[derive(Debug)]
pub enum UserHooks {}

/// Stands for [`ClientBackEnd`] in `export_plugin!`.
#[derive(Debug)]
pub enum ClientHooks {}

/// What all hooks of back ends get; each looks at what it was promised.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Given<R> {
    pattern: String,
    #[serde(alias = "client_id")]
    username: String,
    profile: bool,
    #[serde(alias = "client")]
    user: R,
    #[serde(alias = "secret")]
    password: String,
}

impl<P: UserBackEnd> Extends<P> for UserHooks {
    const EXTENSION: Extension = Extension::UserBackEnd;

    fn call(plugin: &P, hook: usize, given: &[u8]) -> HookAnswer {
        if hook == 1 {
            return answer(block_on(plugin.list(arguments(given)?)));
        }
        let Given::<KeptUser> { pattern, username, profile, mut user, password } = arguments(given)?;
        match hook {
            0 => answer(block_on(plugin.count(&pattern))),
            2 if profile => answer(block_on(plugin.profile(&username))),
            2 => answer(block_on(plugin.get(&username))),
            3 | 4 => {
                let password = Secret::take(&mut user.properties, "password");
                answer(match hook {
                    3 => block_on(plugin.add(user, password)),
                    _ => block_on(plugin.set(&username, user, password)),
                })
            }
            5 => answer(block_on(plugin.delete(&username))),
            6 => answer(block_on(plugin.check_password(&username, &password)).and_then(right)),
            7 => answer(block_on(plugin.set_password(&username, &password))),
            _ => Err(HookError::Unsupported),
        }
    }
}

impl<P: ClientBackEnd> Extends<P> for ClientHooks {
    const EXTENSION: Extension = Extension::ClientBackEnd;

    fn call(plugin: &P, hook: usize, given: &[u8]) -> HookAnswer {
        if hook == 1 {
            return answer(block_on(plugin.list(arguments(given)?)));
        }
        let Given::<KeptClient> { pattern, username: id, user: mut client, password, .. } = arguments(given)?;
        match hook {
            0 => answer(block_on(plugin.count(&pattern))),
            2 => answer(block_on(plugin.get(&id))),
            3 | 4 => {
                let mut take = |field| Secret::take(&mut client.properties, field);
                let secrets = Secrets { password: take("password"), client_secret: take("client_secret") };
                answer(match hook {
                    3 => block_on(plugin.add(client, secrets)),
                    _ => block_on(plugin.set(&id, client, secrets)),
                })
            }
            5 => answer(block_on(plugin.delete(&id))),
            6 => answer(block_on(plugin.check_secret(&id, &password)).and_then(right)),
            _ => Err(HookError::Unsupported),
        }
    }
}

fn right(right: bool) -> Result<(), HookError> {
    if right { Ok(()) } else { Err(HookError::unauthorized("it is another one")) }
}
