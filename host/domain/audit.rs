//! What administrators, their programs and plug-ins did to the records of the house: who, what, from where, before and
//! after.
//!
//! Start at [`Audit`]. An act is noted before it is done and its end after it, so that whatever was done has an entry,
//! also where no transaction could hold both: at back ends that plug-ins are, or when an instance is started. An entry
//! that says `begun` and no more was cut off with its process; nobody knows whether it was done.
//!
//! Plug-ins may try what is refused as often as they like: of an instance and an action some refusals a minute have
//! entries, the others one together ([`Audit::end_of_instance`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{StoreError, new_id};
use crate::store::Db;
use crate::store::audit_events::{self as rows, AuditEnd, AuditFilter, AuditRow};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody in a session.
    User {
        /// The name.
        username: String,
        /// The id: a name that is given anew is somebody else's.
        id: String,
    },
    /// The holder of an API key.
    Key {
        /// The key's name.
        name: String,
        /// The SHA-256 of the key, in base64url.
        token_hash: String,
    },
    /// Whoever may open the control socket, or holds the data directory's lock.
    Local,
    /// A plug-in's instance.
    Instance {
        /// Its kind and name, as `plugin/hello`.
        key: String,
    },
    /// The configuration file, at a start.
    Configuration,
    /// Whoever writes to the plug-in directory.
    Directory,
    /// Somebody who could not prove who they are.
    Nobody,
    /// Whoever had the link for the first administrator, and became this user.
    Link {
        /// The user's name.
        username: String,
    },
}

impl Actor {
    fn columns(self) -> (&'static str, String, String) {
        match self {
            Self::User { username, id } => ("user", username, id),
            Self::Key { name, token_hash } => ("key", name, token_hash),
            Self::Local => ("local", String::new(), String::new()),
            Self::Instance { key } => ("instance", key, String::new()),
            Self::Configuration => ("configuration", String::new(), String::new()),
            Self::Directory => ("directory", String::new(), String::new()),
            Self::Nobody => ("nobody", String::new(), String::new()),
            Self::Link { username } => ("link", username, String::new()),
        }
    }
}

/// What somebody is about to do.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who.
    pub actor: Actor,
    /// The address that it was asked from; empty where there is none.
    pub peer: String,
    /// What, as `user.change`: the kind of object and a word for it.
    pub action: String,
    /// The kind of object: `user`, `client`, `scope`, `instance`, `library`, `key`, `setting`.
    pub object_kind: String,
    /// The object's name; empty while nobody knows it.
    pub object_id: String,
    /// The object as it is, with its secrets: they are left out here.
    pub before: Option<Value>,
    /// The id that the request has in the log, too; empty where there is no request.
    pub request_id: String,
}

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not: what was asked for cannot be, or may not.
    Refused,
    /// It was not, or not all of it: something broke.
    Failed,
}

impl Outcome {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The end of an act.
#[derive(Clone, Debug)]
pub struct End {
    /// What became of it.
    pub outcome: Outcome,
    /// What it was done to, where nobody knew that before.
    pub object_id: Option<String>,
    /// The object as it is now, with its secrets: they are left out here.
    pub after: Option<Value>,
    /// Why it was refused or failed.
    pub detail: String,
}

/// An act that is noted and not ended.
#[derive(Debug)]
#[must_use = "an act without an end looks as if it had been cut off"]
pub struct Begun {
    id: String,
    before: Option<Value>,
    action: String,
    object_kind: String,
}

/// An entry.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "as `Act` and `End`")]
pub struct AuditEvent {
    pub id: String,
    pub at_ms: i64,
    pub actor_kind: String,
    pub actor: String,
    pub actor_id: String,
    pub peer: String,
    pub action: String,
    pub object_kind: String,
    pub object_id: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub request_id: String,
    pub outcome: String,
    pub detail: String,
}

/// Which entries are looked for; what is empty or `None` matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The actor's name, as it is shown.
    pub who: String,
    /// An action, as `user.change`, or its first part, as `user`.
    pub action: String,
    /// A kind of object, or a kind, `/` and a name.
    pub object: String,
    /// No earlier than this, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// No later than this, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// Only those before the entry of this id.
    pub before_id: String,
    /// How many of the newest are left out.
    pub offset: u32,
    /// How many at most.
    pub limit: u32,
}

