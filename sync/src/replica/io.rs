//! What goes into a replica and what comes out: plain data that can be printed, compared, stored and replayed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Ask, Checkpoint, CommitError, Committed, Fresh, Head, KeyPrefix, Offence, Tip, WatchError};
use crate::broadcast::{News, Want};
use crate::causal::VersionVector;
use crate::change::Change;
use crate::codec::{self, DecodeError};
use crate::commit::{Batch, RequestId};
use crate::crdt::{ContentHash, ObjectState};
use crate::hlc::Hlc;
use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use crate::key::Key;
use crate::limits::{MESSAGE_BYTES_MAX, NEWS_PER_ANNOUNCE, SEQ_MAX, STREAMS_MAX};
use crate::seal::{Proof, Testimony};

/// Something that happened to the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A caller wants these changes made in one commit; the answer carries the same ticket.
    Commit {
        /// The caller's name for the question.
        ticket: u64,
        /// What to do, in order.
        changes: Vec<(Key, Change)>,
        /// Makes a retry harmless.
        request: Option<RequestId>,
    },
    /// A message came from a member.
    Receive {
        /// The authenticated sender.
        from: NodeId,
        /// What it said.
        message: Message,
    },
    /// A member can be reached.
    PeerUp(NodeId),
    /// A member cannot be reached any more.
    PeerDown(NodeId),
    /// Everybody whose having seen a commit is awaited before the commit is forgotten.
    Members(BTreeSet<NodeId>),
    /// The store reports a [`Output::Persist`] or [`Output::Checkpoint`] durable.
    Persisted {
        /// The output's token. Tokens are reported in the order in which they were given.
        token: u64,
    },
    /// The store cannot write; what it was given it keeps.
    StoreFailed,
    /// The store can write again.
    StoreRecovered,
    /// The incarnation asked for by [`Output::Rebirth`] is durable.
    Reborn(Incarnation),
    /// Somebody wants to hear of changes to keys that begin so; answered with [`Output::Watching`].
    Watch {
        /// The caller's name for the watch. One that there is already watches this prefix from now on.
        id: u64,
        /// What to watch.
        prefix: KeyPrefix,
    },
    /// Nobody wants to hear of it any more.
    Unwatch {
        /// The name of the watch.
        id: u64,
    },
    /// Time has passed. Expected about every 50 milliseconds.
    Tick,
}

/// Something to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Append these commits to the log.
    Persist {
        /// To be reported when it is durable.
        token: u64,
        /// What to append.
        batch: Batch,
    },
    /// Store changed objects, together with the vector that they stand for.
    Checkpoint {
        /// To be reported when it is durable.
        token: u64,
        /// What to store.
        checkpoint: Checkpoint,
    },
    /// Send a message. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// The answer to [`Input::Commit`].
    Committed {
        /// The question's ticket.
        ticket: u64,
        /// The commit, applied and readable here; or why nothing was changed.
        result: Result<Committed, CommitError>,
    },
    /// The answer to [`Input::Watch`]. From here on every change is told.
    Watching {
        /// The name of the watch.
        watch: u64,
        /// Whether it has begun; if not, nothing was changed.
        result: Result<(), WatchError>,
    },
    /// Objects under a watched prefix have changed; what they hold now can be read. A commit that changed very many is told in
    /// several of these.
    Changed {
        /// The name of the watch.
        watch: u64,
        /// Which objects, in order.
        keys: Vec<Key>,
        /// The commit that changed them; `None` for a repair from state, which may bring many commits at once.
        dot: Option<Dot>,
        /// The commit's stamp; for a repair, the newest stamp known here.
        hlc: Hlc,
    },
    /// Make a new incarnation durable, then report [`Input::Reborn`]: this data directory has forgotten commits of its own, or
    /// its past is not everybody's any more.
    Rebirth {
        /// Greater than the present one.
        incarnation: Incarnation,
        /// Set when the store has to begin anew, in the same transaction.
        fresh: Option<Fresh>,
    },
    /// Something that an operator may want to know.
    Event(Event),
}

