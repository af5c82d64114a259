//! Deployments: a workload's spec with the signature of the member by whose agent it was deployed.
//!
//! The signature goes with the spec wherever it is told, also where no commit of its author is at hand: into repairs from state,
//! backups, and to members that join later. It names the cluster, the workload and the moment, so that it says nothing about
//! another spec or another name. The invariant: nothing that is not signed by a member that may deploy is ever read as a spec.

use ed25519_dalek::SigningKey;
use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::signed::Unsound;
use super::{AuthorityId, Certificate, Claims, ROLE_DEPLOYER, Refusal, Signed, Trust, UnixSeconds};

/// What separates deployments from everything else that a node's key signs.
const PURPOSE: &str = "selvedge deployment 1";

/// Longest deployment, in bytes: what a value of the shared state holds.
const DEPLOYMENT_BYTES_MAX: usize = selvedge_sync::limits::SCALAR_BYTES_MAX;

/// What is signed.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    #[serde(rename = "c")]
    cluster: AuthorityId,
    /// The workload's name.
    #[serde(rename = "n")]
    workload: String,
    /// The BLAKE3 hash of the spec's text.
    #[serde(rename = "h", with = "serde_bytes")]
    spec: [u8; blake3::OUT_LEN],
    /// When it was signed.
    #[serde(rename = "t")]
    at: UnixSeconds,
}

/// A spec as it is stored. Nothing in it is to be believed before [`Deployment::open`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    #[serde(rename = "s")]
    spec: String,
    #[serde(rename = "o")]
    order: Signed,
    #[serde(rename = "c")]
    certificate: Certificate,
}

