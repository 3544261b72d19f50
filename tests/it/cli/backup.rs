//! `porth backup` and `porth restore`, with a server at work and without one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{porth, text};
use crate::support::process::InTime as _;
use crate::support::server::{Server, Setup, wait_until};

/// What a command complains about, without the names of folders.
fn complaint(output: &Output, folder: &Path) -> String {
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).replace(text(folder), "…").trim_end().to_owned()
}

fn add_user(server: &Server, name: &str) -> bool {
    let user = json!({ "username": name }).to_string();
    let headers = [("authorization", format!("token {}", server.key)), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    server.try_send("POST", "/api/user/", &headers, user.as_bytes()).is_ok_and(|reply| reply.status == 200)
}

fn users(server: &Server) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = server.admin("GET", &format!("/api/user/?limit=200&offset={}", names.len()), None).json();
        let page: Vec<_> = page.as_array().unwrap().iter().map(|user| user["username"].to_string()).collect();
        if page.is_empty() {
            return names;
        }
        names.extend(page);
    }
}

#[test]
fn what_was_acknowledged_before_a_backup_is_there_after_its_restoration() {
    let server = Setup::new().start();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("porth.backup");
    let (before, all) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (server, all, stop) = (&server, &all, &stop);
            scope.spawn(move || {
                for number in 0..2000 {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("u{writer}-{number}");
                    if add_user(server, &name) {
                        all.lock().unwrap().push(name);
                    }
                }
            });
        }
        wait_until("some users", || all.lock().unwrap().len() > 40);
        before.lock().unwrap().clone_from(&all.lock().unwrap());
        let made = server.porth(&["backup", text(&copy), "--json"]).output_in_time();
        let grown = all.lock().unwrap().len();
        stop.store(true, Ordering::Relaxed);
        assert!(made.status.success(), "{made:?}");
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(made["bytes"], json!(copy.metadata().unwrap().len()));
        assert!(grown >= before.lock().unwrap().len());
    });
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(add_user(&server, "later"));

    let running = server.porth(&["restore", text(&copy)]).output_in_time();
    assert!(String::from_utf8_lossy(&running.stderr).contains("is in use by the process"), "{running:?}");
    let parent = rustix::process::Pid::from_raw(server.parent_pid()).unwrap();
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).unwrap();
    let mut restored = None;
    wait_until("the lock", || {
        let output = server.porth(&["restore", text(&copy), "--json"]).output_in_time();
        restored = output.status.success().then_some(output);
        restored.is_some()
    });
    let restored: Value = serde_json::from_slice(&restored.unwrap().stdout).unwrap();
    let kept = restored["kept"].as_str().unwrap().to_owned();
    let server = server.start_after_kill();
    let found = users(&server);
    for name in &*before.lock().unwrap() {
        assert!(found.contains(&format!("\"{name}\"")), "{name} is missing");
    }
    assert!(!found.contains(&"\"later\"".to_owned()));
    assert!(add_user(&server, "later"));
    // What was replaced is whole, too, and has what came after.
    let output = porth(&["backup", "--check", &kept]);
    assert!(output.status.success(), "{output:?}");
}

fn check_refused(spoil: impl FnOnce(&Path), expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(porth(&["key", "new", "--name", "mine", "--data", text(&data)]).status.success());
    let copy = folder.path().join("copy");
    assert!(porth(&["backup", text(&copy), "--data", text(&data)]).status.success());
    spoil(&copy);
    let database = std::fs::read(data.join("porth.db")).unwrap();
    let output = porth(&["restore", text(&copy), "--data", text(&data)]);
    let refused = complaint(&output, folder.path());
    expected.assert_eq(&refused);
    assert_eq!(complaint(&porth(&["backup", "--check", text(&copy)]), folder.path()), refused);
    assert!(std::fs::read(data.join("porth.db")).unwrap() == database, "nothing was changed");
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| text(Path::new(name)).contains("partial")), "{left:?}");
}

