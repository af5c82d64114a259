//! JSON arguments → the values that a function takes.
//!
//! Owns every check of an argument's type, each with the path of the value at fault. Knows no function in particular. The
//! invariant: what comes out fits the function's types exactly, so the engine's own check cannot fail.
//!
//! | WIT | JSON |
//! | --- | --- |
//! | whole numbers | a number without fraction, in range; the 64-bit ones as decimal text too |
//! | f32, f64 | a number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | record | an object; names in `snake_case` (or as in WIT); a field of type option may be absent |
//! | enum, variant without payload | its name as text |
//! | variant with payload | `{"name": payload}` |
//! | option | `null` or the value; within another option, `{"some": value}` |
//! | result | `{"ok": value}` or `{"err": value}`, `null` where there is no payload |
//! | flags | an array of names |
//! | list, tuple | an array |

use serde_json::{Map, Value};
use wasmtime::component::Val;

use super::error::CallError;
use super::shape::{Int, Name, Shape, Signature};

/// Names listed in one error, at most: a longer list helps nobody.
const NAMES_LISTED_MAX: usize = 16;
/// What a value without a length counts for against the size limit, in bytes.
pub(super) const PLAIN_BYTES: usize = 8;

/// Converts the arguments of one call: an array in the order of the parameters, or an object by their names.
pub(super) fn arguments(signature: &Signature, args: &Value, limit_bytes: usize) -> Result<Vec<Val>, CallError> {
    let mut lowering = Lowering { left: limit_bytes, limit_bytes };
    let params = &signature.params;
    match args {
        Value::Array(items) if items.len() == params.len() => params
            .iter()
            .zip(items)
            .map(|((name, shape), item)| lowering.value(shape, item, &Path::Root(&name.json)))
            .collect(),
        Value::Array(items) => Err(wrong_count(params, items.len())),
        Value::Object(object) => {
            lowering.fields(params, object, None).map(|fields| fields.into_iter().map(|(_, v)| v).collect())
        }
        Value::Null if params.is_empty() => Ok(Vec::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(CallError::Argument {
            field: String::new(),
            message: format!("the arguments are an array, or an object by parameter name, not {}", kind(args)),
        }),
    }
}

fn wrong_count(params: &[(Name, Shape)], given: usize) -> CallError {
    let names: Vec<_> = params.iter().map(|(name, _)| name.json.as_str()).collect();
    let field = names.get(given).map_or_else(String::new, |name| (*name).to_owned());
    let message = match names.len() {
        0 => format!("the function takes no arguments, {given} were given"),
        count => format!("the function takes {count} ({}), {given} were given", names.join(", ")),
    };
    CallError::Argument { field, message }
}

/// Where a value stands; made into text only when something is wrong with it.
enum Path<'a> {
    Root(&'a str),
    Field(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        match self {
            Self::Root(name) => (*name).to_owned(),
            Self::Field(parent, name) => format!("{}.{name}", parent.text()),
            Self::Item(parent, index) => format!("{}[{index}]", parent.text()),
        }
    }

    fn wrong(&self, message: impl Into<String>) -> CallError {
        CallError::Argument { field: self.text(), message: message.into() }
    }
}

struct Lowering {
    left: usize,
    limit_bytes: usize,
}

impl Lowering {
    fn spend(&mut self, bytes: usize) -> Result<(), CallError> {
        self.left =
            self.left.checked_sub(bytes).ok_or(CallError::ArgumentsTooLarge { limit_bytes: self.limit_bytes })?;
        Ok(())
    }

    fn value(&mut self, shape: &Shape, json: &Value, path: &Path<'_>) -> Result<Val, CallError> {
        self.spend(PLAIN_BYTES)?;
        let expected = |what: &str| path.wrong(format!("must be {what}, not {}", kind(json)));
        match shape {
            Shape::Bool => json.as_bool().map(Val::Bool).ok_or_else(|| expected("true or false")),
            Shape::Int(int) => whole_number(*int, json, path),
            Shape::Float32 => {
                let value = float(json, path)?;
                let narrow = narrow(value).ok_or_else(|| path.wrong(format!("{value} is out of range for f32")))?;
                Ok(Val::Float32(narrow))
            }
            Shape::Float64 => float(json, path).map(Val::Float64),
            Shape::Char => {
                let mut chars = json.as_str().ok_or_else(|| expected("one character as text"))?.chars();
                match (chars.next(), chars.next()) {
                    (Some(only), None) => Ok(Val::Char(only)),
                    (None, _) | (Some(_), Some(_)) => Err(path.wrong("must be exactly one character")),
                }
            }
            Shape::String => {
                let text = json.as_str().ok_or_else(|| expected("text"))?;
                self.spend(text.len())?;
                Ok(Val::String(text.to_owned()))
            }
            Shape::List(item) => {
                let items = json.as_array().ok_or_else(|| expected("an array"))?;
                let items = items.iter().enumerate();
                items
                    .map(|(i, json)| self.value(item, json, &Path::Item(path, i)))
                    .collect::<Result<_, _>>()
                    .map(Val::List)
            }
            Shape::Tuple(shapes) => self.tuple(shapes, json, path),
            Shape::Record(fields) => {
                let object = json.as_object().ok_or_else(|| expected("an object"))?;
                self.fields(fields, object, Some(path)).map(Val::Record)
            }
            Shape::Variant(cases) => self.variant(cases, json, path),
            Shape::Enum(names) => {
                let text = json.as_str().ok_or_else(|| expected(&one_of(names.iter())))?;
                let name = names.iter().find(|name| name.is(text)).ok_or_else(|| unknown(text, names.iter(), path))?;
                Ok(Val::Enum(name.wit.clone()))
            }
            Shape::Option(inner) => self.option(inner, json, path),
            Shape::Result(ok, err) => self.result(ok.as_deref(), err.as_deref(), json, path),
            Shape::Flags(names) => flags(names, json, path),
        }
    }

    /// The fields of a record, or the parameters of a function (which have no parent).
    fn fields(
        &mut self,
        fields: &[(Name, Shape)],
        object: &Map<String, Value>,
        parent: Option<&Path<'_>>,
    ) -> Result<Vec<(String, Val)>, CallError> {
        let at = |name: &str, then: &mut dyn FnMut(&Path<'_>) -> Result<Val, CallError>| match parent {
            Some(parent) => then(&Path::Field(parent, name)),
            None => then(&Path::Root(name)),
        };
        let mut used = 0;
        let mut values = Vec::with_capacity(fields.len());
        for (name, shape) in fields {
            let given = object.get(&name.json).or_else(|| object.get(&name.wit));
            used += usize::from(given.is_some());
            let value = at(&name.json, &mut |path| match (given, shape) {
                (Some(json), shape) => self.value(shape, json, path),
                (None, Shape::Option(_)) => Ok(Val::Option(None)),
                (None, shape) => Err(path.wrong(format!("is missing; it is of type {}", shape.text()))),
            })?;
            values.push((name.wit.clone(), value));
        }
        if used == object.len() {
            return Ok(values);
        }
        let stranger = object.keys().find(|key| !fields.iter().any(|(name, _)| name.is(key)));
        let (field, why) = match stranger {
            Some(stranger) => {
                (stranger.as_str(), format!("is unknown; there are: {}", list(fields.iter().map(|(n, _)| n))))
            }
            None => ("", "a field is given twice, in both spellings".to_owned()),
        };
        let field: String = field.chars().take(80).collect();
        if let (true, Some(parent)) = (field.is_empty(), parent) {
            return Err(parent.wrong(why));
        }
        at(&field, &mut |path| Err(path.wrong(why.clone()))).map(|_| values)
    }

    fn tuple(&mut self, shapes: &[Shape], json: &Value, path: &Path<'_>) -> Result<Val, CallError> {
        match json.as_array() {
            Some(items) if items.len() == shapes.len() => {
                let pairs = shapes.iter().zip(items).enumerate();
                pairs
                    .map(|(i, (shape, json))| self.value(shape, json, &Path::Item(path, i)))
                    .collect::<Result<_, _>>()
                    .map(Val::Tuple)
            }
            Some(items) => Err(path.wrong(format!("must have {} items, not {}", shapes.len(), items.len()))),
            None => Err(path.wrong(format!("must be an array of {} items, not {}", shapes.len(), kind(json)))),
        }
    }

    fn variant(&mut self, cases: &[(Name, Option<Shape>)], json: &Value, path: &Path<'_>) -> Result<Val, CallError> {
        let names = || cases.iter().map(|(name, _)| name);
        let (text, payload) = match json {
            Value::String(text) => (text.as_str(), None),
            Value::Object(object) if object.len() == 1 => {
                let (name, payload) = object.iter().next().expect("the object has one entry");
                (name.as_str(), Some(payload))
            }
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                let form = format!("{} as text, or an object with it as the only field", one_of(names()));
                return Err(path.wrong(format!("must be {form}, not {}", kind(json))));
            }
        };
        let (name, shape) = cases.iter().find(|(name, _)| name.is(text)).ok_or_else(|| unknown(text, names(), path))?;
        let value = match (shape, payload) {
            (Some(shape), Some(payload)) => Some(self.value(shape, payload, &Path::Field(path, text))?),
            (None, None | Some(Value::Null)) => None,
            (Some(shape), None) => {
                return Err(path.wrong(format!("`{text}` needs a value: {{\"{text}\": …}} of type {}", shape.text())));
            }
            (None, Some(_)) => return Err(path.wrong(format!("`{text}` takes no value"))),
        };
        Ok(Val::Variant(name.wit.clone(), value.map(Box::new)))
    }

    fn option(&mut self, inner: &Shape, json: &Value, path: &Path<'_>) -> Result<Val, CallError> {
        if json.is_null() {
            return Ok(Val::Option(None));
        }
        // `null` alone cannot tell the two levels of an option of an option apart.
        let value = match (inner, json) {
            (Shape::Option(_), Value::Object(object)) if object.len() == 1 && object.contains_key("some") => {
                self.value(inner, &object["some"], &Path::Field(path, "some"))?
            }
            (Shape::Option(_), _) => return Err(path.wrong("must be null or {\"some\": …}")),
            (inner, json) => self.value(inner, json, path)?,
        };
        Ok(Val::Option(Some(Box::new(value))))
    }

    fn result(
        &mut self,
        ok: Option<&Shape>,
        err: Option<&Shape>,
        json: &Value,
        path: &Path<'_>,
    ) -> Result<Val, CallError> {
        let mut side = |shape: Option<&Shape>, json: &Value, name: &str| match (shape, json) {
            (Some(shape), json) => self.value(shape, json, &Path::Field(path, name)).map(|value| Some(Box::new(value))),
            (None, Value::Null) => Ok(None),
            (None, _) => Err(path.wrong(format!("`{name}` takes no value but null"))),
        };
        let object = json.as_object().filter(|object| object.len() == 1);
        match object.and_then(|object| object.iter().next()) {
            Some((name, json)) if name == "ok" => Ok(Val::Result(Ok(side(ok, json, "ok")?))),
            Some((name, json)) if name == "err" => Ok(Val::Result(Err(side(err, json, "err")?))),
            Some(_) | None => Err(path.wrong("must be {\"ok\": …} or {\"err\": …}")),
        }
    }
}

