//! `replay`: a recorded call once more, in this process, and what is different.
//!
//! Owns where the component comes from and what is printed; the guest host does the rest. Asks no agent and changes nothing.
//! The invariant: exit code 0 means that result and writes are the same to the last bit.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use selvedge_sync::hlc::Hlc;
use serde_json::{Value, json};

use super::args::ReplayArgs;
use super::error::{CliError, EXIT_DONE, EXIT_FAILED};
use super::output::print_either;
use crate::artifacts::{self, ARTIFACT_BYTES_MAX};
use crate::config;
use crate::shipped::shipped;
use crate::spec::Digest;
use crate::wasm::{self, Difference, RECORDING_BYTES_MAX, Recording};

/// The end of the year 9999, in milliseconds since 1970: later times have no common form as text.
const TEXT_MILLIS_MAX: u64 = 253_402_300_799_999;

/// Runs the recorded call again and says whether it does the same.
///
/// # Errors
/// There is no such recording, or no such component, or it cannot be run here.
pub(crate) fn replay(args: &ReplayArgs) -> Result<u8, CliError> {
    let bytes = read(&args.recording, RECORDING_BYTES_MAX)?;
    let broken = |error: &dyn std::fmt::Display| CliError::Unusable(format!("{}: {error}", args.recording.display()));
    let recording = Recording::decode(&bytes).map_err(|error| broken(&error))?;
    let component = component(args, &recording.artifact)?;
    let differences = wasm::replay(&component, &recording).map_err(|error| CliError::Failed(error.to_string()))?;
    print_either(args.json, &document(&recording, &differences), |_| text(&recording, &differences))?;
    Ok(if differences.is_empty() { EXIT_DONE } else { EXIT_FAILED })
}

/// The component: the one that is named, or the recorded one from where agents keep them, or one that ships with this binary.
fn component(args: &ReplayArgs, digest: &Digest) -> Result<Vec<u8>, CliError> {
    if let Some(file) = &args.wasm {
        return read(file, ARTIFACT_BYTES_MAX);
    }
    let data_dir = args.data_dir.clone().unwrap_or_else(config::default_data_dir);
    let kept = artifacts::file(&data_dir, digest);
    if kept.exists() {
        return read(&kept, ARTIFACT_BYTES_MAX);
    }
    let ships = shipped().into_iter().find(|(_, wasm)| Digest::of(wasm) == *digest);
    ships.map(|(_, wasm)| wasm.to_vec()).ok_or_else(|| {
        CliError::Usage(format!(
            "the component {digest} is not in {}\n  hint: name its file with --wasm, or an agent's data directory with --data-dir",
            data_dir.display()
        ))
    })
}

fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    // One byte more than may be there is enough to see that it is too large.
    let read = File::open(file).and_then(|open| open.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() <= bytes_max => Ok(bytes),
        Ok(_) => Err(CliError::Unusable(format!("{} has more than {bytes_max} bytes", file.display()))),
        Err(error) => Err(CliError::Unusable(format!("{} cannot be read: {error}", file.display()))),
    }
}

fn document(recording: &Recording, differences: &[Difference]) -> Value {
    json!({
        "equal": differences.is_empty(),
        "workload": recording.workload,
        "function": recording.function,
        "artifact": recording.artifact,
        "node": recording.node,
        "commit": recording.commit,
        "reads": recording.reads.len(),
        "writes": recording.writes.len(),
        "differences": differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn text(recording: &Recording, differences: &[Difference]) -> String {
    let what = format!(
        "{}.{} of {}, {} reads, {} writes",
        recording.workload,
        recording.function,
        time(recording.now),
        recording.reads.len(),
        recording.writes.len()
    );
    if differences.is_empty() {
        return format!("the same, to the last bit: {what}");
    }
    let lines: Vec<String> = differences.iter().map(|difference| format!("  {difference}")).collect();
    let only_cut_off = differences.iter().all(|difference| matches!(difference, Difference::CutOff { .. }));
    let verdict = if only_cut_off { "cannot be compared" } else { "not the same" };
    format!("{verdict}: {what}\n{}", lines.join("\n"))
}

fn time(now: Hlc) -> String {
    let millis = now.millis().min(TEXT_MILLIS_MAX);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}
