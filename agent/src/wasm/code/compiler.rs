//! Compiling: hands a component to the helper process and takes its native code back, or ends the helper.
//!
//! Owns the helper's life and how many there are. The invariants: a helper is gone when its compilation is over, whatever
//! the outcome; what it costs is bounded by its own limits, by the clock here, and by the number of helpers.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

use super::helper::{CODE_BYTES_MAX, EXIT_REFUSED, HelperLimits};
use super::native::Code;
use crate::wasm::engine;
use crate::wasm::error::LoadError;

/// Compilations at one time. Each may use a CPU and its whole memory.
const COMPILATIONS_MAX: usize = 2;
/// Components that may wait for their turn. Each is in memory meanwhile.
const WAITING_MAX: usize = 8;
/// What a helper may have to say about a component, in bytes.
const SAID_BYTES_MAX: u64 = 4 * 1024;
/// The hidden command of the binary that this module's counterpart serves.
const COMMAND: &str = "compile-component";

/// Turns components into native code.
pub(super) struct Compiler {
    helper: Option<PathBuf>,
    limits: HelperLimits,
    patience: Duration,
    turns: Turns,
}

impl Compiler {
    pub(super) fn new(helper: Option<PathBuf>, limits: HelperLimits, patience: Duration) -> Self {
        Self { helper, limits, patience, turns: Turns::default() }
    }

    pub(super) fn compile(&self, engine: &Engine, wasm: &[u8]) -> Result<Code, LoadError> {
        let _turn =
            self.turns.take().ok_or_else(|| LoadError::Host("too many components wait to be compiled".to_owned()))?;
        match &self.helper {
            Some(helper) => self.through(helper, wasm),
            None => engine::precompile(engine, wasm).map(Code::vouched_for).map_err(LoadError::NotComponent),
        }
    }

    fn through(&self, helper: &Path, wasm: &[u8]) -> Result<Code, LoadError> {
        let unable = |error: std::io::Error| LoadError::Host(format!("the compiler could not be started: {error}"));
        let mut child = Command::new(helper)
            .arg(COMMAND)
            .args(["--memory-bytes", &self.limits.memory_bytes.to_string()])
            .args(["--cpu-seconds", &self.limits.cpu.as_secs().to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(unable)?;
        let heard = converse(&mut child, wasm, self.patience);
        let status = child.wait().map_err(unable)?;
        match heard {
            None => Err(too_much(format!("{} s by the clock", self.patience.as_secs_f32()))),
            Some((code, said)) => self.outcome(status, code, &said),
        }
    }

    fn outcome(&self, status: ExitStatus, code: Vec<u8>, said: &str) -> Result<Code, LoadError> {
        if status.success() {
            return Ok(Code::vouched_for(code));
        }
        if status.code() == Some(i32::from(EXIT_REFUSED)) {
            return Err(LoadError::NotComponent(said.to_owned()));
        }
        let ended_by = |signal: i32| status.signal() == Some(signal);
        Err(if ended_by(libc::SIGXCPU) {
            too_much(format!("{} s of CPU time", self.limits.cpu.as_secs()))
        } else if ended_by(libc::SIGKILL) {
            // Not by us: by the kernel, which needed the memory.
            too_much("the memory that this host has".to_owned())
        } else if ended_by(libc::SIGXFSZ) {
            too_much(format!("{} MiB of native code", CODE_BYTES_MAX >> 20))
        } else if said.contains("memory allocation") || said.contains("Cannot allocate memory") {
            too_much(format!("{} MiB of memory", self.limits.memory_bytes >> 20))
        } else if status.signal().is_some() {
            // Stacks overflow and assertions fail in compilers too, and only hostile components get that far.
            LoadError::CompilerCrash
        } else {
            LoadError::Host(format!("the compiler ended with {status}: {said}"))
        })
    }
}

const fn too_much(limit: String) -> LoadError {
    LoadError::CompileLimit { limit }
}

/// Gives the helper its component and hears it out; `None` when it takes too long.
fn converse(child: &mut Child, wasm: &[u8], patience: Duration) -> Option<(Vec<u8>, String)> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        unreachable!("all three were asked for")
    };
    let (heard, waiting) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            // It reads all before it writes anything. One that ends earlier says why in its exit code.
            drop(stdin.write_all(wasm));
            drop(stdin);
            let (mut code, mut said) = (Vec::new(), Vec::new());
            drop(stdout.take(CODE_BYTES_MAX + 1).read_to_end(&mut code));
            drop(stderr.take(SAID_BYTES_MAX).read_to_end(&mut said));
            // Nobody waits any more for a helper that was given up.
            drop(heard.send((code, String::from_utf8_lossy(&said).into_owned())));
        });
        let heard = waiting.recv_timeout(patience).ok();
        if heard.is_none() {
            // This closes the pipes on which the thread above waits.
            drop(child.kill());
        }
        heard
    })
}

/// Whose turn it is to compile.
#[derive(Default)]
struct Turns {
    state: Mutex<(usize, usize)>,
    free: Condvar,
}

/// One compilation's turn; over when this is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for a turn; `None` when too many wait already.
    fn take(&self) -> Option<Turn<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1 >= WAITING_MAX {
            return None;
        }
        state.1 += 1;
        while state.0 >= COMPILATIONS_MAX {
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state = (state.0 + 1, state.1 - 1);
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
        self.0.free.notify_one();
    }
}