/// Why a deployment is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorised {
    /// It is no signed deployment.
    #[error("it is not signed")]
    Unsigned,
    /// Its signer is no member of this cluster.
    #[error("its signer is not to be believed: {0}")]
    Signer(#[from] Refusal),
    /// Its signer may not deploy.
    #[error("`{0}` signed it, whose certificate does not allow it to deploy")]
    NotPermitted(String),
    /// The signature is not the member's, or what is signed is malformed.
    #[error("it is unsound: {0}")]
    Unsound(#[from] Unsound),
    /// The signature is about something else.
    #[error("its signature is about another cluster, workload or spec")]
    Other,
    /// It was signed when its signer's certificate, or whoever signed that, did not hold.
    #[error("`{0}` signed it at a time at which its certificate did not hold")]
    OutOfTime(String),
    /// It was signed after its signer had been put out.
    #[error("`{0}` signed it after it had been revoked")]
    Revoked(String),
}

impl Unauthorised {
    /// Whether anything had to be verified to find out.
    #[must_use]
    pub const fn took_work(&self) -> bool {
        !matches!(self, Self::Unsigned | Self::NotPermitted(_) | Self::Other)
    }
}

impl Deployment {
    /// Signs `spec` for `workload` with the key of the node that `certificate` is about.
    #[must_use]
    pub fn sign(
        key: &SigningKey,
        (cluster, certificate): (AuthorityId, Certificate),
        (workload, spec): (&str, &str),
        at: UnixSeconds,
    ) -> Self {
        let order =
            Order { cluster, workload: workload.to_owned(), spec: *blake3::hash(spec.as_bytes()).as_bytes(), at };
        Self { spec: spec.to_owned(), order: Signed::make(PURPOSE, &order, key), certificate }
    }

    /// The bytes that are stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a deployment; nothing in it has been judged.
    ///
    /// # Errors
    /// The bytes are malformed or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, DEPLOYMENT_BYTES_MAX)
    }

    /// The spec's text, if a member that may deploy has signed it for this workload. A certificate that has expired since, and a
    /// member that was revoked since (`revoked` tells when), take nothing back: what runs goes on when its operator's host is
    /// replaced.
    ///
    /// # Errors
    /// Why it is not to be carried out. What costs no verifying is found first.
    pub fn open(
        self,
        trust: &Trust,
        workload: &str,
        revoked: impl FnOnce(NodeId) -> Option<UnixSeconds>,
    ) -> Result<String, Unauthorised> {
        let peeked: Claims = self.certificate.peek()?;
        if !peeked.roles.contains(ROLE_DEPLOYER) {
            return Err(Unauthorised::NotPermitted(peeked.name));
        }
        let order: Order = self.order.peek()?;
        let is_of_this = order.cluster == trust.cluster()
            && order.workload == workload
            && order.spec == *blake3::hash(self.spec.as_bytes()).as_bytes();
        if !is_of_this {
            return Err(Unauthorised::Other);
        }
        let claims = trust.read(&self.certificate, peeked.node)?;
        if self.order.signer().0 != claims.node.0 {
            return Err(Unsound::Signature.into());
        }
        let Order { at, .. } = self.order.open(PURPOSE)?;
        let held = claims.not_before <= at && at <= claims.not_after;
        if !(held && trust.may_sign(self.certificate.signer(), at)) {
            return Err(Unauthorised::OutOfTime(claims.name));
        }
        if revoked(claims.node).is_some_and(|since| since <= at) {
            return Err(Unauthorised::Revoked(claims.name));
        }
        Ok(self.spec)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::{Authority, ROLE_MEMBER, Span};

    const SPEC: &str = r#"{"artifact":"blake3:…"}"#;

    struct Cluster {
        authority: Authority,
        trust: Trust,
        key: SigningKey,
    }

    impl Cluster {
        fn new(seed: u8) -> Self {
            let authority = Authority::from_seed(&[seed; 32]);
            let trust = authority.found("games", Span { from: 0, to: 1_000 });
            Self { authority, trust, key: SigningKey::from_bytes(&[7; 32]) }
        }

        fn node(&self) -> NodeId {
            NodeId(self.key.verifying_key().to_bytes())
        }

        fn certificate(&self, roles: &[&str]) -> Certificate {
            let roles: BTreeSet<String> = roles.iter().map(ToString::to_string).collect();
            let (name, region) = ("a".to_owned(), "eu".to_owned());
            let (cluster, node) = (self.trust.cluster(), self.node());
            self.authority.certify(&Claims { cluster, node, name, region, roles, not_before: 100, not_after: 200 })
        }

        fn deployed(&self, at: UnixSeconds) -> Deployment {
            let certificate = self.certificate(&[ROLE_MEMBER, ROLE_DEPLOYER]);
            Deployment::sign(&self.key, (self.trust.cluster(), certificate), ("combat", SPEC), at)
        }

        fn open(&self, deployment: Deployment) -> Result<String, Unauthorised> {
            deployment.open(&self.trust, "combat", |_| None)
        }
    }

    #[test]
    fn what_a_deployer_signed_is_read_and_survives_its_bytes() {
        let cluster = Cluster::new(1);
        let read = Deployment::decode(&cluster.deployed(150).encode()).expect("decodes");
        assert_eq!(cluster.open(read), Ok(SPEC.to_owned()));
    }

    #[test]
    fn a_spec_of_a_later_release_keeps_what_this_one_does_not_know() {
        let cluster = Cluster::new(1);
        let certificate = cluster.certificate(&[ROLE_MEMBER, ROLE_DEPLOYER]);
        let later = SPEC.replace('{', r#"{"colour":"red","#);
        let deployed = Deployment::sign(&cluster.key, (cluster.trust.cluster(), certificate), ("combat", &later), 150);
        let read = Deployment::decode(&deployed.encode()).expect("decodes");
        assert_eq!(read.encode(), deployed.encode(), "it is passed on as it came");
        assert_eq!(cluster.open(read), Ok(later));
    }

    #[test]
    fn a_signature_is_about_one_spec_one_name_and_one_cluster() {
        let (cluster, other) = (Cluster::new(1), Cluster::new(2));
        let deployed = cluster.deployed(150);
        let changed = Deployment { spec: SPEC.replace("blake3", "blake4"), ..deployed.clone() };
        assert_eq!(cluster.open(changed), Err(Unauthorised::Other));
        assert_eq!(deployed.clone().open(&cluster.trust, "chat", |_| None), Err(Unauthorised::Other));
        assert_eq!(other.open(deployed.clone()), Err(Unauthorised::Other));
        let theirs = Deployment { certificate: other.certificate(&[ROLE_DEPLOYER]), ..deployed };
        assert!(matches!(cluster.open(theirs), Err(Unauthorised::Signer(Refusal::Stranger(_)))));
    }

    #[test]
    fn only_members_that_may_deploy_are_believed() {
        let cluster = Cluster::new(1);
        let order = ("combat", SPEC);
        let plain =
            Deployment::sign(&cluster.key, (cluster.trust.cluster(), cluster.certificate(&[ROLE_MEMBER])), order, 150);
        assert_eq!(cluster.open(plain), Err(Unauthorised::NotPermitted("a".to_owned())));
        // A copy of a deployer's certificate is worth nothing to whoever has another key.
        let certificate = cluster.certificate(&[ROLE_DEPLOYER]);
        let thief = SigningKey::from_bytes(&[8; 32]);
        let stolen = Deployment::sign(&thief, (cluster.trust.cluster(), certificate), order, 150);
        assert_eq!(cluster.open(stolen), Err(Unauthorised::Unsound(Unsound::Signature)));
        let bytes = cluster.deployed(150).encode();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let read = Deployment::decode(&forged).map(|deployment| cluster.open(deployment));
            assert!(!matches!(read, Ok(Ok(_))), "byte {at}");
        }
    }

    #[test]
    fn what_was_signed_in_time_goes_on_and_what_was_not_never_begins() {
        let cluster = Cluster::new(1);
        for (at, holds) in [(99, false), (100, true), (200, true), (201, false)] {
            let outcome = cluster.open(cluster.deployed(at));
            assert_eq!(outcome.is_ok(), holds, "{at}: {outcome:?}");
        }
        let revoked_at = |since| cluster.deployed(150).open(&cluster.trust, "combat", |_| Some(since));
        assert_eq!(revoked_at(151), Ok(SPEC.to_owned()), "its operator's host was replaced since");
        assert_eq!(revoked_at(150), Err(Unauthorised::Revoked("a".to_owned())));
    }
}
