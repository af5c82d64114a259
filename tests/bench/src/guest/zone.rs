//! A zone of 64 duels in one call, written into a draft: without WebAssembly, by wasmtime, by the host.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use selvedge::wasm::EmptyState;
use selvedge_combat::rules;
use selvedge_combat::tally::{FighterTally, Tally, ZoneTally};
use selvedge_sync::change::Change;
use selvedge_sync::draft::{Count, Draft};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;
use serde_json::{Value, json};

use super::bare::{Bare, combat, said};
use super::{NAME, context, in_turn, loaded, pair};
use crate::report::{Goal, Row};

const DUELS: u64 = 64;
/// Calls in a block.
const COUNT: usize = 1;

pub(super) fn run() -> Result<Vec<Row>> {
    let (_, wasm) =
        selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").context("no combat")?;
    let (host, bare) = (loaded(wasm)?, Bare::new(wasm)?);
    let mut instance = bare.instance()?;
    let function = instance.function::<(Arc<[combat::Duel]>,), (Vec<combat::Outcome>,)>(
        Some("selvedge:workload/combat@0.1.0"),
        "resolve",
    )?;
    let (native, typed, text) = (duels(), typed_duels(), json_duels().to_string());
    let writes = written_natively(&native)?;
    let blocks = in_turn(
        COUNT,
        vec![
            (
                "native",
                Box::new(|| {
                    ensure!(written_natively(black_box(&native))? == writes);
                    Ok(())
                }),
            ),
            (
                "bare",
                Box::new(|| {
                    let (outcomes,) = said(function.call(&mut instance.store, (Arc::clone(black_box(&typed)),)))?;
                    let draft = std::mem::replace(&mut instance.store.data_mut().draft, Draft::new(EmptyState));
                    ensure!((outcomes.len(), draft.into_changes().len()) == (64, writes));
                    Ok(())
                }),
            ),
            (
                "typed",
                Box::new(|| {
                    let typed = Arc::clone(black_box(&typed));
                    let done = host.call_typed::<(Arc<[combat::Duel]>,), (Vec<combat::Outcome>,)>(
                        "guest",
                        "resolve",
                        (typed,),
                        context(),
                    )?;
                    ensure!((done.result.0.len(), done.changes.len()) == (64, writes));
                    Ok(())
                }),
            ),
            (
                "json",
                Box::new(|| {
                    let arguments: Value = serde_json::from_str(black_box(&text))?;
                    let done = host.call_here("guest", "resolve", &arguments, context())?;
                    ensure!((done.result.to_string().len() > 64, done.changes.len()) == (true, writes));
                    Ok(())
                }),
            ),
        ],
    )?;
    let row = |what: &str, ours: &str, peer: &str, name: &str| {
        Row::ratio(NAME, format!("a zone of 64 duels, {what}"), &pair(&blocks, ours, peer), name, "ns")
    };
    Ok(vec![
        row("typed", "typed", "native", "native").goal(Goal::AtMost(1.6)),
        row("typed", "typed", "bare", "wasmtime").goal(Goal::AtMost(1.1)),
        row("wasmtime by itself", "bare", "native", "native"),
        row("JSON text, in and out", "json", "typed", "typed"),
    ])
}

fn duels() -> Vec<rules::Duel> {
    let tactics = [rules::Tactic::Speed, rules::Tactic::Power, rules::Tactic::Grab, rules::Tactic::Block];
    let fighter = |id: u64| {
        let stat = |salt: u64| u8::try_from(5 + (id * 7 + salt * 3) % 10).unwrap_or(5);
        let tactic = tactics[usize::try_from(id % 4).unwrap_or(0)];
        let (focus, perception, reason, belief, vitality) = (stat(1), stat(2), stat(3), stat(4), stat(5));
        rules::Fighter { id, focus, perception, reason, belief, vitality, tactic, health: 100 }
    };
    (0..DUELS).map(|n| rules::Duel { zone: 3, seed: n, a: fighter(2 * n), b: fighter(2 * n + 1) }).collect()
}

