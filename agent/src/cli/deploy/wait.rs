//! Waiting until what was deployed runs, or it is clear why it does not.
//!
//! Owns the verdict. The invariant: it is ready only when as many instances are ready as are wanted, all made from what was deployed and
//! where they are to run, and nothing of the version before has its turn any more.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::readiness::{Readiness, nobody_ever, readiness, reasons, shortage};
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
    watch_ready(client, awaited, patience, &mut Stages::silent()).await.map(|(workload, _)| workload)
}

/// The same, and shows how it goes on. Returns what counted, too.
///
/// # Errors
/// As those of [`await_ready`].
pub(super) async fn watch_ready(
    client: &mut Client,
    Awaited { name, committed, instances_min }: Awaited<'_>,
    patience: Duration,
    stages: &mut Stages,
) -> Result<(Value, Readiness), CliError> {
    let revision = committed["revision"].as_str();
    let deadline = Instant::now() + patience;
    let mut failure: Option<(String, Instant)> = None;
    let mut idle_since: Option<Instant> = None;
    loop {
        let workload = client.json(Ask::get(workload_path(name))).await?;
        let shown = workload.pointer("/status/revision");
        let current = revision.is_none_or(|revision| shown.is_none_or(|now| now == revision));
        let turn = turn(&workload, committed);
        if let Turn::Back { why } = &turn {
            let text = format!(
                "the new version of {name} was rolled back: {why}\n  hint: the version before runs on; mend the new one and deploy it again"
            );
            return Err(CliError::Failed(text).after("its spec is stored, and the version before runs"));
        }
        // Asked after the instances: where both are of one deployment, what is ready now is so where it is to be.
        let plan = if current && turn != Turn::Both { plan_of(client, name).await } else { None };
        let readiness = readiness(&workload, plan.as_ref());
        if current && turn == Turn::Over && readiness.is_ready(instances_min) {
            stages.end();
            return Ok((workload, readiness));
        }
        stages.show(client, &workload, &readiness.describe()).await;
        let now = Instant::now();
        let (nobody, few) =
            plan.as_ref().map_or((false, None), |plan| (nobody_ever(plan), too_few(name, readiness.ready, plan)));
        if let Some(why) =
            few.filter(|_| nobody || idles_for(&readiness, &turn, &mut idle_since, now) >= FAILURE_PATIENCE)
        {
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
        if now >= deadline {
            return Err(CliError::TimedOut { what: awaited_in_vain(name, current, &readiness), after: patience });
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// For how long nothing has been under way although too few run.
fn idles_for(readiness: &Readiness, turn: &Turn, since: &mut Option<Instant>, now: Instant) -> Duration {
    if !readiness.is_idle() || *turn == Turn::Both {
        *since = None;
        return Duration::ZERO;
    }
    now - *since.get_or_insert(now)
}

/// What was waited for, and how things stand instead.
fn awaited_in_vain(name: &str, current: bool, readiness: &Readiness) -> String {
    let why = if current {
        readiness.describe()
    } else {
        format!(
            "it shows another deployment of {name}, which has taken the place of this one or has yet to give way to it"
        )
    };
    format!("{name} to run ({why})")
}

/// The plan of the agent that is asked; `None` of one that tells none.
async fn plan_of(client: &mut Client, name: &str) -> Option<Value> {
    client.json(Ask::get(format!("{}/placement", workload_path(name)))).await.ok()
}

/// That fewer nodes qualify than are wanted, with each one's reason and what can be done; `None` where enough do.
fn too_few(name: &str, ready: usize, plan: &Value) -> Option<String> {
    let shortage = shortage(plan)?;
    let ready = if ready > 0 { format!(", and {ready} run") } else { String::new() };
    Some(format!(
        "{name} is deployed, but {shortage}{ready}{}\n  hint: it starts when a node qualifies; `selvedge undeploy {name}` removes it",
        reasons(plan)
    ))
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
