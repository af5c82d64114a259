//! What is on this host of each workload: what it is becoming, and what serves calls meanwhile.
//!
//! Pure bookkeeping; loads and unloads nothing. The invariants: at most one start of a workload is under way, so that an older
//! one cannot replace a newer; what serves calls is advertised as ready, even while its successor starts or has failed to.

use std::collections::{BTreeMap, BTreeSet};

use crate::placement::{Instance, Phase, Refused};
use crate::spec::{Config, Digest, Limits, OnOverrun, Spec, WorkloadName};

/// The workloads on this host.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<WorkloadName, Slot>,
    starting: BTreeSet<WorkloadName>,
}

#[derive(Debug)]
struct Slot {
    instance: Instance,
    serving: Option<Serving>,
}

/// What answers calls: all of a spec that a running instance was made from.
#[derive(Debug, PartialEq, Eq)]
struct Serving {
    digest: Digest,
    limits: Limits,
    config: Config,
    on_overrun: OnOverrun,
}

impl Serving {
    fn of(spec: &Spec) -> Self {
        let (config, on_overrun) = (spec.config.clone(), spec.on_overrun.clone());
        Self { digest: spec.artifact, limits: spec.limits, config, on_overrun }
    }

    /// Whether the artefact is still the right one, and something else of the spec is not.
    fn is_outdated(&self, spec: &Spec) -> bool {
        self.digest == spec.artifact && *self != Self::of(spec)
    }
}

impl Slots {
    /// Notes that a start begins; false when one is under way already.
    pub(super) fn begin(&mut self, workload: &WorkloadName, digest: Digest) -> bool {
        if !self.starting.insert(workload.clone()) {
            return false;
        }
        let instance = Instance::new(digest, Phase::Starting);
        let serving = self.slots.remove(workload).and_then(|slot| slot.serving);
        self.slots.insert(workload.clone(), Slot { instance, serving });
        true
    }

    /// Notes how a start ended; false when the workload was stopped meanwhile, and what was loaded has to go again.
    pub(super) fn finish(&mut self, workload: &WorkloadName, spec: &Spec, result: Result<(), String>) -> bool {
        self.starting.remove(workload);
        let Some(slot) = self.slots.get_mut(workload) else { return false };
        match result {
            Ok(()) => {
                slot.instance = Instance::new(spec.artifact, Phase::Ready);
                slot.serving = Some(Serving::of(spec));
            }
            Err(reason) => slot.instance = Instance::new(spec.artifact, Phase::Failed { reason }),
        }
        true
    }

    /// Notes that a workload was stopped.
    pub(super) fn stop(&mut self, workload: &WorkloadName) {
        self.slots.remove(workload);
    }

    /// What each workload is here, for deciding what to do next.
    pub(super) fn here(&self) -> BTreeMap<WorkloadName, Instance> {
        self.slots.iter().map(|(workload, slot)| (workload.clone(), slot.instance.clone())).collect()
    }

    /// What each workload is to others: ready as long as anything of it answers calls.
    pub(super) fn advertised(&self) -> BTreeMap<WorkloadName, Instance> {
        let advertised = |slot: &Slot| match &slot.serving {
            Some(Serving { digest, .. }) => {
                Instance { refused: refused(&slot.instance), ..Instance::new(*digest, Phase::Ready) }
            }
            None => slot.instance.clone(),
        };
        self.slots.iter().map(|(workload, slot)| (workload.clone(), advertised(slot))).collect()
    }

    /// Workloads that serve the right artefact with limits or a configuration that their spec has changed since.
    pub(super) fn outdated<'a>(&self, specs: &'a BTreeMap<WorkloadName, Spec>) -> Vec<(&'a WorkloadName, &'a Spec)> {
        let changed = |(workload, spec): &(&WorkloadName, &Spec)| {
            let slot = self.slots.get(*workload).filter(|slot| slot.instance.phase == Phase::Ready);
            slot.and_then(|slot| slot.serving.as_ref()).is_some_and(|serving| serving.is_outdated(spec))
        };
        specs.iter().filter(changed).collect()
    }
}

/// What was to take the place of what serves, if that has failed.
fn refused(next: &Instance) -> Option<Refused> {
    match &next.phase {
        Phase::Failed { reason } => Some(Refused { digest: next.digest, reason: reason.clone() }),
        Phase::Starting | Phase::Ready | Phase::Stopping => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> WorkloadName {
        "combat".parse().expect("a name")
    }

    fn spec(artifact: &[u8]) -> Spec {
        Spec::new(Digest::of(artifact))
    }

    fn advertised(slots: &Slots) -> Option<(Digest, Phase)> {
        slots.advertised().remove(&name()).map(|instance| (instance.digest, instance.phase))
    }

    #[test]
    fn the_old_one_stays_ready_while_the_new_one_starts_or_fails() {
        let (mut slots, old, new) = (Slots::default(), spec(b"old"), spec(b"new"));
        assert!(slots.begin(&name(), old.artifact));
        assert_eq!(advertised(&slots), Some((old.artifact, Phase::Starting)));
        assert!(slots.finish(&name(), &old, Ok(())));
        assert!(slots.begin(&name(), new.artifact));
        assert_eq!(advertised(&slots), Some((old.artifact, Phase::Ready)));
        assert_eq!(slots.here()[&name()], Instance::new(new.artifact, Phase::Starting));
        assert!(slots.finish(&name(), &new, Err("broken".to_owned())));
        assert_eq!(advertised(&slots), Some((old.artifact, Phase::Ready)));
        assert!(matches!(slots.here()[&name()].phase, Phase::Failed { .. }));
        let refused =
            slots.advertised()[&name()].refused.clone().expect("everybody can see why the new one does not run");
        assert_eq!((refused.digest, refused.reason.as_str()), (new.artifact, "broken"));
    }

    #[test]
    fn one_start_at_a_time_and_none_survives_a_stop() {
        let (mut slots, spec) = (Slots::default(), spec(b"a"));
        assert!(slots.begin(&name(), spec.artifact));
        assert!(!slots.begin(&name(), Digest::of(b"b")), "an older start could end after a newer one");
        slots.stop(&name());
        assert!(!slots.finish(&name(), &spec, Ok(())), "it was stopped meanwhile");
        assert_eq!(advertised(&slots), None);
        assert!(slots.begin(&name(), spec.artifact));
    }

    #[test]
    fn changed_limits_or_configuration_are_a_reason_to_start_again() {
        let (mut slots, spec) = (Slots::default(), spec(b"a"));
        slots.begin(&name(), spec.artifact);
        slots.finish(&name(), &spec, Ok(()));
        let outdated = |change: fn(&mut Spec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            slots.outdated(&BTreeMap::from([(name(), spec)])).len()
        };
        assert_eq!(outdated(|_| {}), 0);
        assert_eq!(outdated(|spec| spec.limits.deadline_ms += 1), 1);
        assert_eq!(outdated(|spec| drop(spec.config.insert("speed-max".to_owned(), "8".to_owned()))), 1);
        assert_eq!(outdated(|spec| drop(spec.on_overrun.insert("predict".to_owned(), serde_json::json!([])))), 1);
        assert_eq!(outdated(|spec| spec.artifact = Digest::of(b"b")), 0, "the plan starts another artefact");
    }
}
