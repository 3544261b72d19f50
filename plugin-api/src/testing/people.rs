//! People, applications, scopes and schemes of the fake host, and what plug-ins ask about them.
//!
//! Start at [`TestUser`], [`TestClient`], [`TestScope`] and [`TestScheme`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::world::{State, World};
use crate::host_error::HostError;
use crate::scheme::CanUse;

/// A user of a [`TestHost`](super::TestHost): enabled, without a password and without scopes unless it is said otherwise.
#[derive(Clone, Debug, Default)]
pub struct TestUser {
    pub(super) username: String,
    pub(super) password: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) enabled: bool,
    pub(super) record: Map<String, Value>,
}

impl TestUser {
    /// A user; names are compared in lower case.
    pub fn new(username: impl AsRef<str>) -> Self {
        let username = username.as_ref().to_lowercase();
        let record = json!({"name": "", "email": ""}).as_object().cloned().unwrap_or_default();
        Self { username, enabled: true, record, ..Self::default() }
    }

    /// What the user logs in by.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// What the user may ask for.
    #[must_use]
    pub fn scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.scopes = scopes.into_iter().map(str::to_owned).collect();
        self
    }

    /// The user may not log in.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// `name`, `email`, or any further property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.record.insert(name.into(), value.into());
        self
    }

    pub(super) fn show(&self) -> Value {
        let mut record = self.record.clone();
        record.insert("username".to_owned(), json!(self.username));
        record.insert("scope".to_owned(), json!(self.scopes));
        record.insert("enabled".to_owned(), json!(self.enabled));
        record.insert("source".to_owned(), json!("database"));
        Value::Object(record)
    }
}

/// A client (application) of a [`TestHost`](super::TestHost): enabled, without a secret unless it is said otherwise.
#[derive(Clone, Debug, Default)]
pub struct TestClient {
    pub(super) client_id: String,
    pub(super) secret: Option<String>,
    pub(super) enabled: bool,
    pub(super) record: Map<String, Value>,
}

impl TestClient {
    /// A client.
    pub fn new(client_id: impl Into<String>) -> Self {
        let record = json!({"name": "", "description": "", "confidential": false, "authorization_type": [],
            "redirect_uri": [], "scope": []});
        let record = record.as_object().cloned().unwrap_or_default();
        Self { client_id: client_id.into(), enabled: true, record, ..Self::default() }
    }

    /// What it proves itself by; it is confidential then.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self.property("confidential", true)
    }

    /// It may not ask at all.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// `name`, `description`, `authorization_type`, `redirect_uri`, `scope`, or any further property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.record.insert(name.into(), value.into());
        self
    }

    pub(super) fn show(&self) -> Value {
        let mut record = self.record.clone();
        record.insert("client_id".to_owned(), json!(self.client_id));
        record.insert("enabled".to_owned(), json!(self.enabled));
        record.insert("source".to_owned(), json!("database"));
        Value::Object(record)
    }
}

/// A scope of a [`TestHost`](super::TestHost). One that is not told of is there all the same, and wants the password.
#[derive(Clone, Debug)]
pub struct TestScope {
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) password_required: bool,
    /// A scheme that sessions must have proved, too, and how often that counts.
    pub(super) scheme: Option<String>,
    pub(super) uses_left: Option<u32>,
    pub(super) satisfied: bool,
    pub(super) proved_at_s: u64,
    pub(super) max_age: Option<Duration>,
    /// When its proofs are too old, by the host's clock.
    pub(super) lapses: Option<Duration>,
}

