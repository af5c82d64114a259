//! How far a host is from those who call a workload.
//!
//! Owns the weighing of round trips by calls. A call enters the mesh at some host; what counts is the round trip from
//! there, and from its caller to there if the caller says it. A caller that says that it is in another region counts as if it were at whichever
//! host of that region is nearest. With N instances each is expected to serve the nearest N-th of the calls, so an instance in every region is
//! not punished for callers that another one serves; with one instance that is the plain weighted mean. Until somebody
//! calls, all healthy hosts count alike.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use super::{Mesh, NodeFacts};
use crate::spec::{Spec, WorkloadName};

/// The round trip in milliseconds at which the latency term is 0 for a spec without a limit of its own: what players of
/// fast games begin to feel.
const ROUND_TRIP_LIMIT_MS_DEFAULT: f64 = 100.0;
/// Smallest divisor of the latency term, in milliseconds. A spec cannot give less than 1.
const ROUND_TRIP_LIMIT_MS_MIN: f64 = 1.0;

/// Share of the calls below which what is left to serve is a rounding error.
const ROUNDING: f64 = 1e-9;

/// What was measured between hosts, for each the nearest first. Made once for a plan: of the pairs of a large mesh most are never
/// measured, and where nobody calls a workload all hosts count.
pub(super) struct Paths(BTreeMap<NodeId, Vec<(f64, NodeId)>>);

impl Paths {
    /// The figure of the caller counts before that of the host, as in [`Mesh::rtt_ms`].
    pub(super) fn of(mesh: &Mesh) -> Self {
        let mut to: BTreeMap<NodeId, BTreeMap<NodeId, f64>> = BTreeMap::new();
        for host in mesh.nodes() {
            let paths = to.entry(host.node).or_default();
            paths.extend(host.rtt_ms.iter().map(|(caller, rtt_ms)| (*caller, *rtt_ms)));
        }
        for caller in mesh.nodes() {
            for (host, rtt_ms) in &caller.rtt_ms {
                if let Some(paths) = to.get_mut(host) {
                    paths.insert(caller.node, *rtt_ms);
                }
            }
        }
        let nearest_first = |(host, mut paths): (NodeId, BTreeMap<NodeId, f64>)| {
            paths.insert(host, 0.0);
            let mut paths: Vec<(f64, NodeId)> = paths.into_iter().map(|(caller, rtt_ms)| (rtt_ms, caller)).collect();
            // Of callers that are equally far the first id comes first, so that every host sums alike.
            paths.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            (host, paths)
        };
        Self(to.into_iter().map(nearest_first).collect())
    }
}

/// Where the calls of one workload enter.
pub(super) struct Callers {
    weights: Weights,
    /// The weight that one instance is expected to serve.
    served: f64,
    limit_ms: f64,
}

/// What counts as a caller, and for how much.
enum Weights {
    /// Places and the weight of each.
    Places(Vec<(Place, f64)>),
    /// Nobody calls: these hosts, all alike.
    Everybody(BTreeSet<NodeId>),
}

