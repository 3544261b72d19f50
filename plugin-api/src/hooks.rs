//! What the host calls in an instance beside its endpoints: which tables a library has, and how a call gets to the trait
//! that its author implements.
//!
//! Start at [`Extensions`]. Each kind's trait has a file of its own, with a type that stands for it in `export_plugin!`.

use core::ffi::c_void;

use porth_abi as abi;
use porth_abi::code;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bytes::{from_vec, slice};
use crate::entry::Instance;
use crate::error::chain;
use crate::guard::guard;
use crate::host_error::HostError;
use crate::module::Plugin;
use crate::request::read_json;

/// Why an instance does not do what the host asks of it. What it was to change must be as before.
///
/// ```
/// # use porth_plugin::prelude::*;
/// fn digits(code: &str) -> Result<u32, HookError> {
///     code.parse().map_err(|_| HookError::invalid("code: expected digits"))
/// }
/// assert_eq!(digits("x"), Err(HookError::Invalid(vec!["code: expected digits".into()])));
/// ```
///
/// Any standard error turns into a failure by `?`. For this conversion to exist, `HookError` itself is no
/// [`std::error::Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// What was sent is wrong: one text for each thing. A client gets 400 and the list.
    Invalid(Vec<String>),
    /// It proves nothing, or the user may not. A client gets 401.
    Unauthorized(String),
    /// What was named does not exist. A client gets 404.
    NotFound(String),
    /// There is one already, or it has changed meanwhile.
    Conflict(String),
    /// This instance cannot do that.
    Unsupported,
    /// Something else failed. The text goes to the host's log, and a client gets 500.
    Failed(String),
}

impl HookError {
    /// One thing that is wrong with what was sent.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(vec![text.into()])
    }

    /// It proves nothing, or the user may not.
    pub fn unauthorized(text: impl Into<String>) -> Self {
        Self::Unauthorized(text.into())
    }

    /// A failure that is nobody's mistake outside.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HookError {
    fn from(error: E) -> Self {
        Self::Failed(chain(&error))
    }
}

/// What came of a hook: JSON, or why not.
pub(crate) type HookAnswer = Result<Vec<u8>, HookError>;

/// A table of hooks, as the functions in it name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `porth.scheme/1`.
    Scheme,
    /// `porth.user-backend/1`.
    UserBackEnd,
    /// `porth.client-backend/1`.
    ClientBackEnd,
    /// `porth.user-middleware/1`.
    UserMiddleware,
    /// `porth.user-revoke/1`.
    UserRevoke,
    /// `porth.health/1`.
    Health,
}

impl Extension {
    /// Its number in the functions' types.
    const fn number(self) -> u8 {
        self as u8
    }

    /// What every module of a kind has, with the name of the trait.
    pub(crate) fn of_kind(kind: &str) -> Option<(Self, &'static str)> {
        match kind {
            "scheme" => Some((Self::Scheme, "Scheme")),
            "user" => Some((Self::UserBackEnd, "UserBackEnd")),
            "client" => Some((Self::ClientBackEnd, "ClientBackEnd")),
            "user_middleware" => Some((Self::UserMiddleware, "UserMiddleware")),
            _ => None,
        }
    }

    const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Scheme),
            1 => Some(Self::UserBackEnd),
            2 => Some(Self::ClientBackEnd),
            3 => Some(Self::UserMiddleware),
            4 => Some(Self::UserRevoke),
            5 => Some(Self::Health),
            _ => None,
        }
    }

    /// The table of an id, if there is one.
    fn of_id(id: &[u8]) -> Option<(Self, *const c_void)> {
        let tables: [(&str, Self, *const c_void); 6] = [
            (abi::SCHEME, Self::Scheme, core::ptr::from_ref(SCHEME).cast()),
            (abi::USER_BACK_END, Self::UserBackEnd, core::ptr::from_ref(USER_BACK_END).cast()),
            (abi::CLIENT_BACK_END, Self::ClientBackEnd, core::ptr::from_ref(CLIENT_BACK_END).cast()),
            (abi::USER_MIDDLEWARE, Self::UserMiddleware, core::ptr::from_ref(USER_MIDDLEWARE).cast()),
            (abi::USER_REVOKE, Self::UserRevoke, core::ptr::from_ref(USER_REVOKE).cast()),
            (abi::HEALTH, Self::Health, core::ptr::from_ref(HEALTH).cast()),
        ];
        let found = tables.into_iter().find(|(known, ..)| known.as_bytes() == id);
        found.map(|(_, extension, table)| (extension, table))
    }
}

