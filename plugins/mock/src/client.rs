//! Four applications in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use porth_plugin::prelude::*;
use porth_plugin::serde_json::Value;
use porth_plugin::{KeptClient, Part, Secrets};

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Parameters {
    /// What every client id begins with.
    #[serde(rename = "client-id-prefix", default)]
    prefix: String,
    /// Makes `init` refuse.
    error: Option<Value>,
}

/// An application with what opens it.
#[derive(Default)]
struct Kept {
    client: KeptClient,
    password: Option<String>,
    secret: Option<String>,
}

pub(crate) struct MockClient {
    /// By client id.
    clients: Mutex<BTreeMap<String, Kept>>,
}

impl Plugin for MockClient {
    const MODULE: Module = Module::new("mock", "Mock", "Keeps four clients in memory").kind(Kind::Client);
    type Parameters = Parameters;

    async fn init(_: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        if let Some(error) = parameters.error {
            return Err(crate::refusal(&error));
        }
        let clients = (1..=4).map(|number| {
            let kept = kept(number, &parameters.prefix);
            (kept.client.client_id.clone(), kept)
        });
        Ok(Self { clients: Mutex::new(clients.collect()) })
    }
}

fn kept(number: u8, prefix: &str) -> Kept {
    let (types, redirects, scope) = match number {
        1 => (
            "code token id_token none refresh_token delete_token",
            "../../test-oauth2.html?param=client1_cb1 ../../test-oauth2.html?param=client1_cb2 \
             ../../test-oidc.html?param=client1_cb1",
            "",
        ),
        2 => ("code", "../../test-oauth2.html?param=client2", ""),
        3 => (
            "code token id_token none password client_credentials refresh_token delete_token",
            "../../test-oauth2.html?param=client3 ../../test-oidc.html?param=client3",
            "scope2 scope3",
        ),
        _ => ("code token id_token client_credentials", "../../test-oidc.html?param=client4", ""),
    };
    let list = |texts: &str| texts.split_whitespace().map(str::to_owned).collect();
    let client = KeptClient {
        client_id: format!("{prefix}client{number}_id"),
        name: format!("client{number}"),
        description: format!("Client mock {number}"),
        confidential: number >= 3,
        authorization_type: list(types),
        redirect_uri: list(redirects),
        scope: list(scope),
        enabled: true,
        ..KeptClient::default()
    };
    let password = (number == 3).then(|| "password".to_owned());
    Kept { client, password, secret: (number == 4).then(|| "secret".to_owned()) }
}

impl MockClient {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Kept>) -> T) -> T {
        work(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn found(&self, pattern: &str) -> Vec<KeptClient> {
        let pattern = pattern.to_lowercase();
        let matches = |client: &&KeptClient| {
            [&client.client_id, &client.name, &client.description]
                .iter()
                .any(|text| text.to_lowercase().contains(&pattern))
        };
        self.with(|clients| clients.values().map(|kept| &kept.client).filter(matches).cloned().collect())
    }
}

impl ClientBackEnd for MockClient {
    async fn count(&self, pattern: &str) -> Result<u64, HookError> {
        Ok(u64::try_from(self.found(pattern).len())?)
    }

    async fn list(&self, part: Part) -> Result<Vec<KeptClient>, HookError> {
        Ok(part.of(self.found(&part.pattern)))
    }

    async fn get(&self, client_id: &str) -> Result<Option<KeptClient>, HookError> {
        Ok(self.with(|clients| clients.get(client_id).map(|kept| kept.client.clone())))
    }

    async fn add(&self, client: KeptClient, secrets: Secrets) -> Result<(), HookError> {
        self.with(|clients| {
            if clients.contains_key(&client.client_id) {
                return Err(HookError::Conflict(format!(
                    "client_id: there is a client `{}` already",
                    client.client_id
                )));
            }
            let id = client.client_id.clone();
            let mut kept = Kept { client, ..Kept::default() };
            secrets.password.apply(&mut kept.password);
            secrets.client_secret.apply(&mut kept.secret);
            clients.insert(id, kept);
            Ok(())
        })
    }

    async fn set(&self, client_id: &str, client: KeptClient, secrets: Secrets) -> Result<(), HookError> {
        self.with(|clients| {
            let kept = clients.get_mut(client_id).ok_or_else(|| none(client_id))?;
            kept.client = client;
            secrets.password.apply(&mut kept.password);
            secrets.client_secret.apply(&mut kept.secret);
            Ok(())
        })
    }

    async fn delete(&self, client_id: &str) -> Result<(), HookError> {
        self.with(|clients| clients.remove(client_id)).map(drop).ok_or_else(|| none(client_id))
    }

    async fn check_secret(&self, client_id: &str, secret: &str) -> Result<bool, HookError> {
        Ok(self.with(|clients| {
            clients
                .get(client_id)
                .is_some_and(|kept| [&kept.password, &kept.secret].iter().any(|kept| kept.as_deref() == Some(secret)))
        }))
    }
}

fn none(client_id: &str) -> HookError {
    HookError::NotFound(format!("there is no client `{client_id}`"))
}
