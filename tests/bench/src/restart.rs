//! How long a start takes with 100,000 keys: opening the store and rebuilding the replica, against reading the same files and
//! hashing them with BLAKE3. Everything is in the page cache for both.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Result, ensure};
use selvedge::store::Store;
use selvedge_sync::replica::{Config, Replica};
use selvedge_sync::sim::Rng;

use crate::agent::{Agent, recovery};
use crate::fill::{put, replica_id};
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, seconds};

const NAME: &str = "restart";
const KEYS: usize = 100_000;
const KEYS_PER_COMMIT: usize = 100;
/// Commits that the checkpoint does not hold yet: ten seconds of a busy agent.
const TAIL: usize = 200;
const ROUNDS: usize = 9;

pub(crate) fn run(dir: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(dir)?;
    let path = folder.path().join("store");
    fill(&path)?;
    let mut pair = Pair::default();
    let mut bytes = 0;
    for round in 0..=ROUNDS {
        let (ours, opened) = seconds(|| -> Result<_> {
            let (store, events, recovered) = Store::open(&path)?;
            let replica = Replica::recover(replica_id(1), Config::default(), recovery(recovered))?;
            Ok((store, events, replica))
        });
        let (store, events, replica) = opened?;
        ensure!(replica.state().len() == KEYS, "{} keys came back", replica.state().len());
        drop((events, replica));
        store.close()?;
        let (peer, read) = seconds(|| read_and_hash(&path));
        bytes = read?;
        pair.note(round, ours * 1e3, peer * 1e3);
    }
    Ok(vec![
        Row::new(
            NAME,
            format!("start with {KEYS} keys, against reading and hashing (BLAKE3) the files"),
            pair.ratio(),
            "x",
        )
        .goal(Goal::AtMost(3.0))
        .parts(Spread::of(&pair.ours), Spread::of(&pair.peer), "read + BLAKE3", "ms")
        .note(format!("{bytes} B in files, {TAIL} commits beyond the checkpoint")),
    ])
}

fn fill(path: &Path) -> Result<()> {
    let mut rng = Rng::new(4);
    let mut agent = Agent::open(path)?;
    for first in (0..KEYS).step_by(KEYS_PER_COMMIT) {
        agent.write((first..first + KEYS_PER_COMMIT).map(|key| put(key, &mut rng)).collect())?;
    }
    agent.checkpoint()?;
    for _ in 0..TAIL / 2 {
        agent.write(vec![put(rng.index(KEYS), &mut rng)])?;
    }
    agent.close()
}

/// Reads every file below a folder, block by block, and hashes what it holds; returns how much that is.
fn read_and_hash(path: &Path) -> Result<u64> {
    let mut total = 0;
    let mut block = vec![0; 1 << 20];
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            total += read_and_hash(&entry.path())?;
            continue;
        }
        let mut file = File::open(entry.path())?;
        let mut hasher = blake3::Hasher::new();
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                break;
            }
            hasher.update(&block[..read]);
            total += read as u64;
        }
        std::hint::black_box(hasher.finalize());
    }
    Ok(total)
}
