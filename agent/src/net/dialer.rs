//! Whom to dial, where, and when again.
//!
//! Owns the targets (bootstrap addresses and members heard of) and their back-off; dials nothing itself, and takes the time
//! as an argument. The invariants: a target that is connected is not dialed; a target that is not is tried for ever, ever
//! more slowly up to a bound; the number of targets and of their addresses is bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use selvedge_sync::id::NodeId;

use super::address::{self, AddressError};
use super::counters::{NetReason, Tally};
use super::identity::{node_of, peer_of};

/// The first pause after a failed round over a target's addresses.
const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// The longest pause: a member that comes back is found within half a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A link that lasted this long was a good one, and the back-off begins anew when it breaks.
const STABLE_LINK: Duration = Duration::from_secs(10);

/// Of two members that hear of each other, the one with the greater id waits this long, so that they do not both dial.
const COURTESY: Duration = Duration::from_millis(500);

/// Members whose addresses are kept: as many as there may be connections.
pub(super) const MEMBERS_MAX: usize = 1_024;

/// Addresses kept per member: QUIC and TCP on four interfaces.
pub(super) const ADDRESSES_PER_MEMBER_MAX: usize = 8;

/// Dials under way at once, below the limit of the connections' own.
const DIALS_MAX: usize = 16;

/// Something to stay connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The bootstrap address at this position of the configuration.
    Bootstrap(usize),
    /// A member heard of.
    Member(NodeId),
}

/// One attempt to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) target: Target,
    /// Who must answer, if that is known.
    pub(super) peer: Option<PeerId>,
    pub(super) address: Multiaddr,
}

#[derive(Debug)]
struct Course {
    /// As it was configured, or the node id.
    text: String,
    addresses: Vec<Multiaddr>,
    /// Who must answer: named by the address, or the member itself.
    expected: Option<PeerId>,
    /// Who answered last, or must.
    node: Option<NodeId>,
    /// The address to try next.
    cursor: usize,
    /// Failed rounds since the last good link.
    rounds: u32,
    rest_until: Instant,
    dialing: bool,
    up_since: Option<Instant>,
    /// It is this agent's own address.
    own: bool,
    /// Until then it is not dialed, whatever is heard of it.
    refused_until: Option<Instant>,
    /// Why it was not reached the last time.
    last_error: Option<String>,
}

/// How things stand with a target that is not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prospect {
    /// Who is to be there, if that is known.
    pub(super) node: Option<NodeId>,
    pub(super) is_dialing: bool,
    /// The rest of the pause.
    pub(super) retry_in: Duration,
    pub(super) addresses: Vec<String>,
    pub(super) last_error: Option<String>,
}

/// The targets and their state.
#[derive(Debug)]
pub(super) struct Dialer {
    own: NodeId,
    courses: BTreeMap<Target, Course>,
    random: u32,
}

impl Dialer {
    /// All of `bootstrap` is due at once. `seed` drives the jitter.
    pub(super) fn new(own: NodeId, bootstrap: &[String], seed: u32, now: Instant) -> Result<Self, AddressError> {
        let mut courses = BTreeMap::new();
        for (position, text) in bootstrap.iter().enumerate() {
            let (addresses, peers): (Vec<_>, Vec<_>) =
                address::parse(text)?.into_iter().map(address::split_peer).unzip();
            let expected = peers.into_iter().flatten().next();
            let mut course = Course::new(text.clone(), addresses, now);
            course.expected = expected;
            course.node = expected.as_ref().and_then(node_of);
            course.own = course.node == Some(own);
            courses.insert(Target::Bootstrap(position), course);
        }
        Ok(Self { own, courses, random: seed | 1 })
    }

