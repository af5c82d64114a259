//! Messages made smaller: names of nodes are long, recur in every batch, and say nothing the second time.
//!
//! The body of an envelope is compressed as one LZ4 block, with its length before it, where that makes it shorter; a bit beside
//! the version says so. The length is checked before anything is allocated. Commits and stored rows are never packed: their
//! bytes are compared and hashed.

use std::borrow::Cow;

use super::DecodeError;
use crate::limits::PACK_FROM_BYTES;

/// Set in the version byte when the body is packed.
const PACKED: u8 = 0x80;

/// How many bytes one byte of a block can stand for.
const LZ4_RATIO_MAX: usize = 255;

/// The same envelope, shorter if that can be.
#[must_use]
pub fn pack(envelope: Vec<u8>) -> Vec<u8> {
    let Some((version, body)) = envelope.split_first().filter(|_| envelope.len() >= PACK_FROM_BYTES) else {
        return envelope;
    };
    let packed = lz4_flex::block::compress_prepend_size(body);
    if packed.len() >= body.len() { envelope } else { [&[*version | PACKED], packed.as_slice()].concat() }
}

/// The envelope of at most `limit` bytes that was packed.
///
/// # Errors
/// The bytes are no compressed block, or would become too many.
pub fn unpack(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    let Some((version, block)) = bytes.split_first().filter(|(version, _)| **version & PACKED != 0) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let malformed = |error: lz4_flex::block::DecompressError| DecodeError::Malformed(error.to_string());
    let (length, block) = lz4_flex::block::uncompressed_size(block).map_err(malformed)?;
    // No block says more than 255 bytes with each of its own: what boasts beyond that is not worth the memory to find out.
    if length / LZ4_RATIO_MAX > block.len() {
        return Err(DecodeError::Malformed(format!("{} bytes cannot be {length}", block.len())));
    }
    if length >= limit {
        return Err(DecodeError::TooLarge { bytes: length.saturating_add(1), limit });
    }
    let mut envelope = vec![version & !PACKED; length + 1];
    let written = lz4_flex::block::decompress_into(block, &mut envelope[1..]).map_err(malformed)?;
    if written == length { Ok(Cow::Owned(envelope)) } else { Err(DecodeError::Malformed("a block too short".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    fn names() -> Vec<String> {
        (0..64).map(|number| format!("a name that recurs {}", number % 4)).collect()
    }

    #[test]
    fn what_was_packed_is_shorter_and_the_same() {
        let envelope = encode(&names());
        let packed = pack(envelope.clone());
        assert!(packed.len() < envelope.len() / 4, "{} of {}", packed.len(), envelope.len());
        assert_eq!(unpack(&packed, envelope.len()).expect("sound"), envelope);
    }

    #[test]
    fn what_is_short_or_without_pattern_stays_as_it_is() {
        let short = encode(&"ab".repeat(20));
        assert_eq!(pack(short.clone()), short);
        let random: Vec<u8> = (0..600_u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        let envelope = encode(&serde_bytes::ByteBuf::from(random));
        assert_eq!(pack(envelope.clone()), envelope);
        assert!(matches!(unpack(&envelope, envelope.len()).expect("sound"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let packed = pack(encode(&vec![0_u64; 1 << 20]));
        assert!(packed.len() < 10_000, "{}", packed.len());
        assert!(matches!(unpack(&packed, 1 << 20), Err(DecodeError::TooLarge { .. })));
        let boasting = [&[PACKED | 2][..], &u32::MAX.to_le_bytes(), &[0; 40]].concat();
        assert!(matches!(unpack(&boasting, 1 << 20), Err(DecodeError::Malformed(_))));
        let little = [&[PACKED | 2][..], &1_000_000_u32.to_le_bytes(), &[0; 4]].concat();
        assert!(matches!(unpack(&little, 1 << 20), Err(DecodeError::Malformed(_))), "refused before it takes memory");
    }

    #[test]
    fn damage_is_an_error() {
        let packed = pack(encode(&names()));
        for end in 1..packed.len() {
            assert!(unpack(&packed[..end], 1 << 20).is_err(), "cut off after {end} bytes");
        }
        // A flipped bit in a literal is still a block; it is for the decoder behind to say what it makes of it.
        for at in 1..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x10;
            if let Ok(envelope) = unpack(&damaged, 1 << 20) {
                drop(decode::<Vec<String>>(&envelope, 1 << 20));
            }
        }
    }
}
