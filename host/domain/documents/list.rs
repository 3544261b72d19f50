//! Lists of documents, page by page.

use serde_json::Value;

use super::check::check_collection;
use super::index::{self, Wanted};
use super::{Document, DocumentError, Documents};
use crate::store::documents::{self as rows, DocumentRow, Range};

/// Which documents of a collection are wanted, and in which order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Those that have this index field, by its value and then by key; without one all, by key.
    pub field: Option<String>,
    /// Which values of the index field; without one, `prefix` is that of the keys.
    pub wanted: Wanted,
    /// Where the page before ended: its [`Page::next`].
    pub after: Option<String>,
    /// How many documents, 1 to [`LIST_MAX`].
    pub limit: usize,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The documents. There may be fewer than asked for although there are more.
    pub documents: Vec<Document>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// How many documents a page has at most.
pub const LIST_MAX: usize = 1_000;
/// A page ends with the document that makes its values longer than this many bytes.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// How many documents are read before it is known how long they are.
const FIRST: usize = 32;

impl Documents {
    /// A page of a collection's documents.
    ///
    /// # Errors
    /// [`DocumentError::Parameter`], Gone or Store.
    pub async fn list(
        &self,
        instance_id: &str,
        collection: &str,
        list: &List,
        now_ms: i64,
    ) -> Result<Page, DocumentError> {
        check_collection(collection).map_err(DocumentError::Parameter)?;
        if list.limit == 0 || list.limit > LIST_MAX {
            let text = format!("`limit` is {}; expected 1 to {LIST_MAX}", list.limit);
            return Err(DocumentError::Parameter(text));
        }
        let mut cursor = Cursor::new(list).map_err(DocumentError::Parameter)?;
        if let Some(field) = &list.field {
            let form = self.set(instance_id).await?.form();
            if !form.complete.get(collection).is_some_and(|fields| fields.contains(field)) {
                let text = format!(
                    "`{}` is no index field of `{collection}`; the module's description declares those",
                    field.escape_debug()
                );
                return Err(DocumentError::Parameter(text));
            }
        }

        let (mut page, mut bytes) = (Page::default(), 0);
        loop {
            let wanted = list.limit - page.documents.len();
            // One more than wanted says whether there are more.
            let limit = match page.documents.len() {
                0 => (wanted + 1).min(FIRST),
                read => (wanted + 1).min((PAGE_BYTES_MAX - bytes) / (bytes / read).max(1) + 1),
            };
            let rows = self.rows(instance_id, collection, &cursor, limit, now_ms).await?;
            let is_last = rows.len() < limit;
            for (row, value) in rows {
                if page.documents.len() == list.limit || bytes > PAGE_BYTES_MAX {
                    page.next = Some(cursor.to_text());
                    return Ok(page);
                }
                cursor.pass(value, &row.key);
                bytes += row.value.len();
                page.documents.push(row.into());
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    async fn rows(
        &self,
        instance_id: &str,
        collection: &str,
        cursor: &Cursor,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<(DocumentRow, String)>, DocumentError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let Cursor { field, range, value, key } = cursor;
        Ok(match field {
            Some(field) => {
                let place = (instance_id, collection, field.as_str());
                rows::list_by_index(&self.inner.db, place, range, (value, key), limit, now_ms).await?
            }
            None => {
                let rows = rows::list(&self.inner.db, (instance_id, collection), range, limit, now_ms).await?;
                rows.into_iter().map(|row| (row, String::new())).collect()
            }
        })
    }
}

/// How far a list was read.
struct Cursor {
    field: Option<String>,
    /// What is still to be read.
    range: Range,
    /// In a list by an index field, the last one that was read.
    value: String,
    key: String,
}

impl Cursor {
    fn new(list: &List) -> Result<Self, String> {
        let mut cursor = match &list.field {
            Some(field) => Self { field: Some(field.clone()), range: list.wanted.range()?, ..Self::of_keys(None) },
            None => match &list.wanted {
                Wanted { equals: None, from: None, to: None, prefix } => Self::of_keys(prefix.as_deref()),
                _ => return Err("`equals`, `from` and `to` need a `field`".to_owned()),
            },
        };
        let Some(after) = &list.after else { return Ok(cursor) };
        if after.contains('\0') {
            return Err(AFTER_WRONG.to_owned());
        }
        if cursor.field.is_none() {
            // Whatever was deleted meanwhile, and whatever is made of it: a list goes on, never back before its prefix.
            if *after >= cursor.range.from {
                cursor.pass(String::new(), after);
            }
            return Ok(cursor);
        }
        let Ok([value, key]) = serde_json::from_str::<[String; 2]>(after) else { return Err(AFTER_WRONG.to_owned()) };
        if value.contains('\0') || key.contains('\0') {
            return Err(AFTER_WRONG.to_owned());
        }
        cursor.pass(value, &key);
        Ok(cursor)
    }

    fn of_keys(prefix: Option<&str>) -> Self {
        let prefix = prefix.unwrap_or_default();
        let range = Range { from: prefix.to_owned(), to: index::after_prefix(prefix) };
        Self { field: None, range, value: String::new(), key: String::new() }
    }

    /// Goes on after a document.
    fn pass(&mut self, value: String, key: &str) {
        key.clone_into(&mut self.key);
        if self.field.is_none() {
            self.range.from = index::next(key);
        } else {
            if value > self.range.from {
                self.range.from.clone_from(&value);
            }
            self.value = value;
        }
    }

    fn to_text(&self) -> String {
        match &self.field {
            Some(_) => Value::from(vec![self.value.as_str(), self.key.as_str()]).to_string(),
            None => self.key.clone(),
        }
    }
}

const AFTER_WRONG: &str = "`after` is not what the page before gave as `next`";
