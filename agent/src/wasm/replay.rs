//! Running a recorded call again, and telling how it differs.
//!
//! Owns the comparison, which is of the text of JSON and so of every bit. Records nothing and commits nothing. The
//! invariant: the call gets what the recording says and nothing else, whatever host this is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::empty::EmptyState;
use super::error::{CallError, LoadError, WasmError};
use super::instance::{Done, Terms, Warm};
use super::program::Program;
use super::recording::{Failure, FailureKind, Recording, operations};
use super::source::{Playback, Source};
use super::{LoadOptions, WasmConfig, WasmHost, lift, lower};
use crate::spec::Digest;

/// How long a replayed call may run: how fast this machine is makes no difference to what it answers.
const REPLAY_DEADLINE: Duration = Duration::from_secs(10);
/// The most memory that a recorded limit may ask for, in bytes. It costs address space until it is used.
const MEMORY_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Characters of a value that a difference shows.
const SHOWN_CHARS_MAX: usize = 400;

/// How a replayed call differs from its recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// It is not the component that was recorded.
    Artifact {
        /// The recorded one.
        recorded: Digest,
        /// The one that ran now.
        now: Digest,
    },
    /// It failed otherwise than it did, or did not fail, or failed and had not.
    Failed {
        /// The recorded failure, if it had failed.
        recorded: Option<Failure>,
        /// The failure now, if it failed; or why it could not even begin.
        now: Option<String>,
    },
    /// Its deadline had ended it, and now it came to another end. How far it had got then is the host's affair: such a call cannot
    /// be repeated bit for bit.
    CutOff {
        /// What its caller was told then.
        recorded: String,
        /// How it fails now, if it does.
        now: Option<String>,
    },
    /// It read something else.
    Reads(String),
    /// It answered something else.
    Result {
        /// The recorded answer.
        recorded: Value,
        /// The answer now.
        now: Value,
    },
    /// It wrote something else.
    Write {
        /// Which of the writes, from 0.
        index: usize,
        /// The recorded one, if there is one.
        recorded: Option<Value>,
        /// The one now, if there is one.
        now: Option<Value>,
    },
    /// It asked its host to fetch other assets.
    Preloads {
        /// Those that were recorded.
        recorded: Vec<Digest>,
        /// Those of now.
        now: Vec<Digest>,
    },
}

