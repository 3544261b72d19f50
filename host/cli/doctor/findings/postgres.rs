//! What is unsafe or odd about a PostgreSQL server.

use super::super::facts::Facts;
use super::{CLOCK_S, Finding, error, warning, when};
use crate::store::server::DatabaseServer;

pub(super) fn postgres(facts: &Facts) -> Vec<Finding> {
    let server = match &facts.postgres {
        None => return Vec::new(),
        // Without a server of Porth's own it is told already.
        Some(Err(_)) if facts.store_refused.is_some() => return Vec::new(),
        Some(Err(reason)) => {
            return vec![error("postgres", reason, "mend the connection: until then every change is refused")];
        }
        Some(Ok(server)) => server,
    };
    let DatabaseServer { version, role, schema, .. } = server;
    let mut found = when(server.version_number < OLDEST, || {
        let text = format!("PostgreSQL {version} gets no more corrections from its makers");
        warning("postgres-old", text, format!("upgrade it to {} or newer", OLDEST / 10_000))
    });
    found.extend(when(server.is_superuser, || {
        let text =
            format!("Porth connects to PostgreSQL as the superuser `{role}`: whoever takes over Porth has the server");
        let remedy =
            "CREATE ROLE porth LOGIN PASSWORD '…'; ALTER DATABASE … OWNER TO porth; and name that role in `database`";
        warning("postgres-superuser", text, remedy)
    }));
    found.extend(when(!server.may_create, || {
        let text =
            format!("the role `{role}` may make no tables in the schema `{schema}`: an upgrade of Porth fails there");
        error("postgres-rights", text, format!("GRANT USAGE, CREATE ON SCHEMA \"{schema}\" TO \"{role}\""))
    }));
    found.extend(when(!server.is_durable, || {
        let text = "PostgreSQL answers before it has written to the disk: what people were told is lost in a power cut";
        error("postgres-durability", text, "`fsync = on`, and `synchronous_commit` anything but `off`")
    }));
    found.extend(when(server.connections.saturating_add(CONNECTIONS) > server.connections_max, || {
        let text = format!(
            "PostgreSQL has {} of {} connections in use: Porth takes up to {CONNECTIONS} for each process",
            server.connections, server.connections_max
        );
        warning("postgres-connections", text, "a larger `max_connections`, or fewer others")
    }));
    let apart_s = (server.now_ms - facts.now_ms).abs() / 1000;
    found.extend(when(apart_s > CLOCK_S, || {
        let text = format!("the clocks of this machine and of PostgreSQL are {apart_s} s apart");
        warning("postgres-clock", text, "keep both by NTP: sessions, keys and documents end by this machine's")
    }));
    found
}

/// The oldest version that its makers mend, as of the end of 2026.
const OLDEST: i64 = 150_000;
/// As many as the store's pool has at most.
const CONNECTIONS: i64 = 16;
