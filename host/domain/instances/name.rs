//! Which names an instance may have.

/// Why a name cannot be an instance's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("the name of an instance is empty, expected 1 to {NAME_CHARS_MAX} of a-z, 0-9, _ and -")]
    Empty,
    /// It is too long.
    #[error("the name of an instance has {found} characters, at most {NAME_CHARS_MAX} are possible")]
    TooLong {
        /// How many characters it has.
        found: usize,
    },
    /// It holds a character that is not possible, or not possible at its start.
    #[error("the name of an instance holds {found:?}, expected a-z, 0-9 and, but for the first character, _ and -")]
    Character {
        /// The character.
        found: char,
    },
    /// The host answers itself at the address that the instance would have.
    #[error("the name `{name}` of an instance is reserved for the host")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The name for people is too long.
    #[error("the display name of an instance has {found} characters, at most {DISPLAY_NAME_CHARS_MAX} are possible")]
    DisplayTooLong {
        /// How many characters it has.
        found: usize,
    },
    /// The name for people holds a control character.
    #[error("the display name of an instance holds the control character {found:?}")]
    DisplayControl {
        /// The character.
        found: char,
    },
}

/// Checks the name of an instance: `[a-z0-9][a-z0-9_-]{0,63}` and not reserved.
///
/// Reserved is what the host serves itself, and `auth` also where a digit or a mark follows (`auth2`, `auth-ldap`, not
/// `author`).
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    let first = name.chars().next().ok_or(NameError::Empty)?;
    let plain = |found: char| found.is_ascii_lowercase() || found.is_ascii_digit();
    let possible = |found: char| plain(found) || found == '_' || found == '-';
    if let Some(found) = name.chars().find(|found| !possible(*found)).or(Some(first).filter(|first| !plain(*first))) {
        return Err(NameError::Character { found });
    }
    if name.len() > NAME_CHARS_MAX {
        return Err(NameError::TooLong { found: name.len() });
    }
    let auth = name.strip_prefix("auth").is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_lowercase()));
    if auth || RESERVED.contains(&name) { Err(NameError::Reserved { name: name.to_owned() }) } else { Ok(()) }
}

/// Checks the name of an instance for people: up to 256 characters, none of them a control character; it may be empty.
///
/// # Errors
/// [`NameError`].
pub fn check_display_name(name: &str) -> Result<(), NameError> {
    let found = name.chars().count();
    if found > DISPLAY_NAME_CHARS_MAX {
        return Err(NameError::DisplayTooLong { found });
    }
    name.chars().find(|found| found.is_control()).map_or(Ok(()), |found| Err(NameError::DisplayControl { found }))
}

const NAME_CHARS_MAX: usize = 64;
const DISPLAY_NAME_CHARS_MAX: usize = 256;
/// The first segments that the host serves itself under the API's prefix, now or in a later version.
const RESERVED: &[&str] = &[
    "mod",
    "user",
    "client",
    "scope",
    "key",
    "misc",
    "auth",
    "profile",
    "profile_list",
    "delegate",
    "template",
    "product",
    "offering",
    "channel",
    "access",
    "adapter",
    "rpc",
    "group",
    "state",
    "name_format",
    "notification",
    "menu",
    "services",
    "admin",
    "local",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_names() {
        for name in ["a", "0", "hello", "my-instance_2", "author", "authority", "users", "mod2", "a-", &"a".repeat(64)]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn impossible_names() {
        let character = |found| NameError::Character { found };
        let cases = [
            ("", NameError::Empty),
            ("-a", character('-')),
            ("_a", character('_')),
            ("A", character('A')),
            ("*", character('*')),
            (":x", character(':')),
            ("a/b", character('/')),
            ("..", character('.')),
            ("a b", character(' ')),
            ("a\0", character('\0')),
            ("é", character('é')),
            (&"a".repeat(65), NameError::TooLong { found: 65 }),
        ];
        for (name, expected) in cases {
            assert_eq!(check_name(name), Err(expected), "{name:?}");
        }
    }

    #[test]
    fn reserved_names() {
        for name in RESERVED.iter().chain(&["auth", "auth2", "auth-ldap", "auth_"]) {
            assert_eq!(check_name(name), Err(NameError::Reserved { name: (*name).to_owned() }));
        }
    }

    #[test]
    fn display_names() {
        assert_eq!(check_display_name(""), Ok(()));
        assert_eq!(check_display_name(&"ü".repeat(256)), Ok(()));
        assert_eq!(check_display_name(&"ü".repeat(257)), Err(NameError::DisplayTooLong { found: 257 }));
        assert_eq!(check_display_name("a\0"), Err(NameError::DisplayControl { found: '\0' }));
    }
}
