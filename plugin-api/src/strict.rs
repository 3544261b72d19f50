//! JSON that everybody reads alike: what [`Request::json`](crate::Request::json) takes beyond what fits its type.
//!
//! Start at [`check`]. RFC 8259 leaves open what a repeated member or a very deep nesting means; RFC 7493 (I-JSON) forbids
//! the one, and the host's own routes neither take the other.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep objects and lists may be within each other.
const DEPTH_MAX: u8 = 64;

/// Whether bytes are one value in JSON without repeated members, and no more than 64 levels deep.
pub(crate) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut reader)?;
    reader.end()
}

/// A value at some depth.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("more than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let item = self.deeper()?;
        while items.next_element_seed(item)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let value = self.deeper()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key_seed(Name)? {
            if names.contains(&name) {
                let name: String = name.chars().take(80).flat_map(char::escape_debug).collect();
                return Err(A::Error::custom(format_args!("the member `{name}` is there twice")));
            }
            names.insert(name);
            members.next_value_seed(value)?;
        }
        Ok(())
    }
}

/// The name of a member, not copied where it stands in the text as it is.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        for (text, error) in [
            (r#"{"a":1,"b":{"a":2},"a":3}"#, "the member `a` is there twice"),
            (r#"{"a":1,"\u0061":3}"#, "the member `a` is there twice"),
            (r#"[{"b":{"c":1,"c":1}}]"#, "the member `c` is there twice"),
            (&nested(65), "more than 64 levels"),
            (&"[".repeat(1 << 20), "more than 64 levels"),
            ("{\"a\":1e400}", "number out of range"),
            ("{} {}", "trailing characters"),
            ("\u{feff}{}", "expected value"),
        ] {
            let found = check(text.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(error), "{found}, expected {error}");
        }
        for text in [r#"{"a":[{"a":1},{"a":2}],"b":{"a":null,"b":true,"c":-1.5e3}}"#, &nested(64), "\"\""] {
            check(text.as_bytes()).unwrap();
        }
    }
}
