//! The types of a component's functions, read once when it is loaded.
//!
//! Owns the tree of shapes and its text. Converts no values (`lower.rs` and `lift.rs` do). The invariant: a shape holds
//! only what has a form in JSON; a function with anything else is refused at loading and not at a call.

use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

/// A type, ready to convert values by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Int(Int),
    Float32,
    Float64,
    Char,
    String,
    List(Box<Self>),
    Record(Vec<(Name, Self)>),
    Tuple(Vec<Self>),
    Variant(Vec<(Name, Option<Self>)>),
    Enum(Vec<Name>),
    Option(Box<Self>),
    Result(Option<Box<Self>>, Option<Box<Self>>),
    Flags(Vec<Name>),
}

/// The whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

/// A name in both its spellings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// As in WIT: `t-ms`.
    pub(super) wit: String,
    /// As a record's field in JSON: `t_ms`.
    pub(super) json: String,
}

impl Name {
    pub(super) fn new(wit: &str) -> Self {
        Self { wit: wit.to_owned(), json: wit.replace('-', "_") }
    }

    /// Whether `text` is this name, in either spelling.
    pub(super) fn is(&self, text: &str) -> bool {
        self.wit == text || self.json == text
    }
}

/// The parameters and the result of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) params: Vec<(Name, Shape)>,
    pub(super) result: Option<Shape>,
}

impl Signature {
    /// The signature of something that takes one value and gives nothing.
    pub(super) fn of_one(name: &str, shape: Shape) -> Self {
        Self { params: vec![(Name::new(name), shape)], result: None }
    }