    /// Takes in the addresses of a member; an empty list forgets it. `connected` says whether it is connected now.
    pub(super) fn learn(&mut self, node: NodeId, texts: &[String], connected: bool, tally: &Tally, now: Instant) {
        let target = Target::Member(node);
        if node == self.own {
            return;
        }
        let addresses = usable(node, texts, tally);
        if addresses.is_empty() {
            self.courses.remove(&target);
            return;
        }
        let up_since = connected.then_some(now);
        for course in self.bootstraps_at(&addresses) {
            course.node = Some(node);
            course.up_since = course.up_since.or(up_since);
        }
        if let Some(course) = self.courses.get_mut(&target) {
            if course.addresses != addresses {
                // News about where it is: what was learned by failing is void.
                (course.addresses, course.cursor, course.rounds, course.rest_until) = (addresses, 0, 0, now);
            }
            return;
        }
        if self.members() >= MEMBERS_MAX {
            tally.count(NetReason::AddressLimit);
            return;
        }
        let wait = if node < self.own { COURTESY } else { Duration::ZERO };
        let mut course = Course::new(node.to_string(), addresses, now + wait);
        course.expected = peer_of(node);
        course.node = Some(node);
        course.up_since = up_since;
        self.courses.insert(target, course);
    }

    /// The attempts to be made now. Each must be answered by [`Self::arrived`], [`Self::failed`] or [`Self::is_own`].
    pub(super) fn due(&mut self, now: Instant) -> Vec<Dial> {
        let under_way = self.courses.values().filter(|course| course.dialing).count();
        let mut dials = Vec::new();
        for (target, course) in &mut self.courses {
            if under_way + dials.len() >= DIALS_MAX {
                break;
            }
            if course.wants_dial() && course.due_at() <= now {
                let Some(address) = course.addresses.get(course.cursor) else { continue };
                course.dialing = true;
                dials.push(Dial { target: *target, peer: course.expected, address: address.clone() });
            }
        }
        dials
    }

    /// When [`Self::due`] is worth asking again, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.courses.values().filter(|course| course.dialing).count() >= DIALS_MAX {
            return None;
        }
        self.courses.values().filter(|course| course.wants_dial()).map(Course::due_at).min()
    }

    /// A dial of `target` reached `node`.
    pub(super) fn arrived(&mut self, target: Target, node: NodeId, now: Instant) {
        if let Some(course) = self.courses.get_mut(&target) {
            course.dialing = false;
            course.node = Some(node);
            course.up_since = Some(now);
            course.last_error = None;
        }
    }

    /// A dial of `target` failed. Answers the pause if its addresses are used up for this round.
    pub(super) fn failed(&mut self, target: Target, error: String, now: Instant) -> Option<Duration> {
        let random = self.next_random();
        let course = self.courses.get_mut(&target)?;
        course.dialing = false;
        course.last_error = Some(error);
        course.cursor += 1;
        if course.cursor < course.addresses.len() {
            course.rest_until = now;
            return None;
        }
        Some(course.rest(now, random))
    }

    /// A dial of `target` came back to this agent itself: it is never dialed again.
    pub(super) fn is_own(&mut self, target: Target) {
        if let Some(course) = self.courses.get_mut(&target) {
            (course.dialing, course.own) = (false, true);
        }
    }

    /// `node` is connected, whoever dialed.
    pub(super) fn up(&mut self, node: NodeId, now: Instant) {
        for course in self.courses.values_mut().filter(|course| course.node == Some(node)) {
            course.up_since = course.up_since.or(Some(now));
        }
    }

    /// The last link to `node` is gone.
    pub(super) fn down(&mut self, node: NodeId, now: Instant) {
        let random = self.next_random();
        for course in self.courses.values_mut().filter(|course| course.node == Some(node)) {
            if let Some(since) = course.up_since.take() {
                if now.saturating_duration_since(since) >= STABLE_LINK {
                    course.rounds = 0;
                }
                course.rest(now, random);
            }
        }
    }

    /// Does not dial `node` until then, whatever is heard of it.
    pub(super) fn refuse(&mut self, node: NodeId, until: Instant) {
        for course in self.courses.values_mut().filter(|course| course.node == Some(node)) {
            course.refused_until = Some(until);
        }
    }

    /// How things stand with each target.
    pub(super) fn prospects(&self, now: Instant) -> Vec<Prospect> {
        let prospect = |course: &Course| Prospect {
            node: course.node,
            is_dialing: course.dialing,
            retry_in: course.due_at().saturating_duration_since(now),
            addresses: course.addresses.iter().map(ToString::to_string).collect(),
            last_error: course.last_error.clone(),
        };
        self.courses.values().filter(|course| !course.own).map(prospect).collect()
    }

    /// The bootstrap addresses, as configured, that lead nowhere at present.
    pub(super) fn unreached(&self) -> Vec<String> {
        let bootstraps = self.courses.iter().filter(|(target, _)| matches!(target, Target::Bootstrap(_)));
        bootstraps
            .filter(|(_, course)| course.up_since.is_none() && !course.own)
            .map(|(_, course)| course.text.clone())
            .collect()
    }

    /// What `target` is called in a log.
    pub(super) fn name(&self, target: Target) -> &str {
        self.courses.get(&target).map_or("a forgotten member", |course| &course.text)
    }

    fn members(&self) -> usize {
        self.courses.keys().filter(|target| matches!(target, Target::Member(_))).count()
    }

    /// Bootstrap addresses that nobody has answered yet and that are among `addresses`.
    fn bootstraps_at(&mut self, addresses: &[Multiaddr]) -> impl Iterator<Item = &mut Course> {
        self.courses.iter_mut().filter_map(move |(target, course)| match target {
            Target::Bootstrap(_) if course.node.is_none() => {
                course.addresses.iter().any(|address| addresses.contains(address)).then_some(course)
            }
            Target::Bootstrap(_) | Target::Member(_) => None,
        })
    }

    /// Xorshift: jitter needs no better.
    const fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

