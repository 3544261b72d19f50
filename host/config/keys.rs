//! Every key of the configuration, as the code has it: name, type, default, meaning.
//!
//! Start at [`keys`]. The environment, `porth check-config`, suggestions and `docs/configuration.md` all go by this list,
//! which is derived from [`Config`]: what is not in it does not exist.

use std::fmt;
use std::sync::LazyLock;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Config;

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its name with those of the tables that it is in: `limits.deadline_ms`.
    pub path: String,
    /// What it means, in Markdown.
    pub description: String,
    /// What its values are.
    pub kind: Kind,
    /// The values that are possible, if only some are.
    pub choices: Vec<Choice>,
    /// What it is unless somebody says something else; null when that follows from other keys, or is nothing.
    pub default: Value,
    /// Whether it names a file, which counts from the folder of the configuration file.
    pub is_path: bool,
    /// Whether its value may hold a password.
    pub is_secret: bool,
    /// The keys of one item, of a list of tables.
    pub members: Vec<Self>,
}

/// What the values of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// A list of texts.
    Texts,
    /// A list of tables, `[[name]]`.
    Tables,
    /// Anything else that TOML has.
    Other,
}

/// One of the few values that a key may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The value.
    pub value: String,
    /// What it means.
    pub description: String,
}

/// All keys, in the order in which they are declared; those outside tables come first.
#[must_use]
pub fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
        });
        let schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
        // A struct of texts, numbers, lists and tables can always be written.
        let defaults = serde_json::value::to_raw_value(&Config::default()).unwrap_or_default();
        let mut keys = below(&schema, "", Some(&defaults));
        // In TOML, what stands after the head of a table belongs to it.
        keys.sort_by_key(|key| key.path.contains('.') || key.kind == Kind::Tables);
        keys
    });
    &KEYS
}

impl Key {
    /// The key of a path.
    #[must_use]
    pub fn find(path: &str) -> Option<&'static Self> {
        keys().iter().find(|key| key.path == path)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PORTH_{}", self.path.replace('.', "__").to_uppercase())
    }

    /// A value from the environment or the command line, where everything is text.
    ///
    /// Lists are in TOML (`["a", "b"]`), or items with commas between them.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(&self, text: &str) -> Result<toml::Value, String> {
        match self.kind {
            Kind::Text => Ok(text.into()),
            Kind::Flag => text.parse().map(toml::Value::Boolean).map_err(|_| "expected `true` or `false`".to_owned()),
            Kind::Number => {
                let plain = text.replace('_', "");
                plain.parse().map(toml::Value::Integer).map_err(|_| "expected a whole number".to_owned())
            }
            Kind::Texts if !text.trim_start().starts_with('[') => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(toml::Value::Array(items.map(Into::into).collect()))
            }
            Kind::Texts | Kind::Tables | Kind::Other => {
                let read: Result<toml::Table, _> = toml::from_str(&format!("value = {text}"));
                let expected = |reason: &str| format!("expected a value in TOML: {reason}");
                let mut table = read.map_err(|error| expected(error.message()))?;
                table.remove("value").filter(|_| table.is_empty()).ok_or_else(|| expected("more than one"))
            }
        }
    }
}

/// The keys of an object's schema.
fn below(schema: &Value, prefix: &str, defaults: Option<&RawValue>) -> Vec<Key> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let defaults: Members = defaults.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let declared = |name: &str| defaults.0.iter().position(|(known, _)| known == name).unwrap_or(usize::MAX);
    let mut named: Vec<(&String, &Value)> = properties.iter().collect();
    named.sort_by_key(|(name, _)| declared(name));
    named
        .into_iter()
        .flat_map(|(name, schema)| {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            // What may be left out is an alternative to null.
            let schema = &or_null(schema);
            let default = defaults.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
            // Only tables with keys of their own; others are values.
            if schema.get("properties").is_some() {
                return below(schema, &path, default);
            }
            vec![key(path, schema, default)]
        })
        .collect()
}

/// The schema of a value without the alternative that it is absent; its own marks and description win.
fn or_null(schema: &Value) -> Value {
    let alternatives = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_null = |schema: &&Value| schema.get("type").is_some_and(|found| found == "null");
    let (Some(some), Some(_), 2) =
        (alternatives.iter().find(|schema| !is_null(schema)), alternatives.iter().find(is_null), alternatives.len())
    else {
        return schema.clone();
    };
    let (mut some, mut own) = (some.clone(), schema.clone());
    if let (Some(some), Some(own)) = (some.as_object_mut(), own.as_object_mut()) {
        own.remove("anyOf");
        some.append(own);
    }
    some
}

