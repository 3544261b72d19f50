//! Records of instances: which there are, with which parameters, and whether they should run.
//!
//! Start at [`Instances`]. What runs and how it is doing is the runtime's business: see `crate::runtime`.

pub mod drift;
mod name;
pub mod secrets;
mod settings;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

pub use self::name::{NameError, check_display_name, check_name};
pub use self::settings::Settings;
use super::audit::{self, Act, Actor};
use super::{StoreError, new_id};
use crate::config::DeclaredInstance;
use crate::store::audit_events;
use crate::store::instances::{self as rows, InstanceRow, InstanceUpdate};
use crate::store::{Db, Transaction};

/// A module with a name and parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceRecord {
    /// What everything else refers to, a UUID of version 7; a name that is given anew has another.
    pub id: String,
    /// The module's kind.
    pub kind: String,
    /// The module's name.
    pub module: String,
    /// The instance's name, unique within the kind.
    pub name: String,
    /// The instance's name for people.
    pub display_name: String,
    /// What `init` gets.
    pub parameters: Map<String, Value>,
    /// Whether it should run.
    pub enabled: bool,
    /// Rights granted; `None` means all that the module needs.
    pub grants: Option<Vec<String>>,
    /// Whether a service may have public endpoints.
    pub allow_public: bool,
    /// Whether the configuration file declares it.
    pub declared: bool,
    /// Why it was taken out and must not run whatever `enabled` says; `None` means that it was not.
    pub quarantine: Option<String>,
    /// What else administrators set of it.
    pub settings: Settings,
    /// When it was added, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When anything of it was changed last, in milliseconds since 1970.
    pub updated_at_ms: i64,
}

/// What is said of an instance that is added.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// The module's kind.
    pub kind: String,
    /// The module's name.
    pub module: String,
    /// The instance's name.
    pub name: String,
    /// The instance's name for people.
    pub display_name: String,
    /// What `init` gets.
    pub parameters: Map<String, Value>,
    /// Whether it should run.
    pub enabled: bool,
    /// Rights granted; `None` means all that the module needs.
    pub grants: Option<Vec<String>>,
    /// Whether a service may have public endpoints.
    pub allow_public: bool,
    /// What else is set of it.
    pub settings: Settings,
}

/// What can be changed of an instance at once. Its module stays, so that whatever refers to it keeps its meaning.
#[derive(Clone, Debug)]
pub struct InstanceChange {
    /// The instance's name for people.
    pub display_name: String,
    /// What `init` gets.
    pub parameters: Map<String, Value>,
    /// Rights granted; `None` means all that the module needs.
    pub grants: Option<Vec<String>>,
    /// Whether a service may have public endpoints.
    pub allow_public: bool,
    /// What else is set of it.
    pub settings: Settings,
}

