//! A forwarded call: asked of one agent, answered by another. Against a bare request-response of libp2p with as many bytes each way.
//!
//! Samples are taken in turn, one of each, one at a time, as for `hop`. Ours is two whole agents, called at their handle without HTTP:
//! routing, the network, the guest, and, for a duel, the commit of what it wrote. Theirs is a question that is answered as it comes, by
//! the same library over the same transports; how many bytes ours takes is what our network has counted.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use selvedge::net::Lane;
use selvedge::service::CallOptions;
use selvedge::spec::WorkloadName;
use serde_json::{Value, json};

use crate::field::Wire;
use crate::field::agents::Agents;
use crate::field::exchange::Exchange;
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "forward";

/// Blocks that count; one before them warms up.
const BLOCKS: usize = 8;

/// Samples of each contender in a block.
const SAMPLES: usize = 200;

/// Which of two agents is called, and which has the workload.
const CALLER: usize = 0;
const HOST: usize = 1;

/// Rest between samples: each begins on idle connections.
const REST: Duration = Duration::from_millis(1);

/// How long a workload may take until it can be called from afar.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a call may take here: whoever measures may have to wait for a processor.
const DEADLINE: Duration = Duration::from_secs(5);

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for wire in [Wire::Quic, Wire::Tcp] {
        let agents = Agents::start(Path::new(MEMORY), 2, wire)?;
        for ours in [
            Ours::new(&agents, "prediction", "predict", prediction())?,
            Ours::new(&agents, "combat", "resolve", duel())?,
        ] {
            rows.extend(measure(&ours, wire)?);
        }
    }
    Ok(rows)
}

fn measure(ours: &Ours<'_>, wire: Wire) -> Result<Vec<Row>> {
    let (asked, answered) = ours.bytes()?;
    let theirs = Exchange::start(wire, asked, answered)?;
    let ways: [&dyn Fn() -> Result<Duration>; 3] = [&|| ours.once(), &|| theirs.once(), &|| ours.asked_at(HOST)];
    let (mut median, mut tail, mut there) = (Pair::default(), Pair::default(), Pair::default());
    for block in 0..=BLOCKS {
        let mut samples = ways.map(|_| Vec::with_capacity(SAMPLES));
        for _ in 0..SAMPLES {
            for (once, samples) in ways.iter().zip(&mut samples) {
                samples.push(once()?.as_secs_f64() * 1e6);
                std::thread::sleep(REST);
            }
        }
        let [own, peer, local] = &samples;
        median.note(block, percentile(own, 0.5), percentile(peer, 0.5));
        tail.note(block, percentile(own, 0.99), percentile(peer, 0.99));
        there.note(block, percentile(local, 0.5), percentile(peer, 0.5));
    }
    let row = |what: &str, pair: &Pair| {
        Row::ratio(NAME, format!("{}, {}, {what}", wire.word(), ours.workload), pair, "request-response", "µs")
    };
    Ok(vec![
        row("forwarded, p50", &median)
            .goal(Goal::AtMost(1.3))
            .note(format!("{asked} bytes asked, {answered} answered")),
        row("forwarded, p99", &tail),
        row("of it: the same call asked of its host, p50", &there),
    ])
}

/// A workload that runs on the second of two agents and is called at the first.
struct Ours<'a> {
    agents: &'a Agents,
    workload: WorkloadName,
    function: &'static str,
    arguments: Value,
}

impl<'a> Ours<'a> {
    fn new(agents: &'a Agents, workload: &str, function: &'static str, arguments: Value) -> Result<Self> {
        let (_, wasm) =
            selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == workload).context("it ships")?;
        agents.deploy(CALLER, workload, wasm, json!({"must": ["node=agent-1"], "limits": {"deadline_ms": 1_000}}))?;
        let ours = Self { agents, workload: workload.parse()?, function, arguments };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = ours.once() {
            ensure!(Instant::now() < deadline, "{workload} cannot be called: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(ours)
    }

    /// Calls it from afar.
    fn once(&self) -> Result<Duration> {
        self.asked_at(CALLER)
    }

    /// Calls it at one of the two; it is made on its host.
    fn asked_at(&self, place: usize) -> Result<Duration> {
        let caller = &self.agents.members[place];
        let calls = caller.inside.calls.clone();
        let (workload, function, arguments) = (self.workload.clone(), self.function, self.arguments.clone());
        let options = CallOptions { deadline: Some(DEADLINE), ..CallOptions::default() };
        let (elapsed, answer) = caller.runtime().block_on(caller.runtime().spawn(async move {
            let begun = Instant::now();
            let answer = calls.call(&workload, function, arguments, options, || Ok(DEADLINE)).await;
            (begun.elapsed(), answer)
        }))?;
        let answer = answer.map_err(|error| anyhow!("{error}"))?;
        ensure!(answer.node == self.agents.members[HOST].inside.net.node(), "it was made elsewhere");
        Ok(elapsed)
    }

    /// What one call takes on the wire, question and answer.
    fn bytes(&self) -> Result<(usize, usize)> {
        let moved = || {
            let lane = self.agents.members[CALLER].inside.net.counters().lane(Lane::Call);
            (lane.bytes_out, lane.bytes_in)
        };
        let before = moved();
        self.once()?;
        let after = moved();
        ensure!(before.0 < after.0 && before.1 < after.1, "a forwarded call has moved no bytes");
        Ok((usize::try_from(after.0 - before.0)?, usize::try_from(after.1 - before.1)?))
    }
}

fn prediction() -> Value {
    let sample = |t: u32| json!({"t_ms": t, "x": f64::from(t) / 100.0, "y": 2.0, "z": 0.0});
    let samples: Vec<Value> = (0..4).map(|at| sample(at * 50)).collect();
    json!([[{"player": 7, "samples": samples, "horizon_ms": 100}]])
}

fn duel() -> Value {
    let fighter = |id: u64, tactic: &str| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 5, "tactic": tactic, "health": 100});
    json!([[{"zone": 3, "seed": 11, "a": fighter(1, "power"), "b": fighter(2, "grab")}]])
}
