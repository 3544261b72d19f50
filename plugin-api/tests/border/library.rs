//! The library under test as a host sees it: loading, instances, calls.

use core::ffi::c_void;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use porth_abi as abi;
use porth_abi::code;

use crate::host::{Endpoint, HostRequest, Line, TABLE, Table, new_context, text, with_state};
use crate::plugins::PORTH_PLUGIN_V1;
use crate::waiting::Wakes;

/// A loaded library.
pub(crate) struct Library {
    library: *mut c_void,
    pub(crate) description: String,
}

impl Library {
    pub(crate) fn load() -> Self {
        let (answer, library, description) = load(&TABLE);
        assert_eq!(answer, code::OK, "{description}");
        Self { library, description }
    }

    pub(crate) fn load_from(table: Table) -> (i32, String) {
        let (answer, _, description) = load(Box::leak(Box::new(table)));
        (answer, description)
    }

    /// What `load` handed out.
    pub(crate) fn library(&self) -> *mut c_void {
        self.library
    }

    /// Makes an instance; the error is `init`'s code and its list.
    pub(crate) fn init(&self, module: &str, parameters: &str) -> Result<Instance, (i32, String)> {
        let str = |text: &str| abi::Str::new(text.as_bytes());
        let context = new_context();
        let arguments = abi::InitArguments {
            size: size_of::<abi::InitArguments>(),
            context,
            kind: str("plugin"),
            module: str(module),
            name: str("one"),
            parameters: str(parameters),
            generation: 1,
        };
        let mut result = abi::InitResult {
            size: size_of::<abi::InitResult>(),
            instance: core::ptr::null_mut(),
            errors: abi::Bytes::EMPTY,
        };
        let (arguments, out) = (abi::InitIn(&raw const arguments), abi::InitOut(&raw mut result));
        // SAFETY: loaded above, and all of it is lent for the call.
        let answer = unsafe { (PORTH_PLUGIN_V1.init)(self.library, arguments, out) };
        let errors = take(result.errors);
        if answer != code::OK {
            return Err((answer, errors));
        }
        let endpoints = with_state(|state| state.endpoints.remove(&context)).unwrap_or_default();
        Ok(Instance { context, instance: result.instance, endpoints })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: loaded before, and unloaded once.
        unsafe { (PORTH_PLUGIN_V1.unload)(self.library) };
    }
}

fn load(table: &'static Table) -> (i32, *mut c_void, String) {
    let (mut library, mut description) = (core::ptr::null_mut(), abi::Bytes::EMPTY);
    // SAFETY: the table lives as long as the process; the rest is the library's to be filled in.
    let answer = unsafe { (PORTH_PLUGIN_V1.load)(table.host(), new_context(), &raw mut library, &raw mut description) };
    (answer, library, take(description))
}

/// Reads a library's bytes and frees them, once.
pub(crate) fn take(bytes: abi::Bytes) -> String {
    let content = text(abi::Str { ptr: bytes.ptr, len: bytes.len });
    if let Some(free) = bytes.drop {
        // SAFETY: handed over by the library, and freed nowhere else.
        unsafe { free(bytes.owner, bytes.ptr, bytes.len) };
    }
    content
}

