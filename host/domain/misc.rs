//! Small settings that administrators' programs keep here by name, and that mean nothing to the house.
//!
//! Start at [`Misc`]. What the house itself goes by is in `crate::config`.

use serde_json::Value;

use super::search::{Page, folded};
use super::{StoreError, identity};
use crate::store::Db;
use crate::store::misc_config::{self as rows, MiscRow};

/// A setting.
#[derive(Clone, Debug, PartialEq)]
pub struct MiscEntry {
    /// What it is found by: 1 to 128 characters.
    pub name: String,
    /// What it is, for those who keep it: at most 128 characters.
    pub kind: String,
    /// Any JSON.
    pub value: Value,
}

/// Why a setting was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutMiscError {
    /// Something is wrong with it; all of it.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All settings.
#[derive(Clone)]
pub struct Misc(Db);

impl Misc {
    /// The settings in a database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// A part of the list, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, page: &Page) -> Result<Vec<MiscEntry>, StoreError> {
        let rows = rows::list(&self.0, &page.like(), page.offset.into(), page.limit.into()).await?;
        rows.into_iter().map(read).collect()
    }

    /// The setting of a name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, name: &str) -> Result<Option<MiscEntry>, StoreError> {
        if name.contains('\0') {
            return Ok(None);
        }
        rows::find(&self.0, name).await?.map(read).transpose()
    }

    /// Adds a setting, or replaces that of the same name.
    ///
    /// # Errors
    /// [`PutMiscError`].
    pub async fn put(&self, entry: MiscEntry) -> Result<(), PutMiscError> {
        let MiscEntry { name, kind, value } = entry;
        let mut errors = Vec::new();
        if name.is_empty() || name.chars().any(char::is_control) {
            errors.push("name: expected characters, none of them a control character".to_owned());
        }
        identity::check_text(&mut errors, "name", &name, NAME_CHARS_MAX);
        identity::check_text(&mut errors, "type", &kind, NAME_CHARS_MAX);
        let value = value.to_string();
        if value.len() > VALUE_BYTES_MAX {
            errors.push(format!("value: has {} bytes, at most {VALUE_BYTES_MAX} are possible", value.len()));
        }
        if !errors.is_empty() {
            return Err(PutMiscError::Invalid(errors));
        }
        let search = folded(&[&name, &kind]);
        Ok(rows::put(&self.0, &MiscRow { name, kind, value }, &search).await?)
    }

    /// Deletes a setting. False means that there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, name: &str) -> Result<bool, StoreError> {
        if name.contains('\0') { Ok(false) } else { rows::delete(&self.0, name).await }
    }
}

fn read(row: MiscRow) -> Result<MiscEntry, StoreError> {
    let MiscRow { name, kind, value } = row;
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: format!("the setting `{name}`"),
        reason: error.to_string(),
    };
    let value = serde_json::from_str(&value).map_err(damaged)?;
    Ok(MiscEntry { name, kind, value })
}

const NAME_CHARS_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 64 << 10;
