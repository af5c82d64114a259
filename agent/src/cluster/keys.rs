//! The node's key where the engine asks for it: it signs what this node writes, for those who get it from others.
//!
//! A node's name is its public key, so nothing else is needed to verify what another wrote. The engine begins everything that it
//! signs with a word of its own (`selvedge_sync::seal`), so a seal can be taken for no document of this cluster, whose purposes come with
//! their length before them. The invariant: only the signature of the node itself verifies.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use selvedge_sync::id::NodeId;
use selvedge_sync::seal::Keys;

/// The node's key, and everybody else's.
pub struct NodeKeys(SigningKey);

impl NodeKeys {
    /// Those of the node whose key has this seed.
    #[must_use]
    pub fn of_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeys")
    }
}

impl Keys for NodeKeys {
    /// There is one key here: what is asked for in another name gets a signature that does not verify.
    fn sign(&self, _: NodeId, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    fn verify(&self, signer: NodeId, bytes: &[u8], signature: &[u8; 64]) -> bool {
        // Strictly: no key of small order, and one signature only for each message.
        let key = VerifyingKey::from_bytes(&signer.0);
        key.is_ok_and(|key| key.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::commit::{Batch, CommitBytes, Flaw};
    use selvedge_sync::id::{Incarnation, ReplicaId, Stream};
    use selvedge_sync::seal::HashKeys;

    use super::*;
    use crate::net::node_of_seed;

    #[test]
    fn what_a_node_sealed_is_its_own_and_nobody_elses() {
        let (mine, others) = (NodeKeys::of_seed(&[7; 32]), NodeKeys::of_seed(&[8; 32]));
        let stream = |seed| Stream::global(ReplicaId { node: node_of_seed([seed; 32]), incarnation: Incarnation(1) });
        let batch = Batch::new(stream(7), 1, vec![CommitBytes::from_bytes(b"one"), CommitBytes::from_bytes(b"two")]);
        let sealed = batch.clone().sealed(&mine);
        assert_eq!(sealed.verify(&others), Ok(()), "whoever verifies needs the name alone");
        assert_eq!(Batch { stream: stream(8), ..sealed.clone() }.verify(&mine), Err(Flaw::Forged), "in another name");
        assert_eq!(batch.clone().sealed(&others).verify(&mine), Err(Flaw::Forged), "with another key");
        assert_eq!(batch.sealed(&HashKeys).verify(&mine), Err(Flaw::Forged), "the stand-in of simulations");
        for at in 0..64 {
            let mut changed = sealed.clone();
            changed.seals[0].signature[at] ^= 1;
            assert_eq!(changed.verify(&mine), Err(Flaw::Forged), "signature byte {at}");
        }
    }

    #[test]
    fn a_name_that_is_no_sound_key_signs_nothing() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let keys = NodeKeys::of_seed(&[7; 32]);
        assert!(!keys.verify(NodeId(neutral), b"anything", &[0; 64]));
        assert!(!keys.verify(NodeId([255; 32]), b"anything", &[0; 64]));
    }
}
