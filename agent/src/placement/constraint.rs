//! Hard constraints: what rules a host out before anything is scored.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::promised::Promise;
use super::{Inputs, NodeFacts, Phase, score};
use crate::spec::{Match, Rule, Spec, Spread, WorkloadName};

/// Free disk in bytes below which nothing new is placed on a host: room for an artefact, its compiled form and the log.
pub(crate) const DISK_RESERVE_BYTES: u64 = 128 << MIB_BITS;

/// Bits that a number of bytes is shifted by to be one of MiB, as people read it.
const MIB_BITS: u32 = 20;

/// Why a host may not run a workload.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The spec asks for another region.
    #[error("is in {}, the workload asks for region {asked}", region.as_ref().map_or("no region".to_owned(), |r| format!("region {r}")))]
    Region {
        /// Where the host is.
        region: Option<String>,
        /// What the spec asks for.
        asked: String,
    },
    /// The host lacks capabilities that the spec requires.
    #[error("lacks {}", missing.iter().map(String::as_str).collect::<Vec<_>>().join(", "))]
    Capabilities {
        /// What it lacks.
        missing: BTreeSet<String>,
    },
    /// A rule that must hold does not.
    #[error("breaks the rule {rule}{}", begun_by(rule, *.is_to_run))]
    Rule {
        /// Which one.
        rule: Rule,
        /// It is about a workload that this plan has chosen the host for, and that has not begun there.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_to_run: bool,
    },
    /// Nothing recent has been heard of the host.
    #[error("was last heard of {age_ms} ms ago, {limit_ms} ms is the limit")]
    Stale {
        /// Age of its facts in milliseconds.
        age_ms: u64,
        /// Oldest that would do, in milliseconds.
        limit_ms: u64,
    },
    /// Failure detection has given the host up.
    #[error("is lost: not heard for {}", humantime::format_duration(Duration::from_secs(silent_ms / 1_000)))]
    Lost {
        /// How long it has been silent, in milliseconds.
        silent_ms: u64,
    },
    /// The host has left, for good or until it is started again.
    #[error("has left")]
    Left,
    /// The host calls itself ill.
    #[error("is not healthy")]
    Unhealthy,
    /// The operator is emptying the host.
    #[error("is draining")]
    Draining,
    /// It was chosen some time ago and shows no sign of the workload.
    #[error("was chosen and has not begun with it; it is passed over for some minutes")]
    Absent,
    /// It says that it starts the workload, and has got no further with that for some time.
    #[error("has been starting it and gets no further; it is passed over until it does")]
    Stuck,
    /// The workload's memory limit does not fit.
    #[error("has {} MiB of memory free, the workload's limit is {} MiB", free >> MIB_BITS, needed.div_ceil(1 << MIB_BITS))]
    Memory {
        /// What it would take, in bytes.
        needed: u64,
        /// What is there, in bytes.
        free: u64,
    },
    /// The disk is nearly full.
    #[error("has {} MiB of disk free, {} MiB is the least", free >> MIB_BITS, needed >> MIB_BITS)]
    Disk {
        /// What should be free, in bytes.
        needed: u64,
        /// What is, in bytes.
        free: u64,
    },
    /// The callers are too far away.
    #[error("is {round_trip_ms:.1} ms from the callers, the workload's limit is {limit_ms} ms")]
    Latency {
        /// Weighted round trip in milliseconds.
        round_trip_ms: f64,
        /// The spec's limit in milliseconds.
        limit_ms: u32,
    },
}

