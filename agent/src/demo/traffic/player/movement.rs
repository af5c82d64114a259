//! Players on their way, whose positions are to be predicted.
//!
//! Owns the tracks; remembers none of them. The invariant: a track is one that a player could have run.

use serde_json::{Value, json};

use super::dice::Dice;
use super::{Meaning, PLAYERS, Turn, items};

/// Players whose movement one call predicts.
const TRACKS_PER_CALL: u64 = 8;
/// Positions known of each, 50 ms apart.
pub(super) const SAMPLES_PER_TRACK: u64 = 8;
/// How far ahead is predicted, in milliseconds: a round trip on a bad day.
const HORIZON_MS: u64 = 100;

pub(super) fn turn(dice: &mut Dice) -> Turn {
    let tracks: Vec<_> = (0..TRACKS_PER_CALL).map(|_| track(dice)).collect();
    Turn::call("prediction", "predict", &json!(tracks), Meaning::Prediction(TRACKS_PER_CALL))
}

pub(super) fn check(tracks: u64, body: &Value) -> Result<(), String> {
    let sound = |one: &Value| ["x", "y", "z", "confidence"].iter().all(|name| one[name].is_number());
    items("predictions", tracks, body, sound).map(drop)
}

/// Somebody who runs straight ahead, seen with a little noise.
fn track(dice: &mut Dice) -> Value {
    let (player, start) = (dice.below(PLAYERS), dice.below(1_000_000));
    let (x, y) = (dice.metres(500), dice.metres(500));
    let (vx, vy) = (dice.metres(6), dice.metres(6));
    let samples: Vec<_> = (0..SAMPLES_PER_TRACK)
        .map(|index| {
            let seconds = f64::from(u32::try_from(index).unwrap_or(0)) * 0.05;
            let (x, y) = (x + vx * seconds + dice.metres(1) / 50.0, y + vy * seconds);
            json!({"t_ms": start + index * 50, "x": x, "y": y, "z": 0.0})
        })
        .collect();
    json!({"player": player, "samples": samples, "horizon_ms": HORIZON_MS})
}
