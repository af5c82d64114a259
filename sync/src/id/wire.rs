//! How names travel and rest: as text where humans read, else as short as they are.
//!
//! A replica is one string of 40 bytes, a stream and a dot are pairs. The first version of the format wrote all three as maps
//! with field names, as human-readable formats still do; those are read too, whatever the version around them says.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Dot, Incarnation, NodeId, ReplicaId, Scope, Stream};

const NODE_BYTES: usize = 32;
const REPLICA_BYTES: usize = NODE_BYTES + 8;

impl ReplicaId {
    /// The node's key, then the incarnation with its greatest byte first: the bytes sort as replicas do.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REPLICA_BYTES] {
        let mut bytes = [0; REPLICA_BYTES];
        bytes[..NODE_BYTES].copy_from_slice(&self.node.0);
        bytes[NODE_BYTES..].copy_from_slice(&self.incarnation.0.to_be_bytes());
        bytes
    }

    /// The replica whose bytes these are.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; REPLICA_BYTES]) -> Self {
        let (mut node, mut incarnation) = ([0; NODE_BYTES], [0; 8]);
        node.copy_from_slice(&bytes[..NODE_BYTES]);
        incarnation.copy_from_slice(&bytes[NODE_BYTES..]);
        Self { node: NodeId(node), incarnation: Incarnation(u64::from_be_bytes(incarnation)) }
    }
}

/// A replica with its fields named.
#[derive(Serialize, Deserialize)]
#[serde(rename = "ReplicaId")]
struct ReplicaFields {
    node: NodeId,
    incarnation: Incarnation,
}

/// A stream with its fields named.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Stream")]
struct StreamFields {
    scope: Scope,
    replica: ReplicaId,
}

/// A dot with its fields named.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Dot")]
struct DotFields {
    replica: ReplicaId,
    seq: u64,
}

impl From<ReplicaFields> for ReplicaId {
    fn from(ReplicaFields { node, incarnation }: ReplicaFields) -> Self {
        Self { node, incarnation }
    }
}

impl From<StreamFields> for Stream {
    fn from(StreamFields { scope, replica }: StreamFields) -> Self {
        Self { scope, replica }
    }
}

impl From<(Scope, ReplicaId)> for Stream {
    fn from((scope, replica): (Scope, ReplicaId)) -> Self {
        Self { scope, replica }
    }
}

impl From<DotFields> for Dot {
    fn from(DotFields { replica, seq }: DotFields) -> Self {
        Self { replica, seq }
    }
}

impl From<(ReplicaId, u64)> for Dot {
    fn from((replica, seq): (ReplicaId, u64)) -> Self {
        Self { replica, seq }
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serde_bytes::serialize(&self.0, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(Error::custom)
        } else {
            let bytes: serde_bytes::ByteArray<NODE_BYTES> = Deserialize::deserialize(deserializer)?;
            Ok(Self(bytes.into_array()))
        }
    }
}

impl Serialize for ReplicaId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            ReplicaFields { node: self.node, incarnation: self.incarnation }.serialize(serializer)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            StreamFields { scope: self.scope, replica: self.replica }.serialize(serializer)
        } else {
            (self.scope, self.replica).serialize(serializer)
        }
    }
}

impl Serialize for Dot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            DotFields { replica: self.replica, seq: self.seq }.serialize(serializer)
        } else {
            (self.replica, self.seq).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ReplicaId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ReplicaId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a replica in {REPLICA_BYTES} bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<ReplicaId, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(ReplicaId::from_bytes(bytes))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReplicaId, A::Error> {
                ReplicaFields::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
            }
        }
        if deserializer.is_human_readable() {
            return ReplicaFields::deserialize(deserializer).map(Into::into);
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return StreamFields::deserialize(deserializer).map(Into::into);
        }
        deserializer.deserialize_any(PairOrFields::<Self, Scope, ReplicaId, StreamFields>(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Dot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return DotFields::deserialize(deserializer).map(Into::into);
        }
        deserializer.deserialize_any(PairOrFields::<Self, ReplicaId, u64, DotFields>(PhantomData))
    }
}

/// Reads a `T` from a pair of `A` and `B`, or from the map `F` of the first version.
struct PairOrFields<T, A, B, F>(PhantomData<(T, A, B, F)>);

impl<'de, T, A, B, F> Visitor<'de> for PairOrFields<T, A, B, F>
where
    T: From<(A, B)> + From<F>,
    A: Deserialize<'de>,
    B: Deserialize<'de>,
    F: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut pair: S) -> Result<T, S::Error> {
        let first = pair.next_element()?.ok_or_else(|| S::Error::invalid_length(0, &self))?;
        let second = pair.next_element()?.ok_or_else(|| S::Error::invalid_length(1, &self))?;
        if pair.next_element::<IgnoredAny>()?.is_some() {
            return Err(S::Error::invalid_length(3, &self));
        }
        Ok(T::from((first, second)))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
        F::deserialize(MapAccessDeserializer::new(map)).map(T::from)
    }
}
