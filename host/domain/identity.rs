//! What people and applications have in common: how texts and properties are checked.

use serde_json::{Map, Value};

/// The back end that keeps people and applications in the house's own database.
pub const DATABASE: &str = "database";

/// How long a name is at most, in characters.
pub(super) const NAME_CHARS_MAX: usize = 256;
/// How long a description is at most, in characters.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 4096;
const PROPERTIES_MAX: usize = 128;
const PROPERTY_BYTES_MAX: usize = 16 << 10;

/// Says what is wrong with a text for people: it is too long, or holds a control character.
pub(super) fn check_text(errors: &mut Vec<String>, field: &str, text: &str, chars_max: usize) {
    let found = text.chars().count();
    if found > chars_max {
        errors.push(format!("{field}: has {found} characters, at most {chars_max} are possible"));
    }
    if let Some(found) = text.chars().find(|found| found.is_control() && !matches!(found, '\n' | '\t')) {
        errors.push(format!("{field}: holds the control character {found:?}"));
    }
}

/// Says what is wrong with properties, whose values may be any JSON.
pub(super) fn check_properties(errors: &mut Vec<String>, properties: &Map<String, Value>) {
    if properties.len() > PROPERTIES_MAX {
        errors.push(format!("properties: there are {}, at most {PROPERTIES_MAX} are possible", properties.len()));
    }
    for (name, value) in properties {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            errors.push(format!("properties: a name has 1 to {NAME_CHARS_MAX} characters, none of them controls"));
        }
        let bytes = value.to_string().len();
        if bytes > PROPERTY_BYTES_MAX {
            errors.push(format!("{name}: has {bytes} bytes, at most {PROPERTY_BYTES_MAX} are possible"));
        }
    }
}

/// What is wrong with scopes that do not exist.
pub(super) fn missing_scopes(missing: Vec<String>) -> Vec<String> {
    missing.into_iter().map(|scope| format!("scope: there is no scope `{scope}`")).collect()
}

/// What is new, or, where it is as it was, what there is by now.
pub(super) fn picked<T: PartialEq>(new: T, old: &T, current: T) -> T {
    if new == *old { current } else { new }
}

/// Takes out what stands there a second time; the first place counts.
pub(super) fn distinct(list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    list.into_iter().filter(|item| seen.insert(item.clone())).collect()
}
