//! What is on this host of each workload: what it is becoming, and what serves calls meanwhile.
//!
//! Pure bookkeeping; loads and unloads nothing. The invariants: at most one start of a workload is under way, so that an older
//! one cannot replace a newer; what serves calls is advertised as ready, even while its successor starts or has failed to.

use std::collections::{BTreeMap, BTreeSet};

use crate::placement::{Instance, Phase, Refused, Stage};
use crate::spec::{Revision, Spec, WorkloadName};

/// The workloads on this host.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<WorkloadName, Slot>,
    /// Starts under way, each with what it becomes if it is stopped before it has ended.
    starting: BTreeMap<WorkloadName, Instance>,
}

#[derive(Debug)]
struct Slot {
    instance: Instance,
    /// What answers calls.
    serving: Option<Instance>,
    /// The schema of the state that it knows.
    schema: u32,
}

/// Why a start failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    /// Whether it lies in what was to run.
    pub(super) permanent: bool,
}

impl Slots {
    /// Notes that a start begins; false when one is under way already.
    pub(super) fn begin(&mut self, workload: &WorkloadName, spec: &Spec) -> bool {
        if self.starting.contains_key(workload) {
            return false;
        }
        self.starting.insert(workload.clone(), Instance::made_from(spec, Phase::Stopping));
        let instance = Instance { stage: Some(Stage::Claimed), ..Instance::made_from(spec, Phase::Starting) };
        let before = self.slots.remove(workload);
        let (serving, schema) = before.map_or((None, 0), |slot| (slot.serving, slot.schema));
        self.slots.insert(workload.clone(), Slot { instance, serving, schema });
        true
    }

    /// Goes on with what serves, if it was made from `spec`: what was to take its place is forgotten. False when it was not, or a start
    /// is under way.
    pub(super) fn resume(&mut self, workload: &WorkloadName, spec: &Spec) -> bool {
        let is_idle = !self.starting.contains_key(workload);
        let serving = |slot: &Slot| slot.serving.as_ref().is_some_and(|serving| serving.is_of(spec));
        match self.slots.get_mut(workload).filter(|slot| is_idle && serving(slot)) {
            Some(slot) => {
                slot.instance = Instance::made_from(spec, Phase::Ready);
                true
            }
            None => false,
        }
    }

    /// What a workload is here, what answers its calls, and what is loaded for it, also where that is not wanted any more.
    pub(super) fn seen(&self, workload: &WorkloadName) -> (Option<&Instance>, [Option<Revision>; 2]) {
        let slot = self.slots.get(workload);
        let serving = slot.and_then(|slot| slot.serving.as_ref()?.revision);
        let loading = self.starting.get(workload).and_then(|instance| instance.revision);
        (slot.map(|slot| &slot.instance), [serving, loading])
    }

    /// The schema of the state that what answers calls knows.
    pub(super) fn schema(&self, workload: &WorkloadName) -> Option<u32> {
        self.slots.get(workload).and_then(|slot| slot.serving.as_ref().map(|_| slot.schema))
    }

    /// Workloads whose start waits until others have ended.
    pub(super) fn queued(&self) -> BTreeSet<WorkloadName> {
        let queued = self.slots.iter().filter(|(_, slot)| slot.instance.stage == Some(Stage::Queued));
        queued.map(|(workload, _)| workload.clone()).collect()
    }

    /// Notes how far a start has got.
    pub(super) fn reach(&mut self, workload: &WorkloadName, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(workload).filter(|slot| slot.instance.phase == Phase::Starting) {
            slot.instance.stage = Some(stage);
        }
    }

    /// Notes how a start ended; false when the workload was stopped meanwhile, and what was loaded has to go again, and then
    /// [`Slots::abandon`] follows.
    pub(super) fn finish(&mut self, workload: &WorkloadName, spec: &Spec, result: Result<(), Failure>) -> bool {
        let Some(slot) = self.slots.get_mut(workload) else { return false };
        self.starting.remove(workload);
        match result {
            Ok(()) => {
                slot.instance = Instance::made_from(spec, Phase::Ready);
                slot.serving = Some(slot.instance.clone());
                slot.schema = spec.state_schema;
            }
            Err(Failure { reason, permanent }) => {
                slot.instance = Instance { permanent, ..Instance::made_from(spec, Phase::failed(reason)) };
            }
        }
        true
    }

