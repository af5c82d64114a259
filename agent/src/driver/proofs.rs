//! Proofs that a member gave one name to two commits, from one process to the next.
//!
//! Owns how the store keeps them: all of them as one named value, written anew when there is one more. What cannot be written is
//! only forgotten: whoever else knows tells it again.

use selvedge_sync::codec;
use selvedge_sync::limits::PROOFS_MAX;
use selvedge_sync::seal::Proof;

use super::helm::Helm;

/// The name of the value.
pub(crate) const PROOFS: &str = "proofs";

/// Bytes that a proof takes at the most: two seals, and the hashes of two runs.
const PROOF_BYTES_MAX: usize = 8 * 1024;

impl Helm {
    pub(super) fn keep_proofs(&self) {
        let proofs: Vec<Proof> = self.view.read(|replica| replica.proofs().cloned().collect());
        match self.store.set_meta(PROOFS, Some(codec::encode(&proofs))) {
            // Nobody waits for it.
            Ok(pending) => drop(pending),
            Err(error) => tracing::warn!(%error, "proofs against members were not stored; others know them"),
        }
    }
}

/// The proofs that the store kept.
pub(crate) fn read_proofs(value: Option<Vec<u8>>) -> Vec<Proof> {
    let Some(value) = value else { return Vec::new() };
    codec::decode(&value, PROOFS_MAX * PROOF_BYTES_MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "proofs against members cannot be read; others know them");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use selvedge_sync::limits::SEAL_COMMITS_MAX;
    use selvedge_sync::seal::{Hash, Seal, Testimony};

    use super::*;

    #[test]
    fn what_was_kept_is_read_and_damage_is_nothing() {
        let seal = Seal {
            first: u64::MAX,
            from: u64::MAX,
            through: u64::MAX,
            before: Some(Hash([7; 32])),
            signature: [9; 64],
        };
        let one = Testimony { seal, hashes: vec![Hash([8; 32]); SEAL_COMMITS_MAX] };
        let node = selvedge_sync::id::NodeId([1; 32]);
        let replica = selvedge_sync::id::ReplicaId { node, incarnation: selvedge_sync::id::Incarnation(u64::MAX) };
        let proof = Proof { stream: selvedge_sync::id::Stream::global(replica), other: one.clone(), one };
        let bytes = codec::encode(&vec![proof.clone()]);
        assert!(bytes.len() < PROOF_BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(read_proofs(Some(bytes.clone())), vec![proof]);
        assert_eq!(read_proofs(Some(bytes[1..].to_vec())), Vec::new());
        assert_eq!(read_proofs(None), Vec::new());
    }
}
