//! What a plug-in is: the trait that an author implements, and how it describes itself.
//!
//! Start at [`Plugin`].

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::error::chain;
use crate::host::Host;

/// A module of a library, and what one of its instances keeps.
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

    /// Ends an instance; afterwards it is dropped. No request is under way any more.
    ///
    /// It runs on a thread of the instance's own and may block, within the host's deadline. It may never be called, as
    /// when the process crashes: what must last belongs in the host's store.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// How a module describes itself to administrators.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) display_name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) needs: &'static [Right],
    #[cfg(feature = "tokio")]
    pub(crate) tokio_threads: usize,
}

impl Module {
    /// A module of the kind `plugin`: its name for programs (unique in the host), its name for people, and what it does
    /// in a sentence.
    #[must_use]
    pub const fn new(name: &'static str, display_name: &'static str, description: &'static str) -> Self {
        Self {
            kind: "plugin",
            name,
            display_name,
            description,
            needs: &[],
            #[cfg(feature = "tokio")]
            tokio_threads: 0,
        }
    }

    /// Which callbacks the module uses. Those that it does not ask for here are denied; endpoints, log and timers need no
    /// right.
    #[must_use]
    pub const fn needs(mut self, rights: &'static [Right]) -> Self {
        self.needs = rights;
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

/// A group of the host's callbacks.
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

/// Why an instance could not be made.
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
