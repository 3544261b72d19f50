//! An ELF library as the dynamic linker will see it, read from its bytes without trusting any of them.
//!
//! The linker goes by segments and the dynamic table, so this does too; sections are for other tools and may lie.

use std::ops::Range;

use object::elf::{self, Dyn64, FileHeader64, ProgramHeader64, Sym64};
use object::read::elf::{Dyn as _, FileHeader as _, GnuHashTable, HashTable, ProgramHeader as _, Sym as _};
use object::{NativeEndian, pod};

use super::refusal::Reason;

type Header = FileHeader64<NativeEndian>;

/// The bytes of a shared library for this machine whose segments all lie within the file.
pub(super) struct Elf<'data> {
    bytes: &'data [u8],
    segments: &'data [ProgramHeader64<NativeEndian>],
    dynamic: Vec<(elf::DynamicTag, u64)>,
}

/// A note (ELF specification, "Note Section").
pub(super) struct Note<'data> {
    pub(super) owner: &'data [u8],
    pub(super) kind: u32,
    pub(super) description: &'data [u8],
}

/// A symbol that other libraries can see.
pub(super) struct Symbol {
    /// Its address before the library is placed.
    pub(super) address: u64,
    pub(super) is_data: bool,
}

impl<'data> Elf<'data> {
    pub(super) fn parse(bytes: &'data [u8]) -> Result<Self, Reason> {
        check_machine(bytes)?;
        let header = Header::parse(bytes).map_err(|error| Reason::damaged(error.to_string()))?;
        let segments =
            header.program_headers(NativeEndian, bytes).map_err(|error| Reason::damaged(error.to_string()))?;
        let mut elf = Self { bytes, segments, dynamic: Vec::new() };
        elf.check_segments()?;
        elf.check_complete(header)?;
        elf.dynamic = elf.read_dynamic()?;
        if elf.value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0) {
            return Err(Reason::NotShared { found: "a program".to_owned() });
        }
        Ok(elf)
    }

    /// The linker maps what the segments say; a page that the file does not have kills the process at its first use.
    fn check_segments(&self) -> Result<(), Reason> {
        let mut free_from = 0;
        for (number, segment) in self.segments.iter().enumerate() {
            let (offset, len) = segment.file_range(NativeEndian);
            let end = offset.saturating_add(len);
            if segment.p_type(NativeEndian) != elf::PT_NULL && len > 0 && end > self.bytes.len() as u64 {
                let file = self.bytes.len();
                return Err(Reason::damaged(format!("segment {number} ends at byte {end}, the file at {file}")));
            }
            if segment.p_type(NativeEndian) != elf::PT_LOAD {
                continue;
            }
            let memory = memory(segment);
            let align = segment.p_align(NativeEndian);
            if memory.end < memory.start || memory.end - memory.start < len {
                return Err(Reason::damaged(format!("segment {number} has more bytes in the file than in memory")));
            }
            if memory.start < free_from || memory.end > MEMORY_BYTES_MAX {
                return Err(Reason::damaged(format!("segment {number} lies where it cannot")));
            }
            if align > 1 && (!align.is_power_of_two() || memory.start % align != offset % align) {
                return Err(Reason::damaged(format!("segment {number} is not aligned")));
            }
            free_from = memory.end;
        }
        Ok(())
    }

    /// The linker does without the sections, whose table ends most files: if it is cut off, something is missing.
    fn check_complete(&self, header: &Header) -> Result<(), Reason> {
        let (offset, size) = (header.e_shoff(NativeEndian), header.e_shentsize(NativeEndian));
        let len = u64::from(size) * u64::from(header.e_shnum(NativeEndian));
        if offset.checked_add(len).is_some_and(|end| end <= self.bytes.len() as u64) {
            return Ok(());
        }
        Err(Reason::damaged("the file ends before its section table"))
    }

    fn read_dynamic(&self) -> Result<Vec<(elf::DynamicTag, u64)>, Reason> {
        let mut tables = self.segments.iter().filter(|segment| segment.p_type(NativeEndian) == elf::PT_DYNAMIC);
        let (Some(segment), None) = (tables.next(), tables.next()) else {
            return Err(Reason::damaged("it does not have exactly one dynamic table"));
        };
        // In memory, where the linker reads it, not where the header says that it lies in the file.
        let entries: &[Dyn64<NativeEndian>] = self
            .bytes_from(segment.p_vaddr(NativeEndian))
            .and_then(|bytes| bytes.get(..usize::try_from(segment.p_filesz(NativeEndian)).ok()?))
            .and_then(|bytes| pod::slice_from_bytes(bytes, bytes.len() / size_of::<Dyn64<NativeEndian>>()).ok())
            .map(|(entries, _)| entries)
            .ok_or_else(|| Reason::damaged("its dynamic table lies outside the file"))?;
        let entries = entries.iter().map(|entry| (entry.tag(NativeEndian), entry.val(NativeEndian)));
        Ok(entries.take_while(|(tag, _)| *tag != elf::DT_NULL).collect())
    }

    /// All notes of all note segments.
    pub(super) fn notes(&self) -> Result<Vec<Note<'data>>, Reason> {
        let mut all = Vec::new();
        for segment in self.segments {
            let damaged = |error: object::read::Error| Reason::damaged(error.to_string());
            let Some(mut notes) = segment.notes(NativeEndian, self.bytes).map_err(damaged)? else { continue };
            while let Some(note) = notes.next().map_err(damaged)? {
                let kind = note.n_type(NativeEndian).0;
                all.push(Note { owner: note.name(), kind, description: note.desc() });
            }
        }
        Ok(all)
    }

    /// The names of the libraries that the linker loads with this one.
    pub(super) fn needed(&self) -> Result<Vec<String>, Reason> {
        let entries = self.dynamic.iter().filter(|(tag, _)| *tag == elf::DT_NEEDED);
        entries.map(|(_, offset)| self.text(*offset).map(|name| String::from_utf8_lossy(name).into_owned())).collect()
    }

    /// The value of the first entry of the dynamic table with this tag.
    pub(super) fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.dynamic.iter().find(|(other, _)| *other == tag).map(|(_, value)| *value)
    }

    /// The symbol of this name, unless another library is to bring it.
    pub(super) fn symbol(&self, name: &str) -> Result<Option<Symbol>, Reason> {
        for symbol in self.symbols()? {
            let is_visible = matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED);
            if symbol.is_undefined(NativeEndian) || symbol.is_local() || !is_visible {
                continue;
            }
            let rest = self.texts_from(symbol.st_name(NativeEndian).into())?.strip_prefix(name.as_bytes());
            if rest.is_some_and(|rest| rest.starts_with(b"\0")) {
                // A unique symbol is that of the first library that has it, whichever library is asked.
                let is_own = matches!(symbol.st_bind(), elf::STB_GLOBAL | elf::STB_WEAK);
                let is_data = is_own && symbol.st_type() == elf::STT_OBJECT && !symbol.is_absolute(NativeEndian);
                return Ok(Some(Symbol { address: symbol.st_value(NativeEndian), is_data }));
            }
        }
        Ok(None)
    }

    fn symbols(&self) -> Result<&'data [Sym64<NativeEndian>], Reason> {
        let (Some(address), Some(count)) = (self.value(elf::DT_SYMTAB), self.symbols_count()) else { return Ok(&[]) };
        self.bytes_from(address)
            .and_then(|bytes| pod::slice_from_bytes(bytes, count).ok())
            .map(|(symbols, _)| symbols)
            .ok_or_else(|| Reason::damaged("its dynamic symbols lie outside the file"))
    }

    /// Only the hash tables know how many there are.
    fn symbols_count(&self) -> Option<usize> {
        let table = |tag| self.value(tag).and_then(|address| self.bytes_from(address));
        if let Some(hash) = table(elf::DT_HASH).and_then(|bytes| HashTable::<Header>::parse(NativeEndian, bytes).ok()) {
            return Some(hash.symbol_table_length() as usize);
        }
        let hash = GnuHashTable::<Header>::parse(NativeEndian, table(elf::DT_GNU_HASH)?).ok()?;
        hash.symbol_table_length(NativeEndian).map(|count| count as usize)
    }

    fn text(&self, offset: u64) -> Result<&'data [u8], Reason> {
        let texts = self.texts_from(offset)?;
        let end = texts.iter().take(NAME_BYTES_MAX).position(|byte| *byte == 0);
        end.and_then(|end| texts.get(..end)).ok_or_else(|| Reason::damaged("a name in its dynamic table has no end"))
    }

    /// The texts of the dynamic table, each of which ends with a zero, from an offset on.
    fn texts_from(&self, offset: u64) -> Result<&'data [u8], Reason> {
        let texts = self.value(elf::DT_STRTAB).and_then(|address| self.bytes_from(address));
        texts
            .and_then(|texts| texts.get(usize::try_from(offset).ok()?..))
            .ok_or_else(|| Reason::damaged("a name in its dynamic table lies outside the file"))
    }

    /// The bytes of the file from an address to the end of its segment.
    fn bytes_from(&self, address: u64) -> Option<&'data [u8]> {
        let segment = self.loaded().find(|segment| memory(segment).contains(&address))?;
        let (offset, len) = segment.file_range(NativeEndian);
        let into = address - segment.p_vaddr(NativeEndian);
        let (start, end) = (offset.checked_add(into)?, offset.checked_add(len)?);
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Whether all these addresses will be mapped.
    pub(super) fn is_mapped(&self, addresses: Range<u64>) -> bool {
        self.loaded().map(memory).any(|memory| memory.start <= addresses.start && addresses.end <= memory.end)
    }

    /// Where its code will lie, before the library is placed.
    pub(super) fn code(&self) -> Vec<Range<u64>> {
        let code = self.loaded().filter(|segment| segment.p_flags(NativeEndian).0 & elf::PF_X.0 != 0);
        code.map(memory).collect()
    }

    fn loaded(&self) -> impl Iterator<Item = &'data ProgramHeader64<NativeEndian>> {
        self.segments.iter().filter(|segment| segment.p_type(NativeEndian) == elf::PT_LOAD)
    }
}

