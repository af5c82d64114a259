//! wasmtime by itself: the engine's allocator and its typed calls, and nothing of the host around them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow};
use selvedge_sync::change::Change;
use selvedge_sync::draft::{Count, Draft};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;
use wasmtime::component::{
    Component, ComponentNamedList, HasSelf, Instance as Guest, InstancePre, Lift, Linker, Lower, Resource,
    ResourceTable, TypedFunc,
};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result as Wasm, Store};

use selvedge::wasm::EmptyState;

pub(super) use bindings::exports::selvedge::workload::combat;

#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated from documented WIT")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../workloads/wit",
        world: "combat-workload",
        imports: { default: trappable },
        with: {
            "selvedge:workload/state.gcounter": super::Handle,
            "selvedge:workload/state.pncounter": super::Handle,
            "selvedge:workload/state.gset": super::Handle,
            "selvedge:workload/state.orset": super::Handle,
            "selvedge:workload/state.lwwmap": super::Handle,
        },
    });
}

use bindings::selvedge::workload as wit;
use wit::state::{self, Error};

/// A component, compiled and tied.
pub(super) struct Bare {
    engine: Engine,
    pre: InstancePre<State>,
}

/// One instance in a store of its own.
pub(super) struct Instance {
    pub(super) store: Store<State>,
    guest: Guest,
}

/// What the guest's imports work on.
pub(super) struct State {
    pub(super) draft: Draft<EmptyState>,
    handles: ResourceTable,
    /// Takes each name in turn.
    name: String,
}

/// A key of the state.
pub struct Handle(Key);

/// The engine's errors are no errors of the standard library.
pub(super) fn said<T>(result: Wasm<T>) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}"))
}

impl Bare {
    pub(super) fn new(wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        config.concurrency_support(false).cranelift_nan_canonicalization(true);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(64).total_memories(64).total_tables(128).linear_memory_keep_resident(64 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = said(Engine::new(&config))?;
        let mut linker = Linker::new(&engine);
        said(bindings::CombatWorkload::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state))?;
        let pre = said(linker.instantiate_pre(&said(Component::new(&engine, wasm))?))?;
        Ok(Self { engine, pre })
    }

    pub(super) fn instance(&self) -> Result<Instance> {
        let state = State { draft: Draft::new(EmptyState), handles: ResourceTable::new(), name: String::new() };
        let mut store = Store::new(&self.engine, state);
        let guest = said(self.pre.instantiate(&mut store))?;
        Ok(Instance { store, guest })
    }
}

impl Instance {
    pub(super) fn function<P, R>(&mut self, interface: Option<&str>, name: &str) -> Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let parent = interface
            .map(|name| self.guest.get_export_index(&mut self.store, None, name))
            .map(|found| found.with_context(|| format!("no interface {}", interface.unwrap_or_default())));
        let parent = parent.transpose()?;
        let index = self.guest.get_export_index(&mut self.store, parent.as_ref(), name);
        let index = index.with_context(|| format!("no function {name}"))?;
        said(self.guest.get_typed_func(&mut self.store, index))
    }
}

impl State {
    fn open(&mut self, kind: Kind, name: &str) -> Wasm<Result<Resource<Handle>, Error>> {
        match Key::new(kind, name) {
            Ok(key) => Ok(Ok(self.handles.push(Handle(key))?)),
            Err(error) => Ok(Err(Error::InvalidName(error.to_string()))),
        }
    }

    fn change(&mut self, handle: &Resource<Handle>, change: Change) -> Wasm<Result<(), Error>> {
        let key = &self.handles.get(handle)?.0;
        Ok(self.draft.change(key, change).map_err(|error| Error::InvalidValue(error.to_string())))
    }

    fn close(&mut self, handle: Resource<Handle>) -> Wasm<()> {
        self.handles.delete(handle)?;
        Ok(())
    }
}

