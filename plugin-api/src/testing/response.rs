//! What an instance under test answers.
//!
//! Start at [`TestResponse`].

use core::fmt;
use core::task::Poll;
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};

use porth_abi as abi;
use porth_abi::code;
use serde_json::{Value, json};

use super::call::as_worker;
use crate::block_on::block_on;
use crate::bytes::{HostBytes, array, slice};
use crate::response::reason;
use crate::waker::with_host_waker;

/// What came of a call.
pub(super) enum Outcome {
    Ready(TestResponse),
    Next,
    Pending,
    Panicked,
    Failed(String),
    Malformed(String),
}

/// An answer of an instance, or of the host in its place.
pub struct TestResponse {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Mutex<Body>,
}

enum Body {
    Whole(Vec<u8>),
    Stream(PluginStream),
    /// All of a stream was read, or what made it end early.
    Read(Result<(), String>),
}

/// A stream of the plug-in, dropped with this.
struct PluginStream(abi::Stream);

// SAFETY: the border says that a stream may be polled and dropped from any thread, one at a time.
unsafe impl Send for PluginStream {}

impl Drop for PluginStream {
    fn drop(&mut self) {
        if let Some(free) = self.0.drop {
            // SAFETY: the plug-in gave it, and this is its last use.
            as_worker(|| unsafe { free(self.0.state) });
        }
    }
}

impl PluginStream {
    /// The next piece; `None` at the end, or the reason for a break.
    fn next(&mut self) -> Option<Result<Vec<u8>, String>> {
        let poll_next = self.0.poll_next?;
        block_on(poll_fn(|context| {
            let mut chunk = abi::Bytes::EMPTY;
            let answer = as_worker(|| {
                with_host_waker(context.waker(), |waker| {
                    // SAFETY: the plug-in gave it; polled here only, and not after its end.
                    unsafe { poll_next(self.0.state, waker, &raw mut chunk) }
                })
            });
            // SAFETY: the plug-in filled it in, or left it empty.
            let chunk = unsafe { HostBytes::new(chunk) };
            match answer {
                code::PENDING => Poll::Pending,
                code::READY if chunk.as_slice().is_empty() => Poll::Ready(None),
                code::READY => Poll::Ready(Some(Ok(chunk.as_slice().to_vec()))),
                code::PANIC => Poll::Ready(Some(Err("it panicked".to_owned()))),
                _ => Poll::Ready(Some(Err(chunk.to_text()))),
            }
        }))
    }
}

impl TestResponse {
    /// An answer of the host's own.
    pub(super) fn problem(status: u16, name: &str, detail: &str) -> Self {
        let body = json!({"type": "about:blank", "title": reason(status), "status": status, "code": name,
            "detail": detail});
        Self {
            status,
            headers: vec![("content-type".to_owned(), b"application/problem+json".to_vec())],
            body: Mutex::new(Body::Whole(body.to_string().into_bytes())),
        }
    }

    /// As an answer to HEAD.
    pub(super) fn without_body(self) -> Self {
        *self.lock() = Body::Whole(Vec::new());
        self
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status code. 499 is that of a request whose client has left.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header field; of the first, when there are several. `None` also for one that is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The header fields in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The next piece of a body in pieces, which the plug-in makes now; `None` at its end and for a whole body.
    ///
    /// # Panics
    /// When the stream breaks off; see [`broke_off`](Self::broke_off).
    #[must_use]
    pub fn next_piece(&self) -> Option<Vec<u8>> {
        let mut body = self.lock();
        let Body::Stream(stream) = &mut *body else { return None };
        match stream.next() {
            Some(Ok(piece)) => Some(piece),
            None => {
                *body = Body::Read(Ok(()));
                None
            }
            Some(Err(reason)) => {
                *body = Body::Read(Err(reason.clone()));
                drop(body);
                panic!("the body broke off: {reason}");
            }
        }
    }

    /// Reads the rest of a body in pieces, and answers why it broke off, if it did.
    #[must_use]
    pub fn broke_off(&self) -> Option<String> {
        let mut body = self.lock();
        loop {
            match &mut *body {
                Body::Whole(_) | Body::Read(Ok(())) => return None,
                Body::Read(Err(reason)) => return Some(reason.clone()),
                Body::Stream(stream) => match stream.next() {
                    Some(Ok(_)) => {}
                    None => *body = Body::Read(Ok(())),
                    Some(Err(reason)) => *body = Body::Read(Err(reason)),
                },
            }
        }
    }

    /// The body; of one in pieces all that is left of them, which must have an end.
    ///
    /// # Panics
    /// When the stream breaks off.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        if let Body::Whole(bytes) = &*self.lock() {
            return bytes.clone();
        }
        let mut all = Vec::new();
        while let Some(piece) = self.next_piece() {
            all.extend(piece);
        }
        all
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body()).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let body = self.body();
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {} `{}`", self.status, String::from_utf8_lossy(&body)))
    }
}

impl fmt::Debug for TestResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match &*self.lock() {
            Body::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Body::Stream(_) | Body::Read(_) => "a stream".to_owned(),
        };
        formatter.debug_struct("TestResponse").field("status", &self.status).field("body", &body).finish()
    }
}

/// Takes over what a handler filled in, and looks whether the host would send it.
///
/// # Safety
/// `response` was filled in by a handler, and nobody else frees what it owns.
pub(super) unsafe fn take(answer: i32, response: abi::Response) -> Outcome {
    // All are taken before anything is looked at, so that they are freed whatever comes of it.
    // SAFETY: the caller vouches for it.
    let header_owner = unsafe { HostBytes::new(response.header_owner) };
    // SAFETY: the caller vouches for it.
    let body = unsafe { HostBytes::new(response.body) };
    let stream = PluginStream(response.stream);
    match answer {
        code::READY => {}
        code::NEXT => return Outcome::Next,
        code::PENDING => return Outcome::Pending,
        code::PANIC => return Outcome::Panicked,
        code::FAILED => return Outcome::Failed("it gave no reason".to_owned()),
        other if other < 0 => return Outcome::Failed(format!("code {other}")),
        other => return Outcome::Malformed(format!("the number {other}, which means nothing here")),
    }
    let status = u16::try_from(response.status).ok().filter(|status| (200..=999).contains(status));
    let Some(status) = status else {
        return Outcome::Malformed(format!("status {}, expected 200 to 999", response.status));
    };
    let len = usize::try_from(response.headers_len).unwrap_or(usize::MAX);
    // SAFETY: the fields live as long as `header_owner`, which is still held.
    let fields = unsafe { array(response.headers, len) };
    let mut headers = Vec::new();
    for field in fields {
        // SAFETY: as above.
        let name = unsafe { slice(field.name) };
        // SAFETY: as above.
        let value = unsafe { slice(field.value) };
        let text = String::from_utf8_lossy(name).to_ascii_lowercase();
        if let Err(why) = crate::response::check_field(&text, value) {
            return Outcome::Malformed(why);
        }
        headers.push((text, value.to_vec()));
    }
    drop(header_owner);
    let body = match (stream.0.poll_next, body.as_slice()) {
        (None, whole) => Body::Whole(whole.to_vec()),
        (Some(_), []) => Body::Stream(stream),
        (Some(_), _) => return Outcome::Malformed("a body and a stream".to_owned()),
    };
    Outcome::Ready(TestResponse { status, headers, body: Mutex::new(body) })
}
