//! From the bytes of a component to a workload that can be called.
//!
//! Owns the order of the steps, and tells whoever wants to know which of them is under way. The invariant: what serves is replaced only
//! by what has started.

use std::sync::{Arc, PoisonError};

use super::config::LoadOptions;
use super::error::LoadError;
use super::program::{self, Compiled};
use super::service::{Service, Surroundings};
use super::{COMPILED_KEPT, Host};
use crate::spec::Digest;

/// A step of a load. One whose result is still in memory is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStep {
    /// Its bytes are hashed and looked at.
    Verifying,
    /// Its native code is compiled, or read back where that was done before.
    Compiling,
    /// A first instance is started, and asked what it makes of its configuration.
    Warming,
}

impl Host {
    pub(super) fn load(
        &self,
        workload: &str,
        wasm: &[u8],
        mut options: LoadOptions,
        tell: &dyn Fn(LoadStep),
    ) -> Result<(), LoadError> {
        options.limits = options.limits.bounded(self.config.memory_bytes);
        let warm_max = options.limits.concurrency.min(self.config.workers + self.config.in_place);
        let on_overrun = std::mem::take(&mut options.on_overrun);
        let assets = Arc::clone(&self.assets);
        tell(LoadStep::Verifying);
        let compiled = self.compile_telling(wasm, tell)?;
        tell(LoadStep::Warming);
        let program = compiled.program(&self.linker, workload, options, assets)?;
        let before = self.services().get(workload).cloned();
        let load = before.as_ref().map(|service| Arc::clone(&service.load)).unwrap_or_default();
        let promised = before.as_ref().and_then(|service| service.promises(&program.digest));
        drop(before);
        let (services, ticker, lost) = (Arc::clone(&self.services), Arc::clone(&self.ticker), Arc::clone(&self.lost));
        let surroundings = Surroundings { base: self.base, services, ticker, load, warm_max, promised, lost };
        let service = Arc::new(Service::start(program, &on_overrun, surroundings)?);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = services.insert(workload.to_owned(), service);
        drop(services);
        // Its instances are torn down outside the lock.
        drop(replaced);
        Ok(())
    }

    /// What is made of the bytes of a component, and kept for a while.
    pub(super) fn compile(&self, wasm: &[u8]) -> Result<Compiled, LoadError> {
        self.compile_telling(wasm, &drop)
    }

    fn compile_telling(&self, wasm: &[u8], tell: &dyn Fn(LoadStep)) -> Result<Compiled, LoadError> {
        let digest = *blake3::hash(wasm).as_bytes();
        if let Some((_, compiled)) = self.compiled().iter().find(|(known, _)| *known == digest) {
            return Ok(compiled.clone());
        }
        program::look_at(wasm)?;
        tell(LoadStep::Compiling);
        let component = self.code.component(&self.engine, &digest, wasm)?;
        let compiled = Compiled::new(&self.engine, Digest(digest), component)?;
        let mut kept = self.compiled();
        kept.truncate(COMPILED_KEPT - 1);
        kept.push_front((digest, compiled.clone()));
        Ok(compiled)
    }
}
