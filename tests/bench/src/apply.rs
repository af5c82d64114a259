//! What applying one operation costs, from 100 to 1,000,000 members, and among 100,000 keys.
//!
//! Sets and maps are compared with `crdts::Orswot::apply`, object against object: half of the operations add or put, half
//! remove, so that the size stays. What the writer knew of the object (dots, clocks) is in the operations, made before the
//! clock starts, on both sides. Ours counts the advance of the version vector, as the Orswot counts that of its clock, and
//! the content hash, which the Orswot does not have. Members are drawn from all, so that larger sets also pay for memory that
//! no cache holds; where only the newest come and go that share is small, and what is left is the growth of the algorithm.
//! Counters and LWW fields are compared with one lookup in a `HashMap<String, u64>` and a comparison.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use anyhow::Result;
use crdts::{CmRDT, Orswot, VClock};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::crdt::{Assign, Context, Object, Op};
use selvedge_sync::id::Dot;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::sim::Rng;
use selvedge_sync::state::State;

use crate::fill::{dot, player, replica_id, stamp, stream, value};
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, exponent, seconds};

const NAME: &str = "apply";
const SIZES: [usize; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
const ROUNDS: usize = 31;
/// Operations measured at once: long against the clock's grain, short against the machine's moods.
const OPS: usize = 1_000;
/// Writers whose dots the members carry, in turn.
const WRITERS: usize = 3;
const KEYS: usize = 100_000;
/// The most that the cost may grow, as the exponent of its growth with the size.
const FLAT: f64 = 0.05;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = sets("OR-set", "ReplicaId", Kind::OrSet, replica_id, usize::MAX);
    rows.extend(sets("OR-set", "u64", Kind::OrSet, |number| number, usize::MAX));
    rows.extend(sets("LWW-map", "ReplicaId", Kind::LwwMap, replica_id, usize::MAX));
    rows.extend(sets("OR-set (the newest 100 come and go)", "ReplicaId", Kind::OrSet, replica_id, 100));
    rows.extend(scalars());
    Ok(rows)
}

/// One step of a workload: a member, and whether it is added or removed.
#[derive(Clone, Copy)]
struct Step {
    member: usize,
    adds: bool,
    /// The dot that the member has, when it is there.
    over: Option<(u64, u64)>,
    by: (u64, u64),
}

/// Members with their live dots, and the steps that lead on from there: what a writer knows.
struct Workload {
    live: Vec<(usize, (u64, u64))>,
    heads: [u64; WRITERS],
    next_member: usize,
    rng: Rng,
}

impl Workload {
    fn new() -> Self {
        Self { live: Vec::new(), heads: [0; WRITERS], next_member: 0, rng: Rng::new(3) }
    }

    fn dot(&mut self) -> (u64, u64) {
        let writer = self.rng.index(self.heads.len());
        self.heads[writer] += 1;
        (writer as u64, self.heads[writer])
    }

    fn add(&mut self) -> Step {
        let (member, by) = (self.next_member, self.dot());
        self.next_member += 1;
        self.live.push((member, by));
        Step { member, adds: true, over: None, by }
    }

    /// One of the newest `among`.
    fn remove(&mut self, among: usize) -> Step {
        let among = among.min(self.live.len());
        let at = self.live.len() - 1 - self.rng.index(among);
        let (member, over) = self.live.swap_remove(at);
        Step { member, adds: false, over: Some(over), by: self.dot() }
    }

    fn steps(&mut self, count: usize, among: usize) -> Vec<Step> {
        (0..count).map(|at| if at % 2 == 0 { self.add() } else { self.remove(among) }).collect()
    }
}

fn member(number: usize) -> Scalar {
    Scalar::Text(format!("member:{number}"))
}

/// Ours: an object and the vector that says what was seen.
struct Ours {
    object: Object,
    kind: Kind,
    seen: VersionVector,
    rng: Rng,
}

impl Ours {
    fn new(kind: Kind) -> Self {
        let key = Key::new(kind, "measured").expect("a key");
        Self { object: Object::new(&key), kind, seen: VersionVector::default(), rng: Rng::new(5) }
    }

    fn ops(&mut self, steps: &[Step]) -> Vec<(Op, Dot)> {
        steps.iter().map(|step| self.op(*step)).collect()
    }

    fn op(&mut self, step: Step) -> (Op, Dot) {
        let over = step.over.map(|(writer, seq)| dot(writer, seq)).filter(|over| over.replica != replica_id(step.by.0));
        let over: Vec<Dot> = over.into_iter().collect();
        let op = if self.kind == Kind::OrSet {
            Op::OrSet(vec![Assign { member: member(step.member), value: step.adds.then_some(()), over }])
        } else {
            let value = step.adds.then(|| value(&mut self.rng));
            Op::LwwMap(vec![Assign { member: format!("member:{}", step.member), value, over }])
        };
        (op, dot(step.by.0, step.by.1))
    }

    fn apply(&mut self, ops: Vec<(Op, Dot)>) {
        for (op, dot) in ops {
            self.object.apply(op, dot, stamp(dot.seq), Context::of(&self.seen));
            self.seen.advance(selvedge_sync::id::Stream::global(dot.replica), dot.seq);
        }
    }
}

/// The same steps as operations of an Orswot.
fn orswot_ops<A: Ord + Hash + Clone + Debug>(steps: &[Step], actor: fn(u64) -> A) -> Vec<crdts::orswot::Op<Scalar, A>> {
    let op = |step: &Step| match step.over {
        None => crdts::orswot::Op::Add {
            dot: crdts::Dot::new(actor(step.by.0), step.by.1),
            members: vec![member(step.member)],
        },
        Some((writer, seq)) => {
            let clock: VClock<A> = crdts::Dot::new(actor(writer), seq).into();
            crdts::orswot::Op::Rm { clock, members: vec![member(step.member)] }
        }
    };
    steps.iter().map(op).collect()
}

