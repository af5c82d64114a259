//! The signature under what is deployed: by this node's key in a cluster, none outside of one.

use ed25519_dalek::SigningKey;
use selvedge_sync::id::NodeId;
use selvedge_sync::scalar::Scalar;

use super::standing::{Development, Standing, now_s};
use crate::cluster::{Deployment, ROLE_DEPLOYER, Refusal, Unauthorised};
use crate::workloads::{NotPermitted, Notary, Verdict};

/// Signs for a member.
pub(super) struct Member {
    pub(super) standing: Standing,
    pub(super) key: SigningKey,
}

impl Notary for Member {
    fn sign(&self, workload: &str, spec: &str) -> Result<Scalar, NotPermitted> {
        self.may_deploy()?;
        let own = self.standing.own();
        let signer = (own.cluster, self.standing.certificate());
        let deployment = Deployment::sign(&self.key, signer, (workload, spec), now_s());
        Ok(Scalar::Bytes(deployment.encode()))
    }

    fn may_deploy(&self) -> Result<(), NotPermitted> {
        if self.standing.own().roles.contains(ROLE_DEPLOYER) {
            return Ok(());
        }
        Err(NotPermitted("this agent's certificate does not allow it to deploy, nor to undeploy".to_owned()))
    }

    fn judge(&self, workload: &str, stored: &Scalar) -> Verdict {
        let read = match stored {
            Scalar::Bytes(bytes) => Deployment::decode(bytes).map_err(|_| Unauthorised::Unsigned),
            _ => Err(Unauthorised::Unsigned),
        };
        let opened = read.and_then(|deployment| {
            deployment.open(&self.standing.trust(), workload, |node| self.standing.revoked_at(node))
        });
        match opened {
            Ok(spec) => Verdict::Sound(spec),
            Err(error @ Unauthorised::Signer(Refusal::Stranger(_))) => Verdict::NotYet { why: error.to_string() },
            Err(error) => Verdict::Refused { why: error.to_string(), took_work: error.took_work() },
        }
    }

    fn revoked_ms(&self, node: &NodeId) -> Option<u64> {
        self.standing.revoked_at(*node).map(|at_s| at_s.saturating_mul(1_000))
    }

    fn edition(&self) -> u64 {
        self.standing.edition()
    }
}

impl Notary for Development {
    fn sign(&self, _: &str, spec: &str) -> Result<Scalar, NotPermitted> {
        Ok(Scalar::Text(spec.to_owned()))
    }

    fn may_deploy(&self) -> Result<(), NotPermitted> {
        Ok(())
    }

    fn judge(&self, _: &str, stored: &Scalar) -> Verdict {
        match stored {
            Scalar::Text(spec) => Verdict::Sound(spec.clone()),
            _ => Verdict::Refused {
                why: "it was signed for a cluster, and this agent is in none".to_owned(),
                took_work: false,
            },
        }
    }

    fn revoked_ms(&self, _: &NodeId) -> Option<u64> {
        None
    }

    fn edition(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use selvedge_sync::id::NodeId;

    use super::*;
    use crate::cluster::{Authority, Claims, ROLE_MEMBER, Span};

    fn member(authority: &Authority, seed: u8, roles: &[&str]) -> Member {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let node = NodeId(key.verifying_key().to_bytes());
        let roles: BTreeSet<String> = roles.iter().map(ToString::to_string).collect();
        let (cluster, name, region) = (authority.id(), format!("host-{seed}"), "eu".to_owned());
        let claims = Claims { cluster, node, name, region, roles, not_before: 0, not_after: u64::MAX };
        let trust = authority.found("games", Span { from: 0, to: u64::MAX });
        Member { standing: Standing::new(trust, authority.certify(&claims), node).expect("ours"), key }
    }

    #[test]
    fn what_one_member_deploys_is_carried_out_by_others_until_it_is_out() {
        let authority = Authority::from_seed(&[1; 32]);
        let [a, b] = [2, 3].map(|seed| member(&authority, seed, &[ROLE_MEMBER, ROLE_DEPLOYER]));
        let stored = a.sign("combat", "{}").expect("may");
        assert_eq!(b.judge("combat", &stored), Verdict::Sound("{}".to_owned()));
        let before = b.edition();
        let node = a.standing.own().node;
        b.standing.revoke(&[authority.revoke(authority.id(), node, 5)]);
        assert_ne!(b.edition(), before, "it is judged again");
        let Verdict::Refused { why, .. } = b.judge("combat", &stored) else {
            panic!("it was signed after the revocation")
        };
        assert!(why.contains("`host-2`") && why.contains("revoked"), "{why}");
    }

    #[test]
    fn two_revocations_of_one_member_count_alike_in_whatever_order_they_come() {
        let authority = Authority::from_seed(&[1; 32]);
        let a = member(&authority, 2, &[ROLE_MEMBER, ROLE_DEPLOYER]);
        let node = a.standing.own().node;
        let words = [5, 7].map(|at| authority.revoke(authority.id(), node, at));
        for order in [[0, 1], [1, 0]] {
            let b = member(&authority, 3, &[ROLE_MEMBER]);
            for word in order {
                b.standing.revoke(&[words[word].clone()]);
            }
            assert_eq!(b.standing.revoked_at(node), Some(5));
        }
        let b = member(&authority, 3, &[ROLE_MEMBER]);
        b.standing.revoke(&[words[1].clone()]);
        let before = b.edition();
        b.standing.revoke(&[words[0].clone()]);
        assert_ne!(b.edition(), before, "what was signed in between is judged again");
    }

    #[test]
    fn a_spec_by_a_new_authority_waits_for_its_endorsement() {
        let [first, second] = [1, 4].map(|seed| Authority::from_seed(&[seed; 32]));
        let [a, b] = [2, 3].map(|seed| member(&first, seed, &[ROLE_MEMBER, ROLE_DEPLOYER]));
        let endorsement = first.endorse(first.id(), second.id(), Span { from: 0, to: u64::MAX });
        let certificate = second.certify(&a.standing.own());
        let signed = Deployment::sign(&a.key, (first.id(), certificate), ("combat", "{}"), now_s());
        let stored = Scalar::Bytes(signed.encode());
        assert!(matches!(b.judge("combat", &stored), Verdict::NotYet { .. }));
        let before = b.edition();
        b.standing.learn(&[endorsement]);
        assert_ne!(b.edition(), before);
        assert_eq!(b.judge("combat", &stored), Verdict::Sound("{}".to_owned()));
    }

    #[test]
    fn a_member_without_the_role_signs_nothing_and_what_is_not_signed_is_nothing() {
        let authority = Authority::from_seed(&[1; 32]);
        let plain = member(&authority, 2, &[ROLE_MEMBER]);
        assert!(plain.sign("combat", "{}").is_err());
        for stored in [Scalar::from("{}"), Scalar::Bytes(b"{}".to_vec()), Scalar::Null] {
            assert!(matches!(plain.judge("combat", &stored), Verdict::Refused { took_work: false, .. }), "{stored:?}");
        }
        let stored = Development.sign("combat", "{}").expect("anybody may");
        assert_eq!(Development.judge("combat", &stored), Verdict::Sound("{}".to_owned()));
    }
}
