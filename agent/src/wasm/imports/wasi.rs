//! WASI for toolchains that insist on it: a machine with nothing on it, on which nothing is allowed.
//!
//! Owns what is answered to the interfaces of WASI 0.2 that compilers and interpreters link whether they use them or not. There
//! are no arguments, variables, files, sockets or terminals; what is printed is logged (`print`); clocks show the call's time
//! and random numbers come from its seed; all else is refused (`no`). Answers are made from a function's own type, so every
//! version of WASI 0.2 is met without its WIT. The invariant: no answer depends on anything but the call.

mod no;
mod print;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, Linker, Resource, ResourceType, Val};
use wasmtime::{Engine, Result, StoreContextMut, bail};

use self::print::{Handle, Printed};
use crate::wasm::instance::{CallState, Stop};

/// The packages that are met. What a guest can only want on purpose, such as `wasi:http`, is refused by name instead.
const PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// The versions that are met. The next one is called in another way.
const VERSIONS: &str = "0.2.";
/// Random bytes for one call of the import: generators take 32 as a seed.
const RANDOM_BYTES_MAX: usize = 4_096;
/// What an output stream takes at once, in bytes.
const PRINT_BYTES: u64 = 4_096;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The nearest to no that its type has.
    No,
    /// A stream whose output is logged.
    Stream(Printed),
    /// That there is room for output.
    Room,
    /// That output was taken; it is the second argument, if there is one.
    Print,
    /// The call's time, in seconds and nanoseconds or in nanoseconds alone.
    Clock,
    /// As many random bytes as are asked for.
    Bytes,
    /// One random number, or a pair of them.
    Numbers,
    /// That all that is waited for is there.
    Ready,
    /// The end of the call.
    Exit,
}

impl Answer {
    fn of(interface: &str, function: &str) -> Self {
        match (interface, function) {
            ("wasi:cli/stdout", _) => Self::Stream(Printed::Out),
            ("wasi:cli/stderr", _) => Self::Stream(Printed::Err),
            ("wasi:cli/exit", _) => Self::Exit,
            ("wasi:clocks/wall-clock" | "wasi:clocks/monotonic-clock", "now") => Self::Clock,
            ("wasi:io/poll", "[method]pollable.ready" | "poll") => Self::Ready,
            ("wasi:io/streams", "[method]output-stream.check-write") => Self::Room,
            (
                "wasi:io/streams",
                "[method]output-stream.write"
                | "[method]output-stream.blocking-write-and-flush"
                | "[method]output-stream.flush"
                | "[method]output-stream.blocking-flush",
            ) => Self::Print,
            ("wasi:random/random", "get-random-bytes") | ("wasi:random/insecure", "get-insecure-random-bytes") => {
                Self::Bytes
            }
            ("wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed", _) => Self::Numbers,
            _ => Self::No,
        }
    }

    fn give(self, mut cx: StoreContextMut<'_, CallState>, ty: &ComponentFunc, args: &[Val]) -> Result<Option<Val>> {
        cx.data_mut().count_host_call()?;
        let handle = taken(&mut cx, args)?;
        let Some(result) = ty.results().next() else {
            return if self == Self::Exit { bail!("the workload wanted to exit") } else { Ok(None) };
        };
        let state = cx.data_mut();
        let millis = state.now.millis();
        let ok = |value: Option<Val>| Val::Result(Ok(value.map(Box::new)));
        let value = match (self, &result) {
            (Self::No, _) => no::nearest(&mut cx, &result)?,
            (Self::Stream(printed), _) => print::open(&mut cx, Handle::new(printed))?,
            (Self::Room, _) => ok(Some(Val::U64(PRINT_BYTES))),
            (Self::Print, _) => {
                if let (Some(handle), Some(Val::List(bytes))) = (handle, args.get(1)) {
                    print::take(state, &handle, bytes)?;
                }
                ok(None)
            }
            (Self::Clock, Type::Record(_)) => Val::Record(vec![
                ("seconds".to_owned(), Val::U64(millis / 1_000)),
                ("nanoseconds".to_owned(), Val::U32(u32::try_from(millis % 1_000 * NANOS_PER_MILLI).unwrap_or(0))),
            ]),
            (Self::Clock, _) => Val::U64(millis.saturating_mul(NANOS_PER_MILLI)),
            (Self::Bytes, _) => random_bytes(state, args)?,
            (Self::Numbers, Type::Tuple(pair)) => {
                Val::Tuple(pair.types().map(|_| Val::U64(state.next_random())).collect())
            }
            (Self::Numbers, _) => Val::U64(state.next_random()),
            (Self::Ready, Type::List(_)) => match args.first() {
                Some(Val::List(waited)) => Val::List((0..).take(waited.len()).map(Val::U32).collect()),
                _ => bail!("`poll` takes a list"),
            },
            (Self::Ready, _) => Val::Bool(true),
            (Self::Exit, _) => bail!("the workload wanted to exit"),
        };
        Ok(Some(value))
    }
}

/// Whether an import of this name is met here.
pub(in crate::wasm) fn is_met(import: &str) -> bool {
    let version = import.split_once('@').map(|(_, version)| version);
    PACKAGES.iter().any(|package| import.starts_with(package)) && version.is_some_and(|own| own.starts_with(VERSIONS))
}

/// Adds to `linker` what `component` imports of WASI.
///
/// # Errors
/// The engine does not take a definition.
pub(in crate::wasm) fn meet(linker: &mut Linker<CallState>, engine: &Engine, component: &Component) -> Result<()> {
    for (name, item) in component.component_type().imports(engine).filter(|(name, _)| is_met(name)) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
        let mut met = linker.instance(name)?;
        for (inner, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let answer = Answer::of(plain, inner);
                    met.func_new(inner, move |cx, ty, args, results| {
                        if let (Some(value), Some(result)) = (answer.give(cx, &ty, args)?, results.first_mut()) {
                            *result = value;
                        }
                        Ok(())
                    })?;
                }
                ComponentItem::Resource(_) => {
                    met.resource(inner, ResourceType::host::<Handle>(), |mut cx, rep| {
                        print::close(cx.data_mut(), Resource::new_own(rep))
                    })?;
                }
                // Other types are part of the functions, and nothing else occurs in WASI.
                ComponentItem::Type(_)
                | ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_) => {}
            }
        }
    }
    Ok(())
}

/// Takes the handles among the arguments, since the engine wants each of them taken; the first is whose method is called.
fn taken(cx: &mut StoreContextMut<'_, CallState>, args: &[Val]) -> Result<Option<Resource<Handle>>> {
    let mut first = None;
    for arg in args {
        let handles = if let Val::List(items) = arg { items.as_slice() } else { std::slice::from_ref(arg) };
        for handle in handles {
            if let Val::Resource(handle) = handle {
                let handle = handle.try_into_resource::<Handle>(&mut *cx)?;
                if handle.owned() {
                    print::close(cx.data_mut(), handle)?;
                } else {
                    first.get_or_insert(handle);
                }
            }
        }
    }
    Ok(first)
}

fn random_bytes(state: &mut CallState, args: &[Val]) -> Result<Val> {
    let limit = RANDOM_BYTES_MAX;
    let Some(Val::U64(count)) = args.first() else { bail!("random bytes are asked for by number") };
    let count = usize::try_from(*count).ok().filter(|count| *count <= limit);
    let count = count.ok_or(Stop::Memory { what: "random bytes at once", limit })?;
    let words = std::iter::repeat_with(|| state.next_random().to_le_bytes());
    Ok(Val::List(words.flatten().take(count).map(Val::U8).collect()))
}
