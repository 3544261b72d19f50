//! Each finding by itself, and a server of which nothing is to be said.

use serde_json::json;

use super::super::facts::{CertificateFact, LibraryFact};
use super::*;
use crate::config::{Config, Listener, Tls, Trust};
use crate::http::tls::About;
use crate::store::server::DatabaseServer;

fn entry(path: &str, uid: u32, mode: u32) -> Entry {
    Entry { path: path.into(), uid, mode }
}

fn fine() -> Facts {
    Facts {
        config: Config { trust: Trust::Lock, ..Config::default() },
        database_in_file: false,
        config_file: Some(entry("/etc/porth/porth.toml", 0, 0o644)),
        database_file: None,
        warnings: Vec::new(),
        uid: 33,
        now_ms: 1_000_000_000_000,
        above_plugins: vec![entry("/srv", 0, 0o755), entry("/tmp", 0, 0o1777), entry("/", 0, 0o755)],
        plugins_refused: None,
        data: Some(entry("/data", 33, 0o700)),
        data_noexec: false,
        free_bytes: Some(1 << 40),
        open_files_max: Some(65_536),
        core_bytes_max: Some(0),
        libraries: vec![library("libhello.so", "loaded", None)],
        lock_unmatched: Vec::new(),
        lock_refused: None,
        certificates: Vec::new(),
        postgres: Some(Ok(database_server())),
        store_refused: None,
        server: Some(json!({"pid": 1})),
        records: Some(Records {
            administered: true,
            instances: vec![instance(json!({}))],
            keys: vec![json!({"name": "backup", "expires_at": 2_000_000_000})],
            ..Records::default()
        }),
    }
}

fn database_server() -> DatabaseServer {
    DatabaseServer {
        version: "17.6".to_owned(),
        version_number: 170_006,
        role: "porth".to_owned(),
        is_superuser: false,
        schema: "public".to_owned(),
        may_create: true,
        is_durable: true,
        connections_max: 100,
        connections: 3,
        now_ms: 1_000_000_000_000,
    }
}

fn with_postgres(facts: &mut Facts, change: impl FnOnce(&mut DatabaseServer)) {
    let mut server = database_server();
    change(&mut server);
    facts.postgres = Some(Ok(server));
}

fn library(file: &str, verdict: &str, reason: Option<&str>) -> LibraryFact {
    let (file, verdict) = (file.to_owned(), verdict.to_owned());
    LibraryFact { file, verdict, reason: reason.map(str::to_owned), modules: vec!["plugin/hello".to_owned()] }
}

fn instance(with: Value) -> Value {
    let mut instance = json!({"kind": "plugin", "name": "g", "module": "hello", "status": "running"});
    instance.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    instance
}

fn with_instance(facts: &mut Facts, with: Value) {
    facts.records.as_mut().unwrap().instances = vec![instance(with)];
}

fn listening(facts: &mut Facts, address: &str, tls: Option<Tls>) {
    facts.config.listeners = vec![Listener { tls, ..Listener::plain(address.parse().unwrap()) }];
}

#[test]
fn of_a_server_that_is_well_kept_nothing_is_said() {
    assert_eq!(findings(&fine()), Vec::new());
}

#[test]
fn before_the_first_start_little_is_known() {
    let facts = Facts { data: None, records: None, server: None, libraries: Vec::new(), ..fine() };
    let codes: Vec<_> = findings(&facts).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["no-data"]);
}

/// What a change of the facts leads to: severity, code, and part of the text.
type Row = (fn(&mut Facts), Severity, &'static str, &'static str);

