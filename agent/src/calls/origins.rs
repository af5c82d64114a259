//! Where callers say that they are, by workload: what placement weighs beside the host at which their calls enter.
//!
//! Owns the counts; whom placement believes is its own affair. The invariant: what is kept is bounded, and forgotten with the workload.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::traffic::Smoothed;
use crate::placement::Origins;
use crate::spec::WorkloadName;

/// Regions of callers that are told apart for one workload; more count as if their callers had said nothing. Far above real use.
const REGIONS_MAX: usize = 32;
/// Workloads whose callers are told apart.
const WORKLOADS_MAX: usize = 1_024;
/// Calls per second below which a figure is nothing.
const RATE_MIN: f64 = 0.01;

/// The counts of all workloads.
#[derive(Debug, Default)]
pub(super) struct Said {
    workloads: Mutex<BTreeMap<WorkloadName, Counted>>,
}

#[derive(Debug, Default)]
struct Counted {
    regions: BTreeMap<String, Count>,
    /// Calls whose callers have said how far they are, and what they have said together, in microseconds.
    told: Count,
    told_us: Count,
}

#[derive(Debug, Default)]
struct Count {
    total: u64,
    smoothed: Smoothed,
}

impl Count {
    fn rate(&mut self) -> f64 {
        self.smoothed.renew(self.total)
    }
}

impl Said {
    /// Takes note of a call whose caller says where it is. `own` is the region of this host: to be there says nothing new.
    pub(super) fn note(&self, workload: &WorkloadName, own: &str, region: Option<&str>, rtt_ms: Option<f64>) {
        let region = region.filter(|region| *region != own);
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if !workloads.contains_key(workload) {
            if workloads.len() >= WORKLOADS_MAX {
                return;
            }
            workloads.insert(workload.clone(), Counted::default());
        }
        let Some(counted) = workloads.get_mut(workload) else { return };
        match (region, rtt_ms) {
            (Some(region), _) => {
                if let Some(count) = counted.regions.get_mut(region) {
                    count.total += 1;
                } else if counted.regions.len() < REGIONS_MAX {
                    counted.regions.insert(region.to_owned(), Count { total: 1, ..Count::default() });
                }
            }
            (None, Some(rtt_ms)) => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a minute")]
                let us = (rtt_ms.max(0.0) * 1e3) as u64;
                counted.told.total += 1;
                counted.told_us.total += us;
            }
            (None, None) => {}
        }
    }

    /// Where the callers of each workload are. Meant to be asked about once a second.
    pub(super) fn origins(&self) -> BTreeMap<WorkloadName, Origins> {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let origins = |(workload, counted): (&WorkloadName, &mut Counted)| {
            let rates = counted.regions.iter_mut().map(|(region, count)| (region.clone(), count.rate()));
            let regions: BTreeMap<_, _> = rates.filter(|(_, rate)| *rate >= RATE_MIN).collect();
            // Whoever has fallen silent makes room for others.
            counted.regions.retain(|region, _| regions.contains_key(region));
            let (told, told_us) = (counted.told.rate(), counted.told_us.rate());
            let rtt_ms = if told >= RATE_MIN { told_us / told / 1e3 } else { 0.0 };
            let origins = Origins { regions, rtt_ms };
            (origins != Origins::default()).then(|| (workload.clone(), origins))
        };
        workloads.iter_mut().filter_map(origins).collect()
    }

    /// Forgets workloads that are not deployed any more.
    pub(super) fn retain(&self, deployed: impl Fn(&WorkloadName) -> bool) {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.retain(|workload, _| deployed(workload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_where_they_say_and_are_forgotten_with_their_workload() {
        let (said, combat) = (Said::default(), "combat".parse::<WorkloadName>().expect("a name"));
        for _ in 0..300 {
            said.note(&combat, "eu", Some("us"), Some(500.0));
        }
        for rtt_ms in [10.0, 20.0] {
            said.note(&combat, "eu", None, Some(rtt_ms));
            said.note(&combat, "eu", Some("eu"), Some(rtt_ms));
        }
        said.note(&combat, "eu", None, None);
        (0..100).for_each(|number| said.note(&combat, "eu", Some(&format!("r{number}")), None));
        let origins = said.origins().remove(&combat).expect("they said so");
        assert!(origins.regions["us"] > 10.0 * origins.regions["r1"], "{origins:?}");
        assert!((origins.rtt_ms - 15.0).abs() < 1e-6, "{origins:?}");
        assert_eq!(origins.regions.len(), REGIONS_MAX);
        said.retain(|_| false);
        assert!(said.origins().is_empty());
    }
}
