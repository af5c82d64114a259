//! Objects as rows of a store: as short as it goes, and read without a look at anything twice.
//!
//! A format byte, the type, the replicas that occur, then the object, whose dots name replicas by place. Numbers are written in
//! groups of seven bits, the lowest first. Rows that were written as CBOR, before there was this shape, are read as well. Whatever
//! the bytes are, reading them ends in an object or in an error, and takes memory in proportion to them.

use std::collections::BTreeMap;
use std::fmt;

use super::{DecodeError, decode};
use crate::crdt::{CounterState, DotMapState, Entry, ObjectState, Share, Stamped};
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId};
use crate::key::Kind;
use crate::scalar::{Float, Scalar};

/// Tells a row from the envelope of CBOR, which begins with a small version.
const ROW_FORMAT: u8 = 0x81;

const REPLICA_BYTES: usize = 40;
const SEVEN_BITS: u64 = 0x7f;
const MORE: u8 = 0x80;

/// An object as a row of a store, without slack: what waits to be stored is many objects at once.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectRow(Box<[u8]>);

impl ObjectRow {
    /// The bytes of the row.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The object that the row holds.
    ///
    /// # Errors
    /// None for a row that was made here.
    pub fn state(&self) -> Result<ObjectState, DecodeError> {
        ObjectState::from_row(&self.0)
    }
}

impl From<&ObjectState> for ObjectRow {
    fn from(state: &ObjectState) -> Self {
        Self(state.to_row().into())
    }
}

impl fmt::Debug for ObjectRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

impl ObjectState {
    /// The object as a row of a store.
    #[must_use]
    pub fn to_row(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::GCounter(state) | Self::PnCounter(state) => {
                writer.list(&state.shares, |writer, share| {
                    writer.dot(&Dot { replica: share.replica, seq: share.seq });
                    writer.number(share.up);
                    writer.number(share.down);
                });
                writer.list(&state.deferred, Writer::dot);
            }
            Self::GSet(members) => writer.list(members, Writer::scalar),
            Self::OrSet(state) => writer.dot_map(state, Writer::scalar, |_, ()| {}),
            Self::LwwMap(state) => writer.dot_map(
                state,
                |writer, field| writer.bytes(field.as_bytes()),
                |writer, (hlc, value)| {
                    writer.number(hlc.0);
                    writer.scalar(value);
                },
            ),
        }
        writer.finish(self.kind())
    }

    /// Reads a row. Its bounds are for [`ObjectState::validate`] to check.
    ///
    /// # Errors
    /// The bytes are no row of ours.
    pub fn from_row(row: &[u8]) -> Result<Self, DecodeError> {
        let Some((&ROW_FORMAT, rest)) = row.split_first() else { return decode(row, row.len()) };
        let mut reader = Reader { rest, replicas: Vec::new() };
        let kind = Kind::ALL.get(usize::from(reader.byte()?)).ok_or(BAD)?;
        reader.replicas = reader.list(REPLICA_BYTES, Reader::replica)?;
        let state = match kind {
            Kind::GCounter => Self::GCounter(reader.counter()?),
            Kind::PnCounter => Self::PnCounter(reader.counter()?),
            Kind::GSet => Self::GSet(reader.list(1, Reader::scalar)?),
            Kind::OrSet => Self::OrSet(reader.dot_map(Reader::scalar, |_| Ok(()))?),
            Kind::LwwMap => Self::LwwMap(reader.dot_map(Reader::text, Reader::stamped)?),
        };
        if reader.rest.is_empty() { Ok(state) } else { Err(DecodeError::Trailing(reader.rest.len())) }
    }
}

const BAD: DecodeError = DecodeError::Bound("a row that ends early, or says what rows do not say");

#[derive(Default)]
struct Writer {
    body: Vec<u8>,
    /// In order of first mention.
    replicas: Vec<ReplicaId>,
    places: BTreeMap<ReplicaId, u64>,
}

impl Writer {
    fn finish(self, kind: Kind) -> Vec<u8> {
        let mut head = Self::default();
        head.body.reserve_exact(16 + self.replicas.len() * REPLICA_BYTES);
        head.body.extend([ROW_FORMAT, kind as u8]);
        head.list(&self.replicas, |head, replica| head.body.extend(replica.to_bytes()));
        // Without slack, because many rows wait together.
        [head.body, self.body].concat()
    }

