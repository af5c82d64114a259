//! What this node says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::departure::Departure;
use super::health::Health;
use crate::calls::Calls;
use crate::config::Config;
use crate::members::{Location, NodeRecord};
use crate::net::Net;
use crate::resources::Sampler;
use crate::view::StateView;
use crate::wasm::WasmHost;
use crate::workloads::Workloads;

/// Gathers the record from the parts that know.
pub(super) struct Beacon {
    pub(super) config: Config,
    pub(super) life: u64,
    pub(super) view: StateView,
    pub(super) net: Net,
    pub(super) calls: Calls,
    pub(super) workloads: Workloads,
    pub(super) wasm: WasmHost,
    pub(super) health: Health,
    pub(super) sampler: Mutex<Sampler>,
    pub(super) departure: Departure,
}

impl Beacon {
    /// How things are; which of its records this becomes, and in which round of its life, is for the gossip to say.
    pub(super) fn record(&self) -> NodeRecord {
        let measured = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).sample();
        let me = self.view.summary().me;
        // What is not deployed any more is forgotten here, whether or not anybody reads the metrics.
        let specs = self.workloads.known().specs;
        self.calls.deployed(&specs);
        let node = &self.config.node;
        let ailment = self.health.ailment();
        let rtt_ms: BTreeMap<_, _> =
            self.net.peers().into_iter().filter_map(|link| Some((link.node, link.rtt?.as_secs_f64() * 1e3))).collect();
        NodeRecord {
            node: me.node,
            life: self.life,
            beat: 0,
            round: 0,
            incarnation: me.incarnation,
            name: node.name.clone(),
            region: Some(node.region.clone()),
            location: node.location.map(|location| Location { lat: location.lat, lon: location.lon }),
            capabilities: node.capabilities.iter().cloned().collect(),
            labels: node.labels.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: self.net.advertised(),
            resources: measured.resources,
            load: measured.load,
            healthy: ailment.is_none(),
            ailment,
            draining: self.departure.is_draining(),
            draining_since_ms: self.departure.draining.order().and_then(|order| order.since_ms),
            left: self.departure.has_left(),
            parting: self.departure.is_parting(),
            twins: BTreeSet::new(),
            rtt_ms,
            calls_per_s: self.calls.traffic().rates(),
            origins: self.calls.origins(),
            instances: self.workloads.advertised(),
            overloaded: self.wasm.overloaded().iter().filter_map(|workload| workload.parse().ok()).collect(),
            rollouts: self.workloads.told(),
            tells_rollouts: true,
        }
        .coarse()
    }
}
