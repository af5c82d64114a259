//! Hosts that were chosen for a workload and do not begin with it, or get no further.
//!
//! Owns the patience with them. A host that claims the best score and starts nothing would keep a workload from running at all, and so
//! would one that starts it for ever: nothing that it says of itself shows it. Each agent watches by itself; since all see the same,
//! they pass over the same hosts. The invariant: nobody is blamed for what nobody may start.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use crate::placement::{Mesh, Phase, Plan, Stage};
use crate::spec::{Digest, Revision, WorkloadName};

/// How long a chosen host may show no sign of a workload, in milliseconds. A host that has much to start at once begins with the last
/// of it after some compilations; one that has begun says so.
pub const ABSENT_MS_MAX: u64 = 60_000;
/// How long a chosen host may be at one step of a start, in milliseconds. Nearly all take seconds. A large artefact over the thinnest of
/// links takes longer: that host is passed over, goes on until another is ready, and serves if it is the first.
pub const STUCK_MS_MAX: u64 = 300_000;
/// How long a host is passed over, in milliseconds, in milliseconds: as long as the longest wait after a failure.
pub const PASSED_OVER_MS: u64 = 300_000;

/// A workload and a host.
type Pair = (WorkloadName, NodeId);

/// How far a host has got that does not serve what it was chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// What it starts; `None` where it shows nothing.
    of: Option<(Digest, Option<Revision>)>,
    stage: Option<Stage>,
}

/// Who was chosen and has not begun or gets no further, and who is passed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Absences {
    /// How far each has got, and since when.
    since_ms: BTreeMap<Pair, (Progress, u64)>,
    until_ms: BTreeMap<Pair, u64>,
}

impl Progress {
    /// What a host shows of a workload that it does not serve; `None` where it serves, stops or has failed.
    fn of(mesh: &Mesh, (workload, node): &Pair) -> Option<Self> {
        let Some(instance) = mesh.node(node).and_then(|facts| facts.instances.get(workload)) else {
            return Some(Self { of: None, stage: None });
        };
        match instance.phase {
            Phase::Starting => Some(Self { of: Some((instance.digest, instance.revision)), stage: instance.stage }),
            Phase::Ready | Phase::Stopping | Phase::Failed { .. } => None,
        }
    }

    const fn has_begun(&self) -> bool {
        self.of.is_some()
    }

    /// Whether it is another start than before, or further on. To go back and forth is no progress.
    fn is_beyond(&self, before: &Self) -> bool {
        self.of != before.of || self.stage > before.stage
    }

    const fn patience_ms(&self) -> u64 {
        if self.has_begun() { STUCK_MS_MAX } else { ABSENT_MS_MAX }
    }
}

impl Absences {
    /// Takes note of whom the plan chooses and what they show, but for what may not be started now. Bounded by the plan.
    pub(super) fn look(
        &mut self,
        (me, plan, mesh): (&NodeId, &Plan, &Mesh),
        may_not_start: &BTreeSet<&WorkloadName>,
        now_ms: u64,
    ) {
        let lacking = self.lacking(plan, mesh, may_not_start);
        self.since_ms.retain(|pair, _| lacking.contains_key(pair));
        for (pair, progress) in lacking {
            let known = self.since_ms.entry(pair.clone()).or_insert((progress, now_ms));
            if progress.is_beyond(&known.0) {
                *known = (progress, now_ms);
            }
            if now_ms.saturating_sub(known.1) >= progress.patience_ms() {
                if !progress.has_begun() {
                    self.since_ms.remove(&pair);
                }
                self.until_ms.insert(pair, now_ms.saturating_add(PASSED_OVER_MS));
            }
        }
        self.until_ms.retain(|(workload, node), until_ms| {
            // Who comes back begins anew, and so does this host with what it may start again.
            let is_lost = mesh.node(node).is_some_and(|facts| facts.lost_ms.is_some());
            let was_kept = node == me && may_not_start.contains(workload);
            *until_ms > now_ms && plan.contains_key(workload) && !is_lost && !was_kept
        });
    }

    /// Who does not serve what it should, and how far it has got with it.
    fn lacking(&self, plan: &Plan, mesh: &Mesh, may_not_start: &BTreeSet<&WorkloadName>) -> BTreeMap<Pair, Progress> {
        let mut lacking = BTreeMap::new();
        for (workload, explanation) in plan.iter().filter(|(workload, _)| !may_not_start.contains(workload)) {
            for node in explanation.chosen() {
                let pair = (workload.clone(), node);
                // Who is to take over from a running instance waits until it has led for long enough.
                let waits = explanation.moves.iter().any(|step| step.to == node);
                if let Some(progress) = Progress::of(mesh, &pair).filter(|progress| progress.has_begun() || !waits) {
                    lacking.insert(pair, progress);
                }
            }
        }
        // Who gets no further is passed over for as long as that is so.
        for pair in self.until_ms.keys().filter(|(workload, _)| !may_not_start.contains(workload)) {
            if let Some(progress) = Progress::of(mesh, pair).filter(Progress::has_begun) {
                lacking.insert(pair.clone(), progress);
            }
        }
        lacking
    }

    /// Who is passed over for what.
    pub(super) fn passed_over(&self) -> BTreeSet<Pair> {
        self.until_ms.keys().cloned().collect()
    }
}
