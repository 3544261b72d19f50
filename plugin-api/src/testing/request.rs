//! Requests to an instance under test.
//!
//! Start at [`TestRequest`].

use core::fmt;
use core::pin::Pin;
use core::task::{Context as TaskContext, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use porth_abi as abi;
use porth_abi::code;
use serde::Serialize;
use serde_json::json;

use super::instance::Shared;
use super::response::{Outcome, TestResponse, take};
use crate::host_error::HostError;

/// A request to an instance under test: what is not said is empty. [`send`](Self::send) it, or await it.
///
/// ```
/// # use porth_plugin::testing::TestInstance;
/// # use porth_plugin::prelude::json;
/// # fn test(notes: &TestInstance) {
/// let made = notes.put("/notes/first?draft=1").session("ann").header("if-none-match", "*").json(&json!({ "text": "Bread" }));
/// assert_eq!(made.send().status(), 201);
/// # }
/// ```
#[must_use = "nothing is sent before `send` or `.await`"]
#[derive(Clone)]
pub struct TestRequest {
    pub(super) shared: Arc<Shared>,
    pub(super) method: String,
    /// With the query.
    pub(super) target: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Sending,
    pub(super) session: Option<String>,
    pub(super) client: Option<(String, Option<String>)>,
    pub(super) key: Option<String>,
    pub(super) cancelled: bool,
}

/// A body.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) pieces: VecDeque<Vec<u8>>,
    pub(super) cut_off: bool,
}

impl TestRequest {
    pub(super) fn new(shared: &Arc<Shared>, method: &str, target: &str) -> Self {
        Self {
            shared: Arc::clone(shared),
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Sending { pieces: VecDeque::new(), cut_off: false },
            session: None,
            client: None,
            key: None,
            cancelled: false,
        }
    }

    /// A header field.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }

    /// A body; without a content type, which [`header`](Self::header) sets.
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        self.pieces([body])
    }

    /// A body that comes in pieces, for an endpoint with [`stream_body`](crate::NewEndpoint::stream_body).
    pub fn pieces<B: AsRef<[u8]>>(mut self, pieces: impl IntoIterator<Item = B>) -> Self {
        self.body.pieces = pieces.into_iter().map(|piece| piece.as_ref().to_vec()).collect();
        self
    }

    /// The client leaves before the end of the body.
    pub fn cut_off(mut self) -> Self {
        self.body.cut_off = true;
        self
    }

    /// A body of JSON, with its content type.
    ///
    /// # Panics
    /// When the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("the body can be written as JSON");
        self.header("content-type", "application/json").body(body)
    }

    /// With the session of a user, whom [`TestHost::user`](super::TestHost::user) made known; of any other it is a session
    /// that is no more.
    pub fn session(mut self, username: impl AsRef<str>) -> Self {
        self.session = Some(username.as_ref().to_lowercase());
        self
    }

    /// With the credentials of a client.
    pub fn client(mut self, client_id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.client = Some((client_id.into(), Some(secret.into())));
        self
    }

    /// With an administrator's key of this name.
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key = Some(name.into());
        self
    }

    /// The client leaves while an asynchronous handler waits for the first time: its future is dropped there, and the
    /// response has the status 499. A handler that does not wait has answered before.
    pub fn cancelled(mut self) -> Self {
        self.cancelled = true;
        self
    }

    /// Sends it, and waits for the response: until the whole body is there or a stream has begun. An asynchronous or short
    /// handler runs as on a worker of the host, where nothing may block; any other as on a thread of the instance's own.
    ///
    /// # Panics
    /// When the instance is closed, and when nothing has come after 60 s.
    #[must_use]
    pub fn send(self) -> TestResponse {
        super::dispatch::send(&self)
    }
}

/// Runs on a thread of its own, so that many go on at once.
impl IntoFuture for TestRequest {
    type Output = TestResponse;
    type IntoFuture = Sent;

    fn into_future(self) -> Sent {
        let state = Arc::new(Mutex::new(SentState::default()));
        let sent = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let response = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.send()));
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.response = Some(response);
            if let Some(waker) = sent.waker.take() {
                waker.wake();
            }
        });
        drop(thread);
        Sent(state)
    }
}

impl fmt::Debug for TestRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TestRequest").field("method", &self.method).field("target", &self.target).finish()
    }
}

/// A request that is under way.
pub struct Sent(Arc<Mutex<SentState>>);

#[derive(Default)]
struct SentState {
    response: Option<std::thread::Result<TestResponse>>,
    waker: Option<Waker>,
}

impl Future for Sent {
    type Output = TestResponse;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<TestResponse> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.response.take() {
            Some(Ok(response)) => Poll::Ready(response),
            // The test's own failure, told where it waits.
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sent")
    }
}

/// The request that [`abi::Request::handle`] points to: everything that its fields point to.
#[derive(Debug)]
pub(super) struct HostRequest {
    pub(super) session: Option<String>,
    method: String,
    path: String,
    query: String,
    body: Vec<u8>,
    caller: String,
    id: String,
    deadline_ms: u64,
    /// What the next two point to.
    _texts: Texts,
    headers: Vec<abi::Header>,
    parameters: Vec<abi::Parameter>,
    sending: Mutex<(Sending, u64)>,
    token: Mutex<Option<u64>>,
}