/// A running instance.
#[derive(Debug)]
pub(crate) struct Instance {
    context: u64,
    instance: *mut c_void,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Instance {
    /// What the instance has counted.
    pub(crate) fn metrics(&self) -> Vec<String> {
        with_state(|state| state.metrics.remove(&self.context)).unwrap_or_default()
    }

    pub(crate) fn context(&self) -> u64 {
        self.context
    }

    /// What the host was told about an endpoint.
    pub(crate) fn endpoint(&self, path: &str) -> &Endpoint {
        self.endpoints.iter().find(|endpoint| endpoint.path == path).unwrap()
    }

    /// What it has logged.
    pub(crate) fn lines(&self) -> Vec<Line> {
        with_state(|state| state.lines.get(&self.context).cloned()).unwrap_or_default()
    }

    /// Carries a request out, as a worker of the host would.
    pub(crate) fn call(&self, request: Request) -> (Outcome, Box<HostRequest>) {
        let (steps, host_request) = self.drive(&request, usize::MAX);
        (Outcome::of(steps), host_request)
    }

    /// Drops a pending future after its first poll.
    pub(crate) fn start_and_cancel(&self, request: Request) -> Box<HostRequest> {
        let (steps, host_request) = self.drive(&request, 1);
        assert_eq!(steps.answers, [code::PENDING, code::PENDING]);
        host_request
    }

    /// How many allocations a call costs on this thread, from the handler to the answer.
    pub(crate) fn allocations_of(&self, request: Request) -> usize {
        self.drive(&request, usize::MAX).0.allocations
    }

    fn drive(&self, request: &Request, polls_max: usize) -> (Steps, Box<HostRequest>) {
        let pieces = std::sync::Mutex::new(request.pieces.iter().copied().collect());
        // It stays where it is: a stream may ask it for pieces after the call.
        let host_request = Box::new(HostRequest { session: request.session, pieces, ..HostRequest::default() });
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| header(name, value)).collect();
        let parameters: Vec<_> = request.parameters.iter().map(|(name, value)| parameter(name, value)).collect();
        let str = |text: &str| abi::Str::new(text.as_bytes());
        let crossed = abi::Request {
            size: size_of::<abi::Request>(),
            handle: (&raw const *host_request).cast(),
            method: str("GET"),
            path: str(request.path),
            query: str(request.query),
            headers: headers.as_ptr(),
            headers_len: headers.len(),
            parameters: parameters.as_ptr(),
            parameters_len: parameters.len(),
            body: str(request.body),
            deadline_ms: 30_000,
            request_id: str("0190"),
            caller: str(&request.caller),
        };
        let mut response = empty_response();
        let out = abi::ResponseOut(&raw mut response);
        let endpoint = self.endpoint(request.path);
        let wakes = Arc::new(Wakes::default());
        let before = ALLOCATIONS.get();
        // SAFETY: registered with this `user`, and the instance is not closed; the rest is lent for the call.
        let answer = unsafe { (endpoint.handler.call)(endpoint.user, abi::RequestIn(&raw const crossed), out) };
        let mut allocations = ALLOCATIONS.get() - before;
        let mut answers = vec![answer];
        if answer == code::PENDING {
            let future = std::mem::replace(&mut response.future, abi::Future::NONE);
            let poll = future.poll.unwrap();
            for _ in 0..polls_max {
                let out = abi::ResponseOut(&raw mut response);
                let before = ALLOCATIONS.get();
                // SAFETY: not answered before, and not dropped.
                let answer = wakes.poll(|waker| unsafe { poll(future.state, waker, out) });
                allocations += ALLOCATIONS.get() - before;
                answers.push(answer.unwrap_or(code::PENDING));
                if answer.is_some() {
                    break;
                }
                if polls_max == usize::MAX {
                    wakes.wait();
                }
            }
            // SAFETY: once, after the last poll.
            unsafe { future.drop.unwrap()(future.state) };
            wakes.check_dropped();
        }
        (Steps { answers, response, allocations }, host_request)
    }

    pub(crate) fn close(mut self) -> i32 {
        self.end()
    }

