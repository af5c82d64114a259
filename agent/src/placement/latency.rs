//! How far a host is from those who call a workload.
//!
//! Owns the weighing of round trips by calls. A call enters the mesh at some host; what counts is the round trip from
//! there. With N instances each is expected to serve the nearest N-th of the calls, so an instance in every region is
//! not punished for callers that another one serves; with one instance that is the plain weighted mean. Until somebody
//! calls, all healthy hosts count alike.

use selvedge_sync::id::NodeId;

use super::{Mesh, NodeFacts};
use crate::spec::{Spec, WorkloadName};

/// The round trip in milliseconds at which the latency term is 0 for a spec without a limit of its own: what players of
/// fast games begin to feel.
const ROUND_TRIP_LIMIT_MS_DEFAULT: f64 = 100.0;
/// Smallest divisor of the latency term, in milliseconds. A spec cannot give less than 1.
const ROUND_TRIP_LIMIT_MS_MIN: f64 = 1.0;

/// Where the calls of one workload enter.
pub(super) struct Callers {
    /// Hosts and the weight of each.
    weights: Vec<(NodeId, f64)>,
    /// The weight that one instance is expected to serve.
    served: f64,
    limit_ms: f64,
}

/// How far away the callers are.
pub(super) struct RoundTrip {
    pub(super) mean_ms: f64,
    pub(super) limit_ms: f64,
    pub(super) callers: usize,
    pub(super) callers_unmeasured: usize,
}

impl Callers {
    pub(super) fn of(workload: &WorkloadName, spec: &Spec, mesh: &Mesh, stale_after_ms: u64) -> Self {
        let alive = || mesh.nodes().filter(|node| node.healthy && node.age_ms <= stale_after_ms);
        let mut weights: Vec<(NodeId, f64)> =
            alive().filter_map(|node| Some((node.node, *node.calls_per_s.get(workload)?))).collect();
        if weights.is_empty() {
            weights = alive().map(|node| (node.node, 1.0)).collect();
        }
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let everywhere = || u32::try_from(alive().count()).unwrap_or(u32::MAX);
        let instances = f64::from(spec.spread.replicas().unwrap_or_else(everywhere).max(1));
        let limit_ms = spec.latency_max_ms.map_or(ROUND_TRIP_LIMIT_MS_DEFAULT, f64::from);
        Self { weights, served: total / instances, limit_ms: limit_ms.max(ROUND_TRIP_LIMIT_MS_MIN) }
    }

    /// The round trip to `node`, over the nearest callers that make up its part. One that was never measured counts with
    /// the limit: it earns nothing, and by itself it rejects nobody.
    pub(super) fn round_trip(&self, node: &NodeFacts, mesh: &Mesh) -> RoundTrip {
        let mut paths: Vec<(Option<f64>, f64)> =
            self.weights.iter().map(|(caller, weight)| (mesh.rtt_ms(caller, &node.node), *weight)).collect();
        // A stable sort keeps callers that are equally far in the order of their ids, so every host sums alike.
        paths.sort_by(|a, b| a.0.unwrap_or(f64::INFINITY).total_cmp(&b.0.unwrap_or(f64::INFINITY)));

        let mut round_trip = RoundTrip { mean_ms: 0.0, limit_ms: self.limit_ms, callers: 0, callers_unmeasured: 0 };
        let mut served = 0.0;
        let mut sum_ms = 0.0;
        for (rtt_ms, weight) in paths {
            let part = weight.min(self.served - served);
            if part <= 0.0 {
                break;
            }
            served += part;
            sum_ms += part * rtt_ms.unwrap_or(self.limit_ms);
            round_trip.callers += 1;
            round_trip.callers_unmeasured += usize::from(rtt_ms.is_none());
        }
        if served > 0.0 {
            round_trip.mean_ms = sum_ms / served;
        }
        round_trip
    }
}
