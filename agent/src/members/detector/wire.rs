//! The messages of failure detection as bytes.
//!
//! Fixed widths, big-endian, no lengths to trust. The two nodes of a header do not travel: the connection proves who
//! speaks, and whoever reads is who it is meant for. The invariant: reading bounds everything before it keeps anything,
//! and what was read writes the same bytes again.
//!
//! ```text
//! packet = version(1) header claims
//! header = src.life(8) src.round(4) src.incarnation(2) dst.life(8) dst.round(4) kind(1) number(1)? other(44)?
//! claims = count(2) (node(32) life(8) round(4) incarnation(2) state(1))*
//! ```

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};
use selvedge_sync::id::NodeId;

use super::swim::Life;

/// The version of this format.
const VERSION: u8 = 1;

/// Longest message, in bytes: some eighty claims, which is what a newcomer is told at once.
pub(super) const PACKET_BYTES_MAX: usize = 4_096;

/// Bytes of the two nodes that `foca` has in front of a header.
const NODES_BYTES: usize = 64;

/// A message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It ends too early, or what is to be written does not fit.
    #[error("the message is cut off")]
    Short,
    /// It is longer than any message of ours.
    #[error("a message of {0} bytes exceeds the limit of {PACKET_BYTES_MAX}")]
    TooLong(usize),
    /// It was written by a release that speaks another version.
    #[error("version {0} of failure detection is not spoken here")]
    Version(u8),
    /// A number names no kind of message and no state.
    #[error("{0} is neither a kind of message nor a state")]
    Unknown(u8),
    /// Something follows the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

impl Unread {
    /// Whether a later release may write so, and does nothing wrong: whatever it changes, it changes the version.
    #[must_use]
    pub const fn is_of_a_later_release(&self) -> bool {
        matches!(self, Self::Version(version) if *version > VERSION)
    }
}

/// A message with whatever it says of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) header: Header<Life>,
    /// `None` in the kinds that carry none.
    pub(super) claims: Option<Vec<Member<Life>>>,
}

impl Packet {
    /// Reads what `from` has sent to `me`.
    pub(super) fn read(from: NodeId, me: NodeId, bytes: &[u8]) -> Result<Self, Unread> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Unread::TooLong(bytes.len()));
        }
        let (version, body) = bytes.split_first().ok_or(Unread::Short)?;
        if *version != VERSION {
            return Err(Unread::Version(*version));
        }
        let mut whole = with_nodes(from, me, body);
        let mut rest = whole.as_mut_slice() as &[u8];
        let header = take_header(&mut rest)?;
        let claims = match header.message {
            Message::Announce | Message::TurnUndead => None,
            _ => Some(take_claims(&mut rest)?),
        };
        if rest.is_empty() { Ok(Self { header, claims }) } else { Err(Unread::Trailing(rest.len())) }
    }

    /// What of a message as `foca` writes it travels.
    pub(super) fn body(whole: &[u8]) -> Option<Vec<u8>> {
        whole.get(NODES_BYTES..).map(|body| [&[VERSION], body].concat())
    }

    /// The message as `foca` reads it.
    pub(super) fn whole(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_header(&self.header, &mut bytes).expect("memory takes what is written to it");
        if let Some(claims) = &self.claims {
            bytes.put_u16(u16::try_from(claims.len()).expect("as many as were read"));
            for claim in claims {
                put_member(claim, &mut bytes).expect("memory takes what is written to it");
            }
        }
        bytes
    }

    /// Whether it says that `me`, as we are now, is lost.
    pub(super) fn tells_lost(&self, me: Life) -> bool {
        let claimed = self.claims.iter().flatten().any(|claim| *claim.id() == me && claim.state() == State::Down);
        claimed || (self.header.message == Message::TurnUndead && self.header.dst == me)
    }
}

fn with_nodes(from: NodeId, me: NodeId, body: &[u8]) -> Vec<u8> {
    [&from.0, &me.0, body].concat()
}

fn need(buf: &impl Buf, bytes: usize) -> Result<(), Unread> {
    if buf.remaining() < bytes { Err(Unread::Short) } else { Ok(()) }
}

fn room(buf: &impl BufMut, bytes: usize) -> Result<(), Unread> {
    if buf.remaining_mut() < bytes { Err(Unread::Short) } else { Ok(()) }
}

const LIFE_BYTES: usize = 44;
const MEMBER_BYTES: usize = LIFE_BYTES + 3;

