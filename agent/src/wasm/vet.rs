//! Whether a workload can work with what its operator set: its own check of its configuration, and its default answers.
//!
//! Owns the optional export `configuration` of the contract (`workloads/wit/configuration.wit`) from the host's side. The
//! invariants: a check runs within a deadline and the workload's limits like any call; nothing that it writes remains.

use std::sync::Arc;
use std::time::Duration;

use selvedge_sync::hlc::Hlc;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{CallError, LoadError, Problem};
use super::instance::{Terms, Warm};
use super::program::Program;
use super::service::default_answer;
use super::source::Source;
use super::{Host, LoadOptions, lift, lower, room};

/// How long a check may take. A call's own deadline may be a millisecond, and reading a table takes longer; nobody waits for this but
/// whoever deploys.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);
/// Problems that are told, at most: enough to see what is wrong.
const PROBLEMS_MAX: usize = 16;
/// Characters of a name and of a message that are told.
const TOLD_CHARS_MAX: usize = 200;

/// A problem as the workload says it.
#[derive(Deserialize)]
struct Said {
    name: String,
    message: String,
}

/// Asks the workload in `instance` whether it can work with its configuration; one that exports no check can with any. The guests'
/// clock has to be running.
///
/// # Errors
/// There are problems, or the check itself fails.
pub(super) fn configuration(program: &Program, instance: &mut Warm) -> Result<(), LoadError> {
    let Some(check) = &program.check else { return Ok(()) };
    let names: Vec<&str> = program.config.keys().map(String::as_str).collect();
    let terms = Terms { seed: 0, now: Hlc::default(), deadline: CHECK_DEADLINE };
    let failed = |error: CallError| LoadError::Check(error.to_string());
    let params = lower::arguments(&check.signature, &json!([names]), program.limits.argument_bytes).map_err(failed)?;
    let said = instance.call(check, &params, terms, lift::result).map_err(failed)?.result;
    let problems = read(said)?;
    if problems.is_empty() { Ok(()) } else { Err(LoadError::Configuration(problems)) }
}

fn read(said: Value) -> Result<Vec<Problem>, LoadError> {
    let said: Vec<Said> = serde_json::from_value(said)
        .map_err(|error| LoadError::Check(format!("it is not of the type in configuration.wit: {error}")))?;
    let told = |text: String| text.chars().take(TOLD_CHARS_MAX).collect();
    let problem = |Said { name, message }: Said| Problem { name: told(name), message: told(message) };
    Ok(said.into_iter().take(PROBLEMS_MAX).map(problem).collect())
}

impl Host {
    /// Whether `wasm` could be loaded with these options. Starts an instance for a moment if the workload checks its configuration.
    pub(super) fn vet(&self, wasm: &[u8], mut options: LoadOptions) -> Result<(), LoadError> {
        options.limits = options.limits.bounded(self.config.memory_bytes);
        let on_overrun = std::mem::take(&mut options.on_overrun);
        let program = self.compile(wasm)?.program(&self.linker, "", options, Arc::clone(&self.assets))?;
        on_overrun.iter().try_for_each(|(name, answer)| default_answer(&program, name, answer).map(drop))?;
        if program.check.is_none() {
            return Ok(());
        }
        let _running = self.ticker.run();
        let mut instance = room::start(&program, &self.services, || Source::live(self.base, &program.assets))?;
        configuration(&program, &mut instance)
    }
}