const ROWS: &[Row] = &[
    (|facts| with_instance(facts, json!({"orphan": true, "status": "stopped"})), NOTE, "orphan", "plugin/g once"),
    (|facts| facts.store_refused = Some("it is no SQLite file".into()), ERROR, "store", "no SQLite file"),
    (|facts| facts.data = Some(entry("/data", 33, 0o750)), WARNING, "data-mode", "`/data` has mode 0750"),
    (
        |facts| facts.data = Some(entry("/data", 7, 0o700)),
        ERROR,
        "data-owner",
        "belongs to user 7, the server is user 33",
    ),
    (|facts| facts.data_noexec = true, ERROR, "data-noexec", "noexec"),
    (|facts| facts.free_bytes = Some(63 << 20), ERROR, "disk-full", "63 MiB are free"),
    (|facts| facts.free_bytes = Some(64 << 20), WARNING, "disk-low", "64 MiB are free"),
    (|facts| facts.plugins_refused = Some("has mode 0777".into()), ERROR, "plugins", "has mode 0777"),
    (|facts| facts.above_plugins[0].mode = 0o775, ERROR, "plugins-parents", "`/srv` above it"),
    (|facts| facts.above_plugins[0].uid = 7, ERROR, "plugins-parents", "belongs to user 7"),
    (|facts| facts.config.trust = Trust::Directory, WARNING, "trust", "whoever can write"),
    (|facts| facts.lock_refused = Some("line 1".into()), ERROR, "lock-refused", "line 1"),
    (|facts| facts.lock_unmatched = vec!["libx.so".into()], NOTE, "lock-unmatched", "a version of libx.so"),
    (
        |facts| facts.libraries = vec![library("a.so", "refused", Some("x"))],
        WARNING,
        "library-refused",
        "a.so is refused: x",
    ),
    (|facts| facts.libraries = vec![library("a.so", "unlisted", None)], WARNING, "library-unlisted", "a.so is not in"),
    (|facts| facts.libraries = vec![library("a.so", "gone", None)], NOTE, "library-gone", "a.so is loaded"),
    (
        |facts| facts.libraries = vec![library("libmock.so", "loaded", None)],
        ERROR,
        "mock-library",
        "libmock.so has mocks",
    ),
    (|facts| facts.libraries[0].modules = vec!["user/mock".into()], ERROR, "mock-library", "libhello.so has mocks"),
    (
        |facts| with_instance(facts, json!({"kind": "user", "module": "mock"})),
        ERROR,
        "mock-instance",
        "user/g is a mock",
    ),
    (|facts| facts.records.as_mut().unwrap().administered = false, WARNING, "no-administrator", "no link"),
    (
        |facts| with_instance(facts, json!({"quarantine": "3 crashes"})),
        ERROR,
        "quarantined",
        "plugin/g is in quarantine: 3 crashes",
    ),
    (|facts| with_instance(facts, json!({"status": "failed", "error": "no"})), ERROR, "failed", "does not run: no"),
    (
        |facts| with_instance(facts, json!({"health": {"status": "broken", "reasons": ["10 panics"]}})),
        ERROR,
        "broken",
        "is broken: 10 panics",
    ),
    (
        |facts| with_instance(facts, json!({"health": {"status": "degraded", "reasons": ["a strike"]}})),
        WARNING,
        "degraded",
        "does not do well: a strike",
    ),
    (
        |facts| with_instance(facts, json!({"grants": ["sessions", "mail"], "rights": ["sessions"]})),
        WARNING,
        "needless-grants",
        "is granted mail, which its module does not need",
    ),
    (
        |facts| {
            facts.records.as_mut().unwrap().drift =
                vec!["the file declares `plugin/g`, which does not exist yet".to_owned()]
        },
        WARNING,
        "drift",
        "declares `plugin/g`",
    ),
    (|facts| facts.config_file = None, NOTE, "no-file", "no configuration file was named"),
    (
        |facts| facts.records.as_mut().unwrap().keys[0] = json!({"name": "k"}),
        NOTE,
        "endless-keys",
        "1 keys never end: k",
    ),
    (
        |facts| facts.records.as_mut().unwrap().keys[0] = json!({"name": "k", "expires_at": 1_000_000_000}),
        NOTE,
        "ended-keys",
        "1 keys have ended, and who uses them gets 401: k",
    ),
    (
        |facts| facts.records.as_mut().unwrap().keys[0] = json!({"name": "k", "expires_at": 1_000_600_000}),
        WARNING,
        "ending-keys",
        "1 keys end within a week: k",
    ),
    (|facts| facts.postgres = Some(Err("no route".into())), ERROR, "postgres", "no route"),
    (|facts| with_postgres(facts, |server| server.version_number = 140_022), WARNING, "postgres-old", "no more"),
    (|facts| with_postgres(facts, |server| server.is_superuser = true), WARNING, "postgres-superuser", "`porth`"),
    (|facts| with_postgres(facts, |server| server.may_create = false), ERROR, "postgres-rights", "schema `public`"),
    (|facts| with_postgres(facts, |server| server.is_durable = false), ERROR, "postgres-durability", "power cut"),
    (|facts| with_postgres(facts, |server| server.connections = 85), WARNING, "postgres-connections", "85 of 100"),
    (|facts| with_postgres(facts, |server| server.now_ms += 61_000), WARNING, "postgres-clock", "61 s apart"),
    (|facts| facts.config.cors_origins = vec!["http://a".into()], WARNING, "plain-origin", "http://a"),
    (|facts| facts.config.trusted_proxies = vec!["0.0.0.0/0".parse().unwrap()], ERROR, "proxies", "0.0.0.0/0"),
    (|facts| facts.config.trusted_proxies = vec!["::/0".parse().unwrap()], ERROR, "proxies", "::/0"),
    (|facts| facts.config_file = Some(entry("/c", 0, 0o664)), ERROR, "configuration-mode", "`/c` (user 0, mode 0664)"),
    (|facts| facts.config_file = Some(entry("/c", 7, 0o600)), ERROR, "configuration-mode", "user 7"),
    (|facts| facts.database_file = Some(entry("/d", 33, 0o640)), WARNING, "database-file-mode", "mode 0640"),
    (|facts| facts.config.database = "postgres://a@db/x".into(), WARNING, "database-tls", "does not check"),
    (|facts| facts.config.login.name_failures_max = 0, WARNING, "no-lockout", "`login.name_failures_max = 0`"),
    (|facts| facts.config.login.peer_failures_max = 0, WARNING, "no-lockout", "`login.peer_failures_max = 0`"),
    (|facts| facts.config.limits.stuck_ms = 5_000, WARNING, "hang", "(10000)"),
    (|facts| facts.config.limits.hang_ms = 0, NOTE, "hang", "is not replaced"),
    (|facts| facts.config.limits.drain_deadline_ms = 1, NOTE, "drain", "after 1 ms"),
    (|facts| facts.config.quarantine.crashes = 0, WARNING, "no-quarantine", "never taken out"),
    (|facts| facts.open_files_max = Some(1024), NOTE, "open-files", "1024 files"),
    (|facts| facts.core_bytes_max = None, NOTE, "core-dumps", "core dump"),
    (
        |facts| facts.records.as_mut().unwrap().last_write_ms = Some(1_000_000_120_000),
        ERROR,
        "clock",
        "120 s in the future",
    ),
    (|facts| facts.warnings = vec!["`PORTH_X` means nothing".into()], WARNING, "configuration", "`PORTH_X`"),
];

