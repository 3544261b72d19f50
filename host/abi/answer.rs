//! What a handler answered, checked: an answer that leaves this module can be sent as it is.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use porth_abi::{Bytes, Future, Response, Stream, code};

use super::bytes::{BadBytes, OwnedBytes, borrow};
use super::stream::AnswerStream;

/// A checked answer.
#[derive(Debug)]
pub struct Answer {
    /// 200 to 999.
    pub status: StatusCode,
    /// Valid fields; none of those that belong to the host.
    pub headers: HeaderMap,
    /// The body, still the plug-in's.
    pub body: AnswerBody,
}

/// An answer's body.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it.
    Whole(OwnedBytes),
    /// In pieces, as they are pulled.
    Stream(AnswerStream),
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It panicked; the message is in the log already.
    #[error("it panicked")]
    Panicked,
    /// It said that it failed.
    #[error("it failed: {0}")]
    Failed(String),
    /// It answered something that cannot be sent.
    #[error("it answered {0}")]
    Malformed(String),
}

impl Failure {
    /// What a number other than READY, PENDING or NEXT says.
    pub(super) fn of(number: i32) -> Self {
        match number {
            code::PANIC => Self::Panicked,
            code::FAILED => Self::Failed("it gave no reason".to_owned()),
            other if other < 0 => Self::Failed(format!("code {other}")),
            other => Self::Malformed(format!("the number {other}, which means nothing here")),
        }
    }
}

impl From<BadBytes> for Failure {
    fn from(bad: BadBytes) -> Self {
        Self::Malformed(bad.to_string())
    }
}

/// A response for a handler to fill in.
pub(super) fn empty_response() -> Response {
    Response {
        size: size_of::<Response>(),
        status: 0,
        headers_len: 0,
        headers: std::ptr::null(),
        header_owner: Bytes::EMPTY,
        body: Bytes::EMPTY,
        future: Future::NONE,
        stream: Stream::NONE,
    }
}

/// Fields that only the host may write: they frame the message (RFC 9112, section 6) or steer the connection.
const HOST_FIELDS: [HeaderName; 7] = [
    http::header::CONTENT_LENGTH,
    http::header::TRANSFER_ENCODING,
    http::header::CONNECTION,
    http::header::UPGRADE,
    http::header::TRAILER,
    http::header::TE,
    HeaderName::from_static("keep-alive"),
];

/// More fields than this are a mistake.
const HEADERS_MAX: u32 = 256;

/// Takes over what a handler filled in and checks it.
///
/// # Safety
/// `response` was filled in by a handler under the rules of the border, and nobody else frees what it owns.
pub(super) unsafe fn take(answer: i32, response: Response) -> Result<Answer, Failure> {
    // All are taken before anything is checked, so that they are freed whatever comes of it.
    // SAFETY: the caller vouches that nobody else owns the bytes.
    let header_owner = unsafe { OwnedBytes::take(response.header_owner) };
    // SAFETY: as above.
    let body = unsafe { OwnedBytes::take(response.body) };
    // SAFETY: as above.
    let stream = unsafe { AnswerStream::take(response.stream) };
    if answer != code::READY {
        return Err(Failure::of(answer));
    }
    let header_owner = header_owner?;
    let body = body.map_err(|bad| Failure::Malformed(format!("a body with {bad}")))?;
    // A final status: 1xx are interim responses, which are not a handler's to send.
    let status = u16::try_from(response.status)
        .ok()
        .filter(|status| (200..=999).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| Failure::Malformed(format!("status {}, expected 200 to 999", response.status)))?;
    // SAFETY: the fields live as long as `header_owner`, which is still held.
    let headers = unsafe { take_headers(&response) }?;
    drop(header_owner);
    let body = match stream {
        None => AnswerBody::Whole(body),
        Some(stream) if body.as_slice().is_empty() => AnswerBody::Stream(stream),
        Some(_) => return Err(Failure::Malformed("a body and a stream".to_owned())),
    };
    Ok(Answer { status, headers, body })
}

