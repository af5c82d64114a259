//! Players who go from zone to zone, and what they should load before they do.
//!
//! Owns where a server's travellers are. The invariant: a move begins where the player's last one ended.

use serde_json::{Value, json};

use super::dice::Dice;
use super::{Meaning, Turn, ZONES, items};
use crate::demo::tally::Tally;

/// Travellers of one server.
const TRAVELLERS: u64 = 8;
/// Moves in one call, and players in one plan.
const PER_CALL: u64 = 4;
/// Zones that are remembered of each.
const RECENT: usize = 2;
/// Ids of different servers' travellers lie this far apart, above those of the players whom all share.
const IDS_APART: u64 = 1_000;

/// A server's travellers: the zones in which each was, the present one last.
pub(super) struct Travellers {
    first: u64,
    ways: Vec<Vec<u64>>,
}

impl Travellers {
    pub(super) fn new(number: u64) -> Self {
        Self { first: (number + 1) * IDS_APART, ways: (0..TRAVELLERS).map(|own| vec![own % ZONES]).collect() }
    }

    /// Some of them go on: mostly around, sometimes back, sometimes across.
    pub(super) fn moves(&mut self, dice: &mut Dice) -> Turn {
        let (mut moves, mut meant) = (Vec::new(), Vec::new());
        for _ in 0..PER_CALL {
            let own = dice.below(TRAVELLERS);
            let way = &mut self.ways[usize::try_from(own).unwrap_or(0)];
            let from = way.last().copied().unwrap_or(0);
            let step = match dice.below(10) {
                0..7 => 1,
                7..9 => ZONES - 1,
                _ => ZONES / 2,
            };
            let to = (from + step) % ZONES;
            way.push(to);
            if way.len() > RECENT + 1 {
                way.remove(0);
            }
            moves.push(json!({"player": self.first + own, "from_zone": zone(from), "to_zone": zone(to)}));
            meant.push((zone(from), zone(to)));
        }
        Turn::call("asset-preload", "observe", &json!(moves), Meaning::Moves(meant))
    }

    /// What some of them should load.
    pub(super) fn plan(&mut self, dice: &mut Dice) -> Turn {
        let players: Vec<_> = (0..PER_CALL)
            .map(|_| {
                let own = dice.below(TRAVELLERS);
                let way = &self.ways[usize::try_from(own).unwrap_or(0)];
                let (at, before) = way.split_last().map_or((0, &[][..]), |(at, before)| (*at, before));
                let recent: Vec<_> = before.iter().map(|number| zone(*number)).collect();
                json!({"player": self.first + own, "zone": zone(at), "recent": recent})
            })
            .collect();
        Turn::call("asset-preload", "plan", &json!(players), Meaning::Plan(PER_CALL))
    }
}

pub(super) fn learn(moves: &[(String, String)], tally: &mut Tally) {
    tally.count("gcounter/preload:moves".to_owned(), moves.len() as i128);
    for (from, to) in moves {
        tally.count(format!("gcounter/preload:move:{}:{from}>{to}", from.len()), 1);
    }
}

pub(super) fn check(players: u64, body: &Value) -> Result<(), String> {
    items("plans", players, body, |plan| plan["assets"].is_array()).map(drop)
}

fn zone(number: u64) -> String {
    format!("zone-{number}")
}
