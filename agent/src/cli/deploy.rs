//! `deploy`: stores a component, makes it a workload, and waits until it runs or says why it does not.
//!
//! Owns the order of the steps; the demo deploys through it too. The invariant: it reports success only when as many instances are
//! ready as are wanted.

mod back;
mod dry;
mod readiness;
mod stages;
mod wait;

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(super) use self::back::roll_back;
use self::stages::Stages;
pub(crate) use self::wait::{Awaited, await_ready};
use super::args::{DeployArgs, PlacingArgs, UndeployArgs};
use super::client::Client;
use super::connection::{Ask, AskBody, segment};
use super::error::CliError;
use super::output::print_either;
use super::progress::Progress;
use super::units::size;
use crate::spec::{CANARY_MS_DEFAULT, CANARY_MS_MAX, CONFIG_BYTES_MAX, parse_millis};

/// Time for a workload to run when `--timeout` is not given: a fetch and a compilation on a small host.
pub(crate) const RUN_PATIENCE_DEFAULT: Duration = Duration::from_mins(1);
/// How many times its own time a canary may take that is called rarely, and some more.
const CANARY_WAITS: u32 = 7;
/// What an answer may take beyond the time that the agent was asked to wait for.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);
/// Largest component that is sent, in bytes. The agent has a limit of its own.
const COMPONENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Deploys a file as the command line says.
///
/// # Errors
/// The file cannot be read, the agent refused it, or it did not run in time.
pub(crate) async fn deploy(args: &DeployArgs, client: &mut Client) -> Result<(), CliError> {
    let wasm = read_component(&args.file)?;
    let (config, answers) = (read_config(&args.config)?, read_answers(&args.on_overrun)?);
    if args.dry_run {
        let spec = spec(args, (config, answers), &dry::inspect(client, wasm).await?);
        return dry::foresee(client, (&args.name, args.force), &spec, args.client.json).await;
    }
    let progress = Progress::of(format!("storing {} ({})", args.file.display(), size(wasm.len() as u64)));
    let stored = store(client, wasm).await?;
    let committed = set(client, (&args.name, args.force), &spec(args, (config, answers), &stored)).await?;
    if args.no_wait {
        drop(progress);
        let json = json!({"name": args.name, "artifact": stored, "commit": committed["commit"]});
        return print_either(args.client.json, &json, |_| format!("stored {}; not waiting for it to run", args.name));
    }
    let patience = args.client.timeout.unwrap_or_else(|| patience(args.canary.as_deref()));
    progress.say(format!("waiting for {} to run", args.name));
    let awaited = Awaited { name: &args.name, committed: &committed, instances_min: 1 };
    let ready = wait::watch_ready(client, awaited, patience, &mut Stages::on(progress, &args.name)).await;
    let (workload, ready) =
        ready.map_err(|error| error.after(format!("{} is deployed: its spec is stored", args.name)))?;
    print_either(args.client.json, &workload, |_| format!("{} runs: {}", args.name, ready.told()))
}

/// How long to wait for a version to run everywhere: longer if its canary is.
fn patience(canary: Option<&str>) -> Duration {
    let canary_ms = canary.and_then(|text| parse_millis(text).ok()).unwrap_or_else(|| CANARY_MS_DEFAULT.into());
    let canary = Duration::from_millis(canary_ms.min(CANARY_MS_MAX.into()));
    RUN_PATIENCE_DEFAULT + canary * CANARY_WAITS
}

/// Removes a workload, and waits until nobody says any more that it runs it.
///
/// # Errors
/// There is none of this name, the agent refused, or somebody still runs it.
pub(crate) async fn undeploy(args: &UndeployArgs, client: &mut Client) -> Result<(), CliError> {
    let (name, path) = (&args.name, workload_path(&args.name));
    if args.no_wait {
        let json = client.json(Ask::delete(path)).await?;
        return print_either(args.client.json, &json, |_| format!("{name} is removed; not waiting for it to stop"));
    }
    let patience = client.patience();
    let ask = Ask::delete(format!("{path}?wait={}ms", patience.as_millis()));
    let answer = client.ask(&ask, patience + ANSWER_MARGIN).await?;
    let json = client.decode(&ask, &answer)?;
    print_either(args.client.json, &json, |_| format!("{name} is removed, and nobody runs it any more"))
}

/// Stores a component, and returns what the agent found in it.
///
/// # Errors
/// It is no component, or imports what the agent does not offer.
pub(crate) async fn store(client: &mut Client, wasm: Bytes) -> Result<Value, CliError> {
    let json = client.json(Ask::put("/v1/artifacts", AskBody::Wasm(wasm))).await?;
    if json["digest"].is_string() {
        return Ok(json);
    }
    Err(CliError::Failed("the agent stored the component but did not name its digest".to_owned()))
}

/// Makes `spec` the workload's; if `forced`, although it would break what is there.
///
/// # Errors
/// The agent refused it.
pub(crate) async fn set(client: &mut Client, (name, forced): (&str, bool), spec: &Value) -> Result<Value, CliError> {
    let force = if forced { "?force=true" } else { "" };
    client.json(Ask::put(format!("{}{force}", workload_path(name)), AskBody::json(spec))).await
}

