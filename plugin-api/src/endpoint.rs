//! Registering endpoints.
//!
//! Start at [`Endpoints`].

use core::ffi::c_void;
use std::any::{Any, TypeId};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use porth_abi as abi;
use porth_abi::code;

use crate::handler::{Bound, Handler};
use crate::host::Host;
use crate::host_error::HostError;
use crate::module::Plugin;

/// Where handlers find their instance: set once `init` has made it.
pub(crate) type Slot<P> = Arc<OnceLock<Arc<P>>>;

/// What an instance's endpoints need while it lives.
pub(crate) struct Registrations<P> {
    pub(crate) slot: Slot<P>,
    /// What the host hands to the handlers as `user`, by the handler's type.
    bounds: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

impl<P> Default for Registrations<P> {
    fn default() -> Self {
        Self { slot: Arc::default(), bounds: Vec::new() }
    }
}

impl<P: Plugin> Registrations<P> {
    /// Keeps a handler until `close`, and says under which address.
    fn keep<H: Send + Sync + 'static>(&mut self, host: &Host<P>, handler: H) -> *mut c_void {
        let kind = TypeId::of::<H>();
        // A function has a type of its own without a value: the host sees the same address for the same function, so
        // that it can refuse one that is registered twice on a route.
        let known = (size_of::<H>() == 0).then(|| self.bounds.iter().find(|(other, _)| *other == kind)).flatten();
        if let Some((_, bound)) = known {
            return Arc::as_ptr(bound).cast_mut().cast();
        }
        let bound = Arc::new(Bound { slot: Arc::clone(&self.slot), environment: host.environment().clone(), handler });
        let address = Arc::as_ptr(&bound).cast_mut().cast();
        self.bounds.push((kind, bound));
        address
    }
}

/// Registers the endpoints of an instance.
///
/// A handler is a method of the plug-in (or a closure that captures nothing), and its signature says where it runs:
///
/// - `async fn(&self, Request) -> Result<Response, Error>` runs on the host's workers, between other requests. It must
///   not block: it waits by `.await` only.
/// - `fn(&self, &Request) -> Result<Response, Error>` runs on threads of the instance's own and may block; with
///   [`short`](NewEndpoint::short) it runs on the host's workers, which is faster, and must not.
///
/// A path is a pattern below the instance's prefix: `/files/{name}` has a parameter for one segment, `/files/{*rest}` one
/// for the rest of the path.
///
/// Handlers are checked by the compiler; one of another plug-in is refused, for example:
///
/// ```compile_fail,E0277
/// # use porth_plugin::prelude::*;
/// # struct Mine;
/// # struct Other;
/// impl Other {
///     async fn hello(&self, _: Request) -> Result<Response, Error> {
///         Ok(Response::text("hello"))
///     }
/// }
///
/// fn register(host: &Host<Mine>) -> Result<(), HostError> {
///     host.endpoints().get("/hello", Other::hello).add()
/// }
/// # impl Plugin for Mine {
/// #     const MODULE: Module = Module::new("mine", "Mine", "");
/// #     type Parameters = std::collections::BTreeMap<String, String>;
/// #     async fn init(host: Host<Self>, _: Self::Parameters) -> Result<Self, InitError> {
/// #         register(&host)?;
/// #         Ok(Self)
/// #     }
/// # }
/// ```
#[derive(Debug)]
pub struct Endpoints<'a, P: Plugin> {
    host: &'a Host<P>,
}

