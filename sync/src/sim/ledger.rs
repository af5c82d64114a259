//! The reference: every commit that was ever made, with what its writer had seen, and the state that follows from it.
//!
//! Independent of the engine's own data structures: an element is there when some add of it is superseded by nobody; a field
//! shows the greatest stamp among such puts; counters and grow-only sets are sums and unions. The invariant: a dot that was
//! ever durable means one commit for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::causal::VersionVector;
use crate::change::Change;
use crate::commit::{Batch, Commit, CommitBytes};
use crate::crdt::{Assign, Op, Value};
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId, Scope, Stream};
use crate::key::{Key, Kind};
use crate::scalar::Scalar;

/// A commit, as it was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    bytes: CommitBytes,
    commit: Commit,
    changes: Vec<(Key, Change)>,
    /// What its writer had seen, when its content was exactly that; else only what the operations name was observed.
    context: Option<VersionVector>,
    durable: bool,
}

/// All commits.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    made: BTreeMap<Dot, Made>,
}

/// A member or field, touched by a commit.
struct Touch<'a> {
    dot: Dot,
    hlc: Hlc,
    put: Option<Scalar>,
    over: &'a [Dot],
    context: Option<&'a VersionVector>,
}

impl Ledger {
    /// Notes a commit that was made.
    pub(super) fn note(
        &mut self,
        batch: &Batch,
        changes: Vec<(Key, Change)>,
        context: Option<VersionVector>,
    ) -> Result<(), String> {
        let [bytes] = batch.commits.as_slice() else { return Err("a local commit persists as one".to_owned()) };
        let commit = Commit::decode(batch.stream, batch.first, bytes).map_err(|error| error.to_string())?;
        let dot = commit.dot();
        let made = Made { bytes: bytes.clone(), commit, changes, context, durable: false };
        match self.made.insert(dot, made) {
            None => Ok(()),
            Some(before) => Err(format!("dot {dot:?} means a second commit; durable before: {}", before.durable)),
        }
    }

    /// Notes that a commit is on its writer's disk.
    pub(super) fn note_durable(&mut self, batch: &Batch) -> Result<(), String> {
        for (seq, bytes) in (batch.first..).zip(&batch.commits) {
            let dot = Dot { replica: batch.stream.replica, seq };
            let made = self.made.get_mut(&dot).ok_or(format!("nobody made {dot:?}, yet it is stored"))?;
            if made.bytes != *bytes {
                return Err(format!("{dot:?} is stored with other bytes than it was made with"));
            }
            made.durable = true;
        }
        Ok(())
    }

    /// Forgets what a crash took before anybody else could have heard of it: commits of `replica` after `seq`.
    pub(super) fn forget_lost(&mut self, replica: ReplicaId, seq: u64) {
        self.made.retain(|dot, made| dot.replica != replica || dot.seq <= seq || made.durable);
    }

    /// Checks that every commit of a batch was durable at its writer, and means what it meant there.
    pub(super) fn check_sent(&self, batch: &Batch) -> Result<(), String> {
        for (seq, bytes) in (batch.first..).zip(&batch.commits) {
            let dot = Dot { replica: batch.stream.replica, seq };
            let made = self.made.get(&dot).ok_or(format!("{dot:?} is sent, but it was lost or never made"))?;
            if !made.durable {
                return Err(format!("{dot:?} is sent before it is durable"));
            }
            if made.bytes != *bytes {
                return Err(format!("{dot:?} is sent with another meaning"));
            }
        }
        Ok(())
    }

    pub(super) fn check_dot_sent(&self, dot: &Dot) -> Result<(), String> {
        match self.made.get(dot) {
            Some(made) if made.durable => Ok(()),
            Some(_) => Err(format!("{dot:?} is shown before it is durable")),
            None => Err(format!("{dot:?} is shown, but it was lost or never made")),
        }
    }

    /// The request that the commit named by `dot` answered.
    pub(super) fn request_of(&self, dot: &Dot) -> Option<crate::commit::RequestId> {
        self.made.get(dot).and_then(|made| made.commit.request)
    }

    /// What was ever durable, stream by stream.
    pub(super) fn durable(&self) -> VersionVector {
        let durable = self.made.iter().filter(|(_, made)| made.durable);
        durable.map(|(dot, _)| (Stream::global(dot.replica), dot.seq)).collect()
    }

