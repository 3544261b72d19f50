//! Marks everybody who is shown.

use porth_plugin::prelude::*;
use porth_plugin::serde_json::{Map, Value};

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Parameters {
    /// What the mark begins with.
    middleware: String,
}

pub(crate) struct MockMiddleware {
    mark: String,
}

impl Plugin for MockMiddleware {
    const MODULE: Module =
        Module::new("mock", "Mock", "Adds the property `middleware` to every user").kind(Kind::UserMiddleware);
    type Parameters = Parameters;

    async fn init(_: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        Ok(Self { mark: parameters.middleware })
    }
}

impl UserMiddleware for MockMiddleware {
    async fn show(
        &self,
        username: &str,
        profile: bool,
        mut user: Map<String, Value>,
    ) -> Result<Map<String, Value>, HookError> {
        let end = if profile { "-profile" } else { "" };
        user.insert("middleware".to_owned(), format!("{}-{username}{end}", self.mark).into());
        Ok(user)
    }

    async fn store(&self, _: &str, mut user: Map<String, Value>) -> Result<Map<String, Value>, HookError> {
        user.remove("middleware");
        Ok(user)
    }
}
