//! The values that a function gives → JSON, or another encoding of the same document.
//!
//! Owns the way back of the table in `lower.rs`. The invariant: what comes out is accepted by `lower.rs` for the same type,
//! and gives the same value again.
//!
//! Whole numbers come out as numbers, exactly, also above 2^53: a caller whose JSON library rounds them must ask it not to.
//! An enum's name comes out as in WIT (`win-lose`), a record's field in `snake_case` (`damage_to_a`).

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use wasmtime::component::Val;

use super::lower::PLAIN_BYTES;
use super::shape::Shape;
use crate::encoding::Encoding;

/// The result is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Converts a result of the given shape, as long as it has at most `limit_bytes`.
pub(super) fn result(shape: Option<&Shape>, value: Option<&Val>, limit_bytes: usize) -> Result<Value, TooLarge> {
    let Some(lifted) = Lifted::within(shape, value, limit_bytes)? else { return Ok(Value::Null) };
    Ok(serde_json::to_value(lifted).expect("a lifted value is a document"))
}

/// The same as bytes.
pub(super) fn encoded(
    shape: Option<&Shape>,
    value: Option<&Val>,
    limit_bytes: usize,
    encoding: Encoding,
) -> Result<Vec<u8>, TooLarge> {
    Ok(encoding.encode(&Lifted::within(shape, value, limit_bytes)?))
}

/// A value and its type.
#[derive(Clone, Copy)]
struct Lifted<'a> {
    shape: &'a Shape,
    value: &'a Val,
}

impl<'a> Lifted<'a> {
    /// A result that is not too large; `None` is the result of a function that gives nothing.
    fn within(shape: Option<&'a Shape>, value: Option<&'a Val>, limit_bytes: usize) -> Result<Option<Self>, TooLarge> {
        let (Some(shape), Some(value)) = (shape, value) else { return Ok(None) };
        let mut left = limit_bytes;
        weigh(value, &mut left)?;
        Ok(Some(Self { shape, value }))
    }
}

/// Takes what a value weighs from what is `left`.
fn weigh(value: &Val, left: &mut usize) -> Result<(), TooLarge> {
    let mut spend = |bytes: usize| {
        *left = left.checked_sub(bytes).ok_or(TooLarge)?;
        Ok(())
    };
    spend(PLAIN_BYTES)?;
    match value {
        Val::String(text) => spend(text.len()),
        Val::List(values) | Val::Tuple(values) => values.iter().try_for_each(|value| weigh(value, left)),
        Val::Record(fields) => fields.iter().try_for_each(|(_, value)| weigh(value, left)),
        Val::Variant(_, Some(value)) | Val::Option(Some(value)) | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            weigh(value, left)
        }
        _ => Ok(()),
    }
}

impl Serialize for Lifted<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { shape, value } = *self;
        match (shape, value) {
            (_, Val::Bool(value)) => to.serialize_bool(*value),
            (_, Val::S8(value)) => to.serialize_i8(*value),
            (_, Val::U8(value)) => to.serialize_u8(*value),
            (_, Val::S16(value)) => to.serialize_i16(*value),
            (_, Val::U16(value)) => to.serialize_u16(*value),
            (_, Val::S32(value)) => to.serialize_i32(*value),
            (_, Val::U32(value)) => to.serialize_u32(*value),
            (_, Val::S64(value)) => to.serialize_i64(*value),
            (_, Val::U64(value)) => to.serialize_u64(*value),
            (_, Val::Float32(value)) => float(shortest(*value), to),
            (_, Val::Float64(value)) => float(*value, to),
            (_, Val::Char(value)) => to.serialize_char(*value),
            (_, Val::String(text) | Val::Enum(text)) => to.serialize_str(text),
            (Shape::List(item), Val::List(values)) => {
                to.collect_seq(values.iter().map(|value| Self { shape: item, value }))
            }
            (Shape::Tuple(shapes), Val::Tuple(values)) => {
                to.collect_seq(shapes.iter().zip(values).map(|(shape, value)| Self { shape, value }))
            }
            (Shape::Record(fields), Val::Record(values)) => {
                let pairs = fields.iter().zip(values);
                to.collect_map(pairs.map(|((name, shape), (_, value))| (name.json.as_str(), Self { shape, value })))
            }
            (Shape::Variant(cases), Val::Variant(name, payload)) => {
                let shape = cases.iter().find(|(case, _)| case.wit == *name).and_then(|(_, shape)| shape.as_ref());
                match (shape, payload) {
                    (Some(shape), Some(value)) => single(name, Some(Self { shape, value }), to),
                    (Some(_) | None, Some(_) | None) => to.serialize_str(name),
                }
            }
            (_, Val::Option(None)) => to.serialize_unit(),
            (Shape::Option(inner), Val::Option(Some(value))) => {
                let value = Self { shape: inner, value };
                if matches!(**inner, Shape::Option(_)) { single("some", Some(value), to) } else { value.serialize(to) }
            }
            (Shape::Result(ok, _), Val::Result(Ok(value))) => single("ok", side(ok.as_deref(), value.as_deref()), to),
            (Shape::Result(_, err), Val::Result(Err(value))) => {
                single("err", side(err.as_deref(), value.as_deref()), to)
            }
            (_, Val::Flags(names)) => to.collect_seq(names),
            (shape, value) => unreachable!("the engine gave {value:?} for a result of type {}", shape.text()),
        }
    }
}

fn side<'a>(shape: Option<&'a Shape>, value: Option<&'a Val>) -> Option<Lifted<'a>> {
    shape.zip(value).map(|(shape, value)| Lifted { shape, value })
}

fn single<S: Serializer>(name: &str, value: Option<Lifted<'_>>, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(name, &value)?;
    map.end()
}

/// The shortest decimal that means this f32, so that 0.9 does not come out as 0.8999999761581421.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// JSON has no word for what is not finite; these are the ones that `lower.rs` takes.
fn float<S: Serializer>(value: f64, to: S) -> Result<S::Ok, S::Error> {
    match value {
        finite if finite.is_finite() => to.serialize_f64(finite),
        none if none.is_nan() => to.serialize_str("NaN"),
        positive if positive > 0.0 => to.serialize_str("Infinity"),
        _ => to.serialize_str("-Infinity"),
    }
}
