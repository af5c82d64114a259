//! Which zone comes next: the plans of `asset-preload` against the most frequent next zones, on moves that neither has seen.
//!
//! A hit is a move whose zone is among the first three that were named. The most frequent next zones are what order 1 says, so what
//! is gained comes from where players were before (`recent`), and from zones that were only ever left towards the present one.
//! The games are made up (`preload/games.rs` says how), but for one: the recorded movement, with squares of the pitch as zones.

mod games;

use std::collections::BTreeMap;

use anyhow::Result;
use selvedge_asset_preload::catalogue::Catalogue;
use selvedge_asset_preload::learn::{MOVES_MAX, Move, observe};
use selvedge_asset_preload::ledger::{Ledger, Memory};
use selvedge_asset_preload::plan::{Position, plan};

use self::games::Path;
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread};

/// Guesses that a hit may take.
const GUESSES: usize = 3;
/// Games of each kind, drawn from as many seeds.
const SEEDS: u64 = 5;
/// One of so many paths is kept apart from those that are learned.
const HELD_OUT: usize = 5;
/// Zones before the present one that a caller tells.
const RECENT: usize = 4;

/// The paths of all players of a game, drawn from a seed.
type Game = fn(u64) -> Vec<Path>;

pub(crate) fn run() -> Result<Vec<Row>> {
    let kinds: [(&str, Game, Goal); 4] = [
        ("players follow roads between hubs, and patrol", games::roads, Goal::AtLeast(1.0)),
        ("the same, learned from 16 players", games::few, Goal::AtLeast(1.0)),
        ("players head for places in a dense town", games::errands, Goal::AtLeast(1.0)),
        ("players wander without memory: nothing to gain", games::wandering, Goal::Told),
    ];
    let mut rows = Vec::new();
    for (what, game, goal) in kinds {
        let mut pair = Pair::default();
        // Round 0 of a pair does not count.
        for seed in 0..=SEEDS {
            let (learned, held_out) = split(game(seed));
            let (ours, peer) = hits(&learned, &held_out);
            pair.note(usize::try_from(seed)?, ours, peer);
        }
        rows.push(row(what.to_owned(), &pair).goal(goal));
    }
    for side in [2, 3, 5] {
        let Some(paths) = games::pitch(f64::from(side)) else {
            eprintln!("preload: the recorded movement is not there; skipped");
            break;
        };
        let mut pair = Pair::default();
        let (ours, peer) = each_held_out(&paths);
        pair.note(1, ours, peer);
        rows.push(
            row(format!("footballers on squares of {side} m, each held out in turn"), &pair).goal(Goal::AtLeast(1.0)),
        );
    }
    Ok(rows)
}

fn row(what: String, pair: &Pair) -> Row {
    let (ours, peer) = (Spread::of(&pair.ours), Spread::of(&pair.peer));
    Row::new("preload", format!("hits among 3: {what}"), pair.ratio(), "x").parts(
        ours,
        peer,
        "the most frequent next zones",
        "of 1",
    )
}

fn split(paths: Vec<Path>) -> (Vec<Path>, Vec<Path>) {
    let (mut learned, mut held_out) = (Vec::new(), Vec::new());
    for (index, path) in paths.into_iter().enumerate() {
        if index % HELD_OUT == 0 { held_out.push(path) } else { learned.push(path) }
    }
    (learned, held_out)
}

/// Shares of hits: ours and the peer's.
fn hits(learned: &[Path], held_out: &[Path]) -> (f64, f64) {
    let (ours, peer, moves) = count(learned, held_out);
    (ours / moves, peer / moves)
}

/// The same, each path by what all others teach.
fn each_held_out(paths: &[Path]) -> (f64, f64) {
    let (mut ours, mut peer, mut moves) = (0.0, 0.0, 0.0);
    for index in 0..paths.len() {
        let others: Vec<Path> =
            paths.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, path)| path.clone()).collect();
        let found = count(&others, &paths[index..=index]);
        (ours, peer, moves) = (ours + found.0, peer + found.1, moves + found.2);
    }
    (ours / moves, peer / moves)
}

fn count(learned: &[Path], held_out: &[Path]) -> (f64, f64, f64) {
    let (memory, frequent) = (learn(learned), Frequent::of(learned));
    let catalogue = catalogue(learned);
    let (mut ours, mut peer, mut moves) = (0.0, 0.0, 0.0);
    for path in held_out {
        for at in 1_usize..path.len() {
            let (zone, next) = (&path[at - 1], &path[at]);
            let position = Position { zone, recent: &path[at.saturating_sub(1 + RECENT)..at - 1] };
            let planned = plan(&mut Ledger::new(&memory), &catalogue, &position, &mut |_| None);
            ours += f64::from(u8::from(planned.iter().take(GUESSES).any(|one| one.zone == *next)));
            peer += f64::from(u8::from(frequent.after(zone).any(|guess| guess == next)));
            moves += 1.0;
        }
    }
    (ours, peer, moves)
}

fn learn(paths: &[Path]) -> Memory {
    let mut memory = Memory::default();
    for (player, path) in (0..).zip(paths) {
        let moves: Vec<_> = path.windows(2).map(|pair| Move { player, from: &pair[0], to: &pair[1] }).collect();
        for moves in moves.chunks(MOVES_MAX) {
            let mut ledger = Ledger::new(&memory);
            observe(&mut ledger, moves).expect("sound moves");
            let writes = ledger.into_writes();
            memory.apply(writes);
        }
    }
    memory
}

/// An asset for each zone, all of one size, so that only probabilities decide.
fn catalogue(paths: &[Path]) -> Catalogue {
    let zones: std::collections::BTreeSet<&String> = paths.iter().flatten().collect();
    let table: String =
        zones.iter().map(|zone| format!("blake3:{} 1000 {zone}\n", blake3::hash(zone.as_bytes()).to_hex())).collect();
    Catalogue::read(|name| (name == "assets").then(|| table.clone())).0
}

/// The peer: how often each zone followed each.
struct Frequent(BTreeMap<String, Vec<String>>);

impl Frequent {
    fn of(paths: &[Path]) -> Self {
        let mut counts: BTreeMap<&String, BTreeMap<&String, u32>> = BTreeMap::new();
        for pair in paths.iter().flat_map(|path| path.windows(2)) {
            *counts.entry(&pair[0]).or_default().entry(&pair[1]).or_default() += 1;
        }
        let ranked = |next: BTreeMap<&String, u32>| {
            let mut next: Vec<_> = next.into_iter().collect();
            next.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            next.into_iter().map(|(zone, _)| zone.clone()).collect()
        };
        Self(counts.into_iter().map(|(zone, next)| (zone.clone(), ranked(next))).collect())
    }

    fn after(&self, zone: &str) -> impl Iterator<Item = &String> {
        self.0.get(zone).into_iter().flatten().take(GUESSES)
    }
}
