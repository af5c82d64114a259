//! The process that compiles: reads a component from its input, writes native code to its output, and ends.
//!
//! Owns what this process may use. It knows no data directory, no network and no key. The invariant: its limits are in force
//! before it reads the first byte of what it is to compile.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::restraint::{self, Limit};
use crate::wasm::engine;
use crate::wasm::program::COMPONENT_BYTES_MAX;

/// The largest native code, in bytes: some eight times the largest component.
pub(super) const CODE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How far a compilation steps back before the rest of the host: calls and sync do not wait for it.
const NICENESS: i32 = 10;
/// The score by which the kernel picks whom to end when memory runs out: this process before any other.
const OUT_OF_MEMORY_SCORE: &str = "1000";
/// How it ends when the component is at fault; its output for errors says why.
pub(super) const EXIT_REFUSED: u8 = 1;
/// How it ends when it could not do its work.
const EXIT_UNABLE: u8 = 3;

/// What one compilation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperLimits {
    /// Address space in bytes, the program itself included.
    pub memory_bytes: u64,
    /// CPU time in whole seconds.
    pub cpu: Duration,
}

impl Default for HelperLimits {
    fn default() -> Self {
        // A language's whole interpreter, some ten megabytes, takes a quarter of either on a slow host.
        Self { memory_bytes: 2 << 30, cpu: Duration::from_secs(60) }
    }
}

/// Compiles the component on stdin, and returns the exit code of the process.
#[must_use]
pub fn serve(limits: HelperLimits) -> u8 {
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let (code, said) = match restrain(limits).and_then(|()| input(&mut stdin)) {
        Ok(wasm) => match compile(&wasm) {
            Ok(native) => match stdout.write_all(&native).and_then(|()| stdout.flush()) {
                Ok(()) => return 0,
                Err(error) => (EXIT_UNABLE, error.to_string()),
            },
            Err(why) => (EXIT_REFUSED, why),
        },
        Err(error) => (EXIT_UNABLE, error.to_string()),
    };
    // Whoever does not read why sees the exit code.
    drop(io::stderr().write_all(said.as_bytes()));
    code
}

fn restrain(limits: HelperLimits) -> io::Result<()> {
    restraint::limit(Limit::AddressSpaceBytes, limits.memory_bytes)?;
    restraint::limit(Limit::CpuSeconds, limits.cpu.as_secs().max(1))?;
    restraint::limit(Limit::FileBytes, CODE_BYTES_MAX)?;
    restraint::limit(Limit::CoreDumpBytes, 0)?;
    restraint::end_with_parent()?;
    restraint::step_back(NICENESS);
    // No reason not to compile: the limits above hold without it.
    drop(std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE));
    Ok(())
}

fn input(stdin: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    stdin.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut wasm)?;
    if wasm.len() > COMPONENT_BYTES_MAX { Err(io::Error::other("the component is too large")) } else { Ok(wasm) }
}

fn compile(wasm: &[u8]) -> Result<Vec<u8>, String> {
    // What the compiler panics over is told in a sentence and not as a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let engine = engine::compiling().map_err(|error| format!("{error:#}"))?;
    engine::precompile(&engine, wasm)
}
