//! What a handler is asked.
//!
//! Start at [`Request`].

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use porth_abi as abi;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::body_stream::BodyStream;
use crate::bytes::{array, slice};
use crate::callbacks::Callbacks;
use crate::error::Error;
use crate::session::Session;
use crate::strict;

/// A request to an endpoint.
///
/// Nothing is copied: texts and bytes lie in the host's memory, which a request keeps as long as it lives. An asynchronous
/// handler owns its request; a synchronous one borrows it for the call, and clones it to keep it. Any thread may read it. A
/// request that is still held when the instance is to close holds that up, so drop it when its work is done.
///
/// ```
/// # use porth_plugin::prelude::*;
/// #[derive(Deserialize)]
/// struct Note {
///     text: String,
/// }
///
/// async fn note(request: Request) -> Result<Response, Error> {
///     let number: u32 = request.param_as("number")?; // 400 for what is none
///     let Note { text } = request.json()?; // 400 with the place of what is wrong
///     let language = request.header("accept-language").unwrap_or("en");
///     let by = match request.caller() {
///         Caller::User(name) => name.to_owned(),
///         _ => "somebody".to_owned(),
///     };
///     Response::json(&json!({ "number": number, "text": text, "language": language, "by": by }))
/// }
/// ```
pub struct Request {
    request: abi::Request,
    callbacks: Callbacks,
    kept: Kept,
}

/// Whether this value has a reference of its own to the host's request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    ForTheCall,
    Retained,
}

// SAFETY: what a request points to does not change while it lives, and the host's functions for it may be called from
// any thread.
unsafe impl Send for Request {}
// SAFETY: see above.
unsafe impl Sync for Request {}

impl Request {
    /// The request of a call, for as long as the call.
    ///
    /// # Safety
    /// `request` must be what a handler got, and the result must not outlive the call.
    pub(crate) unsafe fn borrowed(request: abi::RequestIn, callbacks: Callbacks) -> Self {
        // SAFETY: the caller vouches for it. No host is older than this SDK's minor version 0, so its struct is at least
        // as long.
        Self { request: unsafe { *request.0 }, callbacks, kept: Kept::ForTheCall }
    }

    /// The request of a call, for as long as it is wanted.
    ///
    /// # Safety
    /// `request` must be what a handler got, during its call.
    pub(crate) unsafe fn retained(request: abi::RequestIn, callbacks: Callbacks) -> Self {
        // SAFETY: the caller vouches for `request`; the borrowed value ends in this function.
        unsafe { Self::borrowed(request, callbacks) }.clone()
    }

