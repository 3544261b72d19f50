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
