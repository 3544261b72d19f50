//! What the host's callbacks fail with.

use porth_abi::code;

use crate::bytes::HostBytes;

/// Why the host did not do what it was asked. The text is the host's detail, empty where it gave none. Nothing was changed,
/// unless the variant says something else. In a handler `?` makes of it an [`Error`](crate::Error): 503 for `Busy` and
/// `Closed`, 409 for `Conflict`, 413 for `TooLarge`, 400 for `Cancelled`, else 500 with the text in the log.
///
/// ```
/// # use porth_plugin::prelude::*;
/// async fn forget(codes: &Collection<String>, key: &str) -> Result<(), Error> {
///     match codes.delete(key).await {
///         Ok(()) | Err(HostError::NotFound(_)) => Ok(()), // Gone is gone.
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostError {
    /// It failed for a reason of its own. What it was to change may be changed or not: look.
    Failed(String),
    /// The credentials do not suffice. Never means that something does not exist.
    Unauthorized(String),
    /// An argument is wrong.
    Parameter(String),
    /// The store failed. A change may be stored or not: read it again.
    Store(String),
    /// No memory.
    Memory(String),
    /// What was named does not exist. Never means that credentials are missing.
    NotFound(String),
    /// The module does not need the right for this, or the instance was not granted it.
    Denied(String),
    /// A blocking form was called where nothing may block: in an async handler or a short one. The question itself was
    /// asked: a change may be made.
    WouldBlock(String),
    /// The instance is closed.
    Closed(String),
    /// This host does not know it.
    Unsupported(String),
    /// Nobody waits for it any more, or the client of the request has left. What was handed to the store is done.
    Cancelled(String),
    /// The version given is not the present one: read again, and decide anew.
    Conflict(String),
    /// A queue or a quota is full: later it may work.
    Busy(String),
    /// What was sent is larger than allowed.
    TooLarge(String),
}

impl HostError {
    /// The error that a code stands for; none for OK.
    pub(crate) fn from_code(number: i32, detail: String) -> Option<Self> {
        Some(match number {
            code::OK => return None,
            code::UNAUTHORIZED => Self::Unauthorized(detail),
            code::PARAM => Self::Parameter(detail),
            code::STORE => Self::Store(detail),
            code::MEMORY => Self::Memory(detail),
            code::NOT_FOUND => Self::NotFound(detail),
            code::DENIED => Self::Denied(detail),
            code::WOULD_BLOCK => Self::WouldBlock(detail),
            code::CLOSED => Self::Closed(detail),
            code::UNSUPPORTED => Self::Unsupported(detail),
            code::CANCELLED => Self::Cancelled(detail),
            code::CONFLICT => Self::Conflict(detail),
            code::BUSY => Self::Busy(detail),
            code::TOO_LARGE => Self::TooLarge(detail),
            // Codes of newer hosts, too.
            _ => Self::Failed(detail),
        })
    }

    /// Reads a code whose detail is in `result`.
    pub(crate) fn check(number: i32, result: &HostBytes) -> Result<(), Self> {
        if number == code::OK {
            return Ok(());
        }
        match Self::from_code(number, result.to_text()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The host's detail, empty where it gave none.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Failed(detail) => ("the host failed", detail),
            Self::Unauthorized(detail) => ("the credentials do not suffice", detail),
            Self::Parameter(detail) => ("the host refuses an argument", detail),
            Self::Store(detail) => ("the host's store failed", detail),
            Self::Memory(detail) => ("the host is out of memory", detail),
            Self::NotFound(detail) => ("the host knows no such thing", detail),
            Self::Denied(detail) => ("the instance was not granted the right", detail),
            Self::WouldBlock(detail) => ("this thread must not block", detail),
            Self::Closed(detail) => ("the instance is closed", detail),
            Self::Unsupported(detail) => ("the host does not support it", detail),
            Self::Cancelled(detail) => ("nobody waits for it any more", detail),
            Self::Conflict(detail) => ("it has changed meanwhile", detail),
            Self::Busy(detail) => ("the host is busy", detail),
            Self::TooLarge(detail) => ("it is larger than allowed", detail),
        }
    }
}

impl core::fmt::Display for HostError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.parts() {
            (what, "") => formatter.write_str(what),
            (what, detail) => write!(formatter, "{what}: {detail}"),
        }
    }
}

impl std::error::Error for HostError {}
