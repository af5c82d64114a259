//! Writes straight to the shared state, of every type.
//!
//! Owns the demo's own keys. The invariant: what a counter is told is what is counted.

use serde_json::{Value, json};

use super::dice::Dice;
use super::{Meaning, PLAYERS, Turn, ZONES};
use crate::cli::Ask;

pub(super) fn turn(dice: &mut Dice) -> Turn {
    let player = dice.below(PLAYERS);
    let amount = dice.between(1, 9);
    let (key, operation, counted) = match dice.below(5) {
        0 => ("gcounter/demo:shots".to_owned(), json!({ "increment": amount }), Some(i128::from(amount))),
        1 => (format!("pncounter/demo:gold:{player}"), json!({ "increment": amount }), Some(i128::from(amount))),
        2 => (format!("pncounter/demo:gold:{player}"), json!({ "decrement": amount }), Some(-i128::from(amount))),
        3 => {
            let verb = if amount > 3 { "add" } else { "remove" };
            ("orset/demo:online".to_owned(), json!({ verb: [format!("player-{player}")] }), None)
        }
        _ => {
            let fields = json!({"x": dice.metres(500), "y": dice.metres(500), "zone": dice.below(ZONES)});
            (format!("lwwmap/demo:player:{player}"), json!({ "put": fields }), None)
        }
    };
    let ask = Ask::post(format!("/v1/state/{key}"), &operation);
    Turn { ask, meaning: Meaning::Write(counted.map(|by| (key, by))) }
}

/// The commit that an answer names.
pub(super) fn commit(body: &Value) -> Option<String> {
    let commit = &body["commit"];
    let (replica, seq) = commit["replica"].as_str().zip(commit["seq"].as_u64())?;
    Some(format!("{replica}/{seq}"))
}
