//! What is on disk when an agent starts: its key, its store, and the replica that comes out of both.

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use selvedge_sync::limits::MESSAGE_BYTES_MAX;
use selvedge_sync::replica::{self, Fresh, Recovery, Replica};

use super::AgentError;
use super::identity::{self, NodeKey};
use super::office::INVITATIONS;
use crate::config::Config;
use crate::members::Remembered;
use crate::members::gossip::REMEMBERED;
use crate::store::{Recovered, Store, StoreEvents};
use crate::view::millis;

/// What was opened.
pub(super) struct Data {
    pub(super) key: NodeKey,
    pub(super) store: Store,
    pub(super) store_events: StoreEvents,
    pub(super) replica: Replica,
    pub(super) remembered: Vec<Remembered>,
    /// Invitations that an authority on this host has made, as the store kept them.
    pub(super) invitations: Option<Vec<u8>>,
    /// Which life of this agent begins.
    pub(super) life: u64,
}

/// Opens the data directory, and gives the replica an identity that is durable before it is used.
pub(super) async fn open(config: &Config) -> Result<Data, AgentError> {
    let data_dir = config.node.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&data_dir)).await;
    let (store, store_events, mut recovered) = opened.map_err(|_| AgentError::Ended("opening the store"))??;
    let key = identity::load_or_create(&config.node.data_dir)?;
    for cut in &recovered.cuts {
        tracing::error!(stream = %cut.stream.replica, from = cut.from, rows = cut.rows, "damaged log rows were cut; peers have them");
    }
    let fresh = recovered.damaged.then(|| begin_anew(key.node(), &mut recovered));
    let me = identity::replica(&key, &store, &recovered, fresh, &config.node.data_dir).await?;
    let life = identity::next_life(&store, &recovered).await?;
    let remembered = read_remembered(&recovered);
    let invitations = recovered.meta.remove(INVITATIONS);
    let max_drift_ms = millis(config.state.max_drift);
    let recovery = Recovery {
        vector: recovered.checkpoint_vector,
        ahead: recovered.ahead,
        latest: recovered.latest,
        orphans: recovered.orphans,
        objects: recovered.objects,
        log: recovered.log,
    };
    let retire_after_ms = millis(config.state.retire_after);
    let hash_seed = getrandom::u64().map_err(identity::IdentityError::from)?;
    let engine = replica::Config { max_drift_ms, retire_after_ms, hash_seed, ..replica::Config::default() };
    let replica = Replica::recover(me, engine, recovery)?;
    tracing::info!(keys = replica.state().len(), commits = replica.seen().commits(), "recovered");
    Ok(Data { key, store, store_events, replica, remembered, invitations, life })
}

/// The checkpoint is damaged: the state comes back from peers. What we wrote may be nowhere but in our log, so all that it
/// still holds of ours waits to be made again, unless some member turns out to have it.
fn begin_anew(node: NodeId, recovered: &mut Recovered) -> Fresh {
    let log = std::mem::take(&mut recovered.log);
    recovered.orphans.doubtful.extend(log.into_iter().filter(|batch| batch.stream.replica.node == node));
    Fresh { orphans: recovered.orphans.clone() }
}

/// Where members were to be found. Only a convenience: what cannot be read is left to the bootstrap addresses.
fn read_remembered(recovered: &Recovered) -> Vec<Remembered> {
    let Some(bytes) = recovered.meta.get(REMEMBERED) else { return Vec::new() };
    codec::decode(bytes, MESSAGE_BYTES_MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "where members were to be found cannot be read");
        Vec::new()
    })
}