/// What a module has beside [`Plugin`]: a list made of pairs, as `(scheme::Hooks, ())`.
pub trait Extensions<P: Plugin>: 'static {
    /// Whether it has a table.
    fn has(extension: Extension) -> bool;

    /// Calls the hook of that place in the table, and waits for it.
    ///
    /// # Errors
    /// What the plug-in answers; Unsupported for a hook that the module has not.
    fn call(plugin: &P, extension: Extension, hook: usize, arguments: &[u8]) -> HookAnswer;
}

impl<P: Plugin> Extensions<P> for () {
    fn has(_: Extension) -> bool {
        false
    }

    fn call(_: &P, _: Extension, _: usize, _: &[u8]) -> HookAnswer {
        Err(HookError::Unsupported)
    }
}

/// One extension's way to the trait that its author implements.
pub trait Extends<P: Plugin>: 'static {
    /// The table.
    const EXTENSION: Extension;

    /// As [`Extensions::call`].
    ///
    /// # Errors
    /// As [`Extensions::call`].
    fn call(plugin: &P, hook: usize, arguments: &[u8]) -> HookAnswer;
}

impl<P: Plugin, First: Extends<P>, Rest: Extensions<P>> Extensions<P> for (First, Rest) {
    fn has(extension: Extension) -> bool {
        First::EXTENSION == extension || Rest::has(extension)
    }

    fn call(plugin: &P, extension: Extension, hook: usize, arguments: &[u8]) -> HookAnswer {
        if First::EXTENSION == extension {
            First::call(plugin, hook, arguments)
        } else {
            Rest::call(plugin, extension, hook, arguments)
        }
    }
}

/// The table of an id, for a library with a module that has it; else null.
pub(crate) fn table(id: &[u8], has: impl FnOnce(Extension) -> bool) -> *const c_void {
    match Extension::of_id(id) {
        Some((extension, table)) if has(extension) => table,
        _ => core::ptr::null(),
    }
}

/// Reads the arguments of a hook.
///
/// # Errors
/// When the host says something else than this SDK expects.
pub(crate) fn arguments<T: DeserializeOwned>(arguments: &[u8]) -> Result<T, HookError> {
    read_json(arguments).map_err(|error| HookError::Failed(format!("the host's arguments cannot be read: {error}")))
}

/// Writes the answer of a hook.
///
/// # Errors
/// As `answer`, or when it cannot be written.
pub(crate) fn answer<T: Serialize>(answer: Result<T, HookError>) -> HookAnswer {
    Ok(serde_json::to_vec(&answer?)?)
}

const SCHEME: &abi::Scheme = {
    const NUMBER: u8 = Extension::Scheme.number();
    &abi::Scheme {
        size: size_of::<abi::Scheme>(),
        can_use: hook::<NUMBER, 0>(),
        register: hook::<NUMBER, 1>(),
        register_get: hook::<NUMBER, 2>(),
        deregister: hook::<NUMBER, 3>(),
        trigger: hook::<NUMBER, 4>(),
        validate: hook::<NUMBER, 5>(),
        identify: hook::<NUMBER, 6>(),
    }
};

const USER_BACK_END: &abi::UserBackEnd = {
    const NUMBER: u8 = Extension::UserBackEnd.number();
    &abi::UserBackEnd {
        size: size_of::<abi::UserBackEnd>(),
        count: hook::<NUMBER, 0>(),
        list: hook::<NUMBER, 1>(),
        get: hook::<NUMBER, 2>(),
        add: hook::<NUMBER, 3>(),
        set: hook::<NUMBER, 4>(),
        delete: hook::<NUMBER, 5>(),
        check_password: hook::<NUMBER, 6>(),
        set_password: hook::<NUMBER, 7>(),
    }
};

