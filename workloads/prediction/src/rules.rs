//! From a track to a prediction.
//!
//! Owns the check of the arguments and the motion model; `track.rs` cleans the samples first, `confidence.rs` says how sure
//! the result is. The
//! invariant: a steady straight movement is extended exactly, and the result is always finite.
//!
//! The model is a constant velocity with an acceleration that dies away, `a·e^(−t/T)`: people do not keep accelerating.
//! Velocity and acceleration come from a quadratic fitted to the last samples by least squares, each sample weighted by
//! `e^(−age/τ)`. How far back the fit looks (τ) follows from how noisy the samples are: on clean ones the fit passes through the last three, on noisy ones it averages over a second or so. The acceleration is estimated with
//! a prior: noise alone must not look like a sprint (ridge regression, the MAP estimate for Gaussian noise).

use selvedge_sdk::Fault;

use crate::confidence::{Movement, confidence};
use crate::track::{Sample, Track, seconds};

/// The most samples of one track.
pub const SAMPLES_MAX: usize = 64;
/// Below this confidence a prediction counts as a guess.
pub const GUESS_CONFIDENCE: f32 = 0.25;

/// The least τ, in sample intervals: the last three samples then carry nearly all the weight.
const FIT_INTERVALS: f64 = 0.2;
/// How τ grows with the noise: seconds per square root of a metre. Tuned on recorded football players, as are the next five.
const FIT_PER_ROOT_NOISE: f64 = 0.9;
/// How long an acceleration lasts, in seconds.
const ACCELERATION_S: f64 = 1.1;
/// The size of acceleration that a fit of noisy samples is drawn towards explaining, in metres per second squared.
const ACCELERATION_USUAL: f64 = 6.0;
/// No acceleration beyond this is carried into the future: it was a stumble or a seam in the data.
const ACCELERATION_MAX: f64 = 3.7;
/// What looks like noise up to this size, in metres, is the movement itself.
const NOISE_FLOOR_M: f64 = 0.001;
/// The noise to expect of a track too short to tell, in metres, and how many measured steps that expectation is worth.
const NOISE_EXPECTED: (f64, f64) = (0.01, 0.35);
/// A sample that weighs less than this does not matter.
const WEIGHT_MIN: f64 = 1e-6;
/// How many steps back the noise is measured.
const NOISE_STEPS: usize = 16;
/// From the median of a distance in the plane to its standard deviation on each axis (Rayleigh).
const MEDIAN_TO_SIGMA: f64 = 0.849;

/// The doubt about the velocity of a player of whom one sample is known, in metres per second: of people on a pitch, of whom
/// many stand.
const UNKNOWN_SPEED: f64 = 1.0;

/// Where a player will be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// The moment: last sample plus horizon, in milliseconds.
    pub t_ms: u64,
    /// Metres.
    pub at: [f64; 3],
    /// Metres per second, at that moment.
    pub velocity: [f64; 3],
    /// 0 to 1: how likely the player is to be within [`NEAR_M`](crate::confidence::NEAR_M) of `at`.
    pub confidence: f32,
    /// Whether the track held a teleport.
    pub teleported: bool,
}

/// The movement at the last sample.
struct Motion {
    at: [f64; 3],
    velocity: [f64; 3],
    acceleration: [f64; 3],
    /// Standard deviation of the estimated velocity, in metres per second.
    doubt: f64,
}

/// Checks `samples`, which are those of `tracks[index]`, and predicts where the player is `horizon_ms` after the last.
///
/// # Errors
/// Names what is wrong: no samples, too many, a coordinate that is not finite, a time past the range of `t-ms`.
pub fn predict(index: usize, samples: &[Sample], horizon_ms: u32) -> Result<Predicted, Fault> {
    check(index, samples)?;
    let track = Track::clean(samples);
    let last = track.samples[track.samples.len() - 1];
    let t_ms = last.t_ms.checked_add(u64::from(horizon_ms)).ok_or_else(|| {
        Fault::new(format!("tracks[{index}].horizon_ms"), "reaches past the greatest time that t_ms can hold")
    })?;
    let horizon = f64::from(horizon_ms) / 1_000.0;
    let motion = motion(&track.samples);
    let (at, velocity) = motion.after(horizon);
    let teleported = track.teleported;
    if at.iter().chain(&velocity).any(|number| !number.is_finite()) {
        // Coordinates near the end of the floating-point range. Standing still is the only finite thing to say.
        return Ok(Predicted { t_ms, at: last.at, velocity: [0.0; 3], confidence: 0.0, teleported });
    }
    let confidence = confidence(&motion.movement(&track.samples), horizon);
    Ok(Predicted { t_ms, at, velocity, confidence, teleported })
}

