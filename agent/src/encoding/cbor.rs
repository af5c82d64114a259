//! CBOR in the place of JSON: the same documents under the same names, in fewer bytes.
//!
//! Owns the way from CBOR (RFC 8949) to the JSON values that the routes work on, and back; `typed` is the way past them. The invariants: depth and number
//! of values are bounded before anything is made of them, and memory follows the bytes that are there and not the lengths
//! that they claim; what JSON has no word for (tags, keys that are no text, whole numbers beyond 64 bits) is refused and not
//! guessed at. A byte string stands for the list of its bytes, and a number that is not finite for the text that stands for
//! it in JSON.

mod typed;

use std::collections::BTreeSet;

use ciborium_ll::{Decoder, Header, simple};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::service::shorten;

/// How deep the values of a document may lie: WIT types nest by a handful.
pub(crate) const CBOR_DEPTH_MAX: usize = 64;

/// Values in one document, a byte of a byte string counted as one: as many as arguments may have at 8 bytes each.
pub(crate) const CBOR_VALUES_MAX: usize = 256 * 1024;

/// Why bytes are not taken as CBOR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {why}")]
pub(crate) struct Malformed {
    /// How many bytes before it are sound.
    at: usize,
    why: String,
}

/// Reads one document that is all of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Writes one document.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("our documents serialise, and memory takes what is written to it");
    bytes
}

/// A map of a few entries that is being written; some of them may be encoded already.
#[derive(Debug)]
pub(crate) struct Entries(Vec<u8>);

/// The head of a map without entries. As long as there are fewer than 24, their number is added to it.
const MAP: u8 = 0xa0;

impl Entries {
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(MAP);
        Self(bytes)
    }

    /// The same with another entry.
    pub(crate) fn with<T: Serialize + ?Sized>(self, name: &str, value: &T) -> Self {
        let mut with = self.with_encoded(name, &[]);
        ciborium::into_writer(value, &mut with.0)
            .expect("our values serialise, and memory takes what is written to it");
        with
    }

    /// The same with another entry, whose value is encoded.
    pub(crate) fn with_encoded(mut self, name: &str, value: &[u8]) -> Self {
        self.0[0] += 1;
        ciborium::into_writer(name, &mut self.0).expect("memory takes what is written to it");
        self.0.extend_from_slice(value);
        self
    }

    /// The map.
    pub(crate) fn end(self) -> Vec<u8> {
        self.0
    }
}

/// Reads items one after another.
pub(crate) struct Reader<'a> {
    length: usize,
    rest: &'a [u8],
    values_left: usize,
    /// How much deeper a value may lie whose type is known; see `typed`.
    depth_left: usize,
}

