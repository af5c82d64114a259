//! How many strangers may be at the door, from one address and in all, and how often they may come and guess.
//!
//! Pure; takes the time as an argument. An origin is an IPv4 address or an IPv6 /64, which is what one subscriber has. The
//! invariants: one origin can take only a small part of the room; a part of it is kept for origins from which members
//! have come; memory is bounded however many origins there are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bucket::{Bucket, Rate};

/// Connections in set-up and admission at once, in all. Each ends within seconds, and costs a few KiB, or what the
/// transport holds unread of it (4 MiB at most) if the stranger sends all it can.
const PENDING_MAX: usize = 96;

/// Of these, connections from origins of which nothing is known. The rest is kept for members.
const PENDING_UNKNOWN_MAX: usize = 64;

/// Of these, connections from one origin: the hosts behind one translated address that start at once.
pub(super) const PENDING_PER_ORIGIN_MAX: usize = 16;

/// New connections from one origin.
pub(super) const FROM_ORIGIN: Rate = Rate { burst: 96, every: Duration::from_millis(100) };

/// New connections from all unknown origins together: a handshake costs about a millisecond of processor time.
const FROM_UNKNOWN: Rate = Rate { burst: 256, every: Duration::from_millis(10) };

/// Wrong invitations from one origin.
pub(super) const WRONG_FROM_ORIGIN: Rate = Rate { burst: 5, every: Duration::from_secs(30) };

/// Wrong invitations from everywhere: each costs a look into the office's books.
const WRONG_FROM_ALL: Rate = Rate { burst: 64, every: Duration::from_secs(1) };

/// Origins that are remembered.
const ORIGINS_MAX: usize = 4_096;

/// Origins of members that are remembered.
const KNOWN_MAX: usize = 1_024;

/// Where somebody comes from: an IPv4 address, or the first half of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Origin {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Why a connection is refused before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    #[error("too many connections from its address are in set-up, or were begun of late")]
    FromThere,
    #[error("too many connections of strangers are in set-up, or were begun of late")]
    InAll,
}

#[derive(Debug)]
struct Visitor {
    pending: usize,
    begun: Bucket,
    wrong: Bucket,
}

/// Everybody at the door.
#[derive(Debug)]
pub(super) struct Strangers {
    visitors: BTreeMap<Origin, Visitor>,
    /// Origins from which members came, with when they last did.
    known: BTreeMap<Origin, Instant>,
    pending: usize,
    pending_unknown: usize,
    begun: Bucket,
    wrong: Bucket,
}

impl Strangers {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            visitors: BTreeMap::new(),
            known: BTreeMap::new(),
            pending: 0,
            pending_unknown: 0,
            begun: Bucket::new(now),
            wrong: Bucket::new(now),
        }
    }

    /// Lets a connection begin its handshake. What is let in is to be given back by [`Self::leave`] with the answer.
    pub(super) fn enter(&mut self, origin: Origin, now: Instant) -> Result<Entry, TooMany> {
        let is_known = self.known.contains_key(&origin);
        if self.pending >= PENDING_MAX || (!is_known && self.pending_unknown >= PENDING_UNKNOWN_MAX) {
            return Err(TooMany::InAll);
        }
        let visitor = Self::visitor(&mut self.visitors, origin, now).ok_or(TooMany::InAll)?;
        if visitor.pending >= PENDING_PER_ORIGIN_MAX || !visitor.begun.take(FROM_ORIGIN, now) {
            return Err(TooMany::FromThere);
        }
        if !is_known && !self.begun.take(FROM_UNKNOWN, now) {
            return Err(TooMany::InAll);
        }
        visitor.pending += 1;
        self.pending += 1;
        self.pending_unknown += usize::from(!is_known);
        Ok(Entry { origin, is_known })
    }

    /// A handshake has ended, well or not.
    pub(super) fn leave(&mut self, entry: Entry) {
        self.pending -= 1;
        self.pending_unknown -= usize::from(!entry.is_known);
        if let Some(visitor) = self.visitors.get_mut(&entry.origin) {
            visitor.pending -= 1;
        }
    }

    /// A member came from there.
    pub(super) fn is_member(&mut self, origin: Origin, now: Instant) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&origin) {
            let eldest = self.known.iter().min_by_key(|(_, at)| **at).map(|(origin, _)| *origin);
            eldest.and_then(|origin| self.known.remove(&origin));
        }
        self.known.insert(origin, now);
    }

    /// Whether somebody from there may show an invitation. `None` is an origin that cannot be told.
    pub(super) fn may_guess(&mut self, origin: Option<Origin>, now: Instant) -> bool {
        let visitor = origin.and_then(|origin| self.visitors.get(&origin));
        visitor.is_none_or(|visitor| visitor.wrong.has(WRONG_FROM_ORIGIN, now)) && self.wrong.has(WRONG_FROM_ALL, now)
    }

    /// An invitation was wrong.
    pub(super) fn guessed_wrong(&mut self, origin: Option<Origin>, now: Instant) {
        self.wrong.take(WRONG_FROM_ALL, now);
        if let Some(visitor) = origin.and_then(|origin| Self::visitor(&mut self.visitors, origin, now)) {
            visitor.wrong.take(WRONG_FROM_ORIGIN, now);
        }
    }

    /// What is remembered of an origin; `None` if too many others are at the door now.
    fn visitor(visitors: &mut BTreeMap<Origin, Visitor>, origin: Origin, now: Instant) -> Option<&mut Visitor> {
        if visitors.len() >= ORIGINS_MAX && !visitors.contains_key(&origin) {
            visitors.retain(|_, visitor| !visitor.is_forgotten(now));
            if visitors.len() >= ORIGINS_MAX {
                return None;
            }
        }
        let new = || Visitor { pending: 0, begun: Bucket::new(now), wrong: Bucket::new(now) };
        Some(visitors.entry(origin).or_insert_with(new))
    }

    /// Connections in set-up.
    #[cfg(test)]
    pub(super) const fn pending(&self) -> usize {
        self.pending
    }
}

