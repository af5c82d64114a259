//! What segments are called.
//!
//! Owns the names and what they say; opens nothing. The invariant: names sort as segments were begun.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::super::disk::Disk;

/// A segment's name says what it holds, so that nothing has to be read, and nothing can be damaged, to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct SegmentName {
    /// Which beginning of the log it belongs to. Those of another are not the log any more, or not yet.
    pub(in crate::store) generation: u64,
    /// Its place in the order in which segments were begun.
    pub(in crate::store) number: u64,
    /// The number of its first frame, counted from the beginning of the generation.
    pub(in crate::store) first_frame: u64,
    /// What its frames look like.
    pub(in crate::store) shape: Shape,
}

/// What the frames of a segment look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Shape {
    /// As format 2 wrote them: only read.
    Two,
    /// As they are written.
    Three,
}

/// What the names of segments of the present shape begin with; those of format 2 begin with nothing.
const SHAPE_THREE: &str = "v3-";

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, number, first_frame, shape } = self;
        let shape = match shape {
            Shape::Two => "",
            Shape::Three => SHAPE_THREE,
        };
        write!(f, "{shape}{generation:016x}-{number:016x}-{first_frame:016x}.log")
    }
}

impl FromStr for SegmentName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_suffix(".log").ok_or(())?;
        let (shape, text) =
            text.strip_prefix(SHAPE_THREE).map_or((Shape::Two, text), |numbers| (Shape::Three, numbers));
        let numbers: Vec<u64> =
            text.split('-').map(|part| u64::from_str_radix(part, 16)).collect::<Result<_, _>>().map_err(|_| ())?;
        let [generation, number, first_frame] = numbers[..] else { return Err(()) };
        Ok(Self { generation, number, first_frame, shape })
    }
}

/// The segments that are there, in order.
pub(in crate::store) fn segments(disk: &dyn Disk) -> io::Result<Vec<SegmentName>> {
    let mut names: Vec<SegmentName> = disk.segments()?.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments_say_what_their_frames_look_like() {
        for shape in [Shape::Two, Shape::Three] {
            let name = SegmentName { generation: 1, number: 2, first_frame: u64::MAX, shape };
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        let old = "0000000000000001-0000000000000002-0000000000000003.log";
        let name = SegmentName { generation: 1, number: 2, first_frame: 3, shape: Shape::Two };
        assert_eq!((old.parse(), name.to_string().as_str()), (Ok(name), old));
    }
}
