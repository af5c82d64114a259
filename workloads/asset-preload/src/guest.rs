//! The component: WIT types in, rules, WIT types out, the shared state as the rules' store.
//!
//! Owns the translation. The invariants: a call that teaches writes all that it learned in one commit; a plan writes nothing, and
//! asks the host for the assets that it named.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use selvedge_sdk::state::{Gcounter, Gset, Lwwmap, Scalar};
use selvedge_sdk::{Fault, assets, config, log, must};

use crate::catalogue::{self, Catalogue};
use crate::learn::{self, Move};
use crate::ledger::{Ledger, Store, Writes};
use crate::plan::{self, PLAYERS_MAX, Planned, Position};

#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
mod bindings {
    selvedge_sdk::exports!("asset-preload-workload");
}

use bindings::exports::selvedge::workload::asset_preload as wit;

struct AssetPreload;
bindings::export!(AssetPreload with_types_in bindings);
selvedge_sdk::configuration!(AssetPreload, |names| catalogue::check(names, config::get));

/// Assets that one call asks its host to fetch: the likeliest, and few enough for a host to fetch in a moment.
const HINTS_MAX: usize = 16;

impl wit::Guest for AssetPreload {
    fn observe(moves: Vec<wit::Move>) {
        let moves: Vec<_> =
            moves.iter().map(|step| Move { player: step.player, from: &step.from_zone, to: &step.to_zone }).collect();
        let mut ledger = Ledger::new(&Shared);
        learn::observe(&mut ledger, &moves).unwrap_or_else(|fault| fault.raise());
        let writes = ledger.into_writes();
        learn::check_fits(writes.bytes(), writes.objects()).unwrap_or_else(|fault| fault.raise());
        write(&writes);
    }

    fn plan(players: Vec<wit::Position>) -> Vec<wit::Preload> {
        if players.len() > PLAYERS_MAX {
            Fault::new("players", format!("at most {PLAYERS_MAX} in one call")).raise();
        }
        CATALOGUE.with(|catalogue| plan_all(catalogue.get_or_init(read_catalogue), &players))
    }
}

thread_local! {
    /// What the configuration says. It cannot change while an instance lives.
    static CATALOGUE: OnceCell<Catalogue> = const { OnceCell::new() };
}

fn read_catalogue() -> Catalogue {
    let (catalogue, complaints) = Catalogue::read(config::get);
    for complaint in complaints {
        log::write(log::Level::Warn, &format!("{}: {}", complaint.field, complaint.message));
    }
    catalogue
}

fn plan_all(catalogue: &Catalogue, players: &[wit::Position]) -> Vec<wit::Preload> {
    let mut ledger = Ledger::new(&Shared);
    let mut sizes: BTreeMap<String, Option<u64>> = BTreeMap::new();
    let mut size_of = |digest: &str| *sizes.entry(digest.to_owned()).or_insert_with(|| assets::size(digest));
    let mut hints: BTreeMap<usize, f64> = BTreeMap::new();
    let plan_one = |(index, player): (usize, &wit::Position)| {
        let position = Position { zone: &player.zone, recent: &player.recent };
        plan::check(index, &position).unwrap_or_else(|fault| fault.raise());
        let planned = plan::plan(&mut ledger, catalogue, &position, &mut size_of);
        for one in &planned {
            *hints.entry(one.asset).or_default() += one.probability;
        }
        wit::Preload { player: player.player, assets: planned.iter().map(|one| asset_out(catalogue, one)).collect() }
    };
    let preloads = players.iter().enumerate().map(plan_one).collect();
    hint(catalogue, hints);
    preloads
}

/// Asks the host for what most players are likely to need, so that their clients find it here.
fn hint(catalogue: &Catalogue, wanted: BTreeMap<usize, f64>) {
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    wanted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (asset, _) in wanted.into_iter().take(HINTS_MAX) {
        assets::preload(&catalogue.assets[asset].digest);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a probability needs no more digits")]
fn asset_out(catalogue: &Catalogue, planned: &Planned) -> wit::Asset {
    let digest = catalogue.assets[planned.asset].digest.clone();
    wit::Asset { digest, zone: planned.zone.clone(), probability: planned.probability as f32 }
}

fn write(writes: &Writes) {
    for (name, by) in &writes.counters {
        must(must(Gcounter::new(name)).increment(*by));
    }
    for (name, members) in &writes.members {
        let members: Vec<_> = members.iter().cloned().map(Scalar::Text).collect();
        must(must(Gset::new(name)).add(&members));
    }
    for (name, fields) in &writes.fields {
        let entries: Vec<_> = fields.iter().map(|(field, text)| (field.clone(), Scalar::Text(text.clone()))).collect();
        must(must(Lwwmap::new(name)).put(&entries));
    }
}

/// The shared state.
struct Shared;

impl Store for Shared {
    fn counter(&self, name: &str) -> Option<u64> {
        // Nobody increments by nothing, so zero is what nobody wrote.
        Some(must(Gcounter::new(name)).value()).filter(|value| *value > 0)
    }

    fn members(&self, name: &str) -> BTreeSet<String> {
        must(Gset::new(name)).members().into_iter().filter_map(text).collect()
    }

    fn field(&self, map: &str, field: &str) -> Option<String> {
        must(Lwwmap::new(map)).get(field).and_then(text)
    }
}

fn text(scalar: Scalar) -> Option<String> {
    match scalar {
        Scalar::Text(text) => Some(text),
        Scalar::Null | Scalar::Boolean(_) | Scalar::Integer(_) | Scalar::Number(_) | Scalar::Bytes(_) => None,
    }
}