#[test]
fn each_is_found_by_itself() {
    for (change, severity, code, part) in ROWS {
        let mut facts = fine();
        change(&mut facts);
        let found = findings(&facts);
        let shown: Vec<_> = found.iter().map(|finding| (finding.severity, finding.code)).collect();
        assert_eq!(shown, [(*severity, *code)], "{part}: {found:?}");
        assert!(found[0].text.contains(part), "{part}: {found:?}");
        assert!(!found[0].remedy.is_empty());
    }
}

#[test]
fn no_check_goes_untried() {
    // The others have tests of their own below.
    let tried: std::collections::BTreeSet<_> = ROWS.iter().map(|(.., code, _)| *code).collect();
    let source = concat!(include_str!("findings.rs"), include_str!("findings/postgres.rs"));
    for code in source.split('"').skip(1).step_by(2).filter(|text| !text.is_empty() && text.len() < 24) {
        let is_code =
            ["error(\"", "warning(\"", "note(\""].iter().any(|call| source.contains(&format!("{call}{code}\"")));
        let below = [
            "no-data",
            "root",
            "plain-http",
            "no-https",
            "certificate",
            "certificate-key",
            "certificate-name",
            "configuration-secret",
        ];
        assert!(!is_code || tried.contains(code) || below.contains(&code), "{code} has no test");
    }
}

#[test]
fn what_belongs_to_root_and_runs_as_root_is_only_that() {
    let mut facts = fine();
    facts.uid = 0;
    facts.data = Some(entry("/data", 0, 0o700));
    assert_eq!(findings(&facts).iter().map(|finding| finding.code).collect::<Vec<_>>(), ["root"]);
}

