//! `include/porth.h` says what `porth_abi` says: the same rows, the same note, the same numbers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::process::InTime as _;
use object::elf::{SHT_NOTE, SectionType};
use object::read::elf::SectionHeader;
use object::{Object, ObjectSection, ObjectSymbol};
use porth_abi::note::{Note, PANIC_NONE};
use porth_abi::{LayoutRow, code};

const C: [&str; 2] = ["gcc", "-std=c11"];
const CPP: [&str; 4] = ["g++", "-std=c++17", "-x", "c++"];

const PLUGIN: &str = r#"
#include "porth.h"

static int32_t load(const porth_host *host, uint64_t context, void **library, porth_bytes *description) {
    porth_log(host, context, PORTH_LEVEL_INFO, PORTH_STR("header"), PORTH_STR("loaded"));
    *library = NULL;
    *description = porth_bytes_static(PORTH_STR("[]"));
    return PORTH_OK;
}

static void unload(void *library) { (void)library; }

static int32_t init(void *library, const porth_init_arguments *arguments, porth_init_result *result) {
    (void)library;
    (void)arguments;
    (void)result;
    return PORTH_OK;
}

static int32_t close_instance(void *instance) {
    (void)instance;
    return PORTH_OK;
}

PORTH_EXPORT_PLUGIN(load, unload, init, close_instance);
"#;

#[test]
fn the_note_of_c_is_the_note_of_rust() {
    check_equal(&C);
}

#[test]
fn the_note_of_cpp_is_the_note_of_rust() {
    check_equal(&CPP);
}

fn check_equal(compiler: &[&str]) {
    let library = compile(compiler, &header(), "").unwrap();
    let expected = note_bytes(&Note::new(PANIC_NONE, 0));
    assert_eq!(rows(&library.note), rows(&expected));
    assert_eq!(library.note, expected);
    assert_eq!((library.section_kind, library.section_align), (SHT_NOTE, 4));
    assert_eq!(
        library.symbols,
        BTreeMap::from([("PORTH_PLUGIN_V1".to_owned(), size_of::<porth_abi::Plugin>() as u64)])
    );
}

#[test]
fn a_sneaked_field_shows_in_the_note() {
    let sneaked = header().replacen("    porth_str request_id;", "    uint32_t sneaked;\n    porth_str request_id;", 1);
    let library = compile(&C, &sneaked, "").unwrap();
    let expected = rows(&note_bytes(&Note::new(PANIC_NONE, 0)));
    let differing: Vec<_> = rows(&library.note)
        .into_iter()
        .zip(expected)
        .filter(|(found, known)| found != known)
        .map(|(_, row)| row)
        .collect();
    // The request itself, and the two fields behind the sneaked one.
    assert_eq!(differing.iter().map(|row| (row.0, row.1)).collect::<Vec<_>>(), [(5, 0), (5, 12), (5, 13)]);
}

#[test]
fn a_field_of_another_type_shows_in_the_note() {
    let changed = header().replacen("    uint32_t status;", "    uint16_t status;", 1);
    let library = compile(&C, &changed, "").unwrap();
    assert_ne!(library.note, note_bytes(&Note::new(PANIC_NONE, 0)));
}

#[test]
fn the_numbers_are_the_same() {
    let known = [
        ("PORTH_ABI_DRAFT", i64::from(porth_abi::ABI_DRAFT)),
        ("PORTH_ABI_MAJOR", i64::from(porth_abi::ABI_MAJOR)),
        ("PORTH_ABI_MINOR", i64::from(porth_abi::ABI_MINOR)),
        ("PORTH_LEAST_HOST_MINOR", i64::from(porth_abi::LEAST_HOST_MINOR)),
        ("PORTH_OK", i64::from(code::OK)),
        ("PORTH_ERROR", i64::from(code::ERROR)),
        ("PORTH_UNAUTHORIZED", i64::from(code::UNAUTHORIZED)),
        ("PORTH_PARAM", i64::from(code::PARAM)),
        ("PORTH_STORE", i64::from(code::STORE)),
        ("PORTH_MEMORY", i64::from(code::MEMORY)),
        ("PORTH_NOT_FOUND", i64::from(code::NOT_FOUND)),
        ("PORTH_DENIED", i64::from(code::DENIED)),
        ("PORTH_WOULD_BLOCK", i64::from(code::WOULD_BLOCK)),
        ("PORTH_CLOSED", i64::from(code::CLOSED)),
        ("PORTH_UNSUPPORTED", i64::from(code::UNSUPPORTED)),
        ("PORTH_CANCELLED", i64::from(code::CANCELLED)),
        ("PORTH_CONFLICT", i64::from(code::CONFLICT)),
        ("PORTH_BUSY", i64::from(code::BUSY)),
        ("PORTH_TOO_LARGE", i64::from(code::TOO_LARGE)),
        ("PORTH_READY", i64::from(code::READY)),
        ("PORTH_PENDING", i64::from(code::PENDING)),
        ("PORTH_NEXT", i64::from(code::NEXT)),
        ("PORTH_PANIC", i64::from(code::PANIC)),
        ("PORTH_FAILED", i64::from(code::FAILED)),
        ("PORTH_LEVEL_ERROR", i64::from(code::level::ERROR)),
        ("PORTH_LEVEL_WARN", i64::from(code::level::WARN)),
        ("PORTH_LEVEL_INFO", i64::from(code::level::INFO)),
        ("PORTH_LEVEL_DEBUG", i64::from(code::level::DEBUG)),
        ("PORTH_LEVEL_TRACE", i64::from(code::level::TRACE)),
        ("PORTH_METRIC_COUNTER", i64::from(code::metric::COUNTER)),
        ("PORTH_METRIC_GAUGE", i64::from(code::metric::GAUGE)),
        ("PORTH_METRIC_HISTOGRAM", i64::from(code::metric::HISTOGRAM)),
        ("PORTH_ENDPOINT_SHORT", i64::from(code::endpoint::SHORT)),
        ("PORTH_ENDPOINT_STREAM_BODY", i64::from(code::endpoint::STREAM_BODY)),
        ("PORTH_STREAM_ENDLESS", i64::try_from(code::stream::ENDLESS).unwrap()),
        ("PORTH_ROWS_LEN", porth_abi::rows::ROWS_LEN as i64),
    ];
    assert_eq!(numbers_of(&header()), BTreeMap::from(known.map(|(name, value)| (name.to_owned(), value))));
    let every: String =
        known.iter().map(|(name, value)| format!("_Static_assert({name} == {value}, \"{name}\");\n")).collect();
    compile(&C, &header(), &every).unwrap();
    let error = compile(&C, &header(), "_Static_assert(PORTH_OK == 1, \"seen\");").unwrap_err();
    assert!(error.contains("seen"), "{error}");
}