fn check(index: usize, samples: &[Sample]) -> Result<(), Fault> {
    if samples.is_empty() || samples.len() > SAMPLES_MAX {
        let message = format!("has {} samples; a track has 1 to {SAMPLES_MAX}", samples.len());
        return Err(Fault::new(format!("tracks[{index}].samples"), message));
    }
    for (place, sample) in samples.iter().enumerate() {
        for (axis, coordinate) in ["x", "y", "z"].into_iter().zip(sample.at) {
            if !coordinate.is_finite() {
                let field = format!("tracks[{index}].samples[{place}].{axis}");
                return Err(Fault::new(field, "must be a finite number of metres"));
            }
        }
    }
    Ok(())
}

fn motion(samples: &[Sample]) -> Motion {
    let last = samples[samples.len() - 1];
    let still = Motion { at: last.at, velocity: [0.0; 3], acceleration: [0.0; 3], doubt: UNKNOWN_SPEED };
    if samples.len() == 1 {
        return still;
    }
    let recent = &samples[samples.len().saturating_sub(4)..];
    let interval = seconds(&recent[0], &last) / count(recent.len() - 1);
    let noise = noise(samples);
    let tau = FIT_INTERVALS * interval + FIT_PER_ROOT_NOISE * noise.sqrt();
    let doubt = noise / tau;
    let prior = noise / (0.5 * ACCELERATION_USUAL * tau * tau);
    let Some(fit) = quadratic(samples, tau, prior * prior) else {
        let before = samples[samples.len() - 2];
        let velocity = std::array::from_fn(|i| (last.at[i] - before.at[i]) / seconds(&before, &last));
        return Motion { velocity, doubt, ..still };
    };
    Motion {
        at: std::array::from_fn(|i| last.at[i] + fit[i][0]),
        velocity: fit.map(|axis| axis[1] / tau),
        acceleration: bounded(fit.map(|axis| 2.0 * axis[2] / (tau * tau))),
        doubt,
    }
}

impl Motion {
    /// Position and velocity after `horizon` seconds.
    fn after(&self, horizon: f64) -> ([f64; 3], [f64; 3]) {
        let gained = ACCELERATION_S * (1.0 - (-horizon / ACCELERATION_S).exp());
        let drift = ACCELERATION_S * (horizon - gained);
        let velocity: [f64; 3] = std::array::from_fn(|i| self.velocity[i] + self.acceleration[i] * gained);
        let at = std::array::from_fn(|i| self.at[i] + self.velocity[i] * horizon + self.acceleration[i] * drift);
        (at, velocity)
    }

    /// What makes it more or less sure. The age of the last but one sample counts: after a gap the velocity is an old one.
    fn movement(&self, samples: &[Sample]) -> Movement {
        let age = match samples {
            [.., before, last] => seconds(before, last),
            _ => 0.0,
        };
        Movement { doubt: self.doubt, speed: size(self.velocity), acceleration: size(self.acceleration), age }
    }
}

/// Weighted least squares: per axis the coefficients of `c0 + c1·s + c2·s²`, where `s` is the time after the last sample
/// in units of `tau` and the result is relative to the last position; `ridge` draws `c2` to zero. `None` if the samples do
/// not determine it.
fn quadratic(samples: &[Sample], tau: f64, ridge: f64) -> Option<[[f64; 3]; 3]> {
    let last = samples[samples.len() - 1];
    let (mut moments, mut sums) = ([0.0; 5], [[0.0; 3]; 3]);
    for sample in samples.iter().rev() {
        let s = -seconds(sample, &last) / tau;
        let weight = s.exp();
        if weight < WEIGHT_MIN {
            break;
        }
        let powers = [1.0, s, s * s, s * s * s, s * s * s * s];
        powers.iter().zip(&mut moments).for_each(|(power, moment)| *moment += weight * power);
        for (axis, sums) in sums.iter_mut().enumerate() {
            let offset = weight * (sample.at[axis] - last.at[axis]);
            powers.iter().zip(sums).for_each(|(power, sum)| *sum += offset * power);
        }
    }
    moments[4] += ridge;
    let [m0, m1, m2, m3, m4] = moments;
    // The inverse of the symmetric matrix [[m0 m1 m2] [m1 m2 m3] [m2 m3 m4]], by cofactors.
    let (c00, c01, c02) = (m2 * m4 - m3 * m3, m2 * m3 - m1 * m4, m1 * m3 - m2 * m2);
    let (c11, c12, c22) = (m0 * m4 - m2 * m2, m1 * m2 - m0 * m3, m0 * m2 - m1 * m1);
    let determinant = m0 * c00 + m1 * c01 + m2 * c02;
    // Relative to the size of its terms: two samples, or three of which one weighs nothing, leave only rounding errors.
    if determinant <= 1e-9 * m0 * m2 * m4 {
        return None;
    }
    Some(sums.map(|[b0, b1, b2]| {
        [
            (c00 * b0 + c01 * b1 + c02 * b2) / determinant,
            (c01 * b0 + c11 * b1 + c12 * b2) / determinant,
            (c02 * b0 + c12 * b1 + c22 * b2) / determinant,
        ]
    }))
}

