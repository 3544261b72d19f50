//! The tables `user_identity`, `user_record`, `user_property` and `user_scope`.

use super::{Db, Row, StoreError, Transaction, values};

/// A person of the back end `database`, as stored.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct UserRow {
    pub id: String,
    pub username: String,
    pub back_end: String,
    pub name: String,
    pub email: String,
    pub enabled: bool,
    pub scopes: Vec<String>,
    /// Names with JSON, by name.
    pub properties: Vec<(String, String)>,
}

/// What opens a person's account. Its `Debug` form does not show the hash.
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct CredentialRow {
    pub user_id: String,
    pub back_end: String,
    pub enabled: bool,
    pub password_hash: Option<String>,
}

/// Who keeps a person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct IdentityRow {
    pub id: String,
    pub back_end: String,
    pub password_changes: i64,
}

/// What is written of a record at once.
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct RecordValues<'a> {
    pub name: &'a str,
    pub email: &'a str,
    pub enabled: bool,
    pub search: &'a str,
}

/// A page of those of a back end whose `search` is like a pattern, by username; `\` escapes in the pattern.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, like: &str, offset: i64, limit: i64, back_end: &str) -> Result<Vec<UserRow>, StoreError> {
    let rows = db.scan(LIST, values![like, offset, limit, back_end]).await?;
    let mut users = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for mut row in db.scan(LIST_SCOPES, values![like, offset, limit, back_end]).await? {
        if let Some(user) = of(&mut users, &row.take::<String>(0)?) {
            user.scopes.push(row.take(1)?);
        }
    }
    for mut row in db.scan(LIST_PROPERTIES, values![like, offset, limit, back_end]).await? {
        if let Some(user) = of(&mut users, &row.take::<String>(0)?) {
            user.properties.push((row.take(1)?, row.take(2)?));
        }
    }
    Ok(users)
}

/// How many of a back end there are whose `search` is like a pattern.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &Db, like: &str, back_end: &str) -> Result<i64, StoreError> {
    db.scan(COUNT, values![like, back_end]).await?.pop().map_or(Ok(0), |mut row| row.take(0))
}

/// Who keeps the person of a normalised name.
///
/// # Errors
/// [`StoreError`].
pub async fn identity(db: &Db, username: &str) -> Result<Option<IdentityRow>, StoreError> {
    db.read(IDENTITY, values![username]).await?.pop().map(read_identity).transpose()
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn identity_inside(transaction: &Transaction<'_>, username: &str) -> Result<Option<IdentityRow>, StoreError> {
    transaction.run(IDENTITY, values![username]).await?.pop().map(read_identity).transpose()
}

/// Counts a change of the password of somebody whom an instance keeps.
///
/// # Errors
/// [`StoreError`].
pub async fn count_password_change(transaction: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    transaction.run(COUNT_CHANGE, values![id]).await.map(drop)
}

/// Deletes an identity with everything that refers to it, unless the house's own database keeps the person. False means that
/// there was none to delete.
///
/// # Errors
/// [`StoreError`].
pub async fn forget(transaction: &Transaction<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(!transaction.run(FORGET, values![id]).await?.is_empty())
}

/// The person of a normalised name.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, username: &str) -> Result<Option<UserRow>, StoreError> {
    let Some(row) = db.recall(FIND, values![username]).await?.pop() else { return Ok(None) };
    let user = read(row)?;
    let scopes = db.recall(SCOPES, values![user.id.as_str()]).await?;
    let properties = db.recall(PROPERTIES, values![user.id.as_str()]).await?;
    with_children(user, scopes, properties).map(Some)
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn find_inside(transaction: &Transaction<'_>, username: &str) -> Result<Option<UserRow>, StoreError> {
    let Some(row) = transaction.run(FIND, values![username]).await?.pop() else { return Ok(None) };
    let user = read(row)?;
    let scopes = transaction.run(SCOPES, values![user.id.as_str()]).await?;
    let properties = transaction.run(PROPERTIES, values![user.id.as_str()]).await?;
    with_children(user, scopes, properties).map(Some)
}

/// What opens the account of a normalised name.
///
/// # Errors
/// [`StoreError`].
pub async fn credential(db: &Db, username: &str) -> Result<Option<CredentialRow>, StoreError> {
    let Some(mut row) = db.read(CREDENTIAL, values![username]).await?.pop() else { return Ok(None) };
    Ok(Some(CredentialRow {
        user_id: row.take(0)?,
        back_end: row.take(1)?,
        enabled: row.take(2)?,
        password_hash: row.take(3)?,
    }))
}

/// The names, of whatever back end, that look like one.
///
/// # Errors
/// [`StoreError`].
pub async fn alike(transaction: &Transaction<'_>, skeleton: &str) -> Result<Vec<String>, StoreError> {
    transaction.run(ALIKE, values![skeleton]).await?.into_iter().map(|mut row| row.take(0)).collect()
}

/// Adds an identity. False means that the name is taken.
///
/// # Errors
/// [`StoreError`].
pub async fn insert_identity(
    transaction: &Transaction<'_>,
    id: &str,
    username: &str,
    skeleton: &str,
    back_end: &str,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let values = values![id, username, skeleton, back_end, now_ms];
    Ok(!transaction.run(INSERT_IDENTITY, values).await?.is_empty())
}

/// Writes the record of an identity, whether there is one yet or not; its password stays.
///
/// # Errors
/// [`StoreError`].
pub async fn put_record(
    transaction: &Transaction<'_>,
    id: &str,
    record: RecordValues<'_>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let RecordValues { name, email, enabled, search } = record;
    transaction.run(PUT_RECORD, values![id, name, email, enabled, search, now_ms]).await.map(drop)
}

/// The hashes of a record's passwords, a line each, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn password_inside(transaction: &Transaction<'_>, id: &str) -> Result<Option<String>, StoreError> {
    transaction.run(PASSWORD, values![id]).await?.pop().map_or(Ok(None), |mut row| row.take(0))
}