/// All entries. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    db: Db,
    /// What was refused to instances within a minute, by their keys and the action.
    refusals: Arc<Mutex<BTreeMap<(String, String), Refusals>>>,
}

/// What was refused since a time.
#[derive(Debug)]
struct Refusals {
    since_ms: i64,
    object_kind: String,
    noted: u32,
    left_out: u64,
}

impl Audit {
    /// The entries in a database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, refusals: Arc::default() }
    }

    /// Notes that an act begins. It must not be done when this fails.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin(&self, act: Act, now_ms: i64) -> Result<Begun, StoreError> {
        let (before, action, object_kind) = (act.before.clone(), act.action.clone(), act.object_kind.clone());
        let row = row(act, "begun", None, String::new(), now_ms);
        let id = row.id.clone();
        rows::insert(&self.db, row).await?;
        Ok(Begun { id, before, action, object_kind })
    }

    /// Notes what became of an act.
    ///
    /// # Errors
    /// [`StoreError`]; the act then looks as if it had been cut off.
    pub async fn end(&self, begun: Begun, end: End) -> Result<(), StoreError> {
        let Begun { id, before, .. } = begun;
        let after = end.after.as_ref().map(|after| shown(before.as_ref(), after));
        let (object_id, detail) = (end.object_id.map(text), text(end.detail));
        rows::end(&self.db, AuditEnd { id, object_id, after, outcome: end.outcome.as_str(), detail }).await
    }

    /// As [`end`](Self::end), of what the instance of a key did. What was not done is taken out again when too much was
    /// refused to it lately: then one entry tells how much.
    ///
    /// # Errors
    /// As `end`.
    pub async fn end_of_instance(&self, begun: Begun, key: &str, end: End, now_ms: i64) -> Result<(), StoreError> {
        if end.outcome == Outcome::Done {
            return self.end(begun, end).await;
        }
        let told = self.tell_refusals(false, now_ms).await;
        let is_noted = {
            let mut refusals = self.refusals.lock();
            let refused = refusals.entry((key.to_owned(), begun.action.clone())).or_insert_with(|| Refusals {
                since_ms: now_ms,
                object_kind: begun.object_kind.clone(),
                noted: 0,
                left_out: 0,
            });
            let is_noted = refused.noted < REFUSALS_NOTED_MAX;
            if is_noted {
                refused.noted += 1
            } else {
                refused.left_out += 1
            }
            is_noted
        };
        // First, or it would look as if it had been cut off.
        if is_noted {
            self.end(begun, end).await?
        } else {
            self.discard(begun).await?
        }
        told
    }

    /// Notes how much more was refused to instances than has entries, of minutes that are over, or of all. Ask for it
    /// now and then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tell_refusals(&self, all: bool, now_ms: i64) -> Result<(), StoreError> {
        let over: Vec<_> = {
            let mut refusals = self.refusals.lock();
            let is_over = |refused: &Refusals| all || now_ms.saturating_sub(refused.since_ms) >= REFUSALS_WINDOW_MS;
            refusals.extract_if(.., |_, refused| is_over(refused)).collect()
        };
        for ((key, action), refused) in over.into_iter().filter(|(_, refused)| refused.left_out > 0) {
            let act = Act {
                actor: Actor::Instance { key },
                peer: String::new(),
                action,
                object_kind: refused.object_kind,
                object_id: String::new(),
                before: None,
                request_id: String::new(),
            };
            let detail = format!("{} more were refused within a minute", refused.left_out);
            let end = End { outcome: Outcome::Refused, object_id: None, after: None, detail };
            self.note(act, end, now_ms).await?;
        }
        Ok(())
    }

    /// Takes an entry out again: it turned out that nothing was to be done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn discard(&self, begun: Begun) -> Result<(), StoreError> {
        rows::delete(&self.db, &begun.id).await
    }

    /// Notes an act that is over, in one entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note(&self, act: Act, end: End, now_ms: i64) -> Result<(), StoreError> {
        let after = end.after.as_ref().map(|after| shown(act.before.as_ref(), after));
        rows::insert(&self.db, row(act, end.outcome.as_str(), after, end.detail, now_ms)).await
    }

    /// The newest entries that match, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, query: AuditQuery) -> Result<Vec<AuditEvent>, StoreError> {
        let (object_kind, object_id) = query.object.split_once('/').unwrap_or((&query.object, ""));
        let filter = AuditFilter {
            object_kind: object_kind.to_owned(),
            object_id: object_id.to_owned(),
            actor: query.who,
            action: query.action,
            from_id: query.from_ms.map(first_id).unwrap_or_default(),
            before_id: before_id(query.to_ms, query.before_id),
            offset: query.offset.into(),
            limit: query.limit.into(),
        };
        rows::list(&self.db, filter).await?.into_iter().map(read).collect()
    }

    /// Deletes the entries that are older than so many milliseconds. Gives how many there were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(&self, older_than_ms: i64, now_ms: i64) -> Result<usize, StoreError> {
        let mut deleted = 0;
        loop {
            let of_these = rows::purge(&self.db, now_ms.saturating_sub(older_than_ms)).await?;
            deleted += of_these;
            if of_these < usize::try_from(rows::PURGE_MAX).unwrap_or(usize::MAX) {
                return Ok(deleted);
            }
        }
    }
}

