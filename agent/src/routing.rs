//! Routing: which instance of a workload a call goes to.
//!
//! Owns the choice and what it learns from answers: latency, success, calls under way, circuit breakers, the retry budget. It sends
//! nothing, and time is an argument in milliseconds of any clock that never goes back. The invariants: a peer whose breaker is open
//! is not asked; one that drains, is overloaded or suspected is asked only when no other is left; what is kept is bounded by the instances
//! that exist.

pub mod breaker;
pub mod budget;
mod forecast;
mod measured;
mod pick;
mod ring;
pub mod shed;
pub mod sim;

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use self::breaker::Breaker;
use self::budget::RetryBudget;
pub use self::measured::Measured;
use self::pick::Memory;
use crate::spec::Routing;

/// Most members for which one workload's figures are kept: as many as one mesh is planned for.
const MEMBERS_MAX: usize = 1_024;
/// How long one that has turned a call away is asked only when no other is left, in milliseconds: until its own word of its overload, or of the end of
/// it, has come.
pub const BUSY_MS: u64 = 250;
/// How many times longer than an instance takes on average somebody has waited for it in vain, before that says something of it.
const GIVEN_UP_FACTOR: f64 = 8.0;
/// Least wait of which the same holds, in milliseconds: callers who leave sooner are in a hurry.
const GIVEN_UP_MS_MIN: f64 = 1_000.0;
/// How many times the median an instance's weight may be: a large server among small ones, and not all calls for whoever boasts.
const WEIGHT_FACTOR: u32 = 8;
/// Mean radius of the Earth, in kilometres.
const EARTH_RADIUS_KM: f64 = 6_371.0;

/// An instance that could answer, as this agent sees it now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The host that runs it.
    pub node: NodeId,
    /// Whether that is this host.
    pub is_here: bool,
    /// Whether it is in the caller's region.
    pub same_region: bool,
    /// Whether failure detection doubts it.
    pub suspect: bool,
    /// Whether it has said that it is about to stop.
    pub draining: bool,
    /// Whether it has said that it is asked for more calls of this workload than it can make.
    pub overloaded: bool,
    /// Whether its host has hardly any processor time left, as measured. That is for the ordinary choice to weigh: a strategy that somebody has
    /// set, and a session, go by what they say.
    pub saturated: bool,
    /// Round trip in milliseconds, where one was measured; what it is taken for before its first answer.
    pub rtt_ms: Option<f64>,
    /// Distance on Earth from the caller in kilometres, where both say where they are.
    pub distance_km: Option<f64>,
    /// What it can bear, in any unit; its cores, for instance. At least 1.
    pub weight: u32,
}

impl Target {
    /// A sound instance of which nothing else is known.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self {
            node,
            is_here: false,
            same_region: false,
            suspect: false,
            draining: false,
            overloaded: false,
            saturated: false,
            rtt_ms: None,
            distance_km: None,
            weight: 1,
        }
    }
}

/// Has no instance count for more than eight times the median of all: weights are what hosts say of themselves.
pub fn believe_weights(targets: &mut [Target]) {
    let mut weights: Vec<u32> = targets.iter().map(|target| target.weight).collect();
    let Some(middle) = weights.len().checked_sub(1).map(|last| last / 2) else { return };
    let (_, median, _) = weights.select_nth_unstable(middle);
    let most = (*median).max(1).saturating_mul(WEIGHT_FACTOR);
    for target in targets {
        target.weight = target.weight.min(most);
    }
}

/// Kilometres between two places on Earth, given in degrees of latitude and longitude: the great circle (haversine) on a sphere.
#[must_use]
pub fn distance_km((from_lat, from_lon): (f64, f64), (to_lat, to_lon): (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let across = from_lat.to_radians().cos() * to_lat.to_radians().cos();
    let part = half(from_lat, to_lat) + across * half(from_lon, to_lon);
    2.0 * EARTH_RADIUS_KM * part.clamp(0.0, 1.0).sqrt().asin()
}

/// What strategies look at in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call<'a> {
    /// Who calls.
    pub caller: Option<&'a str>,
    /// What belongs together, for [`Routing::Session`].
    pub session: Option<&'a str>,
}

/// How a call ended, as far as the instance is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It answered, be it with an error of the caller's.
    Answered,
    /// It said that it is busy. That is no reason to distrust it.
    Busy,
    /// Its guest broke down over it. That lowers its success, and opens no breaker: it is as likely to be the fault of what was asked,
    /// and one caller's bad request must not take an instance from all others.
    Broke,
    /// It did not answer.
    Failed,
    /// It says nothing of the instance: its caller has gone, or had left it no time.
    Abandoned,
}

/// Routes the calls of one workload.
#[derive(Debug)]
pub struct Router {
    routing: Routing,
    memory: Memory,
    peers: BTreeMap<NodeId, Peer>,
    /// What retries draw upon.
    pub budget: RetryBudget,
}

