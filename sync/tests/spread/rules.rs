//! What one replica does with the tree's messages, a rule at a time.

use selvedge_sync::broadcast::{News, Want};
use selvedge_sync::change::Change;
use selvedge_sync::commit::{Batch, Commit};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::limits::{NEWS_PER_ANNOUNCE, REFUSED_MS, SEAL_COMMITS_MAX};
use selvedge_sync::replica::{Config, Input, Message, Output, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::seal::HashKeys;
use selvedge_sync::time::Time;

const WALL_MS: u64 = 1_800_000_000_000;
/// Small, so that a few commits fill it.
const PAGE_BYTES: usize = 2_000;
/// More than a commit of these tests takes.
const COMMIT_BYTES: usize = 240;

fn stream(byte: u8) -> Stream {
    Stream::global(ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) })
}

/// A replica among forty, of whom the second has chosen it as a neighbour.
struct Member {
    replica: Replica,
    now_ms: u64,
}

impl Member {
    fn new() -> Self {
        let config = Config { page_bytes: PAGE_BYTES, ..Config::default() };
        let mut member = Self { replica: Replica::new(stream(1).replica, config), now_ms: 0 };
        (2..=40).for_each(|byte| drop(member.feed(Input::PeerUp(NodeId([byte; 32])))));
        member.hear(2, Message::Link(true));
        member.pass(50);
        member
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.replica.handle(input, Time { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms })
    }

    fn hear(&mut self, from: u8, message: Message) -> Vec<(NodeId, Message)> {
        let outputs = self.feed(Input::Receive { from: NodeId([from; 32]), message });
        self.settle(outputs)
    }

    /// Lets time pass in ticks; returns what was sent.
    fn pass(&mut self, ms: u64) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        for _ in 0..ms / 50 {
            self.now_ms += 50;
            let outputs = self.feed(Input::Tick);
            sent.extend(self.settle(outputs));
        }
        sent
    }

    /// Makes durable whatever these outputs want stored; returns what is sent.
    fn settle(&mut self, mut outputs: Vec<Output>) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                        outputs.extend(self.feed(Input::Persisted { token }));
                    }
                    Output::Send { to, message } => sent.push((to, message)),
                    Output::Committed { .. } | Output::Event(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        sent
    }

    /// A commit of some hundred bytes, not durable yet.
    fn write(&mut self) -> Vec<Output> {
        let put = Change::Put(vec![("f".to_owned(), Scalar::from("x".repeat(200).as_str()))]);
        let changes = vec![(Key::new(Kind::LwwMap, "m").expect("a key"), put)];
        self.feed(Input::Commit { ticket: 0, changes, request: None })
    }
}

/// Commits of somebody else, stamped so much later than the time.
fn foreign(byte: u8, seqs: std::ops::RangeInclusive<u64>, ahead_ms: u64, hops: Option<u8>) -> Message {
    let commit = |seq| {
        let hlc = Hlc::from_millis(WALL_MS + ahead_ms);
        Commit { stream: stream(byte), seq, hlc, request: None, ops: Vec::new() }.encode()
    };
    let batch = Batch { first: *seqs.start(), commits: seqs.map(commit).collect(), ..empty(byte) };
    Message::Commits { batches: vec![batch.sealed(&HashKeys)], more: false, hops }
}

fn empty(byte: u8) -> Batch {
    Batch::new(stream(byte), 1, Vec::new())
}

fn want(byte: u8, after: u64, through: u64) -> Message {
    Message::Graft(vec![Want { stream: stream(byte), after, through }])
}

fn news(byte: u8, through: u64) -> Message {
    Message::Announce(vec![News { stream: stream(byte), through, hops: 2 }])
}

fn bytes(sent: &[(NodeId, Message)]) -> usize {
    let batches = sent.iter().filter_map(|(_, message)| match message {
        Message::Commits { batches, .. } => Some(batches),
        _ => None,
    });
    batches.flatten().flat_map(|batch| &batch.commits).map(|commit| commit.len()).sum()
}

fn grafts(sent: &[(NodeId, Message)]) -> usize {
    sent.iter().filter(|(_, message)| matches!(message, Message::Graft(wants) if !wants.is_empty())).count()
}

