//! Encoded arguments → the values that a function takes, without a tree of JSON in between.
//!
//! Owns the short way for what nearly all callers send: it says yes or nothing. Whoever gets nothing goes by the tree and
//! `lower.rs`, which takes more and names what is wrong. The invariant: what is taken here `lower.rs` would have taken, at the same
//! cost against the limit, as the same values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use wasmtime::component::Val;

use super::lower::{PLAIN_BYTES, narrow, whole};
use super::shape::{Name, Shape, Signature};
use crate::encoding::Encoding;
use crate::encoding::cbor::Reader;

/// Fields that a record may have here: as many as a word has bits to tell which were given.
const FIELDS_MAX: usize = 64;
/// Items that are made room for before they are seen.
const ROOM_ITEMS_MAX: usize = 1_024;

/// The arguments of one call, if they are plain: all there once, of the right types, and within `limit_bytes`.
pub(super) fn arguments(
    signature: &Signature,
    encoding: Encoding,
    bytes: &[u8],
    limit_bytes: usize,
) -> Option<Vec<Val>> {
    let mut left = limit_bytes;
    let seed = Arguments { params: &signature.params, left: &mut left };
    match encoding {
        Encoding::Json => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let values = seed.deserialize(&mut reader).ok()?;
            reader.end().ok().map(|()| values)
        }
        Encoding::Cbor => {
            let mut reader = Reader::new(bytes);
            let values = seed.deserialize(&mut reader).ok()?;
            reader.end().ok().map(|()| values)
        }
    }
}

/// Why nothing is said, to `serde`. Nobody reads it.
fn odd<E: Error>() -> E {
    E::custom("odd")
}

/// All arguments: an array in the order of the parameters, or an object by their names.
struct Arguments<'a> {
    params: &'a [(Name, Shape)],
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Arguments<'_> {
    type Value = Vec<Val>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Vec<Val>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Arguments<'_> {
    type Value = Vec<Val>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<Val>, A::Error> {
        each(self.params.iter().map(|(_, shape)| shape), self.left, items)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Vec<Val>, A::Error> {
        fields(self.params, self.left, entries).map(|fields| fields.into_iter().map(|(_, value)| value).collect())
    }
}

/// One value of a known type.
struct Typed<'a> {
    shape: &'a Shape,
    left: &'a mut usize,
    /// Whether the value is that of an option, and null its absence.
    is_optional: bool,
}

impl<'a> Typed<'a> {
    fn new(shape: &'a Shape, left: &'a mut usize) -> Self {
        match shape {
            Shape::Option(inner) => Self { shape: inner, left, is_optional: true },
            shape => Self { shape, left, is_optional: false },
        }
    }

