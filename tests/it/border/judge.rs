//! What is read from a library's bytes before it is opened.

use std::fs;

use expect_test::{Expect, expect};
use porth::abi::Panic;
use porth_abi::{Note, note};

use super::fixture::{Library, Random, Workshop, good_note, note_bytes};

/// A good library but for its note.
fn with_note(change: impl FnOnce(&mut Note)) -> Library {
    let mut note = good_note();
    change(&mut note);
    Library { note: Some(note_bytes(&note)), ..Library::default() }
}

fn check_refused(library: &Library, expected: Expect) {
    let workshop = Workshop::new();
    workshop.compile("libx.so", library);
    expected.assert_eq(&workshop.judge("libx.so").unwrap_err());
}

fn check_bytes(bytes: &[u8], expected: Expect) {
    let workshop = Workshop::new();
    workshop.write("libx.so", bytes);
    expected.assert_eq(&workshop.judge("libx.so").unwrap_err());
}

/// A good library with bytes of it overwritten.
fn check_overwritten(at: usize, bytes: &[u8], expected: Expect) {
    let workshop = Workshop::new();
    let mut library = fs::read(workshop.compile("libx.so", &Library::default())).unwrap();
    library[at..at + bytes.len()].copy_from_slice(bytes);
    check_bytes(&library, expected);
}

#[test]
fn a_good_library_is_described() {
    let workshop = Workshop::new();
    workshop.compile(
        "libx.so",
        &Library { arguments: &["-Wl,--build-id=0xfeed", "-Wl,-z,nodelete"], ..Library::default() },
    );
    let (_, judged) = workshop.judge("libx.so").unwrap();
    assert_eq!((judged.abi_draft, judged.abi_major, judged.abi_minor), (4, 1, 0));
    assert_eq!(judged.panic, Panic::None);
    assert!(judged.target.ends_with("-linux-gnu"), "{}", judged.target);
    assert!(!judged.has_layout && judged.is_kept_mapped);
    assert_eq!(judged.needed, ["libc.so.6"]);
    assert_eq!(judged.build_id.as_deref(), Some("feed"));
    assert!(judged.constructors > 0);
}

#[test]
fn another_abi_is_refused_with_both_sides() {
    check_refused(
        &with_note(|note| note.abi_draft = 99),
        expect!["library `libx.so` speaks draft 99 of the ABI, this host speaks draft 4 of the ABI; build it anew"],
    );
    check_refused(
        &with_note(|note| note.abi_draft = 0),
        expect!["library `libx.so` speaks the frozen ABI, this host speaks draft 4 of the ABI; build it anew"],
    );
    check_refused(
        &with_note(|note| note.abi_major = 2),
        expect!["library `libx.so` speaks ABI 2, this host speaks ABI 1"],
    );
    check_refused(
        &with_note(|note| note.least_host_minor = 7),
        expect!["library `libx.so` needs a host of ABI 1.7 or newer, this host speaks ABI 1.0"],
    );
    check_refused(
        &with_note(|note| note.panic = note::PANIC_ABORT),
        expect![[
            r#"library `libx.so` is compiled with panic = "abort", this host takes panic = "unwind" only: a panic must not end the server"#
        ]],
    );
    check_refused(
        &with_note(|note| note.panic = 3),
        expect!["library `libx.so` has panic strategy 3, this host knows 0 (no panics) and 1 (unwind)"],
    );
    check_refused(
        &with_note(|note| note.target[..3].copy_from_slice(b"vax")),
        expect!["library `libx.so` is built for target vax_64-linux-gnu, this host for x86_64-linux-gnu"],
    );
    check_refused(
        &with_note(|note| note.rows[1].offset = 8),
        expect![
            "library `libx.so` lays out field 1 of struct `Str` differently: it says 8 bytes at 8, this host says 8 bytes at 0"
        ],
    );
    check_refused(
        &with_note(|note| note.rows[1] = note.rows[2]),
        expect!["library `libx.so` is damaged or incomplete: its Porth note describes a field twice"],
    );
}

#[test]
fn another_minor_version_is_accepted() {
    let workshop = Workshop::new();
    workshop.compile("libnewer.so", &with_note(|note| note.abi_minor = 1));
    let (_, judged) = workshop.judge("libnewer.so").unwrap();
    assert_eq!(judged.abi_minor, 1);
}

#[test]
fn a_damaged_note_is_refused() {
    check_refused(
        &with_note(|note| note.magic = *b"PORTHAB!"),
        expect!["library `libx.so` is damaged or incomplete: its Porth note does not start with the magic bytes"],
    );
    check_refused(
        &with_note(|note| note.rows_len += 1),
        expect!["library `libx.so` is damaged or incomplete: its Porth note is cut off"],
    );
    check_refused(
        &with_note(|note| note.rows_len = u32::MAX),
        expect!["library `libx.so` is damaged or incomplete: its Porth note is cut off"],
    );
    check_refused(
        &with_note(|note| note.rows_len -= 1),
        expect![
            "library `libx.so` lays out field 2 of struct `OpenApi` differently: it says nothing of it, this host says 8 bytes at 8"
        ],
    );
    check_refused(
        &with_note(|note| note.rows_len = 0),
        expect![
            "library `libx.so` lays out struct `Str` differently: it says nothing of it, this host says 16 bytes aligned to 8"
        ],
    );
    let cut = note_bytes(&good_note())[..40].to_vec();
    check_refused(
        &Library { note: Some(cut), ..Library::default() },
        expect!["library `libx.so` is damaged or incomplete: Invalid ELF note descsz"],
    );
}

