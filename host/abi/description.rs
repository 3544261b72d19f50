//! What a library says about itself: the answer of its `load`.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A module that a library declares.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ModuleDescription {
    /// One of [`KINDS`].
    #[serde(default = "plugin_kind")]
    pub kind: String,
    /// `[a-z0-9][a-z0-9_-]{0,63}`, unique among the modules of its kind.
    pub name: String,
    /// Its name for people; its name if it gives none.
    #[serde(default)]
    pub display_name: String,
    /// What it does, for people; may be empty.
    #[serde(default)]
    pub description: String,
    /// The rights that it needs, each one of [`RIGHTS`].
    #[serde(default)]
    pub needs: Vec<String>,
    /// The JSON Schema of its parameters, an object; one that takes any parameters if it gives none.
    #[serde(default = "any_parameters", deserialize_with = "object")]
    pub parameters_schema: Value,
}

/// Reads the JSON array that `load` answers. Members that this host does not know are passed over: a newer library may
/// say more.
///
/// # Errors
///
/// A text that says what is wrong with it.
pub fn parse_description(json: &[u8]) -> Result<Vec<ModuleDescription>, String> {
    if json.len() > DESCRIPTION_BYTES_MAX {
        return Err(format!("it has {} bytes, this host takes at most {DESCRIPTION_BYTES_MAX}", json.len()));
    }
    let mut modules: Vec<ModuleDescription> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if modules.is_empty() {
        return Err("it declares no module".to_owned());
    }
    for module in &mut modules {
        check_module(module)?;
        if module.display_name.is_empty() {
            module.display_name.clone_from(&module.name);
        }
    }
    for (index, module) in modules.iter().enumerate() {
        if modules.iter().take(index).any(|other| (&other.kind, &other.name) == (&module.kind, &module.name)) {
            return Err(format!("it declares the {} module `{}` twice", module.kind, module.name));
        }
    }
    Ok(modules)
}

fn check_module(module: &ModuleDescription) -> Result<(), String> {
    let name = &module.name;
    if !is_name(name) {
        return Err(format!(
            "`{name}` is no name of a module: [a-z0-9][a-z0-9_-]*, at most {NAME_CHARS_MAX} characters"
        ));
    }
    if !KINDS.contains(&module.kind.as_str()) {
        return Err(format!("module `{name}` is of kind `{}`, this host knows {}", module.kind, KINDS.join(", ")));
    }
    match module.needs.iter().find(|right| !RIGHTS.contains(&right.as_str())) {
        Some(right) => Err(format!("module `{name}` needs the right `{right}`, this host knows {}", RIGHTS.join(", "))),
        None => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    starts_well && name.len() <= NAME_CHARS_MAX && name.bytes().all(is_allowed)
}

fn plugin_kind() -> String {
    "plugin".to_owned()
}

fn any_parameters() -> Value {
    Value::Object(Map::new())
}

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Map::deserialize(deserializer).map(Value::Object)
}

/// The kinds of modules that this host can make instances of.
pub const KINDS: [&str; 1] = ["plugin"];

/// The rights that a module can need.
pub const RIGHTS: [&str; 13] = [
    "endpoints",
    "sessions",
    "users:read",
    "users:write",
    "clients:read",
    "clients:write",
    "schemes",
    "grants",
    "services",
    "products",
    "mail",
    "well-known",
    "all",
];

const NAME_CHARS_MAX: usize = 64;
/// More than any text and schema for people needs.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(json: &str, expected: Expect) {
        expected.assert_eq(&parse_description(json.as_bytes()).unwrap_err());
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let modules = parse_description(br#"[{"name": "hello", "colour": "red"}]"#).unwrap();
        assert_eq!(modules.len(), 1);
        assert_eq!((modules[0].kind.as_str(), modules[0].display_name.as_str()), ("plugin", "hello"));
        assert_eq!(modules[0].parameters_schema, serde_json::json!({}));
        assert!(modules[0].needs.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("{}", expect!["invalid type: map, expected a sequence at line 1 column 0"]);
        check("[]", expect!["it declares no module"]);
        check(r#"[{"kind": "plugin"}]"#, expect!["missing field `name` at line 1 column 19"]);
        check(
            r#"[{"name": "Hello"}]"#,
            expect!["`Hello` is no name of a module: [a-z0-9][a-z0-9_-]*, at most 64 characters"],
        );
        check(
            r#"[{"name": "hello", "kind": "toaster"}]"#,
            expect!["module `hello` is of kind `toaster`, this host knows plugin"],
        );
        check(
            r#"[{"name": "hello", "needs": ["users:read", "root"]}]"#,
            expect![
                "module `hello` needs the right `root`, this host knows endpoints, sessions, users:read, users:write, clients:read, clients:write, schemes, grants, services, products, mail, well-known, all"
            ],
        );
        check(
            r#"[{"name": "hello", "parameters_schema": true}]"#,
            expect!["invalid type: boolean `true`, expected a map at line 1 column 44"],
        );
        check(
            r#"[{"name": "hello"}, {"name": "hello", "kind": "plugin"}]"#,
            expect!["it declares the plugin module `hello` twice"],
        );
        check(
            &format!("[{}]", " ".repeat(DESCRIPTION_BYTES_MAX)),
            expect!["it has 1048578 bytes, this host takes at most 1048576"],
        );
    }
}
