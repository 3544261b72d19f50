//! Where people and applications are kept: in the house's own database, or by instances that answer for others.
//!
//! Start at [`BackEnds`], which says who is asked, and in which order; [`BackEnd`] and [`UserMiddleware`] are what the
//! runtime answers. Whoever keeps a person or an application, the house has an identity of it, made at first sight: an
//! id, a name, a back end. A name belongs to the back end that it was first seen at, until that one says that it does
//! not know it any more or is deleted; then the next to know it gets a new identity, which inherits nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use super::identity::DATABASE;
use super::passwords::Passwords;
use super::search::Page;
use super::{StoreError, users};

/// A person or an application as the JSON object that crosses the border, with the fields of the REST contract.
pub type Record = Map<String, Value>;

/// What comes of asking an instance.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackEndError>> + Send + 'a>>;

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// An administrator.
    Administrator,
    /// The person.
    Profile,
}

/// Why an instance did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackEndError {
    /// Something is wrong with what it got; all of it.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// It knows no such record.
    #[error("the back end does not know it")]
    NotFound,
    /// It has nothing for that.
    #[error("the back end cannot do that")]
    Unsupported,
    /// It failed, took too long, or does not run.
    #[error("{0}")]
    Failed(String),
}

/// Who keeps people or applications instead of the database. A key is a normalised user name, or a client id.
pub trait BackEnd: Send + Sync {
    /// How many a pattern finds; the empty one finds all.
    fn count<'a>(&'a self, pattern: &'a str) -> Asking<'a, u64>;

    /// A part of the list, always in the same order.
    fn list<'a>(&'a self, page: &'a Page) -> Asking<'a, Vec<Record>>;

    /// The record of a key, as seen by an administrator or the person; without what opens.
    fn get<'a>(&'a self, key: &'a str, view: View) -> Asking<'a, Option<Record>>;

    /// Adds a record; it holds `password` or `client_secret` where there is to be one.
    fn add<'a>(&'a self, record: &'a Record) -> Asking<'a, ()>;

    /// Replaces a record. `password` and `client_secret` stay when they are missing, and go when they are null.
    fn set<'a>(&'a self, key: &'a str, record: &'a Record) -> Asking<'a, ()>;

    /// Deletes a record. False means that there is none.
    fn delete<'a>(&'a self, key: &'a str) -> Asking<'a, bool>;

    /// Whether a password or a client's secret is the right one.
    fn check_password<'a>(&'a self, key: &'a str, password: &'a str) -> Asking<'a, bool>;

    /// Replaces the password of a person.
    fn set_password<'a>(&'a self, key: &'a str, password: &'a str) -> Asking<'a, ()>;
}

/// Who changes people's records on their way, whichever back end keeps them.
pub trait UserMiddleware: Send + Sync {
    /// The instance's name.
    fn name(&self) -> &str;

    /// A record as it is to be shown.
    fn show<'a>(&'a self, username: &'a str, view: View, record: Record) -> Asking<'a, Record>;

    /// A record, or what is given of a changed one, as it is to be stored.
    fn store<'a>(&'a self, username: &'a str, record: Record) -> Asking<'a, Record>;
}

/// A back end.
#[derive(Clone)]
pub struct Source {
    /// The instance's name.
    pub name: String,
    /// Whether its records can only be read.
    pub readonly: bool,
    /// Whether one may have several passwords.
    pub multiple_passwords: bool,
    /// Who keeps the records.
    pub keeper: Keeper,
}

/// Who keeps records.
#[derive(Clone)]
pub enum Keeper {
    /// The house's own database.
    Database,
    /// An instance of another module, which should run; one that does not fails whenever it is asked.
    Instance(Arc<dyn BackEnd>),
    /// An instance that is disabled: it is as if there were none of its records, only their names stay taken.
    Disabled,
}

/// Everybody who keeps or changes records, in order. A clone is the same.
#[derive(Clone)]
pub struct BackEnds(Arc<Inner>);

struct Inner {
    users: ArcSwap<Vec<Source>>,
    clients: ArcSwap<Vec<Source>>,
    middlewares: ArcSwap<Vec<Arc<dyn UserMiddleware>>>,
    /// Whether anybody has said who keeps records.
    told: AtomicBool,
}

