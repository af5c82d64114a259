//! The frames of a stream of hints: a lane, a length and a body that is not looked into.
//!
//! Pure: turns bytes as they come into frames. The invariants: a body above its lane's limit is refused by its header alone; no
//! more memory is taken than bytes have arrived, up to one frame.
//!
//! A frame is `lane: u8 (0 sync, 1 members), length: u32 big-endian, body`.

use super::super::lane::Lane;

/// Lane and length, in bytes.
pub(in crate::net) const HEADER_BYTES: usize = 5;

/// Why bytes are no frame. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a hint for an unknown lane")]
    Lane,
    #[error("a hint above its lane's limit")]
    Oversized,
}

/// Appends a frame. The body is within the limit: [`Net::send`](crate::net::Net::send) has seen to it.
pub(in crate::net) fn write(buffer: &mut Vec<u8>, lane: Lane, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a lane's limit is far below 4 GiB");
    buffer.reserve(HEADER_BYTES + body.len());
    buffer.push(tag(lane));
    buffer.extend(length.to_be_bytes());
    buffer.extend(body);
}

const fn tag(lane: Lane) -> u8 {
    match lane {
        Lane::Sync => 0,
        Lane::Members => 1,
        Lane::Call | Lane::Artifact => panic!("these lanes carry no hints"),
    }
}

const fn lane(tag: u8) -> Option<Lane> {
    match tag {
        0 => Some(Lane::Sync),
        1 => Some(Lane::Members),
        _ => None,
    }
}

/// A frame that is being read.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Lane and length, once the header is complete.
    expected: Option<(Lane, usize)>,
    body: Vec<u8>,
}

impl Deframer {
    /// Takes bytes from the front of `input` until a frame is complete or there are none left.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<(Lane, Vec<u8>)>, Fault> {
        if self.expected.is_none() {
            let wanted = HEADER_BYTES - self.header_bytes;
            let (front, rest) = input.split_at(wanted.min(input.len()));
            self.header[self.header_bytes..self.header_bytes + front.len()].copy_from_slice(front);
            self.header_bytes += front.len();
            *input = rest;
            if self.header_bytes < HEADER_BYTES {
                return Ok(None);
            }
            self.expected = Some(self.parse()?);
        }
        let Some((lane, length)) = self.expected else { return Ok(None) };
        let (front, rest) = input.split_at((length - self.body.len()).min(input.len()));
        self.body.extend_from_slice(front);
        *input = rest;
        if self.body.len() < length {
            return Ok(None);
        }
        (self.header_bytes, self.expected) = (0, None);
        Ok(Some((lane, std::mem::take(&mut self.body))))
    }

    fn parse(&self) -> Result<(Lane, usize), Fault> {
        let [tag, length @ ..] = self.header;
        let lane = lane(tag).ok_or(Fault::Lane)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Fault::Oversized)?;
        if length > lane.frame_bytes_max() { Err(Fault::Oversized) } else { Ok((lane, length)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8], deframer: &mut Deframer) -> Result<Vec<(Lane, Vec<u8>)>, Fault> {
        let mut read = Vec::new();
        loop {
            match deframer.read(&mut bytes)? {
                Some(frame) => read.push(frame),
                None => return Ok(read),
            }
        }
    }

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let sent = [(Lane::Sync, vec![1; 9]), (Lane::Members, vec![]), (Lane::Sync, vec![2; 300])];
        let mut wire = Vec::new();
        sent.iter().for_each(|(lane, body)| write(&mut wire, *lane, body));
        for cut in 0..=wire.len() {
            let mut deframer = Deframer::default();
            let mut read = frames(&wire[..cut], &mut deframer).unwrap();
            assert!(read.len() <= sent.len());
            read.extend(frames(&wire[cut..], &mut deframer).unwrap());
            assert_eq!(read, sent, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_by_its_header() {
        let too_long = |tag: u8, lane: Lane| {
            let length = u32::try_from(lane.frame_bytes_max() + 1).unwrap();
            [&[tag][..], &length.to_be_bytes()].concat()
        };
        let cases = [
            (too_long(0, Lane::Sync), Fault::Oversized),
            (too_long(1, Lane::Members), Fault::Oversized),
            (vec![0, 255, 255, 255, 255], Fault::Oversized),
            (vec![2, 0, 0, 0, 0], Fault::Lane),
            (vec![255; 5], Fault::Lane),
        ];
        for (bytes, fault) in cases {
            assert_eq!(frames(&bytes, &mut Deframer::default()), Err(fault), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_that_is_only_announced_takes_no_memory() {
        let mut deframer = Deframer::default();
        let mut header = vec![0];
        header.extend(u32::try_from(Lane::Sync.frame_bytes_max()).unwrap().to_be_bytes());
        assert_eq!(frames(&header, &mut deframer), Ok(vec![]));
        assert_eq!(deframer.body.capacity(), 0);
    }
}
