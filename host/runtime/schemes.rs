//! The running instances of schemes, as the domain asks for them, and what plug-ins are told of schemes.

use std::sync::Weak;

use http::header::USER_AGENT;
use porth_abi::code;
use serde_json::{Value, json};

use super::call::CallError;
use super::hooks::{Hook, HookError};
use super::instances::{Inner, Runtime, SCHEME};
use crate::abi::{CallRequest, CallbackError, SchemeCall};
use crate::domain::StoreError;
use crate::domain::access::Access;
use crate::domain::login::Origin;
use crate::domain::schemes::{AskError, Asking, By, Scheme, SchemeError, SchemeHook, SchemePort, Sent};
use crate::domain::users::User;

/// The port: it does not keep the runtime.
pub(super) struct Port(Weak<Inner>);

impl Port {
    pub(super) fn new(runtime: Weak<Inner>) -> Self {
        Self(runtime)
    }
}

impl SchemePort for Port {
    fn ask<'a>(&'a self, scheme: &'a str, hook: SchemeHook, arguments: &'a Value) -> Asking<'a> {
        let hook = Hook { table: porth_abi::SCHEME, place: hook as usize };
        Box::pin(async move {
            let runtime = self.0.upgrade().map(Runtime).ok_or(HookError::NotRunning)?;
            Ok(runtime.ask(SCHEME, scheme, hook, arguments).await?)
        })
    }
}

impl From<HookError> for AskError {
    fn from(error: HookError) -> Self {
        let text = error.to_string();
        match error {
            HookError::NotRunning | HookError::Call(CallError::Busy | CallError::Broken(_)) => Self::Unavailable(text),
            HookError::Unsupported => Self::Unsupported,
            HookError::Call(_) => Self::Failed(text),
            HookError::Refused { code, details } => match code {
                code::PARAM => Self::Invalid(details),
                code::UNAUTHORIZED | code::DENIED => Self::Unauthorized(details.join("; ")),
                code::NOT_FOUND => Self::NotFound(details.join("; ")),
                code::CONFLICT => Self::Conflict(details.join("; ")),
                code::BUSY => Self::Unavailable(text),
                _ => Self::Failed(text),
            },
        }
    }
}

/// The answer to a callback about schemes.
pub(super) async fn answer(access: &Access, call: SchemeCall) -> Result<Vec<u8>, CallbackError> {
    let schemes = &access.schemes;
    let answer = match call {
        SchemeCall::Module { scheme } => Value::Object(find(access, &scheme).await?.shown()),
        SchemeCall::List { username } => {
            let user = user(access, &username).await?;
            let shown = access.schemes_of(&user).await.map_err(store)?.into_iter().map(|(scheme, can_use)| {
                let mut shown = scheme.shown();
                shown.insert("can_use".to_owned(), json!(can_use.map(|can_use| can_use.number())));
                Value::Object(shown)
            });
            shown.collect()
        }
        SchemeCall::Register { scheme, request, username, data } => {
            let data = serde_json::from_str(&data)
                .map_err(|error| CallbackError::parameter(format!("`data` is no JSON: {error}")))?;
            let (scheme, user) = (find(access, &scheme).await?, user(access, &username).await?);
            schemes.register(&scheme, &user, &sent(data, request.as_deref()), By::Others).await.map_err(refused)?
        }
        SchemeCall::RegisterGet { scheme, request, username } => {
            let (scheme, user) = (find(access, &scheme).await?, user(access, &username).await?);
            schemes
                .registration(&scheme, &user, &sent(Value::Null, request.as_deref()), By::Others)
                .await
                .map_err(refused)?
        }
        SchemeCall::Deregister { scheme, request, username } => {
            let (scheme, user) = (find(access, &scheme).await?, user(access, &username).await?);
            schemes.deregister(&scheme, &user, &sent(Value::Null, request.as_deref())).await.map_err(refused)?
        }
        SchemeCall::CanUse { scheme, username } => {
            let (scheme, user) = (find(access, &scheme).await?, user(access, &username).await?);
            let can_use = schemes.can_use(&scheme, &user.username).await.map_err(|error| refused(error.into()))?;
            can_use.number().into()
        }
    };
    Ok(answer.to_string().into_bytes())
}

/// What a plug-in hands to a scheme, with where the request comes from that led to it.
fn sent(data: Value, request: Option<&CallRequest>) -> Sent {
    let origin = request.map(|request| {
        let user_agent = request.parts().headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let peer = request.peer().map(|peer| peer.to_string());
        Origin { user_agent: user_agent.unwrap_or_default().to_owned(), peer: peer.unwrap_or_default() }
    });
    Sent { data, origin }
}

async fn find(access: &Access, scheme: &str) -> Result<Scheme, CallbackError> {
    access.schemes.find(None, scheme).await.map_err(refused)
}

async fn user(access: &Access, username: &str) -> Result<User, CallbackError> {
    let user = access.users.get(username).await.map_err(store)?;
    user.ok_or_else(|| CallbackError::new(code::NOT_FOUND, "no such user"))
}

fn store(error: StoreError) -> CallbackError {
    tracing::error!(%error, "what a plug-in asked of a scheme failed: {error}");
    CallbackError::new(code::STORE, "the store failed")
}

fn refused(error: SchemeError) -> CallbackError {
    let text = error.to_string();
    let code = match error {
        SchemeError::Store(error) => return store(error),
        SchemeError::Unknown { .. } | SchemeError::Ask(AskError::NotFound(_)) => code::NOT_FOUND,
        SchemeError::Forbidden { .. } | SchemeError::Ask(AskError::Unauthorized(_)) => code::UNAUTHORIZED,
        SchemeError::Ask(AskError::Invalid(_)) => code::PARAM,
        SchemeError::Ask(AskError::Conflict(_)) => code::CONFLICT,
        SchemeError::Ask(AskError::Unsupported) => code::UNSUPPORTED,
        SchemeError::Ask(AskError::Unavailable(_)) => code::BUSY,
        SchemeError::Ask(AskError::Failed(_)) => code::ERROR,
    };
    CallbackError::new(code, text)
}
