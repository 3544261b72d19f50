//! JSON as clients send it to the host's own routes: what two readers could read differently is refused.
//!
//! Start at [`read`]. RFC 8259 leaves open what a repeated member, a very deep nesting or a very large number means; RFC 7493
//! (I-JSON) closes most of it.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep objects and lists may be within each other.
const DEPTH_MAX: u8 = 64;
/// Numbers from here on are no longer told apart by everybody who reads them: 2^63.
const NUMBER_MAX: f64 = 9_223_372_036_854_775_808.0;
/// As much of an input stands in an error.
const QUOTED_CHARS_MAX: usize = 80;

/// Reads one value and nothing behind it.
///
/// # Errors
/// Names line and column: bytes that are no UTF-8, a member that is there twice, more than 64 levels, a number beyond 64
/// bits, anything behind the value, and whatever else is no JSON, such as a byte order mark.
pub(super) fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A text from outside as it may stand in an error or a log line: in one line, and not too long.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(shown).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}

fn shown(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

/// A value at some depth.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("more than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        let number = Number::from_f64(number).filter(|_| number.abs() < NUMBER_MAX);
        number.map(Value::Number).ok_or_else(|| E::custom("a number beyond 64 bits"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let item = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = items.next_element_seed(item)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let member = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the member `{}` is there twice", quoted(&name))));
            }
            let value = members.next_value_seed(member)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &[u8], expected: &str) {
        assert_eq!(read(json).unwrap_err().to_string(), expected, "{}", json.escape_ascii());
    }

    #[test]
    fn what_is_no_json_or_could_be_read_differently_is_refused_with_its_place() {
        check(br#"{"a": 1, "a": 2}"#, "the member `a` is there twice at line 1 column 12");
        check(b"{\n \"x\": {\"a\": 1, \"\\u0061\": 2}}", "the member `a` is there twice at line 2 column 23");
        check(br#"{"\n\u001b": 1, "\n\u001b": 2}"#, "the member `\\n\\u{1b}` is there twice at line 1 column 26");
        check(b"1e400", "number out of range at line 1 column 5");
        check(b"[1000000000000000000000000000000]", "a number beyond 64 bits at line 1 column 32");
        check(b"-9300000000000000000", "a number beyond 64 bits at line 1 column 20");
        check(b"{} x", "trailing characters at line 1 column 4");
        check(b"\xef\xbb\xbf{}", "expected value at line 1 column 1");
        check(b"\"\xff\"", "invalid unicode code point at line 1 column 2");
        check(br#""\ud800""#, "unexpected end of hex escape at line 1 column 8");
        check(b"{\"a\":1,}", "trailing comma at line 1 column 8");
        check(b"NaN", "expected value at line 1 column 1");
        check(b"01", "invalid number at line 1 column 2");
        check(b"", "EOF while parsing a value at line 1 column 0");
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        check(nested(65).as_bytes(), "more than 64 levels at line 1 column 65");
        assert!(read(nested(64).as_bytes()).is_ok());
        check("[".repeat(1 << 20).as_bytes(), "more than 64 levels at line 1 column 65");
    }

    #[test]
    fn everything_else_is_read_as_it_is() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,9223372036854775807,1.5,1e18,"ä\u0000"],"b":{"a":{}}}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_is_quoted_stays_in_its_line() {
        assert_eq!(quoted("a\r\n\u{1b}[31m\u{9b}ä"), "a\\r\\n\\u{1b}[31m\\u{9b}ä");
        assert_eq!(quoted(&"ä".repeat(81)).chars().count(), 81);
    }
}
