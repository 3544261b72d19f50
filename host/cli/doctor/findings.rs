//! What follows from the facts: one function for each thing that is unsafe or odd.
//!
//! Start at [`findings`]. The texts name the thing; the remedies say what to do, with the command or the key.

mod libraries;
mod network;
mod postgres;

use serde_json::{Value, json};

use super::super::instance::health;
use super::super::output::text;
use super::facts::{Entry, Facts, Records};

/// Something unsafe or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What it is called, for programs.
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) remedy: String,
}

/// How bad it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// It is unsafe, or does not work.
    Error,
    /// It may be what you want, and you should know.
    Warning,
    /// It is worth knowing.
    Note,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Finding {
    pub(super) fn as_json(&self) -> Value {
        let Self { severity, code, text, remedy } = self;
        json!({"severity": severity.as_str(), "code": code, "text": text, "remedy": remedy})
    }
}

/// Everything that is to be said, in the order in which it is looked for.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(facts)).collect()
}

type Check = fn(&Facts) -> Vec<Finding>;

const CHECKS: &[Check] = &[
    store,
    data_directory,
    free_space,
    libraries::plugin_directory,
    libraries::folders_above_plugins,
    libraries::trust,
    libraries::list_of_digests,
    libraries::libraries,
    libraries::mock_modules,
    administrators,
    instances,
    drifted,
    orphans,
    needless_grants,
    keys,
    network::encryption,
    network::certificates,
    network::external_url,
    network::origins,
    network::proxies,
    configuration_file,
    no_configuration_file,
    database_url,
    postgres::postgres,
    lockout,
    deadlines,
    quarantine,
    limits_of_the_system,
    root,
    clock,
    variables,
];

fn error(code: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Error, code, text: text.into(), remedy: remedy.into() }
}

fn warning(code: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, ..error(code, text, remedy) }
}

fn note(code: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Note, ..error(code, text, remedy) }
}

fn when(holds: bool, finding: impl FnOnce() -> Finding) -> Vec<Finding> {
    if holds { vec![finding()] } else { Vec::new() }
}

fn of_records(facts: &Facts, check: impl FnOnce(&Records) -> Vec<Finding>) -> Vec<Finding> {
    facts.records.as_ref().map(check).unwrap_or_default()
}

fn store(facts: &Facts) -> Vec<Finding> {
    let refused = facts.store_refused.iter();
    let found =
        refused.map(|reason| error("store", reason, "see `database` and `data`; `porth restore` puts a backup back"));
    found.collect()
}

fn data_directory(facts: &Facts) -> Vec<Finding> {
    let Some(Entry { path, uid, mode }) = &facts.data else {
        let path = facts.config.data.display();
        return vec![note("no-data", format!("there is no data directory `{path}` yet"), "`porth serve` makes it")];
    };
    let path = path.display();
    let mut found = when(mode & 0o077 != 0, || {
        let text = format!("the data directory `{path}` has mode {mode:04o}: others can look into the database");
        warning("data-mode", text, format!("chmod 0700 {path}"))
    });
    found.extend(when(*uid != facts.uid, || {
        let text = format!("the data directory `{path}` belongs to user {uid}, the server is user {}", facts.uid);
        error("data-owner", text, format!("chown -R {} {path}", facts.uid))
    }));
    found.extend(when(facts.data_noexec, || {
        let text = format!("the data directory `{path}` is on a file system without permission to execute (noexec)");
        error("data-noexec", text, "no library can be loaded from there; choose another `data`")
    }));
    found
}

fn free_space(facts: &Facts) -> Vec<Finding> {
    let Some(free) = facts.free_bytes else { return Vec::new() };
    let text = format!("{} MiB are free for the data directory", free >> 20);
    let remedy = "a database that cannot grow refuses every change; make room";
    match free {
        0..FREE_LITTLE => vec![error("disk-full", text, remedy)],
        FREE_LITTLE..FREE_SOME => vec![warning("disk-low", text, remedy)],
        _ => Vec::new(),
    }
}

fn administrators(facts: &Facts) -> Vec<Finding> {
    of_records(facts, |records| {
        if records.administered {
            return Vec::new();
        }
        let found = if records.setup_link_open {
            "nobody administers; a link that makes the first administrator was printed when the server started"
        } else {
            "nobody administers, and no link for the first administrator is open"
        };
        let scope = &facts.config.admin_scope;
        let remedy = format!("open the link, or `porth user add NAME --scope {scope} --password-stdin`");
        vec![warning("no-administrator", found, remedy)]
    })
}

