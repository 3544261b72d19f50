//! The tables `document` and `document_index`.
//!
//! What changes a document comes as a [`Statement`], so that several go into one write; each answers as its function says.
//! A document that has expired counts as not there, whether it was purged already or not.

use super::{Db, Row, Statement, StoreError, Value, values};

/// A row of `document`, without the columns of its place and its size.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_documents.sql")]
pub struct DocumentRow {
    pub key: String,
    pub version: i64,
    pub expires_at: Option<i64>,
    pub used_at: Option<i64>,
    pub username: Option<String>,
    pub value: String,
}

/// Where a document is.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_documents.sql")]
pub struct Place<'a> {
    pub instance_id: &'a str,
    pub collection: &'a str,
    pub key: &'a str,
}

/// What is to be in a place.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_documents.sql")]
pub struct Content<'a> {
    pub value: &'a str,
    pub bytes: i64,
    pub expires_at: Option<i64>,
    pub username: Option<&'a str>,
    /// The document's new version, unless the one it has is as high.
    pub version: i64,
    /// The form of the set that the caller knows; under any other nothing is written.
    pub form: i64,
}

/// Which rows a list wants: those whose key, or value of an index field, is `from` or more and less than `to`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct Range {
    pub from: String,
    pub to: String,
}

/// Writes a document, whatever is there. One row: its version, and the bytes of what was there before.
#[must_use]
pub fn put(place: Place<'_>, content: Content<'_>) -> Statement {
    Statement { sql: PUT, values: content_values(place, content) }
}

/// Writes a document where none is. A row as [`put`], or none.
#[must_use]
pub fn insert(place: Place<'_>, content: Content<'_>, now_ms: i64) -> Statement {
    let mut values = content_values(place, content);
    values.push(now_ms.into());
    Statement { sql: INSERT, values }
}

/// Writes a document where one of this version is. A row as [`put`], or none.
#[must_use]
pub fn update(place: Place<'_>, content: Content<'_>, version: i64, now_ms: i64) -> Statement {
    let mut values = content_values(place, content);
    values.extend(values![now_ms, version]);
    Statement { sql: UPDATE, values }
}

/// Deletes a document, whatever its version. One row if it was there: its bytes.
#[must_use]
pub fn delete(place: Place<'_>, now_ms: i64) -> Statement {
    let mut values = place_values(place);
    values.push(now_ms.into());
    Statement { sql: DELETE, values }
}

/// Deletes a document of this version. One row if it was there: its bytes.
#[must_use]
pub fn delete_version(place: Place<'_>, version: i64, now_ms: i64) -> Statement {
    let mut values = place_values(place);
    values.extend(values![now_ms, version]);
    Statement { sql: DELETE_VERSION, values }
}

/// Writes the value of an index field.
#[must_use]
pub fn set_index(place: Place<'_>, field: &str, value: &str) -> Statement {
    let mut values = place_values(place);
    values.extend(values![field, value]);
    Statement { sql: SET_INDEX, values }
}

/// Takes the value of an index field away.
#[must_use]
pub fn clear_index(place: Place<'_>, field: &str) -> Statement {
    let mut values = place_values(place);
    values.push(field.into());
    Statement { sql: CLEAR_INDEX, values }
}

/// Keeps a document of this version from being changed until the write is over.
#[must_use]
pub fn hold(place: Place<'_>, version: i64) -> Statement {
    let mut values = place_values(place);
    values.push(version.into());
    Statement { sql: HOLD, values }
}

/// Writes the value of an index field that has none yet, if the document has this version.
#[must_use]
pub fn add_index(place: Place<'_>, field: &str, value: &str, version: i64) -> Statement {
    let mut values = place_values(place);
    values.extend(values![field, value, version]);
    Statement { sql: ADD_INDEX, values }
}

/// The document in a place.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, place: Place<'_>, now_ms: i64) -> Result<Option<DocumentRow>, StoreError> {
    let mut values = place_values(place);
    values.push(now_ms.into());
    db.read(FIND, values).await?.pop().map(|mut row| read(&mut row)).transpose()
}

/// What is in a place even if it has expired, and the bytes that it counts for.
///
/// # Errors
/// [`StoreError`].
pub async fn find_stored(db: &Db, place: Place<'_>) -> Result<Option<(DocumentRow, i64)>, StoreError> {
    let row = db.read(FIND_STORED, place_values(place)).await?.pop();
    row.map(|mut row| Ok((read(&mut row)?, row.take(6)?))).transpose()
}

/// Marks a document as used, unless it is already. The document as it is then, if this was its first use.
///
/// # Errors
/// [`StoreError`].
pub async fn consume(db: &Db, place: Place<'_>, version: i64, now_ms: i64) -> Result<Option<DocumentRow>, StoreError> {
    let mut values = place_values(place);
    values.extend(values![now_ms, version]);
    db.write_one(CONSUME, values).await?.pop().map(|mut row| read(&mut row)).transpose()
}

