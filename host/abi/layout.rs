//! Tier 1: what a Rust library says of the types at the border, compared with what this host says.
//!
//! The note shows where fields lie; this shows what they are: swapped parameters, changed signatures, changed pointees.
//! It runs code of the library (functions that hand out descriptions), so it comes after opening, and in a probe first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstabilityError, CheckingGlobals, check_layout_compatibility_with_globals,
};
use abi_stable::type_layout::{TLFieldOrFunction, TLFunction, TypeLayout};
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
    compare((export.root)(), minor, <Root as StableAbi>::LAYOUT, host_minor)
}

fn compare(
    library: &'static TypeLayout,
    minor: u32,
    host: &'static TypeLayout,
    host_minor: u32,
) -> Result<Layout, Reason> {
    let is_older = minor < host_minor;
    // The side that may know more is the one that was "found".
    let compare = || if is_older { differences(library, host) } else { differences(host, library) };
    let detail = match catch_unwind(AssertUnwindSafe(compare)) {
        Ok(differences) if differences.is_empty() => return Ok(Layout::Checked),
        Ok(differences) => {
            let shown = differences.iter().take(DIFFERENCES_SHOWN_MAX).map(|difference| {
                let Difference { place, expected, found } = difference;
                let (library, host) = if is_older { (expected, found) } else { (found, expected) };
                format!("`{place}` is {library}, this host expects {host}")
            });
            shown.collect::<Vec<_>>().join("; ")
        }
        Err(_) => "the description of its types cannot be understood".to_owned(),
    };
    Err(Reason::Signatures { detail })
}

/// Two types or functions that should be the same.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// The names of the fields that lead there.
    place: String,
    expected: String,
    found: String,
}

fn differences(expected: &'static TypeLayout, found: &'static TypeLayout) -> Vec<Difference> {
    // Of this comparison's own: those of `abi_stable` keep references to what was compared for ever.
    let globals = CheckingGlobals::new();
    let Err(errors) = check_layout_compatibility_with_globals(expected, found, &globals) else { return Vec::new() };
    let mut differences: Vec<Difference> = Vec::new();
    for error in errors.errors.iter().filter(|error| !error.errs.is_empty()) {
        let difference = difference(error);
        // Every parameter of a function that differs is an error, and the function itself.
        if !differences.contains(&difference) {
            differences.push(difference);
        }
    }
    differences
}

fn difference(error: &AbiInstabilityError) -> Difference {
    let mut place: Vec<&str> = Vec::new();
    let (mut expected, mut found) = ("the type of this host".to_owned(), "another".to_owned());
    for step in &error.stack_trace {
        match (&step.expected, &step.found) {
            (TLFieldOrFunction::Field(one), TLFieldOrFunction::Field(other)) => {
                // What a pointer points to counts as a field of it, which has a number for a name.
                place.extend(Some(other.name()).filter(|name| !name.starts_with(|first: char| first.is_ascii_digit())));
                (expected, found) = (full_type(one.layout()), full_type(other.layout()));
            }
            (TLFieldOrFunction::Function(one), TLFieldOrFunction::Function(other)) => {
                (expected, found) = (signature(one), signature(other));
                break;
            }
            (TLFieldOrFunction::Field(_), TLFieldOrFunction::Function(_))
            | (TLFieldOrFunction::Function(_), TLFieldOrFunction::Field(_)) => {
                (expected, found) = (step.expected.to_string(), step.found.to_string());
            }
        }
    }
    if expected == found {
        // The names are the same, what is behind them is not.
        let kinds = error.errs.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ");
        found = format!("another one ({})", kinds.chars().take(DETAIL_CHARS_MAX).collect::<String>());
    }
    Difference { place: place.join("."), expected, found }
}

fn full_type(layout: &TypeLayout) -> String {
    layout.full_type().to_string().trim().to_owned()
}

/// A function as Rust writes it.
fn signature(function: &TLFunction) -> String {
    let names = function.param_names.as_str().split(',');
    let types = function.param_type_layouts.iter().map(|layout| full_type(layout()));
    let parameters = names.zip(types).map(|(name, full_type)| format!("{name}: {full_type}")).collect::<Vec<_>>();
    let result =
        function.return_type_layout().map_or_else(String::new, |layout| format!(" -> {}", full_type(layout())));
    format!("fn({}){result}", parameters.join(", "))
}

const DIFFERENCES_SHOWN_MAX: usize = 3;
const DETAIL_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    /// A border in its first version and in the next, which appended a field.
    #[allow(
        unreachable_pub,
        dead_code,
        reason = "only their layouts are used, of which `StableAbi` makes public types"
    )]
    mod borders {
        pub(super) mod first {
            #[repr(C)]
            #[derive(abi_stable::StableAbi)]
            #[sabi(kind(Prefix(prefix_ref = TableRef, prefix_fields = TablePrefix)))]
            pub struct Table {
                pub size: usize,
                #[sabi(last_prefix_field)]
                pub load: unsafe extern "C" fn(context: u64) -> i32,
            }

            #[repr(C)]
            #[derive(abi_stable::StableAbi)]
            pub struct Root {
                pub table: TableRef,
            }
        }

        pub(super) mod next {
            #[repr(C)]
            #[derive(abi_stable::StableAbi)]
            #[sabi(kind(Prefix(prefix_ref = TableRef, prefix_fields = TablePrefix)))]
            pub struct Table {
                pub size: usize,
                #[sabi(last_prefix_field)]
                pub load: unsafe extern "C" fn(context: u64) -> i32,
                pub extra: u64,
            }

            #[repr(C)]
            #[derive(abi_stable::StableAbi)]
            pub struct Root {
                pub table: TableRef,
            }
        }
    }

    #[test]
    fn either_side_may_be_the_newer_one() {
        let first = <borders::first::Root as StableAbi>::LAYOUT;
        let next = <borders::next::Root as StableAbi>::LAYOUT;
        assert_eq!(compare(first, 0, first, 0), Ok(Layout::Checked));
        assert_eq!(compare(next, 1, first, 0), Ok(Layout::Checked));
        assert_eq!(compare(first, 0, next, 1), Ok(Layout::Checked));
        // A host that says it is of the same version must know as much.
        assert!(compare(first, 1, next, 1).is_err());
    }
}
