//! The smallest plug-in: one parameter, one endpoint, one question to the host.
#![forbid(unsafe_code)]

use porth_plugin::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Parameters {
    /// What comes before the name.
    greeting: String,
}

struct Hello {
    greeting: String,
}

impl Plugin for Hello {
    const MODULE: Module = Module::new("hello", "Hello", "Greets whoever asks").needs(&[Right::Sessions]);
    type Parameters = Parameters;

    async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        host.endpoints().get("/hello/{name}", Self::hello).auth(Auth::None).add()?;
        Ok(Self { greeting: parameters.greeting })
    }
}

impl Hello {
    async fn hello(&self, request: Request) -> Result<Response, Error> {
        let user = request.session().user().await?;
        Response::json(&json!({ "message": format!("{}, {}", self.greeting, request.param("name")?), "user": user }))
    }
}

export_plugin!(Hello);
