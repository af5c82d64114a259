//! Native code as bytes, and the one step that makes it run.
//!
//! Owns the one promise that the compiler of this program cannot check. The invariant: a [`Code`] is what a compiler of this host put out, because it
//! is made in two places only: where the compiler's output is read, and where the cache has verified an entry's
//! authentication code.

use std::hash::{Hash, Hasher};

use wasmtime::Engine;
use wasmtime::component::Component;

/// Native code of a component.
pub(super) struct Code(Vec<u8>);

impl Code {
    /// Says that `bytes` came from a compiler of this host, unchanged. Nothing checks it again.
    pub(super) const fn vouched_for(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Loads `code`.
///
/// # Errors
/// It was made by another version of the engine, with other settings or for another CPU.
#[expect(
    unsafe_code,
    reason = "the engine runs whatever it is given; `Code` holds only what a compiler of ours put out"
)]
pub(super) fn component(engine: &Engine, code: &Code) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the output of `Engine::precompile_component`, unchanged, as `Code` promises.
    unsafe { Component::deserialize(engine, code.bytes()) }
}

/// What code depends on besides the component: versions, settings, and the features of this CPU.
pub(super) fn fingerprint(engine: &Engine) -> [u8; 32] {
    struct Feed(blake3::Hasher);
    impl Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            self.0.finalize().as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
    }
    let mut feed = Feed(blake3::Hasher::new());
    // The engine's own hash leaves its version to whoever loads the code; ours changes with each release.
    env!("CARGO_PKG_VERSION").hash(&mut feed);
    engine.precompile_compatibility_hash().hash(&mut feed);
    *feed.0.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::{WasmConfig, engine};

    #[test]
    fn the_engine_that_compiles_makes_code_for_the_one_that_runs() {
        let running = engine::engine(&WasmConfig::default()).expect("an engine");
        let compiling = engine::compiling().expect("an engine");
        assert_eq!(fingerprint(&running), fingerprint(&compiling));
        let other = Engine::default();
        assert_ne!(fingerprint(&running), fingerprint(&other), "other settings, other code");
    }
}
