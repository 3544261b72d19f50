//! Failures of a handler as values: what the client sees, and what only the log sees.
//!
//! Start at [`Error`].

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::host_error::HostError;
use crate::response::{Response, reason};

/// Why a handler has no better answer: becomes a problem document (RFC 9457) of type `application/problem+json`.
///
/// Any standard error turns into one by `?`. It then is a 500 that tells the client nothing: its text goes to the host's
/// log. For this conversion to exist, `Error` itself is no [`std::error::Error`].
///
/// A plain value of the plug-in's own, made and read on any thread; the SDK hands its text over when the handler returns it.
///
/// ```
/// use porth_plugin::prelude::*;
///
/// fn count(text: &str) -> Result<u32, Error> {
///     text.parse().map_err(|_| Error::bad_request("`count` must be a number"))
/// }
/// assert_eq!(count("x").unwrap_err().status(), 400);
///
/// fn configured_count() -> Result<u32, Error> {
///     Ok(std::env::var("COUNT")?.parse()?) // 500, and the reason in the log
/// }
/// assert_eq!(configured_count().unwrap_err().status(), 500);
/// ```
pub struct Error {
    status: u16,
    code: Cow<'static, str>,
    detail: String,
    errors: Vec<String>,
    cause: Option<String>,
}

impl Error {
    /// An answer with a status from 400 to 599 and a text for the client. The code is derived from the status.
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        let code = match status {
            400 => Cow::Borrowed("bad_request"),
            500 => Cow::Borrowed("internal"),
            _ => match reason(status) {
                "" => Cow::Owned(format!("status_{status}")),
                reason => Cow::Owned(reason.to_ascii_lowercase().replace([' ', '-'], "_")),
            },
        };
        Self { status, code, detail: detail.into(), errors: Vec::new(), cause: None }
    }

    /// 400: the request is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    /// 401: the caller is not known.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, detail)
    }

    /// 403: the caller is known, and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// 409: what is there now does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }

    /// 500: the plug-in failed. `cause` goes to the host's log and not to the client.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(500, "The plug-in failed; the log says why.").with_cause(cause)
    }

    /// Names the problem with a word that programs can rely on.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// Lists what is wrong, one text each.
    #[must_use]
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.errors = errors.into_iter().map(Into::into).collect();
        self
    }

    /// Says why, in the host's log only.
    #[must_use]
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The text for the client.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the log gets to know.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response {
        self.into_problem(None)
    }

    /// The answer, with the id under which the log has the cause.
    pub(crate) fn into_problem(self, request_id: Option<&str>) -> Response {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            code: &'a str,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            errors: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
        }
        let problem = Problem {
            r#type: "about:blank",
            title: reason(self.status),
            status: self.status,
            code: &self.code,
            detail: &self.detail,
            errors: &self.errors,
            request_id,
        };
        // A struct of texts and numbers can always be written.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        Response::problem(self.status, body)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let cause = chain(&error);
        let any: &dyn Any = &error;
        match any.downcast_ref::<HostError>() {
            Some(HostError::Busy(_) | HostError::Closed(_)) => {
                Self::unavailable("The server is busy; try again.").with_cause(cause)
            }
            Some(HostError::Conflict(_)) => Self::conflict("It has changed meanwhile.").with_cause(cause),
            // What the client did; the log need not know.
            Some(HostError::TooLarge(_)) => Self::new(413, "The body is larger than allowed."),
            Some(HostError::Cancelled(_)) => Self::bad_request("The body ended early."),
            _ => Self::internal(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.status, self.detail)?;
        match &self.cause {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An error with everything that led to it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their source in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_keeps_its_text_for_the_log() {
        let error = Error::from("x".parse::<u32>().unwrap_err());
        assert_eq!(error.status(), 500);
        assert!(!error.detail().contains("digit"), "{error}");
        assert_eq!(error.cause(), Some("invalid digit found in string"));
    }

    #[test]
    fn a_busy_host_is_told_apart() {
        assert_eq!(Error::from(HostError::Busy(String::new())).status(), 503);
        assert_eq!(Error::from(HostError::Conflict(String::new())).status(), 409);
        assert_eq!(Error::from(HostError::NotFound(String::new())).status(), 500);
        assert_eq!(Error::from(HostError::TooLarge(String::new())).status(), 413);
    }

    #[test]
    fn codes_come_from_the_status() {
        let code = |status| Error::new(status, "").code.into_owned();
        assert_eq!(code(400), "bad_request");
        assert_eq!(code(404), "not_found");
        assert_eq!(code(413), "content_too_large");
        assert_eq!(code(499), "status_499");
    }
}
