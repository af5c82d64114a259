//! Commits of a later release: their streams wait until this host is upgraded.
//!
//! Owns which streams wait, and for which commit. Who writes what this release cannot read has done nothing wrong, nor has who passes it on.
//! Such a stream is not applied any further, for what is left out of it would be missing for ever, and roots would differ at equal vectors.
//! Nor is it passed on: only what is applied is offered. Those who can read it keep it for us, since it is not stable without us. The
//! invariant: however often a commit comes that cannot be read, it is looked at, verified and told of once.

use std::collections::BTreeMap;

use super::{Event, Output, Replica};
use crate::codec::DecodeError;
use crate::commit::Batch;
use crate::id::{Dot, Stream};
use crate::limits::UNREAD_STREAMS_MAX;
use crate::time::Time;

/// Streams whose next commit cannot be read, with that commit's number. An entry that a stream has passed means nothing.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<Stream, u64>);

impl Replica {
    /// The commits that streams wait for because a later release wrote them, in order of streams.
    pub fn unread(&self) -> impl Iterator<Item = Dot> {
        self.unread.0.keys().filter_map(|stream| {
            let seq = self.unread_of(stream)?;
            Some(Dot { replica: stream.replica, seq })
        })
    }

    /// The commit of this stream that cannot be read, if it is the next.
    fn unread_of(&self, stream: &Stream) -> Option<u64> {
        self.unread.0.get(stream).copied().filter(|seq| *seq == self.seen.seq(stream) + 1)
    }

    /// Whether a batch goes on from a commit that cannot be read: then it is counted and not looked at. It is no offence and costs its sender
    /// nothing, for honest members offer it again with every comparison; the network bounds how much anybody sends.
    pub(super) fn waits_for_upgrade(&mut self, batch: &Batch, now: Time) -> bool {
        let count = batch.commits.len() as u64;
        let waits = self.unread_of(&batch.stream).is_some_and(|seq| batch.first.saturating_add(count) > seq);
        if waits {
            self.counters.unread += count;
            self.spread.refuse(batch.stream, now);
        }
        waits
    }

