//! How long calls took, step by step, from counts that only ever grow.
//!
//! Owns the steps. Pure. The invariant: a step is the difference of two looks at the same workloads in one life of the agent; where
//! there were no two such looks, or no call, there is no figure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::list;

/// Length of a step: that of the agent's own history, so that both pictures have one scale.
const STEP: Duration = Duration::from_secs(5);
/// Looks a second apart come a little early or late; a step does not wait for one more because of that.
const EARLY: Duration = Duration::from_millis(500);
/// Steps kept: ten minutes.
const STEPS_MAX: usize = 120;

/// How many calls took how long: by the bound that none of them passed, in microseconds.
type Buckets = BTreeMap<u64, u64>;

/// The steps.
#[derive(Debug, Default)]
pub(in crate::top) struct Latencies {
    before: Option<(Buckets, Instant)>,
    p99_us: VecDeque<Option<u64>>,
}

impl Latencies {
    /// Takes a look; it ends a step when the one before is long enough ago.
    pub(super) fn take(&mut self, status: &Value, now: Instant) {
        let counted = || (buckets(list(&status["workloads"])), now);
        let Some((before, since)) = &self.before else {
            self.before = Some(counted());
            return;
        };
        if now.saturating_duration_since(*since) + EARLY < STEP {
            return;
        }
        let after = counted();
        let p99 = risen(before, &after.0).and_then(|step| quantile_us(&step, 0.99));
        self.before = Some(after);
        if self.p99_us.len() == STEPS_MAX {
            self.p99_us.pop_front();
        }
        self.p99_us.push_back(p99);
    }

    /// 99 of 100 calls took at most this, in microseconds, step by step, the latest first; `None` for a step without calls.
    pub(in crate::top) fn p99_us(&self) -> impl Iterator<Item = Option<u64>> {
        self.p99_us.iter().rev().copied()
    }
}

/// All calls of all workloads.
fn buckets(workloads: &[Value]) -> Buckets {
    let mut sum = Buckets::new();
    for bucket in workloads.iter().flat_map(|workload| list(&workload["latency_buckets"])) {
        if let (Some(le_us), Some(calls)) = (bucket["le_us"].as_u64(), bucket["calls"].as_u64()) {
            let all = sum.entry(le_us).or_default();
            *all = all.saturating_add(calls);
        }
    }
    sum
}

/// By how much each bucket has grown; `None` where one has shrunk, as when the agent began anew or a workload went.
fn risen(before: &Buckets, after: &Buckets) -> Option<Buckets> {
    if before.iter().any(|(le_us, calls)| after.get(le_us).is_none_or(|now| now < calls)) {
        return None;
    }
    let by = |(le_us, calls): (&u64, &u64)| (*le_us, calls - before.get(le_us).unwrap_or(&0));
    Some(after.iter().map(by).collect())
}

/// The latency that the share `q` of calls did not pass, linear within its bucket as Prometheus's `histogram_quantile` has it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate within a bucket, of positive numbers"
)]
pub(in crate::top) fn quantile_us(buckets: &BTreeMap<u64, u64>, q: f64) -> Option<u64> {
    let all: u64 = buckets.values().fold(0, |sum, calls| sum.saturating_add(*calls));
    let (wanted, mut passed) = (all as f64 * q, 0.0);
    for (le_us, calls) in buckets.iter().filter(|(_, calls)| **calls > 0) {
        let share = (wanted - passed) / *calls as f64;
        if share <= 1.0 {
            let from = below(*le_us);
            return Some(from + ((*le_us - from) as f64 * share.max(0.0)) as u64);
        }
        passed += *calls as f64;
    }
    None
}

/// The bound before this one: they are 1, 2, 5, 10 and so on.
const fn below(le_us: u64) -> u64 {
    let mut digit = le_us;
    while digit >= 10 {
        digit /= 10;
    }
    if digit == 5 { le_us / 5 * 2 } else { le_us / 2 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(counts: &[(u64, u64)]) -> Value {
        let buckets: Vec<_> = counts.iter().map(|(le_us, calls)| json!({"le_us": le_us, "calls": calls})).collect();
        json!({"workloads": [{"name": "a", "latency_buckets": buckets}, {"name": "b"}]})
    }

    #[test]
    fn a_step_counts_only_its_own_calls() {
        let (mut latencies, start) = (Latencies::default(), Instant::now());
        let mut look = |s: u64, counts: &[(u64, u64)]| {
            latencies.take(&status(counts), start + Duration::from_secs(s));
            latencies.p99_us().collect::<Vec<_>>()
        };
        assert_eq!(look(0, &[(500, 1_000)]), []);
        assert_eq!(look(3, &[(500, 1_000), (1_000, 7)]), [], "no step yet");
        assert_eq!(look(5, &[(500, 1_000), (1_000, 100)]), [Some(995)]);
        assert_eq!(look(10, &[(500, 1_000), (1_000, 100)]), [None, Some(995)], "no calls");
        assert_eq!(look(15, &[(500, 3)]), [None, None, Some(995)], "another life");
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = BTreeMap::from([(200, 50), (500, 40), (1_000, 10)]);
        assert_eq!([0.25, 0.5, 0.7, 0.99].map(|q| quantile_us(&buckets, q)), [150, 200, 350, 950].map(Some));
        assert_eq!(quantile_us(&BTreeMap::from([(100, 0)]), 0.5), None);
        assert_eq!([1, 2, 5, 10, 50, 100].map(below), [0, 1, 2, 5, 20, 50]);
    }
}
