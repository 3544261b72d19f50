//! HTTP: the host's own routes, the mount of the plug-ins, one table of errors.
//!
//! Start at [`router`]; [`server`] answers connections with it. A handler here extracts, calls one service
//! of the domain or the runtime, and maps the answer; rules and SQL are elsewhere.

mod access;
mod admission;
mod audit;
mod auth;
mod body;
mod caller;
mod client_credentials;
mod clients;
mod connection;
mod cookie;
mod cors;
mod docs;
mod drift;
mod edge;
mod entrance;
mod error;
mod fields;
mod form;
mod framing;
mod grants;
mod health;
mod http2;
mod json;
mod keys;
mod libraries;
mod listeners;
mod local;
mod measured;
mod misc;
mod modules;
mod mount;
mod openapi;
mod origin;
mod page;
mod path;
mod peer;
mod profile;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod query;
mod redirect;
mod room;
mod routes;
mod schemes;
mod scopes;
pub mod server;
mod setup;
pub mod tls;
mod users;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;

use crate::config::{Config, Serves, Source};
use crate::domain::access::Access;
use crate::domain::clients::Clients;
use crate::domain::grants::Grants;
use crate::domain::keys::ApiKeys;
use crate::domain::misc::Misc;
use crate::domain::setup::Setup;
use crate::domain::store_meter::StoreMeter;
use crate::runtime::Runtime;

pub use edge::Edge;
pub use entrance::{Answers, Entrance};
pub use http2::Sent;
pub use listeners::Serving;
pub use local::Local;
pub use mount::Mount;
pub use redirect::Redirect;
pub use routes::paths;
pub use server::Peer;

/// What handlers need. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The services that handlers ask.
pub struct Services {
    /// API keys.
    pub keys: ApiKeys,
    /// Users, scopes, sessions.
    pub access: Access,
    /// Applications.
    pub clients: Clients,
    /// What users granted to applications.
    pub grants: Grants,
    /// Settings of others.
    pub misc: Misc,
    /// The link for the first administrator.
    pub setup: Setup,
    /// What is counted of the database.
    pub store: StoreMeter,
    /// Where the configuration comes from.
    pub source: Source,
}

struct Parts {
    config: Arc<Config>,
    runtime: Runtime,
    services: Services,
    ready: AtomicBool,
    listeners: OnceLock<Vec<Serving>>,
    /// What the server says of its API.
    openapi: openapi::Kept,
    /// The host's routes once more, for paths that only differ in their slashes.
    host_routes: OnceLock<Router>,
    /// What is counted of them.
    measured: measured::HostRoutes,
    /// Those of them that a listener has which is public only.
    public_routes: OnceLock<Router>,
}

impl std::ops::Deref for Parts {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl Parts {
    fn routes_again(&self, serves: Serves) -> &OnceLock<Router> {
        match serves {
            Serves::All | Serves::Administration => &self.host_routes,
            // One that redirects has none, and so never asks.
            Serves::Public | Serves::Redirect => &self.public_routes,
        }
    }
}

impl App {
    /// Not ready yet; see [`set_ready`](Self::set_ready).
    #[must_use]
    pub fn new(config: Arc<Config>, runtime: Runtime, services: Services) -> Self {
        Self(Arc::new(Parts {
            measured: measured::HostRoutes::new(routes::paths(&config.api_prefix, Serves::All)),
            config,
            runtime,
            services,
            ready: AtomicBool::new(false),
            listeners: OnceLock::new(),
            openapi: openapi::Kept::default(),
            host_routes: OnceLock::new(),
            public_routes: OnceLock::new(),
        }))
    }

    /// Where this process serves, once. Their certificates are looked after from now on.
    ///
    /// # Errors
    /// When the system gives no thread for that.
    pub fn set_listeners(&self, listeners: Vec<Serving>) -> std::io::Result<()> {
        let certificates = listeners.iter().filter_map(|serving| serving.certificate.clone()).collect();
        let _ = self.0.listeners.set(listeners);
        tls::watch(certificates)
    }

    /// Where this process serves; nothing where it does not.
    fn listeners(&self) -> &[Serving] {
        self.0.listeners.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// What `/health/ready` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }
}

/// What a listener answers: the host's [`routes`], and below the API's prefix the plug-ins'.
///
/// The routes are written without a trailing slash and with single ones; what no route matched asks them again for a
/// path that has others.
#[must_use]
pub fn router(app: &App, serves: Serves) -> Edge<Mount> {
    let api = routes::api(serves)
        .into_router()
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), audit::layer))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), origin::check));
    let host_routes = routes::outside(serves)
        .into_router()
        .nest(&format!("/{}", app.0.config.api_prefix), api)
        .method_not_allowed_fallback(error::method_not_allowed);
    let again = host_routes.clone().fallback(error::not_found).with_state(app.clone());
    let _ = app.0.routes_again(serves).set(again);
    let mut host_routes = host_routes.fallback(move |app, request| mount::unmatched(serves, app, request));
    if !app.0.config.cors_origins.is_empty() {
        host_routes = host_routes.layer(axum::middleware::from_fn_with_state(app.clone(), cors::layer));
    }
    Edge::new(Mount::new(app.clone(), host_routes.with_state(app.clone()), serves), Arc::clone(&app.0.config))
}

/// Milliseconds since 1970, UTC.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
