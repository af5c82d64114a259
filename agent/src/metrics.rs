//! What the agent counts about itself, as `/metrics` tells it. Names begin with `selvedge_` and end with their unit.
//!
//! Owns the registry and the typed ways to record into it. Decides nothing from its figures. The invariant: labels come from
//! small closed sets, or from names that are forgotten with what they name, so that nothing here grows for ever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use selvedge_sync::replica::Counters;

mod assets;
mod calls;
mod classic;
mod host;
mod labels;
mod links;
mod placement;
mod replica;
mod told;

use crate::assets::AssetStats;
use crate::release;
use crate::resources::Own;
use crate::store::StoreStats;
use crate::timing::Timings;

pub use self::calls::CallMetrics;
pub use self::classic::classic;
pub use self::labels::{Direction, Origin, Outcome};
pub use self::links::PeerFigures;
use self::links::{Links, WhatLabel};
pub use self::placement::Placement;

type Whole = Gauge<u64, AtomicU64>;
type Fraction = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NetLabels {
    lane: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// All figures of one agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    started: Instant,
    calls: calls::Calls,
    replica: replica::Replica,
    net_bytes: Family<NetLabels, Counter>,
    drops: Family<ReasonLabel, Counter>,
    guest_code: Family<WhatLabel, Counter>,
    events: Counter,
    watchers: Whole,
    streams: Whole,
    stream_frames: Family<OutcomeLabel, Counter>,
    links: Links,
    assets: assets::Assets,
    host: host::Host,
    timings: Timings,
    placement: Placement,
    converged: Whole,
    healthy: Whole,
    certificate_expiry: Fraction,
    certificate_renewal: Fraction,
    uptime: Fraction,
}

impl Metrics {
    /// All figures at zero, of an agent of this version that starts now.
    #[must_use]
    pub fn new(version: &str) -> Self {
        Self::with(version, Timings::default(), false)
    }

