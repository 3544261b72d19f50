//! Makes libraries that misbehave, and brings files as far as they get.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::InTime as _;
use porth::abi::{self, Judged, ModuleDescription, Opened, Prober, Staged, StagingDirectory};
use porth_abi::{Note, note};
use tempfile::TempDir;

/// A data directory and a directory for libraries, with what the server would make of them.
pub(crate) struct Workshop {
    directory: PathBuf,
    staging: StagingDirectory,
    /// None if another process made the directory.
    _owner: Option<TempDir>,
}

/// A library in C, made from `tests/fixtures/c/plugin.c`. The default is a good one.
pub(crate) struct Library {
    pub(crate) note: Option<Vec<u8>>,
    pub(crate) second_note: Option<Vec<u8>>,
    /// The table's initialiser.
    pub(crate) table: Option<&'static str>,
    pub(crate) constructor: &'static str,
    pub(crate) load: &'static str,
    pub(crate) init: &'static str,
    pub(crate) close: &'static str,
    /// For the compiler.
    pub(crate) arguments: &'static [&'static str],
}

impl Default for Library {
    fn default() -> Self {
        Self {
            note: Some(note_bytes(&good_note())),
            second_note: None,
            table: Some(TABLE),
            constructor: "",
            load: "",
            init: "",
            close: "",
            arguments: &[],
        }
    }
}

/// The table of a good library.
pub(crate) const TABLE: &str = "sizeof(struct plugin), 4, 1, 0, 0, load, unload, init, close_instance, NULL";

/// The note of a good library that is not Rust.
pub(crate) fn good_note() -> Note {
    Note::new(note::PANIC_NONE, 0)
}

pub(crate) fn note_bytes(note: &Note) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [note.owner_len, note.description_len, note.kind] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(note.owner);
    bytes.extend(note.magic);
    for number in [note.abi_draft, note.abi_major, note.abi_minor, note.least_host_minor, note.panic, note.flags] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(note.target);
    bytes.extend(note.rows_len.to_ne_bytes());
    for row in note.rows {
        bytes.extend([row.type_id.to_ne_bytes(), row.field.to_ne_bytes()].concat());
        bytes.extend([row.offset.to_ne_bytes(), row.size.to_ne_bytes(), row.align.to_ne_bytes()].concat());
    }
    assert_eq!(bytes.len(), size_of::<Note>(), "the note has a field that is not written here");
    bytes
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("plugins")).unwrap();
        let workshop = Self::at(directory.path());
        Self { _owner: Some(directory), ..workshop }
    }

    /// Uses what another process made and removes.
    pub(crate) fn at(directory: &Path) -> Self {
        let staging = StagingDirectory::create(&directory.join("data")).unwrap();
        Self { directory: directory.to_owned(), staging, _owner: None }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where a file of the plug-in directory lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join("plugins").join(name)
    }

    /// Compiles a library to a file of the plug-in directory.
    pub(crate) fn compile(&self, name: &str, library: &Library) -> PathBuf {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/c");
        let include = self.directory.join(format!("{name}.include"));
        fs::create_dir_all(&include).unwrap();
        fs::write(include.join("fixture.h"), library.header()).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O0", "-w", "-pthread", "-fvisibility=hidden"])
            .args(library.arguments)
            .arg("-I")
            .arg(&include)
            .arg("-o")
            .arg(self.file(name))
            .arg(sources.join("plugin.c"))
            .output_in_time();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        self.file(name)
    }

    /// Writes a file of the plug-in directory.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.file(name), bytes).unwrap();
        self.file(name)
    }

    pub(crate) fn stage(&self, name: &str) -> Result<Staged, String> {
        self.staging.stage(&self.file(name), BYTES_MAX).map_err(|error| error.to_string())
    }

    pub(crate) fn judge(&self, name: &str) -> Result<(Staged, Judged), String> {
        let staged = self.stage(name)?;
        let judged = abi::judge(&staged).map_err(|refusal| refusal.to_string())?;
        Ok((staged, judged))
    }

    pub(crate) fn probe(&self, name: &str) -> Result<Vec<ModuleDescription>, String> {
        let (staged, judged) = self.judge(name)?;
        self.prober().probe(&staged, &judged).map_err(|refusal| refusal.to_string())
    }

    pub(crate) fn open(&self, name: &str) -> Result<Opened, String> {
        let (staged, judged) = self.judge(name)?;
        abi::open(&staged, &judged).map_err(|refusal| refusal.to_string())
    }

    pub(crate) fn prober(&self) -> Prober {
        Prober::new(&self.data()).with_program(Path::new(env!("CARGO_BIN_EXE_porth")))
    }
}

impl Library {
    fn header(&self) -> String {
        let mut header = String::new();
        let mut define = |name: &str, value: &str| writeln!(header, "#define {name} {value}").unwrap();
        for (name, note) in [("NOTE", &self.note), ("SECOND_NOTE", &self.second_note)] {
            if let Some(note) = note {
                define(name, &note.iter().map(u8::to_string).collect::<Vec<_>>().join(","));
            }
        }
        if let Some(table) = self.table {
            define("TABLE", table);
        }
        define("CONSTRUCTOR", self.constructor);
        define("LOAD", self.load);
        define("INIT", self.init);
        define("CLOSE", self.close);
        header
    }
}

/// As the host's default, but smaller.
const BYTES_MAX: u64 = 64 << 20;

/// A command that runs the one test `name` in a process of its own.
pub(crate) fn own_process(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(OWN_PROCESS, "1");
    command
}

const OWN_PROCESS: &str = "PORTH_TEST_OWN_PROCESS";

/// Numbers that are the same in each run (Marsaglia's xorshift64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// Overwrites up to eight bytes with such as hurt.
    pub(crate) fn damage(&mut self, bytes: &mut [u8]) {
        for _ in 0..1 + self.below(8) {
            let at = self.below(bytes.len());
            bytes[at] = [self.below(256) as u8, 0, 0xff, 0x80][self.below(4)];
        }
    }
}
