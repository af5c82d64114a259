//! Agents that place, run and lose workloads over time.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use super::{SplitMix, facts, node, plan};
use crate::placement::{Instance, Mesh, NodeFacts, Phase, Plan, Policy};
use crate::reconcile::{Inputs, Reconciler, Step, Timing};
use crate::spec::{Digest, Spec, Spread, WorkloadName};

/// Simulated seconds after which a silent host is taken for lost.
const DETECTED_AFTER_S: u64 = 4;
/// Simulated seconds that an instance takes to start.
const START_S: u64 = 2;
/// Seconds without trouble at the beginning and the end.
const CALM_S: u64 = 60;
/// Cores of a host.
const CORES: f64 = 8.0;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Hosts, each with an agent.
    pub hosts: usize,
    /// Workloads, each with one to three replicas.
    pub workloads: usize,
    /// How long, in seconds.
    pub seconds: u64,
    /// By how much each host's load goes up and down, in share.
    pub oscillation: f64,
    /// How often some host is lost, in seconds; it comes back a minute later.
    pub churn_s: Option<u64>,
    /// Whether the hosts are cut in two for the middle third of the time.
    pub partition: bool,
    /// Score by which a challenger must be better.
    pub threshold: f64,
    /// How long it must be so, in milliseconds.
    pub dwell_ms: u64,
    /// From which everything follows.
    pub seed: u64,
}

