//! Rollouts carried out: what this host is to run of what is being rolled out, and what it records.
//!
//! Gathers what hosts report, asks `rollout` for the step, and hands on what falls to this host; starts nothing. The invariants: a
//! verdict is recorded by the host that the step names, once; what is not rolled out is left as its spec says.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use selvedge_sync::id::NodeId;
use selvedge_sync::time::Time;

use super::deployed::{Course, Deployed, Previous};
use super::trials::TOLD_MAX;
use super::{Deployments, Workloads};
use crate::placement::{Mesh, Plan};
use crate::reconcile::Waiting;
use crate::rollout::{self, FenceError, Report, Rollout, Stage, Told};
use crate::service::{Event, RolloutEvent};
use crate::spec::{DeploymentId, Spec, WorkloadName};

/// What this host is to run of each workload; a workload that it is to run nothing of for now is missing.
pub(super) type Share<'a> = Cow<'a, BTreeMap<WorkloadName, Spec>>;

/// Where a deployment is, as it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    of: DeploymentId,
    stage: Stage,
}

impl Workloads {
    /// What this host is to run. Where the version before still has its turn, `plan` speaks of that; where neither has, of nothing.
    pub(super) fn share<'a>(
        &self,
        specs: &'a BTreeMap<WorkloadName, Spec>,
        deployed: &Deployments,
        (plan, mesh): (&mut Plan, &Mesh),
        now: Time,
    ) -> Share<'a> {
        let courses: BTreeMap<_, _> =
            deployed.iter().map(|(workload, deployed)| (workload, self.course(workload, deployed))).collect();
        let is_on = |workload: &WorkloadName| matches!(courses.get(workload), Some(Course::Rolling(_)));
        self.trials().retain(is_on, now.mono_ms);
        let mut share = Cow::Borrowed(specs);
        let mut reached = BTreeMap::new();
        for (workload, deployed) in &**deployed {
            let stage = match courses[workload] {
                Course::Settled => Stage::Done,
                Course::Held => {
                    // What runs stays in the plan; nothing is started from a spec that is not there.
                    share.to_mut().remove(workload);
                    continue;
                }
                Course::Fenced => {
                    // What knows the state goes on where it runs; nothing is started.
                    share.to_mut().remove(workload);
                    if self.slots().schema(workload).is_none_or(|schema| schema < deployed.floor) {
                        plan.remove(workload);
                    }
                    continue;
                }
                Course::Unseen => match self.others(workload, deployed.spec.revision()) {
                    old if old.is_empty() => Stage::Done,
                    old => {
                        plan.remove(workload);
                        share.to_mut().remove(workload);
                        Stage::Switching { old }
                    }
                },
                Course::Back(_) => Stage::RolledBack { reason: reason(deployed) },
                Course::Rolling(previous) => {
                    let (step, rollout, due_ms) = self.step(workload, deployed, previous, (plan, mesh), now);
                    let mut own = step.run.get(&self.parts.me).copied().unwrap_or(Some(rollout.from.revision));
                    let tries = own == Some(rollout.to.revision) && matches!(step.stage, Stage::Canary { .. });
                    if tries && !self.may_try(workload, deployed) {
                        own = Some(rollout.from.revision);
                    }
                    match own {
                        Some(revision) if revision == rollout.to.revision => {}
                        Some(_) => {
                            self.begin_fetch(workload, deployed);
                            if let Some(explanation) = plan.get_mut(workload) {
                                explanation.artifact = previous.spec.artifact;
                            }
                            share.to_mut().insert(workload.clone(), previous.spec.clone());
                        }
                        None => {
                            plan.remove(workload);
                            share.to_mut().remove(workload);
                        }
                    }
                    if let Some(verdict) = step.falls_to(&self.parts.me, due_ms)
                        && crate::reconcile::sees_most(mesh, &self.parts.me)
                    {
                        self.begin_record(workload, deployed.id, verdict.clone());
                    }
                    step.stage
                }
            };
            reached.insert(workload.clone(), Reached { of: deployed.id, stage });
        }
        self.tell(deployed, reached);
        share
    }

    /// What is to be done about a deployment, as this host has seen it: a switch of schemas is over where it was recorded and this host
    /// has seen that nothing else runs.
    pub(super) fn course<'a>(&self, workload: &WorkloadName, deployed: &'a Deployed) -> Course<'a> {
        let is_completed = deployed.recorded.as_ref().is_some_and(|it| it.verdict == rollout::Verdict::Completed);
        match deployed.course() {
            Course::Rolling(_) | Course::Unseen
                if is_completed && self.reached(workload, deployed) == Some(Stage::Done) =>
            {
                Course::Settled
            }
            course => course,
        }
    }

    /// Whether a switch of schemas has got so far, as this host has seen, that the new version serves and nothing older is left.
    pub(super) fn has_switched(&self, workload: &WorkloadName, deployed: &Deployed) -> bool {
        matches!(self.reached(workload, deployed), Some(Stage::Following { done: 1.., .. } | Stage::Done))
    }

    fn reached(&self, workload: &WorkloadName, deployed: &Deployed) -> Option<Stage> {
        let reached = self.parts.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.get(workload).filter(|reached| reached.of == deployed.id).map(|reached| reached.stage.clone())
    }

    /// Notes of what is held that it waits for the version before, and of what is fenced for one that knows the state.
    pub(super) fn note_held(&self, deployed: &Deployments) {
        let mut waiting = self.parts.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let why = |deployed: &Deployed| match (deployed.course(), deployed.fence()) {
            (_, Err(FenceError { stored, offered })) => Some(Waiting::Fenced { stored, offered }),
            (Course::Held, Ok(())) => Some(Waiting::VersionBefore),
            (_, Ok(())) => None,
        };
        waiting.extend(deployed.iter().filter_map(|(workload, deployed)| Some((workload.clone(), why(deployed)?))));
    }

    /// Where each deployment is, as it was last looked at.
    #[must_use]
    pub fn stage(&self, workload: &WorkloadName, deployed: &Deployed) -> Option<Stage> {
        match self.course(workload, deployed) {
            Course::Settled => Some(Stage::Done),
            Course::Held | Course::Fenced => None,
            Course::Back(_) => Some(Stage::RolledBack { reason: reason(deployed) }),
            Course::Rolling(_) | Course::Unseen => self.reached(workload, deployed),
        }
    }

    /// What to say of more rollouts than a host can tell the others of.
    #[must_use]
    pub fn crowded(&self) -> Option<String> {
        let untold = self.trials().untold();
        let sentence = || {
            format!(
                "the others hear nothing of {untold} rollouts here, since a host tells of {TOLD_MAX} at once: until some are over they wait a minute for this host, and judge without its figures; deploy fewer at a time"
            )
        };
        (untold > 0).then(sentence)
    }

    /// What the others are told of rollouts.
    #[must_use]
    pub fn told(&self) -> BTreeMap<WorkloadName, Told> {
        let (deployed, now_ms) = (self.known().deployed, self.parts.view.now().mono_ms);
        for (workload, deployed) in &*deployed {
            if let Course::Rolling(previous) = self.course(workload, deployed) {
                self.observe((workload, deployed), &deployed.rollout(previous), now_ms);
            }
        }
        self.trials().told(now_ms)
    }

    /// The step of a rollout, and for how long what it records has been due.
    fn step(
        &self,
        workload: &WorkloadName,
        deployed: &Deployed,
        previous: &Previous,
        (plan, mesh): (&Plan, &Mesh),
        now: Time,
    ) -> (rollout::Step, Rollout, u64) {
        let rollout = deployed.rollout(previous);
        let own = self.observe((workload, deployed), &rollout, now.mono_ms);
        let chosen: BTreeSet<NodeId> = plan.get(workload).map(|plan| plan.holders().collect()).unwrap_or_default();
        let mut reports = self.reports((workload, deployed.id, &rollout), &chosen);
        let is_chosen = chosen.contains(&self.parts.me);
        if is_chosen || !own.is_empty() {
            let (node, (lately, queued)) = (self.parts.me, self.trials().own(workload));
            let (chosen, versions) = (is_chosen, own);
            reports.push(Report { chosen, tells: true, queued, lately, versions, ..Report::of_absent(node) });
        }
        self.trials().remind(workload, &mut reports, now.mono_ms);
        self.add_lost((workload, deployed), &mut reports);
        let recorded = deployed.recorded.as_ref().map(|recorded| &recorded.verdict);
        let rank = |node: &NodeId| {
            let rate = mesh.node(node).and_then(|facts| facts.calls_per_s.get(workload)).copied().unwrap_or(0.0);
            (canary_order(rate), deployed.id.rank(node))
        };
        let step = rollout::step(&rollout, &reports, recorded, rank);
        let due_ms = self.trials().note((workload, &rollout), &reports, &step, now.mono_ms);
        (step, rollout, due_ms)
    }

    /// Records a verdict, unless that is under way.
    fn begin_record(&self, workload: &WorkloadName, of: DeploymentId, verdict: rollout::Verdict) {
        if !self.recording().insert(workload.clone()) {
            return;
        }
        let (workloads, workload) = (self.clone(), workload.clone());
        tokio::spawn(async move {
            tracing::info!(%workload, deployment = %of, ?verdict, "a rollout is judged");
            if let Err(error) = workloads.record(&workload, of, verdict).await {
                tracing::error!(%workload, %error, "the verdict on a rollout could not be recorded; it is tried again");
            }
            workloads.recording().remove(&workload);
        });
    }

    /// Brings the component here while another host tries it: whoever has it may be gone when it is this host's turn. Once; its start
    /// tries again.
    fn begin_fetch(&self, workload: &WorkloadName, deployed: &Deployed) {
        if !self.trials().fetches(workload, deployed.id) {
            return;
        }
        let (workloads, workload, digest) = (self.clone(), workload.clone(), deployed.spec.artifact);
        tokio::spawn(async move {
            if let Err(error) = workloads.reach(digest).await {
                tracing::debug!(%workload, %digest, %error, "not here yet");
            }
        });
    }

    /// Keeps where each deployment is, and tells who listens of those that have got further.
    fn tell(&self, deployed: &Deployments, reached: BTreeMap<WorkloadName, Reached>) {
        let mut known = self.parts.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == reached {
            return;
        }
        let before = std::mem::replace(&mut *known, reached.clone());
        drop(known);
        if !self.have_looked() {
            // What was so before this agent looked is no news.
            return;
        }
        let news = reached.iter().filter_map(|(workload, now)| {
            let before = before.get(workload).filter(|before| before.of == now.of).map(|before| &before.stage);
            let deployed = deployed.get(workload)?;
            Some(Event::Rollout(event(workload, deployed, word(before, &now.stage)?, &now.stage)))
        });
        self.parts.events.record(news.collect::<Vec<_>>());
    }
}