/// Standard deviation of the samples around a smooth path, in metres: how far each is from the parabola through the
/// three before it, over what independent errors of the four would make of that. The median forgives single jumps.
fn noise(samples: &[Sample]) -> f64 {
    let recent = &samples[samples.len().saturating_sub(NOISE_STEPS)..];
    let mut misses: Vec<f64> = recent.windows(4).map(miss).collect();
    misses.sort_by(f64::total_cmp);
    let measured = misses.get(misses.len() / 2).map_or(0.0, |median| median * MEDIAN_TO_SIGMA);
    let (steps, (expected, worth)) = (count(misses.len()), NOISE_EXPECTED);
    ((steps * measured + worth * expected) / (steps + worth) - NOISE_FLOOR_M).max(0.0)
}

fn bounded(acceleration: [f64; 3]) -> [f64; 3] {
    let size = size(acceleration);
    if size > ACCELERATION_MAX { acceleration.map(|axis| axis * (ACCELERATION_MAX / size)) } else { acceleration }
}

fn size(vector: [f64; 3]) -> f64 {
    vector.iter().map(|axis| axis * axis).sum::<f64>().sqrt()
}

fn miss(four: &[Sample]) -> f64 {
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| seconds(&four[0], &four[i]));
    let lagrange = [
        (d - b) * (d - c) / ((a - b) * (a - c)),
        (d - a) * (d - c) / ((b - a) * (b - c)),
        (d - a) * (d - b) / ((c - a) * (c - b)),
    ];
    let spread = 1.0 + lagrange.iter().map(|l| l * l).sum::<f64>();
    let off = |axis: usize| four[3].at[axis] - (0..3).map(|i| lagrange[i] * four[i].at[axis]).sum::<f64>();
    ((0..3).map(|axis| off(axis) * off(axis)).sum::<f64>() / spread).sqrt()
}

