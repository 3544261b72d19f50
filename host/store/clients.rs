//! The tables `client_identity`, `client_record`, `client_scope` and `client_grant`.

use super::{Db, Row, StoreError, Transaction, values};

/// An application of the back end `database`, as stored. Its `Debug` form does not show the hashes.
#[derive(Clone)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct ClientRow {
    pub id: String,
    pub client_id: String,
    pub back_end: String,
    pub name: String,
    pub description: String,
    pub confidential: bool,
    pub enabled: bool,
    pub password_hash: Option<String>,
    pub secret_hash: Option<String>,
    pub authorization_types: String,
    pub redirect_uris: String,
    pub properties: String,
    pub scopes: Vec<String>,
}

/// A page of those of a back end whose `search` is like a pattern, by client id; `\` escapes in the pattern.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, like: &str, offset: i64, limit: i64, back_end: &str) -> Result<Vec<ClientRow>, StoreError> {
    collect(db.scan(LIST, values![like, offset, limit, back_end]).await?)
}

/// How many of a back end there are whose `search` is like a pattern.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &Db, like: &str, back_end: &str) -> Result<i64, StoreError> {
    db.scan(COUNT, values![like, back_end]).await?.pop().map_or(Ok(0), |mut row| row.take(0))
}

/// Who keeps the application of a client id: the id, and the back end.
///
/// # Errors
/// [`StoreError`].
pub async fn identity(db: &Db, client_id: &str) -> Result<Option<(String, String)>, StoreError> {
    db.read(IDENTITY, values![client_id]).await?.pop().map(read_identity).transpose()
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn identity_inside(
    transaction: &Transaction<'_>,
    client_id: &str,
) -> Result<Option<(String, String)>, StoreError> {
    transaction.run(IDENTITY, values![client_id]).await?.pop().map(read_identity).transpose()
}

/// Deletes an identity with everything that refers to it, unless the house's own database keeps the application.
///
/// # Errors
/// [`StoreError`].
pub async fn forget(transaction: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    transaction.run(FORGET, values![id]).await.map(drop)
}

/// The application of a client id.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, client_id: &str) -> Result<Option<ClientRow>, StoreError> {
    Ok(collect(db.read(FIND, values![client_id]).await?)?.pop())
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn find_inside(transaction: &Transaction<'_>, client_id: &str) -> Result<Option<ClientRow>, StoreError> {
    Ok(collect(transaction.run(FIND, values![client_id]).await?)?.pop())
}

/// Adds an identity. False means that the client id is taken.
///
/// # Errors
/// [`StoreError`].
pub async fn insert_identity(
    transaction: &Transaction<'_>,
    id: &str,
    client_id: &str,
    back_end: &str,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let values = values![id, client_id, back_end, now_ms];
    Ok(!transaction.run(INSERT_IDENTITY, values).await?.is_empty())
}

/// Writes the record of an identity with its scopes, whether there is one yet or not.
///
/// # Errors
/// [`StoreError::Reference`] where a scope does not exist, or another.
pub async fn put_record(
    transaction: &Transaction<'_>,
    row: &ClientRow,
    search: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let values = values![
        row.id.as_str(),
        row.name.as_str(),
        row.description.as_str(),
        row.confidential,
        row.enabled,
        row.password_hash.as_deref(),
        row.secret_hash.as_deref(),
        row.authorization_types.as_str(),
        row.redirect_uris.as_str(),
        row.properties.as_str(),
        search,
        now_ms,
    ];
    transaction.run(PUT_RECORD, values).await?;
    transaction.run(DELETE_SCOPES, values![row.id.as_str()]).await?;
    for (place, scope) in (0_i64..).zip(&row.scopes) {
        transaction.run(INSERT_SCOPE, values![row.id.as_str(), scope.as_str(), place]).await?;
    }
    Ok(())
}

/// Deletes an application of a back end with everything that refers to it. False means that there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, client_id: &str, back_end: &str) -> Result<bool, StoreError> {
    Ok(!db.write_one(DELETE, values![client_id, back_end]).await?.is_empty())
}

/// What a person granted to an application, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn grants(db: &Db, user_id: &str, id: &str) -> Result<Vec<String>, StoreError> {
    db.read(GRANTS, values![user_id, id]).await?.into_iter().map(|mut row| row.take(0)).collect()
}

/// Replaces what a person granted to an application. What was granted before keeps its time.
///
/// # Errors
/// [`StoreError::Reference`] where the person, the application or a scope does not exist, or another.
pub async fn put_grants(
    transaction: &Transaction<'_>,
    user_id: &str,
    id: &str,
    scopes: &[String],
    now_ms: i64,
) -> Result<(), StoreError> {
    for mut row in transaction.run(GRANTS, values![user_id, id]).await? {
        let scope: String = row.take(0)?;
        if !scopes.contains(&scope) {
            transaction.run(DELETE_GRANT, values![user_id, id, scope]).await?;
        }
    }
    for scope in scopes {
        transaction.run(INSERT_GRANT, values![user_id, id, scope.as_str(), now_ms]).await?;
    }
    Ok(())
}

