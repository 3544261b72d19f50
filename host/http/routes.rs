//! The table of the host's own routes.
//!
//! Start at [`api`]. Each is written without a trailing slash and with single ones.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::{
    App, audit, auth, clients, docs, grants, health, keys, libraries, local, misc, modules, profile, schemes, scopes,
    setup, users,
};

/// Routes, and a list of their paths.
pub(super) struct Routes {
    router: Router<App>,
    paths: Vec<String>,
}

impl Routes {
    fn new() -> Self {
        Self { router: Router::new(), paths: Vec::new() }
    }

    fn route(mut self, path: &str, handlers: MethodRouter<App>) -> Self {
        self.router = self.router.route(path, handlers);
        self.paths.push(path.to_owned());
        self
    }

    pub(super) fn into_router(self) -> Router<App> {
        self.router
    }
}

/// The paths of all routes of the host, with their parameters in braces. Which methods one has, `Allow` tells in the answer
/// to another.
#[must_use]
pub fn paths(api_prefix: &str) -> Vec<String> {
    let below = api().paths.into_iter().map(|path| format!("/{api_prefix}{path}"));
    outside().paths.into_iter().chain(below).collect()
}

/// The routes outside the prefix.
pub(super) fn outside() -> Routes {
    Routes::new()
        .route("/config", get(health::config))
        .route("/docs/problems", get(docs::problems))
        .route("/setup", get(setup::form).post(setup::redeem))
        .route("/metrics", get(health::metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
}

/// The routes below the prefix.
pub(super) fn api() -> Routes {
    let api = Routes::new()
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
        .route("/key", get(keys::list).post(keys::add))
        .route("/key/{hash}", delete(keys::delete))
        .route("/misc", get(misc::list))
        .route("/misc/{name}", get(misc::show).put(misc::put).delete(misc::delete))
        .route("/auth", post(auth::log_in).delete(auth::log_out))
        .route("/auth/scheme", get(schemes::offers))
        .route("/auth/scheme/trigger", post(schemes::trigger))
        .route("/auth/grant/{client_id}", put(grants::put))
        .route("/auth/grant/{client_id}/{scopes}", get(grants::show))
        .route("/profile_list", get(profile::list))
        .route("/admin/audit", get(audit::list))
        .route("/local/key", get(local::list_keys).post(local::new_key))
        .route("/local/key/{hash}", delete(local::delete_key));
    // An administrator acts for somebody by the same routes, with and without `profile` in the path.
    ["/profile", "/delegate/{username}/profile", "/delegate/{username}"].into_iter().fold(api, profile_routes)
}

/// What people see and change of themselves.
fn profile_routes(api: Routes, base: &str) -> Routes {
    api.route(base, get(profile::show).put(profile::change).delete(profile::delete))
        .route(&format!("{base}/password"), put(profile::password))
        .route(&format!("{base}/grant"), get(profile::grants))
        .route(&format!("{base}/scheme"), get(schemes::list))
        .route(&format!("{base}/scheme/register"), post(schemes::register).put(schemes::registration))
        .route(&format!("{base}/plugin"), get(profile::plug_ins))
        .route(&format!("{base}/session"), get(profile::sessions))
        .route(&format!("{base}/session/{{hash}}"), delete(profile::end_session))
}
