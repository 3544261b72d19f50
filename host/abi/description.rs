//! What a library says about itself: the answer of its `load`.

use std::collections::BTreeMap;

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
    /// What form its documents have; without version and index fields if it says nothing.
    #[serde(default)]
    pub documents: DocumentsDescription,
}

/// What form a module's documents have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct DocumentsDescription {
    /// The version that the module reads and writes, 0 to 1 000 000.
    #[serde(default)]
    pub version: u32,
    /// What it says of its collections; it may have others.
    #[serde(default)]
    pub collections: BTreeMap<String, CollectionDescription>,
}

/// What a module says of a collection.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct CollectionDescription {
    /// The fields that it lists by: members of the documents.
    #[serde(default)]
    pub index: Vec<String>,
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
    if let Some(right) = module.needs.iter().find(|right| !RIGHTS.contains(&right.as_str())) {
        return Err(format!("module `{name}` needs the right `{right}`, this host knows {}", RIGHTS.join(", ")));
    }
    check_documents(&module.documents).map_err(|reason| format!("module `{name}`: {reason}"))
}

fn check_documents(documents: &DocumentsDescription) -> Result<(), String> {
    if documents.version > DOCUMENTS_VERSION_MAX {
        return Err(format!("version {} of its documents, expected 0 to {DOCUMENTS_VERSION_MAX}", documents.version));
    }
    for (collection, CollectionDescription { index }) in &documents.collections {
        if !is_name(collection) {
            return Err(format!(
                "`{collection}` is no name of a collection: [a-z0-9][a-z0-9_-]*, at most {NAME_CHARS_MAX} characters"
            ));
        }
        if index.len() > INDEX_FIELDS_MAX {
            let fields = index.len();
            return Err(format!("{fields} index fields of the collection `{collection}`, at most {INDEX_FIELDS_MAX}"));
        }
        let is_field = |field: &&String| (1..=NAME_CHARS_MAX).contains(&field.len()) && !field.contains('\0');
        if let Some(field) = index.iter().find(|field| !is_field(field)) {
            let field = field.escape_debug();
            return Err(format!("`{field}` is no index field: 1 to {NAME_CHARS_MAX} bytes without NUL"));
        }
    }
    Ok(())
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
pub const KINDS: [&str; 5] = ["plugin", "scheme", "user", "client", "user_middleware"];

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
const DOCUMENTS_VERSION_MAX: u32 = 1_000_000;
/// Each costs a write of its own with every document.
const INDEX_FIELDS_MAX: usize = 16;
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
        assert_eq!(modules[0].documents, DocumentsDescription::default());
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
            expect![
                "module `hello` is of kind `toaster`, this host knows plugin, scheme, user, client, user_middleware"
            ],
        );
        check(
            r#"[{"name": "hello", "needs": ["users:read", "root"]}]"#,
            expect![
                "module `hello` needs the right `root`, this host knows endpoints, sessions, users:read, users:write, clients:read, clients:write, schemes, grants, services, products, mail, well-known, all"
            ],
        );
        check(
            r#"[{"name": "hello", "documents": {"version": -1}}]"#,
            expect!["invalid value: integer `-1`, expected u32 at line 1 column 46"],
        );
        check(
            r#"[{"name": "hello", "documents": {"version": 1000001}}]"#,
            expect!["module `hello`: version 1000001 of its documents, expected 0 to 1000000"],
        );
        check(
            r#"[{"name": "hello", "documents": {"collections": {"a b": {}}}}]"#,
            expect!["module `hello`: `a b` is no name of a collection: [a-z0-9][a-z0-9_-]*, at most 64 characters"],
        );
        check(
            r#"[{"name": "hello", "documents": {"collections": {"a": {"index": ["b", ""]}}}}]"#,
            expect!["module `hello`: `` is no index field: 1 to 64 bytes without NUL"],
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
