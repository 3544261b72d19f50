//! What goes into a statement and what comes out of it, the same on both engines.
//!
//! Start at [`Value`] for what goes in and [`Row`] for what comes out.

use std::fmt;

use crate::store::StoreError;

/// A value that a statement binds or a column holds. Its `Debug` form says what it is, not what it says: drivers log it.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Whole numbers, flags (0 and 1) and times (milliseconds since 1970, UTC).
    Integer(i64),
    /// Numbers with a fraction.
    Real(f64),
    /// Text without a NUL character, which PostgreSQL cannot store.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// Makes the values of a statement from anything that converts into [`Value`].
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::Value::from($value)),*] };
}
pub(crate) use values;

/// A row of an answer. Columns are counted from 0, in the order of the statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    sql: &'static str,
    values: Vec<Value>,
}

/// A type that a column can be read as.
pub trait Column: Sized {
    /// What the type is called in an error.
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// The value itself where it is of another type.
    fn from_value(value: Value) -> Result<Self, Value>;
}

impl Row {
    pub(super) fn new(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql, values }
    }

    /// Moves a column's value out of the row; the column is null afterwards.
    ///
    /// # Errors
    /// [`StoreError::Column`] where there is no such column or it holds another type.
    pub fn take<T: Column>(&mut self, index: usize) -> Result<T, StoreError> {
        let wrong = |found| StoreError::Column { sql: self.sql, index, found, expected: T::EXPECTED };
        let value = self.values.get_mut(index).ok_or_else(|| wrong("nothing: there are fewer columns"))?;
        T::from_value(std::mem::replace(value, Value::Null)).map_err(|value| wrong(value.type_name()))
    }
}

impl Row {
    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.values.iter().map(Value::weight).sum()
    }
}

impl Value {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::Blob(bytes) => bytes.len(),
                Self::Null | Self::Integer(_) | Self::Real(_) => 0,
            }
    }

    /// Writes it so that different lists of values give different bytes.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        let (kind, value): (u8, &[u8]) = match self {
            Self::Null => (0, &[]),
            Self::Integer(number) => (1, &number.to_ne_bytes()),
            Self::Real(number) => (2, &number.to_ne_bytes()),
            Self::Text(text) => (3, text.as_bytes()),
            Self::Blob(blob) => (4, blob),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&value.len().to_ne_bytes());
        bytes.extend_from_slice(value);
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a real number",
            Self::Text(_) => "text",
            Self::Blob(_) => "bytes",
        }
    }

    /// Refuses what one of the engines cannot store, so that both refuse the same.
    pub(super) fn check(values: &[Self]) -> Result<(), StoreError> {
        let has_nul = |value: &Self| matches!(value, Self::Text(text) if text.contains('\0'));
        if values.iter().any(has_nul) { Err(StoreError::NulInText) } else { Ok(()) }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.type_name())
    }
}

macro_rules! conversions {
    ($($type:ty, $expected:literal: |$into:ident| $value:expr, $pattern:pat => $from:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($into: $type) -> Self {
                $value
            }
        }

        impl Column for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: Value) -> Result<Self, Value> {
                match value {
                    $pattern => Ok($from),
                    other => Err(other),
                }
            }
        }
    )*};
}

conversions! {
    i64, "an integer": |number| Value::Integer(number), Value::Integer(number) => number;
    bool, "0 or 1": |flag| Value::Integer(flag.into()), Value::Integer(flag @ (0 | 1)) => flag == 1;
    f64, "a real number": |number| Value::Real(number), Value::Real(number) => number;
    String, "text": |text| Value::Text(text), Value::Text(text) => text;
    Vec<u8>, "bytes": |bytes| Value::Blob(bytes), Value::Blob(bytes) => bytes;
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Column> Column for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: Value) -> Result<Self, Value> {
        if value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row::new("SELECT id, enabled, note FROM thing", values!["a", true, None::<String>])
    }

    #[test]
    fn columns_come_out_as_what_they_are() {
        let mut row = row();
        assert_eq!(row.take::<String>(0).unwrap(), "a");
        assert!(row.take::<bool>(1).unwrap());
        assert_eq!(row.take::<Option<String>>(2).unwrap(), None);
    }

    #[test]
    fn a_column_of_another_type_is_named() {
        let text = row().take::<i64>(0).unwrap_err().to_string();
        assert_eq!(text, "column 0 of `SELECT id, enabled, note FROM thing` holds text, expected an integer");
        let text = row().take::<i64>(3).unwrap_err().to_string();
        assert!(text.contains("column 3") && text.contains("fewer columns"), "{text}");
    }

    #[test]
    fn a_flag_is_0_or_1() {
        let mut row = Row::new("SELECT 2", values![2_i64]);
        assert!(row.take::<bool>(0).is_err());
    }

    #[test]
    fn text_with_a_nul_is_refused() {
        assert!(matches!(Value::check(&["a\0b".into()]), Err(StoreError::NulInText)));
        assert!(Value::check(&["ab".into(), vec![0_u8].into()]).is_ok());
    }
}
