//! A request on its way to a handler: the host's own data with the border's view of it.

use std::borrow::Cow;
use std::ffi::c_void;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use porth_abi::{Header, Parameter, Request, RequestIn, Str};
use smallvec::SmallVec;

use super::body::{Reading, RequestBody};
use super::token::Deferred;

/// The path parameters in the order of the pattern: each one's name there, and its decoded value.
pub type PathParameters = SmallVec<[(Box<str>, Box<str>); 2]>;

/// What a [`CallRequest`] is made of.
#[derive(Debug)]
pub struct RequestParts {
    /// Method, target and header fields.
    pub parts: Parts,
    /// Where in the target's path the part below the instance's prefix begins.
    pub path_start: usize,
    /// The path parameters.
    pub parameters: PathParameters,
    /// How long the host waits.
    pub deadline: Duration,
    /// The id in log and error pages.
    pub request_id: Name,
    /// What a handler sees as the header field `traceparent`, instead of any that came; none when empty.
    pub traceparent: Name,
    /// Who calls, as JSON.
    pub caller: Cow<'static, str>,
    /// The address that it comes from, where that is known.
    pub peer: Option<IpAddr>,
}

/// A short text in place, ASCII.
pub type Name = SmallVec<[u8; 64]>;

/// A request that handlers can read and keep; lives until the host and every handler that retained it let go.
pub struct CallRequest {
    mark: AtomicU64,
    source: RequestParts,
    /// As far as it was read before the call.
    body: Bytes,
    reading: parking_lot::Mutex<Reading>,
    headers: SmallVec<[Header; 8]>,
    parameters: SmallVec<[Parameter; 2]>,
    view: Request,
    deferred: parking_lot::Mutex<Option<Deferred>>,
}

// SAFETY: the view's pointers lead to data that this owns and nobody changes after `new`.
unsafe impl Send for CallRequest {}
// SAFETY: as above.
unsafe impl Sync for CallRequest {}

/// Tells a live request from memory that is none; not a proof, but it catches the common mistakes.
const MARK: u64 = 0x506f_7274_6852_6571;

impl CallRequest {
    /// Makes the view of a request. `hidden` says which header fields a plug-in must not see.
    #[must_use]
    pub fn new(source: RequestParts, body: RequestBody, hidden: impl Fn(&http::HeaderName) -> bool) -> Arc<Self> {
        let (reading, body) = Reading::new(body);
        let mut request = Arc::new(Self {
            mark: AtomicU64::new(MARK),
            source,
            body,
            reading: parking_lot::Mutex::new(reading),
            headers: SmallVec::new(),
            parameters: SmallVec::new(),
            view: EMPTY_VIEW,
            deferred: parking_lot::Mutex::new(None),
        });
        let handle = Arc::as_ptr(&request).cast::<c_void>();
        // The pointers are taken only now: inside the `Arc` nothing moves any more.
        if let Some(this) = Arc::get_mut(&mut request) {
            this.fill(handle, hidden);
        }
        request
    }

    fn fill(&mut self, handle: *const c_void, hidden: impl Fn(&http::HeaderName) -> bool) {
        let RequestParts { parts, path_start, parameters, deadline, request_id, traceparent, caller, .. } =
            &self.source;
        self.headers.extend(parts.headers.iter().filter(|(name, _)| !hidden(name)).map(|(name, value)| Header {
            name: Str::new(name.as_str().as_bytes()),
            value: Str::new(value.as_bytes()),
        }));
        if !traceparent.is_empty() {
            self.headers.push(Header { name: Str::new(b"traceparent"), value: Str::new(traceparent) });
        }
        self.parameters.extend(
            parameters
                .iter()
                .map(|(name, value)| Parameter { name: Str::new(name.as_bytes()), value: Str::new(value.as_bytes()) }),
        );
        let path = parts.uri.path().as_bytes().get(*path_start..).unwrap_or_default();
        self.view = Request {
            size: size_of::<Request>(),
            handle,
            method: Str::new(parts.method.as_str().as_bytes()),
            path: Str::new(if path.is_empty() { b"/" } else { path }),
            query: Str::new(parts.uri.query().unwrap_or_default().as_bytes()),
            headers: self.headers.as_ptr(),
            headers_len: self.headers.len(),
            parameters: self.parameters.as_ptr(),
            parameters_len: self.parameters.len(),
            body: Str::new(&self.body),
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            request_id: Str::new(request_id),
            caller: Str::new(caller.as_bytes()),
        };
    }

