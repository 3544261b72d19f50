//! From a request of a test to the plug-in's handlers and back, by the rules of the host.

use core::task::Poll;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use porth_abi as abi;
use porth_abi::code;

use super::call::as_worker;
use super::instance::Shared;
use super::limits::TestLimits;
use super::request::{HostRequest, Matched, TestRequest};
use super::response::{Outcome, TestResponse, take};
use super::routes::{self, Endpoint, Found};
use super::world::Phase;
use super::{people, session};
use crate::bytes::HostBytes;
use crate::waker::with_host_waker;

/// Sends a request to an instance.
pub(super) fn send(request: &TestRequest) -> TestResponse {
    let context = &request.shared.context;
    assert!(context.phase() == Phase::Running, "the instance `{}` is closed", context.name);
    let limits = context.world.lock().limits.clone();
    if let Some(rests) = context.breaker().rests(context.world.elapsed()) {
        return TestResponse::problem(503, "instance_broken", &rests);
    }
    let _under_way = request.shared.begin();
    let endpoints = context.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let path = request.target.split('?').next().unwrap_or_default();
    let (chain, parameters) = match routes::find(&endpoints, &request.method, path) {
        Found::Chain(chain, parameters) => (chain, parameters),
        Found::MethodNotAllowed => {
            return TestResponse::problem(405, "method_not_allowed", "the path has no such method");
        }
        Found::Nothing => return nothing(),
    };
    let caller = match caller(&request.shared, request, &chain) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let limit = |default: u64, of: fn(&Endpoint) -> u64| {
        let limits = chain.iter().map(|endpoint| if of(endpoint) == 0 { default } else { of(endpoint) });
        limits.min().unwrap_or(default)
    };
    let body_bytes_max = limit(limits.body_bytes_max, |endpoint| endpoint.body_bytes_max);
    let deadline_ms = chain.first().map_or(limits.deadline_ms, |endpoint| deadline_ms(endpoint, &limits));
    let streams = chain.iter().all(|endpoint| endpoint.flags & code::endpoint::STREAM_BODY != 0);
    if !streams {
        let bytes: usize = request.body.pieces.iter().map(Vec::len).sum();
        if u64::try_from(bytes).unwrap_or(u64::MAX) > body_bytes_max {
            return TestResponse::problem(413, "body_too_large", "the body is larger than allowed");
        }
        if request.body.cut_off {
            return TestResponse::problem(400, "bad_request", "the body ended early");
        }
    }
    let matched =
        Matched { parameters, caller, session: request.session.clone(), deadline_ms, body_bytes_max, streams };
    let host_request = HostRequest::new(request, matched);
    context.requests.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&host_request));
    let response = ask(request, &host_request, &chain, &limits);
    if request.method == "HEAD" { response.without_body() } else { response }
}

/// Asks the handlers in turn.
fn ask(
    request: &TestRequest,
    host_request: &Arc<HostRequest>,
    chain: &[Endpoint],
    limits: &TestLimits,
) -> TestResponse {
    let context = &request.shared.context;
    for endpoint in chain {
        match call(request, host_request, endpoint, deadline_ms(endpoint, limits)) {
            Outcome::Next => {}
            Outcome::Ready(response) => {
                context.breaker().answered();
                return response;
            }
            Outcome::Panicked => {
                context.panics.fetch_add(1, Ordering::SeqCst);
                context.breaker().panicked(context.world.elapsed(), limits);
                return TestResponse::problem(500, "plugin_panicked", "the plug-in panicked; see the log");
            }
            Outcome::Failed(reason) => return TestResponse::problem(500, "plugin_failed", &reason),
            Outcome::Malformed(reason) => return TestResponse::problem(502, "plugin_malformed", &reason),
            Outcome::Pending => {
                return TestResponse::problem(504, "plugin_deadline", "the plug-in did not answer in time");
            }
        }
    }
    nothing()
}

/// Calls a handler, and waits for its answer; pending is one that did not come in time.
fn call(request: &TestRequest, host_request: &Arc<HostRequest>, endpoint: &Endpoint, deadline_ms: u64) -> Outcome {
    let world = &request.shared.context.world;
    let end = world.elapsed().saturating_add(Duration::from_millis(deadline_ms));
    let crossed = host_request.cross();
    let mut response = empty();
    let mut run = || {
        // SAFETY: the endpoint is the instance's, which is not closed while a request is under way; both structs are lent
        // for the call.
        unsafe {
            (endpoint.handler.call)(
                endpoint.user,
                abi::RequestIn(&raw const crossed),
                abi::ResponseOut(&raw mut response),
            )
        }
    };
    let answer = if endpoint.flags & code::endpoint::SHORT == 0 { run() } else { as_worker(&mut run) };
    if answer != code::PENDING {
        // SAFETY: the handler filled it in.
        let outcome = unsafe { take(answer, response) };
        // A thread is left to finish, and its answer is not sent.
        return if world.elapsed() > end { Outcome::Pending } else { outcome };
    }
    match (response.future.poll, response.future.drop) {
        (Some(poll), free) => {
            let future = PluginFuture { future: response.future, free };
            let outcome = drive(request, &future, poll, end);
            drop(future);
            outcome
        }
        (None, _) => by_token(request, host_request, end),
    }
}

/// A future of the plug-in, dropped with this as a worker of the host would.
struct PluginFuture {
    future: abi::Future,
    free: Option<unsafe extern "C" fn(state: *mut core::ffi::c_void)>,
}

impl Drop for PluginFuture {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the plug-in gave it, and this is its last use.
            as_worker(|| unsafe { free(self.future.state) });
        }
    }
}

type PollFuture =
    unsafe extern "C" fn(state: *mut core::ffi::c_void, waker: *const abi::Waker, response: abi::ResponseOut) -> i32;

