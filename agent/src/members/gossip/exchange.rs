//! What is said to others on the members' lane, and what comes of what they say.
//!
//! News of a member goes to a few, who tell a few others once; a digest with one member in turn heals what was lost. The
//! invariant: what one frame of another member makes this one send is bounded, and so is what it makes it remember.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use selvedge_sync::id::NodeId;
use selvedge_sync::time::Time;

use super::SharedMembers;
use crate::members::detector::Detector;
use crate::members::frame::{Digest, ENTRIES_MAX, Frame, RECORDS_BYTES, Records};
use crate::members::sealed::Unsound;
use crate::members::spread::{compare, digest};
use crate::members::{NodeRecord, Register, Sealed};
use crate::net::{Lane, Net, Offence};

/// Members whom a record is told at first hand, and by each who hears of it first.
const FAN_OUT: usize = 3;

/// Connected members up to which everybody is told at first hand, and nobody passes anything on: each hears it once.
const TOLD_DIRECTLY_MAX: usize = 32;

/// How long a record that was asked for is waited for before another member is asked, in milliseconds.
const ASKED_MS: u64 = 2_000;

/// Records that one member is given between two of our digests, which are five seconds apart: whoever has just come gets those of a
/// mesh of thousands.
const GIVEN_MAX: usize = 4_096;

/// The highest age that is believed of a record, in milliseconds.
const AGE_MAX_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests;

/// Says and hears.
pub(super) struct Exchange {
    life: u64,
    /// When a record of ours was last heard that we have not made: of a later life than this one.
    later_life_ms: Option<u64>,
    members: SharedMembers,
    net: Net,
    register: Arc<dyn Register>,
    rng: Xoshiro256PlusPlus,
    /// With whom the last digest was compared, and which members the next one tells of.
    turn: Option<NodeId>,
    page: Option<NodeId>,
    /// Whose records have been asked for, and when.
    asked: BTreeMap<NodeId, u64>,
    /// How many records each member was given since the last digest.
    given: BTreeMap<NodeId, usize>,
}

impl Exchange {
    pub(super) fn new(
        life: u64,
        members: SharedMembers,
        net: Net,
        register: Arc<dyn Register>,
        rng: Xoshiro256PlusPlus,
    ) -> Self {
        let (turn, page, asked, given) = Default::default();
        Self { life, later_life_ms: None, members, net, register, rng, turn, page, asked, given }
    }

    /// A member is connected: it hears who we are, and what we know of everybody.
    pub(super) fn greet(&mut self, node: NodeId, now: Time) {
        self.give(node, [self.net.node()].iter(), now);
        let mut after = None;
        loop {
            let (page, next) = self.members.with(|members| digest(members, after));
            self.send(node, &Frame::Digest(page));
            after = next;
            if after.is_none() {
                return;
            }
        }
    }

    /// Our own record is news. Those who are told at first hand have seen our certificate at the gate, unless it is a new one.
    pub(super) fn tell_of_us(&mut self, sealed: Sealed, is_renewed: bool) {
        let peers = self.peers();
        let news = peers.len() > TOLD_DIRECTLY_MAX;
        let sealed = if news || is_renewed { sealed } else { sealed.with(None) };
        let frame = Frame::Records(Records { news, records: vec![(0, sealed)] });
        let told = if news { self.few(peers) } else { peers };
        told.into_iter().for_each(|peer| self.send(peer, &frame));
    }

    /// Compares a page of the table with the next member in turn.
    pub(super) fn compare_with_one(&mut self, now: Time) {
        self.given.clear();
        self.asked.retain(|_, at_ms| now.mono_ms.saturating_sub(*at_ms) < ASKED_MS);
        let peers = self.peers();
        let after = self.turn.and_then(|last| peers.iter().copied().filter(|peer| *peer > last).min());
        self.turn = after.or(peers.iter().copied().min());
        let Some(peer) = self.turn else { return };
        let (page, next) = self.members.with(|members| digest(members, self.page));
        self.page = next;
        self.send(peer, &Frame::Digest(page));
    }

    /// Sends what failure detection has to say.
    pub(super) fn send_probes(&self, detector: &mut Detector) {
        for (to, bytes) in detector.take_outgoing() {
            self.send(to, &Frame::Probe(bytes));
        }
    }