    /// Reads the types of `function`; `left` is how many parts they may have.
    ///
    /// # Errors
    /// What about the function has no form in JSON, or that its types are too large.
    pub(super) fn read(function: &ComponentFunc, left: &mut usize) -> Result<Self, String> {
        if function.async_() {
            return Err("it is asynchronous".to_owned());
        }
        let params = function
            .params()
            .map(|(name, ty)| Ok((Name::new(name), Shape::read(&ty, left)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let result = function.results().map(|ty| Shape::read(&ty, left)).next().transpose()?;
        Ok(Self { params, result })
    }
}

impl Shape {
    fn read(ty: &Type, left: &mut usize) -> Result<Self, String> {
        spend(left, 1)?;
        Ok(match ty {
            Type::Bool => Self::Bool,
            Type::S8 => Self::Int(Int::S8),
            Type::U8 => Self::Int(Int::U8),
            Type::S16 => Self::Int(Int::S16),
            Type::U16 => Self::Int(Int::U16),
            Type::S32 => Self::Int(Int::S32),
            Type::U32 => Self::Int(Int::U32),
            Type::S64 => Self::Int(Int::S64),
            Type::U64 => Self::Int(Int::U64),
            Type::Float32 => Self::Float32,
            Type::Float64 => Self::Float64,
            Type::Char => Self::Char,
            Type::String => Self::String,
            Type::List(list) => Self::List(Self::boxed(&list.ty(), left)?),
            Type::Record(record) => {
                let fields = record.fields().map(|f| Ok((Name::new(f.name), Self::read(&f.ty, left)?)));
                Self::Record(fields.collect::<Result<_, String>>()?)
            }
            Type::Tuple(tuple) => Self::Tuple(tuple.types().map(|ty| Self::read(&ty, left)).collect::<Result<_, _>>()?),
            Type::Variant(variant) => {
                let mut payload = |ty: Option<Type>| ty.map(|ty| Self::read(&ty, left)).transpose();
                let cases = variant.cases().map(|case| Ok((Name::new(case.name), payload(case.ty)?)));
                Self::Variant(cases.collect::<Result<_, String>>()?)
            }
            Type::Enum(cases) => Self::Enum(names(&mut cases.names(), left)?),
            Type::Option(option) => Self::Option(Self::boxed(&option.ty(), left)?),
            Type::Result(result) => {
                let mut side = |ty: Option<Type>| ty.map(|ty| Self::boxed(&ty, left)).transpose();
                Self::Result(side(result.ok())?, side(result.err())?)
            }
            Type::Flags(flags) => Self::Flags(names(&mut flags.names(), left)?),
            Type::Own(_) | Type::Borrow(_) => return Err("it exchanges resources".to_owned()),
            Type::Future(_) | Type::Stream(_) => return Err("it exchanges futures or streams".to_owned()),
            Type::ErrorContext => return Err("it exchanges error contexts".to_owned()),
            Type::Map(_) | Type::FixedLengthList(_) => return Err("it uses a proposal that is off".to_owned()),
        })
    }

    fn boxed(ty: &Type, left: &mut usize) -> Result<Box<Self>, String> {
        Self::read(ty, left).map(Box::new)
    }

    /// The type as WIT would write it, with records and the like spelt out. A component does not keep their names.
    pub(super) fn text(&self) -> String {
        let join = |parts: Vec<String>| parts.join(", ");
        let plain = |names: &[Name]| join(names.iter().map(|name| name.wit.clone()).collect());
        let side = |shape: &Option<Box<Self>>| shape.as_ref().map_or_else(|| "_".to_owned(), |shape| shape.text());
        match self {
            Self::Bool => "bool".to_owned(),
            Self::Int(int) => int.text().to_owned(),
            Self::Float32 => "f32".to_owned(),
            Self::Float64 => "f64".to_owned(),
            Self::Char => "char".to_owned(),
            Self::String => "string".to_owned(),
            Self::List(item) => format!("list<{}>", item.text()),
            Self::Record(fields) => {
                let fields = fields.iter().map(|(name, shape)| format!("{}: {}", name.wit, shape.text()));
                format!("record {{ {} }}", join(fields.collect()))
            }
            Self::Tuple(items) => format!("tuple<{}>", join(items.iter().map(Self::text).collect())),
            Self::Variant(cases) => {
                let cases = cases.iter().map(|(name, payload)| match payload {
                    Some(payload) => format!("{}({})", name.wit, payload.text()),
                    None => name.wit.clone(),
                });
                format!("variant {{ {} }}", join(cases.collect()))
            }
            Self::Enum(cases) => format!("enum {{ {} }}", plain(cases)),
            Self::Option(inner) => format!("option<{}>", inner.text()),
            Self::Result(ok, err) => format!("result<{}, {}>", side(ok), side(err)),
            Self::Flags(flags) => format!("flags {{ {} }}", plain(flags)),
        }
    }
}

fn names(names: &mut dyn Iterator<Item = &str>, left: &mut usize) -> Result<Vec<Name>, String> {
    names.map(|name| spend(left, 1).map(|()| Name::new(name))).collect()
}

/// Counts parts of types before they are spelt out.
fn spend(left: &mut usize, parts: usize) -> Result<(), String> {
    *left = left.checked_sub(parts).ok_or("the types of the component's functions are too large")?;
    Ok(())
}

impl Int {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::S8 => "s8",
            Self::U16 => "u16",
            Self::S16 => "s16",
            Self::U32 => "u32",
            Self::S32 => "s32",
            Self::U64 => "u64",
            Self::S64 => "s64",
        }
    }

    /// The least and the greatest value.
    pub(super) const fn range(self) -> (i128, i128) {
        match self {
            Self::U8 => (0, u8::MAX as i128),
            Self::S8 => (i8::MIN as i128, i8::MAX as i128),
            Self::U16 => (0, u16::MAX as i128),
            Self::S16 => (i16::MIN as i128, i16::MAX as i128),
            Self::U32 => (0, u32::MAX as i128),
            Self::S32 => (i32::MIN as i128, i32::MAX as i128),
            Self::U64 => (0, u64::MAX as i128),
            Self::S64 => (i64::MIN as i128, i64::MAX as i128),
        }
    }

    pub(super) const fn is_64_bits(self) -> bool {
        matches!(self, Self::U64 | Self::S64)
    }
}
