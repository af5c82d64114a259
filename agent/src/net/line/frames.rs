//! The frames of a line: a tag, the number of a question, a length and a body that is not looked into.
//!
//! Pure: turns bytes as they come into frames. The invariants: a frame is as small as a part; no more memory is taken than bytes
//! have arrived, up to one frame.
//!
//! A frame is `tag: u8, id: u32, length: u32, body`, numbers big-endian. The tag is 16 for a question, that of [`Status`] for an
//! answer, and 128 more for a part that others follow.

use super::super::frame::Status;

/// Tag, id and length, in bytes.
pub(super) const HEADER_BYTES: usize = 9;

/// The longest part, in bytes. Between two parts of a large answer others have their turn; a longer question has a stream of its own.
pub(super) const PART_BYTES_MAX: usize = 16 * 1024;

/// The tag of a question.
const QUESTION: u8 = 16;

/// In a tag: more of this answer follows.
const MORE: u8 = 128;

/// What an empty buffer keeps, in bytes.
const IDLE_BYTES: usize = 4 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Question,
    Answer(Status),
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    /// The number of the question, which its asker has chosen.
    pub(super) id: u32,
    /// The rest of the body follows in other frames.
    pub(super) has_more: bool,
    pub(super) body: &'a [u8],
}

/// Why bytes are no frame. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a frame with an unknown tag")]
    Tag,
    #[error("a frame above the limit of a part")]
    Oversized,
}

/// Appends a frame, whose body is within the limit.
pub(super) fn write(buffer: &mut Vec<u8>, frame: &Frame<'_>) {
    let tag = match frame.kind {
        Kind::Question => QUESTION,
        Kind::Answer(status) => status.tag(),
    };
    let length = u32::try_from(frame.body.len()).expect("a part is far below 4 GiB");
    buffer.reserve(HEADER_BYTES + frame.body.len());
    buffer.push(if frame.has_more { tag | MORE } else { tag });
    buffer.extend(frame.id.to_be_bytes());
    buffer.extend(length.to_be_bytes());
    buffer.extend(frame.body);
}

/// Bytes that have come and are no whole frame yet, or have not been looked at.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
}

impl Deframer {
    /// Takes bytes in. Read the frames before there are more.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(IDLE_BYTES);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        let unread = &self.bytes[self.read..];
        let Some((&[tag, i0, i1, i2, i3, length @ ..], rest)) = unread.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let kind = match tag & !MORE {
            QUESTION => Kind::Question,
            status => Kind::Answer(Status::of(status).ok_or(Fault::Tag)?),
        };
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Fault::Oversized)?;
        if length > PART_BYTES_MAX {
            return Err(Fault::Oversized);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.read += HEADER_BYTES + length;
        let id = u32::from_be_bytes([i0, i1, i2, i3]);
        Ok(Some(Frame { kind, id, has_more: tag & MORE != 0, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(deframer: &mut Deframer, bytes: &[u8]) -> Result<Vec<(u32, usize, bool)>, Fault> {
        deframer.feed(bytes);
        let mut read = Vec::new();
        while let Some(frame) = deframer.next()? {
            read.push((frame.id, frame.body.len(), frame.has_more));
        }
        Ok(read)
    }

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut wire = Vec::new();
        let sent = [(7, 3, false), (u32::MAX, 0, true), (1, 40, false)];
        for (id, bytes, has_more) in sent {
            let kind = if id == 7 { Kind::Question } else { Kind::Answer(Status::Done) };
            write(&mut wire, &Frame { kind, id, has_more, body: &vec![9; bytes] });
        }
        for cut in 0..=wire.len() {
            let mut deframer = Deframer::default();
            let mut came = read(&mut deframer, &wire[..cut]).unwrap();
            came.extend(read(&mut deframer, &wire[cut..]).unwrap());
            assert_eq!(came, sent, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_by_its_header() {
        let header =
            |tag: u8, bytes: usize| [&[tag, 0, 0, 0, 1][..], &u32::try_from(bytes).unwrap().to_be_bytes()].concat();
        for (bytes, fault) in [
            (header(QUESTION, PART_BYTES_MAX + 1), Fault::Oversized),
            (header(0, usize::try_from(u32::MAX).unwrap()), Fault::Oversized),
            (header(5, 0), Fault::Tag),
            (header(QUESTION | 1, 0), Fault::Tag),
        ] {
            assert_eq!(read(&mut Deframer::default(), &bytes), Err(fault), "{bytes:?}");
        }
        assert_eq!(read(&mut Deframer::default(), &header(QUESTION, PART_BYTES_MAX)), Ok(vec![]));
    }
}
