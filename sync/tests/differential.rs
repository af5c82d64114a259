//! Our types against those of the `crdts` crate, op for op: the same writers write the same things to both, in the same
//! histories, and readers must see the same.
//!
//! The crate's set is exact only when delivery is causal, and its register only when markers are unique; so histories here are
//! causal and stamps unique. What ours does beyond that is the business of the laws and of the simulator.

use std::collections::BTreeSet;

use crdts::{CmRDT, CvRDT, GCounter, GSet, LWWReg, Orswot, PNCounter};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::crdt::{Assign, Context, Object, Op, Value};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::sim::Rng;

const HOSTS: usize = 4;
const RUNS: u64 = if cfg!(debug_assertions) { 150 } else { 2_000 };

/// A type of the crate, driven by the same intents as ours.
trait Reference: Clone + Default {
    type Op: Clone;
    const KIND: Kind;
    /// What `intent` by `writer` becomes, given what this host holds.
    fn op(&self, writer: ReplicaId, intent: Intent) -> Self::Op;
    fn take(&mut self, op: Self::Op);
    fn join(&mut self, other: Self);
    fn read(&self) -> Value;
}

/// What a writer wants: a member, an amount, whether it is put or taken away, and when.
#[derive(Clone, Copy, Debug)]
struct Intent {
    member: i64,
    by: u64,
    put: bool,
    hlc: Hlc,
}

#[derive(Clone)]
struct Host<R> {
    ours: Object,
    seen: VersionVector,
    reference: R,
}

#[derive(Clone)]
struct Commit<R: Reference> {
    dot: Dot,
    hlc: Hlc,
    context: VersionVector,
    ours: Op,
    /// `None` for what the crate does not know and readers must not notice: one writer takes over another's share.
    reference: Option<R::Op>,
}

fn replica(index: usize) -> ReplicaId {
    ReplicaId { node: NodeId([u8::try_from(index + 1).expect("few"); 32]), incarnation: Incarnation(1) }
}

fn ours(object: &Object, kind: Kind, dot: &Dot, intent: Intent) -> Op {
    let Intent { member, by, put, .. } = intent;
    let (up, down) = object.totals(&dot.replica);
    match kind {
        Kind::GCounter => Op::GCounter((up + by).into()),
        Kind::PnCounter => {
            Op::PnCounter((up + if put { by } else { 0 }).into(), (down + if put { 0 } else { by }).into())
        }
        Kind::GSet => Op::GSet(vec![Scalar::Int(member)]),
        Kind::OrSet => {
            let over = object.observed_member(&Scalar::Int(member), dot);
            Op::OrSet(vec![Assign { member: Scalar::Int(member), value: put.then_some(()), over }])
        }
        Kind::LwwMap => {
            let over = object.observed_field("f", dot);
            Op::LwwMap(vec![Assign { member: "f".to_owned(), value: Some(Scalar::Int(member)), over }])
        }
    }
}

impl<R: Reference> Host<R> {
    fn apply(&mut self, commit: &Commit<R>) {
        self.ours.apply(commit.ours.clone(), commit.dot, commit.hlc, Context::of(&self.seen));
        if let Some(reference) = commit.reference.clone() {
            self.reference.take(reference);
        }
        self.seen.advance(Stream::global(commit.dot.replica), commit.dot.seq);
    }

    fn merge(&mut self, other: &Self) {
        self.ours.merge(other.ours.state(), Context::of(&other.seen), Context::of(&self.seen));
        self.reference.join(other.reference.clone());
        self.seen.merge(&other.seen);
    }
}

/// The fold by which `dot`'s writer takes over the last writer's share of a counter, if it has seen all of its commits.
fn fold<R: Reference>(host: &Host<R>, dot: &Dot, last: &[Commit<R>]) -> Option<Op> {
    let retired = replica(HOSTS - 1);
    let seen = host.seen.seq(&Stream::global(retired));
    let (up, down) = host.ours.totals(&dot.replica);
    let (more_up, more_down) = host.ours.totals(&retired);
    let there = more_up + more_down > 0 && seen == last.len() as u64 && dot.replica != retired;
    let from = vec![Dot { replica: retired, seq: seen }];
    there.then_some(Op::Fold { up: up + more_up, down: down + more_down, from })
}

