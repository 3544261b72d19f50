//! The ELF note that tells a host about a library before it is opened.
//!
//! A library carries exactly one, in the section [`SECTION`], which the linker lists in a `PT_NOTE` segment. Only the
//! export macros emit it. Numbers are in the byte order of the target.

#![expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]

use crate::rows::{ROWS, ROWS_LEN};
use crate::{ABI_DRAFT, ABI_MAJOR, ABI_MINOR, LEAST_HOST_MINOR};

/// The section's name.
pub const SECTION: &str = ".note.porth";
/// The note's owner, with its terminating zero.
pub const OWNER: [u8; 8] = *b"Porth\0\0\0";
/// The length of the owner as the note counts it: with one zero, without the padding.
pub const OWNER_LEN: u32 = 6;
/// The note's type.
pub const KIND: u32 = 1;
/// The first bytes of the description.
pub const MAGIC: [u8; 8] = *b"PORTHABI";

/// The library is not Rust: no panic can come from it.
pub const PANIC_NONE: u32 = 0;
/// A panic unwinds, so the guard at the border can catch it.
pub const PANIC_UNWIND: u32 = 1;
/// A panic ends the process: the host refuses such a library.
pub const PANIC_ABORT: u32 = 2;

/// The library exports [`LAYOUT_SYMBOL`](crate::LAYOUT_SYMBOL).
pub const FLAG_LAYOUT: u32 = 1;

/// Where one struct (`field` 0) or one of its fields (from 1, in their order) lies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutRow {
    /// Which struct: see [`TYPE_NAMES`](crate::rows::TYPE_NAMES).
    pub type_id: u16,
    /// 0 for the struct itself, else the field's number.
    pub field: u16,
    /// The field's offset in bytes; 0 for the struct.
    pub offset: u32,
    /// The size in bytes.
    pub size: u32,
    /// The struct's alignment in bytes; 0 for a field.
    pub align: u32,
}

/// The whole note, header and description. `repr(C, align(4))`, as notes are.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The length of the owner.
    pub owner_len: u32,
    /// The length of everything from `magic` on.
    pub description_len: u32,
    /// The note's type.
    pub kind: u32,
    /// The owner, padded to a multiple of four.
    pub owner: [u8; 8],
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The draft it was built for; 0 once the ABI is frozen.
    pub abi_draft: u32,
    /// The major version it was built for.
    pub abi_major: u32,
    /// The minor version it was built for.
    pub abi_minor: u32,
    /// The oldest minor version of a host it can work with.
    pub least_host_minor: u32,
    /// One of the `PANIC_` constants.
    pub panic: u32,
    /// Bits of the `FLAG_` constants.
    pub flags: u32,
    /// The target as `<arch>-<os>-<env>`, padded with zeros.
    pub target: [u8; 32],
    /// How many rows follow.
    pub rows_len: u32,
    /// The rows, ordered by struct and field.
    pub rows: [LayoutRow; ROWS_LEN],
}

impl Note {
    /// How many bytes stand before the description.
    pub const HEADER_LEN: usize = 20;

    /// The note of a library in Rust. The export macro calls it with what holds for the plug-in's own crate.
    #[must_use]
    pub const fn new(panic: u32, flags: u32) -> Self {
        Self {
            owner_len: OWNER_LEN,
            description_len: (size_of::<Self>() - Self::HEADER_LEN) as u32,
            kind: KIND,
            owner: OWNER,
            magic: MAGIC,
            abi_draft: ABI_DRAFT,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            least_host_minor: LEAST_HOST_MINOR,
            panic,
            flags,
            target: TARGET,
            rows_len: ROWS_LEN as u32,
            rows: ROWS,
        }
    }
}

/// The target that this crate is compiled for, as it stands in the note.
pub const TARGET: [u8; 32] = {
    let arch = if cfg!(target_arch = "x86_64") {
        "x86_64"
    } else if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else if cfg!(target_arch = "riscv64") {
        "riscv64"
    } else {
        "other"
    };
    let system = if cfg!(all(target_os = "linux", target_env = "gnu")) {
        "-linux-gnu"
    } else if cfg!(all(target_os = "linux", target_env = "musl")) {
        "-linux-musl"
    } else {
        "-other"
    };
    let mut target = [0; 32];
    let mut at = 0;
    while at < arch.len() {
        target[at] = arch.as_bytes()[at];
        at += 1;
    }
    let mut from = 0;
    while from < system.len() {
        target[at + from] = system.as_bytes()[from];
        from += 1;
    }
    target
};
