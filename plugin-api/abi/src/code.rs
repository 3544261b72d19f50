//! The numbers that functions answer.
//!
//! Callbacks and entry points answer one of the *codes* (the first table); handlers and futures answer one of the
//! *answers* (the second). The two never mix.

/// It worked.
pub const OK: i32 = 0;
/// It failed for a reason of its own; the detail says which.
pub const ERROR: i32 = 1;
/// The caller's credentials do not suffice. Never used for something that does not exist.
pub const UNAUTHORIZED: i32 = 2;
/// An argument is wrong; the detail lists what is.
pub const PARAM: i32 = 3;
/// The store failed.
pub const STORE: i32 = 4;
/// No memory.
pub const MEMORY: i32 = 5;
/// What was named does not exist. Never used for missing credentials.
pub const NOT_FOUND: i32 = 6;
/// The instance was not granted the right that this needs.
pub const DENIED: i32 = 7;
/// A blocking form was called on a thread that must not block (a host worker or the lifecycle thread).
pub const WOULD_BLOCK: i32 = 8;
/// The instance was closed, or the handle is none the host gave out.
pub const CLOSED: i32 = 9;
/// This host does not know it.
pub const UNSUPPORTED: i32 = 10;
/// Nobody waits any more: a completion came after its request was dropped, or the client of a request has left.
pub const CANCELLED: i32 = 11;
/// The version given is not the present one.
pub const CONFLICT: i32 = 12;
/// A queue or a quota is full.
pub const BUSY: i32 = 13;
/// What was sent is larger than allowed.
pub const TOO_LARGE: i32 = 14;

/// A handler's or a future's answer: the response is filled in.
pub const READY: i32 = 0;
/// A handler's or a future's answer: not yet. From a handler, with a future in the response or to be completed by token.
pub const PENDING: i32 = 1;
/// A handler's or a future's answer: not mine; the next handler of this method and path is asked. The response is not
/// looked at.
pub const NEXT: i32 = 2;
/// An answer of an entry point, a handler or a future: it panicked, and the guard on the plug-in's side caught it.
pub const PANIC: i32 = -1;
/// A handler's or a future's answer: it failed and has no response; the client gets 500.
pub const FAILED: i32 = -2;

/// Levels of a log record, most severe first.
pub mod level {
    /// Something failed and somebody should look.
    pub const ERROR: u32 = 1;
    /// Something is odd.
    pub const WARN: u32 = 2;
    /// What an administrator wants to see.
    pub const INFO: u32 = 3;
    /// What the plug-in's author wants to see.
    pub const DEBUG: u32 = 4;
    /// Everything.
    pub const TRACE: u32 = 5;
}

/// Kinds of metrics.
pub mod metric {
    /// A number that only grows.
    pub const COUNTER: u32 = 1;
    /// A number that goes up and down.
    pub const GAUGE: u32 = 2;
    /// Durations in seconds, in buckets.
    pub const HISTOGRAM: u32 = 3;
}

/// Bits of [`Endpoint::flags`](crate::Endpoint::flags).
pub mod endpoint {
    /// The handler never blocks and is short (well under a millisecond): it runs inline on the host's workers.
    ///
    /// Without this bit a handler runs on the instance's own threads and may block.
    pub const SHORT: u32 = 1;
    /// The handler is called before the request's body has been read, and asks for it piece by piece.
    pub const STREAM_BODY: u32 = 2;
}

/// Bits of [`Stream::flags`](crate::Stream::flags).
pub mod stream {
    /// The body has no end of its own, as a feed of events: no client takes its end for a sign that it is whole.
    ///
    /// When the instance is to end and the time for what is under way is over, the host ends such a stream as if its last
    /// piece had come. Any other goes on until it ends.
    pub const ENDLESS: u64 = 1;
}