fn put_life(life: &Life, mut buf: impl BufMut) {
    buf.put_slice(&life.node.0);
    buf.put_u64(life.life);
    buf.put_u32(life.round);
}

fn take_node(buf: &mut impl Buf) -> Result<NodeId, Unread> {
    need(buf, 32)?;
    let mut node = [0; 32];
    buf.copy_to_slice(&mut node);
    Ok(NodeId(node))
}

fn take_life(mut buf: impl Buf) -> Result<Life, Unread> {
    need(&buf, LIFE_BYTES)?;
    let node = take_node(&mut buf)?;
    Ok(Life { node, life: buf.get_u64(), round: buf.get_u32() })
}

pub(super) fn put_member(member: &Member<Life>, mut buf: impl BufMut) -> Result<(), Unread> {
    room(&buf, MEMBER_BYTES)?;
    put_life(member.id(), &mut buf);
    buf.put_u16(member.incarnation());
    buf.put_u8(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
    Ok(())
}

pub(super) fn take_member(mut buf: impl Buf) -> Result<Member<Life>, Unread> {
    need(&buf, MEMBER_BYTES)?;
    let id = take_life(&mut buf)?;
    let incarnation = buf.get_u16();
    let state = match buf.get_u8() {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        other => return Err(Unread::Unknown(other)),
    };
    Ok(Member::new(id, incarnation, state))
}

fn take_claims(mut buf: impl Buf) -> Result<Vec<Member<Life>>, Unread> {
    need(&buf, 2)?;
    let count = usize::from(buf.get_u16());
    // Before anything is kept: there are as many as there are bytes for.
    need(&buf, count.saturating_mul(MEMBER_BYTES))?;
    (0..count).map(|_| take_member(&mut buf)).collect()
}

pub(super) fn put_header(header: &Header<Life>, mut buf: impl BufMut) -> Result<(), Unread> {
    let (kind, number, other) = parts(&header.message);
    let bytes = NODES_BYTES + 26 + 1 + usize::from(number.is_some()) + other.map_or(0, |_| LIFE_BYTES);
    room(&buf, bytes)?;
    buf.put_slice(&header.src.node.0);
    buf.put_slice(&header.dst.node.0);
    buf.put_u64(header.src.life);
    buf.put_u32(header.src.round);
    buf.put_u16(header.src_incarnation);
    buf.put_u64(header.dst.life);
    buf.put_u32(header.dst.round);
    buf.put_u8(kind);
    if let Some(number) = number {
        buf.put_u8(number);
    }
    if let Some(other) = other {
        put_life(&other, &mut buf);
    }
    Ok(())
}

fn parts(message: &Message<Life>) -> (u8, Option<u8>, Option<Life>) {
    match message {
        Message::Ping(number) => (0, Some(*number), None),
        Message::Ack(number) => (1, Some(*number), None),
        Message::PingReq { target, probe_number } => (2, Some(*probe_number), Some(*target)),
        Message::IndirectPing { origin, probe_number } => (3, Some(*probe_number), Some(*origin)),
        Message::IndirectAck { target, probe_number } => (4, Some(*probe_number), Some(*target)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(*probe_number), Some(*origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        // We give foca nothing to broadcast.
        Message::Gossip | Message::Broadcast => (8, None, None),
        Message::TurnUndead => (9, None, None),
    }
}

pub(super) fn take_header(mut buf: impl Buf) -> Result<Header<Life>, Unread> {
    need(&buf, NODES_BYTES + 26 + 1)?;
    let (from, to) = (take_node(&mut buf)?, take_node(&mut buf)?);
    let src = Life { node: from, life: buf.get_u64(), round: buf.get_u32() };
    let src_incarnation = buf.get_u16();
    let dst = Life { node: to, life: buf.get_u64(), round: buf.get_u32() };
    let kind = buf.get_u8();
    let number = |buf: &mut _| need(buf, 1).map(|()| Buf::get_u8(buf));
    let message = match kind {
        0 => Message::Ping(number(&mut buf)?),
        1 => Message::Ack(number(&mut buf)?),
        2..=5 => {
            let probe_number = number(&mut buf)?;
            let other = take_life(&mut buf)?;
            match kind {
                2 => Message::PingReq { target: other, probe_number },
                3 => Message::IndirectPing { origin: other, probe_number },
                4 => Message::IndirectAck { target: other, probe_number },
                _ => Message::ForwardedAck { origin: other, probe_number },
            }
        }
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::TurnUndead,
        other => return Err(Unread::Unknown(other)),
    };
    Ok(Header { src, src_incarnation, dst, message })
}
