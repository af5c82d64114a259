//! Hosts that were chosen for a workload and do not begin with it.
//!
//! Owns the patience with them. A host that claims the best score and starts nothing would keep a workload from running at all, and
//! nothing that it says of itself shows it. Each agent watches by itself; since all see the same, they pass over the same hosts.
//! The invariant: nobody is blamed for what nobody may start.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use crate::placement::{Mesh, Plan};
use crate::spec::WorkloadName;

/// How long a chosen host may show no sign of a workload, in milliseconds. A host that has much to start at once begins with the last
/// of it after some compilations; one that has begun says so.
pub const ABSENT_MS_MAX: u64 = 60_000;
/// How long it is passed over then, in milliseconds: as long as the longest wait after a failure.
pub const PASSED_OVER_MS: u64 = 300_000;

/// A workload and a host.
type Pair = (WorkloadName, NodeId);

/// Who was chosen and has not begun, and who is passed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Absences {
    since_ms: BTreeMap<Pair, u64>,
    until_ms: BTreeMap<Pair, u64>,
}

impl Absences {
    /// Takes note of whom the plan chooses and what they show, but for what may not be started now. Bounded by the plan.
    pub(super) fn look(
        &mut self,
        (me, plan, mesh): (&NodeId, &Plan, &Mesh),
        may_not_start: &BTreeSet<&WorkloadName>,
        now_ms: u64,
    ) {
        let mut absent = BTreeSet::new();
        for (workload, explanation) in plan.iter().filter(|(workload, _)| !may_not_start.contains(workload)) {
            for node in explanation.chosen() {
                // Who is to take over from a running instance waits until it has led for long enough.
                let waits = explanation.moves.iter().any(|step| step.to == node);
                let shows = mesh.node(&node).is_some_and(|facts| facts.instances.contains_key(workload));
                if !waits && !shows {
                    absent.insert((workload.clone(), node));
                }
            }
        }
        self.since_ms.retain(|pair, _| absent.contains(pair));
        for pair in absent {
            let since_ms = *self.since_ms.entry(pair.clone()).or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) >= ABSENT_MS_MAX {
                self.since_ms.remove(&pair);
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

    /// Who is passed over for what.
    pub(super) fn passed_over(&self) -> BTreeSet<Pair> {
        self.until_ms.keys().cloned().collect()
    }
}
