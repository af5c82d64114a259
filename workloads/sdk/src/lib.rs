//! What a guest of Selvedge is written with: the host's imports as Rust, and the few helpers that every guest needs.
//!
//! Owns the bindings of the world `imports`; a workload generates only its own exports on top of them (see
//! `workloads/combat/src/guest.rs`). Holds no rules of any workload. The invariant: what is not marked as guest-only
//! compiles natively too, so that a workload's rules are tested without a WebAssembly engine.

mod fault;

pub use fault::Fault;

/// The raw bindings; a guest maps the interfaces of its own world to them.
#[cfg(target_family = "wasm")]
#[expect(missing_docs, unreachable_pub, reason = "generated from the documented WIT")]
pub mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "imports" });
}

#[cfg(target_family = "wasm")]
pub use bindings::selvedge::workload::{clock, config, log, random, state};
#[cfg(target_family = "wasm")]
pub use wit_bindgen;

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
