//! How late an update may be, judged by when the ones before it came.
//!
//! Owns a model of the line between a player and the server; knows no places. The invariant: what it allows for never
//! exceeds the silence that came before.
//!
//! A line that stalls and recovers delivers what it held back all at once. Each of those updates was sent one interval after
//! its predecessor, so the first may be as late as the silence was long, the next by one interval less, and so on. The
//! lateness is therefore a sum of "interval that was seen minus interval that is usual", never below zero.

/// What one silence may be worth, in milliseconds. Whoever is silent for longer is not on a line that stalled.
pub(crate) const LATE_MS_MAX: f64 = 1_000.0;
/// After so many milliseconds half of the lateness is thought to be over, if no burst ended it before: an update was lost,
/// or the player had stood still and sent nothing.
const HALF_LIFE_MS: f64 = 500.0;
/// How many intervals the usual one is a mean of: a stall and its burst cancel out in it.
pub(crate) const SEEN_MAX: u32 = 64;
/// The longest interval that tells of the usual one, in milliseconds.
pub(crate) const INTERVAL_MS_MAX: f64 = 2_000.0;

/// The line of one player.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// The time of the newest update.
    pub newest_ms: u64,
    /// Intervals that were seen, as far as they count.
    pub seen: u32,
    /// Their mean in milliseconds.
    pub interval_ms: f64,
    /// How late the newest update may be, in milliseconds.
    pub late_ms: f64,
}

impl Line {
    /// Takes in the time of an update, and says how late it may be, in milliseconds.
    pub fn take(&mut self, t_ms: u64) -> f64 {
        if self.newest_ms == 0 || t_ms < self.newest_ms {
            self.newest_ms = self.newest_ms.max(t_ms);
            return self.late_ms;
        }
        let interval = f64::from(u32::try_from(t_ms - self.newest_ms).unwrap_or(u32::MAX));
        self.newest_ms = t_ms;
        self.seen = (self.seen + 1).min(SEEN_MAX);
        self.interval_ms += (interval.min(INTERVAL_MS_MAX) - self.interval_ms) / f64::from(self.seen);
        let faded = self.late_ms * (-interval / HALF_LIFE_MS).exp2();
        self.late_ms = (faded + interval - self.interval_ms).clamp(0.0, LATE_MS_MAX);
        self.late_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How late the updates at these times may be, rounded.
    fn late(times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut line = Line::default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
        times.into_iter().map(|t_ms| line.take(t_ms).round() as u64).collect()
    }

    #[test]
    fn a_steady_line_is_never_late() {
        assert!(late((1..100).map(|at| at * 50)).iter().all(|late| *late == 0));
    }

    #[test]
    fn what_a_stall_held_back_is_as_late_as_it_lasted_and_then_less_and_less() {
        // Ten updates are held back for 500 ms.
        let times = (1..=64).map(|at| at * 50).chain([3_700; 10]).chain((75..80).map(|at| at * 50));
        let late = late(times);
        let expect = [450, 400, 350, 300, 250, 200, 150, 100, 50, 0];
        for (at, expect) in expect.into_iter().enumerate() {
            assert!(late[64 + at].abs_diff(expect) < 60, "{:?}", &late[64..74]);
        }
        assert!(late[79 - 1] < 60, "{late:?}");
    }

    #[test]
    fn a_silence_without_a_burst_fades() {
        let late = late((1..=64).map(|at| at * 50).chain((0..40).map(|at| 60_000 + at * 50)));
        assert_eq!(late[64], 1_000);
        assert!(late[64 + 39] < 100, "{late:?}");
    }
}
