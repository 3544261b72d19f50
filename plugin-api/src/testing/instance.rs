//! An instance under test.
//!
//! Start at [`TestInstance`].

use core::ffi::c_void;
use core::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use porth_abi as abi;
use porth_abi::code;
use serde_json::Value;

use super::dispatch::text_of;
use super::request::TestRequest;
use super::world::{Context, Phase};
use super::{EXTERNAL_URL, metrics};
use crate::hooks::HookError;

/// A running instance. It is closed by [`close`](Self::close), or when it is dropped; then nothing of the host may be left
/// in its hands.
pub struct TestInstance {
    pub(super) shared: Arc<Shared>,
}

/// What the instance and its requests have in common.
pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    pub(super) table: &'static abi::Plugin,
    pub(super) library: Arc<Library>,
    pub(super) instance: *mut c_void,
    under_way: AtomicUsize,
}

// SAFETY: `instance` is used by the plug-in's functions only, which may be called from any thread.
unsafe impl Send for Shared {}
// SAFETY: see above.
unsafe impl Sync for Shared {}

/// What `load` made.
pub(super) struct Library {
    pub(super) table: &'static abi::Plugin,
    pub(super) library: *mut c_void,
    pub(super) context: Arc<Context>,
}

// SAFETY: `library` is used by the plug-in's functions only, which may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: see above.
unsafe impl Sync for Library {}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: `load` made it, all instances are closed, and this is its last use.
        unsafe { (self.table.unload)(self.library) };
        self.context.forget();
    }
}

/// A request that is under way: the instance is not closed before its end.
pub(super) struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(super) fn new(context: Arc<Context>, library: Arc<Library>, instance: *mut c_void) -> Self {
        Self { context, table: library.table, library, instance, under_way: AtomicUsize::new(0) }
    }

    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }
}

macro_rules! methods {
    ($($function:ident $method:literal),*) => {
        $(
            #[doc = concat!("A `", $method, "` of a path below the instance's prefix, with its query.")]
            pub fn $function(&self, target: &str) -> TestRequest {
                self.request($method, target)
            }
        )*
    };
}

impl TestInstance {
    methods!(get "GET", post "POST", put "PUT", delete "DELETE", patch "PATCH");

    /// A request with a method by its name. What the plug-in registered at `/.well-known` is there by that path.
    pub fn request(&self, method: &str, target: &str) -> TestRequest {
        TestRequest::new(&self.shared, method, target)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.context.name
    }

    /// The URL below which its endpoints lie.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{EXTERNAL_URL}/api/{}", self.name())
    }

    /// The endpoints that it has registered, as `GET /hello/{name} none`, in the order of their registration.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let endpoints = self.shared.context.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let auth = |auth: &str| if auth.is_empty() { "admin".to_owned() } else { auth.to_owned() };
        let shown =
            endpoints.iter().map(|endpoint| format!("{} {} {}", endpoint.method, endpoint.path, auth(&endpoint.auth)));
        shown.collect()
    }

    /// What it has counted under a name without the host's prefix: the sum of a histogram's durations, in seconds. `None`
    /// when nothing was counted with these labels.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metrics::value(&self.shared.context, name, labels)
    }

    /// How often its code has panicked, as far as a panic reached the host.
    #[must_use]
    pub fn panics(&self) -> usize {
        self.shared.context.panics.load(Ordering::SeqCst)
    }

    /// Calls what the host calls beside endpoints, by its table and function: `scheme.validate`, `user-backend.get`,
    /// `client-backend.list`, `user-middleware.show`, `user-revoke.user_revoke`, `health.health`, with the arguments that the border gives
    /// them (see `porth.h`): `{"username": "ann", "data": …}` for a scheme.
    ///
    /// # Errors
    /// What the plug-in answers; [`HookError::Unsupported`] for a table that it has not.
    ///
    /// # Panics
    /// For a name that is none.
    pub fn hook(&self, hook: &str, arguments: impl Into<Value>) -> Result<Value, HookError> {
        let arguments = arguments.into().to_string();
        let Some(entry) = super::hooks::find(self.shared.table, self.shared.library.library, hook) else {
            return Err(HookError::Unsupported);
        };
        let mut result = abi::Bytes::EMPTY;
        // SAFETY: the table is the plug-in's, the instance is running, and both texts are lent for the call.
        let answer = unsafe { entry(self.shared.instance, abi::Str::new(arguments.as_bytes()), &raw mut result) };
        // SAFETY: the plug-in filled it in, or left it empty.
        let text = unsafe { text_of(result) };
        match answer {
            code::OK => {
                Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{hook} answers no JSON: {error}")))
            }
            code::PARAM => Err(HookError::Invalid(serde_json::from_str(&text).unwrap_or_default())),
            code::UNAUTHORIZED => Err(HookError::Unauthorized(text)),
            code::NOT_FOUND => Err(HookError::NotFound(text)),
            code::CONFLICT => Err(HookError::Conflict(text)),
            code::UNSUPPORTED => Err(HookError::Unsupported),
            code::PANIC => {
                self.shared.context.panics.fetch_add(1, Ordering::SeqCst);
                Err(HookError::Failed("it panicked".to_owned()))
            }
            _ => Err(HookError::Failed(text)),
        }
    }

    /// Ends the instance as the host does: waits for requests under way, and calls `close`.
    ///
    /// # Errors
    /// All that is left in the plug-in's hands, which a host would never get back: requests, timers and other calls. Threads
    /// are not seen here; `porth plugin test` sees them.
    ///
    /// # Panics
    /// When a request is still under way after 60 s.
    pub fn close(mut self) -> Result<(), Vec<String>> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Vec<String>> {
        let context = &self.shared.context;
        if context.phase() == Phase::Closed {
            return Ok(());
        }
        let began = Instant::now();
        while self.shared.under_way.load(Ordering::SeqCst) > 0 {
            assert!(began.elapsed() < PATIENCE, "a request is under way all the time");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: `init` made it, no request is under way, and this is its last use.
        let answer = unsafe { (self.shared.table.close)(self.shared.instance) };
        context.set_phase(Phase::Closed);
        let mut left = Vec::new();
        if answer != code::OK {
            left.push(format!("`close` answered {answer}"));
        }
        // A thread of the plug-in's may just be letting go.
        let leaks = || {
            let requests = context.requests.lock().unwrap_or_else(PoisonError::into_inner);
            let held = requests.iter().filter(|request| Weak::strong_count(request) > 0).count();
            (held, context.calls.load(Ordering::SeqCst))
        };
        while leaks() != (0, 0) && began.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (requests, calls) = leaks();
        if requests > 0 {
            left.push(format!("{requests} requests are still held: whoever keeps a `Request` must drop it by `close`"));
        }
        if calls > 0 {
            left.push(format!("{calls} calls of the host are still held: a timer or a question that nobody drops"));
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    }
}

impl Drop for TestInstance {
    fn drop(&mut self) {
        // What a failing test leaves behind is not what it failed by.
        if !std::thread::panicking()
            && let Err(left) = self.end()
        {
            panic!("after `close`: {}", left.join("; "));
        }
    }
}

impl fmt::Debug for TestInstance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TestInstance").field(&self.name()).finish()
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
