//! Things that must not wait for each other: each test is a story of how they once did, or nearly.

use std::collections::VecDeque;

use selvedge_sync::change::Change;
use selvedge_sync::commit::{Batch, Commit, CommitBytes};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Message, Output, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::seal::HashKeys;
use selvedge_sync::time::Time;

const WALL_MS: u64 = 1_800_000_000_000;

/// Two replicas, a disk without latency, and a wire that a test may tamper with.
struct Pair {
    replicas: [Replica; 2],
    now_ms: u64,
    sent: u64,
}

fn id(index: usize) -> ReplicaId {
    ReplicaId { node: NodeId([u8::try_from(index + 1).expect("two"); 32]), incarnation: Incarnation(1) }
}

impl Pair {
    fn new(config: &Config) -> Self {
        let replicas = [0, 1].map(|index| Replica::new(id(index), config.clone()));
        Self { replicas, now_ms: 0, sent: 0 }
    }

    fn time(&self) -> Time {
        Time { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms }
    }

    /// Feeds an input and everything that follows from it at this moment, at most `steps` of it; `lost` says which messages
    /// are.
    fn feed(&mut self, index: usize, input: Input, mut lost: impl FnMut(&Message) -> bool) {
        let mut inputs = VecDeque::from([(index, input)]);
        let mut steps = 0;
        while let Some((index, input)) = inputs.pop_front() {
            steps += 1;
            assert!(steps < 500, "two replicas talk without end at one moment");
            for output in self.replicas[index].handle(input, self.time()) {
                match output {
                    Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                        inputs.push_back((index, Input::Persisted { token }));
                    }
                    Output::Send { message, .. } => {
                        self.sent += 1;
                        if !lost(&message) {
                            inputs.push_back((1 - index, Input::Receive { from: id(index).node, message }));
                        }
                    }
                    Output::Rebirth { .. } | Output::Committed { .. } | Output::Event(_) => {}
                    Output::Watching { .. } | Output::Changed { .. } => {}
                }
            }
        }
    }

    fn connect(&mut self) {
        for index in [0, 1] {
            self.feed(index, Input::PeerUp(id(1 - index).node), |_| false);
        }
    }

    fn write(&mut self, index: usize, lost: impl FnMut(&Message) -> bool) {
        let changes = vec![(Key::new(Kind::GCounter, "hits").expect("a key"), Change::Increment(1))];
        self.feed(index, Input::Commit { ticket: 0, changes, request: None }, lost);
    }

    fn tick(&mut self) {
        for index in [0, 1] {
            self.feed(index, Input::Tick, |_| false);
        }
    }

    fn lag(&self) -> u64 {
        self.replicas[1].seen().missing_from(self.replicas[0].seen())
    }
}

/// A push was taken to be on its way for half a second, and each new push began the half second anew: one lost push kept the
/// peer behind for as long as the writer went on.
#[test]
fn one_lost_push_is_mended_while_the_writer_goes_on() {
    let mut pair = Pair::new(&Config::default());
    pair.connect();
    for round in 0..100 {
        pair.now_ms += 50;
        let lose = round == 10;
        pair.write(0, |message| lose && matches!(message, Message::Commits { .. }));
        pair.tick();
    }
    assert!(pair.lag() < 3, "{} commits behind", pair.lag());
}

/// Fills a page of the log of replica 0 with a stream that nobody can take for now, before the stream of replica 0 itself.
fn hold_up(pair: &mut Pair, commits: usize, ahead_ms: u64) {
    let stream = Stream::global(ReplicaId { node: NodeId([0; 32]), incarnation: Incarnation(1) });
    let commit = |seq: u64| {
        let hlc = Hlc::from_millis(WALL_MS + pair.now_ms + ahead_ms);
        Commit { stream, seq, hlc, request: None, ops: Vec::new() }.encode()
    };
    let commits: Vec<CommitBytes> = (1..=commits as u64).map(commit).collect();
    // Replica 0 has another clock, and finds nothing wrong with them.
    let time = Time { wall_ms: WALL_MS + pair.now_ms + ahead_ms, mono_ms: pair.now_ms };
    let message =
        Message::Commits { batches: vec![Batch::new(stream, 1, commits).sealed(&HashKeys)], more: false, hops: None };
    for output in pair.replicas[0].handle(Input::Receive { from: NodeId([0; 32]), message }, time) {
        if let Output::Persist { token, .. } = output {
            pair.replicas[0].handle(Input::Persisted { token }, time);
        }
    }
}

/// A page full of commits from the future used to be asked for again at once, for ever; and what came after it in the order
/// of streams was never sent.
#[test]
fn a_stream_that_waits_holds_up_no_other() {
    let mut pair = Pair::new(&Config { page_bytes: 300, ..Config::default() });
    for _ in 0..5 {
        pair.write(0, |_| true);
    }
    hold_up(&mut pair, 50, 3_600_000);
    pair.connect();
    for _ in 0..100 {
        pair.now_ms += 50;
        pair.tick();
    }
    assert_eq!(pair.lag(), 50, "all but the stream that waits has arrived");
    assert!(pair.sent < 400, "{} messages in five seconds", pair.sent);
}

