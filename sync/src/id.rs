//! Names of things that replicate: nodes, incarnations, replicas, streams and dots.
//!
//! Owns identity only; it hands out no sequence numbers (the replica does) and knows no network. The invariant: a
//! [`Dot`] names one commit for ever, because its replica carries an incarnation that is never used twice.

mod wire;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The protobuf and multihash framing that libp2p puts before an ed25519 public key in a peer id.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A host of the mesh: its ed25519 public key. Shown as the libp2p peer id (`12D3Koo…`) of the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub [u8; 32]);

/// One life of a node's data directory. It changes only when the directory can no longer vouch for its own past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// A writer of commits: a node in one of its incarnations. Shown as `<peer id>.<incarnation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// The host that writes.
    pub node: NodeId,
    /// Which life of that host.
    pub incarnation: Incarnation,
}

/// Which part of the mesh shares a stream. Only [`Scope::GLOBAL`] exists today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(pub u32);

impl Scope {
    /// Everybody.
    pub const GLOBAL: Self = Self(0);
}

/// A sequence of commits by one writer in one scope; sequence numbers count up by one within it, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Who shares it.
    pub scope: Scope,
    /// Who writes it.
    pub replica: ReplicaId,
}

impl Stream {
    /// The stream that `replica` writes for everybody.
    #[must_use]
    pub const fn global(replica: ReplicaId) -> Self {
        Self { scope: Scope::GLOBAL, replica }
    }
}

/// The name of one commit within a scope, and of every element that the commit added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The writer.
    pub replica: ReplicaId,
    /// Position in the writer's stream, from 1.
    pub seq: u64,
}

/// Text that is no node or replica id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

impl NodeId {
    /// The bytes of the libp2p peer id that stands for the same key.
    #[must_use]
    pub fn peer_id_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }
}

impl NodeId {
    /// The bytes as numbers that order as they do.
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        [0, 1, 2, 3].map(|at| u64::from_be_bytes(words[at]))
    }
}

impl Ord for NodeId {
    /// The order of the bytes. Vectors are searched by it with each commit, so that it goes by words.
    fn cmp(&self, other: &Self) -> Ordering {
        let ([a, b, c, d], [e, f, g, h]) = (self.words(), other.words());
        a.cmp(&e).then_with(|| b.cmp(&f)).then_with(|| c.cmp(&g)).then_with(|| d.cmp(&h))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bs58::encode(self.peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError { what: "node id", text: text.chars().take(80).collect() };
        let bytes = bs58::decode(text).into_vec().map_err(|_| wrong())?;
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or_else(wrong)?;
        Ok(Self(key.try_into().map_err(|_| wrong())?))
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation.0)
    }
}

impl FromStr for ReplicaId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError { what: "replica id", text: text.chars().take(120).collect() };
        let (node, incarnation) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self {
            node: node.parse().map_err(|_| wrong())?,
            incarnation: Incarnation(incarnation.parse().map_err(|_| wrong())?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_own_text() {
        let node = NodeId([7; 32]);
        assert!(node.to_string().starts_with("12D3Koo"), "{node}");
        assert_eq!(node.to_string().parse(), Ok(node));
        let replica = ReplicaId { node, incarnation: Incarnation(42) };
        assert_eq!(replica.to_string().parse(), Ok(replica));
    }

    #[test]
    fn nodes_order_as_their_bytes_do() {
        let node = |place: usize, byte| {
            let mut bytes = [0x80; 32];
            bytes[place] = byte;
            NodeId(bytes)
        };
        let nodes: Vec<NodeId> =
            (0..32).flat_map(|place| [0, 0x7f, 0x81, 0xff].map(|byte| node(place, byte))).collect();
        for (one, other) in nodes.iter().flat_map(|one| nodes.iter().map(move |other| (one, other))) {
            assert_eq!(one.cmp(other), one.0.cmp(&other.0), "{:?} {:?}", one.0, other.0);
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "x", "12D3Koo", "12D3KooW.", "Qm.1"] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
            assert!(text.parse::<ReplicaId>().is_err(), "{text}");
        }
    }
}
