//! Bytes that reach the disk at a steady twenty small commits a second.
//!
//! Each engine runs in a process of its own and makes the same durable puts, one by one; the kernel's count of that process
//! (`write_bytes` of /proc/self/io: pages that it caused to be written) is what is compared, from the first put to the last.
//! Ours is a replica with its store, checkpoints as often as the replica asks for them, one tick of virtual time a put: a
//! twentieth of a second. The long run makes the puts without pauses, the paced one waits a twentieth of a second for each.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use selvedge_sync::scalar::Scalar;
use selvedge_sync::sim::Rng;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::child::{self, own_figure};
use crate::engines::{self, Engine, PEERS};
use crate::fill::value;
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "disk";
const OURS: &str = "selvedge";
/// Keys that are written in random order: enough that a checkpoint holds many, few enough that they come again.
const KEYS: usize = 1_000;
/// Five minutes at twenty a second.
const LONG: u32 = 6_000;
const ROUNDS: usize = 2;
const PACED: u32 = 1_200;
const PAUSE: Duration = Duration::from_millis(50);

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    engine: String,
    dir: PathBuf,
    puts: u32,
    paced: bool,
}

/// What it found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Pages caused to be written, in bytes.
    disk: u64,
    /// Bytes given to `write` and its like.
    calls: u64,
    checkpoints: u64,
    seconds: f64,
}

pub(crate) fn run(dir: &Path) -> Result<Vec<Row>> {
    let long = series(dir, LONG, ROUNDS, false)?;
    let paced = series(dir, PACED, 1, true)?;
    let mut rows = vec![row(&long, LONG, "6,000 puts without pauses (5 virtual minutes)").goal(Goal::AtMost(1.0))];
    rows.push(row(&paced, PACED, "20 puts a second for a minute"));
    Ok(rows)
}

/// For each engine, ours first, what it wrote in each round.
fn series(dir: &Path, puts: u32, rounds: usize, paced: bool) -> Result<Vec<(String, Vec<Written>)>> {
    let names = std::iter::once(OURS).chain(PEERS);
    let mut found: Vec<(String, Vec<Written>)> = names.map(|name| (name.to_owned(), Vec::new())).collect();
    for _ in 0..rounds {
        // Paced ones wait most of the time, and run side by side.
        let mut running = Vec::new();
        for (engine, written) in &mut found {
            let folder = tempfile::tempdir_in(dir)?;
            let request = Request { engine: engine.clone(), dir: folder.path().to_owned(), puts, paced };
            let child = child::start(&child::Request::Disk(request))?;
            if paced {
                running.push((child, folder, written));
            } else {
                written.push(child::answer(child)?);
            }
        }
        for (child, folder, written) in running {
            written.push(child::answer(child)?);
            drop(folder);
        }
    }
    Ok(found)
}

fn row(found: &[(String, Vec<Written>)], puts: u32, how: &str) -> Row {
    let each = |written: &[Written]| -> Vec<f64> {
        written.iter().map(|written| written.disk as f64 / f64::from(puts)).collect()
    };
    let spreads: Vec<(&str, Spread)> =
        found.iter().map(|(name, written)| (name.as_str(), Spread::of(&each(written)))).collect();
    let (ours, peers) = spreads.split_first().expect("ours is the first");
    let (best, least) = peers
        .iter()
        .min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))
        .map(|(name, spread)| (*name, *spread))
        .expect("there are peers");
    let ratios: Vec<f64> = each(&found[0].1).iter().map(|bytes| bytes / least.median).collect();
    let told: Vec<String> = found
        .iter()
        .zip(&spreads)
        .map(|((name, written), (_, spread))| {
            let last = written[written.len() - 1];
            let calls = last.calls / u64::from(puts);
            let rate = f64::from(puts) / last.seconds;
            format!("{name} {:.0} B ({calls} B in calls, {rate:.0}/s)", spread.median)
        })
        .collect();
    let checkpoints = found[0].1[0].checkpoints;
    Row::new(NAME, format!("bytes written a put, {how}, against the best of three"), Spread::of(&ratios), "x")
        .parts(ours.1, least, best, "B")
        .note(format!("{}; {checkpoints} checkpoints of ours", told.join(", ")))
}

/// Runs one engine in this process.
pub(crate) fn serve(request: &Request) -> Result<Written> {
    if request.engine == OURS {
        let mut agent = Agent::open(&request.dir.join("store"))?;
        let mut written = puts(&mut agent, request)?;
        written.checkpoints = agent.checkpoints();
        agent.close()?;
        return Ok(written);
    }
    let mut engine = engines::open(&request.engine, &request.dir)?;
    puts(engine.as_mut(), request)
}

fn puts(engine: &mut dyn Engine, request: &Request) -> Result<Written> {
    let mut rng = Rng::new(2);
    let (disk, calls) = (own_figure("io", "write_bytes:")?, own_figure("io", "wchar:")?);
    let begun = Instant::now();
    for put in 0..request.puts {
        if request.paced {
            std::thread::sleep((begun + PAUSE * put).saturating_duration_since(Instant::now()));
        }
        let key = format!("player:{}", rng.index(KEYS));
        let Scalar::Bytes(bytes) = value(&mut rng) else { unreachable!("values are bytes") };
        engine.put(key.as_bytes(), &bytes)?;
    }
    Ok(Written {
        disk: own_figure("io", "write_bytes:")? - disk,
        calls: own_figure("io", "wchar:")? - calls,
        checkpoints: 0,
        seconds: begun.elapsed().as_secs_f64(),
    })
}
