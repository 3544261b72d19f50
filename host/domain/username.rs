//! Names of people: one form for every spelling, and which names could be taken for another.
//!
//! Start at [`Username`]. A name is normalised here and nowhere else; whoever has a `Username` may compare it by bytes.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::GeneralSecurityProfile as _;
use unicode_security::confusable_detection::skeleton;

/// A normalised name: lower case, Unicode form KC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

/// Why a text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// It is empty.
    #[error("a username is empty, expected 1 to {CHARS_MAX} characters")]
    Empty,
    /// It is too long.
    #[error("a username has {found} characters, at most {CHARS_MAX} are possible")]
    TooLong {
        /// How many it has.
        found: usize,
    },
    /// It holds a character that is not possible in a name: white space, invisible, a separator of paths, or one that
    /// identifiers should not have (UTS #39, section 3.1).
    #[error("a username holds {found:?}, expected letters, digits and marks that everybody can see and write")]
    Character {
        /// The character.
        found: char,
    },
    /// It is `.` or `..`, which no path can hold.
    #[error("a username is `.` or `..`")]
    Dots,
}

impl Username {
    /// Normalises a name.
    ///
    /// # Errors
    /// [`UsernameError`].
    pub fn new(name: &str) -> Result<Self, UsernameError> {
        let written = name.chars().count();
        if written > WRITTEN_CHARS_MAX {
            return Err(UsernameError::TooLong { found: written });
        }
        let name = fold(name);
        let found = name.chars().count();
        if found == 0 {
            return Err(UsernameError::Empty);
        }
        if found > CHARS_MAX {
            return Err(UsernameError::TooLong { found });
        }
        if let Some(found) = name.chars().find(|character| !possible(*character)) {
            return Err(UsernameError::Character { found });
        }
        if matches!(name.as_str(), "." | "..") { Err(UsernameError::Dots) } else { Ok(Self(name)) }
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name looks like: names that can be taken for each other have the same (UTS #39, section 4).
    #[must_use]
    pub fn skeleton(&self) -> String {
        skeleton(&self.0).collect()
    }

    /// Whether this name could be taken for another one of the same skeleton. Plain ASCII names never count as alike:
    /// `anna1` and `annal` are for their owners to tell apart.
    #[must_use]
    pub fn looks_like(&self, other: &str) -> bool {
        self.0 != other
            && !(self.0.is_ascii() && other.is_ascii())
            && self.skeleton() == skeleton(other).collect::<String>()
    }

    pub(super) fn from_stored(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One form for every spelling of a text: Unicode form KC, lower case. Lower case may leave that form, hence twice.
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

fn possible(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_graphic() && !matches!(character, '/' | '\\');
    }
    character.identifier_allowed()
}

const CHARS_MAX: usize = 128;
/// A form with combining marks is longer than the normalised one. More is refused before the work of normalising it.
pub(super) const WRITTEN_CHARS_MAX: usize = 4 * CHARS_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_name() {
        for (spelling, name) in [
            ("Anna", "anna"),
            ("ÄNNE", "änne"),
            ("A\u{308}nne", "änne"),
            ("ａnna", "anna"),
            ("ﬁnn", "finn"),
            ("Anna.O'Neill+x@example.org", "anna.o'neill+x@example.org"),
            ("ИВАН", "иван"),
            ("\u{212a}arl", "karl"),
        ] {
            let once = Username::new(spelling).unwrap();
            assert_eq!(once.as_str(), name);
            assert_eq!(Username::new(once.as_str()).unwrap(), once, "not the same the second time");
        }
    }

    #[test]
    fn impossible_names() {
        let character = |found| UsernameError::Character { found };
        let cases = [
            ("", UsernameError::Empty),
            ("a b", character(' ')),
            ("a/b", character('/')),
            ("a\\b", character('\\')),
            ("a\0", character('\0')),
            ("a\u{200b}b", character('\u{200b}')),
            ("a\u{202e}b", character('\u{202e}')),
            ("a\u{3000}b", character(' ')),
            ("..", UsernameError::Dots),
            ("\u{2024}", UsernameError::Dots),
            (&"a".repeat(129), UsernameError::TooLong { found: 129 }),
            (&"\u{fdfa}".repeat(100_000), UsernameError::TooLong { found: 100_000 }),
        ];
        for (name, expected) in cases {
            assert_eq!(Username::new(name), Err(expected));
        }
        assert!(Username::new(&"ä".repeat(128)).is_ok());
    }

    #[test]
    fn names_that_look_alike() {
        let name = |name: &str| Username::new(name).unwrap();
        assert!(name("раураl").looks_like("paypal"));
        assert!(name("paypal").looks_like("раураl"));
        assert!(!name("paypal").looks_like("paypal"));
        assert!(!name("anna1").looks_like("annal"));
        assert!(!name("анна").looks_like("anna"));
    }
}