/// A connection that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    origin: Origin,
    is_known: bool,
}

impl Visitor {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.pending == 0 && self.begun.is_full(now) && self.wrong.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u32) -> Origin {
        Origin::V4(number.to_be_bytes())
    }

    #[test]
    fn one_origin_takes_a_part_and_a_member_still_gets_in() {
        let (mut strangers, now) = (Strangers::new(Instant::now()), Instant::now());
        let entries: Vec<_> = std::iter::from_fn(|| strangers.enter(origin(1), now).ok()).collect();
        assert_eq!(entries.len(), PENDING_PER_ORIGIN_MAX);
        assert_eq!(strangers.enter(origin(1), now), Err(TooMany::FromThere));
        assert!(strangers.enter(origin(2), now).is_ok(), "another address is not concerned");
        entries.into_iter().for_each(|entry| strangers.leave(entry));
        assert_eq!(strangers.pending(), 1);
    }

    #[test]
    fn many_origins_leave_room_for_those_of_members() {
        let (mut strangers, now) = (Strangers::new(Instant::now()), Instant::now());
        strangers.is_member(origin(0), now);
        let entered = (1..1_000).filter(|number| strangers.enter(origin(*number), now).is_ok()).count();
        assert_eq!(entered, PENDING_UNKNOWN_MAX);
        assert!(strangers.enter(origin(0), now).is_ok());
    }

    #[test]
    fn who_comes_again_and_again_is_slowed() {
        let (mut strangers, start) = (Strangers::new(Instant::now()), Instant::now());
        let mut come = |now| match strangers.enter(origin(1), now) {
            Ok(entry) => {
                strangers.leave(entry);
                true
            }
            Err(_) => false,
        };
        let at_once = std::iter::repeat_with(|| come(start)).take_while(|let_in| *let_in).count();
        assert_eq!(at_once, usize::try_from(FROM_ORIGIN.burst).unwrap());
        let later = start + Duration::from_secs(1);
        assert_eq!(std::iter::repeat_with(|| come(later)).take_while(|let_in| *let_in).count(), 10);
    }

    #[test]
    fn guesses_are_few_from_one_origin_and_bounded_from_all() {
        let (mut strangers, now) = (Strangers::new(Instant::now()), Instant::now());
        let mut guess = |number, now| {
            let may = strangers.may_guess(Some(origin(number)), now);
            if may {
                strangers.guessed_wrong(Some(origin(number)), now);
            }
            may
        };
        assert_eq!((0..100).filter(|_| guess(1, now)).count(), 5);
        assert_eq!((0..100).filter(|_| guess(1, now + Duration::from_secs(30))).count(), 1);
        let later = now + Duration::from_hours(1);
        assert_eq!((2..1_000).filter(|number| guess(*number, later)).count(), 64);
    }

    #[test]
    fn memory_is_bounded_and_forgets_who_is_quiet() {
        let (mut strangers, now) = (Strangers::new(Instant::now()), Instant::now());
        for number in 0..10_000 {
            strangers.guessed_wrong(Some(origin(number)), now);
        }
        assert_eq!(strangers.visitors.len(), ORIGINS_MAX);
        strangers.guessed_wrong(Some(origin(20_000)), now + Duration::from_hours(1));
        assert_eq!(strangers.visitors.len(), 1);
    }

    #[test]
    fn an_origin_is_what_one_subscriber_has() {
        let of = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
