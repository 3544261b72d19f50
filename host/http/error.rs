//! One table of errors: what clients read as `application/problem+json` (RFC 9457), and what the log says.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::body;
use super::framing::Refusal;
use crate::domain::StoreError;
use crate::domain::access::{ChangePasswordError, LogInError};
use crate::domain::clients::PutClientError;
use crate::domain::grants::PutGrantError;
use crate::domain::keys::{CreateKeyError, DeleteKeyError};
use crate::domain::lockout::LockedOut;
use crate::domain::misc::PutMiscError;
use crate::domain::passwords::PasswordError;
use crate::domain::schemes::{AskError, SchemeError};
use crate::domain::scopes::PutScopeError;
use crate::domain::users::PutUserError;
use crate::runtime::{CallError, ChangeError, InitError, ReloadError, StartError};
use crate::telemetry::request;

/// A kind of error: its status, its stable code, its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(StatusCode, &'static str, &'static str);

macro_rules! kinds {
    ($($name:ident: $status:ident $code:literal $title:literal;)*) => {
        $(pub(super) const $name: Kind = Kind(StatusCode::$status, $code, $title);)*
        /// All of them, by status.
        pub(super) const KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    BAD_PATH: BAD_REQUEST "bad_path" "The path is malformed";
    BAD_REQUEST: BAD_REQUEST "bad_request" "The request is malformed";
    INVALID: BAD_REQUEST "invalid" "The request asks for something that cannot be";
    TARGET_TOO_LONG: URI_TOO_LONG "target_too_long" "The request target is too long";
    HEADER_TOO_LARGE: REQUEST_HEADER_FIELDS_TOO_LARGE "header_too_large" "The header of the request is too large";
    TOO_SLOW: REQUEST_TIMEOUT "too_slow" "The request came too slowly";
    HTTP_VERSION: HTTP_VERSION_NOT_SUPPORTED "http_version" "This version of HTTP is not spoken here";
    TRANSFER_CODING: NOT_IMPLEMENTED "transfer_coding" "This transfer coding is not understood here";
    TLS_EXPECTED: BAD_REQUEST "tls_expected" "TLS was expected";
    UNAUTHORIZED: UNAUTHORIZED "unauthorized" "Credentials are missing or not sufficient";
    FORBIDDEN: FORBIDDEN "forbidden" "What was shown is not enough";
    FOREIGN_ORIGIN: FORBIDDEN "foreign_origin" "Pages of another origin may not do this";
    NOT_FOUND: NOT_FOUND "not_found" "There is nothing here";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method_not_allowed" "The resource has no such method";
    CONFLICT: CONFLICT "conflict" "The resource is in a state that forbids it";
    DECLARED: CONFLICT "declared_instance" "The configuration file declares the instance";
    RECYCLING: CONFLICT "recycling" "The server is being recycled";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE "body_too_large" "The body is larger than allowed";
    MISDIRECTED: MISDIRECTED_REQUEST "misdirected" "Another server is meant";
    EXPECTATION: EXPECTATION_FAILED "expectation" "What is expected cannot be promised";
    CONTENT_CODING: UNSUPPORTED_MEDIA_TYPE "content_coding" "The body is encoded in a way that is not read here";
    LOCKED_OUT: TOO_MANY_REQUESTS "locked_out" "Too many log-ins failed";
    TOO_MANY_CONNECTIONS: TOO_MANY_REQUESTS "too_many_connections" "Too many connections are open";
    PASSWORDS_BUSY: SERVICE_UNAVAILABLE "passwords_busy" "Too many log in at once";
    INTERNAL: INTERNAL_SERVER_ERROR "internal" "Something failed here";
    INIT_FAILED: INTERNAL_SERVER_ERROR "instance_init_failed" "The instance could not be initialised";
    PLUGIN_PANICKED: INTERNAL_SERVER_ERROR "plugin_panicked" "The plug-in failed";
    PLUGIN_FAILED: INTERNAL_SERVER_ERROR "plugin_failed" "The plug-in failed";
    PLUGIN_MALFORMED: BAD_GATEWAY "plugin_malformed" "The plug-in answered something that cannot be sent";
    INSTANCE_NOT_RUNNING: SERVICE_UNAVAILABLE "instance_not_running" "The instance is not running";
    INSTANCE_BROKEN: SERVICE_UNAVAILABLE "instance_broken" "The instance failed too often";
    INSTANCE_BUSY: SERVICE_UNAVAILABLE "instance_busy" "The instance has too much to do";
    BACK_END_FAILED: SERVICE_UNAVAILABLE "back_end_failed" "Who keeps the record does not answer";
    STORE_BUSY: SERVICE_UNAVAILABLE "store_busy" "The store has too much to do";
    PLUGIN_DEADLINE: GATEWAY_TIMEOUT "plugin_deadline" "The plug-in did not answer in time";
}

impl Kind {
    /// The status that answers have.
    pub(super) fn status(self) -> StatusCode {
        self.0
    }

    /// What programs compare.
    pub(super) fn code(self) -> &'static str {
        self.1
    }

    /// What it is called.
    pub(super) fn title(self) -> &'static str {
        self.2
    }
}

