//! The laws of every type: any order that keeps each writer's order converges, merges are a join, and states say what
//! operations say. Histories are drawn at random: writers commit, and receive each other's commits in part.

use proptest::prelude::*;
use selvedge_sync::causal::VersionVector;
use selvedge_sync::crdt::{Assign, Context, Object, ObjectState, Op};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;

const WRITERS: usize = 3;
/// The writer that retires when another takes over its share of a counter.
const RETIRES: usize = WRITERS - 1;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Writer, member, amount or put-or-remove.
    Write(usize, u8, u8),
    /// Receiver, writer: the receiver takes the writer's next commit that it misses.
    Take(usize, usize),
    /// Receiver, giver: the receiver merges the giver's whole state.
    Merge(usize, usize),
    /// Writer: it takes over the share of the one that retires, if it has seen all of its commits and nobody did before.
    Fold(usize),
}

/// An object on one host, with what that host has seen.
#[derive(Clone, Debug)]
struct Host {
    object: Object,
    seen: VersionVector,
}

#[derive(Clone, Debug)]
struct Commit {
    dot: Dot,
    hlc: Hlc,
    op: Op,
}

fn replica(index: usize) -> ReplicaId {
    ReplicaId { node: NodeId([u8::try_from(index + 1).expect("few"); 32]), incarnation: Incarnation(1) }
}

fn key(kind: Kind) -> Key {
    Key::new(kind, "law").expect("a key")
}

impl Host {
    fn new(kind: Kind) -> Self {
        Self { object: Object::new(&key(kind)), seen: VersionVector::default() }
    }

    fn apply(&mut self, commit: &Commit) {
        let stream = Stream::global(commit.dot.replica);
        assert_eq!(self.seen.seq(&stream) + 1, commit.dot.seq, "streams apply in order");
        commit.op.validate(self.object_kind(), &commit.dot).expect("our own operations are valid");
        self.object.apply(commit.op.clone(), commit.dot, commit.hlc, Context::of(&self.seen));
        self.seen.advance(stream, commit.dot.seq);
        self.settle();
    }

    fn merge(&mut self, other: &Self) {
        let state = other.object.state();
        state.validate(self.object_kind()).expect("our own states are valid");
        self.object.merge(state, Context::of(&other.seen), Context::of(&self.seen));
        self.seen.merge(&other.seen);
        self.settle();
    }

    fn settle(&mut self) {
        self.object.settle(Context::of(&self.seen));
    }

    fn object_kind(&self) -> Kind {
        self.object.state().kind()
    }

    fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.merge(other);
        merged
    }

    /// The fold by which `writer` takes over the share of the one that retires; `None` when there is nothing to take over.
    fn fold(&self, writer: usize) -> Option<Op> {
        let counter = self.object.as_counter()?;
        let (retired, (up, down)) = (replica(RETIRES), counter.totals(&replica(writer)));
        let share = counter.shares().iter().find(|share| share.replica == retired)?;
        let from = vec![Dot { replica: retired, seq: self.seen.seq(&Stream::global(retired)) }];
        Some(Op::Fold { up: up + share.up, down: down + share.down, from })
    }

    /// What a writer's intent becomes here.
    fn op(&self, kind: Kind, dot: &Dot, member: u8, by: u8) -> Op {
        let (up, down) = self.object.totals(&dot.replica);
        let add = !by.is_multiple_of(3);
        match kind {
            Kind::GCounter => Op::GCounter(up + u64::from(by)),
            Kind::PnCounter if add => Op::PnCounter(up + u64::from(by), down),
            Kind::PnCounter => Op::PnCounter(up, down + u64::from(by)),
            Kind::GSet => Op::GSet(vec![Scalar::Int(member.into())]),
            Kind::OrSet => {
                let member = Scalar::Int(member.into());
                let over = self.object.observed_member(&member, dot);
                Op::OrSet(vec![Assign { member, value: add.then_some(()), over }])
            }
            Kind::LwwMap => {
                let member = format!("f{member}");
                let over = self.object.observed_field(&member, dot);
                Op::LwwMap(vec![Assign { member, value: add.then(|| Scalar::Int(by.into())), over }])
            }
        }
    }
}

/// What came of a history: every host, and every commit by writer.
struct Outcome {
    hosts: Vec<Host>,
    commits: Vec<Vec<Commit>>,
}

