//! Agents that place, run and lose workloads over time.
//!
//! Agents see figures of different age: each belongs to one of some groups, and a group plans from what it sees. Instances are known to all
//! a round later. What must hold is checked after every second (`faults`).

mod faults;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use selvedge_sync::id::NodeId;

use self::faults::Watch;
pub use self::faults::{Fault, Wrong};
use super::{SplitMix, facts, node, plan};
use crate::placement::{Instance, Mesh, NodeFacts, Phase, Plan, Policy};
use crate::reconcile::{Inputs, Reconciler, Step, Timing};
use crate::spec::{Digest, Partition, Spec, Spread, WorkloadName};

/// Simulated seconds after which a silent host is taken for lost.
const DETECTED_AFTER_S: u64 = 4;
/// Simulated seconds that an instance takes to start.
const START_S: u64 = 2;
/// Seconds without trouble at the beginning and the end.
const CALM_S: u64 = 60;
/// Cores of a host.
const CORES: f64 = 8.0;
/// Where workloads are at home that do not run far from it.
const HOME: &str = "home";
/// How long a workload that must not run twice bears being cut off, in milliseconds.
const STOP_AFTER_MS: u64 = 10_000;

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
    /// Whether a third of the hosts is cut off for the middle third of the time. Of the workloads a third each keeps both, stops after a
    /// while, and stays at home.
    pub partition: bool,
    /// Groups of agents, each of which sees figures of another age.
    pub views: usize,
    /// Age of the figures that the last group sees, in seconds; the first sees those of a second ago.
    pub stale_s: usize,
    /// Hosts that claim to be idle and of infinite size.
    pub liars: usize,
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
            views: 1,
            stale_s: 1,
            liars: 0,
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
    /// Longest time in seconds that a workload had no instance on a side that should have one.
    pub longest_gap_s: u64,
    /// Longest time in seconds that a workload had too many ready instances on a side.
    pub longest_surplus_s: u64,
    /// Workloads that had the wrong number of instances at the end.
    pub wrong_at_end: usize,
    /// The first thing that must never be, if it was.
    pub fault: Option<Fault>,
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
    /// The loads of the last seconds, the newest first.
    loads: VecDeque<Vec<f64>>,
    watch: Watch,
    lived: Lived,
}