impl BackEnds {
    /// Says who keeps people, first those who are asked first.
    pub fn set_users(&self, sources: Vec<Source>) {
        self.0.users.store(Arc::new(sources));
        self.0.told.store(true, Ordering::Release);
    }

    /// Says who keeps applications, first those who are asked first.
    pub fn set_clients(&self, sources: Vec<Source>) {
        self.0.clients.store(Arc::new(sources));
        self.0.told.store(true, Ordering::Release);
    }

    /// Says who changes people's records when they are shown, first who comes first. When they are stored the last comes
    /// first.
    pub fn set_middlewares(&self, middlewares: Vec<Arc<dyn UserMiddleware>>) {
        self.0.middlewares.store(Arc::new(middlewares));
    }

    pub(super) fn users(&self) -> Sources {
        Sources(self.0.users.load_full())
    }

    pub(super) fn clients(&self) -> Sources {
        Sources(self.0.clients.load_full())
    }

    /// Whether a back end that is not among the others was deleted. A program that works with the store alone knows none
    /// but the database, and must not give away the names of others.
    pub(super) fn are_told(&self) -> bool {
        self.0.told.load(Ordering::Acquire)
    }

    /// A record as middlewares show it; `None` when there are none.
    pub(super) async fn shown(
        &self,
        username: &str,
        view: View,
        record: impl FnOnce() -> Record,
    ) -> Result<Option<Record>, StoreError> {
        let middlewares = self.0.middlewares.load_full();
        if middlewares.is_empty() {
            return Ok(None);
        }
        let mut record = record();
        for middleware in middlewares.iter() {
            let shown = middleware.show(username, view, record).await;
            record = shown.map_err(|error| failed(middleware.name(), &error))?;
        }
        Ok(Some(record))
    }

    /// A record as it is to be stored; `None` when there are no middlewares.
    pub(super) async fn stored(
        &self,
        username: &str,
        record: impl FnOnce() -> Record,
    ) -> Result<Option<Record>, users::PutUserError> {
        let middlewares = self.0.middlewares.load_full();
        if middlewares.is_empty() {
            return Ok(None);
        }
        let mut record = record();
        for middleware in middlewares.iter().rev() {
            record = match middleware.store(username, record).await {
                Ok(record) => record,
                Err(BackEndError::Refused(errors)) => return Err(users::PutUserError::Invalid(errors)),
                Err(error) => return Err(failed(middleware.name(), &error).into()),
            };
        }
        Ok(Some(record))
    }

    /// Whether people's records are changed on their way.
    pub(super) fn has_middlewares(&self) -> bool {
        !self.0.middlewares.load().is_empty()
    }
}

/// Before anybody says otherwise, the database keeps everything.
impl Default for BackEnds {
    fn default() -> Self {
        let database =
            Source { name: DATABASE.to_owned(), readonly: false, multiple_passwords: false, keeper: Keeper::Database };
        Self(Arc::new(Inner {
            users: ArcSwap::from_pointee(vec![database.clone()]),
            clients: ArcSwap::from_pointee(vec![database]),
            middlewares: ArcSwap::default(),
            told: AtomicBool::new(false),
        }))
    }
}

/// Who keeps the records of one kind at the moment.
pub(super) struct Sources(Arc<Vec<Source>>);

impl Sources {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Source> {
        self.0.iter().find(|source| source.name == name)
    }

    /// Those that ask instances, in order.
    pub(super) fn instances(&self) -> impl Iterator<Item = (&Source, &Arc<dyn BackEnd>)> {
        self.0.iter().filter_map(|source| match &source.keeper {
            Keeper::Instance(back_end) => Some((source, back_end)),
            _ => None,
        })
    }

    /// Whether there is nothing to ask but the house's own database.
    pub(super) fn are_own(&self) -> bool {
        self.0.iter().all(|source| matches!(source.keeper, Keeper::Database))
    }

