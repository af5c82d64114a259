//! No, in whatever type it has to be said.
//!
//! Owns the value of each type that is nearest to a refusal: an error, none, an empty list, zero. The invariant: a handle
//! that has to be given stands for nothing.

use wasmtime::component::Val;
use wasmtime::component::types::Type;
use wasmtime::{Result, StoreContextMut, bail};

use super::print::{self, Handle, Printed};
use crate::wasm::instance::CallState;

/// Names of an error that say no, in the order in which they are looked for; without one of them it is the first that there is.
const NOES: [&str; 6] = ["closed", "access", "access-denied", "not-permitted", "unsupported", "not-supported"];

/// The value of type `ty` that is nearest to no.
///
/// # Errors
/// The type is none of WASI 0.2, or as many handles are open as may be.
pub(super) fn nearest(cx: &mut StoreContextMut<'_, CallState>, ty: &Type) -> Result<Val> {
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char('?'),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Record(record) => {
            let fields = record.fields().map(|field| Ok((field.name.to_owned(), nearest(cx, &field.ty)?)));
            Val::Record(fields.collect::<Result<_>>()?)
        }
        Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|ty| nearest(cx, &ty)).collect::<Result<_>>()?),
        Type::Enum(names) => Val::Enum(chosen(&names.names().collect::<Vec<_>>()).to_owned()),
        Type::Variant(variant) => {
            let name = chosen(&variant.cases().map(|case| case.name).collect::<Vec<_>>()).to_owned();
            let payload = variant.cases().find(|case| case.name == name).and_then(|case| case.ty);
            Val::Variant(name, payload.map(|ty| nearest(cx, &ty)).transpose()?.map(Box::new))
        }
        Type::Result(result) => {
            let error = result.err().map(|ty| nearest(cx, &ty)).transpose()?;
            Val::Result(Err(error.map(Box::new)))
        }
        Type::Own(_) => print::open(cx, Handle::new(Printed::Nowhere))?,
        Type::Borrow(_)
        | Type::Map(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::FixedLengthList(_) => bail!("WASI 0.2 gives nothing of this type"),
    })
}

/// The name that says no.
fn chosen<'a>(names: &[&'a str]) -> &'a str {
    let said = NOES.into_iter().find_map(|no| names.iter().find(|name| **name == no));
    said.or(names.first()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_says_no_is_chosen_before_any_other() {
        assert_eq!(chosen(&["last-operation-failed", "closed"]), "closed");
        assert_eq!(chosen(&["access", "would-block", "unsupported"]), "access");
        assert_eq!(chosen(&["unknown", "access-denied"]), "access-denied");
        assert_eq!(chosen(&["a", "b"]), "a");
        assert_eq!(chosen(&[]), "");
    }
}