    /// Notes that what a start had loaded after a stop has gone again.
    pub(super) fn abandon(&mut self, workload: &WorkloadName) {
        self.starting.remove(workload);
    }

    /// Notes that a workload is about to stop, though it still answers calls.
    pub(super) fn drain(&mut self, workload: &WorkloadName) {
        if let Some(slot) = self.slots.get_mut(workload) {
            slot.instance.phase = Phase::Stopping;
        }
    }

    /// Notes that a workload was stopped.
    pub(super) fn stop(&mut self, workload: &WorkloadName) {
        self.slots.remove(workload);
    }

    /// What each workload is here, for deciding what to do next.
    pub(super) fn here(&self) -> BTreeMap<WorkloadName, Instance> {
        self.slots.iter().map(|(workload, slot)| (workload.clone(), slot.instance.clone())).collect()
    }

    /// What each workload is to others: ready as long as anything of it answers calls, and stopping as long as anything of it may
    /// still come to.
    pub(super) fn advertised(&self) -> BTreeMap<WorkloadName, Instance> {
        let advertised = |slot: &Slot| match &slot.serving {
            Some(_) if slot.instance.phase == Phase::Stopping => slot.instance.clone(),
            Some(serving) => Instance { refused: refused(&slot.instance), ..serving.clone() },
            None => slot.instance.clone(),
        };
        let mut all = self.starting.clone();
        all.extend(self.slots.iter().map(|(workload, slot)| (workload.clone(), advertised(slot))));
        all
    }

    /// Workloads whose spec has changed since they were made, or could not be made, from the artefact that it still names; with
    /// whether they run.
    pub(super) fn outdated<'a>(
        &self,
        specs: &'a BTreeMap<WorkloadName, Spec>,
    ) -> Vec<(&'a WorkloadName, &'a Spec, bool)> {
        let changed = |(workload, spec): (&'a WorkloadName, &'a Spec)| {
            let instance = &self.slots.get(workload)?.instance;
            let runs = match instance.phase {
                Phase::Ready => true,
                Phase::Failed { .. } => false,
                Phase::Starting | Phase::Stopping => return None,
            };
            (instance.digest == spec.artifact && !instance.is_of(spec)).then_some((workload, spec, runs))
        };
        specs.iter().filter_map(changed).collect()
    }
}

