//! JSON objects read member by member, so that an answer names everything that is wrong at once.

use serde_json::{Map, Value};

/// A JSON object being read.
#[derive(Debug)]
pub struct Fields {
    members: Map<String, Value>,
    errors: Vec<String>,
}

impl Fields {
    /// The members of an object.
    #[must_use]
    pub fn new(members: Map<String, Value>) -> Self {
        Self { members, errors: Vec::new() }
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => self.wrong(name, "a text", &other),
        }
    }

    /// A flag.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            other => self.wrong(name, "true or false", &other),
        }
    }

    /// An object.
    pub fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(members) => Some(members),
            other => self.wrong(name, "an object", &other),
        }
    }

    /// A list of texts, or null.
    pub fn texts(&mut self, name: &str) -> Option<Option<Vec<String>>> {
        match self.members.remove(name)? {
            Value::Null => Some(None),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                Some(Some(items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()))
            }
            other => self.wrong(name, "a list of texts or null", &other),
        }
    }

    /// An object that must be there, to be read in turn.
    pub fn required_object(&mut self, name: &str) -> Self {
        let errors_before = self.errors.len();
        let members = self.object(name);
        if members.is_none() && self.errors.len() == errors_before {
            self.errors.push(format!("{name}: missing"));
        }
        Self::new(members.unwrap_or_default())
    }

    /// A text that must be there.
    pub fn required_text(&mut self, name: &str) -> String {
        let errors_before = self.errors.len();
        let text = self.text(name);
        if text.is_none() && self.errors.len() == errors_before {
            self.errors.push(format!("{name}: missing"));
        }
        text.unwrap_or_default()
    }

    /// A whole number.
    pub fn number(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        match value.as_i64() {
            Some(number) => Some(number),
            None => self.wrong(name, "a whole number", &value),
        }
    }

    /// Puts a member there.
    pub fn set(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    /// Anything; null where it is not there.
    pub fn value(&mut self, name: &str) -> Value {
        self.members.remove(name).unwrap_or_default()
    }

    /// What was not asked for yet.
    pub fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// Whether a member is there, perhaps null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Whether a member is a list.
    #[must_use]
    pub fn is_list(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(Value::is_array)
    }

    /// Notes something else that is wrong.
    pub fn refuse(&mut self, error: String) {
        self.errors.push(error);
    }

    /// All that was wrong.
    #[must_use]
    pub fn finish(self) -> Vec<String> {
        self.errors
    }

    /// All that was wrong, and what nobody asked for: for readers that know every member there can be.
    #[must_use]
    pub fn finish_strictly(mut self) -> Vec<String> {
        self.errors.extend(self.members.keys().map(|name| format!("{name}: there is no such argument")));
        self.errors
    }

    /// A member that is there and not null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn wrong<T>(&mut self, name: &str, expected: &str, found: &Value) -> Option<T> {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a flag",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.errors.push(format!("{name}: expected {expected}, found {found}"));
        None
    }
}
