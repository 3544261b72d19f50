//! Changes that administrators make: add, replace, delete, enable, disable, reset.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{InstanceView, Plan, Runtime, StartError, key};
use crate::config::DeclaredInstance;
use crate::domain::StoreError;
use crate::domain::instances::{
    AddError, ChangeError as RecordError, InstanceChange, InstanceRecord, Instances, NewInstance, check_display_name,
    check_name, drift, drift::Drift, secrets,
};
use crate::runtime::back_ends::is_built_in;
use crate::runtime::rights::may_grant;

/// What of an instance is to change; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The module; must be the one it has.
    pub module: Option<String>,
    /// Its name for people.
    pub display_name: Option<String>,
    /// What `init` gets; a mask in it means what is stored: see [`secrets::restored`].
    pub parameters: Option<Map<String, Value>>,
    /// Rights granted; `Some(None)` means all that the module needs.
    pub grants: Option<Option<Vec<String>>>,
    /// Whether a service may have public endpoints.
    pub allow_public: Option<bool>,
    /// Further settings by name, those of the instance's kind; others are passed over.
    pub settings: Map<String, Value>,
}

/// Why a change was refused; nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such instance.
    #[error("there is no {kind} instance `{name}`")]
    NotFound {
        /// The module's kind.
        kind: String,
        /// The instance's name.
        name: String,
    },
    /// What was asked is wrong, in every way that could be found.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The configuration file declares the instance.
    #[error("the {kind} instance `{name}` is declared in the configuration file; change it there")]
    Declared {
        /// The module's kind.
        kind: String,
        /// The instance's name.
        name: String,
    },
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Another process is taking over from this one.
    #[error("the server is being recycled; ask again, with a new connection")]
    Replaced,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AddError> for ChangeError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Store(error) => Self::Store(error),
            other => Self::Invalid(vec![format!("name: {other}")]),
        }
    }
}

impl From<RecordError> for ChangeError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Unknown { kind, name } => Self::NotFound { kind, name },
            RecordError::Name(error) => Self::Invalid(vec![format!("display_name: {error}")]),
            RecordError::Store(error) => Self::Store(error),
        }
    }
}

/// Refuses parameters, of which modules that are part of the host have none.
fn check_built_in(record: &InstanceRecord) -> Result<(), ChangeError> {
    if record.parameters.is_empty() {
        return Ok(());
    }
    Err(ChangeError::Invalid(vec![format!("parameters: the module `{}` has none", record.module)]))
}

