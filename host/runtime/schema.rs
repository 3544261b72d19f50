//! Parameters of instances against the JSON Schema of their module.
//!
//! A schema comes from a plug-in, so it is bounded before it is compiled: a few lines of `allOf` and `$ref` can expand
//! without end, and nothing is ever fetched.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::audit::MASK;
use crate::domain::instances::secrets;

/// A compiled schema.
#[derive(Debug)]
pub struct ParametersSchema {
    validator: jsonschema::Validator,
    schema: Value,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Too deep.
    #[error("the parameters' schema is nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// Too large once its references are followed.
    #[error("the parameters' schema expands to more than {EXPANSION_MAX} parts")]
    Expansion,
    /// A reference out of the document.
    #[error("the parameters' schema refers to `{0}`; only references inside the schema (`#…`) are followed")]
    Reference(String),
    /// Not a valid schema.
    #[error("the parameters' schema is no JSON Schema: {0}")]
    Invalid(String),
}

/// Levels, references followed: what a document of 128 levels can need several times over.
const DEPTH_MAX: usize = 512;
const EXPANSION_MAX: u64 = 20_000;
/// More errors than this help nobody.
const ERRORS_MAX: usize = 50;

impl ParametersSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// See [`SchemaError`].
    pub fn new(schema: &Value) -> Result<Self, SchemaError> {
        let size = Measure { root: schema, known: HashMap::new() }.size(schema, 0)?;
        if size > EXPANSION_MAX {
            return Err(SchemaError::Expansion);
        }
        let validator = jsonschema::validator_for(schema).map_err(|error| SchemaError::Invalid(error.to_string()))?;
        Ok(Self { validator, schema: schema.clone() })
    }

    /// Checks parameters; every error names the place and what was expected, and no secret.
    ///
    /// # Errors
    /// All that is wrong, at most 50 texts.
    pub fn check(&self, parameters: &Map<String, Value>) -> Result<(), Vec<String>> {
        self.check_where(parameters, |_| true)
    }

    /// As [`check`](Self::check), but passes over what stands for a secret, whose value only the server knows.
    ///
    /// # Errors
    /// As `check`.
    pub fn check_shown(&self, parameters: &Map<String, Value>) -> Result<(), Vec<String>> {
        self.check_where(parameters, |value| !secrets::has_mask(value))
    }

    fn check_where(&self, given: &Map<String, Value>, counts: fn(&Value) -> bool) -> Result<(), Vec<String>> {
        let parameters = Value::Object(given.clone());
        let shown = Value::Object(secrets::shown(Some(&self.schema), given));
        let errors: Vec<String> = self
            .validator
            .iter_errors(&parameters)
            .filter(|error| counts(error.instance()))
            .take(ERRORS_MAX)
            .map(|error| {
                let place = error.instance_path().to_string();
                let tells = shown.pointer(&place) != Some(error.instance());
                let said = if tells { error.masked_with(MASK).to_string() } else { error.to_string() };
                format!("parameters{place}: {said}")
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Counts the parts of a schema with its references followed, each target measured once.
struct Measure<'a> {
    root: &'a Value,
    /// 0 while a target is being measured: a cycle costs nothing more, for it is followed only as deep as the data.
    known: HashMap<String, u64>,
}

impl Measure<'_> {
    fn size(&mut self, value: &Value, depth: usize) -> Result<u64, SchemaError> {
        if depth > DEPTH_MAX {
            return Err(SchemaError::Depth);
        }
        let mut size: u64 = 1;
        match value {
            Value::Array(items) => {
                for item in items {
                    size = size.saturating_add(self.size(item, depth + 1)?);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let part = match (name.as_str(), member) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                            self.target(target, depth + 1)?
                        }
                        _ => self.size(member, depth + 1)?,
                    };
                    size = size.saturating_add(part);
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn target(&mut self, reference: &str, depth: usize) -> Result<u64, SchemaError> {
        if let Some(size) = self.known.get(reference) {
            return Ok(*size);
        }
        let pointer = reference.strip_prefix('#').ok_or_else(|| SchemaError::Reference(reference.to_owned()))?;
        self.known.insert(reference.to_owned(), 0);
        // An anchor, or nothing: the compiler says so with its own words.
        let size = match self.root.pointer(pointer) {
            Some(target) => self.size(target, depth)?,
            None => 1,
        };
        self.known.insert(reference.to_owned(), size);
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, parameters: &Value) -> String {
        let schema = match ParametersSchema::new(schema) {
            Ok(schema) => schema,
            Err(error) => return error.to_string(),
        };
        schema.check(parameters.as_object().unwrap()).err().unwrap_or_default().join("\n")
    }

    #[test]
    fn every_error_names_the_place() {
        let schema = json!({
            "type": "object",
            "properties": {"greeting": {"type": "string"}, "times": {"type": "integer", "minimum": 1}},
            "required": ["greeting"],
        });
        assert_eq!(check(&schema, &json!({"greeting": "Hello"})), "");
        expect![[r#"
            parameters: "greeting" is a required property
            parameters/times: 0 is less than the minimum of 1"#]]
        .assert_eq(&check(&schema, &json!({"times": 0})));
    }

    #[test]
    fn no_error_tells_a_secret() {
        let long = json!({"type": "string", "minLength": 20});
        let word = json!({"type": "string", "minLength": 20, "writeOnly": true});
        let schema =
            json!({"properties": {"word": word, "name": long, "either": {"anyOf": [{"properties": {"word": word}}]}}});
        expect![[r#"
            parameters/either: (secret) is not valid under any of the schemas listed in the 'anyOf' keyword
            parameters/name: "ann" is shorter than 20 characters
            parameters/word: (secret) is shorter than 20 characters"#]]
        .assert_eq(&check(&schema, &json!({"word": "hunter2", "name": "ann", "either": {"word": "hunter2"}})));
    }

    #[test]
    fn a_schema_that_expands_without_end_is_refused() {
        let mut definitions = Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
            definitions.insert(format!("l{level}"), json!({"allOf": [next.clone(), next]}));
        }
        definitions.insert("l40".to_owned(), json!(true));
        let schema = json!({"$defs": definitions, "$ref": "#/$defs/l0"});
        expect!["the parameters' schema expands to more than 20000 parts"].assert_eq(&check(&schema, &json!({})));
    }

    #[test]
    fn a_recursive_schema_is_fine_and_a_remote_one_is_not() {
        let tree = json!({"$defs": {"node": {"type": "object", "additionalProperties": {"$ref": "#/$defs/node"}}},
            "$ref": "#/$defs/node"});
        assert_eq!(check(&tree, &json!({"a": {"b": {}}})), "");
        expect!["the parameters' schema refers to `http://127.0.0.1/x`; only references inside the schema (`#…`) are followed"]
            .assert_eq(&check(&json!({"$ref": "http://127.0.0.1/x"}), &json!({})));
    }
}
