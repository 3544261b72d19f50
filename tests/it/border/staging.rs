//! Files that are no libraries, whatever their names say, and the directories around them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use porth::abi::{StagingDirectory, check_plugin_directory, list};

use super::fixture::{Library, Workshop};
use crate::support::process::InTime as _;
use crate::support::until::Until;

fn check_refused(make: impl FnOnce(&Path), expected: Expect) {
    let workshop = Workshop::new();
    make(&workshop.file("libx.so"));
    let started = Instant::now();
    expected.assert_eq(&workshop.stage("libx.so").unwrap_err());
    assert!(started.elapsed() < Duration::from_secs(1), "it took {:?}", started.elapsed());
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let fifo = |path: &Path| rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap();
    check_refused(fifo, expect!["library `libx.so` is a FIFO, this host takes regular files only"]);
    check_refused(
        |path| fs::create_dir(path).unwrap(),
        expect!["library `libx.so` is a directory, this host takes regular files only"],
    );
    check_refused(
        |path| drop(UnixListener::bind(path).unwrap()),
        expect!["library `libx.so` is a socket, this host takes regular files only"],
    );
    check_refused(
        |path| symlink("nowhere.so", path).unwrap(),
        expect!["library `libx.so` is a symbolic link to nothing, this host takes regular files only"],
    );
    check_refused(
        |path| symlink("/proc/self/exe", path).unwrap(),
        expect!["library `libx.so` is a symbolic link, this host takes regular files only"],
    );
    check_refused(
        |path| symlink("/dev/zero", path).unwrap(),
        expect!["library `libx.so` is a symbolic link, this host takes regular files only"],
    );
    check_refused(|_| {}, expect!["library `libx.so` cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn a_device_is_refused() {
    let workshop = Workshop::new();
    let device = rustix::fs::mknodat(
        rustix::fs::CWD,
        workshop.file("libx.so"),
        rustix::fs::FileType::CharacterDevice,
        0o600.into(),
        rustix::fs::makedev(1, 5),
    );
    // Only root may make one; a container may forbid even that.
    let name = if device.is_ok() { workshop.file("libx.so") } else { "/dev/zero".into() };
    let staging = StagingDirectory::create(&workshop.data()).unwrap();
    let refusal = staging.stage(&name, u64::MAX).unwrap_err().to_string();
    assert!(refusal.ends_with("is a device, this host takes regular files only"), "{refusal}");
}

#[test]
fn an_empty_file_and_a_huge_one_are_refused_by_their_size() {
    check_refused(|path| drop(File::create(path).unwrap()), expect!["library `libx.so` is empty"]);
    check_refused(
        |path| File::create(path).unwrap().set_len(10 << 30).unwrap(),
        expect![
            "library `libx.so` has 10737418240 bytes, this host takes at most 67108864 (`limits.library_bytes_max`)"
        ],
    );
}

#[test]
fn a_copy_is_private_and_goes_with_its_owner() {
    let workshop = Workshop::new();
    let source = workshop.write("libx.so", b"first");
    let staged = workshop.stage("libx.so").unwrap();
    fs::write(&source, "second").unwrap();
    assert_eq!(fs::read(staged.path()).unwrap(), b"first");
    assert_eq!(staged.bytes(), b"first");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(staged.path()), 0o500);
    assert_eq!(mode(staged.path().parent().unwrap()), 0o500);

    let again = workshop.stage("libx.so").unwrap();
    assert_ne!(again.path(), staged.path());
    assert_ne!(again.digest(), staged.digest());
    let path = staged.path().to_owned();
    drop(staged);
    assert!(!path.exists());
    assert!(again.path().exists());
}

#[test]
fn a_file_that_is_being_written_is_noticed() {
    let workshop = Workshop::new();
    let source = workshop.write("libx.so", &vec![1; 16 << 20]);
    let until = Until::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let _going = until.go();
        scope.spawn(|| {
            let mut round = 0;
            while !until.is_over() {
                round += 1;
                fs::write(&source, vec![round; 16 << 20]).unwrap();
            }
        });
        (0..8).map(|_| workshop.stage("libx.so")).collect()
    });
    for outcome in outcomes {
        match outcome {
            // Whatever was read is of one round.
            Ok(staged) => assert!(staged.bytes().iter().all(|byte| *byte == staged.bytes()[0])),
            Err(refusal) => assert!(refusal.contains("changed while it was read") || refusal.contains("is empty")),
        }
    }
}

#[test]
fn a_library_with_a_name_of_any_length_is_staged() {
    let workshop = Workshop::new();
    let name = format!("lib{}.so", "ä".repeat(120));
    workshop.write(&name, b"bytes");
    assert_eq!(workshop.stage(&name).unwrap().library(), name);
}

