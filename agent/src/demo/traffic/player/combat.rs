//! Zones of duels, and the health of those who fight.
//!
//! Owns what a server knows of its fighters. The invariant: damage is counted for whoever dealt it, as the answer says.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::dice::Dice;
use super::{Meaning, PLAYERS, Turn, ZONES, items};
use crate::demo::tally::Tally;

/// Duels in one call: a busy zone.
pub(super) const DUELS_PER_CALL: u64 = 6;
/// Health of a fighter that enters the game.
pub(super) const HEALTH_FULL: i64 = 100;
/// What a fighter may set out to do in a round.
const TACTICS: [&str; 4] = ["speed", "power", "grab", "block"];
/// Seeds stay below 2^53, where JSON numbers are exact everywhere.
const SEED_BITS: u32 = 53;

/// The fighters as a server knows them.
#[derive(Default)]
pub(super) struct Fights {
    pub(super) health: BTreeMap<u64, i64>,
}

impl Fights {
    pub(super) fn turn(&mut self, dice: &mut Dice) -> Turn {
        let (zone, first) = (dice.below(ZONES), dice.below(PLAYERS));
        let pair = |index: u64| ((first + 2 * index) % PLAYERS, (first + 2 * index + 1) % PLAYERS);
        let pairs: Vec<_> = (0..DUELS_PER_CALL).map(pair).collect();
        let duels: Vec<_> = pairs
            .iter()
            .map(|&(a, b)| {
                let seed = dice.next() >> (u64::BITS - SEED_BITS);
                json!({"zone": zone, "seed": seed, "a": self.fighter(a, dice), "b": self.fighter(b, dice)})
            })
            .collect();
        Turn::call("combat", "resolve", &json!(duels), Meaning::Combat(pairs))
    }

    pub(super) fn learn(&mut self, pairs: &[(u64, u64)], body: &Value, tally: &mut Tally) -> Result<(), String> {
        let fields = ["damage_to_a", "damage_to_b", "health_a", "health_b"];
        let sound = |outcome: &Value| fields.iter().all(|name| outcome[name].is_i64());
        let outcomes = items("outcomes", pairs.len() as u64, body, sound)?;
        for (&(a, b), outcome) in pairs.iter().zip(outcomes) {
            let number = |name: &str| outcome[name].as_i64().unwrap_or(0);
            for (dealer, damage) in [(a, number("damage_to_b")), (b, number("damage_to_a"))] {
                if damage > 0 {
                    tally.count(format!("gcounter/combat:damage:{dealer}"), i128::from(damage));
                }
            }
            for (fighter, health) in [(a, number("health_a")), (b, number("health_b"))] {
                // Who falls comes back fresh, or the game would soon be over.
                self.health.insert(fighter, if health > 0 { health } else { HEALTH_FULL });
            }
        }
        Ok(())
    }

    fn fighter(&self, id: u64, dice: &mut Dice) -> Value {
        let health = *self.health.get(&id).unwrap_or(&HEALTH_FULL);
        let tactic = dice.one(&TACTICS);
        let mut stat = || dice.between(5, 15);
        json!({
            "id": id, "focus": stat(), "perception": stat(), "reason": stat(), "belief": stat(), "vitality": stat(),
            "tactic": tactic, "health": health,
        })
    }
}
