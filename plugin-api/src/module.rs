//! What a plug-in is: the trait that an author implements, and how it describes itself.
//!
//! Start at [`Plugin`].

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::documents::{Documents, Operation};
use crate::error::chain;
use crate::host::Host;

/// A module of a library, and what one of its instances keeps.
///
/// ```
/// use std::sync::Mutex;
///
/// use porth_plugin::prelude::*;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Parameters {}
///
/// /// Knows how often it was asked, until it is reset.
/// struct Counter {
///     count: Mutex<u64>,
/// }
///
/// impl Plugin for Counter {
///     const MODULE: Module = Module::new("counter", "Counter", "Counts until it is reset");
///     type Parameters = Parameters;
///
///     async fn init(host: Host<Self>, _: Parameters) -> Result<Self, InitError> {
///         host.endpoints().post("/count", Self::count).auth(Auth::None).short().add()?;
///         Ok(Self { count: Mutex::new(0) })
///     }
/// }
///
/// impl Counter {
///     fn count(&self, _: &Request) -> Result<Response, Error> {
///         let mut count = self.count.lock().map_err(|_| Error::internal("a handler panicked"))?;
///         *count += 1;
///         Response::json(&*count)
///     }
/// }
/// ```
///
/// The host makes an instance by [`init`](Self::init) for each name and set of parameters that an administrator
/// declares. All its handlers share it, from many threads at once.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// How the module describes itself.
    const MODULE: Module;

    /// What an administrator configures. The type's JSON Schema makes the form, and the host checks parameters against
    /// it before `init`. For a module without parameters use a struct without fields.
    type Parameters: DeserializeOwned + JsonSchema;

    /// Makes an instance and registers its endpoints with [`Host::endpoints`].
    ///
    /// It runs on a thread of the instance's own and may block, within the host's deadline. It may run while a predecessor
    /// of the same instance lives, in this process or another, and parameters that it refuses leave no instance behind.
    ///
    /// # Errors
    /// [`InitError`]: either everything that is wrong with the parameters, or why it failed.
    fn init(host: Host<Self>, parameters: Self::Parameters) -> impl Future<Output = Result<Self, InitError>> + Send;

    /// Works out how the documents of an instance become those of the next version; called before [`init`](Self::init) for
    /// each version that they lack of the one in [`Module::documents`], `from` being the one that they have. The host makes
    /// the changes and remembers the version, all at once. Without a function of its own a module changes nothing.
    ///
    /// It reads with `documents`, which changes nothing here. A change by the version that was read
    /// ([`Collection::update`](crate::Collection::update)) loses nothing that somebody else writes in between: this is
    /// called again then. It runs on a thread of the instance's own and may block, within the host's deadline.
    ///
    /// A predecessor may be at work, in this process or another, until the new instance takes over, and goes on if that
    /// fails: what a step leaves must be such that the version before can still read it, and this version must be able to
    /// read what that still writes. Take away only what the version before does not need any more.
    ///
    /// ```
    /// # use porth_plugin::prelude::*;
    /// # use porth_plugin::serde_json::Value;
    /// # async fn migrate(from: u64, documents: Documents) -> Result<Vec<Operation>, InitError> {
    /// let notes = documents.collection::<Value>("notes");
    /// let mut changes = Vec::new();
    /// if from == 1 {
    ///     // Notes have a colour from version 2 on.
    ///     for mut note in notes.list().all().await? {
    ///         note.value["colour"] = json!("yellow");
    ///         changes.push(notes.update(&note.key, &note.value, note.version).into());
    ///     }
    /// }
    /// Ok(changes)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InitError`] with the reason: nothing is changed, the instance is not started, and a predecessor goes on.
    fn migrate(from: u64, documents: Documents) -> impl Future<Output = Result<Vec<Operation>, InitError>> + Send {
        let _ = (from, documents);
        async { Ok(Vec::new()) }
    }

    /// Ends an instance; afterwards it is dropped. No request is under way any more.
    ///
    /// It runs on a thread of the instance's own and may block, within the host's deadline. It may never be called, as
    /// when the process crashes: what must last belongs in the host's store.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// How a module describes itself to administrators.
///
/// ```
/// # use porth_plugin::prelude::*;
/// const MODULE: Module = Module::new("orders", "Orders", "Takes orders")
///     .needs(&[Right::Sessions, Right::UsersRead])
///     .documents(1, &[("orders", &["owner"])]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Module {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) display_name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) needs: &'static [Right],
    pub(crate) documents_version: u32,
    pub(crate) index_fields: &'static [(&'static str, &'static [&'static str])],
    #[cfg(feature = "tokio")]
    pub(crate) tokio_threads: usize,
}

impl Module {
    /// A module of the kind `plugin`: its name for programs (unique in the host), its name for people, and what it does
    /// in a sentence.
    #[must_use]
    pub const fn new(name: &'static str, display_name: &'static str, description: &'static str) -> Self {
        Self {
            kind: Kind::Plugin.name(),
            name,
            display_name,
            description,
            needs: &[],
            documents_version: 0,
            index_fields: &[],
            #[cfg(feature = "tokio")]
            tokio_threads: 0,
        }
    }