/// A small number of samples.
fn count(samples: usize) -> f64 {
    f64::from(u32::try_from(samples).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 samples a second of a path given by time in seconds.
    fn samples(count: u32, path: impl Fn(f64) -> [f64; 3]) -> Vec<Sample> {
        (0..count).map(|i| Sample { t_ms: 1_000 + u64::from(i) * 50, at: path(f64::from(i) * 0.05) }).collect()
    }

    fn close(got: [f64; 3], expect: [f64; 3], within: f64) {
        let worst = got.iter().zip(expect).map(|(got, expect)| (got - expect).abs()).fold(0.0, f64::max);
        assert!(worst <= within, "{got:?}, not {expect:?}");
    }

    /// A repeatable error in -1 to 1.
    fn error(n: u64) -> f64 {
        let word = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let word = (word ^ (word >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        f64::from(u32::try_from(word >> 32).expect("32 bits")) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    #[test]
    fn a_straight_line_is_extended_exactly() {
        let line = |t: f64| [3.0 + 4.0 * t, -1.0 - 2.0 * t, 0.5];
        for count in [2, 3, 4, 20, 64] {
            let last = f64::from(count - 1) * 0.05;
            for horizon in [0, 100, 1_000, 5_000] {
                let predicted = predict(0, &samples(count, line), horizon).expect("valid");
                close(predicted.at, line(last + f64::from(horizon) / 1_000.0), 1e-6);
                close(predicted.velocity, [4.0, -2.0, 0.0], 1e-6);
                assert_eq!(predicted.t_ms, 1_000 + u64::from(count - 1) * 50 + u64::from(horizon));
            }
        }
    }

    #[test]
    fn uneven_spacing_does_not_bend_a_line() {
        let uneven: Vec<_> = [0, 7, 61, 80, 190, 200, 330, 1_200]
            .map(|t_ms: u32| Sample { t_ms: u64::from(t_ms), at: [f64::from(t_ms) * 0.004, 0.0, 1.0] })
            .into();
        let predicted = predict(0, &uneven, 500).expect("valid");
        close(predicted.at, [6.8, 0.0, 1.0], 1e-6);
    }

    #[test]
    fn a_turn_is_followed_better_than_by_the_last_step() {
        let turn = |t: f64| [5.0 * (t * 0.8).cos(), 5.0 * (t * 0.8).sin(), 0.0];
        let track = samples(20, turn);
        let predicted = predict(0, &track, 500).expect("valid");
        let truth = turn(0.95 + 0.5);
        let step = [0, 1].map(|i| track[19].at[i] + (track[19].at[i] - track[18].at[i]) * 10.0);
        let off = |at: &[f64]| (at[0] - truth[0]).hypot(at[1] - truth[1]);
        assert!(off(&predicted.at) < 0.3 * off(&step), "{} against {}", off(&predicted.at), off(&step));
    }

    #[test]
    fn noise_is_averaged_out() {
        let (mut ours, mut step) = (0.0, 0.0);
        for round in 0..200 {
            let mut track = samples(30, |t| [6.0 * t, 0.0, 0.0]);
            for (i, sample) in track.iter_mut().enumerate() {
                sample.at[0] += 0.05 * error(round * 1_000 + i as u64 * 2);
                sample.at[1] += 0.05 * error(round * 1_000 + i as u64 * 2 + 1);
            }
            let truth = 6.0 * (1.45 + 0.25);
            let predicted = predict(0, &track, 250).expect("valid");
            ours += (predicted.at[0] - truth).powi(2) + predicted.at[1].powi(2);
            step += (0..2)
                .map(|i| track[29].at[i] + (track[29].at[i] - track[28].at[i]) * 5.0 - [truth, 0.0][i])
                .map(|off| off * off)
                .sum::<f64>();
        }
        assert!(ours < 0.25 * step, "{ours} against {step}");
    }

    #[test]
    fn confidence_falls_with_the_horizon_the_noise_and_fewer_samples() {
        let line = |t: f64| [4.0 * t, 0.0, 0.0];
        let of = |track: &[Sample], horizon| predict(0, track, horizon).expect("valid").confidence;
        let clean = samples(20, line);
        assert!(of(&clean, 100) > 0.9);
        assert!(of(&clean, 500) > of(&clean, 1_000) && of(&clean, 1_000) > of(&clean, 2_000));
        let mut noisy = clean.clone();
        noisy.iter_mut().enumerate().for_each(|(i, sample)| sample.at[1] += 0.3 * error(i as u64));
        assert!(of(&clean, 250) > of(&noisy, 250));
        assert!(of(&clean, 250) > of(&clean[..1], 250));
    }

    #[test]
    fn after_a_teleport_the_old_place_does_not_matter() {
        let mut track = samples(20, |t| [4.0 * t, 0.0, 0.0]);
        track[15..].iter_mut().for_each(|sample| sample.at[1] += 500.0);
        let predicted = predict(0, &track, 200).expect("valid");
        close(predicted.at, [4.0 * 1.15, 500.0, 0.0], 1e-6);
        assert!(predicted.teleported);
    }

    #[test]
    fn whatever_is_finite_gives_something_finite() {
        let extremes = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.0, -0.0, 1e308, -1e308, 1e-308, 1.0];
        for round in 0..2_000_u64 {
            let track: Vec<_> = (0..=round % 9)
                .map(|i| {
                    let pick = |n: u64| {
                        let word = (round * 97 + i * 7 + n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                        extremes[usize::try_from(word).expect("32 bits") % extremes.len()]
                    };
                    Sample { t_ms: (round % 5) * i * (1 + i % 3), at: [pick(0), pick(1), pick(2)] }
                })
                .collect();
            for horizon in [0, 1, u32::MAX] {
                let predicted = predict(0, &track, horizon).expect("valid");
                assert!(predicted.at.iter().chain(&predicted.velocity).all(|n| n.is_finite()), "{track:?}");
                assert!((0.0..=1.0).contains(&predicted.confidence), "{track:?}");
            }
        }
    }

    #[test]
    fn a_wrong_argument_is_named() {
        let check = |samples: &[Sample], horizon, field: &str| {
            assert_eq!(predict(2, samples, horizon).expect_err("wrong").field, field);
        };
        check(&[], 0, "tracks[2].samples");
        check(&samples(65, |_| [0.0; 3]), 0, "tracks[2].samples");
        check(&samples(3, |t| [0.0, if t > 0.05 { f64::NAN } else { 0.0 }, 0.0]), 0, "tracks[2].samples[2].y");
        check(&samples(1, |_| [0.0, 0.0, f64::INFINITY]), 0, "tracks[2].samples[0].z");
        check(&[Sample { t_ms: u64::MAX, at: [0.0; 3] }], 1, "tracks[2].horizon_ms");
    }
}