#[test]
fn what_is_no_copy_is_not_restored() {
    let write = |bytes: &'static [u8]| move |copy: &Path| std::fs::write(copy, bytes).unwrap();
    check_refused(
        write(b""),
        expect!["porth: `…/copy` is not a database of Porth: it is empty; name another, or an empty one"],
    );
    check_refused(
        write(&[7; 4096]),
        expect!["porth: `…/copy` is not a database of Porth: it is no SQLite file; name another, or an empty one"],
    );
    check_refused(
        |copy| std::fs::remove_file(copy).unwrap(),
        expect!["porth: `…/copy`: No such file or directory (os error 2)"],
    );
    check_refused(
        |copy| std::fs::write(copy.with_extension("x").with_file_name("copy-wal"), "x").unwrap(),
        expect![
            "porth: `…/copy` has a write-ahead log beside it, so it is no whole copy; make one with `porth backup`"
        ],
    );
    check_refused(
        |copy| {
            let bytes = std::fs::read(copy).unwrap();
            std::fs::write(copy, &bytes[..bytes.len() - 4096]).unwrap();
        },
        expect!["porth: `…/copy` cannot be opened: database disk image is malformed"],
    );
}

#[test]
fn a_damaged_page_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    assert!(porth(&["key", "new", "--name", "mine", "--data", text(&data)]).status.success());
    assert!(porth(&["backup", text(&copy), "--data", text(&data)]).status.success());
    let whole = std::fs::read(&copy).unwrap();
    let (page_bytes, pages) = (4096, whole.len() / 4096);
    let passed = (0..pages).filter(|page| {
        let mut bytes = whole.clone();
        bytes[page * page_bytes..][..page_bytes].fill(0xa5);
        std::fs::write(&copy, bytes).unwrap();
        porth::store::backup::inspect(&copy).is_ok()
    });
    // What is in free pages is nobody's; how many there are is in the file's header.
    let free = u32::from_be_bytes(whole[36..40].try_into().unwrap());
    let passed = passed.count();
    assert!(passed <= free as usize && pages > 20, "{passed} of {pages} pages, {free} of them free");
}

#[test]
fn a_backup_is_made_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    let back_up = |more: &[&str]| porth(&[&["backup", text(&copy), "--data", text(&data)], more].concat());
    expect!["porth: there is no database `…/data/porth.db`: no server has worked in this data directory yet"]
        .assert_eq(&complaint(&back_up(&[]), folder.path()));
    assert!(porth(&["key", "new", "--name", "mine", "--data", text(&data)]).status.success());
    std::fs::write(&copy, "something").unwrap();
    expect!["porth: `…/copy` is there already; name another file, or replace it with `--force`"]
        .assert_eq(&complaint(&back_up(&[]), folder.path()));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "something");
    assert!(back_up(&["--force"]).status.success());
    assert!(porth(&["backup", "--check", text(&copy)]).status.success());

    std::fs::write(folder.path().join("porth.toml"), "database = 'postgres://porth:secret@127.0.0.1:1/porth'").unwrap();
    let config = folder.path().join("porth.toml");
    let output = porth(&["backup", "there", "--config", text(&config)]);
    expect!["porth: the database is PostgreSQL, which has programs of its own for this: `pg_dump --format=custom --file=there URL`"]
        .assert_eq(&complaint(&output, folder.path()));
}

#[test]
fn a_database_too_damaged_to_open_is_replaced_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    assert!(porth(&["key", "new", "--name", "mine", "--data", text(&data)]).status.success());
    assert!(porth(&["backup", text(&copy), "--data", text(&data)]).status.success());
    std::fs::write(data.join("porth.db"), [7; 8192]).unwrap();
    std::fs::write(data.join("porth.db-wal"), [7; 8192]).unwrap();
    let output = porth(&["restore", text(&copy), "--data", text(&data), "--json"]);
    let restored: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let kept = Path::new(restored["kept"].as_str().unwrap());
    assert_eq!(std::fs::read(kept).unwrap(), [7; 8192]);
    assert!(porth(&["user", "list", "--data", text(&data)]).status.success());
}
