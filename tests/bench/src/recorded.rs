//! Recorded people: where they ran, and what a bad line makes of it.
//!
//! Owns the reading of the public tracking data and the disturbances that are added to it; judges nothing. The data is not
//! in the repository: it lies in `../shared/data` beside it, or where `SELVEDGE_DATA` says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use selvedge_sync::sim::Rng;

/// Milliseconds between two frames.
pub(crate) const FRAME_MS: u64 = 50;
/// The first frame's time: no epoch, and not zero.
const START_MS: u64 = 1_000_000;
/// The pitch, in metres; the data has percents of it.
const PITCH_M: [f64; 2] = [105.0, 68.0];
/// The number under which the ball is recorded.
const BALL: u64 = 0;
/// One update in so many thousand is lost, where some are.
pub(crate) const LOST_PERMILLE: u64 = 20;

/// One player's places, one for each frame, in metres.
pub(crate) type Path = Vec<[f64; 2]>;

/// An update as it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    /// When it is said to be from, in milliseconds.
    pub(crate) stamp_ms: u64,
    /// When it is from.
    pub(crate) true_ms: u64,
    pub(crate) at: [f64; 2],
}

/// How the time of an update is changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Jitter {
    None,
    /// Evenly by up to so many milliseconds to both sides.
    Even(f64),
    /// Normally, with this standard deviation in milliseconds.
    Normal(f64),
}

/// All players, in the order of their numbers, without the ball.
pub(crate) fn players() -> Result<Vec<Path>> {
    let folder = std::env::var_os("SELVEDGE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let file = folder.join("movement/football_20hz_a.csv");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{}: no movement data; SELVEDGE_DATA says where it lies", file.display()))?;
    let mut players: BTreeMap<u64, Path> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| -> Result<f64> {
            fields.get(at).and_then(|field| field.parse().ok()).with_context(|| format!("no number in {line:?}"))
        };
        let player: u64 = fields[0].parse().with_context(|| format!("no player in {line:?}"))?;
        if player != BALL {
            let at = [number(2)? / 100.0 * PITCH_M[0], number(3)? / 100.0 * PITCH_M[1]];
            players.entry(player).or_default().push(at);
        }
    }
    Ok(players.into_values().collect())
}

/// A number from 0 to 1.
pub(crate) fn even(rng: &mut Rng) -> f64 {
    (rng.draw() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number of the standard normal distribution (Box and Muller).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let (radius, angle) = (even(rng).max(1e-12), even(rng));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// The updates of a path, in the order of their frames: some lost, their times changed.
pub(crate) fn updates(path: &Path, lost_permille: u64, jitter: Jitter, rng: &mut Rng) -> Vec<Update> {
    let mut updates = Vec::new();
    for (frame, at) in path.iter().enumerate() {
        let true_ms = START_MS + frame as u64 * FRAME_MS;
        let off_ms = match jitter {
            Jitter::None => 0.0,
            Jitter::Even(most) => (even(rng) * 2.0 - 1.0) * most,
            Jitter::Normal(deviation) => normal(rng) * deviation,
        };
        if lost_permille == 0 || !rng.chance(lost_permille) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand seconds")]
            let stamp_ms = (true_ms as f64 + off_ms).round() as u64;
            updates.push(Update { stamp_ms, true_ms, at: *at });
        }
    }
    updates
}

/// The time of a frame.
pub(crate) const fn frame_ms(frame: usize) -> u64 {
    START_MS + frame as u64 * FRAME_MS
}

/// The place at a time, between two frames where it falls there; `None` outside of the record.
pub(crate) fn place(path: &Path, ms: u64) -> Option<[f64; 2]> {
    let since = ms.checked_sub(START_MS)?;
    let frame = usize::try_from(since / FRAME_MS).ok()?;
    let share = (since % FRAME_MS) as f64 / FRAME_MS as f64;
    let from = path.get(frame)?;
    if share <= 0.0 {
        return Some(*from);
    }
    let to = path.get(frame + 1)?;
    Some([0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * share))
}
