//! Who is suddenly elsewhere.
//!
//! Owns the evidence of a single step; `speed.rs` judges many. The invariant: a step that is possible within the time
//! between its two updates is no evidence, however many updates were lost in between.
//!
//! A long step has one honest reading: the older update was late, or the newer one early, by as much as the step takes. Long
//! delays are exponentially rare, so the evidence is that delay over `DELAY` times the usual variation.

use crate::limits::Limits;
use crate::observation::Place;
use crate::speed::{NATS_MAX, run_m, unusual_s};

/// A step this short is never a jump, in metres: a push, a ledge, a rounding of the game's.
const STEP_M: f64 = 1.0;
/// Mean of the long delays, over the standard deviation of the usual ones.
const DELAY: f64 = 1.5;
/// A step with this much against it, in nats, is taken for a jump, and what was known of the movement before it is dropped.
pub const JUMP_NATS: f64 = 5.0;

/// A step from one place to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The evidence that it was a jump; 0 if it was none.
    pub nats: f64,
    /// Its length in metres.
    pub metres: f64,
    /// What it took, in seconds.
    pub seconds: f64,
}

/// Judges the step between two places that were seen `ms` apart, the first of them perhaps `late_s` seconds late.
#[must_use]
pub fn step(from: &Place, to: &Place, ms: u64, late_s: f64, limits: &Limits) -> Step {
    let seconds = f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1_000.0;
    #[expect(clippy::cast_precision_loss, reason = "a difference of checked places is below 2^53")]
    let moved = [0, 1, 2].map(|axis| (to[axis] - from[axis]) as f64);
    let metres = moved.iter().map(|axis| axis * axis).sum::<f64>().sqrt() / 100.0;
    let delay_s = (run_m(moved, limits) - STEP_M) / limits.speed - seconds - unusual_s(late_s, limits);
    Step { nats: (delay_s / (DELAY * limits.jitter_s)).clamp(0.0, NATS_MAX), metres, seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nats(metres: f64, ms: u64) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let to = [(metres * 100.0) as i64, 0, 0];
        step(&[0, 0, 0], &to, ms, 0.0, &Limits::default()).nats
    }

    #[test]
    fn only_what_nobody_can_run_is_a_jump() {
        assert!(nats(0.4, 50).abs() < f64::EPSILON);
        assert!(nats(8.0, 1_000).abs() < f64::EPSILON);
        assert!((JUMP_NATS..9.0).contains(&nats(7.0, 50)), "{}", nats(7.0, 50));
        assert!(nats(15.0, 50) > 12.0);
        assert!(nats(1e6, 50) >= NATS_MAX);
    }

    #[test]
    fn lost_updates_leave_time_for_a_longer_step() {
        assert!(nats(10.0, 50) > 9.0);
        assert!(nats(10.0, 1_150).abs() < f64::EPSILON);
    }

    #[test]
    fn falling_is_no_jump_and_rising_is() {
        let limits = Limits::default();
        assert!(step(&[0, 0, 2_000], &[0, 0, 0], 400, 0.0, &limits).nats.abs() < f64::EPSILON);
        assert!(step(&[0, 0, 0], &[0, 0, 2_000], 400, 0.0, &limits).nats > 10.0);
    }
}
