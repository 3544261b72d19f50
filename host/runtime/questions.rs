//! What plug-ins ask about users, clients and grants: arguments read, the domain asked, records shown.
//!
//! Start at [`answer`]. The rights were looked at before, in `super::services`.

use porth_abi::code;
use serde_json::{Value, json};

use super::hooks;
use super::services::Shared;
use crate::abi::{CallbackError, Question};
use crate::domain::access::LogInError;
use crate::domain::clients::{Client, ClientDetails, ClientSecrets, PutClientError};
use crate::domain::fields::Fields;
use crate::domain::grants::ClientGrant;
use crate::domain::lockout::Guesser;
use crate::domain::passwords::PasswordError;
use crate::domain::users::{NewUser, PutUserError, User, UserChange};
use crate::domain::{Page, StoreError};

/// The answer to a question of an instance; `arguments` is JSON.
pub(super) async fn answer(
    shared: &Shared,
    asker: &str,
    question: Question,
    arguments: &str,
    now_ms: i64,
) -> Result<Value, CallbackError> {
    let fields = read(arguments)?;
    match question {
        Question::CheckUserValid => check_user(shared, asker, fields, now_ms).await,
        Question::CheckClientValid => check_client(shared, asker, fields, now_ms).await,
        Question::GetClientGrantedScopes => granted_scopes(shared, fields).await,
        Question::GetUserList => {
            let users = shared.access.users.list(&page(fields)?).await.map_err(store)?;
            Ok(users.into_iter().map(User::view).collect())
        }
        Question::GetUser => Ok(user(shared, &only_text(fields, "username")?).await?.view()),
        Question::GetUserProfile => {
            let username = only_text(fields, "username")?;
            let users = &shared.access.users;
            let profile = users.profile(&username).await.map_err(store)?.ok_or_else(|| no_user(&username))?;
            let noted = users.get(&username).await.map_err(store)?;
            Ok(profile.profile_with(noted.as_ref(), &shared.config.profile))
        }
        Question::IsUserValid => user_errors(shared, fields).await,
        Question::AddUser => add_user(shared, fields, now_ms).await,
        Question::SetUser => set_user(shared, fields, now_ms).await,
        Question::DeleteUser => delete_user(shared, fields).await,
        Question::UserUpdatePassword => update_password(shared, fields, now_ms).await,
        Question::GetClientList => {
            let clients = shared.clients.list(&page(fields)?).await.map_err(store)?;
            Ok(clients.into_iter().map(Client::view).collect())
        }
        Question::GetClient => Ok(client(shared, &only_text(fields, "client_id")?).await?.view()),
        Question::IsClientValid => client_errors(shared, fields).await,
        Question::AddClient => add_client(shared, fields, now_ms).await,
        Question::SetClient => set_client(shared, fields, now_ms).await,
        Question::DeleteClient => delete_client(shared, fields).await,
    }
}

/// Against whom a wrong guess counts: where the request comes from that led here. From a thread that a plug-in started
/// itself that is not known, and the instance stands for all for whom it asks.
fn guesser(asker: &str) -> Guesser<'_> {
    hooks::led().peer.map_or(Guesser::Instance(asker), Guesser::Peer)
}

async fn check_user(shared: &Shared, asker: &str, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let username = fields.required_text("username");
    let password = fields.text("password");
    let scopes = fields.texts("scope_list").flatten();
    finish([fields])?;
    let access = &shared.access;
    let user = match password {
        None => user(shared, &username).await?,
        Some(password) => {
            // By the name that was asked for; who has it meanwhile under another id is not who proved to be.
            let id = access.check_password(&username, &password, guesser(asker), now_ms).await.map_err(refused)?;
            let found = access.users.get(&username).await.map_err(store)?;
            found.filter(|user| user.id == id).ok_or_else(|| refused(LogInError::Wrong))?
        }
    };
    if !user.enabled {
        return Err(CallbackError::new(code::UNAUTHORIZED, format!("the user `{username}` is disabled")));
    }
    let asked = scopes.unwrap_or_default();
    let opened = access.opened_by_password(&user, &asked).await.map_err(store)?;
    if opened.is_empty() && !asked.is_empty() {
        return Err(CallbackError::new(code::UNAUTHORIZED, "the user has none of the scopes by a password alone"));
    }
    Ok(json!({"user": user.view(), "scope_list": opened}))
}

