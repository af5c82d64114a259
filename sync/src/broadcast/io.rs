//! What goes into a tree and what comes out: plain data. The parts that travel can be encoded.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Stream};

/// Something that happened, told after the replica's own vector took it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many members there are, this one among them, whether they can be reached or not.
    Members(usize),
    /// A member can be reached.
    PeerUp(NodeId),
    /// A member cannot be reached any more.
    PeerDown(NodeId),
    /// Commits of our own are durable here, and may leave.
    Made {
        /// The stream.
        stream: Stream,
        /// The first of them.
        first: u64,
        /// The last of them.
        through: u64,
    },
    /// A peer brought commits that were new, and they were applied. Those that had come too early are told by themselves.
    Fresh {
        /// Who brought them.
        from: NodeId,
        /// The stream.
        stream: Stream,
        /// The first that was new.
        first: u64,
        /// The last.
        through: u64,
        /// See [`Action::Push::hops`]; `None` also for the answers of anti-entropy.
        hops: Option<u8>,
    },
    /// A peer pushed commits all of which were known.
    Duplicate {
        /// The peer.
        from: NodeId,
        /// The stream.
        stream: Stream,
        /// The last of them.
        through: u64,
        /// See [`Action::Push::hops`].
        hops: Option<u8>,
    },
    /// A peer pushed commits whose predecessors are missing.
    Early {
        /// The peer.
        from: NodeId,
        /// The stream.
        stream: Stream,
        /// The first of them. They are kept until the others come, or dropped.
        first: u64,
        /// The last of them.
        through: u64,
        /// See [`Action::Push::hops`].
        hops: Option<u8>,
    },
    /// See [`Action::Announce`].
    Announced {
        /// The sender.
        from: NodeId,
        /// What it has.
        news: Vec<News>,
    },
    /// See [`Action::Graft`].
    Grafted {
        /// The sender.
        from: NodeId,
        /// What it misses.
        wants: Vec<Want>,
    },
    /// See [`Action::Prune`].
    Pruned {
        /// The sender.
        from: NodeId,
    },
    /// See [`Action::Link`].
    Linked {
        /// The sender.
        from: NodeId,
        /// Whether it wants the link.
        up: bool,
    },
    /// Time has passed. Expected about every 50 milliseconds.
    Tick,
}

/// Something to be sent. Any of it may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these commits, as far as a message goes; what is left is asked for.
    Push {
        /// To whom.
        to: NodeId,
        /// The stream.
        stream: Stream,
        /// The first.
        first: u64,
        /// The last.
        through: u64,
        /// Links from the writer to the receiver; `None` for commits that come straight from their writer to everybody and
        /// are passed on by nobody.
        hops: Option<u8>,
    },
    /// Say what is here.
    Announce {
        /// To whom.
        to: NodeId,
        /// In order of stream.
        news: Vec<News>,
    },
    /// Ask not to be pushed to any more.
    Prune {
        /// To whom.
        to: NodeId,
    },
    /// Ask to be pushed to, and for what is missing.
    Graft {
        /// To whom.
        to: NodeId,
        /// In order of stream; may be empty.
        wants: Vec<Want>,
    },
    /// Say whether we have chosen the receiver as a neighbour.
    Link {
        /// To whom.
        to: NodeId,
        /// Whether we have.
        up: bool,
    },
}

/// All commits of a stream up to one are with the sender. Travels without the names of its fields, for there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Stream, u64, u8)", into = "(Stream, u64, u8)")]
pub struct News {
    /// The stream.
    pub stream: Stream,
    /// The last commit.
    pub through: u64,
    /// By how many links it came to the sender.
    pub hops: u8,
}

/// Commits of a stream that the sender misses. Travels without the names of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Stream, u64, u64)", into = "(Stream, u64, u64)")]
pub struct Want {
    /// The stream.
    pub stream: Stream,
    /// The last that it has.
    pub after: u64,
    /// The last that it asks for.
    pub through: u64,
}

impl From<(Stream, u64, u8)> for News {
    fn from((stream, through, hops): (Stream, u64, u8)) -> Self {
        Self { stream, through, hops }
    }
}

impl From<News> for (Stream, u64, u8) {
    fn from(News { stream, through, hops }: News) -> Self {
        (stream, through, hops)
    }
}

impl From<(Stream, u64, u64)> for Want {
    fn from((stream, after, through): (Stream, u64, u64)) -> Self {
        Self { stream, after, through }
    }
}

impl From<Want> for (Stream, u64, u64) {
    fn from(Want { stream, after, through }: Want) -> Self {
        (stream, after, through)
    }
}

/// What was done, and what was left to anti-entropy, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches sent.
    pub pushed: u64,
    /// Announcements sent.
    pub announced: u64,
    /// Grafts sent.
    pub grafted: u64,
    /// Prunes sent.
    pub pruned: u64,
    /// Links tried because they promised a shorter path.
    pub shortcuts: u64,
    /// News not announced to a neighbour, because too many were waiting.
    pub news_dropped: u64,
    /// News not followed, because too much was missing already.
    pub wants_dropped: u64,
    /// Gaps that were too large to be the tree's business.
    pub far_behind: u64,
    /// Missing commits that nobody brought although they were asked for again and again.
    pub given_up: u64,
    /// Questions that were not answered because the neighbour had just asked for very much.
    pub grafts_refused: u64,
    /// Neighbours refused because there were too many.
    pub links_refused: u64,
}
