//! How far predictions of movement are off, beside four simple predictors.
//!
//! Recorded football players at 20 frames a second, the ball left out. Each predictor is given the same last [`HISTORY`]
//! samples and asked for four horizons after the last of them; the error is the distance to where the player was then. In the
//! disturbed rounds the times of the samples are wrong by up to 20 ms to both sides and one sample in fifty is missing, for
//! everybody; or the places are wrong. The two halves of the players are told apart (low and high of the spread): the constants were
//! tuned on each half alone, and what is in the code lies between what the two gave.

use anyhow::Result;
use selvedge_prediction::confidence::NEAR_M;
use selvedge_prediction::rules::predict;
use selvedge_prediction::track::Sample;
use selvedge_sync::sim::Rng;

use crate::recorded::{Jitter, LOST_PERMILLE, Path, Update, normal, place, players, updates};
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "movement";
/// Samples that a predictor is given.
const HISTORY: usize = 20;
const HORIZONS_MS: [u32; 4] = [100, 250, 500, 1_000];
/// How often each player's record is disturbed anew.
const ROUNDS: u64 = 5;
/// The gains of the alpha-beta filter.
const ALPHA_BETA: (f64, f64) = (0.8, 0.4);
const PEERS: [&str; 4] = ["hold-last", "constant velocity", "constant acceleration", "alpha-beta"];
/// Ours stands last.
const OURS: usize = PEERS.len();
const VELOCITY: usize = 1;
/// Parts of the scale of confidence that are looked at one by one.
const PARTS: usize = 10;

#[derive(Clone, Copy, PartialEq)]
enum Disturbed {
    No,
    /// Wrong times, and some lost.
    Times,
    /// Places off by so many metres (standard deviation), and some lost.
    Places(f64),
}

/// Sums over the predictions of some players.
#[derive(Default)]
struct Sums {
    /// Squared errors by horizon and predictor, and their number.
    squares: [[f64; OURS + 1]; HORIZONS_MS.len()],
    count: [f64; HORIZONS_MS.len()],
    /// By part of the scale: predictions, their confidence, how many were near.
    parts: [[f64; 3]; PARTS],
}

pub(crate) fn run() -> Result<Vec<Row>> {
    let players = players()?;
    let mut rows = Vec::new();
    let mut whole = [Sums::default(), Sums::default()];
    for (disturbed, name) in [
        (Disturbed::No, "clean"),
        (Disturbed::Times, "20 ms jitter, 2 % lost"),
        (Disturbed::Places(0.01), "1 cm of noise, 2 % lost"),
        (Disturbed::Places(0.05), "5 cm of noise, 2 % lost"),
    ] {
        let halves = [0, 1].map(|half| {
            let mut sums = Sums::default();
            players.iter().skip(half).step_by(2).enumerate().for_each(|(player, path)| {
                (0..ROUNDS).for_each(|round| sums.add(path, disturbed, player as u64 * ROUNDS + round));
            });
            sums
        });
        let both = Sums::merged(&halves);
        for (at, horizon) in HORIZONS_MS.into_iter().enumerate() {
            let ratio = |sums: &Sums| sums.rmse(at, OURS) / sums.rmse(at, VELOCITY);
            let (one, other) = (ratio(&halves[0]), ratio(&halves[1]));
            let spread = Spread { low: one.min(other), median: ratio(&both), high: one.max(other) };
            let goal = if horizon == 500 { 0.9 } else { 1.0 };
            let ours = Spread::exact(both.rmse(at, OURS));
            let velocity = Spread::exact(both.rmse(at, VELOCITY));
            let others = [0, 2, 3].map(|peer| format!("{} {:.3}", PEERS[peer], both.rmse(at, peer)));
            rows.push(
                Row::new(NAME, format!("RMSE after {horizon} ms, {name}"), spread, "x")
                    .goal(Goal::AtMost(goal))
                    .parts(ours, velocity, PEERS[VELOCITY], "m")
                    .note(others.join("; ")),
            );
        }
        for (whole, half) in whole.iter_mut().zip(&halves) {
            *whole = Sums::merged(&[std::mem::take(whole), Sums::merged(std::slice::from_ref(half))]);
        }
    }
    rows.push(calibration(&whole));
    Ok(rows)
}

/// How far the share of predictions that were near is from what they said, over the parts of the scale.
fn calibration(halves: &[Sums; 2]) -> Row {
    let (one, other) = (halves[0].miscalibration(), halves[1].miscalibration());
    let both = Sums::merged(halves);
    let spread = Spread { low: one.min(other), median: both.miscalibration(), high: one.max(other) };
    let told = both.parts.iter().filter(|part| part[0] > 0.0);
    let told: Vec<_> =
        told.map(|part| format!("{:.2} said, {:.2} were", part[1] / part[0], part[2] / part[0])).collect();
    Row::new(NAME, format!("confidence against the share within {NEAR_M} m, mean difference"), spread, "")
        .note(told.join("; "))
}

