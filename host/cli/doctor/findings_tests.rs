//! Each finding by itself, and a server of which nothing is to be said.

use serde_json::json;

use super::super::facts::{CertificateFact, LibraryFact};
use super::*;
use crate::config::{Config, Tls};

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
    (
        |facts| facts.records.as_mut().unwrap().keys[0] = json!({"name": "k"}),
        NOTE,
        "endless-keys",
        "1 keys never end: k",
    ),
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
    let source = include_str!("findings.rs");
    for code in source.split('"').skip(1).step_by(2).filter(|text| !text.is_empty() && text.len() < 24) {
        let is_code =
            ["error(\"", "warning(\"", "note(\""].iter().any(|call| source.contains(&format!("{call}{code}\"")));
        let below =
            ["no-data", "root", "plain-http", "no-https", "certificate", "certificate-key", "configuration-secret"];
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
    let check = |ends_s: Result<i64, String>, key_mode: u32| {
        let mut facts = fine();
        let key = Some(entry("/key", 33, key_mode));
        facts.certificates = vec![CertificateFact { path: "/c".into(), ends_s, key }];
        findings(&facts).into_iter().map(|finding| (finding.severity, finding.text)).collect::<Vec<_>>()
    };
    let now_s = 1_000_000_000;
    assert_eq!(check(Ok(now_s + 15 * 86_400), 0o600), Vec::new());
    assert_eq!(check(Ok(now_s + 86_400), 0o600), [(WARNING, "the certificate `/c` ends in 1 days".to_owned())]);
    assert_eq!(check(Ok(now_s - 1), 0o600), [(ERROR, "the certificate `/c` has ended".to_owned())]);
    assert_eq!(check(Err("no PEM".into()), 0o600), [(ERROR, "the certificate `/c` cannot be read: no PEM".to_owned())]);
    assert_eq!(check(Ok(i64::MAX / 2), 0o640)[0].0, ERROR);
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
