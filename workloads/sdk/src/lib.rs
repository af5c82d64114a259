//! What a guest of Selvedge is written with: the host's imports as Rust, and the few helpers that every guest needs.
//!
//! Owns the bindings of the world `imports`; a workload generates only its own exports on top of them (see
//! `workloads/combat/src/guest.rs`). Holds no rules of any workload. The invariant: what is not marked as guest-only
//! compiles natively too, so that a workload's rules are tested without a WebAssembly engine.

mod fault;
mod names;

pub use fault::Fault;
pub use names::Names;

/// The raw bindings; a guest maps the interfaces of its own world to them.
#[cfg(target_family = "wasm")]
#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
pub mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "imports" });
}

#[cfg(target_family = "wasm")]
pub use bindings::selvedge::workload::{assets, clock, config, log, random, state};
#[cfg(target_family = "wasm")]
pub use wit_bindgen;

/// The bindings of a workload's exports, in the module where it is written: `exports!("combat-workload")`. The world lies
/// in `../wit`; its imports are those of this crate.
#[cfg(target_family = "wasm")]
#[macro_export]
macro_rules! exports {
    ($world:tt) => {
        $crate::wit_bindgen::generate!({
            path: "../wit",
            world: $world,
            runtime_path: "selvedge_sdk::wit_bindgen::rt",
            with: {
                "selvedge:workload/state@0.1.0": selvedge_sdk::bindings::selvedge::workload::state,
                "selvedge:workload/log@0.1.0": selvedge_sdk::bindings::selvedge::workload::log,
                "selvedge:workload/clock@0.1.0": selvedge_sdk::bindings::selvedge::workload::clock,
                "selvedge:workload/random@0.1.0": selvedge_sdk::bindings::selvedge::workload::random,
                "selvedge:workload/config@0.1.0": selvedge_sdk::bindings::selvedge::workload::config,
                "selvedge:workload/assets@0.1.0": selvedge_sdk::bindings::selvedge::workload::assets,
                "selvedge:workload/fault@0.1.0": selvedge_sdk::bindings::selvedge::workload::fault,
            },
        });
    };
}

/// Turns a refused write into the end of the call. For workloads to which a refused write is a bug of their own.
///
/// # Panics
/// On any error: the host then throws the instance away and commits nothing.
#[cfg(target_family = "wasm")]
pub fn must<T>(written: Result<T, state::Error>) -> T {
    match written {
        Ok(value) => value,
        Err(error) => {
            log::write(log::Level::Error, &format!("a write to the state was refused: {error:?}"));
            panic!("a write to the state was refused");
        }
    }
}