/// Why an instance was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// A name is not a possible one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another has the name.
    #[error("there is an instance `{kind}/{name}` already")]
    NameTaken {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an instance was not changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of that name.
    #[error("there is no instance `{kind}/{name}`")]
    Unknown {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// The name for people is not a possible one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the declarations of the configuration file were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// A name is not a possible one.
    #[error("the configuration declares the instance `{kind}/{name}`: {error}")]
    Name {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// What is set is wrong.
    #[error("the configuration declares the instance `{kind}/{name}`: {}", .errors.join("; "))]
    Settings {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// Everything that is wrong.
        errors: Vec<String>,
    },
    /// What was shown instead of a secret is no value.
    #[error("the configuration declares the instance `{kind}/{name}`: {}", .errors.join("; "))]
    Parameters {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// Everything that is wrong.
        errors: Vec<String>,
    },
    /// A name is declared twice.
    #[error("the configuration declares the instance `{kind}/{name}` twice")]
    Twice {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// The name belongs to an instance of another module, whose data must not pass to this one.
    #[error(
        "the configuration declares the instance `{kind}/{name}` of module `{declared}`, but it exists with module \
         `{stored}`; declare another name, or start without the declaration and delete the instance"
    )]
    OtherModule {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// The module that is stored.
        stored: String,
        /// The module that is declared.
        declared: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The records of all instances.
#[derive(Clone)]
pub struct Instances {
    db: Db,
    schemas: Arc<OnceLock<Schemas>>,
}

/// Gives the schema of the parameters of a module, by kind and name, if a library declares it.
pub type Schemas = Arc<dyn Fn(&str, &str) -> Option<Value> + Send + Sync>;

impl Instances {
    /// The records in a database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, schemas: Arc::default() }
    }

    /// Says where the schemas are by which the audit log knows secrets; the first time counts. Before, every text is one.
    pub fn connect_schemas(&self, schemas: Schemas) {
        let _ = self.schemas.set(schemas);
    }

    /// All instances, or those of one kind, by kind and name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, kind: Option<&str>) -> Result<Vec<InstanceRecord>, StoreError> {
        rows::list(&self.db, kind).await?.into_iter().map(from_row).collect()
    }

    /// The instance of a name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, kind: &str, name: &str) -> Result<Option<InstanceRecord>, StoreError> {
        rows::find(&self.db, kind, name).await?.map(from_row).transpose()
    }

    /// The settings of the enabled instances of a kind, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settings(&self, kind: &str) -> Result<Vec<(String, Settings)>, StoreError> {
        let rows = rows::settings(&self.db, kind).await?.into_iter();
        rows.map(|(name, settings)| Ok((name.clone(), read_settings(kind, &name, &settings)?))).collect()
    }

    /// Adds an instance. Of many that add the same name at once, one succeeds.
    ///
    /// # Errors
    /// [`AddError`]; then nothing is left behind.
    pub async fn add(&self, new: NewInstance, now_ms: i64) -> Result<InstanceRecord, AddError> {
        let record = Self::draft(new, now_ms)?;
        self.add_draft(&record).await?;
        Ok(record)
    }

    /// The record of an instance that is not stored yet, with the id that it will have.
    ///
    /// # Errors
    /// When a name is not a possible one.
    pub fn draft(new: NewInstance, now_ms: i64) -> Result<InstanceRecord, NameError> {
        check_name(&new.name)?;
        check_display_name(&new.display_name)?;
        Ok(InstanceRecord {
            id: new_id(now_ms),
            kind: new.kind,
            module: new.module,
            name: new.name,
            display_name: new.display_name,
            parameters: new.parameters,
            enabled: new.enabled,
            grants: new.grants,
            allow_public: new.allow_public,
            declared: false,
            quarantine: None,
            settings: new.settings,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        })
    }

    /// Adds an instance, with the documents that it has written already. Of many that add the same name at once, one
    /// succeeds.
    ///
    /// # Errors
    /// [`AddError`]; then nothing is stored.
    pub async fn add_draft(&self, record: &InstanceRecord) -> Result<(), AddError> {
        if rows::insert(&self.db, to_row(record.clone())).await? {
            Ok(())
        } else {
            Err(AddError::NameTaken { kind: record.kind.clone(), name: record.name.clone() })
        }
    }

    /// Changes an instance. Whether it should run and whether it is in quarantine stays as it is. What the configuration
    /// declares is back when the server starts again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn replace(&self, kind: &str, name: &str, to: InstanceChange, now_ms: i64) -> Result<(), ChangeError> {
        check_display_name(&to.display_name)?;
        let update = InstanceUpdate {
            display_name: to.display_name,
            parameters: Value::Object(to.parameters).to_string(),
            grants: to.grants.map(|grants| Value::from(grants).to_string()),
            allow_public: to.allow_public,
            settings: written(&to.settings),
        };
        known(kind, name, rows::update(&self.db, kind, name, update, now_ms).await?)
    }

    /// Says whether an instance should run.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_enabled(&self, kind: &str, name: &str, enabled: bool, now_ms: i64) -> Result<(), ChangeError> {
        known(kind, name, rows::set_enabled(&self.db, kind, name, enabled, now_ms).await?)
    }

    /// Takes an instance out for a reason, or, with `None`, lifts that.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_quarantine(
        &self,
        kind: &str,
        name: &str,
        reason: Option<&str>,
        now_ms: i64,
    ) -> Result<(), ChangeError> {
        known(kind, name, rows::set_quarantine(&self.db, kind, name, reason, now_ms).await?)
    }

    /// Deletes an instance. One that the configuration declares is back, as a new one, when the server starts again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn delete(&self, kind: &str, name: &str) -> Result<(), ChangeError> {
        known(kind, name, rows::delete(&self.db, kind, name).await?)
    }

    /// All instances as they will be after [`declare`](Self::declare), by kind and name, but for those that are new then:
    /// they have no id before. Stores nothing.
    ///
    /// # Errors
    /// [`DeclareError`].
    pub async fn foresee(&self, declarations: &[DeclaredInstance]) -> Result<Vec<InstanceRecord>, DeclareError> {
        check_declarations(declarations)?;
        let declared = |row: &InstanceRow| {
            declarations.iter().find(|declared| (&declared.kind, &declared.name) == (&row.kind, &row.name)).cloned()
        };
        let rows = rows::list(&self.db, None).await?.into_iter();
        let rows = rows.map(|row| match declared(&row) {
            Some(declared) => declared_over(&row, declared, row.updated_at),
            None => Ok(undeclared(row)),
        });
        rows.map(|row| Ok(from_row(row?)?)).collect()
    }

    /// Takes over what the configuration file declares: all of it or, with an error, nothing.
    ///
    /// What is declared for the first time is added, or adopted where an administrator had added it, and enabled. What
    /// stays declared gets the declared parameters and keeps its id, its quarantine and whether it should run. What is
    /// not declared any more stops, since whoever takes a plug-in out of the file wants it out; but it stays as an
    /// ordinary, disabled instance with all its data, to be enabled or deleted. Nodes on one database must declare the
    /// same.
    ///
    /// # Errors
    /// [`DeclareError`].
    pub async fn declare(&self, declarations: &[DeclaredInstance], now_ms: i64) -> Result<(), DeclareError> {
        check_declarations(declarations)?;
        let declarations: Arc<[DeclaredInstance]> = declarations.into();
        let schemas = self.schemas.get().cloned().unwrap_or_else(|| Arc::new(|_, _| None));
        self.db
            .transaction(move |transaction| {
                let (declarations, schemas) = (Arc::clone(&declarations), Arc::clone(&schemas));
                Box::pin(async move { take_over(transaction, &declarations, &schemas, now_ms).await })
            })
            .await
    }
}

