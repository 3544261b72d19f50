//! Parameters made of a module's schema: such as it asks for, such as it refuses, and such as nobody thought of.
//!
//! Start at [`good`].

use serde_json::{Map, Value, json};

use crate::runtime::schema::ParametersSchema;

/// Parameters with a sentence of what is special about them.
pub(super) type Variant = (String, Map<String, Value>);

/// Parameters that the schema permits: what it must have, else its defaults, else something small.
pub(super) fn good(schema: &Value) -> Option<Map<String, Value>> {
    let sampled = sample(schema, schema, 0).as_object().cloned().unwrap_or_default();
    is_permitted(schema, &sampled).then_some(sampled)
}

/// Parameters that the schema refuses.
pub(super) fn bad(schema: &Value, good: &Map<String, Value>) -> Vec<Variant> {
    let mut variants = Vec::new();
    for name in properties(schema).keys() {
        let mut without = good.clone();
        without.remove(name);
        variants.push((format!("`{name}` is missing"), without));
        for wrong in [
            json!(null),
            json!(7),
            json!(-1.5),
            json!("7"),
            json!([]),
            json!({}),
            json!(true),
            json!("x".repeat(100_000)),
        ] {
            let shown = wrong.to_string().chars().take(20).collect::<String>();
            variants.push((format!("`{name}` is {shown}"), with(good, name, wrong)));
        }
    }
    variants.push(("one more".to_owned(), with(good, "porth-no-such-parameter", json!(1))));
    let mut beyond = Vec::new();
    breaches(schema, schema, &Value::Object(good.clone()), "", &mut beyond);
    for (place, wrong) in beyond {
        let mut parameters = Value::Object(good.clone());
        let shown = match wrong {
            Some(wrong) => {
                let Some(member) = parameters.pointer_mut(&place) else { continue };
                let shown: String = wrong.to_string().chars().take(20).collect();
                *member = wrong;
                format!("`{}` is {shown}", place.trim_start_matches('/'))
            }
            None => {
                let Some((object, name)) = place.rsplit_once('/') else { continue };
                let object = parameters.pointer_mut(object).and_then(Value::as_object_mut);
                object.and_then(|object| object.remove(name));
                format!("`{}` is missing", place.trim_start_matches('/'))
            }
        };
        if let Value::Object(parameters) = parameters {
            variants.push((shown, parameters));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    variants.retain(|(what, _)| seen.insert(what.clone()));
    variants.retain(|(_, parameters)| !is_permitted(schema, parameters));
    variants
}

/// What a schema says of a value that is good, and one just beyond it for each: where, and what stands there then, or nothing
/// when it is missing. Members of members, too.
fn breaches(root: &Value, schema: &Value, good: &Value, place: &str, found: &mut Vec<(String, Option<Value>)>) {
    let schema = resolve(root, schema);
    let whole = |name: &str| schema.get(name).and_then(Value::as_i64);
    let numbers = [("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)];
    let beyond = numbers.into_iter().filter_map(|(name, by)| whole(name)?.checked_add(by)).map(|number| json!(number));
    found.extend(beyond.map(|number| (place.to_owned(), Some(number))));
    for (name, by) in [("minLength", -1), ("maxLength", 1)] {
        let len = whole(name).and_then(|len| usize::try_from(len.checked_add(by)?).ok()).filter(|len| *len < 1 << 20);
        found.extend(len.map(|len| (place.to_owned(), Some(json!("x".repeat(len))))));
    }
    if let Value::Array(items) = good {
        let item = schema.get("items").map_or(Value::Null, |items| sample(root, items, 0));
        for (name, by) in [("minItems", -1), ("maxItems", 1)] {
            let len =
                whole(name).and_then(|len| usize::try_from(len.checked_add(by)?).ok()).filter(|len| *len < 10_000);
            found.extend(len.map(|len| (place.to_owned(), Some(Value::Array(vec![item.clone(); len])))));
        }
        if let (Some(first), Some(items)) = (items.first(), schema.get("items")) {
            breaches(root, items, first, &format!("{place}/0"), found);
        }
    }
    for choices in ["enum", "pattern", "format"] {
        found.extend(schema.get(choices).map(|_| (place.to_owned(), Some(json!("porth: no such thing")))));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        found.push((format!("{place}/{}", escaped(name)), None));
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(good) = good.get(name) {
            let place = format!("{place}/{}", escaped(name));
            found.extend(
                [json!(null), json!(7), json!("7"), json!([]), json!({})].map(|wrong| (place.clone(), Some(wrong))),
            );
            breaches(root, member, good, &place, found);
        }
    }
}

/// A name in a JSON Pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Parameters that the schema permits, which look like nothing that anybody meant.
pub(super) fn odd(schema: &Value, good: &Map<String, Value>) -> Vec<Variant> {
    let mut variants = vec![
        ("one more".to_owned(), with(good, "porth-no-such-parameter", json!(1))),
        ("none at all".to_owned(), Map::new()),
    ];
    for (name, property) in properties(schema) {
        let property = resolve(schema, &property).clone();
        let choices = property["enum"].as_array().cloned().unwrap_or_default();
        let of_one = property["oneOf"].as_array().into_iter().flatten().map(|one| resolve(schema, one));
        let of_one = of_one.flat_map(|one| {
            let several = one.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
            one.get("const").cloned().into_iter().chain(several)
        });
        let choices = choices.into_iter().chain(of_one);
        let odd = [
            json!(""),
            json!(" "),
            json!("\u{0}"),
            json!("line\r\nbreak: yes"),
            json!("\u{202e}txet"),
            json!("'\"<script>{{7*7}}${x}%s%n;--"),
            json!("../../../../etc/passwd"),
            json!("é".repeat(50_000)),
            json!(0),
            json!(1),
            json!(-1),
            json!(u32::MAX),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
            json!(null),
            json!([]),
            json!({}),
        ];
        for value in choices.chain(odd) {
            let shown = value.to_string().chars().take(30).collect::<String>();
            variants.push((format!("`{name}` is {shown}"), with(good, &name, value)));
        }
    }
    variants.retain(|(_, parameters)| is_permitted(schema, parameters) && parameters != good);
    variants.truncate(VARIANTS_MAX);
    variants
}

fn with(good: &Map<String, Value>, name: &str, value: Value) -> Map<String, Value> {
    let mut parameters = good.clone();
    parameters.insert(name.to_owned(), value);
    parameters
}

pub(super) fn is_permitted(schema: &Value, parameters: &Map<String, Value>) -> bool {
    ParametersSchema::new(schema).is_ok_and(|schema| schema.check(parameters).is_ok())
}

fn properties(schema: &Value) -> Map<String, Value> {
    resolve(schema, schema)["properties"].as_object().cloned().unwrap_or_default()
}

/// What a reference refers to.
fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..DEPTH_MAX {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        let Some(found) = target.and_then(|pointer| root.pointer(pointer)) else { break };
        schema = found;
    }
    schema
}

/// A value that a schema may permit.
fn sample(root: &Value, schema: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let schema = resolve(root, schema);
    for member in ["const", "default"] {
        if let Some(value) = schema.get(member) {
            return value.clone();
        }
    }
    let first = |member: &str| schema.get(member).and_then(Value::as_array).and_then(|all| all.first());
    if let Some(value) = first("examples").or_else(|| first("enum")) {
        return value.clone();
    }
    if let Some(one) = ["oneOf", "anyOf", "allOf"].into_iter().find_map(first) {
        return sample(root, one, depth + 1);
    }
    let types = match &schema["type"] {
        Value::Array(all) => all.iter().find_map(Value::as_str).unwrap_or("object"),
        Value::String(one) => one.as_str(),
        // A struct that is flattened or empty may leave it out.
        _ => "object",
    };
    let number = |member: &str| schema.get(member).and_then(Value::as_f64);
    match types {
        "string" => json!(text(schema)),
        "integer" | "number" => {
            let least = number("minimum").or_else(|| number("exclusiveMinimum").map(|above| above + 1.0));
            let value = least.or_else(|| number("maximum").map(|most| most.min(1.0))).unwrap_or(1.0);
            if types == "integer" {
                serde_json::from_str(&format!("{value:.0}")).unwrap_or(json!(1))
            } else {
                json!(value)
            }
        }
        "boolean" => json!(false),
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(100);
            let item = schema.get("items").unwrap_or(&Value::Null);
            (0..least).map(|_| sample(root, item, depth + 1)).collect()
        }
        "null" => Value::Null,
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let member = |name: &str| (name.to_owned(), sample(root, &schema["properties"][name], depth + 1));
            Value::Object(required.map(member).collect())
        }
    }
}

fn text(schema: &Value) -> String {
    match schema.get("format").and_then(Value::as_str) {
        // Nobody answers at port 9 of this machine.
        Some("uri" | "url") => return "http://127.0.0.1:9/".to_owned(),
        Some("email") => return "someone@example.org".to_owned(),
        Some("date") => return "2026-01-01".to_owned(),
        Some("date-time") => return "2026-01-01T00:00:00Z".to_owned(),
        Some("ipv4" | "ip") => return "127.0.0.1".to_owned(),
        Some("uuid") => return "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => {}
    }
    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0).min(10_000);
    let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(4);
    "text".chars().cycle().take(usize::try_from(least.max(most.min(4))).unwrap_or(4)).collect()
}

