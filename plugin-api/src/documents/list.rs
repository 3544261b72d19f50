//! Lists of documents, page by page.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Ask, Document, read};
use crate::callbacks::{Callbacks, decode};
use crate::host_error::HostError;

/// A list of documents: await it for a page. By default the first hundred by key.
#[must_use = "nothing is read before it is awaited"]
pub struct List<T> {
    callbacks: Callbacks,
    collection: String,
    options: Map<String, Value>,
    /// What could not be written as JSON.
    wrong: Option<HostError>,
    of: PhantomData<fn() -> T>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The documents. There may be fewer than asked for although there are more.
    pub documents: Vec<Document<T>>,
    /// What [`List::after`] takes for the next page; `None` at the end.
    pub next: Option<String>,
}

impl<T: DeserializeOwned> List<T> {
    pub(super) fn new(callbacks: Callbacks, collection: &str) -> Self {
        Self { callbacks, collection: collection.to_owned(), options: Map::new(), wrong: None, of: PhantomData }
    }

    /// By the value of this field, which the module declares; only documents that have it. Booleans come before numbers,
    /// and those before texts.
    pub fn field(self, field: &str) -> Self {
        self.with("field", field)
    }

    /// Those whose field holds this: a boolean, a number, or a text of at most 512 bytes.
    pub fn equals(self, value: impl Serialize) -> Self {
        self.with("equals", value)
    }

    /// Those whose field holds this or more, and is of the same kind.
    pub fn at_least(self, value: impl Serialize) -> Self {
        self.with("from", value)
    }

    /// Those whose field holds less than this, and is of the same kind.
    pub fn below(self, value: impl Serialize) -> Self {
        self.with("to", value)
    }

    /// Those whose field begins with this text; without a field, those whose key does.
    pub fn prefix(self, prefix: &str) -> Self {
        self.with("prefix", prefix)
    }

    /// The page after one that ended here.
    pub fn after(self, next: &str) -> Self {
        self.with("after", next)
    }

    /// How many documents: 1 to 1000.
    pub fn limit(self, limit: usize) -> Self {
        self.with("limit", limit)
    }

    /// Reads the page, and waits on this thread; see [`Ask::blocking`].
    ///
    /// # Errors
    /// [`HostError::WouldBlock`] where nothing may block, and what else the host fails with.
    pub fn blocking(self) -> Result<Page<T>, HostError> {
        self.into_future().blocking()
    }

    /// All documents, however many pages those are. Those that are put meanwhile may be among them.
    ///
    /// # Errors
    /// What the host fails with.
    pub async fn all(mut self) -> Result<Vec<Document<T>>, HostError> {
        let mut documents = Vec::new();
        loop {
            let page = self.page().await?;
            documents.extend(page.documents);
            let Some(next) = page.next else { return Ok(documents) };
            self = self.after(&next);
        }
    }

    fn page(&self) -> Ask<Page<T>> {
        let call = match &self.wrong {
            Some(error) => Err(error.clone()),
            None => self.callbacks.document_list(&self.collection, &json!(self.options).to_string()),
        };
        Ask::new(call, |answer| {
            #[derive(Deserialize)]
            struct Answer<'a> {
                #[serde(borrow)]
                documents: Vec<&'a RawValue>,
                next: Option<String>,
            }
            let answer = answer?;
            let Answer { documents, next } = decode(&answer)?;
            let documents = documents.into_iter().map(|document| read(document.get().as_bytes()));
            Ok(Page { documents: documents.collect::<Result<_, _>>()?, next })
        })
    }

    fn with(mut self, name: &str, value: impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => drop(self.options.insert(name.to_owned(), value)),
            Err(error) => {
                self.wrong = Some(HostError::Parameter(format!("`{name}` cannot be written as JSON: {error}")));
            }
        }
        self
    }
}

impl<T: DeserializeOwned> IntoFuture for List<T> {
    type Output = Result<Page<T>, HostError>;
    type IntoFuture = Ask<Page<T>>;

    fn into_future(self) -> Ask<Page<T>> {
        self.page()
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("List").field("collection", &self.collection).finish_non_exhaustive()
    }
}
