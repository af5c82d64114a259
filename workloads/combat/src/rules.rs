//! One round between two fighters: who succeeds, what it costs, how both stand afterwards.
//!
//! Owns the formulas (ours) and the check of the arguments; writes nothing. The invariants: the same duel gives the
//! same outcome on every host, and a fighter's health falls by exactly the damage that the outcome names.
//!
//! Each side rolls 1 to 100 and succeeds at or below its *chance*, in percent:
//!
//! ```text
//! chance  = 50 + 2·(focus − 5) + accuracy(own tactic) − 2·(other's perception − 5) − defence(other's tactic)
//! damage  = (8 + d5) · power(own tactic) · (100 + 2·(belief − 5)) · (100 − 2·(other's vitality − 5)) / 100³
//! ```
//!
//! where a stat of 5 or less counts as 5, a tactic's accuracy and defence grow by 2 % of themselves for each point of
//! reason above 5, and the chance stays within 5 and 95. All divisions round down.

use selvedge_sdk::Fault;

use crate::roll::Dice;

/// The least and the greatest value of a stat.
pub const STAT_RANGE: std::ops::RangeInclusive<u8> = 1..=20;
/// A stat of this many points neither helps nor hurts.
const AVERAGE_STAT: u8 = 5;
/// What a point above average is worth, in percent.
const PERCENT_PER_POINT: i32 = 2;
/// How often an average fighter without a tactic succeeds against another, in percent.
const CHANCE_BASE: i32 = 50;
/// No one is certain to succeed or to fail, in percent.
const CHANCE_RANGE: (i32, i32) = (5, 95);
/// Damage of an average hit: this plus one to [`DAMAGE_DIE`].
const DAMAGE_BASE: u32 = 8;
/// The sides of the damage die.
const DAMAGE_DIE: u32 = 5;
/// A roll this far below the chance is a clean hit.
const CLEAN_MARGIN: i32 = 30;

/// What a fighter sets out to do in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tactic {
    /// Accurate.
    Speed,
    /// Hurts more.
    Power,
    /// Somewhat accurate and somewhat guarded; unbalances whom it hits.
    Grab,
    /// Guarded, hurts nobody.
    Block,
}

/// One side of a duel, as it stands before the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fighter {
    /// Who.
    pub id: u64,
    /// Accuracy.
    pub focus: u8,
    /// Defence against the other's accuracy.
    pub perception: u8,
    /// Mastery of the chosen tactic.
    pub reason: u8,
    /// Damage dealt.
    pub belief: u8,
    /// Resistance to damage.
    pub vitality: u8,
    /// The choice for this round.
    pub tactic: Tactic,
    /// At or below zero: down.
    pub health: i32,
}

/// One round to resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duel {
    /// Where it takes place.
    pub zone: u64,
    /// Decides the rolls, together with the zone and both ids.
    pub seed: u64,
    /// The side whose roll is named first.
    pub a: Fighter,
    /// The other side.
    pub b: Fighter,
}

/// How a fighter stands after the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Unimpaired.
    None,
    /// Took a blow of power.
    Dazed,
    /// Lost their footing: grabbed, cleanly hit at speed, or turned aside by a block.
    Staggered,
    /// Out of the fight.
    Down,
}

/// What a round did to one side, and how that side rolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Whether its move succeeded.
    pub won: bool,
    /// 1 to 100, or 0 if it was down and did not roll.
    pub roll: u8,
    /// What it suffered; exactly what its health fell by.
    pub damage: u32,
    /// After the round.
    pub health: i32,
    /// After the round.
    pub status: Status,
}

/// The outcome of a duel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of A.
    pub a: Side,
    /// What became of B.
    pub b: Side,
}

/// One side's move: its roll and what it does to the other side.
#[derive(Clone, Copy)]
struct Move {
    roll: u8,
    won: bool,
    clean: bool,
    damage: u32,
}

/// Checks `duel`, which is `duels[index]` of the call, and resolves it.
///
/// # Errors
/// Names the first stat out of range, or the second fighter if both are the same one.
pub fn resolve(index: usize, duel: &Duel) -> Result<Outcome, Fault> {
    check_stats(index, "a", &duel.a)?;
    check_stats(index, "b", &duel.b)?;
    if duel.a.id == duel.b.id {
        return Err(Fault::new(format!("duels[{index}].b.id"), "must be another fighter than a"));
    }
    let dice = Dice::new(duel.seed, duel.zone, duel.a.id, duel.b.id);
    // Both moves start from the state before the round: they are simultaneous, and A has no advantage from being first.
    let by_a = strike(dice, 0, &duel.a, &duel.b);
    let by_b = strike(dice, 2, &duel.b, &duel.a);
    Ok(Outcome { a: side(&duel.a, by_a, by_b, duel.b.tactic), b: side(&duel.b, by_b, by_a, duel.a.tactic) })
}

