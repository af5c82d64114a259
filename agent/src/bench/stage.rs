//! One stage: calls at a constant rate, each sent when it is due, whatever became of those before it.
//!
//! Owns the schedule and its clock. The invariant: the clock waits for nobody. A call for which there is no room in the queue of
//! its agent is an error of the kind `not_sent`, never a call that is sent later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::{Due, Lines, Way};
use super::meter::{Counts, Meter};

/// What a call may take beyond its patience until it must have ended: lines look at their clocks that often, and then some.
const SETTLE_MARGIN: Duration = Duration::from_secs(1);

/// How many calls a second, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    pub(super) rate: u32,
    pub(super) length: Duration,
    /// How long after it was due a call counts as lost.
    pub(super) patience: Duration,
}

/// What a stage gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    /// Calls a second that were due.
    pub(super) offered: u32,
    /// For how long answers came: the stage, or until the last answer if that was later.
    pub(super) took: Duration,
    /// For how long calls were under way: the stage, or until the last one ended if that was later.
    pub(super) lasted: Duration,
    pub(super) counts: Counts,
}

impl Stage {
    /// Drives it, and returns when every call has ended.
    pub(super) async fn run(self, lines: &Lines) -> Measured {
        let (meter, start) = (Arc::new(Meter::new()), Instant::now());
        let (clock, ways) = (Arc::clone(&meter), lines.ways());
        // A thread of its own: the runtime's timers have a grain of a millisecond, which would be most of what there is to measure.
        let ticking = tokio::task::spawn_blocking(move || self.tick(start, &ways, &clock));
        ticking.await.expect("the clock neither panics nor is cancelled");
        let settled = tokio::time::timeout(self.patience + SETTLE_MARGIN, meter.settle()).await;
        debug_assert!(settled.is_ok(), "a line ends what it took when its patience ends");
        let counts = meter.read();
        let until = |last: Option<Instant>| last.map_or(Duration::ZERO, |last| last - start).max(self.length);
        Measured { offered: self.rate, took: until(counts.last_answer), lasted: until(counts.last_end), counts }
    }

    fn tick(self, start: Instant, ways: &[Way], meter: &Arc<Meter>) {
        for (index, way) in (0..self.calls()).zip(ways.iter().cycle()) {
            let due = start + self.offset(index);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            meter.due(due.elapsed(), way.is_held_up());
            let call = Due { due, index, meter: Arc::clone(meter) };
            if way.queue.try_send(call).is_err() {
                // Whoever reads the queue is gone: the command was interrupted.
                if way.queue.is_closed() {
                    return;
                }
                meter.failed("not_sent");
            }
        }
    }

    fn calls(self) -> u64 {
        u64::try_from(u128::from(self.rate) * self.length.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// In nanoseconds and 128 bits, so that a minute at the highest rate neither drifts nor overflows.
    fn offset(self, index: u64) -> Duration {
        let nanos = u128::from(index) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
