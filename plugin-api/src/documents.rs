//! What an instance keeps in the host's store.
//!
//! Start at [`Documents`].

mod ask;
mod change;
mod list;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::ask::Ask;
pub(crate) use self::change::to_json;
pub use self::change::{Delete, Operation, Put};
pub use self::list::{List, Page};
use crate::bytes::HostBytes;
use crate::callbacks::{Callbacks, decode};
use crate::host_error::HostError;

/// The documents of an instance: whatever it must not forget, as JSON in the host's store.
///
/// They outlast the instance's memory (a reset, a newer library, a crash, another node), and go when the instance is
/// deleted. No other instance sees them. What was acknowledged is durable. How many there may be, and how large, the
/// administrator decides: [`HostError::Busy`] says that it is too much.
///
/// A document has a version that differs with every write: who writes by the version it has read overwrites nobody
/// ([`HostError::Conflict`] instead). Several changes go together by [`apply`](Self::apply).
///
/// Every question is a future, and has a form that waits on this thread, `blocking`, for synchronous handlers on threads
/// of their own; anywhere else that fails with [`HostError::WouldBlock`]. Who stops waiting for a change has not taken it
/// back.
///
/// ```
/// use porth_plugin::prelude::*;
///
/// #[derive(Deserialize, Serialize)]
/// struct Counter {
///     count: u64,
/// }
///
/// async fn count(documents: &Documents) -> Result<u64, HostError> {
///     let counters = documents.collection::<Counter>("counters");
///     loop {
///         let (count, written) = match counters.get("visits").await? {
///             None => (1, counters.insert("visits", &Counter { count: 1 }).await),
///             Some(Document { value: Counter { count }, version, .. }) => {
///                 (count + 1, counters.update("visits", &Counter { count: count + 1 }, version).await)
///             }
///         };
///         match written {
///             Err(HostError::Conflict(_)) => {} // Somebody else counted at the same moment.
///             written => return written.map(|_version| count),
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Documents {
    callbacks: Callbacks,
}

impl Documents {
    pub(crate) const fn new(callbacks: Callbacks) -> Self {
        Self { callbacks }
    }

    pub(crate) const fn callbacks(&self) -> Callbacks {
        self.callbacks
    }

    /// A collection of documents that are all read and written as a `T`. Its name is `[a-z0-9][a-z0-9_-]{0,63}`; it needs
    /// no declaration unless its documents are listed by their fields (see [`Module::documents`](crate::Module::documents)).
    #[must_use]
    pub fn collection<T>(&self, name: impl Into<Cow<'static, str>>) -> Collection<T> {
        Collection { callbacks: self.callbacks, name: name.into(), of: PhantomData }
    }

    /// Makes all changes or none; gives the new versions of what was put. Up to 1000 at once; those of one document are
    /// made in their order.
    ///
    /// ```
    /// # use porth_plugin::prelude::*;
    /// async fn rename(documents: &Documents, old: &str, new: &str) -> Result<(), HostError> {
    ///     let names = documents.collection::<String>("names");
    ///     let Some(name) = names.get(old).await? else { return Ok(()) };
    ///     let changes: [Operation; 2] =
    ///         [names.insert(new, &name.value).into(), names.delete(old).version(name.version).into()];
    ///     documents.apply(changes).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// That of the first change that cannot be made; its text says which one it is.
    pub fn apply(&self, changes: impl IntoIterator<Item = Operation>) -> Ask<Vec<Option<u64>>> {
        #[derive(Deserialize)]
        struct Answer {
            versions: Vec<Option<u64>>,
        }
        let read = |answer: Result<HostBytes, HostError>| Ok(decode::<Answer>(&answer?)?.versions);
        Ask::new(to_json(changes).and_then(|text| self.callbacks.document_apply(&text)), read)
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Documents")
    }
}