fn check_stats(index: usize, name: &str, fighter: &Fighter) -> Result<(), Fault> {
    let stats = [
        ("focus", fighter.focus),
        ("perception", fighter.perception),
        ("reason", fighter.reason),
        ("belief", fighter.belief),
        ("vitality", fighter.vitality),
    ];
    for (stat, value) in stats {
        if !STAT_RANGE.contains(&value) {
            let (low, high) = (STAT_RANGE.start(), STAT_RANGE.end());
            return Err(Fault::new(
                format!("duels[{index}].{name}.{stat}"),
                format!("is {value}; a stat is {low} to {high}"),
            ));
        }
    }
    Ok(())
}

fn strike(dice: Dice, first_roll: u64, attacker: &Fighter, defender: &Fighter) -> Move {
    if attacker.health <= 0 || defender.health <= 0 {
        return Move { roll: 0, won: false, clean: false, damage: 0 };
    }
    let roll = dice.roll(first_roll, 100);
    let margin = chance(attacker, defender) - i32::try_from(roll).expect("a roll is at most 100");
    let won = margin >= 0;
    let damage = if won { damage(attacker, defender, dice.roll(first_roll + 1, DAMAGE_DIE)) } else { 0 };
    Move { roll: u8::try_from(roll).expect("a roll is at most 100"), won, clean: margin >= CLEAN_MARGIN, damage }
}

/// How likely the attacker's move is to succeed, in percent.
fn chance(attacker: &Fighter, defender: &Fighter) -> i32 {
    let accuracy = bonus(attacker.focus) + mastered(accuracy(attacker.tactic), attacker.reason);
    let defence = bonus(defender.perception) + mastered(defence(defender.tactic), defender.reason);
    (CHANCE_BASE + accuracy - defence).clamp(CHANCE_RANGE.0, CHANCE_RANGE.1)
}

/// The damage of a move that succeeded, at most what is left of the defender.
fn damage(attacker: &Fighter, defender: &Fighter, die: u32) -> u32 {
    let power = power(attacker.tactic);
    if power == 0 {
        return 0;
    }
    let (more, less) = (bonus(attacker.belief).unsigned_abs(), bonus(defender.vitality).unsigned_abs());
    let raw = (DAMAGE_BASE + die) * power * (100 + more) * (100 - less) / 1_000_000;
    raw.max(1).min(defender.health.unsigned_abs())
}

fn side(fighter: &Fighter, own: Move, taken: Move, by: Tactic) -> Side {
    let damage = i32::try_from(taken.damage).expect("damage is at most the health that is left");
    let health = fighter.health - damage;
    let status = match (health <= 0, taken.won, by) {
        (true, _, _) => Status::Down,
        (false, true, Tactic::Power) => Status::Dazed,
        (false, true, Tactic::Grab | Tactic::Block) => Status::Staggered,
        (false, true, Tactic::Speed) if taken.clean => Status::Staggered,
        (false, true, Tactic::Speed) | (false, false, _) => Status::None,
    };
    Side { won: own.won, roll: own.roll, damage: taken.damage, health, status }
}

/// What a stat adds, in percent.
fn bonus(stat: u8) -> i32 {
    i32::from(stat.saturating_sub(AVERAGE_STAT)) * PERCENT_PER_POINT
}

/// A tactic's percentage in the hands of someone with this much reason.
fn mastered(percent: i32, reason: u8) -> i32 {
    percent * (100 + bonus(reason)) / 100
}

/// What a tactic adds to the chance of its user, in percent.
const fn accuracy(tactic: Tactic) -> i32 {
    match tactic {
        Tactic::Speed => 15,
        Tactic::Grab => 7,
        Tactic::Power | Tactic::Block => 0,
    }
}

/// What a tactic takes from the chance of the other side, in percent.
const fn defence(tactic: Tactic) -> i32 {
    match tactic {
        Tactic::Grab => 7,
        Tactic::Block => 25,
        Tactic::Speed | Tactic::Power => 0,
    }
}

