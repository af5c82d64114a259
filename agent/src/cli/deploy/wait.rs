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
use crate::cli::client::{Client, UNKNOWN_WORKLOAD};
use crate::cli::connection::Ask;
use crate::cli::error::CliError;
use crate::cli::output::printable;

/// Time from the first failed start until that is the verdict: an agent tries again, and the first attempt may well have
/// asked a member that did not hold the component yet.
const FAILURE_PATIENCE: Duration = Duration::from_secs(5);
/// How long an agent may show another deployment before it is taken that this one does not count any more: the agent that has stored
/// one shows it at once, and another that is asked in its place when it has heard of it.
const OTHER_PATIENCE: Duration = Duration::from_secs(1);
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
/// An instance failed, the version was rolled back, another deployment or none counts by now, no node qualifies, or `patience` ran out;
/// the text says what the agent says.
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
    let mut claim = Claim::default();
    loop {
        let workload = client.json(Ask::get(workload_path(name))).await.map_err(|error| undeployed(name, error))?;
        let standing = claim.standing(&workload, committed, Instant::now());
        if standing == Standing::Lost {
            return Err(overtaken(name, &workload, committed, stages, client).await);
        }
        let shown = workload.pointer("/status/revision");
        let current =
            standing == Standing::Counts && revision.is_none_or(|revision| shown.is_none_or(|now| now == revision));
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

/// Whether a deployment is still the one that counts.
#[derive(Debug, Default)]
struct Claim {
    /// It was shown once.
    was_shown: bool,
    /// Since when another has been shown that may only be older.
    other_since: Option<Instant>,
}

impl Claim {
    /// How it stands by what is shown now. An agent of an older release names none, and is believed.
    fn standing(&mut self, workload: &Value, committed: &Value, now: Instant) -> Standing {
        let (Some(own), Some(shown)) = (committed["deployment"].as_str(), shown(workload)["deployment"].as_str())
        else {
            return Standing::Counts;
        };
        if own == shown {
            (self.was_shown, self.other_since) = (true, None);
            return Standing::Counts;
        }
        let takes_back = shown_reverts(workload) == Some(own);
        let since = *self.other_since.get_or_insert(now);
        let is_lost = self.was_shown || takes_back || now - since >= OTHER_PATIENCE;
        if is_lost { Standing::Lost } else { Standing::Unheard }
    }
}

/// How a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is the one that counts.
    Counts,
    /// Another is shown, which may be the one before.
    Unheard,
    /// Another counts.
    Lost,
}

/// The rollout that a workload's document shows.
fn shown(workload: &Value) -> &Value {
    &workload["status"]["rollout"]
}

/// The deployment that was taken back by hand with the one that is shown.
fn shown_reverts(workload: &Value) -> Option<&str> {
    shown(workload)["reverts"].as_str()
}

/// That another deployment counts by now, and which.
async fn overtaken(
    name: &str,
    workload: &Value,
    committed: &Value,
    stages: &mut Stages,
    client: &mut Client,
) -> CliError {
    let rollout = shown(workload);
    let by = match rollout["deployed_by"].as_str() {
        Some(node) => format!(" at {}", stages.called(client, node).await),
        None => String::new(),
    };
    let what = match shown_reverts(workload) {
        Some(reverts) if committed["deployment"] == reverts => "rolled back by hand",
        Some(_) | None => "overtaken by another deployment",
    };
    let text = |value: &Value| printable(value.as_str().unwrap_or("?"));
    let (deployment, revision) = (text(&rollout["deployment"]), text(&workload["status"]["revision"]));
    let why = format!(
        "this deployment of {name} was {what}{by}: deployment {deployment} counts now, and revision {revision} is to run\n  hint: `selvedge explain {name}` shows how that goes on"
    );
    CliError::Failed(why).after("its spec was stored, and another has taken its place")
}

/// That somebody has removed the workload, where that is what the agent says.
fn undeployed(name: &str, error: CliError) -> CliError {
    if error.code() != UNKNOWN_WORKLOAD {
        return error;
    }
    CliError::Failed(format!("{name} was undeployed meanwhile: nobody is to run it any more"))
        .after("its spec was stored, and has been removed since")
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
