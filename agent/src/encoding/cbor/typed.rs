//! Reading for those who know what they read: no tree of values in between.
//!
//! Owns `serde`'s side of the reader. What is odd, though it could be taken (strings in parts, arrays that do not say how long they
//! are), is refused here: whoever is refused reads the same bytes as a tree, which takes more or says what is wrong. The
//! invariant: what is taken here is taken as a tree too, and means the same.

use ciborium_ll::{Header, simple};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{CBOR_DEPTH_MAX, Count, Malformed, Reader};

impl Error for Malformed {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self { at: 0, why: why.to_string() }
    }
}

impl<'a> Reader<'a> {
    /// Passes over the next item, if that is plain, and answers its bytes.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let begun = self.rest;
        let mut open = vec![1];
        while let Some(left) = open.last_mut() {
            if *left == 0 {
                open.pop();
                continue;
            }
            *left -= 1;
            self.spend(1)?;
            let inside = match self.header()? {
                Header::Positive(_) | Header::Negative(_) | Header::Float(_) | Header::Simple(_) => continue,
                Header::Text(Some(length)) | Header::Bytes(Some(length)) => {
                    self.take(length)?;
                    continue;
                }
                Header::Array(Some(items)) => items,
                Header::Map(Some(entries)) => entries.saturating_mul(2),
                _ => return Err(self.odd()),
            };
            if open.len() > CBOR_DEPTH_MAX {
                return Err(self.odd());
            }
            open.push(inside);
        }
        Ok(&begun[..begun.len() - self.rest.len()])
    }

    /// Reads a map, if it is plain. `entry` is given each name and reads its value.
    pub(crate) fn entries(&mut self, mut entry: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        let Header::Map(Some(count)) = self.header().ok()? else { return None };
        for _ in 0..count {
            let Header::Text(Some(length)) = self.header().ok()? else { return None };
            let name = self.borrowed_text(length).ok()?;
            entry(self, name)?;
        }
        Some(())
    }

    /// A text that lies in one piece in the bytes.
    fn borrowed_text(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.odd())
    }

    /// Goes into an array or a map, which `inside` reads to its end.
    fn go_into<T>(
        &mut self,
        count: Count,
        inside: impl FnOnce(&mut Items<'_, 'a>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        self.depth_left = self.deeper(self.depth_left)?;
        let left = count.ok_or_else(|| self.odd())?;
        let mut items = Items { reader: self, left };
        let read = inside(&mut items)?;
        if items.left > 0 {
            return Err(self.odd());
        }
        self.depth_left += 1;
        Ok(read)
    }

    const fn odd(&self) -> Malformed {
        Malformed { at: self.length - self.rest.len(), why: String::new() }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.spend(1)?;
        match self.header()? {
            Header::Positive(number) => visitor.visit_u64(number),
            Header::Negative(inverted) => match i64::try_from(inverted) {
                Ok(inverted) => visitor.visit_i64(!inverted),
                Err(_) => Err(self.odd()),
            },
            Header::Float(number) => visitor.visit_f64(number),
            Header::Simple(simple::FALSE) => visitor.visit_bool(false),
            Header::Simple(simple::TRUE) => visitor.visit_bool(true),
            Header::Simple(simple::NULL | simple::UNDEFINED) => visitor.visit_unit(),
            Header::Text(Some(length)) => visitor.visit_borrowed_str(self.borrowed_text(length)?),
            Header::Bytes(Some(length)) => {
                self.spend(length)?;
                visitor.visit_borrowed_bytes(self.take(length)?)
            }
            Header::Array(count) => self.go_into(count, |items| visitor.visit_seq(items)),
            Header::Map(count) => self.go_into(count, |items| visitor.visit_map(items)),
            Header::Text(None) | Header::Bytes(None) | Header::Simple(_) | Header::Tag(_) | Header::Break => {
                Err(self.odd())
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The items of an array, or the entries of a map, that are left.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl<'a> Items<'_, 'a> {
    /// The next item or key, while there is one.
    fn next<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Malformed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'a> SeqAccess<'a> for &mut Items<'_, 'a> {
    type Error = Malformed;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Malformed> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reader.believed(Some(self.left)))
    }
}

impl<'a> MapAccess<'a> for &mut Items<'_, 'a> {
    type Error = Malformed;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Malformed> {
        self.next(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Malformed> {
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::encoding::cbor::{CBOR_VALUES_MAX, decode, encode};

    #[test]
    fn what_is_taken_is_what_the_tree_is() {
        let documents = [
            json!(null),
            json!([true, false, 0, 23, 24, 255, 65_536, u64::MAX, i64::MIN, -1]),
            json!({"duels": [{"zone": 9_007_199_254_740_993_u64, "a": {"tactic": "power"}}], "": 0.1}),
            json!([0.5, 1e300, -0.0, "", "café", {}, [], [[[]]]]),
        ];
        for document in documents {
            let bytes = encode(&document);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Value::deserialize(&mut reader).as_ref(), Ok(&document));
            assert_eq!(reader.end(), Ok(()));
            assert_eq!(Reader::new(&bytes).skip(), Ok(&bytes[..]));
        }
    }

    #[test]
    fn what_is_taken_is_never_taken_for_something_else() {
        let sound = encode(&json!({"a": [1, -2, 0.5, "text", null], "b": {"c": true}}));
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).expect("it is below a usize")
        };
        let mut taken = 0;
        for _ in 0..50_000 {
            let mut bytes = sound.clone();
            let at = draw(bytes.len());
            match draw(3) {
                0 => bytes[at] = u8::try_from(draw(256)).expect("a byte"),
                1 => bytes.truncate(at + 1),
                _ => bytes[at] ^= 1 << draw(8),
            }
            let (mut reader, mut skipping) = (Reader::new(&bytes), Reader::new(&bytes));
            let typed = Value::deserialize(&mut reader).ok().filter(|_| reader.end().is_ok());
            // A key that is there twice is for whoever is given the entries.
            let (Some(typed), Ok(tree)) = (typed, decode(&bytes)) else { continue };
            taken += 1;
            // A number that is not finite is text in the tree, and null to `serde_json`.
            let odd = ["\"NaN\"", "\"Infinity\"", "\"-Infinity\""];
            let tree = odd.iter().fold(tree.to_string(), |text, odd| text.replace(odd, "null"));
            assert_eq!(typed.to_string(), tree, "{bytes:02x?}");
            assert_eq!(skipping.skip(), Ok(&bytes[..]));
        }
        assert!(taken > 1_000, "{taken} were taken");
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = |depth: usize| [&vec![0x81; depth][..], &[0x01]].concat();
        let taken = |bytes: &[u8]| Value::deserialize(&mut Reader::new(bytes)).is_ok();
        assert!(taken(&deep(CBOR_DEPTH_MAX)) && !taken(&deep(CBOR_DEPTH_MAX + 1)));
        let many = [&b"\x9a\x00\x04\x00\x00"[..], &vec![0x01; CBOR_VALUES_MAX]].concat();
        assert!(!taken(&many) && Reader::new(&many).skip().is_err());
        for claim in [b"\x9b", b"\xbb", b"\x5b", b"\x7b"] {
            let bytes = [&claim[..], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat();
            assert!(!taken(&bytes) && Reader::new(&bytes).skip().is_err());
        }
    }
}