fn instances(facts: &Facts) -> Vec<Finding> {
    // Without a server none runs, which says nothing.
    if facts.server.is_none() {
        return Vec::new();
    }
    of_records(facts, |records| {
        let found = records.instances.iter().filter_map(|instance| {
            let key = format!("{}/{}", text(instance, "kind"), text(instance, "name"));
            let reasons = instance.pointer("/health/reasons").and_then(Value::as_array).into_iter().flatten();
            let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
            if let Some(reason) = instance.get("quarantine").and_then(Value::as_str) {
                let text = format!("the instance {key} is in quarantine: {reason}");
                Some(error("quarantined", text, format!("replace its library, then `porth instance enable {key}`")))
            } else if text(instance, "status") == "failed" {
                let text = format!("the instance {key} does not run: {}", text(instance, "error"));
                Some(error("failed", text, format!("mend the cause, then `porth instance reset {key}`, or disable it")))
            } else if health(instance) == "broken" {
                Some(error("broken", format!("the instance {key} is broken: {}", reasons.join("; ")), "see the log"))
            } else if health(instance) == "degraded" {
                let text = format!("the instance {key} does not do well: {}", reasons.join("; "));
                Some(warning("degraded", text, "see the log and `/metrics`"))
            } else {
                None
            }
        });
        found.collect()
    })
}

fn drifted(facts: &Facts) -> Vec<Finding> {
    if facts.server.is_none() {
        return Vec::new();
    }
    of_records(facts, |records| {
        let remedy = "send SIGHUP to the server, or change the file back";
        records.drift.iter().map(|drift| warning("drift", drift.clone(), remedy)).collect()
    })
}

/// Most of what is said here depends on it.
fn no_configuration_file(facts: &Facts) -> Vec<Finding> {
    when(facts.server.is_some() && facts.config_file.is_none(), || {
        let text = "no configuration file was named: what the running server reads in its own was not looked at";
        note("no-file", text, "`porth doctor --config FILE` with the server's, unless it has none")
    })
}

/// A newer library may need less than was granted, and the configuration file may grant anything.
fn needless_grants(facts: &Facts) -> Vec<Finding> {
    let texts = |instance: &Value, member: &str| -> Option<Vec<String>> {
        let list = instance.get(member)?.as_array()?.iter();
        Some(list.filter_map(Value::as_str).map(str::to_owned).collect())
    };
    of_records(facts, |records| {
        let found = records.instances.iter().filter_map(|instance| {
            // Without a library nobody knows what it needs.
            let (grants, rights) = (texts(instance, "grants")?, texts(instance, "rights")?);
            let needless: Vec<_> = grants.into_iter().filter(|grant| !rights.contains(grant)).collect();
            let key = format!("{}/{}", text(instance, "kind"), text(instance, "name"));
            let said = format!("the instance {key} is granted {}, which its module does not need", needless.join(", "));
            let remedy = format!(
                "take it out of the `grants` of {key}: a later version of the library that asks for it would have it at once"
            );
            (!needless.is_empty()).then(|| warning("needless-grants", said, remedy))
        });
        found.collect()
    })
}

fn orphans(facts: &Facts) -> Vec<Finding> {
    of_records(facts, |records| {
        let orphans = records.instances.iter().filter(|instance| instance.get("orphan") == Some(&Value::Bool(true)));
        let found = orphans.map(|instance| {
            let key = format!("{}/{}", text(instance, "kind"), text(instance, "name"));
            let text =
                format!("the configuration file declared the instance {key} once: it is disabled, and its data stays");
            let remedy = format!(
                "`porth instance enable {key}` keeps it without the file, `porth instance delete {key}` ends it"
            );
            note("orphan", text, remedy)
        });
        found.collect()
    })
}

fn keys(facts: &Facts) -> Vec<Finding> {
    of_records(facts, |records| {
        let named = |wanted: &dyn Fn(Option<i64>) -> bool| -> Vec<&str> {
            let keys = records.keys.iter().filter(|key| wanted(key.get("expires_at").and_then(Value::as_i64)));
            keys.map(|key| text(key, "name")).collect()
        };
        let now_s = facts.now_ms / 1_000;
        let endless = named(&|ends_s| ends_s.is_none());
        let ended = named(&|ends_s| ends_s.is_some_and(|ends_s| ends_s <= now_s));
        let ending = named(&|ends_s| ends_s.is_some_and(|ends_s| ends_s > now_s && ends_s - now_s < KEYS_S));
        let mut found = when(!endless.is_empty(), || {
            let text = format!("{} keys never end: {}", endless.len(), endless.join(", "));
            note("endless-keys", text, "`porth key new --expires 90d` makes one that does, `porth key delete` ends one")
        });
        found.extend(when(!ended.is_empty(), || {
            let text = format!("{} keys have ended, and who uses them gets 401: {}", ended.len(), ended.join(", "));
            note("ended-keys", text, "`porth key new` makes another, `porth key delete` takes an old one away")
        }));
        found.extend(when(!ending.is_empty(), || {
            let text = format!("{} keys end within a week: {}", ending.len(), ending.join(", "));
            warning("ending-keys", text, "`porth key new` makes another for whoever uses them")
        }));
        found
    })
}

fn configuration_file(facts: &Facts) -> Vec<Finding> {
    let Some(Entry { path, uid, mode }) = &facts.config_file else { return Vec::new() };
    let path = path.display();
    let mut found = when(mode & 0o022 != 0 || (*uid != 0 && *uid != facts.uid), || {
        let text = format!("others can write the configuration file `{path}` (user {uid}, mode {mode:04o})");
        error("configuration-mode", text, format!("chown root {path}; chmod 0640 {path}"))
    });
    let has_password = facts.database_in_file && crate::config::redacted(&facts.config.database).contains('…');
    found.extend(when(mode & 0o004 != 0 && has_password, || {
        let text = format!("everybody on this machine can read the database's password in `{path}`");
        error("configuration-secret", text, "`database_file`, or a credential of systemd (docs/configuration.md)")
    }));
    found
}

