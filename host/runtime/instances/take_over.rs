//! Taking over from a process that serves: everything is initialised beside it, and nothing is stored before it resigned.

use std::collections::BTreeMap;

use super::start::{Start, StartUpError};
use super::{Present, Runtime, key};
use crate::domain::instances::InstanceRecord;

/// The instances as they were when they were initialised, by key.
#[derive(Debug)]
pub struct Prepared {
    records: BTreeMap<String, InstanceRecord>,
    without_plugins: Option<String>,
}

impl Runtime {
    /// The keys of the instances that run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let present = self.0.present.lock();
        let running = present.iter().filter(|(_, present)| matches!(present, Present::Running(_)));
        running.map(|(key, _)| key.clone()).collect()
    }

    /// As [`start`](Self::start), but stores nothing; [`catch_up`](Self::catch_up) does once the other process resigned.
    ///
    /// # Errors
    /// As `start`.
    pub async fn prepare(&self, start: &Start) -> Result<Prepared, StartUpError> {
        let records = self.foreseen(start).await?;
        self.start_all(records.clone(), start.without_plugins.as_deref()).await;
        let records = records.into_iter().map(|record| (key(&record.kind, &record.name), record)).collect();
        Ok(Prepared { records, without_plugins: start.without_plugins.clone() })
    }

    /// The instances as this process would run them.
    async fn foreseen(&self, start: &Start) -> Result<Vec<InstanceRecord>, StartUpError> {
        let mut records = self.0.records.foresee(&self.0.shared.config.instances).await?;
        for (record, reason) in self.to_quarantine(start, &mut records) {
            record.quarantine = Some(reason.to_owned());
        }
        Ok(records)
    }

    /// Which of the instances `must_run` does not run here although it should, and why. One that was deleted, disabled or
    /// changed since [`prepare`](Self::prepare) need not: [`catch_up`](Self::catch_up) sees to it.
    ///
    /// # Errors
    /// As `start`.
    pub async fn missing(
        &self,
        start: &Start,
        prepared: &Prepared,
        must_run: &[String],
    ) -> Result<Option<String>, StartUpError> {
        let missing: Vec<_> = {
            let present = self.0.present.lock();
            let should_run = must_run.iter().filter_map(|key| {
                prepared.records.get(key).filter(|record| record.enabled).map(|record| (key, record))
            });
            let missing = should_run.filter_map(|(key, record)| match present.get(key) {
                Some(Present::Running(_)) => None,
                Some(Present::Failed(reason)) => {
                    Some((record, format!("the instance {key} runs and would not: {reason}")))
                }
                None => Some((record, format!("the instance {key} runs and would not"))),
            });
            missing.collect()
        };
        if missing.is_empty() {
            return Ok(None);
        }
        // Perhaps it could not start because somebody deletes it at this moment.
        let now = self.foreseen(start).await?;
        let is_as_it_was =
            |record: &InstanceRecord| now.iter().any(|now| now.id == record.id && runs_alike(now, record));
        Ok(missing.into_iter().find(|(record, _)| is_as_it_was(record)).map(|(_, sentence)| sentence))
    }

    /// Stores what [`start`](Self::start) stores, and brings instances, and libraries if their directory `has_changed`,
    /// in step with what was changed since [`prepare`](Self::prepare) by the process that led until now.
    ///
    /// # Errors
    /// As `start`.
    pub async fn catch_up(
        &self,
        start: &Start,
        prepared: Prepared,
        has_changed: bool,
        now_ms: i64,
    ) -> Result<(), StartUpError> {
        let Prepared { records: mut before, without_plugins } = prepared;
        if has_changed && let Err(error) = self.rescan_alone().await {
            tracing::warn!(%error, "the plug-in directory was not looked at again: {error}");
        }
        let mut changed = Vec::new();
        for record in self.stored(start, now_ms).await? {
            let same =
                before.remove(&key(&record.kind, &record.name)).is_some_and(|before| runs_alike(&before, &record));
            if same {
                continue;
            }
            tracing::info!(instance = record.name, "instance {} was changed meanwhile", record.name);
            self.swap_out(&record.kind, &record.name, None);
            changed.push(record);
        }
        for gone in before.into_values() {
            self.forget(&gone.kind, &gone.name);
        }
        self.start_all(changed, without_plugins.as_deref()).await;
        Ok(())
    }
}

/// Whether nothing differs that a running instance would notice.
fn runs_alike(one: &InstanceRecord, other: &InstanceRecord) -> bool {
    let what = |record: &InstanceRecord| {
        let InstanceRecord { id, module, parameters, enabled, grants, allow_public, quarantine, .. } = record.clone();
        (id, module, parameters, enabled, grants, allow_public, quarantine)
    };
    what(one) == what(other)
}
