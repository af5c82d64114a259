//! Certificates: an authority's word that a node's key belongs to a member.
//!
//! The channel below proves that the other side holds the node's key; the certificate says what that key may do. So it is no
//! secret, and a copy of it is worth nothing to anybody else.

use std::collections::BTreeSet;

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::signed::Unsound;
use super::{AuthorityId, Signed, UnixSeconds};

/// What separates certificates from everything else that an authority signs.
pub(super) const PURPOSE: &str = "selvedge certificate 1";

/// The longest papers, in bytes. They are read from strangers.
pub(super) const PAPERS_BYTES_MAX: usize = 4_096;

/// May take part: gossip, replicate, run workloads.
pub const ROLE_MEMBER: &str = "member";

/// Holds an authority's key: can be asked for certificates.
pub const ROLE_AUTHORITY: &str = "authority";

/// May sign deployments: what is deployed by its agent is run by others.
pub const ROLE_DEPLOYER: &str = "deployer";

/// What a certificate says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Which cluster, by the key of its first authority.
    #[serde(rename = "c")]
    pub cluster: AuthorityId,
    /// Whose key it is about.
    #[serde(rename = "k")]
    pub node: NodeId,
    /// The bearer's name for people.
    #[serde(rename = "n")]
    pub name: String,
    /// Where it stands.
    #[serde(rename = "r")]
    pub region: String,
    /// What it may do. Roles that this release does not know are kept and mean nothing.
    #[serde(rename = "o")]
    pub roles: BTreeSet<String>,
    /// From when on it holds.
    #[serde(rename = "f")]
    pub not_before: UnixSeconds,
    /// Until when.
    #[serde(rename = "t")]
    pub not_after: UnixSeconds,
}

/// A certificate: signed claims. [`Trust::judge`](super::Trust::judge) says whether they are to be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate(pub(super) Signed);

impl Certificate {
    /// What it says, if the signature belongs to it. Whether its signer may say so is another question.
    pub(super) fn claims(&self) -> Result<Claims, Unsound> {
        self.0.open(PURPOSE)
    }

    /// What it says, whoever signed it: enough to see that it is not worth verifying.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn peek(&self) -> Result<Claims, Unsound> {
        self.0.peek()
    }

    /// How much room it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Who signed it.
    #[must_use]
    pub const fn signer(&self) -> AuthorityId {
        self.0.signer()
    }
}

/// What a member shows: its certificate, and by what the authority that signed it is known. Whoever knows the cluster's name can
/// judge them, however long it was away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Papers {
    /// The endorsements, from the first authority on.
    #[serde(rename = "e")]
    pub endorsements: Vec<Signed>,
    /// The certificate.
    #[serde(rename = "c")]
    pub certificate: Certificate,
}

impl Papers {
    /// The bytes that go over a connection.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads papers; nothing in them has been judged.
    ///
    /// # Errors
    /// The bytes are malformed or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, PAPERS_BYTES_MAX)
    }
}