/// What is remembered of one instance.
#[derive(Debug, Default)]
struct Peer {
    measured: Measured,
    breaker: Breaker,
    /// Until when it is left alone if it can be, because it has turned a call away.
    busy_until_ms: u64,
    /// When it was heard last.
    heard_ms: u64,
    /// Mean latency when it last answered, in milliseconds: what is waited in vain since does not make it longer.
    usual_ms: Option<f64>,
}

impl Router {
    /// A router that has seen nothing yet. `seed` should differ between agents, so that they do not choose alike.
    #[must_use]
    pub fn new(routing: Routing, seed: u64) -> Self {
        Self { routing, memory: Memory::new(seed), peers: BTreeMap::new(), budget: RetryBudget::default() }
    }

    /// Changes the strategy; what was measured stays.
    pub fn route_by(&mut self, routing: Routing) {
        self.routing = routing;
    }

    /// The instance to ask, none of which is in `tried`. `None` when all are, or when the breakers of all others are open.
    pub fn pick(&mut self, targets: &[Target], call: Call<'_>, tried: &[NodeId], now_ms: u64) -> Option<NodeId> {
        let closed = |node: &NodeId| self.peers.get(node).is_none_or(|peer| peer.breaker.admits(now_ms));
        let mut able: Vec<Target> =
            targets.iter().filter(|target| !tried.contains(&target.node) && closed(&target.node)).copied().collect();
        able.sort_by_key(|target| target.node);
        able.dedup_by_key(|target| target.node);
        // The sound ones; else those that have too much to do; else those that are about to stop; a suspect may have just died, and
        // costs its caller all its patience.
        let is_busy = |node: &NodeId| self.peers.get(node).is_some_and(|peer| now_ms < peer.busy_until_ms);
        let stays = |target: &Target| !target.draining && !target.suspect;
        let is_full = |target: &Target| target.overloaded || is_busy(&target.node);
        let is_spent = |target: &Target| target.saturated && self.routing == Routing::LocalFirst;
        let is_sound = |target: &Target| stays(target) && !is_full(target) && !is_spent(target);
        // A ring stays whole while one on it is full: what is its own goes to the next on it and comes back, and nothing else moves.
        let is_on_ring = self.routing == Routing::Session && call.session.is_some();
        if !is_on_ring && able.iter().any(is_sound) {
            able.retain(is_sound);
        } else if able.iter().any(stays) {
            able.retain(stays);
        } else if able.iter().any(|target| !target.suspect) {
            able.retain(|target| !target.suspect);
        }
        let peers = &self.peers;
        let measured = |target: &Target| peers.get(&target.node).map(|peer| &peer.measured);
        let full: Vec<bool> = able.iter().map(is_full).collect();
        self.memory.pick(self.routing, (&able, &full), &measured, call, now_ms)
    }

    /// A call goes to `node`.
    pub fn begin(&mut self, node: NodeId, now_ms: u64) {
        if self.peers.len() < MEMBERS_MAX || self.peers.contains_key(&node) {
            let peer = self.peers.entry(node).or_default();
            peer.measured.begin(now_ms);
            peer.breaker.begin(now_ms);
        }
    }

    /// A call to `node` has ended after `took_ms`.
    pub fn end(&mut self, node: NodeId, ended: Ended, took_ms: f64, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.measured.end(ended, took_ms, now_ms);
            peer.breaker.end(ended, now_ms);
            if matches!(ended, Ended::Answered | Ended::Busy | Ended::Broke) {
                peer.heard_ms = peer.heard_ms.max(now_ms);
            }
            if ended == Ended::Answered {
                peer.usual_ms = peer.measured.mean_ms();
            }
            if ended == Ended::Busy {
                peer.busy_until_ms = now_ms.saturating_add(BUSY_MS);
            }
        }
    }

    /// The caller of a call to `node` has gone after `took_ms`, without an answer. If that was long, and nobody has heard the instance
    /// meanwhile, it does not answer: who is asked by callers with little patience alone would never be found out otherwise.
    pub fn give_up(&mut self, node: NodeId, took_ms: f64, now_ms: u64) {
        let is_dumb = |peer: &Peer| {
            let is_long = |usual_ms| took_ms >= GIVEN_UP_MS_MIN.max(GIVEN_UP_FACTOR * usual_ms);
            peer.usual_ms.is_some_and(is_long) && now_ms.saturating_sub(peer.heard_ms) as f64 >= took_ms
        };
        let ended = if self.peers.get(&node).is_some_and(is_dumb) { Ended::Failed } else { Ended::Abandoned };
        self.end(node, ended, took_ms, now_ms);
    }

    /// What is known of an instance.
    #[must_use]
    pub fn measured(&self, node: &NodeId) -> Option<&Measured> {
        self.peers.get(node).map(|peer| &peer.measured)
    }

    /// The breaker of an instance.
    #[must_use]
    pub fn breaker(&self, node: &NodeId) -> Option<&Breaker> {
        self.peers.get(node).map(|peer| &peer.breaker)
    }

    /// Forgets instances that are gone and have no call under way.
    pub fn retain(&mut self, exists: impl Fn(&NodeId) -> bool) {
        self.peers.retain(|node, peer| peer.measured.outstanding() > 0 || exists(node));
    }
}

#[cfg(test)]
mod tests;
