//! The table `instance`.

use super::{Db, Row, Statement, StoreError, Transaction, Value, document_sets, values};

/// A row, as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in migrations/0001_instances.sql and 0011_schemes.sql")]
pub struct InstanceRow {
    pub id: String,
    pub kind: String,
    pub module: String,
    pub name: String,
    pub display_name: String,
    pub parameters: String,
    pub enabled: bool,
    pub grants: Option<String>,
    pub allow_public: bool,
    pub declared: bool,
    pub quarantine: Option<String>,
    pub settings: String,
    pub created_at: i64,
    pub updated_at: i64,
}

/// All rows by kind and name, or those of one kind.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, kind: Option<&str>) -> Result<Vec<InstanceRow>, StoreError> {
    let rows = match kind {
        Some(kind) => db.scan(LIST_KIND, values![kind]).await?,
        None => db.scan(LIST, values![]).await?,
    };
    rows.into_iter().map(read).collect()
}

/// The same list, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn list_inside(transaction: &Transaction<'_>) -> Result<Vec<InstanceRow>, StoreError> {
    transaction.run(LIST, values![]).await?.into_iter().map(read).collect()
}

/// The row of a name.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, kind: &str, name: &str) -> Result<Option<InstanceRow>, StoreError> {
    db.read(FIND, values![kind, name]).await?.pop().map(read).transpose()
}

/// Name and settings of the enabled rows of a kind, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn settings(db: &Db, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
    let mut settings = Vec::new();
    for mut row in db.recall(SETTINGS, values![kind]).await? {
        if row.take::<bool>(2)? {
            settings.push((row.take(0)?, row.take(1)?));
        }
    }
    Ok(settings)
}

/// Adds a row, to which documents that were written already belong from then on. False means that the name is taken.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(db: &Db, row: InstanceRow) -> Result<bool, StoreError> {
    let attach = document_sets::attach(&row.id);
    let answers = db.write(vec![Statement { sql: INSERT, values: write(row) }, attach]).await?;
    Ok(answers.first().is_some_and(|rows| !rows.is_empty()))
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn insert_inside(transaction: &Transaction<'_>, row: InstanceRow) -> Result<bool, StoreError> {
    Ok(!transaction.run(INSERT, write(row)).await?.is_empty())
}

/// What an administrator may change of a row.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0001_instances.sql")]
pub struct InstanceUpdate {
    pub display_name: String,
    pub parameters: String,
    pub grants: Option<String>,
    pub allow_public: bool,
    pub settings: String,
}

/// Changes a row. False means that there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn update(db: &Db, kind: &str, name: &str, to: InstanceUpdate, now_ms: i64) -> Result<bool, StoreError> {
    let InstanceUpdate { display_name, parameters, grants, allow_public, settings } = to;
    let values = values![kind, name, display_name, parameters, grants, allow_public, now_ms, settings];
    Ok(!db.write_one(UPDATE, values).await?.is_empty())
}

/// Writes what the configuration decides of a row: all but its id, kind, module, name and quarantine.
///
/// # Errors
/// [`StoreError`].
pub async fn update_declaration(transaction: &Transaction<'_>, row: InstanceRow) -> Result<(), StoreError> {
    let InstanceRow { id, display_name, parameters, enabled, grants, allow_public, .. } = row;
    let InstanceRow { declared, updated_at, settings, .. } = row;
    let values = values![id, display_name, parameters, enabled, grants, allow_public, declared, updated_at, settings];
    transaction.run(UPDATE_DECLARATION, values).await.map(drop)
}

/// Says whether the instance should run. False means that there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn set_enabled(db: &Db, kind: &str, name: &str, enabled: bool, now_ms: i64) -> Result<bool, StoreError> {
    Ok(!db.write_one(SET_ENABLED, values![kind, name, enabled, now_ms]).await?.is_empty())
}

/// Says why the instance was taken out, or that it is not any more. False means that there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn set_quarantine(
    db: &Db,
    kind: &str,
    name: &str,
    reason: Option<&str>,
    now_ms: i64,
) -> Result<bool, StoreError> {
    Ok(!db.write_one(SET_QUARANTINE, values![kind, name, reason, now_ms]).await?.is_empty())
}

/// Deletes a row. False means that there was none.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, kind: &str, name: &str) -> Result<bool, StoreError> {
    let mut statements = vec![Statement { sql: DELETE, values: values![kind, name] }];
    // A scheme that gets the name anew is another one.
    if kind == "scheme" {
        statements.push(Statement { sql: DELETE_PROOFS, values: values![name] });
    }
    Ok(db.write(statements).await?.first().is_some_and(|deleted| !deleted.is_empty()))
}

fn read(mut row: Row) -> Result<InstanceRow, StoreError> {
    Ok(InstanceRow {
        id: row.take(0)?,
        kind: row.take(1)?,
        module: row.take(2)?,
        name: row.take(3)?,
        display_name: row.take(4)?,
        parameters: row.take(5)?,
        enabled: row.take(6)?,
        grants: row.take(7)?,
        allow_public: row.take(8)?,
        declared: row.take(9)?,
        quarantine: row.take(10)?,
        settings: row.take(11)?,
        created_at: row.take(12)?,
        updated_at: row.take(13)?,
    })
}

fn write(row: InstanceRow) -> Vec<Value> {
    values![
        row.id,
        row.kind,
        row.module,
        row.name,
        row.display_name,
        row.parameters,
        row.enabled,
        row.grants,
        row.allow_public,
        row.declared,
        row.quarantine,
        row.settings,
        row.created_at,
        row.updated_at,
    ]
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, module, name, display_name, parameters, enabled, grants, allow_public, declared, \
             quarantine, settings, created_at, updated_at FROM instance ",
            $rest
        )
    };
}

const LIST: &str = select!("ORDER BY kind, name");
const LIST_KIND: &str = select!("WHERE kind = $1 ORDER BY name");
const SETTINGS: &str = "SELECT name, settings, enabled FROM instance WHERE kind = $1 ORDER BY name";
const FIND: &str = select!("WHERE kind = $1 AND name = $2");
const INSERT: &str = "INSERT INTO instance (id, kind, module, name, display_name, parameters, enabled, grants, \
    allow_public, declared, quarantine, settings, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (kind, name) DO NOTHING RETURNING id";
const UPDATE: &str = "UPDATE instance SET display_name = $3, parameters = $4, grants = $5, allow_public = $6, \
    updated_at = $7, settings = $8 WHERE kind = $1 AND name = $2 RETURNING id";
const UPDATE_DECLARATION: &str = "UPDATE instance SET display_name = $2, parameters = $3, enabled = $4, grants = $5, \
    allow_public = $6, declared = $7, updated_at = $8, settings = $9 WHERE id = $1";
const SET_ENABLED: &str =
    "UPDATE instance SET enabled = $3, updated_at = $4 WHERE kind = $1 AND name = $2 RETURNING id";
const SET_QUARANTINE: &str =
    "UPDATE instance SET quarantine = $3, updated_at = $4 WHERE kind = $1 AND name = $2 RETURNING id";
const DELETE_PROOFS: &str = "DELETE FROM login_proof WHERE scheme = $1";
const DELETE: &str = "DELETE FROM instance WHERE kind = $1 AND name = $2 RETURNING id";
