//! What administrators set of an instance beside its parameters, which depends on its kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The settings of an instance. Those that its kind does not have are as [`Default`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Of a scheme: how long a proof counts, in seconds; 0 means for ever.
    #[serde(rename = "expiration")]
    pub expiration_s: i64,
    /// Of a scheme: how often a proof counts; 0 means without end.
    #[serde(rename = "max_use")]
    pub use_max: i64,
    /// Of a scheme: whether people may register themselves.
    pub allow_user_register: bool,
    /// Of a scheme: whether people do not see it in their profile.
    pub forbid_user_profile: bool,
    /// Of a scheme: whether nobody resets lost credentials with it.
    pub forbid_user_reset_credential: bool,
    /// Of a back end or a middleware: its place among the others, the lowest first.
    pub order_rank: i64,
    /// Of a back end: whether nothing is written to it.
    pub readonly: bool,
    /// Of a back end: whether somebody may have several passwords.
    pub multiple_passwords: bool,
    /// Of any kind, and set by nobody: whether the configuration file declared it once and does so no more.
    pub orphan: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expiration_s: 0,
            use_max: 0,
            allow_user_register: true,
            forbid_user_profile: false,
            forbid_user_reset_credential: false,
            order_rank: 0,
            readonly: false,
            multiple_passwords: false,
            orphan: false,
        }
    }
}

impl Settings {
    /// Those that a kind has, by name.
    #[must_use]
    pub fn shown(&self, kind: &str) -> Map<String, Value> {
        let mut members = self.members();
        members.retain(|name, _| names(kind).contains(&name.as_str()));
        members
    }

    /// These settings with what is given of those that a kind has; null is as if it were not given.
    ///
    /// # Errors
    /// A text for each that is wrong.
    pub fn changed(&self, kind: &str, given: &Map<String, Value>) -> Result<Self, Vec<String>> {
        let mut members = self.members();
        let mut errors = Vec::new();
        for name in names(kind) {
            let Some(value) = given.get(*name).filter(|value| !value.is_null()) else { continue };
            let is_flag = members.get(*name).is_some_and(Value::is_boolean);
            let fits = if is_flag {
                value.is_boolean()
            } else {
                value.as_i64().is_some_and(|number| NUMBERS.contains(&number))
            };
            if fits {
                members.insert((*name).to_owned(), value.clone());
            } else {
                let expected = if is_flag { "true or false".to_owned() } else { format!("0 to {}", NUMBERS.end()) };
                errors.push(format!("{name}: expected {expected}, found {value}"));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        serde_json::from_value(Value::Object(members)).map_err(|error| vec![error.to_string()])
    }

    /// The settings of an instance that the configuration declares.
    ///
    /// # Errors
    /// A text for each that is wrong, or that the kind does not have.
    pub fn declared(kind: &str, given: &Map<String, Value>) -> Result<Self, Vec<String>> {
        let unknown = given.keys().filter(|name| !names(kind).contains(&name.as_str()));
        let unknown: Vec<_> = unknown.map(|name| format!("{name}: the kind {kind} has no such setting")).collect();
        if unknown.is_empty() { Self::default().changed(kind, given) } else { Err(unknown) }
    }

    fn members(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            // A struct is written as an object.
            _ => Map::new(),
        }
    }
}

/// The settings that a kind has.
fn names(kind: &str) -> &'static [&'static str] {
    match kind {
        "scheme" => {
            &["expiration", "max_use", "allow_user_register", "forbid_user_profile", "forbid_user_reset_credential"]
        }
        "user" | "client" => &["order_rank", "readonly", "multiple_passwords"],
        "user_middleware" => &["order_rank"],
        _ => &[],
    }
}

const NUMBERS: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_kind_has_its_own_settings() {
        let settings = Settings::default().changed("user", &given(json!({"order_rank": 3, "max_use": "x"}))).unwrap();
        assert_eq!(
            Value::Object(settings.shown("user")),
            json!({"order_rank": 3, "readonly": false, "multiple_passwords": false})
        );
        assert!(settings.shown("plugin").is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong =
            given(json!({"expiration": -1, "max_use": 1.5, "forbid_user_profile": 1, "allow_user_register": null}));
        assert_eq!(
            Settings::default().changed("scheme", &wrong).unwrap_err(),
            [
                "expiration: expected 0 to 2147483647, found -1",
                "max_use: expected 0 to 2147483647, found 1.5",
                "forbid_user_profile: expected true or false, found 1",
            ]
        );
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let settings = Settings { expiration_s: 600, use_max: 3, ..Settings::default() };
        let stored = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&stored).unwrap(), settings);
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    }
}
