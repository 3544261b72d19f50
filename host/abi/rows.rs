//! Comparing the layout in a library's note with this host's.

use std::collections::BTreeMap;

use porth_abi::note::LayoutRow;
use porth_abi::rows::{GROWABLE, ROWS, TYPE_NAMES};

use super::refusal::Reason;

/// The rows of one side by struct and field.
type Rows = BTreeMap<(u16, u16), LayoutRow>;

/// Compares rows that a library of `minor` brings with those of a host of `host_minor`.
///
/// What both know must lie alike. Only the newer side may know more, and only what growth allows: fields at the end of a
/// struct that may grow, and whole structs.
pub(super) fn check(found: &[LayoutRow], minor: u32, host_minor: u32) -> Result<(), Reason> {
    let (found, host) = (by_field(found)?, by_field(&ROWS)?);
    for (key, row) in &found {
        match host.get(key) {
            Some(other) => check_row(row, other, minor, host_minor)?,
            None if minor > host_minor && may_append(*key, &host) => {}
            None => return Err(differs(*key, described(row), "nothing of it".to_owned())),
        }
    }
    for (key, row) in &host {
        let may_lack = minor < host_minor && may_append(*key, &found);
        if !found.contains_key(key) && !may_lack {
            return Err(differs(*key, "nothing of it".to_owned(), described(row)));
        }
    }
    Ok(())
}

fn check_row(row: &LayoutRow, host: &LayoutRow, minor: u32, host_minor: u32) -> Result<(), Reason> {
    let grows = row.field == 0 && GROWABLE.contains(&row.type_id);
    let is_size_right = match minor.cmp(&host_minor) {
        std::cmp::Ordering::Less if grows => row.size <= host.size,
        std::cmp::Ordering::Greater if grows => row.size >= host.size,
        _ => row.size == host.size,
    };
    if is_size_right && row.offset == host.offset && row.align == host.align {
        return Ok(());
    }
    Err(differs((row.type_id, row.field), described(row), described(host)))
}

/// Whether a side whose rows are `older` may lack this one.
fn may_append((type_id, field): (u16, u16), older: &Rows) -> bool {
    let knows_struct = older.contains_key(&(type_id, 0));
    let knows_later_field = older.range((type_id, field)..=(type_id, u16::MAX)).next().is_some();
    !knows_struct || (GROWABLE.contains(&type_id) && !knows_later_field)
}

fn by_field(rows: &[LayoutRow]) -> Result<Rows, Reason> {
    let by_field: Rows = rows.iter().map(|row| ((row.type_id, row.field), *row)).collect();
    if by_field.len() == rows.len() {
        return Ok(by_field);
    }
    Err(Reason::damaged("its Porth note describes a field twice"))
}

fn differs((type_id, field): (u16, u16), found: String, supported: String) -> Reason {
    let name = match TYPE_NAMES.iter().find(|(id, _)| *id == type_id) {
        Some((_, name)) => format!("struct `{name}`"),
        None => format!("struct number {type_id}"),
    };
    let what = if field == 0 { name } else { format!("field {field} of {name}") };
    Reason::Layout { what, found, supported }
}

fn described(row: &LayoutRow) -> String {
    if row.field == 0 {
        format!("{} bytes aligned to {}", row.size, row.align)
    } else {
        format!("{} bytes at {}", row.size, row.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: u16 = 6;
    const STR: u16 = 1;

    fn row_mut(rows: &mut [LayoutRow], type_id: u16, field: u16) -> &mut LayoutRow {
        rows.iter_mut().find(|row| (row.type_id, row.field) == (type_id, field)).unwrap()
    }

    /// The host's rows with a field appended to a struct, as a newer minor version has them.
    fn appended(type_id: u16) -> Vec<LayoutRow> {
        let mut rows = ROWS.to_vec();
        let size = row_mut(&mut rows, type_id, 0).size;
        row_mut(&mut rows, type_id, 0).size = size + 8;
        let field = rows.iter().filter(|row| row.type_id == type_id).count() as u16;
        rows.push(LayoutRow { type_id, field, offset: size, size: 8, align: 0 });
        rows
    }

    #[test]
    fn the_same_rows_pass() {
        assert_eq!(check(&ROWS, 0, 0), Ok(()));
    }

    #[test]
    fn only_a_newer_library_may_have_appended_a_field() {
        assert_eq!(check(&appended(RESPONSE), 1, 0), Ok(()));
        let refusal = check(&appended(RESPONSE), 0, 0).unwrap_err();
        assert!(refusal.to_string().contains("struct `Response` differently"), "{refusal}");
    }

    #[test]
    fn a_struct_without_a_size_never_grows() {
        let refusal = check(&appended(STR), 1, 0).unwrap_err();
        assert!(refusal.to_string().contains("struct `Str` differently"), "{refusal}");
    }

    #[test]
    fn only_an_older_library_may_lack_the_last_field() {
        let mut rows = ROWS.to_vec();
        row_mut(&mut rows, RESPONSE, 0).size -= 8;
        rows.retain(|row| (row.type_id, row.field) != (RESPONSE, 8));
        assert_eq!(check(&rows, 0, 1), Ok(()));
        assert!(check(&rows, 1, 1).is_err());
        rows.retain(|row| (row.type_id, row.field) != (RESPONSE, 3));
        let refusal = check(&rows, 0, 0).unwrap_err();
        assert!(refusal.to_string().contains("`Response`"), "{refusal}");
    }

    #[test]
    fn a_newer_library_may_know_a_further_struct() {
        let mut rows = ROWS.to_vec();
        rows.push(LayoutRow { type_id: 99, field: 0, offset: 0, size: 8, align: 8 });
        rows.push(LayoutRow { type_id: 99, field: 1, offset: 0, size: 8, align: 0 });
        assert_eq!(check(&rows, 1, 0), Ok(()));
        assert!(check(&rows, 0, 0).is_err());
    }

    #[test]
    fn a_moved_field_is_named_with_both_sides() {
        let mut rows = ROWS.to_vec();
        row_mut(&mut rows, RESPONSE, 4).offset = 24;
        let refusal = check(&rows, 0, 0).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "lays out field 4 of struct `Response` differently: it says 8 bytes at 24, this host says 8 bytes at 16"
        );
    }

    #[test]
    fn growable_structs_are_those_that_start_with_their_size() {
        for (type_id, name) in TYPE_NAMES {
            let first = ROWS.iter().find(|row| (row.type_id, row.field) == (type_id, 1)).unwrap();
            assert_eq!(first.offset, 0, "{name}");
            assert!(!GROWABLE.contains(&type_id) || first.size as usize == size_of::<usize>(), "{name}");
        }
    }
}
