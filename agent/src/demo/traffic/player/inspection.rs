//! What a server sees its players do, one of whom is too quick.
//!
//! Owns the players of one server: an observation is of a player whom no other server sees. The invariant: the server's clock
//! goes on from call to call.

use serde_json::{Value, json};

use super::dice::Dice;
use super::{Meaning, Turn, items};
use crate::demo::tally::Tally;

/// Players of one server.
const OWN_PLAYERS: u64 = 6;
/// Positions of each in one call.
const SAMPLES_PER_CALL: u64 = 2;
/// Between two positions, in milliseconds.
const SAMPLE_MS: u64 = 50;
/// Ids of different servers' players lie this far apart, above those of the players whom all share.
const IDS_APART: u64 = 1_000;
/// Metres per second of those who play fair, and of the one who does not.
const SPEED: f64 = 4.0;
const SPEED_OF_THE_CHEAT: f64 = 60.0;

/// A server's players, as it sees them.
pub(super) struct Patrol {
    first: u64,
    now_ms: u64,
}

impl Patrol {
    pub(super) const fn new(number: u64) -> Self {
        Self { first: (number + 1) * IDS_APART, now_ms: 1_000_000 }
    }

    pub(super) fn turn(&mut self, dice: &mut Dice) -> Turn {
        let mut observations = Vec::new();
        for _ in 0..SAMPLES_PER_CALL {
            self.now_ms += SAMPLE_MS;
            let seconds = f64::from(u32::try_from(self.now_ms).unwrap_or(u32::MAX)) / 1_000.0;
            for own in 0..OWN_PLAYERS {
                let speed = if own == 0 { SPEED_OF_THE_CHEAT } else { SPEED };
                let hit = (dice.below(10) == 0).then(|| json!({"kind": "hit", "damage": dice.between(1, 9)}));
                observations.push(json!({
                    "player": self.first + own, "t_ms": self.now_ms, "x": speed * seconds, "y": 0.0, "z": 0.0, "action": hit,
                }));
            }
        }
        let seen = observations.len() as u64;
        Turn::call("anti-cheat", "inspect", &json!(observations), Meaning::Inspection(seen))
    }
}

pub(super) fn learn(seen: u64, body: &Value, tally: &mut Tally) -> Result<(), String> {
    let sound = |verdict: &Value| verdict["rule"].is_string() && verdict["certainty"].is_number();
    let verdicts = items("verdicts", seen, body, sound)?;
    let named = verdicts.iter().filter(|verdict| verdict["rule"] != "none").count();
    tally.count("gcounter/cheat:inspected".to_owned(), i128::from(seen));
    tally.count("gcounter/cheat:named".to_owned(), named as i128);
    Ok(())
}