impl State {
    fn count(&mut self, kind: Kind, family: &str, id: u64, by: Count) -> Result<(), Error> {
        self.name.clear();
        write!(self.name, "{family}{id}").map_err(|error| Error::InvalidName(error.to_string()))?;
        let key = Key::new(kind, &self.name).map_err(|error| Error::InvalidName(error.to_string()))?;
        self.draft.count(key, by).map_err(|error| Error::InvalidValue(error.to_string()))
    }
}

/// What a list of changes gives, if none is refused; the index is not what is measured.
fn listed(done: Result<(), Error>) -> Wasm<Result<(), state::Refusal>> {
    Ok(done.map_err(|error| state::Refusal { index: 0, error }))
}

impl state::Host for State {
    fn increment_gcounters(
        &mut self,
        family: String,
        changes: Vec<state::GcounterChange>,
    ) -> Wasm<Result<(), state::Refusal>> {
        let count = |change: &state::GcounterChange| Count { up: change.increment, ..Count::default() };
        listed(changes.iter().try_for_each(|change| self.count(Kind::GCounter, &family, change.id, count(change))))
    }
    fn change_pncounters(
        &mut self,
        family: String,
        changes: Vec<state::PncounterChange>,
    ) -> Wasm<Result<(), state::Refusal>> {
        let count = |change: &state::PncounterChange| Count {
            initial: change.initial,
            up: change.increment,
            down: change.decrement,
        };
        listed(changes.iter().try_for_each(|change| self.count(Kind::PnCounter, &family, change.id, count(change))))
    }
    fn gcounter_values(&mut self, _: String, _: Vec<u64>) -> Wasm<Result<Vec<Option<u64>>, state::Refusal>> {
        unreachable!("combat does not ask")
    }
    fn pncounter_values(&mut self, _: String, _: Vec<u64>) -> Wasm<Result<Vec<Option<i64>>, state::Refusal>> {
        unreachable!("combat does not ask")
    }
}

impl state::HostGcounter for State {
    fn new(&mut self, name: String) -> Wasm<Result<Resource<Handle>, Error>> {
        self.open(Kind::GCounter, &name)
    }
    fn exists(&mut self, handle: Resource<Handle>) -> Wasm<bool> {
        Ok(self.draft.counter(&self.handles.get(&handle)?.0).is_some())
    }
    fn increment(&mut self, handle: Resource<Handle>, by: u64) -> Wasm<Result<(), Error>> {
        self.change(&handle, Change::Increment(by))
    }
    fn value(&mut self, _: Resource<Handle>) -> Wasm<u64> {
        unreachable!("combat does not ask")
    }
    fn drop(&mut self, handle: Resource<Handle>) -> Wasm<()> {
        self.close(handle)
    }
}

impl state::HostPncounter for State {
    fn new(&mut self, name: String) -> Wasm<Result<Resource<Handle>, Error>> {
        self.open(Kind::PnCounter, &name)
    }
    fn exists(&mut self, handle: Resource<Handle>) -> Wasm<bool> {
        Ok(self.draft.counter(&self.handles.get(&handle)?.0).is_some())
    }
    fn increment(&mut self, handle: Resource<Handle>, by: u64) -> Wasm<Result<(), Error>> {
        self.change(&handle, Change::Increment(by))
    }
    fn decrement(&mut self, handle: Resource<Handle>, by: u64) -> Wasm<Result<(), Error>> {
        self.change(&handle, Change::Decrement(by))
    }
    fn value(&mut self, _: Resource<Handle>) -> Wasm<i64> {
        unreachable!("combat does not ask")
    }
    fn drop(&mut self, handle: Resource<Handle>) -> Wasm<()> {
        self.close(handle)
    }
}

