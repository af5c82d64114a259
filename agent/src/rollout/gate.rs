//! How a new version is compared with the old one.

use selvedge_sync::id::NodeId;

use super::{Report, Rollout, Runs};
use crate::spec::Revision;

/// Failed calls that it takes to condemn a version: one may be a caller's doing.
const TRAPS_MIN: u64 = 3;
/// By how many standard deviations the failures on one host alone have to exceed what is allowed: three, which chance does in one host
/// of a thousand. All hosts together need no such margin, but one that claims many good calls would hide the others' in their sum.
const TRAPS_SIGMAS: f64 = 3.0;
/// What latency may grow by in any case, in milliseconds: below it the ratio of two small figures says nothing.
const SLOWER_MS_MIN: f64 = 1.0;
/// Calls of each version before their 99th percentiles are compared. That of fewer is one of the few slowest calls, and that
/// one was slow may be the host's doing.
const P99_CALLS_MIN: u64 = 500;
/// Calls of each version before their medians are compared, where there are too few for more: ten slow ones are no accident.
const P50_CALLS_MIN: u64 = 20;
/// What the median of few calls may come to, in times of the old version's: what twenty calls say is off by half now and then, and
/// callers that ask for something else move it as well.
const P50_FACTOR: f64 = 3.0;

/// How calls of one version went on one host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Calls since it was started, those that failed included.
    pub calls: u64,
    /// How many of them failed by its own doing: trapped, ran out of time or memory.
    pub traps: u64,
    /// Median of the time that its guest took, in milliseconds; 0 before the first call, and where an older release tells.
    pub p50_ms: f64,
    /// 99th percentile of that time, in milliseconds; 0 before the first call.
    pub p99_ms: f64,
}

/// In which way a new version is worse.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Worse {
    /// It could not be started.
    #[error("the new version does not start: {reason}")]
    NotStarted {
        /// What its host said.
        reason: String,
    },
    /// It hangs on its way.
    #[error("the new version has not become ready within {within_s} s on {hosts} of {of} hosts")]
    NotReady {
        /// On how many hosts that are to run it.
        hosts: usize,
        /// How many are to.
        of: usize,
        /// How long they had, in seconds.
        within_s: u64,
    },
    /// It takes its hosts down.
    #[error("{times} times a host was lost while it tried the new version")]
    Lost {
        /// How many times.
        times: u32,
    },
    /// It fails more often.
    #[error("{traps} of {calls} calls of the new version failed, {old_traps} of {old_calls} of the old one")]
    Traps {
        /// Of the new version.
        traps: u64,
        /// Its calls.
        calls: u64,
        /// Of the old one.
        old_traps: u64,
        /// Its calls.
        old_calls: u64,
    },
    /// It is slower.
    #[error("the new version's {percentile} is {new_ms:.1} ms, the old one's {old_ms:.1} ms")]
    Slower {
        /// Which percentile of the times of its calls: `p99` or `p50`.
        percentile: &'static str,
        /// Of the new version.
        new_ms: f64,
        /// Of the old one, on the same host or elsewhere.
        old_ms: f64,
    },
}

/// Whether the new version is worse than the old one, going by all hosts that have or had either.
pub(super) fn worse(rollout: &Rollout, hosts: &[&Report], canary: Option<NodeId>) -> Option<Worse> {
    let to = rollout.to.revision;
    if let Some(reason) = not_started(to, hosts, canary) {
        return Some(Worse::NotStarted { reason });
    }
    traps(rollout, hosts).or_else(|| hosts.iter().find_map(|report| slower(rollout, report, hosts)))
}

/// Whether it fails more often: on all hosts together, or on one of them beyond chance.
fn traps(rollout: &Rollout, hosts: &[&Report]) -> Option<Worse> {
    // Since the deployment, where that is enough to go by.
    let old = |report: &Report| match report.lately.calls {
        P99_CALLS_MIN.. => Some(report.lately),
        _ => figures(report, rollout.from.revision).copied(),
    };
    let olds: Vec<Figures> = hosts.iter().filter_map(|report| old(report)).collect();
    let excess = f64::from(rollout.gates.traps_permille) / 1_000.0;
    // By hosts, so that one cannot speak for all of them.
    let allowed = median(olds.iter().filter(|old| old.calls > 0).map(Figures::trap_share)).unwrap_or(0.0) + excess;
    let news: Vec<Figures> = hosts.iter().filter_map(|report| figures(report, rollout.to.revision)).copied().collect();
    let beyond_chance = |new: &&Figures| {
        let expected = new.calls as f64 * allowed;
        new.traps as f64 > expected + TRAPS_SIGMAS * expected.sqrt()
    };
    let enough = |new: &Figures| new.traps >= TRAPS_MIN;
    let together = sum(&news);
    let worse = Some(together).filter(|new| enough(new) && new.trap_share() > allowed);
    let Figures { traps, calls, .. } =
        worse.or_else(|| news.iter().filter(|new| enough(new)).find(beyond_chance).copied())?;
    let Figures { traps: old_traps, calls: old_calls, .. } = sum(&olds);
    Some(Worse::Traps { traps, calls, old_traps, old_calls })
}

