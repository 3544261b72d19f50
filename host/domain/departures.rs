//! People who go, and whoever may keep something of them: plug-ins' documents, schemes, middlewares, and every instance that
//! wants to hear of it.
//!
//! Start at [`Departing`]. What is left to do is written with the deletion, and worked off then, once a minute, and before
//! anybody else gets the name. An instance that runs and does not forget keeps the name from being given anew; one that
//! does not run keeps nothing back: nobody can have used it meanwhile. It is told before anybody can reach it again.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;

use super::documents::Documents;
use super::identity::DATABASE;
use super::instances::{InstanceRecord, Instances};
use super::names::NameLocks;
use super::{StoreError, now_ms};
use crate::store::departures::{self as rows, DepartureRow};
use crate::store::{Db, Transaction, users};

/// What came of telling an instance that somebody is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It keeps nothing of them, or not any more.
    Forgot,
    /// It does not run.
    NotRunning,
    /// It failed.
    Failed(String),
}

/// An instance's answer, later.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Told> + Send + 'a>>;

/// Who tells the instances that somebody is gone, as the runtime does.
pub trait Departures: Send + Sync {
    /// Tells the instance of a key, in every way it has; what was told before may be told again.
    fn tell<'a>(&'a self, key: &'a str, username: &'a str) -> Telling<'a>;
}

/// Those who go. A clone is the same.
#[derive(Clone)]
pub struct Departing {
    db: Db,
    instances: Instances,
    told: Arc<OnceLock<Arc<dyn Departures>>>,
    documents: Arc<OnceLock<Documents>>,
    /// Held while a name is worked off: what comes late must not meet who has the name by then.
    working: NameLocks,
}

/// What is left to do of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// A text for each that did not forget; for the log and for whoever asked.
    pub(super) failures: Vec<String>,
    /// Whether the name can be given to nobody yet.
    pub(super) blocks: bool,
}

impl Departing {
    /// Those of a database. Nobody is told before [`connect`](Self::connect).
    #[must_use]
    pub(super) fn new(db: Db) -> Self {
        let instances = Instances::new(db.clone());
        Self { db, instances, told: Arc::default(), documents: Arc::default(), working: NameLocks::default() }
    }

    /// Says who tells the instances; the first time counts.
    pub fn connect(&self, told: Arc<dyn Departures>) {
        let _ = self.told.set(told);
    }

    /// Says where plug-ins keep documents; the first time counts.
    pub fn connect_documents(&self, documents: Documents) {
        let _ = self.documents.set(documents);
    }