impl TestScope {
    /// A scope that every session satisfies whose user has it.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let display_name = name.clone();
        let (scheme, uses_left) = (None, None);
        Self {
            name,
            display_name,
            password_required: true,
            scheme,
            uses_left,
            satisfied: true,
            proved_at_s: 0,
            max_age: None,
            lapses: None,
        }
    }

    /// It wants a proof by this scheme as well, which sessions have.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// The proofs that it relies on count this many times more: see [`Session::used`](crate::Session::used).
    #[must_use]
    pub fn uses(mut self, left: u32) -> Self {
        self.uses_left = Some(left);
        self
    }

    /// No session satisfies it.
    #[must_use]
    pub fn unsatisfied(mut self) -> Self {
        self.satisfied = false;
        self
    }

    /// What sessions have proved for it counts this long from [`TestHost::scope`](super::TestHost::scope) on, by the host's
    /// clock; by default for ever.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// When sessions last proved something for it, in seconds since 1970; by default never.
    #[must_use]
    pub fn proved_at(mut self, seconds: u64) -> Self {
        self.proved_at_s = seconds;
        self
    }
}

/// A scheme of a [`TestHost`](super::TestHost), as other plug-ins see it: who registers is registered.
///
/// ```
/// # use porth_plugin::testing::{TestClient, TestHost, TestScheme, TestScope, TestUser};
/// # use porth_plugin::prelude::json;
/// # use std::time::Duration;
/// # fn test(host: &TestHost) {
/// host.user(TestUser::new("ann").password("secret").scopes(["payments"]).property("email", "ann@example.org"))
///     .client(TestClient::new("shop").secret("hush").property("redirect_uri", json!(["https://shop.example.org/"])))
///     .scheme(TestScheme::new("code").registered("ann", json!({ "phone": "1234" })))
///     .scope(TestScope::new("payments").scheme("code").uses(1).max_age(Duration::from_secs(300)))
///     .grant("ann", "shop", &["payments"]);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestScheme {
    pub(super) name: String,
    pub(super) registered: BTreeMap<String, Value>,
    pub(super) unavailable: bool,
}

impl TestScheme {
    /// A scheme by the name of its instance.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A user who is registered.
    #[must_use]
    pub fn registered(mut self, username: impl AsRef<str>, data: Value) -> Self {
        self.registered.insert(username.as_ref().to_lowercase(), data);
        self
    }

    /// Nobody can have it.
    #[must_use]
    pub fn unavailable(mut self) -> Self {
        self.unavailable = true;
        self
    }

    pub(super) fn show(&self) -> Value {
        json!({"module": self.name, "name": self.name, "display_name": self.name, "expiration": 0, "max_use": 0,
            "allow_user_register": true, "forbid_user_profile": false, "forbid_user_reset_credential": false})
    }

    pub(super) fn can_use(&self, username: &str) -> u8 {
        let answer = match (self.unavailable, self.registered.contains_key(username)) {
            (true, _) => CanUse::Unavailable,
            (false, true) => CanUse::Registered,
            (false, false) => CanUse::Available,
        };
        answer.number()
    }
}