/// What was to take the place of what serves, if that has failed.
fn refused(next: &Instance) -> Option<Refused> {
    match &next.phase {
        Phase::Failed { reason } => {
            Some(Refused { digest: next.digest, revision: next.revision, reason: reason.clone() })
        }
        Phase::Starting | Phase::Ready | Phase::Stopping => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Digest;

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
        assert!(slots.begin(&name(), &old));
        assert_eq!(advertised(&slots), Some((old.artifact, Phase::Starting)));
        assert!(slots.finish(&name(), &old, Ok(())));
        assert!(slots.begin(&name(), &new));
        assert_eq!(advertised(&slots), Some((old.artifact, Phase::Ready)));
        assert!(slots.here()[&name()].is_of(&new) && slots.here()[&name()].stage == Some(Stage::Claimed));
        assert!(slots.finish(&name(), &new, Err(Failure { reason: "broken".to_owned(), permanent: false })));
        assert_eq!(advertised(&slots), Some((old.artifact, Phase::Ready)));
        assert!(matches!(slots.here()[&name()].phase, Phase::Failed { .. }));
        let refused =
            slots.advertised()[&name()].refused.clone().expect("everybody can see why the new one does not run");
        assert!(refused.is_of(&new) && refused.reason == "broken");
    }

    #[test]
    fn the_schema_is_that_of_what_answers_calls() {
        let (mut slots, old) = (Slots::default(), spec(b"old"));
        let new = Spec { state_schema: 2, ..spec(b"new") };
        slots.begin(&name(), &old);
        assert_eq!(slots.schema(&name()), None);
        slots.finish(&name(), &old, Ok(()));
        slots.begin(&name(), &new);
        assert_eq!(slots.schema(&name()), Some(0));
        assert_eq!(slots.seen(&name()).1, [Some(old.revision()), Some(new.revision())]);
        slots.finish(&name(), &new, Ok(()));
        assert_eq!(slots.schema(&name()), Some(2));
    }

    #[test]
    fn what_drains_is_told_to_stop_and_can_be_taken_back() {
        let (mut slots, spec) = (Slots::default(), spec(b"a"));
        slots.begin(&name(), &spec);
        slots.finish(&name(), &spec, Ok(()));
        slots.drain(&name());
        assert_eq!(advertised(&slots), Some((spec.artifact, Phase::Stopping)));
        assert!(slots.begin(&name(), &spec));
        assert_eq!(advertised(&slots), Some((spec.artifact, Phase::Ready)), "it answers calls all the while");
    }

    #[test]
    fn what_serves_goes_on_when_its_successor_is_not_wanted_any_more() {
        let (mut slots, old, new) = (Slots::default(), spec(b"old"), spec(b"new"));
        slots.begin(&name(), &old);
        slots.finish(&name(), &old, Ok(()));
        slots.begin(&name(), &new);
        assert!(!slots.resume(&name(), &old), "the start is under way");
        slots.finish(&name(), &new, Err(Failure { reason: "broken".to_owned(), permanent: true }));
        assert!(!slots.resume(&name(), &new) && slots.resume(&name(), &old));
        assert_eq!(slots.here()[&name()], Instance::made_from(&old, Phase::Ready));
    }

    #[test]
    fn a_reason_is_no_longer_than_a_record_has_room_for() {
        let (mut slots, spec) = (Slots::default(), spec(b"a"));
        slots.begin(&name(), &spec);
        slots.finish(&name(), &spec, Err(Failure { reason: "ä".repeat(10_000), permanent: true }));
        let Some((_, Phase::Failed { reason })) = advertised(&slots) else { panic!("it failed") };
        assert!(!reason.is_empty() && reason.len() <= 256, "{}", reason.len());
    }

    #[test]
    fn one_start_at_a_time_and_none_survives_a_stop() {
        let (mut slots, spec) = (Slots::default(), spec(b"a"));
        assert!(slots.begin(&name(), &spec));
        assert!(!slots.begin(&name(), &self::spec(b"b")), "an older start could end after a newer one");
        slots.stop(&name());
        assert_eq!(advertised(&slots), Some((spec.artifact, Phase::Stopping)), "it may still be loaded for a moment");
        assert!(!slots.finish(&name(), &spec, Ok(())), "it was stopped meanwhile");
        slots.abandon(&name());
        assert_eq!(advertised(&slots), None);
        assert!(slots.begin(&name(), &spec));
    }

    #[test]
    fn another_revision_is_a_reason_to_start_again_whether_the_last_one_runs_or_not() {
        let (mut slots, spec) = (Slots::default(), spec(b"a"));
        slots.begin(&name(), &spec);
        let outdated = |slots: &Slots, change: fn(&mut Spec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            slots.outdated(&BTreeMap::from([(name(), spec)])).first().map(|(_, _, runs)| *runs)
        };
        let slower: fn(&mut Spec) = |spec| spec.limits.deadline_ms += 1;
        assert_eq!(outdated(&slots, slower), None, "its start is under way");
        slots.finish(&name(), &spec, Ok(()));
        assert_eq!(outdated(&slots, |_| {}), None);
        assert_eq!(outdated(&slots, slower), Some(true));
        assert_eq!(outdated(&slots, |spec| spec.artifact = Digest::of(b"b")), None, "the plan starts another artefact");
        slots.begin(&name(), &spec);
        slots.finish(&name(), &spec, Err(Failure { reason: "config".to_owned(), permanent: true }));
        assert_eq!(outdated(&slots, |_| {}), None, "the same again is for the back-off");
        assert_eq!(outdated(&slots, slower), Some(false));
    }
}
