//! Mock modules, for tests of the host: one of each kind that the host knows.
#![forbid(unsafe_code)]

mod scheme;

use porth_plugin::prelude::*;
use porth_plugin::serde_json::{Map, Value};

use scheme::MockScheme;

/// Takes any parameters and does nothing.
struct Mock;

impl Plugin for Mock {
    const MODULE: Module = Module::new("mock", "Mock", "Does nothing, and refuses to start with a parameter `error`");
    type Parameters = Map<String, Value>;

    async fn init(_: Host<Self>, parameters: Self::Parameters) -> Result<Self, InitError> {
        match parameters.get("error") {
            None => Ok(Self),
            Some(Value::String(text)) => Err(InitError::parameter(text)),
            Some(other) => Err(InitError::parameter(other.to_string())),
        }
    }
}

export_plugin!(Mock, MockScheme: Scheme);
