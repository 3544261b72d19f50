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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use porth_plugin::testing::{TestHost, TestUser};

    use super::*;

    #[test]
    fn it_greets_whoever_asks() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        host.user(TestUser::new("ann").property("email", "ann@example.org"));
        let hello = host.start(json!({ "greeting": "Hello" })).unwrap();
        assert_eq!(hello.get("/hello/World").send().json(), json!({ "message": "Hello, World", "user": null }));
        let known = hello.get("/hello/w%C3%B6rld").session("ann").send().json();
        assert_eq!((&known["message"], &known["user"]["username"]), (&json!("Hello, wörld"), &json!("ann")));
        assert_eq!(hello.get("/hello/World").session("nobody").send().json()["user"], json!(null));
    }

    #[test]
    fn without_the_right_it_says_that_it_failed() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let hello = host.instance("hello").granted(&[]).start(json!({ "greeting": "Hello" })).unwrap();
        assert_eq!(hello.get("/hello/World").send().status(), 500);
        assert!(host.has_logged("the instance was not granted the right"), "{:?}", host.log());
    }

    #[test]
    fn a_greeting_is_needed() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let errors = host.start(json!({ "greeting": 7 })).unwrap_err();
        assert_eq!(errors, [r#"parameters/greeting: 7 is not of type "string""#]);
    }
}
