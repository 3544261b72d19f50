//! Secrets in the parameters of instances: what of them is shown, and what is meant when it comes back.
//!
//! Start at [`shown`]. Who reads parameters gets [`MASK`] for every secret; who writes them back means by it what is
//! stored: see [`restored`]. What is a secret, the module's schema says: `writeOnly` or `format: "password"` make one,
//! `"writeOnly": false` says that there is none. Where it says nothing, the name does, as in the audit log. When in doubt
//! (no library declares the module, or a reference in its schema leads nowhere), every text is one.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::domain::audit::{MASK, is_secret, without_userinfo};

/// Parameters as they are shown: without secrets. Without a schema nobody knows which those are.
#[must_use]
pub fn shown(schema: Option<&Value>, parameters: &Map<String, Value>) -> Map<String, Value> {
    Walk { schema, secret: &|_| json!(MASK) }.parameters(parameters)
}

/// Parameters for the audit log, which leaves secrets out itself and says which of them were changed: those that only the
/// schema knows get a name by which it finds them.
#[must_use]
pub fn marked(schema: Option<&Value>, parameters: &Map<String, Value>) -> Map<String, Value> {
    let named = |value: &Value| match value {
        // It takes no flag for a secret.
        Value::Bool(flag) => json!({ "secret": flag.to_string() }),
        other => json!({ "secret": other }),
    };
    Walk { schema, secret: &named }.parameters(parameters)
}

/// Parameters that somebody sends who was shown the stored ones: where a mask stands, what is stored is put.
///
/// # Errors
/// A text for each mask that stands for nothing, or for nobody knows what; each names the place (RFC 6901).
pub fn restored(stored: &Map<String, Value>, mut sent: Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
    let mut errors = Vec::new();
    restore_members(Some(stored), &mut sent, "parameters", &mut errors);
    if errors.is_empty() { Ok(sent) } else { Err(errors) }
}

/// Looks for masks where there is nothing that they could stand for.
///
/// # Errors
/// As [`restored`].
pub fn check_without_masks(sent: &Map<String, Value>) -> Result<(), Vec<String>> {
    restored(&Map::new(), sent.clone()).map(drop)
}

/// Whether a mask is somewhere in a value.
#[must_use]
pub fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => is_mask(text),
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(members) => members.values().any(has_mask),
        _ => false,
    }
}

/// Whether a text is what is shown instead of a secret, alone or before the host of a URL.
fn is_mask(text: &str) -> bool {
    text == MASK || (text.contains(MASK) && without_userinfo(text) == text && text.contains(&format!("://{MASK}@")))
}

fn restore_members(
    stored: Option<&Map<String, Value>>,
    sent: &mut Map<String, Value>,
    place: &str,
    errors: &mut Vec<String>,
) {
    for (name, value) in sent {
        let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
        restore(stored.and_then(|stored| stored.get(name)), value, &place, errors);
    }
}

fn restore(stored: Option<&Value>, sent: &mut Value, place: &str, errors: &mut Vec<String>) {
    match sent {
        Value::String(text) if is_mask(text) => match stored {
            Some(stored) if text == MASK && has_something(stored) => *sent = stored.clone(),
            Some(Value::String(stored)) if without_userinfo(stored) == *text => text.clone_from(stored),
            Some(Value::String(_)) if text != MASK => {
                errors.push(format!(
                    "{place}: `{MASK}` stands for what is stored, for another address; give the whole one"
                ));
            }
            _ => errors.push(format!("{place}: `{MASK}` stands for what is stored, and nothing is; give the value")),
        },
        Value::Object(sent) => restore_members(stored.and_then(Value::as_object), sent, place, errors),
        Value::Array(sent) => {
            let stored = stored.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let len = sent.len();
            for (index, item) in sent.iter_mut().enumerate().filter(|(_, item)| has_mask(item)) {
                let place = format!("{place}/{index}");
                match unsure(stored, len, index, item) {
                    Some(why) => {
                        errors.push(format!("{place}: `{MASK}` stands for what is stored, but {why}; give the value"))
                    }
                    None => restore(stored.get(index), item, &place, errors),
                }
            }
        }
        _ => {}
    }
}

