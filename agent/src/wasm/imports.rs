//! What a guest may call: the interfaces of the world `imports`.
//!
//! Owns the bindings and the small interfaces; `state.rs` holds the large one and `families.rs` its lists, `wasi.rs` what is said to toolchains that want
//! more. The invariants: every host call is counted
//! before it does anything; none blocks; none reads a clock or an entropy source, so a call can be replayed.

mod families;
mod state;
pub(super) mod wasi;

use wasmtime::Result;

use super::instance::{CallState, Stop};

pub(super) use bindings::Imports;
#[expect(unreachable_pub, reason = "the generated bindings re-export them")]
pub use state::{GCounter, GSet, LwwMap, OrSet, PnCounter};

/// The interfaces on offer, without their version.
pub(super) const OFFERED: [&str; 7] = [
    "selvedge:workload/state",
    "selvedge:workload/log",
    "selvedge:workload/clock",
    "selvedge:workload/random",
    "selvedge:workload/config",
    "selvedge:workload/assets",
    "selvedge:workload/fault",
];

/// A fault's field and message, in bytes: enough to name a value, too little to carry one.
const FAULT_BYTES_MAX: usize = 512;

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    reason = "generated from documented WIT"
)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../workloads/wit",
        world: "imports",
        imports: { default: trappable },
        with: {
            "selvedge:workload/state.gcounter": super::GCounter,
            "selvedge:workload/state.pncounter": super::PnCounter,
            "selvedge:workload/state.gset": super::GSet,
            "selvedge:workload/state.orset": super::OrSet,
            "selvedge:workload/state.lwwmap": super::LwwMap,
        },
    });
}

use bindings::selvedge::workload as wit;

impl wit::log::Host for CallState {
    fn write(&mut self, level: wit::log::Level, message: String) -> Result<()> {
        self.count_host_call()?;
        self.tell(level, &message);
        Ok(())
    }
}

impl CallState {
    /// Writes a line to the agent's log, if the call may write another one.
    fn tell(&mut self, level: wit::log::Level, message: &str) {
        if !self.take_log_line() {
            return;
        }
        let (workload, line) = (&*self.workload, clipped(message, self.limits.log_line_bytes));
        match level {
            wit::log::Level::Debug => tracing::debug!(target: "selvedge::guest", workload, "{line}"),
            wit::log::Level::Info => tracing::info!(target: "selvedge::guest", workload, "{line}"),
            wit::log::Level::Warn => tracing::warn!(target: "selvedge::guest", workload, "{line}"),
            wit::log::Level::Error => tracing::error!(target: "selvedge::guest", workload, "{line}"),
        }
    }
}

impl wit::clock::Host for CallState {
    fn now(&mut self) -> Result<wit::clock::HybridTime> {
        self.count_host_call()?;
        let now = self.now;
        let counter = u16::try_from(now.counter()).unwrap_or(u16::MAX);
        Ok(wit::clock::HybridTime { millis: now.millis(), counter })
    }
}

impl wit::random::Host for CallState {
    fn seed(&mut self) -> Result<u64> {
        self.count_host_call()?;
        Ok(self.seed)
    }

    fn next(&mut self) -> Result<u64> {
        self.count_host_call()?;
        Ok(self.next_random())
    }
}

impl wit::config::Host for CallState {
    fn get(&mut self, name: String) -> Result<Option<String>> {
        self.count_host_call()?;
        Ok(self.config.get(&name).cloned())
    }
}

impl wit::assets::Host for CallState {
    fn size(&mut self, digest: String) -> Result<Option<u64>> {
        self.count_host_call()?;
        Ok(digest.parse().ok().and_then(|digest| self.draft.base_mut().asset_size(&digest)))
    }

    fn is_cached(&mut self, digest: String) -> Result<bool> {
        self.size(digest).map(|size| size.is_some())
    }

    fn preload(&mut self, digest: String) -> Result<bool> {
        self.count_host_call()?;
        Ok(digest.parse().is_ok_and(|digest| self.hints.add(digest)))
    }
}

impl wit::fault::Host for CallState {
    fn invalid(&mut self, field: String, message: String) -> Result<()> {
        let (field, message) =
            (clipped(&field, FAULT_BYTES_MAX).to_owned(), clipped(&message, FAULT_BYTES_MAX).to_owned());
        Err(Stop::Fault { field, message }.into())
    }
}

/// The beginning of `text`, cut between characters.
fn clipped(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
