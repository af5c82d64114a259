//! Samples and what is said of them: median and quartiles, of interleaved runs.
//!
//! Owns arithmetic and order of measurement; knows no benchmark. The invariant: two that are compared are measured in turn,
//! so that a machine that grows slower or faster meanwhile does so for both.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Median and quartiles of some samples.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one sample; quartiles are interpolated.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { low: quantile(&sorted, 0.25), median: quantile(&sorted, 0.5), high: quantile(&sorted, 0.75) }
    }

    /// Of something that is the same in every run.
    pub(crate) const fn exact(value: f64) -> Self {
        Self { low: value, median: value, high: value }
    }

    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { low: self.low * factor, median: self.median * factor, high: self.high * factor }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position within a slice of samples")]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The value below which a share of some samples lies.
pub(crate) fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, share)
}

/// What two things cost that were measured in turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    pub(crate) ours: Vec<f64>,
    pub(crate) peer: Vec<f64>,
}

impl Pair {
    /// Takes note of one round of A B A B …; the first, numbered 0, warms up and does not count.
    pub(crate) fn note(&mut self, round: usize, ours: f64, peer: f64) {
        if round > 0 {
            self.ours.push(ours);
            self.peer.push(peer);
        }
    }

    /// Ours over the peer's, round by round.
    pub(crate) fn ratio(&self) -> Spread {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer).collect();
        Spread::of(&ratios)
    }
}

/// Seconds that something takes, and its result, which is not optimised away.
pub(crate) fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let result = std::hint::black_box(work());
    (begun.elapsed().as_secs_f64(), result)
}

/// The exponent `b` of `cost = a · size^b` that fits best: 0 is flat, 1 is proportional.
pub(crate) fn exponent(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(size, cost)| (size.ln(), cost.ln())).collect();
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    covariance / logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}
