//! Libraries in Rust that were built against another border.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::{Expect, expect};
use porth::abi::Layout;

use super::fixture::Workshop;
use crate::support::process::InTime as _;

/// A change of a file of `porth-abi`: what stands there once, and what is to stand there.
type Change = (&'static str, &'static str, &'static str);

/// Fields appended to what the plug-in gives, what it gets, and the table of callbacks, as a newer minor version may.
const LONGER: &[Change] = &[
    ("lib.rs", "pub const ABI_MINOR: u32 = 0;", "pub const ABI_MINOR: u32 = 1;"),
    ("call.rs", "    pub stream: Stream,\n}", "    pub stream: Stream,\n    /// New.\n    pub extra: u64,\n}"),
    ("rows.rs", "header_owner, body, future, stream]", "header_owner, body, future, stream, extra]"),
    ("call.rs", "    pub caller: Str,\n}", "    pub caller: Str,\n    /// New.\n    pub extra: Str,\n}"),
    ("rows.rs", "        caller,\n", "        caller,\n        extra,\n"),
    (
        "host.rs",
        "id: Str) -> *const c_void,\n}",
        "id: Str) -> *const c_void,\n    /// New.\n    pub extra: Option<unsafe extern \"C\" fn(context: u64) -> i32>,\n}",
    ),
    ("rows.rs", "        extension,\n    ]", "        extension,\n        extra,\n    ]"),
];

/// Builds the plug-in against `porth-abi` with these changes.
fn build(workshop: &Workshop, name: &str, changes: &[Change]) {
    // Cargo tells packages in a target directory apart by their place within their workspace.
    let abi = format!("abi_{name}");
    let manifest = |text: String| {
        text.replace("\"foreign\"", &format!("\"foreign_{name}\"")).replace("\"abi\"", &format!("\"{abi}\""))
    };
    let place = place(name);
    copy(&root().join("tests/fixtures/foreign"), &place, |_, text| manifest(text));
    copy(&root().join("tests/fixtures/foreign/src"), &place.join("src"), |_, text| text);
    copy(&root().join("plugin-api/abi"), &place.join(&abi), |_, text| text);
    copy(&root().join("plugin-api/abi/src"), &place.join(&abi).join("src"), |file, text| {
        changes.iter().filter(|(changed, ..)| *changed == file).fold(text, |text, (_, from, to)| {
            assert_eq!(text.matches(from).count(), 1, "{file} has not exactly one `{from}`");
            text.replace(from, to)
        })
    });
    cargo(workshop, name, &["build"], &[]);
}

/// Runs a command of cargo that builds the library in `place(name)`, in the target directory of this repository, where
/// all that it needs is built already.
fn cargo(workshop: &Workshop, name: &str, command: &[&str], compiler_arguments: &[&str]) {
    fs::copy(root().join("Cargo.lock"), place(name).join("Cargo.lock")).unwrap();
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(command)
        .args(["--offline", "--quiet", "--"])
        .args(compiler_arguments)
        .current_dir(place(name))
        .env("CARGO_TARGET_DIR", target())
        .output_in_time();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::copy(target().join(format!("debug/libforeign_{name}.so")), workshop.file("libx.so")).unwrap();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn target() -> PathBuf {
    // <target>/<profile>/deps/it-…
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

fn place(name: &str) -> PathBuf {
    target().join("foreign").join(name)
}

/// Copies the files of a folder with a change; leaves alone what is there already, so that nothing is built in vain.
fn copy(from: &Path, to: &Path, change: impl Fn(&str, String) -> String) {
    fs::create_dir_all(to).unwrap();
    let entries = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path());
    for file in entries.filter(|path: &PathBuf| path.is_file()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = change(name, fs::read_to_string(&file).unwrap());
        if fs::read_to_string(to.join(name)).ok().as_deref() != Some(text.as_str()) {
            fs::write(to.join(name), text).unwrap();
        }
    }
}

fn check_refused(name: &str, changes: &[Change], expected: Expect) {
    let workshop = Workshop::new();
    build(&workshop, name, changes);
    workshop.judge("libx.so").unwrap();
    let refusal = workshop.probe("libx.so").unwrap_err();
    assert_eq!(workshop.open("libx.so").unwrap_err(), refusal, "the server says what the probe says");
    expected.assert_eq(&refusal);
}

#[test]
fn the_same_border_is_accepted() {
    let workshop = Workshop::new();
    build(&workshop, "same", &[]);
    assert_eq!(workshop.probe("libx.so").unwrap()[0].name, "foreign");
    assert_eq!(workshop.open("libx.so").unwrap().layout(), Layout::Checked);
}

#[test]
fn swapped_parameters_are_refused() {
    let swap = (
        "call.rs",
        "fn(user: *mut c_void, request: RequestIn, response: ResponseOut) -> i32",
        "fn(user: *mut c_void, response: ResponseOut, request: RequestIn) -> i32",
    );
    check_refused(
        "swapped",
        &[swap],
        expect![
            "library `libx.so` differs from this host in what crosses the border: `endpoint.handler.call` is fn(user: *mut c_void, response: ResponseOut, request: RequestIn) -> i32, this host expects fn(user: *mut c_void, request: RequestIn, response: ResponseOut) -> i32"
        ],
    );
}

#[test]
fn a_changed_pointee_is_refused() {
    check_refused(
        "pointee",
        &[(
            "call.rs",
            "    pub headers: *const Header,\n    /// How many.\n",
            "    pub headers: *const Parameter,\n    /// How many.\n",
        )],
        expect![
            "library `libx.so` differs from this host in what crosses the border: `request.headers` is Parameter, this host expects Header"
        ],
    );
}

#[test]
fn a_field_appended_without_a_new_minor_version_is_refused() {
    let workshop = Workshop::new();
    build(&workshop, "sneaked", &LONGER[1..]);
    expect!["library `libx.so` lays out struct `Request` differently: it says 168 bytes aligned to 8, this host says 152 bytes aligned to 8"].assert_eq(&workshop.judge("libx.so").unwrap_err());
}

#[test]
fn appended_fields_of_a_newer_minor_version_are_accepted() {
    let workshop = Workshop::new();
    build(&workshop, "longer", LONGER);
    workshop.probe("libx.so").unwrap();
    // Guards against a check that remembers parts of what it checked.
    for _ in 0..20 {
        let opened = workshop.open("libx.so").unwrap();
        assert_eq!((opened.layout(), opened.plugin().abi_minor), (Layout::Checked, 1));
    }
}

/// A workspace's profile cannot do this to one of its members.
#[test]
fn a_plug_in_that_aborts_at_a_panic_is_refused() {
    let workshop = Workshop::new();
    let place = place("abort");
    copy(&root().join("tests/fixtures/foreign/abort"), &place, |_, text| {
        text.replace("\"../../../../plugin-api\"", &format!("{:?}", root().join("plugin-api")))
    });
    copy(&root().join("examples/hello/src"), &place.join("src"), |_, text| text);
    cargo(&workshop, "abort", &["rustc"], &["-C", "panic=abort"]);
    expect![[r#"library `libx.so` is compiled with panic = "abort", this host takes panic = "unwind" only: a panic must not end the server"#]].assert_eq(&workshop.judge("libx.so").unwrap_err());
}
