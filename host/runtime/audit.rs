//! What plug-ins do to users and clients, noted as they do it.

use serde_json::{Map, Value};

use super::hooks;
use super::questions;
use super::services::Shared;
use crate::abi::{CallbackError, Question};
use crate::domain::StoreError;
use crate::domain::audit::{Act, Actor, End, Outcome, is_secret};
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
    let act = Act {
        actor: Actor::Instance { key: key.to_owned() },
        peer: hooks::led().peer.map(|peer| peer.to_string()).unwrap_or_default(),
        action: action.to_owned(),
        object_kind: kind.to_owned(),
        object_id: name.to_owned(),
        before: look(shared, kind, name).await.map_err(questions::store)?,
        request_id: request::current().map(|ids| ids.request.to_string()).unwrap_or_default(),
    };
    let audit = &shared.access.audit;
    let begun = audit.begin(act, now_ms).await.map_err(questions::store)?;
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
    if let Err(error) = audit.end(begun, end).await {
        tracing::error!(instance = key, %error, "what became of an act of {key} is not in the audit log: {error}");
    }
    answered
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
