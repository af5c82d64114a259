//! `deploy`: stores a component, makes it a workload, and waits until it runs or says why it does not.
//!
//! Owns the order of the steps and the verdict on readiness; the demo deploys through it too. The invariant: it reports
//! success only when as many instances are ready as are wanted.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::args::{DeployArgs, PlacingArgs, UndeployArgs};
use super::client::Client;
use super::connection::{Ask, AskBody, segment};
use super::error::CliError;
use super::output::print_either;
use super::progress::Progress;
use super::units::size;
use crate::spec::CONFIG_BYTES_MAX;

/// Time for a workload to run when `--timeout` is not given: a fetch and a compilation on a small host.
pub(crate) const RUN_PATIENCE_DEFAULT: Duration = Duration::from_mins(1);
/// Time from the first failed start until that is the verdict: an agent tries again, and the first attempt may well have
/// asked a member that did not hold the component yet.
const FAILURE_PATIENCE: Duration = Duration::from_secs(5);
/// How often readiness is looked at.
const POLL_EVERY: Duration = Duration::from_millis(100);
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
    let progress = Progress::of(format!("storing {} ({})", args.file.display(), size(wasm.len() as u64)));
    let stored = store(client, wasm).await?;
    let committed = set(client, &args.name, &spec(args, (config, answers), &stored)).await?;
    if args.no_wait {
        drop(progress);
        let json = json!({"name": args.name, "artifact": stored, "commit": committed["commit"]});
        return print_either(args.client.json, &json, |_| format!("stored {}; not waiting for it to run", args.name));
    }
    let patience = args.client.timeout.unwrap_or(RUN_PATIENCE_DEFAULT);
    progress.say(format!("waiting for {} to run", args.name));
    let ready = await_ready(client, &args.name, committed["revision"].as_str(), 1, patience).await;
    drop(progress);
    let workload = ready.map_err(|error| error.after(format!("{} is deployed: its spec is stored", args.name)))?;
    print_either(args.client.json, &workload, |workload| {
        let ready = readiness(workload);
        format!("{} runs: {} of {} instances ready", args.name, ready.ready, ready.wanted)
    })
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

/// Makes `spec` the workload's.
///
/// # Errors
/// The agent refused it.
pub(crate) async fn set(client: &mut Client, name: &str, spec: &Value) -> Result<Value, CliError> {
    client.json(Ask::put(workload_path(name), AskBody::json(spec))).await
}

/// Waits until at least `instances_min` instances, and all that are wanted, are ready and made from what was deployed, which
/// `revision` names. Returns the workload's document.
///
/// # Errors
/// An instance failed, no node qualifies, or `patience` ran out; the text says what the agent says.
pub(crate) async fn await_ready(
    client: &mut Client,
    name: &str,
    revision: Option<&str>,
    instances_min: usize,
    patience: Duration,
) -> Result<Value, CliError> {
    let deadline = Instant::now() + patience;
    let mut failure: Option<(String, Instant)> = None;
    let mut idle_since: Option<Instant> = None;
    loop {
        let workload = client.json(Ask::get(workload_path(name))).await?;
        let readiness = readiness(&workload);
        let shown = workload.pointer("/status/revision");
        let current = revision.is_none_or(|revision| shown.is_none_or(|now| now == revision));
        if current && readiness.is_ready(instances_min) {
            return Ok(workload);
        }
        let now = Instant::now();
        if let Some(why) = readiness.failed.first().filter(|_| current) {
            let verdict_at = failure.map_or(deadline.min(now + FAILURE_PATIENCE), |(_, at)| at);
            failure = Some((why.clone(), verdict_at));
        }
        if let Some((why, _)) = failure.as_ref().filter(|(_, verdict_at)| now >= *verdict_at) {
            return Err(CliError::Failed(format!(
                "{name} does not run: {why}\n  hint: `selvedge explain {name}` shows every node; `selvedge undeploy {name}` removes it"
            )));
        }
        if readiness.is_idle() && now - *idle_since.get_or_insert(now) >= FAILURE_PATIENCE {
            // Nothing happens any more: either all that qualify run, or too few do.
            return match unqualified(client, name, readiness.ready).await? {
                None => Ok(workload),
                Some(why) => Err(CliError::Failed(why)),
            };
        }
        if now >= deadline {
            let why = if current {
                readiness.describe()
            } else {
                format!(
                    "it shows another deployment of {name}, which has taken the place of this one or has yet to give way to it"
                )
            };
            let what = format!("{name} to run ({why})");
            return Err(CliError::TimedOut { what, after: patience });
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Why no more than `ready` instances will run as things are; `None` when every node that qualifies runs one, as it should.
async fn unqualified(client: &mut Client, name: &str, ready: usize) -> Result<Option<String>, CliError> {
    let placement = client.json(Ask::get(format!("{}/placement", workload_path(name)))).await?;
    let list = |field: &str| placement[field].as_array().cloned().unwrap_or_default();
    let candidates = list("candidates").len();
    if ready > 0 && placement["everywhere"] == true && ready >= candidates {
        return Ok(None);
    }
    let mut why = format!(
        "{name} is deployed, but {ready} of {} instances run, and {candidates} nodes qualify",
        placement["wanted"]
    );
    for rejected in list("rejected") {
        let text = |at: &str| rejected.pointer(at).and_then(Value::as_str).unwrap_or("?").to_owned();
        why += &format!("\n  {}: {}", text("/name"), text("/message"));
    }
    why += &format!("\n  hint: it starts when a node qualifies; `selvedge undeploy {name}` removes it");
    Ok(Some(why))
}

/// How many instances there are, and what holds up the others.
#[derive(Debug, PartialEq, Eq)]
struct Readiness {
    ready: usize,
    wanted: usize,
    /// Why instances failed.
    failed: Vec<String>,
    /// What the others are doing.
    pending: Vec<String>,
}

impl Readiness {
    fn is_ready(&self, instances_min: usize) -> bool {
        self.ready >= self.wanted.max(instances_min)
    }

    /// Whether fewer run than are wanted and none is about to.
    fn is_idle(&self) -> bool {
        self.ready < self.wanted.max(1) && self.failed.is_empty() && self.pending.is_empty()
    }

    fn describe(&self) -> String {
        let mut text = format!("{} of {} instances ready", self.ready, self.wanted);
        for line in &self.pending {
            text += "; ";
            text += line;
        }
        if self.wanted == 0 || self.pending.is_empty() && self.ready < self.wanted {
            text += "; no node qualifies for more, see `selvedge explain`";
        }
        text
    }
}

fn readiness(workload: &Value) -> Readiness {
    let status = workload.get("status").unwrap_or(workload);
    let wanted = status["replicas"].as_u64().and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(1);
    let mut readiness = Readiness { ready: 0, wanted, failed: Vec::new(), pending: Vec::new() };
    for instance in status["instances"].as_array().into_iter().flatten() {
        let node = instance["node"].as_str().unwrap_or("a node");
        let why = instance["reason"].as_str();
        match instance["phase"].as_str() {
            Some("ready") => readiness.ready += 1,
            Some("failed") => readiness.failed.push(format!("{node}: {}", why.unwrap_or("failed"))),
            phase => {
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                readiness.pending.push(format!("{node} is {}{why}", phase.unwrap_or("unknown")));
            }
        }
    }
    readiness
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