    /// What a reader must see when exactly the commits in `seen` are applied.
    ///
    /// Streams are not delivered causally across each other. Where `seen` lacks what a writer had seen, only what the
    /// operations name counts: a writer leaves out what would change nothing where it stands.
    pub(super) fn expected(&self, seen: &VersionVector) -> BTreeMap<Key, Value> {
        let within = || self.made.iter().filter(|(dot, _)| seen.covers(Scope::GLOBAL, dot)).map(|(_, made)| made);
        let closed = within().all(|made| made.context.as_ref().is_none_or(|context| seen.includes(context)));
        let mut counters: BTreeMap<Key, i128> = BTreeMap::new();
        let mut grown: BTreeMap<Key, BTreeSet<Scalar>> = BTreeMap::new();
        let mut touches: BTreeMap<(Key, Scalar), Vec<Touch<'_>>> = BTreeMap::new();
        for made in within() {
            let context = made.context.as_ref().filter(|_| closed);
            for (key, change) in &made.changes {
                match change {
                    Change::Increment(by) => *counters.entry(key.clone()).or_default() += i128::from(*by),
                    Change::Decrement(by) => *counters.entry(key.clone()).or_default() -= i128::from(*by),
                    Change::Add(members) if key.kind() == Kind::GSet && context.is_some() => {
                        grown.entry(key.clone()).or_default().extend(members.iter().cloned());
                    }
                    Change::Add(_) | Change::Remove(_) | Change::Put(_) | Change::RemoveFields(_) => {}
                }
            }
            for (key, op) in &made.commit.ops {
                if let Op::GSet(members) = op {
                    grown.entry(key.clone()).or_default().extend(members.iter().cloned());
                }
            }
            made.touches(context, &mut touches);
        }
        let counters = counters.into_iter().map(|(key, value)| (key, Value::Counter(value)));
        let grown = grown.into_iter().map(|(key, set)| (key, Value::Set(set.into_iter().collect())));
        let mut values: BTreeMap<Key, Value> = counters.chain(grown).collect();
        for ((key, member), touches) in touches {
            let Some(winner) = winner(&touches) else { continue };
            match (values.entry(key).or_insert_with_key(|key| empty(key.kind())), member) {
                (Value::Set(set), member) => set.push(member),
                (Value::Map(map), Scalar::Text(field)) => drop(map.insert(field, winner)),
                (Value::Counter(_) | Value::Map(_), _) => {}
            }
        }
        values
    }
}

impl Made {
    fn touches<'a>(
        &'a self,
        context: Option<&'a VersionVector>,
        touches: &mut BTreeMap<(Key, Scalar), Vec<Touch<'a>>>,
    ) {
        let (dot, hlc) = (self.commit.dot(), self.commit.hlc);
        let mut touch = |key: &Key, member: Scalar, put: Option<Scalar>, over: &'a [Dot]| {
            touches.entry((key.clone(), member)).or_default().push(Touch { dot, hlc, put, over, context });
        };
        let mut named = BTreeSet::new();
        for (key, op) in &self.commit.ops {
            match op {
                Op::OrSet(assigns) => assigns.iter().for_each(|Assign { member, value, over }| {
                    named.insert((key, member.clone()));
                    touch(key, member.clone(), value.map(|()| Scalar::Null), over);
                }),
                Op::LwwMap(assigns) => assigns.iter().for_each(|Assign { member, value, over }| {
                    named.insert((key, Scalar::Text(member.clone())));
                    touch(key, Scalar::Text(member.clone()), value.clone(), over);
                }),
                Op::GCounter(_) | Op::PnCounter(..) | Op::Fold { .. } | Op::GSet(_) => {}
            }
        }
        // A removal of what was not there has no operation, and must have had nothing to remove.
        if context.is_none() {
            return;
        }
        for (key, change) in &self.changes {
            let removed: Vec<Scalar> = match change {
                Change::Remove(members) => members.clone(),
                Change::RemoveFields(fields) => fields.iter().map(|field| Scalar::Text(field.clone())).collect(),
                Change::Increment(_) | Change::Decrement(_) | Change::Add(_) | Change::Put(_) => Vec::new(),
            };
            for member in removed.into_iter().filter(|member| !named.contains(&(key, member.clone()))) {
                touch(key, member, None, &[]);
            }
        }
    }
}

/// What is left of a member: the put with the greatest stamp that no other touch supersedes.
fn winner(touches: &[Touch<'_>]) -> Option<Scalar> {
    let superseded = |dot: &Dot| {
        touches.iter().filter(|other| other.dot != *dot).any(|other| {
            let own = other.dot.replica == dot.replica && other.dot.seq > dot.seq;
            own || other.over.contains(dot) || other.context.is_some_and(|seen| seen.covers(Scope::GLOBAL, dot))
        })
    };
    let live = touches.iter().filter(|touch| touch.put.is_some() && !superseded(&touch.dot));
    live.max_by_key(|touch| (touch.hlc, touch.dot)).and_then(|touch| touch.put.clone())
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::GCounter | Kind::PnCounter => Value::Counter(0),
        Kind::GSet | Kind::OrSet => Value::Set(Vec::new()),
        Kind::LwwMap => Value::Map(BTreeMap::new()),
    }
}
