//! What a call's outcomes change in the shared state, summed up.
//!
//! Owns the sums: one entry per fighter and per zone, however many duels they had, so that a call costs a write per key
//! and not per duel. Writes nothing itself. The invariant: the sums are those of the outcomes, exactly.

use std::collections::BTreeMap;

use crate::rules::{Duel, Outcome, Status};

/// What happened to one fighter in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FighterTally {
    /// Damage dealt to others.
    pub dealt: u64,
    /// Damage suffered.
    pub suffered: u64,
    /// The health that the caller gave in the fighter's first duel of the call.
    pub health_before: i32,
}

/// What happened in one zone in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneTally {
    /// Duels resolved.
    pub duels: i64,
    /// Both sides succeeded.
    pub win_win: i64,
    /// Only A did.
    pub win_lose: i64,
    /// Only B did.
    pub lose_win: i64,
    /// Neither did.
    pub lose_lose: i64,
    /// Damage suffered by anyone.
    pub damage: i64,
    /// Sides that stood before their round and were down after it.
    pub downed: i64,
}

/// Objects of the state that one call may write; the host's limit is a little above.
pub const WRITES_MAX: usize = 4_000;

/// The sums of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By fighter.
    pub fighters: BTreeMap<u64, FighterTally>,
    /// By zone.
    pub zones: BTreeMap<u64, ZoneTally>,
}

impl Tally {
    /// Whether a call can write what it has summed up: two objects for each fighter and one for each zone.
    #[must_use]
    pub fn fits(&self) -> bool {
        2 * self.fighters.len() + self.zones.len() <= WRITES_MAX
    }

    /// Takes in one resolved duel.
    pub fn add(&mut self, duel: &Duel, outcome: &Outcome) {
        let zone = self.zones.entry(duel.zone).or_default();
        zone.duels += 1;
        match (outcome.a.won, outcome.b.won) {
            (true, true) => zone.win_win += 1,
            (true, false) => zone.win_lose += 1,
            (false, true) => zone.lose_win += 1,
            (false, false) => zone.lose_lose += 1,
        }
        for (fighter, own, other) in [(&duel.a, outcome.a, outcome.b), (&duel.b, outcome.b, outcome.a)] {
            zone.damage += i64::from(own.damage);
            zone.downed += i64::from(fighter.health > 0 && own.status == Status::Down);
            let first = FighterTally { health_before: fighter.health, ..FighterTally::default() };
            let tally = self.fighters.entry(fighter.id).or_insert(first);
            tally.dealt += u64::from(other.damage);
            tally.suffered += u64::from(own.damage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Fighter, Tactic, resolve};

    #[test]
    fn the_sums_are_those_of_the_outcomes() {
        let fighter = |id| Fighter {
            id,
            focus: 9,
            perception: 5,
            reason: 5,
            belief: 7,
            vitality: 5,
            tactic: Tactic::Power,
            health: 60,
        };
        let (mut tally, mut dealt, mut suffered) = (Tally::default(), [0; 4], [0; 4]);
        for seed in 0..200_usize {
            let (a, b) = (seed % 4, (seed + 1 + seed % 3) % 4);
            let (seed, id_a, id_b) = (seed as u64, a as u64, b as u64);
            let duel = Duel { zone: seed % 2, seed, a: fighter(id_a), b: fighter(id_b) };
            let outcome = resolve(0, &duel).expect("valid");
            tally.add(&duel, &outcome);
            dealt[a] += u64::from(outcome.b.damage);
            dealt[b] += u64::from(outcome.a.damage);
            suffered[a] += u64::from(outcome.a.damage);
            suffered[b] += u64::from(outcome.b.damage);
        }
        for id in 0..4_usize {
            let expect = FighterTally { dealt: dealt[id], suffered: suffered[id], health_before: 60 };
            assert_eq!(tally.fighters[&(id as u64)], expect);
        }
        let zones = tally.zones.values();
        assert_eq!(zones.clone().map(|z| z.duels).sum::<i64>(), 200);
        assert!(zones.clone().all(|z| z.win_win + z.win_lose + z.lose_win + z.lose_lose == z.duels));
        assert_eq!(u64::try_from(zones.map(|z| z.damage).sum::<i64>()), Ok(suffered.iter().sum()));
    }
}
