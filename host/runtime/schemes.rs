//! The running instances of schemes, as the domain asks for them.

use std::sync::Weak;

use porth_abi::code;
use serde_json::Value;

use super::call::CallError;
use super::hooks::{Hook, HookError};
use super::instances::{Inner, Runtime, SCHEME};
use crate::domain::schemes::{AskError, Asking, SchemeHook, SchemePort};

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
