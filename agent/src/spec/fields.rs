//! Reads the fields of one JSON object and says by full name which one is wrong.
//!
//! Owns type and range checks of single fields. Serde's derive refuses unknown fields too, but its errors lack the path
//! (`limits.memory`) that an operator needs, and it cannot pass over unknown fields for one source and refuse them
//! for another. `null` counts as left out.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{SpecError, is_token, parse_bytes, parse_millis};
use crate::encoding::whole;

/// What to do with a field that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Refused,
    PassedOver,
}

/// One JSON object and the name under which it is part of the spec (empty for the spec itself).
pub(super) struct Fields<'a> {
    path: &'static str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        path: &'static str,
        json: &'a Value,
        known: &[&str],
        unknown: Unknown,
    ) -> Result<Self, SpecError> {
        let Value::Object(map) = json else {
            return Err(SpecError::Type { field: path.to_owned(), expected: "an object", got: type_name(json) });
        };
        let fields = Self { path, map };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) if unknown == Unknown::Refused => {
                Err(SpecError::Unknown { field: fields.full_name(&shown(key)), known: known.join(", ") })
            }
            Some(_) | None => Ok(fields),
        }
    }

    /// A nested object, still unread.
    pub(super) fn object(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, SpecError> {
        self.object(name)
            .map(|value| value.as_bool().ok_or_else(|| self.wrong_type(name, "true or false", value)))
            .transpose()
    }

    pub(super) fn integer<T>(&self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, SpecError>
    where
        T: Copy + Into<u64> + TryFrom<u64>,
    {
        let Some(value) = self.object(name) else { return Ok(None) };
        let number = whole(value).ok_or_else(|| self.wrong_type(name, "a whole number", value))?;
        self.within(name, number, &range).map(Some)
    }

    /// A number of bytes, or text such as `64MiB`.
    pub(super) fn bytes(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, SpecError> {
        self.measured(name, &range, "a whole number of bytes or text such as \"64MiB\"", parse_bytes)
    }

    /// A number of milliseconds, or text such as `5ms`.
    pub(super) fn millis(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, SpecError> {
        self.measured(name, &range, "a whole number of milliseconds or text such as \"5ms\"", parse_millis)
    }

    fn measured<T, E: Display>(
        &self,
        name: &str,
        range: &RangeInclusive<T>,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Result<u64, E>,
    ) -> Result<Option<T>, SpecError>
    where
        T: Copy + Into<u64> + TryFrom<u64>,
    {
        let Some(value) = self.object(name) else { return Ok(None) };
        let number = match (whole(value), value.as_str()) {
            (Some(number), _) => number,
            (None, Some(text)) => parse(text).map_err(|error| self.invalid(name, error))?,
            (None, None) => return Err(self.wrong_type(name, expected, value)),
        };
        self.within(name, number, range).map(Some)
    }

    pub(super) fn token(&self, name: &str) -> Result<Option<String>, SpecError> {
        self.object(name).map(|value| self.read_token(name, value)).transpose()
    }

    pub(super) fn tokens(&self, name: &str, count_max: usize) -> Result<Vec<String>, SpecError> {
        let items = self.list(name, count_max)?.iter().enumerate();
        items.map(|(index, item)| self.read_token(&format!("{name}[{index}]"), item)).collect()
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, SpecError> {
        self.object(name).map(|value| self.parse(name, value)).transpose()
    }

    pub(super) fn parsed_list<T: FromStr<Err: Display>>(
        &self,
        name: &str,
        count_max: usize,
    ) -> Result<Vec<T>, SpecError> {
        let items = self.list(name, count_max)?.iter().enumerate();
        items.map(|(index, item)| self.parse(&format!("{name}[{index}]"), item)).collect()
    }

    pub(super) fn missing(&self, name: &str) -> SpecError {
        SpecError::Missing { field: self.full_name(name) }
    }

    pub(super) fn invalid(&self, name: &str, reason: impl Display) -> SpecError {
        SpecError::Invalid { field: self.full_name(name), reason: reason.to_string() }
    }

    pub(super) fn list(&self, name: &str, count_max: usize) -> Result<&'a [Value], SpecError> {
        match self.object(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) if items.len() <= count_max => Ok(items),
            Some(Value::Array(_)) => Err(self.invalid(name, format_args!("at most {count_max} entries"))),
            Some(other) => Err(self.wrong_type(name, "a list of texts", other)),
        }
    }

    fn read_token(&self, name: &str, value: &Value) -> Result<String, SpecError> {
        let text = value.as_str().ok_or_else(|| self.wrong_type(name, "text", value))?;
        if is_token(text) {
            Ok(text.to_owned())
        } else {
            Err(self.invalid(name, "1 to 64 bytes without blanks or control characters"))
        }
    }

    fn parse<T: FromStr<Err: Display>>(&self, name: &str, value: &Value) -> Result<T, SpecError> {
        let text = value.as_str().ok_or_else(|| self.wrong_type(name, "text", value))?;
        text.parse().map_err(|error| self.invalid(name, error))
    }

    pub(super) fn within<T>(&self, name: &str, got: u64, range: &RangeInclusive<T>) -> Result<T, SpecError>
    where
        T: Copy + Into<u64> + TryFrom<u64>,
    {
        let (min, max) = ((*range.start()).into(), (*range.end()).into());
        let out_of_range = || SpecError::Range { field: self.full_name(name), min, max, got };
        if !(min..=max).contains(&got) {
            return Err(out_of_range());
        }
        T::try_from(got).map_err(|_| out_of_range())
    }

    pub(super) fn wrong_type(&self, name: &str, expected: &'static str, value: &Value) -> SpecError {
        SpecError::Type { field: self.full_name(name), expected, got: type_name(value) }
    }

    fn full_name(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// As much of a name that somebody made up as an error repeats: in one line, whatever it holds.
pub(super) fn shown(name: &str) -> String {
    name.escape_debug().take(64).collect()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a whole number",
        Value::Number(_) => "a negative or fractional number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