fn check<R: Reference>() {
    let mut folds = 0;
    for seed in 0..RUNS {
        let mut rng = Rng::new(seed);
        let key = Key::new(R::KIND, "pair").expect("a key");
        let host = Host { ours: Object::new(&key), seen: VersionVector::default(), reference: R::default() };
        let mut hosts = vec![host; HOSTS];
        let mut commits: Vec<Vec<Commit<R>>> = vec![Vec::new(); HOSTS];
        let mut retired = false;
        for step in 0..60 {
            let (index, other) = (rng.index(HOSTS), rng.index(HOSTS));
            match rng.between(0, 10) {
                0..=3 if retired && index == HOSTS - 1 => {}
                10 => {
                    let dot = Dot { replica: replica(index), seq: commits[index].len() as u64 + 1 };
                    let op = fold(&hosts[index], &dot, &commits[HOSTS - 1]).filter(|_| !retired);
                    let Some(ours) = op else { continue };
                    (retired, folds) = (true, folds + 1);
                    let commit = Commit { dot, hlc: Hlc(1), context: hosts[index].seen.clone(), ours, reference: None };
                    hosts[index].apply(&commit);
                    commits[index].push(commit);
                }
                0..=3 => {
                    let hlc = Hlc(rng.between(0, 1_000) * 1_000 + step);
                    let member = i64::try_from(rng.between(0, 3)).expect("small");
                    let intent = Intent { member, by: rng.between(1, 9), put: rng.chance(600), hlc };
                    let dot = Dot { replica: replica(index), seq: commits[index].len() as u64 + 1 };
                    let ours = ours(&hosts[index].ours, R::KIND, &dot, intent);
                    let reference = Some(hosts[index].reference.op(dot.replica, intent));
                    let commit = Commit { dot, hlc, context: hosts[index].seen.clone(), ours, reference };
                    hosts[index].apply(&commit);
                    commits[index].push(commit);
                }
                4..=8 => {
                    let next = usize::try_from(hosts[index].seen.seq(&Stream::global(replica(other)))).expect("few");
                    let next = commits[other].get(next).filter(|commit| hosts[index].seen.includes(&commit.context));
                    if let Some(commit) = next.cloned() {
                        hosts[index].apply(&commit);
                    }
                }
                _ => {
                    let giver = hosts[other].clone();
                    hosts[index].merge(&giver);
                }
            }
            assert_eq!(hosts[index].ours.value(), hosts[index].reference.read(), "{} seed {seed} step {step}", R::KIND);
        }
    }
    let counts = matches!(R::KIND, Kind::GCounter | Kind::PnCounter);
    assert_eq!(folds > RUNS / 10, counts, "{folds} folds of {RUNS} histories");
}

impl Reference for GCounter<ReplicaId> {
    type Op = crdts::Dot<ReplicaId>;
    const KIND: Kind = Kind::GCounter;
    fn op(&self, writer: ReplicaId, intent: Intent) -> Self::Op {
        self.inc_many(writer, intent.by)
    }
    fn take(&mut self, op: Self::Op) {
        CmRDT::apply(self, op);
    }
    fn join(&mut self, other: Self) {
        self.merge(other);
    }
    fn read(&self) -> Value {
        Value::Counter(Self::read(self).try_into().expect("small"))
    }
}

#[test]
fn gcounter() {
    check::<GCounter<ReplicaId>>();
}