/// Why nobody knows which stored item one that was sent is, if so. Items have no names: only their place tells.
fn unsure(stored: &[Value], len: usize, index: usize, sent: &Value) -> Option<String> {
    if stored.is_empty() {
        return None;
    }
    if stored.len() != len {
        return Some(format!("the list had {} items and has {len} now, so that nobody knows of which", stored.len()));
    }
    let fits_here = stored.get(index).is_some_and(|stored| fits(stored, sent));
    let elsewhere = stored.iter().position(|stored| fits(stored, sent)).filter(|_| !fits_here)?;
    Some(format!("that item stood at {elsewhere}"))
}

/// Whether something was shown as `sent`.
fn fits(stored: &Value, sent: &Value) -> bool {
    match (stored, sent) {
        (_, Value::String(text)) if text == MASK => true,
        (Value::String(stored), Value::String(sent)) if is_mask(sent) => without_userinfo(stored) == *sent,
        (Value::Object(stored), Value::Object(sent)) => {
            let fits = |(name, sent): (&String, &Value)| stored.get(name).is_some_and(|stored| fits(stored, sent));
            stored.len() == sent.len() && sent.iter().all(fits)
        }
        (Value::Array(stored), Value::Array(sent)) => {
            stored.len() == sent.len() && stored.iter().zip(sent).all(|(stored, sent)| fits(stored, sent))
        }
        (stored, sent) => stored == sent,
    }
}

/// Whether there is something to hide.
fn has_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// Goes through parameters beside the schema of their module.
struct Walk<'a> {
    schema: Option<&'a Value>,
    /// What is put where a secret stands.
    secret: &'a dyn Fn(&Value) -> Value,
}

/// What a schema says of a place.
enum Said<'a> {
    /// All parts of it that may hold there; perhaps none.
    Parts(Vec<&'a Value>),
    /// Nobody knows.
    Unknown,
}

impl<'a> Walk<'a> {
    fn parameters(&self, parameters: &Map<String, Value>) -> Map<String, Value> {
        let said = self.schema.map_or(Said::Unknown, |schema| self.said(vec![schema]));
        self.members(&said, parameters)
    }

    fn members(&self, said: &Said<'a>, members: &Map<String, Value>) -> Map<String, Value> {
        let shown = |(name, value): (&String, &Value)| {
            (name.clone(), self.value(&self.below(said, |part| of_member(part, name)), Some(name), value))
        };
        members.iter().map(shown).collect()
    }

    fn value(&self, said: &Said<'a>, name: Option<&str>, value: &Value) -> Value {
        let named = name.is_some_and(|name| is_secret(name, value));
        let secret = match said {
            Said::Parts(parts) => declared(parts).unwrap_or(named),
            Said::Unknown => named || value.is_string(),
        };
        match value {
            value if secret && has_something(value) => (self.secret)(value),
            Value::Object(members) => self.members(said, members).into(),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, item)| self.value(&self.below(said, |part| of_item(part, index)), None, item))
                    .collect()
            }
            Value::String(text) => without_userinfo(text).into(),
            other => other.clone(),
        }
    }

    fn below(&self, said: &Said<'a>, of: impl Fn(&'a Map<String, Value>) -> Vec<&'a Value>) -> Said<'a> {
        match said {
            Said::Parts(parts) => self.said(parts.iter().filter_map(|part| part.as_object()).flat_map(of).collect()),
            Said::Unknown => Said::Unknown,
        }
    }

    /// All parts of a schema that may hold at its place: whichever does, what one calls a secret is one.
    fn said(&self, mut open: Vec<&'a Value>) -> Said<'a> {
        let (mut seen, mut parts) = (HashSet::new(), Vec::new());
        while let Some(part) = open.pop() {
            if !seen.insert(std::ptr::from_ref(part)) {
                continue;
            }
            parts.push(part);
            for (keyword, value) in part.as_object().into_iter().flatten() {
                match (keyword.as_str(), value) {
                    ("$ref", Value::String(target)) => match self.target(target) {
                        Some(target) => open.push(target),
                        None => return Said::Unknown,
                    },
                    ("$dynamicRef" | "$recursiveRef", _) => return Said::Unknown,
                    ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => open.extend(all),
                    ("if" | "then" | "else", part) => open.push(part),
                    ("dependentSchemas" | "dependencies", Value::Object(all)) => open.extend(all.values()),
                    _ => {}
                }
            }
        }
        Said::Parts(parts)
    }

    fn target(&self, reference: &str) -> Option<&'a Value> {
        self.schema?.pointer(reference.strip_prefix('#')?)
    }
}