fn workload_path(name: &str) -> String {
    format!("/v1/workloads/{}", segment(name))
}

fn spec(args: &DeployArgs, (config, answers): (Map<String, Value>, Map<String, Value>), stored: &Value) -> Value {
    let mut spec = Map::from_iter([("artifact".to_owned(), stored["digest"].clone())]);
    let mut set = |name: &str, value: Option<Value>| value.map(|value| spec.insert(name.to_owned(), value));
    set("replicas", args.replicas.map(Value::from));
    set("everywhere", args.everywhere.then_some(Value::Bool(true)));
    set("region", args.region.clone().map(Value::from));
    set("require", Some(&args.require).filter(|list| !list.is_empty()).map(|list| json!(list)));
    let PlacingArgs { must, per_region, spread_regions, routing, partition } = &args.placing;
    set("must", Some(must).filter(|list| !list.is_empty()).map(|list| json!(list)));
    set("per_region", Some(counts(per_region)).filter(|counts| !counts.is_empty()).map(Value::Object));
    set("spread", spread_regions.then(|| Value::from("regions")));
    set("routing", routing.clone().map(Value::from));
    set("partition", partition.clone().map(Value::from));
    set("affinity", Some(&args.affinity).filter(|list| !list.is_empty()).map(|list| json!(list)));
    let limits: Map<_, _> = [("memory", &args.memory), ("deadline_ms", &args.deadline)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value.clone()?))))
        .collect();
    set("limits", Some(limits).filter(|limits| !limits.is_empty()).map(Value::Object));
    set("latency", args.max_latency.as_ref().map(|max| json!({ "max_ms": max })));
    set("rollout", args.canary.as_ref().map(|canary| json!({ "canary_ms": canary })));
    set("state_schema", args.state_schema.map(Value::from));
    set("config", Some(config).filter(|config| !config.is_empty()).map(Value::Object));
    set("on_overrun", Some(answers).filter(|answers| !answers.is_empty()).map(Value::Object));
    Value::Object(spec)
}

/// Counts by region, each `REGION=N`. What is no number the agent refuses, and says which field that is.
fn counts(entries: &[String]) -> Map<String, Value> {
    let count = |entry: &String| match entry.split_once('=') {
        Some((region, count)) => {
            (region.to_owned(), count.parse::<u16>().map_or_else(|_| Value::from(count), Value::from))
        }
        None => (entry.clone(), Value::Null),
    };
    entries.iter().map(count).collect()
}

/// The entries of a configuration, each `KEY=VALUE` or `KEY=@FILE`.
fn read_config(entries: &[String]) -> Result<Map<String, Value>, CliError> {
    let mut config = Map::new();
    for entry in entries {
        let wrong = |why: &str| CliError::Usage(format!("--config {entry}: {why}"));
        let (name, value) = entry.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE or KEY=@FILE"))?;
        let text = match value.strip_prefix('@') {
            Some(path) => read_text(Path::new(path))?,
            None => value.to_owned(),
        };
        if config.insert(name.to_owned(), Value::String(text)).is_some() {
            return Err(wrong("this name is given twice"));
        }
    }
    Ok(config)
}

/// Default answers, each `FUNCTION=JSON`.
fn read_answers(entries: &[String]) -> Result<Map<String, Value>, CliError> {
    let mut answers = Map::new();
    for entry in entries {
        let wrong = |why: String| CliError::Usage(format!("--on-overrun {entry}: {why}"));
        let (function, json) = entry.split_once('=').ok_or_else(|| wrong("expected FUNCTION=JSON".to_owned()))?;
        let answer = serde_json::from_str(json).map_err(|error| wrong(format!("no JSON: {error}")))?;
        if answers.insert(function.to_owned(), answer).is_some() {
            return Err(wrong("this function is given twice".to_owned()));
        }
    }
    Ok(answers)
}

/// A file that becomes a value; refused here when no agent could take it.
fn read_text(path: &Path) -> Result<String, CliError> {
    let cannot = |why: String| CliError::Failed(format!("{}: {why}", path.display()));
    let (bytes_max, mut text) = (CONFIG_BYTES_MAX as u64, String::new());
    let file = std::fs::File::open(path).map_err(|error| cannot(error.to_string()))?;
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| cannot(error.to_string()))?;
    if text.len() as u64 > bytes_max {
        return Err(cannot(format!("a workload's configuration has at most {bytes_max} bytes")));
    }
    Ok(text)
}

fn read_component(path: &Path) -> Result<Bytes, CliError> {
    let cannot = |why: String| CliError::Failed(format!("{}: {why}", path.display()));
    let meta = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if !meta.is_file() {
        return Err(cannot("is no file".to_owned()));
    }
    if meta.len() > COMPONENT_BYTES_MAX {
        return Err(cannot(format!("has {} bytes; a component has at most {COMPONENT_BYTES_MAX}", meta.len())));
    }
    let wasm = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    if wasm.starts_with(b"\0asm") {
        return Ok(wasm.into());
    }
    Err(cannot(
        "is no WebAssembly component: it does not begin with \\0asm\n  hint: `selvedge new` makes a project whose build gives one".to_owned(),
    ))
}

#[cfg(test)]
mod tests;