/// What an answer says went wrong, for those in the host who look at it on its way out.
#[derive(Clone, Debug)]
pub(super) struct Told(pub(super) String);

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<String>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// An error whose detail the client may read.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// A request that is wrong in ways that can be listed.
    pub(super) fn invalid(errors: Vec<String>) -> Self {
        Self { errors, ..Self::new(INVALID, "see `errors`") }
    }

    /// An error whose cause is only for the log, where it is written now.
    pub(super) fn logged(kind: Kind, cause: impl std::fmt::Display) -> Self {
        tracing::error!(code = kind.1, "{cause}");
        Self::new(kind, "the log has more under the request id")
    }

    /// A change that another process is about to be asked for: with a new connection the client gets to that one.
    fn recycling(detail: String) -> Self {
        Self::new(RECYCLING, detail).with(header::CONNECTION, "close").with(header::RETRY_AFTER, "1")
    }

    /// What it quotes of the request may be of any length, so it is cut.
    fn bounded(mut self) -> Self {
        cut(&mut self.detail);
        let more = self.errors.len().saturating_sub(ERRORS_MAX);
        self.errors.truncate(ERRORS_MAX);
        self.errors.iter_mut().for_each(cut);
        if more > 0 {
            self.errors.push(format!("and {more} more"));
        }
        self
    }

    /// With a header field.
    pub(super) fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
}

/// The longest text in an answer, and how many there are of them.
const TEXT_BYTES_MAX: usize = 2048;
const ERRORS_MAX: usize = 100;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Kind(status, code, title) = self.kind;
        let this = self.bounded();
        let told = if this.errors.is_empty() { this.detail.clone() } else { this.errors.join("; ") };
        let mut body = json!({
            "type": format!("{PROBLEMS}#{code}"), "title": title, "status": status.as_u16(), "code": code, "detail": this.detail,
        });
        if let (Some(ids), Some(body)) = (request::current(), body.as_object_mut()) {
            body.insert("request_id".to_owned(), json!(ids.request.as_str()));
        }
        if status == StatusCode::BAD_REQUEST {
            let errors = if this.errors.is_empty() { vec![this.detail] } else { this.errors };
            if let Some(body) = body.as_object_mut() {
                body.insert("errors".to_owned(), json!(errors));
            }
        }
        let mut response = (status, body.to_string()).into_response();
        response.extensions_mut().insert(Told(told));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 11.6.1: a 401 names a scheme.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("token"));
        }
        headers.extend(this.headers);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(what) => Self::new(BAD_REQUEST, what),
            Refusal::TargetTooLong => Self::new(TARGET_TOO_LONG, "expected a shorter path and query"),
            Refusal::HeaderTooLarge => Self::new(HEADER_TOO_LARGE, "expected fewer or shorter header fields"),
            Refusal::Version => Self::new(HTTP_VERSION, "expected version 1.1 or 1.0"),
            Refusal::Coding => Self::new(TRANSFER_CODING, "expected `chunked` alone"),
            Refusal::TooSlow => Self::new(TOO_SLOW, "expected the rest of the request earlier"),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::NotFound { .. } => Self::new(NOT_FOUND, text),
            ChangeError::Invalid(errors) => Self::invalid(errors),
            ChangeError::Declared { .. } => Self::new(DECLARED, text),
            ChangeError::Replaced => Self::recycling(text),
            ChangeError::Start(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::NoModule { .. } | StartError::NoModuleLoaded { .. } => {
                Self::invalid(vec![format!("module: {text}")])
            }
            StartError::Parameters(errors) => Self::invalid(errors),
            StartError::Init(InitError::Parameters(errors)) if !errors.is_empty() => Self::invalid(errors),
            StartError::Init(InitError::Parameters(_)) => Self::invalid(vec![text]),
            // Administrators may read why: `init` wrote it for them.
            StartError::Init(InitError::Failed { .. } | InitError::Panicked)
            | StartError::Documents(_)
            | StartError::NoHooks { .. }
            | StartError::NotForgotten(_)
            | StartError::Deadline(_) => Self::new(INIT_FAILED, text),
        }
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Store(error) => error.into(),
            // The directory is the administrator's, who can put it right.
            ReloadError::Replaced => Self::recycling(error.to_string()),
            ReloadError::Directory(_) | ReloadError::Ending => Self::new(CONFLICT, error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::NulInText) {
            return Self::invalid(vec![error.to_string()]);
        }
        if let StoreError::ReadOnly { .. } = error {
            return Self::invalid(vec![format!("source: {error}")]);
        }
        if let StoreError::BackEnd { .. } = error {
            return Self::logged(BACK_END_FAILED, error);
        }
        if matches!(error, StoreError::Busy(_) | StoreError::Conflict) {
            Self::new(STORE_BUSY, "try again").with(header::RETRY_AFTER, "1")
        } else {
            Self::logged(INTERNAL, error)
        }
    }
}