fn drive(request: &TestRequest, future: &PluginFuture, poll: PollFuture, end: Duration) -> Outcome {
    let world = Arc::clone(&request.shared.context.world);
    let ticks = Ticks::start(&world);
    let began = Instant::now();
    crate::block_on::block_on(poll_fn(|context| {
        ticks.set(context.waker());
        let mut response = empty();
        let answer = as_worker(|| {
            with_host_waker(context.waker(), |waker| {
                // SAFETY: the plug-in gave it; polled on this thread only, and not after anything but PENDING.
                unsafe { poll(future.future.state, waker, abi::ResponseOut(&raw mut response)) }
            })
        });
        if answer != code::PENDING {
            // SAFETY: the plug-in filled it in.
            return Poll::Ready(unsafe { take(answer, response) });
        }
        if request.cancelled {
            return Poll::Ready(Outcome::Ready(TestResponse::problem(499, "cancelled", "the client left")));
        }
        assert!(began.elapsed() < PATIENCE, "no answer for {} s", PATIENCE.as_secs());
        if world.elapsed() >= end { Poll::Ready(Outcome::Pending) } else { Poll::Pending }
    }))
}

/// Wakes a task now and then, so that it sees that time has passed.
struct Ticks(Arc<std::sync::Mutex<TicksState>>);

#[derive(Default)]
struct TicksState {
    waker: Option<core::task::Waker>,
    ended: bool,
}

impl Ticks {
    fn start(world: &Arc<super::world::World>) -> Self {
        let state: Arc<std::sync::Mutex<TicksState>> = Arc::default();
        let (shared, world) = (Arc::clone(&state), Arc::clone(world));
        std::thread::spawn(move || {
            loop {
                let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
                if lock().ended {
                    return;
                }
                let mut asked = false;
                world.wait_for(Duration::MAX, |_| std::mem::replace(&mut asked, true).then_some(()));
                let waker = lock().waker.clone();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        });
        Self(state)
    }

    fn set(&self, waker: &core::task::Waker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waker = Some(waker.clone());
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        state.waker = None;
    }
}

fn by_token(request: &TestRequest, host_request: &HostRequest, end: Duration) -> Outcome {
    let world = &request.shared.context.world;
    let began = Instant::now();
    loop {
        match host_request.completed() {
            Err(()) => return Outcome::Malformed("PENDING with neither a future nor a token".to_owned()),
            Ok(Some(outcome)) => return outcome,
            Ok(None) => {}
        }
        let late = world.elapsed() >= end;
        if late || request.cancelled {
            host_request.give_up();
            return if late {
                Outcome::Pending
            } else {
                Outcome::Ready(TestResponse::problem(499, "cancelled", "the client left"))
            };
        }
        assert!(began.elapsed() < PATIENCE, "no answer for {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
}

type Caller = (&'static str, Option<String>);

/// Who calls, if the endpoints let them in.
fn caller(shared: &Shared, request: &TestRequest, chain: &[Endpoint]) -> Result<Caller, TestResponse> {
    if chain.iter().all(|endpoint| endpoint.auth == "none") {
        return Ok(("none", None));
    }
    let state = shared.context.world.lock();
    let user = request.session.as_ref().filter(|name| people::logged_in(&state, name).is_some());
    let client = request
        .client
        .as_ref()
        .filter(|(id, secret)| state.clients.get(id).is_some_and(|client| client.enabled && client.secret == *secret));
    let caller = match (&request.key, user, client) {
        (_, _, Some((id, _))) if chain.iter().any(|endpoint| endpoint.auth == "client") => ("client", Some(id.clone())),
        (Some(key), ..) => ("key", Some(key.clone())),
        (None, Some(user), _) => ("user", Some(user.clone())),
        (None, None, _) => ("none", None),
    };
    let permits = |scope: &str| session::check(&state, user.map(String::as_str), scope).is_ok();
    let satisfied = |endpoint: &Endpoint| match endpoint.auth.as_str() {
        "none" => true,
        "session" => caller.0 == "user",
        "client" => caller.0 == "client",
        "" | "admin" => caller.0 == "key" || (caller.0 == "user" && permits("g_admin")),
        scope => caller.0 == "user" && permits(scope.trim_start_matches("scope:")),
    };
    if chain.iter().all(satisfied) {
        return Ok(caller);
    }
    Err(match caller.0 {
        "user" => TestResponse::problem(403, "forbidden", "the session does not suffice"),
        _ => TestResponse::problem(401, "unauthorized", "credentials are missing or not sufficient"),
    })
}

const fn deadline_ms(endpoint: &Endpoint, limits: &TestLimits) -> u64 {
    if endpoint.deadline_ms == 0 { limits.deadline_ms } else { endpoint.deadline_ms }
}

fn nothing() -> TestResponse {
    TestResponse::problem(404, "not_found", "there is nothing here")
}

const fn empty() -> abi::Response {
    abi::Response {
        size: size_of::<abi::Response>(),
        status: 0,
        headers_len: 0,
        headers: core::ptr::null(),
        header_owner: abi::Bytes::EMPTY,
        body: abi::Bytes::EMPTY,
        future: abi::Future::NONE,
        stream: abi::Stream::NONE,
    }
}

/// Takes what `init` or a hook has filled in as text.
///
/// # Safety
/// The plug-in filled it in, and nobody else frees it.
pub(super) unsafe fn text_of(bytes: abi::Bytes) -> String {
    // SAFETY: the caller vouches for it.
    unsafe { HostBytes::new(bytes) }.to_text()
}

/// Of a test that waits for something that nobody does.
const PATIENCE: Duration = Duration::from_secs(60);
