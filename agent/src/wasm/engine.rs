//! The engine: how guests are compiled and where their memory comes from.
//!
//! Owns the engine's configuration and the linker with all that is offered to guests. The invariants: a proposal that no
//! workload needs is off; the same component computes the same on every host (no relaxed SIMD, canonical NaNs); and the
//! address space for instances is reserved once, bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::WasmConfig;
use super::error::WasmError;
use super::imports;
use super::instance::CallState;

/// A component of ours is one core module and the shims that `wit-component` puts around it.
const CORE_INSTANCES_PER_COMPONENT: u32 = 8;
/// Native stack of a guest, in bytes. The workers' threads have room for it.
const GUEST_STACK_BYTES: usize = 512 * 1024;
/// Memory of a warm instance that stays resident when its slot is free, in bytes: cheaper than faulting it in again.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// Compiled metadata of one instance, in bytes.
const INSTANCE_BYTES_MAX: usize = 1024 * 1024;
/// The most table elements that any workload may have.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Why a component is refused that was linked from several, as by `componentize-qjs`.
const SEVERAL_MEMORIES: &str = "it holds several components with a memory each, and an instance has one memory here";

/// The engine that runs guests.
pub(super) fn engine(config: &WasmConfig) -> Result<Engine, WasmError> {
    let mut settings = settings();
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    Engine::new(&settings).map_err(|error| WasmError::Engine(format!("{error:#}")))
}

/// An engine that only compiles: its code is the other engine's, but it reserves no room for instances.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(&settings())
}

/// Compiles a component to native code. The engine panics over some components that it cannot take; that is their fault, and costs
/// nobody but whoever deploys one.
///
/// # Errors
/// Why the component does not compile.
pub(super) fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, String> {
    match catch_unwind(AssertUnwindSafe(|| engine.precompile_component(wasm))) {
        Ok(compiled) => compiled.map_err(|error| format!("{error:#}")),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(match said {
                // What passes texts between two components copies from memory to memory, in a module that has both.
                Some(said) if said.contains("multiple memories") => SEVERAL_MEMORIES.to_owned(),
                said => format!("the compiler cannot take it: {}", said.unwrap_or("it does not say why")),
            })
        }
    }
}

/// What decides which code comes out, the same for both engines.
fn settings() -> Config {
    let mut settings = Config::new();
    settings.wasm_component_model(true).concurrency_support(false).epoch_interruption(true);
    settings.wasm_relaxed_simd(false).relaxed_simd_deterministic(true).cranelift_nan_canonicalization(true);
    settings.wasm_memory64(false).wasm_multi_memory(false).wasm_tail_call(false).wasm_wide_arithmetic(false);
    settings.wasm_custom_page_sizes(false).max_wasm_stack(GUEST_STACK_BYTES);
    settings
}

fn pool(config: &WasmConfig) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let instances = config.instances;
    let core_instances = instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT);
    pool.total_component_instances(instances)
        .total_core_instances(core_instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(1)
        .max_tables_per_component(2)
        .max_memories_per_module(1)
        .max_memory_size(config.memory_bytes)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES);
    pool
}

/// The linker with every interface of the world `imports`.
pub(super) fn linker(engine: &Engine) -> Result<Linker<CallState>, WasmError> {
    let mut linker = Linker::new(engine);
    imports::Imports::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)
        .map_err(|error| WasmError::Engine(format!("{error:#}")))?;
    Ok(linker)
}
