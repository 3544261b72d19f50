//! The tables `scope`, `scope_group` and `scope_scheme`.

use super::{Db, Row, StoreError, Transaction, values};

/// A scope, as stored, with its groups by name.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct ScopeRow {
    pub name: String,
    pub display_name: String,
    pub description: String,
    pub password_required: bool,
    pub password_max_age_s: i64,
    pub search: String,
    pub groups: Vec<GroupRow>,
}

/// A group of schemes, in their order.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0010_identity.sql")]
pub struct GroupRow {
    pub name: String,
    pub required: i64,
    pub schemes: Vec<String>,
}

/// A page of those whose `search` is like a pattern, by name; `\` escapes in the pattern.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, like: &str, offset: i64, limit: i64) -> Result<Vec<ScopeRow>, StoreError> {
    let mut scopes: Vec<ScopeRow> = Vec::new();
    for row in db.scan(LIST, values![like, offset, limit]).await? {
        add(&mut scopes, row)?;
    }
    Ok(scopes)
}

/// The scope of a name.
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &Db, name: &str) -> Result<Option<ScopeRow>, StoreError> {
    let mut scopes = Vec::new();
    for row in db.recall(FIND, values![name]).await? {
        add(&mut scopes, row)?;
    }
    Ok(scopes.pop())
}

/// The same, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn find_inside(transaction: &Transaction<'_>, name: &str) -> Result<Option<ScopeRow>, StoreError> {
    let mut scopes = Vec::new();
    for row in transaction.run(FIND, values![name]).await? {
        add(&mut scopes, row)?;
    }
    Ok(scopes.pop())
}

/// Which of some names no scope has.
///
/// # Errors
/// [`StoreError`].
pub async fn missing(transaction: &Transaction<'_>, names: &[String]) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    for name in names {
        if transaction.run(EXISTS, values![name.as_str()]).await?.is_empty() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}

/// Adds a scope without groups. False means that the name is taken.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(transaction: &Transaction<'_>, scope: &ScopeRow) -> Result<bool, StoreError> {
    Ok(!transaction.run(INSERT, write(scope)).await?.is_empty())
}

/// Writes what is known of a scope but its groups. False means that there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn update(transaction: &Transaction<'_>, scope: &ScopeRow) -> Result<bool, StoreError> {
    Ok(!transaction.run(UPDATE, write(scope)).await?.is_empty())
}

/// Replaces the groups of a scope.
///
/// # Errors
/// [`StoreError`].
pub async fn put_groups(transaction: &Transaction<'_>, scope: &ScopeRow) -> Result<(), StoreError> {
    let name = scope.name.as_str();
    transaction.run(DELETE_GROUPS, values![name]).await?;
    for group in &scope.groups {
        transaction.run(INSERT_GROUP, values![name, group.name.as_str(), group.required]).await?;
        for (place, scheme) in (0_i64..).zip(&group.schemes) {
            let values = values![name, group.name.as_str(), scheme.as_str(), place];
            transaction.run(INSERT_SCHEME, values).await?;
        }
    }
    Ok(())
}

/// Deletes a scope; nobody has it any more. False means that there was none.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(db: &Db, name: &str) -> Result<bool, StoreError> {
    Ok(!db.write_one(DELETE, values![name]).await?.is_empty())
}

/// Takes in a row, of which there is one for each scheme of each group of each scope, in order.
fn add(scopes: &mut Vec<ScopeRow>, mut row: Row) -> Result<(), StoreError> {
    let name: String = row.take(0)?;
    if scopes.last().is_none_or(|scope| scope.name != name) {
        scopes.push(ScopeRow {
            name,
            display_name: row.take(1)?,
            description: row.take(2)?,
            password_required: row.take(3)?,
            password_max_age_s: row.take(4)?,
            search: row.take(5)?,
            groups: Vec::new(),
        });
    }
    let (Some(scope), Some(group)) = (scopes.last_mut(), row.take::<Option<String>>(6)?) else { return Ok(()) };
    if scope.groups.last().is_none_or(|last| last.name != group) {
        scope.groups.push(GroupRow { name: group, required: row.take(7)?, schemes: Vec::new() });
    }
    if let (Some(group), Some(scheme)) = (scope.groups.last_mut(), row.take::<Option<String>>(8)?) {
        group.schemes.push(scheme);
    }
    Ok(())
}

fn write(scope: &ScopeRow) -> Vec<super::Value> {
    values![
        scope.name.as_str(),
        scope.display_name.as_str(),
        scope.description.as_str(),
        scope.password_required,
        scope.password_max_age_s,
        scope.search.as_str(),
    ]
}

macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT scope.name, scope.display_name, scope.description, scope.password_required, \
             scope.password_max_age_s, scope.search, part.name, part.required, member.scheme FROM ",
            $from,
            " AS scope LEFT JOIN scope_group AS part ON part.scope = scope.name \
             LEFT JOIN scope_scheme AS member ON member.scope = part.scope AND member.group_name = part.name \
             ORDER BY scope.name, part.name, member.place"
        )
    };
}

const LIST: &str = select!(
    "(SELECT name, display_name, description, password_required, password_max_age_s, search FROM scope \
     WHERE search LIKE $1 ESCAPE '\\' ORDER BY name LIMIT $3 OFFSET $2)"
);
const FIND: &str = select!(
    "(SELECT name, display_name, description, password_required, password_max_age_s, search FROM scope \
     WHERE name = $1)"
);
const EXISTS: &str = "SELECT name FROM scope WHERE name = $1";
const INSERT: &str = "INSERT INTO scope (name, display_name, description, password_required, password_max_age_s, \
    search) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING RETURNING name";
const UPDATE: &str = "UPDATE scope SET display_name = $2, description = $3, password_required = $4, \
    password_max_age_s = $5, search = $6 WHERE name = $1 RETURNING name";
const DELETE_GROUPS: &str = "DELETE FROM scope_group WHERE scope = $1";
const INSERT_GROUP: &str = "INSERT INTO scope_group (scope, name, required) VALUES ($1, $2, $3)";
const INSERT_SCHEME: &str = "INSERT INTO scope_scheme (scope, group_name, scheme, place) VALUES ($1, $2, $3, $4)";
const DELETE: &str = "DELETE FROM scope WHERE name = $1 RETURNING name";