    /// The same, which tells what its parts have timed; and of calls, if they are traced, where their traces are.
    #[must_use]
    pub fn with(version: &str, timings: Timings, traced: bool) -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("selvedge"),
            started: Instant::now(),
            calls: calls::Calls::new(traced),
            replica: replica::Replica::default(),
            net_bytes: Family::default(),
            drops: Family::default(),
            guest_code: Family::default(),
            events: Counter::default(),
            watchers: Whole::default(),
            streams: Whole::default(),
            stream_frames: Family::default(),
            links: Links::default(),
            assets: assets::Assets::default(),
            host: host::Host::default(),
            timings,
            placement: Placement::default(),
            converged: Whole::default(),
            healthy: Whole::default(),
            certificate_expiry: Fraction::default(),
            certificate_renewal: Fraction::default(),
            uptime: Fraction::default(),
        };
        metrics.registered(version)
    }

    /// The figures of one workload's calls.
    #[must_use]
    pub fn workload(&self, name: &str) -> CallMetrics {
        self.calls.of(name)
    }

    /// Forgets the figures of a workload that is gone.
    pub fn forget_workload(&self, name: &str) {
        self.calls.forget(name);
    }

    /// Figures about placement.
    #[must_use]
    pub const fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Tells what the replica has counted.
    pub fn replica(&self, counters: &Counters) {
        self.replica.tell(counters);
    }

    /// Tells the size of the shared state: keys, bytes of content, and what is kept only until all have seen its removal.
    pub fn state(&self, keys: u64, bytes: u64, garbage: u64) {
        self.replica.size(keys, bytes, garbage);
    }

    /// Tells from when on this agent's certificate is to be renewed, and when it expires, in seconds since 1970.
    pub fn certificate(&self, renewal: u64, expiry: u64) {
        self.certificate_renewal.set(renewal as f64);
        self.certificate_expiry.set(expiry as f64);
    }

    /// Tells what the store has done and how it fares.
    pub fn store(&self, stats: &StoreStats) {
        self.host.tell_store(stats);
    }

    /// Tells what this process uses.
    pub fn process(&self, own: &Own) {
        self.host.tell_process(own);
    }

    /// Tells how many bytes of memory and of the disk are free.
    pub fn free(&self, memory: u64, disk: u64) {
        self.host.tell_free(memory, disk);
    }

    /// Tells how many bytes a lane of the network has moved.
    pub fn net_bytes(&self, lane: &'static str, direction: Direction, total: u64) {
        set(&self.net_bytes.get_or_create(&NetLabels { lane, direction: direction.as_str() }), total);
    }

    /// Tells how many things were dropped or refused for this reason.
    pub fn dropped(&self, reason: &'static str, total: u64) {
        set(&self.drops.get_or_create(&ReasonLabel { reason }), total);
    }

    /// Tells how often native code of a component was had in this way, or was not.
    pub fn guest_code(&self, what: &'static str, total: u64) {
        set(&self.guest_code.get_or_create(&WhatLabel { what }), total);
    }

    /// Tells how many events were recorded for those who watch.
    pub fn events(&self, total: u64) {
        set(&self.events, total);
    }

    /// Tells how many listen to events.
    pub fn watchers(&self, count: u64) {
        self.watchers.set(count);
    }

    /// Tells how many call streams are open, and how many of their frames were answered in which way.
    pub fn streams(&self, open: u64, frames: &[(&'static str, u64)]) {
        self.streams.set(open);
        for (outcome, total) in frames {
            set(&self.stream_frames.get_or_create(&OutcomeLabel { outcome }), *total);
        }
    }

    /// Tells of the members that are connected, and forgets those that are not.
    pub fn peers(&self, peers: &[PeerFigures]) {
        self.links.peers(peers);
    }

    /// Tells how many links are in each state.
    pub fn link_states(&self, states: &BTreeMap<&'static str, u64>) {
        self.links.states(states);
    }

    /// Counts a change of a link.
    pub fn link_changed(&self, change: &'static str) {
        self.links.changed(change);
    }

    /// Counts changes of links that came too fast to be told.
    pub fn link_changes_missed(&self, missed: u64) {
        self.drops.get_or_create(&ReasonLabel { reason: "link_change_missed" }).inc_by(missed);
    }

    /// Tells how often members were caught at something that no honest one does.
    pub fn offended(&self, offence: &'static str, total: u64) {
        self.links.offended(offence, total);
    }

    /// Tells how many batches, announcements and so on were sent to bring news to members.
    pub fn spread(&self, what: &'static str, total: u64) {
        self.links.spread(what, total);
    }

    /// Tells how many members news is pushed to, or announced to.
    pub fn neighbours(&self, what: &'static str, count: u64) {
        self.links.neighbours(what, count);
    }

    /// Tells how many members have each status, and how many were put out of the cluster.
    pub fn members(&self, statuses: &BTreeMap<&'static str, u64>, revoked: u64) {
        self.links.members(statuses, revoked);
    }

    /// Tells how assets fare.
    pub fn assets(&self, stats: &AssetStats) {
        self.assets.tell(stats);
    }

    /// Tells whether every member's state, as last heard, is ours.
    pub fn converged(&self, converged: bool) {
        self.converged.set(converged.into());
    }

    /// Tells whether the agent has nothing to complain of.
    pub fn healthy(&self, healthy: bool) {
        self.healthy.set(healthy.into());
    }

    /// All figures in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }

    fn registered(mut self, version: &str) -> Self {
        let commit = release::COMMIT.unwrap_or("unknown");
        let build = Info::new(vec![("version", version.to_owned()), ("commit", commit.to_owned())]);
        let registry = &mut self.registry;
        registry.register("build", "The version of this agent, and the commit that it was built from", build);
        registry.register_with_unit(
            "uptime",
            "Time since the agent started, in seconds",
            Unit::Seconds,
            self.uptime.clone(),
        );
        self.calls.register(registry);
        self.replica.register(registry);
        registry.register_with_unit("net", "What lanes have moved, in bytes", Unit::Bytes, self.net_bytes.clone());
        registry.register("drops", "What was dropped, by reason", self.drops.clone());
        let help = "Native code of components, by how it was had: from the cache, compiled, or not";
        registry.register("guest_code", help, self.guest_code.clone());
        registry.register("events", "Events recorded for those who watch", self.events.clone());
        registry.register("watchers", "Who listens to events", self.watchers.clone());
        registry.register("streams", "Call streams that are open", self.streams.clone());
        registry.register("stream_frames", "Frames of call streams, by outcome", self.stream_frames.clone());
        self.links.register(registry);
        self.assets.register(registry);
        self.host.register(registry);
        self.timings.register(registry);
        self.placement.register(registry);
        registry.register(
            "converged",
            "1 if every member's state, as last heard, is ours, those that are silent included",
            self.converged.clone(),
        );
        let help = "When this agent's certificate expires, in seconds since 1970; 0 where there is none";
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            help,
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        let help = "From when on this agent asks for a new certificate, in seconds since 1970; 0 where there is none";
        registry.register_with_unit(
            "certificate_renewal_timestamp",
            help,
            Unit::Seconds,
            self.certificate_renewal.clone(),
        );
        registry.register("healthy", "1 if the agent has nothing to complain of", self.healthy.clone());
        self
    }
}

/// Some figures are counted where they arise; here they are only told.
fn set(counter: &Counter, total: u64) {
    counter.inner().store(total, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(metrics: &Metrics, line: &str) {
        let text = metrics.encode();
        assert!(text.lines().any(|own| own == line), "no `{line}` in\n{text}");
    }

    #[test]
    fn what_is_recorded_is_told_under_stable_names() {
        let metrics = Metrics::new("0.1.0");
        metrics.workload("combat").record(Outcome::Ok, Duration::from_micros(30), None);
        metrics.replica(&Counters { commits_remote: 4, ..Counters::default() });
        metrics.state(1, 2, 3);
        metrics.store(&StoreStats { syncs: 1, commits: 7, ..StoreStats::default() });
        metrics.net_bytes("sync", Direction::Out, 100);
        metrics.dropped("hint_queue_full", 1);
        metrics.events(8);
        metrics.watchers(3);
        metrics.streams(2, &[("ok", 5)]);
        let round_trip = Some(Duration::from_millis(5));
        let (lag_commits, bytes_out, queued_hints) = (Some(4), 900, 2);
        let figures = PeerFigures { round_trip, lag_commits, bytes_out, queued_hints, ..PeerFigures::default() };
        metrics.peers(&[PeerFigures { peer: "12D3".to_owned(), score: 90, ..figures }]);
        metrics.link_states(&BTreeMap::from([("connected", 1), ("resting", 2)]));
        metrics.members(&BTreeMap::from([("alive", 3)]), 1);
        metrics.spread("pushed", 9);
        metrics.neighbours("announced", 5);
        metrics.link_changed("up");
        metrics.link_changes_missed(4);
        metrics.offended("flood", 6);
        metrics.assets(&AssetStats { hits_memory: 11, misses: 2, copy_bytes: 512, ..AssetStats::default() });
        metrics.converged(true);
        metrics.certificate(1_700_000_000, 1_800_000_000);
        let text = metrics.encode();
        assert!(text.contains("\nselvedge_build_info{version=\"0.1.0\",commit=\""), "{text}");
        for line in [
            r#"selvedge_calls_total{workload="combat",outcome="ok"} 1"#,
            r#"selvedge_calls_total{workload="combat",outcome="busy"} 0"#,
            r#"selvedge_call_duration_seconds_bucket{le="0.00004",workload="combat"} 1"#,
            r#"selvedge_commits_total{origin="remote"} 4"#,
            "selvedge_state_keys 1",
            "selvedge_state_bytes 2",
            "selvedge_state_garbage 3",
            "selvedge_store_syncs_total 1",
            "selvedge_store_commits_total 7",
            r#"selvedge_net_bytes_total{lane="sync",direction="out"} 100"#,
            r#"selvedge_drops_total{reason="hint_queue_full"} 1"#,
            "selvedge_events_total 8",
            "selvedge_watchers 3",
            "selvedge_streams 2",
            r#"selvedge_stream_frames_total{outcome="ok"} 5"#,
            "selvedge_peers_connected 1",
            r#"selvedge_links{state="resting"} 2"#,
            r#"selvedge_members{status="alive"} 3"#,
            r#"selvedge_spread_total{what="pushed"} 9"#,
            r#"selvedge_neighbours{what="announced"} 5"#,
            r#"selvedge_link_changes_total{change="up"} 1"#,
            r#"selvedge_drops_total{reason="link_change_missed"} 4"#,
            r#"selvedge_offences_total{offence="flood"} 6"#,
            "selvedge_members_revoked 1",
            r#"selvedge_peer_lag_commits{peer="12D3"} 4"#,
            r#"selvedge_peer_moved_bytes_total{peer="12D3",direction="out"} 900"#,
            r#"selvedge_peer_queued_hints{peer="12D3"} 2"#,
            r#"selvedge_peer_score{peer="12D3"} 90"#,
            r#"selvedge_peer_round_trip_seconds{peer="12D3"} 0.005"#,
            r#"selvedge_asset_hits_total{tier="memory"} 11"#,
            r#"selvedge_asset_hits_total{tier="disk"} 0"#,
            "selvedge_asset_misses_total 2",
            r#"selvedge_asset_held_bytes{tier="copies"} 512"#,
            r#"selvedge_asset_preloads_total{outcome="queued"} 0"#,
            "selvedge_converged 1",
            "selvedge_certificate_expiry_timestamp_seconds 1800000000.0",
            "selvedge_certificate_renewal_timestamp_seconds 1700000000.0",
            "selvedge_healthy 0",
            "# EOF",
        ] {
            check(&metrics, line);
        }
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let metrics = Metrics::new("0.1.0");
        metrics.workload("combat").record(Outcome::Busy, Duration::ZERO, None);
        let peer = PeerFigures { peer: "12D3".to_owned(), round_trip: Some(Duration::ZERO), ..PeerFigures::default() };
        metrics.peers(&[peer]);
        metrics.forget_workload("combat");
        metrics.peers(&[]);
        let text = metrics.encode();
        assert!(!text.contains("combat") && !text.contains("12D3"), "{text}");
    }
}
