//! Taking over what retired writers hold of a counter: the value stays, whoever hears of it and when.

use std::collections::BTreeSet;

use selvedge_sync::causal::VersionVector;
use selvedge_sync::crdt::{Context, Op, Value};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::limits::COUNTER_TOTAL_MAX;
use selvedge_sync::state::State;

fn replica(byte: u8) -> ReplicaId {
    ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) }
}

fn dot(byte: u8, seq: u64) -> Dot {
    Dot { replica: replica(byte), seq }
}

fn key(kind: Kind) -> Key {
    Key::new(kind, "k").expect("a key")
}

/// A state, and what it has seen.
struct Host(State, VersionVector);

impl Host {
    fn new() -> Self {
        Self(State::new(replica(1)), VersionVector::default())
    }

    fn take(&mut self, kind: Kind, dot: Dot, op: &Op) {
        op.validate(kind, &dot).expect("valid");
        self.0.apply(key(kind), op.clone(), dot, Hlc(1), Context::of(&self.1));
        self.1.advance(Stream::global(dot.replica), dot.seq);
    }

    fn fold_of(&self, kind: Kind, retired: &[u8]) -> Option<Op> {
        let retired: BTreeSet<ReplicaId> = retired.iter().map(|byte| replica(*byte)).collect();
        self.0.fold_of(&key(kind), &retired, &self.1, replica(1))
    }
}

#[test]
fn the_shares_of_retired_writers_are_taken_over() {
    let mut host = Host::new();
    host.take(Kind::PnCounter, dot(1, 1), &Op::PnCounter(10, 1));
    host.take(Kind::PnCounter, dot(2, 1), &Op::PnCounter(5, 0));
    host.take(Kind::PnCounter, dot(3, 1), &Op::PnCounter(0, 7));
    host.take(Kind::PnCounter, dot(4, 1), &Op::PnCounter(1, 1));
    // A later commit of a retired writer that touched something else is named too: all up to it is taken over.
    host.1.advance(Stream::global(replica(2)), 9);
    let op = host.fold_of(Kind::PnCounter, &[1, 2, 3, 8]).expect("something to take over");
    assert_eq!(op, Op::Fold { up: 15, down: 8, from: vec![dot(2, 9), dot(3, 1)] });
    let root = host.0.root();
    host.take(Kind::PnCounter, dot(1, 2), &op);
    assert_eq!(host.0.value(&key(Kind::PnCounter)), Some(Value::Counter(7)));
    assert_ne!(host.0.root(), root);
    assert_eq!((host.fold_of(Kind::PnCounter, &[2, 3]), host.0.garbage()), (None, 0));
    let holding = |byte| host.0.counters_holding(&BTreeSet::from([replica(byte)])).count();
    assert_eq!((holding(2), holding(3), holding(4)), (0, 0, 1));
}

#[test]
fn what_one_replica_may_not_hold_is_not_taken_over() {
    let mut host = Host::new();
    host.take(Kind::GCounter, dot(1, 1), &Op::GCounter(2));
    host.take(Kind::GCounter, dot(2, 1), &Op::GCounter(COUNTER_TOTAL_MAX - 1));
    assert_eq!(host.fold_of(Kind::GCounter, &[2]), None);
    assert_eq!(host.fold_of(Kind::GCounter, &[]), None);
    assert_eq!(host.fold_of(Kind::PnCounter, &[2]), None);
}

#[test]
fn a_fold_that_overtakes_what_it_takes_over_counts_once() {
    let writes = [(dot(2, 1), Op::GCounter(3)), (dot(2, 2), Op::GCounter(5))];
    let fold = (dot(1, 1), Op::Fold { up: 5, down: 0, from: vec![dot(2, 2)] });
    let [early, late, between] = [[2, 0, 1], [0, 1, 2], [0, 2, 1]].map(|order| {
        let mut host = Host::new();
        let all = [&writes[0], &writes[1], &fold];
        for index in order {
            host.take(Kind::GCounter, all[index].0, &all[index].1);
        }
        assert_eq!(host.0.value(&key(Kind::GCounter)), Some(Value::Counter(5)), "{order:?}");
        assert_eq!(host.0.garbage(), 0, "{order:?}");
        host.0.root()
    });
    assert!(early == late && late == between);
}

/// A host that was given the folded counter by a page, and hears the commits of the retired writer afterwards.
#[test]
fn a_page_with_a_fold_is_not_undone_by_older_pages_and_commits() {
    let mut folded = Host::new();
    folded.take(Kind::GCounter, dot(2, 1), &Op::GCounter(3));
    let unfolded = folded.0.object(&key(Kind::GCounter)).expect("there").state();
    let before = folded.1.clone();
    folded.take(Kind::GCounter, dot(1, 1), &folded.fold_of(Kind::GCounter, &[2]).expect("a fold"));
    let state = folded.0.object(&key(Kind::GCounter)).expect("there").state();

    let mut other = Host::new();
    other.take(Kind::GCounter, dot(2, 1), &Op::GCounter(3));
    other.0.merge(key(Kind::GCounter), state, Context::of(&folded.1), Context::of(&other.1));
    other.1.merge(&folded.1);
    assert_eq!(other.0.root(), folded.0.root());
    other.0.merge(key(Kind::GCounter), unfolded, Context::of(&before), Context::of(&other.1));
    assert_eq!(other.0.root(), folded.0.root());
    assert_eq!(other.0.value(&key(Kind::GCounter)), Some(Value::Counter(3)));
}