/// The row of an act that was done, for who writes it with the act itself.
pub(super) fn done(act: Act, after: Option<&Value>, now_ms: i64) -> AuditRow {
    let after = after.map(|after| shown(act.before.as_ref(), after));
    row(act, Outcome::Done.as_str(), after, String::new(), now_ms)
}

fn row(act: Act, outcome: &str, after: Option<String>, detail: String, now_ms: i64) -> AuditRow {
    let (actor_kind, actor, actor_id) = act.actor.columns();
    AuditRow {
        id: new_id(now_ms),
        at: now_ms,
        actor_kind: actor_kind.to_owned(),
        actor: text(actor),
        actor_id,
        peer: act.peer,
        action: text(act.action),
        object_kind: act.object_kind,
        object_id: text(act.object_id),
        before: act.before.as_ref().map(|before| shown(None, before)),
        after,
        request_id: act.request_id,
        outcome: outcome.to_owned(),
        detail: text(detail),
    }
}

/// No id of this time or a later one is before it.
fn first_id(at_ms: i64) -> String {
    Uuid::from_u128(u128::from(u64::try_from(at_ms.clamp(0, TIME_MAX_MS)).unwrap_or_default()) << 80).to_string()
}

/// What ids are before, up to a time and before another id; what is empty is not asked for.
fn before_id(to_ms: Option<i64>, before_id: String) -> String {
    let after = to_ms.map(|to_ms| first_id(to_ms.saturating_add(1)));
    let before = Some(before_id).filter(|id| !id.is_empty());
    // Ids are hexadecimal digits and dashes.
    before.into_iter().chain(after).min().unwrap_or_else(|| "~".to_owned())
}

/// A text that both engines can store, of a length that nobody can fill a disk with.
fn text(text: String) -> String {
    let fits = text.chars().count() <= TEXT_CHARS_MAX && !text.contains('\0');
    if fits { text } else { text.chars().filter(|found| *found != '\0').take(TEXT_CHARS_MAX).collect() }
}

fn read(row: AuditRow) -> Result<AuditEvent, StoreError> {
    let id = row.id.clone();
    let json = |json: Option<String>| {
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            what: format!("the audit event `{id}`"),
            reason: error.to_string(),
        };
        json.map(|json| serde_json::from_str(&json)).transpose().map_err(damaged)
    };
    Ok(AuditEvent {
        before: json(row.before)?,
        after: json(row.after)?,
        id: row.id,
        at_ms: row.at,
        actor_kind: row.actor_kind,
        actor: row.actor,
        actor_id: row.actor_id,
        peer: row.peer,
        action: row.action,
        object_kind: row.object_kind,
        object_id: row.object_id,
        request_id: row.request_id,
        outcome: row.outcome,
        detail: row.detail,
    })
}

/// An object as it is stored here: without secrets; one that is another than before is said to have changed.
fn shown(before: Option<&Value>, object: &Value) -> String {
    let shown = without_secrets(before, object).to_string();
    if shown.len() <= OBJECT_BYTES_MAX {
        return shown;
    }
    json!({ "(left out)": format!("{} bytes, more than {OBJECT_BYTES_MAX}", shown.len()) }).to_string()
}