impl From<CreateKeyError> for Problem {
    fn from(error: CreateKeyError) -> Self {
        match error {
            CreateKeyError::Name => Self::invalid(vec![format!("name: {error}")]),
            CreateKeyError::End => Self::invalid(vec![format!("expires_at: {error}")]),
            CreateKeyError::Random(_) => Self::logged(INTERNAL, error),
            CreateKeyError::Store(error) => error.into(),
        }
    }
}

impl From<DeleteKeyError> for Problem {
    fn from(error: DeleteKeyError) -> Self {
        match error {
            DeleteKeyError::Unknown { .. } => Self::new(NOT_FOUND, error.to_string()),
            DeleteKeyError::Store(error) => error.into(),
        }
    }
}

impl From<PutMiscError> for Problem {
    fn from(error: PutMiscError) -> Self {
        match error {
            PutMiscError::Invalid(errors) => Self::invalid(errors),
            PutMiscError::Store(error) => error.into(),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length { .. } => Self::invalid(vec![format!("password: {error}")]),
            PasswordError::Busy => Self::new(PASSWORDS_BUSY, "try again").with(header::RETRY_AFTER, "1"),
            PasswordError::Hash(_) => Self::logged(INTERNAL, error),
        }
    }
}

impl From<LogInError> for Problem {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::Wrong => Self::new(UNAUTHORIZED, error.to_string()),
            LogInError::LockedOut(locked_out) => locked_out.into(),
            LogInError::Password(error) => error.into(),
            LogInError::Scheme(error) => error.into(),
            LogInError::Random(_) => Self::logged(INTERNAL, error),
            LogInError::Store(error) => error.into(),
        }
    }
}

impl From<LockedOut> for Problem {
    fn from(locked_out: LockedOut) -> Self {
        let seconds = locked_out.retry_after_ms.saturating_add(999) / 1_000;
        Self::new(LOCKED_OUT, "try again later").with(header::RETRY_AFTER, &seconds.to_string())
    }
}

impl From<ChangePasswordError> for Problem {
    fn from(error: ChangePasswordError) -> Self {
        match error {
            ChangePasswordError::Wrong => Self::invalid(vec![format!("old_password: {error}")]),
            ChangePasswordError::LockedOut(locked_out) => locked_out.into(),
            ChangePasswordError::Put(error) => error.into(),
        }
    }
}

impl From<PutGrantError> for Problem {
    fn from(error: PutGrantError) -> Self {
        let text = error.to_string();
        match error {
            PutGrantError::Invalid(errors) => Self::invalid(errors),
            PutGrantError::NoClient { .. } | PutGrantError::Gone => Self::new(NOT_FOUND, text),
            PutGrantError::Store(error) => error.into(),
        }
    }
}