fn whole_number(int: Int, json: &Value, path: &Path<'_>) -> Result<Val, CallError> {
    let (low, high) = int.range();
    let wanted = || format!("must be a whole number from {low} to {high} ({})", int.text());
    let value = match json {
        Value::Number(number) => number.as_i128(),
        Value::String(text) if int.is_64_bits() => text.parse::<i128>().ok(),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            return Err(path.wrong(format!("{}, not {}", wanted(), kind(json))));
        }
    };
    let out = || path.wrong(format!("{}, not {json}", wanted()));
    value.and_then(|value| whole(int, value)).ok_or_else(out)
}

/// A whole number as this type, unless it is out of its range: each conversion fails exactly there.
pub(super) fn whole(int: Int, value: i128) -> Option<Val> {
    match int {
        Int::U8 => u8::try_from(value).ok().map(Val::U8),
        Int::S8 => i8::try_from(value).ok().map(Val::S8),
        Int::U16 => u16::try_from(value).ok().map(Val::U16),
        Int::S16 => i16::try_from(value).ok().map(Val::S16),
        Int::U32 => u32::try_from(value).ok().map(Val::U32),
        Int::S32 => i32::try_from(value).ok().map(Val::S32),
        Int::U64 => u64::try_from(value).ok().map(Val::U64),
        Int::S64 => i64::try_from(value).ok().map(Val::S64),
    }
}

