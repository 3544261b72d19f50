//! Libraries whose code harms whoever opens them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use porth::abi::{self, Layout, Panic, Prober, fault};

use super::fixture::{Library, Random, Workshop, good_note, note_bytes, own_process};
use crate::support::process::InTime as _;
use crate::support::scale::scaled;

fn check_refused(library: &Library, expected: Expect) {
    let workshop = Workshop::new();
    workshop.compile("libx.so", library);
    expected.assert_eq(&workshop.probe("libx.so").unwrap_err());
}

fn constructor(statements: &'static str) -> Library {
    Library { constructor: statements, ..Library::default() }
}

fn load(statements: &'static str) -> Library {
    Library { load: statements, ..Library::default() }
}

#[test]
fn a_good_library_passes() {
    let workshop = Workshop::new();
    for name in ["libx.so", "--help \"ö\"\n.so"] {
        workshop.compile(name, &Library::default());
        let modules = workshop.probe(name).unwrap();
        assert_eq!(modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["fixture"]);
        fs::remove_dir_all(workshop.data().join("probes")).unwrap();
    }
}

#[test]
fn libraries_made_with_the_sdk_pass() {
    for name in ["hello", "mock"] {
        let workshop = Workshop::new();
        let file = format!("lib{name}.so");
        fs::copy(std::env::current_exe().unwrap().with_file_name(&file), workshop.file(&file)).unwrap();
        let (_, judged) = workshop.judge(&file).unwrap();
        assert_eq!((judged.panic, judged.has_layout), (Panic::Unwind, true));
        assert_eq!(workshop.probe(&file).unwrap()[0].name, name);
        assert_eq!(workshop.open(&file).unwrap().layout(), Layout::Checked);
    }
}

#[test]
fn a_constructor_that_ends_its_process_is_refused() {
    check_refused(
        &constructor("abort()"),
        expect!["library `libx.so` crashed while its constructors ran when it was probed: signal 6 (SIGABRT)"],
    );
    check_refused(
        &constructor("exit(0)"),
        expect!["library `libx.so` ended its process while its constructors ran when it was probed: exit code 0"],
    );
    check_refused(
        &constructor("_exit(3)"),
        expect!["library `libx.so` ended its process while its constructors ran when it was probed: exit code 3"],
    );
    check_refused(
        &constructor("puts(\"no licence\"); fflush(stdout); null_write()"),
        expect![
            "library `libx.so` crashed while its constructors ran when it was probed: signal 11 (SIGSEGV); it wrote: no licence"
        ],
    );
    check_refused(
        &constructor("raise(SIGKILL)"),
        expect!["library `libx.so` crashed while its constructors ran when it was probed: signal 9 (SIGKILL)"],
    );
}

#[test]
fn a_constructor_that_hangs_is_refused_after_two_seconds() {
    let started = Instant::now();
    check_refused(
        &constructor("for (;;) pause()"),
        expect!["library `libx.so` was not done while its constructors ran after 2000 ms when it was probed"],
    );
    assert!(started.elapsed() < Duration::from_secs(4), "it took {:?}", started.elapsed());
}

