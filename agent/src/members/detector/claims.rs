//! What members say of others: what of it is believed, what has to wait.
//!
//! Decides by what the member itself has said (its life and round) and by what is known here. The invariants: a claim never
//! makes anybody newer than it said itself, and never makes anybody lost who was not suspected here for
//! [`REFUTE_MS`](super::REFUTE_MS); what waits is bounded.

use std::collections::BTreeMap;

use foca::{Member, State};
use selvedge_sync::id::NodeId;

use super::swim::Life;
use super::wire::Packet;
use super::{MEMBERS_MAX, REFUTE_MS};

/// What was found in a message, beside what is believed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) refused: u64,
    pub(super) overflow: u64,
    /// Whether somebody suspects us, as we are now.
    pub(super) suspects_us: bool,
    /// What is known better here of those whom it accuses.
    pub(super) corrections: Vec<Member<Life>>,
}

/// A member under suspicion.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    id: Life,
    incarnation: u16,
    since_ms: u64,
    /// Whether somebody says that it has not answered in time.
    accused: bool,
}

/// Claims that wait: for the word of whom they are about, or for it to answer.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: BTreeMap<NodeId, Member<Life>>,
    suspected: BTreeMap<NodeId, Suspicion>,
}

impl Claims {
    /// Takes out of `packet` what is not to be believed, or not yet. `attested` says in which round of which life somebody said
    /// that it is, `known` what we hold of it.
    pub(super) fn judge(
        &mut self,
        packet: &mut Packet,
        me: Life,
        (attested, known): (impl Fn(&NodeId) -> Option<(u64, u32)>, impl Fn(&NodeId) -> Option<Member<Life>>),
        own_ms: u64,
    ) -> Judged {
        let mut judged = Judged::default();
        let (src, Some(claims)) = (packet.header.src, &mut packet.claims) else { return judged };
        let kept = claims.drain(..).filter_map(|claim| {
            let id = *claim.id();
            if id.node == me.node {
                judged.suspects_us |= id == me && claim.state() == State::Suspect;
                judged.refused += u64::from(id > me);
                return (id == me).then_some(claim);
            }
            if id.node == src.node {
                // Of itself it says with its header that it lives; what else there is to say is that it leaves.
                return (id == src && claim.state() == State::Down).then_some(claim);
            }
            match attested(&id.node) {
                Some(said) if said > (id.life, id.round) => None,
                Some(said) if said == (id.life, id.round) => self.weigh(claim, known(&id.node), own_ms, &mut judged),
                Some(_) | None => {
                    self.hold(claim, &mut judged);
                    None
                }
            }
        });
        let kept = kept.collect();
        *claims = kept;
        judged
    }

    /// A claim about a member in the round that it says it is in.
    fn weigh(
        &mut self,
        claim: Member<Life>,
        known: Option<Member<Life>>,
        own_ms: u64,
        judged: &mut Judged,
    ) -> Option<Member<Life>> {
        let (id, incarnation) = (*claim.id(), claim.incarnation());
        let current = known.filter(|known| *known.id() == id);
        if let Some(answered) = current.clone().filter(|known| known.incarnation() > incarnation) {
            let accuses = claim.state() != State::Alive && answered.state() != State::Down;
            judged.corrections.extend(accuses.then_some(answered));
            return None;
        }
        match claim.state() {
            State::Alive => Some(claim),
            State::Suspect => {
                self.suspect(id, incarnation, own_ms);
                Some(claim)
            }
            // There is nothing to lose.
            State::Down if current.is_none() => None,
            State::Down => {
                let suspicion = self.suspect(id, incarnation, own_ms);
                suspicion.accused = true;
                let had_its_time = own_ms.saturating_sub(suspicion.since_ms) >= REFUTE_MS;
                let state = if had_its_time { State::Down } else { State::Suspect };
                Some(Member::new(id, incarnation, state))
            }
        }
    }

    fn suspect(&mut self, id: Life, incarnation: u16, own_ms: u64) -> &mut Suspicion {
        let fresh = Suspicion { id, incarnation, since_ms: own_ms, accused: false };
        let suspicion = self.suspected.entry(id.node).or_insert(fresh);
        if (suspicion.id, suspicion.incarnation) < (id, incarnation) {
            *suspicion = fresh;
        }
        suspicion
    }

    fn hold(&mut self, claim: Member<Life>, judged: &mut Judged) {
        let id = *claim.id();
        if claim.state() == State::Down {
            return;
        }
        if self.held.len() >= MEMBERS_MAX && !self.held.contains_key(&id.node) {
            judged.overflow += 1;
        } else if self.held.get(&id.node).is_none_or(|held| *held.id() < id) {
            self.held.insert(id.node, claim);
        }
    }

    /// What was said of a member before it said itself that it is in this round.
    pub(super) fn take_held(&mut self, id: Life) -> Option<Member<Life>> {
        self.held.remove(&id.node).filter(|held| *held.id() == id)
    }

    /// Who is accused and has not answered in time; forgets the suspicions that are settled.
    pub(super) fn ripe(&mut self, own_ms: u64, known: impl Fn(&NodeId) -> Option<Member<Life>>) -> Vec<Member<Life>> {
        let mut ripe = Vec::new();
        self.suspected.retain(|node, suspicion| {
            let Suspicion { id, incarnation, since_ms, accused } = *suspicion;
            let still = known(node).is_some_and(|known| {
                *known.id() == id && known.state() == State::Suspect && known.incarnation() <= incarnation
            });
            let ends = still && accused && own_ms.saturating_sub(since_ms) >= REFUTE_MS;
            if ends {
                ripe.push(Member::new(id, incarnation, State::Down));
            }
            still && !ends
        });
        ripe
    }

    /// Whether somebody is accused and may still answer.
    pub(super) fn are_pending(&self) -> bool {
        self.suspected.values().any(|suspicion| suspicion.accused)
    }

    pub(super) fn forget_suspicions(&mut self) {
        self.suspected.clear();
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.held.remove(&node);
        self.suspected.remove(&node);
    }
}
