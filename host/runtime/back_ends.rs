//! Instances of the kinds `user`, `client` and `user_middleware` as the domain sees them, and who hears of people that go.
//!
//! Start at [`Runtime::refresh_back_ends`]. Which instance runs is found out at every call, so that a reset or a reload
//! needs no word here; what administrators set of them is taken over at every change.

use std::sync::{Arc, Weak};

use porth_abi::code;
use serde_json::{Value, json};

use super::hooks::{Hook, HookError};
use super::instances::{Inner, Runtime, SCHEME};
use crate::domain::back_ends::{Asking, BackEnd, BackEndError, BackEnds, Keeper, Record, Source, UserMiddleware, View};
use crate::domain::departures::{Departures, Telling, Told};
use crate::domain::instances::InstanceRecord;
use crate::domain::schemes::SchemeHook;
use crate::domain::{DATABASE, Page};

/// The kind of module whose instances keep people.
pub const USER: &str = "user";
/// The kind of module whose instances keep applications.
pub const CLIENT: &str = "client";
/// The kind of module whose instances change records of people on their way.
pub const USER_MIDDLEWARE: &str = "user_middleware";

/// A module that is part of the host and needs no library. It has no parameters.
pub struct BuiltIn {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its name for people.
    pub display_name: &'static str,
    /// What it is for.
    pub description: &'static str,
}

/// The modules that are part of the host.
pub const BUILT_IN: [BuiltIn; 2] = [
    BuiltIn {
        kind: USER,
        name: DATABASE,
        display_name: "Database",
        description: "Keeps users in Porth's own database",
    },
    BuiltIn {
        kind: CLIENT,
        name: DATABASE,
        display_name: "Database",
        description: "Keeps clients in Porth's own database",
    },
];

/// Whether a module is part of the host.
pub(super) fn is_built_in(kind: &str, module: &str) -> bool {
    BUILT_IN.iter().any(|built_in| built_in.kind == kind && built_in.name == module)
}

impl Runtime {
    /// Tells the domain who keeps people and applications and who changes them on their way, as it is stored now.
    pub(super) async fn refresh_back_ends(&self) {
        let _telling = self.0.telling.lock().await;
        let back_ends = self.shared().access.users.back_ends();
        self.shared().access.users.departing().connect(Arc::new(Teller(Arc::downgrade(&self.0))));
        let mut records = match self.records().list(None).await {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, "back ends are as they were, because they could not be read: {error}");
                return;
            }
        };
        records.sort_by(|one, other| rank(one).cmp(&rank(other)));
        self.tell(back_ends, &records);
    }

    /// As [`refresh_back_ends`](Self::refresh_back_ends), if the kind has to do with it.
    pub(super) async fn refresh_back_ends_of(&self, kind: &str) {
        if matches!(kind, USER | CLIENT | USER_MIDDLEWARE) {
            self.refresh_back_ends().await;
        }
    }

    fn tell(&self, back_ends: &BackEnds, records: &[InstanceRecord]) {
        let sources = |kind: &'static str| {
            let of_kind = records.iter().filter(|record| record.kind == kind);
            of_kind.map(|record| self.source(kind, record)).collect::<Vec<_>>()
        };
        back_ends.set_users(sources(USER));
        back_ends.set_clients(sources(CLIENT));
        let middlewares = records.iter().filter(|record| record.kind == USER_MIDDLEWARE && record.enabled);
        let middlewares = middlewares.map(|record| {
            let asked = Asked { runtime: Arc::downgrade(&self.0), kind: USER_MIDDLEWARE, name: record.name.clone() };
            Arc::new(asked) as Arc<dyn UserMiddleware>
        });
        back_ends.set_middlewares(middlewares.collect());
    }

    fn source(&self, kind: &'static str, record: &InstanceRecord) -> Source {
        let keeper = if !record.enabled {
            Keeper::Disabled
        } else if is_built_in(kind, &record.module) {
            Keeper::Database
        } else {
            let name = record.name.clone();
            Keeper::Instance(Arc::new(Asked { runtime: Arc::downgrade(&self.0), kind, name }))
        };
        let (name, settings) = (record.name.clone(), &record.settings);
        let (readonly, multiple_passwords) = (settings.readonly, settings.multiple_passwords);
        Source { name, readonly, multiple_passwords, keeper }
    }
}

