//! Scopes: the one notion of permission, and what a session must have proved for each.
//!
//! Start at [`Scopes`]. Whether a session has proved enough is decided in `super::login`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::identity::picked;
use super::search::{Page, folded};
use super::{StoreError, identity};
use crate::store::scopes::{self as rows, GroupRow, ScopeRow};
use crate::store::{Db, Transaction};

/// A scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// 1 to 128 characters of those that RFC 6749, section 3.3, allows.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// What it permits, for people; may be empty.
    pub description: String,
    /// Whether the password must be proved.
    pub password_required: bool,
    /// How old a proof of the password may be, in seconds; 0 means any age.
    pub password_max_age_s: i64,
    /// What must be proved besides, all of it.
    pub groups: BTreeMap<String, SchemeGroup>,
}

/// Some schemes of which so many must be proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemeGroup {
    /// How many, at least 1 and at most all.
    pub required: u32,
    /// The names of the schemes' instances, in the order in which they are offered.
    pub schemes: Vec<String>,
}

/// Why a scope was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum PutScopeError {
    /// Something is wrong with it; all of it.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// Another has the name.
    #[error("there is a scope `{name}` already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is none of that name.
    #[error("there is no scope `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All scopes.
#[derive(Clone)]
pub struct Scopes {
    db: Db,
}

impl Scopes {
    /// The scopes in a database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// A part of the list, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, page: &Page) -> Result<Vec<Scope>, StoreError> {
        let rows = rows::list(&self.db, &page.like(), page.offset.into(), page.limit.into()).await?;
        rows.into_iter().map(read).collect()
    }

    /// The scope of a name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, name: &str) -> Result<Option<Scope>, StoreError> {
        if name.contains('\0') {
            return Ok(None);
        }
        rows::find(&self.db, name).await?.map(read).transpose()
    }

    /// Adds a scope.
    ///
    /// # Errors
    /// [`PutScopeError`].
    pub async fn add(&self, scope: Scope) -> Result<(), PutScopeError> {
        self.put(scope, Put::New).await
    }

    /// Adds a scope that the house itself needs, unless there is one of that name: it wants a password not older than ten
    /// minutes.
    ///
    /// # Errors
    /// [`PutScopeError`].
    pub async fn ensure(&self, name: &str, display_name: &str) -> Result<(), PutScopeError> {
        let scope = Scope {
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            description: String::new(),
            password_required: true,
            password_max_age_s: 600,
            groups: BTreeMap::new(),
        };
        match self.add(scope).await {
            Err(PutScopeError::NameTaken { .. }) => Ok(()),
            added => added,
        }
    }

    /// Replaces everything of a scope but its name.
    ///
    /// # Errors
    /// [`PutScopeError`].
    pub async fn set(&self, scope: Scope) -> Result<(), PutScopeError> {
        self.put(scope, Put::All).await
    }

    /// Changes a scope that was read as `old`: writes what is otherwise in `new`. What others have changed meanwhile stays as
    /// they left it; the groups are one thing.
    ///
    /// # Errors
    /// [`PutScopeError`].
    pub async fn change(&self, old: Scope, new: Scope) -> Result<(), PutScopeError> {
        self.put(new, Put::Over(old)).await
    }

    /// Deletes a scope; nobody has it any more. False means that there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, name: &str) -> Result<bool, StoreError> {
        if name.contains('\0') { Ok(false) } else { rows::delete(&self.db, name).await }
    }

    async fn put(&self, scope: Scope, how: Put) -> Result<(), PutScopeError> {
        let errors = scope.errors();
        if !errors.is_empty() {
            return Err(PutScopeError::Invalid(errors));
        }
        let scope = Arc::new((scope, how));
        let work = self.db.transaction(move |transaction| {
            let scope = Arc::clone(&scope);
            Box::pin(async move { put(transaction, &scope.0, &scope.1).await })
        });
        work.await
    }
}

/// What is written of a scope.
enum Put {
    /// All of one that is new.
    New,
    /// All of one that there is.
    All,
    /// What differs from what it was.
    Over(Scope),
}

impl Scope {
    /// This one where it differs from `old`, else `current`.
    fn over(self, old: &Self, current: Self) -> Self {
        Self {
            name: current.name,
            display_name: picked(self.display_name, &old.display_name, current.display_name),
            description: picked(self.description, &old.description, current.description),
            password_required: picked(self.password_required, &old.password_required, current.password_required),
            password_max_age_s: picked(self.password_max_age_s, &old.password_max_age_s, current.password_max_age_s),
            groups: picked(self.groups, &old.groups, current.groups),
        }
    }

