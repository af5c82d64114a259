//! Agents that each place workloads of their own at the same moment, by figures that are a second old.

use std::collections::BTreeMap;

use super::{SplitMix, facts, node, plan};
use crate::placement::{Instance, Mesh, NodeFacts, Phase, Policy};
use crate::spec::{Digest, Spec, WorkloadName};

/// Cores of a host.
const CORES: f64 = 16.0;
/// Cores that one instance keeps busy in truth: a third less than placement presumes.
const CORES_PER_INSTANCE: f64 = 0.067;
/// Memory that one instance takes, in bytes.
const MEMORY_PER_INSTANCE: u64 = 48 << 20;
/// By how much measured loads differ between idle hosts.
const NOISE: f64 = 0.02;

/// How a host is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// By [`plan`].
    Plan,
    /// The one with the best score, as everybody sees it.
    Best,
}

/// What the first host says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The truth, as noisily as everybody.
    Ordinary,
    /// The truth, without any noise: nobody honest looks idler.
    Best,
    /// That it is idle and of infinite size.
    Liar,
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Herd {
    /// Hosts, each with an agent that places.
    pub hosts: usize,
    /// Workloads that each agent places in each round.
    pub per_round: usize,
    /// Rounds, a second apart.
    pub rounds: usize,
    /// What the first host says of itself.
    pub first: First,
    /// Load of the second half of the hosts before anything is placed, 0 to 1.
    pub uneven: f64,
    /// How hosts are chosen.
    pub chooser: Chooser,
    /// From which everything follows.
    pub seed: u64,
}

/// How evenly it came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balance {
    /// Busy cores on the busiest host over the mean of all.
    pub max_to_mean: f64,
    /// Instances on the first host.
    pub first: usize,
    /// Most instances on any other host.
    pub most_of_others: usize,
}

struct Host {
    instances: Vec<WorkloadName>,
    base: f64,
}

/// Runs it.
#[must_use]
pub fn herd(herd: &Herd) -> Balance {
    let mut random = SplitMix::new(herd.seed);
    let base = |host: usize| if host >= herd.hosts / 2 { herd.uneven } else { 0.0 };
    let mut hosts: Vec<Host> = (0..herd.hosts).map(|host| Host { instances: Vec::new(), base: base(host) }).collect();
    let digest = Digest([1; 32]);
    for round in 0..herd.rounds {
        let view = view(herd, &hosts, &mut random);
        let mut placed = Vec::new();
        for agent in 0..herd.hosts {
            let name = |number| format!("w{agent}-{round}-{number}").parse().expect("a name");
            let specs: BTreeMap<WorkloadName, Spec> =
                (0..herd.per_round).map(|number| (name(number), Spec::new(digest))).collect();
            let mesh: Mesh = view.iter().cloned().collect();
            let plan = plan(&specs, &mesh, &Policy::default());
            let best =
                plan.values().next().and_then(|explanation| explanation.candidates.first()).map(|best| best.node);
            for (workload, explanation) in plan {
                let chosen = match herd.chooser {
                    Chooser::Plan => explanation.chosen().into_iter().next(),
                    Chooser::Best => best,
                };
                placed.extend(chosen.map(|chosen| (chosen, workload)));
            }
        }
        for (chosen, workload) in placed {
            let host = (0..herd.hosts).find(|host| node(*host) == chosen).expect("one of the hosts");
            hosts[host].instances.push(workload);
        }
    }
    let busy: Vec<f64> = hosts.iter().map(Host::busy_cores).collect();
    Balance {
        max_to_mean: busy.iter().fold(0.0, |max, cores| f64::max(max, *cores))
            / (busy.iter().sum::<f64>() / busy.len() as f64),
        first: hosts[0].instances.len(),
        most_of_others: hosts[1..].iter().map(|host| host.instances.len()).max().unwrap_or(0),
    }
}

impl Host {
    fn busy_cores(&self) -> f64 {
        self.base * CORES + self.instances.len() as f64 * CORES_PER_INSTANCE
    }
}

/// What everybody knows of everybody.
fn view(herd: &Herd, hosts: &[Host], random: &mut SplitMix) -> Vec<NodeFacts> {
    let digest = Digest([1; 32]);
    let shown = |(number, host): (usize, &Host)| {
        let noise = random.share() * if number == 0 && herd.first == First::Best { 0.0 } else { NOISE };
        let load = (host.busy_cores() / CORES + noise).min(1.0);
        let mut facts = facts(number, CORES, load, MEMORY_PER_INSTANCE * host.instances.len() as u64);
        facts.instances =
            host.instances.iter().map(|name| (name.clone(), Instance::new(digest, Phase::Ready))).collect();
        if number == 0 && herd.first == First::Liar {
            facts.load = 0.0;
            facts.resources.cpu_total = f64::INFINITY;
            facts.resources.cpu_used_share = 0.0;
            facts.resources.memory_total = u64::MAX;
            facts.resources.memory_free = u64::MAX;
        }
        facts
    };
    hosts.iter().enumerate().map(shown).collect()
}