    fn number(&mut self, mut number: u64) {
        while number > SEVEN_BITS {
            self.body.push(low_byte(number & SEVEN_BITS) | MORE);
            number >>= 7;
        }
        self.body.push(low_byte(number));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.body.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|item| write(self, item));
    }

    fn dot(&mut self, dot: &Dot) {
        // Most objects have one writer, which needs no index.
        let place = if self.replicas.first().is_none_or(|first| *first == dot.replica) {
            if self.replicas.is_empty() {
                self.replicas.push(dot.replica);
            }
            0
        } else {
            let next = self.replicas.len() as u64;
            let place = *self.places.entry(dot.replica).or_insert(next);
            if place == next {
                self.replicas.push(dot.replica);
            }
            place
        };
        self.number(place);
        self.number(dot.seq);
    }

    fn scalar(&mut self, scalar: &Scalar) {
        match scalar {
            Scalar::Null => self.body.push(0),
            Scalar::Bool(false) => self.body.push(1),
            Scalar::Bool(true) => self.body.push(2),
            Scalar::Int(value) => {
                self.body.push(3);
                // The sign goes to the lowest bit, so that small numbers of either sign are short.
                self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
            }
            Scalar::Float(value) => {
                self.body.push(4);
                self.body.extend(value.0.to_bits().to_le_bytes());
            }
            Scalar::Text(text) => {
                self.body.push(5);
                self.bytes(text.as_bytes());
            }
            Scalar::Bytes(bytes) => {
                self.body.push(6);
                self.bytes(bytes);
            }
        }
    }

    fn dot_map<K, V>(
        &mut self,
        state: &DotMapState<K, V>,
        member: impl Fn(&mut Self, &K),
        value: impl Fn(&mut Self, &V),
    ) {
        self.list(&state.members, |writer, (name, entries)| {
            member(writer, name);
            writer.list(entries, |writer, entry| {
                writer.dot(&entry.dot);
                value(writer, &entry.value);
            });
        });
        self.list(&state.deferred, |writer, (name, dots)| {
            member(writer, name);
            writer.list(dots, Self::dot);
        });
    }
}

/// The number, which is below 256.
const fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

