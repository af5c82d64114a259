//! Finds out who is there: SWIM, by the `foca` library, behind rules of our own about whose word counts for what.
//!
//! Pure: time, randomness and messages are arguments, what is to be sent is handed out. Says nothing of what members are
//! like (records do), and no type of `foca` crosses this handle. The invariants:
//!
//! - Only a member itself says that it lives, or lives anew: in person, or by a record with its signature
//!   ([`Detector::attest`]). What others pass on is believed up to there and kept for later beyond it.
//! - On the word of others nobody is lost who has not had `REFUTE_MS` to answer.
//! - A host that was stalled itself accuses nobody for it: it begins anew, and its clock stands still meanwhile (`Pace`).

mod claims;
mod pace;
#[cfg(test)]
mod sim;
mod swim;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, PeriodicParams, State, Timer};
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use selvedge_sync::id::NodeId;

use self::claims::{Claims, Judged};
use self::pace::Pace;
use self::swim::{Life, LifeCodec};
pub use self::wire::Unread;
use self::wire::{PACKET_BYTES_MAX, Packet};

/// How often [`Detector::tick`] is to be called while there is something to look at, in milliseconds.
pub const TICK_MS: u64 = 100;

/// How long it may go uncalled otherwise, in milliseconds.
const CALM_TICK_MS: u64 = 1_000;

/// How often a member is probed by each other one, in milliseconds: one each, whatever their number.
const PROBE_PERIOD_MS: u64 = 1_000;

/// Silence after which others are asked to try as well, in milliseconds: a slow way across an ocean and back.
const PROBE_RTT_MS: u64 = 400;

/// How long a suspect may take to say that it lives, in milliseconds. News needs about a second to reach it among hundreds
/// of members and another one back; the rest is for a host that is slow.
const SUSPICION_MS: u64 = 4_000;

/// How long somebody has to have been suspected here before another member's word makes it lost, in milliseconds: most of the
/// time that its accuser has given it.
const REFUTE_MS: u64 = 3_000;

/// How long it is remembered that somebody was lost, in milliseconds. After that nobody tells old news of it any more.
const LOST_REMEMBERED_MS: u64 = 3_600_000;

/// Members that are told of; the table holds no more.
pub const MEMBERS_MAX: usize = 4_096;

/// Time between two of our own new rounds, at the least, in milliseconds: who tells us that we are lost, over and over,
/// cannot make us tell everybody that we are not at his pace.
const RENEWAL_PAUSE_MS: u64 = 1_000;

/// Corrections in one answer to a message that is behind the times.
const CORRECTIONS_MAX: usize = 16;

/// How long an older life may still be heard after a newer one, in milliseconds, before two hosts must have the same key:
/// frames of a process that has ended do not travel for longer.
const OLD_LIFE_MS: u64 = 5_000;

/// How a member fares, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Alive,
    /// It did not answer somebody, and may still say that it lives.
    Suspect,
    /// It has not said so in time, or said that it leaves.
    Lost,
}

/// What was turned away, and what happened to ourselves. Counts up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that nobody can read.
    pub unreadable: u64,
    /// Claims about others that were not to be believed.
    pub claims_refused: u64,
    /// Claims that wait for the word of whom they are about, and found no room.
    pub claims_overflow: u64,
    /// Messages of an older life of their sender.
    pub old_lives: u64,
    /// How often we were told that we are lost sooner than we wanted to answer.
    pub renewals_refused: u64,
    /// How often this host was stalled.
    pub stalls: u64,
    /// How often we began a new round.
    pub renewals: u64,
}

/// What was last said by a member itself.
#[derive(Clone, Copy, Debug)]
struct Attested {
    life: u64,
    round: u32,
    /// When this life was first heard in person, by our own monotonic clock; `None` when only a record says so.
    met_ms: Option<u64>,
}

type Swim = Foca<Life, LifeCodec, Xoshiro256PlusPlus, NoCustomBroadcast>;

/// The detector of one member.
pub struct Detector {
    foca: Swim,
    runtime: AccumulatingRuntime<Life>,
    /// By when they are due on our own clock, then in the order of arrival.
    timers: BTreeMap<(u64, u64), Timer<Life>>,
    timers_made: u64,
    pace: Pace,
    attested: BTreeMap<NodeId, Attested>,
    claims: Claims,
    twins: BTreeMap<NodeId, u64>,
    out: Vec<(NodeId, Vec<u8>)>,
    renewed_ms: Option<u64>,
    tuned_for: usize,
    /// How often we have refuted a suspicion in this round, as our last message said.
    incarnation: u16,
    /// Nothing is said after the farewell.
    left: bool,
    counters: Counters,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector").field("me", self.foca.identity()).finish_non_exhaustive()
    }
}

