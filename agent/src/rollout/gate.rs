//! What a new version must keep to, and how it is compared with the old one.

use serde::{Deserialize, Serialize};

use super::{Report, Rollout, Runs};

/// Traps that it takes to condemn a version: one may be a caller's doing.
const TRAPS_MIN: u64 = 3;
/// What latency may grow by in any case, in milliseconds: below it the ratio of two small figures says nothing.
const SLOWER_MS_MIN: f64 = 1.0;

/// How calls of one version went on one host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Calls since it was started.
    pub calls: u64,
    /// How many of them trapped or ran out of time.
    pub traps: u64,
    /// 99th percentile of latency in milliseconds; 0 before the first call.
    pub p99_ms: f64,
}

/// What a new version must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates {
    /// How long the canary must have been ready, in milliseconds.
    pub canary_ms: u64,
    /// Calls that it must have answered.
    pub calls_min: u64,
    /// By how much its share of traps may exceed the old version's, 0 to 1.
    pub traps_share_max: f64,
    /// By how much its p99 may exceed the old version's, as a factor.
    pub slowdown_max: f64,
}

impl Default for Gates {
    /// A minute, fifty calls, one trap in a hundred more, half as slow again.
    fn default() -> Self {
        Self { canary_ms: 60_000, calls_min: 50, traps_share_max: 0.01, slowdown_max: 1.5 }
    }
}

/// In which way a new version is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Worse {
    /// It could not be started.
    #[error("the new version does not start: {reason}")]
    NotStarted {
        /// What its host said.
        reason: String,
    },
    /// It traps more often.
    #[error("{share:.3} of the new version's calls trap, {old_share:.3} of the old one's")]
    Traps {
        /// Of the new version.
        share: f64,
        /// Of the old one.
        old_share: f64,
    },
    /// It is slower.
    #[error("the new version's p99 is {p99_ms:.1} ms, the old one's {old_p99_ms:.1} ms")]
    Slower {
        /// Of the new version.
        p99_ms: f64,
        /// Of the old one.
        old_p99_ms: f64,
    },
}

/// Whether the new version is worse than the old one, going by all hosts that have either.
pub(super) fn worse(rollout: &Rollout, hosts: &[&Report]) -> Option<Worse> {
    let new = rollout.to.digest;
    let failed = hosts.iter().find_map(|report| match report.versions.get(&new) {
        Some((Runs::Failed { reason }, _)) => Some(reason.clone()),
        Some((Runs::Unready | Runs::Ready { .. }, _)) | None => None,
    });
    if let Some(reason) = failed {
        return Some(Worse::NotStarted { reason });
    }
    let of = |digest| hosts.iter().filter_map(move |report| report.versions.get(&digest)).map(|(_, figures)| *figures);
    let (new, old) = (sum(of(new)), sum(of(rollout.from.digest)));
    let (share, old_share) = (new.trap_share(), old.trap_share());
    if new.traps >= TRAPS_MIN && share > old_share + rollout.gates.traps_share_max {
        return Some(Worse::Traps { share, old_share });
    }
    let limit_ms = (old.p99_ms * rollout.gates.slowdown_max).max(old.p99_ms + SLOWER_MS_MIN);
    let is_known = new.calls >= rollout.gates.calls_min && old.calls >= rollout.gates.calls_min;
    (is_known && new.p99_ms > limit_ms).then_some(Worse::Slower { p99_ms: new.p99_ms, old_p99_ms: old.p99_ms })
}

impl Figures {
    fn trap_share(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.traps as f64 / self.calls as f64 }
    }
}

/// All hosts together; of percentiles the mean by calls, since the histograms stay where they are.
fn sum(figures: impl Iterator<Item = Figures>) -> Figures {
    let add = |sum: Figures, one: Figures| {
        let calls = sum.calls.saturating_add(one.calls);
        let weighted = sum.p99_ms * sum.calls as f64 + one.p99_ms * one.calls as f64;
        let p99_ms = if calls == 0 { 0.0 } else { weighted / calls as f64 };
        Figures { calls, traps: sum.traps.saturating_add(one.traps), p99_ms }
    };
    figures.filter(|one| one.p99_ms.is_finite()).fold(Figures::default(), add)
}
