//! What a handler answers.
//!
//! Start at [`Response`].

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use std::borrow::Cow;

use futures_core::Stream;
use porth_abi as abi;
use porth_abi::code;
use serde::Serialize;

use crate::bytes::Bytes;
use crate::environment::Environment;
use crate::error::Error;
use crate::event::Event;
use crate::outgoing::Outgoing;
use crate::stream::{Sender, channel};

/// An answer: status, header fields and body.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # fn f(id: &str) -> Result<Response, Error> {
/// Response::json(&json!({ "id": id }))?.with_status(201).with_header("location", format!("/things/{id}"))
/// # }
/// # assert!(f("7").is_ok() && f("7\r\nset-cookie: a=b").is_err());
/// ```
#[derive(Debug)]
pub struct Response {
    kind: Kind,
    status: u16,
    content_type: ContentType,
    headers: Vec<Field>,
    body: Body,
}

type Field = (String, Vec<u8>);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Answer,
    Next,
}

#[derive(Clone, Copy, Debug)]
enum ContentType {
    None,
    Json,
    Problem,
    Text,
    Html,
    Bytes,
    Events,
}

#[derive(Debug)]
enum Body {
    Whole(Bytes),
    Stream { pieces: Outgoing, flags: u64 },
}

impl Response {
    /// 200 with a value as JSON.
    ///
    /// # Errors
    /// 500 when the value cannot be written as JSON, such as a map whose keys are no texts.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Ok(Self::whole(200, ContentType::Json, Bytes::from_owned(serde_json::to_vec(value)?)))
    }

    /// 200 with plain text.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::whole(200, ContentType::Text, text.into().into())
    }

    /// 200 with an HTML page. Whatever comes from outside must be escaped before it gets here.
    pub fn html(page: impl Into<Cow<'static, str>>) -> Self {
        Self::whole(200, ContentType::Html, page.into().into())
    }

    /// 200 with bytes of type `application/octet-stream`; [`with_header`](Self::with_header) sets another type.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::whole(200, ContentType::Bytes, bytes.into())
    }

    /// 200 with a body in pieces, of type `application/octet-stream`; [`with_header`](Self::with_header) sets another type.
    ///
    /// The host asks for a piece when the client has taken the one before, on its workers: the stream must not block (see
    /// [`channel`](Self::channel) for code that does). It is dropped when the client leaves. An error breaks the body off:
    /// the client sees that it is not whole, and the host's log says why. The endpoint's deadline ends with the beginning of
    /// the response. The instance is not closed before the stream has ended; see [`endless`](Self::endless).
    ///
    /// Any [`Stream`] will do, of the `futures` crates or of [`stream`](crate::stream).
    pub fn stream<S, T, E>(pieces: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        T: Into<Bytes>,
        E: Into<Error>,
    {
        Self::in_pieces(ContentType::Bytes, Outgoing::new(pieces))
    }

    /// 200 with server-sent events (`text/event-stream`), each sent at once. It is a [`stream`](Self::stream), and
    /// [`endless`](Self::endless): clients come back after its end.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use porth_plugin::prelude::*;
    /// # use porth_plugin::stream::produce;
    /// # struct Clock { host: Host<Self> }
    /// # impl Plugin for Clock {
    /// #     const MODULE: Module = Module::new("clock", "Clock", "");
    /// #     type Parameters = std::collections::BTreeMap<String, String>;
    /// #     async fn init(host: Host<Self>, _: Self::Parameters) -> Result<Self, InitError> {
    /// #         host.endpoints().get("/ticks", Self::ticks).add()?;
    /// #         Ok(Self { host })
    /// #     }
    /// # }
    /// # impl Clock {
    /// async fn ticks(&self, _: Request) -> Result<Response, Error> {
    ///     let host = self.host.clone();
    ///     Ok(Response::events(produce(async move |events| {
    ///         for tick in 1.. {
    ///             events.send(Event::data(format!("tick {tick}"))).await?;
    ///             host.timer(Duration::from_secs(1)).await?;
    ///         }
    ///         Ok(())
    ///     })))
    /// }
    /// # }
    /// ```
    pub fn events<S, E>(events: S) -> Self
    where
        S: Stream<Item = Result<Event, E>> + Send + 'static,
        E: Into<Error>,
    {
        let mut response = Self::in_pieces(ContentType::Events, Outgoing::new(events));
        // For proxies that collect answers before they pass them on (nginx and what follows it).
        response.headers.push(("x-accel-buffering".to_owned(), b"no".to_vec()));
        response.endless()
    }

    /// 200 with a body that comes from a sender, which any thread of the plug-in may use: see [`Sender`]. Up to `capacity`
    /// pieces (at least 1) wait for the client.
    ///
    /// # Examples
    /// ```
    /// # use porth_plugin::prelude::*;
    /// fn numbers(_: &Request) -> Result<Response, Error> {
    ///     let (sender, response) = Response::channel(16);
    ///     std::thread::spawn(move || {
    ///         for number in 0..1_000_000 {
    ///             if sender.send_blocking(format!("{number}\n")).is_err() {
    ///                 return; // The client has left.
    ///             }
    ///         }
    ///     });
    ///     response.with_header("content-type", "text/plain")
    /// }
    /// ```
    #[must_use]
    pub fn channel<T: Into<Bytes> + Send + 'static>(capacity: usize) -> (Sender<T>, Self) {
        let (sender, receiver) = channel(capacity);
        (sender, Self::stream(receiver))
    }

    /// A status without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self::whole(status, ContentType::None, Bytes::EMPTY)
    }

    /// Not mine: the next handler of this method and path is asked, and after the last one the client gets 404.
    #[must_use]
    pub const fn next() -> Self {
        let body = Body::Whole(Bytes::EMPTY);
        Self { kind: Kind::Next, status: 404, content_type: ContentType::None, headers: Vec::new(), body }
    }

    /// Says that a body in pieces has no end of its own, as a feed, so that no client takes its end for a sign that it is
    /// whole. When the instance is reset, disabled or replaced, or the server stops, requests under way have some time (30 s)
    /// to come to their end; then this body is ended as if its last piece had come. Any other goes on, and keeps its instance
    /// open, as long as its client reads; the end of the server cuts it off.
    #[must_use]
    pub const fn endless(mut self) -> Self {
        if let Body::Stream { flags, .. } = &mut self.body {
            *flags |= code::stream::ENDLESS;
        }
        self
    }

    /// Sets the status code: 200 to 999. The host answers 502 in place of a response with any other.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header field; `content-type` replaces the one there is.
    ///
    /// # Errors
    /// 500 for a name that is no token (RFC 9110, section 5.1), for a value with a line break or another control
    /// character, and for what belongs to the host: `content-length` and everything about the connection.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Result<Self, Error> {
        let (name, value) = (name.as_ref(), trim(value.as_ref()));
        check_field(name, value).map_err(Error::internal)?;
        if name.eq_ignore_ascii_case("content-type") {
            self.content_type = ContentType::None;
            self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case("content-type"));
        }
        self.headers.push((name.to_owned(), value.to_vec()));
        Ok(self)
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The body; empty for one in pieces.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.body {
            Body::Whole(bytes) => bytes,
            Body::Stream { .. } => &[],
        }
    }

    /// Whether this is [`next`](Self::next).
    #[must_use]
    pub fn is_next(&self) -> bool {
        self.kind == Kind::Next
    }

    pub(crate) const fn problem(status: u16, body: Vec<u8>) -> Self {
        Self::whole(status, ContentType::Problem, Bytes::from_owned(body))
    }

    const fn whole(status: u16, content_type: ContentType, body: Bytes) -> Self {
        Self { kind: Kind::Answer, status, content_type, headers: Vec::new(), body: Body::Whole(body) }
    }

    const fn in_pieces(content_type: ContentType, pieces: Outgoing) -> Self {
        let body = Body::Stream { pieces, flags: 0 };
        Self { kind: Kind::Answer, status: 200, content_type, headers: Vec::new(), body }
    }

    /// Hands the response over to the host; a stream is polled in `environment`.
    ///
    /// # Safety
    /// `out` must be what a handler or a poll got, and still borrowed.
    pub(crate) unsafe fn write(self, environment: &Environment, out: abi::ResponseOut) {
        let (headers, headers_len, header_owner) = header_block(self.content_type.field(), &self.headers);
        // SAFETY: the caller vouches for `out`. No host is older than this SDK's minor version 0, so its struct is at
        // least as long.
        let out = unsafe { &mut *out.0 };
        out.status = u32::from(self.status);
        out.headers = headers;
        out.headers_len = headers_len;
        out.header_owner = header_owner;
        match self.body {
            Body::Whole(bytes) => out.body = bytes.cross(),
            Body::Stream { pieces, flags } => out.stream = pieces.cross(environment, flags),
        }
    }
}