#[test]
fn what_dead_processes_left_is_removed_and_what_living_ones_use_stays() {
    let data = tempfile::tempdir().unwrap();
    let left = data.path().join("staging/child-1-1");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("libx.so"), "x").unwrap();
    fs::set_permissions(&left, Permissions::from_mode(0o500)).unwrap();
    fs::write(data.path().join("staging/notes.txt"), "an administrator's").unwrap();

    let first = StagingDirectory::create(data.path()).unwrap();
    assert!(!left.exists());
    let source = data.path().join("liby.so");
    fs::write(&source, "y").unwrap();
    let staged = first.stage(&source, 100).unwrap();
    let second = StagingDirectory::create(data.path()).unwrap();
    assert!(staged.path().exists());

    drop((first, second));
    assert!(staged.path().exists(), "a staged library keeps its directory");
    drop(staged);
    let names: Vec<_> = fs::read_dir(data.path().join("staging")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["notes.txt"]);
}

/// Runs itself again where a file system of its own is mounted so.
#[test]
fn a_file_system_without_code_is_refused() {
    if let Some(data) = std::env::var_os(NOEXEC) {
        let refusal = StagingDirectory::create(Path::new(&data)).unwrap_err().to_string();
        assert!(refusal.contains("is mounted noexec"), "{refusal}");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-ec"])
        .arg(r#"mount -t tmpfs -o noexec tmpfs "$0"; exec "$@""#)
        .arg(data.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "border::staging::a_file_system_without_code_is_refused"])
        .env(NOEXEC, data.path())
        .output_in_time();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

const NOEXEC: &str = "PORTH_TEST_NOEXEC";

fn check_directory(change: impl FnOnce(&Path), expected: Expect) {
    let directory = tempfile::tempdir().unwrap();
    let (plugins, data) = (directory.path().join("plugins"), directory.path().join("data"));
    fs::create_dir(&plugins).unwrap();
    fs::create_dir(&data).unwrap();
    change(&plugins);
    let found = match check_plugin_directory(&plugins, &data) {
        Ok(()) => "accepted".to_owned(),
        Err(refusal) => refusal.to_string().replace(directory.path().to_str().unwrap(), ""),
    };
    expected.assert_eq(&found);
}

#[test]
fn a_plugin_directory_must_be_trustworthy() {
    let set_mode = |mode| move |path: &Path| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    check_directory(set_mode(0o755), expect!["accepted"]);
    check_directory(
        set_mode(0o775),
        expect!["plug-in directory `/plugins` has mode 0775, group and others must not write to it (chmod go-w)"],
    );
    check_directory(
        set_mode(0o757),
        expect!["plug-in directory `/plugins` has mode 0757, group and others must not write to it (chmod go-w)"],
    );
    check_directory(
        |path| fs::remove_dir(path).unwrap(),
        expect![
            "plug-in directory `/plugins` cannot be read: No such file or directory (os error 2); name another, or make it: `install -d -m 0755 /plugins`"
        ],
    );
    check_directory(
        |path| {
            fs::remove_dir(path).unwrap();
            fs::write(path, "").unwrap();
        },
        expect!["plug-in directory `/plugins` is no directory, it must be a directory itself"],
    );
    check_directory(
        |path| {
            fs::remove_dir(path).unwrap();
            symlink("data", path).unwrap();
        },
        expect!["plug-in directory `/plugins` is a symbolic link, it must be a directory itself"],
    );
    if rustix::process::geteuid().is_root() {
        check_directory(
            |path| chown(path, Some(65534), None).unwrap(),
            expect!["plug-in directory `/plugins` belongs to user 65534, it must belong to user 0 or to root"],
        );
    }
}

#[test]
fn plugin_directory_and_data_directory_lie_apart() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let apart = |plugins: &Path, data: &Path| check_plugin_directory(plugins, data).map_err(|error| error.to_string());
    assert!(apart(&inner, &inner).unwrap_err().contains("must lie apart"));
    assert!(apart(&inner, directory.path()).unwrap_err().contains("must lie apart"));
    assert!(apart(directory.path(), &inner).unwrap_err().contains("must lie apart"));
    let link = directory.path().join("link");
    symlink(&inner, &link).unwrap();
    assert!(apart(&inner, &link).unwrap_err().contains("must lie apart"));
    assert!(apart(&link.join(""), directory.path()).unwrap_err().contains("is a symbolic link"));
}

#[test]
fn libraries_are_listed_by_name() {
    let workshop = Workshop::new();
    for name in ["libb.so", "liba.so", "notes.txt", "liba.so.new", ".hidden"] {
        workshop.write(name, b"x");
    }
    workshop.compile("libc.so", &Library::default());
    let files = list(workshop.file("x").parent().unwrap()).unwrap();
    assert_eq!(files, ["liba.so", "libb.so", "libc.so"].map(|name| workshop.file(name)));
}
