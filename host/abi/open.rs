//! Opening a judged library: from here on its code runs in this process, for good.
//!
//! Start at [`open`]. Whether it may be opened has been decided before: by [`super::judge`] and, in the server, by a
//! [`super::probe`].

use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use porth_abi::layout::LayoutExport;
use porth_abi::{ABI_MINOR, LAYOUT_SYMBOL, PLUGIN_SYMBOL, Plugin};

use super::fault::{self, InstanceSlot, LibraryName};
use super::judge::Judged;
use super::layout::{self, Layout};
use super::refusal::{Reason, Refusal, Step};
use super::staging::Staged;

/// A library that is mapped, whose table and types were checked, and of which nothing else was called yet.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    plugin: Plugin,
    layout: Layout,
    slot: &'static InstanceSlot,
}

impl Opened {
    /// The table of entry points. What an older library does not have in its own is empty.
    #[must_use]
    pub fn plugin(&self) -> Plugin {
        self.plugin
    }

    /// Who is to blame for a crash that is no instance's.
    #[must_use]
    pub fn slot(&self) -> &'static InstanceSlot {
        self.slot
    }

    /// What is known of the library's types.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

/// Opens the staged copy, runs its constructors, and checks its table and its types. It stays mapped until the process
/// ends, also when it is refused: code that ran may have left threads and destructors behind.
///
/// Each copy is opened once; stage the file anew for another generation.
///
/// # Errors
///
/// When the dynamic linker refuses it, or its table or its types are not what its note promised.
pub fn open(staged: &Staged, judged: &Judged) -> Result<Opened, Refusal> {
    open_step_by_step(staged, judged, |_| {}).map_err(|reason| reason.of(staged.library()))
}

/// As [`open`]; says what comes next each time that code of the library is about to run.
pub(super) fn open_step_by_step(
    staged: &Staged,
    judged: &Judged,
    mut next: impl FnMut(Step),
) -> Result<Opened, Reason> {
    if judged.digest != staged.digest() {
        return Err(Reason::NotOpened { detail: "it was not judged".to_owned() });
    }
    if !staged.take_for_opening() {
        return Err(Reason::NotOpened { detail: "this copy of it was opened before".to_owned() });
    }
    let slot = InstanceSlot::of_library(staged.library());
    let _blamed = fault::enter(slot);
    next(Step::Open);
    // SAFETY: what constructors do is up to the library. Its directory is trusted, and in the server a probe ran them.
    let library = unsafe { Library::open(Some(staged.path()), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| not_opened(staged, &error))?;
    let table = symbol(&library, PLUGIN_SYMBOL);
    let export = if judged.has_layout { symbol(&library, LAYOUT_SYMBOL).map(Some) } else { Ok(None) };
    // Never unmapped.
    std::mem::forget(library);
    let (table, export) = (table?, export?);

    let name = LibraryName::register(staged.library());
    for code in &judged.code {
        let placed =
            |address: u64| table.addr().wrapping_sub(judged.table_address as usize).wrapping_add(address as usize);
        fault::note_code(placed(code.start)..placed(code.end), name);
    }
    let plugin = read_table(table, judged)?;
    let layout = match export {
        None => Layout::Absent,
        Some(export) => {
            next(Step::Layout);
            layout::check(layout_export(export)?, judged.abi_minor, ABI_MINOR)?
        }
    };
    Ok(Opened { plugin, layout, slot })
}

/// Where a symbol of the library lies. The judge has seen that the library has it itself.
fn symbol(library: &Library, name: &str) -> Result<*const c_void, Reason> {
    // SAFETY: only the address is taken, as a pointer.
    let symbol = unsafe { library.get::<*const c_void>(name) };
    let symbol = symbol.map_err(|error| Reason::NotOpened { detail: error.to_string() })?;
    Ok(symbol.as_raw_ptr().cast_const())
}

fn not_opened(staged: &Staged, error: &dyn std::error::Error) -> Reason {
    // The linker names the copy, of which nobody outside has heard.
    let detail = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let detail = detail.replace(&format!("{}: ", staged.path().display()), "");
    Reason::NotOpened { detail }
}

/// Copies the table, of which an older library has less than this host knows and a newer one more.
fn read_table(table: *const c_void, judged: &Judged) -> Result<Plugin, Reason> {
    let bad = |what: &str, found: String, expected: String| Reason::Table {
        symbol: PLUGIN_SYMBOL.to_owned(),
        what: what.to_owned(),
        found,
        expected,
    };
    if table.is_null() || !table.cast::<Plugin>().is_aligned() {
        return Err(bad("its address", format!("{table:?}"), "a multiple of 8".to_owned()));
    }
    // SAFETY: the judge has seen that `table_bytes` bytes are mapped there.
    let size = unsafe { table.cast::<usize>().read() };
    if size != judged.table_bytes || size < LEAST_BYTES {
        return Err(bad(
            "size",
            size.to_string(),
            format!("{} (of its note), at least {LEAST_BYTES}", judged.table_bytes),
        ));
    }
    let mut plugin = MaybeUninit::<Plugin>::zeroed();
    let known = size.min(size_of::<Plugin>());
    // SAFETY: `known` is within both sides, which do not overlap.
    unsafe { table.cast::<u8>().copy_to_nonoverlapping(plugin.as_mut_ptr().cast::<u8>(), known) };
    for (name, offset) in ENTRIES {
        // SAFETY: the offset is that of a field of the table.
        let entry = unsafe { plugin.as_ptr().byte_add(offset) };
        // SAFETY: the field is a pointer, which any bytes are as a number.
        if unsafe { entry.cast::<usize>().read() } == 0 {
            return Err(bad(name, "null".to_owned(), "a function".to_owned()));
        }
    }
    // SAFETY: all bytes were set, and those that may not be zero, the functions of `ENTRIES`, are not.
    let plugin = unsafe { plugin.assume_init() };
    for (name, found, expected) in [
        ("abi_draft", plugin.abi_draft, judged.abi_draft),
        ("abi_major", plugin.abi_major, judged.abi_major),
        ("abi_minor", plugin.abi_minor, judged.abi_minor),
    ] {
        if found != expected {
            return Err(bad(name, found.to_string(), format!("{expected} (of its note)")));
        }
    }
    Ok(plugin)
}

fn layout_export(export: *const c_void) -> Result<&'static LayoutExport, Reason> {
    let bad = |found: &str, expected: &str| Reason::Table {
        symbol: LAYOUT_SYMBOL.to_owned(),
        what: "root".to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    if export.is_null() || !export.cast::<LayoutExport>().is_aligned() {
        return Err(bad("not aligned", "aligned"));
    }
    // SAFETY: the judge has seen that a whole `LayoutExport` is mapped there.
    let root = unsafe { export.byte_add(offset_of!(LayoutExport, root)) };
    // SAFETY: as above; a pointer is a number whatever it is.
    if unsafe { root.cast::<usize>().read() } == 0 {
        return Err(bad("null", "a function"));
    }
    // SAFETY: mapped for good, aligned, and its one function is not null.
    Ok(unsafe { &*export.cast::<LayoutExport>() })
}

/// The functions that a table must have.
const ENTRIES: [(&str, usize); 4] = [
    ("load", offset_of!(Plugin, load)),
    ("unload", offset_of!(Plugin, unload)),
    ("init", offset_of!(Plugin, init)),
    ("close", offset_of!(Plugin, close)),
];
/// How many bytes the table had at first: up to and with `extension`.
const LEAST_BYTES: usize = offset_of!(Plugin, extension) + size_of::<usize>();