fn play(kind: Kind, steps: &[Step]) -> Outcome {
    let mut hosts = vec![Host::new(kind); WRITERS];
    let mut commits: Vec<Vec<Commit>> = vec![Vec::new(); WRITERS];
    let mut retired = false;
    for (tick, step) in steps.iter().enumerate() {
        match *step {
            Step::Write(RETIRES, ..) if retired => {}
            Step::Fold(writer) => {
                let seen = hosts[writer].seen.seq(&Stream::global(replica(RETIRES)));
                let may = !retired && writer != RETIRES && seen == commits[RETIRES].len() as u64;
                let Some(op) = may.then(|| hosts[writer].fold(writer)).flatten() else { continue };
                retired = true;
                let dot = Dot { replica: replica(writer), seq: commits[writer].len() as u64 + 1 };
                let commit = Commit { dot, hlc: Hlc::from_millis(1_000), op };
                let before = hosts[writer].object.value();
                hosts[writer].apply(&commit);
                assert_eq!(hosts[writer].object.value(), before, "a fold keeps the value");
                assert_eq!(hosts[writer].object.totals(&replica(RETIRES)), (0, 0));
                commits[writer].push(commit);
            }
            Step::Write(writer, member, by) => {
                let dot = Dot { replica: replica(writer), seq: commits[writer].len() as u64 + 1 };
                let op = hosts[writer].op(kind, &dot, member, by);
                // Equal stamps on purpose: ties are broken by the dot.
                let commit = Commit { dot, hlc: Hlc::from_millis(1_000 + tick as u64 / 4), op };
                hosts[writer].apply(&commit);
                commits[writer].push(commit);
            }
            Step::Take(receiver, writer) => {
                let next = usize::try_from(hosts[receiver].seen.seq(&Stream::global(replica(writer)))).expect("few");
                if let Some(commit) = commits[writer].get(next) {
                    hosts[receiver].apply(commit);
                }
            }
            Step::Merge(receiver, giver) => {
                let giver = hosts[giver].clone();
                hosts[receiver].merge(&giver);
            }
        }
    }
    Outcome { hosts, commits }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let host = 0..WRITERS;
    let step = prop_oneof![
        4 => (host.clone(), 0..4_u8, 0..10_u8).prop_map(|(writer, member, by)| Step::Write(writer, member, by)),
        4 => (host.clone(), host.clone()).prop_map(|(receiver, writer)| Step::Take(receiver, writer)),
        1 => (host.clone(), host.clone()).prop_map(|(receiver, giver)| Step::Merge(receiver, giver)),
        1 => host.prop_map(Step::Fold),
    ];
    proptest::collection::vec(step, 1..40)
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index])
}

/// All commits on a host of its own, interleaved as `order` says.
fn interleave(kind: Kind, commits: &[Vec<Commit>], order: &[usize]) -> Host {
    let mut host = Host::new(kind);
    let mut left: Vec<_> = commits.iter().map(|of| of.iter()).collect();
    for writer in order.iter().copied().chain((0..WRITERS).flat_map(|writer| vec![writer; commits[writer].len()])) {
        if let Some(commit) = left[writer].next() {
            host.apply(commit);
        }
    }
    host
}

/// The same content put together anew from its state.
fn anew(host: &Host) -> Object {
    let nothing = VersionVector::default();
    let mut object = Object::new(&key(host.object_kind()));
    object.merge(host.object.state(), Context::of(&nothing), Context::of(&nothing));
    object
}

/// Two hosts hold the same: content, hash, weight, and what only order needs.
fn same(one: &Host, other: &Host) {
    assert_eq!(one.seen, other.seen);
    assert_eq!(one.object, other.object);
}

fn cases(count: u32) -> ProptestConfig {
    let cases = if cfg!(debug_assertions) { count / 8 } else { count };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_order_of_streams_converges(
        kind in kind(),
        steps in steps(),
        one in proptest::collection::vec(0..WRITERS, 0..60),
        other in proptest::collection::vec(0..WRITERS, 0..60),
    ) {
        let Outcome { commits, .. } = play(kind, &steps);
        same(&interleave(kind, &commits, &one), &interleave(kind, &commits, &other));
    }

    #[test]
    fn merge_is_a_join(kind in kind(), steps in steps()) {
        let Outcome { hosts, .. } = play(kind, &steps);
        let [a, b, c] = &hosts[..] else { unreachable!("three hosts") };
        same(&a.merged(b), &b.merged(a));
        same(&a.merged(b).merged(c), &a.merged(&b.merged(c)));
        same(&a.merged(a), a);
        same(&a.merged(b).merged(b), &a.merged(b));
    }

    #[test]
    fn states_say_what_operations_say(kind in kind(), steps in steps(), order in proptest::collection::vec(0..WRITERS, 0..60)) {
        let Outcome { mut hosts, commits } = play(kind, &steps);
        let by_commits = interleave(kind, &commits, &order);
        let by_states = hosts[0].merged(&hosts[1]).merged(&hosts[2]);
        same(&by_commits, &by_states);
        for host in &mut hosts {
            for (writer, commits) in commits.iter().enumerate() {
                let seen = usize::try_from(host.seen.seq(&Stream::global(replica(writer)))).expect("few");
                commits[seen..].iter().for_each(|commit| host.apply(commit));
            }
            same(host, &by_commits);
        }
    }

    #[test]
    fn content_is_the_sum_over_what_is_held(kind in kind(), steps in steps()) {
        for host in play(kind, &steps).hosts {
            let anew = anew(&host);
            prop_assert_eq!(&anew, &host.object);
            prop_assert_eq!(anew.content().hash(), host.object.content().hash());
            prop_assert_eq!(anew.content().bytes(), host.object.content().bytes());
        }
    }

    #[test]
    fn nothing_is_kept_for_order_once_all_is_seen(kind in kind(), steps in steps()) {
        let Outcome { commits, .. } = play(kind, &steps);
        prop_assert_eq!(interleave(kind, &commits, &[]).object.garbage(), 0);
    }

    #[test]
    fn states_survive_their_encoding(kind in kind(), steps in steps()) {
        for host in play(kind, &steps).hosts {
            let bytes = selvedge_sync::codec::encode(&host.object.state());
            let state: ObjectState = selvedge_sync::codec::decode(&bytes, usize::MAX).expect("decodes");
            prop_assert_eq!(state, host.object.state());
        }
    }
}