impl From<SchemeError> for Problem {
    fn from(error: SchemeError) -> Self {
        let text = error.to_string();
        match error {
            SchemeError::Unknown { .. } => Self::new(NOT_FOUND, text),
            SchemeError::Forbidden { .. } => Self::new(FORBIDDEN, text),
            SchemeError::Ask(error) => error.into(),
            SchemeError::Store(error) => error.into(),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let text = error.to_string();
        match error {
            AskError::Invalid(errors) if errors.is_empty() => Self::invalid(vec!["value: it is wrong".to_owned()]),
            AskError::Invalid(errors) => {
                Self::invalid(errors.into_iter().map(|error| format!("value: {error}")).collect())
            }
            // The scheme's own words for why stay here: they may help who guesses.
            AskError::Unauthorized(_) => Self::new(UNAUTHORIZED, "the scheme refuses this user or proof"),
            AskError::NotFound(_) => Self::new(NOT_FOUND, text),
            AskError::Conflict(_) => Self::new(CONFLICT, text),
            AskError::Unsupported => Self::new(INVALID, text),
            AskError::Unavailable(_) => {
                Self::new(INSTANCE_NOT_RUNNING, "the scheme is not available now").with(header::RETRY_AFTER, "1")
            }
            AskError::Failed(_) => Self::logged(PLUGIN_FAILED, text),
        }
    }
}

impl From<PutUserError> for Problem {
    fn from(error: PutUserError) -> Self {
        let text = error.to_string();
        match error {
            PutUserError::Invalid(errors) => Self::invalid(errors),
            PutUserError::NameTaken { .. } | PutUserError::LooksAlike { .. } => {
                Self::invalid(vec![format!("username: {text}")])
            }
            PutUserError::Departing { .. } => Self::new(CONFLICT, text),
            PutUserError::Unknown { .. } => Self::new(NOT_FOUND, text),
            PutUserError::Password(error) => error.into(),
            PutUserError::Store(error) => error.into(),
        }
    }
}

impl From<PutScopeError> for Problem {
    fn from(error: PutScopeError) -> Self {
        let text = error.to_string();
        match error {
            PutScopeError::Invalid(errors) => Self::invalid(errors),
            PutScopeError::NameTaken { .. } => Self::invalid(vec![format!("name: {text}")]),
            PutScopeError::Unknown { .. } => Self::new(NOT_FOUND, text),
            PutScopeError::Store(error) => error.into(),
        }
    }
}

impl From<PutClientError> for Problem {
    fn from(error: PutClientError) -> Self {
        let text = error.to_string();
        match error {
            PutClientError::Invalid(errors) => Self::invalid(errors),
            PutClientError::IdTaken { .. } => Self::invalid(vec![format!("client_id: {text}")]),
            PutClientError::Unknown { .. } => Self::new(NOT_FOUND, text),
            PutClientError::Password(error) => error.into(),
            PutClientError::Store(error) => error.into(),
        }
    }
}

/// What a failed call of an endpoint tells the client. The plug-in's own words stay in the log.
pub(super) fn from_call(error: &CallError, instance: &str) -> Problem {
    let kind = match error {
        CallError::NotTaken => return Problem::new(NOT_FOUND, "no endpoint took the request"),
        CallError::Busy => {
            return Problem::new(INSTANCE_BUSY, "try again").with(header::RETRY_AFTER, "1");
        }
        CallError::Broken(retry_after) => {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1).to_string();
            return Problem::new(INSTANCE_BROKEN, "try again later").with(header::RETRY_AFTER, &seconds);
        }
        CallError::BodyTooLarge(bytes_max) => return body::too_large(*bytes_max),
        CallError::BodyTooSlow => return Problem::from(Refusal::TooSlow),
        CallError::Panicked => PLUGIN_PANICKED,
        CallError::Failed(_) => PLUGIN_FAILED,
        CallError::Malformed(_) => PLUGIN_MALFORMED,
        CallError::Deadline(_) => PLUGIN_DEADLINE,
    };
    Problem::logged(kind, format_args!("instance {instance}: {error}"))
}

/// What no route matches.
pub(super) async fn not_found() -> Problem {
    Problem::new(NOT_FOUND, "no such path")
}

/// A route that exists, with another method, or with the question which there are. The router has put `Allow` there
/// already.
pub(super) async fn method_not_allowed(method: Method) -> Result<StatusCode, Problem> {
    if method == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(METHOD_NOT_ALLOWED, "see the header field `Allow`"))
}

/// The page that says what each `code` means: the type of a problem is its place there (RFC 9457, section 3.1.1).
pub(super) const PROBLEMS: &str = "/docs/problems";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn integrators_are_told_of_every_code() {
        let docs = include_str!("../../docs/integrators.md");
        let mut told = BTreeSet::new();
        for row in docs.lines().filter_map(|line| line.strip_prefix("| ")) {
            let mut cells = row.split(" | ");
            let (Some(status), Some(codes)) = (cells.next(), cells.next()) else { continue };
            let Ok(status) = status.parse::<u16>() else { continue };
            told.extend(codes.split(", ").map(|code| (status, code.trim_matches('`').to_owned())));
        }
        let known: BTreeSet<_> = KINDS.iter().map(|kind| (kind.status().as_u16(), kind.code().to_owned())).collect();
        assert_eq!(told, known, "docs/integrators.md, \"Errors\", beside the table above");
        let codes: BTreeSet<_> = KINDS.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), KINDS.len(), "a code that stands for two kinds");
    }
}