fn sets<A: Ord + Hash + Clone + Debug>(
    what: &str,
    actors: &str,
    kind: Kind,
    actor: fn(u64) -> A,
    among: usize,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut curve, mut peers) = (Vec::new(), Vec::new());
    for size in SIZES {
        let (mut ours, mut peer) = (Ours::new(kind), Orswot::<Scalar, A>::new());
        let mut workload = Workload::new();
        for _ in 0..size {
            let step = [workload.add()];
            let ops = ours.ops(&step);
            ours.apply(ops);
            orswot_ops(&step, actor).into_iter().for_each(|op| peer.apply(op));
        }
        let mut pair = Pair::default();
        for round in 0..=ROUNDS {
            let steps = workload.steps(OPS, among);
            let (ops, peer_ops) = (ours.ops(&steps), orswot_ops(&steps, actor));
            let (a, ()) = seconds(|| ours.apply(ops));
            let (b, ()) = seconds(|| peer_ops.into_iter().for_each(|op| peer.apply(op)));
            pair.note(round, a / OPS as f64 * 1e9, b / OPS as f64 * 1e9);
        }
        let (a, b) = (Spread::of(&pair.ours), Spread::of(&pair.peer));
        curve.push((size as f64, a.median));
        peers.push((size as f64, b.median));
        rows.push(
            Row::new(NAME, format!("{what} operation, {size} members, against Orswot<{actors}>"), pair.ratio(), "x")
                .goal(Goal::AtMost(1.0))
                .parts(a, b, "Orswot", "ns"),
        );
    }
    rows.push(
        Row::new(
            NAME,
            format!("{what}: growth of ours from 10² to 10⁶ members, exponent"),
            Spread::exact(exponent(&curve)),
            "",
        )
        .goal(Goal::AtMost(FLAT))
        .note(format!("Orswot<{actors}>: {:.3}", exponent(&peers))),
    );
    rows
}

/// A state of many keys, half of them counters, half maps of one field.
struct Many {
    state: State,
    seen: VersionVector,
    seq: u64,
    keys: Vec<Key>,
    rng: Rng,
}

impl Many {
    fn new() -> Self {
        let counter = |key| Key::new(Kind::GCounter, &format!("kills:{key}")).expect("a key");
        let keys = (0..KEYS / 2).map(counter).chain((0..KEYS / 2).map(player)).collect();
        let (state, seen) = (State::new(replica_id(1)), VersionVector::default());
        let mut many = Self { state, seen, seq: 0, keys, rng: Rng::new(9) };
        let all: Vec<usize> = (0..KEYS).collect();
        let ops = many.ops(&all);
        many.apply(ops);
        // As a replica is when its checkpoints keep up.
        many.state.take_dirty();
        many
    }

    /// Keys drawn by lot, all of one type.
    fn picks(&mut self, kind: Kind) -> Vec<usize> {
        let first = if kind == Kind::GCounter { 0 } else { KEYS / 2 };
        (0..OPS).map(|_| first + self.rng.index(KEYS / 2)).collect()
    }

    fn ops(&mut self, picks: &[usize]) -> Vec<(Key, Op)> {
        let mut total = self.seq;
        let mut op = |key: &Key| {
            total += 1;
            if key.kind() == Kind::GCounter {
                return Op::GCounter(total.into());
            }
            let value = Some(value(&mut self.rng));
            Op::LwwMap(vec![Assign { member: "state".to_owned(), value, over: Vec::new() }])
        };
        picks.iter().map(|at| (self.keys[*at].clone(), op(&self.keys[*at]))).collect()
    }

    fn apply(&mut self, ops: Vec<(Key, Op)>) {
        for (key, op) in ops {
            self.seq += 1;
            self.state.apply(key, op, dot(1, self.seq), stamp(self.seq), Context::of(&self.seen));
            self.seen.advance(stream(1), self.seq);
        }
    }
}

/// Counters and LWW fields among many keys.
fn scalars() -> Vec<Row> {
    let mut many = Many::new();
    let map: HashMap<String, u64> = many.keys.iter().map(|key| (key.to_string(), 1)).collect();
    let mut rows = Vec::new();
    for (what, kind) in [("counter", Kind::GCounter), ("LWW", Kind::LwwMap)] {
        let mut pair = Pair::default();
        for round in 0..=ROUNDS {
            let picks = many.picks(kind);
            let ops = many.ops(&picks);
            let (a, ()) = seconds(|| many.apply(ops));
            many.state.take_dirty();
            let asked: Vec<(String, u64)> =
                many.picks(kind).iter().map(|at| (many.keys[*at].to_string(), many.seq)).collect();
            let lookup = |(name, total): &&(String, u64)| map.get(name).is_some_and(|held| held < total);
            let (b, _) = seconds(|| asked.iter().filter(lookup).count());
            pair.note(round, a / OPS as f64 * 1e9, b / OPS as f64 * 1e9);
        }
        rows.push(
            Row::new(NAME, format!("{what} operation among {KEYS} keys, against a hash-map lookup"), pair.ratio(), "x")
                .goal(Goal::AtMost(5.0))
                .parts(Spread::of(&pair.ours), Spread::of(&pair.peer), "HashMap<String, u64>", "ns"),
        );
    }
    rows
}
