//! Tier 0: what the bytes of a library say, before any of its code can run.
//!
//! Start at [`judge`]. It opens nothing and runs nothing; whatever the bytes are, it answers.

use std::ops::Range;

use object::elf;
use porth_abi::layout::LayoutExport;
use porth_abi::note::{self, LayoutRow};
use porth_abi::{ABI_DRAFT, ABI_MAJOR, ABI_MINOR, LAYOUT_SYMBOL, PLUGIN_SYMBOL};

use super::digest::Digest;
use super::elf::{Elf, Symbol};
use super::refusal::{Reason, Refusal};
use super::rows;
use super::staging::Staged;

/// What is known of a library that this host can open.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The file's name.
    pub library: String,
    /// What identifies its bytes.
    pub digest: Digest,
    /// The draft of the ABI that it was built for; 0 for the frozen one.
    pub abi_draft: u32,
    /// The major version of the ABI.
    pub abi_major: u32,
    /// The minor version of the ABI; it may be newer than this host's.
    pub abi_minor: u32,
    /// The least minor version of a host that it works with.
    pub least_host_minor: u32,
    /// What becomes of a panic in it.
    pub panic: Panic,
    /// Its target, `<arch>-<os>-<env>`.
    pub target: String,
    /// Whether it describes its types for the check after opening.
    pub has_layout: bool,
    /// The libraries that the dynamic linker loads with it.
    pub needed: Vec<String>,
    /// Whether the dynamic linker would keep it mapped for good; this host does so anyway.
    pub is_kept_mapped: bool,
    /// How many functions it asks the dynamic linker to run when it is opened; compilers add one or two.
    pub constructors: usize,
    /// What the linker called this very build; none if it was told not to.
    pub build_id: Option<String>,
    /// Where its code lies before it is placed.
    pub(super) code: Vec<Range<u64>>,
    /// Where [`PLUGIN_SYMBOL`] lies before the library is placed.
    pub(super) table_address: u64,
    /// How many bytes it has, according to the note.
    pub(super) table_bytes: usize,
}

/// What becomes of a panic in a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panic {
    /// It is not Rust.
    None,
    /// It unwinds, and the guard at the border catches it.
    Unwind,
}

/// Reads a staged library and says whether this host can open it.
///
/// # Errors
///
/// The first thing that forbids it, with both sides.
pub fn judge(staged: &Staged) -> Result<Judged, Refusal> {
    let judged = judge_bytes(staged.bytes(), staged.library(), staged.digest());
    judged.map_err(|reason| reason.of(staged.library()))
}

/// The same of bytes, wherever they are.
pub(super) fn judge_bytes(bytes: &[u8], library: &str, digest: Digest) -> Result<Judged, Reason> {
    let elf = Elf::parse(bytes)?;
    let notes = elf.notes()?;
    let mut porth = notes.iter().filter(|note| note.owner == OWNER && note.kind == note::KIND);
    let note = match (porth.next(), porth.count()) {
        (None, _) => return Err(Reason::NoNote),
        (Some(note), 0) => Note::read(note.description)?,
        (Some(_), more) => return Err(Reason::Notes { found: more + 1 }),
    };
    let panic = note.check()?;
    rows::check(&note.rows, note.abi_minor, ABI_MINOR)?;

    let table = exported(&elf, PLUGIN_SYMBOL, note.table_bytes())?;
    let has_layout = note.flags & note::FLAG_LAYOUT != 0;
    if has_layout {
        exported(&elf, LAYOUT_SYMBOL, size_of::<LayoutExport>())?;
    }
    let constructors_bytes = elf.value(elf::DT_INIT_ARRAYSZ).unwrap_or(0);
    Ok(Judged {
        library: library.to_owned(),
        digest,
        abi_draft: note.abi_draft,
        abi_major: note.abi_major,
        abi_minor: note.abi_minor,
        least_host_minor: note.least_host_minor,
        panic,
        target: text(&note.target),
        has_layout,
        needed: elf.needed()?,
        is_kept_mapped: elf.value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_NODELETE.0 != 0),
        constructors: usize::try_from(constructors_bytes).unwrap_or(usize::MAX) / size_of::<usize>(),
        build_id: notes
            .iter()
            .find(|note| note.owner == b"GNU" && note.kind == elf::NT_GNU_BUILD_ID.0)
            .map(|note| note.description.iter().map(|byte| format!("{byte:02x}")).collect()),
        code: elf.code(),
        table_address: table.address,
        table_bytes: note.table_bytes(),
    })
}