/// Up to `limit` documents of a collection by key.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    db: &Db,
    (instance_id, collection): (&str, &str),
    range: &Range,
    limit: i64,
    now_ms: i64,
) -> Result<Vec<DocumentRow>, StoreError> {
    let values = values![instance_id, collection, range.from.as_str(), range.to.as_str(), now_ms, limit];
    select(db, LIST, values, limit).await?.iter_mut().map(read).collect()
}

/// Up to `limit` documents of a collection by the value of an index field, then by key, from the one after this value
/// and key on; each with its value.
///
/// # Errors
/// [`StoreError`].
pub async fn list_by_index(
    db: &Db,
    (instance_id, collection, field): (&str, &str, &str),
    range: &Range,
    (value, key): (&str, &str),
    limit: i64,
    now_ms: i64,
) -> Result<Vec<(DocumentRow, String)>, StoreError> {
    let (from, to) = (range.from.as_str(), range.to.as_str());
    let values = values![instance_id, collection, field, from, to, value, key, now_ms, limit];
    let rows = select(db, LIST_BY_INDEX, values, limit).await?;
    rows.into_iter().map(|mut row| Ok((read(&mut row)?, row.take(6)?))).collect()
}

/// The next documents of an instance's collection by key, expired ones as well.
///
/// # Errors
/// [`StoreError`].
pub async fn list_stored(
    db: &Db,
    (instance_id, collection): (&str, &str),
    after: &str,
    limit: i64,
) -> Result<Vec<DocumentRow>, StoreError> {
    let rows = db.scan(LIST_STORED, values![instance_id, collection, after, limit]).await?;
    rows.into_iter().map(|mut row| read(&mut row)).collect()
}

/// How many documents an instance has, and the bytes that they count for.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &Db, instance_id: &str) -> Result<(i64, i64), StoreError> {
    let mut row = db.scan(COUNT, values![instance_id]).await?.pop();
    let row = row.as_mut().ok_or(StoreError::Conflict)?;
    Ok((row.take(0)?, row.take(1)?))
}

/// Deletes up to `limit` documents that expired up to `until_ms`; how many those were.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_expired(db: &Db, until_ms: i64, limit: i64) -> Result<usize, StoreError> {
    Ok(db.write_one(DELETE_EXPIRED, values![until_ms, limit]).await?.len())
}

/// Deletes up to `limit` documents that go with a user; how many those were.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of_user(db: &Db, username: &str, limit: i64) -> Result<usize, StoreError> {
    Ok(db.write_one(DELETE_OF_USER, values![username, limit]).await?.len())
}

/// Deletes up to `limit` values of an index field; how many those were.
///
/// # Errors
/// [`StoreError`].
pub async fn drop_index(
    db: &Db,
    (instance_id, collection, field): (&str, &str, &str),
    limit: i64,
) -> Result<usize, StoreError> {
    Ok(db.write_one(DROP_INDEX, values![instance_id, collection, field, limit]).await?.len())
}

/// Short lists on the caller's thread, long ones where they hold up nobody.
async fn select(db: &Db, sql: &'static str, values: Vec<Value>, limit: i64) -> Result<Vec<Row>, StoreError> {
    if limit <= SHORT { db.read(sql, values).await } else { db.scan(sql, values).await }
}

fn read(row: &mut Row) -> Result<DocumentRow, StoreError> {
    Ok(DocumentRow {
        key: row.take(0)?,
        version: row.take(1)?,
        expires_at: row.take(2)?,
        used_at: row.take(3)?,
        username: row.take(4)?,
        value: row.take(5)?,
    })
}

fn place_values(place: Place<'_>) -> Vec<Value> {
    values![place.instance_id, place.collection, place.key]
}

fn content_values(place: Place<'_>, content: Content<'_>) -> Vec<Value> {
    let Content { value, bytes, expires_at, username, version, form } = content;
    let mut values = place_values(place);
    values.extend(values![version, expires_at, username, bytes, value, form]);
    values
}

/// Lists up to this length are short.
const SHORT: i64 = 64;

macro_rules! upsert {
    ($condition:literal) => {
        concat!(
            "INSERT INTO document \
             (instance_id, collection, key, version, expires_at, username, bytes, previous_bytes, value) \
             SELECT id, $2, $3, $4, $5, $6, $7, 0, $8 FROM document_set WHERE id = $1 AND form = $9 \
             ON CONFLICT (instance_id, collection, key) DO UPDATE SET \
             version = CASE WHEN excluded.version > document.version THEN excluded.version \
             ELSE document.version + 1 END, \
             expires_at = excluded.expires_at, used_at = NULL, username = excluded.username, \
             bytes = excluded.bytes, previous_bytes = document.bytes, value = excluded.value ",
            $condition,
            "RETURNING version, previous_bytes"
        )
    };
}

