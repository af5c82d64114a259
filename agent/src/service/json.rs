//! The JSON form of replicated values, both ways.
//!
//! Counters are whole numbers, sets sorted arrays, maps objects. What JSON has no word for is an object of one field:
//! `{"bytes":"<base64>"}`, and `{"float":"NaN"}` (also `inf` and `-inf`). The invariant: a scalar survives its own JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use selvedge_sync::crdt::Value;
use selvedge_sync::key::Kind;
use selvedge_sync::scalar::{Float, Scalar};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

/// Why a JSON value is no scalar: what was expected instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    /// An array, or an object other than the two that stand for scalars.
    #[error("must be null, true, false, a number, text or {{\"bytes\":\"<base64>\"}}")]
    Shape,
    /// Bytes that are not in base64.
    #[error("must be bytes in standard base64, with padding")]
    Base64,
    /// A whole number beyond 64 bits with sign.
    #[error("must be a whole number from -9223372036854775808 to 9223372036854775807")]
    Range,
}

/// A scalar as JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonScalar<'a>(pub &'a Scalar);

/// A value as JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonValue<'a>(pub &'a Value);

/// For `#[serde(serialize_with)]`.
pub(super) fn value<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    JsonValue(value).serialize(serializer)
}

/// The value of a key of this type that holds nothing.
#[must_use]
pub fn empty(kind: Kind) -> Value {
    match kind {
        Kind::GCounter | Kind::PnCounter => Value::Counter(0),
        Kind::GSet | Kind::OrSet => Value::Set(Vec::new()),
        Kind::LwwMap => Value::Map(std::collections::BTreeMap::new()),
    }
}

/// Reads a scalar.
///
/// # Errors
/// The JSON is not of a shape that stands for a scalar, or out of range.
pub fn scalar(json: &Json) -> Result<Scalar, ScalarError> {
    match json {
        Json::Null => Ok(Scalar::Null),
        Json::Bool(value) => Ok(Scalar::Bool(*value)),
        Json::String(text) => Ok(Scalar::Text(text.clone())),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Scalar::Int(whole)),
            (None, Some(float)) if number.is_f64() => Ok(Scalar::Float(Float(float))),
            (None, _) => Err(ScalarError::Range),
        },
        Json::Object(fields) if fields.len() == 1 => match fields.iter().next() {
            Some((name, Json::String(text))) if name == "bytes" => {
                BASE64.decode(text).map(Scalar::Bytes).map_err(|_| ScalarError::Base64)
            }
            Some((name, Json::String(text))) if name == "float" => match text.as_str() {
                "NaN" => Ok(Scalar::Float(Float(f64::NAN))),
                "inf" => Ok(Scalar::Float(Float(f64::INFINITY))),
                "-inf" => Ok(Scalar::Float(Float(f64::NEG_INFINITY))),
                _ => Err(ScalarError::Shape),
            },
            _ => Err(ScalarError::Shape),
        },
        Json::Array(_) | Json::Object(_) => Err(ScalarError::Shape),
    }
}

impl Serialize for JsonScalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Scalar::Null => serializer.serialize_unit(),
            Scalar::Bool(value) => serializer.serialize_bool(*value),
            Scalar::Int(value) => serializer.serialize_i64(*value),
            Scalar::Float(Float(value)) if value.is_finite() => serializer.serialize_f64(*value),
            Scalar::Float(Float(value)) => single(serializer, "float", &value.to_string()),
            Scalar::Text(text) => serializer.serialize_str(text),
            Scalar::Bytes(bytes) => single(serializer, "bytes", &BASE64.encode(bytes)),
        }
    }
}

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            // Within 64 bits any serializer can take it; beyond, the one that writes text can.
            Value::Counter(total) => match i64::try_from(*total) {
                Ok(total) => serializer.serialize_i64(total),
                Err(_) => serializer.serialize_i128(*total),
            },
            Value::Set(members) => serializer.collect_seq(members.iter().map(JsonScalar)),
            Value::Map(fields) => {
                serializer.collect_map(fields.iter().map(|(field, value)| (field, JsonScalar(value))))
            }
        }
    }
}

fn single<S: Serializer>(serializer: S, name: &'static str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, text)?;
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_survive_their_own_json() {
        let floats = [0.5, -0.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let scalars = [Scalar::Null, Scalar::Bool(true), Scalar::Int(i64::MIN), Scalar::Int(i64::MAX)]
            .into_iter()
            .chain(["", "caf\u{e9}", "{\"bytes\":1}"].map(Scalar::from))
            .chain([Scalar::Bytes(vec![]), Scalar::Bytes(vec![0, 255])])
            .chain(floats.map(|float| Scalar::Float(Float(float))));
        for expect in scalars {
            let text = serde_json::to_string(&JsonScalar(&expect)).expect("scalars serialise");
            let json = serde_json::from_str(&text).expect("to sound JSON");
            assert_eq!(scalar(&json), Ok(expect), "{text}");
        }
    }

    #[test]
    fn counters_are_whole_numbers_beyond_64_bits_too() {
        let check = |total: i128, expect: &str| {
            assert_eq!(serde_json::to_string(&JsonValue(&Value::Counter(total))).expect("serialises"), expect);
        };
        check(-3, "-3");
        check(i128::from(u64::MAX) * 4, "73786976294838206460");
    }
}
