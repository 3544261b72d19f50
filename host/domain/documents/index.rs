//! Index fields: which there are, what of a document goes into them, and in which form it is stored and compared.
//!
//! A value is stored as text whose order by bytes is the order of the values: `false` and `true`, then numbers, then
//! texts. Everything else is in no index: `null`, lists, objects, and what is missing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::check::KEY_BYTES_MAX;
use crate::store::documents::Range;

/// The index fields of each collection that has some.
pub type Fields = BTreeMap<String, BTreeSet<String>>;

/// Adds fields to fields.
pub(super) fn union(one: &Fields, other: &Fields) -> Fields {
    let mut all = one.clone();
    for (collection, fields) in other {
        all.entry(collection.clone()).or_default().extend(fields.iter().cloned());
    }
    all
}

/// The fields that are among `these` and not among `those`.
pub(super) fn difference(these: &Fields, those: &Fields) -> Fields {
    let mut rest = Fields::new();
    for (collection, fields) in these {
        let known = those.get(collection);
        let missing = fields.iter().filter(|field| !known.is_some_and(|known| known.contains(*field)));
        let missing: BTreeSet<String> = missing.cloned().collect();
        if !missing.is_empty() {
            rest.insert(collection.clone(), missing);
        }
    }
    rest
}

/// What a document's value gives each of the fields; the error is a sentence.
pub(super) fn values<'a>(fields: &'a BTreeSet<String>, value: &str) -> Result<Vec<(&'a str, Option<String>)>, String> {
    // Only objects have fields.
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(value).unwrap_or_default();
    let stored = |field: &'a String| {
        let member = members.get(field).map(|member| Value::deserialize(*member));
        let member =
            member.transpose().map_err(|error| format!("the index field `{field}` cannot be read: {error}"))?;
        let stored = member.as_ref().map(store).transpose();
        Ok((field.as_str(), stored.map_err(|reason| format!("the index field `{field}` {reason}"))?.flatten()))
    };
    fields.iter().map(stored).collect()
}