    fn end(&mut self) -> i32 {
        let instance = std::mem::replace(&mut self.instance, core::ptr::null_mut());
        if instance.is_null() {
            return code::OK;
        }
        // SAFETY: made by `init`, and closed once: it is taken out above.
        unsafe { (PORTH_PLUGIN_V1.close)(instance) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end();
    }
}

struct Steps {
    answers: Vec<i32>,
    response: abi::Response,
    allocations: usize,
}

fn header(name: &str, value: &str) -> abi::Header {
    abi::Header { name: abi::Str::new(name.as_bytes()), value: abi::Str::new(value.as_bytes()) }
}

fn parameter(name: &str, value: &str) -> abi::Parameter {
    abi::Parameter { name: abi::Str::new(name.as_bytes()), value: abi::Str::new(value.as_bytes()) }
}

fn empty_response() -> abi::Response {
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

/// A request to make.
#[derive(Clone, Default)]
pub(crate) struct Request {
    path: &'static str,
    query: &'static str,
    body: &'static str,
    caller: String,
    headers: Vec<(&'static str, &'static str)>,
    parameters: Vec<(&'static str, &'static str)>,
    session: Option<&'static str>,
    pieces: Vec<(i32, &'static str)>,
}

impl Request {
    /// To the endpoint with this pattern.
    pub(crate) fn to(path: &'static str) -> Self {
        Self { path, ..Self::default() }
    }

    pub(crate) fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn caller(self, kind: &str, name: &str) -> Self {
        Self { caller: format!(r#"{{"kind": "{kind}", "name": "{name}"}}"#), ..self }
    }

    pub(crate) fn session(self, session: &'static str) -> Self {
        Self { session: Some(session), ..self }
    }

    /// What the host answers when it is asked for the next piece of the body.
    pub(crate) fn pieces(self, pieces: &[(i32, &'static str)]) -> Self {
        Self { pieces: pieces.to_vec(), ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn param(mut self, name: &'static str, value: &'static str) -> Self {
        self.parameters.push((name, value));
        self
    }
}

/// What came of a request.
pub(crate) enum Outcome {
    Ready { before: usize, status: u32, headers: String, body: String },
    Other { before: usize, answer: i32 },
}

impl Outcome {
    fn of(steps: Steps) -> Self {
        let (answer, before) = (*steps.answers.last().unwrap(), steps.answers.len() - 1);
        let response = steps.response;
        if answer != code::READY {
            assert!(response.body.drop.is_none() && response.header_owner.drop.is_none());
            return Self::Other { before, answer };
        }
        let fields = match response.headers_len {
            0 => &[],
            // SAFETY: valid until its owner is dropped, below.
            len => unsafe { core::slice::from_raw_parts(response.headers, len as usize) },
        };
        let fields: Vec<_> =
            fields.iter().map(|field| format!("{}: {}", text(field.name), text(field.value))).collect();
        if let Some(free) = response.header_owner.drop {
            let owner = response.header_owner;
            // SAFETY: handed over by the library, and freed nowhere else.
            unsafe { free(owner.owner, owner.ptr, owner.len) };
        }
        let mut body = take(response.body);
        if response.stream.poll_next.is_some() {
            body.push_str(&pull(response.stream));
        }
        Self::Ready { before, status: response.status, headers: fields.join(", "), body }
    }
}

/// Pulls a stream to its end: its pieces in brackets, then how it ended.
fn pull(stream: abi::Stream) -> String {
    let mut seen = String::new();
    let wakes = Arc::new(Wakes::default());
    loop {
        let mut chunk = abi::Bytes::EMPTY;
        let poll_next = stream.poll_next.unwrap();
        // SAFETY: neither ended nor dropped.
        let answer = wakes.poll(|waker| unsafe { poll_next(stream.state, waker, &raw mut chunk) });
        let bytes = take(chunk);
        match answer {
            None => wakes.wait(),
            Some(code::READY) if bytes.is_empty() => break seen.push_str("end"),
            Some(code::READY) => seen.push_str(&format!("[{bytes}] ")),
            Some(answer) => break seen.push_str(&format!("{answer} {bytes}")),
        }
    }
    // SAFETY: once, after the last poll.
    unsafe { stream.drop.unwrap()(stream.state) };
    wakes.check_dropped();
    seen
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Ready { before, .. } | Self::Other { before, .. }) = self;
        for _ in 0..*before {
            formatter.write_str("PENDING ")?;
        }
        match self {
            Self::Ready { status, headers, body, .. } => {
                write!(formatter, "READY {status} {headers}{}| {body}", if headers.is_empty() { "" } else { " " })
            }
            Self::Other { answer: code::NEXT, .. } => formatter.write_str("NEXT"),
            Self::Other { answer: code::PANIC, .. } => formatter.write_str("PANIC"),
            Self::Other { answer, .. } => write!(formatter, "{answer}"),
        }
    }
}

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts each thread's allocations.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, first: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(first, layout) }
    }
}
