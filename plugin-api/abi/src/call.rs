//! Data and calls: text, bytes, requests, responses, futures, endpoints.

use core::ffi::c_void;

#[cfg(feature = "layout")]
use abi_stable::StableAbi;

/// Borrowed text or bytes. `ptr` may be null when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Str {
    /// The first byte.
    pub ptr: *const u8,
    /// How many bytes.
    pub len: usize,
}

impl Str {
    /// No bytes.
    pub const EMPTY: Self = Self::new(b"");

    /// Borrows `bytes`; whoever gets the result must not use it longer than `bytes` lives.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }
}

/// Bytes with their owner.
///
/// Whoever receives them calls `drop(owner, ptr, len)` once, from any thread, when they are no longer needed. A null
/// `drop` means that they live as long as the library that made them is mapped.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Bytes {
    /// The first byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// How many bytes.
    pub len: usize,
    /// Whatever `drop` needs to free them.
    pub owner: *mut c_void,
    /// Frees them; must neither panic nor block.
    pub drop: Option<unsafe extern "C" fn(owner: *mut c_void, ptr: *const u8, len: usize)>,
}

impl Bytes {
    /// No bytes, and nothing to free.
    pub const EMPTY: Self = Self::from_static(b"");

    /// Bytes that live as long as the library.
    #[must_use]
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len(), owner: core::ptr::null_mut(), drop: None }
    }
}

/// A header field: a name (lower case when it comes from the host) and a value, which need not be UTF-8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Header {
    /// The field's name (RFC 9110, section 5.1).
    pub name: Str,
    /// The field's value, without leading or trailing white space.
    pub value: Str,
}

/// A name with a value: a path parameter, or a field of a log record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Parameter {
    /// The name.
    pub name: Str,
    /// The value; a path parameter's is percent-decoded.
    pub value: Str,
}

/// A request, borrowed for the call; see [`Host::request_retain`](crate::Host::request_retain) to keep it longer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = RequestRef, prefix_fields = RequestPrefix))))]
pub struct Request {
    /// How many bytes of this struct the host filled in.
    pub size: usize,
    /// What the host's functions want as `request`.
    pub handle: *const c_void,
    /// The method, as sent.
    pub method: Str,
    /// The path below the instance's prefix, with its leading `/`, not decoded.
    pub path: Str,
    /// What follows the `?`, not decoded; empty without one.
    pub query: Str,
    /// The header fields in the order they came; identity headers from outside are not among them.
    pub headers: *const Header,
    /// How many.
    pub headers_len: usize,
    /// The path parameters in the order of the pattern.
    pub parameters: *const Parameter,
    /// How many.
    pub parameters_len: usize,
    /// The whole body; empty for an endpoint with [`STREAM_BODY`](crate::code::endpoint::STREAM_BODY), which asks for it with
    /// [`Host::request_body_next`](crate::Host::request_body_next).
    pub body: Str,
    /// How long the host waits for the response, in milliseconds from the start of the call.
    pub deadline_ms: u64,
    /// The id that the host's log and error pages give this request.
    pub request_id: Str,
    /// Who calls, as JSON: `{"kind": "none" | "key" | "user" | "client", "name": …}`.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub caller: Str,
}

/// A request as a handler gets it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct RequestIn(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *const Request);

/// What a handler answers. The host hands in one whose `size` is its own and whose other fields are empty.
///
/// Valid when the handler or future answers READY: `status` is 200 to 999 as in RFC 9110, `headers` points to
/// `headers_len` fields that live as long as `header_owner`. `content-length`, `transfer-encoding`, `connection`,
/// `keep-alive`, `te`, `trailer` and `upgrade` belong to the host: a response that carries one of them, or a malformed
/// field, is answered 502. So is one with a body and a stream.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = ResponseRef, prefix_fields = ResponsePrefix))))]
pub struct Response {
    /// How many bytes of this struct the host reads.
    pub size: usize,
    /// The status code, 200 to 999.
    pub status: u32,
    /// How many header fields.
    pub headers_len: u32,
    /// The header fields; may be null when there are none.
    pub headers: *const Header,
    /// Owns whatever `headers` points to; dropped once the host has read them.
    pub header_owner: Bytes,
    /// The body.
    pub body: Bytes,
    /// With PENDING from a handler: what the host polls. Without a `poll` the handler completes by token.
    pub future: Future,
    /// The body in pieces, when it has a `poll_next`: sent without `content-length`. The host drops it unused when there is
    /// no body to send: for HEAD, and with status 204, 205 or 304.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub stream: Stream,
}

/// A response as a handler or a future fills it in.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct ResponseOut(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *mut Response);

/// How to use the `data` of a [`Waker`]; the same contract as `core::task::RawWakerVTable`. Callable from any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct WakerTable {
    /// A waker of its own for the same task.
    pub clone: unsafe extern "C" fn(data: *const c_void) -> Waker,
    /// Wakes and frees.
    pub wake: unsafe extern "C" fn(data: *const c_void),
    /// Wakes and keeps.
    pub wake_by_ref: unsafe extern "C" fn(data: *const c_void),
    /// Frees.
    pub drop: unsafe extern "C" fn(data: *const c_void),
}