struct Reader<'a> {
    rest: &'a [u8],
    replicas: Vec<ReplicaId>,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(BAD)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(BAD)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte) & SEVEN_BITS;
            if (bits << shift) >> shift != bits {
                return Err(BAD);
            }
            number |= bits << shift;
            if byte & MORE == 0 {
                return Ok(number);
            }
        }
        Err(BAD)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| BAD)
    }

    /// A list of items that take at least `least` bytes each: what claims more items than there is room for is refused before
    /// there is memory for them.
    fn list<T>(
        &mut self,
        least: usize,
        read: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.length()?;
        if count > self.rest.len() / least {
            return Err(BAD);
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn replica(&mut self) -> Result<ReplicaId, DecodeError> {
        let bytes = self.take(REPLICA_BYTES)?.try_into().map_err(|_| BAD)?;
        Ok(ReplicaId::from_bytes(bytes))
    }

    fn dot(&mut self) -> Result<Dot, DecodeError> {
        let place = self.length()?;
        let replica = *self.replicas.get(place).ok_or(BAD)?;
        Ok(Dot { replica, seq: self.number()? })
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map(str::to_owned).map_err(|_| BAD)
    }

    fn scalar(&mut self) -> Result<Scalar, DecodeError> {
        Ok(match self.byte()? {
            0 => Scalar::Null,
            1 => Scalar::Bool(false),
            2 => Scalar::Bool(true),
            3 => {
                let number = self.number()?;
                Scalar::Int((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
            }
            4 => {
                let bits = self.take(8)?.try_into().map_err(|_| BAD)?;
                Scalar::Float(Float(f64::from_bits(u64::from_le_bytes(bits))))
            }
            5 => Scalar::Text(self.text()?),
            6 => {
                let length = self.length()?;
                Scalar::Bytes(self.take(length)?.to_vec())
            }
            _ => return Err(BAD),
        })
    }

    fn stamped(&mut self) -> Result<Stamped, DecodeError> {
        Ok((Hlc(self.number()?), self.scalar()?))
    }

    fn counter(&mut self) -> Result<CounterState, DecodeError> {
        let share = |reader: &mut Self| {
            let Dot { replica, seq } = reader.dot()?;
            Ok(Share { replica, seq, up: reader.number()?, down: reader.number()? })
        };
        Ok(CounterState { shares: self.list(4, share)?, deferred: self.list(2, Self::dot)? })
    }

    fn dot_map<K, V>(
        &mut self,
        member: impl Fn(&mut Self) -> Result<K, DecodeError>,
        value: impl Fn(&mut Self) -> Result<V, DecodeError>,
    ) -> Result<DotMapState<K, V>, DecodeError> {
        let entry = |reader: &mut Self| Ok(Entry { dot: reader.dot()?, value: value(reader)? });
        Ok(DotMapState {
            members: self.list(2, |reader| Ok((member(reader)?, reader.list(2, entry)?)))?,
            deferred: self.list(2, |reader| Ok((member(reader)?, reader.list(2, Self::dot)?)))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;
    use crate::id::{Incarnation, NodeId};

    fn dot(byte: u8, seq: u64) -> Dot {
        Dot { replica: ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(u64::MAX - 7) }, seq }
    }

    fn objects() -> Vec<ObjectState> {
        let share = |byte, seq, up, down| Share { replica: dot(byte, seq).replica, seq, up, down };
        let counter = CounterState {
            shares: vec![share(1, 0, 5, 0), share(2, u64::MAX, 1 << 62, 127), share(1, 3, 128, 16_383)],
            deferred: vec![dot(3, 300), dot(2, 1)],
        };
        let scalars = vec![
            Scalar::Null,
            Scalar::Bool(true),
            Scalar::Bool(false),
            Scalar::Int(i64::MIN),
            Scalar::Int(i64::MAX),
            Scalar::Int(-1),
            Scalar::Float(Float(-0.0)),
            Scalar::from("grün"),
            Scalar::Bytes(vec![0; 200]),
        ];
        let entry = |scalar: &Scalar| Entry { dot: dot(4, 9), value: (Hlc(1 << 60), scalar.clone()) };
        let fields = (0..).map(|place: usize| format!("f{place}"));
        vec![
            ObjectState::GCounter(CounterState::default()),
            ObjectState::PnCounter(counter),
            ObjectState::GSet(scalars.clone()),
            ObjectState::OrSet(DotMapState {
                members: scalars
                    .iter()
                    .map(|scalar| (scalar.clone(), vec![Entry { dot: dot(1, 2), value: () }; 2]))
                    .collect(),
                deferred: vec![(Scalar::Null, vec![dot(9, 9)])],
            }),
            ObjectState::LwwMap(DotMapState {
                members: fields.zip(&scalars).map(|(field, scalar)| (field, vec![entry(scalar)])).collect(),
                deferred: Vec::new(),
            }),
        ]
    }

    #[test]
    fn rows_say_what_objects_said() {
        for object in objects() {
            assert_eq!(ObjectState::from_row(&object.to_row()).expect("a row"), object);
            assert_eq!(ObjectState::from_row(&encode(&object)).expect("an envelope"), object);
        }
    }

    #[test]
    fn what_is_cut_or_followed_by_more_is_refused() {
        for row in objects().iter().map(ObjectState::to_row) {
            (0..row.len()).for_each(|end| assert!(ObjectState::from_row(&row[..end]).is_err(), "{end} of {row:?}"));
            assert!(ObjectState::from_row(&[row.as_slice(), &[0]].concat()).is_err());
        }
        let empty = [ROW_FORMAT, Kind::GSet as u8, 0];
        assert!(ObjectState::from_row(&[&empty[..], &[0xff; 9], &[0x01]].concat()).is_err(), "2^64 - 1 members");
        assert!(ObjectState::from_row(&[&empty[..], &[0xff; 9], &[0x02]].concat()).is_err(), "more than 64 bits");
        assert!(ObjectState::from_row(&[ROW_FORMAT, 5, 0, 0]).is_err(), "no such type");
    }
}