/// What a stage that has been reached is called; `None` where an event says no more than the one before.
fn word(before: Option<&Stage>, now: &Stage) -> Option<&'static str> {
    let word = |stage: &Stage| match stage {
        Stage::Canary { .. } => "canary",
        Stage::Following { .. } => "promoted",
        Stage::Switching { .. } => "switching",
        Stage::Nowhere => "nowhere",
        Stage::Done => "completed",
        Stage::RolledBack { .. } => "rolled_back",
    };
    let canary = |stage: &Stage| if let Stage::Canary { node, .. } = stage { Some(*node) } else { None };
    let is_same = before.is_some_and(|before| word(before) == word(now) && canary(before) == canary(now));
    (!is_same).then(|| word(now))
}

fn event(workload: &WorkloadName, deployed: &Deployed, word: &'static str, at: &Stage) -> RolloutEvent {
    let (stage, node, reason) = match at {
        Stage::Canary { node, .. } => (word, Some(*node), None),
        Stage::RolledBack { reason } => (word, None, Some(reason.clone())),
        Stage::Done if deployed.origin.reverts.is_some() => ("rolled_back", None, Some("by hand".to_owned())),
        Stage::Done if deployed.recorded.is_none() => ("deployed", None, None),
        Stage::Following { .. } | Stage::Switching { .. } | Stage::Nowhere | Stage::Done => (word, None, None),
    };
    let judged = deployed.recorded.as_ref().map(|recorded| recorded.by);
    RolloutEvent {
        workload: workload.to_string(),
        stage,
        deployment: deployed.id.to_string(),
        revision: deployed.spec.revision().to_string(),
        node,
        reason,
        deployed_by: deployed.origin.by,
        undeployed_by: None,
        judged_by: judged,
    }
}