/// The symbol that says where `bytes` bytes of data lie.
fn exported(elf: &Elf<'_>, symbol: &str, bytes: usize) -> Result<Symbol, Reason> {
    let found = elf.symbol(symbol)?;
    let found_other = found.is_some();
    let Some(found) = found.filter(|found| found.is_data) else {
        return Err(Reason::Symbol { symbol: symbol.to_owned(), found_other });
    };
    if elf.is_mapped(found.address..found.address.saturating_add(bytes as u64)) {
        return Ok(found);
    }
    Err(Reason::damaged(format!("`{symbol}` lies outside its memory")))
}

/// A Porth note as it was found; see [`porth_abi::Note`] for its fields.
struct Note {
    abi_draft: u32,
    abi_major: u32,
    abi_minor: u32,
    least_host_minor: u32,
    panic: u32,
    flags: u32,
    target: [u8; 32],
    rows: Vec<LayoutRow>,
}

impl Note {
    /// Another draft or major version may have another form from there on, so these are looked at first.
    fn read(description: &[u8]) -> Result<Self, Reason> {
        let mut rest = Rest(description);
        if rest.take::<8>()? != note::MAGIC {
            return Err(Reason::damaged("its Porth note does not start with the magic bytes"));
        }
        let abi_draft = rest.take_u32()?;
        if abi_draft != ABI_DRAFT {
            return Err(Reason::Draft { found: abi_draft, supported: ABI_DRAFT });
        }
        let abi_major = rest.take_u32()?;
        if abi_major != ABI_MAJOR {
            return Err(Reason::Major { found: abi_major, supported: ABI_MAJOR });
        }
        Ok(Self {
            abi_draft,
            abi_major,
            abi_minor: rest.take_u32()?,
            least_host_minor: rest.take_u32()?,
            panic: rest.take_u32()?,
            flags: rest.take_u32()?,
            target: rest.take()?,
            rows: {
                let rows_len = rest.take_u32()?;
                (0..rows_len).map(|_| rest.take_row()).collect::<Result<_, _>>()?
            },
        })
    }

    /// How many bytes the table of entry points has.
    fn table_bytes(&self) -> usize {
        let row = self.rows.iter().find(|row| (row.type_id, row.field) == (PLUGIN_TYPE, 0));
        row.map_or(0, |row| row.size as usize)
    }

    fn check(&self) -> Result<Panic, Reason> {
        if self.least_host_minor > ABI_MINOR {
            return Err(Reason::HostTooOld { major: ABI_MAJOR, found: self.least_host_minor, supported: ABI_MINOR });
        }
        if self.target != note::TARGET {
            return Err(Reason::Target { found: text(&self.target), supported: text(&note::TARGET) });
        }
        match self.panic {
            note::PANIC_NONE => Ok(Panic::None),
            note::PANIC_UNWIND => Ok(Panic::Unwind),
            note::PANIC_ABORT => Err(Reason::PanicAbort),
            found => Err(Reason::Panic { found }),
        }
    }
}

/// What is left of a note's description.
struct Rest<'data>(&'data [u8]);

impl Rest<'_> {
    fn take<const LEN: usize>(&mut self) -> Result<[u8; LEN], Reason> {
        let (first, rest) = self.0.split_first_chunk().ok_or_else(|| Reason::damaged("its Porth note is cut off"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn take_u32(&mut self) -> Result<u32, Reason> {
        self.take().map(u32::from_ne_bytes)
    }

    fn take_row(&mut self) -> Result<LayoutRow, Reason> {
        Ok(LayoutRow {
            type_id: self.take().map(u16::from_ne_bytes)?,
            field: self.take().map(u16::from_ne_bytes)?,
            offset: self.take_u32()?,
            size: self.take_u32()?,
            align: self.take_u32()?,
        })
    }
}

fn text(padded: &[u8]) -> String {
    let text = padded.split(|byte| *byte == 0).next().unwrap_or_default();
    text.escape_ascii().to_string()
}

/// The note's owner without its zeros.
const OWNER: &[u8] = b"Porth";
/// What the rows call [`porth_abi::Plugin`].
const PLUGIN_TYPE: u16 = 16;
