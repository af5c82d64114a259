//! A call that takes a flat record and gives a number.

use std::hint::black_box;
use std::sync::mpsc;

use anyhow::{Result, ensure};
use serde_json::Value;
use wasmtime::component::{ComponentType, Lift, Lower};

use super::bare::{Bare, Instance, said};
use super::{NAME, context, in_turn, loaded, more, pair};
use crate::report::{Goal, Row};
use crate::sample::Spread;

/// Calls in a block.
const COUNT: usize = 500;

/// A position, as a game would send it.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Record {
    player: u64,
    x: f64,
    y: f64,
    z: f64,
    zone: u32,
    alive: bool,
}

pub(super) const RECORD: Record = Record { player: 42, x: 1.5, y: -2.25, z: 1_000.0, zone: 7, alive: true };
const JSON: &str = r#"[{"player":42,"x":1.5,"y":-2.25,"z":1000.0,"zone":7,"alive":true}]"#;

/// A component whose `run` does `body` and gives the player's number.
pub(super) fn component(body: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!(
        r#"(component
            (type $r (record (field "player" u64) (field "x" f64) (field "y" f64) (field "z" f64) (field "zone" u32) (field "alive" bool)))
            (export $record "record" (type $r))
            (core module $m (func (export "run") (param i64 f64 f64 f64 i32 i32) (result i64) {body} (local.get 0)))
            (core instance $i (instantiate $m))
            (func (export "run") (param "at" $record) (result u64) (canon lift (core func $i "run"))))"#
    ))?)
}

pub(super) fn call_bare(instance: &mut Instance) -> Result<u64> {
    let function = instance.function::<(Record,), (u64,)>(None, "run")?;
    Ok(said(function.call(&mut instance.store, (RECORD,)))?.0)
}

pub(super) fn run() -> Result<Vec<Row>> {
    let wasm = component("")?;
    let (host, bare) = (loaded(&wasm)?, Bare::new(&wasm)?);
    let mut instance = bare.instance()?;
    let function = instance.function::<(Record,), (u64,)>(None, "run")?;
    let arguments: Value = serde_json::from_str(JSON)?;
    // Where commits go: to whoever makes them durable. Nothing is written here, so nothing is queued, as in an agent.
    let (queue, _commits) = mpsc::sync_channel(1);
    let commit = |changes: Vec<_>| if changes.is_empty() { Ok(()) } else { queue.send(changes) };
    let blocks = in_turn(
        COUNT,
        vec![
            (
                "bare",
                Box::new(|| {
                    let (player,) = said(function.call(&mut instance.store, (black_box(RECORD),)))?;
                    ensure!(player == 42);
                    Ok(())
                }),
            ),
            (
                "typed",
                Box::new(|| {
                    let done = host.call_typed::<(Record,), (u64,)>("guest", "run", (black_box(RECORD),), context())?;
                    ensure!(done.result.0 == 42);
                    Ok(commit(done.changes)?)
                }),
            ),
            (
                "value",
                Box::new(|| {
                    let done = host.call_here("guest", "run", black_box(&arguments), context())?;
                    ensure!(done.result == 42);
                    Ok(commit(done.changes)?)
                }),
            ),
            (
                "json",
                Box::new(|| {
                    let arguments: Value = serde_json::from_str(black_box(JSON))?;
                    let done = host.call_here("guest", "run", &arguments, context())?;
                    ensure!(done.result.to_string() == "42");
                    Ok(commit(done.changes)?)
                }),
            ),
        ],
    )?;
    let row = |what: &str, ours: &str, peer: &str, name: &str| {
        let parts = pair(&blocks, ours, peer);
        Row::new(NAME, what, more(&blocks, ours, peer), "ns more").parts(
            Spread::of(&parts.ours),
            Spread::of(&parts.peer),
            name,
            "ns",
        )
    };
    Ok(vec![
        row("a call with a flat record, typed", "typed", "bare", "wasmtime").goal(Goal::AtMost(300.0)),
        row("the same with JSON values", "value", "typed", "typed"),
        row("the same with JSON text, in and out", "json", "typed", "typed").goal(Goal::AtMost(5_000.0)),
    ])
}