fn float(json: &Value, path: &Path<'_>) -> Result<f64, CallError> {
    match json {
        Value::Number(number) => number.as_f64().ok_or_else(|| path.wrong("must be a number")),
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(path.wrong("must be a number, not text")),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(path.wrong(format!("must be a number, not {}", kind(json))))
        }
    }
}

/// The nearest f32, unless the number is beyond all of them.
pub(super) fn narrow(value: f64) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what f32 means; overflow is checked")]
    let narrow = value as f32;
    (narrow.is_finite() || !value.is_finite()).then_some(narrow)
}

fn flags(names: &[Name], json: &Value, path: &Path<'_>) -> Result<Val, CallError> {
    let items = json.as_array().ok_or_else(|| path.wrong(format!("must be an array of names, not {}", kind(json))))?;
    let mut set = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = Path::Item(path, index);
        let text =
            item.as_str().ok_or_else(|| path.wrong(format!("must be {}, not {}", one_of(names.iter()), kind(item))))?;
        let name = names.iter().find(|name| name.is(text)).ok_or_else(|| unknown(text, names.iter(), &path))?;
        if !set.contains(&name.wit) {
            set.push(name.wit.clone());
        }
    }
    Ok(Val::Flags(set))
}

fn unknown<'a>(text: &str, names: impl Iterator<Item = &'a Name>, path: &Path<'_>) -> CallError {
    let text: String = text.chars().take(80).collect();
    path.wrong(format!("must be {}, not `{text}`", one_of(names)))
}

fn one_of<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    format!("one of {}", list(names))
}

fn list<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let mut names: Vec<_> = names.take(NAMES_LISTED_MAX + 1).map(|name| name.json.as_str()).collect();
    if names.len() > NAMES_LISTED_MAX {
        names[NAMES_LISTED_MAX] = "…";
    }
    names.join(", ")
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
