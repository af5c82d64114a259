//! A member that lies, as a double that speaks the engine's messages and holds a real key of its own: each way to lie is bounded,
//! counted, and hurts nobody's streams but its own.

#[path = "hostile/closing.rs"]
mod closing;
#[path = "hostile/costs.rs"]
mod costs;
#[path = "hostile/guarded.rs"]
mod guarded;
#[path = "hostile/own_stream.rs"]
mod own_stream;

use std::collections::{BTreeSet, VecDeque};

use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::commit::{Batch, Commit, CommitBytes};
use selvedge_sync::crdt::{Assign, ContentHash, Op};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Scope, Stream};
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Config, Event, Input, Message, Offence, Output, Recovery, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::seal::{HashKeys, Proof};
use selvedge_sync::time::Time;

const WALL_MS: u64 = 1_800_000_000_000;

/// The liar.
const LIAR: NodeId = NodeId([99; 32]);

fn node(index: usize) -> NodeId {
    NodeId([u8::try_from(index + 1).expect("few"); 32])
}

fn stream(node: NodeId) -> Stream {
    Stream::global(ReplicaId { node, incarnation: Incarnation(1) })
}

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

/// A commit that adds a word to a set.
fn word(of: Stream, seq: u64, word: &str) -> CommitBytes {
    let ops = vec![(key("gset/words"), Op::GSet(vec![Scalar::from(word)]))];
    Commit { stream: of, seq, hlc: Hlc::from_millis(WALL_MS), request: None, ops }.encode()
}

/// Honest members that all reach each other and the liar, without latency.
struct Members {
    replicas: Vec<Replica>,
    now_ms: u64,
    events: Vec<(usize, Event)>,
    /// What the liar was sent, and by whom.
    heard: Vec<(usize, Message)>,
}

impl Members {
    fn of(count: usize) -> Self {
        let me = |index| ReplicaId { node: node(index), incarnation: Incarnation(1) };
        let replicas = (0..count).map(|index| Replica::new(me(index), Config::default())).collect();
        let mut members = Self { replicas, now_ms: 0, events: Vec::new(), heard: Vec::new() };
        (0..count).for_each(|index| members.join(index));
        members
    }

    /// Tells one of them who the members are, and that it reaches them all.
    fn join(&mut self, index: usize) {
        let count = self.replicas.len();
        self.feed(index, Input::Members((0..count).map(node).chain([LIAR]).collect()));
        for other in (0..count).filter(|other| *other != index).map(node).chain([LIAR]) {
            self.feed(index, Input::PeerUp(other));
        }
    }

    /// Feeds an input and all that follows from it at this moment.
    fn feed(&mut self, index: usize, input: Input) {
        let mut inputs = VecDeque::from([(index, input)]);
        let mut steps = 0;
        while let Some((index, input)) = inputs.pop_front() {
            steps += 1;
            assert!(steps < 20_000, "they talk without end at one moment");
            let now = Time { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms };
            for output in self.replicas[index].handle(input, now) {
                match output {
                    Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                        inputs.push_back((index, Input::Persisted { token }));
                    }
                    Output::Send { to: LIAR, message } => self.heard.push((index, message)),
                    Output::Send { to, message } => {
                        let to = (0..self.replicas.len()).find(|index| node(*index) == to).expect("a member");
                        inputs.push_back((to, Input::Receive { from: node(index), message }));
                    }
                    Output::Rebirth { incarnation, .. } => inputs.push_back((index, Input::Reborn(incarnation))),
                    Output::Event(event) => self.events.push((index, event)),
                    Output::Committed { .. } | Output::Watching { .. } | Output::Changed { .. } => {}
                }
            }
        }
    }

    fn lie(&mut self, to: usize, message: Message) {
        self.feed(to, Input::Receive { from: LIAR, message });
    }

    fn send(&mut self, to: usize, batch: Batch) {
        self.lie(to, Message::Commits { batches: vec![batch], more: false, hops: None });
    }

    fn write(&mut self, index: usize) {
        let changes = vec![(key("gcounter/hits"), Change::Increment(1))];
        self.feed(index, Input::Commit { ticket: 0, changes, request: None });
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now_ms += 50;
            (0..self.replicas.len()).for_each(|index| self.feed(index, Input::Tick));
        }
    }

    fn offences(&self, of: Offence) -> usize {
        self.events.iter().filter(|(_, event)| *event == Event::Offence { peer: LIAR, what: of }).count()
    }

    /// Whether all have the same of each other's streams.
    fn agree(&self) -> bool {
        let streams: Vec<Stream> = (0..self.replicas.len()).map(node).map(stream).collect();
        let of = |replica: &Replica| streams.iter().map(|of| replica.seen().seq(of)).collect::<Vec<_>>();
        self.replicas.iter().all(|replica| of(replica) == of(&self.replicas[0]))
    }
}