/// Answers one of the questions of the table by its name.
pub(super) fn ask(world: &World, question: &str, given: &Value) -> Result<Value, HostError> {
    let mut state = world.lock();
    let text = |member: &str| given.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |member: &str| texts(given.get(member));
    let (username, client_id) = (text("username").to_lowercase(), text("client_id"));
    match question {
        "check_user_valid" => check_user(&state, &username, given.get("password"), &list("scope_list")),
        "get_user" | "get_user_profile" => Ok(user(&state, &username)?.show()),
        "get_user_list" => Ok(page(state.users.values().map(TestUser::show), given)),
        "is_user_valid" => {
            let add = given.get("add").and_then(Value::as_bool).unwrap_or(false);
            if !add {
                user(&state, &username)?;
            }
            Ok(json!(user_errors(&state, &username, &given["user"], add)))
        }
        "add_user" => {
            let username = given["user"]["username"].as_str().unwrap_or_default().to_lowercase();
            refuse(user_errors(&state, &username, &given["user"], true))?;
            let mut new = TestUser::new(&username);
            change_user(&mut new, &given["user"]);
            state.users.insert(username, new);
            Ok(json!({}))
        }
        "set_user" => {
            user(&state, &username)?;
            refuse(user_errors(&state, &username, &given["user"], false))?;
            if let Some(user) = state.users.get_mut(&username) {
                change_user(user, &given["user"]);
            }
            Ok(json!({}))
        }
        "delete_user" => {
            state.users.remove(&username).ok_or_else(|| no_user(&username))?;
            state.grants.retain(|(user, ..)| *user != username);
            state.schemes.values_mut().for_each(|scheme| drop(scheme.registered.remove(&username)));
            state.stores.values_mut().for_each(|store| store.forget_user(&username));
            Ok(json!({ "failures": [] }))
        }
        "user_update_password" => {
            let user = state.users.get_mut(&username).ok_or_else(|| no_user(&username))?;
            user.password = Some(text("password"));
            Ok(json!({}))
        }
        "check_client_valid" => check_client(&state, &client_id, given.get("password")),
        "get_client" => Ok(client(&state, &client_id)?.show()),
        "get_client_list" => Ok(page(state.clients.values().map(TestClient::show), given)),
        "is_client_valid" => {
            let add = given.get("add").and_then(Value::as_bool).unwrap_or(false);
            if !add {
                client(&state, &client_id)?;
            }
            Ok(json!(client_errors(&state, &client_id, add)))
        }
        "add_client" => {
            let client_id = given["client"]["client_id"].as_str().unwrap_or_default().to_owned();
            refuse(client_errors(&state, &client_id, true))?;
            let mut new = TestClient::new(&client_id);
            change_client(&mut new, &given["client"]);
            state.clients.insert(client_id, new);
            Ok(json!({}))
        }
        "set_client" => {
            let client = state.clients.get_mut(&client_id).ok_or_else(|| no_client(&client_id))?;
            change_client(client, &given["client"]);
            Ok(json!({}))
        }
        "delete_client" => {
            state.clients.remove(&client_id).ok_or_else(|| no_client(&client_id))?;
            state.grants.retain(|(_, client, _)| *client != client_id);
            Ok(json!({}))
        }
        "get_client_granted_scopes" => {
            let client = client(&state, &client_id)?;
            if !client.enabled {
                return Err(no_client(&client_id));
            }
            let user = user(&state, &username)?;
            let asked = list("scope_list").into_iter().filter(|scope| user.scopes.contains(scope));
            let granted = |scope: &String| state.grants.contains(&(username.clone(), client_id.clone(), scope.clone()));
            let show = |scope: String| {
                let known = state.scopes.get(&scope);
                json!({"name": scope, "display_name": known.map_or(&scope, |known| &known.display_name),
                    "description": "", "password_required": known.is_none_or(|known| known.password_required),
                    "granted": granted(&scope)})
            };
            let name = client.record.get("name").cloned().unwrap_or_default();
            Ok(json!({"client": {"client_id": client_id, "name": name}, "scope": asked.map(show).collect::<Vec<_>>()}))
        }
        _ => Err(HostError::Unsupported(format!("the fake host does not know `{question}`"))),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn check_user(state: &State, username: &str, password: Option<&Value>, scopes: &[String]) -> Result<Value, HostError> {
    let password = password.and_then(Value::as_str);
    let wrong = || HostError::Unauthorized("the name or the password is wrong".to_owned());
    let user = match (state.users.get(username), password) {
        (None, None) => return Err(no_user(username)),
        (None, Some(_)) => return Err(wrong()),
        (Some(user), _) => user,
    };
    if !user.enabled || (password.is_some() && password != user.password.as_deref()) {
        return Err(wrong());
    }
    let plain = |scope: &&String| state.scopes.get(*scope).is_none_or(|scope| scope.scheme.is_none());
    let had: Vec<&String> = scopes.iter().filter(|scope| user.scopes.contains(scope)).filter(plain).collect();
    if had.is_empty() && !scopes.is_empty() {
        return Err(wrong());
    }
    Ok(json!({"user": user.show(), "scope_list": had}))
}

fn check_client(state: &State, client_id: &str, secret: Option<&Value>) -> Result<Value, HostError> {
    let client = client(state, client_id)?;
    let secret = secret.and_then(Value::as_str);
    if !client.enabled || (secret.is_some() && secret != client.secret.as_deref()) {
        return Err(HostError::Unauthorized("the client is disabled, or its secret is another".to_owned()));
    }
    Ok(json!({ "client": client.show() }))
}

/// The user of a session that goes on.
pub(super) fn logged_in<'a>(state: &'a State, username: &str) -> Option<&'a TestUser> {
    let ended = state.session_ends.get(username).is_some_and(|ends| state.elapsed() >= *ends);
    state.users.get(username).filter(|user| user.enabled && !ended)
}