/// Compares what is declared with what is stored, and writes the differences.
async fn take_over(
    transaction: &Transaction<'_>,
    declarations: &[DeclaredInstance],
    schemas: &Schemas,
    now_ms: i64,
) -> Result<(), DeclareError> {
    let stored = rows::list_inside(transaction).await?;
    let mut stored: HashMap<_, _> = stored.into_iter().map(|row| ((row.kind.clone(), row.name.clone()), row)).collect();
    for declared in declarations.iter().cloned() {
        match stored.remove(&(declared.kind.clone(), declared.name.clone())) {
            None => {
                let new = declared_row(declared, now_ms);
                note(transaction, schemas, "instance.add", (None, &new), now_ms).await?;
                rows::insert_inside(transaction, new).await?;
            }
            Some(old) => {
                let new = declared_over(&old, declared, old.updated_at)?;
                if new != old {
                    note(transaction, schemas, "instance.change", (Some(&old), &new), now_ms).await?;
                    rows::update_declaration(transaction, InstanceRow { updated_at: now_ms, ..new }).await?;
                }
            }
        }
    }
    for old in stored.into_values().filter(|row| row.declared) {
        let new = undeclared(old.clone());
        note(transaction, schemas, "instance.change", (Some(&old), &new), now_ms).await?;
        rows::update_declaration(transaction, InstanceRow { updated_at: now_ms, ..new }).await?;
    }
    Ok(())
}

/// Notes what the configuration changes, with the change itself.
async fn note(
    transaction: &Transaction<'_>,
    schemas: &Schemas,
    action: &str,
    (old, new): (Option<&InstanceRow>, &InstanceRow),
    now_ms: i64,
) -> Result<(), StoreError> {
    let schema = schemas(&new.kind, &new.module);
    let shown = |row: &InstanceRow| {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let parameters = serde_json::from_str(&row.parameters).unwrap_or_default();
        json!({
            "module": row.module,
            "display_name": row.display_name,
            "parameters": secrets::marked(schema.as_ref(), &parameters),
            "grants": row.grants.as_deref().map(json),
            "allow_public": row.allow_public,
            "settings": json(&row.settings),
            "enabled": row.enabled,
            "declared": row.declared,
        })
    };
    let act = Act {
        actor: Actor::Configuration,
        peer: String::new(),
        action: action.to_owned(),
        object_kind: "instance".to_owned(),
        object_id: format!("{}/{}", new.kind, new.name),
        before: old.map(shown),
        request_id: String::new(),
    };
    audit_events::insert_inside(transaction, audit::done(act, Some(&shown(new)), now_ms)).await
}