fn key(path: String, schema: &Value, default: Option<&RawValue>) -> Key {
    let marked = |mark: &str| schema.get(mark).and_then(Value::as_bool).unwrap_or_default();
    let items = schema.get("items").unwrap_or(&Value::Null);
    Key {
        description: text(schema, "description").replace('\n', " "),
        kind: kind(schema),
        choices: choices(schema),
        default: default.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default(),
        is_path: marked("x-path"),
        is_secret: marked("x-secret"),
        members: if items.get("properties").is_some() { below(items, &path, None) } else { Vec::new() },
        path,
    }
}

fn kind(schema: &Value) -> Kind {
    if !choices(schema).is_empty() {
        return Kind::Text;
    }
    let types = schema.get("type");
    let is = |wanted: &str| match types {
        Some(Value::String(found)) => found == wanted,
        // What may be left out may also be null, which TOML does not have.
        Some(Value::Array(found)) => found.iter().any(|found| found == wanted),
        _ => false,
    };
    let of = |wanted: &str| schema.pointer("/items/type").is_some_and(|found| found == wanted);
    match () {
        () if is("string") => Kind::Text,
        () if is("boolean") => Kind::Flag,
        () if is("integer") => Kind::Number,
        () if is("array") && of("string") => Kind::Texts,
        () if is("array") && of("object") => Kind::Tables,
        () => Kind::Other,
    }
}

fn choices(schema: &Value) -> Vec<Choice> {
    let alternatives = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let choice = |alternative: &Value| {
        let value = alternative.get("const")?.as_str()?.to_owned();
        Some(Choice { value, description: text(alternative, "description").replace('\n', " ") })
    };
    alternatives.filter_map(choice).collect()
}

fn text(schema: &Value, name: &str) -> String {
    schema.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The members of an object in the order in which they are written.
#[derive(Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some(member) = map.next_entry()? {
                    members.0.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_types_of_their_fields() {
        for (path, kind) in [
            ("listen", Kind::Text),
            ("listener", Kind::Tables),
            ("watch", Kind::Flag),
            ("trust", Kind::Text),
            ("plugins_lock", Kind::Text),
            ("external_url", Kind::Text),
            ("cors_origins", Kind::Texts),
            ("trusted_proxies", Kind::Texts),
            ("profile.delete", Kind::Text),
            ("limits.deadline_ms", Kind::Number),
            ("instance", Kind::Tables),
        ] {
            assert_eq!(Key::find(path).unwrap().kind, kind, "{path}");
        }
    }

    #[test]
    fn keys_say_what_they_are_and_come_as_they_are_declared() {
        let paths: Vec<&str> = keys().iter().map(|key| key.path.as_str()).collect();
        assert_eq!(paths[..3], ["listen", "data", "plugins"]);
        assert_eq!(Key::find("listener").unwrap().members.iter().filter(|member| member.is_path).count(), 2);
        assert!(paths.windows(2).any(|pair| pair == ["limits.body_bytes_max", "limits.deadline_ms"]));
        let instance = Key::find("instance").unwrap();
        assert!(instance.members.iter().any(|member| member.path == "instance.module"));
        for key in keys().iter().chain(&instance.members) {
            assert!(!key.description.is_empty(), "{} has no doc comment", key.path);
            assert!(!key.description.contains("[`"), "{} links to what no page has", key.path);
            assert!(key.choices.iter().all(|choice| !choice.description.is_empty()), "{}", key.path);
        }
        let trust = Key::find("trust").unwrap();
        assert_eq!(trust.choices.iter().map(|choice| choice.value.as_str()).collect::<Vec<_>>(), ["directory", "lock"]);
        assert_eq!(trust.default, "directory");
        assert_eq!(Key::find("limits.deadline_ms").unwrap().default, 30_000);
    }

    #[test]
    fn texts_are_read_as_the_key_wants_them() {
        let read = |path: &str, text: &str| Key::find(path).unwrap().read(text).map(|value| value.to_string());
        assert_eq!(read("api_prefix", "1").unwrap(), "\"1\"");
        assert_eq!(read("watch", "false").unwrap(), "false");
        assert_eq!(read("watch", "no").unwrap_err(), "expected `true` or `false`");
        assert_eq!(read("limits.deadline_ms", "1_000").unwrap(), "1000");
        assert_eq!(read("limits.deadline_ms", "1s").unwrap_err(), "expected a whole number");
        assert_eq!(read("cors_origins", "https://a, https://b").unwrap(), "[\"https://a\", \"https://b\"]");
        assert_eq!(read("cors_origins", "[\"https://a\"]").unwrap(), "[\"https://a\"]");
        assert_eq!(read("instance", "[{module='m', name='n'}]").unwrap(), "[{ module = \"m\", name = \"n\" }]");
        assert!(read("instance", "[").unwrap_err().starts_with("expected a value in TOML: "));
        assert!(read("instance", "[]\nx = 1").unwrap_err().ends_with("more than one"));
    }
}