/// Tells a task that something it waits for has happened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Waker {
    /// What the functions of `table` want.
    pub data: *const c_void,
    /// Lives as long as the library or program that made it is mapped.
    pub table: *const WakerTable,
}

/// A response that is not there yet. Polled by one thread at a time, not always the same.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Future {
    /// What `poll` and `drop` want.
    pub state: *mut c_void,
    /// Answers READY with `response` filled in, PENDING after keeping a clone of `waker`, NEXT, or an error; not called
    /// again after anything but PENDING. `waker` is borrowed for the call.
    pub poll: Option<unsafe extern "C" fn(state: *mut c_void, waker: *const Waker, response: ResponseOut) -> i32>,
    /// Called exactly once, at any time after the last poll: before READY it means that the request was cancelled.
    pub drop: Option<unsafe extern "C" fn(state: *mut c_void)>,
}

impl Future {
    /// No future.
    pub const NONE: Self = Self { state: core::ptr::null_mut(), poll: None, drop: None };
}

/// A body in pieces, made by a plug-in and pulled by the host as fast as the client reads. Polled by one thread at a time,
/// not always the same, on a host worker: it must not block.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Stream {
    /// What `poll_next` and `drop` want.
    pub state: *mut c_void,
    /// Answers READY with the next bytes in `chunk`, which are the host's to drop; READY with an empty chunk is the end.
    /// PENDING after keeping a clone of `waker`. Anything else breaks the body off: the client sees that it is not whole, and
    /// with FAILED `chunk` may be a text that says why, for the log. Not called again after the end or a break. `waker` is
    /// borrowed for the call.
    pub poll_next: Option<unsafe extern "C" fn(state: *mut c_void, waker: *const Waker, chunk: *mut Bytes) -> i32>,
    /// Called exactly once, at any time after the last `poll_next`, and before the instance's `close`: before the end it
    /// means that the client left, or that an endless stream is ended.
    pub drop: Option<unsafe extern "C" fn(state: *mut c_void)>,
    /// Bits of [`code::stream`](crate::code::stream).
    pub flags: u64,
}

impl Stream {
    /// No stream.
    pub const NONE: Self = Self { state: core::ptr::null_mut(), poll_next: None, drop: None, flags: 0 };
}

/// A callback's result that is not there yet: what the host's asynchronous callbacks hand out.
///
/// Use it in one of three ways, once: poll it and drop it; give it to [`Host::call_wait`](crate::Host::call_wait), which
/// blocks; or to [`Host::call_then`](crate::Host::call_then), which calls back. The last two take it over.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct HostCall {
    /// What `poll` and `drop` want.
    pub state: *mut c_void,
    /// Answers READY with the callback's code in `code` and its result (or on failure the detail) in `result`, or
    /// PENDING after keeping a clone of `waker`.
    pub poll: Option<
        unsafe extern "C" fn(state: *mut c_void, waker: *const Waker, code: *mut i32, result: *mut Bytes) -> i32,
    >,
    /// Called exactly once. Before READY it cancels the wait, not what was already handed to the store.
    pub drop: Option<unsafe extern "C" fn(state: *mut c_void)>,
}

impl HostCall {
    /// No call.
    pub const NONE: Self = Self { state: core::ptr::null_mut(), poll: None, drop: None };
}

/// A handler: called for each request of an endpoint, concurrently from many threads.
///
/// `user` is the endpoint's; the host calls no handler before `init` has returned nor after `close` was called.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Handler {
    /// Answers READY, PENDING, NEXT or an error.
    pub call: unsafe extern "C" fn(user: *mut c_void, request: RequestIn, response: ResponseOut) -> i32,
}

/// An endpoint to register.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = EndpointRef, prefix_fields = EndpointPrefix))))]
pub struct Endpoint {
    /// How many bytes of this struct the plug-in filled in.
    pub size: usize,
    /// A method (RFC 9110, section 9), or `*` for any.
    pub method: Str,
    /// The pattern below the instance's prefix, with its leading `/`: `/hello/{name}`, `/files/{*rest}`.
    pub path: Str,
    /// Several handlers of one method and path run by priority, lower first, ties by registration.
    pub priority: u32,
    /// Bits of [`code::endpoint`](crate::code::endpoint).
    pub flags: u32,
    /// Who may call: `none`, `session`, `scope:<name>`, `admin` or `client`. Empty means `admin`.
    pub auth: Str,
    /// The largest request body in bytes; 0 means the host's default (1 MiB), `u64::MAX` no limit.
    pub body_bytes_max: u64,
    /// How long the host waits for the response, in milliseconds; 0 means the host's default (30 s).
    pub deadline_ms: u64,
    /// What to call.
    pub handler: Handler,
    /// What the handler gets as `user`; must stay valid until `close` returns.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub user: *mut c_void,
}

/// An endpoint as the host gets it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct EndpointIn(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *const Endpoint);