    /// Whether records of that name in the house's own database count.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.find(name).is_some_and(|source| matches!(source.keeper, Keeper::Database))
    }

    /// Where a new record is to be: where it is said, else at the first that takes new ones.
    ///
    /// # Errors
    /// What is wrong with that.
    pub(super) fn target(&self, asked: Option<&str>) -> Result<&Source, String> {
        let Some(asked) = asked else {
            let takes = |source: &&Source| !source.readonly && !matches!(source.keeper, Keeper::Disabled);
            return self.0.iter().find(takes).ok_or_else(|| "source: no back end takes anything new".to_owned());
        };
        let source = self.find(asked).ok_or_else(|| format!("source: there is no back end `{asked}`"))?;
        if matches!(source.keeper, Keeper::Disabled) {
            return Err(format!("source: the back end `{asked}` is disabled"));
        }
        if source.readonly { Err(read_only(asked)) } else { Ok(source) }
    }
}

/// What is wrong with a list of passwords at a back end; an empty text in it stands for the one that is there.
pub(super) fn passwords_error(source: Option<&Source>, passwords: &[String]) -> Option<String> {
    let Some(source) = source.filter(|source| source.multiple_passwords) else {
        let name = source.map_or(DATABASE, |source| source.name.as_str());
        return Some(format!("password: expected a text, since the back end `{name}` keeps one of each"));
    };
    if passwords.len() > PASSWORDS_MAX {
        return Some(format!("password: at most {PASSWORDS_MAX} are possible (back end `{}`)", source.name));
    }
    let long = passwords
        .iter()
        .filter(|password| !password.is_empty())
        .find_map(|password| Passwords::check_length(password).err());
    long.map(|error| format!("password: {error}"))
}

/// How many passwords one may have.
const PASSWORDS_MAX: usize = 8;

/// What is wrong with a change of what can only be read.
pub(super) fn read_only(back_end: &str) -> String {
    format!("source: the back end `{back_end}` can only be read")
}

/// An instance that was asked did not do its part.
pub(super) fn failed(back_end: &str, error: &BackEndError) -> StoreError {
    StoreError::BackEnd { back_end: back_end.to_owned(), reason: error.to_string() }
}

/// An instance did not delete.
pub(super) fn not_deleted(back_end: &str, error: &BackEndError) -> StoreError {
    match error {
        BackEndError::Refused(_) | BackEndError::Unsupported => StoreError::ReadOnly { back_end: back_end.to_owned() },
        BackEndError::NotFound | BackEndError::Failed(_) => failed(back_end, error),
    }
}

/// Reads a record that an instance gave, field by field; what is left are properties.
pub(super) struct Reader {
    pub(super) record: Record,
    error: Option<String>,
}

impl Reader {
    pub(super) fn new(record: Record) -> Self {
        Self { record, error: None }
    }

    /// A text; missing and null are the empty one.
    pub(super) fn text(&mut self, field: &str) -> String {
        self.optional_text(field).unwrap_or_default()
    }

    /// A text, if there is one.
    pub(super) fn optional_text(&mut self, field: &str) -> Option<String> {
        match self.record.remove(field)? {
            Value::String(text) => Some(text),
            Value::Null => None,
            _ => self.wrong(field, "a text"),
        }
    }

    /// A flag, if there is one.
    pub(super) fn flag(&mut self, field: &str) -> Option<bool> {
        match self.record.remove(field)? {
            Value::Bool(flag) => Some(flag),
            Value::Null => None,
            _ => self.wrong(field, "true or false"),
        }
    }

    /// A list of texts, if there is one.
    pub(super) fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        let list = match self.record.remove(field)? {
            Value::Null => return None,
            Value::Array(items) => {
                items.into_iter().map(|item| if let Value::String(text) = item { Some(text) } else { None }).collect()
            }
            _ => None,
        };
        list.or_else(|| self.wrong(field, "a list of texts"))
    }

    /// What is left.
    ///
    /// # Errors
    /// What was wrong first.
    pub(super) fn properties(mut self) -> Result<Record, String> {
        for field in NEVER_PROPERTIES {
            self.record.remove(field);
        }
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.record),
        }
    }

    fn wrong<T>(&mut self, field: &str, expected: &str) -> Option<T> {
        self.error.get_or_insert_with(|| format!("the field `{field}` of a record is not {expected}"));
        None
    }
}

/// What no record shows: secrets, and what only the house says.
const NEVER_PROPERTIES: [&str; 6] = ["id", "username", "client_id", "source", "password", "client_secret"];
