//! Documents of instances: what the callbacks answer, how a module's form comes about before `init`, and the purge.
//!
//! Start at [`InstanceDocuments`]. The rules are in `crate::domain::documents`; here JSON becomes questions and answers
//! become JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use porth_abi::code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::instances::{Plan, Runtime, StartError, key};
use super::libraries::{Generation, Module};
use super::lifecycle;
use super::services::{InstanceServices, Shared, driven};
use crate::abi::fault::InstanceSlot;
use crate::abi::{CallbackError, DocumentCall, HostFuture};
use crate::domain::StoreError;
use crate::domain::documents::{
    ApplyError, Consumed, Declaration, Delete, Document, DocumentError, Documents, List, Migrate, Operation, Put,
    Wanted,
};
use crate::domain::leadership::Leadership;

/// The documents of one instance, as its callbacks reach them. Cheap to clone.
#[derive(Clone)]
pub(super) struct InstanceDocuments {
    shared: Shared,
    key: Arc<str>,
    instance_id: Arc<str>,
    may_write: bool,
}

type Answer = Result<String, CallbackError>;

impl InstanceDocuments {
    pub(super) fn new(shared: Shared, key: &str, instance_id: &str, may_write: bool) -> Self {
        Self { shared, key: key.into(), instance_id: instance_id.into(), may_write }
    }

    /// The answer to a callback. Nothing happens before it is polled; then the host drives it to its end, whoever waits.
    pub(super) fn ask(&self, call: DocumentCall) -> HostFuture {
        let documents = self.clone();
        let runtime = documents.shared.runtime.clone();
        driven(runtime, async move { documents.answer(call).await.map(String::into_bytes) })
    }

    async fn answer(&self, call: DocumentCall) -> Answer {
        let (documents, id, now_ms) = (&self.shared.documents, &*self.instance_id, now_ms());
        if !self.may_write && !matches!(call, DocumentCall::Get { .. } | DocumentCall::List { .. }) {
            return Err(CallbackError::new(code::CLOSED, "a migration changes documents by what it answers"));
        }
        match call {
            DocumentCall::Get { collection, key } => {
                let found = documents.get(id, &collection, &key, now_ms).await.map_err(|error| self.failed(&error))?;
                found.as_ref().map(write).ok_or_else(|| self.failed(&DocumentError::Absent))
            }
            DocumentCall::Put { collection, key, value, options } => {
                let put = read_put(collection, key, value, &options)?;
                let version = documents.put(id, put, now_ms).await.map_err(|error| self.failed(&error))?;
                Ok(json!({ "version": version }).to_string())
            }
            DocumentCall::Delete { collection, key, options } => {
                let DeleteOptions { version } = read(&options, "`options`")?;
                let delete = Delete { collection, key, version };
                documents.delete(id, delete, now_ms).await.map_err(|error| self.failed(&error))?;
                Ok("{}".to_owned())
            }
            DocumentCall::List { collection, options } => {
                let list = read::<ListOptions>(&options, "`options`")?.into();
                let page = documents.list(id, &collection, &list, now_ms).await.map_err(|error| self.failed(&error))?;
                let documents: Vec<String> = page.documents.iter().map(write).collect();
                Ok(format!("{{\"documents\":[{}],\"next\":{}}}", documents.join(","), json!(page.next)))
            }
            DocumentCall::Apply { operations } => {
                let operations = read_operations(&operations).map_err(CallbackError::parameter)?;
                let applied = documents.apply(id, &operations, now_ms).await;
                let versions = applied.map_err(|error| self.not_applied(&error))?;
                Ok(json!({ "versions": versions }).to_string())
            }
            DocumentCall::Consume { collection, key } => {
                let consumed = documents.consume(id, &collection, &key, now_ms).await;
                let (state, document) = match consumed.map_err(|error| self.failed(&error))? {
                    Consumed::Fresh(document) => ("fresh", Some(document)),
                    Consumed::Used(document) => ("used", Some(document)),
                    Consumed::Expired => ("expired", None),
                    Consumed::Absent => ("absent", None),
                };
                let document = document.as_ref().map_or_else(|| "null".to_owned(), write);
                Ok(format!("{{\"state\":\"{state}\",\"document\":{document}}}"))
            }
        }
    }

    fn not_applied(&self, error: &ApplyError) -> CallbackError {
        let failed = self.failed(&error.error);
        match error.operation {
            Some(operation) => {
                CallbackError::new(failed.code, format!("operation {operation} (counted from 0): {}", failed.detail))
            }
            None => failed,
        }
    }

