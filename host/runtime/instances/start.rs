//! The start of the process: what the configuration declares, what crashed before, and every enabled instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ChangeError, PLUGIN, Plan, Runtime, Status, key};
use crate::domain::instances::{DeclareError, InstanceRecord};
use crate::runtime::back_ends::is_built_in;
use crate::runtime::libraries::Closed;
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
    /// Libraries that ended a process while it opened them, with the reason, by file name.
    pub refused: BTreeMap<String, String>,
}

impl Start {
    /// Why a library is better not opened, by its file name: it crashed too often, if not at work then when it was loaded.
    #[must_use]
    pub fn keeps_closed(&self, file: &str) -> Option<Closed> {
        if let Some(reason) = self.refused.get(file) {
            return Some(Closed { reason: reason.clone(), for_good: true });
        }
        let of_library =
            |quarantined: &&Quarantined| quarantined.instance.is_none() && quarantined.library.as_deref() == Some(file);
        let quarantined = self.quarantine.iter().find(of_library).map(|found| format!("quarantined: {}", found.reason));
        let reason = self.without_plugins.clone().or(quarantined)?;
        Some(Closed { reason, for_good: false })
    }
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
        let records = self.stored(start, now_ms).await?;
        self.start_all(records, start.without_plugins.as_deref()).await;
        Ok(())
    }

    /// Stores what the configuration declares and who crashed too often; all instances as they are stored then.
    pub(super) async fn stored(&self, start: &Start, now_ms: i64) -> Result<Vec<InstanceRecord>, StartUpError> {
        self.0.records.declare(&self.0.shared.config.instances, now_ms).await?;
        Ok(self.quarantine(start, now_ms).await?)
    }

    /// Starts every instance of `records` that should run, and waits for all of them.
    pub(super) async fn start_all(&self, records: Vec<InstanceRecord>, without_plugins: Option<&str>) {
        self.refresh_back_ends().await;
        let mut starting = Vec::new();
        for record in records {
            if record.kind == PLUGIN {
                self.0.table.set(&record.name, Some(Mounted::NotRunning));
            }
            if !record.enabled {
                continue;
            }
            if is_built_in(&record.kind, &record.module) {
                continue;
            }
            let why_not = match (without_plugins, &record.quarantine) {
                (Some(reason), _) => Some(reason.to_owned()),
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
    }

    async fn start_one(&self, record: &InstanceRecord) {
        let _alone = self.alone(&key(&record.kind, &record.name)).await;
        self.start_now(record).await;
    }

    /// Starts an instance that should run and does not; what is stored now counts. Answers whether it runs then. The
    /// caller may change instances: see [`change`](Self::change).
    pub(super) async fn start_again(&self, kind: &str, name: &str) -> bool {
        let _alone = self.alone(&key(kind, name)).await;
        let Ok(view) = self.get(kind, name).await else { return false };
        if view.status != Status::Failed || view.record.quarantine.is_some() {
            return view.status == Status::Running;
        }
        self.start_now(&view.record).await
    }

    /// Loads the library of a module that was not opened when the server started: whoever wants an instance of it to run
    /// takes the risk. Call it before the instance's change is under way.
    pub(super) async fn wake(&self, kind: &str, module: &str) {
        let Some(file) = self.0.libraries.dormant(kind, module) else { return };
        if let Err(error) = self.reload(&file).await {
            tracing::warn!(library = file, %error, "library {file} is still not opened: {error}");
        }
    }

    /// As [`wake`](Self::wake), for an instance that may exist.
    pub(super) async fn wake_for(&self, kind: &str, name: &str) -> Result<(), ChangeError> {
        if let Some(record) = self.0.records.get(kind, name).await? {
            self.wake(kind, &record.module).await;
        }
        Ok(())
    }

    async fn start_now(&self, record: &InstanceRecord) -> bool {
        if is_built_in(&record.kind, &record.module) {
            return true;
        }
        let started = match self.module(&record.kind, &record.module).await {
            Ok(held) => match self.initialise(&Plan::from(record), &held.module).await {
                Ok(running) => self.ready(running).await.map(|ready| (ready, held)),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        match started {
            Ok((ready, _held)) => {
                self.swap_in(&record.kind, &record.name, Arc::clone(&ready));
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
        for (record, reason) in self.to_quarantine(start, &mut records) {
            self.0.records.set_quarantine(&record.kind, &record.name, Some(reason), now_ms).await?;
            record.quarantine = Some(reason.to_owned());
        }
        Ok(records)
    }

    /// Which of `records` crashed too often and are not in quarantine yet, with the reasons.
    pub(super) fn to_quarantine<'a>(
        &self,
        start: &'a Start,
        records: &'a mut [InstanceRecord],
    ) -> Vec<(&'a mut InstanceRecord, &'a str)> {
        let hit = |record: &mut InstanceRecord| {
            let hit = start.quarantine.iter().find(|quarantined| match &quarantined.instance {
                Some(instance) => *instance == key(&record.kind, &record.name),
                None => quarantined
                    .library
                    .as_ref()
                    .is_some_and(|file| self.0.libraries.declares(file, &record.kind, &record.module)),
            });
            hit.map(|quarantined| quarantined.reason.as_str())
        };
        let records = records.iter_mut().filter(|record| record.quarantine.is_none());
        records.filter_map(|record| hit(record).map(|reason| (record, reason))).collect()
    }
}
