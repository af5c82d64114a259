//! What hosts report of a workload that is being rolled out: the others in their records, this one by looking at itself.
//!
//! Owns how much is made of what is not said. The invariant: a host that could tell and does not has served for no time.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use super::Workloads;
use super::deployed::Deployed;
use super::trials::Sight;
use crate::members::Status;
use crate::placement::{Instance, Phase};
use crate::rollout::{Figures, Report, Rollout, Runs, Told};
use crate::spec::{DeploymentId, Revision, WorkloadName};
use crate::wasm::Latency;

impl Workloads {
    /// What the others report of a workload: those who are to run it, and those who still do.
    pub(super) fn reports(
        &self,
        (workload, of, rollout): (&WorkloadName, DeploymentId, &Rollout),
        chosen: &BTreeSet<NodeId>,
    ) -> Vec<Report> {
        self.parts.members.with(|members| {
            let report = |(node, status, record): (NodeId, Status, Option<&crate::members::NodeRecord>)| {
                let record = record.filter(|_| matches!(status, Status::Alive | Status::Suspect))?;
                let (told, instance) = (record.rollouts.get(workload), record.instances.get(workload));
                let versions = reported((told, record.tells_rollouts), instance, (of, rollout));
                let lately = told.filter(|told| told.of == of).map(Told::lately).unwrap_or_default();
                let (is_chosen, tells) = (chosen.contains(&node), told.is_some() || record.tells_rollouts);
                (is_chosen || instance.is_some()).then_some(Report {
                    node,
                    chosen: is_chosen,
                    tells,
                    asked_ms: 0,
                    old_ms: 0,
                    queued: told.is_some_and(|told| told.of == of && told.queued),
                    lost: 0,
                    lately,
                    versions,
                })
            };
            members.each().filter(|(node, ..)| *node != self.parts.me).filter_map(report).collect()
        })
    }

    /// Hosts, of members that are there and this one, that have an instance of a workload made from anything but this revision.
    pub(super) fn others(&self, workload: &WorkloadName, revision: Revision) -> Vec<NodeId> {
        let is_other = |instance: &Instance| {
            !matches!(instance.phase, Phase::Failed { .. }) && instance.revision.is_some_and(|own| own != revision)
        };
        let own = self.slots().advertised().get(workload).is_some_and(is_other);
        let mut others: Vec<NodeId> = self.parts.members.with(|members| {
            let runs = |(node, status, record): &(NodeId, Status, Option<&crate::members::NodeRecord>)| {
                let is_there = *node != self.parts.me && matches!(status, Status::Alive | Status::Suspect);
                let instance = record.filter(|_| is_there).and_then(|record| record.instances.get(workload));
                instance.is_some_and(is_other)
            };
            members.each().filter(runs).map(|(node, ..)| node).collect()
        });
        others.extend(own.then_some(self.parts.me));
        others
    }

    pub(super) fn observe(
        &self,
        (workload, deployed): (&WorkloadName, &Deployed),
        rollout: &Rollout,
        now_ms: u64,
    ) -> BTreeMap<Revision, (Runs, Figures)> {
        let (wasm, of) = (&self.parts.wasm, deployed.id);
        if self.trials().begins(workload, of) {
            wasm.mark(workload.as_str());
        }
        let figures = |calls: u64, failed: u64, latency: Latency| Figures {
            calls: calls.saturating_add(failed),
            traps: failed,
            p50_ms: latency.p50.as_secs_f64() * 1e3,
            p99_ms: latency.p99.as_secs_f64() * 1e3,
        };
        let lately = wasm.since_mark(workload.as_str()).map(|stats| figures(stats.calls, stats.failed, stats.latency));
        let stats = wasm.workload_stats(workload.as_str());
        let slots = self.slots();
        let (instance, [serving, loading]) = slots.seen(workload);
        // Of the new version alone: what the old one refuses, it always did.
        let counts_broken = serving == Some(rollout.to.revision) && !deployed.origin.forced;
        let figures = stats.map(|stats| {
            let broken = if counts_broken { stats.broken } else { 0 };
            figures(stats.calls, stats.failed.saturating_add(broken), stats.latency)
        });
        let sight = Sight { instance, serving, loading, figures, lately };
        self.trials().observe((workload, of, rollout), sight, now_ms)
    }
}

/// What a host reports of its versions, by what it tells of a rollout, if it does tell of any, and by its instance.
fn reported(
    (told, tells): (Option<&Told>, bool),
    instance: Option<&Instance>,
    (of, rollout): (DeploymentId, &Rollout),
) -> BTreeMap<Revision, (Runs, Figures)> {
    match told {
        Some(told) if told.of == of => told.versions(),
        // It has yet to hear of this deployment, or has more of them than it tells of.
        Some(_) => seen_of(instance, rollout, 0),
        None if tells => seen_of(instance, rollout, 0),
        // It is of an older release, which runs what its spec says and does not say since when.
        None => seen_of(instance, rollout, u64::MAX),
    }
}

/// What an instance says of itself where its host tells nothing of this rollout: if it is ready, for so long.
fn seen_of(instance: Option<&Instance>, rollout: &Rollout, for_ms: u64) -> BTreeMap<Revision, (Runs, Figures)> {
    let runs = |instance: &Instance, revision| match &instance.phase {
        Phase::Ready => Runs::Ready { for_ms },
        // Nothing of it answers calls.
        Phase::Failed { .. } if revision != rollout.to.revision => Runs::Gone,
        Phase::Starting | Phase::Stopping | Phase::Failed { .. } => Runs::Unready,
    };
    let seen = instance.and_then(|instance| {
        let revision = instance.revision?;
        Some((revision, (runs(instance, revision), Figures::default())))
    });
    seen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout;
    use crate::spec::Spec;

    #[test]
    fn who_could_tell_and_does_not_has_served_for_no_time() {
        let spec = |name| Spec::new(crate::spec::Digest::of(name));
        let version = |spec: &Spec| rollout::Version { revision: spec.revision(), state_schema: 0 };
        let (old, new) = (spec(b"old"), spec(b"new"));
        let rollout =
            Rollout { from: version(&old), to: version(&new), gates: rollout::Gates::default(), forced: false };
        let instance = Instance::made_from(&new, Phase::Ready);
        let of = DeploymentId::of("now");
        let runs = |told: Option<&Told>, tells| {
            reported((told, tells), Some(&instance), (of, &rollout))[&rollout.to.revision].0.clone()
        };
        assert_eq!(runs(None, true), Runs::Ready { for_ms: 0 });
        assert_eq!(runs(None, false), Runs::Ready { for_ms: u64::MAX }, "an older release has no more to say");
        let other = Told::new(DeploymentId::of("before"), &BTreeMap::new(), Figures::default());
        assert_eq!(runs(Some(&other), true), Runs::Ready { for_ms: 0 });
        let versions = BTreeMap::from([(rollout.to.revision, (Runs::Ready { for_ms: 7 }, Figures::default()))]);
        assert_eq!(runs(Some(&Told::new(of, &versions, Figures::default())), true), Runs::Ready { for_ms: 7 });
    }
}
