//! The table of the host's own routes.
//!
//! Start at [`api`]. Each is written without a trailing slash and with single ones. A route is for administration, and so
//! where a listener of its own is configured for that answered nowhere else, unless the table calls it public.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::{
    App, audit, auth, clients, docs, drift, grants, health, keys, libraries, listeners, local, misc, modules, openapi,
    profile, schemes, scopes, setup, users,
};
use crate::config::Serves;

/// Routes, and a list of their paths.
pub(super) struct Routes {
    router: Router<App>,
    serves: Serves,
    paths: Vec<String>,
}

impl Routes {
    fn new(serves: Serves) -> Self {
        Self { router: Router::new(), serves, paths: Vec::new() }
    }

    /// A route for administration.
    fn route(self, path: &str, handlers: MethodRouter<App>) -> Self {
        if matches!(self.serves, Serves::Public | Serves::Redirect) { self } else { self.add(path, handlers) }
    }

    /// A route that people and programs need that administer nothing.
    fn public(self, path: &str, handlers: MethodRouter<App>) -> Self {
        self.add(path, handlers)
    }

    fn add(mut self, path: &str, handlers: MethodRouter<App>) -> Self {
        self.router = self.router.route(path, handlers);
        self.paths.push(path.to_owned());
        self
    }

    pub(super) fn into_router(self) -> Router<App> {
        self.router
    }
}

/// The paths of all routes of the host that a listener answers, with their parameters in braces. Which methods one has,
/// `Allow` tells in the answer to another.
#[must_use]
pub fn paths(api_prefix: &str, serves: Serves) -> Vec<String> {
    let below = api(serves).paths.into_iter().map(|path| format!("/{api_prefix}{path}"));
    outside(serves).paths.into_iter().chain(below).collect()
}

/// The routes outside the prefix.
pub(super) fn outside(serves: Serves) -> Routes {
    Routes::new(serves)
        .public("/config", get(health::config))
        .public("/docs", get(docs::show))
        .public("/docs/problems", get(docs::problems))
        .route("/setup", get(setup::form).post(setup::redeem))
        .route("/metrics", get(health::metrics))
        .public("/health/live", get(health::live))
        .public("/health/ready", get(health::ready))
}

/// The routes below the prefix.
pub(super) fn api(serves: Serves) -> Routes {
    let api = Routes::new(serves)
        .route("/mod/type", get(modules::types))
        .route("/mod/{kind}", get(modules::list).post(modules::add))
        .route("/mod/{kind}/{name}", get(modules::show).put(modules::replace).delete(modules::delete))
        .route("/mod/{kind}/{name}/{action}", put(modules::act))
        .route("/mod/reload", put(libraries::rescan))
        .route("/admin/listener", get(listeners::list))
        .route("/admin/drift", get(drift::show))
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
        .public("/openapi.json", get(openapi::show))
        .public("/auth", post(auth::log_in).delete(auth::log_out))
        .public("/auth/scheme", get(schemes::offers))
        .public("/auth/scheme/trigger", post(schemes::trigger))
        .public("/auth/grant/{client_id}", put(grants::put))
        .public("/auth/grant/{client_id}/{scopes}", get(grants::show))
        .public("/profile_list", get(profile::list))
        .route("/admin/audit", get(audit::list))
        .route("/local/key", get(local::list_keys).post(local::new_key))
        .route("/local/key/{hash}", delete(local::delete_key))
        .route("/local/status", get(local::status));
    let api = profile_routes(api, Routes::public, "/profile");
    // An administrator acts for somebody by the same routes, with and without `profile` in the path.
    ["/delegate/{username}/profile", "/delegate/{username}"]
        .into_iter()
        .fold(api, |api, base| profile_routes(api, Routes::route, base))
}

/// What people see and change of themselves.
fn profile_routes(api: Routes, route: fn(Routes, &str, MethodRouter<App>) -> Routes, base: &str) -> Routes {
    let below = |api, path, handlers| route(api, &format!("{base}{path}"), handlers);
    let api = below(api, "", get(profile::show).put(profile::change).delete(profile::delete));
    let api = below(api, "/password", put(profile::password));
    let api = below(api, "/grant", get(profile::grants));
    let api = below(api, "/scheme", get(schemes::list));
    let api = below(api, "/scheme/register", post(schemes::register).put(schemes::registration));
    let api = below(api, "/plugin", get(profile::plug_ins));
    let api = below(api, "/session", get(profile::sessions));
    below(api, "/session/{hash}", delete(profile::end_session))
}
