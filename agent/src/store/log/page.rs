//! Where frames lie in the pages of a segment.
//!
//! Owns the rule by which a frame is placed; writes nothing. The invariant: where a frame was placed, it is looked for.

/// What the system writes to the disk at once. A frame that lies in two pages costs two of them.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Most bytes of a page that are left empty so that a small frame need not lie in two: an eighth.
const GAP_BYTES_MAX: u64 = PAGE_BYTES / 8;

/// Where a frame of `length` bytes is written when the one before it ends at `at`: there, or in the next page if it fits into
/// that one, does not fit into what is left of this one, and that is little.
pub(super) const fn place_of(at: u64, length: u64) -> u64 {
    let room = PAGE_BYTES - at % PAGE_BYTES;
    let crosses = room < length && length <= PAGE_BYTES;
    if crosses && room <= GAP_BYTES_MAX { at + room } else { at }
}

/// Where the next frame may begin beside `at`, behind the gap that [`place_of`] leaves.
pub(super) fn page_after(at: usize) -> Option<usize> {
    let at = u64::try_from(at).ok()?;
    let next = at.checked_next_multiple_of(PAGE_BYTES)?;
    usize::try_from(next).ok().filter(|_| next - at <= GAP_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_in_the_next_page_when_that_costs_little() {
        for (at, length, place) in [
            (0, 100, 0),
            (4_000, 96, 4_000),
            (4_000, 97, 4_096),
            (3_584, 513, 4_096),
            (3_583, 514, 3_583),
            (4_000, 4_096, 4_096),
            (4_000, 4_097, 4_000),
            (4_096, 4_097, 4_096),
        ] {
            assert_eq!(place_of(at, length), place, "{length} bytes at {at}");
            let at = usize::try_from(at).expect("a small number");
            let place = usize::try_from(place).expect("a small number");
            assert!(place == at || page_after(at) == Some(place), "it is looked for where it is written");
        }
    }
}
