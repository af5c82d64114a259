//! Every bound of the engine, with its unit and its reason.
//!
//! Owns numbers only. A bound that a peer could push against is checked when bytes are decoded, so that applying what was
//! decoded cannot fail.

/// Longest name of a key, in bytes: room for `combat:damage:<u64>` and a readable prefix, small enough to index.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest field name of an LWW-map, in bytes. Same reasoning as for a key's name.
pub const FIELD_BYTES_MAX: usize = 256;

/// Largest scalar (text or byte string), in bytes. State is for facts about the game, not for assets.
pub const SCALAR_BYTES_MAX: usize = 64 * 1024;

/// Most keys that one commit may touch. A zone of 64 duels touches 257.
pub const KEYS_PER_COMMIT_MAX: usize = 4096;

/// Most set members or map fields that one operation may name.
pub const MEMBERS_PER_OP_MAX: usize = 4096;

/// Most observed dots that one assignment may supersede: one per concurrent writer of the same member.
pub const DOTS_PER_ASSIGN_MAX: usize = 1024;

/// Largest encoded commit, in bytes. It must fit into one page together with its framing.
pub const COMMIT_BYTES_MAX: usize = 512 * 1024;

/// Most commits that one seal is shown for: a page of small ones then costs its reader a few hundred verifications, some 10 ms.
pub const SEAL_COMMITS_MAX: usize = 64;

/// Bytes of commits, more than one, that one seal is shown for: a page overflows by no more than this.
pub const SEAL_BYTES_MAX: usize = 64 * 1024;

/// Most seals in one batch: a page of the smallest commits has some four hundred, and each costs its reader some 50 microseconds.
pub const SEALS_PER_BATCH_MAX: usize = 1_024;

/// Newest seals of a stream that are kept apart, so that what is durable can be given although what follows is not yet.
pub const SEALS_FINE: usize = 8;

/// What a peer may say at once: in digests, whose answer is the smallest. Others cost more, up to 128.
pub const ALLOWANCE_MAX: u64 = 1_024;

/// What a peer may say in a second: a digest for each commit at a few hundred a second, or a page of a repair every 4 ms.
pub const ALLOWANCE_PER_SECOND: u64 = 1_024;

/// Known commits in a batch that cost their sender as much as the batch itself: who is behind and asks two members at once gets
/// thousands twice.
pub const KNOWN_PER_COST: u64 = 256;

/// What a peer may say too much, in the same measure, before it is told on again: one that floods at line rate is told on a hundred
/// times a second.
pub const FLOOD_STEP: u64 = 256;

/// Signatures that a peer may have us verify at once without bringing anything new: a fifth of a second's work.
pub const VERIFYING_MAX: u64 = 4_096;

/// The same for a second: a fortieth of a core. An honest member repeats a page twice a second at most, to one that cannot take it.
pub const VERIFYING_PER_SECOND: u64 = 512;

/// Signatures that were not verified for a peer before it is told on again: some two pages.
pub const VERIFYING_STEP: u64 = 1_024;

/// How long a peer whose repair did not help is not asked for the next, in milliseconds: twice as long after each.
pub const FUTILE_MS: u64 = 1_000;

/// After so many repairs that did not help, the wait grows no more: it is a minute then.
pub const FUTILE_STEPS_MAX: u32 = 7;

/// Proofs kept of writers that gave one name to two commits, some 5 KiB each. No cluster has so many that it would keep.
pub const PROOFS_MAX: usize = 1_024;

/// Proofs kept of one node, of its newest lives: whoever goes on is to be revoked.
pub const PROOFS_PER_NODE: usize = 8;

/// Proofs among these about nodes that are no members, but have written here: who has left the cluster, and keys that a member made
/// up to write under. The rest is for members.
pub const PROOFS_FOREIGN_MAX: usize = 256;

/// Proofs kept beside these about nodes of whom nothing is known here, told to nobody, the oldest given up for the next: a new member
/// may be heard of late. Keys cost nothing to make.
pub const PROOFS_STRANGE_MAX: usize = 64;

/// Proofs that a peer is told when it comes.
pub const PROOFS_TOLD: usize = 16;

/// How long after a proof was learned it is told again, one peer a second, in milliseconds.
pub const PROOF_RETOLD_MS: u64 = 60_000;

/// Newest commits of a stream that are compared by hash when vectors are equal and roots are not.
pub const HEADS_PER_STREAM: u64 = 256;