const DEPTH_MAX: usize = 16;
/// More instances than this take too long.
const VARIANTS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_follow_the_schema() {
        let schema = json!({"type": "object", "required": ["greeting", "kind", "list"], "additionalProperties": false,
            "properties": {"greeting": {"type": "string", "minLength": 6}, "times": {"type": "integer", "minimum": 1},
                "kind": {"$ref": "#/$defs/kind"}, "list": {"type": "array", "minItems": 2, "items": {"type": "boolean"}}},
            "$defs": {"kind": {"oneOf": [{"type": "string", "enum": ["one"]}, {"const": "two"}]}}});
        let good = good(&schema).unwrap();
        assert_eq!(Value::Object(good.clone()), json!({"greeting": "textte", "kind": "one", "list": [false, false]}));
        let bad: Vec<String> = bad(&schema, &good).into_iter().map(|(what, _)| what).collect();
        for what in ["`greeting` is missing", "`greeting` is 7", "`kind` is \"7\"", "one more"] {
            assert!(bad.iter().any(|other| other == what), "{what}: {bad:?}");
        }
        let limits = json!({"type": "object", "required": ["ports"], "properties": {
            "ports": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 1, "maximum": 9}},
            "name": {"type": "string", "maxLength": 3, "default": "abc"},
            "in/side": {"type": "object", "required": ["deep"], "properties": {"deep": {"enum": ["a"]}}}}});
        let given = json!({"ports": [1], "name": "abc", "in/side": {"deep": "a"}}).as_object().unwrap().clone();
        let beyond: Vec<String> = self::bad(&limits, &given).into_iter().map(|(what, _)| what).collect();
        for what in [
            "`ports/0` is 0",
            "`ports/0` is 10",
            "`ports` is [1,1,1]",
            "`name` is \"xxxx\"",
            "`in~1side/deep` is missing",
        ] {
            assert!(beyond.iter().any(|other| other == what), "{what}: {beyond:?}");
        }
        let odd: Vec<String> = odd(&schema, &good).into_iter().map(|(what, _)| what).collect();
        assert!(odd.contains(&"`kind` is \"two\"".to_owned()), "{odd:?}");
        assert!(!odd.contains(&"one more".to_owned()) && !odd.contains(&"`greeting` is \"\"".to_owned()), "{odd:?}");
    }
}