/// Which addresses a segment takes; empty the wrong way round if it goes beyond the last one.
fn memory(segment: &ProgramHeader64<NativeEndian>) -> Range<u64> {
    let start = segment.p_vaddr(NativeEndian);
    start..start.checked_add(segment.p_memsz(NativeEndian)).unwrap_or(0)
}

fn check_machine(bytes: &[u8]) -> Result<(), Reason> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(Reason::NotElf);
    }
    let Some((header, _)) = pod::from_bytes::<Header>(bytes).ok() else {
        return Err(Reason::damaged("the file ends within its header"));
    };
    let supported = (elf::ELFCLASS64, native_order(), native_machine());
    let found = (header.e_ident.class, header.e_ident.data, header.e_machine(NativeEndian));
    if found != supported {
        return Err(Reason::Machine { found: machine_name(found), supported: machine_name(supported) });
    }
    let found = match header.e_type(NativeEndian) {
        elf::ET_DYN => return Ok(()),
        elf::ET_EXEC => "a program".to_owned(),
        elf::ET_REL => "an object file".to_owned(),
        elf::ET_CORE => "a core dump".to_owned(),
        other => format!("an ELF file of type {}", other.0),
    };
    Err(Reason::NotShared { found })
}

fn native_order() -> elf::DataEncoding {
    if cfg!(target_endian = "big") { elf::ELFDATA2MSB } else { elf::ELFDATA2LSB }
}

