//! Figures about placement, and about starts on this host.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::told::Told;
use super::{OutcomeLabel, ReasonLabel};
use crate::placement::Stage;
use crate::timing::histogram;

type Whole = Gauge<u64, AtomicU64>;

/// Why this host takes over from one that runs an instance.
const MOVES: [&str; 2] = ["gain", "spread"];
/// Why an instance leaves this host, besides that the host does not qualify any more.
const DEPARTURES: [&str; 3] = ["surplus", "undeployed", "cut_off"];
/// How a start ends.
const OUTCOMES: [&str; 3] = ["ready", "failed", "given_up"];
/// What a start goes through.
const STAGES: [Stage; 6] =
    [Stage::Claimed, Stage::Fetching, Stage::Queued, Stage::Verifying, Stage::Compiling, Stage::Warming];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkloadLabel {
    workload: String,
}

/// What is told of placement.
#[derive(Debug)]
pub struct Placement {
    decision: Histogram,
    moves: Family<ReasonLabel, Counter>,
    departures: Family<ReasonLabel, Counter>,
    starts: Family<OutcomeLabel, Counter>,
    stages: Family<StageLabel, Histogram, fn() -> Histogram>,
    instances: Family<PhaseLabel, Whole>,
    wanted: Family<WorkloadLabel, Whole>,
    ready: Family<WorkloadLabel, Whole>,
    told: Told<String>,
    oldest: Gauge<f64, AtomicU64>,
    doubted: Whole,
}

impl Default for Placement {
    /// All at zero, and there: what has not happened yet is told, too.
    fn default() -> Self {
        let placement = Self {
            decision: histogram(),
            moves: Family::default(),
            departures: Family::default(),
            starts: Family::default(),
            stages: Family::new_with_constructor(histogram),
            instances: Family::default(),
            wanted: Family::default(),
            ready: Family::default(),
            told: Told::default(),
            oldest: Gauge::default(),
            doubted: Whole::default(),
        };
        MOVES.iter().for_each(|reason| drop(placement.moves.get_or_create(&ReasonLabel { reason })));
        DEPARTURES.iter().for_each(|reason| drop(placement.departures.get_or_create(&ReasonLabel { reason })));
        OUTCOMES.iter().for_each(|outcome| drop(placement.starts.get_or_create(&OutcomeLabel { outcome })));
        let stage = |stage: &Stage| drop(placement.stages.get_or_create(&StageLabel { stage: stage.as_str() }));
        STAGES.iter().for_each(stage);
        placement
    }
}

impl Placement {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time for one look at the plan of all workloads, and at what follows for this host, in seconds";
        registry.register_with_unit("placement_decision_duration", help, Unit::Seconds, self.decision.clone());
        let help = "Instances that this host took over from one that ran, by reason";
        registry.register("placement_moves", help, self.moves.clone());
        let help = "Instances that this host began to drain, by reason";
        registry.register("placement_departures", help, self.departures.clone());
        registry.register("workload_starts", "Starts on this host, by outcome", self.starts.clone());
        let help = "Time that starts on this host spent in each stage, in seconds";
        registry.register_with_unit("workload_start_stage_duration", help, Unit::Seconds, self.stages.clone());
        registry.register("instances", "Instances on this host, by phase", self.instances.clone());
        registry.register("workload_wanted", "Instances that there should be", self.wanted.clone());
        registry.register("workload_ready", "Instances that are ready, on any member", self.ready.clone());
        let help = "Age of the oldest figures of a member that placement went by, in seconds";
        registry.register_with_unit("placement_oldest_input", help, Unit::Seconds, self.oldest.clone());
        let help = "Members that claim to be idler than they can be";
        registry.register("placement_doubted_members", help, self.doubted.clone());
    }

    /// The plan was looked at.
    pub fn decided(&self, took: Duration) {
        self.decision.observe(took.as_secs_f64());
    }

    /// This host takes over from a running instance.
    pub fn moved(&self, reason: &'static str) {
        self.moves.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// An instance begins to leave this host.
    pub fn left(&self, reason: &'static str) {
        self.departures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A start has ended.
    pub fn started(&self, outcome: &'static str) {
        self.starts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A start was in this stage for so long.
    pub fn stage_took(&self, stage: &'static str, took: Duration) {
        self.stages.get_or_create(&StageLabel { stage }).observe(took.as_secs_f64());
    }

    /// Tells how many instances on this host have got how far: every phase, those without any too.
    pub fn instances(&self, phases: &[(&'static str, u64)]) {
        for (phase, count) in phases {
            self.instances.get_or_create(&PhaseLabel { phase }).set(*count);
        }
    }

    /// Tells how many instances of each workload are wanted, and how many are ready. Those that are not named are forgotten.
    pub fn workloads(&self, all: &[(String, u64, u64)]) {
        let fill = || {
            for (workload, wanted, ready) in all {
                let label = WorkloadLabel { workload: workload.clone() };
                self.wanted.get_or_create(&label).set(*wanted);
                self.ready.get_or_create(&label).set(*ready);
            }
        };
        let now = all.iter().map(|(workload, ..)| workload.clone()).collect();
        self.told.renew(now, fill, |workload| {
            let label = WorkloadLabel { workload: workload.clone() };
            self.wanted.remove(&label);
            self.ready.remove(&label);
        });
    }

    /// Tells how old the oldest figures are that a plan goes by, and how many members are not believed.
    pub fn inputs(&self, oldest: Duration, doubted: u64) {
        self.oldest.set(oldest.as_secs_f64());
        self.doubted.set(doubted);
    }
}
