//! What every decoder of bytes from outside is put through, for the tests of whoever owns one.
//!
//! Owns no decoder. The invariant that it looks for: bytes that are not what they should be are an error, and never a panic or the end of
//! the stack.

/// What begins something that is nested or long, as CBOR: lists, maps (with a key that is one), tags, lists and maps and strings without a
/// length, and lengths that nobody has.
const OPENERS: [&[u8]; 11] = [
    &[0x81],
    &[0xa1],
    &[0xa1, 0x61, b'a'],
    &[0xc1],
    &[0xd8, 0x20],
    &[0x9f],
    &[0xbf],
    &[0x5f],
    &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xbb, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x5b, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff],
];

/// How deep what is nested lies: one that fits into the smallest message, and one that ends a stack if anything does.
const DEPTHS: [usize; 2] = [100, 100_000];

/// At how many places of a message something nested is put in, at most: messages repeat themselves, and each place costs.
const PLACES_MAX: usize = 256;

/// Checks that of these bytes only the whole is taken by `decodes`, and that nothing made of them ends in a panic: cut off anywhere, with
/// any byte changed, with something nested begun anywhere, alone or in place of the rest.
pub(crate) fn check(what: &str, whole: &[u8], decodes: impl Fn(&[u8]) -> bool) {
    assert!(decodes(whole), "{what}: what is valid is taken");
    for cut in 0..whole.len() {
        assert!(!decodes(&whole[..cut]), "{what}: cut off at {cut}");
    }
    let mut bytes = whole.to_vec();
    for at in 0..whole.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            bytes[at] = whole[at] ^ change;
            // It may be another valid message: what counts is that it ends.
            let _: bool = decodes(&bytes);
        }
        bytes[at] = whole[at];
    }
    let step = whole.len().div_ceil(PLACES_MAX).max(1);
    for depth in DEPTHS {
        for opener in OPENERS {
            let nested = opener.repeat(depth);
            for place in (0..=whole.len()).step_by(step) {
                let (before, after) = whole.split_at(place);
                // As long as the whole it may be what a string says.
                let is_none = !decodes(&[before, &nested].concat()) || place + nested.len() == whole.len();
                assert!(is_none, "{what}: {opener:x?} {depth} deep at {place}");
                let _: bool = decodes(&[before, &nested, after].concat());
            }
        }
    }
}