/// Lives it.
#[must_use]
pub fn live(life: &Life) -> Lived {
    let mut world = World::new(*life);
    for _ in 0..life.seconds {
        world.pass_second();
    }
    let wrong = |name: &&WorkloadName| world.ready(name, None) != world.expected(name, 0);
    world.lived.wrong_at_end = world.specs.keys().filter(wrong).count();
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
            let replicas = u16::try_from(1 + (number / 3) % 3).expect("at most three");
            let partition = match number % 3 {
                _ if !life.partition => Partition::KeepBoth,
                0 => Partition::KeepBoth,
                1 => Partition::StopAfter(STOP_AFTER_MS),
                _ => Partition::HomeOnly(HOME.to_owned()),
            };
            let name = format!("w{number}").parse().expect("a name");
            (name, Spec { spread: Spread::Replicas(replicas), partition, ..Spec::new(Digest([1; 32])) })
        };
        let specs = (0..life.workloads).map(spec).collect();
        let (loads, watch, lived) = Default::default();
        Self { life, random, now_s: 0, specs, hosts, loads, watch, lived }
    }

    fn is_cut(&self) -> bool {
        let (begin, end) = (self.life.seconds / 3, self.life.seconds * 2 / 3);
        self.life.partition && (begin..end).contains(&self.now_s)
    }

    /// Which side of the cut a host is on.
    fn side(&self, number: usize) -> usize {
        usize::from(self.is_cut() && Self::is_away(number))
    }

    /// Whether a host is one of the third that is cut off.
    const fn is_away(number: usize) -> bool {
        number.is_multiple_of(3)
    }

    fn pass_second(&mut self) {
        self.now_s += 1;
        self.churn();
        let loads = self.hosts.iter().map(|host| self.load(host)).collect();
        self.loads.push_front(loads);
        self.loads.truncate(self.life.stale_s.max(1));
        let before = self.shown();
        for side in 0..2 {
            for view in 0..self.life.views {
                let looks =
                    |world: &Self, number: usize| world.side(number) == side && number % world.life.views == view;
                if (0..self.hosts.len()).any(|number| looks(self, number)) {
                    let mesh = self.seen_from(side, view, &before);
                    let policy = Policy { threshold: self.life.threshold, ..Policy::default() };
                    let plan = plan(&self.specs, &mesh, &policy);
                    for number in (0..self.hosts.len()).filter(|number| looks(self, *number)).collect::<Vec<_>>() {
                        self.reconcile(number, &mesh, &plan);
                    }
                }
            }
        }
        self.check();
    }

    fn churn(&mut self) {
        let calm = self.now_s < CALM_S || self.now_s + CALM_S * 3 > self.life.seconds;
        if !calm && self.life.churn_s.is_some_and(|every_s| self.now_s.is_multiple_of(every_s)) {
            let (victim, stalls) = (self.random.below(self.hosts.len()), self.random.below(2) == 0);
            let (now_s, host) = (self.now_s, &mut self.hosts[victim]);
            if host.lost_at.is_none() {
                (host.lost_at, host.back_at) = (Some(now_s), now_s + CALM_S);
                host.running.keys().for_each(|workload| self.watch.begin_anew(workload));
                // One that stalls still has everything when it comes back.
                if !stalls {
                    host.running.clear();
                }
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

    /// A wave of its own for each host, of about half a minute.
    fn load(&self, host: &Host) -> f64 {
        let period_s = 23.0 + 17.0 * host.phase;
        let wave = (std::f64::consts::TAU * (self.now_s as f64 / period_s + host.phase)).sin();
        (host.load + self.life.oscillation * wave).clamp(0.0, 1.0)
    }

    /// What hosts say of themselves, but for their load.
    fn shown(&self) -> Vec<NodeFacts> {
        let shown = |(number, host): (usize, &Host)| {
            let mut facts = facts(number, CORES, 0.0, 0);
            facts.instances =
                host.running.iter().map(|(name, (instance, _))| (name.clone(), instance.clone())).collect();
            facts.region = (!Self::is_away(number)).then(|| HOME.to_owned());
            facts
        };
        self.hosts.iter().enumerate().map(shown).collect()
    }

    fn seen_from(&self, side: usize, view: usize, shown: &[NodeFacts]) -> Mesh {
        let cut_for_s = self.now_s.saturating_sub(self.life.seconds / 3);
        let age_s = (self.life.stale_s * view / self.life.views.saturating_sub(1).max(1)).max(1);
        let loads = &self.loads[(age_s - 1).min(self.loads.len() - 1)];
        let seen = |(number, facts): (usize, &NodeFacts)| {
            let lost = self.hosts[number].lost_at.is_some_and(|lost_at| self.now_s - lost_at >= DETECTED_AFTER_S);
            let apart = self.side(number) != side && cut_for_s >= DETECTED_AFTER_S;
            let lost_ms = (lost || apart).then_some(0);
            let mut facts =
                NodeFacts { healthy: lost_ms.is_none(), lost_ms, age_ms: age_s as u64 * 1_000, ..facts.clone() };
            facts.load = loads[number];
            facts.resources.cpu_used_share = loads[number];
            if number < self.life.liars {
                facts.load = 0.0;
                facts.resources.cpu_used_share = 0.0;
                facts.resources.cpu_total = f64::INFINITY;
                (facts.resources.memory_total, facts.resources.memory_free) = (u64::MAX, u64::MAX);
            }
            facts
        };
        shown.iter().enumerate().map(seen).collect()
    }

    fn reconcile(&mut self, number: usize, mesh: &Mesh, plan: &Plan) {
        let (now_s, host) = (self.now_s, &mut self.hosts[number]);
        if host.lost_at.is_some() {
            return;
        }
        let here = host.running.iter().map(|(name, (instance, _))| (name.clone(), instance.clone())).collect();
        let inputs = Inputs { me: host.id, plan, here: &here, mesh, unheard: 0, held: &BTreeSet::new() };
        for step in host.reconciler.decide(&inputs, now_s * 1_000) {
            match step {
                Step::Start { workload, digest } => {
                    let moved = plan.get(&workload).is_some_and(|one| one.moves.iter().any(|step| step.to == host.id));
                    self.lived.moves += u64::from(moved);
                    self.lived.starts += u64::from(!moved);
                    // What is about to stop is still there, and is taken back at once.
                    host.reconciler.began(&workload);
                    let ready_at = if host.running.contains_key(&workload) { now_s } else { now_s + START_S };
                    host.running.insert(workload, (Instance::new(digest, Phase::Starting), ready_at));
                }
                Step::Drain { workload } => {
                    host.running.entry(workload).and_modify(|(instance, _)| instance.phase = Phase::Stopping);
                }
                Step::Stop { workload } => drop(host.running.remove(&workload)),
            }
        }
    }

    /// Instances that are ready, on one side or on both.
    fn ready(&self, workload: &WorkloadName, side: Option<usize>) -> usize {
        let ready =
            |host: &Host| host.running.get(workload).is_some_and(|(instance, _)| instance.phase == Phase::Ready);
        let hosts = self.hosts.iter().enumerate().filter(|(_, host)| host.lost_at.is_none() && ready(host));
        hosts.filter(|(number, _)| side.is_none_or(|side| self.side(*number) == side)).count()
    }

    /// Instances that a side should have, once it has settled.
    fn expected(&self, workload: &WorkloadName, side: usize) -> usize {
        let able = self.hosts.iter().enumerate();
        let able = able.filter(|(number, host)| host.lost_at.is_none() && self.side(*number) == side).count();
        let spec = &self.specs[workload];
        let wanted = spec.spread.replicas().map_or(0, |count| count as usize).min(able);
        match spec.partition {
            // The side that is cut off has a third of the hosts, and none of them is at home.
            Partition::StopAfter(_) | Partition::HomeOnly(_) if side == 1 => 0,
            Partition::KeepBoth | Partition::StopAfter(_) | Partition::HomeOnly(_) => wanted,
        }
    }
}
