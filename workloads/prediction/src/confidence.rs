//! How sure a prediction is: the probability that the player will be within [`NEAR_M`] of it.
//!
//! Owns the spread of errors that a movement leaves, and nothing of the movement itself. The invariant: a longer horizon, an
//! older velocity, more noise, more speed and more acceleration never make a prediction surer.
//!
//! The length of the error is taken to follow a Weibull distribution, as the length of a wind does. Its scale has two parts:
//! what the noise of the samples makes of the velocity, which grows with the horizon; and what the player may decide
//! meanwhile, which is an acceleration and grows with its square. The constants were fitted, by maximum likelihood, to
//! recorded football players with noise, jitter and loss of several kinds added, on one half of the players at a time: both
//! halves gave nearly the same ones.

/// Predictions are meant to be this good, in metres: about the width of a body.
pub const NEAR_M: f64 = 0.5;

/// What the doubt about the velocity counts for.
const DOUBT: f64 = 3.1;
/// How much a player who stands may change its acceleration, in metres per second squared.
const WHIM: f64 = 0.1;
/// How much more one who accelerates may, for each metre per second squared: to stop doing so is nearly all of it.
const WHIM_PER_ACCELERATION: f64 = 0.7;
/// How much more one who moves may, for each metre per second: to turn.
const WHIM_PER_SPEED: f64 = 0.085;
/// The shape of the distribution, between an exponential (1) and a Rayleigh (2): most errors are small, some are large.
const SHAPE: f64 = 1.42;

/// A movement, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Movement {
    /// Standard deviation of the estimated velocity, in metres per second.
    pub(crate) doubt: f64,
    /// Metres per second.
    pub(crate) speed: f64,
    /// Metres per second squared.
    pub(crate) acceleration: f64,
    /// Seconds between the last sample and the one before: how old the velocity is.
    pub(crate) age: f64,
}

/// The probability that the player is within [`NEAR_M`] of where this movement takes it in `horizon` seconds.
#[must_use]
pub(crate) fn confidence(movement: &Movement, horizon: f64) -> f32 {
    let whim = WHIM + WHIM_PER_ACCELERATION * movement.acceleration + WHIM_PER_SPEED * movement.speed;
    let decided = 0.5 * whim * (horizon + movement.age).powi(2);
    let unknown = DOUBT * movement.doubt * horizon;
    let scale = decided.hypot(unknown);
    // A scale of zero divides to infinity, and that is certainty.
    let near = 1.0 - (-(NEAR_M / scale).powf(SHAPE)).exp();
    #[expect(clippy::cast_possible_truncation, reason = "0 to 1, and f32 is what the interface has")]
    let narrow = near as f32;
    if narrow.is_finite() { narrow.clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_grows_makes_it_less_sure() {
        let base = Movement { doubt: 0.2, speed: 3.0, acceleration: 1.0, age: 0.05 };
        let sure = confidence(&base, 0.5);
        assert!((0.5..1.0).contains(&sure), "{sure}");
        assert!(confidence(&base, 1.0) < sure);
        for worse in [
            Movement { doubt: 0.4, ..base },
            Movement { speed: 6.0, ..base },
            Movement { acceleration: 3.0, ..base },
            Movement { age: 0.4, ..base },
        ] {
            assert!(confidence(&worse, 0.5) < sure, "{worse:?}");
        }
    }

    #[test]
    fn it_stays_a_probability_at_the_ends() {
        let still = Movement { doubt: 0.0, speed: 0.0, acceleration: 0.0, age: 0.0 };
        assert!((confidence(&still, 0.0) - 1.0).abs() < f32::EPSILON);
        for wild in [f64::MAX, f64::INFINITY, f64::NAN] {
            let movement = Movement { doubt: wild, speed: wild, acceleration: wild, age: 0.0 };
            assert!(confidence(&movement, 4e6).abs() < f32::EPSILON);
        }
    }
}