/// What replicas say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Commits, pushed or asked for.
    #[serde(rename = "c")]
    Commits {
        /// The commits.
        #[serde(rename = "b")]
        batches: Vec<Batch>,
        /// Whether more of what was asked for is left for the next page.
        #[serde(rename = "m")]
        more: bool,
        /// Links from the writer to the receiver, of what came by the broadcast tree and is to be passed on; none for what comes
        /// straight from its writer, and for what was asked for outside the tree.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        hops: Option<u8>,
    },
    /// A summary of constant size.
    #[serde(rename = "d")]
    Digest {
        /// The sender's root.
        #[serde(rename = "r")]
        root: ContentHash,
        /// The hash of what the sender has seen.
        #[serde(rename = "v", with = "serde_bytes")]
        vector: [u8; 16],
        /// Whether all of that is durable there.
        #[serde(rename = "d")]
        durable: bool,
        /// Whether the root is exactly that of the vector.
        #[serde(rename = "e")]
        exact: bool,
        /// The last that the sender has of the receiver's own stream.
        #[serde(rename = "t", default)]
        tip: Option<Tip>,
    },
    /// What the sender has seen; an answer with what it misses is expected.
    #[serde(rename = "v")]
    Vector {
        /// What the sender has applied (of its own stream: what is durable).
        #[serde(rename = "s")]
        seen: VersionVector,
        /// The streams of which less is durable there than applied, and how much is. Nearly always few.
        #[serde(rename = "d")]
        behind: Vec<(Stream, u64)>,
        /// The sender's root.
        #[serde(rename = "r")]
        root: ContentHash,
        /// Whether the sender wants to hear our vector too.
        #[serde(rename = "a")]
        answer: bool,
        /// The last that the sender has of the receiver's own stream.
        #[serde(rename = "t", default)]
        tip: Option<Tip>,
    },
    /// What have you of this stream of mine, from here on? I may have forgotten what I wrote.
    #[serde(rename = "w")]
    Recall {
        /// Which life of the sender wrote it.
        #[serde(rename = "i")]
        incarnation: Incarnation,
        /// The first commit asked for.
        #[serde(rename = "f")]
        from: u64,
    },
    /// The answer to a recall.
    #[serde(rename = "l")]
    Recalled {
        /// Which stream of the asker this is about.
        #[serde(rename = "i")]
        incarnation: Incarnation,
        /// How much of the stream the answerer has durable.
        #[serde(rename = "k")]
        known: u64,
        /// What it retains of what was asked for, from the beginning and as much as fits a page.
        #[serde(rename = "b")]
        batch: Option<Batch>,
    },
    /// What you miss is not in my log any more: ask for state.
    #[serde(rename = "f")]
    Forgotten,
    /// The newest commits that the sender retains of some streams, by their hashes: our vectors are equal, and our roots are not.
    #[serde(rename = "h")]
    Heads {
        /// Stream by stream.
        #[serde(rename = "h")]
        heads: Vec<Head>,
    },
    /// What the writer of a stream signed, where the receiver's [`Message::Heads`] said something else.
    #[serde(rename = "i")]
    Witness {
        /// The stream.
        #[serde(rename = "s")]
        stream: Stream,
        /// The seal, and the hashes under it.
        #[serde(rename = "t")]
        testimony: Testimony,
    },
    /// A writer gave one name to two commits.
    #[serde(rename = "x")]
    Proof(Box<Proof>),
    /// Asks how ranges of the sender's state differ from the receiver's.
    #[serde(rename = "q")]
    StateRequest {
        /// The ranges, in order and apart, and what the sender holds in them.
        #[serde(rename = "a")]
        asks: Vec<Ask>,
    },
    /// Answers a [`Message::StateRequest`], as far as one page and one vector reach.
    #[serde(rename = "p")]
    StatePage {
        /// What the sender had seen when it made this page.
        #[serde(rename = "s")]
        seen: VersionVector,
        /// What the ranges show beyond that, because the sender is being repaired itself. Nearly always empty.
        #[serde(rename = "h")]
        ahead: VersionVector,
        /// The newest stamp among the commits that the sender had seen: objects do not keep the stamps of all of them.
        #[serde(rename = "k")]
        latest: Hlc,
        /// [`Ask::digest`] of what this answers.
        #[serde(rename = "t")]
        to: u64,
        /// The last position that this answers.
        #[serde(rename = "l")]
        last: u64,
        /// Of each sum and hash that was told of the answered ranges, in order, whether it is the same here: a bit each, the
        /// least significant first.
        #[serde(rename = "e", with = "serde_bytes")]
        equal: Vec<u8>,
        /// The objects of the ranges told by hashes, without those whose hash was told, in order of position and key.
        #[serde(rename = "o")]
        objects: Vec<(Key, ObjectState)>,
    },
    /// What is here and new; see [`Action::Announce`](crate::broadcast::Action::Announce).
    #[serde(rename = "n")]
    Announce(Vec<News>),
    /// Push to me along the tree, and give me what I miss; see [`Action::Graft`](crate::broadcast::Action::Graft).
    #[serde(rename = "g")]
    Graft(Vec<Want>),
    /// Do not push to me along the tree; see [`Action::Prune`](crate::broadcast::Action::Prune).
    #[serde(rename = "u")]
    Prune,
    /// Whether I have chosen you as a neighbour in the tree; see [`Action::Link`](crate::broadcast::Action::Link).
    #[serde(rename = "k")]
    Link(bool),
}