fn read_identity(mut row: Row) -> Result<(String, String), StoreError> {
    Ok((row.take(0)?, row.take(1)?))
}

/// Takes in rows, of which there is one for each scope of each application, in order.
fn collect(rows: Vec<Row>) -> Result<Vec<ClientRow>, StoreError> {
    let mut clients: Vec<ClientRow> = Vec::new();
    for mut row in rows {
        let id: String = row.take(0)?;
        let scope: Option<String> = row.take(12)?;
        if clients.last().is_none_or(|client| client.id != id) {
            clients.push(read(id, row)?);
        }
        if let Some(client) = clients.last_mut() {
            client.scopes.extend(scope);
        }
    }
    Ok(clients)
}

fn read(id: String, mut row: Row) -> Result<ClientRow, StoreError> {
    Ok(ClientRow {
        id,
        client_id: row.take(1)?,
        back_end: row.take(2)?,
        name: row.take(3)?,
        description: row.take(4)?,
        confidential: row.take(5)?,
        enabled: row.take(6)?,
        password_hash: row.take(7)?,
        secret_hash: row.take(8)?,
        authorization_types: row.take(9)?,
        redirect_uris: row.take(10)?,
        properties: row.take(11)?,
        scopes: Vec::new(),
    })
}

impl std::fmt::Debug for ClientRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ClientRow").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT client.id, client.client_id, client.back_end, client.name, client.description, \
             client.confidential, client.enabled, client.password_hash, client.secret_hash, \
             client.authorization_types, client.redirect_uris, client.properties, member.scope FROM \
             (SELECT identity.id, identity.client_id, identity.back_end, record.name, record.description, \
             record.confidential, record.enabled, record.password_hash, record.secret_hash, \
             record.authorization_types, record.redirect_uris, record.properties FROM client_identity AS identity \
             JOIN client_record AS record ON record.client_key = identity.id ",
            $rest,
            ") AS client LEFT JOIN client_scope AS member ON member.client_key = client.id \
             ORDER BY client.client_id, member.place"
        )
    };
}

const LIST: &str = select!(
    "WHERE record.search LIKE $1 ESCAPE '\\' AND identity.back_end = $4 ORDER BY identity.client_id LIMIT $3 OFFSET $2"
);
const COUNT: &str = "SELECT COUNT(*) FROM client_identity AS identity JOIN client_record AS record \
    ON record.client_key = identity.id WHERE record.search LIKE $1 ESCAPE '\\' AND identity.back_end = $2";
const IDENTITY: &str = "SELECT id, back_end FROM client_identity WHERE client_id = $1";
const FORGET: &str = "DELETE FROM client_identity WHERE id = $1 \
    AND NOT EXISTS (SELECT 1 FROM client_record AS record WHERE record.client_key = client_identity.id)";
const FIND: &str = select!("WHERE identity.client_id = $1");
const INSERT_IDENTITY: &str = "INSERT INTO client_identity (id, client_id, back_end, created_at) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (client_id) DO NOTHING RETURNING id";
const PUT_RECORD: &str = "INSERT INTO client_record (client_key, name, description, confidential, enabled, \
    password_hash, secret_hash, authorization_types, redirect_uris, properties, search, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (client_key) DO UPDATE SET \
    name = excluded.name, description = excluded.description, confidential = excluded.confidential, \
    enabled = excluded.enabled, password_hash = excluded.password_hash, secret_hash = excluded.secret_hash, \
    authorization_types = excluded.authorization_types, redirect_uris = excluded.redirect_uris, \
    properties = excluded.properties, search = excluded.search, updated_at = excluded.updated_at";
const DELETE_SCOPES: &str = "DELETE FROM client_scope WHERE client_key = $1";
const INSERT_SCOPE: &str = "INSERT INTO client_scope (client_key, scope, place) VALUES ($1, $2, $3)";
const DELETE: &str = "DELETE FROM client_identity WHERE client_id = $1 AND back_end = $2 RETURNING id";
const GRANTS: &str = "SELECT scope FROM client_grant WHERE user_id = $1 AND client_key = $2 ORDER BY scope";
const DELETE_GRANT: &str = "DELETE FROM client_grant WHERE user_id = $1 AND client_key = $2 AND scope = $3";
const INSERT_GRANT: &str = "INSERT INTO client_grant (user_id, client_key, scope, granted_at) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (user_id, client_key, scope) DO NOTHING";