/// Header fields and path parameters.
type Texts = (Vec<(String, Vec<u8>)>, Vec<(String, String)>);

// SAFETY: what it points to is its own and does not change.
unsafe impl Send for HostRequest {}
// SAFETY: see above.
unsafe impl Sync for HostRequest {}

/// What is known of a request once its endpoint is found.
pub(super) struct Matched {
    pub(super) parameters: Vec<(String, String)>,
    pub(super) caller: (&'static str, Option<String>),
    pub(super) session: Option<String>,
    pub(super) deadline_ms: u64,
    pub(super) body_bytes_max: u64,
    pub(super) streams: bool,
}

impl HostRequest {
    pub(super) fn new(request: &TestRequest, matched: Matched) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let texts = (request.headers.clone(), matched.parameters);
        let header = |(name, value): &(String, Vec<u8>)| abi::Header {
            name: abi::Str::new(name.as_bytes()),
            value: abi::Str::new(value),
        };
        let parameter = |(name, value): &(String, String)| abi::Parameter {
            name: abi::Str::new(name.as_bytes()),
            value: abi::Str::new(value.as_bytes()),
        };
        let (kind, name) = matched.caller;
        let body = if matched.streams { Vec::new() } else { request.body.pieces.iter().flatten().copied().collect() };
        Arc::new(Self {
            session: matched.session,
            method: request.method.clone(),
            path: path.to_owned(),
            query: query.to_owned(),
            body,
            caller: json!({"kind": kind, "name": name}).to_string(),
            id: format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            deadline_ms: matched.deadline_ms,
            // The texts lie in memory of their own, which does not move with the vectors.
            headers: texts.0.iter().map(header).collect(),
            parameters: texts.1.iter().map(parameter).collect(),
            _texts: texts,
            sending: Mutex::new((request.body.clone(), matched.body_bytes_max)),
            token: Mutex::new(None),
        })
    }

    /// As a handler gets it.
    pub(super) fn cross(self: &Arc<Self>) -> abi::Request {
        let str = |text: &str| abi::Str::new(text.as_bytes());
        abi::Request {
            size: size_of::<abi::Request>(),
            handle: Arc::as_ptr(self).cast(),
            method: str(&self.method),
            path: str(&self.path),
            query: str(&self.query),
            headers: self.headers.as_ptr(),
            headers_len: self.headers.len(),
            parameters: self.parameters.as_ptr(),
            parameters_len: self.parameters.len(),
            body: abi::Str::new(&self.body),
            deadline_ms: self.deadline_ms,
            request_id: str(&self.id),
            caller: str(&self.caller),
        }
    }

    /// The next piece of the body; none at its end.
    pub(super) fn next_piece(&self) -> Result<Vec<u8>, HostError> {
        let (sending, left) = &mut *self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(piece) = sending.pieces.pop_front() else {
            return if sending.cut_off {
                Err(HostError::Cancelled("the client left".to_owned()))
            } else {
                Ok(Vec::new())
            };
        };
        let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        *left = left.checked_sub(len).ok_or_else(|| HostError::TooLarge("the body is too large".to_owned()))?;
        Ok(piece)
    }

    /// The token that it will be completed with; 0 for one that has one.
    pub(super) fn token(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.is_some() {
            return 0;
        }
        let new = NEXT.fetch_add(1, Ordering::Relaxed);
        tokens().insert(new, Completion::Waiting);
        *token = Some(new);
        new
    }

    /// The answer that came by token, if there is one by now; `Err` when no token was taken.
    pub(super) fn completed(&self) -> Result<Option<Outcome>, ()> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).ok_or(())?;
        let mut tokens = tokens();
        match tokens.remove(&token) {
            Some(Completion::Answered(outcome)) => Ok(Some(outcome)),
            Some(waiting) => {
                tokens.insert(token, waiting);
                Ok(None)
            }
            None => Err(()),
        }
    }

    /// Nobody waits any more.
    pub(super) fn give_up(&self) {
        if let Some(token) = *self.token.lock().unwrap_or_else(PoisonError::into_inner)
            && let Some(completion) = tokens().get_mut(&token)
        {
            *completion = Completion::GivenUp;
        }
    }
}

/// What becomes of a request that is completed by token.
enum Completion {
    Waiting,
    Answered(Outcome),
    GivenUp,
}

fn tokens() -> MutexGuard<'static, BTreeMap<u64, Completion>> {
    static TOKENS: Mutex<BTreeMap<u64, Completion>> = Mutex::new(BTreeMap::new());
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notified when something was completed.
pub(super) static COMPLETED: Condvar = Condvar::new();

/// Completes a request, as [`abi::Host::complete`] says.
///
/// # Safety
/// `response` is lent for the call, and what it owns is this function's.
pub(super) unsafe fn complete(token: u64, answer: i32, response: abi::ResponseOut) -> i32 {
    // SAFETY: the caller vouches for it.
    let response = unsafe { *response.0 };
    // SAFETY: as above.
    let outcome = unsafe { take(answer, response) };
    match tokens().get_mut(&token) {
        Some(completion @ Completion::Waiting) => *completion = Completion::Answered(outcome),
        Some(Completion::GivenUp) => return code::CANCELLED,
        Some(Completion::Answered(_)) | None => return code::PARAM,
    }
    COMPLETED.notify_all();
    code::OK
}
