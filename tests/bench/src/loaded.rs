//! Calls that write, on an agent that has something else to do: while sync is saturated, and with and without anybody to sync with.
//!
//! A call is combat in a zone of eight duels, through the host over the agent's own state, and the commit of what it wrote, applied by
//! the agent's driver and not waited for on disk: what a caller waits for. The agents are whole and their data lies in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use selvedge::driver::DriverHandle;
use selvedge::wasm::{CallContext, Limits, WasmConfig, WasmHost};
use selvedge_sync::change::Change;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::{Key, Kind};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::field::Wire;
use crate::field::agents::{Agents, Member};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, percentile};

const NAME: &str = "loaded";
/// Blocks that count; one before them warms up.
const BLOCKS: usize = 10;
/// Calls in a block.
const CALLS: usize = 1_000;
/// Rest between calls: a server has something to do with an answer.
const REST: Duration = Duration::from_micros(500);
/// Writers that saturate the other agent, each with one commit on its way at a time.
const WRITERS: usize = 8;
/// Until what was begun or ended has made itself felt.
const SETTLE: Duration = Duration::from_millis(300);

pub(crate) fn run() -> Result<Vec<Row>> {
    let (two, one) =
        (Agents::start(Path::new(MEMORY), 2, Wire::Quic)?, Agents::start(Path::new(MEMORY), 1, Wire::Quic)?);
    let (synced, alone) = (Caller::new(&two.members[0])?, Caller::new(&one.members[0])?);
    let flood = Flood::new(&two.members[1]);
    let (mut pairs, mut busy, mut written) = ([Pair::default(), Pair::default()], Pair::default(), Vec::new());
    for block in 0..=BLOCKS {
        let (with, without) = (synced.block()?, alone.block()?);
        for (pair, share) in pairs.iter_mut().zip([0.5, 0.99]) {
            pair.note(block, percentile(&with, share), percentile(&without, share));
        }
        let (before, begun) = (flood.begin(), Instant::now());
        std::thread::sleep(SETTLE);
        let saturated = synced.block()?;
        let rate = (flood.end() - before) as f64 / begun.elapsed().as_secs_f64();
        busy.note(block, percentile(&saturated, 0.99), percentile(&with, 0.99));
        written.push(rate);
        std::thread::sleep(SETTLE);
    }
    let rate = Spread::of(&written).median;
    let [median, tail] = pairs;
    Ok(vec![
        Row::ratio(NAME, "p99 of a call that writes, sync saturated", &busy, "idle", "µs")
            .goal(Goal::AtMost(1.2))
            .note(format!("{rate:.0} commits a second from the other agent meanwhile")),
        Row::ratio(NAME, "p50 of a call that writes, one to sync with", &median, "nobody", "µs")
            .goal(Goal::AtMost(1.05)),
        Row::ratio(NAME, "the same, p99", &tail, "nobody", "µs"),
    ])
}

/// Calls combat on an agent and commits what it wrote.
struct Caller {
    host: WasmHost,
    driver: DriverHandle,
    runtime: Handle,
    arguments: Value,
}

impl Caller {
    fn new(member: &Member) -> Result<Self> {
        let host = WasmHost::new(WasmConfig::default(), Arc::new(member.inside.view.clone()))?;
        let (_, wasm) =
            selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").context("no combat")?;
        let runtime = member.runtime().handle().clone();
        // Whoever measures may have to wait for a processor; that is part of the figure, and no error.
        let limits = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
        runtime.block_on(host.load("combat", wasm.into(), limits))?;
        let fighter = |id: u64| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 5, "tactic": "power", "health": 100});
        let duel = |seed: u64| json!({"zone": 1, "seed": seed, "a": fighter(2 * seed), "b": fighter(2 * seed + 1)});
        let arguments = json!([(0..8).map(duel).collect::<Vec<_>>()]);
        Ok(Self { host, driver: member.inside.driver.clone(), runtime, arguments })
    }

    /// Microseconds of each call of a block.
    fn block(&self) -> Result<Vec<f64>> {
        (0..CALLS)
            .map(|_| {
                std::thread::sleep(REST);
                let begun = Instant::now();
                let context = CallContext { seed: 7, now: Hlc::from_millis(1_800_000_000_000), deadline: None };
                let done = self.host.call_here("combat", "resolve", &self.arguments, context)?;
                self.runtime.block_on(self.driver.commit(done.changes, None, false))?;
                Ok(begun.elapsed().as_secs_f64() * 1e6)
            })
            .collect()
    }
}

/// Writes on an agent as fast as it takes commits, when it is to.
struct Flood {
    on: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
}

impl Flood {
    fn new(member: &Member) -> Self {
        let (on, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for writer in 0..WRITERS {
            let (on, commits, driver) = (Arc::clone(&on), Arc::clone(&commits), member.inside.driver.clone());
            let _task = member.runtime().spawn(async move {
                let key = Key::new(Kind::GCounter, &format!("bench:flood:{writer}")).expect("a name within bounds");
                loop {
                    if !on.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                    match driver.commit(vec![(key.clone(), Change::Increment(1))], None, false).await {
                        Ok(_) => drop(commits.fetch_add(1, Ordering::Relaxed)),
                        // It is as busy as it can be.
                        Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                }
            });
        }
        Self { on, commits }
    }

    fn begin(&self) -> u64 {
        self.on.store(true, Ordering::Relaxed);
        self.commits.load(Ordering::Relaxed)
    }

    fn end(&self) -> u64 {
        self.on.store(false, Ordering::Relaxed);
        self.commits.load(Ordering::Relaxed)
    }
}