macro_rules! methods {
    ($($function:ident $method:literal),*) => {
        $(
            #[doc = concat!("An endpoint for `", $method, "`.")]
            pub fn $function<K, H: Handler<P, K>>(&self, path: &'a str, handler: H) -> NewEndpoint<'a, P, H> {
                self.method($method, path, handler)
            }
        )*
    };
}

impl<'a, P: Plugin> Endpoints<'a, P> {
    pub(crate) const fn new(host: &'a Host<P>) -> Self {
        Self { host }
    }

    methods!(get "GET", post "POST", put "PUT", delete "DELETE", patch "PATCH");

    /// An endpoint for any method.
    pub fn any<K, H: Handler<P, K>>(&self, path: &'a str, handler: H) -> NewEndpoint<'a, P, H> {
        self.method("*", path, handler)
    }

    /// An endpoint for a method by its name (RFC 9110, section 9).
    pub fn method<K, H: Handler<P, K>>(&self, method: &'a str, path: &'a str, handler: H) -> NewEndpoint<'a, P, H> {
        NewEndpoint {
            host: self.host,
            method,
            path,
            auth: String::new(),
            priority: 0,
            flags: if H::SHORT { code::endpoint::SHORT } else { 0 },
            body_bytes_max: 0,
            deadline_ms: 0,
            call: H::CALL,
            well_known: false,
            handler,
        }
    }

    /// An endpoint for `GET` at `/.well-known/<name>/<api_prefix>/<instance>`, and at `/.well-known/<name>` while
    /// administrators have chosen the instance to be the root issuer: for what clients look for there, such as
    /// `openid-configuration`. The `path` of its requests is the whole one. Needs
    /// [`Right::WellKnown`](crate::Right::WellKnown); a name can be registered once.
    pub fn well_known<K, H: Handler<P, K>>(&self, name: &'a str, handler: H) -> NewEndpoint<'a, P, H> {
        NewEndpoint { well_known: true, ..self.method("GET", name, handler) }
    }

    /// Takes back all handlers of a method and path.
    ///
    /// # Errors
    /// [`HostError::NotFound`] if the instance registered none there; [`HostError::Closed`] after `init`.
    pub fn remove(&self, method: &str, path: &str) -> Result<(), HostError> {
        self.host
            .with_registrations(|_| self.host.callbacks().remove_endpoint(method, path))
            .unwrap_or_else(|| Err(after_init()))
    }
}

/// Who may call an endpoint. The host answers everybody else: 401, and 403 to a user whose session does not suffice. The
/// handler is not called then. Whom it let in, [`Request::caller`](crate::Request::caller) says.
///
/// ```
/// # use porth_plugin::prelude::*;
/// # struct Mail;
/// # impl Mail { async fn answer(&self, _: Request) -> Result<Response, Error> { Ok(Response::empty(204)) } }
/// # impl Plugin for Mail {
/// #     const MODULE: Module = Module::new("mail", "Mail", "");
/// #     type Parameters = std::collections::BTreeMap<String, String>;
/// #     async fn init(host: Host<Self>, _: Self::Parameters) -> Result<Self, InitError> {
/// let endpoints = host.endpoints();
/// endpoints.get("/status", Self::answer).auth(Auth::None).add()?; // everybody
/// endpoints.get("/inbox", Self::answer).auth(Auth::Scope("mail")).add()?; // who has the scope, and proved it
/// endpoints.post("/deliver", Self::answer).auth(Auth::Client).add()?; // applications
/// endpoints.delete("/queue", Self::answer).add()?; // administrators: nothing was said
/// #         Ok(Self)
/// #     }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth<'a> {
    /// Everybody.
    None,
    /// Users with a valid session.
    Session,
    /// Users with a session that satisfies this scope.
    Scope(&'a str),
    /// Administrators.
    Admin,
    /// Clients with their credentials.
    Client,
}

/// An endpoint that [`add`](Self::add) registers. Without [`auth`](Self::auth) it is for administrators only.
///
/// ```
/// # use std::time::Duration;
/// # use porth_plugin::prelude::*;
/// # struct Files;
/// # impl Files { fn upload(&self, _: &Request) -> Result<Response, Error> { Ok(Response::empty(204)) } }
/// # impl Plugin for Files {
/// #     const MODULE: Module = Module::new("files", "Files", "");
/// #     type Parameters = std::collections::BTreeMap<String, String>;
/// #     async fn init(host: Host<Self>, _: Self::Parameters) -> Result<Self, InitError> {
/// host.endpoints()
///     .put("/files/{*path}", Self::upload)
///     .auth(Auth::Scope("files"))
///     .stream_body()
///     .body_bytes_max(1 << 30)
///     .deadline(Duration::from_secs(600))
///     .add()?;
/// #         Ok(Self)
/// #     }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "`add` registers the endpoint"]
pub struct NewEndpoint<'a, P: Plugin, H> {
    host: &'a Host<P>,
    method: &'a str,
    path: &'a str,
    auth: String,
    priority: u32,
    flags: u32,
    body_bytes_max: u64,
    deadline_ms: u64,
    call: abi::Handler,
    /// The path is a name at `/.well-known`.
    well_known: bool,
    handler: H,
}

impl<P: Plugin, H: Send + Sync + 'static> NewEndpoint<'_, P, H> {
    /// Who may call.
    pub fn auth(mut self, auth: Auth<'_>) -> Self {
        self.auth = match auth {
            Auth::None => "none".to_owned(),
            Auth::Session => "session".to_owned(),
            Auth::Scope(scope) => format!("scope:{scope}"),
            Auth::Admin => "admin".to_owned(),
            Auth::Client => "client".to_owned(),
        };
        self
    }

    /// Several handlers of one method and path are asked by priority, lower first, equal ones in the order of their
    /// registration, until one answers something else than [`Response::next`](crate::Response::next). 0 by default.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// The largest body in bytes that the host accepts; what is larger gets 413. By default 1 MiB, unless the
    /// administrator chose otherwise. `u64::MAX` is no limit, which is for [streamed bodies](Self::stream_body).
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// How long the host waits for the response; then the client gets 504. By default 30 s, unless the administrator
    /// chose otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        // 0 would mean the host's default.
        self.deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// Promises that a synchronous handler never blocks and takes well under a millisecond: it then runs on the host's
    /// workers, without a change of threads. Asynchronous handlers always do.
    pub fn short(mut self) -> Self {
        self.flags |= code::endpoint::SHORT;
        self
    }

    /// Calls the handler before the request's body has been read. [`Request::body`](crate::Request::body) is empty then;
    /// [`Request::body_stream`](crate::Request::body_stream) gives it as it comes in, however large.
    ///
    /// When several handlers share the method and path, all of them must ask for this: one that does not has the body read
    /// before the first is called.
    pub fn stream_body(mut self) -> Self {
        self.flags |= code::endpoint::STREAM_BODY;
        self
    }

    /// Registers the endpoint.
    ///
    /// # Errors
    /// [`HostError::Parameter`] for a bad method or path, and for the same handler twice on a route;
    /// [`HostError::Closed`] after `init`; [`HostError::Denied`] at `/.well-known` without the right.
    pub fn add(self) -> Result<(), HostError> {
        let (host, handler) = (self.host, self.handler);
        let path = if self.well_known { format!("/{}", self.path) } else { self.path.to_owned() };
        host.with_registrations(|registrations| {
            let endpoint = abi::Endpoint {
                size: size_of::<abi::Endpoint>(),
                method: abi::Str::new(self.method.as_bytes()),
                path: abi::Str::new(path.as_bytes()),
                priority: self.priority,
                flags: self.flags,
                auth: abi::Str::new(self.auth.as_bytes()),
                body_bytes_max: self.body_bytes_max,
                deadline_ms: self.deadline_ms,
                handler: self.call,
                user: registrations.keep(host, handler),
            };
            if self.well_known {
                // SAFETY: as below.
                return unsafe { host.callbacks().add_well_known(&endpoint) };
            }
            // SAFETY: `call` is the entry point for a `Bound` of the handler's type, which is what `user` points to, and
            // the registrations are kept until `close`, or until `init` has failed.
            unsafe { host.callbacks().add_endpoint(&endpoint) }
        })
        .unwrap_or_else(|| Err(after_init()))
    }
}

fn after_init() -> HostError {
    HostError::Closed("endpoints are registered in `init`".to_owned())
}
