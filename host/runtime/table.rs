//! Which instance answers under which name: read at every request, swapped as a whole at every change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::running::{Call, Running};

/// What stands under a name.
#[derive(Clone)]
pub(super) enum Mounted {
    /// An instance that answers.
    Running(Arc<Running>),
    /// An instance that exists and does not run; the reason is for the log and for administrators.
    NotRunning,
}

/// The table of instances of kind `plugin` by name.
#[derive(Default)]
pub(super) struct Table(ArcSwap<HashMap<Box<str>, Mounted>>);

/// What a look-up found.
pub enum Looked {
    /// A call of a running instance has begun.
    Call(Call),
    /// The instance exists and does not run.
    NotRunning,
    /// There is none of that name.
    Nothing,
}

impl Table {
    /// Begins a call of the instance of that name.
    #[must_use]
    pub(super) fn begin(&self, name: &str) -> Looked {
        loop {
            match self.0.load().get(name) {
                Some(Mounted::Running(running)) => {
                    // A retired one was swapped out before: the next look finds its successor.
                    if let Some(call) = running.begin() {
                        return Looked::Call(call);
                    }
                }
                Some(Mounted::NotRunning) => return Looked::NotRunning,
                None => return Looked::Nothing,
            }
        }
    }

    /// Puts running instances under their names, all at once: nobody sees some of them and not yet others.
    pub(super) fn set_running(&self, running: &[(&str, Arc<Running>)]) {
        self.0.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.extend(running.iter().map(|(name, running)| ((*name).into(), Mounted::Running(Arc::clone(running)))));
            table
        });
    }

    /// Puts something under a name, or takes the name away; what was there before comes back.
    pub(super) fn set(&self, name: &str, mounted: Option<Mounted>) -> Option<Mounted> {
        let previous = self.0.rcu(|table| {
            let mut table = HashMap::clone(table);
            match mounted.clone() {
                Some(mounted) => table.insert(name.into(), mounted),
                None => table.remove(name),
            };
            table
        });
        previous.get(name).cloned()
    }
}