impl Sums {
    fn add(&mut self, path: &Path, disturbed: Disturbed, seed: u64) {
        let mut rng = Rng::new(seed);
        let lost = if disturbed == Disturbed::No { 0 } else { LOST_PERMILLE };
        let jitter = if disturbed == Disturbed::Times { Jitter::Even(20.0) } else { Jitter::None };
        let mut seen = updates(path, lost, jitter, &mut rng);
        if let Disturbed::Places(deviation) = disturbed {
            seen.iter_mut().for_each(|update| update.at = update.at.map(|axis| axis + deviation * normal(&mut rng)));
        }
        for window in seen.windows(HISTORY) {
            let mut samples: Vec<Sample> = window.iter().map(sample).collect();
            let now_ms = window[HISTORY - 1].true_ms;
            samples.sort_by_key(|sample| sample.t_ms);
            for (at, horizon) in HORIZONS_MS.into_iter().enumerate() {
                let Some(truth) = place(path, now_ms + u64::from(horizon)) else { continue };
                let ours = predict(0, &samples, horizon).expect("samples of a record are valid");
                let ahead = f64::from(horizon) / 1_000.0;
                let answers = peers(&samples, ahead).into_iter().chain([[ours.at[0], ours.at[1]]]);
                self.count[at] += 1.0;
                let mut near = 0.0;
                for (square, answer) in self.squares[at].iter_mut().zip(answers) {
                    let off = (answer[0] - truth[0]).powi(2) + (answer[1] - truth[1]).powi(2);
                    *square += off;
                    near = f64::from(u8::from(off.sqrt() <= NEAR_M));
                }
                let confidence = f64::from(ours.confidence);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a part of a scale from 0 to 1"
                )]
                let part = &mut self.parts[((confidence * PARTS as f64) as usize).min(PARTS - 1)];
                part.iter_mut().zip([1.0, confidence, near]).for_each(|(sum, more)| *sum += more);
            }
        }
    }

    fn merged(all: &[Self]) -> Self {
        let mut merged = Self::default();
        for sums in all {
            let squares = merged.squares.iter_mut().flatten().zip(sums.squares.iter().flatten());
            let parts = merged.parts.iter_mut().flatten().zip(sums.parts.iter().flatten());
            let counts = merged.count.iter_mut().zip(&sums.count);
            squares.chain(parts).chain(counts).for_each(|(sum, more)| *sum += more);
        }
        merged
    }

    fn rmse(&self, horizon: usize, predictor: usize) -> f64 {
        (self.squares[horizon][predictor] / self.count[horizon]).sqrt()
    }

    /// The expected calibration error.
    fn miscalibration(&self) -> f64 {
        let all: f64 = self.parts.iter().map(|part| part[0]).sum();
        self.parts.iter().map(|part| (part[1] - part[2]).abs()).sum::<f64>() / all
    }
}

fn sample(update: &Update) -> Sample {
    Sample { t_ms: update.stamp_ms, at: [update.at[0], update.at[1], 0.0] }
}

/// What the peers say, in the order of [`PEERS`], of samples in the order of their times.
fn peers(samples: &[Sample], ahead: f64) -> [[f64; 2]; OURS] {
    let [.., a, b, c] = samples else { unreachable!("a history is longer than three samples") };
    // Two samples that claim one moment leave nothing to divide by; a millisecond is what times are told in.
    let seconds = |from: &Sample, to: &Sample| ((to.t_ms - from.t_ms) as f64).max(1.0) / 1_000.0;
    let (before, last) = (seconds(a, b), seconds(b, c));
    let hold = [c.at[0], c.at[1]];
    let velocity = [0, 1].map(|axis| c.at[axis] + (c.at[axis] - b.at[axis]) / last * ahead);
    let acceleration = [0, 1].map(|axis| {
        let (early, late) = ((b.at[axis] - a.at[axis]) / before, (c.at[axis] - b.at[axis]) / last);
        let change = (late - early) / ((before + last) / 2.0);
        c.at[axis] + (late + change * last / 2.0) * ahead + change * ahead * ahead / 2.0
    });
    let (mut at, mut speed) = ([samples[0].at[0], samples[0].at[1]], [0.0; 2]);
    for pair in samples.windows(2) {
        let passed = seconds(&pair[0], &pair[1]);
        for axis in 0..2 {
            let expected = at[axis] + speed[axis] * passed;
            let off = pair[1].at[axis] - expected;
            at[axis] = expected + ALPHA_BETA.0 * off;
            speed[axis] += ALPHA_BETA.1 * off / passed;
        }
    }
    [hold, velocity, acceleration, [0, 1].map(|axis| at[axis] + speed[axis] * ahead)]
}