    /// Counts a value, as often as its type has levels.
    fn spend<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        let levels = 1 + usize::from(self.is_optional);
        spend(self.left, levels * PLAIN_BYTES + bytes)
    }

    fn given(is_optional: bool, value: Val) -> Val {
        if is_optional { Val::Option(Some(Box::new(value))) } else { value }
    }

    fn plain<E: Error>(mut self, value: Val) -> Result<Val, E> {
        self.spend(0)?;
        Ok(Self::given(self.is_optional, value))
    }

    fn number<E: Error>(self, value: i128) -> Result<Val, E> {
        match self.shape {
            Shape::Int(int) => match whole(*int, value) {
                Some(value) => self.plain(value),
                None => Err(odd()),
            },
            #[expect(clippy::cast_precision_loss, reason = "what JSON's numbers do, too")]
            _ => self.float(value as f64),
        }
    }

    fn float<E: Error>(self, value: f64) -> Result<Val, E> {
        match self.shape {
            // There is one that is not a number, as in JSON.
            Shape::Float64 => self.plain(Val::Float64(if value.is_nan() { f64::NAN } else { value })),
            Shape::Float32 => match narrow(value) {
                Some(value) => self.plain(Val::Float32(if value.is_nan() { f32::NAN } else { value })),
                None => Err(odd()),
            },
            _ => Err(odd()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Typed<'_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Val, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Typed<'_> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Val, E> {
        match self.shape {
            Shape::Bool => self.plain(Val::Bool(value)),
            _ => Err(odd()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Val, E> {
        self.number(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Val, E> {
        self.number(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Val, E> {
        self.float(value)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<Val, E> {
        let value = match self.shape {
            Shape::String => {
                self.spend(text.len())?;
                return Ok(Self::given(self.is_optional, Val::String(text.to_owned())));
            }
            Shape::Enum(names) => names.iter().find(|name| name.is(text)).map(|name| Val::Enum(name.wit.clone())),
            Shape::Variant(cases) => cases
                .iter()
                .find(|(name, payload)| name.is(text) && payload.is_none())
                .map(|(name, _)| Val::Variant(name.wit.clone(), None)),
            _ => None,
        };
        value.map_or_else(|| Err(odd()), |value| self.plain(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Val, E> {
        // Of an option within another one, null is one level, and which is not for here to say.
        if !self.is_optional {
            return Err(odd());
        }
        spend(self.left, PLAIN_BYTES)?;
        Ok(Val::Option(None))
    }

    fn visit_bytes<E: Error>(mut self, bytes: &[u8]) -> Result<Val, E> {
        let Shape::List(item) = self.shape else { return Err(odd()) };
        let Shape::Int(int) = **item else { return Err(odd()) };
        self.spend(bytes.len().saturating_mul(PLAIN_BYTES))?;
        let values = bytes.iter().map(|byte| whole(int, (*byte).into())).collect::<Option<Vec<_>>>();
        values.map_or_else(|| Err(odd()), |values| Ok(Self::given(self.is_optional, Val::List(values))))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Val, A::Error> {
        self.spend(0)?;
        let Self { shape, left, is_optional } = self;
        let value = match shape {
            Shape::List(item) => {
                let mut values = Vec::with_capacity(items.size_hint().unwrap_or(0).min(ROOM_ITEMS_MAX));
                while let Some(value) = items.next_element_seed(Typed::new(item, left))? {
                    values.push(value);
                }
                Val::List(values)
            }
            Shape::Tuple(shapes) => Val::Tuple(each(shapes.iter(), left, items)?),
            _ => return Err(odd()),
        };
        Ok(Self::given(is_optional, value))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, entries: A) -> Result<Val, A::Error> {
        self.spend(0)?;
        let Shape::Record(names) = self.shape else { return Err(odd()) };
        Ok(Self::given(self.is_optional, Val::Record(fields(names, self.left, entries)?)))
    }
}

/// As many items as there are shapes, one of each.
fn each<'de, 'a, A: SeqAccess<'de>>(
    shapes: impl ExactSizeIterator<Item = &'a Shape>,
    left: &mut usize,
    mut items: A,
) -> Result<Vec<Val>, A::Error> {
    let mut values = Vec::with_capacity(shapes.len());
    for shape in shapes {
        values.push(items.next_element_seed(Typed::new(shape, left))?.ok_or_else(odd)?);
    }
    if items.next_element::<IgnoredAny>()?.is_some() { Err(odd()) } else { Ok(values) }
}

/// All fields of a record, in any order; those that are options may be absent.
fn fields<'de, A: MapAccess<'de>>(
    fields: &[(Name, Shape)],
    left: &mut usize,
    mut entries: A,
) -> Result<Vec<(String, Val)>, A::Error> {
    if fields.len() > FIELDS_MAX {
        return Err(odd());
    }
    let absent = |(name, _): &(Name, Shape)| (name.wit.clone(), Val::Option(None));
    let mut values: Vec<_> = fields.iter().map(absent).collect();
    let (mut given, mut next) = (0_u64, 0);
    while let Some(index) = entries.next_key_seed(Field { fields, next })? {
        if given & (1 << index) != 0 {
            return Err(odd());
        }
        given |= 1 << index;
        values[index].1 = entries.next_value_seed(Typed::new(&fields[index].1, left))?;
        next = index + 1;
    }
    let is_there =
        |(index, (_, shape)): (usize, &(Name, Shape))| given & (1 << index) != 0 || matches!(shape, Shape::Option(_));
    if fields.iter().enumerate().all(is_there) { Ok(values) } else { Err(odd()) }
}

/// The name of a field → its place.
struct Field<'a> {
    fields: &'a [(Name, Shape)],
    /// Which is likely.
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<usize, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Field<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        let is_it = |(name, _): &(Name, Shape)| name.is(text);
        if self.fields.get(self.next).is_some_and(is_it) {
            return Ok(self.next);
        }
        self.fields.iter().position(is_it).ok_or_else(odd)
    }
}

fn spend<E: Error>(left: &mut usize, bytes: usize) -> Result<(), E> {
    *left = left.checked_sub(bytes).ok_or_else(odd)?;
    Ok(())
}