/// Writes the hash of a record's password; null takes it away.
///
/// # Errors
/// [`StoreError`].
pub async fn set_password(
    transaction: &Transaction<'_>,
    id: &str,
    hash: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    transaction.run(SET_PASSWORD, values![id, hash, now_ms]).await.map(drop)
}

/// Replaces the hash of a password that is still the one that was read. False means that it is another by now.
///
/// # Errors
/// [`StoreError`].
pub async fn exchange_password(
    transaction: &Transaction<'_>,
    id: &str,
    old: &str,
    new: &str,
    now_ms: i64,
) -> Result<bool, StoreError> {
    Ok(!transaction.run(EXCHANGE_PASSWORD, values![id, old, new, now_ms]).await?.is_empty())
}

/// Replaces the scopes of a record.
///
/// # Errors
/// [`StoreError::Reference`] where one does not exist, or another.
pub async fn put_scopes(transaction: &Transaction<'_>, id: &str, scopes: &[String]) -> Result<(), StoreError> {
    transaction.run(DELETE_SCOPES, values![id]).await?;
    for (place, scope) in (0_i64..).zip(scopes) {
        transaction.run(INSERT_SCOPE, values![id, scope.as_str(), place]).await?;
    }
    Ok(())
}

/// Writes a property, or takes it away where there is no value.
///
/// # Errors
/// [`StoreError`].
pub async fn put_property(
    transaction: &Transaction<'_>,
    id: &str,
    name: &str,
    value: Option<&str>,
) -> Result<(), StoreError> {
    match value {
        Some(value) => transaction.run(PUT_PROPERTY, values![id, name, value]).await.map(drop),
        None => transaction.run(DELETE_PROPERTY, values![id, name]).await.map(drop),
    }
}

/// Deletes a person of a back end with everything that refers to them, and gives the id. `None` means that there is nobody.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(
    transaction: &Transaction<'_>,
    username: &str,
    back_end: &str,
) -> Result<Option<String>, StoreError> {
    transaction.run(DELETE, values![username, back_end]).await?.pop().map(|mut row| row.take(0)).transpose()
}

fn of<'a>(users: &'a mut [UserRow], id: &str) -> Option<&'a mut UserRow> {
    users.iter_mut().find(|user| user.id == id)
}

fn read_identity(mut row: Row) -> Result<IdentityRow, StoreError> {
    Ok(IdentityRow { id: row.take(0)?, back_end: row.take(1)?, password_changes: row.take(2)? })
}

fn read(mut row: Row) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        id: row.take(0)?,
        username: row.take(1)?,
        back_end: row.take(2)?,
        name: row.take(3)?,
        email: row.take(4)?,
        enabled: row.take(5)?,
        scopes: Vec::new(),
        properties: Vec::new(),
    })
}

