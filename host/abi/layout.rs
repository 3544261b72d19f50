//! Tier 1: what a Rust library says of the types at the border, compared with what this host says.
//!
//! The note shows where fields lie; this shows what they are: swapped parameters, changed signatures, changed pointees.
//! It runs code of the library (functions that hand out descriptions), so it comes after opening, and in a probe first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
};
use abi_stable::type_layout::TypeLayout;
use porth_abi::layout::{LayoutExport, Root};

use super::refusal::Reason;

/// What was learnt of a library's types after opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// They are this host's.
    Checked,
    /// It describes none, as those in C: only the note was compared.
    Absent,
    /// It describes them in a form that this host does not read: only the note was compared.
    OtherForm,
}

/// Compares the description that an opened library exports with this host's.
pub(super) fn check(export: &'static LayoutExport, minor: u32, host_minor: u32) -> Result<Layout, Reason> {
    if !export.header.is_valid() {
        return Ok(Layout::OtherForm);
    }
    let found = (export.root)();
    let host = <Root as StableAbi>::LAYOUT;
    // The newer side may have appended fields, and the check allows more fields only on the side that was found.
    let differences = if minor < host_minor { differences(found, host) } else { differences(host, found) };
    match differences {
        None => Ok(Layout::Checked),
        Some(detail) => Err(Reason::Signatures { detail }),
    }
}

fn differences(expected: &'static TypeLayout, found: &'static TypeLayout) -> Option<String> {
    let check = || {
        // Ones of its own: those of `abi_stable` keep references to what was checked for ever.
        let globals = CheckingGlobals::new();
        let result = check_layout_compatibility_with_globals(expected, found, &globals);
        result.err().map(|errors| summary(&errors))
    };
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Some("its description cannot be understood".to_owned()))
}

/// The first differences, each in one line.
fn summary(errors: &AbiInstabilityErrors) -> String {
    errors.to_string()
}