/// Whether the host would send a header field; if not, a sentence says why.
pub(crate) fn check_field(name: &str, value: &[u8]) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(format!("`{}` is no name of a header field", name.escape_debug()));
    }
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
        let shown = value.escape_ascii();
        return Err(format!("the value of header field `{name}` holds a control character: `{shown}`"));
    }
    if HOST_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!("header field `{name}` belongs to the host"));
    }
    Ok(())
}

/// The header fields that belong to the host.
const HOST_FIELDS: [&str; 7] =
    ["content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"];

impl ContentType {
    /// The header field, which lives as long as the library.
    const fn field(self) -> Option<&'static Fields> {
        const fn fields(value: &'static str) -> Fields {
            let name = abi::Str::new(b"content-type");
            Fields([abi::Header { name, value: abi::Str::new(value.as_bytes()) }])
        }
        static JSON: Fields = fields("application/json");
        static PROBLEM: Fields = fields("application/problem+json");
        static TEXT: Fields = fields("text/plain; charset=utf-8");
        static HTML: Fields = fields("text/html; charset=utf-8");
        static BYTES: Fields = fields("application/octet-stream");
        static EVENTS: Fields = fields("text/event-stream");
        match self {
            Self::None => None,
            Self::Json => Some(&JSON),
            Self::Problem => Some(&PROBLEM),
            Self::Text => Some(&TEXT),
            Self::Html => Some(&HTML),
            Self::Bytes => Some(&BYTES),
            Self::Events => Some(&EVENTS),
        }
    }
}

