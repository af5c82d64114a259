//! The values that a function gives → JSON.
//!
//! Owns the way back of the table in `lower.rs`. The invariant: what comes out is accepted by `lower.rs` for the same type,
//! and gives the same value again.
//!
//! Whole numbers come out as numbers, exactly, also above 2^53: a caller whose JSON library rounds them must ask it not to.
//! An enum's name comes out as in WIT (`win-lose`), a record's field in `snake_case` (`damage_to_a`).

use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use super::lower::PLAIN_BYTES;
use super::shape::Shape;

/// The result is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Converts a result of the given shape, as long as it has at most `limit_bytes`.
pub(super) fn result(shape: Option<&Shape>, value: Option<&Val>, limit_bytes: usize) -> Result<Value, TooLarge> {
    match (shape, value) {
        (Some(shape), Some(value)) => Lifting { left: limit_bytes }.value(shape, value),
        (Some(_) | None, Some(_) | None) => Ok(Value::Null),
    }
}

struct Lifting {
    left: usize,
}

impl Lifting {
    fn spend(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(bytes).ok_or(TooLarge)?;
        Ok(())
    }

    fn value(&mut self, shape: &Shape, value: &Val) -> Result<Value, TooLarge> {
        self.spend(PLAIN_BYTES)?;
        Ok(match (shape, value) {
            (_, Val::Bool(value)) => Value::Bool(*value),
            (_, Val::S8(value)) => Value::from(*value),
            (_, Val::U8(value)) => Value::from(*value),
            (_, Val::S16(value)) => Value::from(*value),
            (_, Val::U16(value)) => Value::from(*value),
            (_, Val::S32(value)) => Value::from(*value),
            (_, Val::U32(value)) => Value::from(*value),
            (_, Val::S64(value)) => Value::from(*value),
            (_, Val::U64(value)) => Value::from(*value),
            (_, Val::Float32(value)) => float(shortest(*value)),
            (_, Val::Float64(value)) => float(*value),
            (_, Val::Char(value)) => Value::from(value.to_string()),
            (_, Val::String(text)) => {
                self.spend(text.len())?;
                Value::from(text.as_str())
            }
            (Shape::List(item), Val::List(values)) => {
                values.iter().map(|value| self.value(item, value)).collect::<Result<Vec<_>, _>>()?.into()
            }
            (Shape::Tuple(shapes), Val::Tuple(values)) => {
                let pairs = shapes.iter().zip(values);
                pairs.map(|(shape, value)| self.value(shape, value)).collect::<Result<Vec<_>, _>>()?.into()
            }
            (Shape::Record(fields), Val::Record(values)) => {
                let pairs = fields.iter().zip(values);
                let object: Result<Map<_, _>, _> = pairs
                    .map(|((name, shape), (_, value))| Ok((name.json.clone(), self.value(shape, value)?)))
                    .collect();
                object?.into()
            }
            (Shape::Variant(cases), Val::Variant(name, payload)) => {
                let shape = cases.iter().find(|(case, _)| case.wit == *name).and_then(|(_, shape)| shape.as_ref());
                match (shape, payload) {
                    (Some(shape), Some(payload)) => single(name, self.value(shape, payload)?),
                    (Some(_) | None, Some(_) | None) => Value::from(name.as_str()),
                }
            }
            (_, Val::Enum(name)) => Value::from(name.as_str()),
            (_, Val::Option(None)) => Value::Null,
            (Shape::Option(inner), Val::Option(Some(value))) => {
                let value = self.value(inner, value)?;
                if matches!(**inner, Shape::Option(_)) { single("some", value) } else { value }
            }
            (Shape::Result(ok, _), Val::Result(Ok(value))) => single("ok", self.side(ok.as_deref(), value.as_deref())?),
            (Shape::Result(_, err), Val::Result(Err(value))) => {
                single("err", self.side(err.as_deref(), value.as_deref())?)
            }
            (_, Val::Flags(names)) => names.iter().map(String::as_str).collect::<Vec<_>>().into(),
            (shape, value) => unreachable!("the engine gave {value:?} for a result of type {}", shape.text()),
        })
    }

    fn side(&mut self, shape: Option<&Shape>, value: Option<&Val>) -> Result<Value, TooLarge> {
        match (shape, value) {
            (Some(shape), Some(value)) => self.value(shape, value),
            (Some(_) | None, Some(_) | None) => Ok(Value::Null),
        }
    }
}

fn single(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// The shortest decimal that means this f32, so that 0.9 does not come out as 0.8999999761581421.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// JSON has no word for what is not finite; these are the ones that `lower.rs` takes.
fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}
