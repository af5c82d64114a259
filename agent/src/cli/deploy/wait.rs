//! Waiting until what was deployed runs, or it is clear why it does not.
//!
//! Owns the verdict on readiness. The invariant: it is ready only when as many instances are ready as are wanted, all made from what
//! was deployed, and nothing of the version before has its turn any more.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::stages::Stages;
use super::workload_path;
use crate::cli::client::Client;
use crate::cli::connection::Ask;
use crate::cli::error::CliError;

/// Time from the first failed start until that is the verdict: an agent tries again, and the first attempt may well have
/// asked a member that did not hold the component yet.
const FAILURE_PATIENCE: Duration = Duration::from_secs(5);
/// How often readiness is looked at.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Reasons for which a node does not qualify that are worth a wait: it may just have started.
const PASSING: [&str; 3] = ["unhealthy", "stale", "absent"];

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited<'a> {
    /// The workload's name.
    pub(crate) name: &'a str,
    /// What the agent answered when it was deployed: its revision and the deployment's name.
    pub(crate) committed: &'a Value,
    /// The least that has to run.
    pub(crate) instances_min: usize,
}

/// Waits until at least `instances_min` instances, and all that are wanted, are ready and made from what was deployed. Returns the
/// workload's document.
///
/// # Errors
/// An instance failed, the version was rolled back, no node qualifies, or `patience` ran out; the text says what the agent says.
pub(crate) async fn await_ready(
    client: &mut Client,
    awaited: Awaited<'_>,
    patience: Duration,
) -> Result<Value, CliError> {
    watch_ready(client, awaited, patience, &mut Stages::silent()).await
}

/// The same, and shows how it goes on.
///
/// # Errors
/// As those of [`await_ready`].
pub(super) async fn watch_ready(
    client: &mut Client,
    Awaited { name, committed, instances_min }: Awaited<'_>,
    patience: Duration,
    stages: &mut Stages,
) -> Result<Value, CliError> {
    let revision = committed["revision"].as_str();
    let deadline = Instant::now() + patience;
    let mut failure: Option<(String, Instant)> = None;
    let mut idle_since: Option<Instant> = None;
    loop {
        let workload = client.json(Ask::get(workload_path(name))).await?;
        let readiness = readiness(&workload);
        let shown = workload.pointer("/status/revision");
        let current = revision.is_none_or(|revision| shown.is_none_or(|now| now == revision));
        let turn = turn(&workload, committed);
        if let Turn::Back { why } = &turn {
            let text = format!(
                "the new version of {name} was rolled back: {why}\n  hint: the version before runs on; mend the new one and deploy it again"
            );
            return Err(CliError::Failed(text).after("its spec is stored, and the version before runs"));
        }
        if current && turn == Turn::Over && readiness.is_ready(instances_min) {
            stages.end();
            return Ok(workload);
        }
        stages.show(client, &workload, &readiness.describe()).await;
        let now = Instant::now();
        let nobody = turn == Turn::Nowhere || readiness.is_idle() && idle_since.is_none();
        if nobody && let Ok(Some(why)) = nobody_qualifies(client, name).await {
            return Err(CliError::Failed(why));
        }
        if let Some(why) = readiness.failed.first().filter(|_| current) {
            let verdict_at = failure.map_or(deadline.min(now + FAILURE_PATIENCE), |(_, at)| at);
            failure = Some((why.clone(), verdict_at));
        }
        if let Some((why, _)) = failure.as_ref().filter(|(_, verdict_at)| now >= *verdict_at) {
            return Err(CliError::Failed(format!(
                "{name} does not run: {why}\n  hint: `selvedge explain {name}` shows every node; `selvedge undeploy {name}` removes it"
            )));
        }
        if readiness.is_idle() && turn == Turn::Over && now - *idle_since.get_or_insert(now) >= FAILURE_PATIENCE {
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
    let placement = placement(client, name).await?;
    let candidates = list(&placement, "candidates").len();
    if ready > 0 && placement["everywhere"] == true && ready >= candidates {
        return Ok(None);
    }
    let why = format!(
        "{name} is deployed, but {ready} of {} instances run, and {candidates} nodes qualify",
        placement["wanted"]
    );
    Ok(Some(with_reasons(why, name, &placement)))
}

/// Why nobody will run it as things are; `None` when somebody may, or may before long.
async fn nobody_qualifies(client: &mut Client, name: &str) -> Result<Option<String>, CliError> {
    let placement = placement(client, name).await?;
    let rejected = list(&placement, "rejected");
    let lasts =
        |node: &Value| !node.pointer("/reason/code").is_some_and(|code| PASSING.iter().any(|word| code == word));
    let nobody = placement["candidates"].as_array().is_some_and(Vec::is_empty);
    let nobody = nobody && !rejected.is_empty() && rejected.iter().all(lasts);
    Ok(nobody.then(|| with_reasons(format!("{name} is deployed, but no node qualifies"), name, &placement)))
}

async fn placement(client: &mut Client, name: &str) -> Result<Value, CliError> {
    client.json(Ask::get(format!("{}/placement", workload_path(name)))).await
}

fn list<'a>(placement: &'a Value, field: &str) -> &'a [Value] {
    placement[field].as_array().map_or(&[], Vec::as_slice)
}

/// The text with each rejected node's reason, and what can be done.
fn with_reasons(mut why: String, name: &str, placement: &Value) -> String {
    for rejected in list(placement, "rejected") {
        let text = |at: &str| rejected.pointer(at).and_then(Value::as_str).unwrap_or("?").to_owned();
        why += &format!("\n  {}: {}", text("/name"), text("/message"));
    }
    why += &format!("\n  hint: it starts when a node qualifies; `selvedge undeploy {name}` removes it");
    why
}

/// Whose turn it is in a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    /// Both versions', for now.
    Both,
    /// The new version's: nothing is left to wait for but its instances.
    Over,
    /// The old version's again.
    Back { why: String },
    /// Nobody may run it.
    Nowhere,
}

/// What a workload's document says of the rollout that was committed. An agent of an older release says nothing, and has none.
fn turn(workload: &Value, committed: &Value) -> Turn {
    let rollout = &workload["status"]["rollout"];
    if rollout.is_null() || rollout["deployment"] != committed["deployment"] {
        return Turn::Over;
    }
    match rollout["stage"].as_str() {
        Some("pending" | "canary" | "following" | "switching") => Turn::Both,
        Some("nowhere") => Turn::Nowhere,
        Some("rolled_back") => Turn::Back { why: rollout["reason"].as_str().unwrap_or("no reason given").to_owned() },
        Some(_) | None => Turn::Over,
    }
}

/// How many instances there are, and what holds up the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) ready: usize,
    pub(super) wanted: usize,
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

pub(super) fn readiness(workload: &Value) -> Readiness {
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
