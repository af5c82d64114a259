//! What answers tell of an instance: latency, success, throughput and calls under way.

use super::Ended;
use super::forecast::Forecast;

/// Time in which what was measured loses most of its weight, in milliseconds, as in Finagle and tower: some calls of a game, and
/// short enough that an instance that has recovered is tried again.
const DECAY_MS: f64 = 10_000.0;
/// What an answer counts for in the share of successes: the last twenty or so decide.
const SUCCESS_STEP: f64 = 0.05;
/// The least that an answer counts for in the mean latency: the last ten or so decide.
const MEAN_STEP: f64 = 0.1;
/// Longest latency that is believed, in milliseconds.
const LATENCY_MS_MAX: f64 = 60_000.0;

/// Figures of one instance as seen from here.
#[derive(Clone, Debug)]
pub struct Measured {
    outstanding: u32,
    /// Latency that jumps to every peak and decays from it, in milliseconds.
    peak_ms: f64,
    /// Latency that follows slowly, in milliseconds.
    mean_ms: f64,
    answered: bool,
    success: f64,
    rate: f64,
    at_ms: u64,
    forecast: Forecast,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            outstanding: 0,
            peak_ms: 0.0,
            mean_ms: 0.0,
            answered: false,
            success: 1.0,
            rate: 0.0,
            at_ms: 0,
            forecast: Forecast::default(),
        }
    }
}

impl Measured {
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.outstanding = self.outstanding.saturating_add(1);
        self.forecast.observe(f64::from(self.outstanding), now_ms);
    }

    pub(super) fn end(&mut self, ended: Ended, took_ms: f64, now_ms: u64) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.forecast.observe(f64::from(self.outstanding), now_ms);
        if ended == Ended::Abandoned {
            return;
        }
        let took_ms = if took_ms.is_finite() { took_ms.clamp(0.0, LATENCY_MS_MAX) } else { LATENCY_MS_MAX };
        // How long somebody waited in vain counts where it is long; that it failed quickly makes nothing quick.
        let (took_ms, says_how_long) = match ended {
            Ended::Answered => (took_ms, true),
            Ended::Failed => (took_ms.max(self.mean_ms), true),
            Ended::Busy | Ended::Broke | Ended::Abandoned => (took_ms, false),
        };
        let keep = decay(self.at_ms, now_ms);
        self.rate = self.rate * keep + 1_000.0 / DECAY_MS;
        self.success += SUCCESS_STEP * (f64::from(u8::from(ended == Ended::Answered)) - self.success);
        if says_how_long {
            let smoothed = |old: f64| if self.answered { old * keep + took_ms * (1.0 - keep) } else { took_ms };
            // What lies long back is no measure of an answer of now.
            let step = MEAN_STEP.max(1.0 - keep);
            self.mean_ms = if self.answered { self.mean_ms + step * (took_ms - self.mean_ms) } else { took_ms };
            self.peak_ms = smoothed(self.peak_ms).max(took_ms);
            self.answered = true;
        }
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// Calls under way.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Latency in milliseconds by which instances are compared: the last peak, decayed since; `None` before the first answer.
    #[must_use]
    pub fn peak_ewma_ms(&self, now_ms: u64) -> Option<f64> {
        self.answered.then(|| self.peak_ms * decay(self.at_ms, now_ms))
    }

    /// Mean latency in milliseconds; `None` before the first answer.
    #[must_use]
    pub fn mean_ms(&self) -> Option<f64> {
        self.answered.then_some(self.mean_ms)
    }

    /// Mean latency in milliseconds as far as it still says something: of one that is not asked, it goes towards `rtt_ms`, so that it is
    /// tried again, by one call at a time. `None` before the first answer.
    pub(super) fn expected_ms(&self, rtt_ms: f64, now_ms: u64) -> Option<f64> {
        let keep = if self.outstanding == 0 { decay(self.at_ms, now_ms) } else { 1.0 };
        Some(rtt_ms + (self.mean_ms()? - rtt_ms) * keep)
    }

    /// Share of the last calls that were answered, 0 to 1.
    #[must_use]
    pub fn success(&self) -> f64 {
        self.success
    }

    /// Calls per second that ended, over the last ten seconds or so.
    #[must_use]
    pub fn rate(&self, now_ms: u64) -> f64 {
        self.rate * decay(self.at_ms, now_ms)
    }

    /// Calls that will be under way in the next minutes if it goes on as it does.
    #[must_use]
    pub fn predicted(&self) -> f64 {
        self.forecast.predicted()
    }
}

/// What remains of a figure of `since_ms` at `now_ms`, 0 to 1.
fn decay(since_ms: u64, now_ms: u64) -> f64 {
    (-(now_ms.saturating_sub(since_ms) as f64) / DECAY_MS).exp()
}