#[test]
fn a_relay_writes_in_nobodys_name() {
    let mut members = Members::of(2);
    let absent = stream(NodeId([7; 32]));
    let batch = Batch::new(absent, 1, vec![word(absent, 1, "invented")]);
    members.send(0, batch.clone());
    assert_eq!(members.replicas[0].counters().unsealed, 1);
    let mut forged = batch.clone().sealed(&HashKeys);
    forged.commits[0] = word(absent, 1, "changed");
    members.send(0, forged);
    assert_eq!(members.replicas[0].counters().forged, 1);
    assert_eq!((members.offences(Offence::Unsealed), members.offences(Offence::Forged)), (1, 1));
    assert_eq!(members.replicas[0].seen().seq(&absent), 0);
    // What comes too early is verified before it is kept.
    let early = Batch::new(absent, 2, vec![word(absent, 2, "early")]);
    members.send(0, early);
    members.send(0, batch.sealed(&HashKeys));
    members.pass(2_000);
    assert_eq!(members.replicas.iter().map(|replica| replica.seen().seq(&absent)).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn straight_from_its_writer_a_commit_needs_no_seal_and_is_given_to_nobody_by_name() {
    let mut members = Members::of(1);
    let own = stream(LIAR);
    members.send(0, Batch::new(own, 1, vec![word(own, 1, "unsealed")]));
    assert_eq!(members.replicas[0].seen().seq(&own), 1);
    let mut wrong = Batch::new(own, 2, vec![word(own, 2, "badly sealed")]).sealed(&HashKeys);
    wrong.seals[0].signature = [7; 64];
    members.send(0, wrong);
    assert_eq!(members.replicas[0].seen().seq(&own), 2);
    let asked = |seen: VersionVector| Message::Vector {
        seen,
        behind: vec![],
        root: ContentHash::default(),
        answer: false,
        tip: None,
    };
    for has in [0, 1] {
        members.heard.clear();
        members.now_ms += 1_000;
        members.lie(0, asked([(own, has)].into_iter().collect()));
        assert!(members.heard.iter().any(|(_, message)| *message == Message::Forgotten), "{:?}", members.heard);
    }
    assert_eq!((members.replicas[0].counters().forged, members.offences(Offence::Forged)), (1, 1));
}

/// Sends each member its own second commit of the liar's stream.
fn equivocate(members: &mut Members) {
    let own = stream(LIAR);
    for index in 0..members.replicas.len() {
        let commits = vec![word(own, 1, "to all"), word(own, 2, &format!("to {}", index.min(1)))];
        members.send(index, Batch::new(own, 1, commits).sealed(&HashKeys));
    }
}

#[test]
fn equivocation_is_proven_frozen_and_told() {
    let mut members = Members::of(3);
    equivocate(&mut members);
    members.pass(3_000);
    for (index, replica) in members.replicas.iter().enumerate() {
        let proofs: Vec<&Proof> = replica.proofs().collect();
        assert!(matches!(proofs.as_slice(), [proof] if proof.verify(&HashKeys) && proof.dot().seq == 2), "{index}");
    }
    let told = members.heard.iter().filter(|(_, message)| matches!(message, Message::Proof(_))).count();
    assert!((1..=12).contains(&told), "each tells it when it learns it, and again to one peer a second: {told}");
    // Nobody takes more of that stream, from whomever; everything else goes on.
    let own = stream(LIAR);
    for index in 0..3 {
        members.send(index, Batch::new(own, 3, vec![word(own, 3, "more")]).sealed(&HashKeys));
        members.write(index);
    }
    members.pass(3_000);
    assert!(members.replicas.iter().all(|replica| replica.seen().seq(&own) == 2 && replica.counters().frozen == 1));
    assert!(members.agree() && members.replicas[0].seen().seq(&stream(node(2))) == 1);
    // They have become quiet about it, and one.
    members.heard.clear();
    let repairs = members.replicas.iter().map(|replica| replica.counters().repairs).sum::<u64>();
    members.pass(60_000);
    let more = members.replicas.iter().map(|replica| replica.counters().repairs).sum::<u64>() - repairs;
    assert!(more <= 3, "{more} repairs in a minute");
    assert!(members.replicas.iter().all(|replica| replica.root() == members.replicas[0].root()));
}

#[test]
fn a_relay_that_has_the_other_commit_proves_it_at_once() {
    let mut members = Members::of(2);
    let own = stream(LIAR);
    members.feed(0, Input::PeerDown(node(1)));
    members.send(0, Batch::new(own, 1, vec![word(own, 1, "one")]).sealed(&HashKeys));
    let other = Batch::new(own, 1, vec![word(own, 1, "other"), word(own, 2, "next")]).sealed(&HashKeys);
    let message = Message::Commits { batches: vec![other], more: false, hops: None };
    members.feed(0, Input::Receive { from: node(1), message });
    assert_eq!((members.replicas[0].counters().equivocations, members.replicas[0].seen().seq(&own)), (1, 1));
    assert!(
        members.events.iter().all(|(_, event)| !matches!(event, Event::Offence { .. })),
        "who passes it on did nothing"
    );
    // The next process knows, and tells whoever comes.
    let proofs: Vec<Proof> = members.replicas[0].proofs().cloned().collect();
    let recovery = Recovery { proofs: proofs.clone(), ..Recovery::default() };
    members.replicas[0] = Replica::recover(members.replicas[0].me(), Config::default(), recovery).expect("sound");
    members.send(0, Batch::new(own, 1, vec![word(own, 1, "one")]).sealed(&HashKeys));
    assert_eq!((members.replicas[0].counters().frozen, members.replicas[0].seen().seq(&own)), (1, 0));
    members.feed(0, Input::PeerUp(node(1)));
    assert_eq!(members.replicas[1].proofs().cloned().collect::<Vec<_>>(), proofs);
}

#[test]
fn a_proof_that_proves_nothing_freezes_nothing() {
    let mut members = Members::of(1);
    let victim = stream(node(0));
    let testimony = |text: &str| {
        let batch = Batch::new(victim, 1, vec![word(victim, 1, text)]).sealed(&HashKeys);
        let hashes = batch.commits.iter().map(CommitBytes::hash).collect();
        selvedge_sync::seal::Testimony { seal: batch.seals[0], hashes }
    };
    let mut other = testimony("other");
    other.seal.signature = [7; 64];
    let proof = Proof { stream: victim, one: testimony("one"), other };
    members.lie(0, Message::Proof(Box::new(proof)));
    let same = Proof { stream: victim, one: testimony("one"), other: testimony("one") };
    members.lie(0, Message::Proof(Box::new(same)));
    assert_eq!((members.replicas[0].proofs().count(), members.offences(Offence::FalseProof)), (0, 2));
}

#[test]
fn a_writer_whose_key_wrote_twice_takes_another_life() {
    let mut members = Members::of(2);
    members.write(0);
    let own = stream(node(0));
    let twice = Batch::new(own, 1, vec![word(own, 1, "by a copy")]).sealed(&HashKeys);
    members.send(1, twice);
    members.pass(8_000);
    assert_eq!(members.replicas[1].proofs().count(), 1);
    assert_eq!(members.replicas[0].proofs().count(), 1);
    let life = members.replicas[0].me().incarnation;
    assert!(life > Incarnation(1) && !members.replicas[0].is_fenced(), "it writes on under another name: {life:?}");
    members.write(0);
    members.pass(2_000);
    let present = Stream::global(members.replicas[0].me());
    assert!(members.replicas[1].seen().seq(&present) >= 1, "and is heard");
    assert_eq!(members.replicas[0].root(), members.replicas[1].root());
}

#[test]
fn a_root_that_is_never_ours_costs_ever_less() {
    let mut members = Members::of(2);
    members.write(0);
    members.pass(1_000);
    let mut other = Replica::new(ReplicaId { node: LIAR, incarnation: Incarnation(1) }, Config::default());
    for ticket in 0_u64..600 {
        let vector = members.replicas[0].seen().digest();
        let changes = vec![(key("gcounter/other"), Change::Increment(1))];
        let now = Time { wall_ms: WALL_MS, mono_ms: 0 };
        drop(other.handle(Input::Commit { ticket, changes, request: None }, now));
        let root = other.root();
        members.lie(0, Message::Digest { root, vector, durable: true, exact: true, tip: None });
        // It answers what it is asked, and its answers change nothing.
        let empty = |asks: &[selvedge_sync::replica::Ask]| Message::StatePage {
            seen: members.replicas[0].seen().clone(),
            ahead: VersionVector::default(),
            latest: Hlc::default(),
            to: selvedge_sync::replica::Ask::digest(asks),
            last: u64::MAX,
            equal: vec![255; 64],
            objects: Vec::new(),
        };
        let asked: Vec<Message> = members
            .heard
            .drain(..)
            .filter_map(|(_, message)| match message {
                Message::StateRequest { asks } => Some(empty(&asks)),
                _ => None,
            })
            .collect();
        asked.into_iter().for_each(|answer| members.lie(0, answer));
        members.pass(100);
    }
    let repairs = members.replicas[0].counters().repairs;
    assert!((2..=20).contains(&repairs), "{repairs} repairs in a minute");
    members.write(1);
    members.pass(2_000);
    assert!(members.agree());
}

#[test]
fn whoever_asks_without_end_is_answered_within_bounds_and_others_as_ever() {
    let mut members = Members::of(2);
    members.write(1);
    let seen: VersionVector = [(stream(node(1)), 0)].into_iter().collect();
    let question = Message::Vector { seen, behind: vec![], root: ContentHash::default(), answer: true, tip: None };
    members.heard.clear();
    for number in 0..20_000 {
        members.lie(0, question.clone());
        if number % 1_000 == 0 {
            members.now_ms += 50;
        }
    }
    // A second: what the bucket held, and what came in.
    assert!(members.heard.len() <= 2 * (1_024 + 1_024) / 4, "{} answers", members.heard.len());
    assert!(members.replicas[0].counters().throttled > 19_000);
    // Each question costs four, and it is told on once for 256 too many.
    assert!((100..=400).contains(&members.offences(Offence::Flood)));
    members.write(1);
    members.pass(1_000);
    assert!(members.agree());
}

#[test]
fn whoever_repeats_what_everybody_has_is_told_on() {
    let mut members = Members::of(2);
    members.write(1);
    members.pass(1_000);
    let known = stream(node(1));
    let bytes = members.replicas[0].log().get(&known, 1).expect("a commit").clone();
    let batch = Batch { stream: known, first: 1, commits: vec![bytes], seals: Vec::new() };
    let page = Message::Commits { batches: vec![batch], more: false, hops: None };
    for _ in 0..1_000 {
        members.lie(0, page.clone());
    }
    assert_eq!(members.offences(Offence::Flood), 0, "a burst is no flood");
    for _ in 0..20_000 {
        members.lie(0, page.clone());
    }
    assert!(members.offences(Offence::Flood) > 50, "{} times", members.offences(Offence::Flood));
    assert!(members.replicas[0].counters().throttled > 19_000);
    members.write(1);
    members.pass(1_000);
    assert!(members.agree());
}

#[test]
fn lives_without_end_are_not_taken() {
    let mut members = Members::of(2);
    let life = |node, number| Stream::global(ReplicaId { node, incarnation: Incarnation(number) });
    let first = |of| Batch::new(of, 1, vec![word(of, 1, "born")]);
    for number in 1..=2_000 {
        members.send(0, first(life(LIAR, number)));
        // What others would relay of a second node, and of nodes that nobody knows.
        members.send(0, first(life(node(7), number)).sealed(&HashKeys));
    }
    let of = |members: &Members, node| members.replicas[0].seen().of_node(Scope::GLOBAL, node).count();
    assert_eq!((of(&members, LIAR), of(&members, node(7))), (256, 1_024));
    assert_eq!((members.replicas[0].counters().crowded, members.offences(Offence::Flood)), (1_744 + 976, 1_744));
    for number in 0..20_000_u32 {
        let mut name = [9; 32];
        name[..4].copy_from_slice(&number.to_be_bytes());
        members.now_ms += 2;
        members.send(0, first(life(NodeId(name), 1)).sealed(&HashKeys));
    }
    assert_eq!(members.replicas[0].seen().len(), 16_384);
    // Its vector can be read, that of a checkpoint too, and members are heard.
    let seen = members.replicas[0].seen().clone();
    let vector = Message::Vector { seen, behind: vec![], root: ContentHash::default(), answer: false, tip: None };
    assert!(Message::decode(&vector.encode()).is_ok());
    members.write(1);
    members.pass(5_000);
    assert_eq!(members.replicas[0].seen().seq(&stream(node(1))), 1);
    assert!(members.agree() && members.replicas[1].seen() == members.replicas[0].seen());
}

#[test]
fn a_repair_that_shows_streams_without_end_is_given_up() {
    let mut members = Members::of(1);
    members.lie(0, Message::Forgotten);
    let asks = members.heard.drain(..).find_map(|(_, message)| match message {
        Message::StateRequest { asks } => Some(asks),
        _ => None,
    });
    let to = selvedge_sync::replica::Ask::digest(&asks.expect("it asks"));
    let life = |number| Stream::global(ReplicaId { node: LIAR, incarnation: Incarnation(number) });
    let page = |streams| Message::StatePage {
        seen: (1..=streams).map(|number| (life(number), 1)).collect(),
        ahead: VersionVector::default(),
        latest: Hlc::default(),
        to,
        last: u64::MAX,
        equal: vec![255; 64],
        objects: Vec::new(),
    };
    assert!(Message::decode(&page(65_537).encode()).is_err());
    members.lie(0, page(24_577));
    assert_eq!((members.replicas[0].counters().repairs_abandoned, members.replicas[0].seen().len()), (1, 0));
    // Our own store may hold what it likes.
    let stored: VersionVector = (1..=70_000).map(|number| (life(number), 1)).collect();
    let bytes = selvedge_sync::codec::encode(&stored);
    assert_eq!(selvedge_sync::codec::decode::<VersionVector>(&bytes, bytes.len()).expect("is read").len(), 70_000);
}

#[test]
fn claims_about_our_own_stream_hold_up_our_writes_for_moments() {
    let mut members = Members::of(2);
    members.write(0);
    members.pass(1_000);
    let mut fenced = 0;
    for _ in 0..600 {
        let own = Stream::global(members.replicas[0].me());
        let seen: VersionVector = [(own, 1_000_000)].into_iter().collect();
        let claim = Message::Vector { seen, behind: vec![], root: ContentHash::default(), answer: false, tip: None };
        members.lie(0, claim);
        members.pass(1_000);
        fenced += u64::from(members.replicas[0].is_fenced());
    }
    assert!((1..=90).contains(&fenced), "writes waited in {fenced} of 600 seconds");
    assert!(members.offences(Offence::Unfounded) >= 1);
    members.pass(6_000);
    members.write(0);
    assert!(members.replicas[0].seen().seq(&Stream::global(members.replicas[0].me())) >= 2);
}

#[test]
fn commits_that_were_never_made_are_asked_for_now_and_then() {
    let mut members = Members::of(2);
    let invented = stream(NodeId([7; 32]));
    for _ in 0..100 {
        let seen: VersionVector = [(invented, 1_000_000)].into_iter().collect();
        let claim = Message::Vector { seen, behind: vec![], root: ContentHash::default(), answer: true, tip: None };
        members.lie(0, claim);
        members.pass(100);
    }
    assert_eq!(members.replicas.iter().map(|replica| replica.seen().seq(&invented)).sum::<u64>(), 0);
    let asked = members.heard.iter().filter(|(_, message)| matches!(message, Message::Vector { answer: false, .. }));
    assert!((2..=100).contains(&asked.count()), "in ten seconds");
    members.pass(2_000);
    let unanswered = members.replicas[0].counters().unanswered;
    assert!((2..=10).contains(&unanswered), "{unanswered} times");
    assert_eq!(members.replicas[1].counters().unanswered, 0, "who was not lied to misses nothing");
    members.write(1);
    members.pass(1_000);
    assert!(members.agree());
}

#[test]
fn counters_that_jump_and_stamps_from_the_future_stay_outside() {
    let mut members = Members::of(2);
    let own = stream(LIAR);
    let jump = (key("gcounter/hits"), Op::GCounter(u64::MAX.into()));
    let jump = Commit { stream: own, seq: 1, hlc: Hlc::from_millis(WALL_MS), request: None, ops: vec![jump] };
    members.send(0, Batch::new(own, 1, vec![jump.encode()]).sealed(&HashKeys));
    assert_eq!((members.replicas[0].counters().rejected, members.replicas[0].seen().seq(&own)), (1, 0));
    let far = Commit { stream: own, seq: 1, hlc: Hlc::from_millis(WALL_MS * 2), request: None, ops: Vec::new() };
    members.send(0, Batch::new(own, 1, vec![far.encode()]).sealed(&HashKeys));
    assert_eq!((members.replicas[0].counters().held, members.replicas[0].seen().seq(&own)), (1, 0));
    members.write(1);
    members.pass(1_000);
    assert!(members.agree());
}