pub(super) fn user<'a>(state: &'a State, username: &str) -> Result<&'a TestUser, HostError> {
    state.users.get(username).ok_or_else(|| no_user(username))
}

fn client<'a>(state: &'a State, client_id: &str) -> Result<&'a TestClient, HostError> {
    state.clients.get(client_id).ok_or_else(|| no_client(client_id))
}

fn no_user(username: &str) -> HostError {
    HostError::NotFound(format!("there is no user `{username}`"))
}

fn no_client(client_id: &str) -> HostError {
    HostError::NotFound(format!("there is no client `{client_id}`"))
}

fn refuse(errors: Vec<String>) -> Result<(), HostError> {
    if errors.is_empty() { Ok(()) } else { Err(HostError::Parameter(errors.join("; "))) }
}

fn user_errors(state: &State, username: &str, fields: &Value, add: bool) -> Vec<String> {
    let mut errors = Vec::new();
    if add && username.is_empty() {
        errors.push("username: is needed".to_owned());
    }
    if add && state.users.contains_key(username) {
        errors.push(format!("username: there is a user `{username}` already"));
    }
    if fields["password"].as_str() == Some("") {
        errors.push("password: expected 1 byte or more".to_owned());
    }
    errors
}

fn client_errors(state: &State, client_id: &str, add: bool) -> Vec<String> {
    match (add, client_id) {
        (true, "") => vec!["client_id: is needed".to_owned()],
        (true, id) if state.clients.contains_key(id) => vec![format!("client_id: there is a client `{id}` already")],
        _ => Vec::new(),
    }
}

fn change_user(user: &mut TestUser, fields: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        match name.as_str() {
            "username" => {}
            "password" => user.password = value.as_str().map(str::to_owned),
            "scope" => user.scopes = texts(Some(value)),
            "enabled" => user.enabled = value.as_bool().unwrap_or(true),
            _ => change(&mut user.record, name, value),
        }
    }
}

fn change_client(client: &mut TestClient, fields: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        match name.as_str() {
            "client_id" => {}
            "password" | "client_secret" => client.secret = value.as_str().map(str::to_owned),
            "enabled" => client.enabled = value.as_bool().unwrap_or(true),
            _ => change(&mut client.record, name, value),
        }
    }
}

fn change(record: &mut Map<String, Value>, name: &str, value: &Value) {
    if value.is_null() {
        record.remove(name);
    } else {
        record.insert(name.to_owned(), value.clone());
    }
}

/// The part of a list that is asked for.
fn page(all: impl Iterator<Item = Value>, given: &Value) -> Value {
    let pattern = given["pattern"].as_str().unwrap_or_default().to_lowercase();
    let number = |member: &str, otherwise| usize::try_from(given[member].as_u64().unwrap_or(otherwise)).unwrap_or(0);
    let searched = ["username", "client_id", "name", "email", "description"];
    let wanted = |record: &Value| {
        let texts = searched.iter().filter_map(|member| record.get(member)?.as_str());
        texts.into_iter().any(|text| text.to_lowercase().contains(&pattern))
    };
    Value::Array(all.filter(wanted).skip(number("offset", 0)).take(number("limit", 100)).collect())
}
