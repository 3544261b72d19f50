//! Mock modules, for tests of the host: one of each kind that the host knows.
#![forbid(unsafe_code)]

mod client;
mod scheme;
mod user;
mod user_middleware;

use porth_plugin::prelude::*;
use porth_plugin::serde_json::{Map, Value};

use client::MockClient;
use scheme::MockScheme;
use user::MockUser;
use user_middleware::MockMiddleware;

/// Takes any parameters and does nothing.
struct Mock;

impl Plugin for Mock {
    const MODULE: Module = Module::new("mock", "Mock", "Does nothing, and refuses to start with a parameter `error`");
    type Parameters = Map<String, Value>;

    async fn init(_: Host<Self>, parameters: Self::Parameters) -> Result<Self, InitError> {
        match parameters.get("error") {
            None => Ok(Self),
            Some(error) => Err(refusal(error)),
        }
    }
}

/// The refusal that a parameter asks for.
fn refusal(error: &Value) -> InitError {
    match error {
        Value::String(text) => InitError::parameter(text),
        other => InitError::parameter(other.to_string()),
    }
}

export_plugin!(
    Mock,
    MockScheme: Scheme,
    MockUser: UserBackEnd,
    MockClient: ClientBackEnd,
    MockMiddleware: UserMiddleware,
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use porth_plugin::testing::{TestHost, TestInstance};

    use super::*;

    fn of_kind(host: &TestHost, kind: Kind, parameters: Value) -> TestInstance {
        host.instance("mock").kind(kind).start(parameters).unwrap()
    }

    #[test]
    fn every_kind_does_what_its_hooks_say() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let users = of_kind(&host, Kind::User, json!({ "username-prefix": "x-" }));
        assert_eq!(users.hook("user-backend.count", json!({ "pattern": "user" })), Ok(json!(3)));
        assert_eq!(users.hook("user-backend.get", json!({ "username": "x-user1" })).unwrap()["name"], "Dave Lopper 1");
        let wrong = users.hook("user-backend.check_password", json!({ "username": "x-user1", "password": "x" }));
        assert!(matches!(wrong, Err(HookError::Unauthorized(_))), "{wrong:?}");

        let clients = of_kind(&host, Kind::Client, json!({}));
        let secret = |secret: &str| {
            clients.hook("client-backend.check_secret", json!({ "client_id": "client4_id", "secret": secret }))
        };
        assert!(secret("secret").is_ok() && secret("password").is_err());

        let middleware = of_kind(&host, Kind::UserMiddleware, json!({ "middleware": "m" }));
        let shown = middleware.hook("user-middleware.show", json!({ "username": "a", "profile": true, "user": {} }));
        assert_eq!(shown, Ok(json!({ "middleware": "m-a-profile" })));
        assert_eq!(middleware.hook("user-revoke.user_revoke", json!({ "username": "a" })), Err(HookError::Unsupported));
    }

    #[test]
    fn a_scheme_knows_who_has_registered() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let scheme = of_kind(&host, Kind::Scheme, json!({ "mock-value": "42" }));
        let validate = || scheme.hook("scheme.validate", json!({ "username": "ann", "data": { "code": "42" } }));
        assert!(matches!(validate(), Err(HookError::Unauthorized(_))));
        let registered = json!({ "username": "ann", "data": { "register": true } });
        scheme.hook("scheme.register", registered).unwrap();
        validate().unwrap();
        host.fail("document_get", HostError::Store("gone".to_owned()));
        assert!(matches!(validate(), Err(HookError::Failed(_))), "a store that fails proves nothing");
    }
}
