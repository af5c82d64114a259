//! The one place where a [`NodeId`] and libp2p's names for the same ed25519 key meet.
//!
//! Keeps no key: a seed becomes a key pair for the transports and is forgotten. The invariant: the conversions are inverse
//! to each other, and only ed25519 identities have a node id.

use libp2p::PeerId;
use libp2p::identity::Keypair;
use selvedge_sync::id::NodeId;

/// Length of the peer id of an ed25519 key, in bytes.
const PEER_ID_BYTES: usize = 38;

/// The key pair that `seed` stands for.
pub(super) fn keypair(mut seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed).expect("every 32 bytes are an ed25519 seed")
}

/// The node that `seed` stands for.
#[must_use]
pub fn node_of_seed(seed: [u8; 32]) -> NodeId {
    node_of(&keypair(seed).public().to_peer_id()).expect("an ed25519 key has a node")
}

/// The peer id of `node`, or `None` where libp2p refuses the bytes.
pub(super) fn peer_of(node: NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&node.peer_id_bytes()).ok()
}

/// The node behind `peer`, or `None` for an identity of another kind than ed25519.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.get(PEER_ID_BYTES - 32..)?;
    let node = NodeId(key.try_into().ok()?);
    (node.peer_id_bytes().as_slice() == bytes).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_peer_are_one_name() {
        let peer = keypair([9; 32]).public().to_peer_id();
        let node = node_of(&peer).expect("ed25519");
        assert_eq!(peer_of(node), Some(peer));
        assert_eq!(node.to_string(), peer.to_string());
    }

    #[test]
    fn other_identities_have_no_node() {
        assert_eq!(node_of(&PeerId::random()), None);
    }
}