/// How many items an array or a map says that it has; `None` for one that ends where it ends.
type Count = Option<usize>;

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { length: bytes.len(), rest: bytes, values_left: CBOR_VALUES_MAX, depth_left: CBOR_DEPTH_MAX }
    }

    /// Reads the next item, whatever it is.
    pub(crate) fn value(&mut self) -> Result<Value, Malformed> {
        let header = self.header()?;
        self.nested(header, CBOR_DEPTH_MAX)
    }

    /// Reads a map. `field` is given each name, once, and reads its value.
    pub(crate) fn fields<E: From<Malformed>>(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let Header::Map(count) = self.header()? else { return Err(self.wrong("this is no map").into()) };
        let (mut seen, mut read) = (BTreeSet::new(), 0);
        while let Some(header) = self.next(count, read)? {
            read += 1;
            let name = self.name(header)?;
            if seen.contains(&name) {
                return Err(self.twice(&name).into());
            }
            field(self, &name)?;
            seen.insert(name);
        }
        Ok(())
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            trailing => Err(self.wrong(format!("{trailing} bytes follow the document"))),
        }
    }

    fn nested(&mut self, header: Header, depth_left: usize) -> Result<Value, Malformed> {
        self.spend(1)?;
        Ok(match header {
            Header::Positive(number) => Value::from(number),
            Header::Negative(inverted) => match i64::try_from(inverted) {
                Ok(inverted) => Value::from(!inverted),
                Err(_) => return Err(self.wrong("a whole number is below -9223372036854775808")),
            },
            Header::Float(number) => float(number),
            Header::Simple(simple::FALSE) => Value::Bool(false),
            Header::Simple(simple::TRUE) => Value::Bool(true),
            Header::Simple(simple::NULL | simple::UNDEFINED) => Value::Null,
            Header::Simple(other) => return Err(self.wrong(format!("the simple value {other} means nothing here"))),
            Header::Text(count) => Value::String(self.text(count)?),
            Header::Bytes(count) => {
                let bytes = self.segments(count, |header| match header {
                    Header::Bytes(length) => length,
                    _ => None,
                })?;
                self.spend(bytes.len())?;
                bytes.into_iter().map(Value::from).collect()
            }
            Header::Array(count) => self.array(count, self.deeper(depth_left)?)?,
            Header::Map(count) => self.map(count, self.deeper(depth_left)?)?,
            Header::Tag(tag) => return Err(self.wrong(format!("tags are not taken, and this is tag {tag}"))),
            Header::Break => return Err(self.wrong("a value ends here that has not begun")),
        })
    }

    fn array(&mut self, count: Count, depth_left: usize) -> Result<Value, Malformed> {
        let mut items = Vec::with_capacity(self.believed(count));
        while let Some(header) = self.next(count, items.len())? {
            items.push(self.nested(header, depth_left)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, count: Count, depth_left: usize) -> Result<Value, Malformed> {
        let (mut map, mut read) = (Map::new(), 0);
        while let Some(header) = self.next(count, read)? {
            read += 1;
            let name = self.name(header)?;
            let header = self.header()?;
            let value = self.nested(header, depth_left)?;
            if map.contains_key(&name) {
                return Err(self.twice(&name));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }

    /// The header of the next of `count` items, `read` of which are there; `None` behind the last.
    fn next(&mut self, count: Count, read: usize) -> Result<Option<Header>, Malformed> {
        if count.is_some_and(|count| read >= count) {
            return Ok(None);
        }
        match self.header()? {
            Header::Break if count.is_none() => Ok(None),
            header => Ok(Some(header)),
        }
    }

    /// A key of a map.
    fn name(&mut self, header: Header) -> Result<String, Malformed> {
        self.spend(1)?;
        match header {
            Header::Text(count) => self.text(count),
            _ => Err(self.wrong("a key is no text")),
        }
    }

    fn text(&mut self, count: Count) -> Result<String, Malformed> {
        let bytes = self.segments(count, |header| match header {
            Header::Text(length) => length,
            _ => None,
        })?;
        String::from_utf8(bytes).map_err(|_| self.wrong("a text is no UTF-8"))
    }

    /// The content of a text or byte string: `count` bytes, or segments of which each is what `length_of` takes.
    fn segments(&mut self, count: Count, length_of: fn(Header) -> Count) -> Result<Vec<u8>, Malformed> {
        if let Some(length) = count {
            return self.take(length).map(<[u8]>::to_vec);
        }
        let mut whole = Vec::new();
        loop {
            self.spend(1)?;
            match self.header()? {
                Header::Break => return Ok(whole),
                header => match length_of(header) {
                    Some(length) => whole.extend_from_slice(self.take(length)?),
                    None => return Err(self.wrong("a string in parts has a part of another type")),
                },
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.wrong("the document ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn header(&mut self) -> Result<Header, Malformed> {
        let mut decoder = Decoder::from(self.rest);
        let header = decoder.pull().map_err(|error| match error {
            ciborium_ll::Error::Io(_) => self.wrong("the document ends too early"),
            ciborium_ll::Error::Syntax(_) => self.wrong("this is no CBOR"),
        })?;
        self.rest = &self.rest[decoder.offset()..];
        Ok(header)
    }

    /// Room to make for items: no more than there can be in the bytes that are left.
    fn believed(&self, count: Count) -> usize {
        count.unwrap_or(0).min(self.rest.len()).min(self.values_left)
    }

    fn deeper(&self, depth_left: usize) -> Result<usize, Malformed> {
        depth_left.checked_sub(1).ok_or_else(|| self.wrong(format!("values lie more than {CBOR_DEPTH_MAX} deep")))
    }

    fn spend(&mut self, values: usize) -> Result<(), Malformed> {
        let left = self.values_left.checked_sub(values);
        self.values_left = left.ok_or_else(|| self.wrong(format!("there are more than {CBOR_VALUES_MAX} values")))?;
        Ok(())
    }

    fn twice(&self, name: &str) -> Malformed {
        self.wrong(format!("`{}` is there twice", shorten(name)))
    }

    pub(crate) fn wrong(&self, why: impl Into<String>) -> Malformed {
        Malformed { at: self.length - self.rest.len(), why: why.into() }
    }
}

fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(finite) => Value::Number(finite),
        None if number.is_nan() => Value::from("NaN"),
        None if number > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_what_they_are_in_json() {
        for value in [
            json!(null),
            json!([true, false, 0, 23, 24, 255, 65_536, u64::MAX, i64::MIN, -1]),
            json!({"duels": [{"zone": 9_007_199_254_740_993_u64, "a": {"tactic": "power"}}], "": 0.1}),
            json!([0.5, 1e300, -0.0, "", "café", {}, []]),
        ] {
            let bytes = encode(&value);
            assert_eq!(decode(&bytes).map(|value| value.to_string()), Ok(value.to_string()));
        }
    }

    #[test]
    fn what_json_has_no_word_for_becomes_what_stands_for_it() {
        let check = |bytes: &[u8], expect: Value| assert_eq!(decode(bytes), Ok(expect), "{bytes:02x?}");
        check(b"\x43\x00\x01\xff", json!([0, 1, 255]));
        check(b"\x5f\x41\x01\x42\x02\x03\xff", json!([1, 2, 3]));
        check(b"\x7f\x61a\x61b\xff", json!("ab"));
        check(b"\x9f\x01\x9f\xff\xff", json!([1, []]));
        check(b"\xbf\x61a\x01\xff", json!({"a": 1}));
        check(b"\xf7", json!(null));
        check(b"\xf9\x7e\x00", json!("NaN"));
        check(b"\xf9\x7c\x00", json!("Infinity"));
        check(b"\xf9\xfc\x00", json!("-Infinity"));
        check(b"\xf9\x3c\x00", json!(1.0));
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_its_place() {
        let check = |bytes: &[u8], expect: &str| {
            let error = decode(bytes).expect_err("refused").to_string();
            assert!(error.contains(expect), "{bytes:02x?}: {error}");
        };
        check(b"", "at byte 0: the document ends too early");
        check(b"\x01\x02", "at byte 1: 1 bytes follow");
        check(b"\x1c", "at byte 0: this is no CBOR");
        check(b"\xff", "ends here that has not begun");
        check(b"\x82\x01\xff", "ends here that has not begun");
        check(b"\xc2\x41\x01", "this is tag 2");
        check(b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "below -9223372036854775808");
        check(b"\xa1\x01\x02", "a key is no text");
        check(b"\xa2\x61a\x01\x61a\x02", "`a` is there twice");
        check(b"\x61\xff", "no UTF-8");
        check(b"\x7f\x41a\xff", "a part of another type");
        check(b"\xe0", "the simple value 0");
        // Lengths that only claim to be long cost nothing.
        for claim in [b"\x9b", b"\xbb", b"\x5b", b"\x7b"] {
            check(&[&claim[..], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat(), "ends too early");
        }
        check(&[&[0x81; CBOR_DEPTH_MAX + 1][..], &[0x01]].concat(), "deep");
        assert!(decode(&[&[0x81; CBOR_DEPTH_MAX][..], &[0x01]].concat()).is_ok());
        check(&[&[0x9f][..], &vec![0x01; CBOR_VALUES_MAX], &[0xff]].concat(), "more than");
    }
}
