//! What a call of a guest costs: through the host, against wasmtime by itself and against the same code without WebAssembly.
//!
//! `wasmtime by itself` is the same component in the same version of the engine with the same allocator, called through the
//! types that its `bindgen!` makes, without deadlines, limits, queues or figures. Its state, where a guest writes to one, is the
//! same draft over nothing. All contenders of a row take turns, one block of calls each.

mod bare;
mod flat;
mod zone;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use selvedge::wasm::{CallContext, EmptyState, Limits, WasmConfig, WasmHost};
use selvedge_sync::hlc::Hlc;

use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, seconds};

const NAME: &str = "guest";
/// Blocks that count; one before them warms up. Many and short: then most of them are not interrupted on a crowded machine either.
const BLOCKS: usize = 151;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = flat::run()?;
    rows.extend(zone::run()?);
    rows.extend(fresh()?);
    Ok(rows)
}

fn context() -> CallContext {
    CallContext { seed: 7, now: Hlc::from_millis(1_800_000_000_000), deadline: None }
}

/// A host with `wasm` loaded as `guest`. All limits are on; the deadline is long, because whoever measures may have to wait for
/// a processor.
fn loaded(wasm: &[u8]) -> Result<WasmHost> {
    let host = WasmHost::new(WasmConfig::default(), Arc::new(EmptyState))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let limits = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
    runtime.block_on(host.load("guest", wasm.into(), limits))?;
    Ok(host)
}

/// Nanoseconds for each of `count` calls.
fn each(count: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let (took, done) = seconds(|| (0..count).try_for_each(|_| call()));
    done.map(|()| took * 1e9 / count as f64)
}

/// One contender's way to make a call.
type Way<'a> = (&'static str, Box<dyn FnMut() -> Result<()> + 'a>);

/// Nanoseconds a call of each way, by block.
fn in_turn(count: usize, mut ways: Vec<Way<'_>>) -> Result<BTreeMap<&'static str, Vec<f64>>> {
    let mut blocks: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for block in 0..=BLOCKS {
        for (name, way) in &mut ways {
            let took = each(count, way).with_context(|| format!("{name}, block {block}"))?;
            if block > 0 {
                blocks.entry(*name).or_default().push(took);
            }
        }
    }
    Ok(blocks)
}

fn pair(blocks: &BTreeMap<&'static str, Vec<f64>>, ours: &str, peer: &str) -> Pair {
    Pair { ours: blocks[ours].clone(), peer: blocks[peer].clone() }
}

/// How much more one takes than the other, block by block, in nanoseconds.
fn more(blocks: &BTreeMap<&'static str, Vec<f64>>, ours: &str, peer: &str) -> Spread {
    let differences: Vec<f64> = blocks[ours].iter().zip(&blocks[peer]).map(|(ours, peer)| ours - peer).collect();
    Spread::of(&differences)
}

/// A new instance for each call, because each call traps.
fn fresh() -> Result<Vec<Row>> {
    const COUNT: usize = 10;
    let wasm = flat::component("unreachable")?;
    let (host, bare) = (loaded(&wasm)?, bare::Bare::new(&wasm)?);
    let blocks = in_turn(
        COUNT,
        vec![
            (
                "bare",
                Box::new(|| {
                    drop(black_box(flat::call_bare(&mut bare.instance()?)));
                    Ok(())
                }),
            ),
            (
                "ours",
                Box::new(|| {
                    let called = host.call_typed::<(flat::Record,), (u64,)>("guest", "run", (flat::RECORD,), context());
                    drop(black_box(called));
                    Ok(())
                }),
            ),
        ],
    )?;
    let row =
        Row::ratio(NAME, "a fresh instance and a call that traps", &pair(&blocks, "ours", "bare"), "wasmtime", "ns");
    Ok(vec![row.goal(Goal::AtMost(1.2))])
}