    /// Takes a frame of a connected member.
    pub(super) fn take(&mut self, from: NodeId, bytes: &[u8], detector: &mut Detector, now: Time) {
        match Frame::decode(bytes) {
            Ok(Frame::Probe(bytes)) => {
                let old_lives = detector.counters().old_lives;
                let heard = detector.hear(from, &bytes, now.mono_ms);
                if detector.counters().old_lives > old_lives {
                    // Whoever it is learns that there is a later life of it.
                    self.give(from, [from].iter(), now);
                }
                if let Err(error) = heard {
                    self.net.unreadable(from, Offence::Undecodable, error.is_of_a_later_release());
                    tracing::debug!(%from, %error, "a member's probe cannot be read");
                }
            }
            Ok(Frame::Records(records)) => self.take_records(from, records, detector, now),
            Ok(Frame::Digest(digest)) => self.answer(from, &digest, now),
            Ok(Frame::Wanted(nodes)) => self.give(from, nodes.iter(), now),
            Err(error) => {
                self.members.count(|counters| counters.frames_unreadable += 1);
                self.net.unreadable(from, Offence::BadGossip, error.is_of_a_later_release());
                tracing::debug!(%from, %error, "a member sent a frame that cannot be read");
            }
        }
    }

    fn take_records(&mut self, from: NodeId, heard: Records, detector: &mut Detector, now: Time) {
        let (mut news, mut heard_of, mut has_uncertified) = (Vec::new(), BTreeSet::new(), false);
        for (age_ms, sealed) in heard.records {
            let age_ms = age_ms.min(AGE_MAX_MS);
            match self.take_record(sealed, age_ms, now) {
                Ok(Some((record, _))) if !heard_of.insert(record.node) => {
                    // Of each member there is one newest record.
                    self.members.count(|counters| counters.records_unsound += 1);
                    self.net.penalise(from, Offence::BadGossip);
                }
                Ok(Some((record, sealed))) => {
                    detector.attest(record.node, record.life, record.round);
                    self.asked.remove(&record.node);
                    news.push((age_ms, sealed));
                }
                Ok(None) => {}
                Err(error) => has_uncertified |= !self.disbelieve(from, &error),
            }
        }
        if has_uncertified {
            // Whoever passes on many of whom it cannot believe itself, wears its score down; a clock or an authority that is known only
            // there does not.
            self.net.penalise(from, Offence::Flood);
        }
        if heard.news && !news.is_empty() {
            let others = self.peers().into_iter().filter(|peer| *peer != from).collect();
            let frame = Frame::Records(Records { news: true, records: news });
            self.few(others).into_iter().for_each(|peer| self.send(peer, &frame));
        }
    }

    /// Counts a record that is not believed, and holds it against its sender where no honest member would have passed it on; whether
    /// that is done with. What a later release has written may be sound.
    fn disbelieve(&self, from: NodeId, error: &Unsound) -> bool {
        if let Unsound::Malformed(malformed) = error
            && malformed.is_of_a_later_release()
        {
            self.net.unreadable(from, Offence::BadGossip, true);
            tracing::debug!(%from, %error, "a member sent a record that this release cannot read");
            return true;
        }
        // Whoever passes a record on has looked at its signatures first, as we do.
        let offence = match error {
            Unsound::Forged => Some(Offence::Forged),
            Unsound::Uncertified { why, .. } => why.is_forged().then_some(Offence::Forged),
            Unsound::Malformed(_) | Unsound::Unbounded => Some(Offence::BadGossip),
        };
        self.members.count(|counters| {
            *(match offence {
                None => &mut counters.records_uncertified,
                Some(Offence::Forged) => &mut counters.records_forged,
                Some(_) => &mut counters.records_unsound,
            }) += 1;
        });
        if let Some(offence) = offence {
            self.net.penalise(from, offence);
            tracing::warn!(%from, %error, "a member sent a record that is not believed");
        } else {
            tracing::debug!(%from, %error, "a member sent a record that is not believed");
        }
        offence.is_some()
    }

