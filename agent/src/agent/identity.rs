//! Who this node is: its key, and the incarnation that its commits carry.
//!
//! Owns the key file. The invariants: the key is made once and readable by its owner alone; an incarnation is durable before
//! anything is written under it; a disk that is full keeps nobody from being who he was.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
use selvedge_sync::replica::Fresh;

use super::AgentError;
use crate::net::node_of_seed;
use crate::store::{Identity, Pending, Recovered, Store, StoreError};
use crate::view::wall_ms;

/// The file in the data directory that holds the seed of the node's ed25519 key, in 64 hexadecimal digits.
const KEY_FILE: &str = "node.key";

/// The names under which the store keeps where this directory lies, and the number of the last life.
const PLACE: &str = "place";
const LIFE: &str = "life";

/// How long a start waits for the disk to take each of the few things that have to be durable before it goes on.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// Why the node's key cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read or made.
    #[error("the node's key {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("the node's key {} does not hold 64 hexadecimal digits; restore it from a backup, or join anew from an empty data directory", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Others could read it.
    #[error("the node's key {0} can be read or changed by others; make it private: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no randomness to make one from.
    #[error("the system gives no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
}

/// The seed of the node's key. Never printed.
#[derive(Clone)]
pub(super) struct NodeKey([u8; 32]);

impl NodeKey {
    /// The seed itself, for the network.
    pub(super) const fn seed(&self) -> [u8; 32] {
        self.0
    }

    pub(super) fn node(&self) -> NodeId {
        node_of_seed(self.0)
    }
}

/// Reads the node's key, or makes one.
pub(super) fn load_or_create(data_dir: &Path) -> Result<NodeKey, IdentityError> {
    if let Some(key) = load(data_dir)? {
        return Ok(key);
    }
    let (path, mut seed) = (data_dir.join(KEY_FILE), [0; 32]);
    getrandom::fill(&mut seed)?;
    create(&path, &seed).map_err(|source| IdentityError::File { path, source })?;
    Ok(NodeKey(seed))
}

/// The node whose key lies in `data_dir`; `None` where there is none yet. Changes nothing.
///
/// # Errors
/// The key cannot be used.
pub(crate) fn read_node(data_dir: &Path) -> Result<Option<NodeId>, IdentityError> {
    Ok(load(data_dir)?.map(|key| key.node()))
}

fn load(data_dir: &Path) -> Result<Option<NodeKey>, IdentityError> {
    let path = data_dir.join(KEY_FILE);
    let file = |source| IdentityError::File { path: path.clone(), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(error)),
    };
    let mode = fs::metadata(&path).map_err(file)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path });
    }
    parse(text.trim()).map(|seed| Some(NodeKey(seed))).ok_or(IdentityError::Malformed { path })
}

