//! The component: WIT types in, rules, WIT types out, and the tally into the shared state.
//!
//! Owns the translation and the names of the keys; decides nothing about a fight. The invariant: a call writes once per
//! fighter and once per zone, whatever the number of duels.

use std::collections::BTreeMap;

use selvedge_sdk::state::{GcounterChange, Lwwmap, PncounterChange, Scalar, change_pncounters, increment_gcounters};
use selvedge_sdk::{Entries, Fault, clock, must};

use crate::rules;
use crate::tally::{FighterTally, Tally, WRITES_MAX, ZoneTally};

#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
mod bindings {
    selvedge_sdk::exports!("combat-workload");
}

use bindings::exports::selvedge::workload::combat as wit;

struct Combat;
bindings::export!(Combat with_types_in bindings);
selvedge_sdk::configuration!(Combat, |names| Entries::default().unknown(names));

impl wit::Guest for Combat {
    fn resolve(duels: Vec<wit::Duel>) -> Vec<wit::Outcome> {
        let mut tally = Tally::default();
        let outcomes = duels
            .iter()
            .enumerate()
            .map(|(index, duel)| {
                let duel = duel_in(duel);
                let outcome = rules::resolve(index, &duel).unwrap_or_else(|fault| fault.raise());
                tally.add(&duel, &outcome);
                outcome_out(&outcome)
            })
            .collect();
        if !tally.fits() {
            let message =
                format!("are too many at once: fighters count twice, zones once, and {WRITES_MAX} are allowed");
            Fault::new("duels", message).raise();
        }
        write_fighters(&tally.fighters);
        tally.zones.iter().for_each(|(id, zone)| write_zone(*id, zone));
        outcomes
    }
}

/// Damage is credited to whoever dealt it. Health moves by what was suffered, and never to an absolute value: rounds on
/// several hosts then add up, whichever order they arrive in. Only the first sight of a fighter sets a start.
fn write_fighters(fighters: &BTreeMap<u64, FighterTally>) {
    let (mut damage, mut health) = (Vec::with_capacity(fighters.len()), Vec::with_capacity(fighters.len()));
    for (&id, fighter) in fighters {
        if fighter.dealt > 0 {
            damage.push(GcounterChange { id, increment: fighter.dealt });
        }
        let initial = u64::try_from(fighter.health_before).unwrap_or(0);
        health.push(PncounterChange { id, initial, increment: 0, decrement: fighter.suffered });
    }
    must(increment_gcounters("combat:damage:", &damage));
    must(change_pncounters("combat:health:", &health));
}

fn write_zone(id: u64, zone: &ZoneTally) {
    let fields = [
        ("duels", zone.duels),
        ("win_win", zone.win_win),
        ("win_lose", zone.win_lose),
        ("lose_win", zone.lose_win),
        ("lose_lose", zone.lose_lose),
        ("damage", zone.damage),
        ("downed", zone.downed),
        ("at_ms", i64::try_from(clock::now().millis).unwrap_or(i64::MAX)),
    ];
    let entries: Vec<_> = fields.map(|(name, value)| (name.to_owned(), Scalar::Integer(value))).into();
    must(must(Lwwmap::new(&format!("combat:zone:{id}"))).put(&entries));
}

fn duel_in(duel: &wit::Duel) -> rules::Duel {
    rules::Duel { zone: duel.zone, seed: duel.seed, a: fighter_in(&duel.a), b: fighter_in(&duel.b) }
}

fn fighter_in(fighter: &wit::Fighter) -> rules::Fighter {
    let wit::Fighter { id, focus, perception, reason, belief, vitality, tactic, health } = *fighter;
    let tactic = match tactic {
        wit::Tactic::Speed => rules::Tactic::Speed,
        wit::Tactic::Power => rules::Tactic::Power,
        wit::Tactic::Grab => rules::Tactic::Grab,
        wit::Tactic::Block => rules::Tactic::Block,
    };
    rules::Fighter { id, focus, perception, reason, belief, vitality, tactic, health }
}

fn outcome_out(outcome: &rules::Outcome) -> wit::Outcome {
    let rules::Outcome { a, b } = outcome;
    wit::Outcome {
        result: match (a.won, b.won) {
            (true, true) => wit::DuelResult::WinWin,
            (true, false) => wit::DuelResult::WinLose,
            (false, true) => wit::DuelResult::LoseWin,
            (false, false) => wit::DuelResult::LoseLose,
        },
        a_roll: a.roll,
        b_roll: b.roll,
        damage_to_a: a.damage,
        damage_to_b: b.damage,
        health_a: a.health,
        health_b: b.health,
        status_a: status_out(a.status),
        status_b: status_out(b.status),
    }
}

fn status_out(status: rules::Status) -> wit::Status {
    match status {
        rules::Status::None => wit::Status::None,
        rules::Status::Dazed => wit::Status::Dazed,
        rules::Status::Staggered => wit::Status::Staggered,
        rules::Status::Down => wit::Status::Down,
    }
}
