//! The engine as an agent runs it, without network or guests: a replica, its store, and what carries one's outputs to the other.
//!
//! Time is virtual and moves by one tick with each put, so that checkpoints come as often for each commit as they would at
//! 20 commits a second.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::executor::block_on;
use selvedge::store::{Checkpoint, Identity, Store, StoreEvent, StoreEvents};
use selvedge_sync::change::Change;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Output, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

use crate::engines::Engine;
use crate::fill::{NOON, commit, replica_id};
use crate::mesh::TICK_MS;

/// A replica and its store.
pub(crate) struct Agent {
    pub(crate) replica: Replica,
    store: Store,
    events: StoreEvents,
    now: Time,
    /// The last append that was given to the store, and the last that it has reported.
    given: u64,
    done: u64,
    checkpoints: u64,
    logged_bytes: u64,
}

impl Agent {
    /// Opens a data directory as the agent does when it starts.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let (store, events, recovered) = Store::open(dir).context("the store")?;
        if recovered.identity.is_none() {
            let identity = Identity { replica: replica_id(1) };
            store.set_identity(identity).map_err(|_| anyhow!("the store's queue is full"))?.wait()?;
        }
        let replica = Replica::recover(replica_id(1), Config::default(), recovered.into_recovery(replica_id(1)))?;
        Ok(Self { replica, store, events, now: NOON, given: 0, done: 0, checkpoints: 0, logged_bytes: 0 })
    }

    /// Makes the changes in one commit and returns when it is durable; then a tick passes.
    pub(crate) fn write(&mut self, changes: Vec<(Key, Change)>) -> Result<()> {
        self.write_all([changes])
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, ms: u64) -> Result<()> {
        self.now = Time { wall_ms: self.now.wall_ms + ms, mono_ms: self.now.mono_ms + ms };
        self.give(Input::Tick)
    }

    /// Lets time pass until the replica asks for a checkpoint, and waits for it.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let before = self.checkpoints;
        self.tick(Config::default().checkpoint_ms)?;
        ensure!(self.store.stats().queue_jobs > 0, "time passed, and the replica asked for no checkpoint");
        self.wait(|agent| agent.checkpoints > before)
    }

    /// Makes many commits at once, as many writers do, and returns when all of them are durable; then a tick passes.
    pub(crate) fn write_all(&mut self, commits: impl IntoIterator<Item = Vec<(Key, Change)>>) -> Result<()> {
        for changes in commits {
            self.give(commit(changes))?;
        }
        self.wait(|agent| agent.done >= agent.given)?;
        self.tick(TICK_MS)
    }

    /// Bytes of commits since the last checkpoint: what a start would have to apply.
    pub(crate) const fn logged_bytes(&self) -> u64 {
        self.logged_bytes
    }

    /// How many checkpoints were written.
    pub(crate) const fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    pub(crate) fn close(self) -> Result<()> {
        drop(self.events);
        self.store.close().context("closing the store")
    }

    fn give(&mut self, input: Input) -> Result<()> {
        for output in self.replica.handle(input, self.now) {
            match output {
                Output::Persist { token, batch } => {
                    self.given = token;
                    self.logged_bytes += batch.commits.iter().map(|commit| commit.len() as u64).sum::<u64>();
                    self.store.append(token, vec![batch]).map_err(|_| anyhow!("the store's queue is full"))?;
                }
                Output::Checkpoint { token, checkpoint } => {
                    self.logged_bytes = 0;
                    let checkpoint = Checkpoint::of(token, checkpoint);
                    self.store.checkpoint(checkpoint).map_err(|_| anyhow!("a checkpoint too soon"))?;
                }
                Output::Committed { result, .. } => drop(result?),
                _ => {}
            }
        }
        Ok(())
    }

    fn wait(&mut self, done: impl Fn(&Self) -> bool) -> Result<()> {
        while !done(self) {
            self.take_event()?;
        }
        Ok(())
    }

    fn take_event(&mut self) -> Result<()> {
        match block_on(self.events.next()).context("the store has ended")? {
            StoreEvent::Appended { token } => {
                self.done = token;
                self.give(Input::Persisted { token })
            }
            StoreEvent::Checkpointed { token } => {
                self.checkpoints += 1;
                self.give(Input::Persisted { token })
            }
            other => bail!("the store says {other:?}"),
        }
    }
}

impl Engine for Agent {
    /// An LWW-map of one field for each key.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = Key::new(Kind::LwwMap, std::str::from_utf8(key)?)?;
        self.write(vec![(key, Change::Put(vec![("state".to_owned(), Scalar::Bytes(value.to_vec()))]))])
    }
}