const CLIENT_BACK_END: &abi::ClientBackEnd = {
    const NUMBER: u8 = Extension::ClientBackEnd.number();
    &abi::ClientBackEnd {
        size: size_of::<abi::ClientBackEnd>(),
        count: hook::<NUMBER, 0>(),
        list: hook::<NUMBER, 1>(),
        get: hook::<NUMBER, 2>(),
        add: hook::<NUMBER, 3>(),
        set: hook::<NUMBER, 4>(),
        delete: hook::<NUMBER, 5>(),
        check_secret: hook::<NUMBER, 6>(),
    }
};

const USER_MIDDLEWARE: &abi::UserMiddleware = {
    const NUMBER: u8 = Extension::UserMiddleware.number();
    &abi::UserMiddleware {
        size: size_of::<abi::UserMiddleware>(),
        show: hook::<NUMBER, 0>(),
        store: hook::<NUMBER, 1>(),
        delete: hook::<NUMBER, 2>(),
    }
};

const USER_REVOKE: &abi::UserRevoke = {
    const NUMBER: u8 = Extension::UserRevoke.number();
    &abi::UserRevoke { size: size_of::<abi::UserRevoke>(), user_revoke: hook::<NUMBER, 0>() }
};

const HEALTH: &abi::Health = {
    const NUMBER: u8 = Extension::Health.number();
    &abi::Health { size: size_of::<abi::Health>(), health: hook::<NUMBER, 0>() }
};

/// The function at a place of a table.
const fn hook<const EXTENSION: u8, const HOOK: usize>() -> abi::Hook {
    abi::Hook { call: Some(call::<EXTENSION, HOOK>) }
}

/// Called by the host on threads of the instance's own.
unsafe extern "C" fn call<const EXTENSION: u8, const HOOK: usize>(
    instance: *mut c_void,
    arguments: abi::Str,
    result: *mut abi::Bytes,
) -> i32 {
    guard(|| {
        // SAFETY: `init` made it of such a box, and the host calls no hook after `close`.
        let instance = unsafe { &*instance.cast::<Box<dyn Instance>>() };
        // SAFETY: the text is borrowed for this call.
        let arguments = unsafe { slice(arguments) };
        let answered = match Extension::of_number(EXTENSION) {
            Some(extension) => instance.call_hook(extension, HOOK, arguments),
            None => Err(HookError::Unsupported),
        };
        let (number, bytes) = match answered {
            Ok(bytes) => (code::OK, bytes),
            Err(error) => refusal(error),
        };
        // SAFETY: the host's pointer is for this to be written to.
        unsafe { result.write(from_vec(bytes)) };
        number
    })
}

fn refusal(error: HookError) -> (i32, Vec<u8>) {
    match error {
        // Texts can always be written.
        HookError::Invalid(errors) => (code::PARAM, serde_json::to_vec(&errors).unwrap_or_default()),
        HookError::Unauthorized(text) => (code::UNAUTHORIZED, text.into_bytes()),
        HookError::NotFound(text) => (code::NOT_FOUND, text.into_bytes()),
        HookError::Conflict(text) => (code::CONFLICT, text.into_bytes()),
        HookError::Unsupported => (code::UNSUPPORTED, Vec::new()),
        HookError::Failed(text) => (code::ERROR, text.into_bytes()),
    }
}

/// For [`HostError`], which says more than its text.
impl HookError {
    /// A refusal of the host as a refusal of the hook.
    #[must_use]
    pub fn of_host(error: HostError) -> Self {
        match error {
            HostError::Unauthorized(detail) => Self::Unauthorized(detail),
            HostError::NotFound(detail) => Self::NotFound(detail),
            HostError::Conflict(detail) => Self::Conflict(detail),
            HostError::Parameter(detail) => Self::Invalid(vec![detail]),
            HostError::Unsupported(_) => Self::Unsupported,
            other => Self::from(other),
        }
    }
}