    /// The method (RFC 9110, section 9).
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(self.request.method)
    }

    /// The path below the instance's prefix, with its leading `/`, not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.request.path)
    }

    /// A path parameter, decoded: `name` for the pattern `/hello/{name}`.
    ///
    /// # Errors
    /// 500 when the endpoint's pattern has no such parameter.
    pub fn param(&self, name: &str) -> Result<&str, Error> {
        // SAFETY: valid as long as the request.
        let parameters = unsafe { array(self.request.parameters, self.request.parameters_len) };
        let found = parameters.iter().find(|parameter| self.bytes(parameter.name) == name.as_bytes());
        match found {
            Some(parameter) => Ok(self.text(parameter.value)),
            None => Err(Error::internal(format_args!("the endpoint's path has no parameter `{name}`"))),
        }
    }

    /// A path parameter as a number or another type that can be read from text.
    ///
    /// # Errors
    /// 400 when it cannot be read; 500 when the endpoint's pattern has no such parameter.
    pub fn param_as<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        self.param(name)?
            .parse()
            .map_err(|error: T::Err| Error::bad_request(format!("`{name}` in the path cannot be read: {error}")))
    }

    /// What follows the `?` in the URL, not decoded; empty without one.
    #[must_use]
    pub fn query(&self) -> &str {
        self.text(self.request.query)
    }

    /// The names and values of the query, decoded, in their order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().as_bytes())
    }

    /// The query as a struct.
    ///
    /// # Errors
    /// 400 when it does not fit.
    ///
    /// # Examples
    /// ```
    /// # use porth_plugin::prelude::*;
    /// #[derive(Deserialize)]
    /// struct Page {
    ///     #[serde(default)]
    ///     offset: u32,
    /// }
    ///
    /// fn list(request: &Request) -> Result<Response, Error> {
    ///     let page: Page = request.query_as()?;
    ///     Response::json(&json!({ "offset": page.offset }))
    /// }
    /// ```
    pub fn query_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_urlencoded::from_str(self.query())
            .map_err(|error| Error::bad_request(format!("the query cannot be read: {error}")))
    }

    /// The value of a header field; of the first, when there are several. `None` also for a value that is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The header fields in the order they came; their names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // SAFETY: valid as long as the request.
        let headers = unsafe { array(self.request.headers, self.request.headers_len) };
        headers.iter().map(|header| (self.text(header.name), self.bytes(header.value)))
    }

    /// The body; empty for an endpoint with [`stream_body`](crate::NewEndpoint::stream_body).
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes(self.request.body)
    }

    /// The body as text.
    ///
    /// # Errors
    /// 400 when it is not UTF-8.
    pub fn body_text(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.body()).map_err(|_| Error::bad_request("The body is not UTF-8."))
    }

    /// The body as a value from JSON.
    ///
    /// # Errors
    /// 400 when the content type is not `application/json`, when the body does not fit, when a member is there twice (even
    /// one that the type leaves out) or when it is more than 64 levels deep: the answer names the place.
    ///
    /// # Examples
    /// ```
    /// # use porth_plugin::prelude::*;
    /// #[derive(Deserialize)]
    /// struct Order {
    ///     count: u32,
    /// }
    ///
    /// fn order(request: &Request) -> Result<Response, Error> {
    ///     let order: Order = request.json()?;
    ///     Ok(Response::text(format!("{} ordered", order.count)))
    /// }
    /// ```
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let content_type = self.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Error::bad_request("The body must be JSON with `Content-Type: application/json`."));
        }
        let body = self.body();
        let read = strict::check(body).map_err(|error| error.to_string()).and_then(|()| read_json(body));
        read.map_err(|error| Error::bad_request("The body does not fit.").with_errors([error]))
    }

    /// The body as it comes in, for an endpoint with [`stream_body`](crate::NewEndpoint::stream_body). Without that it comes
    /// in one piece.
    #[must_use]
    pub fn body_stream(&self) -> BodyStream {
        BodyStream::new(self.clone())
    }

    /// Who calls, as far as the endpoint's `auth` asked.
    #[must_use]
    pub fn caller(&self) -> Caller {
        #[derive(Deserialize)]
        struct Record {
            kind: String,
            #[serde(default)]
            name: Option<String>,
        }
        let Ok(record) = serde_json::from_slice::<Record>(self.bytes(self.request.caller)) else {
            return Caller::None;
        };
        let name = record.name.unwrap_or_default();
        match record.kind.as_str() {
            "key" => Caller::Key(name),
            "user" => Caller::User(name),
            "client" => Caller::Client(name),
            // Nobody that this SDK knows is nobody to rely on.
            _ => Caller::None,
        }
    }

    /// The id of this request in the answer's `X-Request-Id`, in error pages, and in the host's log, also with what you log
    /// while you answer it.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.text(self.request.request_id)
    }

    /// The place of this request in its trace, as W3C Trace Context writes it: send it as `traceparent` with every request
    /// that you make on the way, so that what is called can be told to belong together.
    ///
    /// The trace is the caller's, if it sent a valid `traceparent`, else a new one; the span is the host's own for this
    /// request, the same that its log shows. `None` only from a host that knows of no traces.
    ///
    /// # Examples
    /// ```
    /// # use porth_plugin::prelude::*;
    /// /// The header fields for a request to another service.
    /// fn passed_on(request: &Request) -> Vec<(&'static str, String)> {
    ///     let traceparent = request.traceparent().map(|value| ("traceparent", value.to_owned()));
    ///     let tracestate = request.tracestate().map(|value| ("tracestate", value));
    ///     traceparent.into_iter().chain(tracestate).collect()
    /// }
    /// ```
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header("traceparent")
    }

    /// What the programs before this one keep in the trace, as `tracestate` to pass on unchanged; several fields become one,
    /// as the standard wants it (section 3.3.1.1).
    #[must_use]
    pub fn tracestate(&self) -> Option<String> {
        let fields = self.headers().filter(|(name, _)| *name == "tracestate");
        let values: Vec<_> = fields.filter_map(|(_, value)| std::str::from_utf8(value).ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.get(3..35)
    }

    /// The id of the host's part of the trace: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> Option<&str> {
        self.traceparent()?.get(36..52)
    }

    /// How long the host waits for the response, from the start of the call; then the client gets 504.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.request.deadline_ms)
    }

    /// The session behind the request's cookie. Needs [`Right::Sessions`](crate::Right::Sessions).
    #[must_use]
    pub const fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    pub(crate) const fn callbacks(&self) -> Callbacks {
        self.callbacks
    }

    pub(crate) const fn handle(&self) -> *const core::ffi::c_void {
        self.request.handle
    }

    fn bytes(&self, text: abi::Str) -> &[u8] {
        // SAFETY: `text` is the request's, valid and unchanged as long as `self`.
        unsafe { slice(text) }
    }

    /// The border says that text is UTF-8; what is not counts as empty.
    fn text(&self, text: abi::Str) -> &str {
        std::str::from_utf8(self.bytes(text)).unwrap_or_default()
    }
}

/// Another reference to the same request of the host, also from a request that a synchronous handler has borrowed.
impl Clone for Request {
    fn clone(&self) -> Self {
        // SAFETY: the handle is valid as long as `self`.
        unsafe { self.callbacks.retain(self.request.handle) };
        Self { request: self.request, callbacks: self.callbacks, kept: Kept::Retained }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.kept == Kept::Retained {
            // SAFETY: retained in `clone`, and nothing of it can be used after this.
            unsafe { self.callbacks.release(self.request.handle) }
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Header fields and bodies do not belong into logs.
        let (method, path, id) = (self.method(), self.path(), self.request_id());
        formatter.debug_struct("Request").field("method", &method).field("path", &path).field("id", &id).finish()
    }
}

/// Who calls an endpoint.
///
/// ```
/// # use porth_plugin::prelude::*;
/// fn owner(request: &Request) -> Result<String, Error> {
///     match request.caller() {
///         Caller::User(name) => Ok(name),
///         _ => Err(Error::forbidden("This is for users.")),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// Nobody known.
    None,
    /// The holder of an API key, by the key's name.
    Key(String),
    /// A user, by name.
    User(String),
    /// A client, by its id.
    Client(String),
}

/// Reads JSON; the error says where what is wrong.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        match (path.as_str(), error.inner()) {
            (".", inner) => inner.to_string(),
            (path, inner) => format!("{path}: {inner}"),
        }
    })?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}