#[test]
fn what_a_library_started_ends_with_its_probe() {
    let workshop = Workshop::new();
    workshop.compile("libx.so", &constructor("if (fork() == 0) for (;;) pause(); exit(0)"));
    let started = Instant::now();
    let refusal = workshop.probe("libx.so").unwrap_err();
    assert!(refusal.contains("when it was probed"), "{refusal}");
    assert!(started.elapsed() < Duration::from_secs(4), "it took {:?}", started.elapsed());
    // Killed, but perhaps not dead yet.
    let until = Instant::now() + Duration::from_secs(5);
    while is_running(workshop.directory()) {
        assert!(Instant::now() < until, "a process that the library forked lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process has a path below `directory` in its arguments.
fn is_running(directory: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    arguments.into_iter().any(|arguments| String::from_utf8_lossy(&arguments).contains(directory.to_str().unwrap()))
}

#[test]
fn a_load_that_fails_is_refused() {
    check_refused(
        &load("null_write()"),
        expect!["library `libx.so` crashed in `load` when it was probed: signal 11 (SIGSEGV)"],
    );
    check_refused(&load("return -1"), expect!["library `libx.so` refuses to load: it panicked (code -1)"]);
    check_refused(
        &load("*description = (struct bytes){(const uint8_t *)\"no licence\", 10, NULL, NULL}; return 1"),
        expect!["library `libx.so` refuses to load: no licence (code 1)"],
    );
    check_refused(
        &load("description->len = 3"),
        expect!["library `libx.so` describes itself wrongly: EOF while parsing a string at line 1 column 3"],
    );
    check_refused(
        &load("*description = (struct bytes){NULL, 0, NULL, NULL}"),
        expect!["library `libx.so` describes itself wrongly: EOF while parsing a value at line 1 column 0"],
    );
    check_refused(
        &load("*description = (struct bytes){(const uint8_t *)16, -1, NULL, NULL}"),
        expect![
            "library `libx.so` describes itself wrongly: a length of 18446744073709551615 bytes, more than any allocation can have"
        ],
    );
    check_refused(
        &load("*description = (struct bytes){NULL, 7, NULL, NULL}"),
        expect!["library `libx.so` describes itself wrongly: a null pointer with a length of 7 bytes"],
    );
    check_refused(
        &load("*description = (struct bytes){calloc(1, 2 << 20), 2 << 20, NULL, NULL}"),
        expect!["library `libx.so` describes itself wrongly: it has 2097152 bytes, this host takes at most 1048576"],
    );
}

#[test]
fn limits_hold_in_a_probe() {
    check_refused(
        &load("FILE *f = tmpfile(); fputs(\"x\", f); fclose(f)"),
        expect!["library `libx.so` crashed in `load` when it was probed: signal 25 (SIGXFSZ: it wrote to a file)"],
    );
    check_refused(
        &load("if (!malloc((size_t)2 << 30)) abort()"),
        expect!["library `libx.so` crashed in `load` when it was probed: signal 6 (SIGABRT)"],
    );
    // Descriptor 0 is nothing, 1 and 2 are the output, one is the report.
    check_refused(
        &load(
            "for (int i = 3; i < 64; i++) { int d = dup(i); if (d >= 0 && d != i + 1) { printf(\"%d is open\", i); exit(1); } if (d >= 0) close(d); } exit(42)",
        ),
        expect!["library `libx.so` ended its process in `load` when it was probed: exit code 42"],
    );
}

#[test]
fn a_table_that_contradicts_the_note_is_refused() {
    let table = |table| Library { table: Some(table), ..Library::default() };
    check_refused(
        &table("80, 2, 1, 0, 0, load, unload, init, close_instance, NULL"),
        expect![
            "library `libx.so` has a bad table `PORTH_PLUGIN_V1`: size is 80, this host expects 64 (of its note), at least 64"
        ],
    );
    check_refused(
        &table("sizeof(struct plugin), 4, 2, 0, 0, load, unload, init, close_instance"),
        expect![
            "library `libx.so` has a bad table `PORTH_PLUGIN_V1`: abi_major is 2, this host expects 1 (of its note)"
        ],
    );
    check_refused(
        &table("sizeof(struct plugin), 4, 1, 0, 0, load, unload, NULL, close_instance"),
        expect!["library `libx.so` has a bad table `PORTH_PLUGIN_V1`: init is null, this host expects a function"],
    );
}

#[test]
fn what_the_linker_refuses_is_refused() {
    check_refused(
        &load("extern void nowhere(void); nowhere()"),
        expect!["library `libx.so` cannot be opened: undefined symbol: nowhere"],
    );
}

#[test]
fn a_pass_is_remembered_by_content() {
    let workshop = Workshop::new();
    workshop.compile("libx.so", &Library::default());
    let first = workshop.probe("libx.so").unwrap();
    let nobody = Prober::new(&workshop.data()).with_program(Path::new("/nonexistent"));
    let (staged, judged) = workshop.judge("libx.so").unwrap();
    assert_eq!(nobody.probe(&staged, &judged).unwrap(), first);

    workshop.compile("libx.so", &load("(void)0; puts(\"another\")"));
    let (staged, judged) = workshop.judge("libx.so").unwrap();
    let refusal = nobody.probe(&staged, &judged).unwrap_err().to_string();
    assert!(refusal.starts_with("library `libx.so` could not be probed: No such file"), "{refusal}");
}

#[test]
fn a_refusal_is_not_remembered() {
    let workshop = Workshop::new();
    workshop.compile(
        "libx.so",
        &constructor("if (access(getenv(\"PORTH_TEST_LICENCE\") ?: \"/nonexistent\", F_OK)) exit(1)"),
    );
    workshop.probe("libx.so").unwrap_err();
    assert_eq!(fs::read_dir(workshop.data().join("probes")).map_or(0, Iterator::count), 0);
}

/// What passes opens, but for a damage that depends on what lies where in memory, such as a relocation into nowhere. The
/// server survives that one, too: its next child refuses the library, see `runtime::zoo`.
#[test]
fn damaged_libraries_that_pass_can_be_opened() {
    let workshop = Workshop::new();
    let library = fs::read(workshop.compile("libgood.so", &Library::default())).unwrap();
    let mut random = Random::new();
    let (mut judged_well, mut passed, mut crashed) = (0, 0, 0);
    for round in 0..scaled(90, 300) {
        let mut damaged = library.clone();
        if round % 3 == 0 {
            damaged.truncate(random.below(library.len()) + 1);
        } else {
            random.damage(&mut damaged);
        }
        workshop.write("libx.so", &damaged);
        let Ok((staged, judged)) = workshop.judge("libx.so") else { continue };
        judged_well += 1;
        if workshop.prober().probe(&staged, &judged).is_ok() {
            passed += 1;
            let mut opening = own_process("border::probe::opens");
            let opened = opening.env(OPENS, workshop.directory()).output_in_time();
            crashed += usize::from(opened.status.signal().is_some());
            assert!(opened.status.success() || opened.status.code().is_none(), "round {round}: {opened:?}");
        }
    }
    println!("{judged_well} were probed, {passed} passed, {crashed} of them crashed when they were opened");
    assert!(judged_well > passed && passed > 0 && crashed * 20 <= passed, "{judged_well} {passed} {crashed}");
}

/// In a process of its own, which ends without the library's destructors: they may be what is damaged.
#[test]
fn opens() {
    let Some(directory) = std::env::var_os(OPENS) else { return };
    let workshop = Workshop::at(Path::new(&directory));
    let (staged, judged) = workshop.judge("libx.so").unwrap();
    abi::open(&staged, &judged).unwrap();
    fault::exit_now(0);
}

const OPENS: &str = "PORTH_TEST_OPENS";

#[test]
fn a_copy_is_opened_only_once() {
    let workshop = Workshop::new();
    workshop.compile("libx.so", &Library::default());
    let (staged, judged) = workshop.judge("libx.so").unwrap();
    abi::open(&staged, &judged).unwrap();
    let refusal = abi::open(&staged, &judged).unwrap_err().to_string();
    assert_eq!(refusal, "library `libx.so` cannot be opened: this copy of it was opened before");
    let (other, _) = workshop.judge("libx.so").unwrap();
    abi::open(&other, &judged).unwrap();
}

#[test]
fn a_library_of_a_newer_minor_version_opens() {
    let workshop = Workshop::new();
    let mut note = good_note();
    note.abi_minor = 1;
    let library = Library {
        note: Some(note_bytes(&note)),
        table: Some("sizeof(struct plugin), 4, 1, 1, 0, load, unload, init, close_instance"),
        ..Library::default()
    };
    workshop.compile("libx.so", &library);
    workshop.probe("libx.so").unwrap();
    workshop.open("libx.so").unwrap();
}
