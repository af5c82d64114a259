//! What a guest of Selvedge is written with: the host's imports as Rust, and the few helpers that every guest needs.
//!
//! Owns the interfaces of the world `imports` on both sides of a compilation: in WebAssembly they are calls to the agent,
//! natively they reach the [`TestHost`] whose call is in progress, so a workload is tested whole by `cargo test`. Holds no
//! rules of any workload. The invariant: what compiles natively compiles for the agent, and what a [`TestHost`] answers an
//! agent answers too; both run one suite.
//!
//! ```ignore
//! selvedge_sdk::workload!(Kills in "local:workload/workload");
//!
//! impl Guest for Kills {
//!     fn kill(player: u64) -> u64 {
//!         let kills = must(Gcounter::new(&format!("kills:{player}")));
//!         must(kills.increment(1));
//!         kills.value()
//!     }
//! }
//! ```

use std::fmt::Debug;

mod configuration;
mod fault;
mod macros;
mod names;
#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
mod testing;

pub use configuration::Entries;
pub use fault::Fault;
pub use names::Names;
#[cfg(not(target_family = "wasm"))]
pub use testing::{CallError, Limits, TestHost};
pub use wit_bindgen;

/// The raw bindings; a guest maps the interfaces of its own world to them.
#[cfg(target_family = "wasm")]
#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
pub mod bindings {
    // Values of the state can be compared, as natively.
    wit_bindgen::generate!({ path: "../wit", world: "imports", additional_derives: [PartialEq] });
}

#[cfg(target_family = "wasm")]
pub use bindings::selvedge::workload::{assets, clock, config, log, random, state};
#[cfg(not(target_family = "wasm"))]
pub use native::{assets, clock, config, log, random, state};

/// Turns a refused operation on the state into the end of the call. For workloads to which a refusal is a bug of their own.
///
/// # Panics
/// On any error: the host then throws the instance away and commits nothing.
pub fn must<T, E: Debug>(done: Result<T, E>) -> T {
    match done {
        Ok(value) => value,
        Err(error) => {
            log::write(log::Level::Error, &format!("the state refused an operation: {error:?}"));
            panic!("the state refused an operation: {error:?}");
        }
    }
}