/// Hashes in one such message: some 70 KiB. The next goes on with the next stream.
pub const HEADS_HASHES_MAX: usize = 8_192;

/// Differences of which one answer tells what was signed: one proof is enough for a stream.
pub const WITNESSES_MAX: usize = 16;

/// Seals kept in memory: some 20 MiB. Those of one chain are joined, so only a writer that begins ever new ones gets there.
pub const SEALS_MAX: usize = 131_072;

/// Bytes of commits or objects that one message carries before the rest goes into the next page.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// Largest encoded message, in bytes: a page, the one item that overflows it, and the vectors beside them.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest that peers are asked what our stream means to them before what is known has to do, in milliseconds: local writes wait
/// meanwhile. Peers that are well answer within a round trip; one that is silent takes half a second.
pub const RECALL_MS_MAX: u64 = 5_000;

/// Shortest message that is packed, in bytes: in a shorter one hardly anything recurs, and calls wait for it.
pub const PACK_FROM_BYTES: usize = 256;

/// Most streams in one version vector that a peer may send: twice what an honest one ever has.
pub const STREAMS_MAX: usize = 65_536;

/// Streams above which no commit opens another: members times incarnations, with room to spare. A vector of so many and how much
/// of each is durable fit into one message, at some fifty bytes each.
pub const STREAMS_HELD_MAX: usize = 32_768;

/// Streams above which a repair from state opens no others: what is left is for commits of members.
pub const STREAMS_REPAIRED_MAX: usize = 24_576;

/// Streams above which commits of nodes that are no members open no others: such names cost nothing to make.
pub const STREAMS_FOREIGN_MAX: usize = 16_384;

/// Streams of one node that are not closed, above which another is not taken from itself. A restored host needs one for each restore,
/// and has them closed after a day.
pub const INCARNATIONS_MAX: usize = 256;

/// The same where others pass them on: each member may have taken other ones from a node that makes too many, and all are to become
/// equal.
pub const INCARNATIONS_RELAYED_MAX: usize = 1_024;

/// Largest total that one replica may reach in one counter; sums over replicas then fit 128 bits many times over.
pub const COUNTER_TOTAL_MAX: u64 = i64::MAX as u64;

/// Greatest sequence number of a stream: half of what fits, so that the next one and the end of a batch always fit too. A
/// writer of a million commits per second gets there in 292,000 years; whoever names more is refused.
pub const SEQ_MAX: u64 = i64::MAX as u64;

/// Deepest nesting that a decoder follows. Our deepest message nests eight.
pub const DECODE_DEPTH_MAX: usize = 16;

/// How far ahead of our clock a commit may be stamped before its stream has to wait, in milliseconds.
pub const MAX_DRIFT_MS: u64 = 500;

/// How often one peer, in turn, is sent a digest although nothing changed, in milliseconds.
pub const ANTI_ENTROPY_MS: u64 = 1_000;

/// How soon after a change every connected peer is sent a digest, in milliseconds: it makes convergence visible quickly
/// without a digest per commit.
pub const DIGEST_AFTER_CHANGE_MS: u64 = 200;

/// Peers that are sent their digest after a change in one tick: fifteen take as long as the pause between two rounds, and a burst
/// of sixteen members is 64 messages and not 240.
pub const DIGESTS_PER_TICK: usize = 4;

/// How long an unanswered request for missing commits blocks the next one to the same peer, in milliseconds.
pub const REQUEST_PATIENCE_MS: u64 = 500;

/// How long a peer that was asked for what it says it has may bring nothing before that is counted, in milliseconds.
pub const UNANSWERED_MS: u64 = 2 * REQUEST_PATIENCE_MS;

/// Streams of our vector that one peer is shown in a millisecond because its digest is another: three megabytes a second. A vector of
/// a hundred is shown at any time, one of sixteen thousand four times a second.
pub const STREAMS_SHOWN_PER_MS: u64 = 64;

/// Bytes of commits kept in memory to serve peers that are behind; older ones are served as state instead.
pub const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Commits per stream that stay in memory although every member has them, so that a digest that crossed a push on the
/// wire is still answered from the log.
pub const LOG_COMMITS_KEPT: usize = 256;

/// Request ids remembered to make a retried write harmless. The oldest is forgotten first.
pub const REQUESTS_REMEMBERED: usize = 65_536;

