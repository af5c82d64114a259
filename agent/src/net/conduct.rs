//! How members behave: a score for each that offences lower and time heals, and what follows from it.
//!
//! Pure: takes the time as an argument, and disconnects nobody itself. The invariants: one offence alone refuses nobody, unless
//! it cannot happen by accident; whoever stops offending is let in again within the hour; who has done nothing takes no memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use selvedge_sync::id::NodeId;

/// The best score.
pub(super) const SCORE_MAX: u8 = 100;

/// Below this score a member is read from slowly.
const SLOWED_BELOW: u32 = 50;

/// How long one point takes to heal: an offender that is only unlucky is whole again within minutes.
const HEAL: Duration = Duration::from_secs(2);

/// How long the first refusal lasts; each further one lasts twice as long.
const REFUSAL_MIN: Duration = Duration::from_mins(1);

/// The longest refusal.
const REFUSAL_MAX: Duration = Duration::from_hours(1);

/// After this long without another refusal, one of them is forgotten.
const FORGIVE: Duration = Duration::from_hours(2);

/// Members about whom something is remembered: as many as there may be connections.
const RECORDS_MAX: usize = 1_024;

/// What a member can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// It sent a message that cannot be decoded.
    Undecodable,
    /// It broke the framing of a protocol.
    Malformed,
    /// It announced a frame above its lane's limit.
    Oversized,
    /// It sent a commit that breaks the rules.
    Rejected,
    /// It passed on a commit with a signature that is not its origin's.
    Forged,
    /// It wrote two different commits under one number.
    Equivocation,
    /// It claimed or asked for what cannot exist.
    Lie,
    /// It sent far more than any honest member has reason to.
    Flood,
    /// It sent gossip that is none.
    BadGossip,
    /// It gave other bytes of an artefact or an asset than it has claimed to have.
    WrongBytes,
}

impl Offence {
    /// Every offence.
    pub const ALL: [Self; 10] = [
        Self::Undecodable,
        Self::Malformed,
        Self::Oversized,
        Self::Rejected,
        Self::Forged,
        Self::Equivocation,
        Self::Lie,
        Self::Flood,
        Self::BadGossip,
        Self::WrongBytes,
    ];

    /// The offence's word, as it stands in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::Rejected => "rejected",
            Self::Forged => "forged",
            Self::Equivocation => "equivocation",
            Self::Lie => "lie",
            Self::Flood => "flood",
            Self::BadGossip => "bad_gossip",
            Self::WrongBytes => "wrong_bytes",
        }
    }

    /// Points that it costs. What a newer or damaged but honest member may do costs little; what takes intent costs much.
    const fn weight(self) -> u32 {
        match self {
            Self::Flood => 2,
            Self::Undecodable | Self::BadGossip | Self::Rejected | Self::Lie => 10,
            Self::Malformed | Self::Oversized | Self::WrongBytes => 20,
            Self::Forged => 40,
            Self::Equivocation => 100,
        }
    }

    /// Position in arrays that hold one thing per offence.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Undecodable => 0,
            Self::Malformed => 1,
            Self::Oversized => 2,
            Self::Rejected => 3,
            Self::Forged => 4,
            Self::Equivocation => 5,
            Self::Lie => 6,
            Self::Flood => 7,
            Self::BadGossip => 8,
            Self::WrongBytes => 9,
        }
    }
}

/// What follows from an offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Noted,
    /// The member is read from slowly from now on.
    Slowed,
    /// The member is disconnected and refused for so long.
    Refused(Duration),
}

#[derive(Debug)]
struct Record {
    /// Points lost and not healed at `since`.
    debt: u32,
    since: Instant,
    /// Refusals that are not forgiven.
    refusals: u32,
    refused_until: Option<Instant>,
    last: Offence,
}

impl Record {
    fn debt(&self, now: Instant) -> u32 {
        let healed = now.saturating_duration_since(self.since).as_millis() / HEAL.as_millis();
        self.debt.saturating_sub(u32::try_from(healed).unwrap_or(u32::MAX))
    }

    fn refusals(&self, now: Instant) -> u32 {
        let quiet = now.saturating_duration_since(self.refused_until.unwrap_or(self.since));
        let forgiven = quiet.as_secs() / FORGIVE.as_secs();
        self.refusals.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

/// The conduct of all members.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    records: BTreeMap<NodeId, Record>,
}

impl Conduct {
    /// Notes an offence.
    pub(super) fn note(&mut self, node: NodeId, offence: Offence, now: Instant) -> Verdict {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&node) {
            self.make_room(now);
        }
        let record = self.records.entry(node).or_insert(Record {
            debt: 0,
            since: now,
            refusals: 0,
            refused_until: None,
            last: offence,
        });
        if record.refused_until.is_some_and(|until| until > now) {
            // It is being disconnected; what was still on its way changes nothing.
            return Verdict::Noted;
        }
        let (before, refusals) = (record.debt(now), record.refusals(now));
        (record.debt, record.refusals) = (before + offence.weight(), refusals);
        (record.since, record.last) = (now, offence);
        if record.debt >= u32::from(SCORE_MAX) {
            let lasting = REFUSAL_MIN.saturating_mul(1 << refusals.min(16)).min(REFUSAL_MAX);
            record.refusals += 1;
            record.refused_until = Some(now + lasting);
            // It comes back slowed, and has to earn the rest.
            record.debt = u32::from(SCORE_MAX) - SLOWED_BELOW;
            record.since = now + lasting;
            return Verdict::Refused(lasting);
        }
        let line = u32::from(SCORE_MAX) - SLOWED_BELOW;
        if before <= line && record.debt > line { Verdict::Slowed } else { Verdict::Noted }
    }

