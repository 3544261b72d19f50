//! Ways to authenticate beside the password: instances of modules of the kind `scheme`.
//!
//! Start at [`Schemes`]. What a scheme asks for and how it checks it is a plug-in's business, which the runtime asks for
//! us: see [`SchemePort`]. What a proof is worth is decided in `super::login`.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::StoreError;
use super::instances::{InstanceRecord, Instances, Settings};
use super::login::{Origin, SchemeLimits, Schemes as Limits};
use super::username::Username;
use super::users::User;
use crate::store::Db;

/// What can be asked of a scheme, in the order of the hooks of `porth.scheme/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemeHook {
    /// Whether a user can prove something with it.
    CanUse,
    /// Register a user.
    Register,
    /// What is registered of a user.
    RegisterGet,
    /// Forget a user.
    Deregister,
    /// Begin a proof.
    Trigger,
    /// Check a proof.
    Validate,
    /// Check a proof that says whose it is.
    Identify,
}

/// Why a scheme gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// What was sent is wrong: a text for each thing.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// It proves nothing, or the user may not.
    #[error("the scheme refused: {0}")]
    Unauthorized(String),
    /// What was named does not exist.
    #[error("the scheme does not know it: {0}")]
    NotFound(String),
    /// There is one already, or it has changed meanwhile.
    #[error("the scheme has another: {0}")]
    Conflict(String),
    /// This scheme cannot do that.
    #[error("the scheme cannot do that")]
    Unsupported,
    /// Its instance does not run, or has too much to do.
    #[error("the scheme is not available: {0}")]
    Unavailable(String),
    /// It failed; the text is for the log.
    #[error("the scheme failed: {0}")]
    Failed(String),
}

/// The answer of a scheme, later.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Value, AskError>> + Send + 'a>>;

/// The running instances of schemes, as the runtime has them.
pub trait SchemePort: Send + Sync + 'static {
    /// Asks the instance of a name.
    fn ask<'a>(&'a self, scheme: &'a str, hook: SchemeHook, arguments: &'a Value) -> Asking<'a>;
}

/// Whether a user can prove something with a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanUse {
    /// The user cannot have it.
    Unavailable,
    /// The user could register with it.
    Available,
    /// The user is registered.
    Registered,
}

impl CanUse {
    /// As it stands at the border.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unavailable => 0,
            Self::Available => 1,
            Self::Registered => 2,
        }
    }
}

/// A scheme that is enabled.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheme {
    /// The id of its instance.
    pub id: String,
    /// The name of its instance.
    pub name: String,
    /// The name of its module.
    pub module: String,
    /// Its name for people.
    pub display_name: String,
    /// What administrators set of it.
    pub settings: Settings,
}

impl Scheme {
    /// As programs see it, without what only administrators may.
    #[must_use]
    pub fn shown(&self) -> Map<String, Value> {
        let mut shown = self.settings.shown(KIND);
        shown.insert("module".to_owned(), json!(self.module));
        shown.insert("name".to_owned(), json!(self.name));
        shown.insert("display_name".to_owned(), json!(self.display_name));
        shown
    }
}

/// What was sent to a scheme.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// What the scheme is to make of it.
    pub data: Value,
    /// Where it comes from; none where a plug-in asks that does not know.
    pub origin: Option<Origin>,
}

impl Sent {
    /// The arguments of a hook.
    fn arguments(&self, username: Option<&str>) -> Value {
        let request = self.origin.as_ref();
        let request = request.map(|Origin { user_agent, peer }| json!({"peer": peer, "user_agent": user_agent}));
        json!({"username": username, "data": self.data, "request": request})
    }
}

/// Who registers a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The user.
    Themselves,
    /// An administrator, or a plug-in that may.
    Others,
}

/// Why something was not done with a scheme.
#[derive(Debug, thiserror::Error)]
pub enum SchemeError {
    /// There is none of that name that is enabled, or it is of another module.
    #[error("there is no scheme `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// People may not do that themselves.
    #[error("the scheme `{name}` is not for people to manage themselves")]
    Forbidden {
        /// The name.
        name: String,
    },
    /// The scheme gave no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All schemes.
#[derive(Clone)]
pub struct Schemes {
    records: Instances,
    port: Arc<OnceLock<Arc<dyn SchemePort>>>,
}

impl Schemes {
    /// The schemes in a database. They answer nothing before [`connect`](Self::connect).
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { records: Instances::new(db), port: Arc::default() }
    }

    /// Says who asks the running instances; the first time counts.
    pub fn connect(&self, port: Arc<dyn SchemePort>) {
        let _ = self.port.set(port);
    }

