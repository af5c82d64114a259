//! Figures about the shared state, as this host holds it.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use selvedge_sync::replica::Counters;

use super::labels::Origin;
use super::set;

type Whole = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabel {
    origin: &'static str,
}

/// What is told of the shared state.
#[derive(Debug, Default)]
pub(super) struct Replica {
    commits: Family<OriginLabel, Counter>,
    keys: Whole,
    bytes: Whole,
    garbage: Whole,
    diverged: Counter,
    repairs: Counter,
    equivocations: Counter,
}

impl Replica {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("commits", "Commits applied, by origin", self.commits.clone());
        registry.register("state_keys", "Keys in the shared state", self.keys.clone());
        let help = "Content of the shared state in memory, about, in bytes";
        registry.register_with_unit("state", help, Unit::Bytes, self.bytes.clone());
        let help = "Dots and empty objects kept until every member has seen what made them so";
        registry.register("state_garbage", help, self.garbage.clone());
        let help = "Times that a member with the same commits had another root: a bug, or damage";
        registry.register("state_divergences", help, self.diverged.clone());
        registry.register("repairs", "Repairs from state that were begun", self.repairs.clone());
        let help = "Streams whose writer was proven to have given one name to two commits";
        registry.register("equivocations", help, self.equivocations.clone());
    }

    pub(super) fn tell(&self, counters: &Counters) {
        let commits = |origin: Origin, total| {
            set(&self.commits.get_or_create(&OriginLabel { origin: origin.as_str() }), total);
        };
        commits(Origin::Local, counters.commits_local);
        commits(Origin::Remote, counters.commits_remote);
        set(&self.diverged, counters.diverged);
        set(&self.repairs, counters.repairs);
        set(&self.equivocations, counters.equivocations);
    }

    pub(super) fn size(&self, keys: u64, bytes: u64, garbage: u64) {
        self.keys.set(keys);
        self.bytes.set(bytes);
        self.garbage.set(garbage);
    }
}
