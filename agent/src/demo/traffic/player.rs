//! What a game server asks of its agent, and what it learns from the answers.
//!
//! Owns the mixture: zones of duels, movement predictions, writes to the shared state. Sends nothing. The invariant: the same
//! seed and the same answers make the same requests, and every acknowledged effect is in the tally.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::{Answer, Ask, call_path};
use crate::demo::tally::Tally;

/// Fighters in the whole game. Few, so that all agents write to the same counters.
const FIGHTERS: u64 = 64;
/// Duels in one combat call: a busy zone.
const DUELS_PER_CALL: u64 = 6;
/// Zones in the game.
const ZONES: u64 = 16;
/// Health of a fighter that enters the game.
const HEALTH_FULL: i64 = 100;
/// What a fighter may set out to do in a round.
const TACTICS: [&str; 4] = ["speed", "power", "grab", "block"];
/// Players whose movement one call predicts.
const TRACKS_PER_CALL: u64 = 8;
/// Positions known of each, 50 ms apart.
const SAMPLES_PER_TRACK: u64 = 8;
/// How far ahead is predicted, in milliseconds: a round trip on a bad day.
const HORIZON_MS: u64 = 100;
/// Seeds stay below 2^53, where JSON numbers are exact everywhere.
const SEED_BITS: u32 = 53;

/// What kind of request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::demo) enum Kind {
    /// A zone's duels.
    Combat,
    /// Movement of some players.
    Prediction,
    /// A write to the shared state.
    Write,
}

/// A request, and what is needed to understand its answer.
pub(in crate::demo) struct Turn {
    pub(in crate::demo) ask: Ask,
    meaning: Meaning,
}

enum Meaning {
    /// The two fighters of each duel.
    Combat(Vec<(u64, u64)>),
    /// How many tracks.
    Prediction(u64),
    /// The counter that a success changes, and by how much; none for sets and maps.
    Write(Option<(String, i128)>),
}

impl Turn {
    pub(in crate::demo) fn kind(&self) -> Kind {
        match self.meaning {
            Meaning::Combat(_) => Kind::Combat,
            Meaning::Prediction(_) => Kind::Prediction,
            Meaning::Write(_) => Kind::Write,
        }
    }
}

/// One game server.
pub(in crate::demo) struct Player {
    dice: Dice,
    health: BTreeMap<u64, i64>,
    tally: Tally,
}

impl Player {
    /// The game server of this number.
    pub(in crate::demo) fn new(number: u64) -> Self {
        Self { dice: Dice(number), health: BTreeMap::new(), tally: Tally::default() }
    }

    /// What it was promised so far.
    pub(in crate::demo) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Its next request: half of them combat, three in ten prediction, two in ten writes.
    pub(in crate::demo) fn next_turn(&mut self) -> Turn {
        match self.dice.below(10) {
            0..5 => self.combat(),
            5..8 => self.prediction(),
            _ => self.write(),
        }
    }

    /// Takes in the successful answer to `turn`. The error says what is wrong with it.
    pub(in crate::demo) fn learn(&mut self, turn: &Turn, answer: &Answer) -> Result<(), String> {
        let body = answer.json().map_err(|error| format!("the answer is no JSON: {error}"))?;
        match &turn.meaning {
            Meaning::Combat(pairs) => {
                self.acknowledge(answer.commit.as_deref())?;
                self.learn_outcomes(pairs, &body)
            }
            Meaning::Prediction(tracks) => {
                if answer.commit.is_some() {
                    self.acknowledge(answer.commit.as_deref())?;
                }
                let sound = |one: &Value| ["x", "y", "z", "confidence"].iter().all(|name| one[name].is_number());
                let list = body.as_array().filter(|list| list.len() as u64 == *tracks && list.iter().all(sound));
                list.map(drop).ok_or_else(|| format!("{tracks} predictions were asked for, got {}", excerpt(&body)))
            }
            Meaning::Write(counted) => {
                let commit = &body["commit"];
                let name = commit["replica"].as_str().zip(commit["seq"].as_u64());
                self.acknowledge(name.map(|(replica, seq)| format!("{replica}/{seq}")).as_deref())?;
                if let Some((key, by)) = counted {
                    self.tally.count(key.clone(), *by);
                }
                Ok(())
            }
        }
    }

    fn acknowledge(&mut self, commit: Option<&str>) -> Result<(), String> {
        let commit = commit.ok_or("the answer names no commit for what it wrote")?;
        self.tally.acknowledge(commit).map_err(|error| error.to_string())
    }

