//! Where the configuration file and the server disagree about declared instances.
//!
//! A server takes declarations over when it starts and at SIGHUP; what was changed in the file since then is drift.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::output::text;
use crate::config::DeclaredInstance;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drift {
    /// The instance, as `<kind>/<name>`.
    pub(super) key: String,
    pub(super) what: What,
}

/// What of an instance disagrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The file declares it, and there is none.
    Missing,
    /// The file declares it, and there is one that it did not declare before.
    NotDeclared,
    /// The file declared it and does so no more.
    Orphan,
    /// These members are not as the file says.
    Differs(Vec<String>),
}

impl fmt::Display for Drift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.what {
            What::Missing => write!(formatter, "the file declares `{key}`, which does not exist yet"),
            What::NotDeclared => write!(formatter, "the file declares `{key}`, which was made by hand before"),
            What::Orphan => {
                write!(formatter, "`{key}` is declared by the server's configuration and no more by the file")
            }
            What::Differs(members) => {
                write!(formatter, "`{key}` is not as the file declares it: {}", members.join(", "))
            }
        }
    }
}

/// All disagreements, by instance. `instances` are those that the server shows, with their `kind`.
pub(super) fn between(declared: &[DeclaredInstance], instances: &[Value]) -> Vec<Drift> {
    let key = |instance: &Value| format!("{}/{}", text(instance, "kind"), text(instance, "name"));
    let mut found = BTreeMap::new();
    for instance in instances.iter().filter(|instance| is_declared(instance)) {
        found.insert(key(instance), What::Orphan);
    }
    for declared in declared {
        let own = format!("{}/{}", declared.kind, declared.name);
        match instances.iter().find(|instance| key(instance) == own) {
            None => drop(found.insert(own, What::Missing)),
            Some(instance) if !is_declared(instance) => drop(found.insert(own, What::NotDeclared)),
            Some(instance) => {
                let members = differing(declared, instance);
                if members.is_empty() {
                    found.remove(&own);
                } else {
                    found.insert(own, What::Differs(members));
                }
            }
        }
    }
    found.into_iter().map(|(key, what)| Drift { key, what }).collect()
}

/// An instance with `drift`, which is null or a text.
pub(super) fn with(instance: &Value, drifted: &[Drift]) -> Value {
    let key = format!("{}/{}", text(instance, "kind"), text(instance, "name"));
    let drift = drifted.iter().find(|drift| drift.key == key);
    let mut shown = instance.clone();
    if let Some(members) = shown.as_object_mut() {
        members.insert("drift".to_owned(), json!(drift.map(ToString::to_string)));
    }
    shown
}

fn is_declared(instance: &Value) -> bool {
    instance.get("declared") == Some(&Value::Bool(true))
}

/// Names, not values: parameters may be secrets.
fn differing(declared: &DeclaredInstance, instance: &Value) -> Vec<String> {
    let present = |member: &str| instance.get(member).cloned().unwrap_or_default();
    let mut members = Vec::new();
    for (member, wanted) in [
        ("module", json!(declared.module)),
        ("display_name", json!(declared.display_name)),
        ("grants", json!(declared.grants)),
        ("allow_public", json!(declared.allow_public)),
    ] {
        if present(member) != wanted {
            members.push(member.to_owned());
        }
    }
    let none = Map::new();
    let parameters = instance.get("parameters").and_then(Value::as_object).unwrap_or(&none);
    let names: std::collections::BTreeSet<&String> = parameters.keys().chain(declared.parameters.keys()).collect();
    let changed = names.into_iter().filter(|name| parameters.get(*name) != declared.parameters.get(*name));
    members.extend(changed.map(|name| format!("parameters.{name}")));
    let settings = declared.settings.iter().filter(|(name, value)| present(name) != **value);
    members.extend(settings.map(|(name, _)| name.clone()));
    members
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(declared: &str, instances: Value, expected: Expect) {
        let config: crate::config::Config = toml::from_str(declared).unwrap();
        let found = between(&config.instances, instances.as_array().unwrap());
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    fn greeter(greeting: &str, declared: bool) -> Value {
        json!({
            "kind": "plugin", "name": "g", "module": "hello", "display_name": "", "grants": null,
            "allow_public": false, "parameters": {"greeting": greeting}, "declared": declared,
        })
    }

    const DECLARED: &str = "[[instance]]\nmodule = 'hello'\nname = 'g'\nparameters = { greeting = 'Hi' }";

    #[test]
    fn a_server_that_has_read_the_file_agrees() {
        check(DECLARED, json!([greeter("Hi", true)]), expect![""]);
        check("", json!([greeter("Hi", false)]), expect![""]);
    }

    #[test]
    fn what_was_changed_since_is_told() {
        check(DECLARED, json!([]), expect!["the file declares `plugin/g`, which does not exist yet"]);
        check(
            DECLARED,
            json!([greeter("Hi", false)]),
            expect!["the file declares `plugin/g`, which was made by hand before"],
        );
        check(
            "",
            json!([greeter("Hi", true)]),
            expect!["`plugin/g` is declared by the server's configuration and no more by the file"],
        );
        check(
            DECLARED,
            json!([greeter("Ho", true)]),
            expect!["`plugin/g` is not as the file declares it: parameters.greeting"],
        );
        let other = DECLARED.replace("'hello'", "'other'") + "\nallow_public = true\nsettings = { max_use = 1 }";
        check(
            &other,
            json!([greeter("Hi", true)]),
            expect!["`plugin/g` is not as the file declares it: module, allow_public, max_use"],
        );
    }
}