/// A value as it is stored; `None` for what is in no index.
fn store(value: &Value) -> Result<Option<String>, String> {
    Ok(match value {
        Value::Bool(flag) => Some(format!("{BOOLEAN}{}", u8::from(*flag))),
        Value::Number(number) => Some(format!("{NUMBER}{}", store_number(number))),
        Value::String(text) if text.len() > KEY_BYTES_MAX => {
            return Err(format!("holds a text of {} bytes, at most {KEY_BYTES_MAX} can be indexed", text.len()));
        }
        Value::String(text) if text.contains('\0') => {
            return Err("holds a text with a NUL character, which cannot be indexed".to_owned());
        }
        Value::String(text) => Some(format!("{TEXT}{text}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    })
}

/// A number in hexadecimal digits: the bits of the nearest floating-point number, turned so that they order as numbers
/// do, then how far the number itself is from that. Whole numbers are exact so, and equal where fractions are.
fn store_number(number: &serde_json::Number) -> String {
    // Every number of JSON has one; what is too large for it was refused by the reader.
    let nearest = number.as_f64().unwrap_or_default();
    let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    #[expect(clippy::cast_possible_truncation, reason = "no whole number of 64 bits is beyond 128")]
    let rest = exact.map_or(0, |exact| exact - nearest as i128);
    // -0.0 is 0.0.
    let bits = (nearest + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    format!("{ordered:016x}{:04x}", rest + 0x8000)
}

/// Which values of an index field a list wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// This one.
    pub equals: Option<Value>,
    /// This one and those after it, of the same kind (booleans, numbers or texts).
    pub from: Option<Value>,
    /// Those before this one, of the same kind.
    pub to: Option<Value>,
    /// Texts that begin so.
    pub prefix: Option<String>,
}

impl Wanted {
    /// The stored values that are wanted; the error is a sentence.
    pub(super) fn range(&self) -> Result<Range, String> {
        let stored = |value: &Value, name: &str| {
            let stored = store(value).map_err(|reason| format!("`{name}` {reason}"))?;
            stored.ok_or_else(|| format!("`{name}` must be a boolean, a number or a text"))
        };
        match (&self.equals, &self.from, &self.to, &self.prefix) {
            (None, None, None, None) => Ok(Range { from: BOOLEAN.to_string(), to: AFTER_TEXT.to_string() }),
            (Some(value), None, None, None) => {
                let value = stored(value, "equals")?;
                Ok(Range { to: next(&value), from: value })
            }
            (None, None, None, Some(prefix)) => {
                let prefix = stored(&Value::from(prefix.as_str()), "prefix")?;
                Ok(Range { to: after_prefix(&prefix), from: prefix })
            }
            (None, from, to, None) => {
                let from = from.as_ref().map(|from| stored(from, "from")).transpose()?;
                let to = to.as_ref().map(|to| stored(to, "to")).transpose()?;
                let kinds = [&from, &to].map(|bound| bound.as_ref().and_then(|bound| bound.chars().next()));
                let kind = match kinds {
                    [Some(one), Some(other)] if one != other => {
                        return Err("`from` and `to` must be of one kind".to_owned());
                    }
                    [one, other] => one.or(other).unwrap_or(TEXT).to_string(),
                };
                Ok(Range { to: to.unwrap_or_else(|| after_prefix(&kind)), from: from.unwrap_or(kind) })
            }
            _ => Err("only one of `equals`, `prefix`, and `from` with `to`".to_owned()),
        }
    }
}

/// The text right after this one: nothing that can be stored is between them, for NUL cannot.
pub(super) fn next(text: &str) -> String {
    format!("{text}\u{1}")
}

/// The first text after all that begin so.
pub(super) fn after_prefix(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The range of `char`, which leaves surrogates out.
        if let Some(after) = (last..=char::MAX).nth(1) {
            text.push(after);
            return text;
        }
    }
    after_all()
}

/// A text after every key.
pub(super) fn after_all() -> String {
    char::MAX.to_string().repeat(KEY_BYTES_MAX / char::MAX.len_utf8() + 1)
}

const BOOLEAN: char = 'b';
const NUMBER: char = 'n';
const TEXT: char = 't';
const AFTER_TEXT: char = 'u';

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(value: &Value) -> String {
        store(value).unwrap().unwrap()
    }

    #[test]
    fn the_order_of_stored_values_is_that_of_the_values() {
        let ordered = [
            json!(false),
            json!(true),
            json!(-1e300),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-1.5),
            json!(-1),
            json!(0),
            json!(1e-300),
            json!(1),
            json!(1.25),
            json!(2),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_994_u64),
            json!(u64::MAX - 1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("a"),
            json!("a\u{1}"),
            json!("b"),
            json!("\u{e000}"),
            json!("\u{10000}"),
        ];
        for pair in ordered.windows(2) {
            assert!(stored(&pair[0]) < stored(&pair[1]), "{} before {}", pair[0], pair[1]);
        }
        assert_eq!(stored(&json!(2)), stored(&json!(2.0)));
        assert_eq!(stored(&json!(0)), stored(&json!(-0.0)));
    }

    #[test]
    fn a_prefix_ends_before_what_does_not_begin_so() {
        assert_eq!(after_prefix("ab"), "ac");
        assert_eq!(after_prefix("a\u{d7ff}"), "a\u{e000}");
        assert_eq!(after_prefix("a\u{10ffff}"), "b");
        assert!(after_prefix("\u{10ffff}").as_str() > "\u{10ffff}\u{10ffff}");
    }

    #[test]
    fn a_document_gives_what_its_fields_hold() {
        let fields: BTreeSet<String> = ["due", "list", "none", "owner"].map(str::to_owned).into();
        let values = values(&fields, r#"{"owner": "a\u00e9", "due": 3, "list": [1], "other": {}}"#).unwrap();
        assert_eq!(
            values,
            [("due", Some(stored(&json!(3)))), ("list", None), ("none", None), ("owner", Some("taé".to_owned()))]
        );
        assert!(super::values(&fields, "[1]").unwrap().iter().all(|(_, value)| value.is_none()));
        let refused = super::values(&fields, r#"{"owner": "a\u0000"}"#).unwrap_err();
        assert_eq!(refused, "the index field `owner` holds a text with a NUL character, which cannot be indexed");
    }

    #[test]
    fn a_range_is_of_one_kind() {
        let range = |wanted: Wanted| wanted.range().map(|range| (range.from, range.to));
        let from = |value: Value| Wanted { from: Some(value), ..Wanted::default() };
        assert_eq!(range(Wanted::default()), Ok(("b".to_owned(), "u".to_owned())));
        assert_eq!(range(from(json!("x"))), Ok(("tx".to_owned(), "u".to_owned())));
        assert_eq!(range(from(json!(true))), Ok(("b1".to_owned(), "c".to_owned())));
        assert!(range(Wanted { to: Some(json!(1)), ..from(json!("x")) }).unwrap_err().contains("of one kind"));
        assert!(range(Wanted { equals: Some(json!(1)), ..from(json!("x")) }).unwrap_err().contains("only one"));
        assert!(range(from(json!([]))).unwrap_err().contains("must be a boolean"));
    }
}