/// Where calls come from.
enum Place {
    /// Callers of this host, so many milliseconds away from it.
    Host(NodeId, f64),
    /// A region: whichever of these hosts is nearest.
    Region(Vec<NodeId>),
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
        let places = places(workload, alive);
        let (weights, total) = if places.is_empty() {
            let everybody: BTreeSet<NodeId> = alive().map(|node| node.node).collect();
            let total = everybody.len() as f64;
            (Weights::Everybody(everybody), total)
        } else {
            let total = places.iter().map(|(_, weight)| weight).sum();
            (Weights::Places(places), total)
        };
        let everywhere = || u32::try_from(alive().count()).unwrap_or(u32::MAX);
        let instances = f64::from(spec.spread.replicas().unwrap_or_else(everywhere).max(1));
        let limit_ms = spec.latency_max_ms.map_or(ROUND_TRIP_LIMIT_MS_DEFAULT, f64::from);
        Self { weights, served: total / instances, limit_ms: limit_ms.max(ROUND_TRIP_LIMIT_MS_MIN) }
    }

    /// The round trip to `node`, over the nearest callers that make up its part. One that was never measured counts with
    /// the limit: it earns nothing, and by itself it rejects nobody.
    pub(super) fn round_trip(&self, node: &NodeFacts, (mesh, paths): (&Mesh, &Paths)) -> RoundTrip {
        match &self.weights {
            Weights::Places(places) => self.over_places(places, node, mesh),
            Weights::Everybody(everybody) => self.over_everybody(everybody, node, paths),
        }
    }

    fn over_everybody(&self, everybody: &BTreeSet<NodeId>, node: &NodeFacts, paths: &Paths) -> RoundTrip {
        let mut round_trip = RoundTrip { mean_ms: 0.0, limit_ms: self.limit_ms, callers: 0, callers_unmeasured: 0 };
        let (mut served, mut sum_ms) = (0.0, 0.0);
        let measured = paths.0.get(&node.node).map_or(&[][..], Vec::as_slice);
        for (rtt_ms, _) in measured.iter().filter(|(_, caller)| everybody.contains(caller)) {
            let part = f64::min(1.0, self.served - served);
            if part <= 0.0 {
                break;
            }
            served += part;
            sum_ms += part * rtt_ms;
            round_trip.callers += 1;
        }
        // From the others nothing was measured: how many they are is known without looking at each.
        let left = self.served - served;
        if left > self.served * ROUNDING {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and no more than hosts"
            )]
            let unmeasured = (left - ROUNDING).ceil() as usize;
            served += left;
            sum_ms += left * self.limit_ms;
            round_trip.callers_unmeasured = unmeasured;
            round_trip.callers += unmeasured;
        }
        if served > 0.0 {
            round_trip.mean_ms = sum_ms / served;
        }
        round_trip
    }

    fn over_places(&self, places: &[(Place, f64)], node: &NodeFacts, mesh: &Mesh) -> RoundTrip {
        let mut paths: Vec<(Option<f64>, f64)> =
            places.iter().map(|(place, weight)| (place.rtt_ms(&node.node, mesh), *weight)).collect();
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

impl Place {
    fn rtt_ms(&self, to: &NodeId, mesh: &Mesh) -> Option<f64> {
        match self {
            Self::Host(host, further_ms) => mesh.rtt_ms(host, to).map(|rtt_ms| rtt_ms + further_ms),
            Self::Region(hosts) => hosts.iter().filter_map(|host| mesh.rtt_ms(host, to)).min_by(f64::total_cmp),
        }
    }
}

/// Where the calls of a workload come from: hosts in the order of their ids, then regions in the order of their names.
fn places<'a, I>(workload: &WorkloadName, alive: impl Fn() -> I) -> Vec<(Place, f64)>
where
    I: Iterator<Item = &'a NodeFacts>,
{
    let (mut places, mut regions) = (Vec::new(), BTreeMap::<&str, (Vec<NodeId>, f64)>::new());
    for node in alive() {
        if let Some(region) = &node.region {
            regions.entry(region).or_default().0.push(node.node);
        }
    }
    for node in alive() {
        let Some(calls) = node.calls_per_s.get(workload) else { continue };
        let (mut left, mut further_ms) = (*calls, 0.0);
        if let Some(origins) = node.origins.get(workload) {
            further_ms = origins.rtt_ms;
            for (region, rate) in &origins.regions {
                // Callers in a region where nobody is count where they enter.
                if let Some((_, weight)) = regions.get_mut(region.as_str()) {
                    let part = rate.min(left);
                    left -= part;
                    *weight += part;
                }
            }
        }
        if left > 0.0 {
            places.push((Place::Host(node.node, further_ms), left));
        }
    }
    let called = regions.into_values().filter(|(_, weight)| *weight > 0.0);
    places.extend(called.map(|(hosts, weight)| (Place::Region(hosts), weight)));
    places
}
