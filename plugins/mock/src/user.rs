//! Four people in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use porth_plugin::prelude::*;
use porth_plugin::serde_json::Value;
use porth_plugin::{HostInfo, KeptUser, Part, Secret};

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Parameters {
    /// What every name begins with.
    #[serde(rename = "username-prefix", default)]
    prefix: String,
    /// Everybody's password.
    #[serde(default = "password")]
    password: String,
    /// Makes `init` refuse.
    error: Option<Value>,
}

fn password() -> String {
    "password".to_owned()
}

/// A person, and the password if there is one.
type Kept = (KeptUser, Option<String>);

pub(crate) struct MockUser {
    /// By username.
    users: Mutex<BTreeMap<String, Kept>>,
}

impl Plugin for MockUser {
    const MODULE: Module = Module::new("mock", "Mock", "Keeps four users in memory").kind(Kind::User);
    type Parameters = Parameters;

    async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        if let Some(error) = parameters.error {
            return Err(crate::refusal(&error));
        }
        let HostInfo { admin_scope, profile_scope, .. } = host.info()?;
        let (admin, profile) = (admin_scope.as_str(), profile_scope.as_str());
        let people: [(&str, &str, &str, &[&str]); 4] = [
            ("admin", "The Boss", "boss@glewlwyd.domain", &[admin, profile, "openid"]),
            ("user1", "Dave Lopper 1", "dev1@glewlwyd", &[profile, "openid", "scope1", "scope2", "scope3"]),
            ("user2", "Dave Lopper 2", "dev2@glewlwyd", &[profile, "openid", "scope1"]),
            ("user3", "Dave Lopper 3", "dev3@glewlwyd", &[profile, "scope1", "scope2", "scope3"]),
        ];
        let users = people.into_iter().map(|(username, name, email, scope)| {
            let username = format!("{}{username}", parameters.prefix).to_lowercase();
            let user = KeptUser {
                username: username.clone(),
                name: name.to_owned(),
                email: email.to_owned(),
                scope: scope.iter().map(|scope| (*scope).to_owned()).collect(),
                enabled: true,
                ..KeptUser::default()
            };
            (username, (user, Some(parameters.password.clone())))
        });
        Ok(Self { users: Mutex::new(users.collect()) })
    }
}

impl MockUser {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Kept>) -> T) -> T {
        work(&mut self.users.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn found(&self, pattern: &str) -> Vec<KeptUser> {
        let pattern = pattern.to_lowercase();
        let matches = |user: &&KeptUser| {
            [&user.username, &user.name, &user.email].iter().any(|text| text.to_lowercase().contains(&pattern))
        };
        self.with(|users| users.values().map(|(user, _)| user).filter(matches).cloned().collect())
    }
}

impl UserBackEnd for MockUser {
    async fn count(&self, pattern: &str) -> Result<u64, HookError> {
        Ok(u64::try_from(self.found(pattern).len())?)
    }

    async fn list(&self, part: Part) -> Result<Vec<KeptUser>, HookError> {
        Ok(part.of(self.found(&part.pattern)))
    }

    async fn get(&self, username: &str) -> Result<Option<KeptUser>, HookError> {
        Ok(self.with(|users| users.get(username).map(|(user, _)| user.clone())))
    }

    async fn add(&self, user: KeptUser, password: Secret) -> Result<(), HookError> {
        self.with(|users| {
            if users.contains_key(&user.username) {
                return Err(HookError::Conflict(format!("username: there is a user `{}` already", user.username)));
            }
            let mut kept = None;
            password.apply(&mut kept);
            users.insert(user.username.clone(), (user, kept));
            Ok(())
        })
    }

    async fn set(&self, username: &str, user: KeptUser, password: Secret) -> Result<(), HookError> {
        self.with(|users| {
            let (kept, kept_password) = users.get_mut(username).ok_or_else(|| nobody(username))?;
            *kept = user;
            password.apply(kept_password);
            Ok(())
        })
    }

    async fn delete(&self, username: &str) -> Result<(), HookError> {
        self.with(|users| users.remove(username)).map(drop).ok_or_else(|| nobody(username))
    }

    async fn check_password(&self, username: &str, password: &str) -> Result<bool, HookError> {
        Ok(self.with(|users| users.get(username).is_some_and(|(_, kept)| kept.as_deref() == Some(password))))
    }

    async fn set_password(&self, username: &str, password: &str) -> Result<(), HookError> {
        self.with(|users| {
            let (_, kept) = users.get_mut(username).ok_or_else(|| nobody(username))?;
            *kept = Some(password.to_owned());
            Ok(())
        })
    }
}

fn nobody(username: &str) -> HookError {
    HookError::NotFound(format!("there is no user `{username}`"))
}