fn settings(members: usize) -> foca::Config {
    let ms = Duration::from_millis;
    let some = |number| NonZeroUsize::new(number).expect("not zero");
    // News is told as often as it takes to reach everybody for certain: a few times the logarithm.
    let doublings = u8::try_from(members.max(8).ilog2() + 1).unwrap_or(u8::MAX);
    foca::Config {
        probe_period: ms(PROBE_PERIOD_MS),
        probe_rtt: ms(PROBE_RTT_MS),
        num_indirect_probes: some(3),
        max_transmissions: NonZeroU8::new(doublings.saturating_mul(3)).expect("not zero"),
        suspect_to_down_after: ms(SUSPICION_MS),
        remove_down_after: Some(ms(LOST_REMEMBERED_MS)),
        max_packet_size: some(PACKET_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: Some(PeriodicParams { frequency: ms(30_000), num_members: some(1) }),
        // Whoever was cut off is found again by those who lost it, also where no new connection tells.
        periodic_announce_to_down_members: Some(PeriodicParams { frequency: ms(10_000), num_members: some(2) }),
        periodic_gossip: Some(PeriodicParams { frequency: ms(200), num_members: some(3) }),
    }
}

fn held_of(swim: &Swim, node: &NodeId) -> Option<foca::Member<Life>> {
    swim.iter_membership_state().find(|member| member.id().node == *node).cloned()
}

impl Detector {
    /// The detector of `me`, in the life that `life` numbers: greater than all before.
    #[must_use]
    pub fn new(me: NodeId, life: u64, seed: u64, now_ms: u64) -> Self {
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self {
            foca: Foca::new(Life { node: me, life, round: 0 }, settings(0), rng, LifeCodec),
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            pace: Pace::new(now_ms),
            attested: BTreeMap::new(),
            claims: Claims::default(),
            twins: BTreeMap::new(),
            out: Vec::new(),
            renewed_ms: None,
            tuned_for: 0,
            incarnation: 0,
            left: false,
            counters: Counters::default(),
        }
    }

    /// Which round of its life this member is in: it begins another one whenever it was taken for lost. Its records say so.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.foca.identity().round
    }

    /// A member has said by its signature which round of which life it is in.
    pub fn attest(&mut self, node: NodeId, life: u64, round: u32) {
        if node == self.me() || !self.raise(node, life, round, None) {
            return;
        }
        let id = Life { node, life, round };
        // News of a member that is lost, or lived before: it has said this later.
        let known = held_of(&self.foca, &node).is_some();
        let held = self.claims.take_held(id);
        if let Some(member) = held.or_else(|| known.then(|| foca::Member::alive(id))) {
            self.apply(member);
        }
    }

    /// A member is connected: it is told that we are here, and tells whom it knows.
    pub fn meet(&mut self, node: NodeId, now_ms: u64) {
        self.advance(now_ms);
        self.announce(node);
    }

    /// Takes what a member said; who it is has been proven by the connection.
    ///
    /// # Errors
    /// It cannot be read; nothing was changed.
    pub fn hear(&mut self, from: NodeId, bytes: &[u8], now_ms: u64) -> Result<(), Unread> {
        self.advance(now_ms);
        let mut packet = Packet::read(from, self.me(), bytes).inspect_err(|_| self.counters.unreadable += 1)?;
        let src = packet.header.src;
        if self.left || from == self.me() || !self.is_current(src, now_ms) {
            return Ok(());
        }
        self.raise(from, src.life, src.round, Some(now_ms));
        let Some(mut news) = self.admit(&mut packet, now_ms) else { return Ok(()) };
        let before = self.round();
        // What foca does not take it says in a word; the rules above have seen to the form already.
        if self.foca.handle_data(&packet.whole(), &mut self.runtime).is_err() {
            self.counters.unreadable += 1;
        }
        self.settle();
        if self.round() != before {
            // Foca has begun a new round: we were told that we are lost. Whoever said so hears first that we are not.
            self.begin_round(now_ms);
            self.announce(from);
        } else if news.suspects_us || !news.corrections.is_empty() {
            // Foca tells a few at random. Whoever believes what is over is told at once: it may be the one who counts down.
            news.corrections.truncate(CORRECTIONS_MAX);
            self.tell(from, news.corrections);
        }
        Ok(())
    }

    /// By when [`Detector::tick`] is to be called, on the clock of its argument: what comes later is this host's own lateness. Each call of
    /// another method may change it.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.pace.last_ms() + self.planned_ms()
    }

    /// How much time may pass until the next look: while somebody is accused, or our clock runs slower, one follows the other.
    fn planned_ms(&self) -> u64 {
        if self.pace.doubt() > 0 || self.claims.are_pending() {
            return TICK_MS;
        }
        let is_silent = self.foca.updates_backlog() == 0;
        let is_idle = |timer: &Timer<Life>| is_silent && matches!(timer, Timer::PeriodicGossip(_));
        let next = self.timers.iter().find(|(_, timer)| !is_idle(timer));
        next.map_or(CALM_TICK_MS, |((due, _), _)| due.saturating_sub(self.pace.own_ms()).min(CALM_TICK_MS))
    }

    /// To be called by [`Detector::due_ms`]: probes who is due, and ends what was waited for.
    pub fn tick(&mut self, now_ms: u64) {
        self.advance(now_ms);
        if self.left {
            return;
        }
        let known = |node: &NodeId| held_of(&self.foca, node);
        for accused in self.claims.ripe(self.pace.own_ms(), known) {
            self.apply(accused);
        }
        self.tune();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= self.pace.own_ms()) {
            let timer = entry.remove();
            if self.is_settled(&timer) {
                continue;
            }
            let failed = if let Timer::ProbeRandomMember(_) = timer { self.pace.probed() } else { None };
            // Out of turn only after a new round, and then it repairs itself.
            drop(self.foca.handle_timer(timer, &mut self.runtime));
            self.settle();
            // The suspect hears of it from us, and not only from others in the course of time (Lifeguard's buddies).
            let suspect = failed.and_then(|node| held_of(&self.foca, &node));
            if let Some(suspect) = suspect.filter(|member| member.state() == State::Suspect) {
                self.tell(suspect.id().node, vec![suspect]);
            }
        }
    }

    /// Says farewell to a few, who tell the others. Nothing is said after that.
    pub fn leave(&mut self, now_ms: u64) {
        self.advance(now_ms);
        if !self.left {
            drop(self.foca.leave_cluster(&mut self.runtime));
            self.settle();
            self.left = true;
        }
    }

    /// Forgets what it knows of a member that was put out, or is not to be told of any more.
    pub fn forget(&mut self, node: NodeId) {
        self.attested.remove(&node);
        self.claims.forget(node);
        self.twins.remove(&node);
    }

    /// How each other member fares that was heard of, in no order.
    pub fn standings(&self) -> impl Iterator<Item = (NodeId, Standing)> {
        let standing = |state| match state {
            State::Alive => Standing::Alive,
            State::Suspect => Standing::Suspect,
            State::Down => Standing::Lost,
        };
        self.foca.iter_membership_state().map(move |member| (member.id().node, standing(member.state())))
    }

    /// Members whose key two live hosts have: an older life was heard when a newer one had long been, within the last `recent`.
    pub fn twins(&mut self, now_ms: u64, recent: Duration) -> BTreeSet<NodeId> {
        let recent_ms = u64::try_from(recent.as_millis()).unwrap_or(u64::MAX);
        self.twins.retain(|_, heard_ms| now_ms.saturating_sub(*heard_ms) <= recent_ms);
        self.twins.keys().copied().collect()
    }

    /// What is to be sent, each to a member and as it stands.
    pub fn take_outgoing(&mut self) -> Vec<(NodeId, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// By how much this host doubts itself: its time-outs are longer by that many times.
    #[must_use]
    pub const fn doubt(&self) -> u64 {
        self.pace.doubt()
    }

    fn me(&self) -> NodeId {
        self.foca.identity().node
    }

    /// Lets time pass. After a stall of our own everybody gets a fresh chance: what was waited for is waited for no longer,
    /// and a new round tells those who have lost us meanwhile that we are back.
    fn advance(&mut self, now_ms: u64) {
        let planned_ms = self.planned_ms().max(TICK_MS);
        if self.pace.advance(now_ms, planned_ms) && !self.left {
            self.counters.stalls += 1;
            self.renew(now_ms);
        }
    }

    fn renew(&mut self, now_ms: u64) {
        let next = self.foca.identity().next_round();
        if next == *self.foca.identity() {
            return;
        }
        drop(self.foca.change_identity(next, &mut self.runtime));
        self.settle();
        self.begin_round(now_ms);
    }

    /// In a new round nothing is waited for that was begun in the last one.
    fn begin_round(&mut self, now_ms: u64) {
        self.renewed_ms = Some(now_ms);
        self.counters.renewals += 1;
        self.claims.forget_suspicions();
        self.pace.begin_round();
        // Foca would tell by their token that these are of before.
        self.timers.retain(|_, timer| matches!(timer, Timer::RemoveDown(_)));
        // Nobody is new, but whoever is known is to be probed again.
        drop(self.foca.apply_many(std::iter::empty(), false, &mut self.runtime));
        self.settle();
    }

    /// Notes which round of which life a member says it is in; whether that is news.
    fn raise(&mut self, node: NodeId, life: u64, round: u32, met_ms: Option<u64>) -> bool {
        let full = self.attested.len() >= MEMBERS_MAX;
        match self.attested.get_mut(&node) {
            Some(known) if (known.life, known.round) < (life, round) => {
                let met_ms = if known.life == life { known.met_ms.or(met_ms) } else { met_ms };
                *known = Attested { life, round, met_ms };
                true
            }
            Some(known) => {
                if known.life == life {
                    known.met_ms = known.met_ms.or(met_ms);
                }
                false
            }
            None if full => false,
            None => {
                self.attested.insert(node, Attested { life, round, met_ms });
                true
            }
        }
    }

    /// Whether somebody speaks in its newest life. An older one is the rest of a process that has ended; or a second host.
    fn is_current(&mut self, src: Life, now_ms: u64) -> bool {
        let Some(known) = self.attested.get(&src.node).filter(|known| known.life > src.life) else { return true };
        self.counters.old_lives += 1;
        if known.met_ms.is_some_and(|met_ms| now_ms.saturating_sub(met_ms) > OLD_LIFE_MS) {
            self.twins.insert(src.node, now_ms);
        }
        false
    }

    /// Takes out of a message what is not to be believed; `None` where nothing is left to be looked at.
    fn admit(&mut self, packet: &mut Packet, now_ms: u64) -> Option<Judged> {
        let me = *self.foca.identity();
        let paused = self.renewed_ms.is_some_and(|at| now_ms.saturating_sub(at) < RENEWAL_PAUSE_MS);
        if packet.tells_lost(me) && paused {
            self.counters.renewals_refused += 1;
            return None;
        }
        self.pace.heard(packet, me);
        let attested = |node: &NodeId| self.attested.get(node).map(|known| (known.life, known.round));
        let known = |node: &NodeId| held_of(&self.foca, node);
        let judged = self.claims.judge(packet, me, (attested, known), self.pace.own_ms());
        self.counters.claims_refused += judged.refused;
        self.counters.claims_overflow += judged.overflow;
        Some(judged)
    }

    /// Says something about others to one member.
    fn tell(&mut self, to: NodeId, claims: Vec<foca::Member<Life>>) {
        let Some(known) = self.attested.get(&to) else { return };
        let dst = Life { node: to, life: known.life, round: known.round };
        let (src, src_incarnation) = (*self.foca.identity(), self.incarnation);
        let header = foca::Header { src, src_incarnation, dst, message: foca::Message::Gossip };
        let packet = Packet { header, claims: Some(claims) };
        self.out.extend(Packet::body(&packet.whole()).map(|body| (to, body)));
    }

    fn announce(&mut self, node: NodeId) {
        if node == self.me() || self.left {
            return;
        }
        // Which life it is in does not matter to whoever is asked to answer.
        let (life, round) = self.attested.get(&node).map_or((0, 0), |known| (known.life, known.round));
        drop(self.foca.announce(Life { node, life, round }, &mut self.runtime));
        self.settle();
    }

    fn apply(&mut self, member: foca::Member<Life>) {
        drop(self.foca.apply_many(std::iter::once(member), true, &mut self.runtime));
        self.settle();
    }

    /// Takes over what foca wants done.
    fn settle(&mut self) {
        while let Some((to, bytes)) = self.runtime.to_send() {
            if let (Ok(header), Some(body)) = (wire::take_header(&*bytes), Packet::body(&bytes)) {
                self.pace.said(&header);
                self.incarnation = header.src_incarnation;
                self.out.push((to.node, body));
            }
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let due = self.pace.own_ms().saturating_add(after_ms);
            self.timers_made += 1;
            self.timers.insert((due, self.timers_made), timer);
        }
        while self.runtime.to_notify().is_some() {}
    }

    /// Whether a suspect has answered meanwhile. Foca finds that out too, but not before it has told it that it is lost.
    fn is_settled(&self, timer: &Timer<Life>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else { return false };
        let still = |member: foca::Member<Life>| {
            member.id() == member_id && member.incarnation() == *incarnation && member.state() == State::Suspect
        };
        !held_of(&self.foca, &member_id.node).is_some_and(still)
    }

    /// News is told more often the more there are to hear it.
    fn tune(&mut self) {
        let members = self.foca.num_members();
        if members != self.tuned_for {
            self.tuned_for = members;
            drop(self.foca.set_config(settings(members)));
        }
    }
}