/// The numbers that the header defines.
fn numbers_of(header: &str) -> BTreeMap<String, i64> {
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define "));
    let numbers = defines.filter_map(|define| {
        let (name, value) = define.split_once(' ')?;
        let value = value.trim_matches(['(', ')', 'u']).parse().ok()?;
        Some((name.to_owned(), value))
    });
    numbers.collect()
}

#[test]
fn the_example_in_c_compiles() {
    let source = std::fs::read_to_string(root().join("examples/hello-c/hello.c")).unwrap();
    let compiler = ["gcc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-pthread"];
    let library = compile_source(&compiler, &header(), &source).unwrap();
    assert_eq!(library.note, note_bytes(&Note::new(PANIC_NONE, 0)));
}

/// What a library shows to the host before it is opened.
#[derive(Debug)]
struct Library {
    note: Vec<u8>,
    section_kind: SectionType,
    section_align: u64,
    /// The defined dynamic symbols with their sizes.
    symbols: BTreeMap<String, u64>,
}

/// Compiles a plug-in with a header and further declarations; the error is what the compiler says.
fn compile(compiler: &[&str], header: &str, more: &str) -> Result<Library, String> {
    compile_source(compiler, header, &format!("{PLUGIN}{more}"))
}

fn compile_source(compiler: &[&str], header: &str, source: &str) -> Result<Library, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("porth.h"), header).unwrap();
    std::fs::write(path("plugin.c"), source).unwrap();
    let output = Command::new(compiler[0])
        .args(&compiler[1..])
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fvisibility=hidden", "-fPIC", "-shared", "-o"])
        .args([path("library.so"), path("plugin.c")])
        .arg("-I")
        .arg(directory.path())
        .output_in_time();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(read(&std::fs::read(path("library.so")).unwrap()))
}

fn read(bytes: &[u8]) -> Library {
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes).unwrap();
    let section = file.section_by_name(porth_abi::note::SECTION).unwrap();
    let symbols = file.dynamic_symbols().filter(|symbol| symbol.is_definition());
    Library {
        note: section.data().unwrap().to_vec(),
        section_kind: section.elf_section_header().sh_type(file.endian()),
        section_align: section.align(),
        symbols: symbols.map(|symbol| (symbol.name().unwrap().to_owned(), symbol.size())).collect(),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> String {
    std::fs::read_to_string(root().join("plugin-api/include/porth.h")).unwrap()
}

/// A note as it lies in a file of this machine.
fn note_bytes(note: &Note) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut push = |number: u32| bytes.extend(number.to_ne_bytes());
    [note.owner_len, note.description_len, note.kind].into_iter().for_each(&mut push);
    bytes.extend(note.owner);
    bytes.extend(note.magic);
    let mut push = |number: u32| bytes.extend(number.to_ne_bytes());
    let numbers = [note.abi_draft, note.abi_major, note.abi_minor, note.least_host_minor, note.panic, note.flags];
    numbers.into_iter().for_each(&mut push);
    bytes.extend(note.target);
    bytes.extend(note.rows_len.to_ne_bytes());
    for LayoutRow { type_id, field, offset, size, align } in note.rows {
        bytes.extend(type_id.to_ne_bytes());
        bytes.extend(field.to_ne_bytes());
        [offset, size, align].into_iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
    }
    assert_eq!(bytes.len(), size_of::<Note>());
    bytes
}

/// The rows of a note: struct, field, offset, size, alignment.
fn rows(note: &[u8]) -> Vec<(u16, u16, u32, u32, u32)> {
    let first = size_of::<Note>() - size_of::<[LayoutRow; porth_abi::rows::ROWS_LEN]>();
    let half = |row: &[u8], at: usize| u16::from_ne_bytes([row[at], row[at + 1]]);
    let word = |row: &[u8], at: usize| u32::from_ne_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    let rows = note[first..].chunks_exact(size_of::<LayoutRow>());
    rows.map(|row| (half(row, 0), half(row, 2), word(row, 4), word(row, 8), word(row, 12))).collect()
}