impl Runtime {
    /// All instances of a kind, ordered by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, kind: &str) -> Result<Vec<InstanceView>, ChangeError> {
        let records = self.0.records.list(Some(kind)).await?;
        Ok(records.into_iter().map(|record| self.view(record)).collect())
    }

    /// One instance.
    ///
    /// # Errors
    /// NotFound, or when the store fails.
    pub async fn get(&self, kind: &str, name: &str) -> Result<InstanceView, ChangeError> {
        let record = self.0.records.get(kind, name).await?;
        let record = record.ok_or_else(|| ChangeError::NotFound { kind: kind.to_owned(), name: name.to_owned() })?;
        Ok(self.view(record))
    }

    /// Where `declared` and what is stored disagree.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn drift(&self, declared: &[DeclaredInstance]) -> Result<Vec<Drift>, ChangeError> {
        Ok(drift::between(declared, &self.0.records.list(None).await?))
    }

    /// Initialises an instance, stores it, and makes it reachable.
    ///
    /// # Errors
    /// Everything that [`ChangeError`] lists but NotFound.
    pub async fn add(&self, new: NewInstance, now_ms: i64) -> Result<(), ChangeError> {
        self.wake(&new.kind, &new.module).await;
        let _changing = self.change(&key(&new.kind, &new.name)).await?;
        let mut errors = Vec::new();
        errors.extend(check_name(&new.name).err().map(|error| format!("name: {error}")));
        errors.extend(check_display_name(&new.display_name).err().map(|error| format!("display_name: {error}")));
        if self.0.records.get(&new.kind, &new.name).await?.is_some() {
            errors.push(format!("name: the {} instance `{}` exists already", new.kind, new.name));
        }
        self.check_grants(&new.kind, &new.module, new.grants.as_deref(), &mut errors);
        errors.extend(secrets::check_without_masks(&new.parameters).err().into_iter().flatten());
        if !errors.is_empty() {
            return Err(ChangeError::Invalid(errors));
        }
        let record = Instances::draft(new, now_ms).map_err(AddError::Name)?;
        if is_built_in(&record.kind, &record.module) {
            check_built_in(&record)?;
            self.0.records.add_draft(&record).await?;
            self.refresh_back_ends().await;
            return Ok(());
        }
        let held = self.module(&record.kind, &record.module).await?;
        let running = match self.initialise(&Plan::from(&record), &held.module).await {
            Ok(running) => running,
            Err(error) => {
                self.discard_documents(&record.id).await;
                return Err(error.into());
            }
        };
        // From now on it hears of who goes.
        let ready = self.starting(running);
        if let Err(error) = self.0.records.add_draft(&record).await {
            self.retire(Some(super::Present::Running(Arc::clone(&ready))));
            self.discard_documents(&record.id).await;
            return Err(error.into());
        }
        self.swap_in(&record.kind, &record.name, Arc::clone(&ready));
        self.refresh_back_ends_of(&record.kind).await;
        let rights = self.rights_of(&record).unwrap_or_default().join(", ");
        let InstanceRecord { name, module, .. } = record;
        tracing::info!(instance = name, module, rights, "instance {name} was added");
        Ok(())
    }

    /// Changes an instance: starts it anew with what is new when it is enabled, else only checks the parameters.
    ///
    /// # Errors
    /// Everything that [`ChangeError`] lists.
    pub async fn replace(&self, kind: &str, name: &str, edit: Edit, now_ms: i64) -> Result<(), ChangeError> {
        self.wake_for(kind, name).await?;
        let _changing = self.change(&key(kind, name)).await?;
        let mut record = self.changeable(kind, name).await?;
        let mut errors = Vec::new();
        if edit.module.as_ref().is_some_and(|module| *module != record.module) {
            errors.push(format!("module: it is `{}`; an instance keeps its module", record.module));
        }
        record.display_name = edit.display_name.unwrap_or(record.display_name);
        match edit.parameters.map(|sent| secrets::restored(&record.parameters, sent)) {
            Some(Ok(parameters)) => record.parameters = parameters,
            Some(Err(wrong)) => errors.extend(wrong),
            None => {}
        }
        record.grants = edit.grants.unwrap_or(record.grants);
        record.allow_public = edit.allow_public.unwrap_or(record.allow_public);
        match record.settings.changed(kind, &edit.settings) {
            Ok(settings) => record.settings = settings,
            Err(wrong) => errors.extend(wrong),
        }
        let replacement = InstanceChange {
            display_name: record.display_name.clone(),
            parameters: record.parameters.clone(),
            grants: record.grants.clone(),
            allow_public: record.allow_public,
            settings: record.settings.clone(),
        };
        errors.extend(check_display_name(&record.display_name).err().map(|error| format!("display_name: {error}")));
        self.check_grants(kind, &record.module, record.grants.as_deref(), &mut errors);
        if !errors.is_empty() {
            return Err(ChangeError::Invalid(errors));
        }
        if is_built_in(kind, &record.module) {
            check_built_in(&record)?;
            self.0.records.replace(kind, name, replacement, now_ms).await?;
            self.refresh_back_ends().await;
            return Ok(());
        }
        let held = self.module(kind, &record.module).await?;
        let running = if record.enabled {
            let running = self.initialise(&Plan::from(&record), &held.module).await?;
            Some(self.ready(running).await?)
        } else {
            held.module.schema.check(&record.parameters).map_err(StartError::Parameters)?;
            None
        };
        let stored = async {
            self.0.records.replace(kind, name, replacement, now_ms).await?;
            if running.is_some() { self.lift(&record, now_ms).await } else { Ok(()) }
        };
        if let Err(error) = stored.await {
            self.retire(running.map(|ready| super::Present::Running(Arc::clone(&ready))));
            return Err(error);
        }
        if let Some(ready) = running {
            self.swap_in(kind, name, Arc::clone(&ready));
        }
        self.refresh_back_ends_of(kind).await;
        tracing::info!(instance = name, "instance {name} was changed");
        Ok(())
    }

    /// Deletes an instance, running or not.
    ///
    /// # Errors
    /// NotFound, Declared, or when the store fails.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<(), ChangeError> {
        let _changing = self.change(&key(kind, name)).await?;
        let record = self.changeable(kind, name).await?;
        let _held = self.module(kind, &record.module).await;
        self.0.records.delete(kind, name).await?;
        self.forget(kind, name);
        self.0.shared.documents.forget(&record.id);
        self.refresh_back_ends_of(kind).await;
        // Whom it had not forgotten, it keeps nothing of any more.
        let (departing, key) = (self.0.shared.access.users.departing().clone(), key(kind, name));
        self.0.shared.runtime.spawn(async move {
            if let Err(error) = departing.see_off(&key).await {
                tracing::warn!(%error, "names may be kept back for instance {key}, which was deleted: {error}");
            }
        });
        tracing::info!(instance = name, "instance {name} was deleted");
        Ok(())
    }

    /// Starts an instance and has it start from now on; lifts its quarantine. Nothing happens to one that runs.
    ///
    /// # Errors
    /// NotFound, Start, or when the store fails.
    pub async fn enable(&self, kind: &str, name: &str, now_ms: i64) -> Result<(), ChangeError> {
        self.wake_for(kind, name).await?;
        let _changing = self.change(&key(kind, name)).await?;
        let view = self.get(kind, name).await?;
        if view.record.enabled && view.status == super::Status::Running {
            return Ok(());
        }
        if is_built_in(kind, &view.record.module) {
            self.0.records.set_enabled(kind, name, true, now_ms).await?;
            self.lift(&view.record, now_ms).await?;
            self.refresh_back_ends().await;
            return Ok(());
        }
        let held = self.module(kind, &view.record.module).await?;
        let running = self.initialise(&Plan::from(&view.record), &held.module).await?;
        let ready = self.ready(running).await?;
        let stored = async {
            self.0.records.set_enabled(kind, name, true, now_ms).await?;
            self.lift(&view.record, now_ms).await
        };
        if let Err(error) = stored.await {
            self.retire(Some(super::Present::Running(Arc::clone(&ready))));
            return Err(error);
        }
        self.swap_in(kind, name, Arc::clone(&ready));
        self.refresh_back_ends_of(kind).await;
        tracing::info!(instance = name, "instance {name} was enabled");
        Ok(())
    }

    /// Stops an instance and keeps it from starting; requests get 503.
    ///
    /// # Errors
    /// NotFound, or when the store fails.
    pub async fn disable(&self, kind: &str, name: &str, now_ms: i64) -> Result<(), ChangeError> {
        let _changing = self.change(&key(kind, name)).await?;
        let record = self.get(kind, name).await?.record;
        let _held = self.module(kind, &record.module).await;
        self.0.records.set_enabled(kind, name, false, now_ms).await?;
        self.swap_out(kind, name, None);
        self.refresh_back_ends_of(kind).await;
        tracing::info!(instance = name, "instance {name} was disabled");
        Ok(())
    }

    /// Starts an enabled instance anew; lifts its quarantine. Nothing happens to a disabled one.
    ///
    /// # Errors
    /// NotFound, Start (the old one goes on then), or when the store fails.
    pub async fn reset(&self, kind: &str, name: &str, now_ms: i64) -> Result<(), ChangeError> {
        self.wake_for(kind, name).await?;
        let _changing = self.change(&key(kind, name)).await?;
        let record = self.get(kind, name).await?.record;
        if !record.enabled {
            return Ok(());
        }
        if is_built_in(kind, &record.module) {
            return self.lift(&record, now_ms).await;
        }
        let held = self.module(kind, &record.module).await?;
        let running = self.initialise(&Plan::from(&record), &held.module).await?;
        let ready = self.ready(running).await?;
        if let Err(error) = self.lift(&record, now_ms).await {
            self.retire(Some(super::Present::Running(Arc::clone(&ready))));
            return Err(error);
        }
        self.swap_in(kind, name, Arc::clone(&ready));
        tracing::info!(instance = name, "instance {name} was reset");
        Ok(())
    }

    /// The record of an instance that REST may change.
    async fn changeable(&self, kind: &str, name: &str) -> Result<InstanceRecord, ChangeError> {
        let record = self.get(kind, name).await?.record;
        if record.declared {
            return Err(ChangeError::Declared { kind: kind.to_owned(), name: name.to_owned() });
        }
        Ok(record)
    }

    /// Ends a quarantine, if there is one.
    async fn lift(&self, record: &InstanceRecord, now_ms: i64) -> Result<(), ChangeError> {
        if record.quarantine.is_some() {
            self.0.records.set_quarantine(&record.kind, &record.name, None, now_ms).await?;
            (self.0.on_lifted)(&key(&record.kind, &record.name));
        }
        Ok(())
    }

    /// Rights can be granted that the module says it needs, no others; of one that needs all, any.
    fn check_grants(&self, kind: &str, module: &str, grants: Option<&[String]>, errors: &mut Vec<String>) {
        let Some(module) = self.0.libraries.module(kind, module) else { return };
        let needs = &module.description.needs;
        for grant in grants.unwrap_or_default() {
            if !may_grant(needs, grant) {
                errors.push(format!(
                    "grants: `{grant}` is not among what the module needs ({})",
                    if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") }
                ));
            }
        }
    }
}
