//! What members may put into the sets through which authorities speak: what an authority of the cluster has signed, and nothing else.
//!
//! Any member can write to any key, and these sets only grow. Judges by the authorities that [`Standing`] knows, and has it
//! learn those that are endorsed; a commit that names one that is not known here waits until it is. The invariant: what is in the sets is as much as authorities have signed.

use std::sync::OnceLock;

use selvedge_sync::codec;
use selvedge_sync::crdt::Op;
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Guard, Judgement};
use selvedge_sync::scalar::Scalar;

use super::standing::Standing;
use super::vetting::{ENDORSEMENT_BYTES_MAX, authorities_key, revocations_key};
use crate::cluster::{Revocation, Signed, Worth};

/// Most documents that one commit may add: an authority's host tells of all its authorities at once, and revokes one by one.
const DOCUMENTS_MAX: usize = 64;

/// The guard of an agent that belongs to a cluster.
#[derive(Debug)]
pub(super) struct Reserved {
    revocations: Key,
    authorities: Key,
    /// Known before the network is.
    standing: OnceLock<Standing>,
}

impl Default for Reserved {
    fn default() -> Self {
        Self { revocations: revocations_key(), authorities: authorities_key(), standing: OnceLock::new() }
    }
}

impl Reserved {
    /// From now on, judges by what `standing` knows.
    pub(super) fn follow(&self, standing: Standing) {
        // There is one in an agent's life.
        drop(self.standing.set(standing));
    }
}

impl Guard for Reserved {
    fn judge(&self, key: &Key, op: &Op) -> Judgement {
        let is_endorsement = *key == self.authorities;
        if !is_endorsement && *key != self.revocations {
            return Judgement::Taken;
        }
        let Op::GSet(documents) = op else { return Judgement::Never };
        if documents.len() > DOCUMENTS_MAX {
            return Judgement::Never;
        }
        let Some(standing) = self.standing.get() else { return Judgement::NotYet };
        let bytes = documents.iter().map(|document| match document {
            Scalar::Bytes(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        if is_endorsement {
            let endorsement = |bytes: &[u8]| codec::decode::<Signed>(bytes, ENDORSEMENT_BYTES_MAX).ok();
            bytes.map(|bytes| bytes.and_then(endorsement)).collect::<Option<Vec<_>>>().map_or(Judgement::Never, |all| {
                // One may endorse the signer of the next; and what they sign may be in the same commit.
                standing.learn(&all);
                let trust = standing.trust();
                judgement(all.iter().map(|endorsement| trust.weigh_endorsement(endorsement)))
            })
        } else {
            let trust = standing.trust();
            let revocation = |bytes: &[u8]| Revocation::decode(bytes).ok();
            judgement(
                bytes.map(|bytes| {
                    bytes.and_then(revocation).map_or(Worth::Nothing, |word| trust.weigh_revocation(&word))
                }),
            )
        }
    }
}

/// What becomes of documents together.
fn judgement(documents: impl Iterator<Item = Worth>) -> Judgement {
    let mut judgement = Judgement::Taken;
    for worth in documents {
        match worth {
            Worth::Counts => {}
            Worth::Unknown => judgement = Judgement::NotYet,
            Worth::Nothing => return Judgement::Never,
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use selvedge_sync::id::NodeId;

    use super::*;
    use crate::cluster::{Authority, Claims, Span};

    const NODE: NodeId = NodeId([1; 32]);

    fn reserved(authority: &Authority) -> (Reserved, Standing) {
        let trust = authority.found("games", Span { from: 0, to: u64::MAX });
        let (name, region, roles) = ("a".to_owned(), "eu".to_owned(), BTreeSet::new());
        let (cluster, node) = (authority.id(), NODE);
        let claims = Claims { cluster, node, name, region, roles, not_before: 0, not_after: u64::MAX };
        let standing = Standing::new(trust, authority.certify(&claims), NODE).expect("ours");
        (Reserved::default(), standing)
    }

    #[test]
    fn the_sets_of_the_authorities_hold_what_authorities_signed() {
        let [first, second] = [1, 2].map(|seed| Authority::from_seed(&[seed; 32]));
        let (reserved, standing) = reserved(&first);
        let revoked = |by: &Authority, node: u8| Scalar::Bytes(by.revoke(first.id(), NodeId([node; 32]), 5).encode());
        let check = |key: &Key, documents: Vec<Scalar>, expect| {
            assert_eq!(reserved.judge(key, &Op::GSet(documents.clone())), expect, "{key}: {documents:?}");
        };
        let (of_revoked, of_authorities) = (revocations_key(), authorities_key());
        check(&of_revoked, vec![revoked(&first, 7)], Judgement::NotYet);
        reserved.follow(standing.clone());
        check(&of_revoked, vec![revoked(&first, 7), revoked(&first, 8)], Judgement::Taken);
        check(&of_revoked, vec![revoked(&first, 7), Scalar::Bytes(b"junk".to_vec())], Judgement::Never);
        check(&of_revoked, vec![Scalar::from("junk")], Judgement::Never);
        let many = (0..=DOCUMENTS_MAX).map(|node| revoked(&first, u8::try_from(node).expect("few"))).collect();
        check(&of_revoked, many, Judgement::Never);
        // What a new authority signed waits for its endorsement.
        let endorsement = first.endorse(first.id(), second.id(), Span { from: 5, to: u64::MAX });
        let endorsed = || Scalar::Bytes(codec::encode(&endorsement));
        check(&of_revoked, vec![revoked(&second, 7)], Judgement::NotYet);
        check(&of_authorities, vec![revoked(&first, 7)], Judgement::Never);
        // The one that follows it is known by it, in whatever order they come.
        let third = Authority::from_seed(&[3; 32]);
        let next =
            Scalar::Bytes(codec::encode(&second.endorse(first.id(), third.id(), Span { from: 6, to: u64::MAX })));
        check(&of_authorities, vec![next.clone()], Judgement::NotYet);
        check(&of_authorities, vec![next, endorsed()], Judgement::Taken);
        check(&of_revoked, vec![revoked(&second, 7), revoked(&third, 8)], Judgement::Taken);
        assert_eq!(standing.trust().authorities().count(), 3, "at once, and not with the next look");
        let other: Key = "gset/selvedge:other".parse().expect("a key");
        check(&other, vec![Scalar::from("anything")], Judgement::Taken);
    }
}