async fn check_client(shared: &Shared, asker: &str, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let client_id = fields.required_text("client_id");
    let password = fields.text("password");
    finish([fields])?;
    if let Some(password) = password {
        let (access, secrets) = (&shared.access, [password]);
        let told = access.check_client(&shared.clients, &client_id, &secrets, guesser(asker), now_ms).await;
        if let Some(client) = told.map_err(refused)? {
            return Ok(json!({"client": client.view()}));
        }
        // Which client ids there are is no secret.
        return Err(match client(shared, &client_id).await?.details.enabled {
            true => CallbackError::new(code::UNAUTHORIZED, "the secret is wrong"),
            false => disabled(&client_id),
        });
    }
    let client = client(shared, &client_id).await?;
    if client.details.enabled { Ok(json!({"client": client.view()})) } else { Err(disabled(&client_id)) }
}

fn disabled(client_id: &str) -> CallbackError {
    CallbackError::new(code::UNAUTHORIZED, format!("the client `{client_id}` is disabled"))
}

async fn granted_scopes(shared: &Shared, mut fields: Fields) -> Result<Value, CallbackError> {
    let client_id = fields.required_text("client_id");
    let username = fields.required_text("username");
    let asked = fields.texts("scope_list").flatten().unwrap_or_default();
    finish([fields])?;
    let user = user(shared, &username).await?;
    let grant = shared.grants.of_client(&user, &client_id, &asked).await.map_err(store)?;
    grant.as_ref().map(ClientGrant::view).ok_or_else(|| no_client(&client_id))
}

async fn user_errors(shared: &Shared, mut fields: Fields) -> Result<Value, CallbackError> {
    let username = fields.text("username");
    let add = fields.flag("add").unwrap_or(false);
    let mut record = fields.required_object("user");
    if add {
        if let Some(username) = username {
            record.set("username", username.into());
        }
        let source = record.text("source");
        let new = NewUser::read(&mut record);
        let errors = read_errors(fields, record)?;
        return told(errors, shared.access.users.errors_to_add(source.as_deref(), &new).await.map_err(store)?);
    }
    let change = UserChange::read(&mut record);
    let errors = read_errors(fields, record)?;
    let username = username.unwrap_or_default();
    let more = shared.access.users.errors_to_set(&username, &change).await;
    told(errors, more.map_err(store)?.ok_or_else(|| no_user(&username))?)
}

async fn client_errors(shared: &Shared, mut fields: Fields) -> Result<Value, CallbackError> {
    let client_id = fields.text("client_id");
    let add = fields.flag("add").unwrap_or(false);
    let mut record = fields.required_object("client");
    let source = record.text("source").filter(|_| add);
    let secrets = ClientSecrets::read(&mut record);
    let details = if add {
        if let Some(client_id) = client_id {
            record.set("client_id", client_id.into());
        }
        ClientDetails::read(&mut record)
    } else {
        client(shared, &client_id.unwrap_or_default()).await?.details.changed(&mut record)
    };
    let errors = read_errors(fields, record)?;
    let more = shared.clients.errors_to_put(source.as_deref(), &details, &secrets, add).await;
    told(errors, more.map_err(store)?.ok_or_else(|| no_client(&details.client_id))?)
}

/// What could not be read of a record is an answer; what is wrong with the other arguments is not.
fn read_errors(fields: Fields, record: Fields) -> Result<Vec<String>, CallbackError> {
    finish([fields])?;
    Ok(record.finish())
}

