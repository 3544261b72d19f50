//! Where the configuration file and the stored instances disagree.
//!
//! A server takes declarations over when it starts and at SIGHUP; what was changed in the file since then is drift.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{InstanceRecord, Settings};
use crate::config::DeclaredInstance;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The instance's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What disagrees.
    pub what: What,
}

/// What of an instance disagrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The file declares it, and there is none.
    Missing,
    /// The file declares it, and there is one that it did not declare before.
    NotDeclared,
    /// The file declared it and does so no more.
    Orphan,
    /// These members are not as the file says; of parameters `parameters.` and the name.
    Differs(Vec<String>),
}

impl What {
    /// As it stands in the API.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotDeclared => "not_declared",
            Self::Orphan => "orphan",
            Self::Differs(_) => "differs",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, what } = self;
        match what {
            What::Missing => write!(formatter, "the file declares `{kind}/{name}`, which does not exist yet"),
            What::NotDeclared => write!(formatter, "the file declares `{kind}/{name}`, which was made by hand before"),
            What::Orphan => {
                write!(formatter, "`{kind}/{name}` is declared by the server's configuration and no more by the file")
            }
            What::Differs(members) => {
                write!(formatter, "`{kind}/{name}` is not as the file declares it: {}", members.join(", "))
            }
        }
    }
}

/// All disagreements, by kind and name, between what the file declares and what is stored.
#[must_use]
pub fn between(declared: &[DeclaredInstance], stored: &[InstanceRecord]) -> Vec<Drift> {
    let mut found = BTreeMap::new();
    for record in stored.iter().filter(|record| record.declared) {
        found.insert((record.kind.clone(), record.name.clone()), What::Orphan);
    }
    for declared in declared {
        let key = (declared.kind.clone(), declared.name.clone());
        match stored.iter().find(|record| (&record.kind, &record.name) == (&key.0, &key.1)) {
            None => drop(found.insert(key, What::Missing)),
            Some(record) if !record.declared => drop(found.insert(key, What::NotDeclared)),
            Some(record) => {
                let members = differing(declared, record);
                if members.is_empty() {
                    found.remove(&key);
                } else {
                    found.insert(key, What::Differs(members));
                }
            }
        }
    }
    found.into_iter().map(|((kind, name), what)| Drift { kind, name, what }).collect()
}

/// Names, not values: parameters may be secrets.
fn differing(declared: &DeclaredInstance, record: &InstanceRecord) -> Vec<String> {
    let members = [
        ("module", declared.module == record.module),
        ("display_name", declared.display_name == record.display_name),
        ("grants", declared.grants == record.grants),
        ("allow_public", declared.allow_public == record.allow_public),
    ];
    let mut differing: Vec<String> =
        members.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned()).collect();
    let names: BTreeSet<&String> = record.parameters.keys().chain(declared.parameters.keys()).collect();
    let changed = names.into_iter().filter(|name| record.parameters.get(*name) != declared.parameters.get(*name));
    differing.extend(changed.map(|name| format!("parameters.{name}")));
    // Those that cannot be were told when the file was read.
    let wanted = Settings::declared(&declared.kind, &declared.settings).unwrap_or_default().shown(&declared.kind);
    let settings = record.settings.shown(&record.kind).into_iter();
    differing.extend(settings.filter(|(name, value)| wanted.get(name) != Some(value)).map(|(name, _)| name));
    differing
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Map, Value, json};

    use super::*;

    fn check(declared: &str, stored: &[InstanceRecord], expected: Expect) {
        let config: crate::config::Config = toml::from_str(declared).unwrap();
        let lines: Vec<String> = between(&config.instances, stored).iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    fn greeter(greeting: &str, declared: bool) -> InstanceRecord {
        InstanceRecord {
            id: String::new(),
            kind: "plugin".to_owned(),
            module: "hello".to_owned(),
            name: "g".to_owned(),
            display_name: String::new(),
            parameters: Map::from_iter([("greeting".to_owned(), json!(greeting))]),
            enabled: true,
            grants: None,
            allow_public: false,
            declared,
            quarantine: None,
            settings: Settings::default(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    const DECLARED: &str = "[[instance]]\nmodule = 'hello'\nname = 'g'\nparameters = { greeting = 'Hi' }";

    #[test]
    fn a_server_that_has_read_the_file_agrees() {
        check(DECLARED, &[greeter("Hi", true)], expect![""]);
        check("", &[greeter("Hi", false)], expect![""]);
    }

    #[test]
    fn what_was_changed_since_is_told() {
        check(DECLARED, &[], expect!["the file declares `plugin/g`, which does not exist yet"]);
        check(
            DECLARED,
            &[greeter("Hi", false)],
            expect!["the file declares `plugin/g`, which was made by hand before"],
        );
        check(
            "",
            &[greeter("Hi", true)],
            expect!["`plugin/g` is declared by the server's configuration and no more by the file"],
        );
        check(
            DECLARED,
            &[greeter("Ho", true)],
            expect!["`plugin/g` is not as the file declares it: parameters.greeting"],
        );
        let other = DECLARED.replace("'hello'", "'other'") + "\nallow_public = true";
        check(
            &other,
            &[greeter("Hi", true)],
            expect!["`plugin/g` is not as the file declares it: module, allow_public"],
        );
    }

    #[test]
    fn settings_that_were_taken_out_of_the_file_are_told() {
        let settings: Map<String, Value> = serde_json::from_value(json!({"max_use": 1, "expiration": 2})).unwrap();
        let settings = Settings::declared("scheme", &settings).unwrap();
        let scheme = InstanceRecord { kind: "scheme".to_owned(), settings, ..greeter("Hi", true) };
        let declared = DECLARED.to_owned() + "\nkind = 'scheme'\nsettings = { max_use = 1 }";
        check(&declared, &[scheme], expect!["`scheme/g` is not as the file declares it: expiration"]);
    }
}
