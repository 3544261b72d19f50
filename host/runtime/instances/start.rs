//! The start of the process: what the configuration declares, what crashed before, and every enabled instance.

use std::collections::BTreeSet;

use super::{ChangeError, PLUGIN, Plan, Runtime, Status, key};
use crate::domain::instances::{DeclareError, InstanceRecord};
use crate::runtime::table::Mounted;

/// An instance, or all instances of a library, that crashed too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The instance's key.
    pub instance: Option<String>,
    /// The library's file name; counts when there is no instance.
    pub library: Option<String>,
    /// What administrators read.
    pub reason: String,
}

/// What the parent process says at the start.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Who crashed too often.
    pub quarantine: Vec<Quarantined>,
    /// Start no instance, for this reason.
    pub without_plugins: Option<String>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartUpError {
    /// The configuration declares an instance that cannot be.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    /// A quarantine could not be stored, or the instances could not be read.
    #[error(transparent)]
    Records(#[from] ChangeError),
}

impl Runtime {
    /// Brings the store in step with the configuration and starts every enabled instance. One that fails is shown as
    /// failed and keeps nobody else from starting.
    ///
    /// # Errors
    /// When the store fails, or the configuration declares an instance that cannot be.
    pub async fn start(&self, start: &Start, now_ms: i64) -> Result<(), StartUpError> {
        self.0.records.declare(&self.0.shared.config.instances, now_ms).await?;
        let records = self.quarantine(start, now_ms).await?;
        let mut starting = Vec::new();
        for record in records {
            if record.kind == PLUGIN {
                self.0.table.set(&record.name, Some(Mounted::NotRunning));
            }
            if !record.enabled {
                continue;
            }
            let why_not = match (&start.without_plugins, &record.quarantine) {
                (Some(reason), _) => Some(reason.clone()),
                (None, Some(reason)) => Some(format!("quarantined: {reason}")),
                (None, None) => None,
            };
            if let Some(reason) = why_not {
                tracing::warn!(instance = record.name, "instance {} is not started: {reason}", record.name);
                self.swap_out(&record.kind, &record.name, Some(reason));
                continue;
            }
            let runtime = self.clone();
            starting.push(tokio::spawn(async move { runtime.start_one(&record).await }));
        }
        for started in starting {
            let _ = started.await;
        }
        Ok(())
    }

    async fn start_one(&self, record: &InstanceRecord) {
        let _changing = self.change(&key(&record.kind, &record.name)).await;
        self.start_now(record).await;
    }

    /// Starts an instance that should run and does not; what is stored now counts. Answers whether it runs then.
    pub(super) async fn start_again(&self, kind: &str, name: &str) -> bool {
        let _changing = self.change(&key(kind, name)).await;
        let Ok(view) = self.get(kind, name).await else { return false };
        if view.status != Status::Failed || view.record.quarantine.is_some() {
            return view.status == Status::Running;
        }
        self.start_now(&view.record).await
    }

    async fn start_now(&self, record: &InstanceRecord) -> bool {
        let started = match self.module(&record.kind, &record.module).await {
            Ok(held) => self.initialise(&Plan::from(record), &held.module).await.map(|running| (running, held)),
            Err(error) => Err(error),
        };
        match started {
            Ok((running, _held)) => {
                self.swap_in(&record.kind, &record.name, running);
                true
            }
            Err(error) => {
                tracing::error!(instance = record.name, %error, "instance {} could not be started: {error}", record.name);
                self.swap_out(&record.kind, &record.name, Some(error.to_string()));
                false
            }
        }
    }

    /// Stores who crashed too often; all instances come back as they are now stored.
    async fn quarantine(&self, start: &Start, now_ms: i64) -> Result<Vec<InstanceRecord>, ChangeError> {
        let mut records = self.0.records.list(None).await?;
        for quarantined in &start.quarantine {
            let of_library: BTreeSet<(String, String)> = self
                .0
                .libraries
                .modules()
                .iter()
                .filter(|module| Some(&module.generation.file) == quarantined.library.as_ref())
                .map(|module| (module.description.kind.clone(), module.description.name.clone()))
                .collect();
            for record in &mut records {
                let hit = match &quarantined.instance {
                    Some(instance) => *instance == key(&record.kind, &record.name),
                    None => of_library.contains(&(record.kind.clone(), record.module.clone())),
                };
                if hit && record.quarantine.is_none() {
                    let reason = &quarantined.reason;
                    self.0.records.set_quarantine(&record.kind, &record.name, Some(reason), now_ms).await?;
                    record.quarantine = Some(reason.clone());
                }
            }
        }
        Ok(records)
    }
}