#[test]
fn who_can_be_reached_from_elsewhere_is_asked_for_encryption() {
    let codes = |address: &str, url: Option<&str>, tls: bool| {
        let mut facts = fine();
        listening(&mut facts, address, tls.then(|| Tls { certificate: "c".into(), key: "k".into() }));
        facts.config.external_url = url.map(str::to_owned);
        findings(&facts).iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("127.0.0.1:1", None, false), [""; 0]);
    assert_eq!(codes("127.0.0.1:1", Some("https://id.example.org"), false), [""; 0]);
    assert_eq!(codes("127.0.0.1:1", Some("http://id.example.org"), false), ["no-https"]);
    assert_eq!(codes("127.0.0.1:1", Some("http://localhost:1"), false), [""; 0]);
    assert_eq!(codes("0.0.0.0:1", None, false), ["plain-http", "no-https"]);
    assert_eq!(codes("0.0.0.0:1", Some("https://id.example.org"), false), ["plain-http"]);
    assert_eq!(codes("[::]:1", None, true), [""; 0]);
}

#[test]
fn certificates_end() {
    let check = |about: Result<About, String>, url: Option<&str>, key_mode: u32| {
        let mut facts = fine();
        let key = Some(entry("/key", 33, key_mode));
        facts.config.external_url = url.map(str::to_owned);
        facts.certificates = vec![CertificateFact { path: "/c".into(), about, key }];
        findings(&facts).into_iter().map(|finding| (finding.severity, finding.text)).collect::<Vec<_>>()
    };
    const NOW_S: u64 = 1_000_000_000;
    let about = |not_before_s: u64, not_after_s: u64| {
        let names = vec!["id.example.org".to_owned(), "*.example.net".to_owned()];
        Ok(About { names, not_before_s, not_after_s, warnings: Vec::new() })
    };
    let of_days = |days: u64| check(about(0, NOW_S + days * 86_400), None, 0o600);
    assert_eq!(of_days(31), Vec::new());
    assert_eq!(of_days(29), [(WARNING, "the certificate `/c` ends in 29 days".to_owned())]);
    let ended = check(about(0, NOW_S - 1), None, 0o600);
    assert_eq!(ended, [(ERROR, "the certificate `/c` has ended: clients refuse it".to_owned())]);
    let early = check(about(NOW_S + 1, 2 * NOW_S), None, 0o600);
    assert_eq!(early, [(ERROR, "the certificate `/c` is not valid yet: clients refuse it".to_owned())]);
    let wrong = check(Err("the key `/key` does not belong to it".into()), None, 0o600);
    assert_eq!(wrong, [(ERROR, "the key `/key` does not belong to it".to_owned())]);
    assert_eq!(check(about(0, 2 * NOW_S), None, 0o640)[0].0, ERROR);
    for url in ["https://id.example.org", "https://ID.example.org:8443/x", "https://a.example.net"] {
        assert_eq!(check(about(0, 2 * NOW_S), Some(url), 0o600), Vec::new(), "{url}");
    }
    for url in ["https://example.org", "https://a.b.example.net", "https://[::1]:4593"] {
        let found = check(about(0, 2 * NOW_S), Some(url), 0o600);
        assert!(found[0].0 == WARNING && found[0].1.contains("is not for `"), "{url}: {found:?}");
    }
}

#[test]
fn a_password_in_a_file_that_all_can_read_is_found() {
    let check = |database: &str, in_file: bool, mode: u32| {
        let mut facts = fine();
        facts.config.database = database.to_owned();
        facts.database_in_file = in_file;
        facts.config_file = Some(entry("/c", 0, mode));
        findings(&facts).iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(check("postgres://a:b@localhost/x", true, 0o644), ["configuration-secret"]);
    assert_eq!(check("postgres://a:b@localhost/x", true, 0o640), [""; 0]);
    assert_eq!(check("postgres://a:b@localhost/x", false, 0o644), [""; 0]);
    assert_eq!(check("postgres://a@localhost/x", true, 0o644), [""; 0]);
    assert_eq!(check("postgres://a@db/x?sslmode=verify-full", true, 0o644), [""; 0]);
}

#[test]
fn without_a_server_no_instance_is_blamed_for_not_running() {
    let mut facts = fine();
    facts.server = None;
    with_instance(&mut facts, json!({"status": "failed", "error": "no library"}));
    assert_eq!(findings(&facts), Vec::new());
}

const ERROR: Severity = Severity::Error;
const WARNING: Severity = Severity::Warning;
const NOTE: Severity = Severity::Note;