/// What decides who comes first: of equals, who was there first, so that whoever is added does not get ahead unasked.
fn rank(record: &InstanceRecord) -> (i64, i64, &str) {
    (record.settings.order_rank, record.created_at_ms, &record.name)
}

/// An instance that is asked. The domain outlives the runtime, which owns it.
struct Asked {
    runtime: Weak<Inner>,
    kind: &'static str,
    name: String,
}

impl Asked {
    async fn ask(&self, place: usize, arguments: Value) -> Result<Value, HookError> {
        let runtime = Runtime(self.runtime.upgrade().ok_or(HookError::NotRunning)?);
        let table = match self.kind {
            USER => porth_abi::USER_BACK_END,
            CLIENT => porth_abi::CLIENT_BACK_END,
            _ => porth_abi::USER_MIDDLEWARE,
        };
        runtime.ask(self.kind, &self.name, Hook { table, place }, &arguments).await
    }

    /// The arguments of a hook that is about one record.
    fn about(&self, key: &str, others: Value) -> Value {
        let name = if self.kind == CLIENT { "client_id" } else { "username" };
        let mut arguments = match others {
            Value::Object(members) => members,
            _ => Record::new(),
        };
        arguments.insert(name.to_owned(), key.into());
        Value::Object(arguments)
    }

    /// A record among the arguments.
    fn with_record(&self, record: &Record) -> Value {
        if self.kind == CLIENT { json!({"client": record}) } else { json!({"user": record}) }
    }
}

/// What a hook is asked for is that it is done, not that it says something.
fn done(answer: Result<Value, HookError>) -> Result<(), BackEndError> {
    answer.map(drop).map_err(refused)
}

fn refused(error: HookError) -> BackEndError {
    match error {
        HookError::Refused { code: code::PARAM | code::CONFLICT, details } if !details.is_empty() => {
            BackEndError::Refused(details)
        }
        HookError::Refused { code: code::CONFLICT, .. } => {
            BackEndError::Refused(vec!["another has the name".to_owned()])
        }
        HookError::Refused { code: code::PARAM, .. } => {
            BackEndError::Refused(vec!["the back end refuses it and does not say why".to_owned()])
        }
        HookError::Refused { code: code::NOT_FOUND, .. } => BackEndError::NotFound,
        HookError::Unsupported => BackEndError::Unsupported,
        other => BackEndError::Failed(other.to_string()),
    }
}

fn record(value: Value) -> Result<Record, BackEndError> {
    match value {
        Value::Object(record) => Ok(record),
        _ => Err(BackEndError::Failed("it answered something that is no record".to_owned())),
    }
}

impl BackEnd for Asked {
    fn count<'a>(&'a self, pattern: &'a str) -> Asking<'a, u64> {
        Box::pin(async move {
            let count = self.ask(0, json!({ "pattern": pattern })).await.map_err(refused)?;
            count.as_u64().ok_or_else(|| BackEndError::Failed("it answered something that is no count".to_owned()))
        })
    }

    fn list<'a>(&'a self, page: &'a Page) -> Asking<'a, Vec<Record>> {
        Box::pin(async move {
            let Page { pattern, offset, limit } = page;
            let list = self.ask(1, json!({"pattern": pattern, "offset": offset, "limit": limit})).await;
            let Value::Array(list) = list.map_err(refused)? else {
                return Err(BackEndError::Failed("it answered something that is no list".to_owned()));
            };
            let most = usize::try_from(*limit).unwrap_or(usize::MAX);
            list.into_iter().take(most).map(record).collect()
        })
    }