/// That this agent was asked to undeploy it, and has.
pub(super) fn undeployed(workload: &WorkloadName, deployed: &Deployed, by: NodeId) -> Event {
    Event::Rollout(RolloutEvent { undeployed_by: Some(by), ..event(workload, deployed, "undeployed", &Stage::Nowhere) })
}

/// Why a deployment was taken back.
fn reason(deployed: &Deployed) -> String {
    match deployed.recorded.as_ref().map(|recorded| &recorded.verdict) {
        Some(rollout::Verdict::RolledBack { reason }) => reason.clone(),
        Some(rollout::Verdict::Promoted | rollout::Verdict::Completed) | None => String::new(),
    }
}

/// Where a host stands among those that could try a version first, by the calls a second that enter there: those that are called before
/// those that are not, which would learn nothing; and among them the quiet ones first, where least is lost. Only by powers of two, so
/// that agents that have heard different figures mostly agree.
pub(super) fn canary_order(calls_per_s: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a logarithm of at least zero, at most 30"
    )]
    let magnitude = |rate: f64| rate.log2().min(30.0) as u32;
    if calls_per_s >= 1.0 { magnitude(calls_per_s) } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_is_a_quiet_host_that_is_called() {
        let order: Vec<u32> = [1.0, 1.9, 2.0, 1_000.0, f64::MAX, 0.9, 0.0].map(canary_order).to_vec();
        assert!(order.is_sorted() && order[0] == order[1] && order[4] < order[5], "{order:?}");
        assert_eq!(canary_order(f64::NAN), u32::MAX);
    }

    #[test]
    fn what_is_told_twice_is_no_news() {
        let canary = |number, calls| Stage::Canary {
            node: NodeId([number; 32]),
            calls,
            remaining_ms: 0,
            latest_ms: 0,
            p99_us: None,
        };
        assert_eq!(word(None, &canary(1, 0)), Some("canary"));
        assert_eq!(word(Some(&canary(1, 0)), &canary(1, 9)), None);
        assert_eq!(word(Some(&canary(1, 0)), &canary(2, 0)), Some("canary"), "another host");
        let following = |done| Stage::Following { done, of: 3, behind: Vec::new() };
        assert_eq!(word(Some(&canary(1, 9)), &following(1)), Some("promoted"));
        assert_eq!(word(Some(&following(1)), &following(2)), None);
        assert_eq!(word(Some(&following(3)), &Stage::Done), Some("completed"));
    }
}