/// One lost page used to cost five seconds and the whole repair.
#[test]
fn a_repair_survives_the_loss_of_pages() {
    let config = Config { page_bytes: 100, log_bytes: 200, ..Config::default() };
    let mut pair = Pair::new(&config);
    for member in 0..60 {
        let changes =
            vec![(Key::new(Kind::GSet, &format!("s{member}")).expect("a key"), Change::Add(vec![Scalar::Int(member)]))];
        pair.feed(0, Input::Commit { ticket: 0, changes, request: None }, |_| true);
    }
    pair.connect();
    let mut pages = 0;
    for _ in 0..200 {
        pair.now_ms += 50;
        for index in [0, 1] {
            pair.feed(index, Input::Tick, |message| {
                pages += u64::from(matches!(message, Message::StatePage { .. }));
                matches!(message, Message::StatePage { .. }) && pages % 4 == 0
            });
        }
    }
    assert_eq!(pair.lag(), 0);
}

/// While a store cannot write, a repair may end; a commit that follows it must not be stored before what it stands on.
#[test]
fn a_repair_that_ended_on_a_failing_store_is_stored_before_what_follows() {
    let config = Config { log_bytes: 1, ..Config::default() };
    let mut pair = Pair::new(&config);
    for _ in 0..5 {
        pair.write(0, |_| true);
    }
    let (receiver, now) = (1, pair.time());
    let giver = id(0).node;
    pair.replicas[receiver].handle(Input::PeerUp(giver), now);
    let outputs = pair.replicas[receiver].handle(Input::Receive { from: giver, message: Message::Forgotten }, now);
    pair.replicas[receiver].handle(Input::StoreFailed, now);
    for output in outputs {
        let Output::Send { message, .. } = output else { continue };
        for answer in pair.replicas[0].handle(Input::Receive { from: id(1).node, message }, now) {
            let Output::Send { message, .. } = answer else { continue };
            let done = pair.replicas[receiver].handle(Input::Receive { from: giver, message }, now);
            assert!(!done.iter().any(|output| matches!(output, Output::Checkpoint { .. })), "the store cannot write");
        }
    }
    assert_eq!(pair.lag(), 0);
    let outputs = pair.replicas[receiver].handle(Input::StoreRecovered, now);
    assert!(outputs.iter().any(|output| matches!(output, Output::Checkpoint { .. })), "{outputs:?}");
}

#[test]
fn a_push_that_is_overtaken_is_neither_lost_nor_asked_for() {
    let mut pair = Pair::new(&Config::default());
    pair.connect();
    let mut overtaken = None;
    pair.write(0, |message| {
        let push = matches!(message, Message::Commits { .. });
        if push {
            overtaken = Some(message.clone());
        }
        push
    });
    pair.write(0, |_| false);
    assert!(pair.replicas[1].seen().is_empty(), "the second commit waits for the first");
    let sent = pair.sent;
    let message = overtaken.expect("the first commit was pushed");
    pair.feed(1, Input::Receive { from: id(0).node, message }, |_| false);
    assert_eq!(pair.replicas[1].seen(), pair.replicas[0].seen());
    assert_eq!(pair.sent, sent, "nothing had to be asked for");
}

/// A repair that ends while an earlier checkpoint is still being written has to wait for it. The commit that came next used to
/// be stored first, and after a crash in between the log began in the air.
#[test]
fn a_repair_that_ended_during_a_checkpoint_is_stored_before_what_follows() {
    let config = Config { log_bytes: 1, checkpoint_ms: 0, ..Config::default() };
    let mut pair = Pair::new(&config);
    for _ in 0..5 {
        pair.write(0, |_| true);
    }
    let (giver, now) = (id(0).node, pair.time());
    // A write of the receiver's own makes its first checkpoint, which the store is slow to report.
    let changes = vec![(Key::new(Kind::GCounter, "own").expect("a key"), Change::Increment(1))];
    pair.replicas[1].handle(Input::Commit { ticket: 0, changes, request: None }, now);
    let outputs = pair.replicas[1].handle(Input::Tick, now);
    assert!(outputs.iter().any(|output| matches!(output, Output::Checkpoint { .. })), "{outputs:?}");
    let mut to_giver = pair.replicas[1].handle(Input::Receive { from: giver, message: Message::Forgotten }, now);
    let mut stored = Vec::new();
    while let Some(output) = to_giver.pop() {
        let Output::Send { message, .. } = output else { continue };
        for answer in pair.replicas[0].handle(Input::Receive { from: id(1).node, message }, now) {
            let Output::Send { message, .. } = answer else { continue };
            let outputs = pair.replicas[1].handle(Input::Receive { from: giver, message }, now);
            stored.extend(outputs.iter().filter(|output| matches!(output, Output::Checkpoint { .. })).cloned());
            to_giver.extend(outputs);
        }
    }
    assert_eq!(pair.lag(), 0);
    assert_eq!(stored, [], "the store has one checkpoint already");
    pair.now_ms += 1_000;
    let now = pair.time();
    let stream = Stream::global(id(0));
    let next = Commit { stream, seq: 6, hlc: Hlc::from_millis(WALL_MS), request: None, ops: Vec::new() }.encode();
    let next = Message::Commits { batches: vec![Batch::new(stream, 6, vec![next])], more: false, hops: None };
    let next = Input::Receive { from: giver, message: next };
    let persists = |output: &Output| matches!(output, Output::Persist { .. });
    assert!(!pair.replicas[1].handle(next.clone(), now).iter().any(persists), "it would be stored before the repair");
    let outputs = pair.replicas[1].handle(Input::Persisted { token: 2 }, now);
    assert!(outputs.iter().any(|output| matches!(output, Output::Checkpoint { .. })), "{outputs:?}");
    assert!(pair.replicas[1].handle(next, now).iter().any(persists), "now it follows the repair");
}