/// All that is wrong: what could not be read, and what the domain says of the rest.
fn told(mut errors: Vec<String>, more: Vec<String>) -> Result<Value, CallbackError> {
    errors.extend(more);
    Ok(json!(errors))
}

async fn add_user(shared: &Shared, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let mut record = fields.required_object("user");
    let source = record.text("source");
    let new = NewUser::read(&mut record);
    finish([fields, record])?;
    shared.access.users.add_to(source.as_deref(), new, now_ms).await.map_err(user_refused)?;
    Ok(json!({}))
}

async fn set_user(shared: &Shared, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let username = fields.required_text("username");
    let mut record = fields.required_object("user");
    let change = UserChange::read(&mut record);
    finish([fields, record])?;
    shared.access.users.set(&username, change, now_ms).await.map_err(user_refused)?;
    Ok(json!({}))
}

async fn delete_user(shared: &Shared, fields: Fields) -> Result<Value, CallbackError> {
    let username = only_text(fields, "username")?;
    let failures = shared.access.users.delete(&username).await.map_err(store)?.ok_or_else(|| no_user(&username))?;
    Ok(json!({ "failures": failures }))
}

async fn update_password(shared: &Shared, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let username = fields.required_text("username");
    let password = fields.required_text("password");
    finish([fields])?;
    shared.access.users.set_password(&username, password, now_ms).await.map_err(user_refused)?;
    Ok(json!({}))
}

async fn add_client(shared: &Shared, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let mut record = fields.required_object("client");
    let source = record.text("source");
    let secrets = ClientSecrets::read(&mut record);
    let details = ClientDetails::read(&mut record);
    finish([fields, record])?;
    shared.clients.add_to(source.as_deref(), details, secrets, now_ms).await.map_err(client_refused)?;
    Ok(json!({}))
}

async fn set_client(shared: &Shared, mut fields: Fields, now_ms: i64) -> Result<Value, CallbackError> {
    let client_id = fields.required_text("client_id");
    let mut record = fields.required_object("client");
    let secrets = ClientSecrets::read(&mut record);
    let old = client(shared, &client_id).await?.details;
    let new = old.clone().changed(&mut record);
    finish([fields, record])?;
    shared.clients.change(&old, new, secrets, now_ms).await.map_err(client_refused)?;
    Ok(json!({}))
}

async fn delete_client(shared: &Shared, fields: Fields) -> Result<Value, CallbackError> {
    let client_id = only_text(fields, "client_id")?;
    if shared.clients.delete(&client_id).await.map_err(store)? { Ok(json!({})) } else { Err(no_client(&client_id)) }
}

async fn user(shared: &Shared, username: &str) -> Result<User, CallbackError> {
    shared.access.users.get(username).await.map_err(store)?.ok_or_else(|| no_user(username))
}

async fn client(shared: &Shared, client_id: &str) -> Result<Client, CallbackError> {
    shared.clients.get(client_id).await.map_err(store)?.ok_or_else(|| no_client(client_id))
}

fn no_user(username: &str) -> CallbackError {
    CallbackError::new(code::NOT_FOUND, format!("there is no user `{username}`"))
}

fn no_client(client_id: &str) -> CallbackError {
    CallbackError::new(code::NOT_FOUND, format!("there is no client `{client_id}`"))
}

/// The arguments, of which none is as good as an empty object.
pub(super) fn read(arguments: &str) -> Result<Fields, CallbackError> {
    match arguments {
        "" => Ok(Fields::new(serde_json::Map::new())),
        text => serde_json::from_str(text)
            .map(Fields::new)
            .map_err(|error| CallbackError::parameter(format!("the arguments are no JSON object: {error}"))),
    }
}