fn with_children(mut user: UserRow, scopes: Vec<Row>, properties: Vec<Row>) -> Result<UserRow, StoreError> {
    user.scopes = scopes.into_iter().map(|mut row| row.take(0)).collect::<Result<_, _>>()?;
    let property = |mut row: Row| Ok::<_, StoreError>((row.take(0)?, row.take(1)?));
    user.properties = properties.into_iter().map(property).collect::<Result<_, _>>()?;
    Ok(user)
}

impl std::fmt::Debug for CredentialRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CredentialRow").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT identity.id, identity.username, identity.back_end, record.name, record.email, record.enabled \
             FROM user_identity AS identity JOIN user_record AS record ON record.user_id = identity.id ",
            $rest
        )
    };
}

/// The ids of a page, for what hangs on its rows.
macro_rules! of_page {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "(SELECT identity.id FROM user_identity AS identity JOIN user_record AS record \
             ON record.user_id = identity.id WHERE record.search LIKE $1 ESCAPE '\\' AND identity.back_end = $4 \
             ORDER BY identity.username LIMIT $3 OFFSET $2) ",
            $after
        )
    };
}

const LIST: &str = select!(
    "WHERE record.search LIKE $1 ESCAPE '\\' AND identity.back_end = $4 ORDER BY identity.username LIMIT $3 OFFSET $2"
);
const COUNT: &str = "SELECT COUNT(*) FROM user_identity AS identity JOIN user_record AS record \
    ON record.user_id = identity.id WHERE record.search LIKE $1 ESCAPE '\\' AND identity.back_end = $2";
const IDENTITY: &str = "SELECT id, back_end, password_changes FROM user_identity WHERE username = $1";
const COUNT_CHANGE: &str = "UPDATE user_identity SET password_changes = password_changes + 1 WHERE id = $1";
const FORGET: &str = "DELETE FROM user_identity WHERE id = $1 \
    AND NOT EXISTS (SELECT 1 FROM user_record AS record WHERE record.user_id = user_identity.id) RETURNING id";
const LIST_SCOPES: &str =
    of_page!("SELECT user_id, scope FROM user_scope WHERE user_id IN ", "ORDER BY user_id, place");
const LIST_PROPERTIES: &str =
    of_page!("SELECT user_id, name, value FROM user_property WHERE user_id IN ", "ORDER BY user_id, name");
const FIND: &str = select!("WHERE identity.username = $1");
const SCOPES: &str = "SELECT scope FROM user_scope WHERE user_id = $1 ORDER BY place";
const PROPERTIES: &str = "SELECT name, value FROM user_property WHERE user_id = $1 ORDER BY name";
const CREDENTIAL: &str = "SELECT identity.id, identity.back_end, record.enabled, record.password_hash FROM user_identity AS identity \
    JOIN user_record AS record ON record.user_id = identity.id WHERE identity.username = $1";
const ALIKE: &str = "SELECT username FROM user_identity WHERE skeleton = $1 ORDER BY username";
const INSERT_IDENTITY: &str = "INSERT INTO user_identity (id, username, skeleton, back_end, created_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (username) DO NOTHING RETURNING id";
const PUT_RECORD: &str = "INSERT INTO user_record (user_id, name, email, enabled, password_hash, search, updated_at) \
    VALUES ($1, $2, $3, $4, NULL, $5, $6) ON CONFLICT (user_id) DO UPDATE SET name = excluded.name, \
    email = excluded.email, enabled = excluded.enabled, search = excluded.search, updated_at = excluded.updated_at";
const PASSWORD: &str = "SELECT password_hash FROM user_record WHERE user_id = $1";
const SET_PASSWORD: &str = "UPDATE user_record SET password_hash = $2, updated_at = $3 WHERE user_id = $1";
const EXCHANGE_PASSWORD: &str = "UPDATE user_record SET password_hash = $3, updated_at = $4 \
    WHERE user_id = $1 AND password_hash = $2 RETURNING user_id";
const DELETE_SCOPES: &str = "DELETE FROM user_scope WHERE user_id = $1";
const INSERT_SCOPE: &str = "INSERT INTO user_scope (user_id, scope, place) VALUES ($1, $2, $3)";
const PUT_PROPERTY: &str = "INSERT INTO user_property (user_id, name, value) VALUES ($1, $2, $3) \
    ON CONFLICT (user_id, name) DO UPDATE SET value = excluded.value";
const DELETE_PROPERTY: &str = "DELETE FROM user_property WHERE user_id = $1 AND name = $2";
const DELETE: &str = "DELETE FROM user_identity WHERE username = $1 AND back_end = $2 RETURNING id";
