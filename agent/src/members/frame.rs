//! What travels on the members' lane: a byte that says what it is, then that.
//!
//! Reads and writes; believes nothing. The invariant: whatever was sent, what is read keeps the bounds of this file.

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::sealed::{RECORD_BYTES_MAX, Sealed};

/// Bytes of records in one frame, before the one that overflows it: half of what the lane takes.
pub(super) const RECORDS_BYTES: usize = 128 * 1024 - RECORD_BYTES_MAX;

/// Longest frame that is read, in bytes: the lane's own limit.
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Members that one digest tells of, and records that are asked for or looked at in one frame.
pub(super) const ENTRIES_MAX: usize = 64;

const PROBE: u8 = 1;
const RECORDS: u8 = 2;
const DIGEST: u8 = 3;
const WANTED: u8 = 4;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Failure detection's own.
    Probe(Vec<u8>),
    /// Records, with how old each is.
    Records(Records),
    /// Which records the sender has.
    Digest(Digest),
    /// Whose records the sender wants.
    Wanted(Vec<NodeId>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Records {
    /// Whether whoever has not heard of them is to tell some others: they are news.
    #[serde(rename = "n")]
    pub(super) news: bool,
    /// Each with how long ago it was made, in milliseconds, as far as those know who passed it on.
    #[serde(rename = "r")]
    pub(super) records: Vec<(u64, Sealed)>,
}

/// What somebody knows of the members between two ids, both included: who is not named is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest {
    #[serde(rename = "f")]
    pub(super) from: NodeId,
    #[serde(rename = "t")]
    pub(super) to: NodeId,
    /// Life and beat of each record.
    #[serde(rename = "v")]
    pub(super) versions: Vec<(NodeId, u64, u64)>,
}

/// A frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("an empty frame")]
    Empty,
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    #[error("{0} entries in one frame; at most {ENTRIES_MAX} are read")]
    Entries(usize),
    #[error(transparent)]
    Malformed(#[from] codec::DecodeError),
}

impl Unread {
    /// Whether a later release may send such a frame, and does nothing wrong: kinds are added at the end.
    pub(super) const fn is_of_a_later_release(&self) -> bool {
        match self {
            Self::Kind(kind) => *kind > WANTED,
            Self::Malformed(error) => error.is_of_a_later_release(),
            Self::Empty | Self::Entries(_) => false,
        }
    }
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Probe(bytes) => (PROBE, bytes.clone()),
            Self::Records(records) => (RECORDS, codec::encode(records)),
            Self::Digest(digest) => (DIGEST, codec::encode(digest)),
            Self::Wanted(nodes) => (WANTED, codec::encode(nodes)),
        };
        [&[kind], body.as_slice()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unread> {
        let (kind, body) = bytes.split_first().ok_or(Unread::Empty)?;
        let (frame, entries) = match *kind {
            PROBE => (Self::Probe(body.to_vec()), 0),
            RECORDS => {
                let records: Records = codec::decode(body, FRAME_BYTES_MAX)?;
                let entries = records.records.len();
                (Self::Records(records), entries)
            }
            DIGEST => {
                let digest: Digest = codec::decode(body, FRAME_BYTES_MAX)?;
                let entries = digest.versions.len();
                (Self::Digest(digest), entries)
            }
            WANTED => {
                let wanted: Vec<NodeId> = codec::decode(body, FRAME_BYTES_MAX)?;
                let entries = wanted.len();
                (Self::Wanted(wanted), entries)
            }
            other => return Err(Unread::Kind(other)),
        };
        if entries > ENTRIES_MAX { Err(Unread::Entries(entries)) } else { Ok(frame) }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::super::tests::record;
    use super::*;

    /// Probes are another's to read, and any bytes are one.
    const fn is_probe(frame: &Frame) -> bool {
        matches!(frame, Frame::Probe(_))
    }

    #[test]
    fn frames_come_back_as_they_were_and_every_cut_is_an_error() {
        let node = NodeId([7; 32]);
        let sealed = Sealed::seal(&record(node, 1, 2), &SigningKey::from_bytes(&[1; 32]));
        let digest = Digest { from: NodeId([0; 32]), to: NodeId([255; 32]), versions: vec![(node, 1, 2)] };
        let frames = [
            Frame::Records(Records { news: true, records: vec![(3, sealed)] }),
            Frame::Digest(digest),
            Frame::Wanted(vec![node]),
        ];
        for frame in frames {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes).expect("is read"), frame);
            crate::outside::check("a frame", &bytes, |bytes| Frame::decode(bytes).is_ok_and(|read| !is_probe(&read)));
        }
        assert_eq!(Frame::decode(&[PROBE, 1, 2]).expect("is read"), Frame::Probe(vec![1, 2]));
        assert!(matches!(Frame::decode(&[9, 1]), Err(Unread::Kind(9))));
        let many = Frame::Wanted(vec![node; ENTRIES_MAX + 1]).encode();
        assert!(matches!(Frame::decode(&many), Err(Unread::Entries(_))));
    }
}