const PUT: &str = upsert!("");
const INSERT: &str = upsert!("WHERE document.expires_at <= $10 ");
const UPDATE: &str = "UPDATE document SET version = CASE WHEN $4 > version THEN $4 ELSE version + 1 END, \
    expires_at = $5, used_at = NULL, username = $6, bytes = $7, previous_bytes = bytes, value = $8 \
    WHERE instance_id = $1 AND collection = $2 AND key = $3 AND (expires_at IS NULL OR expires_at > $10) \
    AND version = $11 AND EXISTS (SELECT 1 FROM document_set WHERE id = $1 AND form = $9) \
    RETURNING version, previous_bytes";
const DELETE: &str = "DELETE FROM document WHERE instance_id = $1 AND collection = $2 AND key = $3 \
    AND (expires_at IS NULL OR expires_at > $4) RETURNING bytes";
const DELETE_VERSION: &str = "DELETE FROM document WHERE instance_id = $1 AND collection = $2 AND key = $3 \
    AND (expires_at IS NULL OR expires_at > $4) AND version = $5 RETURNING bytes";
const CONSUME: &str = "UPDATE document SET used_at = $4, \
    version = CASE WHEN $5 > version THEN $5 ELSE version + 1 END \
    WHERE instance_id = $1 AND collection = $2 AND key = $3 AND used_at IS NULL \
    AND (expires_at IS NULL OR expires_at > $4) \
    RETURNING key, version, expires_at, used_at, username, value";

const SET_INDEX: &str = "INSERT INTO document_index (instance_id, collection, key, field, value) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (instance_id, collection, key, field) \
    DO UPDATE SET value = excluded.value WHERE document_index.value <> excluded.value";
const CLEAR_INDEX: &str =
    "DELETE FROM document_index WHERE instance_id = $1 AND collection = $2 AND key = $3 AND field = $4";
const HOLD: &str = "UPDATE document SET version = version \
    WHERE instance_id = $1 AND collection = $2 AND key = $3 AND version = $4";
const ADD_INDEX: &str = "INSERT INTO document_index (instance_id, collection, key, field, value) \
    SELECT instance_id, collection, key, $4, $5 FROM document \
    WHERE instance_id = $1 AND collection = $2 AND key = $3 AND version = $6 \
    ON CONFLICT (instance_id, collection, key, field) DO NOTHING";

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT key, version, expires_at, used_at, username, value", $rest)
    };
}

const FIND: &str = select!(
    " FROM document WHERE instance_id = $1 AND collection = $2 AND key = $3 \
     AND (expires_at IS NULL OR expires_at > $4)"
);
const FIND_STORED: &str = select!(", bytes FROM document WHERE instance_id = $1 AND collection = $2 AND key = $3");
const LIST: &str = select!(
    " FROM document WHERE instance_id = $1 AND collection = $2 AND key >= $3 AND key < $4 \
     AND (expires_at IS NULL OR expires_at > $5) ORDER BY key LIMIT $6"
);
const LIST_STORED: &str =
    select!(" FROM document WHERE instance_id = $1 AND collection = $2 AND key > $3 ORDER BY key LIMIT $4");
const LIST_BY_INDEX: &str = "SELECT document.key, document.version, document.expires_at, document.used_at, \
    document.username, document.value, i.value FROM document_index AS i \
    JOIN document ON document.instance_id = i.instance_id AND document.collection = i.collection \
    AND document.key = i.key \
    WHERE i.instance_id = $1 AND i.collection = $2 AND i.field = $3 AND i.value >= $4 AND i.value < $5 \
    AND (i.value, i.key) > ($6, $7) AND (document.expires_at IS NULL OR document.expires_at > $8) \
    ORDER BY i.value, i.key LIMIT $9";
const COUNT: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM document WHERE instance_id = $1";
// The condition is said twice: on PostgreSQL a document may be put anew between the inner query and the delete.
const DELETE_EXPIRED: &str = "DELETE FROM document WHERE (instance_id, collection, key) IN \
    (SELECT instance_id, collection, key FROM document WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) \
    AND expires_at <= $1 RETURNING bytes";
const DELETE_OF_USER: &str = "DELETE FROM document WHERE (instance_id, collection, key) IN \
    (SELECT instance_id, collection, key FROM document WHERE username = $1 LIMIT $2) \
    AND username = $1 RETURNING bytes";
const DROP_INDEX: &str = "DELETE FROM document_index WHERE (instance_id, collection, key, field) IN \
    (SELECT instance_id, collection, key, field FROM document_index \
    WHERE instance_id = $1 AND collection = $2 AND field = $3 LIMIT $4) RETURNING key";
