//! How far a host is believed that speaks about itself.
//!
//! Owns what becomes of claims that placement cannot check: they are held against what the other hosts say of themselves. The
//! invariant: a host gains nothing by claiming more than the best of the others could, and its figures lose weight as they age.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::{Instance, Mesh, NodeFacts};

/// Hosts beside the one in question that it takes to doubt it. With fewer, nobody can say which of two is the odd one.
const WITNESSES_MIN: usize = 4;
/// One in so many witnesses may be a liar itself: that share of the most extreme claims is passed over.
const WITNESSES_PER_LIAR: usize = 16;
/// The share of [`super::Policy::stale_after_ms`] for which figures count in full. Members repeat themselves well within it.
const FRESH_SHARE: f64 = 1.0 / 3.0;

/// What placement takes for true of one host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Believed {
    /// Cores, at most as many as any of the others has.
    pub(super) cores: f64,
    /// Memory in bytes, likewise.
    pub(super) memory_total: f64,
    /// Shares in use, 0 to 1.
    pub(super) used: Used,
    /// What the figures weigh, 1 (fresh) to 0 (stale).
    pub(super) freshness: f64,
    /// Whether it claims to be idler than it can be.
    pub(super) doubted: bool,
}

/// Shares in use, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Used {
    pub(super) load: f64,
    pub(super) cpu: f64,
    pub(super) memory: f64,
}

/// What is believed of everybody.
pub(super) struct Trust(BTreeMap<NodeId, Believed>);

/// What one host claims.
struct Claim {
    node: NodeId,
    cores: f64,
    memory_total: f64,
    used: Used,
    running: f64,
    freshness: f64,
}

impl Trust {
    /// Weighs the claims of all hosts in `mesh` against each other.
    pub(super) fn of(mesh: &Mesh, stale_after_ms: u64) -> Self {
        let claims: Vec<Claim> = mesh.nodes().map(|node| Claim::of(node, stale_after_ms)).collect();
        let witnesses: Vec<&Claim> = mesh
            .nodes()
            .zip(&claims)
            .filter(|(node, claim)| node.healthy && claim.freshness > 0.0)
            .map(|(_, c)| c)
            .collect();
        let cores = Ranked::new(&witnesses, |claim| claim.cores);
        let memory = Ranked::new(&witnesses, |claim| claim.memory_total);
        let running = Ranked::new(&witnesses, |claim| claim.running);
        // Whoever runs little may well be idle, and says nothing about those that run much.
        let most = running.high(None).unwrap_or(0.0);
        let busy: Vec<&Claim> = witnesses.iter().copied().filter(|claim| claim.running * 2.0 >= most).collect();
        let count = move |claim: &Claim| if most > 0.0 { claim.running } else { 1.0 };
        let per_instance =
            |figure: fn(&Used) -> f64| Ranked::new(&busy, move |claim| figure(&claim.used) / count(claim));
        let (load, cpu) = (per_instance(|used| used.load), per_instance(|used| used.cpu));
        let used_memory = per_instance(|used| used.memory);
        let believed = |claim: &Claim| {
            let own = Some(claim);
            // Whatever it runs costs it no less than it costs the most frugal of those that run as much.
            let least = |claimed: f64, each: Option<f64>| {
                each.map_or(claimed, |each| claimed.max(each * count(claim)).min(1.0))
            };
            let used = Used {
                load: least(claim.used.load, load.low(own)),
                cpu: least(claim.used.cpu, cpu.low(own)),
                memory: least(claim.used.memory, used_memory.low(own)),
            };
            let believed = Believed {
                cores: cores.high(own).map_or(claim.cores, |most| claim.cores.min(most)),
                memory_total: memory.high(own).map_or(claim.memory_total, |most| claim.memory_total.min(most)),
                used,
                freshness: claim.freshness,
                doubted: used != claim.used,
            };
            (claim.node, believed)
        };
        Self(claims.iter().map(believed).collect())
    }

    /// What is believed of `node`, which is one of the mesh.
    pub(super) fn believed(&self, node: &NodeId) -> Believed {
        *self.0.get(node).expect("every host of the mesh was weighed")
    }
}

impl Claim {
    fn of(node: &NodeFacts, stale_after_ms: u64) -> Self {
        let resources = &node.resources;
        let memory_used = resources.memory_total.saturating_sub(resources.memory_free);
        Self {
            node: node.node,
            cores: resources.cpu_total,
            memory_total: resources.memory_total as f64,
            used: Used {
                load: node.load,
                cpu: resources.cpu_used_share,
                memory: if resources.memory_total == 0 {
                    1.0
                } else {
                    memory_used as f64 / resources.memory_total as f64
                },
            },
            running: node.instances.values().filter(|instance| Instance::runs(instance)).count() as f64,
            freshness: freshness(node.age_ms, stale_after_ms),
        }
    }
}

/// One figure of several hosts, the smallest first, with whose it is.
struct Ranked(Vec<(f64, NodeId)>);

impl Ranked {
    fn new(claims: &[&Claim], figure: impl Fn(&Claim) -> f64) -> Self {
        let mut figures: Vec<(f64, NodeId)> = claims.iter().map(|claim| (figure(claim), claim.node)).collect();
        figures.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self(figures)
    }

    /// The least that is believable, going by everybody but `own`; `None` with too few witnesses.
    fn low(&self, own: Option<&Claim>) -> Option<f64> {
        self.pick(self.0.iter(), own)
    }

    /// The most that is believable.
    fn high(&self, own: Option<&Claim>) -> Option<f64> {
        self.pick(self.0.iter().rev(), own)
    }

    fn pick<'a>(&'a self, ranked: impl Iterator<Item = &'a (f64, NodeId)>, own: Option<&Claim>) -> Option<f64> {
        (self.0.len() > WITNESSES_MIN).then_some(())?;
        let others = ranked.filter(|(_, node)| own.is_none_or(|own| own.node != *node));
        others.map(|(figure, _)| *figure).nth((self.0.len() - 1) / WITNESSES_PER_LIAR)
    }
}

/// What figures of this age weigh: all for the first third of the time that they are good for at all, then less and less.
pub(super) fn freshness(age_ms: u64, stale_after_ms: u64) -> f64 {
    let (age_ms, stale_ms) = (age_ms as f64, stale_after_ms as f64);
    let fresh_ms = stale_ms * FRESH_SHARE;
    if age_ms <= fresh_ms { 1.0 } else { ((stale_ms - age_ms) / (stale_ms - fresh_ms)).clamp(0.0, 1.0) }
}