    /// The address that it comes from, where that is known.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.source.peer
    }

    /// The header fields, target and method.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.source.parts
    }

    /// How long the host waits.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.source.deadline
    }

    /// The body as far as it was read before the call.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// How far the rest was read.
    pub(super) fn reading(&self) -> &parking_lot::Mutex<Reading> {
        &self.reading
    }

    /// The border's view, valid as long as `self`.
    pub(super) fn view(&self) -> RequestIn {
        RequestIn(&raw const self.view)
    }

    /// Remembers the completion that a handler asked for; `None` when it asked before.
    pub(super) fn defer(&self, make: impl FnOnce() -> (u64, Deferred)) -> Option<u64> {
        let mut deferred = self.deferred.lock();
        if deferred.is_some() {
            return None;
        }
        let (token, waiting) = make();
        *deferred = Some(waiting);
        Some(token)
    }

    /// The completion that a handler asked for.
    pub(super) fn take_deferred(&self) -> Option<Deferred> {
        self.deferred.lock().take()
    }

    /// Finds the request behind a handle, and holds it.
    ///
    /// # Safety
    /// `handle` is null, or was given out by a view whose request the caller was lent or has retained.
    pub(super) unsafe fn hold(handle: *const c_void) -> Option<Arc<Self>> {
        // SAFETY: the caller vouches for the handle.
        let retained = unsafe { Self::retain(handle) };
        // SAFETY: the count was raised for this `Arc`.
        retained.then(|| unsafe { Arc::from_raw(handle.cast::<Self>()) })
    }

    /// Raises the count by one; false for null or for what is no request.
    ///
    /// # Safety
    /// As for [`hold`](Self::hold).
    pub(super) unsafe fn retain(handle: *const c_void) -> bool {
        // SAFETY: the caller vouches for the handle.
        let request = unsafe { handle.cast::<Self>().as_ref() };
        if request.is_none_or(|request| request.mark.load(Ordering::Relaxed) != MARK) {
            return false;
        }
        // SAFETY: the handle is what `Arc::as_ptr` gave, and the request lives.
        unsafe { Arc::increment_strong_count(handle.cast::<Self>()) };
        true
    }

    /// Lowers the count by one.
    ///
    /// # Safety
    /// As for [`hold`](Self::hold), and the caller gives back a count of its own.
    pub(super) unsafe fn release(handle: *const c_void) {
        // SAFETY: the caller vouches for the handle.
        let Some(request) = (unsafe { handle.cast::<Self>().as_ref() }) else { return };
        if request.mark.load(Ordering::Relaxed) == MARK {
            // SAFETY: the handle is what `Arc::as_ptr` gave, and the caller has a count to give back.
            unsafe { Arc::decrement_strong_count(handle.cast::<Self>()) };
        }
    }
}

impl Drop for CallRequest {
    fn drop(&mut self) {
        self.mark.store(0, Ordering::Relaxed);
    }
}

const EMPTY_VIEW: Request = Request {
    size: 0,
    handle: std::ptr::null(),
    method: Str::EMPTY,
    path: Str::EMPTY,
    query: Str::EMPTY,
    headers: std::ptr::null(),
    headers_len: 0,
    parameters: std::ptr::null(),
    parameters_len: 0,
    body: Str::EMPTY,
    deadline_ms: 0,
    request_id: Str::EMPTY,
    caller: Str::EMPTY,
};
