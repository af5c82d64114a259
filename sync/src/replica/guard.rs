//! What may be written to keys that belong to the agents themselves.
//!
//! The engine takes whatever a member writes, for a member is trusted with content. What an agent reads from its own keys it can bound
//! by its meaning, which the engine does not know: so it asks, about commits and about the sets in an answer to a repair. The invariant:
//! nobody is refused for ever what another replica with the same guard has taken.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::repair::Positioned;
use super::{Event, Offence, Output, Replica};
use crate::crdt::{ObjectState, Op};
use crate::id::NodeId;
use crate::key::Key;
use crate::scalar::Scalar;
use crate::time::Time;

/// What becomes of a commit that somebody else wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is taken.
    Taken,
    /// It may be sound, and what would show it is not known here yet: its stream waits.
    NotYet,
    /// It is nothing that anybody may write, on any replica, at any time: it breaks the rules.
    Never,
}

/// Judges what others write to reserved keys.
pub trait Guard: Debug + Send + Sync {
    /// What becomes of a commit with this operation on a key of the agents' own. [`Judgement::Taken`] and [`Judgement::Never`] are for
    /// ever, and what one replica takes no other may judge as never to be taken. A set that a repair brings is judged member by
    /// member, each as if a commit had added it alone; objects of other kinds are not judged then.
    fn judge(&self, key: &Key, op: &Op) -> Judgement;
}

/// Takes everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unguarded;

impl Guard for Unguarded {
    fn judge(&self, _: &Key, _: &Op) -> Judgement {
        Judgement::Taken
    }
}

/// What is left of an answer to a repair.
pub(super) struct Guarded {
    /// What may be taken.
    pub(super) objects: Vec<Positioned>,
    /// Where something was left out that may be sound.
    pub(super) unsure: BTreeSet<u64>,
}

impl Replica {
    /// Drops from the sets of the agents' own what nobody may ever have put there, and tells how many members that were. To be called once,
    /// when the guard knows what it knows at a start, and before the first input: what was taken when there was no such guard would be held
    /// against this replica by everybody to whom it shows it, and its root would be nobody else's.
    pub fn expel_barred(&mut self) -> u64 {
        let mut expelled = 0;
        let sets = self.state.objects_after(None).filter(|(key, _)| key.is_reserved());
        let sets: Vec<_> = sets.map(|(key, object)| (key.clone(), object.state())).collect();
        for (key, object) in sets {
            let ObjectState::GSet(mut members) = object else { continue };
            let before = members.len();
            members.retain(|member| self.config.guard.judge(&key, &Op::GSet(vec![member.clone()])) != Judgement::Never);
            if members.len() < before {
                expelled += (before - members.len()) as u64;
                self.state.replace_members(&key, members);
            }
        }
        self.counters.state_barred += expelled;
        expelled
    }

    /// Leaves out of an answer to a repair what may not be in the sets of the agents' own.
    pub(super) fn guarded(
        &mut self,
        from: NodeId,
        objects: Vec<Positioned>,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Guarded {
        let mut guarded = Guarded { objects: Vec::with_capacity(objects.len()), unsure: BTreeSet::new() };
        let mut is_false = false;
        for (position, key, object) in objects {
            let members = match object {
                ObjectState::GSet(members) if key.is_reserved() => members,
                object => {
                    guarded.objects.push((position, key, object));
                    continue;
                }
            };
            let sifted = self.sift(from, &key, members, now, out);
            self.counters.state_barred += sifted.false_ones + sifted.unsure;
            is_false |= sifted.false_ones > 0;
            if sifted.unsure > 0 {
                guarded.unsure.insert(position);
            }
            if !sifted.taken.is_empty() {
                guarded.objects.push((position, key, ObjectState::GSet(sifted.taken)));
            }
        }
        if is_false {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Barred }));
        }
        guarded
    }

    /// Judges the members of a set that are new here, again and again while some that were taken may speak for others. Whoever gives
    /// what is not taken pays for the judgement, for it may be a signature to verify.
    fn sift(&mut self, from: NodeId, key: &Key, members: Vec<Scalar>, now: Time, out: &mut Vec<Output>) -> Sifted {
        let is_here = |member: &Scalar| self.state.object(key).is_some_and(|object| object.contains(member));
        let (here, mut open): (Vec<_>, Vec<_>) = members.into_iter().partition(is_here);
        let mut sifted = Sifted { taken: here, false_ones: 0, unsure: 0 };
        loop {
            let before = sifted.taken.len();
            for member in std::mem::take(&mut open) {
                if !self.affords_verifying(from, 1, now, out) {
                    open.push(member);
                    continue;
                }
                let op = Op::GSet(vec![member]);
                let judgement = self.config.guard.judge(key, &op);
                let Op::GSet(member) = op else { continue };
                match judgement {
                    Judgement::Taken => {
                        self.repay_verifying(from, 1);
                        sifted.taken.extend(member);
                    }
                    Judgement::NotYet => open.extend(member),
                    Judgement::Never => sifted.false_ones += 1,
                }
            }
            if open.is_empty() || sifted.taken.len() == before {
                sifted.unsure = open.len() as u64;
                return sifted;
            }
        }
    }
}

/// The members of a set, judged.
struct Sifted {
    taken: Vec<Scalar>,
    /// How many nobody may ever have put there.
    false_ones: u64,
    /// How many may be sound, as far as is known here.
    unsure: u64,
}
