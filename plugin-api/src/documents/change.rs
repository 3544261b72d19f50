//! Changes of documents: made at once, or together with others.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::Ask;
use crate::bytes::HostBytes;
use crate::callbacks::{Callbacks, decode};
use crate::host_error::HostError;

/// A document to be written: await it, or make an [`Operation`] of it.
#[must_use = "nothing is written before it is awaited"]
pub struct Put {
    callbacks: Callbacks,
    place: Place,
    /// JSON, or why the value cannot be written as that.
    value: Result<Box<RawValue>, HostError>,
    options: PutOptions,
}

#[derive(Serialize)]
struct Place {
    collection: String,
    key: String,
}

#[derive(Default, Serialize)]
struct PutOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl Put {
    pub(super) fn new<T: Serialize>(callbacks: Callbacks, collection: &str, key: &str, value: &T) -> Self {
        let value = serde_json::value::to_raw_value(value)
            .map_err(|error| HostError::Parameter(format!("the value cannot be written as JSON: {error}")));
        let place = Place { collection: collection.to_owned(), key: key.to_owned() };
        Self { callbacks, place, value, options: PutOptions::default() }
    }

    /// Writes it only where the document has this version; with 0, only where none is.
    pub fn version(mut self, version: u64) -> Self {
        self.options.version = Some(version);
        self
    }

    /// From then on it is not there any more. A time before 1970 is one at which it is not there from the beginning.
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Of 64 bits the host takes 63, and no time before 1 ms.
        self.options.expires_at_ms = Some(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX).clamp(1, FAR));
        self
    }

    /// After this long it is not there any more.
    pub fn expires_in(self, after: Duration) -> Self {
        let far = SystemTime::UNIX_EPOCH + Duration::from_millis(FAR);
        self.expires_at(SystemTime::now().checked_add(after).unwrap_or(far))
    }

    /// It goes with this user: when the host deletes the user, it deletes the document.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.options.user = Some(name.into());
        self
    }

    /// Writes it, and waits on this thread; see [`Ask::blocking`].
    ///
    /// # Errors
    /// [`HostError::WouldBlock`] where nothing may block, and what else the host fails with.
    pub fn blocking(self) -> Result<u64, HostError> {
        self.into_future().blocking()
    }
}

impl IntoFuture for Put {
    type Output = Result<u64, HostError>;
    type IntoFuture = Ask<u64>;

    fn into_future(self) -> Ask<u64> {
        #[derive(Deserialize)]
        struct Answer {
            version: u64,
        }
        let Self { callbacks, place, value, options } = self;
        let call = value.and_then(|value| {
            callbacks.document_put(&place.collection, &place.key, value.get(), &json!(options).to_string())
        });
        Ask::new(call, |answer| Ok(decode::<Answer>(&answer?)?.version))
    }
}

/// A document to be deleted: await it, or make an [`Operation`] of it.
#[must_use = "nothing is deleted before it is awaited"]
pub struct Delete {
    callbacks: Callbacks,
    place: Place,
    options: DeleteOptions,
}

#[derive(Default, Serialize)]
struct DeleteOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

impl Delete {
    pub(super) fn new(callbacks: Callbacks, collection: &str, key: &str) -> Self {
        let place = Place { collection: collection.to_owned(), key: key.to_owned() };
        Self { callbacks, place, options: DeleteOptions::default() }
    }

    /// Deletes it only if it has this version.
    pub fn version(mut self, version: u64) -> Self {
        self.options.version = Some(version);
        self
    }

    /// Deletes it, and waits on this thread; see [`Ask::blocking`].
    ///
    /// # Errors
    /// [`HostError::WouldBlock`] where nothing may block, and what else the host fails with.
    pub fn blocking(self) -> Result<(), HostError> {
        self.into_future().blocking()
    }
}

impl IntoFuture for Delete {
    type Output = Result<(), HostError>;
    type IntoFuture = Ask<()>;

    fn into_future(self) -> Ask<()> {
        let Self { callbacks, place, options } = self;
        let options = json!(options).to_string();
        let nothing = |answer: Result<HostBytes, HostError>| answer.map(drop);
        Ask::new(callbacks.document_delete(&place.collection, &place.key, &options), nothing)
    }
}

macro_rules! debug {
    ($($type:ident)*) => {$(
        /// Keys and values do not belong into logs.
        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let collection = &self.place.collection;
                formatter.debug_struct(stringify!($type)).field("collection", collection).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(Put Delete);

/// A change to be made together with others, by [`Documents::apply`](crate::Documents::apply) or
/// [`Plugin::migrate`](crate::Plugin::migrate): a [`Put`] or a [`Delete`].
#[derive(Debug)]
pub struct Operation(Kind);

#[derive(Debug)]
enum Kind {
    Put(Put),
    Delete(Delete),
}

impl From<Put> for Operation {
    fn from(put: Put) -> Self {
        Self(Kind::Put(put))
    }
}

impl From<Delete> for Operation {
    fn from(delete: Delete) -> Self {
        Self(Kind::Delete(delete))
    }
}

/// Operations as the host reads them.
pub(crate) fn to_json(operations: impl IntoIterator<Item = Operation>) -> Result<String, HostError> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Written {
        Put {
            #[serde(flatten)]
            place: Place,
            value: Box<RawValue>,
            #[serde(flatten)]
            options: PutOptions,
        },
        Delete {
            #[serde(flatten)]
            place: Place,
            #[serde(flatten)]
            options: DeleteOptions,
        },
    }
    let write = |Operation(kind)| {
        Ok(match kind {
            Kind::Put(Put { place, value, options, .. }) => Written::Put { place, value: value?, options },
            Kind::Delete(Delete { place, options, .. }) => Written::Delete { place, options },
        })
    };
    let operations: Vec<Written> = operations.into_iter().map(write).collect::<Result<_, HostError>>()?;
    serde_json::to_string(&operations)
        .map_err(|error| HostError::Parameter(format!("the operations cannot be written as JSON: {error}")))
}

/// In milliseconds since 1970; far enough.
const FAR: u64 = 1 << 52;
