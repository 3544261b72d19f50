//! HTTP: the host's own routes, the mount of the plug-ins, one table of errors.
//!
//! Start at [`router`]; [`server`] answers connections with it. A handler here extracts, calls one service
//! of the domain or the runtime, and maps the answer; rules and SQL are elsewhere.

mod auth;
mod body;
mod caller;
mod clients;
mod connection;
mod cookie;
mod edge;
mod error;
mod fields;
mod health;
mod libraries;
mod local;
mod modules;
mod mount;
mod origin;
mod page;
mod path;
mod profile;
mod schemes;
mod scopes;
pub mod server;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post, put};

use crate::config::Config;
use crate::domain::access::Access;
use crate::domain::clients::Clients;
use crate::domain::keys::ApiKeys;
use crate::runtime::Runtime;

pub use edge::Edge;
pub use local::Local;
pub use mount::Mount;
pub use server::Peer;

/// What handlers need. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

struct Parts {
    config: Arc<Config>,
    runtime: Runtime,
    keys: ApiKeys,
    access: Access,
    clients: Clients,
    ready: AtomicBool,
    /// The host's routes once more, for paths that only differ in their slashes.
    host_routes: std::sync::OnceLock<Router>,
}

impl App {
    /// Not ready yet; see [`set_ready`](Self::set_ready).
    #[must_use]
    pub fn new(config: Arc<Config>, runtime: Runtime, keys: ApiKeys, access: Access, clients: Clients) -> Self {
        Self(Arc::new(Parts {
            config,
            runtime,
            keys,
            access,
            clients,
            ready: AtomicBool::new(false),
            host_routes: std::sync::OnceLock::new(),
        }))
    }

    /// What `/health/ready` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }
}

/// Everything the server answers: the host's routes, and below the API's prefix the plug-ins'.
///
/// The routes are written without a trailing slash and with single ones; what no route matched asks them again for a
/// path that has others.
#[must_use]
pub fn router(app: &App) -> Edge<Mount> {
    let api = Router::new()
        .route("/mod/type", get(modules::types))
        .route("/mod/{kind}", get(modules::list).post(modules::add))
        .route("/mod/{kind}/{name}", get(modules::show).put(modules::replace).delete(modules::delete))
        .route("/mod/{kind}/{name}/{action}", put(modules::act))
        .route("/mod/reload", put(libraries::rescan))
        .route("/admin/library", get(libraries::list))
        .route("/admin/library/{file}", get(libraries::show))
        .route("/admin/library/{file}/reload", put(libraries::reload))
        .route("/user", get(users::list).post(users::add))
        .route("/user/{username}", get(users::show).put(users::change).delete(users::delete))
        .route("/client", get(clients::list).post(clients::add))
        .route("/client/{client_id}", get(clients::show).put(clients::change).delete(clients::delete))
        .route("/scope", get(scopes::list).post(scopes::add))
        .route("/scope/{scope}", get(scopes::show).put(scopes::change).delete(scopes::delete))
        .route("/auth", post(auth::log_in).delete(auth::log_out))
        .route("/auth/scheme", get(schemes::offers))
        .route("/auth/scheme/trigger", post(schemes::trigger))
        .route("/profile_list", get(profile::list))
        .route("/profile/scheme", get(schemes::list))
        .route("/profile/scheme/register", post(schemes::register).put(schemes::registration))
        .route("/local/key", post(local::new_key))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), origin::check));
    let host_routes = Router::new()
        .route("/config", get(health::config))
        .route("/metrics", get(health::metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .nest(&format!("/{}", app.0.config.api_prefix), api)
        .method_not_allowed_fallback(error::method_not_allowed);
    let _ = app.0.host_routes.set(host_routes.clone().fallback(error::not_found).with_state(app.clone()));
    Edge::new(Mount::new(app.clone(), host_routes.fallback(mount::unmatched).with_state(app.clone())))
}

/// Milliseconds since 1970, UTC.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