/// A header field that never changes.
struct Fields([abi::Header; 1]);

// SAFETY: it points to static text only.
unsafe impl Sync for Fields {}

/// The header fields as the host wants them: an array of pointers and lengths, and the texts that it points to, in one
/// allocation; in none when there is only a content type.
fn header_block(content_type: Option<&'static Fields>, others: &[Field]) -> (*const abi::Header, u32, abi::Bytes) {
    let own: &'static [abi::Header] = content_type.map_or(&[], |fields| &fields.0);
    if others.is_empty() {
        return (own.as_ptr(), own.len() as u32, abi::Bytes::EMPTY);
    }
    const FIELD_LEN: usize = size_of::<abi::Header>();
    let fields_len = own.len() + others.len();
    let text_len: usize = others.iter().map(|(name, value)| name.len() + value.len()).sum();
    // A vector of fields has the right alignment; the texts lie in what would be its last elements.
    let block = ManuallyDrop::new(Vec::<abi::Header>::with_capacity(fields_len + text_len.div_ceil(FIELD_LEN)));
    let first = block.as_ptr().cast_mut();
    // SAFETY: `fields_len` elements are within the capacity.
    let mut text: *mut u8 = unsafe { first.add(fields_len) }.cast();
    let mut push = |bytes: &[u8]| {
        let crossed = abi::Str { ptr: text, len: bytes.len() };
        // SAFETY: the capacity holds all texts behind the fields, and nothing else lies there.
        unsafe { text.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        // SAFETY: at most the end of the texts, which is within the capacity.
        text = unsafe { text.add(bytes.len()) };
        crossed
    };
    let texts = others.iter().map(|(name, value)| abi::Header { name: push(name.as_bytes()), value: push(value) });
    for (index, field) in own.iter().copied().chain(texts).enumerate() {
        // SAFETY: `index` is less than `fields_len`.
        let slot = unsafe { first.add(index) };
        // SAFETY: the slot is within the capacity and aligned.
        unsafe { slot.write(field) };
    }
    let owner = core::ptr::without_provenance_mut::<c_void>(block.capacity());
    let block = abi::Bytes { ptr: first.cast(), len: fields_len * FIELD_LEN + text_len, owner, drop: Some(drop_block) };
    (first, fields_len as u32, block)
}

/// Called by the host, once, from any thread.
unsafe extern "C" fn drop_block(owner: *mut c_void, first: *const u8, _: usize) {
    // SAFETY: `header_block` took the pointer and the capacity out of such a vector and did not drop it; fields need no
    // drop of their own, so the vector counts as empty.
    drop(unsafe { Vec::<abi::Header>::from_raw_parts(first.cast_mut().cast(), 0, owner.addr()) });
}

/// RFC 9110, section 5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Without the white space that is no part of a value (RFC 9110, section 5.5).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// What a status code means (RFC 9110, section 15, and RFC 6585); empty for the rarer ones.
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