impl Message {
    /// The bytes of the message on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::pack(codec::encode(self))
    }

    /// Reads a message. Commits within it are checked when they are applied.
    ///
    /// # Errors
    /// The bytes are malformed, too many or of another version, or an object breaks a bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = codec::decode(&codec::unpack(bytes, MESSAGE_BYTES_MAX)?, MESSAGE_BYTES_MAX)?;
        match &message {
            Self::StatePage { objects, seen, ahead, .. } => {
                readable(seen).and_then(|()| readable(ahead))?;
                objects.iter().try_for_each(|(key, object)| object.validate(key.kind()))?;
            }
            Self::Announce(news) => within_bounds(news.iter().map(|news| news.through))?,
            Self::Graft(wants) => within_bounds(wants.iter().map(|want| want.after.max(want.through)))?,
            Self::Vector { seen, .. } => readable(seen)?,
            Self::Commits { .. }
            | Self::Digest { .. }
            | Self::Recall { .. }
            | Self::Recalled { .. }
            | Self::Forgotten
            | Self::StateRequest { .. }
            | Self::Heads { .. }
            | Self::Witness { .. }
            | Self::Proof(_)
            | Self::Prune
            | Self::Link(_) => {}
        }
        Ok(message)
    }
}

/// Checks that a vector names no more streams than one may. What our own store holds is read whatever it holds.
fn readable(vector: &VersionVector) -> Result<(), DecodeError> {
    if vector.len() > STREAMS_MAX { Err(DecodeError::Bound("too many streams in a version vector")) } else { Ok(()) }
}

/// Checks what a message of the tree names: no more streams than one may, and no number out of range.
fn within_bounds(mut seqs: impl ExactSizeIterator<Item = u64>) -> Result<(), DecodeError> {
    if seqs.len() > NEWS_PER_ANNOUNCE {
        return Err(DecodeError::Bound("more streams than a message of the broadcast tree may name"));
    }
    if seqs.any(|seq| seq > SEQ_MAX) {
        return Err(DecodeError::Bound("a message of the broadcast tree with a sequence number out of range"));
    }
    Ok(())
}

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer sent a commit that breaks the rules; its stream stays where it is.
    Rejected {
        /// Who sent it.
        from: NodeId,
        /// Whose commit it claims to be.
        dot: Dot,
        /// What is wrong.
        reason: String,
    },
    /// A peer did what no honest one does.
    Offence {
        /// Which.
        peer: NodeId,
        /// What.
        what: Offence,
    },
    /// A writer gave one name to two commits: that stream is frozen. To be kept for the next start, as one of
    /// [`Replica::proofs`](super::Replica::proofs).
    Equivocation {
        /// What proves it, to anybody.
        proof: Box<Proof>,
    },
    /// A stream waits, because its next commit was written by a later release and cannot be read here. Nobody has done anything wrong.
    Unread {
        /// The commit.
        dot: Dot,
        /// What of it is not known.
        what: String,
    },
    /// A stream waits, because its next commit is stamped too far in the future.
    Held {
        /// The commit.
        dot: Dot,
        /// How far ahead of our clock it is, in milliseconds.
        ahead_ms: u64,
    },
    /// A peer with the same vector has another root: a bug or damage. Repair from state begins.
    Diverged {
        /// The peer.
        peer: NodeId,
    },
    /// A repair from state has begun.
    RepairBegun {
        /// The giver.
        from: NodeId,
    },
    /// A repair from state is complete.
    RepairDone {
        /// The giver.
        from: NodeId,
    },
    /// A stream is closed: its writer was silent for so long that it is not waited for any more.
    Retired {
        /// The writer.
        replica: ReplicaId,
        /// The last commit that counts.
        through: u64,
    },
    /// We know nothing any more and are repaired from our peers: our past was not everybody's. Nothing durable is lost.
    BegunAnew {
        /// How many commits wait to be made again.
        orphans: u64,
        /// How many more would have to be, but are not retained any more.
        missing: u64,
    },
    /// Commits of an earlier incarnation of ours, which nobody else has, were made again.
    MadeAgain {
        /// How many.
        commits: u64,
    },
    /// A commit of an earlier incarnation of ours, which nobody else has, cannot be made again, and is lost as a whole.
    NotMadeAgain {
        /// What it was called.
        dot: Dot,
        /// Why not.
        reason: String,
    },
    /// A repair from state was given up; what it brought stays, and the next begins with another giver, if there is one.
    RepairAbandoned {
        /// The giver.
        from: NodeId,
        /// Why.
        why: RepairEnd,
    },
    /// A peer knows commits of ours that we do not remember: the data directory was restored or copied.
    Amnesia {
        /// Who told us.
        peer: NodeId,
        /// The last of our commits that it knows.
        known: u64,
        /// The last that we know.
        own: u64,
    },
}

/// Why a repair was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairEnd {
    /// The giver can not be reached any more.
    Gone,
    /// The giver fell silent.
    Silent,
    /// Its state holds a stamp too far in the future.
    Future,
    /// It lost, in a restart, what its first answer showed.
    Regressed,
    /// It has commits of a closed stream that do not count, or of a frozen one of its own.
    Closed,
    /// Its sets of the agents' own hold what may be sound, and what would show that is not known here yet.
    Barred,
    /// An answer breaks the rules.
    Unsound,
}