/// Why the new version does not start, if that is its own doing. What may lie in one host condemns it only as the canary's, which nobody
/// else could follow, or where another says the same.
fn not_started(to: Revision, hosts: &[&Report], canary: Option<NodeId>) -> Option<String> {
    let failures = hosts.iter().filter_map(|report| match report.versions.get(&to) {
        Some((Runs::Failed { reason, passing }, _)) => Some((reason, *passing && Some(report.node) != canary)),
        Some((Runs::Unready | Runs::Ready { .. } | Runs::Gone, _)) | None => None,
    });
    let failures: Vec<_> = failures.collect();
    let own = failures.iter().find(|(_, passing)| !passing);
    own.or_else(|| failures.first().filter(|_| failures.len() > 1)).map(|(reason, _)| (*reason).clone())
}

/// Whether the new version is slower on one host: than the old one was there, or else than it is elsewhere.
fn slower(rollout: &Rollout, host: &Report, hosts: &[&Report]) -> Option<Worse> {
    let factor = f64::from(rollout.gates.slowdown_percent) / 100.0;
    let (p99, p50) = (|figures: &Figures| figures.p99_ms, |figures: &Figures| figures.p50_ms);
    let p99_calls = P99_CALLS_MIN.max(u64::from(rollout.gates.calls));
    let (percentile, (new_ms, old_ms), factor) = match both(rollout, host, hosts, p99_calls, p99) {
        Some(times) => ("p99", times, factor),
        None => ("p50", both(rollout, host, hosts, P50_CALLS_MIN, p50)?, factor.max(P50_FACTOR)),
    };
    let limit_ms = (old_ms * factor).max(old_ms + SLOWER_MS_MIN);
    (new_ms > limit_ms).then_some(Worse::Slower { percentile, new_ms, old_ms })
}

/// The 99th percentiles of the new version on one host and of the old one, in microseconds, for people: however few calls there were.
pub(super) fn p99_us(rollout: &Rollout, host: &Report, hosts: &[&Report]) -> Option<(u64, u64)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that has passed")]
    let micros = |ms: f64| (ms * 1e3).round() as u64;
    let (new_ms, old_ms) = both(rollout, host, hosts, 1, |figures| figures.p99_ms)?;
    Some((micros(new_ms), micros(old_ms)))
}

/// A percentile of the new version on one host and what it is held against, where both were called often enough.
fn both(
    rollout: &Rollout,
    host: &Report,
    hosts: &[&Report],
    calls_min: u64,
    percentile: impl Fn(&Figures) -> f64,
) -> Option<(f64, f64)> {
    let known = |figures: &Figures| Some(percentile(figures)).filter(|ms| figures.calls >= calls_min && *ms > 0.0);
    let before = |report: &Report| figures(report, rollout.from.revision).and_then(known);
    let lately = |report: &Report| known(&report.lately);
    let new_ms = figures(host, rollout.to.revision).and_then(known)?;
    let here = || {
        // A slow host is slow with either version; by how much calls have changed since the deployment, the others tell.
        let drift = median(hosts.iter().filter_map(|report| Some(lately(report)? / before(report)?)));
        Some(before(host)? * drift.unwrap_or(1.0))
    };
    let elsewhere = || median(hosts.iter().filter_map(|report| lately(report).or_else(|| before(report))));
    Some((new_ms, lately(host).or_else(here).or_else(elsewhere)?))
}

impl Figures {
    fn trap_share(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.traps as f64 / self.calls as f64 }
    }
}

/// A host's figures of a version.
fn figures(report: &Report, revision: Revision) -> Option<&Figures> {
    report.versions.get(&revision).map(|(_, figures)| figures)
}

/// The lesser one of two in the middle: what a host says of the old version is to spare the new one nothing.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// The calls of all hosts together.
fn sum(figures: &[Figures]) -> Figures {
    let add = |sum: Figures, one: &Figures| Figures {
        calls: sum.calls.saturating_add(one.calls),
        traps: sum.traps.saturating_add(one.traps),
        ..sum
    };
    figures.iter().fold(Figures::default(), add)
}

#[cfg(test)]
mod tests;