    /// What the module's instances are for, if not for endpoints.
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind.name();
        self
    }

    /// Which callbacks the module uses. Those that it does not ask for here are denied; endpoints, log and timers need no
    /// right.
    #[must_use]
    pub const fn needs(mut self, rights: &'static [Right]) -> Self {
        self.needs = rights;
        self
    }

    /// What form the module's [documents](crate::Documents) have: a version, 0 to 1 000 000, and for each collection the
    /// fields that it is [listed by](crate::Collection::list), up to 16: members of its documents that hold booleans,
    /// numbers, or texts of at most 512 bytes. Documents with a longer text there are refused.
    ///
    /// Documents of a lower version are [migrated](Plugin::migrate) before `init`; those of a higher one keep an instance
    /// from starting. Fields may be added at any time: what is there is indexed before the next `init`. Those that are
    /// taken away are gone with the next version.
    ///
    /// ```
    /// # use porth_plugin::prelude::*;
    /// const MODULE: Module =
    ///     Module::new("notes", "Notes", "Keeps notes").documents(1, &[("notes", &["owner", "due"])]);
    /// ```
    #[must_use]
    pub const fn documents(
        mut self,
        version: u32,
        index_fields: &'static [(&'static str, &'static [&'static str])],
    ) -> Self {
        self.documents_version = version;
        self.index_fields = index_fields;
        self
    }

    /// Each instance gets a tokio runtime of its own with this many threads, for what needs one: connections, timers,
    /// spawned tasks. It is there from before `init` until after `close`, around every call and poll.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub const fn tokio(mut self, threads: usize) -> Self {
        self.tokio_threads = threads;
        self
    }
}

/// What instances of a module are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// They have endpoints.
    Plugin,
    /// They are ways to authenticate: see [`Scheme`](crate::Scheme).
    Scheme,
    /// They hold users.
    User,
    /// They hold clients.
    Client,
    /// They change users between a back end and everybody else.
    UserMiddleware,
}

impl Kind {
    /// The kind's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Scheme => "scheme",
            Self::User => "user",
            Self::Client => "client",
            Self::UserMiddleware => "user_middleware",
        }
    }
}

/// A group of the host's callbacks. A module names those that it needs, an administrator may grant fewer, and what is not
/// granted fails with [`HostError::Denied`](crate::HostError::Denied).
///
/// ```
/// # use porth_plugin::prelude::*;
/// assert_eq!(Right::UsersRead.name(), "users:read");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Right {
    /// Sessions: check them, count their use, ask for their age.
    Sessions,
    /// Read users and check their passwords.
    UsersRead,
    /// Add, change and delete users.
    UsersWrite,
    /// Read clients and check their secrets.
    ClientsRead,
    /// Add, change and delete clients.
    ClientsWrite,
    /// Authentication schemes and registrations with them.
    Schemes,
    /// Which scopes a user granted to a client.
    Grants,
    /// Accounts of the instance's own service, notifications and menu items.
    Services,
    /// The instance's own products.
    Products,
    /// Send mail.
    Mail,
    /// Serve below `/.well-known/`.
    WellKnown,
    /// All of these.
    All,
}

impl Right {
    /// The right's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::ClientsRead => "clients:read",
            Self::ClientsWrite => "clients:write",
            Self::Schemes => "schemes",
            Self::Grants => "grants",
            Self::Services => "services",
            Self::Products => "products",
            Self::Mail => "mail",
            Self::WellKnown => "well-known",
            Self::All => "all",
        }
    }
}

/// Why an instance could not be made. Nothing of it is left, and a predecessor goes on.
///
/// ```
/// # use porth_plugin::prelude::*;
/// fn check(host: &str, port: u16) -> Result<(), InitError> {
///     let mut errors = Vec::new();
///     if host.is_empty() {
///         errors.push("host: must not be empty");
///     }
///     if port == 0 {
///         errors.push("port: must not be 0");
///     }
///     if errors.is_empty() { Ok(()) } else { Err(InitError::parameters(errors)) }
/// }
/// assert_eq!(check("", 0), Err(InitError::Parameters(vec!["host: must not be empty".into(), "port: must not be 0".into()])));
/// ```
///
/// Any standard error turns into a failure by `?`. For this conversion to exist, `InitError` itself is no
/// [`std::error::Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitError {
    /// The parameters are wrong: one text for each thing, naming the parameter. The administrator gets 400 and the list.
    Parameters(Vec<String>),
    /// Something else failed. The administrator gets 500 and the text.
    Failed(String),
}

impl InitError {
    /// One wrong parameter.
    pub fn parameter(text: impl Into<String>) -> Self {
        Self::Parameters(vec![text.into()])
    }

    /// Everything that is wrong with the parameters.
    pub fn parameters(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Parameters(texts.into_iter().map(Into::into).collect())
    }

    /// A failure that is not about the parameters.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for InitError {
    fn from(error: E) -> Self {
        Self::Failed(chain(&error))
    }
}