    /// The code of an error, and what the plug-in's author may know of it.
    fn failed(&self, error: &DocumentError) -> CallbackError {
        let number = match error {
            DocumentError::Parameter(_) | DocumentError::Store(StoreError::NulInText) => code::PARAM,
            DocumentError::Absent => code::NOT_FOUND,
            DocumentError::Stale => code::CONFLICT,
            DocumentError::Full { .. } | DocumentError::Store(StoreError::Busy(_) | StoreError::Conflict) => code::BUSY,
            DocumentError::Gone | DocumentError::Store(StoreError::Closed) => code::CLOSED,
            DocumentError::Store(error) => {
                tracing::error!(instance = &*self.key, %error, "documents of instance {}: {error}", self.key);
                return CallbackError::new(code::STORE, "the database failed; the host's log says why");
            }
        };
        CallbackError::new(number, error.to_string())
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PutOptions {
    version: Option<i64>,
    expires_at_ms: Option<i64>,
    user: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeleteOptions {
    version: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListOptions {
    field: Option<String>,
    #[serde(deserialize_with = "present")]
    equals: Option<Value>,
    #[serde(deserialize_with = "present")]
    from: Option<Value>,
    #[serde(deserialize_with = "present")]
    to: Option<Value>,
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl From<ListOptions> for List {
    fn from(options: ListOptions) -> Self {
        let ListOptions { field, equals, from, to, prefix, after, limit } = options;
        Self { field, wanted: Wanted { equals, from, to, prefix }, after, limit: limit.unwrap_or(LIMIT) }
    }
}

/// A member that is there, even if it is null: otherwise a wrong bound would be none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn read_put(collection: String, key: String, value: String, options: &str) -> Result<Put, CallbackError> {
    let PutOptions { version, expires_at_ms, user } = read(options, "`options`")?;
    let value = RawValue::from_string(value)
        .map_err(|error| CallbackError::parameter(format!("the value is no JSON: {error}")))?;
    Ok(Put { collection, key, value, version, expires_at_ms, user })
}

fn read_operations(operations: &str) -> Result<Vec<Operation>, String> {
    serde_json::from_str(operations).map_err(|error| format!("the operations cannot be read: {error}"))
}

/// Reads JSON; nothing is the default.
fn read<T: DeserializeOwned + Default>(json: &str, what: &str) -> Result<T, CallbackError> {
    if json.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(json).map_err(|error| CallbackError::parameter(format!("{what} cannot be read: {error}")))
}

/// A document as JSON. Its value goes into it as it is: it was checked when it was put.
fn write(document: &Document) -> String {
    let Document { key, version, expires_at_ms, used_at_ms, user, value } = document;
    let mut members = Map::new();
    members.insert("key".to_owned(), json!(key));
    members.insert("version".to_owned(), json!(version));
    for (name, member) in
        [("expires_at_ms", json!(expires_at_ms)), ("used_at_ms", json!(used_at_ms)), ("user", json!(user))]
    {
        if !member.is_null() {
            members.insert(name.to_owned(), member);
        }
    }
    let mut text = Value::Object(members).to_string();
    text.pop();
    text.push_str(",\"value\":");
    text.push_str(value);
    text.push('}');
    text
}

impl Runtime {
    /// Brings the documents of an instance into the form that its module declares, before its `init`.
    pub(super) async fn prepare_documents(
        &self,
        plan: &Plan<'_>,
        module: &Module,
        slot: &'static InstanceSlot,
    ) -> Result<(), StartError> {
        let shared = self.shared();
        let description = &module.description.documents;
        let indexes = description.collections.iter().filter(|(_, collection)| !collection.index.is_empty());
        let declaration = Declaration {
            version: description.version.into(),
            indexes: indexes
                .map(|(name, collection)| (name.clone(), collection.index.iter().cloned().collect()))
                .collect(),
        };
        let key = key(plan.kind, plan.name);
        let documents = InstanceDocuments::new(shared.clone(), &key, plan.id, false);
        let services = InstanceServices::of_migration(
            shared.clone(),
            &key,
            (plan.module, plan.name),
            module.generation.number,
            documents,
        );
        let migration = Migration {
            generation: Arc::clone(&module.generation),
            module: (plan.kind.to_owned(), plan.module.to_owned()),
            key,
            slot,
            services: Arc::new(services),
            deadline: Duration::from_millis(shared.config.limits.lifecycle_deadline_ms),
        };
        let patience_ms = i64::try_from(shared.config.limits.lifecycle_deadline_ms).unwrap_or(i64::MAX);
        let prepared = shared.documents.prepare(plan.id, &declaration, &migration, patience_ms, now_ms).await;
        prepared.map_err(|error| StartError::Documents(error.to_string()))
    }

    /// Deletes the documents of an instance that did not come to be.
    pub(super) async fn discard_documents(&self, instance_id: &str) {
        if let Err(error) = self.shared().documents.discard(instance_id).await {
            tracing::warn!(%error, "documents of an instance that was not added stay until a purge: {error}");
        }
    }
}

/// How the library of an instance migrates its documents.
struct Migration {
    generation: Arc<Generation>,
    module: (String, String),
    key: String,
    slot: &'static InstanceSlot,
    services: Arc<InstanceServices>,
    deadline: Duration,
}

impl Migrate for Migration {
    async fn migrate(&self, from: i64) -> Result<Vec<Operation>, String> {
        let (generation, services) = (Arc::clone(&self.generation), Arc::clone(&self.services));
        let ((kind, module), slot) = (self.module.clone(), self.slot);
        let work = move || generation.migrate((&kind, &module), from.unsigned_abs(), slot, services);
        let migrated = lifecycle::within(format!("migrate {}", self.key), self.deadline, work, drop).await;
        let operations = migrated
            .ok_or_else(|| format!("`migrate` took longer than {} ms", self.deadline.as_millis()))?
            .map_err(|error| error.to_string())?;
        read_operations(&operations)
    }
}

/// Purges documents that expired, while this process leads. What nodes on one database do of it at once, they do not do
/// twice.
pub async fn purge(documents: Documents, leadership: Leadership) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        let Some(_lease) = leadership.begin() else { continue };
        match documents.purge(now_ms()).await {
            Ok(0) => {}
            Ok(purged) => tracing::debug!(purged, "{purged} expired documents were deleted"),
            Err(error) => tracing::warn!(%error, "expired documents could not be deleted: {error}"),
        }
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// How many documents a list has that does not say how many.
const LIMIT: usize = 100;
const PURGE_EVERY: Duration = Duration::from_secs(60);
