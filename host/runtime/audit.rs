//! What plug-ins do to users and clients, and what the plug-in directory does to libraries, noted as it is done.

use serde_json::{Map, Value, json};

use super::hooks;
use super::instances::{Outcome as InDirectory, Report, Runtime};
use super::questions;
use super::schemes;
use super::services::{Shared, now_ms};
use crate::abi::{CallbackError, Question, SchemeCall};
use crate::domain::StoreError;
use crate::domain::audit::{Act, Actor, Begun, End, Outcome, is_secret};
use crate::domain::users::User;
use crate::telemetry::request;

/// Whose record it is: the kind of object, and the member that tells one from another.
type Record = (&'static str, &'static str);
const USER: Record = ("user", "username");
const CLIENT: Record = ("client", "client_id");

/// The action of a question that changes something.
fn noted(question: Question) -> Option<(&'static str, Record)> {
    Some(match question {
        Question::AddUser => ("user.add", USER),
        Question::SetUser => ("user.change", USER),
        Question::DeleteUser => ("user.delete", USER),
        Question::UserUpdatePassword => ("user.password", USER),
        Question::AddClient => ("client.add", CLIENT),
        Question::SetClient => ("client.change", CLIENT),
        Question::DeleteClient => ("client.delete", CLIENT),
        _ => return None,
    })
}

/// As [`questions::answer`], which the instance `key` asks.
pub(super) async fn answer(
    shared: &Shared,
    key: &str,
    question: Question,
    arguments: &str,
    now_ms: i64,
) -> Result<Value, CallbackError> {
    let Some((action, record)) = noted(question) else {
        return questions::answer(shared, key, question, arguments, now_ms).await;
    };
    let (kind, id) = record;
    let asked: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
    let written = asked.get(kind).and_then(Value::as_object).unwrap_or(&asked);
    let name = asked.get(id).or_else(|| written.get(id)).and_then(Value::as_str).unwrap_or_default();
    let before = look(shared, kind, name).await.map_err(questions::store)?;
    let begun = begin(shared, key, action, (kind, name), before, now_ms).await?;
    let answered = questions::answer(shared, key, question, arguments, now_ms).await;
    let end = match &answered {
        Ok(_) => {
            let mut after = look(shared, kind, name).await.unwrap_or_default();
            if let Some(after) = after.as_mut().and_then(Value::as_object_mut) {
                // That a secret was set is told, not which.
                for (name, value) in written.iter().filter(|(name, value)| is_secret(name, value)) {
                    after.entry(name).or_insert_with(|| value.clone());
                }
            }
            End { outcome: Outcome::Done, object_id: None, after, detail: String::new() }
        }
        Err(error) => End { outcome: outcome(error), object_id: None, after: None, detail: error.detail.clone() },
    };
    ended(shared, key, begun, end, now_ms).await;
    answered
}

/// As [`schemes::answer`], which the instance `key` asks. What it says of the registration is not noted: it may be a secret.
pub(super) async fn scheme(
    shared: &Shared,
    key: &str,
    call: SchemeCall,
    now_ms: i64,
) -> Result<Vec<u8>, CallbackError> {
    let (action, username, scheme) = match &call {
        SchemeCall::Register { username, scheme, .. } => ("user.scheme_register", username, scheme),
        SchemeCall::Deregister { username, scheme, .. } => ("user.scheme_deregister", username, scheme),
        _ => return schemes::answer(&shared.access, call).await,
    };
    let scheme = scheme.clone();
    let begun = begin(shared, key, action, (USER.0, username), None, now_ms).await?;
    let answered = schemes::answer(&shared.access, call).await;
    let end = match &answered {
        Ok(_) => End {
            outcome: Outcome::Done,
            object_id: None,
            after: Some(json!({ "scheme": scheme })),
            detail: String::new(),
        },
        Err(error) => {
            let detail = format!("scheme `{scheme}`: {}", error.detail);
            End { outcome: outcome(error), object_id: None, after: None, detail }
        }
    };
    ended(shared, key, begun, end, now_ms).await;
    answered
}

async fn begin(
    shared: &Shared,
    key: &str,
    action: &str,
    (kind, name): (&str, &str),
    before: Option<Value>,
    now_ms: i64,
) -> Result<Begun, CallbackError> {
    let act = Act {
        actor: Actor::Instance { key: key.to_owned() },
        peer: hooks::led().peer.map(|peer| peer.to_string()).unwrap_or_default(),
        action: action.to_owned(),
        object_kind: kind.to_owned(),
        object_id: name.to_owned(),
        before,
        request_id: request::current().map(|ids| ids.request.to_string()).unwrap_or_default(),
    };
    shared.access.audit.begin(act, now_ms).await.map_err(questions::store)
}

async fn ended(shared: &Shared, key: &str, begun: Begun, end: End, now_ms: i64) {
    if let Err(error) = shared.access.audit.end_of_instance(begun, key, end, now_ms).await {
        tracing::error!(instance = key, %error, "what became of an act of {key} is not in the audit log: {error}");
    }
}

async fn look(shared: &Shared, kind: &str, name: &str) -> Result<Option<Value>, StoreError> {
    if kind == CLIENT.0 {
        return Ok(shared.clients.get(name).await?.map(|client| client.view()));
    }
    Ok(shared.access.users.get(name).await?.map(User::view))
}

/// What the plug-in could have known better was refused.
fn outcome(error: &CallbackError) -> Outcome {
    use porth_abi::code;
    match error.code {
        code::PARAM | code::NOT_FOUND | code::UNAUTHORIZED | code::DENIED | code::CONFLICT => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// Notes what becomes of a file of the plug-in directory that has changed. Begun before it is looked at: it may end the
/// process.
pub(super) async fn of_directory(
    runtime: &Runtime,
    file: &str,
    work: impl Future<Output = Result<Report, StoreError>>,
) -> Result<Report, StoreError> {
    let audit = &runtime.shared().access.audit;
    let act = Act {
        actor: Actor::Directory,
        peer: String::new(),
        action: "library.load".to_owned(),
        object_kind: "library".to_owned(),
        object_id: file.to_owned(),
        before: digest(runtime, file),
        request_id: String::new(),
    };
    let begun = audit.begin(act, now_ms()).await?;
    let reported = work.await;
    let outcome = match reported.as_ref().map(|report| report.outcome) {
        // Tried again, or nothing new.
        Ok(InDirectory::Unchanged | InDirectory::Draining) => None,
        Ok(InDirectory::Loaded | InDirectory::Reloaded | InDirectory::Gone) => Some(Outcome::Done),
        Ok(InDirectory::Refused | InDirectory::Unlisted) => Some(Outcome::Refused),
        Err(_) => Some(Outcome::Failed),
    };
    let noted = match outcome {
        None => audit.discard(begun).await,
        Some(outcome) => {
            let detail = match &reported {
                Ok(report) => report.errors.join("; "),
                Err(error) => error.to_string(),
            };
            audit.end(begun, End { outcome, object_id: None, after: digest(runtime, file), detail }).await
        }
    };
    if let Err(error) = noted {
        tracing::error!(library = file, %error, "what became of library {file} is not in the audit log: {error}");
    }
    reported
}

/// What of a library is noted.
fn digest(runtime: &Runtime, file: &str) -> Option<Value> {
    let library = runtime.libraries().view(file)?;
    Some(json!({
        "digest": library.digest.map(|digest| digest.to_string()),
        "file_digest": library.file_digest.map(|digest| digest.to_string()),
        "generation": library.present,
        "modules": library.modules,
    }))
}
