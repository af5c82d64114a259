//! Records with the signature of the member that they describe, so that whoever passes one on cannot change it, and with its
//! certificate, so that whoever gets one knows that it is a member.
//!
//! Owns the signing and its one preimage; the certificate has a signature of its own, and may be left out where it is known. The invariant: nothing of a record is believed before its signature was found to be
//! of the very node that it names, and the signature of a record is none of anything else.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::{NodeRecord, Uncertified};
use crate::cluster::Certificate;

/// Longest record, in bytes: round trips to a thousand others and a hundred workloads. A longer one is cut (`fit`).
pub(super) const RECORD_BYTES_MAX: usize = 64 * 1024;

/// What a node's key signs here; it signs other things elsewhere.
const PURPOSE: &[u8] = b"selvedge node record";

/// A record as its member signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    #[serde(rename = "b", with = "serde_bytes")]
    body: Vec<u8>,
    #[serde(rename = "s", with = "serde_bytes")]
    signature: [u8; 64],
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
}

/// Why a record is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// It cannot be read.
    #[error("a record that cannot be read: {0}")]
    Malformed(#[from] codec::DecodeError),
    /// It breaks a bound.
    #[error("a record that breaks its bounds")]
    Unbounded,
    /// Somebody else made it.
    #[error("a record that the member it names did not sign")]
    Forged,
    /// Nobody has certified its member.
    #[error("a record of {node}, which is no member: {why}")]
    Uncertified {
        /// Of whom it is.
        node: NodeId,
        /// Why it is not taken for a member.
        why: Uncertified,
    },
}

impl Sealed {
    /// Signs what this node says of itself.
    #[must_use]
    pub fn seal(record: &NodeRecord, key: &SigningKey) -> Self {
        let body = codec::encode(record);
        let signature = key.sign(&preimage(&body)).to_bytes();
        Self { body, signature, certificate: None }
    }

    /// With its member's certificate, or without.
    #[must_use]
    pub fn with(self, certificate: Option<Certificate>) -> Self {
        Self { certificate, ..self }
    }

    /// The certificate that came with it, not yet believed.
    #[must_use]
    pub const fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// What it says, not yet believed: enough to see whether it would be news.
    ///
    /// # Errors
    /// It cannot be read, or breaks a bound.
    pub fn peek(&self) -> Result<NodeRecord, Unsound> {
        let record: NodeRecord = codec::decode(&self.body, RECORD_BYTES_MAX)?;
        if record.is_sane() { Ok(record) } else { Err(Unsound::Unbounded) }
    }

    /// Whether it was made by the node that `record`, read from it, names.
    ///
    /// # Errors
    /// It was not.
    pub fn verify(&self, record: &NodeRecord) -> Result<(), Unsound> {
        let key = VerifyingKey::from_bytes(&record.node.0).map_err(|_| Unsound::Forged)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&preimage(&self.body), &signature).map_err(|_| Unsound::Forged)
    }

    /// How much room it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len() + self.signature.len() + self.certificate.as_ref().map_or(0, Certificate::bytes)
    }
}

/// The purpose with its length before it, then the record.
fn preimage(body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(PURPOSE.len()).expect("ours and short");
    [&[length], PURPOSE, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::record;

    #[test]
    fn a_record_of_a_later_release_is_believed_and_passed_on_as_it_is() {
        #[derive(Serialize)]
        struct Later {
            #[serde(flatten)]
            record: NodeRecord,
            colour: &'static str,
        }
        let key = SigningKey::from_bytes(&[3; 32]);
        let record = record(NodeId(key.verifying_key().to_bytes()), 1, 1);
        let body = codec::encode(&Later { record: record.clone(), colour: "red" });
        let signature = key.sign(&preimage(&body)).to_bytes();
        let later = Sealed { body, signature, certificate: None };
        let read = later.peek().expect("what is known of it is read");
        assert_eq!(read, record);
        later.verify(&read).expect("its signature is about all of it");
        let passed_on: Sealed = codec::decode(&codec::encode(&later), RECORD_BYTES_MAX).expect("decodes");
        assert!(passed_on == later && passed_on.body.windows(6).any(|part| part == b"colour"));
    }
}
