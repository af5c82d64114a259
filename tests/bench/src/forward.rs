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
const SAMPLES: usize = 250;

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
    let mut pairs = [Pair::default(), Pair::default()];
    for block in 0..=BLOCKS {
        let (mut own, mut peer) = (Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES));
        for _ in 0..SAMPLES {
            own.push(ours.once()?.as_secs_f64() * 1e6);
            std::thread::sleep(REST);
            peer.push(theirs.once()?.as_secs_f64() * 1e6);
            std::thread::sleep(REST);
        }
        for (pair, share) in pairs.iter_mut().zip([0.5, 0.99]) {
            pair.note(block, percentile(&own, share), percentile(&peer, share));
        }
    }
    let [median, tail] = pairs;
    let (word, what) = (wire.word(), ours.workload.as_str());
    let name = "request-response";
    Ok(vec![
        Row::ratio(NAME, format!("{word}, {what}, forwarded, p50"), &median, name, "µs")
            .goal(Goal::AtMost(1.3))
            .note(format!("{asked} bytes asked, {answered} answered")),
        Row::ratio(NAME, format!("{word}, {what}, forwarded, p99"), &tail, name, "µs"),
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
        agents.deploy(0, workload, wasm, json!({"must": ["node=agent-1"], "limits": {"deadline_ms": 1_000}}))?;
        let ours = Self { agents, workload: workload.parse()?, function, arguments };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = ours.once() {
            ensure!(Instant::now() < deadline, "{workload} cannot be called: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(ours)
    }

    fn once(&self) -> Result<Duration> {
        let caller = &self.agents.members[0];
        let calls = caller.inside.calls.clone();
        let (workload, function, arguments) = (self.workload.clone(), self.function, self.arguments.clone());
        let options = CallOptions { deadline: Some(DEADLINE), ..CallOptions::default() };
        let (elapsed, answer) = caller.runtime().block_on(caller.runtime().spawn(async move {
            let begun = Instant::now();
            let answer = calls.call(&workload, function, arguments, options, || Ok(DEADLINE)).await;
            (begun.elapsed(), answer)
        }))?;
        let answer = answer.map_err(|error| anyhow!("{error}"))?;
        ensure!(answer.node == self.agents.members[1].inside.net.node(), "it was not forwarded");
        Ok(elapsed)
    }

    /// What one call takes on the wire, question and answer.
    fn bytes(&self) -> Result<(usize, usize)> {
        let moved = || {
            let lane = self.agents.members[0].inside.net.counters().lane(Lane::Call);
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
