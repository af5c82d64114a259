//! What this host holds on to while it is being emptied.
//!
//! A host that drains goes on with what can run nowhere else, and after a restart too: so what it still had when it was stopped is kept
//! on disk, and comes back if nobody else may run it. The invariant: what has once been handed over does not come back by itself.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use tokio::sync::watch;

use crate::placement::{Instance, Mesh, Phase, Plan};
use crate::spec::WorkloadName;

/// What ran here before, and what runs here now.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// What ran when the agent was stopped, and has neither begun again nor been taken over since.
    resumes: BTreeSet<WorkloadName>,
    /// That and what is here now, for whoever keeps it on disk.
    held: watch::Sender<BTreeSet<WorkloadName>>,
}

impl Holding {
    /// What ran when the agent was stopped.
    pub(super) fn resume(&mut self, workloads: BTreeSet<WorkloadName>) {
        self.held.send_replace(workloads.clone());
        self.resumes = workloads;
    }

    /// What is to come back if it can run nowhere else.
    pub(super) const fn resumes(&self) -> &BTreeSet<WorkloadName> {
        &self.resumes
    }

    /// Follows what this host holds on to.
    pub(super) fn held(&self) -> watch::Receiver<BTreeSet<WorkloadName>> {
        self.held.subscribe()
    }

    /// Takes note of what is here now, and of what others have taken over.
    pub(super) fn look(
        &mut self,
        (me, here): (&NodeId, &BTreeMap<WorkloadName, Instance>),
        (plan, mesh): (&Plan, &Mesh),
        is_deployed: impl Fn(&WorkloadName) -> bool,
    ) {
        let is_there = |instance: &Instance| !matches!(instance.phase, Phase::Failed { .. });
        let answers = |node: NodeId, workload: &WorkloadName| {
            let instance = mesh.node(&node).and_then(|facts| facts.instances.get(workload));
            instance.is_some_and(|instance| instance.phase == Phase::Ready)
        };
        self.resumes.retain(|workload| {
            let began = here.get(workload).is_some_and(is_there);
            let taken_over = plan.get(workload).is_some_and(|explanation| {
                !explanation.keeps(me) && explanation.holders().any(|node| answers(node, workload))
            });
            !began && !taken_over && is_deployed(workload)
        });
        let there = here.iter().filter(|(_, instance)| is_there(instance)).map(|(workload, _)| workload);
        let held: BTreeSet<WorkloadName> = there.chain(&self.resumes).cloned().collect();
        self.held.send_if_modified(|before| {
            let differs = *before != held;
            *before = held;
            differs
        });
    }
}