    /// Notes that the next commit of a stream is of a later release.
    pub(super) fn note_unread(&mut self, dot: Dot, stream: Stream, error: &DecodeError, out: &mut Vec<Output>) {
        self.counters.unread += 1;
        if self.unread.0.len() >= UNREAD_STREAMS_MAX {
            let seen = &self.seen;
            self.unread.0.retain(|stream, seq| *seq == seen.seq(stream) + 1);
        }
        if self.unread.0.len() < UNREAD_STREAMS_MAX || self.unread.0.contains_key(&stream) {
            self.unread.0.insert(stream, dot.seq);
        }
        out.push(Output::Event(Event::Unread { dot, what: error.to_string() }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::change::Change;
    use crate::id::{Incarnation, NodeId, ReplicaId};
    use crate::key::{Kind, older};
    use crate::replica::{Config, Input, Message, Recovery};
    use crate::scalar::Scalar;

    /// The member of an earlier release: it has no maps.
    const OLDER: usize = 0;

    fn node(index: usize) -> NodeId {
        NodeId([u8::try_from(index + 1).expect("few"); 32])
    }

    fn me(index: usize) -> ReplicaId {
        ReplicaId { node: node(index), incarnation: Incarnation(1) }
    }

    /// Three members that reach each other, one of them of an earlier release until it is upgraded.
    struct Mesh {
        replicas: Vec<Replica>,
        has_older: bool,
        now_ms: u64,
        /// What the older one has stored.
        stored: Vec<Batch>,
        events: Vec<Event>,
    }

    impl Mesh {
        fn begin() -> Self {
            let replicas = (0..3).map(|index| Replica::new(me(index), Config::default())).collect();
            let mut mesh = Self { replicas, has_older: true, now_ms: 0, stored: Vec::new(), events: Vec::new() };
            (0..3).for_each(|index| mesh.join(index));
            mesh
        }

        fn join(&mut self, index: usize) {
            self.feed(index, Input::Members((0..3).map(node).collect()));
            (0..3).filter(|other| *other != index).for_each(|other| self.feed(index, Input::PeerUp(node(other))));
        }

        /// The bytes of a message, as this member reads them.
        fn read(&self, index: usize, bytes: &[u8]) -> Option<Message> {
            let read = || Message::decode(bytes);
            let message = if self.is_older(index) { older::without(Kind::LwwMap, read) } else { read() };
            message.inspect_err(|error| assert!(error.is_of_a_later_release(), "{error}")).ok()
        }

        fn is_older(&self, index: usize) -> bool {
            self.has_older && index == OLDER
        }

        fn feed(&mut self, index: usize, input: Input) {
            let mut inputs = VecDeque::from([(index, input)]);
            while let Some((index, input)) = inputs.pop_front() {
                let now = Time { wall_ms: 1_800_000_000_000 + self.now_ms, mono_ms: self.now_ms };
                let is_older = self.is_older(index);
                let replica = &mut self.replicas[index];
                let outputs = if is_older {
                    older::without(Kind::LwwMap, || replica.handle(input, now))
                } else {
                    replica.handle(input, now)
                };
                for output in outputs {
                    match output {
                        Output::Persist { token, batch } => {
                            self.stored.extend((index == OLDER).then_some(batch));
                            inputs.push_back((index, Input::Persisted { token }));
                        }
                        Output::Send { to, message } => {
                            let to = (0..3).find(|index| node(*index) == to).expect("a member");
                            let message = self.read(to, &message.encode());
                            let input = |message| (to, Input::Receive { from: node(index), message });
                            inputs.extend(message.map(input));
                        }
                        Output::Event(event) => self.events.push(event),
                        Output::Checkpoint { token, .. } => inputs.push_back((index, Input::Persisted { token })),
                        Output::Committed { .. }
                        | Output::Watching { .. }
                        | Output::Changed { .. }
                        | Output::Rebirth { .. } => {}
                    }
                }
            }
        }

        fn write(&mut self, index: usize, key: &str, change: Change) {
            let changes = vec![(key.parse().expect("a key"), change)];
            self.feed(index, Input::Commit { ticket: 0, changes, request: None });
        }

        fn put(&mut self, index: usize, key: &str, value: i64) {
            self.write(index, key, Change::Put([("k".to_owned(), Scalar::from(value))].into_iter().collect()));
        }

        fn pass(&mut self, ms: u64) {
            for _ in 0..ms / 50 {
                self.now_ms += 50;
                (0..3).for_each(|index| self.feed(index, Input::Tick));
            }
        }

        /// Stops the older one, and starts what it has stored as the release of the others.
        fn upgrade(&mut self) {
            self.has_older = false;
            let recovery = Recovery { log: std::mem::take(&mut self.stored), ..Recovery::default() };
            (1..3).for_each(|index| self.feed(index, Input::PeerDown(node(OLDER))));
            self.replicas[OLDER] = Replica::recover(me(OLDER), Config::default(), recovery).expect("recovers");
            (1..3).for_each(|index| self.feed(index, Input::PeerUp(node(OLDER))));
            self.join(OLDER);
        }

        fn seen(&self, index: usize) -> [u64; 3] {
            [0, 1, 2].map(|of| self.replicas[index].seen().seq(&Stream::global(me(of))))
        }
    }

    #[test]
    fn what_a_later_release_writes_waits_for_the_upgrade_and_is_held_against_nobody() {
        let mut mesh = Mesh::begin();
        mesh.write(1, "gcounter/kills", Change::Increment(1));
        mesh.put(1, "lwwmap/player", 7);
        mesh.write(1, "gcounter/kills", Change::Increment(10));
        // Minutes of comparing, in which everybody offers it what it cannot read.
        mesh.pass(120_000);
        for index in 0..3 {
            mesh.write(index, "gcounter/others", Change::Increment(1));
        }
        mesh.pass(5_000);
        assert_eq!((mesh.seen(0), mesh.seen(1)), ([1, 1, 1], [1, 4, 1]), "one stream waits, and no other");
        assert_eq!(mesh.seen(1), mesh.seen(2));
        assert_eq!(mesh.replicas[OLDER].unread().collect::<Vec<_>>(), [Dot { replica: me(1), seq: 2 }]);
        let counters = *mesh.replicas[OLDER].counters();
        assert!(counters.unread > 100 && counters.rejected == 0, "{counters:?}");
        assert!(matches!(mesh.events.as_slice(), [Event::Unread { .. }]), "told once: {:?}", mesh.events);

        mesh.upgrade();
        mesh.pass(10_000);
        assert_eq!((mesh.seen(0), mesh.seen(1), mesh.seen(2)), ([1, 4, 1], [1, 4, 1], [1, 4, 1]));
        let root = mesh.replicas[1].root();
        assert!(mesh.replicas.iter().all(|replica| replica.root() == root && replica.unread().next().is_none()));
        assert!(matches!(mesh.events.as_slice(), [Event::Unread { .. }]), "{:?}", mesh.events);
    }
}