/// Bytes of commits after which changed objects are written to the store. More means less writing, because an object that
/// changed often is written once; fewer a quicker restart, because this is what it has to apply.
pub const CHECKPOINT_BYTES: u64 = 8 * 1024 * 1024;

/// How long changed objects may go unwritten all the same, in milliseconds: so that the log of an agent with little to write is
/// given up some day.
pub const CHECKPOINT_MS: u64 = 15 * 60 * 1_000;

/// How long a page of a repair may be awaited before the repair is given up and begun anew elsewhere, in milliseconds.
pub const REPAIR_PATIENCE_MS: u64 = 5_000;

/// Most sums and hashes that one message of a repair compares: with their ranges, half a mebibyte.
pub const REPAIR_WORDS_MAX: usize = 32_768;

/// Most ranges that one message of a repair asks about: leaves of about a dozen objects, of which a thousand differ, with room.
pub const REPAIR_ASKS_MAX: usize = 4_096;

/// Most objects of a range that are compared one by one instead of by the sums of its parts. Fewer would cost more sums, more
/// would cost more hashes beside the one that differs.
pub const REPAIR_ITEMS_MAX: usize = 32;

/// Most parts that a range is compared in at once. One that differs costs 8 bytes a part and a round trip.
pub const REPAIR_PARTS_MAX: usize = 256;

/// Most ranges that a repair keeps to be asked about; beyond, they are taken together and compared again.
pub const REPAIR_RANGES_MAX: usize = 65_536;

/// Most pages of one repair that may end early and bring nothing: only a giver that is being repaired itself has such.
pub const REPAIR_EMPTY_PAGES_MAX: u32 = 16_384;

/// Ranges that show more than the replica's vector, above which a repair takes the rest plainly, in order: that makes few of
/// many. A repair of 1,000 objects under load makes some 2,000.
pub const AHEAD_RANGES_MAX: usize = 8_192;

/// How often what every member has seen is forgotten, in milliseconds.
pub const FORGET_MS: u64 = 1_000;

/// How long a node that is no member any more has to be silent before its streams are closed, in milliseconds: a day, so that a
/// host that is mended the next morning has missed nothing.
pub const RETIRE_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long after its start a replica with commits that perhaps nobody else has waits before it believes that it has heard of
/// all members, in milliseconds.
pub const ORPHANS_GRACE_MS: u64 = 10_000;

/// Counters whose shares of retired writers one commit takes over.
pub const FOLDS_PER_COMMIT: usize = 256;

/// Shares of retired writers that one commit takes over. Each is named in some fifty bytes; one counter more than that fits too.
pub const FOLD_DOTS_PER_COMMIT: usize = 4096;

/// Bytes of commits that overtook their predecessors and are kept until those arrive: a few pages of several peers.
pub const EARLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The same of one peer: a page, the commit that overflows it and what they count for beyond their bytes.
pub const EARLY_BYTES_PER_PEER: usize = 2 * 1024 * 1024;

/// How long a predecessor may take to arrive before it is asked for, in milliseconds: frames overtake each other by less.
pub const GAP_PATIENCE_MS: u64 = 40;

/// What a kept batch, and each commit in it, counts for beyond its own bytes.
pub const EARLY_OVERHEAD_BYTES: usize = 128;

/// Prefixes that are watched at once. An agent watches one for each kind of listener that it has, and its API bounds those.
pub const WATCHES_MAX: usize = 1024;

/// Keys that one notice of a change names; more go into the next. Most commits touch a few, a page of a repair thousands.
pub const KEYS_PER_CHANGE_MAX: usize = 1024;

/// How long after a closing was doubted members' word that they have nothing beyond it counts, in milliseconds: by then they would
/// have taken what we have, should they take it at all.
pub const CLOSING_DOUBT_MS: u64 = 3_000;

/// Content of one object, in bytes, above which nothing more is added to it: as one piece it must fit into one message of a
/// repair, with room for what others add at the same time.
pub const OBJECT_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Most members that a commit is pushed to straight by its writer. Above, it goes by the broadcast tree: 32 copies of a small
/// commit are still one burst of a few packets, 600 are a queue.
pub const STRAIGHT_MEMBERS_MAX: usize = 32;

/// Most neighbours in the overlay of the broadcast tree. Seven or eight are usual among 600 members; whoever is chosen by more
/// than this many is under attack, or in a mesh of millions.
pub const NEIGHBOURS_MAX: usize = 32;

