//! What is on disk when an agent starts: its key, its store, and the replica that comes out of both.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use selvedge_sync::limits::MESSAGE_BYTES_MAX;
use selvedge_sync::replica::{self, Fresh, Orphans, Recovery, Replica};
use tokio::sync::oneshot;

use super::draining::{DRAINING, Order};
use super::identity::{self, NodeKey};
use super::office::KeptBooks;
use super::reserved::Reserved;
use super::vetting::REVOKED_NAMES;
use super::{AgentError, ground};
use crate::cluster::NodeKeys;
use crate::config::Config;
use crate::driver::{self, PROOFS};
use crate::members::Remembered;
use crate::members::gossip::REMEMBERED;
use crate::store::{Recovered, Store, StoreError, StoreEvents};
use crate::view::millis;

/// How long a start waits for the disk to give back what is there, before it says that the disk hangs: a gigabyte from a slow
/// card takes less.
const DISK_PATIENCE: Duration = Duration::from_secs(120);

/// What was opened.
pub(super) struct Data {
    pub(super) key: NodeKey,
    pub(super) store: Store,
    pub(super) store_events: StoreEvents,
    pub(super) replica: Replica,
    pub(super) remembered: Vec<Remembered>,
    /// What an authority on this host has kept of those whom it admits.
    pub(super) office: KeptBooks,
    /// What the store has kept of the names of the revoked.
    pub(super) revoked_names: Vec<u8>,
    /// That its operator has had it emptied, if so.
    pub(super) draining: Option<Order>,
    /// Which life of this agent begins.
    pub(super) life: u64,
    /// Guards what only authorities have to say, where there are any.
    pub(super) reserved: Option<Arc<Reserved>>,
}

/// Opens the data directory, and gives the replica an identity that is durable before it is used.
pub(super) async fn open(config: &Config) -> Result<Data, AgentError> {
    let data_dir = config.node.data_dir.clone();
    ground::check(&data_dir)?;
    let read = move || -> Result<_, AgentError> { Ok((Store::open(&data_dir)?, identity::load_or_create(&data_dir)?)) };
    let ((store, store_events, mut recovered), key) = within(DISK_PATIENCE, "reading it back", read).await??;
    for cut in &recovered.cuts {
        tracing::error!(stream = %cut.stream.replica, from = cut.from, rows = cut.rows, "damaged log rows were cut; peers have them");
    }
    let fresh = recovered.damaged.then(|| begin_anew(key.node(), &mut recovered));
    let me = identity::replica(&key, &store, &recovered, fresh, &config.node.data_dir).await?;
    let life = identity::next_life(&store, &recovered).await?;
    let remembered = read_remembered(&recovered);
    let office = KeptBooks::take(&mut recovered.meta);
    let revoked_names = recovered.meta.remove(REVOKED_NAMES).unwrap_or_default();
    let draining = Order::read(recovered.meta.get(DRAINING));
    if let Some(order) = &draining {
        let since = order.since().unwrap_or_else(|| "before the last upgrade".to_owned());
        tracing::warn!(since, had = ?order.here, "draining: this agent takes nothing new until `selvedge drain --off`");
    }
    let max_drift_ms = millis(config.state.max_drift);
    let retire_after_ms = millis(config.state.retire_after);
    let hash_seed = getrandom::u64().map_err(identity::IdentityError::from)?;
    let broadcast_seed = config.cluster.papers.as_ref().map_or(0, |(trust, _)| seed_of(&trust.cluster().0));
    let keys = Arc::new(NodeKeys::of_seed(&key.seed()));
    let reserved = config.cluster.papers.is_some().then(Arc::<Reserved>::default);
    let mut engine =
        replica::Config { max_drift_ms, retire_after_ms, hash_seed, broadcast_seed, keys, ..Default::default() };
    if let Some(reserved) = &reserved {
        engine.guard = Arc::<Reserved>::clone(reserved);
    }
    let proofs = driver::read_proofs(recovered.meta.remove(PROOFS));
    let replica = Replica::recover(me, engine, Recovery { proofs, ..recovered.into_recovery(me) })?;
    tracing::info!(keys = replica.state().len(), commits = replica.seen().commits(), "recovered");
    Ok(Data { key, store, store_events, replica, remembered, office, revoked_names, draining, life, reserved })
}

/// What all members of a cluster have in common, and other clusters have not: the beginning of its name, which is a key.
fn seed_of(cluster: &[u8; 32]) -> u64 {
    cluster.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// The checkpoint is damaged: the state comes back from peers. What we wrote may be nowhere but in our log, so all that it
/// still holds of ours waits to be made again, unless some member turns out to have it.
fn begin_anew(node: NodeId, recovered: &mut Recovered) -> Fresh {
    let log = std::mem::take(&mut recovered.log);
    recovered.orphans.doubtful.extend(log.into_iter().filter(|batch| batch.stream.replica.node == node));
    // How far the last life was confirmed says nothing of the next.
    Fresh { orphans: Orphans { unconfirmed_after: None, ..recovered.orphans.clone() } }
}

/// Runs what reads the disk, and gives up waiting for it after `patience`. On a thread of its own: a disk that hangs holds it, and
/// the runtime would wait for one of its own for ever.
async fn within<T: Send + 'static>(
    patience: Duration,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AgentError> {
    let (done, result) = oneshot::channel();
    // Whoever has stopped waiting does not need the result.
    let work = move || drop(done.send(work()));
    let spawned = thread::Builder::new().name("selvedge-open".to_owned()).spawn(work);
    spawned.map_err(|error| AgentError::Store(StoreError::Failed(Box::new(error))))?;
    match tokio::time::timeout(patience, result).await {
        Ok(result) => result.map_err(|_| AgentError::Ended("opening the store")),
        Err(_) => Err(StoreError::Hangs { what, seconds: patience.as_secs() }.into()),
    }
}

/// Where members were to be found. Only a convenience: what cannot be read is left to the bootstrap addresses.
fn read_remembered(recovered: &Recovered) -> Vec<Remembered> {
    let Some(bytes) = recovered.meta.get(REMEMBERED) else { return Vec::new() };
    codec::decode(bytes, MESSAGE_BYTES_MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "where members were to be found cannot be read");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_ends_the_start_with_an_error() {
        let (wake, hangs) = mpsc::channel::<()>();
        let hung = within(Duration::from_millis(20), "reading it back", move || hangs.recv()).await;
        let error = hung.expect_err("it hangs").to_string();
        assert!(error.contains("hangs") && error.contains("reading it back"), "{error}");
        drop(wake);
        assert_eq!(within(Duration::from_secs(20), "reading it back", || 7).await.expect("it works"), 7);
    }
}
