//! Names that no key has, each with its place and with what was most likely meant.

use toml::de::{DeTable, DeValue};

use super::keys::{Key, Kind, keys};
use super::place::Place;

/// A sentence for each key in a file that there is not.
pub(super) fn unknown_keys(text: &str, table: &DeTable<'_>) -> Vec<String> {
    let mut found = Vec::new();
    search(text, table, "", keys(), &mut found);
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(place, wrong)| format!("{place}: {wrong}")).collect()
}

fn search(text: &str, table: &DeTable<'_>, prefix: &str, keys: &[Key], found: &mut Vec<(Place, String)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        let section = format!("{path}.");
        match (keys.iter().find(|key| key.path == path), value.get_ref()) {
            (Some(key), DeValue::Array(items)) if key.kind == Kind::Tables => {
                for item in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    search(text, item, &path, &key.members, found);
                }
            }
            (Some(_), _) => {}
            (None, DeValue::Table(inner)) if keys.iter().any(|key| key.path.starts_with(&section)) => {
                search(text, inner, &path, keys, found);
            }
            // A value where a table is wanted is told with what was expected when it is read.
            (None, _) if keys.iter().any(|key| key.path.starts_with(&section)) => {}
            (None, _) => {
                let place = Place::of(text, &name.span());
                let suggestion = match value.get_ref() {
                    DeValue::Table(_) => closest(&path, tables(keys)),
                    _ => closest(&path, keys.iter().map(|key| key.path.as_str())),
                };
                found.push((place, format!("there is no key `{path}`{suggestion}")));
            }
        }
    }
}

fn tables(keys: &[Key]) -> impl Iterator<Item = &str> {
    keys.iter().filter_map(|key| key.path.rsplit_once('.')).map(|(table, _)| table)
}

/// `; did you mean …?` with the path that is most like another, or nothing when none is.
pub(super) fn closest<'a>(path: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // The right name in the wrong table is as good a guess as a wrong letter.
    closest_by(path, candidates, |path| path.rsplit('.').next().unwrap_or_default().to_owned())
}

/// As [`closest`], by names as a whole or by what is `own` to them.
pub(super) fn closest_by<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    own: impl Fn(&str) -> String,
) -> String {
    let like = |one: &str, other: &str| strsim::jaro_winkler(&one.to_lowercase(), &other.to_lowercase());
    let best = candidates
        .map(|candidate| (like(&own(name), &own(candidate)), like(name, candidate), candidate))
        .filter(|(likeness, ..)| *likeness > LIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    best.map(|(.., candidate)| format!("; did you mean `{candidate}`?")).unwrap_or_default()
}

/// From which Jaro-Winkler similarity on something is worth suggesting; clap takes 0.7.
const LIKE: f64 = 0.8;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let table = DeTable::parse(text).unwrap();
        expected.assert_eq(&unknown_keys(text, table.get_ref()).join("\n"));
    }

    #[test]
    fn all_are_told_at_once_with_their_places() {
        check(
            "lisen = '127.0.0.1:2'\nquux = 1\n[limit]\ndeadline_ms = 3\n\n[limits]\n  dedline_ms = 3",
            expect![[r#"
                line 1, column 1: there is no key `lisen`; did you mean `listen`?
                line 2, column 1: there is no key `quux`
                line 3, column 2: there is no key `limit`; did you mean `limits`?
                line 7, column 3: there is no key `limits.dedline_ms`; did you mean `limits.deadline_ms`?"#]],
        );
    }

    #[test]
    fn a_key_in_the_wrong_table_is_found() {
        check(
            "deadline_ms = 3\n[limits]\nwatch = true",
            expect![[r#"
                line 1, column 1: there is no key `deadline_ms`; did you mean `limits.deadline_ms`?
                line 3, column 1: there is no key `limits.watch`; did you mean `watch`?"#]],
        );
    }

    #[test]
    fn instances_have_keys_but_their_parameters_are_their_own() {
        check(
            "[[instance]]\nmodul = 'm'\nparameters = { modul = 1 }\n[instance.settings]\nx = 1",
            expect!["line 2, column 1: there is no key `instance.modul`; did you mean `instance.module`?"],
        );
    }

    #[test]
    fn known_keys_are_fine_also_when_their_values_are_not() {
        check("listen = 4593\nlimits = 4\ninstance = 'x'\n[login]\nname_lock_s = 'x'", expect![""]);
    }
}