/// Streams that one announcement names; the rest go into the next one. About ten kilobytes before packing.
pub const NEWS_PER_ANNOUNCE: usize = 256;

/// Streams that wait to be announced to one neighbour, so 32,768 in all. Beyond, anti-entropy tells.
pub const NEWS_WAITING_MAX: usize = 1_024;

/// Streams that have been announced to us and are missing. Beyond, anti-entropy brings them.
pub const WANTED_MAX: usize = 1_024;

/// Missing streams for which one neighbour's word is the first: one that invents streams leaves room for what others say.
pub const WANTED_PER_NEIGHBOUR: usize = 256;

/// Commits of one stream above which a gap is not the tree's business: who is that far behind is helped page by page, and by
/// one member only.
pub const WANTED_COMMITS_MAX: u64 = 1_024;

/// Commits that one neighbour is given because it asks, in one tick: a few gaps of the largest size. It can ask again, and
/// anti-entropy gives in pages.
pub const GIVEN_COMMITS_MAX: u64 = 4 * WANTED_COMMITS_MAX;

/// Neighbours remembered as having something that is missing: as many as there usually are.
pub const WANTED_SOURCES_MAX: usize = 8;

/// How often something missing is asked for before it is left to anti-entropy. At one loss in ten, a question with its answer
/// fails once in five times, and twelve in a row once in hundreds of millions.
pub const GRAFTS_MAX: u32 = 12;

/// Streams of which the tree remembers how they last came. Beyond, the one that was silent for longest is forgotten.
pub const RECENT_STREAMS_MAX: usize = 4_096;

/// How long after its last commit a stream counts as recent and is announced to new neighbours, in milliseconds: longer than
/// a connection takes to be made again.
pub const RECENT_MS: u64 = 10_000;

/// How often a neighbour is sent an announcement at most, in milliseconds: twice the tick, so that under load news is folded.
pub const ANNOUNCE_MS: u64 = 100;

/// How long something may be missing after the neighbour that should have pushed it says that it has it, in milliseconds:
/// as long as frames overtake each other.
pub const LOST_PATIENCE_MS: u64 = GAP_PATIENCE_MS;

/// How long something announced may be missing before a neighbour outside the tree is asked for it, in milliseconds: so long that
/// whoever is nearer to where it was lost has usually got it.
pub const GRAFT_PATIENCE_MS: u64 = 300;

/// How long the answer to a graft may take before another neighbour is asked, in milliseconds: a round trip around the world.
pub const GRAFT_RETRY_MS: u64 = 300;

/// How long after its last commit a stream is the one whose repeats decide what is pruned, in milliseconds.
pub const VOICE_MS: u64 = 2_000;

/// How long a commit may be missing after a later one came by the tree before anti-entropy asks for it, in milliseconds: so long
/// that the tree has asked several times.
pub const TREE_PATIENCE_MS: u64 = 1_500;

/// How long what is new travels straight from its writer alone, in milliseconds: anti-entropy gives to others what was durable here
/// this long ago, or up to twice as long. A push and a digest that follows it take less to arrive, nearly always.
pub const STRAIGHT_SETTLE_MS: u64 = 100;

/// The same where commits go by the tree. The tree brings nearly everything within half of it, on the second or third try too.
pub const TREE_SETTLE_MS: u64 = 500;

/// How long a stream is not asked for by the tree after its next commit was not taken, in milliseconds: what was refused or has to
/// wait for our clock rarely fares better sooner.
pub const REFUSED_MS: u64 = 1_000;

/// Streams that are remembered to wait for a later release: as many as there are members with one each. Commits of others are looked at,
/// and told of, each time that they come.
pub const UNREAD_STREAMS_MAX: usize = 1_024;

/// Digests that differ and are answered at once, where commits go by the tree: a vector names every writer, so 600 weigh 25 KB.
pub const VECTORS_AT_ONCE: u32 = 4;

/// How often one more may be answered, in milliseconds: twice as often as one comes when everybody sends one in turn.
pub const VECTOR_MS: u64 = ANTI_ENTROPY_MS / 2;

/// Links by which a path has to be shorter before it is tried in place of the present one. Less than two may be chance.
pub const SHORTCUT_HOPS: u8 = 2;

/// How often one link is tried as a shortcut, in milliseconds. Each try that fails costs a repeat.
pub const SHORTCUT_MS: u64 = 30_000;