fn native_machine() -> elf::Machine {
    if cfg!(target_arch = "x86_64") {
        elf::EM_X86_64
    } else if cfg!(target_arch = "aarch64") {
        elf::EM_AARCH64
    } else if cfg!(target_arch = "riscv64") {
        elf::EM_RISCV
    } else {
        elf::EM_NONE
    }
}

fn machine_name((class, order, machine): (elf::FileClass, elf::DataEncoding, elf::Machine)) -> String {
    let bits = if class == elf::ELFCLASS64 { "64-bit" } else { "32-bit" };
    if order != native_order() {
        return format!("a {bits} machine of the other byte order");
    }
    match machine {
        elf::EM_X86_64 => format!("{bits} x86-64"),
        elf::EM_AARCH64 => format!("{bits} AArch64"),
        elf::EM_RISCV => format!("{bits} RISC-V"),
        elf::EM_386 => format!("{bits} x86"),
        elf::EM_ARM => format!("{bits} ARM"),
        other => format!("{bits} machine number {}", other.0),
    }
}

/// What no library comes near; a damaged one that did would take the memory that the server needs.
const MEMORY_BYTES_MAX: u64 = 1 << 32;
/// The longest path that the system takes.
const NAME_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, OnceLock};

    use proptest::prelude::*;

    use super::super::digest::Digest;
    use super::super::judge::judge_bytes;
    use super::*;

    /// A library that can be opened, to be damaged and mended again: it is too large to be copied each time.
    fn library() -> &'static Mutex<Vec<u8>> {
        static LIBRARY: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
        LIBRARY.get_or_init(|| {
            // Cargo builds it beside this test.
            let path = std::env::current_exe().unwrap().with_file_name("libhello.so");
            Mutex::new(std::fs::read(path).unwrap())
        })
    }

    /// Where what is read lies: the header, the tables of segments and of dynamic entries, the notes, the symbols' hashes.
    fn places(bytes: &[u8]) -> Vec<Range<usize>> {
        let elf = Elf::parse(bytes).unwrap();
        let of_file = |segment: &ProgramHeader64<NativeEndian>| {
            let (offset, len) = segment.file_range(NativeEndian);
            offset as usize..(offset + len) as usize
        };
        let small = elf.segments.iter().filter(|segment| segment.p_type(NativeEndian) != elf::PT_LOAD).map(of_file);
        let tables = [elf::DT_GNU_HASH, elf::DT_SYMTAB, elf::DT_STRTAB].map(|tag| {
            let table = elf.bytes_from(elf.value(tag).unwrap()).unwrap();
            let start = table.as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + table.len().min(256)
        });
        [0..64, 64..64 + 56 * elf.segments.len()]
            .into_iter()
            .chain(small)
            .chain(tables)
            .filter(|place| !place.is_empty())
            .collect()
    }

    fn judge(bytes: &[u8]) -> Result<(), Reason> {
        judge_bytes(bytes, "library", Digest::of(b"")).map(|_| ())
    }

    #[test]
    fn the_library_that_is_damaged_here_is_fine() {
        assert!(judge(&library().lock().unwrap()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whatever the bytes are, there is an answer: no panic, and nothing outside of them is read (`object` and slices
        /// panic first). That the answer is a refusal, no one can say of any byte.
        #[test]
        fn damaged_libraries_are_judged(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop_oneof![
                Just(0), Just(u64::MAX), Just(1 << 63), Just(1), Just(8), Just(4096), Just(1 << 31), any::<u64>(), 0..100_000_000_u64,
            ], 1..=8_usize), 1..4),
            cut in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
        ) {
            static PLACES: OnceLock<Vec<Range<usize>>> = OnceLock::new();
            let mut bytes = library().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let places = PLACES.get_or_init(|| places(&bytes));
            let mut mended = Vec::new();
            for (place, at, value, len) in changes {
                let place = place.get(places).clone();
                let at = place.start + at.index(place.len());
                let end = (at + len).min(bytes.len());
                mended.push((at, bytes[at..end].to_vec()));
                bytes[at..end].copy_from_slice(&value.to_ne_bytes()[..end - at]);
            }
            let end = cut.map_or(bytes.len(), |cut| cut.index(bytes.len()));
            let judged = std::panic::catch_unwind(|| judge(&bytes[..end]).is_ok());
            for (at, before) in mended.into_iter().rev() {
                bytes[at..at + before.len()].copy_from_slice(&before);
            }
            prop_assert!(judged.is_ok(), "it panicked");
        }

        #[test]
        fn anything_at_all_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300), is_elf: bool) {
            let mut bytes = bytes;
            if is_elf {
                let library = library().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                bytes = [&library[..64], &bytes].concat();
            }
            prop_assert!(judge(&bytes).is_err());
        }
    }
}
