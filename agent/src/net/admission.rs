//! Who may speak to us at all: proof of membership, checked before any protocol of ours exists on a connection.
//!
//! Owns what is said and how it is judged; the bytes are carried by [`gate`](super::gate). Pure: nonces and identities are
//! arguments. The invariants: the dialer proves first, so a stranger learns nothing from us; a proof holds for one
//! meeting only (both nodes, both nonces, the role and the version are in it); the comparison takes the same time
//! wherever the proofs differ.
//!
//! Today membership is knowledge of the [`ClusterSecret`]. Certificates replace it by implementing [`Admission`].

use std::fmt;

use selvedge_sync::id::NodeId;

/// What separates these proofs from every other use of the same key.
const CONTEXT: &[u8] = b"selvedge admission: cluster secret, version 1";

/// Length of a nonce, in bytes: two meetings never share one.
pub(super) const NONCE_BYTES: usize = 32;

/// The version of the handshake; it stands in the greeting and in every proof.
pub(super) const ADMISSION_VERSION: u8 = 1;

/// The secret that all members of a cluster share. It is shown nowhere.
#[derive(Clone, Copy)]
pub struct ClusterSecret(pub [u8; 32]);

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(…)")
    }
}

/// Which side of a connection somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Dialer,
    Listener,
}

/// One connection between two nodes whose keys the transport has already verified.
#[derive(Clone, Debug)]
pub(super) struct Meeting {
    pub(super) dialer: NodeId,
    pub(super) listener: NodeId,
    pub(super) dialer_nonce: [u8; NONCE_BYTES],
    pub(super) listener_nonce: [u8; NONCE_BYTES],
}

/// A proof does not hold: its maker is no member of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMember;

/// A way to prove membership and to judge the proof of another.
pub(super) trait Admission: Send + Sync + 'static {
    /// Length of every proof, in bytes.
    const PROOF_BYTES: usize;

    /// The proof that we are a member, in `role` of this meeting. Exactly [`Self::PROOF_BYTES`] long.
    fn prove(&self, meeting: &Meeting, role: Role) -> Vec<u8>;

    /// Judges what the other side gave, whose role is `role`.
    fn judge(&self, meeting: &Meeting, role: Role, proof: &[u8]) -> Result<(), NoMember>;
}

impl ClusterSecret {
    fn tag(&self, meeting: &Meeting, role: Role) -> blake3::Hash {
        let role = match role {
            Role::Dialer => 1,
            Role::Listener => 2,
        };
        // Every part has a fixed length, so that no two meetings are the same bytes.
        blake3::Hasher::new_keyed(&self.0)
            .update(CONTEXT)
            .update(&[ADMISSION_VERSION, role])
            .update(&meeting.dialer.0)
            .update(&meeting.listener.0)
            .update(&meeting.dialer_nonce)
            .update(&meeting.listener_nonce)
            .finalize()
    }
}

impl Admission for ClusterSecret {
    const PROOF_BYTES: usize = blake3::OUT_LEN;

    fn prove(&self, meeting: &Meeting, role: Role) -> Vec<u8> {
        self.tag(meeting, role).as_bytes().to_vec()
    }

    fn judge(&self, meeting: &Meeting, role: Role, proof: &[u8]) -> Result<(), NoMember> {
        let proof: [u8; blake3::OUT_LEN] = proof.try_into().map_err(|_| NoMember)?;
        // `blake3::Hash` compares in constant time.
        let holds = self.tag(meeting, role) == blake3::Hash::from_bytes(proof);
        if holds { Ok(()) } else { Err(NoMember) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting() -> Meeting {
        Meeting { dialer: NodeId([1; 32]), listener: NodeId([2; 32]), dialer_nonce: [3; 32], listener_nonce: [4; 32] }
    }

    #[test]
    fn a_member_is_believed() {
        let secret = ClusterSecret([7; 32]);
        for role in [Role::Dialer, Role::Listener] {
            assert_eq!(secret.judge(&meeting(), role, &secret.prove(&meeting(), role)), Ok(()));
        }
    }

    #[test]
    fn a_proof_holds_for_one_meeting_and_one_role() {
        let secret = ClusterSecret([7; 32]);
        let proof = secret.prove(&meeting(), Role::Dialer);
        assert_eq!(secret.judge(&meeting(), Role::Listener, &proof), Err(NoMember), "reflected");
        let others = [
            Meeting { dialer: NodeId([9; 32]), ..meeting() },
            Meeting { listener: NodeId([9; 32]), ..meeting() },
            Meeting { dialer_nonce: [9; 32], ..meeting() },
            Meeting { listener_nonce: [9; 32], ..meeting() },
        ];
        for other in others {
            assert_eq!(secret.judge(&other, Role::Dialer, &proof), Err(NoMember), "replayed at {other:?}");
        }
        assert_eq!(ClusterSecret([8; 32]).judge(&meeting(), Role::Dialer, &proof), Err(NoMember), "another cluster");
        assert_eq!(secret.judge(&meeting(), Role::Dialer, &proof[1..]), Err(NoMember), "cut");
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert!(!format!("{:?}", ClusterSecret([0xAB; 32])).contains("ab"));
        assert!(!format!("{:?}", ClusterSecret([0xAB; 32])).contains("171"));
    }
}