/// Ends reading. A member that nobody asked for is wrong: left out by mistake it could open too much.
pub(super) fn finish(all: impl IntoIterator<Item = Fields>) -> Result<(), CallbackError> {
    let errors: Vec<String> = all.into_iter().flat_map(Fields::finish_strictly).collect();
    if errors.is_empty() { Ok(()) } else { Err(CallbackError::parameter(errors.join("; "))) }
}

/// The one argument.
fn only_text(mut fields: Fields, name: &str) -> Result<String, CallbackError> {
    let text = fields.required_text(name);
    finish([fields])?;
    Ok(text)
}

/// Which part of a list is asked for.
fn page(mut fields: Fields) -> Result<Page, CallbackError> {
    let pattern = fields.text("pattern").unwrap_or_default();
    let offset = fields.number("offset").unwrap_or(0);
    let limit = fields.number("limit").unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        fields.refuse(format!("limit: expected 1 to {LIMIT_MAX}, found {limit}"));
    }
    if u32::try_from(offset).is_err() {
        fields.refuse(format!("offset: expected 0 or more, found {offset}"));
    }
    finish([fields])?;
    Ok(Page { pattern, offset: u32::try_from(offset).unwrap_or(0), limit: u32::try_from(limit).unwrap_or(1) })
}

pub(super) fn store(error: StoreError) -> CallbackError {
    match error {
        StoreError::Busy(_) | StoreError::Conflict => CallbackError::new(code::BUSY, "the store has too much to do"),
        StoreError::NulInText => CallbackError::parameter(error.to_string()),
        StoreError::ReadOnly { .. } => CallbackError::parameter(format!("source: {error}")),
        error => {
            tracing::error!(%error, "a plug-in's question failed: {error}");
            CallbackError::new(code::STORE, "the store failed")
        }
    }
}

fn password(error: PasswordError) -> CallbackError {
    match error {
        PasswordError::Length { .. } => CallbackError::parameter(format!("password: {error}")),
        PasswordError::Busy => CallbackError::new(code::BUSY, error.to_string()),
        PasswordError::Hash(_) => {
            tracing::error!(%error, "a plug-in's question failed: {error}");
            CallbackError::new(code::ERROR, "a password could not be hashed")
        }
    }
}

/// Why somebody does not come in. What can be no password at all is as wrong as any other.
fn refused(error: LogInError) -> CallbackError {
    match error {
        LogInError::Wrong | LogInError::Password(PasswordError::Length { .. }) => {
            CallbackError::new(code::UNAUTHORIZED, "the name or the password is wrong")
        }
        LogInError::LockedOut(_) => CallbackError::new(code::BUSY, error.to_string()),
        LogInError::Password(error) => password(error),
        LogInError::Random(_) | LogInError::Scheme(_) => CallbackError::new(code::ERROR, error.to_string()),
        LogInError::Store(error) => store(error),
    }
}

fn user_refused(error: PutUserError) -> CallbackError {
    let text = error.to_string();
    match error {
        PutUserError::Invalid(_) => CallbackError::parameter(text),
        PutUserError::NameTaken { .. } | PutUserError::LooksAlike { .. } => {
            CallbackError::parameter(format!("username: {text}"))
        }
        PutUserError::Departing { .. } => CallbackError::new(code::CONFLICT, text),
        PutUserError::Unknown { .. } => CallbackError::new(code::NOT_FOUND, text),
        PutUserError::Password(error) => password(error),
        PutUserError::Store(error) => store(error),
    }
}

fn client_refused(error: PutClientError) -> CallbackError {
    let text = error.to_string();
    match error {
        PutClientError::Invalid(_) => CallbackError::parameter(text),
        PutClientError::IdTaken { .. } => CallbackError::parameter(format!("client_id: {text}")),
        PutClientError::Unknown { .. } => CallbackError::new(code::NOT_FOUND, text),
        PutClientError::Password(error) => password(error),
        PutClientError::Store(error) => store(error),
    }
}

/// As many as by REST.
const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 200;