fn without_secrets(before: Option<&Value>, value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let shown = members.iter().map(|(name, value)| {
                let old = before.and_then(|before| before.get(name));
                let shown = match (is_secret(name, value), old) {
                    (false, old) => without_secrets(old, value),
                    (true, None) if before.is_some() => json!(SET),
                    (true, Some(old)) if old != value => json!(CHANGED),
                    (true, _) => json!(MASK),
                };
                (name.clone(), shown)
            });
            Value::Object(shown.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| without_secrets(None, item)).collect(),
        Value::String(text) => json!(without_userinfo(text)),
        other => other.clone(),
    }
}

/// Whether a member holds a secret, by its name. Rather one too many: who reads this need not know its value.
#[must_use]
pub fn is_secret(name: &str, value: &Value) -> bool {
    let name = name.to_lowercase();
    let named = SECRETS.iter().any(|word| name.contains(word))
        || name.ends_with("key")
        || name.ends_with("pass")
        || name == "pin";
    let measured = value.is_number() && MEASURES.iter().any(|word| name.contains(word));
    named && !measured && !value.is_boolean() && !value.is_null()
}

/// A text without the names and passwords in its URLs (RFC 3986, section 3.2.1).
#[must_use]
pub fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let userinfo_len = authority.rsplit_once('@').map_or(0, |(userinfo, _)| userinfo.len());
        shown.push_str("://");
        if userinfo_len > 0 {
            shown.push_str(MASK);
        }
        shown.push_str(rest.get(userinfo_len..).unwrap_or_default());
    }
    shown
}

const SECRETS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private",
    "hash",
    "cookie",
    "pwd",
    "pem",
    "jwk",
];
/// What makes a number with such a name a measure of it.
const MEASURES: [&str; 6] = ["age", "max", "min", "length", "duration", "required"];
/// What is shown instead of a secret.
pub const MASK: &str = "(secret)";
const SET: &str = "(set)";
const CHANGED: &str = "(changed)";
const TEXT_CHARS_MAX: usize = 512;
/// How many refusals of an instance and an action have entries within a minute.
const REFUSALS_NOTED_MAX: u32 = 20;
const REFUSALS_WINDOW_MS: i64 = 60_000;
const OBJECT_BYTES_MAX: usize = 32 << 10;
/// The last time that an id can hold (RFC 9562, section 5.7): 48 bits.
const TIME_MAX_MS: i64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: Option<Value>, object: Value, expected: Value) {
        let shown: Value = serde_json::from_str(&shown(before.as_ref(), &object)).unwrap();
        assert_eq!(shown, expected);
    }

    #[test]
    fn secrets_are_left_out_wherever_they_are() {
        check(
            None,
            json!({"a": [{"client_secret": "x"}], "mail": {"Password": "x", "host": "h"}, "signing-key": {"k": 1}}),
            json!({"a": [{"client_secret": MASK}], "mail": {"Password": MASK, "host": "h"}, "signing-key": MASK}),
        );
        check(
            None,
            json!({"url": "postgres://me:pw@h/db?x=@", "b": "http://h/a@b", "c": "amqp://a:b@h,amqp://c:d@i"}),
            json!({"url": "postgres://(secret)@h/db?x=@", "b": "http://h/a@b", "c": "amqp://(secret)@h,amqp://(secret)@i"}),
        );
    }

    #[test]
    fn what_only_is_called_like_a_secret_stays() {
        let scope = json!({"password_required": true, "password_max_age": 60, "token": null});
        check(None, scope.clone(), scope);
    }

    #[test]
    fn a_changed_secret_is_said_to_have_changed() {
        let old = json!({"secret": "a", "token": "t"});
        check(
            Some(old),
            json!({"secret": "b", "token": "t", "password": "p"}),
            json!({"secret": CHANGED, "token": MASK, "password": SET}),
        );
    }

    #[test]
    fn a_large_object_is_left_out() {
        let shown = shown(None, &json!({"x": "y".repeat(OBJECT_BYTES_MAX)}));
        assert!(shown.len() < 100 && shown.contains("(left out)"), "{shown}");
    }
}
