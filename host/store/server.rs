//! What a PostgreSQL server is like, for whoever looks after one.
//!
//! Start at [`about`]. Of SQLite there is nothing to be said here: it is a part of this program.

use super::{Db, Row, StoreError, values};

/// A PostgreSQL server, as Porth's connections see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseServer {
    /// Its version as people write it.
    pub version: String,
    /// Major version times 10000, and the minor one: 150013.
    pub version_number: i64,
    /// The role that Porth connects as, and whether it may do everything.
    pub role: String,
    /// Likewise.
    pub is_superuser: bool,
    /// The schema that Porth's tables are in, and whether the role may make some there.
    pub schema: String,
    /// Likewise.
    pub may_create: bool,
    /// Whether a commit waits for the disk.
    pub is_durable: bool,
    /// How many connections it takes.
    pub connections_max: i64,
    /// How many there are, of everybody's.
    pub connections: i64,
    /// What its clock says, in milliseconds since 1970.
    pub now_ms: i64,
}

/// The server of a database; `None` for SQLite.
///
/// # Errors
/// [`StoreError`].
pub async fn about(db: &Db) -> Result<Option<DatabaseServer>, StoreError> {
    if !db.is_postgres() {
        return Ok(None);
    }
    db.read(ABOUT, values![]).await?.into_iter().next().map(read).transpose()
}

const ABOUT: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint, \
     current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
     coalesce(current_schema(), ''), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), \
     current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off', \
     current_setting('max_connections')::bigint, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
     (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

fn read(mut row: Row) -> Result<DatabaseServer, StoreError> {
    let is = |number: i64| number != 0;
    Ok(DatabaseServer {
        version: row.take(0)?,
        version_number: row.take(1)?,
        role: row.take(2)?,
        is_superuser: is(row.take(3)?),
        schema: row.take(4)?,
        may_create: is(row.take(5)?),
        is_durable: is(row.take(6)?),
        connections_max: row.take(7)?,
        connections: row.take(8)?,
        now_ms: row.take(9)?,
    })
}
