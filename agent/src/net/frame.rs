//! The frames of questions and answers: a tag, a length and a body that is not looked into.
//!
//! Owns the framing and its size check; knows no peers and keeps no state. The invariant: a body above the lane's limit is
//! neither written nor read, and no more memory is taken than bytes have arrived.
//!
//! A frame is `tag: u8, length: u32 big-endian, body`. Its stream carries one question and one answer.

use std::any::Any;
use std::io;
use std::sync::Arc;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

use super::RequestError;
use super::conduct::Offence;
use super::counters::{NetReason, Tally};
use super::lane::Lane;

/// Tag and length, in bytes.
const HEADER_BYTES: usize = 5;

/// The tag of a question. Hints have streams of their own.
const QUESTION: u8 = 1;

/// A frame towards the receiver, who is waited for.
#[derive(Debug)]
pub(super) enum Question {
    /// Its body.
    Asked(Vec<u8>),
    /// What was read instead is no question. The library tells nobody of a question that cannot be read, so this stands for one.
    Broken(Offence),
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The body is the answer.
    Done,
    /// The receiver could not take the question; nothing was done.
    Busy,
    /// The receiver took the question and chose to say nothing.
    Unanswered,
    /// The answer exceeds the lane's limit.
    TooLarge,
}

/// A frame back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) body: Vec<u8>,
    /// Held for its drop, until the answer is written.
    pub(super) _held: Option<Box<dyn Any + Send>>,
}

impl Status {
    /// Its tag on the wire.
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Busy => 1,
            Self::Unanswered => 2,
            Self::TooLarge => 3,
        }
    }

    /// What a tag stands for.
    pub(super) const fn of(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Done),
            1 => Some(Self::Busy),
            2 => Some(Self::Unanswered),
            3 => Some(Self::TooLarge),
            _ => None,
        }
    }
}

impl Answer {
    /// An answer without a body.
    pub(super) const fn empty(status: Status) -> Self {
        Self { status, body: Vec::new(), _held: None }
    }

    /// What the asker is told.
    pub(super) fn into_body(self) -> Result<Vec<u8>, RequestError> {
        match self.status {
            Status::Done => Ok(self.body),
            Status::Busy => Err(RequestError::Busy),
            Status::Unanswered => Err(RequestError::Unanswered),
            Status::TooLarge => Err(RequestError::AnswerTooLarge),
        }
    }
}

/// Reads and writes the frames of one lane.
#[derive(Clone)]
pub(super) struct FrameCodec {
    lane: Lane,
    tally: Arc<Tally>,
}

impl FrameCodec {
    pub(super) const fn new(lane: Lane, tally: Arc<Tally>) -> Self {
        Self { lane, tally }
    }

    async fn write<T: AsyncWrite + Unpin + Send>(&self, io: &mut T, tag: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= self.lane.frame_bytes_max());
        let Some(length) = length else {
            return Err(invalid("a frame above its lane's limit was about to be written"));
        };
        let mut header = [tag; HEADER_BYTES];
        header[1..].copy_from_slice(&length.to_be_bytes());
        io.write_all(&header).await?;
        io.write_all(body).await?;
        self.tally.wrote(self.lane, body.len());
        Ok(())
    }

    async fn read<T: AsyncRead + Unpin + Send>(&self, io: &mut T) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        io.read_exact(&mut header).await?;
        let [tag, length @ ..] = header;
        let length = u32::from_be_bytes(length);
        if u64::from(length) > self.lane.frame_bytes_max() as u64 {
            self.tally.count(NetReason::IncomingTooLarge);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a frame above its lane's limit"));
        }
        let mut body = Vec::new();
        io.take(u64::from(length)).read_to_end(&mut body).await?;
        if body.len() as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.tally.read(self.lane, body.len());
        Ok((tag, body))
    }
}

impl Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        match self.read(io).await {
            Ok((QUESTION, body)) => Ok(Question::Asked(body)),
            Ok(_) => {
                self.tally.count(NetReason::IncomingMalformed);
                Ok(Question::Broken(Offence::Malformed))
            }
            // It was cut off, or the connection broke, unless it broke the framing.
            Err(error) => offence(&error).map(Question::Broken).ok_or(error),
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (tag, body) = self.read(io).await?;
        let Some(status) = Status::of(tag) else {
            self.tally.count(NetReason::IncomingMalformed);
            return Err(invalid("an answer with an unknown tag"));
        };
        Ok(Answer { status, body, _held: None })
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match question {
            Question::Asked(body) => self.write(io, QUESTION, &body).await,
            Question::Broken(_) => Err(invalid("a question that is none was about to be written")),
        }
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write(io, answer.status.tag(), &answer.body).await
    }
}

/// What a failed frame says about its sender, if it broke the framing.
pub(super) fn offence(error: &io::Error) -> Option<Offence> {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Some(Offence::Oversized),
        io::ErrorKind::InvalidData => Some(Offence::Malformed),
        // It was cut off, or the connection broke: that happens.
        _ => None,
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    fn codec() -> FrameCodec {
        FrameCodec::new(Lane::Members, Arc::default())
    }

    #[tokio::test]
    async fn a_question_survives_the_wire() {
        let protocol = Lane::Members.protocol();
        let mut wire = Cursor::new(Vec::new());
        let question = Question::Asked(b"who is there".to_vec());
        codec().write_request(&protocol, &mut wire, question).await.unwrap();
        wire.set_position(0);
        let question = codec().read_request(&protocol, &mut wire).await.unwrap();
        assert!(matches!(question, Question::Asked(body) if body == b"who is there"));
    }

    #[tokio::test]
    async fn a_frame_above_the_limit_is_refused_by_its_header_alone() {
        let mut codec = codec();
        let too_large = u32::try_from(Lane::Members.frame_bytes_max() + 1).unwrap();
        let mut header = vec![1];
        header.extend(too_large.to_be_bytes());
        let read = codec.read_request(&Lane::Members.protocol(), &mut Cursor::new(header)).await;
        assert!(matches!(read, Ok(Question::Broken(Offence::Oversized))), "{read:?}");
        assert_eq!(codec.tally.snapshot().of(NetReason::IncomingTooLarge), 1);
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_is_an_error_and_one_that_is_none_an_offence() {
        for bytes in [&[][..], &[1, 0, 0], &[1, 0, 0, 0, 4, b'a']] {
            let read = codec().read_request(&Lane::Members.protocol(), &mut Cursor::new(bytes)).await;
            assert!(read.is_err(), "{bytes:?}");
        }
        let read = codec().read_request(&Lane::Members.protocol(), &mut Cursor::new(&[9, 0, 0, 0, 0])).await;
        assert!(matches!(read, Ok(Question::Broken(Offence::Malformed))), "{read:?}");
    }
}