impl Reason {
    /// The reason in one word, as in JSON and in labels.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Region { .. } => "region",
            Self::Capabilities { .. } => "capabilities",
            Self::Rule { .. } => "rule",
            Self::Stale { .. } => "stale",
            Self::Lost { .. } => "lost",
            Self::Left => "left",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Absent => "absent",
            Self::Stuck => "stuck",
            Self::Memory { .. } => "memory",
            Self::Disk { .. } => "disk",
            Self::Latency { .. } => "latency",
        }
    }

    /// Whether the spec forbids this host, for as long as both stay what they are. Otherwise the host is only unfit at
    /// the moment, and a lone instance there is better than none.
    #[must_use]
    pub const fn forbids(&self) -> bool {
        match self {
            Self::Region { .. } | Self::Capabilities { .. } => true,
            // What else runs on a host changes by itself.
            Self::Rule { rule, .. } => !matches!(rule.matches, Match::Workload(_)),
            Self::Stale { .. }
            | Self::Lost { .. }
            | Self::Left
            | Self::Unhealthy
            | Self::Draining
            | Self::Absent
            | Self::Stuck
            | Self::Memory { .. }
            | Self::Disk { .. }
            | Self::Latency { .. } => false,
        }
    }
}

/// What is said of a rule about a workload that is yet to come.
fn begun_by(rule: &Rule, is_to_run: bool) -> String {
    match &rule.matches {
        Match::Workload(other) if is_to_run => format!(", for {other} is to run there and has not begun"),
        Match::Workload(_) | Match::Node(_) | Match::Region(_) | Match::Capability(_) | Match::Label { .. } => {
            String::new()
        }
    }
}

/// The first constraint that `node` violates. What the spec forbids comes first, then the state of the host, then what
/// was measured. Space is asked only of hosts that would have to make it: what runs has its memory already.
pub(super) fn violated(
    (workload, spec): (&WorkloadName, &Spec),
    (node, promised): (&NodeFacts, Option<&Promise>),
    inputs: &Inputs,
    stale_after_ms: u64,
) -> Option<Reason> {
    if let Some(asked) = spec.region.as_ref().filter(|asked| node.region.as_ref() != Some(asked)) {
        return Some(Reason::Region { region: node.region.clone(), asked: asked.clone() });
    }
    if let Spread::PerRegion(counts) = &spec.spread
        && !node.region.as_ref().is_some_and(|region| counts.contains_key(region))
    {
        let asked = counts.keys().map(String::as_str).collect::<Vec<_>>().join(" or ");
        return Some(Reason::Region { region: node.region.clone(), asked });
    }
    let missing: BTreeSet<String> = spec.require.difference(&node.capabilities).cloned().collect();
    if !missing.is_empty() {
        return Some(Reason::Capabilities { missing });
    }
    if let Some(rule) = spec.must.iter().find(|rule| !score::holds(rule, node, promised)) {
        // What the plan alone knows of is not to be seen on the host by whoever looks there.
        return Some(Reason::Rule { rule: rule.clone(), is_to_run: score::holds(rule, node, None) });
    }
    if node.left {
        return Some(Reason::Left);
    }
    if let Some(silent_ms) = node.lost_ms {
        return Some(Reason::Lost { silent_ms });
    }
    if node.age_ms > stale_after_ms {
        return Some(Reason::Stale { age_ms: node.age_ms, limit_ms: stale_after_ms });
    }
    if !node.healthy {
        return Some(Reason::Unhealthy);
    }
    if node.draining {
        return Some(Reason::Draining);
    }
    if node.passed_over.contains(workload) {
        match node.instances.get(workload).map(|instance| &instance.phase) {
            None => return Some(Reason::Absent),
            Some(Phase::Starting) => return Some(Reason::Stuck),
            Some(Phase::Ready | Phase::Stopping | Phase::Failed { .. }) => {}
        }
    }
    if inputs.memory_needed > inputs.memory_free {
        return Some(Reason::Memory { needed: inputs.memory_needed, free: inputs.memory_free });
    }
    let runs = node.instances.get(workload).is_some_and(super::Instance::runs);
    if let Some(free) = node.resources.disk_free.filter(|free| !runs && *free < DISK_RESERVE_BYTES) {
        return Some(Reason::Disk { needed: DISK_RESERVE_BYTES, free });
    }
    match spec.latency_max_ms {
        Some(limit_ms) if inputs.round_trip_ms > f64::from(limit_ms) => {
            Some(Reason::Latency { round_trip_ms: inputs.round_trip_ms, limit_ms })
        }
        Some(_) | None => None,
    }
}
