//! Instances that stay where they are for want of another place.
//!
//! A host that is being emptied, ill or too far away is no candidate any more; what runs there goes on until a candidate has taken over,
//! and only as much of it as there are too few candidates. The invariant: a host that the spec forbids keeps nothing.

use std::collections::BTreeMap;

use super::choose::Quota;
use super::{NodeFacts, Phase, Reason};
use crate::spec::{Spread, WorkloadName};

/// How many instances are missing, and in which regions.
pub(super) struct Missing {
    anywhere: usize,
    /// For a spec that names the regions.
    by_region: Option<BTreeMap<u16, usize>>,
}

impl Missing {
    /// What `quota` asks for less what was chosen, as the regions of the chosen hosts.
    pub(super) fn of(spread: &Spread, quota: &Quota, chosen: impl Iterator<Item = u16>) -> Self {
        let mut taken: BTreeMap<u16, usize> = BTreeMap::new();
        chosen.for_each(|region| *taken.entry(region).or_default() += 1);
        let all: usize = taken.values().sum();
        let by_region = match quota {
            Quota::Any(_) | Quota::Even(_) => None,
            Quota::Each(counts) => {
                let missing = |(region, count): (&u16, &usize)| {
                    (*region, count.saturating_sub(taken.get(region).copied().unwrap_or(0)))
                };
                Some(counts.iter().map(missing).collect())
            }
        };
        let wanted = match (spread, quota) {
            // One on each host that may: none is missing, unless no host may and it would run nowhere.
            (Spread::Everywhere, _) => 1,
            (_, Quota::Any(wanted) | Quota::Even(wanted)) => *wanted,
            (_, Quota::Each(counts)) => counts.values().sum(),
        };
        Self { anywhere: wanted.saturating_sub(all), by_region }
    }

    fn take(&mut self, region: u16) -> bool {
        let left = match &mut self.by_region {
            Some(by_region) => by_region.get_mut(&region),
            None => Some(&mut self.anywhere),
        };
        match left {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// A rejected host, with the number of its region.
pub(super) struct Rejection<'a> {
    pub(super) node: &'a NodeFacts,
    pub(super) reason: &'a Reason,
    pub(super) region: u16,
}

/// Which of the rejected hosts, in their order, keep an instance of the workload. The sound come first, and what runs before what is
/// about to stop: so every agent names the same ones, and they stay the same from one plan to the next.
pub(super) fn kept(workload: &WorkloadName, rejected: &[Rejection<'_>], mut missing: Missing) -> Vec<bool> {
    let mut holders: Vec<_> = rejected.iter().enumerate().filter(|(_, host)| holds(workload, host)).collect();
    holders.sort_by_key(|(_, Rejection { node, reason, .. })| {
        let is_unwell = matches!(reason, Reason::Unhealthy | Reason::Stale { .. } | Reason::Stuck);
        let runs = node.instances.get(workload).is_some_and(super::Instance::runs);
        (is_unwell, !runs, node.draining, node.node)
    });
    let mut keeps = vec![false; rejected.len()];
    for (at, host) in holders {
        keeps[at] = missing.take(host.region);
    }
    keeps
}

/// Whether there is something to keep: an instance that still answers, or one that ran before this agent was started again.
fn holds(workload: &WorkloadName, host: &Rejection<'_>) -> bool {
    // What such a host last said of itself is the past.
    let is_gone = matches!(host.reason, Reason::Lost { .. } | Reason::Left);
    let phase = host.node.instances.get(workload).map(|instance| &instance.phase);
    let is_there = matches!(phase, Some(Phase::Starting | Phase::Ready | Phase::Stopping));
    !is_gone && !host.reason.forbids() && (is_there || host.node.resumes.contains(workload))
}
