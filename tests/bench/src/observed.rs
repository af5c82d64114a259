//! Status and metrics of an agent that has all to do that it can, against an agent beside it that has nothing to do, in turn.
//!
//! Both are asked on the same machine at the same time, so what differs is what waits inside the agent: for the driver, for the state's lock,
//! for its own tasks. What an agent takes whose whole machine idles is told besides.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use hyper::Method;

use crate::calls::{Call, Http, Ours, client};
use crate::field::runtime;
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, percentile};

const NAME: &str = "observed";

/// Rounds that count; one before them warms up.
const ROUNDS: usize = 8;

/// Questions of a kind to each agent in a round.
const QUESTIONS: usize = 400;

/// Connections that call without a pause.
const CALLERS: usize = 8;

/// Until load that began or ended has made itself felt.
const SETTLE: Duration = Duration::from_millis(300);

/// What is asked for.
const PATHS: [&str; 3] = ["/v1/status", "/metrics", READS_NOTHING];

/// The list of routes, which is in the binary: what it takes is what any request takes, and waits for nothing but the processor.
const READS_NOTHING: &str = "/v1";

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let (busy, idle) = (Ours::start(Path::new(MEMORY))?, Ours::start(Path::new(MEMORY))?);
    let load = Load::on(&busy)?;
    let client = client()?;
    let (mut at_busy, mut at_idle) = (client.block_on(busy.http())?, client.block_on(idle.http())?);
    let mut kinds: [[Pair; 3]; PATHS.len()] = Default::default();
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        for (number, path) in PATHS.into_iter().enumerate() {
            let quiet = client.block_on(ask(&mut at_busy, None, path))?.0;
            let (before, begun) = (load.begin(), Instant::now());
            std::thread::sleep(SETTLE);
            let (loaded, other) = client.block_on(ask(&mut at_busy, Some(&mut at_idle), path))?;
            rates.push((load.end() - before) as f64 / begun.elapsed().as_secs_f64());
            std::thread::sleep(SETTLE);
            let [tail, median, alone] = &mut kinds[number];
            tail.note(round, percentile(&loaded, 0.99), percentile(&other, 0.99));
            median.note(round, percentile(&loaded, 0.5), percentile(&other, 0.5));
            alone.note(round, percentile(&loaded, 0.99), percentile(&quiet, 0.99));
        }
    }
    let rate = Spread::of(&rates).median;
    let rows = PATHS.into_iter().zip(&kinds).flat_map(|(path, [tail, median, alone])| {
        let goal = if path == READS_NOTHING { Goal::Told } else { Goal::AtMost(2.0) };
        [
            Row::ratio(NAME, format!("p99 of {path}, agent under full load"), tail, "an idle agent beside it", "µs")
                .goal(goal)
                .note(format!("{rate:.0} calls a second meanwhile, each with a commit")),
            Row::ratio(NAME, "the same, p50", median, "an idle agent beside it", "µs"),
            Row::ratio(NAME, "the same, p99", alone, "itself, the machine idle", "µs"),
        ]
    });
    Ok(rows.collect())
}

/// Asks one agent, or two in turn; microseconds of each answer.
async fn ask(first: &mut Http, mut second: Option<&mut Http>, path: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut firsts, mut seconds) = (Vec::with_capacity(QUESTIONS), Vec::with_capacity(QUESTIONS));
    for _ in 0..QUESTIONS {
        firsts.push(once(first, path).await?);
        if let Some(second) = second.as_deref_mut() {
            seconds.push(once(second, path).await?);
        }
    }
    Ok((firsts, seconds))
}

async fn once(http: &mut Http, path: &str) -> Result<f64> {
    let begun = Instant::now();
    drop(http.ask(Method::GET, path, Bytes::new()).await?);
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}

/// Callers that call without a pause, when they are to.
struct Load {
    on: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Load {
    fn on(agent: &Ours) -> Result<Self> {
        let (on, calls, runtime) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), runtime()?);
        for _ in 0..CALLERS {
            let (on, calls, mut http) = (Arc::clone(&on), Arc::clone(&calls), runtime.block_on(agent.http())?);
            drop(runtime.spawn(async move {
                let call = Call::duel();
                loop {
                    if !on.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    } else if http.post(&call).await.is_ok() {
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Ok(Self { on, calls, _runtime: runtime })
    }

    fn begin(&self) -> u64 {
        self.on.store(true, Ordering::Relaxed);
        self.calls.load(Ordering::Relaxed)
    }

    fn end(&self) -> u64 {
        self.on.store(false, Ordering::Relaxed);
        self.calls.load(Ordering::Relaxed)
    }
}