/// A tactic's share of the full damage, in percent.
const fn power(tactic: Tactic) -> u32 {
    match tactic {
        Tactic::Speed | Tactic::Grab => 100,
        Tactic::Power => 130,
        Tactic::Block => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fighter(id: u64, tactic: Tactic) -> Fighter {
        Fighter { id, focus: 5, perception: 5, reason: 5, belief: 5, vitality: 5, tactic, health: 100 }
    }

    fn duel(seed: u64, a: Fighter, b: Fighter) -> Duel {
        Duel { zone: 1, seed, a, b }
    }

    /// Total damage that A and B deal over many rounds.
    fn exchange(a: Fighter, b: Fighter) -> (u64, u64) {
        (0..20_000).fold((0, 0), |(by_a, by_b), seed| {
            let outcome = resolve(0, &duel(seed, a, b)).expect("valid");
            (by_a + u64::from(outcome.b.damage), by_b + u64::from(outcome.a.damage))
        })
    }

    #[test]
    fn a_known_duel_keeps_its_outcome_for_ever() {
        // Recorded calls are replayed to settle disputes: a change here changes history.
        let outcome = resolve(0, &duel(42, fighter(1, Tactic::Speed), fighter(2, Tactic::Power))).expect("valid");
        let a = Side { won: true, roll: 4, damage: 15, health: 85, status: Status::Dazed };
        let b = Side { won: true, roll: 19, damage: 11, health: 89, status: Status::Staggered };
        assert_eq!(outcome, Outcome { a, b });
    }

    #[test]
    fn health_falls_by_exactly_the_damage_and_never_below_zero() {
        for seed in 0..5_000 {
            let mut weak = fighter(2, Tactic::Grab);
            weak.health = i32::try_from(seed % 12).expect("small");
            let before = duel(seed, fighter(1, Tactic::Power), weak);
            let after = resolve(0, &before).expect("valid");
            for (fighter, side) in [(before.a, after.a), (before.b, after.b)] {
                assert_eq!(i64::from(fighter.health) - i64::from(side.damage), i64::from(side.health));
                assert!(side.health >= 0);
                assert_eq!(side.health == 0, side.status == Status::Down);
            }
        }
    }

    #[test]
    fn the_fallen_neither_strike_nor_suffer() {
        for health in [0, -7, i32::MIN] {
            let mut fallen = fighter(2, Tactic::Power);
            fallen.health = health;
            let outcome = resolve(0, &duel(3, fighter(1, Tactic::Power), fallen)).expect("valid");
            assert_eq!(outcome.b, Side { won: false, roll: 0, damage: 0, health, status: Status::Down });
            assert_eq!(outcome.a, Side { won: false, roll: 0, damage: 0, health: 100, status: Status::None });
        }
    }

    #[test]
    fn no_tactic_that_strikes_rules_the_others() {
        for (a, b) in [(Tactic::Speed, Tactic::Power), (Tactic::Power, Tactic::Grab), (Tactic::Grab, Tactic::Speed)] {
            let (by_a, by_b) = exchange(fighter(1, a), fighter(2, b));
            let ratio = by_a * 100 / by_b;
            assert!((90..=111).contains(&ratio), "{a:?} against {b:?}: {ratio} %");
        }
    }

    #[test]
    fn a_block_deals_nothing_and_halves_what_comes_in() {
        let (open, _) = exchange(fighter(1, Tactic::Power), fighter(2, Tactic::Power));
        let (blocked, by_blocker) = exchange(fighter(1, Tactic::Power), fighter(2, Tactic::Block));
        assert_eq!(by_blocker, 0);
        assert!((40..=60).contains(&(blocked * 100 / open)), "{blocked} of {open}");
    }

    #[test]
    fn each_stat_helps_its_owner() {
        let base = exchange(fighter(1, Tactic::Grab), fighter(2, Tactic::Grab));
        let raise: [fn(&mut Fighter); 5] =
            [|f| f.focus = 15, |f| f.perception = 15, |f| f.reason = 20, |f| f.belief = 15, |f| f.vitality = 15];
        for (stat, raise) in raise.iter().enumerate() {
            let mut better = fighter(1, Tactic::Grab);
            raise(&mut better);
            let (dealt, taken) = exchange(better, fighter(2, Tactic::Grab));
            assert!(dealt * base.1 > taken * base.0, "stat {stat}: {dealt} to {taken}, base {base:?}");
        }
    }

    #[test]
    fn a_wrong_argument_is_named() {
        let check = |mend: fn(&mut Duel), field: &str| {
            let mut wrong = duel(1, fighter(1, Tactic::Speed), fighter(2, Tactic::Speed));
            mend(&mut wrong);
            assert_eq!(resolve(3, &wrong).expect_err("wrong").field, field);
        };
        check(|d| d.a.focus = 0, "duels[3].a.focus");
        check(|d| d.b.vitality = 21, "duels[3].b.vitality");
        check(|d| d.a.reason = 255, "duels[3].a.reason");
        check(|d| d.b.id = d.a.id, "duels[3].b.id");
    }
}