/// Copies the header fields.
///
/// # Safety
/// The fields that `response` points to are alive.
unsafe fn take_headers(response: &Response) -> Result<HeaderMap, Failure> {
    let len = response.headers_len;
    if len == 0 {
        return Ok(HeaderMap::new());
    }
    if response.headers.is_null() || len > HEADERS_MAX {
        return Err(Failure::Malformed(format!("{len} header fields at {:p}", response.headers)));
    }
    // SAFETY: not null, and the border says that so many fields live there until `header_owner` is dropped.
    let fields = unsafe { std::slice::from_raw_parts(response.headers, len as usize) };
    let mut headers = HeaderMap::with_capacity(fields.len() + 4);
    for field in fields {
        // SAFETY: a field's name lives as long as the field.
        let name = unsafe { borrow(field.name) }?;
        // SAFETY: a field's value lives as long as the field.
        let value = unsafe { borrow(field.value) }?;
        let name = HeaderName::from_bytes(name)
            .map_err(|_| Failure::Malformed(format!("the header name {:?}", String::from_utf8_lossy(name))))?;
        if HOST_FIELDS.contains(&name) {
            return Err(Failure::Malformed(format!("the header field `{name}`, which belongs to the host")));
        }
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| Failure::Malformed(format!("a malformed value in the header field `{name}`")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use porth_abi::{Header, Str};

    use super::*;

    fn check(change: impl FnOnce(&mut Response)) -> Result<u16, Failure> {
        let mut response = Response { status: 200, ..empty_response() };
        change(&mut response);
        // SAFETY: everything in it is static.
        unsafe { take(code::READY, response) }.map(|answer| answer.status.as_u16())
    }

    fn malformed(text: &str) -> Result<u16, Failure> {
        Err(Failure::Malformed(text.to_owned()))
    }

    #[test]
    fn a_status_outside_200_to_999_is_malformed() {
        assert_eq!(check(|_| {}), Ok(200));
        assert_eq!(check(|response| response.status = 999), Ok(999));
        assert_eq!(check(|response| response.status = 0), malformed("status 0, expected 200 to 999"));
        assert_eq!(check(|response| response.status = 101), malformed("status 101, expected 200 to 999"));
        assert_eq!(check(|response| response.status = 1000), malformed("status 1000, expected 200 to 999"));
        assert_eq!(check(|response| response.status = 65_736), malformed("status 65736, expected 200 to 999"));
    }

    fn with_header(name: &'static [u8], value: &'static [u8]) -> Result<u16, Failure> {
        let field = Header { name: Str::new(name), value: Str::new(value) };
        check(|response| {
            response.headers = &raw const field;
            response.headers_len = 1;
        })
    }

    #[test]
    fn a_header_that_would_split_or_frame_the_message_is_malformed() {
        assert_eq!(with_header(b"x-ok", b"fine"), Ok(200));
        assert_eq!(
            with_header(b"x-bad", b"a\r\nset-cookie: b"),
            malformed("a malformed value in the header field `x-bad`")
        );
        assert_eq!(with_header(b"x bad", b"a"), malformed("the header name \"x bad\""));
        assert_eq!(
            with_header(b"Content-Length", b"3"),
            malformed("the header field `content-length`, which belongs to the host")
        );
    }

    #[test]
    fn a_null_body_with_a_length_is_malformed() {
        let answer = check(|response| response.body = Bytes { ptr: std::ptr::null(), len: 5, ..Bytes::EMPTY });
        assert_eq!(answer, malformed("a body with a null pointer with a length of 5 bytes"));
    }

    #[test]
    fn only_ready_is_an_answer() {
        for (number, failure) in [
            (code::PANIC, Failure::Panicked),
            (code::FAILED, Failure::Failed("it gave no reason".to_owned())),
            (-40, Failure::Failed("code -40".to_owned())),
            (7, Failure::Malformed("the number 7, which means nothing here".to_owned())),
        ] {
            // SAFETY: nothing in it needs freeing.
            let answer = unsafe { take(number, empty_response()) };
            assert_eq!(answer.err(), Some(failure));
        }
    }
}
