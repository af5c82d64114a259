//! What a figure will be in a few minutes, by its level and its trend (Holt's linear method, 1957).

/// How far ahead, in seconds.
const HORIZON_S: f64 = 120.0;
/// What a new second counts for in the level.
const LEVEL_STEP: f64 = 0.2;
/// What it counts for in the trend.
const TREND_STEP: f64 = 0.05;
/// A forecast goes no further from the level than by this factor: a trend of seconds is not one of minutes.
const FACTOR_MAX: f64 = 3.0;
/// Length of one observation, in milliseconds; what comes in between is averaged.
const SPAN_MS: u64 = 1_000;

/// A figure that is followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Forecast {
    level: f64,
    trend: f64,
    sum: f64,
    count: u32,
    began_ms: Option<u64>,
    seen: bool,
}

impl Forecast {
    /// The figure is `value` now.
    pub(super) fn observe(&mut self, value: f64, now_ms: u64) {
        let began_ms = *self.began_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(began_ms) >= SPAN_MS && self.count > 0 {
            self.settle(self.sum / f64::from(self.count));
            (self.sum, self.count, self.began_ms) = (0.0, 0, Some(now_ms));
        }
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    /// What it will be.
    pub(super) fn predicted(&self) -> f64 {
        (self.level + self.trend * HORIZON_S).clamp(self.level / FACTOR_MAX, self.level * FACTOR_MAX)
    }

    fn settle(&mut self, value: f64) {
        if !self.seen {
            (self.level, self.seen) = (value, true);
            return;
        }
        let before = self.level;
        self.level += self.trend + LEVEL_STEP * (value - self.level - self.trend);
        self.level = self.level.max(0.0);
        self.trend += TREND_STEP * (self.level - before - self.trend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_figure_is_foreseen_to_rise_and_a_steady_one_to_stay() {
        let follow = |value: fn(u64) -> f64| {
            let mut forecast = Forecast::default();
            (0..120).for_each(|second| forecast.observe(value(second), second * 1_000));
            forecast.predicted()
        };
        assert!((follow(|_| 5.0) - 5.0).abs() < 1e-6);
        assert!(follow(|second| 10.0 + second as f64) > 200.0);
        assert!(follow(|second| 200.0 - second as f64) < 50.0);
        assert!(follow(|_| 0.0).abs() < 1e-9);
    }
}