/// A collection of documents that are read and written as a `T`; see [`Documents`]. A key is any text of 1 to 512 bytes
/// without NUL.
pub struct Collection<T> {
    callbacks: Callbacks,
    name: Cow<'static, str>,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Collection<T> {
    /// The document of a key; `None` also for one that has expired.
    ///
    /// # Errors
    /// [`HostError::Failed`] for one that does not fit `T`, and what else the host fails with.
    pub fn get(&self, key: &str) -> Ask<Option<Document<T>>>
    where
        T: DeserializeOwned,
    {
        Ask::new(self.callbacks.document_get(&self.name, key), |answer| match answer {
            Ok(answer) => read(answer.as_slice()).map(Some),
            Err(HostError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Writes a document, whether there is one or not; gives its new version.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn put(&self, key: &str, value: &T) -> Put
    where
        T: Serialize,
    {
        Put::new(self.callbacks, &self.name, key, value)
    }

    /// Writes a document where none is; gives its version.
    ///
    /// # Errors
    /// [`HostError::Conflict`] where there is one.
    pub fn insert(&self, key: &str, value: &T) -> Put
    where
        T: Serialize,
    {
        self.put(key, value).version(0)
    }

    /// Writes a document that still has the version that was read; gives its new version.
    ///
    /// # Errors
    /// [`HostError::Conflict`] when it has another, or is gone.
    pub fn update(&self, key: &str, value: &T, version: u64) -> Put
    where
        T: Serialize,
    {
        // 0 would mean that there must be none, which nobody has read.
        self.put(key, value).version(if version == 0 { NEVER } else { version })
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// [`HostError::NotFound`] where none is; with a version, [`HostError::Conflict`] as well when it has another.
    pub fn delete(&self, key: &str) -> Delete {
        Delete::new(self.callbacks, &self.name, key)
    }

    /// Uses a one-time document: of many that do so at once, one gets it fresh. It stays, used, until it expires or is
    /// deleted, so that a replay is seen; so give it an expiry.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn consume(&self, key: &str) -> Ask<Consumed<T>>
    where
        T: DeserializeOwned,
    {
        Ask::new(self.callbacks.document_consume(&self.name, key), |answer| {
            #[derive(Deserialize)]
            struct Answer<'a> {
                state: String,
                #[serde(borrow)]
                document: Option<&'a RawValue>,
            }
            let answer = answer?;
            let Answer { state, document } = decode(&answer)?;
            let document = document.map(|document| read(document.get().as_bytes())).transpose()?;
            match (state.as_str(), document) {
                ("fresh", Some(document)) => Ok(Consumed::Fresh(document)),
                ("used", Some(document)) => Ok(Consumed::Used(document)),
                ("expired", _) => Ok(Consumed::Expired),
                ("absent", _) => Ok(Consumed::Absent),
                _ => Err(HostError::Failed(format!("the host's answer cannot be read: state `{state}`"))),
            }
        })
    }

    /// The documents, page by page: by key, or by a field that the module declares.
    ///
    /// ```
    /// # use porth_plugin::prelude::*;
    /// # #[derive(Deserialize)]
    /// # struct Note { title: String }
    /// async fn titles(notes: &Collection<Note>, owner: &str) -> Result<Vec<String>, HostError> {
    ///     let page = notes.list().field("owner").equals(owner).limit(20).await?;
    ///     Ok(page.documents.into_iter().map(|note| note.value.title).collect())
    /// }
    /// ```
    pub fn list(&self) -> List<T>
    where
        T: DeserializeOwned,
    {
        List::new(self.callbacks, &self.name)
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { callbacks: self.callbacks, name: self.name.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Collection").field(&self.name).finish()
    }
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Document<T> {
    /// Its key.
    pub key: String,
    /// Which write it is of. It says nothing of the order of writes.
    pub version: u64,
    /// What it holds.
    pub value: T,
    /// From when on it is not there any more; `None` means that it stays.
    pub expires_at: Option<SystemTime>,
    /// When it was consumed; `None` means that it was not.
    pub used_at: Option<SystemTime>,
    /// The user that it goes with.
    pub user: Option<String>,
}

/// What became of a one-time document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consumed<T> {
    /// This was its first use.
    Fresh(Document<T>),
    /// It was used before: somebody replays it.
    Used(Document<T>),
    /// It was never used, and is not good any more.
    Expired,
    /// There is none.
    Absent,
}

/// A version that no document has.
const NEVER: u64 = 1 << 62;

/// Reads a document.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<Document<T>, HostError> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        key: String,
        version: u64,
        #[serde(default)]
        expires_at_ms: Option<u64>,
        #[serde(default)]
        used_at_ms: Option<u64>,
        #[serde(default)]
        user: Option<String>,
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let Answer { key, version, expires_at_ms, used_at_ms, user, value } = serde_json::from_slice(json)
        .map_err(|error| HostError::Failed(format!("the host's answer cannot be read: {error}")))?;
    let value = serde_json::from_str(value.get())
        .map_err(|error| HostError::Failed(format!("the document does not fit its type: {error}")))?;
    let time = |ms: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    let (expires_at, used_at) = (expires_at_ms.and_then(time), used_at_ms.and_then(time));
    Ok(Document { key, version, value, expires_at, used_at, user })
}