    /// Works off what is left to do of those whose names are kept back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn work_off(&self) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let page = rows::list_blocking(&self.db, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.username);
            self.finish_all(&page).await?;
        }
    }

    /// Tells an instance, which nobody reaches yet, of all whom it has not forgotten. Where it fails to forget somebody, the
    /// name is kept back; gives the names that somebody else has by now, who must not reach it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn see_off(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let (mut after, mut taken) = (String::new(), Vec::new());
        loop {
            let page = rows::list_of(&self.db, key, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(taken) };
            after.clone_from(&last.username);
            let concerns = |row: &DepartureRow| remains(row).is_none_or(|keys| keys.contains(key));
            let page: Vec<_> = page.into_iter().filter(concerns).collect();
            self.finish_all(&page).await?;
            for row in page {
                let left = rows::find(&self.db, &row.username).await?;
                if left.is_some_and(|left| concerns(&left)) && self.keep_back(row.clone()).await? {
                    taken.push(row.username);
                }
            }
        }
    }

    /// Whether a name may be given to nobody at present.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn keeps_back(&self, username: &str) -> Result<bool, StoreError> {
        Ok(rows::find(&self.db, username).await?.is_some_and(|row| row.blocks))
    }

    /// Of some at a time: whoever is told may take long.
    async fn finish_all(&self, page: &[DepartureRow]) -> Result<(), StoreError> {
        for some in page.chunks(AT_ONCE) {
            let finishing = some.iter().map(|row| {
                let (departing, username) = (self.clone(), row.username.clone());
                async move { departing.finish(&username).await }
            });
            for left in join_all(finishing).await {
                log(&left?.failures);
            }
        }
        Ok(())
    }

    /// Keeps a name back. True means that somebody has it by now.
    async fn keep_back(&self, row: DepartureRow) -> Result<bool, StoreError> {
        let row = Arc::new(row);
        let work = self.db.transaction(move |transaction| {
            let row = Arc::clone(&row);
            Box::pin(async move {
                if users::identity_inside(transaction, &row.username).await?.is_some() {
                    return Ok(true);
                }
                rows::block(transaction, &row).await?;
                Ok(false)
            })
        });
        work.await
    }

    /// Ends an identity that is nobody's any more, and notes what is left to do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn forget(&self, username: &str, id: &str) -> Result<(), StoreError> {
        let (gone, now_ms) = (Arc::new((username.to_owned(), id.to_owned())), now_ms());
        let work = self.db.transaction(move |transaction| {
            let gone = Arc::clone(&gone);
            Box::pin(async move {
                if users::forget(transaction, &gone.1).await? {
                    rows::put(transaction, &gone.0, &gone.1, now_ms).await?;
                }
                Ok(())
            })
        });
        work.await
    }

    /// Deletes a person of a back end, and notes what is left to do. False means that there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn delete(&self, username: &str, back_end: &str) -> Result<bool, StoreError> {
        let (gone, now_ms) = (Arc::new((username.to_owned(), back_end.to_owned())), now_ms());
        let work = self.db.transaction(move |transaction| {
            let gone = Arc::clone(&gone);
            Box::pin(async move {
                let Some(id) = users::delete(transaction, &gone.0, &gone.1).await? else { return Ok(false) };
                rows::put(transaction, &gone.0, &id, now_ms).await?;
                Ok(true)
            })
        });
        work.await
    }

    /// Does what is left to do of a name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn finish(&self, username: &str) -> Result<Left, StoreError> {
        if rows::find(&self.db, username).await?.is_none() {
            return Ok(Left::default());
        }
        let Some(_working) = self.working.lock(username).await else {
            let failures = vec!["somebody is still being told that the user is gone".to_owned()];
            return Ok(Left { failures, blocks: true });
        };
        let Some(row) = rows::find(&self.db, username).await? else { return Ok(Left::default()) };
        let only = remains(&row);
        if let (Some(documents), None) = (self.documents.get(), &only) {
            documents.delete_of_user(username).await?;
        }
        let all = self.instances.list(None).await?;
        let keys = all.iter().filter(|record| !is_built_in(record)).map(key);
        let keys: Vec<_> = keys.filter(|key| only.as_ref().is_none_or(|only| only.contains(key))).collect();
        let (mut left, mut still) = (Left::default(), BTreeSet::new());
        match self.told.get() {
            Some(told) => {
                let telling = keys.iter().map(|key| async move { (key, told.tell(key, username).await) });
                for (key, told) in join_all(telling).await {
                    match told {
                        Told::Forgot => continue,
                        Told::NotRunning => {}
                        Told::Failed(reason) => {
                            left.blocks = true;
                            left.failures.push(format!("instance {key}: {reason}"));
                        }
                    }
                    still.insert(key.clone());
                }
            }
            // A command without a server.
            None if !keys.is_empty() => {
                let told = "schemes and plug-ins are told when the server starts; nobody gets the name before";
                return Ok(Left { failures: vec![told.to_owned()], blocks: true });
            }
            None => {}
        }
        let written = (!still.is_empty()).then(|| serde_json::json!(still).to_string());
        let now = DepartureRow { remains: written, blocks: left.blocks, ..row.clone() };
        if still.is_empty() {
            rows::delete(&self.db, &row).await?;
        } else if now != row {
            rows::set(&self.db, &now).await?;
        }
        Ok(left)
    }
}

/// Whether a name may be given to nobody yet, inside the transaction that gives it.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn blocks(transaction: &Transaction<'_>, username: &str) -> Result<bool, StoreError> {
    rows::blocks(transaction, username).await
}

/// Writes down who has not forgotten somebody: they are gone all the same, and who asked cannot do more than read of it.
pub(super) fn log(failures: &[String]) {
    for failure in failures {
        tracing::warn!("a user was deleted, but not everywhere: {failure}");
    }
}

/// The keys of those who are still to be told; `None` for everybody.
fn remains(row: &DepartureRow) -> Option<BTreeSet<String>> {
    // What cannot be read counts as everybody.
    serde_json::from_str(row.remains.as_deref()?).ok()
}

fn key(record: &InstanceRecord) -> String {
    format!("{}/{}", record.kind, record.name)
}

/// Whether an instance keeps nothing outside of the house's own database.
fn is_built_in(record: &InstanceRecord) -> bool {
    record.module == DATABASE && matches!(record.kind.as_str(), "user" | "client")
}

/// How many rows are looked at at once.
const PAGE: i64 = 200;
/// Of how many people instances are told at once.
const AT_ONCE: usize = 8;
