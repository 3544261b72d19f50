//! How much an instance keeps, and how much it may.
//!
//! Each process counts what it writes itself, since a counter in the database would let only one write of an instance
//! happen at a time; what others write it learns by counting anew, now and then and before it refuses anything. So the
//! quota may be exceeded by what is under way at the same moment, and by what other nodes write within a minute.

use parking_lot::Mutex;

use super::{DocumentError, Operation};
use crate::store::Db;
use crate::store::documents::{self as rows, Place};

/// What the documents of an instance may be.
#[derive(Clone, Copy, Debug)]
pub struct DocumentLimits {
    /// How many there may be.
    pub documents_max: u64,
    /// How many bytes they may have together: keys, names of collections and values.
    pub documents_bytes_max: u64,
    /// How many bytes one value may have.
    pub document_bytes_max: u64,
}

/// What an instance keeps, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Usage {
    counted: Mutex<Option<Counted>>,
    /// Held by the one who counts.
    counting: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    amount: Amount,
    at_ms: i64,
}

/// An amount of documents, or how it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Amount {
    pub(super) documents: i64,
    pub(super) bytes: i64,
}

impl Amount {
    pub(super) fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }

    fn exceeds(self, limits: &DocumentLimits) -> bool {
        let exceeds = |amount: i64, max: u64| u64::try_from(amount).is_ok_and(|amount| amount > max);
        exceeds(self.documents, limits.documents_max) || exceeds(self.bytes, limits.documents_bytes_max)
    }
}

impl Usage {
    /// Takes a write into account that has been stored.
    pub(super) fn add(&self, change: Amount) {
        if let Some(counted) = self.counted.lock().as_mut() {
            counted.amount.add(change);
        }
    }

    /// Has the next write count anew.
    pub(super) fn forget(&self) {
        *self.counted.lock() = None;
    }

    /// Refuses a write that would exceed the quota. One that frees more than it takes is never refused.
    pub(super) async fn check(
        &self,
        db: &Db,
        limits: &DocumentLimits,
        instance_id: &str,
        operations: &[Operation],
        now_ms: i64,
    ) -> Result<(), DocumentError> {
        let most = most(operations);
        if most == Amount::default() {
            return Ok(());
        }
        let mut after = self.amount(db, instance_id, now_ms, RECOUNT_MS).await?;
        after.add(most);
        if !after.exceeds(limits) {
            return Ok(());
        }
        let change = exactly(db, instance_id, operations).await?;
        if change.documents <= 0 && change.bytes <= 0 {
            return Ok(());
        }
        let now = self.amount(db, instance_id, now_ms, REFUSE_MS).await?;
        let mut after = now;
        after.add(change);
        if after.exceeds(limits) {
            return Err(DocumentError::Full { documents: now.documents, bytes: now.bytes });
        }
        Ok(())
    }

    /// The amount, counted less than `age_ms` ago and kept up with what this process wrote since then.
    async fn amount(&self, db: &Db, instance_id: &str, now_ms: i64, age_ms: i64) -> Result<Amount, DocumentError> {
        let known = || {
            let counted = *self.counted.lock();
            counted.filter(|counted| now_ms - counted.at_ms < age_ms).map(|counted| counted.amount)
        };
        if let Some(amount) = known() {
            return Ok(amount);
        }
        let _counting = self.counting.lock().await;
        // Perhaps somebody else has counted meanwhile.
        if let Some(amount) = known() {
            return Ok(amount);
        }
        let (documents, bytes) = rows::count(db, instance_id).await?;
        let amount = Amount { documents, bytes };
        *self.counted.lock() = Some(Counted { amount, at_ms: now_ms });
        Ok(amount)
    }
}

/// What a place and a value count for.
pub(super) fn bytes(place: Place<'_>, value: &str) -> i64 {
    i64::try_from(place.collection.len() + place.key.len() + value.len()).unwrap_or(i64::MAX)
}

/// What operations add at most: if nothing that they put is there yet, and nothing that they delete.
fn most(operations: &[Operation]) -> Amount {
    let mut most = Amount::default();
    for operation in operations {
        if let Operation::Put(put) = operation {
            most.add(Amount { documents: 1, bytes: bytes(operation.place(""), put.value.get()) });
        }
    }
    most
}

/// What operations add, if they come one by one.
async fn exactly(db: &Db, instance_id: &str, operations: &[Operation]) -> Result<Amount, DocumentError> {
    let mut change = Amount::default();
    for operation in operations {
        let place = operation.place(instance_id);
        let stored = rows::find_stored(db, place).await?.map(|(_, bytes)| bytes);
        change.add(Amount { documents: -i64::from(stored.is_some()), bytes: -stored.unwrap_or_default() });
        if let Operation::Put(put) = operation {
            change.add(Amount { documents: 1, bytes: bytes(place, put.value.get()) });
        }
    }
    Ok(change)
}

/// How long a count is good for.
const RECOUNT_MS: i64 = 60_000;
/// How long a count is good for that refuses something.
const REFUSE_MS: i64 = 1_000;