impl state::HostLwwmap for State {
    fn new(&mut self, name: String) -> Wasm<Result<Resource<Handle>, Error>> {
        self.open(Kind::LwwMap, &name)
    }
    fn put(&mut self, handle: Resource<Handle>, entries: Vec<(String, state::Scalar)>) -> Wasm<Result<(), Error>> {
        let entries = entries.into_iter().map(|(field, value)| match value {
            state::Scalar::Integer(value) => (field, Scalar::Int(value)),
            _ => unreachable!("combat writes whole numbers"),
        });
        let entries = entries.collect();
        self.change(&handle, Change::Put(entries))
    }
    fn remove(&mut self, _: Resource<Handle>, _: Vec<String>) -> Wasm<Result<(), Error>> {
        unreachable!("combat removes nothing")
    }
    fn get(&mut self, _: Resource<Handle>, _: String) -> Wasm<Option<state::Scalar>> {
        unreachable!("combat does not ask")
    }
    fn entries(&mut self, _: Resource<Handle>) -> Wasm<Vec<(String, state::Scalar)>> {
        unreachable!("combat does not ask")
    }
    fn drop(&mut self, handle: Resource<Handle>) -> Wasm<()> {
        self.close(handle)
    }
}

impl state::HostGset for State {
    fn new(&mut self, _: String) -> Wasm<Result<Resource<Handle>, Error>> {
        unreachable!("combat has no sets")
    }
    fn add(&mut self, _: Resource<Handle>, _: Vec<state::Scalar>) -> Wasm<Result<(), Error>> {
        unreachable!("combat has no sets")
    }
    fn contains(&mut self, _: Resource<Handle>, _: state::Scalar) -> Wasm<bool> {
        unreachable!("combat has no sets")
    }
    fn members(&mut self, _: Resource<Handle>) -> Wasm<Vec<state::Scalar>> {
        unreachable!("combat has no sets")
    }
    fn drop(&mut self, handle: Resource<Handle>) -> Wasm<()> {
        self.close(handle)
    }
}

impl state::HostOrset for State {
    fn new(&mut self, _: String) -> Wasm<Result<Resource<Handle>, Error>> {
        unreachable!("combat has no sets")
    }
    fn add(&mut self, _: Resource<Handle>, _: Vec<state::Scalar>) -> Wasm<Result<(), Error>> {
        unreachable!("combat has no sets")
    }
    fn remove(&mut self, _: Resource<Handle>, _: Vec<state::Scalar>) -> Wasm<Result<(), Error>> {
        unreachable!("combat has no sets")
    }
    fn contains(&mut self, _: Resource<Handle>, _: state::Scalar) -> Wasm<bool> {
        unreachable!("combat has no sets")
    }
    fn members(&mut self, _: Resource<Handle>) -> Wasm<Vec<state::Scalar>> {
        unreachable!("combat has no sets")
    }
    fn drop(&mut self, handle: Resource<Handle>) -> Wasm<()> {
        self.close(handle)
    }
}

impl wit::log::Host for State {
    fn write(&mut self, _: wit::log::Level, _: String) -> Wasm<()> {
        Ok(())
    }
}

impl wit::clock::Host for State {
    fn now(&mut self) -> Wasm<wit::clock::HybridTime> {
        Ok(wit::clock::HybridTime { millis: 1_800_000_000_000, counter: 0 })
    }
}

impl wit::random::Host for State {
    fn seed(&mut self) -> Wasm<u64> {
        Ok(7)
    }
    fn next(&mut self) -> Wasm<u64> {
        Ok(7)
    }
}

impl wit::config::Host for State {
    fn get(&mut self, _: String) -> Wasm<Option<String>> {
        Ok(None)
    }
}

impl wit::assets::Host for State {
    fn size(&mut self, _: String) -> Wasm<Option<u64>> {
        Ok(None)
    }
    fn is_cached(&mut self, _: String) -> Wasm<bool> {
        Ok(false)
    }
    fn preload(&mut self, _: String) -> Wasm<bool> {
        Ok(false)
    }
}

impl wit::fault::Host for State {
    fn invalid(&mut self, field: String, message: String) -> Wasm<()> {
        Err(wasmtime::Error::msg(format!("{field}: {message}")))
    }
}