impl Reference for PNCounter<ReplicaId> {
    type Op = crdts::pncounter::Op<ReplicaId>;
    const KIND: Kind = Kind::PnCounter;
    fn op(&self, writer: ReplicaId, intent: Intent) -> Self::Op {
        if intent.put { self.inc_many(writer, intent.by) } else { self.dec_many(writer, intent.by) }
    }
    fn take(&mut self, op: Self::Op) {
        CmRDT::apply(self, op);
    }
    fn join(&mut self, other: Self) {
        self.merge(other);
    }
    fn read(&self) -> Value {
        Value::Counter(Self::read(self).try_into().expect("small"))
    }
}

#[test]
fn pncounter() {
    check::<PNCounter<ReplicaId>>();
}

impl Reference for GSet<i64> {
    type Op = i64;
    const KIND: Kind = Kind::GSet;
    fn op(&self, _: ReplicaId, intent: Intent) -> i64 {
        intent.member
    }
    fn take(&mut self, op: i64) {
        CmRDT::apply(self, op);
    }
    fn join(&mut self, other: Self) {
        self.merge(other);
    }
    fn read(&self) -> Value {
        Value::Set(Self::read(self).into_iter().map(Scalar::Int).collect())
    }
}

#[test]
fn gset() {
    check::<GSet<i64>>();
}

impl Reference for Orswot<i64, ReplicaId> {
    type Op = crdts::orswot::Op<i64, ReplicaId>;
    const KIND: Kind = Kind::OrSet;
    fn op(&self, writer: ReplicaId, intent: Intent) -> Self::Op {
        if intent.put {
            self.add(intent.member, self.read_ctx().derive_add_ctx(writer))
        } else {
            self.rm(intent.member, self.contains(&intent.member).derive_rm_ctx())
        }
    }
    fn take(&mut self, op: Self::Op) {
        CmRDT::apply(self, op);
    }
    fn join(&mut self, other: Self) {
        self.merge(other);
    }
    fn read(&self) -> Value {
        let members: BTreeSet<i64> = Self::read(self).val.into_iter().collect();
        Value::Set(members.into_iter().map(Scalar::Int).collect())
    }
}

#[test]
fn orset() {
    check::<Orswot<i64, ReplicaId>>();
}

/// The crate's register knows time only, ours also what a writer had seen; with a clock that never falls behind what was
/// seen, as ours, both choose the same.
#[test]
fn lww_field() {
    let mut last = [Hlc(0); HOSTS];
    for seed in 0..RUNS {
        let mut rng = Rng::new(seed);
        let key = Key::new(Kind::LwwMap, "pair").expect("a key");
        let mut ours = vec![(Object::new(&key), VersionVector::default()); HOSTS];
        let mut references: Vec<LWWReg<i64, (Hlc, Option<Dot>)>> = vec![LWWReg::default(); HOSTS];
        for step in 1..50 {
            let (index, other) = (rng.index(HOSTS), rng.index(HOSTS));
            if rng.chance(500) {
                let seq = ours[index].1.seq(&Stream::global(replica(index))) + 1;
                let dot = Dot { replica: replica(index), seq };
                last[index] = Hlc(references[index].marker.0.0 + rng.between(1, 50));
                let intent = Intent { member: step, by: 1, put: true, hlc: last[index] };
                let op = self::ours(&ours[index].0, Kind::LwwMap, &dot, intent);
                let (object, seen) = &mut ours[index];
                object.apply(op, dot, intent.hlc, Context::of(seen));
                seen.advance(Stream::global(dot.replica), seq);
                references[index].update(step, (intent.hlc, Some(dot)));
            } else {
                let (giver, reference) = (ours[other].clone(), references[other].clone());
                let (object, seen) = &mut ours[index];
                object.merge(giver.0.state(), Context::of(&giver.1), Context::of(seen));
                seen.merge(&giver.1);
                references[index].merge(reference);
            }
            let expect = references[index].marker.1.map(|_| Scalar::Int(references[index].val));
            assert_eq!(ours[index].0.field("f"), expect, "seed {seed} step {step}");
        }
    }
}
