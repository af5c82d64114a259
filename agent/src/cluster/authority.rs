//! An authority: a key that signs certificates, and endorses its successors.

use std::fmt;

use ed25519_dalek::SigningKey;
use selvedge_sync::id::NodeId;

use super::revocation::{self, Revoked};
use super::trust::{ENDORSEMENT, Endorsed};
use super::{AuthorityId, Certificate, Claims, Revocation, Signed, Span, Trust, UnixSeconds, certificate};

/// The key pair of an authority. Never printed.
pub struct Authority(SigningKey);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.id())
    }
}

impl Authority {
    /// The authority whose secret is `seed`.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Its public key.
    #[must_use]
    pub fn id(&self) -> AuthorityId {
        AuthorityId(self.0.verifying_key().to_bytes())
    }

    /// Signs what a certificate says.
    #[must_use]
    pub fn certify(&self, claims: &Claims) -> Certificate {
        Certificate(Signed::make(certificate::PURPOSE, claims, &self.0))
    }

    /// Begins a cluster: this authority endorses itself, and names the cluster for people.
    #[must_use]
    pub fn found(&self, name: &str, span: Span) -> Trust {
        let own = self.id();
        let endorsed = Endorsed { cluster: own, authority: own, span, name: name.to_owned() };
        let mut trust = Trust::of(own);
        trust.learn([&Signed::make(ENDORSEMENT, &endorsed, &self.0)]);
        trust
    }

    /// Says that the key of `node` is to be believed no more, for ever.
    #[must_use]
    pub fn revoke(&self, cluster: AuthorityId, node: NodeId, at: UnixSeconds) -> Revocation {
        Revocation(Signed::make(revocation::PURPOSE, &Revoked { cluster, node, at }, &self.0))
    }

    /// Says that `authority` may sign for `cluster` during `span`.
    #[must_use]
    pub fn endorse(&self, cluster: AuthorityId, authority: AuthorityId, span: Span) -> Signed {
        Signed::make(ENDORSEMENT, &Endorsed { cluster, authority, span, name: String::new() }, &self.0)
    }
}
