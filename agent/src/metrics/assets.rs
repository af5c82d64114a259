//! Figures about assets.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::set;
use crate::assets::AssetStats;

type Whole = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabel {
    tier: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    reason: &'static str,
}

/// What is told of assets.
#[derive(Debug, Default)]
pub(super) struct Assets {
    hits: Family<TierLabel, Counter>,
    misses: Counter,
    fetches: Family<OutcomeLabel, Counter>,
    fetched: Counter,
    evictions: Family<TierLabel, Counter>,
    failures: Family<WhyLabel, Counter>,
    held: Family<TierLabel, Whole>,
    preloads: Family<OutcomeLabel, Counter>,
}

impl Assets {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("asset_hits", "Requests for assets that were on this host, by where", self.hits.clone());
        registry.register("asset_misses", "Requests for assets that were not on this host", self.misses.clone());
        registry.register("asset_fetches", "Fetches of assets from other members", self.fetches.clone());
        let help = "Assets that other members gave, in bytes";
        registry.register_with_unit("asset_fetched", help, Unit::Bytes, self.fetched.clone());
        registry.register("asset_evictions", "Assets that had to make room, by where", self.evictions.clone());
        let help = "Assets that were damaged on disk, had no room on it, or at which it failed";
        registry.register("asset_failures", help, self.failures.clone());
        let help = "Assets on this host, in bytes; uploads and copies are on disk";
        registry.register_with_unit("asset_held", help, Unit::Bytes, self.held.clone());
        registry.register("asset_preloads", "Wishes of workloads for assets", self.preloads.clone());
    }

    pub(super) fn tell(&self, stats: &AssetStats) {
        let tier = |family: &Family<TierLabel, Counter>, tier, total| {
            set(&family.get_or_create(&TierLabel { tier }), total);
        };
        tier(&self.hits, "memory", stats.hits_memory);
        tier(&self.hits, "disk", stats.hits_disk);
        tier(&self.evictions, "memory", stats.evicted_memory);
        tier(&self.evictions, "disk", stats.evicted_disk);
        set(&self.misses, stats.misses);
        set(&self.fetched, stats.fetched_bytes);
        for (outcome, total) in [("fetched", stats.fetched), ("failed", stats.fetches_failed)] {
            set(&self.fetches.get_or_create(&OutcomeLabel { outcome }), total);
        }
        for (reason, total) in [("damaged", stats.damaged), ("no_room", stats.not_kept), ("disk", stats.disk_failed)] {
            set(&self.failures.get_or_create(&WhyLabel { reason }), total);
        }
        for (tier, bytes) in
            [("memory", stats.memory_bytes), ("uploads", stats.upload_bytes), ("copies", stats.copy_bytes)]
        {
            self.held.get_or_create(&TierLabel { tier }).set(bytes);
        }
        let wishes = stats.wishes;
        for (outcome, total) in [
            ("here", wishes.here),
            ("queued", wishes.queued),
            ("repeated", wishes.repeated),
            ("dropped", wishes.dropped),
        ] {
            set(&self.preloads.get_or_create(&OutcomeLabel { outcome }), total);
        }
    }
}
