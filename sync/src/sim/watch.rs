//! What one node is held to during one life, kept up event by event: nothing is unseen, nothing removed returns, counters stay
//! between what is definite and what may still be, and what only grows never shrinks.

use std::collections::{BTreeMap, BTreeSet};

use super::equivocator::EQUIVOCATOR;
use super::ledger::{Ledger, Sum};
use crate::causal::VersionVector;
use crate::crdt::{ContentHash, Value};
use crate::hlc::Hlc;
use crate::id::{Dot, Stream};
use crate::key::{Key, Kind};
use crate::log::Range;
use crate::replica::Replica;
use crate::scalar::Scalar;

/// What was seen of a node so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: VersionVector,
    durable: VersionVector,
    /// What the durable commits do to each counter.
    definite: BTreeMap<Key, Sum>,
    /// The latest stamp among what it has seen commit by commit. Of what a page of state or a checkpoint brought, the stamps
    /// are not all known.
    latest: Hlc,
    /// What the clock said after the last event.
    clock: Hlc,
    /// By number of the put: whether a commit that was seen removes it.
    gone: Vec<bool>,
    /// The size of what may only grow.
    sizes: BTreeMap<Key, i128>,
    /// The root, and whether it was exact, when it was last compared.
    pub(super) compared: Option<(ContentHash, bool)>,
}

/// What an event has newly brought to a node.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) keys: BTreeSet<Key>,
    elements: BTreeSet<usize>,
}

impl Watch {
    /// Of a node that begins, or begins anew.
    pub(super) fn of(replica: &Replica) -> Self {
        Self { clock: replica.clock().last(), ..Self::default() }
    }

    /// What a peer sent drags no clock further ahead of the wall than commits may be.
    pub(super) fn check_clock(&mut self, replica: &Replica, most_ms: u64, is_received: bool) -> Result<(), String> {
        let before = std::mem::replace(&mut self.clock, replica.clock().last());
        if is_received && self.clock > before && self.clock.millis() > most_ms.max(before.millis() + 1) {
            return Err(format!("drags its clock from {before} to {} although {most_ms} is the most", self.clock));
        }
        Ok(())
    }

    /// Takes note of what the node has come to see.
    pub(super) fn follow(&mut self, replica: &Replica, ledger: &Ledger) -> Result<News, String> {
        let mut news = News::default();
        if *replica.seen() != self.seen {
            if !replica.seen().includes(&self.seen) {
                return Err(format!("has unseen commits: {:?}", replica.seen()));
            }
            for dot in added(&self.seen, replica.seen()) {
                let made = ledger.made.get(&dot).ok_or_else(|| format!("has applied {dot:?}, which nobody made"))?;
                news.keys.extend(made.written().cloned());
                if holds(replica, &dot) {
                    self.latest = self.latest.max(made.commit.hlc);
                }
                for touched in &made.touched {
                    news.elements.insert(touched.element);
                    for put in &touched.removes {
                        self.gone.resize(self.gone.len().max(put + 1), false);
                        self.gone[*put] = true;
                    }
                }
            }
            self.seen = replica.seen().clone();
            self.compared = None;
        }
        if *replica.durable() != self.durable {
            for dot in added(&self.durable, replica.durable()) {
                let made = ledger.made.get(&dot).ok_or_else(|| format!("has durable {dot:?}, which nobody made"))?;
                for (key, sum) in made.sums() {
                    let definite = self.definite.entry(key).or_default();
                    (definite.up, definite.down) = (definite.up + sum.up, definite.down + sum.down);
                }
            }
            self.durable = replica.durable().clone();
            if !replica.seen().includes(replica.durable()) {
                return Err("has durable what it has not seen".to_owned());
            }
        }
        Ok(news)
    }

    /// A commit that is made here is stamped later than all that was seen here before.
    pub(super) fn check_stamp(&self, hlc: Hlc) -> Result<(), String> {
        if hlc > self.latest { Ok(()) } else { Err(format!("stamps {hlc} after it has seen {}", self.latest)) }
    }