    /// From [`SCORE_MAX`] down to 0.
    pub(super) fn score(&self, node: NodeId, now: Instant) -> u8 {
        let debt = self.records.get(&node).map_or(0, |record| record.debt(now));
        SCORE_MAX.saturating_sub(u8::try_from(debt).unwrap_or(SCORE_MAX))
    }

    pub(super) fn is_slowed(&self, node: NodeId, now: Instant) -> bool {
        u32::from(self.score(node, now)) < SLOWED_BELOW
    }

    /// How much longer a member is refused, and what for last; `None` for whoever is not.
    pub(super) fn refused(&self, node: NodeId, now: Instant) -> Option<(Duration, Offence)> {
        let record = self.records.get(&node)?;
        let rest = record.refused_until?.checked_duration_since(now).filter(|rest| !rest.is_zero())?;
        Some((rest, record.last))
    }

    /// Everybody who is refused.
    pub(super) fn all_refused(&self, now: Instant) -> Vec<(NodeId, Duration, Offence)> {
        let nodes = self.records.keys().copied();
        nodes.filter_map(|node| self.refused(node, now).map(|(rest, offence)| (node, rest, offence))).collect()
    }

    /// Forgets who is whole again, or else whoever has the least against it.
    fn make_room(&mut self, now: Instant) {
        self.records.retain(|_, record| record.debt(now) > 0 || record.refusals(now) > 0);
        if self.records.len() >= RECORDS_MAX {
            let least = self.records.iter().min_by_key(|(_, record)| (record.refusals(now), record.debt(now)));
            if let Some(node) = least.map(|(node, _)| *node) {
                self.records.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    /// Offends until something other than a note follows.
    fn until_verdict(conduct: &mut Conduct, offence: Offence, now: Instant) -> (usize, Verdict) {
        for times in 1.. {
            match conduct.note(NODE, offence, now) {
                Verdict::Noted => {}
                verdict => return (times, verdict),
            }
        }
        unreachable!("offences add up")
    }

    #[test]
    fn offences_slow_then_refuse_and_refusals_double_up_to_an_hour() {
        let (mut conduct, mut now) = (Conduct::default(), Instant::now());
        assert_eq!(until_verdict(&mut conduct, Offence::Undecodable, now), (6, Verdict::Slowed));
        assert!(conduct.is_slowed(NODE, now) && conduct.refused(NODE, now).is_none());
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (_, verdict) = until_verdict(&mut conduct, Offence::Forged, now);
            let verdict = match verdict {
                Verdict::Slowed => until_verdict(&mut conduct, Offence::Forged, now).1,
                other => other,
            };
            assert_eq!(verdict, Verdict::Refused(Duration::from_mins(minutes)));
            assert_eq!(conduct.note(NODE, Offence::Forged, now), Verdict::Noted, "it is refused already");
            now += Duration::from_mins(minutes);
            assert!(conduct.refused(NODE, now).is_none(), "and then no more");
        }
    }

    #[test]
    fn time_heals_and_is_forgiving() {
        let (mut conduct, now) = (Conduct::default(), Instant::now());
        conduct.note(NODE, Offence::Forged, now);
        assert_eq!(conduct.score(NODE, now), 60);
        assert_eq!(conduct.score(NODE, now + HEAL * 10), 70);
        assert_eq!(conduct.score(NODE, now + HEAL * 40), SCORE_MAX);
        assert_eq!(conduct.note(NODE, Offence::Equivocation, now), Verdict::Refused(REFUSAL_MIN), "no accident");
        let later = now + REFUSAL_MIN + FORGIVE;
        assert_eq!(conduct.note(NODE, Offence::Equivocation, later), Verdict::Refused(REFUSAL_MIN), "once forgiven");
    }

    #[test]
    fn an_occasional_fault_never_slows() {
        let (mut conduct, mut now) = (Conduct::default(), Instant::now());
        for _ in 0..1_000 {
            now += HEAL * Offence::Undecodable.weight();
            assert_eq!(conduct.note(NODE, Offence::Undecodable, now), Verdict::Noted);
        }
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_kept() {
        let (mut conduct, now) = (Conduct::default(), Instant::now());
        conduct.note(NODE, Offence::Equivocation, now);
        for number in 0..3_000_u16 {
            let mut id = [2; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            conduct.note(NodeId(id), Offence::Flood, now);
        }
        assert_eq!(conduct.records.len(), RECORDS_MAX);
        assert!(conduct.refused(NODE, now).is_some());
    }

    #[test]
    fn each_offence_has_its_own_place() {
        for (position, offence) in Offence::ALL.into_iter().enumerate() {
            assert_eq!(offence.index(), position);
        }
    }
}
