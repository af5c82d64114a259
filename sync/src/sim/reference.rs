//! The reference: what a reader must see when exactly certain commits are applied.
//!
//! An element is there when some add of it is superseded by nobody; a field shows the greatest stamp among such puts; counters
//! and grow-only sets are sums and unions.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Ledger, Made};
use crate::causal::VersionVector;
use crate::change::Change;
use crate::crdt::{Assign, Op, Value};
use crate::hlc::Hlc;
use crate::id::{Dot, Scope};
use crate::key::{Key, Kind};
use crate::scalar::Scalar;

/// A member or field, touched by a commit.
struct Touch<'a> {
    dot: Dot,
    hlc: Hlc,
    put: Option<&'a Scalar>,
    over: &'a [Dot],
    context: Option<&'a VersionVector>,
}

/// What an OR-set's member is put with.
const THERE: Scalar = Scalar::Null;

type Touches<'a> = BTreeMap<Scalar, Vec<Touch<'a>>>;

impl Ledger {
    /// What a reader must see of one object when exactly the commits in `seen` are applied; `None` when nobody has written it.
    ///
    /// Streams are not delivered causally across each other. Where `seen` lacks what a writer had seen, only what the
    /// operations name counts: a writer leaves out what would change nothing where it stands.
    pub(super) fn expected_of(&self, key: &Key, seen: &VersionVector) -> Option<Value> {
        let dots = self.by_key.get(key)?.iter().filter(|dot| seen.covers(Scope::GLOBAL, dot));
        let within: Vec<&Made> = dots.filter_map(|dot| self.made.get(dot)).collect();
        if within.is_empty() {
            return None;
        }
        let value = match key.kind() {
            Kind::GCounter | Kind::PnCounter => {
                let sums = within.iter().flat_map(|made| made.sums()).filter(|(of, _)| of == key);
                Value::Counter(sums.map(|(_, sum)| sum.up - sum.down).sum())
            }
            Kind::GSet => Value::Set(grown(key, &within, is_closed(&within, seen)).into_iter().collect()),
            Kind::OrSet => {
                let touches = touches(key, &within, is_closed(&within, seen));
                let there = touches.into_iter().filter(|(_, touches)| winner(touches).is_some());
                Value::Set(there.map(|(member, _)| member).collect())
            }
            Kind::LwwMap => {
                let touches = touches(key, &within, is_closed(&within, seen));
                let field = |(field, touches): (Scalar, Vec<Touch<'_>>)| match field {
                    Scalar::Text(field) => Some((field, winner(&touches)?.clone())),
                    _ => None,
                };
                Value::Map(touches.into_iter().filter_map(field).collect())
            }
        };
        Some(value)
    }
}

impl Ledger {
    /// Whether somebody who has seen this has seen shares of a counter taken over, and not yet the commits that made them.
    pub(super) fn is_folded_early(&self, key: &Key, seen: &VersionVector) -> bool {
        let dots = self.by_key.get(key).into_iter().flatten().filter(|dot| seen.covers(Scope::GLOBAL, dot));
        let ops =
            dots.filter_map(|dot| self.made.get(dot)).flat_map(|made| &made.commit.ops).filter(|(of, _)| of == key);
        ops.into_iter().any(|(_, op)| match op {
            Op::Fold { from, .. } => from.iter().any(|folded| !seen.covers(Scope::GLOBAL, folded)),
            Op::GCounter(_) | Op::PnCounter(..) | Op::GSet(_) | Op::OrSet(_) | Op::LwwMap(_) => false,
        })
    }
}

/// Whether everything that the writers of these commits had seen is among what was seen.
fn is_closed(within: &[&Made], seen: &VersionVector) -> bool {
    within.iter().all(|made| made.context.as_ref().is_none_or(|context| seen.includes(context)))
}

fn grown(key: &Key, within: &[&Made], closed: bool) -> BTreeSet<Scalar> {
    let mut members = BTreeSet::new();
    for made in within {
        for (_, change) in made.changes.iter().filter(|(of, _)| of == key) {
            if let Change::Add(added) = change
                && closed
                && made.context.is_some()
            {
                members.extend(added.iter().cloned());
            }
        }
        for (_, op) in made.commit.ops.iter().filter(|(of, _)| of == key) {
            if let Op::GSet(added) = op {
                members.extend(added.iter().cloned());
            }
        }
    }
    members
}

fn touches<'a>(key: &Key, within: &[&'a Made], closed: bool) -> Touches<'a> {
    let mut touches = Touches::new();
    for made in within {
        made.touches(key, made.context.as_ref().filter(|_| closed), &mut touches);
    }
    touches
}

impl Made {
    fn touches<'a>(&'a self, key: &Key, context: Option<&'a VersionVector>, touches: &mut Touches<'a>) {
        let (dot, hlc) = (self.commit.dot(), self.commit.hlc);
        let mut touch = |member: Scalar, put: Option<&'a Scalar>, over: &'a [Dot]| {
            touches.entry(member).or_default().push(Touch { dot, hlc, put, over, context });
        };
        let mut named = BTreeSet::new();
        for (_, op) in self.commit.ops.iter().filter(|(of, _)| of == key) {
            match op {
                Op::OrSet(assigns) => assigns.iter().for_each(|Assign { member, value, over }| {
                    named.insert(member.clone());
                    touch(member.clone(), value.map(|()| &THERE), over);
                }),
                Op::LwwMap(assigns) => assigns.iter().for_each(|Assign { member, value, over }| {
                    named.insert(Scalar::Text(member.clone()));
                    touch(Scalar::Text(member.clone()), value.as_ref(), over);
                }),
                Op::GCounter(_) | Op::PnCounter(..) | Op::Fold { .. } | Op::GSet(_) => {}
            }
        }
        // A removal of what was not there has no operation, and must have had nothing to remove.
        if context.is_none() {
            return;
        }
        for (_, change) in self.changes.iter().filter(|(of, _)| of == key) {
            let removed: Vec<Scalar> = match change {
                Change::Remove(members) => members.clone(),
                Change::RemoveFields(fields) => fields.iter().map(|field| Scalar::Text(field.clone())).collect(),
                Change::Increment(_) | Change::Decrement(_) | Change::Add(_) | Change::Put(_) => Vec::new(),
            };
            for member in removed.into_iter().filter(|member| !named.contains(member)) {
                touch(member, None, &[]);
            }
        }
    }
}

/// What is left of a member: the put with the greatest stamp that no other touch supersedes.
fn winner<'a>(touches: &[Touch<'a>]) -> Option<&'a Scalar> {
    let superseded = |dot: &Dot| {
        touches.iter().filter(|other| other.dot != *dot).any(|other| {
            let own = other.dot.replica == dot.replica && other.dot.seq > dot.seq;
            own || other.over.contains(dot) || other.context.is_some_and(|seen| seen.covers(Scope::GLOBAL, dot))
        })
    };
    let live = touches.iter().filter(|touch| touch.put.is_some() && !superseded(&touch.dot));
    live.max_by_key(|touch| (touch.hlc, touch.dot)).and_then(|touch| touch.put)
}
