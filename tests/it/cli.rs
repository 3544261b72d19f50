//! The commands as a person at a terminal sees them. Signals and crashes are in `supervisor`.

mod backup;
mod configuration;
mod conformance;
mod doctor;
mod instances;
mod new;
mod records;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use expect_test::{Expect, expect};

use crate::support::process::InTime as _;
use crate::support::server::{Setup, built};

fn porth(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_porth"))
        .args(arguments)
        .env_remove("PORTH_CONFIG")
        .env_remove("PORTH_DATA")
        .stdin(Stdio::null())
        .output_in_time()
}

/// Checks exit code and complaint of a command that is refused.
fn check_refused(arguments: &[&str], code: i32, expected: Expect) {
    let output = porth(arguments);
    expected.assert_eq(String::from_utf8(output.stderr).unwrap().trim_end());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(code), &b""[..]));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_version_names_the_border_too() {
    let output = String::from_utf8(porth(&["--version"]).stdout).unwrap();
    let names: Vec<&str> = output.lines().filter_map(|line| line.split([' ', ':']).next()).collect();
    assert_eq!(names, ["porth", "commit", "rustc", "target", "ABI"]);
}

#[test]
fn who_stops_reading_has_seen_enough() {
    for arguments in [&["man"][..], &["completion", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_porth"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(Child::wait_with_output)
            .unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{arguments:?}");
        assert!(output.status.success());
    }
}

#[test]
fn a_configuration_that_is_not_understood_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("porth.toml");
    std::fs::write(&config, "api_prefix = 'a/b'").unwrap();
    check_refused(
        &["serve", "--config", text(&config)],
        78,
        expect![[r#"
        porth: the configuration cannot be used:
          `api_prefix` is `a/b`; it must be one path segment of letters, digits, `-` and `_`"#]],
    );
}

#[test]
fn a_child_has_a_parent() {
    check_refused(
        &["child"],
        1,
        expect!["porth: `porth child` is for `porth serve` to start: standard input is no control channel"],
    );
}

#[test]
fn a_key_is_alone_on_the_first_line_and_opens_the_store() {
    let data = tempfile::tempdir().unwrap();
    let output = porth(&["key", "new", "--name", "backup", "--data", text(data.path())]);
    let key = String::from_utf8(output.stdout).unwrap();
    assert_eq!(key.len(), 44, "{key}{}", String::from_utf8_lossy(&output.stderr));
    assert!(key.trim_end().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{key}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let known = runtime.block_on(async {
        let db = porth::store::Db::open("sqlite", data.path(), 0).await.unwrap();
        porth::domain::keys::ApiKeys::new(db).verify(key.trim_end(), 1).await.unwrap()
    });
    assert_eq!(known.unwrap().name, "backup");
}

#[test]
fn a_key_has_a_name() {
    let data = tempfile::tempdir().unwrap();
    check_refused(
        &["key", "new", "--name", "", "--data", text(data.path())],
        1,
        expect!["porth: name: the name of a key is 1 to 128 characters, none of them a control character"],
    );
}

#[test]
fn a_data_directory_in_use_without_a_server_is_told() {
    let data = tempfile::tempdir().unwrap();
    let _lock = porth::supervisor::DataLock::take(data.path()).unwrap();
    let output = porth(&["key", "new", "--name", "n", "--data", text(data.path())]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    let (directory, pid) = (data.path().display(), std::process::id());
    let expected = format!(
        "porth: the data directory `{directory}` is in use by the process {pid}, and \
         no server answers at `{directory}/porth.sock`: No such file or directory (os error 2)\n"
    );
    assert_eq!(complaint, expected);
}

#[test]
fn a_plug_in_is_described() {
    let library = std::env::current_exe().unwrap().with_file_name("libhello.so");
    let output = porth(&["plugin", "check", text(&library)]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<&str> = said.lines().filter_map(|line| line.get(..10)).map(str::trim).collect();
    assert_eq!(
        names,
        [
            "file", "ABI", "target", "panic", "layout", "needs", "at open", "build id", "module", "rights", "paramete",
            "verdict"
        ]
    );
    assert!(said.contains("module    plugin/hello: Hello. Greets whoever asks\n"), "{said}");
}

#[test]
fn what_is_no_plug_in_is_refused() {
    let output = porth(&["plugin", "check", "Cargo.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "porth: library `Cargo.toml` is no ELF file\n");
}

/// A directory with a configuration, a library and what is none.
fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("porth.toml"), "trust = 'lock'\n").unwrap();
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o755)
        .create(directory.path().join("plugins"))
        .unwrap();
    for (from, to) in [(built("hello"), "libhello.so"), (built("mock"), "libmock.so"), ("Cargo.toml".into(), "libx.so")]
    {
        std::fs::copy(from, directory.path().join("plugins").join(to)).unwrap();
    }
    directory
}

/// What a command prints, with digests and the directory taken out.
fn printed(directory: &Path, arguments: &[&str]) -> String {
    let config = directory.join("porth.toml");
    let output = porth(&[arguments, &["--config", text(&config)]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap().replace(text(directory), "DIR");
    let words = printed.split_inclusive(char::is_whitespace);
    let shown = words.map(|word| {
        let is_digest = word.len() > 64 && word.bytes().take(64).all(|byte| byte.is_ascii_hexdigit());
        if is_digest { format!("DIGEST{}", &word[64..]) } else { word.to_owned() }
    });
    shown.collect()
}

#[test]
fn libraries_are_allowed_by_digest_and_listed() {
    let directory = place();
    let library = directory.path().join("plugins/libhello.so");
    let allow = || printed(directory.path(), &["plugin", "allow", text(&library)]);
    expect!["libhello.so, SHA-256 DIGEST, is now in DIR/plugins.lock\n"].assert_eq(&allow());
    expect!["libhello.so, SHA-256 DIGEST, is already in DIR/plugins.lock\n"].assert_eq(&allow());
    let list = std::fs::read_to_string(directory.path().join("plugins.lock")).unwrap();
    let (comment, line) = list.split_once('\n').unwrap();
    assert!(comment.starts_with("# libhello.so, allowed on 2"), "{list}");
    assert!(line.ends_with("  libhello.so\n") && line.len() == 78, "{list}");
    expect![[r#"
        No server answers; this is what the files look like without opening them:
        libhello.so               fine      SHA-256 DIGEST
        libmock.so                unlisted  SHA-256 DIGEST
        libx.so                   unlisted  SHA-256 DIGEST
    "#]]
    .assert_eq(&printed(directory.path(), &["plugin", "list"]));
    let refused = porth(&["plugin", "allow", "Cargo.toml", "--data", text(directory.path())]);
    assert_eq!(String::from_utf8(refused.stderr).unwrap(), "porth: library `Cargo.toml` is no ELF file\n");
}

#[test]
fn a_running_server_says_what_it_made_of_its_libraries() {
    let setup = Setup::new().libraries(&["hello"]);
    setup.file("libx.so", b"nonsense");
    let server = setup.start();
    let output = server.porth(&["plugin", "list"]).output_in_time();
    expect![[r#"
        libhello.so               loaded    generation 1 of plugin/hello
        libx.so                   refused   library `libx.so` is no ELF file
    "#]]
    .assert_eq(&String::from_utf8(output.stdout).unwrap());
}
