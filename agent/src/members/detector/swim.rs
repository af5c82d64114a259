//! What `foca` has to be told: who somebody is, and how its messages are written.
//!
//! Decides nothing. The invariant: of two lives or rounds of one member the later wins, so that who was taken for lost, or
//! was started again, is heard.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Identity, Member};
use selvedge_sync::id::NodeId;

use super::wire::{self, Unread};

/// A member in one round of one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) node: NodeId,
    /// Greater for each start of its agent.
    pub(super) life: u64,
    /// Counts the times that it was taken for lost in this life, or must have been.
    pub(super) round: u32,
}

impl Life {
    /// The round after this one.
    pub(super) const fn next_round(self) -> Self {
        Self { round: self.round.saturating_add(1), ..self }
    }
}

impl Identity for Life {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(self.next_round())
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self > adversary
    }
}

/// Messages as `foca` keeps them: the whole header, with both nodes in front ([`wire`] takes them off before they travel).
#[derive(Clone, Copy, Debug)]
pub(super) struct LifeCodec;

impl Codec<Life> for LifeCodec {
    type Error = Unread;

    fn encode_header(&mut self, header: &Header<Life>, buf: impl BufMut) -> Result<(), Unread> {
        wire::put_header(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Life>, Unread> {
        wire::take_header(buf)
    }

    fn encode_member(&mut self, member: &Member<Life>, buf: impl BufMut) -> Result<(), Unread> {
        wire::put_member(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Life>, Unread> {
        wire::take_member(buf)
    }
}