    /// Whether another host was heard of within the last `recent` that has our key and began later.
    pub(super) fn heard_of_a_later_life(&self, now: Time, recent: Duration) -> bool {
        self.later_life_ms.is_some_and(|at_ms| Duration::from_millis(now.mono_ms.saturating_sub(at_ms)) <= recent)
    }

    /// Takes a record that is news and to be believed, and gives it back as it is to be passed on.
    fn take_record(&mut self, sealed: Sealed, age_ms: u64, now: Time) -> Result<Option<(NodeRecord, Sealed)>, Unsound> {
        let record = sealed.peek()?;
        if record.node == self.net.node() && record.life > self.life {
            sealed.verify(&record)?;
            self.later_life_ms = Some(now.mono_ms);
        }
        // Most have been heard before, and a signature is dear.
        if !self.members.with(|members| members.is_news(&record)) {
            return Ok(None);
        }
        let certificate = self
            .register
            .vouch(&record, sealed.certificate())
            .map_err(|why| Unsound::Uncertified { node: record.node, why })?;
        sealed.verify(&record)?;
        let sealed = sealed.with(certificate);
        let pair = (record.clone(), sealed.clone());
        let addresses =
            self.members.with(|members| members.take(pair, age_ms, now).then(|| members.addresses(&record.node)));
        Ok(addresses.map(|addresses| {
            self.net.learn(record.node, addresses);
            (record, sealed)
        }))
    }

    /// Another member has told what it knows: it gets what it lacks, and is asked for what we lack.
    fn answer(&mut self, from: NodeId, digest: &Digest, now: Time) {
        let apart = self.members.with(|members| compare(members, digest));
        self.give(from, apart.theirs.iter(), now);
        let own = self.net.node();
        let waits = |asked: &BTreeMap<NodeId, u64>, node: &NodeId| {
            asked.get(node).is_some_and(|at_ms| now.mono_ms.saturating_sub(*at_ms) < ASKED_MS)
        };
        let wanted = apart.ours.into_iter().filter(|node| *node != own && !waits(&self.asked, node));
        let wanted: Vec<NodeId> = wanted.collect();
        if wanted.is_empty() || self.asked.len() > ENTRIES_MAX * ENTRIES_MAX {
            return;
        }
        self.asked.extend(wanted.iter().map(|node| (*node, now.mono_ms)));
        self.send(from, &Frame::Wanted(wanted));
    }

    /// Gives the records of `nodes`, as many as there are; they are old news, which nobody is to pass on. Those of whom no certificate
    /// holds any more are not given: nobody would believe them.
    fn give<'a>(&mut self, to: NodeId, nodes: impl Iterator<Item = &'a NodeId>, now: Time) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let given = self.given.entry(to).or_default();
        let room = GIVEN_MAX.saturating_sub(*given);
        let known = nodes.filter_map(|node| self.members.with(|members| members.sealed(node, now))).take(room + 1);
        let mut known: Vec<(u64, Sealed)> = known.collect();
        if known.len() > room {
            known.truncate(room);
            self.members.count(|counters| counters.records_withheld += 1);
        }
        *given += known.len();
        let known = known.into_iter();
        for (age_ms, sealed) in known.filter(|(_, sealed)| self.register.holds(sealed.certificate())) {
            bytes += sealed.bytes();
            records.push((age_ms, sealed));
            if bytes > RECORDS_BYTES {
                bytes = 0;
                let records = std::mem::take(&mut records);
                self.send(to, &Frame::Records(Records { news: false, records }));
            }
        }
        if !records.is_empty() {
            self.send(to, &Frame::Records(Records { news: false, records }));
        }
    }

    fn peers(&self) -> Vec<NodeId> {
        self.net.peers().into_iter().map(|link| link.node).collect()
    }

    fn few(&mut self, mut peers: Vec<NodeId>) -> Vec<NodeId> {
        peers.partial_shuffle(&mut self.rng, FAN_OUT).0.to_vec()
    }

    /// A hint, like all that is said here: whatever is lost is healed by a digest, or said again.
    fn send(&self, to: NodeId, frame: &Frame) {
        if let Err(error) = self.net.send(to, Lane::Members, frame.encode()) {
            self.members.count(|counters| counters.frames_unsent += 1);
            tracing::trace!(%to, %error, "a frame of membership was not sent");
        }
    }
}
