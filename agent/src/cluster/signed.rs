//! Bytes with the signature of an authority.
//!
//! Owns the one place where something is signed or verified. The invariant: what is signed names its purpose, so that a
//! signature under one kind of document is none under another.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use selvedge_sync::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest document that is signed, in bytes. A certificate takes some two hundred.
const DOCUMENT_BYTES_MAX: usize = 2_048;

/// The public key of an authority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthorityId(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityId({self})")
    }
}

/// A text names no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an authority is named by 32 bytes in base58")]
pub struct NoAuthority;

impl FromStr for AuthorityId {
    type Err = NoAuthority;

    fn from_str(text: &str) -> Result<Self, NoAuthority> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| NoAuthority)?;
        bytes.try_into().map(Self).map_err(|_| NoAuthority)
    }
}

/// A document as its authority signed it. Nothing in it is to be believed before its signature was verified and its signer judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signed {
    /// The encoded document.
    #[serde(rename = "b", with = "serde_bytes")]
    body: Vec<u8>,
    /// Who signed it.
    #[serde(rename = "k")]
    signer: AuthorityId,
    /// The ed25519 signature.
    #[serde(rename = "s", with = "serde_bytes")]
    signature: [u8; 64],
}

/// A document is not what it claims to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// The signature does not belong to these bytes, this purpose and this signer.
    #[error("its signature does not hold")]
    Signature,
    /// The signature holds, and what is signed cannot be read.
    #[error("it is malformed: {0}")]
    Malformed(String),
}

impl Signed {
    pub(super) fn make<T: Serialize>(purpose: &str, document: &T, key: &SigningKey) -> Self {
        let body = codec::encode(document);
        let signature = key.sign(&preimage(purpose, &body)).to_bytes();
        Self { body, signer: AuthorityId(key.verifying_key().to_bytes()), signature }
    }

    /// Who signed it, if the signature holds.
    #[must_use]
    pub const fn signer(&self) -> AuthorityId {
        self.signer
    }

    pub(super) fn open<T: DeserializeOwned>(&self, purpose: &str) -> Result<T, Unsound> {
        let key = VerifyingKey::from_bytes(&self.signer.0).map_err(|_| Unsound::Signature)?;
        // Strictly: no key of small order, and one signature only for each message.
        key.verify_strict(&preimage(purpose, &self.body), &Signature::from_bytes(&self.signature))
            .map_err(|_| Unsound::Signature)?;
        self.peek()
    }

    /// Reads it without believing it.
    pub(super) fn peek<T: DeserializeOwned>(&self) -> Result<T, Unsound> {
        codec::decode(&self.body, DOCUMENT_BYTES_MAX).map_err(|error| Unsound::Malformed(error.to_string()))
    }

    /// How much room it takes, in bytes: what is signed, by whom, and the signature.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len() + self.signer.0.len() + self.signature.len()
    }
}

/// What is signed: the purpose with its length before it, then the document.
fn preimage(purpose: &str, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(purpose.len()).expect("purposes are ours and short");
    [&[length], purpose.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_document_one_purpose_and_one_key() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = Signed::make("a", &("kills", 3_u64), &key);
        assert_eq!(signed.open::<(String, u64)>("a"), Ok(("kills".to_owned(), 3)));
        assert_eq!(signed.open::<(String, u64)>("b"), Err(Unsound::Signature), "another purpose");
        let other = AuthorityId(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert_eq!(Signed { signer: other, ..signed.clone() }.open::<(String, u64)>("a"), Err(Unsound::Signature));
        for at in 0..signed.body.len() {
            let mut changed = signed.clone();
            changed.body[at] ^= 1;
            assert_eq!(changed.open::<(String, u64)>("a"), Err(Unsound::Signature), "byte {at}");
        }
        for at in 0..64 {
            let mut changed = signed.clone();
            changed.signature[at] ^= 1;
            assert_eq!(changed.open::<(String, u64)>("a"), Err(Unsound::Signature), "signature byte {at}");
        }
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The neutral element: with it, a signature can be made that holds for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let signed = Signed { body: codec::encode(&1_u64), signer: AuthorityId(neutral), signature: [0; 64] };
        assert_eq!(signed.open::<u64>("a"), Err(Unsound::Signature));
    }

    #[test]
    fn what_is_signed_and_is_no_document_is_an_error() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let text = Signed::make("a", &"not a number", &key);
        assert!(matches!(text.open::<u64>("a"), Err(Unsound::Malformed(_))));
        let long = Signed::make("a", &"x".repeat(DOCUMENT_BYTES_MAX), &key);
        assert!(matches!(long.open::<String>("a"), Err(Unsound::Malformed(_))));
    }

    #[test]
    fn a_name_and_its_text_are_one() {
        let id = AuthorityId([9; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("abc".parse::<AuthorityId>(), Err(NoAuthority));
        assert_eq!("0OIl".parse::<AuthorityId>(), Err(NoAuthority));
    }
}
