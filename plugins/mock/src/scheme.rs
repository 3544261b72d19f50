//! A way to authenticate by a code that everybody may know.

use porth_plugin::prelude::*;
use porth_plugin::serde_json::Value;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Parameters {
    /// The code.
    #[serde(rename = "mock-value")]
    mock_value: String,
}

pub(crate) struct MockScheme {
    host: Host<Self>,
    code: String,
}

impl Plugin for MockScheme {
    const MODULE: Module = Module::new("mock", "Mock", "Asks for a code that everybody may know").kind(Kind::Scheme);
    type Parameters = Parameters;

    async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        Ok(Self { host, code: parameters.mock_value })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    register: bool,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct UserAndCode {
    username: String,
    code: String,
}

impl MockScheme {
    /// Who is registered, by username.
    fn registered(&self) -> Collection<bool> {
        self.host.documents().collection("registered")
    }

    async fn is_registered(&self, username: &str) -> Result<bool, HookError> {
        Ok(self.registered().get(username).await?.is_some())
    }

    fn check(&self, code: &str) -> Result<(), HookError> {
        if code == self.code { Ok(()) } else { Err(HookError::unauthorized("it is another code")) }
    }
}

impl Scheme for MockScheme {
    async fn can_use(&self, username: &str) -> Result<CanUse, HookError> {
        Ok(if self.is_registered(username).await? { CanUse::Registered } else { CanUse::Available })
    }

    async fn register(&self, username: &str, sent: Sent) -> Result<Value, HookError> {
        let Register { register } = sent.read("{\"register\": true or false}")?;
        if register {
            self.registered().put(username, &true).user(username).await?;
        } else {
            self.deregister(username).await?;
        }
        Ok(Value::Null)
    }

    async fn registration(&self, username: &str, _: Sent) -> Result<Value, HookError> {
        Ok(self.is_registered(username).await?.into())
    }

    async fn deregister(&self, username: &str) -> Result<(), HookError> {
        match self.registered().delete(username).await {
            Ok(()) | Err(HostError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn trigger(&self, username: Option<&str>, _: Sent) -> Result<Value, HookError> {
        match username {
            Some(username) if !self.is_registered(username).await? => Err(HookError::unauthorized("not registered")),
            _ => Ok(json!({ "code": self.code })),
        }
    }

    async fn validate(&self, username: &str, sent: Sent) -> Result<(), HookError> {
        let Code { code } = sent.read("{\"code\": text}")?;
        if !self.is_registered(username).await? {
            return Err(HookError::unauthorized("not registered"));
        }
        self.check(&code)
    }

    async fn identify(&self, sent: Sent) -> Result<String, HookError> {
        let UserAndCode { username, code } = sent.read("{\"username\": text, \"code\": text}")?;
        self.check(&code)?;
        Ok(username)
    }
}