    /// All that are enabled, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Vec<Scheme>, StoreError> {
        Ok(self.records.list(Some(KIND)).await?.into_iter().filter_map(enabled).collect())
    }

    /// The one of a name, if it is enabled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, name: &str) -> Result<Option<Scheme>, StoreError> {
        Ok(self.records.get(KIND, name).await?.and_then(enabled))
    }

    /// The one of a name, which must be of a module if one is given.
    ///
    /// # Errors
    /// Unknown, or when the store fails.
    pub async fn find(&self, module: Option<&str>, name: &str) -> Result<Scheme, SchemeError> {
        let scheme = self.get(name).await?.filter(|scheme| module.is_none_or(|module| module == scheme.module));
        scheme.ok_or_else(|| SchemeError::Unknown { name: name.to_owned() })
    }

    /// What the proofs of the enabled schemes are worth.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn limits(&self) -> Result<Limits, StoreError> {
        let limits = |Settings { expiration_s, use_max, .. }: Settings| SchemeLimits { expiration_s, use_max };
        let settings = self.records.settings(KIND).await?.into_iter();
        Ok(settings.map(|(name, settings)| (name, limits(settings))).collect())
    }

    /// Whether a user can prove something with a scheme.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn can_use(&self, scheme: &Scheme, username: &Username) -> Result<CanUse, AskError> {
        let answer = self.ask(scheme, SchemeHook::CanUse, &json!({"username": username.as_str()})).await?;
        match answer.as_u64() {
            Some(0) => Ok(CanUse::Unavailable),
            Some(1) => Ok(CanUse::Available),
            Some(2) => Ok(CanUse::Registered),
            _ => Err(AskError::Failed("`can_use` answered none of 0, 1, 2".to_owned())),
        }
    }

    /// Registers a user with a scheme, or goes a step on with it. Gives what the scheme answers.
    ///
    /// # Errors
    /// [`SchemeError`].
    pub async fn register(&self, scheme: &Scheme, user: &User, sent: &Sent, by: By) -> Result<Value, SchemeError> {
        self.check_by(scheme, by, scheme.settings.allow_user_register)?;
        let arguments = sent.arguments(Some(user.username.as_str()));
        Ok(self.ask(scheme, SchemeHook::Register, &arguments).await?)
    }

    /// What is registered of a user.
    ///
    /// # Errors
    /// [`SchemeError`].
    pub async fn registration(&self, scheme: &Scheme, user: &User, sent: &Sent, by: By) -> Result<Value, SchemeError> {
        self.check_by(scheme, by, true)?;
        let arguments = sent.arguments(Some(user.username.as_str()));
        Ok(self.ask(scheme, SchemeHook::RegisterGet, &arguments).await?)
    }

    /// Forgets a user's registration.
    ///
    /// # Errors
    /// [`SchemeError`].
    pub async fn deregister(&self, scheme: &Scheme, user: &User, sent: &Sent) -> Result<Value, SchemeError> {
        let arguments = sent.arguments(Some(user.username.as_str()));
        Ok(self.ask(scheme, SchemeHook::Deregister, &arguments).await?)
    }

    /// Begins a proof. Without a user nobody is told yet.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn trigger(&self, scheme: &Scheme, user: Option<&User>, sent: &Sent) -> Result<Value, AskError> {
        let username = user.map(|user| user.username.as_str());
        self.ask(scheme, SchemeHook::Trigger, &sent.arguments(username)).await
    }

    /// Checks a proof of a user, who must be registered.
    ///
    /// # Errors
    /// [`AskError`], Unauthorized when it proves nothing.
    pub async fn validate(&self, scheme: &Scheme, username: &Username, sent: &Sent) -> Result<(), AskError> {
        if self.can_use(scheme, username).await? != CanUse::Registered {
            return Err(AskError::Unauthorized("the user is not registered".to_owned()));
        }
        let arguments = sent.arguments(Some(username.as_str()));
        self.ask(scheme, SchemeHook::Validate, &arguments).await.map(drop)
    }

    /// Checks a proof that says whose it is. Gives the name as the scheme says it.
    ///
    /// # Errors
    /// [`AskError`], Unauthorized when it proves nothing.
    pub async fn identify(&self, scheme: &Scheme, sent: &Sent) -> Result<String, AskError> {
        let answer = self.ask(scheme, SchemeHook::Identify, &sent.arguments(None)).await?;
        let username = answer.get("username").and_then(Value::as_str).map(str::to_owned);
        username.ok_or_else(|| AskError::Failed("`identify` answered no username".to_owned()))
    }

    fn check_by(&self, scheme: &Scheme, by: By, allowed: bool) -> Result<(), SchemeError> {
        if by == By::Others || (allowed && !scheme.settings.forbid_user_profile) {
            Ok(())
        } else {
            Err(SchemeError::Forbidden { name: scheme.name.clone() })
        }
    }

    async fn ask(&self, scheme: &Scheme, hook: SchemeHook, arguments: &Value) -> Result<Value, AskError> {
        match self.port.get() {
            Some(port) => port.ask(&scheme.name, hook, arguments).await,
            None => Err(AskError::Unavailable("nothing runs yet".to_owned())),
        }
    }
}

fn enabled(record: InstanceRecord) -> Option<Scheme> {
    let InstanceRecord { id, name, module, display_name, settings, enabled, .. } = record;
    enabled.then_some(Scheme { id, name, module, display_name, settings })
}

/// The kind of the modules.
const KIND: &str = "scheme";