fn database_url(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(Entry { path, mode, .. }) = facts.database_file.as_ref().filter(|file| file.mode & 0o077 != 0) {
        let path = path.display();
        let text = format!("`{path}` with the database's password has mode {mode:04o}");
        found.push(warning("database-file-mode", text, format!("chmod 0600 {path}")));
    }
    let url = &facts.config.database;
    let host = url.split_once("://").map(|(_, rest)| rest.rsplit('@').next().unwrap_or_default());
    let is_far = host.is_some_and(|host| {
        !["127.0.0.1", "localhost", "[::1]", "/", "%2F"].iter().any(|local| host.starts_with(local))
    });
    found.extend(when(is_far && !url.contains("sslmode=verify-full"), || {
        let text = "the connection to PostgreSQL does not check whom it talks to";
        warning("database-tls", text, "`?sslmode=verify-full&sslrootcert=FILE` in `database`")
    }));
    found
}

fn lockout(facts: &Facts) -> Vec<Finding> {
    let login = &facts.config.login;
    let off = [("name_failures_max", login.name_failures_max), ("peer_failures_max", login.peer_failures_max)];
    let found = off.into_iter().filter(|(_, max)| *max == 0).map(|(key, _)| {
        let text = format!("passwords can be guessed without end (`login.{key} = 0`)");
        warning("no-lockout", text, "leave the key out")
    });
    found.collect()
}

fn deadlines(facts: &Facts) -> Vec<Finding> {
    let limits = &facts.config.limits;
    let mut found = when(limits.hang_ms != 0 && limits.hang_ms <= limits.stuck_ms.saturating_mul(2), || {
        let text = format!(
            "`limits.hang_ms` ({}) is so close to `limits.stuck_ms` ({}) that the server is replaced where an instance \
             would have been moved",
            limits.hang_ms, limits.stuck_ms
        );
        warning("hang", text, "make `hang_ms` several times `stuck_ms`")
    });
    found.extend(when(limits.hang_ms == 0, || {
        note("hang", "a server that hangs is not replaced (`limits.hang_ms = 0`)", "leave the key out")
    }));
    found.extend(when(limits.drain_deadline_ms < limits.deadline_ms, || {
        let (drain, deadline) = (limits.drain_deadline_ms, limits.deadline_ms);
        let text = format!("a stop ends after {drain} ms what may take {deadline} ms: answers are cut off");
        note("drain", text, "make `limits.drain_deadline_ms` no less than `limits.deadline_ms`")
    }));
    found
}

fn quarantine(facts: &Facts) -> Vec<Finding> {
    when(facts.config.quarantine.crashes == 0, || {
        let text = "an instance that crashes the server again and again is never taken out (`quarantine.crashes = 0`)";
        warning("no-quarantine", text, "leave the key out")
    })
}

fn limits_of_the_system(facts: &Facts) -> Vec<Finding> {
    let limits = &facts.config.limits;
    let connections = limits.connections_within(facts.open_files_max);
    let mut found = when(connections < limits.connections_max, || {
        let (max, wanted) = (facts.open_files_max.unwrap_or_default(), limits.connections_max);
        let text = format!(
            "the server may have {max} files open: that is {connections} connections of `limits.connections_max = {wanted}`"
        );
        note("open-files", text, "`LimitNOFILE=65536` in the systemd unit, or `ulimit -n 65536`")
    });
    found.extend(when(facts.core_bytes_max != Some(0), || {
        let text = "a crash may write the server's memory, with what is secret in it, to a core dump";
        note("core-dumps", text, "`LimitCORE=0` in the systemd unit, or `ulimit -c 0`")
    }));
    found
}

fn root(facts: &Facts) -> Vec<Finding> {
    when(facts.uid == 0, || {
        warning("root", "the server runs as root, and so does every plug-in", "give it a user of its own")
    })
}

fn clock(facts: &Facts) -> Vec<Finding> {
    of_records(facts, |records| {
        let ahead_s = records.last_write_ms.map_or(0, |last_ms| (last_ms - facts.now_ms) / 1_000);
        when(ahead_s > CLOCK_S, || {
            let text = format!("the last entry of the audit log is {ahead_s} s in the future: the clock was set back");
            error("clock", text, "sessions and keys live longer than they should; set the clock right")
        })
    })
}

fn variables(facts: &Facts) -> Vec<Finding> {
    let remedy = "mend its name or take it away; `porth check-config` shows what counts";
    facts.warnings.iter().map(|text| warning("configuration", text, remedy)).collect()
}

const FREE_LITTLE: u64 = 64 << 20;
const FREE_SOME: u64 = 512 << 20;
/// A week, in seconds.
const KEYS_S: i64 = 7 * 86_400;
/// How far clocks of nodes on one database may be apart.
const CLOCK_S: i64 = 60;

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
