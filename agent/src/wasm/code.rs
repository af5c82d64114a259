//! Native code of components: from the cache, or else compiled, in a process of its own that may be killed.
//!
//! Owns the order of the two and what is counted of them. The invariants: only code that this host's own compiler made is
//! ever run; whatever becomes of the cache, a component can be compiled again from its `.wasm`.

mod cache;
mod compiler;
mod helper;
mod native;
mod restraint;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

pub use self::cache::CodeSurvey;
pub use self::helper::{HelperLimits, serve as serve_compilation};

use self::cache::{Cache, Found};
use self::compiler::Compiler;
use super::error::{LoadError, WasmError};

/// How components are compiled, and what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileConfig {
    /// The program that compiles: a `selvedge`, started anew for each component. `None` compiles in this process, where
    /// nothing but the size of a component bounds what that costs; for tests, and for programs that embed the agent and
    /// trust what they run.
    pub helper: Option<PathBuf>,
    /// What one compilation may use.
    pub limits: HelperLimits,
    /// How long one compilation may take by the clock on the wall: a host that is busy gives it less than its CPU time.
    pub patience: Duration,
    /// Where compiled code is kept. `None` keeps none.
    pub cache: Option<CacheConfig>,
}

impl Default for CompileConfig {
    fn default() -> Self {
        Self { helper: None, limits: HelperLimits::default(), patience: Duration::from_secs(120), cache: None }
    }
}

/// Where compiled code is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The folder; made if it is not there, and nobody else's.
    pub folder: PathBuf,
    /// Proves that an entry was written by this host. Never leaves it.
    pub key: [u8; 32],
    /// All entries together, in bytes. What was used longest ago goes first.
    pub bytes_max: u64,
}

impl std::fmt::Debug for CacheConfig {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheConfig")
            .field("folder", &self.folder)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

/// What has been counted about native code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeStats {
    /// Components whose code came from the cache.
    pub cached: u64,
    /// Components that were compiled.
    pub compiled: u64,
    /// Compilations that found fault with the component.
    pub failed: u64,
    /// Compilations that were ended because they took too much time or memory, or crashed.
    pub killed: u64,
    /// Entries of the cache that this host did not write, or that were damaged.
    pub refused: u64,
    /// Entries of the cache that were made for another engine or CPU.
    pub outdated: u64,
    /// Entries of the cache that made room for others.
    pub evicted: u64,
    /// Entries that could not be written.
    pub unwritten: u64,
}

/// Looks at what lies in a folder of compiled code, and changes nothing.
///
/// # Errors
/// The folder cannot be read, or this host has no engine.
pub fn survey_code(folder: &Path) -> std::io::Result<CodeSurvey> {
    let engine = super::engine::compiling().map_err(std::io::Error::other)?;
    cache::survey(folder, native::fingerprint(&engine))
}

/// The same, while they count.
#[derive(Default)]
struct Counters {
    cached: AtomicU64,
    compiled: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
    refused: AtomicU64,
    outdated: AtomicU64,
    evicted: AtomicU64,
    unwritten: AtomicU64,
}

/// Gives the native code of components.
pub(super) struct CodeStore {
    compiler: Compiler,
    cache: Option<Cache>,
    counters: Counters,
}

impl CodeStore {
    /// # Errors
    /// The folder of the cache cannot be used.
    pub(super) fn open(engine: &Engine, config: CompileConfig) -> Result<Self, WasmError> {
        let cache = config.cache.map(|cache| Cache::open(cache, native::fingerprint(engine))).transpose()?;
        let compiler = Compiler::new(config.helper, config.limits, config.patience);
        Ok(Self { compiler, cache, counters: Counters::default() })
    }

    /// The component whose bytes are `wasm` and hash to `digest`. Compiling it takes from tens of milliseconds to minutes:
    /// not for an async thread.
    pub(super) fn component(&self, engine: &Engine, digest: &[u8; 32], wasm: &[u8]) -> Result<Component, LoadError> {
        if let Some(component) = self.kept(engine, digest) {
            count(&self.counters.cached, 1);
            return Ok(component);
        }
        let compiled = self.compiler.compile(engine, wasm);
        count(
            match &compiled {
                Ok(_) => &self.counters.compiled,
                Err(LoadError::CompileLimit { .. } | LoadError::CompilerCrash) => &self.counters.killed,
                Err(_) => &self.counters.failed,
            },
            1,
        );
        let code = compiled?;
        if let Some(cache) = &self.cache {
            match cache.write(digest, &code) {
                Ok(evicted) => count(&self.counters.evicted, evicted),
                Err(error) => {
                    count(&self.counters.unwritten, 1);
                    tracing::warn!(%error, "compiled code could not be kept; it is compiled again at the next start");
                }
            }
        }
        native::component(engine, &code)
            .map_err(|error| LoadError::Host(format!("compiled code does not load: {error:#}")))
    }

    fn kept(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        match cache.read(digest) {
            Found::Code(code) => match native::component(engine, &code) {
                Ok(component) => return Some(component),
                Err(error) => {
                    tracing::info!(%error, "kept code does not fit this engine; compiling again");
                    count(&self.counters.outdated, 1);
                    cache.remove(digest);
                }
            },
            Found::Outdated => count(&self.counters.outdated, 1),
            Found::Refused(why) => {
                tracing::warn!(folder = %cache.folder().display(), why, "kept code was not written by this host; compiling again");
                count(&self.counters.refused, 1);
            }
            Found::Nothing => {}
        }
        None
    }

    pub(super) fn stats(&self) -> CodeStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        CodeStats {
            cached: read(&counters.cached),
            compiled: read(&counters.compiled),
            failed: read(&counters.failed),
            killed: read(&counters.killed),
            refused: read(&counters.refused),
            outdated: read(&counters.outdated),
            evicted: read(&counters.evicted),
            unwritten: read(&counters.unwritten),
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