    /// All that is wrong with it.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if let Some(error) = name_error(&self.name) {
            errors.push(format!("name: {error}"));
        }
        identity::check_text(&mut errors, "display_name", &self.display_name, identity::NAME_CHARS_MAX);
        identity::check_text(&mut errors, "description", &self.description, identity::DESCRIPTION_CHARS_MAX);
        if !(0..=MAX_AGE_S_MAX).contains(&self.password_max_age_s) {
            errors.push(format!("password_max_age: expected 0 to {MAX_AGE_S_MAX} seconds"));
        }
        for (name, group) in &self.groups {
            if name.is_empty() || name.chars().count() > identity::NAME_CHARS_MAX || name.contains('\0') {
                errors.push(format!("scheme: the name of a group has 1 to {} characters", identity::NAME_CHARS_MAX));
            }
            let distinct: std::collections::BTreeSet<_> = group.schemes.iter().collect();
            if distinct.len() != group.schemes.len() {
                errors.push(format!("scheme: the group `{name}` names a scheme twice"));
            }
            if group.schemes.iter().any(|scheme| super::instances::check_name(scheme).is_err()) {
                errors.push(format!("scheme: the group `{name}` names a scheme that cannot be"));
            }
            if group.required == 0 || usize::try_from(group.required).is_ok_and(|n| n > group.schemes.len()) {
                errors.push(format!(
                    "scheme_required: the group `{name}` requires {} of {} schemes",
                    group.required,
                    group.schemes.len()
                ));
            }
        }
        errors
    }
}

async fn put(transaction: &Transaction<'_>, scope: &Scope, how: &Put) -> Result<(), PutScopeError> {
    let name = scope.name.clone();
    let mut scope = scope.clone();
    if let Put::Over(old) = how {
        let current = rows::find_inside(transaction, &name).await?.map(read).transpose()?;
        let Some(current) = current else { return Err(PutScopeError::Unknown { name }) };
        scope = scope.over(old, current);
    }
    let row = write(scope);
    match how {
        Put::New if !rows::insert(transaction, &row).await? => return Err(PutScopeError::NameTaken { name }),
        Put::All | Put::Over(_) if !rows::update(transaction, &row).await? => {
            return Err(PutScopeError::Unknown { name });
        }
        _ => {}
    }
    Ok(rows::put_groups(transaction, &row).await?)
}

/// What is wrong with a scope's name: it is a `scope-token` (RFC 6749, section 3.3), and no path separator.
fn name_error(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > identity::NAME_CHARS_MAX {
        return Some(format!("the name of a scope has 1 to {} characters", identity::NAME_CHARS_MAX));
    }
    let possible = |found: char| found.is_ascii_graphic() && !matches!(found, '"' | '\\' | '/');
    let found = name.chars().find(|found| !possible(*found))?;
    Some(format!("the name of a scope holds {found:?}, expected visible ASCII without \", / and \\"))
}

fn read(row: ScopeRow) -> Result<Scope, StoreError> {
    let ScopeRow { name, display_name, description, password_required, password_max_age_s, groups, .. } = row;
    let group = |group: GroupRow| {
        let damaged = |_| StoreError::Damaged {
            what: format!("the scope `{name}`"),
            reason: format!("its group `{}` requires {}", group.name, group.required),
        };
        let required = u32::try_from(group.required).map_err(damaged)?;
        Ok((group.name, SchemeGroup { required, schemes: group.schemes }))
    };
    let groups = groups.into_iter().map(group).collect::<Result<_, StoreError>>()?;
    Ok(Scope { name, display_name, description, password_required, password_max_age_s, groups })
}

fn write(scope: Scope) -> ScopeRow {
    let search = folded(&[&scope.name, &scope.display_name, &scope.description]);
    let Scope { name, display_name, description, password_required, password_max_age_s, groups } = scope;
    let group = |(name, group): (String, SchemeGroup)| GroupRow {
        name,
        required: group.required.into(),
        schemes: group.schemes,
    };
    let groups = groups.into_iter().map(group).collect();
    ScopeRow { name, display_name, description, password_required, password_max_age_s, search, groups }
}

/// A hundred years.
const MAX_AGE_S_MAX: i64 = 100 * 366 * 86_400;
