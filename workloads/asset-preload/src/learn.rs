//! From moves to counts.
//!
//! Owns the bounds of what is remembered and the context of a move; knows no probabilities. The invariants: a move is learned
//! whole or not at all, and one that is not is counted; zones, neighbours and turns are each bounded, so the state stays bounded
//! whatever players do. (Hosts that learn at the same moment can each add their last one.)

use selvedge_sdk::Fault;

use crate::ledger::{Ledger, Store};
use crate::model::{STRENGTHS, costs};
use crate::names;

/// Most moves in one call.
pub const MOVES_MAX: usize = 1_024;
/// Most zones that are known: a large game's map. The counters about them are a few megabytes on every host.
pub const ZONES_MAX: u64 = 1_024;
/// Most neighbours of one zone: four times a busy crossroads.
pub const NEIGHBOURS_MAX: usize = 32;
/// Most turns (two moves in a row) that are known. A map of 1,000 zones with four ways out of each has 16,000.
pub const TURNS_MAX: u64 = 16_384;
/// Reads of the state that one call may spend on judging strengths. Beyond it moves are learned without that; the host allows
/// 100,000 calls by default and each read takes three.
const JUDGING_READS_MAX: usize = 8_000;
/// Bytes that one call may write, with room below what the host allows (256 KiB).
const WRITE_BYTES_MAX: usize = 224 * 1024;
/// Objects that one call may write, with room below what the host allows (4,096).
const WRITE_OBJECTS_MAX: usize = 4_000;

/// A player went from one zone to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move<'a> {
    /// Who.
    pub player: u64,
    /// From where.
    pub from: &'a str,
    /// To where.
    pub to: &'a str,
}

/// Learns from moves, in their order.
///
/// # Errors
/// There are too many, or a zone's name breaks the rules; `moves[3].to_zone` names the field.
pub fn observe<S: Store>(ledger: &mut Ledger<'_, S>, moves: &[Move<'_>]) -> Result<(), Fault> {
    if moves.len() > MOVES_MAX {
        return Err(Fault::new("moves", format!("at most {MOVES_MAX} in one call")));
    }
    for (index, step) in moves.iter().enumerate() {
        names::check_zone(step.from, || format!("moves[{index}].from_zone"))?;
        names::check_zone(step.to, || format!("moves[{index}].to_zone"))?;
    }
    for step in moves.iter().filter(|step| step.from != step.to) {
        learn(ledger, step);
    }
    Ok(())
}

/// Whether what was learned fits into one commit. The names of zones decide: short ones always do.
///
/// # Errors
/// It does not; nothing may be written then.
pub fn check_fits(bytes: usize, objects: usize) -> Result<(), Fault> {
    if bytes <= WRITE_BYTES_MAX && objects <= WRITE_OBJECTS_MAX {
        return Ok(());
    }
    Err(Fault::new(
        "moves",
        "go between too many zones, or zones with too long names, for one call: send fewer at a time",
    ))
}

fn learn<S: Store>(ledger: &mut Ledger<'_, S>, step: &Move<'_>) {
    let before = came_from(ledger, step);
    let (map, field) = names::last(step.player);
    ledger.put(&map, &field, names::last_text(step.player, step.from, step.to));
    if !has_room(ledger, step) {
        ledger.increment(names::DROPPED, 1);
        return;
    }
    if let Some(before) = &before {
        judge(ledger, before, step);
        let turn = names::turned(before, step.from, step.to);
        let is_known = ledger.counter(&turn).is_some();
        if is_known || ledger.counter(names::TURNS).unwrap_or(0) < TURNS_MAX {
            ledger.increment(&turn, 1);
            if !is_known {
                ledger.increment(names::TURNS, 1);
            }
        }
    }
    for (zone, other) in [(step.from, step.to), (step.to, step.from)] {
        if ledger.members(&names::near(zone)).is_empty() {
            ledger.increment(names::ZONES, 1);
        }
        ledger.add(&names::near(zone), other);
    }
    ledger.increment(&names::moved(step.from, step.to), 1);
    ledger.increment(names::MOVES, 1);
}

/// Where the player was before this move, if its last move is known and led to where this one begins.
fn came_from<S: Store>(ledger: &mut Ledger<'_, S>, step: &Move<'_>) -> Option<String> {
    let (map, field) = names::last(step.player);
    let last = ledger.field(&map, &field)?;
    let (from, to) = names::read_last(&last, step.player)?;
    (to == step.from).then(|| from.to_owned())
}

/// Whether both zones are known or may become so, and are neighbours or may become so.
fn has_room<S: Store>(ledger: &mut Ledger<'_, S>, step: &Move<'_>) -> bool {
    let mut new_zones = 0;
    for (zone, other) in [(step.from, step.to), (step.to, step.from)] {
        let near = ledger.members(&names::near(zone));
        new_zones += u64::from(near.is_empty());
        if !near.contains(other) && near.len() >= NEIGHBOURS_MAX {
            return false;
        }
    }
    new_zones == 0 || ledger.counter(names::ZONES).unwrap_or(0) + new_zones <= ZONES_MAX
}

/// Notes what each strength would have said of this move before it is learned.
fn judge<S: Store>(ledger: &mut Ledger<'_, S>, before: &str, step: &Move<'_>) {
    // A first way out of a zone surprises all of them alike.
    if ledger.reads() > JUDGING_READS_MAX || ledger.members(&names::near(step.from)).len() < 2 {
        return;
    }
    let costs = costs(ledger, before, step.from, step.to);
    for ((_, name), cost) in STRENGTHS.iter().zip(costs) {
        ledger.increment(&names::loss(name), cost);
    }
}
