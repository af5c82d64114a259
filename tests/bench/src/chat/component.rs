//! The shipped component in a bare wasmtime.
//!
//! Owns a linker with stubs of all that a workload may import, and a typed call. Measures nothing.

use selvedge::shipped::shipped;
use wasmtime::component::{Component, ComponentType, Func, Instance, Lift, Linker, Lower, Resource, ResourceType};
use wasmtime::error::Context as _;
use wasmtime::{Config, Engine, Result, Store};

/// `message` of the WIT.
#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(super) struct Message {
    pub(super) player: u64,
    pub(super) text: String,
}

/// `line` of the WIT.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Line {
    pub(super) player: u64,
    pub(super) end: u32,
}

#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted, not looked at")]
struct Finding {
    index: u32,
    verdict: Verdict,
}

#[derive(Clone, Copy, ComponentType, Lift, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifted, not made here")]
enum Action {
    #[component(name = "allow")]
    Allow,
    #[component(name = "flag")]
    Flag,
    #[component(name = "block")]
    Block,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifted, not looked at")]
enum Class {
    #[component(name = "other")]
    Other,
    #[component(name = "action")]
    Action,
    #[component(name = "implicit")]
    Implicit,
    #[component(name = "explicit")]
    Explicit,
}

#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted, not looked at")]
struct Span {
    start: u32,
    end: u32,
}

#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "lifted, not looked at")]
struct Verdict {
    action: Action,
    class: Class,
    score: f32,
    spans: Vec<Span>,
}

/// A resident instance.
pub(super) struct Chat {
    store: Store<()>,
    moderate: Func,
    screen: Func,
}

impl Chat {
    /// Compiles the component and instantiates it.
    ///
    /// # Errors
    /// The component does not have the shape that is expected here.
    pub(super) fn new() -> anyhow::Result<Self> {
        let (_, wasm) = shipped().into_iter().find(|(name, _)| *name == "chat-moderation").expect("it ships");
        Self::of(wasm).map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    fn of(wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true).concurrency_support(false).epoch_interruption(true);
        config.cranelift_nan_canonicalization(true);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, wasm)?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1_000_000);
        let instance = linker(&engine, &component)?.instantiate(&mut store, &component)?;
        let moderate = function(&mut store, &instance, "moderate")?;
        let screen = function(&mut store, &instance, "screen")?;
        Ok(Self { store, moderate, screen })
    }

    /// How many of `messages` are not allowed.
    ///
    /// # Errors
    /// The guest trapped.
    pub(super) fn moderate(&mut self, messages: &[Message]) -> anyhow::Result<usize> {
        self.call(messages).map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// The same, of lines of one text.
    ///
    /// # Errors
    /// The guest trapped.
    pub(super) fn screen(&mut self, text: &str, lines: &[Line]) -> anyhow::Result<usize> {
        self.call_screen(text, lines).map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    fn call_screen(&mut self, text: &str, lines: &[Line]) -> Result<usize> {
        let screen = self.screen.typed::<(&str, &[Line]), (Vec<Finding>,)>(&self.store)?;
        let (findings,) = screen.call(&mut self.store, (text, lines))?;
        Ok(findings.len())
    }

    fn call(&mut self, messages: &[Message]) -> Result<usize> {
        // Typed at each call: a type that borrows its arguments cannot be kept. The check is of types, not of messages.
        let moderate = self.moderate.typed::<(&[Message],), (Vec<Verdict>,)>(&self.store)?;
        let (verdicts,) = moderate.call(&mut self.store, (messages,))?;
        Ok(verdicts.iter().filter(|verdict| verdict.action != Action::Allow).count())
    }
}

/// Stubs: no configuration, and a counter that takes everything.
fn linker(engine: &Engine, component: &Component) -> Result<Linker<()>> {
    let mut linker = Linker::new(engine);
    linker
        .instance("selvedge:workload/config@0.1.0")?
        .func_wrap("get", |_, (_name,): (String,)| Ok((None::<String>,)))?;
    let mut state = linker.instance("selvedge:workload/state@0.1.0")?;
    state.resource("pncounter", ResourceType::host::<Counter>(), |_, _| Ok(()))?;
    state.func_wrap("[constructor]pncounter", |_, (_name,): (String,)| {
        Ok((Ok::<_, Refused>(Resource::<Counter>::new_own(0)),))
    })?;
    state.func_wrap("[method]pncounter.increment", |_, (_counter, _by): (Resource<Counter>, u64)| {
        Ok((Ok::<(), Refused>(()),))
    })?;
    linker.define_unknown_imports_as_traps(component)?;
    Ok(linker)
}

struct Counter;

/// `error` of the WIT.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "the stub refuses nothing")]
enum Refused {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "invalid-value")]
    InvalidValue(String),
    #[component(name = "too-large")]
    TooLarge(String),
    #[component(name = "overflow")]
    Overflow,
    #[component(name = "limit")]
    Limit(String),
}

fn function(store: &mut Store<()>, instance: &Instance, name: &str) -> Result<Func> {
    let interface = instance
        .get_export_index(&mut *store, None, "selvedge:workload/chat-moderation@0.1.0")
        .context("it exports the interface")?;
    let function = instance.get_export_index(&mut *store, Some(&interface), name).context("and the function")?;
    instance.get_func(store, function).context("it is a function")
}