#[test]
fn what_a_neighbour_asks_for_costs_a_page_a_tick() {
    let mut member = Member::new();
    for _ in 0..100 {
        let outputs = member.write();
        member.settle(outputs);
    }
    let asked = |member: &mut Member| (0..50).map(|_| bytes(&member.hear(2, want(1, 0, 100)))).sum::<usize>();
    let given = asked(&mut member);
    // What is sealed as one is given as one: a page overflows by a run.
    let run = SEAL_COMMITS_MAX * COMMIT_BYTES;
    assert!(given > PAGE_BYTES / 2 && given < PAGE_BYTES + run, "{given} bytes");
    assert!(member.replica.spread_counters().grafts_refused >= 48);
    member.pass(50);
    assert!(asked(&mut member) > PAGE_BYTES / 2, "the next tick has its own page");
}

#[test]
fn nobody_is_given_what_is_not_durable_here() {
    let mut member = Member::new();
    let outputs = member.write();
    assert!(member.hear(2, want(1, 0, 1)).is_empty());
    assert!(member.pass(1_000).iter().all(|(_, message)| !matches!(message, Message::Announce(_))));
    let pushed = member.settle(outputs);
    assert!(
        pushed
            .iter()
            .any(|(to, message)| *to == NodeId([2; 32]) && matches!(message, Message::Commits { hops: Some(1), .. }))
    );
}

#[test]
fn what_came_by_the_tree_is_passed_on_once_and_neither_back_nor_to_its_writer() {
    let mut member = Member::new();
    let neighbours = member.replica.neighbours().0;
    let sent = member.hear(2, foreign(30, 1..=2, 0, Some(3)));
    let told: Vec<NodeId> =
        sent.iter().filter(|(_, message)| matches!(message, Message::Commits { .. })).map(|(to, _)| *to).collect();
    let others = neighbours.into_iter().filter(|node| ![2, 30].map(|byte| NodeId([byte; 32])).contains(node));
    assert_eq!(told, others.collect::<Vec<_>>());
    assert!(sent.iter().all(|(_, message)| !matches!(message, Message::Commits { hops, .. } if *hops != Some(4))));
    assert_eq!(bytes(&member.hear(3, foreign(30, 1..=2, 0, Some(1)))), 0, "known, so nobody's news");
}

#[test]
fn what_was_announced_and_does_not_come_is_asked_for_and_what_would_not_be_taken_is_not() {
    let mut member = Member::new();
    member.hear(2, news(30, 5));
    assert_eq!(grafts(&member.pass(100)), 1);
    member.hear(2, foreign(30, 1..=5, 0, Some(3)));
    assert_eq!((grafts(&member.pass(1_000)), member.replica.seen().seq(&stream(30))), (0, 5));
    // Stamped an hour ahead of our clock: to ask for it again brings it again, and it waits again.
    member.hear(2, news(31, 5));
    member.hear(2, foreign(31, 1..=5, 3_600_000, Some(3)));
    assert_eq!(grafts(&member.pass(REFUSED_MS - 100)), 0);
    assert!(grafts(&member.pass(600)) > 0);
    // A store that cannot write takes nothing.
    member.feed(Input::StoreFailed);
    member.hear(2, news(32, 5));
    assert_eq!(grafts(&member.pass(1_000)), 0);
}

#[test]
fn commits_that_overtook_others_by_the_tree_are_left_to_it_first() {
    let mut member = Member::new();
    member.hear(2, foreign(30, 3..=3, 0, Some(3)));
    let sent = member.pass(1_000);
    assert!(grafts(&sent) > 0);
    let asks = |sent: &[(NodeId, Message)]| sent.iter().any(|(_, message)| matches!(message, Message::Vector { .. }));
    assert!(!asks(&sent), "anti-entropy waits");
    assert!(asks(&member.pass(1_000)), "and then asks for what the tree did not bring");
}

#[test]
fn messages_of_the_tree_are_bounded() {
    let many = |count: usize| Message::Announce(vec![News { stream: stream(9), through: 1, hops: 0 }; count]);
    let wants = |count: usize| Message::Graft(vec![Want { stream: stream(9), after: 0, through: 1 }; count]);
    let passes = |message: &Message| Message::decode(&message.encode()).is_ok();
    assert!(passes(&many(NEWS_PER_ANNOUNCE)) && passes(&wants(NEWS_PER_ANNOUNCE)));
    assert!(!passes(&many(NEWS_PER_ANNOUNCE + 1)) && !passes(&wants(NEWS_PER_ANNOUNCE + 1)));
    assert!(!passes(&news(9, u64::MAX)) && !passes(&want(9, u64::MAX, 1)) && !passes(&want(9, 0, u64::MAX)));
}