/// Why a recorded call cannot be run here at all.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// This host cannot run guests.
    #[error(transparent)]
    Host(#[from] WasmError),
    /// The component is none, or does not fit.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Runs a recorded call again, on this thread, with the component `wasm`, and tells all differences; none means that result,
/// writes and wishes are the same to the bit, or that it failed in the same way.
///
/// # Errors
/// The component cannot be loaded, or this machine has no room for it.
pub fn replay(wasm: &[u8], recording: &Recording) -> Result<Vec<Difference>, ReplayError> {
    let host = host(recording.limits.memory_bytes)?;
    let mut limits = recording.limits.clone().bounded(host.0.config.memory_bytes);
    limits.deadline = REPLAY_DEADLINE;
    let options = LoadOptions { limits, config: recording.config.clone(), ..LoadOptions::default() };
    let assets = Arc::clone(&host.0.assets);
    let program = host.0.compile(wasm)?.program(&host.0.linker, &recording.workload, options, assets)?;
    let mut differences = Vec::new();
    if program.digest != recording.artifact {
        differences.push(Difference::Artifact { recorded: recording.artifact, now: program.digest });
    }
    let _running = host.0.ticker.run();
    let mut instance = match Warm::start(&program, Source::Playback(Playback::new(recording.reads.clone()))) {
        Ok(instance) => instance,
        Err(LoadError::Host(reason)) => return Err(LoadError::Host(reason).into()),
        Err(error) => {
            differences.push(Difference::Failed { recorded: recording.failure.clone(), now: Some(error.to_string()) });
            return Ok(differences);
        }
    };
    let done = call(&program, &mut instance, recording);
    let stray = match instance.source() {
        Source::Playback(playback) => playback.difference(),
        Source::Live(..) | Source::Recorder(_) => None,
    };
    compare(recording, done, stray, &mut differences);
    Ok(differences)
}

/// A host for one call that may have so much memory.
fn host(memory_bytes: usize) -> Result<WasmHost, WasmError> {
    let memory_bytes = memory_bytes.clamp(WasmConfig::default().memory_bytes, MEMORY_BYTES_MAX);
    let config = WasmConfig { workers: 1, queue_per_workload: 1, instances: 1, memory_bytes, ..WasmConfig::default() };
    WasmHost::new(config, Arc::new(EmptyState))
}

fn call(program: &Program, instance: &mut Warm, recording: &Recording) -> Result<Done, CallError> {
    let function = program.function(&recording.function)?;
    let params = lower::arguments(&function.signature, &recording.arguments, program.limits.argument_bytes)?;
    let terms = Terms { seed: recording.seed, now: recording.now, deadline: REPLAY_DEADLINE };
    instance.call(function, &params, terms, lift::result)
}

fn compare(
    recording: &Recording,
    done: Result<Done, CallError>,
    stray: Option<String>,
    differences: &mut Vec<Difference>,
) {
    let failure = done.as_ref().err().and_then(Failure::of);
    let fails_as_recorded =
        failure.as_ref().zip(recording.failure.as_ref()).is_some_and(|(now, then)| now.is_same_as(then));
    // How far a call had got when its time was up is the host's affair.
    let cut_off = recording.failure.as_ref().filter(|failure| failure.kind == FailureKind::Deadline);
    differences.extend(stray.filter(|_| cut_off.is_none()).map(Difference::Reads));
    match done {
        Ok(done) if recording.failure.is_none() => compare_results(recording, done, differences),
        Err(_) if fails_as_recorded => {}
        done => {
            let now = done.err().map(|error| error.to_string());
            if let Some(failure) = cut_off {
                differences.push(Difference::CutOff { recorded: failure.message.clone(), now });
                return;
            }
            differences.push(Difference::Failed { recorded: recording.failure.clone(), now });
        }
    }
}

fn compare_results(recording: &Recording, done: Done, differences: &mut Vec<Difference>) {
    if !is_same(&recording.result, &done.result) {
        differences.push(Difference::Result { recorded: recording.result.clone(), now: done.result });
    }
    let now = operations(&done.changes);
    for index in 0..now.len().max(recording.writes.len()) {
        let (recorded, now) = (recording.writes.get(index), now.get(index));
        if !recorded.zip(now).is_some_and(|(recorded, now)| is_same(recorded, now)) {
            differences.push(Difference::Write { index, recorded: recorded.cloned(), now: now.cloned() });
        }
    }
    if let Some(recorded) = recording.preloads.as_ref().filter(|recorded| **recorded != done.preloads) {
        differences.push(Difference::Preloads { recorded: recorded.clone(), now: done.preloads });
    }
}

/// Whether two values are the same in writing: `-0.0` equals `0.0`, and is not the same.
fn is_same(one: &Value, other: &Value) -> bool {
    let [one, other] = [one, other].map(Value::to_string);
    one == other
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact { recorded, now } => write!(f, "artefact: {recorded} was recorded, this is {now}"),
            Self::Failed { recorded: None, now: Some(now) } => write!(f, "failed: {now}"),
            Self::Failed { recorded, now } => {
                let recorded = recorded.as_ref().map_or("no failure", |failure| failure.message.as_str());
                write!(f, "failed: {recorded} was recorded, now it is {}", now.as_deref().unwrap_or("no failure"))
            }
            Self::CutOff { recorded, now } => write!(
                f,
                "deadline: its deadline had ended it ({recorded}), and with more time it {}; how far it had got cannot be repeated bit for bit",
                now.as_ref().map_or_else(|| "ends well".to_owned(), |now| format!("fails: {now}"))
            ),
            Self::Reads(what) => write!(f, "reads: {what}"),
            Self::Result { recorded, now } => {
                write!(f, "result: {} was recorded, now it is {}", shown(Some(recorded)), shown(Some(now)))
            }
            Self::Write { index, recorded, now } => {
                let number = index + 1;
                write!(
                    f,
                    "write {number}: {} was recorded, now it is {}",
                    shown(recorded.as_ref()),
                    shown(now.as_ref())
                )
            }
            Self::Preloads { recorded, now } => {
                write!(f, "preloads: {} were recorded, now they are {}", list(recorded), list(now))
            }
        }
    }
}

fn list(digests: &[Digest]) -> String {
    let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
    if digests.is_empty() { "nothing".to_owned() } else { digests.join(", ") }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
