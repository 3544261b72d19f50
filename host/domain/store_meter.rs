//! What is counted of the database's work, as text for whoever watches the server.

use crate::store::Db;
use crate::telemetry::metrics::{Exposition, Kind};

/// The counts of a database.
#[derive(Clone)]
pub struct StoreMeter(Db);

impl StoreMeter {
    /// Of this database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Writes the samples.
    pub fn expose(&self, exposition: &mut Exposition) {
        let counts = self.0.counts();
        let help = "Writes to the database that are under way or wait for their turn";
        exposition.single("porth_store_writes_in_flight", Kind::Gauge, help, counts.waiting);
        let help = "Commits that stored something; on SQLite many writes share one";
        exposition.single("porth_store_commits_total", Kind::Counter, help, counts.commits);
        let help = "Writes that the database failed";
        exposition.single("porth_store_write_failures_total", Kind::Counter, help, counts.failures);
        let name = "porth_store_write_seconds";
        exposition.family(name, Kind::Summary, "How long writes took until they were durable, waits included");
        exposition.sample(&format!("{name}_sum"), "", counts.duration.as_secs_f64());
        exposition.sample(&format!("{name}_count"), "", counts.writes);
    }
}