    fn get<'a>(&'a self, key: &'a str, view: View) -> Asking<'a, Option<Record>> {
        Box::pin(async move {
            let arguments = match self.kind {
                CLIENT => json!({}),
                _ => json!({ "profile": view == View::Profile }),
            };
            match self.ask(2, self.about(key, arguments)).await {
                Ok(Value::Null) | Err(HookError::Refused { code: code::NOT_FOUND, .. }) => Ok(None),
                Ok(found) => record(found).map(Some),
                Err(error) => Err(refused(error)),
            }
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Asking<'a, ()> {
        Box::pin(async move { done(self.ask(3, self.with_record(record)).await) })
    }

    fn set<'a>(&'a self, key: &'a str, record: &'a Record) -> Asking<'a, ()> {
        Box::pin(async move { done(self.ask(4, self.about(key, self.with_record(record))).await) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Asking<'a, bool> {
        Box::pin(async move {
            match self.ask(5, self.about(key, json!({}))).await {
                Ok(_) => Ok(true),
                Err(HookError::Refused { code: code::NOT_FOUND, .. }) => Ok(false),
                Err(error) => Err(refused(error)),
            }
        })
    }

    fn check_password<'a>(&'a self, key: &'a str, password: &'a str) -> Asking<'a, bool> {
        Box::pin(async move {
            let field = if self.kind == CLIENT { "secret" } else { "password" };
            match self.ask(6, self.about(key, json!({ field: password }))).await {
                Ok(_) => Ok(true),
                Err(HookError::Refused { code: code::UNAUTHORIZED | code::NOT_FOUND, .. }) => Ok(false),
                Err(error) => Err(BackEndError::Failed(error.to_string())),
            }
        })
    }

    fn set_password<'a>(&'a self, key: &'a str, password: &'a str) -> Asking<'a, ()> {
        Box::pin(async move { done(self.ask(7, self.about(key, json!({ "password": password }))).await) })
    }
}

impl UserMiddleware for Asked {
    fn name(&self) -> &str {
        &self.name
    }

    fn show<'a>(&'a self, username: &'a str, view: View, user: Record) -> Asking<'a, Record> {
        Box::pin(async move {
            let arguments = json!({"profile": view == View::Profile, "user": user});
            record(self.ask(0, self.about(username, arguments)).await.map_err(refused)?)
        })
    }

    fn store<'a>(&'a self, username: &'a str, user: Record) -> Asking<'a, Record> {
        Box::pin(
            async move { record(self.ask(1, self.about(username, json!({ "user": user }))).await.map_err(refused)?) },
        )
    }
}

/// Tells instances of people who go.
struct Teller(Weak<Inner>);

impl Departures for Teller {
    fn tell<'a>(&'a self, key: &'a str, username: &'a str) -> Telling<'a> {
        Box::pin(async move {
            let (Some(runtime), Some((kind, name))) = (self.0.upgrade().map(Runtime), key.split_once('/')) else {
                return Told::NotRunning;
            };
            let of_kind = match kind {
                SCHEME => Some(Hook { table: porth_abi::SCHEME, place: SchemeHook::Deregister as usize }),
                USER_MIDDLEWARE => Some(Hook { table: porth_abi::USER_MIDDLEWARE, place: 2 }),
                _ => None,
            };
            let of_any = Hook { table: porth_abi::USER_REVOKE, place: 0 };
            let arguments = json!({ "username": username });
            let mut failures = Vec::new();
            // One that is about to be routed is told as the one whose place it takes: it may have read what it must forget.
            let mut calls = runtime.0.starting.begin(key);
            calls.extend(runtime.begin_of(kind, name));
            if calls.is_empty() {
                return Told::NotRunning;
            }
            for (call, hook) in
                calls.iter().flat_map(|call| of_kind.into_iter().chain([of_any]).map(move |hook| (call, hook)))
            {
                match runtime.ask_in(call.clone(), hook, &arguments).await {
                    Ok(_) | Err(HookError::Unsupported | HookError::Refused { code: code::NOT_FOUND, .. }) => {}
                    Err(error) => failures.push(error.to_string()),
                }
            }
            if failures.is_empty() { Told::Forgot } else { Told::Failed(failures.join("; ")) }
        })
    }
}
