//! What the operator of a host and the deployer of a workload set.

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value;

use super::code::CompileConfig;
use super::limits::Limits;
use crate::spec::Spec;

/// The host's own bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmConfig {
    /// Threads that run guests.
    pub workers: usize,
    /// Calls that may run on the threads that ask for them, past the workers, while their workloads are quick. At most half of
    /// the threads that the agent's own work has, so that a guest that turns slow holds up no more than that.
    pub in_place: usize,
    /// Calls of one workload that may wait for a worker; further ones are answered as busy.
    pub queue_per_workload: usize,
    /// Instances of all workloads at one time; idle ones give way to those that are needed. Each reserves some 4 GiB of address space, but memory only as it is used.
    pub instances: u32,
    /// The most memory that any workload's limit may allow, in bytes.
    pub memory_bytes: usize,
    /// How components are compiled, and what is kept of it.
    pub compile: CompileConfig,
}

impl Default for WasmConfig {
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (memory_bytes, compile) = (64 * 1024 * 1024, CompileConfig::default());
        Self { workers, in_place: workers / 2, queue_per_workload: 256, instances: 64, memory_bytes, compile }
    }
}

/// What an operator sets for one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Its limits; what exceeds the host's own is lowered to it.
    pub limits: Limits,
    /// What it reads through the import `config`.
    pub config: BTreeMap<String, String>,
    /// What a call is answered that runs out of time or finds no place, by function; those without an entry get the error.
    pub on_overrun: BTreeMap<String, Value>,
}

impl LoadOptions {
    /// What a spec says of this.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        Self { limits: spec.limits.into(), config: spec.config.clone(), on_overrun: spec.on_overrun.clone() }
    }
}

impl<L: Into<Limits>> From<L> for LoadOptions {
    fn from(limits: L) -> Self {
        Self { limits: limits.into(), ..Self::default() }
    }
}