/// Whether the names are possible ones, each given once, and the settings those of their kinds.
///
/// # Errors
/// [`DeclareError`], but for what only the store knows.
pub fn check_declarations(declarations: &[DeclaredInstance]) -> Result<(), DeclareError> {
    let mut seen = HashSet::new();
    for DeclaredInstance { kind, name, display_name, settings, parameters, .. } in declarations {
        let (kind, name) = (kind.clone(), name.clone());
        if let Err(error) = check_name(&name).and_then(|()| check_display_name(display_name)) {
            return Err(DeclareError::Name { kind, name, error });
        }
        if let Err(errors) = Settings::declared(&kind, settings) {
            return Err(DeclareError::Settings { kind, name, errors });
        }
        if let Err(errors) = secrets::check_without_masks(parameters) {
            return Err(DeclareError::Parameters { kind, name, errors });
        }
        if !seen.insert((kind.clone(), name.clone())) {
            return Err(DeclareError::Twice { kind, name });
        }
    }
    Ok(())
}

/// What is stored, with what is declared.
fn declared_over(old: &InstanceRow, declared: DeclaredInstance, now_ms: i64) -> Result<InstanceRow, DeclareError> {
    if old.module != declared.module {
        let DeclaredInstance { kind, name, module, .. } = declared;
        return Err(DeclareError::OtherModule { kind, name, stored: old.module.clone(), declared: module });
    }
    Ok(InstanceRow {
        id: old.id.clone(),
        enabled: old.enabled || !old.declared,
        quarantine: old.quarantine.clone(),
        created_at: old.created_at,
        ..declared_row(declared, now_ms)
    })
}

/// What is stored, when it is not declared.
fn undeclared(old: InstanceRow) -> InstanceRow {
    if !old.declared {
        return old;
    }
    // What cannot be read is left as it is, and told where it is read.
    let settings = read_settings(&old.kind, &old.name, &old.settings);
    let settings = settings.map(|settings| written(&Settings { orphan: true, ..settings }));
    InstanceRow { enabled: false, declared: false, settings: settings.unwrap_or_else(|_| old.settings.clone()), ..old }
}

fn declared_row(declared: DeclaredInstance, now_ms: i64) -> InstanceRow {
    // They were checked with all declarations.
    let settings = Settings::declared(&declared.kind, &declared.settings).unwrap_or_default();
    to_row(InstanceRecord {
        id: new_id(now_ms),
        kind: declared.kind,
        module: declared.module,
        name: declared.name,
        display_name: declared.display_name,
        parameters: declared.parameters,
        enabled: true,
        grants: declared.grants,
        allow_public: declared.allow_public,
        declared: true,
        quarantine: None,
        settings,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
    })
}

fn to_row(record: InstanceRecord) -> InstanceRow {
    InstanceRow {
        id: record.id,
        kind: record.kind,
        module: record.module,
        name: record.name,
        display_name: record.display_name,
        parameters: Value::Object(record.parameters).to_string(),
        enabled: record.enabled,
        grants: record.grants.map(|grants| Value::from(grants).to_string()),
        allow_public: record.allow_public,
        declared: record.declared,
        quarantine: record.quarantine,
        settings: written(&record.settings),
        created_at: record.created_at_ms,
        updated_at: record.updated_at_ms,
    }
}

fn from_row(row: InstanceRow) -> Result<InstanceRecord, StoreError> {
    let what = || format!("the instance `{}/{}`", row.kind, row.name);
    let damaged = |error: serde_json::Error| StoreError::Damaged { what: what(), reason: error.to_string() };
    let parameters = serde_json::from_str(&row.parameters).map_err(damaged)?;
    let grants = row.grants.as_deref().map(serde_json::from_str).transpose().map_err(damaged)?;
    let settings = read_settings(&row.kind, &row.name, &row.settings)?;
    Ok(InstanceRecord {
        id: row.id,
        kind: row.kind,
        module: row.module,
        name: row.name,
        display_name: row.display_name,
        parameters,
        enabled: row.enabled,
        grants,
        allow_public: row.allow_public,
        declared: row.declared,
        quarantine: row.quarantine,
        settings,
        created_at_ms: row.created_at,
        updated_at_ms: row.updated_at,
    })
}

fn read_settings(kind: &str, name: &str, settings: &str) -> Result<Settings, StoreError> {
    if settings.is_empty() {
        return Ok(Settings::default());
    }
    serde_json::from_str(settings).map_err(|error| StoreError::Damaged {
        what: format!("the instance `{kind}/{name}`"),
        reason: error.to_string(),
    })
}

fn written(settings: &Settings) -> String {
    // A struct of numbers and flags can always be written.
    serde_json::to_string(settings).unwrap_or_else(|_| "{}".to_owned())
}

fn known(kind: &str, name: &str, found: bool) -> Result<(), ChangeError> {
    if found { Ok(()) } else { Err(ChangeError::Unknown { kind: kind.to_owned(), name: name.to_owned() }) }
}
