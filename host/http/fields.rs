//! JSON bodies read field by field, so that an answer names everything that is wrong at once.

use axum::body::{Body, to_bytes};
use http::{Request, header};
use serde_json::{Map, Value};

use super::error::{BODY_TOO_LARGE, Problem};

/// Bodies of the host's own routes are no larger.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A JSON object being read.
#[derive(Debug)]
pub(super) struct Fields {
    members: Map<String, Value>,
    errors: Vec<String>,
}

impl Fields {
    /// Reads the body of a request.
    pub(super) async fn read(request: Request<Body>) -> Result<Self, Problem> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
        if !json {
            return Err(Problem::invalid(vec!["header: expected `Content-Type: application/json`".to_owned()]));
        }
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX)
            .await
            .map_err(|_| Problem::new(BODY_TOO_LARGE, format!("expected at most {BODY_BYTES_MAX} bytes")))?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(members)) => Ok(Self { members, errors: Vec::new() }),
            Ok(_) => Err(Problem::invalid(vec!["body: expected a JSON object".to_owned()])),
            Err(error) => Err(Problem::invalid(vec![format!("body: no valid JSON: {error}")])),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => self.wrong(name, "a text", &other),
        }
    }

    /// A flag.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            other => self.wrong(name, "true or false", &other),
        }
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(members) => Some(members),
            other => self.wrong(name, "an object", &other),
        }
    }

    /// A list of texts, or null.
    pub(super) fn texts(&mut self, name: &str) -> Option<Option<Vec<String>>> {
        match self.members.remove(name)? {
            Value::Null => Some(None),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                Some(Some(items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()))
            }
            other => self.wrong(name, "a list of texts or null", &other),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, name: &str) -> String {
        let known = self.members.contains_key(name);
        let text = self.text(name);
        if text.is_none() && !known {
            self.errors.push(format!("{name}: missing"));
        }
        text.unwrap_or_default()
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        match value.as_i64() {
            Some(number) => Some(number),
            None => self.wrong(name, "a whole number", &value),
        }
    }

    /// Anything; null where it is not there.
    pub(super) fn value(&mut self, name: &str) -> Value {
        self.members.remove(name).unwrap_or_default()
    }

    /// What was not asked for yet.
    pub(super) fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// Whether a member is there, perhaps null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Notes something else that is wrong.
    pub(super) fn refuse(&mut self, error: String) {
        self.errors.push(error);
    }

    /// All that was wrong, if anything was.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
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
