//! The engine as an agent runs it, without network or guests: a replica, its store, and what carries one's outputs to the other.
//!
//! Time is virtual and moves by one tick with each put, so that checkpoints come as often for each commit as they would at
//! 20 commits a second.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::executor::block_on;
use selvedge::store::{Checkpoint, Recovered, Store, StoreEvent, StoreEvents};
use selvedge_sync::change::Change;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{self, Config, Input, Output, Recovery, Replica};
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
}

impl Agent {
    /// Opens a data directory as the agent does when it starts.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let (store, events, recovered) = Store::open(dir).context("the store")?;
        let replica = Replica::recover(replica_id(1), Config::default(), recovery(recovered))?;
        Ok(Self { replica, store, events, now: NOON, given: 0, done: 0, checkpoints: 0 })
    }

    /// Makes the changes in one commit and returns when it is durable; then a tick passes.
    pub(crate) fn write(&mut self, changes: Vec<(Key, Change)>) -> Result<()> {
        self.give(commit(changes))?;
        self.wait(|agent| agent.done >= agent.given)?;
        self.tick(TICK_MS)
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, ms: u64) -> Result<()> {
        self.now = Time { wall_ms: self.now.wall_ms + ms, mono_ms: self.now.mono_ms + ms };
        self.give(Input::Tick)
    }

    /// Writes what changed to the checkpoint, and waits for it.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let before = self.checkpoints;
        for _ in 0..10 {
            self.tick(60_000)?;
            while self.checkpoints == before && self.store.stats().queue_jobs > 0 {
                self.take_event()?;
            }
            if self.checkpoints > before {
                return Ok(());
            }
        }
        bail!("ten minutes passed without a checkpoint")
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
                    self.store.append(token, vec![batch]).map_err(|_| anyhow!("the store's queue is full"))?;
                }
                Output::Checkpoint { token, checkpoint } => {
                    self.store.checkpoint(stored(token, checkpoint)).map_err(|_| anyhow!("a checkpoint too soon"))?;
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

/// What the agent makes of what its store held.
pub(crate) fn recovery(recovered: Recovered) -> Recovery {
    Recovery {
        vector: recovered.checkpoint_vector,
        ahead: recovered.ahead,
        latest: recovered.latest,
        orphans: recovered.orphans,
        objects: recovered.objects,
        log: recovered.log,
    }
}

/// What the driver makes of a checkpoint of the replica's.
fn stored(token: u64, checkpoint: replica::Checkpoint) -> Checkpoint {
    let replica::Checkpoint { vector, ahead, objects, latest, orphans, log_first } = checkpoint;
    Checkpoint { token, vector, ahead, latest, orphans, objects, log_first }
}