impl Life {
    /// A calm hour of so many hosts.
    #[must_use]
    pub fn calm(hosts: usize) -> Self {
        Self {
            hosts,
            workloads: hosts.clamp(4, 40),
            seconds: 3_600,
            oscillation: 0.0,
            churn_s: None,
            partition: false,
            threshold: super::super::THRESHOLD_DEFAULT,
            dwell_ms: crate::reconcile::DWELL_MS_DEFAULT,
            seed: 1,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lived {
    /// Starts of instances while enough others ran: moves.
    pub moves: u64,
    /// Starts to replace what was lost, or at the beginning.
    pub starts: u64,
    /// Longest time in seconds that a workload had no instance on any side that could have one.
    pub longest_gap_s: u64,
    /// Longest time in seconds that a workload had too many ready instances while all hosts saw each other.
    pub longest_surplus_s: u64,
    /// Workloads that had the wrong number of instances at the end.
    pub wrong_at_end: usize,
}

struct Host {
    id: NodeId,
    lost_at: Option<u64>,
    back_at: u64,
    load: f64,
    phase: f64,
    running: BTreeMap<WorkloadName, (Instance, u64)>,
    reconciler: Reconciler,
}

struct World {
    life: Life,
    random: SplitMix,
    now_s: u64,
    specs: BTreeMap<WorkloadName, Spec>,
    hosts: Vec<Host>,
    gaps: BTreeMap<WorkloadName, u64>,
    surplus: BTreeMap<WorkloadName, u64>,
    lived: Lived,
}

/// Lives it.
#[must_use]
pub fn live(life: &Life) -> Lived {
    let mut world = World::new(*life);
    for _ in 0..life.seconds {
        world.pass_second();
    }
    let specs = std::mem::take(&mut world.specs);
    let wrong = |(name, spec): (&WorkloadName, &Spec)| {
        world.ready(name) != spec.spread.replicas().map_or(0, |count| count as usize)
    };
    world.lived.wrong_at_end = specs.iter().filter(|entry| wrong(*entry)).count();
    world.lived
}

impl World {
    fn new(life: Life) -> Self {
        let mut random = SplitMix::new(life.seed);
        let timing = Timing { dwell_ms: life.dwell_ms, ..Timing::default() };
        let mut host = |number| Host {
            id: node(number),
            lost_at: None,
            back_at: 0,
            load: 0.2 + 0.05 * random.share(),
            phase: random.share(),
            running: BTreeMap::new(),
            reconciler: Reconciler::new(timing),
        };
        let hosts = (0..life.hosts).map(&mut host).collect();
        let spec = |number: usize| {
            let replicas = u16::try_from(1 + number % 3).expect("at most three");
            let name = format!("w{number}").parse().expect("a name");
            (name, Spec { spread: Spread::Replicas(replicas), ..Spec::new(Digest([1; 32])) })
        };
        let specs = (0..life.workloads).map(spec).collect();
        let (gaps, surplus) = (BTreeMap::new(), BTreeMap::new());
        Self { life, random, now_s: 0, specs, hosts, gaps, surplus, lived: Lived::default() }
    }

    /// Which side of the cut a host is on.
    fn side(&self, number: usize) -> usize {
        let (begin, end) = (self.life.seconds / 3, self.life.seconds * 2 / 3);
        let cut = self.life.partition && (begin..end).contains(&self.now_s);
        if cut { number % 2 } else { 0 }
    }

    fn healed_for_s(&self) -> u64 {
        let end = self.life.seconds * 2 / 3;
        let cut = self.life.partition && self.now_s >= self.life.seconds / 3;
        if cut { self.now_s.saturating_sub(end) } else { self.now_s }
    }

    fn pass_second(&mut self) {
        self.now_s += 1;
        self.churn();
        let before: Vec<NodeFacts> =
            self.hosts.iter().enumerate().map(|(number, host)| self.shown(number, host)).collect();
        for side in 0..2 {
            if (0..self.hosts.len()).any(|number| self.side(number) == side) {
                let mesh = self.seen_from(side, &before);
                let policy = Policy { threshold: self.life.threshold, ..Policy::default() };
                self.reconcile(side, &mesh, &plan(&self.specs, &mesh, &policy));
            }
        }
        self.watch();
    }

    fn churn(&mut self) {
        let calm = self.now_s < CALM_S || self.now_s + CALM_S * 3 > self.life.seconds;
        if !calm && self.life.churn_s.is_some_and(|every_s| self.now_s.is_multiple_of(every_s)) {
            let victim = self.random.below(self.hosts.len());
            let (now_s, host) = (self.now_s, &mut self.hosts[victim]);
            if host.lost_at.is_none() {
                (host.lost_at, host.back_at) = (Some(now_s), now_s + CALM_S);
                host.running.clear();
            }
        }
        for host in &mut self.hosts {
            if host.lost_at.is_some() && host.back_at <= self.now_s {
                host.lost_at = None;
            }
            for (instance, ready_at) in host.running.values_mut() {
                if instance.phase == Phase::Starting && *ready_at <= self.now_s {
                    instance.phase = Phase::Ready;
                }
            }
        }
    }

    fn shown(&self, number: usize, host: &Host) -> NodeFacts {
        // A wave of its own for each host, of about half a minute.
        let period_s = 23.0 + 17.0 * host.phase;
        let wave = (std::f64::consts::TAU * (self.now_s as f64 / period_s + host.phase)).sin();
        let load = (host.load + self.life.oscillation * wave).clamp(0.0, 1.0);
        let mut facts = facts(number, CORES, load, 0);
        facts.instances = host.running.iter().map(|(name, (instance, _))| (name.clone(), instance.clone())).collect();
        facts
    }

    fn seen_from(&self, side: usize, shown: &[NodeFacts]) -> Mesh {
        let cut_for_s = self.now_s.saturating_sub(self.life.seconds / 3);
        let seen = |(number, facts): (usize, &NodeFacts)| {
            let lost = self.hosts[number].lost_at.is_some_and(|lost_at| self.now_s - lost_at >= DETECTED_AFTER_S);
            let apart = self.side(number) != side && cut_for_s >= DETECTED_AFTER_S;
            NodeFacts { healthy: !(lost || apart), ..facts.clone() }
        };
        shown.iter().enumerate().map(seen).collect()
    }

    fn reconcile(&mut self, side: usize, mesh: &Mesh, plan: &Plan) {
        for number in 0..self.hosts.len() {
            if self.side(number) != side || self.hosts[number].lost_at.is_some() {
                continue;
            }
            let (now_s, host) = (self.now_s, &mut self.hosts[number]);
            let here = host.running.iter().map(|(name, (instance, _))| (name.clone(), instance.clone())).collect();
            let inputs = Inputs { me: host.id, plan, here: &here, mesh, unheard: 0 };
            for step in host.reconciler.decide(&inputs, now_s * 1_000) {
                match step {
                    Step::Start { workload, digest } => {
                        let moved =
                            plan.get(&workload).is_some_and(|one| one.moves.iter().any(|step| step.to == host.id));
                        self.lived.moves += u64::from(moved);
                        self.lived.starts += u64::from(!moved);
                        let instance = Instance::new(digest, Phase::Starting);
                        host.running.insert(workload, (instance, now_s + START_S));
                    }
                    Step::Drain { workload } => {
                        host.running.entry(workload).and_modify(|(instance, _)| instance.phase = Phase::Stopping);
                    }
                    Step::Stop { workload } => drop(host.running.remove(&workload)),
                }
            }
        }
    }

    fn ready(&self, workload: &WorkloadName) -> usize {
        let ready =
            |host: &&Host| host.running.get(workload).is_some_and(|(instance, _)| instance.phase == Phase::Ready);
        self.hosts.iter().filter(|host| host.lost_at.is_none()).filter(ready).count()
    }

    fn watch(&mut self) {
        let names: BTreeSet<WorkloadName> = self.specs.keys().cloned().collect();
        for name in names {
            let ready = self.ready(&name);
            let wanted = self.specs[&name].spread.replicas().map_or(0, |count| count as usize);
            let healed = self.healed_for_s();
            let gap = self.gaps.entry(name.clone()).or_default();
            *gap = if ready == 0 && self.now_s > CALM_S { *gap + 1 } else { 0 };
            self.lived.longest_gap_s = self.lived.longest_gap_s.max(*gap);
            let surplus = self.surplus.entry(name).or_default();
            *surplus = if ready > wanted && healed > 0 { *surplus + 1 } else { 0 };
            self.lived.longest_surplus_s = self.lived.longest_surplus_s.max(*surplus);
        }
    }
}
