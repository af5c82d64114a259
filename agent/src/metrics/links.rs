//! Figures about members and links. Labels that name a member are bounded: by [`PEERS_MAX`], and by who is connected at present.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::told::Told;

/// Members that have figures of their own; the rest are told in sums only. Nine series each.
const PEERS_MAX: usize = 256;

type Whole = Gauge<u64, AtomicU64>;
type Fraction = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerWayLabel {
    peer: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabel {
    change: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OffenceLabel {
    offence: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WhatLabel {
    pub(super) what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

/// What is told of one connected member.
#[derive(Clone, Debug, Default)]
pub struct PeerFigures {
    /// Its id.
    pub peer: String,
    /// The round trip, once it was measured.
    pub round_trip: Option<Duration>,
    /// Commits that either side is known to lack, once that was heard.
    pub lag_commits: Option<u64>,
    /// Bytes that came since it is connected.
    pub bytes_in: u64,
    /// Bytes that were sent.
    pub bytes_out: u64,
    /// Hints that wait to be sent.
    pub queued_hints: u64,
    /// Bytes of those.
    pub queued_bytes: u64,
    /// What was dropped between both, for whatever reason.
    pub drops: u64,
    /// Its conduct, 100 to 0.
    pub score: u8,
}

/// The figures of all members and links.
#[derive(Debug, Default)]
pub(super) struct Links {
    connected: Whole,
    states: Family<StateLabel, Whole>,
    changes: Family<ChangeLabel, Counter>,
    offences: Family<OffenceLabel, Counter>,
    spread: Family<WhatLabel, Counter>,
    neighbours: Family<WhatLabel, Whole>,
    members: Family<StatusLabel, Whole>,
    revoked: Whole,
    left_out: Whole,
    round_trip: Family<PeerLabel, Fraction>,
    lag: Family<PeerLabel, Whole>,
    bytes: Family<PeerWayLabel, Counter>,
    queued_hints: Family<PeerLabel, Whole>,
    queued_bytes: Family<PeerLabel, Whole>,
    drops: Family<PeerLabel, Counter>,
    score: Family<PeerLabel, Whole>,
    told_peers: Told<String>,
    told_states: Told<&'static str>,
    told_statuses: Told<&'static str>,
}

impl Links {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("peers_connected", "Members connected", self.connected.clone());
        registry.register("links", "Links by state: connected, slowed, dialing, resting, refused", self.states.clone());
        registry.register("link_changes", "What happened to links", self.changes.clone());
        let help = "What members were caught at that no honest one does";
        registry.register("offences", help, self.offences.clone());
        registry.register("spread", "What was sent to bring news to members, by kind", self.spread.clone());
        let help = "Members that news is pushed to, and those that it is only announced to";
        registry.register("neighbours", help, self.neighbours.clone());
        registry.register("members", "Members by status, this host included", self.members.clone());
        registry.register("members_revoked", "Nodes that were put out of the cluster", self.revoked.clone());
        let help = "Connected members without figures of their own, because there are too many";
        registry.register("peers_left_out", help, self.left_out.clone());
        let help = "Round trip to a member, as last measured, in seconds";
        registry.register_with_unit("peer_round_trip", help, Unit::Seconds, self.round_trip.clone());
        let help = "Commits that a member or this host is known to lack";
        registry.register("peer_lag_commits", help, self.lag.clone());
        let help = "What was moved to or from a member since it is connected, in bytes";
        registry.register_with_unit("peer_moved", help, Unit::Bytes, self.bytes.clone());
        registry.register("peer_queued_hints", "Hints that wait to be sent to a member", self.queued_hints.clone());
        let help = "Hints that wait to be sent to a member, in bytes";
        registry.register_with_unit("peer_queued", help, Unit::Bytes, self.queued_bytes.clone());
        let help = "What was dropped between a member and this host since it is connected";
        registry.register("peer_drops", help, self.drops.clone());
        let help = "A member's conduct, from 100 (nothing against it) to 0 (about to be disconnected)";
        registry.register("peer_score", help, self.score.clone());
    }

    /// Tells of the connected members, and forgets all others.
    pub(super) fn peers(&self, peers: &[PeerFigures]) {
        self.connected.set(peers.len() as u64);
        self.left_out.set(peers.len().saturating_sub(PEERS_MAX) as u64);
        let own = &peers[..peers.len().min(PEERS_MAX)];
        let now: BTreeSet<String> = own.iter().map(|figures| figures.peer.clone()).collect();
        self.told_peers.renew(now, || own.iter().for_each(|figures| self.peer(figures)), |peer| self.forget(peer));
    }

    fn peer(&self, figures: &PeerFigures) {
        let label = PeerLabel { peer: figures.peer.clone() };
        if let Some(round_trip) = figures.round_trip {
            self.round_trip.get_or_create(&label).set(round_trip.as_secs_f64());
        } else {
            self.round_trip.remove(&label);
        }
        if let Some(lag) = figures.lag_commits {
            self.lag.get_or_create(&label).set(lag);
        } else {
            self.lag.remove(&label);
        }
        for (direction, bytes) in [("in", figures.bytes_in), ("out", figures.bytes_out)] {
            let label = PeerWayLabel { peer: figures.peer.clone(), direction };
            super::set(&self.bytes.get_or_create(&label), bytes);
        }
        self.queued_hints.get_or_create(&label).set(figures.queued_hints);
        self.queued_bytes.get_or_create(&label).set(figures.queued_bytes);
        super::set(&self.drops.get_or_create(&label), figures.drops);
        self.score.get_or_create(&label).set(figures.score.into());
    }

    fn forget(&self, peer: &str) {
        let label = PeerLabel { peer: peer.to_owned() };
        self.round_trip.remove(&label);
        self.drops.remove(&label);
        for family in [&self.lag, &self.queued_hints, &self.queued_bytes, &self.score] {
            family.remove(&label);
        }
        for direction in ["in", "out"] {
            self.bytes.remove(&PeerWayLabel { peer: peer.to_owned(), direction });
        }
    }

    /// Tells how many links are in each state.
    pub(super) fn states(&self, states: &BTreeMap<&'static str, u64>) {
        let fill = || {
            for (state, count) in states {
                self.states.get_or_create(&StateLabel { state }).set(*count);
            }
        };
        self.told_states.renew(states.keys().copied().collect(), fill, |state| {
            self.states.remove(&StateLabel { state });
        });
    }

    pub(super) fn changed(&self, change: &'static str) {
        self.changes.get_or_create(&ChangeLabel { change }).inc();
    }

    pub(super) fn offended(&self, offence: &'static str, total: u64) {
        super::set(&self.offences.get_or_create(&OffenceLabel { offence }), total);
    }

    pub(super) fn spread(&self, what: &'static str, total: u64) {
        super::set(&self.spread.get_or_create(&WhatLabel { what }), total);
    }

    pub(super) fn neighbours(&self, what: &'static str, count: u64) {
        self.neighbours.get_or_create(&WhatLabel { what }).set(count);
    }

    /// Tells how many members have each status, and how many were put out.
    pub(super) fn members(&self, statuses: &BTreeMap<&'static str, u64>, revoked: u64) {
        let fill = || {
            for (status, count) in statuses {
                self.members.get_or_create(&StatusLabel { status }).set(*count);
            }
        };
        self.told_statuses.renew(statuses.keys().copied().collect(), fill, |status| {
            self.members.remove(&StatusLabel { status });
        });
        self.revoked.set(revoked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn members_beyond_the_bound_are_told_in_sums_and_the_gone_are_forgotten() {
        let metrics = Metrics::new("0.1.0");
        let peer = |number: usize| PeerFigures { peer: format!("n{number}"), bytes_in: 7, ..PeerFigures::default() };
        let peers: Vec<PeerFigures> = (0..PEERS_MAX + 3).map(peer).collect();
        metrics.peers(&peers);
        let text = metrics.encode();
        let of_their_own =
            text.lines().filter(|line| line.starts_with("selvedge_peer_moved_bytes_total{") && line.contains("\"in\""));
        assert_eq!(of_their_own.count(), PEERS_MAX);
        for line in ["selvedge_peers_connected 259", "selvedge_peers_left_out 3"] {
            assert!(text.lines().any(|own| own == line), "no `{line}`");
        }
        metrics.peers(&peers[..1]);
        let text = metrics.encode();
        assert!(text.contains("peer=\"n0\"") && !text.contains("peer=\"n1\""), "{text}");
    }

    #[test]
    fn a_scrape_misses_nobody_while_another_brings_the_figures_up_to_date() {
        let metrics = Metrics::new("0.1.0");
        let peer = |number: usize| PeerFigures { peer: format!("n{number}"), ..PeerFigures::default() };
        let peers: Vec<PeerFigures> = (0..PEERS_MAX).map(peer).collect();
        let workload = |number: usize| (format!("w{number}"), 1, 1);
        let workloads: Vec<_> = (0..PEERS_MAX).map(workload).collect();
        let (states, statuses) = (BTreeMap::from([("connected", 256)]), BTreeMap::from([("alive", 257)]));
        let fill = || {
            metrics.peers(&peers);
            metrics.placement().workloads(&workloads);
            metrics.link_states(&states);
            metrics.members(&statuses, 0);
        };
        fill();
        std::thread::scope(|scope| {
            let filling = scope.spawn(|| (0..200).for_each(|_| fill()));
            while !filling.is_finished() {
                let text = metrics.encode();
                for (family, expect) in [
                    ("selvedge_peer_score{", PEERS_MAX),
                    ("selvedge_peer_moved_bytes_total{", 2 * PEERS_MAX),
                    ("selvedge_workload_ready{", PEERS_MAX),
                    ("selvedge_links{", 1),
                    ("selvedge_members{", 1),
                ] {
                    assert_eq!(text.lines().filter(|line| line.starts_with(family)).count(), expect, "{family}");
                }
            }
        });
    }
}