/// What a schema says of a member.
fn of_member<'a>(part: &'a Map<String, Value>, name: &str) -> Vec<&'a Value> {
    let named = part.get("properties").and_then(|properties| properties.get(name));
    // Whether a pattern fits is not asked: rather one secret too many.
    let patterns = part.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let others = ["additionalProperties", "unevaluatedProperties"].into_iter().filter_map(|others| part.get(others));
    named.into_iter().chain(patterns).chain(others.filter(|_| named.is_none())).collect()
}

/// What a schema says of an item.
fn of_item(part: &Map<String, Value>, index: usize) -> Vec<&Value> {
    let placed = ["prefixItems", "items"].into_iter().filter_map(|list| part.get(list)?.get(index));
    let all = ["items", "additionalItems", "unevaluatedItems", "contains"].into_iter().filter_map(|all| part.get(all));
    placed.chain(all.filter(|all| !all.is_array())).collect()
}

/// Whether the parts of a schema say that a value is a secret, or that it is none.
fn declared(parts: &[&Value]) -> Option<bool> {
    let says = |flag: bool| parts.iter().any(|part| part.get("writeOnly") == Some(&Value::Bool(flag)));
    let is_password = parts.iter().any(|part| part.get("format").is_some_and(|format| format == "password"));
    // Of several parts one may be of a pattern or a branch that does not hold here: that there is no secret, all have to say.
    let leads = |part: &Value| ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|keyword| part.get(keyword).is_some());
    let denies = |part: &Value| part.get("writeOnly") == Some(&Value::Bool(false));
    let all_deny = says(false) && parts.iter().all(|part| denies(part) || leads(part));
    match (says(true) || is_password, all_deny) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn check(schema: Value, parameters: Value, expected: Value) {
        assert_eq!(Value::Object(shown(Some(&schema), &object(parameters))), expected);
    }

    #[test]
    fn a_pattern_that_does_not_fit_uncovers_nothing() {
        let schema = json!({
            "properties": {"password": {"type": "string"}},
            "patternProperties": {"^x-": {"writeOnly": false}},
        });
        check(schema, json!({"password": "p"}), json!({"password": MASK}));
        let schema = json!({"properties": {"password": {"type": "string", "writeOnly": false}}});
        check(schema, json!({"password": "p"}), json!({"password": "p"}));
        let schema = json!({"dependencies": {"a": {"properties": {"b": {"writeOnly": true}}}}});
        check(schema, json!({"b": "p"}), json!({"b": MASK}));
    }

    fn write_only() -> Value {
        json!({"type": "string", "writeOnly": true})
    }

    #[test]
    fn what_the_schema_calls_a_secret_is_masked_at_any_depth() {
        check(
            json!({
                "properties": {
                    "word": write_only(),
                    "pass": {"type": ["string", "null"], "format": "password"},
                    "mail": {"$ref": "#/$defs/Mail"},
                    "relays": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Mail"}, {"type": "null"}]}},
                    "pair": {"prefixItems": [{"type": "string"}, write_only()]},
                },
                "additionalProperties": {"properties": {"y": write_only()}},
                "$defs": {"Mail": {"properties": {"host": {"type": "string"}, "phrase": write_only()}}},
            }),
            json!({
                "word": "a", "pass": null, "mail": {"host": "h", "phrase": "b"},
                "relays": [null, {"host": "i", "phrase": "c"}, {"phrase": ""}], "pair": ["d", "e"], "x": {"y": 1, "z": 2},
            }),
            json!({
                "word": MASK, "pass": null, "mail": {"host": "h", "phrase": MASK},
                "relays": [null, {"host": "i", "phrase": MASK}, {"phrase": ""}], "pair": ["d", MASK],
                "x": {"y": MASK, "z": 2},
            }),
        );
    }

    #[test]
    fn whichever_of_several_forms_it_has_the_secret_is_masked() {
        let tagged = |tag: &str, own: Value| json!({"properties": {"type": {"const": tag}, "value": own}});
        check(
            json!({"oneOf": [tagged("open", json!({"type": "string"})), tagged("closed", write_only())]}),
            json!({"type": "closed", "value": "a"}),
            json!({"type": "closed", "value": MASK}),
        );
        // A schema that refers to itself comes to an end.
        check(
            json!({"properties": {"next": {"$ref": "#"}, "word": write_only()}, "allOf": [{"$ref": "#"}]}),
            json!({"next": {"next": {"word": "a"}}}),
            json!({"next": {"next": {"word": MASK}}}),
        );
    }

    #[test]
    fn where_the_schema_is_silent_the_name_tells() {
        check(
            json!({"properties": {"public_key": {"writeOnly": false}}}),
            json!({"api_key": "a", "public_key": "b", "list": [{"password": "c", "n": "d"}], "url": "ldap://u:p@h/"}),
            json!({
                "api_key": MASK, "public_key": "b", "list": [{"password": MASK, "n": "d"}], "url": "ldap://(secret)@h/",
            }),
        );
    }

    #[test]
    fn when_nobody_knows_every_text_is_a_secret() {
        let parameters = object(json!({"a": ["b", 1, true], "c": {"d": "e"}}));
        let masked = json!({"a": [MASK, 1, true], "c": {"d": MASK}});
        assert_eq!(Value::Object(shown(None, &parameters)), masked);
        check(json!({"$ref": "#anchor", "$defs": {"x": {"$anchor": "anchor"}}}), parameters.into(), masked);
    }

    fn check_restored(stored: Value, sent: Value, expected: Result<Value, &[&str]>) {
        let restored = restored(&object(stored), object(sent)).map(Value::Object);
        assert_eq!(restored.as_ref().map_err(|errors| errors.iter().map(String::as_str).collect::<Vec<_>>()), {
            expected.as_ref().map_err(|errors| errors.to_vec())
        });
    }

    #[test]
    fn a_mask_means_what_is_stored() {
        let stored =
            json!({"a": "x", "b": {"c/d": {"n": 1}}, "l": [{"h": 1, "p": "y"}, {"h": 2, "p": "z"}], "u": "a://b:c@d"});
        check_restored(
            stored.clone(),
            json!({"a": MASK, "b": {"c/d": MASK}, "l": [{"h": 3, "p": MASK}, {"h": 2, "p": "new"}], "u": "a://(secret)@d"}),
            Ok(
                json!({"a": "x", "b": {"c/d": {"n": 1}}, "l": [{"h": 3, "p": "y"}, {"h": 2, "p": "new"}], "u": "a://b:c@d"}),
            ),
        );
        check_restored(
            stored,
            json!({"b": {"c/e": MASK}, "l": [{"h": 1, "p": MASK}], "u": "a://(secret)@e", "v": MASK}),
            Err(&[
                "parameters/b/c~1e: `(secret)` stands for what is stored, and nothing is; give the value",
                "parameters/l/0: `(secret)` stands for what is stored, but the list had 2 items and has 1 now, so that \
                 nobody knows of which; give the value",
                "parameters/u: `(secret)` stands for what is stored, for another address; give the whole one",
                "parameters/v: `(secret)` stands for what is stored, and nothing is; give the value",
            ]),
        );
    }

    #[test]
    fn items_that_change_places_do_not_change_secrets() {
        let stored = json!({"l": [{"h": 1, "p": "y"}, {"h": 2, "p": "z"}]});
        check_restored(
            stored,
            json!({"l": [{"h": 2, "p": MASK}, {"h": 1, "p": MASK}]}),
            Err(&[
                "parameters/l/0: `(secret)` stands for what is stored, but that item stood at 1; give the value",
                "parameters/l/1: `(secret)` stands for what is stored, but that item stood at 0; give the value",
            ]),
        );
    }
}
