//! From probable zones to the assets that are worth loading.
//!
//! Owns what counts as worth it; reads the model. The invariants: what a player has already is not planned; the likeliest comes
//! first; a plan is within the budget of the configuration.
//!
//! Loading an asset of `b` bytes costs `b`. Not having it costs whoever arrives `b` and a round trip, which is as long as `o`
//! bytes take (`overhead-bytes`). So what is gained for each byte that is loaded is `p · (b + o) / b`: assets are taken in that
//! order, small ones somewhat before large ones, while they fit.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sdk::Fault;

use crate::catalogue::Catalogue;
use crate::ledger::{Ledger, Store};
use crate::model;
use crate::names;

/// Most players in one call.
pub const PLAYERS_MAX: usize = 1_024;
/// Most zones that a player's past may name. Only the last is used; the rest is for callers that keep one list.
pub const RECENT_MAX: usize = 64;
/// The size of an asset that neither the configuration nor the host knows, in bytes.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// Where a player is, and was.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// Where it is.
    pub zone: &'a str,
    /// Where it was, the oldest first.
    pub recent: &'a [String],
}

/// An asset that is worth loading.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its position in the catalogue.
    pub asset: usize,
    /// The likeliest zone that it is for.
    pub zone: String,
    /// That the next zone needs it.
    pub probability: f64,
}

/// Checks what a caller said of a player.
///
/// # Errors
/// A zone's name breaks the rules, or the past is too long; `players[3].recent[1]` names the field.
pub fn check(index: usize, position: &Position<'_>) -> Result<(), Fault> {
    names::check_zone(position.zone, || format!("players[{index}].zone"))?;
    if position.recent.len() > RECENT_MAX {
        return Err(Fault::new(format!("players[{index}].recent"), format!("at most {RECENT_MAX} zones")));
    }
    position
        .recent
        .iter()
        .enumerate()
        .try_for_each(|(at, zone)| names::check_zone(zone, || format!("players[{index}].recent[{at}]")))
}

/// What to load for a player, the likeliest first. `size_of` says how large an asset is whose size is not configured.
pub fn plan<S: Store>(
    ledger: &mut Ledger<'_, S>,
    catalogue: &Catalogue,
    position: &Position<'_>,
    size_of: &mut dyn FnMut(&str) -> Option<u64>,
) -> Vec<Planned> {
    let before = before(ledger, position);
    let here: BTreeSet<usize> = catalogue.of(position.zone).iter().copied().collect();
    let mut wanted: BTreeMap<usize, Planned> = BTreeMap::new();
    for next in model::next(ledger, position.zone, before) {
        for &asset in catalogue.of(&next.zone).iter().filter(|asset| !here.contains(asset)) {
            let first = || Planned { asset, zone: next.zone.clone(), probability: 0.0 };
            wanted.entry(asset).or_insert_with(first).probability += next.probability;
        }
    }
    let mut wanted: Vec<(u64, Planned)> = wanted
        .into_values()
        .filter(|planned| planned.probability >= catalogue.probability_min)
        .map(|planned| {
            let asset = &catalogue.assets[planned.asset];
            (asset.bytes.or_else(|| size_of(&asset.digest)).unwrap_or(UNKNOWN_BYTES).max(1), planned)
        })
        .collect();
    let overhead = catalogue.overhead_bytes as f64;
    let gain = |(bytes, planned): &(u64, Planned)| planned.probability * (1.0 + overhead / *bytes as f64);
    // Stable: equals stay in the order of the configuration.
    wanted.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    let mut left = catalogue.budget_bytes;
    let mut planned: Vec<Planned> = wanted
        .into_iter()
        .filter_map(|(bytes, planned)| {
            left = left.checked_sub(bytes)?;
            Some(planned)
        })
        .take(catalogue.assets_max)
        .collect();
    planned.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    planned
}

/// The zone before the present one. Callers mean their list oldest first; one that is the other way round is recognised where
/// its end cannot be right: it is the present zone, or nobody has ever come from the other end.
fn before<'a, S: Store>(ledger: &mut Ledger<'_, S>, position: &Position<'a>) -> Option<&'a str> {
    let recent = position.recent;
    let other =
        |zones: &mut dyn Iterator<Item = &'a String>| zones.map(String::as_str).find(|zone| *zone != position.zone);
    let (newest, oldest) = (other(&mut recent.iter().rev())?, other(&mut recent.iter())?);
    let ends_here = recent.last().is_some_and(|zone| zone == position.zone);
    let begins_here = recent.first().is_some_and(|zone| zone == position.zone);
    let mut came = |from: &str| ledger.counter(&names::moved(from, position.zone)).is_some();
    let is_reversed = !ends_here && (begins_here || !came(newest) && came(oldest));
    Some(if is_reversed { oldest } else { newest })
}

#[cfg(test)]
mod tests;