impl Course {
    const fn new(text: String, addresses: Vec<Multiaddr>, rest_until: Instant) -> Self {
        Self {
            text,
            addresses,
            expected: None,
            node: None,
            cursor: 0,
            rounds: 0,
            rest_until,
            dialing: false,
            up_since: None,
            own: false,
            refused_until: None,
            last_error: None,
        }
    }

    const fn wants_dial(&self) -> bool {
        !self.own && !self.dialing && self.up_since.is_none()
    }

    fn due_at(&self) -> Instant {
        self.refused_until.map_or(self.rest_until, |until| until.max(self.rest_until))
    }

    /// Begins a pause of half to all of the back-off, and starts over with the addresses.
    fn rest(&mut self, now: Instant, random: u32) -> Duration {
        let full = BACKOFF_MIN.saturating_mul(1 << self.rounds.min(16)).min(BACKOFF_MAX);
        let pause = full / 2 + (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.cursor = 0;
        self.rounds = self.rounds.saturating_add(1);
        self.rest_until = now + pause;
        pause
    }
}

/// Of what gossip says about `node`, the addresses that could be dialed, without repetition and within the bound.
fn usable(node: NodeId, texts: &[String], tally: &Tally) -> Vec<Multiaddr> {
    let mut addresses = Vec::new();
    for text in texts.iter().take(ADDRESSES_PER_MEMBER_MAX) {
        let parsed = address::parse(text).unwrap_or_default();
        if parsed.is_empty() {
            tally.count(NetReason::AddressRefused);
        }
        for (address, peer) in parsed.into_iter().map(address::split_peer) {
            if peer.is_some_and(|peer| node_of(&peer) != Some(node)) {
                tally.count(NetReason::AddressRefused);
            } else if addresses.len() < ADDRESSES_PER_MEMBER_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    tally.count_many(NetReason::AddressLimit, texts.len().saturating_sub(ADDRESSES_PER_MEMBER_MAX));
    // One handshake instead of three, and no stream waits for a packet of another.
    addresses.sort_by_key(|address| !address::is_quic(address));
    addresses
}

#[cfg(test)]
mod tests;