/// Writes the key whole or not at all: a torn key would be another node's.
fn create(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    file.write_all(hex.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn parse(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut seed = [0; 32];
    for (byte, digits) in seed.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(seed)
}

/// The replica to write as: the one that wrote here before, or a new incarnation where there is none, where part of what it
/// wrote is gone, or where this is a copy of the directory that it wrote into. A copy cannot vouch for what the original has
/// written since, and would give the same names to other commits. With `fresh`, the store begins anew with it.
pub(super) async fn replica(
    key: &NodeKey,
    store: &Store,
    recovered: &Recovered,
    fresh: Option<Fresh>,
    data_dir: &Path,
) -> Result<ReplicaId, AgentError> {
    let node = key.node();
    let place = place(data_dir);
    let same_place = recovered.meta.get(PLACE).is_some_and(|before| *before == place);
    let before = recovered.identity.map(|identity| identity.replica).filter(|replica| replica.node == node);
    if let Some(before) = before.filter(|_| same_place && !recovered.own_damaged && !recovered.damaged) {
        return Ok(before);
    }
    if before.is_some() {
        tracing::warn!("this data directory is a copy, or damaged; this agent writes as a new incarnation");
    }
    let after = lives(recovered, node).max().map_or(0, |life| life.saturating_add(1));
    let replica = ReplicaId { node, incarnation: Incarnation(wall_ms().max(after)) };
    let pending = store.rebirth(Identity { replica }, fresh).map_err(|_| full())?;
    durable(pending, "taking a new identity").await?;
    durable(store.set_meta(PLACE, Some(place)).map_err(|_| full())?, "taking where it lies").await?;
    Ok(replica)
}

/// Every incarnation of this node that the store shows: whatever the clock says, none of them may be used again.
fn lives(recovered: &Recovered, node: NodeId) -> impl Iterator<Item = u64> + '_ {
    let orphans = recovered.orphans.certain.iter().chain(&recovered.orphans.doubtful);
    let streams = orphans.chain(&recovered.log).map(|batch| batch.stream);
    let streams = streams.chain(recovered.checkpoint_vector.iter().map(|(stream, _)| stream));
    let replicas = streams.map(|stream| stream.replica).chain(recovered.identity.map(|identity| identity.replica));
    replicas.filter(move |replica| replica.node == node).map(|replica| replica.incarnation.0)
}

/// The number of the life that begins: greater than all before it, and durable before anybody hears it. A disk that takes nothing at present
/// is no reason not to serve what is there: the number waits with whatever else is to be written, and until then it is the clock that
/// keeps the next one above it.
pub(super) async fn next_life(store: &Store, recovered: &Recovered) -> Result<u64, AgentError> {
    let before =
        recovered.meta.get(LIFE).and_then(|bytes| bytes.as_slice().try_into().ok()).map_or(0, u64::from_le_bytes);
    let life = wall_ms().max(before.saturating_add(1));
    let pending = store.set_meta(LIFE, Some(life.to_le_bytes().to_vec())).map_err(|_| full())?;
    match durable(pending, "taking the number of this life").await {
        Err(StoreError::Failing { reason }) => {
            tracing::warn!(
                reason,
                "the disk takes no writes; this agent starts all the same, and serves what is there"
            );
        }
        other => other?,
    }
    Ok(life)
}

/// What tells this data directory from a copy of it: the machine, and the file of the key as the file system knows it. Its number
/// alone may have been another's before; where the file system knows when a file was made, that counts too.
fn place(data_dir: &Path) -> Vec<u8> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let file = fs::metadata(data_dir.join(KEY_FILE)).ok();
    let number = file.as_ref().map_or((0, 0), |file| (file.dev(), file.ino()));
    let made = file.and_then(|file| file.created().ok()?.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{} {} {} {}", machine.trim(), number.0, number.1, made.as_nanos()).into_bytes()
}

/// Waits for a write, but not for ever.
async fn durable(pending: Pending, what: &'static str) -> Result<(), StoreError> {
    let hangs = |_| StoreError::Hangs { what, seconds: DISK_PATIENCE.as_secs() };
    tokio::time::timeout(DISK_PATIENCE, pending.durable()).await.map_err(hangs)?
}

fn full() -> StoreError {
    StoreError::Failing { reason: "its queue is full".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = load_or_create(folder.path()).expect("is made");
        let again = load_or_create(folder.path()).expect("is read");
        assert_eq!(first.seed(), again.seed());
        let mode = fs::metadata(folder.path().join(KEY_FILE)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_is_damaged_or_exposed_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(KEY_FILE);
        load_or_create(folder.path()).map(|_| ()).expect("is made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changes");
        assert!(matches!(load_or_create(folder.path()), Err(IdentityError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changes");
        for damage in ["", "xyz", &"g".repeat(64), &"a".repeat(63)] {
            fs::write(&path, damage).expect("is written");
            assert!(matches!(load_or_create(folder.path()), Err(IdentityError::Malformed { .. })), "{damage}");
        }
    }
}
