//! How long a start takes with 100,000 keys: opening the store and rebuilding the replica, against reading the same files and
//! hashing them with BLAKE3. Everything is in the page cache for both.
//!
//! Two stores as an agent leaves them: one that was closed in order soon after a checkpoint, and one whose process was killed
//! just before the next checkpoint, so that as much of the log has to be applied as ever has.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Result, ensure};
use selvedge::store::Store;
use selvedge_sync::replica::{Config, Replica};
use selvedge_sync::sim::Rng;

use crate::agent::Agent;
use crate::fill::{put, replica_id};
use crate::report::{Goal, Row};
use crate::sample::{Pair, seconds};

const NAME: &str = "restart";
const KEYS: usize = 100_000;
const KEYS_PER_COMMIT: usize = 100;
/// Commits that the checkpoint of the closed store does not hold yet: ten seconds of a busy agent.
const TAIL: usize = 200;
/// Commits that are under way at a time while the log grows towards the next checkpoint.
const WRITERS: usize = 64;
const ROUNDS: usize = 9;

pub(crate) fn run(dir: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(dir)?;
    let (closed, killed) = (folder.path().join("closed"), folder.path().join("killed"));
    let mut rng = Rng::new(4);
    let mut agent = Agent::open(&closed)?;
    for first in (0..KEYS).step_by(KEYS_PER_COMMIT) {
        agent.write((first..first + KEYS_PER_COMMIT).map(|key| put(key, &mut rng)).collect())?;
    }
    agent.checkpoint()?;
    for _ in 0..TAIL {
        agent.write(vec![put(rng.index(KEYS), &mut rng)])?;
    }
    agent.close()?;
    let after_close = row(&closed, folder.path(), &format!("closed {TAIL} commits after a checkpoint"))?;

    let mut agent = Agent::open(&closed)?;
    agent.checkpoint()?;
    let almost = Config::default().checkpoint_bytes / 16 * 15;
    let mut commits = 0;
    while agent.logged_bytes() < almost {
        agent.write_all((0..WRITERS).map(|_| vec![put(rng.index(KEYS), &mut rng)]))?;
        commits += WRITERS;
    }
    ensure!(agent.checkpoints() == 1, "a checkpoint came before it was expected");
    // All that was reported durable is in the files, and nothing else is under way: this is what a kill leaves.
    copy(&closed, &killed)?;
    agent.close()?;
    Ok(vec![after_close, row(&killed, folder.path(), &format!("killed {commits} commits after a checkpoint"))?])
}

/// Starts again and again with copies of a store, since a start changes what it finds.
fn row(store: &Path, dir: &Path, how: &str) -> Result<Row> {
    let mut pair = Pair::default();
    let mut bytes = 0;
    for round in 0..=ROUNDS {
        let folder = tempfile::tempdir_in(dir)?;
        let path = folder.path().join("store");
        copy(store, &path)?;
        let (peer, read) = seconds(|| read_and_hash(&path));
        bytes = read?;
        let (ours, opened) = seconds(|| -> Result<_> {
            let (store, events, recovered) = Store::open(&path)?;
            let replica = Replica::recover(replica_id(1), Config::default(), recovered.into_recovery(replica_id(1)))?;
            Ok((store, events, replica))
        });
        let (store, events, replica) = opened?;
        ensure!(replica.state().len() == KEYS, "{} keys came back", replica.state().len());
        drop((events, replica));
        store.close()?;
        pair.note(round, ours * 1e3, peer * 1e3);
    }
    Ok(Row::ratio(NAME, format!("start with {KEYS} keys, {how}"), &pair, "read + BLAKE3", "ms")
        .goal(Goal::AtMost(3.0))
        .note(format!("{bytes} B in files")))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
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
