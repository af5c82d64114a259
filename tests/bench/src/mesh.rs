//! Replicas in one process, with a network that counts: bytes by kind of message, hops, and the time their handling takes.
//!
//! Disks answer at once, and messages arrive in order of sending. Knows messages only by their encoding, so that what a
//! replica says may change without this.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use selvedge_sync::replica::{Input, Message, Output, Replica};
use selvedge_sync::time::Time;

use crate::fill::NOON;

/// How often a replica is told that time has passed, in milliseconds.
pub(crate) const TICK_MS: u64 = 50;

/// What one kind of message has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Bytes before packing.
    plain: u64,
}

/// A message under way.
struct Letter {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
    /// How many messages had to arrive one after the other before this one could be sent, itself included.
    hop: u32,
}

/// Some replicas and everything between them.
pub(crate) struct Mesh {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) now: Time,
    pub(crate) sent: BTreeMap<String, Sent>,
    /// Time spent in `handle`, encoding and decoding.
    pub(crate) busy: Duration,
    /// The highest hop of a message that was delivered.
    pub(crate) hops: u32,
    /// The highest hop of a delivered message of each kind.
    pub(crate) kinds: BTreeMap<String, u32>,
    letters: VecDeque<Letter>,
    nodes: Vec<NodeId>,
}

impl Mesh {
    pub(crate) fn of(replicas: Vec<Replica>) -> Self {
        let nodes = replicas.iter().map(|replica| replica.me().node).collect();
        Self {
            replicas,
            now: NOON,
            sent: BTreeMap::new(),
            busy: Duration::ZERO,
            hops: 0,
            kinds: BTreeMap::new(),
            letters: VecDeque::new(),
            nodes,
        }
    }

    /// Everybody can reach everybody, and awaits everybody.
    pub(crate) fn connect(&mut self) {
        let everybody = self.nodes.iter().copied().collect();
        for at in 0..self.replicas.len() {
            self.give(at, Input::Members(std::collections::BTreeSet::clone(&everybody)), 0);
            for node in self.nodes.clone() {
                if node != self.nodes[at] {
                    self.give(at, Input::PeerUp(node), 0);
                }
            }
        }
    }

    /// Feeds an input to one replica. What it stores is durable at once.
    pub(crate) fn give(&mut self, at: usize, input: Input, hop: u32) {
        let tokens = self.give_without_disk(at, input, hop);
        self.persisted(at, tokens, hop);
    }

    /// The same, but what it stores is not reported yet: the tokens come back.
    pub(crate) fn give_without_disk(&mut self, at: usize, input: Input, hop: u32) -> Vec<u64> {
        let begun = Instant::now();
        let outputs = self.replicas[at].handle(input, self.now);
        self.busy += begun.elapsed();
        let mut tokens = Vec::new();
        for output in outputs {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => tokens.push(token),
                Output::Send { to, message } => self.send(at, to, &message, hop + 1),
                Output::Committed { result, .. } => drop(result.expect("a sound commit")),
                _ => {}
            }
        }
        tokens
    }

    /// Reports everything up to the last of the tokens durable, in order.
    pub(crate) fn persisted(&mut self, at: usize, tokens: Vec<u64>, hop: u32) {
        for token in tokens {
            let more = self.give_without_disk(at, Input::Persisted { token }, hop);
            self.persisted(at, more, hop);
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: &Message, hop: u32) {
        let begun = Instant::now();
        let bytes = message.encode();
        self.busy += begun.elapsed();
        let kind = kind(message);
        let sent = self.sent.entry(kind.clone()).or_default();
        sent.messages += 1;
        sent.bytes += bytes.len() as u64;
        sent.plain += codec::encode(message).len() as u64;
        let hops = self.kinds.entry(kind).or_default();
        *hops = hop.max(*hops);
        let to = self.nodes.iter().position(|node| *node == to).expect("a message to one of us");
        self.letters.push_back(Letter { from, to, bytes, hop });
    }

    /// Delivers what is under way, and what that leads to, until `done` or nothing is under way.
    pub(crate) fn deliver(&mut self, done: impl Fn(&[Replica]) -> bool) {
        while !done(&self.replicas)
            && let Some(letter) = self.letters.pop_front()
        {
            let begun = Instant::now();
            let message = Message::decode(&letter.bytes).expect("a message of ours decodes");
            self.busy += begun.elapsed();
            self.hops = self.hops.max(letter.hop);
            let from = self.nodes[letter.from];
            self.give(letter.to, Input::Receive { from, message }, letter.hop);
        }
    }

    /// Delivers and lets time pass until `done`.
    ///
    /// # Panics
    /// It does not come true within a virtual minute.
    pub(crate) fn run_until(&mut self, done: impl Fn(&[Replica]) -> bool) {
        let begun = self.now.mono_ms;
        loop {
            self.deliver(&done);
            if done(&self.replicas) {
                return;
            }
            assert!(self.now.mono_ms - begun < 60_000, "the replicas do not agree; sent so far: {:?}", self.sent);
            self.tick();
        }
    }

    /// Lets `ms` of virtual time pass, delivering everything.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            self.deliver(|_| false);
            self.tick();
        }
        self.deliver(|_| false);
    }

    fn tick(&mut self) {
        self.now = Time { wall_ms: self.now.wall_ms + TICK_MS, mono_ms: self.now.mono_ms + TICK_MS };
        for at in 0..self.replicas.len() {
            self.give(at, Input::Tick, 0);
        }
    }

    /// Forgets what was counted, to begin counting here.
    pub(crate) fn forget_counts(&mut self) {
        (self.sent, self.kinds, self.hops, self.busy) = (BTreeMap::new(), BTreeMap::new(), 0, Duration::ZERO);
    }

    /// All bytes that were sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent.values().map(|sent| sent.bytes).sum()
    }

    /// The same before packing.
    pub(crate) fn plain_bytes(&self) -> u64 {
        self.sent.values().map(|sent| sent.plain).sum()
    }

    /// What was sent, by kind, as text.
    pub(crate) fn told(&self) -> String {
        let told: Vec<String> =
            self.sent.iter().map(|(kind, sent)| format!("{kind} {} in {} B", sent.messages, sent.bytes)).collect();
        told.join(", ")
    }
}

/// Whether all show the same and have seen the same.
pub(crate) fn agree(replicas: &[Replica]) -> bool {
    replicas.windows(2).all(|pair| pair[0].root() == pair[1].root() && pair[0].seen() == pair[1].seen())
}

/// The name of a message's kind.
pub(crate) fn kind(message: &Message) -> String {
    struct Name(String);
    impl Write for Name {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().take_while(|letter| letter.is_alphanumeric()));
            // The name is all that is wanted; the rest may be a megabyte.
            Err(fmt::Error)
        }
    }
    let mut name = Name(String::new());
    let stopped = write!(name, "{message:?}");
    debug_assert!(stopped.is_err());
    name.0
}
