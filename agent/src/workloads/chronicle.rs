//! What this host does about workloads, told to those who listen and counted.
//!
//! Tells what was done, in the order in which it was; decides nothing. Only this host's own steps: those of others show in their records.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use selvedge_sync::id::NodeId;

use super::course::LastStart;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::placement::{Explanation, Plan, Reason};
use crate::service::{DecisionEvent, Event};
use crate::spec::{Digest, WorkloadName};

/// Where it is told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chronicle {
    /// This host.
    pub me: NodeId,
    /// For those who listen.
    pub events: Events,
    /// For those who count.
    pub metrics: Arc<Metrics>,
}

/// Why an instance leaves this host.
pub(super) struct Leaving {
    /// In one word, of a small closed set.
    code: &'static str,
    /// For people.
    reason: String,
}

impl Leaving {
    /// As the plan has it; `None` where the workload is not planned any more.
    pub(super) fn of(explanation: Option<&Explanation>, me: &NodeId) -> Self {
        let Some(explanation) = explanation else {
            return Self { code: "undeployed", reason: "it was undeployed".to_owned() };
        };
        match explanation.rejection(me) {
            Some(reason) => Self { code: Reason::code(reason), reason: format!("this host {reason}") },
            // It is wanted here and stops all the same.
            None if explanation.chooses(me) => {
                Self { code: "cut_off", reason: format!("this host is cut off ({})", explanation.partition) }
            }
            None => Self { code: "surplus", reason: "it runs where it should".to_owned() },
        }
    }
}

impl Chronicle {
    fn tell(&self, workload: &WorkloadName, change: &'static str, fill: impl FnOnce(&mut DecisionEvent)) {
        let mut event = DecisionEvent::new(workload.to_string(), self.me, change);
        fill(&mut event);
        self.events.record([Event::Decision(event)]);
    }

    /// A start begins; of one that takes over from a running instance, from where and why.
    pub(super) fn claimed(&self, workload: &WorkloadName, digest: Digest, explanation: Option<&Explanation>) {
        self.tell(workload, "claimed", |event| event.digest = Some(digest.to_string()));
        let step = explanation.and_then(|explanation| explanation.moves.iter().find(|step| step.to == self.me));
        if let Some(step) = step {
            // A move for the sake of regions may cost score.
            let why = if step.gain > 0.0 { "gain" } else { "spread" };
            self.metrics.placement().moved(why);
            self.tell(workload, "moved", |event| {
                (event.from, event.to, event.gain) = (Some(step.from), Some(step.to), Some(step.gain));
                event.reason = Some(match why {
                    "gain" => format!("this host's score is better by {:.3}", step.gain),
                    _ => "its region has too few".to_owned(),
                });
            });
        }
    }

    /// The artefact is here, and is made to run.
    pub(super) fn started(&self, workload: &WorkloadName, digest: Digest) {
        self.tell(workload, "started", |event| event.digest = Some(digest.to_string()));
    }

    /// A start has ended.
    pub(super) fn ended(&self, workload: &WorkloadName, start: &LastStart, permanent: bool) {
        let figures = self.metrics.placement();
        for (stage, took) in &start.stages {
            figures.stage_took(stage.as_str(), *took);
        }
        let digest = Some(start.digest.to_string());
        let Some(reason) = &start.error else {
            figures.started("ready");
            return self.tell(workload, "ready", |event| event.digest = digest);
        };
        figures.started(if permanent { "given_up" } else { "failed" });
        let fill = |event: &mut DecisionEvent| {
            (event.digest, event.reason) = (digest, Some(reason.clone()));
        };
        self.tell(workload, "failed", fill.clone());
        if permanent {
            self.tell(workload, "given_up", fill);
        }
    }

    /// An instance answers what still comes, and others are told to go elsewhere.
    pub(super) fn drained(&self, workload: &WorkloadName, leaving: Leaving) {
        self.metrics.placement().left(leaving.code);
        self.tell(workload, "drained", |event| event.reason = Some(leaving.reason));
    }

    /// An instance has gone.
    pub(super) fn stopped(&self, workload: &WorkloadName, leaving: Leaving) {
        self.tell(workload, "stopped", |event| event.reason = Some(leaving.reason));
    }

    /// The plan was looked at.
    pub(super) fn looked(&self, took: Duration, plan: &Plan) {
        let candidates = || plan.values().flat_map(|explanation| &explanation.candidates);
        let oldest_ms = candidates().map(|candidate| candidate.inputs.age_ms).max().unwrap_or(0);
        let doubted: BTreeSet<NodeId> =
            candidates().filter(|candidate| candidate.inputs.doubted).map(|candidate| candidate.node).collect();
        let figures = self.metrics.placement();
        figures.decided(took);
        figures.inputs(Duration::from_millis(oldest_ms), doubted.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::events::Patience;
    use crate::placement::Stage;

    #[test]
    fn a_start_that_is_given_up_is_told_with_its_reason_and_counted_once() {
        let metrics = Arc::new(Metrics::new("0"));
        let events = Events::new(1, Patience::default());
        let chronicle = Chronicle { me: NodeId([1; 32]), events: events.clone(), metrics: Arc::clone(&metrics) };
        let start = LastStart {
            digest: Digest([1; 32]),
            ended: SystemTime::UNIX_EPOCH,
            stages: vec![(Stage::Claimed, Duration::ZERO), (Stage::Warming, Duration::from_millis(3))],
            error: Some("its configuration is wrong".to_owned()),
        };
        chronicle.ended(&"combat".parse().expect("a name"), &start, true);
        assert_eq!(events.stats().recorded, 2, "it failed, and is given up");
        let text = metrics.encode();
        for line in [
            r#"selvedge_workload_starts_total{outcome="given_up"} 1"#,
            r#"selvedge_workload_start_stage_duration_seconds_sum{stage="warming"} 0.003"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