    /// Checks what the event has touched.
    pub(super) fn check_news(&mut self, news: &News, replica: &Replica, ledger: &Ledger) -> Result<(), String> {
        for key in &news.keys {
            self.check_growth(key, replica, ledger)?;
        }
        for element in &news.elements {
            let (key, member) = ledger.elements.name(*element);
            let object = replica.state().object(key);
            let shown = object.and_then(|object| match member {
                Scalar::Text(field) if key.kind() == Kind::LwwMap => object.field(field).map(Some),
                member => object.contains(member).then_some(None),
            });
            if let Some(value) = shown
                && !ledger.elements.may_show(*element, value.as_ref(), &self.gone)
            {
                return Err(format!("shows {member:?} in {key} again, whose every put was removed: {value:?}"));
            }
        }
        Ok(())
    }

    /// Checks everything that the node shows.
    pub(super) fn check_all(&mut self, replica: &Replica, ledger: &Ledger) -> Result<(), String> {
        for (key, object) in replica.state().objects_after(None) {
            self.check_growth(key, replica, ledger)?;
            let elements: Vec<(Scalar, Option<Scalar>)> = match (key.kind(), object.value()) {
                (Kind::OrSet, Value::Set(members)) => members.into_iter().map(|member| (member, None)).collect(),
                (Kind::LwwMap, Value::Map(fields)) => {
                    fields.into_iter().map(|(field, value)| (Scalar::Text(field), Some(value))).collect()
                }
                (Kind::GCounter | Kind::PnCounter | Kind::GSet | Kind::OrSet | Kind::LwwMap, _) => Vec::new(),
            };
            for (member, value) in elements {
                let element = ledger.elements.number(key, &member);
                if !element.is_some_and(|element| ledger.elements.may_show(element, value.as_ref(), &self.gone)) {
                    return Err(format!("shows {member:?} in {key} again, whose every put was removed: {value:?}"));
                }
            }
        }
        Ok(())
    }

    /// A counter lies between what is definite and what all commits, whatever becomes of them, may add; what only grows has
    /// not shrunk.
    fn check_growth(&mut self, key: &Key, replica: &Replica, ledger: &Ledger) -> Result<(), String> {
        let Some(object) = replica.state().object(key) else { return Ok(()) };
        let size = match (key.kind(), object.value()) {
            (Kind::GCounter | Kind::PnCounter, Value::Counter(value)) => {
                let definite = self.definite.get(key).copied().unwrap_or_default();
                let all = ledger.total(key);
                let (least, most) = (definite.up - all.down, all.up - definite.down);
                if !(least..=most).contains(&value) {
                    return Err(format!("reads {key} as {value}, outside {least} to {most}"));
                }
                value
            }
            (Kind::GSet, Value::Set(members)) => members.len() as i128,
            (Kind::GCounter | Kind::PnCounter | Kind::GSet | Kind::OrSet | Kind::LwwMap, _) => return Ok(()),
        };
        if key.kind() == Kind::PnCounter {
            return Ok(());
        }
        match self.sizes.insert(key.clone(), size) {
            Some(before) if before > size => Err(format!("reads {key} as {size}; it was {before}")),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether the log of a replica holds a commit.
pub(super) fn holds(replica: &Replica, dot: &Dot) -> bool {
    let stream = Stream::global(dot.replica);
    replica.seen().seq(&stream) >= dot.seq
        && matches!(replica.log().range(&stream, dot.seq, dot.seq, usize::MAX), Range::Batch { .. })
}

/// The commits by which the later vector goes beyond the earlier.
fn added<'a>(earlier: &'a VersionVector, later: &'a VersionVector) -> impl Iterator<Item = Dot> + 'a {
    let in_ledger = |(stream, _): &(Stream, u64)| stream.replica.node != EQUIVOCATOR;
    later.iter().filter(in_ledger).flat_map(|(stream, seq)| {
        let Stream { replica, .. } = stream;
        (earlier.seq(&stream) + 1..=seq).map(move |seq| Dot { replica, seq })
    })
}