#[test]
fn a_library_without_one_note_is_refused() {
    check_refused(
        &Library { note: None, ..Library::default() },
        expect!["library `libx.so` is not a Porth plug-in: it has no Porth note"],
    );
    check_refused(
        &with_note(|note| note.owner[0] = b'p'),
        expect!["library `libx.so` is not a Porth plug-in: it has no Porth note"],
    );
    let note = note_bytes(&good_note());
    check_refused(
        &Library { second_note: Some(note), ..Library::default() },
        expect![
            "library `libx.so` has 2 Porth notes, a plug-in has exactly one (does a crate that it depends on export a plug-in, too?)"
        ],
    );
}

#[test]
fn a_missing_symbol_is_refused() {
    check_refused(
        &Library { table: None, ..Library::default() },
        expect!["library `libx.so` exports no data symbol `PORTH_PLUGIN_V1`"],
    );
    let hidden =
        Library { arguments: &["-Wl,--exclude-libs,ALL", "-DPORTH_PLUGIN_V1=PORTH_PLUGIN_V2"], ..Library::default() };
    check_refused(&hidden, expect!["library `libx.so` exports no data symbol `PORTH_PLUGIN_V1`"]);
    let function = Library {
        table: None,
        arguments: &["-Dnull_write=PORTH_PLUGIN_V1", "-fvisibility=default"],
        ..Library::default()
    };
    check_refused(
        &function,
        expect!["library `libx.so` exports no data symbol `PORTH_PLUGIN_V1` (but something else of that name)"],
    );
    let unique = "}; asm(\".type PORTH_PLUGIN_V1, @gnu_unique_object\"); const struct plugin other = {0";
    check_refused(
        &Library { table: Some(unique), ..Library::default() },
        expect!["library `libx.so` exports no data symbol `PORTH_PLUGIN_V1` (but something else of that name)"],
    );
    check_refused(
        &with_note(|note| note.flags = note::FLAG_LAYOUT),
        expect!["library `libx.so` exports no data symbol `PORTH_LAYOUT_V1`"],
    );
}

#[test]
fn what_is_no_library_for_this_machine_is_refused() {
    check_bytes(b"#!/bin/sh\necho I am a library\n", expect!["library `libx.so` is no ELF file"]);
    check_bytes(b"\x7fELF", expect!["library `libx.so` is damaged or incomplete: the file ends within its header"]);
    check_bytes(&fs::read("/bin/sh").unwrap(), expect!["library `libx.so` is a program, not a shared library"]);
    // EI_CLASS, EI_DATA, e_type, e_machine
    check_overwritten(4, &[1], expect!["library `libx.so` is compiled for 32-bit x86-64, this host for 64-bit x86-64"]);
    check_overwritten(
        5,
        &[2],
        expect![
            "library `libx.so` is compiled for a 64-bit machine of the other byte order, this host for 64-bit x86-64"
        ],
    );
    check_overwritten(16, &2_u16.to_le_bytes(), expect!["library `libx.so` is a program, not a shared library"]);
    check_overwritten(16, &1_u16.to_le_bytes(), expect!["library `libx.so` is an object file, not a shared library"]);
    let other = if cfg!(target_arch = "aarch64") { 62_u16 } else { 183 };
    let workshop = Workshop::new();
    let mut library = fs::read(workshop.compile("libx.so", &Library::default())).unwrap();
    library[18..20].copy_from_slice(&other.to_le_bytes());
    workshop.write("libx.so", &library);
    let refusal = workshop.judge("libx.so").unwrap_err();
    assert!(refusal.starts_with("library `libx.so` is compiled for 64-bit "), "{refusal}");
}

#[test]
fn a_truncated_library_is_always_refused() {
    let workshop = Workshop::new();
    let library = fs::read(workshop.compile("libgood.so", &Library::default())).unwrap();
    for len in (1..library.len()).step_by(97).chain(library.len() - 64..library.len()) {
        workshop.write("libx.so", &library[..len]);
        assert!(workshop.judge("libx.so").is_err(), "cut off at {len} of {} bytes", library.len());
    }
}

#[test]
fn a_library_without_sections_is_accepted() {
    let workshop = Workshop::new();
    let mut library = fs::read(workshop.compile("libx.so", &Library::default())).unwrap();
    // e_shoff; e_shnum and e_shstrndx
    library[40..48].fill(0);
    library[60..64].fill(0);
    workshop.write("libx.so", &library);
    workshop.judge("libx.so").unwrap();
}

#[test]
fn the_judge_survives_whatever_the_bytes_are() {
    let workshop = Workshop::new();
    let library = fs::read(workshop.compile("libgood.so", &Library::default())).unwrap();
    let mut random = Random::new();
    let mut accepted = 0;
    for round in 0..2000 {
        let mut damaged = library.clone();
        // Headers and tables lie at the start, and most damage elsewhere hits code.
        let until = if round % 4 == 0 { damaged.len() } else { 4096 };
        random.damage(&mut damaged[..until]);
        if random.below(8) == 0 {
            damaged.truncate(random.below(library.len()) + 1);
        }
        workshop.write("libx.so", &damaged);
        accepted += usize::from(workshop.judge("libx.so").is_ok());
    }
    assert!(accepted > 0 && accepted < 2000, "{accepted} of 2000 damaged libraries were accepted");
}