    fn learn_outcomes(&mut self, pairs: &[(u64, u64)], body: &Value) -> Result<(), String> {
        let odd = || format!("{} outcomes were asked for, got {}", pairs.len(), excerpt(body));
        let outcomes = body.as_array().filter(|list| list.len() == pairs.len()).ok_or_else(odd)?;
        for (&(a, b), outcome) in pairs.iter().zip(outcomes) {
            let number = |name: &str| outcome[name].as_i64().ok_or_else(odd);
            for (dealer, damage) in [(a, number("damage_to_b")?), (b, number("damage_to_a")?)] {
                if damage > 0 {
                    self.tally.count(format!("gcounter/combat:damage:{dealer}"), i128::from(damage));
                }
            }
            for (fighter, health) in [(a, number("health_a")?), (b, number("health_b")?)] {
                // Who falls comes back fresh, or the game would soon be over.
                self.health.insert(fighter, if health > 0 { health } else { HEALTH_FULL });
            }
        }
        Ok(())
    }

    fn combat(&mut self) -> Turn {
        let (zone, first) = (self.dice.below(ZONES), self.dice.below(FIGHTERS));
        let pair = |index: u64| ((first + 2 * index) % FIGHTERS, (first + 2 * index + 1) % FIGHTERS);
        let pairs: Vec<_> = (0..DUELS_PER_CALL).map(pair).collect();
        let duels: Vec<_> = pairs
            .iter()
            .map(|&(a, b)| {
                let seed = self.dice.next() >> (u64::BITS - SEED_BITS);
                json!({"zone": zone, "seed": seed, "a": self.fighter(a), "b": self.fighter(b)})
            })
            .collect();
        Turn { ask: Ask::post(call_path("combat", "resolve"), &json!([duels])), meaning: Meaning::Combat(pairs) }
    }

    fn fighter(&mut self, id: u64) -> Value {
        let health = *self.health.get(&id).unwrap_or(&HEALTH_FULL);
        let tactic = TACTICS[usize::try_from(self.dice.below(TACTICS.len() as u64)).unwrap_or(0)];
        let mut stat = || self.dice.between(5, 15);
        json!({
            "id": id, "focus": stat(), "perception": stat(), "reason": stat(), "belief": stat(), "vitality": stat(),
            "tactic": tactic, "health": health,
        })
    }

    fn prediction(&mut self) -> Turn {
        let tracks: Vec<_> = (0..TRACKS_PER_CALL).map(|_| self.track()).collect();
        let ask = Ask::post(call_path("prediction", "predict"), &json!([tracks]));
        Turn { ask, meaning: Meaning::Prediction(TRACKS_PER_CALL) }
    }

    /// Somebody who runs straight ahead, seen with a little noise.
    fn track(&mut self) -> Value {
        let (player, start) = (self.dice.below(FIGHTERS), self.dice.below(1_000_000));
        let (x, y) = (self.dice.metres(500), self.dice.metres(500));
        let (vx, vy) = (self.dice.metres(6), self.dice.metres(6));
        let samples: Vec<_> = (0..SAMPLES_PER_TRACK)
            .map(|index| {
                let seconds = f64::from(u32::try_from(index).unwrap_or(0)) * 0.05;
                let (x, y) = (x + vx * seconds + self.dice.metres(1) / 50.0, y + vy * seconds);
                json!({"t_ms": start + index * 50, "x": x, "y": y, "z": 0.0})
            })
            .collect();
        json!({"player": player, "samples": samples, "horizon_ms": HORIZON_MS})
    }

    fn write(&mut self) -> Turn {
        let player = self.dice.below(FIGHTERS);
        let amount = self.dice.between(1, 9);
        let (key, operation, counted) = match self.dice.below(5) {
            0 => ("gcounter/demo:shots".to_owned(), json!({ "increment": amount }), Some(i128::from(amount))),
            1 => (format!("pncounter/demo:gold:{player}"), json!({ "increment": amount }), Some(i128::from(amount))),
            2 => (format!("pncounter/demo:gold:{player}"), json!({ "decrement": amount }), Some(-i128::from(amount))),
            3 => {
                let verb = if amount > 3 { "add" } else { "remove" };
                ("orset/demo:online".to_owned(), json!({ verb: [format!("player-{player}")] }), None)
            }
            _ => {
                let fields =
                    json!({"x": self.dice.metres(500), "y": self.dice.metres(500), "zone": self.dice.below(ZONES)});
                (format!("lwwmap/demo:player:{player}"), json!({ "put": fields }), None)
            }
        };
        let ask = Ask::post(format!("/v1/state/{key}"), &operation);
        Turn { ask, meaning: Meaning::Write(counted.map(|by| (key, by))) }
    }
}

/// Enough of an unexpected answer to recognise it.
fn excerpt(json: &Value) -> String {
    json.to_string().chars().take(160).collect()
}

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` − 1. The bias of the remainder is far below what a game would notice.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// −`range` to `range`, in millimetres as a fraction.
    fn metres(&mut self, range: u32) -> f64 {
        let millimetres = u32::try_from(self.below(2_000 * u64::from(range) + 1)).unwrap_or(0);
        f64::from(millimetres) / 1_000.0 - f64::from(range)
    }
}

#[cfg(test)]
mod tests;