fn typed_duels() -> Arc<[combat::Duel]> {
    let fighter = |fighter: &rules::Fighter| combat::Fighter {
        id: fighter.id,
        focus: fighter.focus,
        perception: fighter.perception,
        reason: fighter.reason,
        belief: fighter.belief,
        vitality: fighter.vitality,
        tactic: match fighter.tactic {
            rules::Tactic::Speed => combat::Tactic::Speed,
            rules::Tactic::Power => combat::Tactic::Power,
            rules::Tactic::Grab => combat::Tactic::Grab,
            rules::Tactic::Block => combat::Tactic::Block,
        },
        health: fighter.health,
    };
    let duel = |duel: &rules::Duel| combat::Duel {
        zone: duel.zone,
        seed: duel.seed,
        a: fighter(&duel.a),
        b: fighter(&duel.b),
    };
    duels().iter().map(duel).collect()
}

fn json_duels() -> Value {
    let fighter = |fighter: &rules::Fighter| {
        json!({
            "id": fighter.id, "focus": fighter.focus, "perception": fighter.perception, "reason": fighter.reason,
            "belief": fighter.belief, "vitality": fighter.vitality,
            "tactic": format!("{:?}", fighter.tactic).to_lowercase(), "health": fighter.health,
        })
    };
    let duel = |duel: &rules::Duel| json!({"zone": duel.zone, "seed": duel.seed, "a": fighter(&duel.a), "b": fighter(&duel.b)});
    json!([duels().iter().map(duel).collect::<Vec<_>>()])
}

/// What the guest does, without a guest: the rules, the sums, and the same writes into a draft. Answers how many there were.
fn written_natively(duels: &[rules::Duel]) -> Result<usize> {
    let (mut tally, mut outcomes) = (Tally::default(), Vec::with_capacity(duels.len()));
    for (index, duel) in duels.iter().enumerate() {
        let outcome = rules::resolve(index, duel).map_err(|_| anyhow!("the duels are valid"))?;
        tally.add(duel, &outcome);
        outcomes.push(outcome);
    }
    let (mut draft, mut name) = (Draft::new(EmptyState), String::new());
    for (id, fighter) in &tally.fighters {
        fighter_natively(&mut draft, &mut name, *id, fighter)?;
    }
    for (id, zone) in &tally.zones {
        zone_natively(&mut draft, *id, zone)?;
    }
    black_box(outcomes);
    Ok(draft.into_changes().len())
}

/// Names take turns in one buffer, as they do in our host.
fn fighter_natively(draft: &mut Draft<EmptyState>, name: &mut String, id: u64, fighter: &FighterTally) -> Result<()> {
    if fighter.dealt > 0 {
        name.clear();
        write!(name, "combat:damage:{id}")?;
        let damage = Key::new(Kind::GCounter, name)?;
        draft.count(damage, Count { up: fighter.dealt, ..Count::default() })?;
    }
    name.clear();
    write!(name, "combat:health:{id}")?;
    let health = Key::new(Kind::PnCounter, name)?;
    let initial = u64::try_from(fighter.health_before).unwrap_or(0);
    Ok(draft.count(health, Count { initial, up: 0, down: fighter.suffered })?)
}

fn zone_natively(draft: &mut Draft<EmptyState>, id: u64, zone: &ZoneTally) -> Result<()> {
    let fields = [
        ("duels", zone.duels),
        ("win_win", zone.win_win),
        ("win_lose", zone.win_lose),
        ("lose_win", zone.lose_win),
        ("lose_lose", zone.lose_lose),
        ("damage", zone.damage),
        ("downed", zone.downed),
        ("at_ms", 1_800_000_000_000),
    ];
    let entries = fields.map(|(name, value)| (name.to_owned(), Scalar::Int(value))).into();
    Ok(draft.change(&Key::new(Kind::LwwMap, &format!("combat:zone:{id}"))?, Change::Put(entries))?)
}
