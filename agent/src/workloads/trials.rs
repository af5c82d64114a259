//! What this host has seen of the versions that are being rolled out: how far each got here, and how its calls went.
//!
//! Pure bookkeeping; time is an argument. Keeps the figures of a version that has gone, so that what condemned it does not vanish
//! with it. The invariant: what is told of a version is about the present deployment, and begins with it.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use crate::placement::{Instance, Phase};
use crate::rollout::{self, Figures, Report, Rollout, Runs, SOAK_MS, Step, Told, Verdict};
use crate::spec::{DeploymentId, Revision, WorkloadName};

/// How long a start may fail for reasons that may pass, in milliseconds, before the version counts as one that does not start: a
/// fetch from a member that was just lost passes.
const FAILING_MS_MAX: u64 = 30_000;

/// How long a rollout that is over here is still told, in milliseconds: others hear of its verdict later, and until then they judge by
/// what is told. Gossip takes a second or two.
const TOLD_AFTER_MS: u64 = 10_000;

/// How long a host may say that a start waits there for its turn before that counts as being late, in milliseconds: as long as some
/// hundreds of components take to compile on a small host.
const QUEUED_MS_MAX: u64 = 900_000;

/// Rollouts that one record tells of. Records are bounded; of more the others hear nothing until some are over, and health says so.
pub(super) const TOLD_MAX: usize = 64;

/// The rollouts that are on.
#[derive(Debug, Default)]
pub(super) struct Trials(BTreeMap<WorkloadName, Trial>);

#[derive(Debug)]
struct Trial {
    of: DeploymentId,
    versions: BTreeMap<Revision, Seen>,
    /// How calls of the old version have gone since the deployment.
    lately: Figures,
    /// Whether the new version's component has been asked for.
    is_fetched: bool,
    /// Hosts that have been asked to run the new version and have not served it.
    asked: BTreeMap<NodeId, Asked>,
    /// Since when hosts have had a version that is not the new one.
    old_since_ms: BTreeMap<NodeId, u64>,
    /// Whether a start of the workload waits here until others are over.
    is_queued: bool,
    /// Which verdict is due, and since when.
    due_since_ms: Option<(std::mem::Discriminant<Verdict>, u64)>,
    /// Since when it has been over.
    over_since_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    since_ms: u64,
    /// Since when it might have begun.
    free_since_ms: u64,
}

impl Asked {
    /// How it stands with a host that is asked, and stood so before.
    fn go_on(before: Option<&Self>, is_queued: bool, now_ms: u64) -> Self {
        let Self { since_ms, free_since_ms } = *before.unwrap_or(&Self { since_ms: now_ms, free_since_ms: now_ms });
        let may_wait = is_queued && now_ms.saturating_sub(since_ms) < QUEUED_MS_MAX;
        Self { since_ms, free_since_ms: if may_wait { now_ms } else { free_since_ms } }
    }
}

#[derive(Debug, Default)]
struct Seen {
    ready_since_ms: Option<u64>,
    failing_since_ms: Option<u64>,
    /// Why it does not start, and whether that may pass.
    failed: Option<(String, bool)>,
    is_here: bool,
    was_here: bool,
    figures: Figures,
}

/// What is to be seen of a workload on this host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight<'a> {
    /// What it is, or becomes.
    pub(super) instance: Option<&'a Instance>,
    /// What answers calls.
    pub(super) serving: Option<Revision>,
    /// What a start that is under way loads, wanted or not.
    pub(super) loading: Option<Revision>,
    /// How its calls went since it was loaded.
    pub(super) figures: Option<Figures>,
    /// How they went since [`Trials::begins`] said that the rollout begins here, if it was loaded before.
    pub(super) lately: Option<Figures>,
}

impl Trials {
    /// Forgets rollouts that have been over for long enough.
    pub(super) fn retain(&mut self, is_on: impl Fn(&WorkloadName) -> bool, now_ms: u64) {
        self.0.retain(|workload, trial| {
            trial.over_since_ms = if is_on(workload) { None } else { trial.over_since_ms.or(Some(now_ms)) };
            trial.over_since_ms.is_none_or(|since_ms| now_ms.saturating_sub(since_ms) < TOLD_AFTER_MS)
        });
    }

    /// Whether a rollout has yet to be looked at here.
    pub(super) fn begins(&self, workload: &WorkloadName, of: DeploymentId) -> bool {
        self.0.get(workload).is_none_or(|trial| trial.of != of)
    }

    /// How calls of the old version have gone here since the deployment, and whether a start waits here for its turn.
    pub(super) fn own(&self, workload: &WorkloadName) -> (Figures, bool) {
        self.0.get(workload).map(|trial| (trial.lately, trial.is_queued)).unwrap_or_default()
    }

    /// Takes note of the workloads whose start waits here for its turn.
    pub(super) fn queue(&mut self, queued: &BTreeSet<WorkloadName>) {
        self.0.iter_mut().for_each(|(workload, trial)| trial.is_queued = queued.contains(workload));
    }

    /// Takes note of what is here, and returns what becomes of each version: of the two that are compared, and of any other as long as
    /// it is here, for that may keep its state in a third way.
    pub(super) fn observe(
        &mut self,
        (workload, of, rollout): (&WorkloadName, DeploymentId, &Rollout),
        sight: Sight<'_>,
        now_ms: u64,
    ) -> BTreeMap<Revision, (Runs, Figures)> {
        let trial = self.0.entry(workload.clone()).or_insert_with(|| Trial::new(of));
        if trial.of != of {
            *trial = Trial::new(of);
        }
        let compared = [rollout.from.revision, rollout.to.revision];
        for revision in compared.into_iter().chain(sight.revisions()) {
            trial.versions.entry(revision).or_default();
        }
        trial.versions.iter_mut().for_each(|(revision, seen)| seen.look(*revision, sight, now_ms));
        trial.versions.retain(|revision, seen| seen.is_here || compared.contains(revision));
        if let Some(lately) = sight.lately.filter(|_| sight.serving == Some(rollout.from.revision)) {
            trial.lately = lately;
        }
        trial.versions(now_ms)
    }

    /// For how long each host has been asked to run the new version in vain, and has had another, is put into what it reports.
    pub(super) fn remind(&self, workload: &WorkloadName, reports: &mut [Report], now_ms: u64) {
        let Some(trial) = self.0.get(workload) else { return };
        for report in reports {
            let asked = trial.asked.get(&report.node);
            report.asked_ms = asked.map_or(0, |asked| now_ms.saturating_sub(asked.free_since_ms));
            let old_since_ms = trial.old_since_ms.get(&report.node);
            report.old_ms = old_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(*since_ms));
        }
    }

    /// Takes note of a step: whom it asks, and which verdict is due. Returns for how long that has been so.
    pub(super) fn note(
        &mut self,
        (workload, rollout): (&WorkloadName, &Rollout),
        reports: &[Report],
        step: &Step,
        now_ms: u64,
    ) -> u64 {
        let Some(trial) = self.0.get_mut(workload) else { return 0 };
        let new = rollout.to.revision;
        let has_served = |report: &Report| matches!(report.versions.get(&new), Some((Runs::Ready { for_ms }, _)) if *for_ms >= SOAK_MS);
        let asked =
            reports.iter().filter(|report| step.run.get(&report.node) == Some(&Some(new)) && !has_served(report));
        let go_on = |report: &Report| Asked::go_on(trial.asked.get(&report.node), report.queued, now_ms);
        trial.asked = asked.map(|report| (report.node, go_on(report))).collect();
        let old = reports.iter().filter(|report| rollout::has_old(rollout, report));
        let since_ms = |node: &NodeId| trial.old_since_ms.get(node).copied().unwrap_or(now_ms);
        trial.old_since_ms = old.map(|report| (report.node, since_ms(&report.node))).collect();
        let due = step.record.as_ref().map(|(_, verdict)| std::mem::discriminant(verdict));
        let since_ms =
            |kind| trial.due_since_ms.filter(|(before, _)| *before == kind).map_or(now_ms, |(_, at_ms)| at_ms);
        trial.due_since_ms = due.map(|kind| (kind, since_ms(kind)));
        trial.due_since_ms.map_or(0, |(_, since_ms)| now_ms.saturating_sub(since_ms))
    }

    /// Whether the new version's component is to be asked for now: true once for each deployment.
    pub(super) fn fetches(&mut self, workload: &WorkloadName, of: DeploymentId) -> bool {
        let trial = self.0.get_mut(workload).filter(|trial| trial.of == of);
        trial.is_some_and(|trial| !std::mem::replace(&mut trial.is_fetched, true))
    }

    /// How many rollouts are not told of yet, because there are too many.
    pub(super) fn untold(&self) -> usize {
        self.0.values().filter(|trial| trial.is_told()).count().saturating_sub(TOLD_MAX)
    }

    /// What the others are told.
    pub(super) fn told(&self, now_ms: u64) -> BTreeMap<WorkloadName, Told> {
        let told = |(workload, trial): (&WorkloadName, &Trial)| {
            let mut told = Told::new(trial.of, &trial.versions(now_ms), trial.lately);
            told.queued = trial.is_queued;
            (workload.clone(), told)
        };
        self.0.iter().filter(|(_, trial)| trial.is_told()).map(told).take(TOLD_MAX).collect()
    }
}

impl Sight<'_> {
    fn revisions(self) -> impl Iterator<Item = Revision> {
        let becoming = self.instance.and_then(|instance| instance.revision);
        [becoming, self.serving, self.loading].into_iter().flatten()
    }
}

impl Trial {
    fn new(of: DeploymentId) -> Self {
        Self {
            of,
            versions: BTreeMap::new(),
            lately: Figures::default(),
            is_fetched: false,
            asked: BTreeMap::new(),
            old_since_ms: BTreeMap::new(),
            is_queued: false,
            due_since_ms: None,
            over_since_ms: None,
        }
    }

    /// Whether there is something to tell of it.
    fn is_told(&self) -> bool {
        self.is_queued || self.versions.values().any(|seen| seen.was_here)
    }

    /// The versions that are or were here.
    fn versions(&self, now_ms: u64) -> BTreeMap<Revision, (Runs, Figures)> {
        let seen = self.versions.iter().filter(|(_, seen)| seen.was_here);
        seen.map(|(revision, seen)| (*revision, (seen.runs(now_ms), seen.figures))).collect()
    }
}

impl Seen {
    fn look(&mut self, revision: Revision, sight: Sight<'_>, now_ms: u64) {
        let becoming = sight.instance.filter(|instance| instance.revision == Some(revision));
        let serves = sight.serving == Some(revision);
        self.is_here = serves || becoming.is_some() || sight.loading == Some(revision);
        self.was_here |= self.is_here;
        self.ready_since_ms = serves.then(|| self.ready_since_ms.unwrap_or(now_ms));
        if serves {
            (self.failing_since_ms, self.failed) = (None, None);
            // Fewer calls than before are another version's, which has taken its place a moment ago.
            if let Some(figures) = sight.figures.filter(|figures| figures.calls >= self.figures.calls) {
                self.figures = figures;
            }
        } else if let Some(Phase::Failed { reason }) = becoming.map(|instance| &instance.phase) {
            let since_ms = *self.failing_since_ms.get_or_insert(now_ms);
            let for_good = becoming.is_some_and(|instance| instance.permanent);
            if for_good || now_ms.saturating_sub(since_ms) >= FAILING_MS_MAX {
                self.failed = Some((reason.clone(), !for_good));
            }
        }
    }

    fn runs(&self, now_ms: u64) -> Runs {
        match (self.ready_since_ms, &self.failed) {
            (Some(since_ms), _) => Runs::Ready { for_ms: now_ms.saturating_sub(since_ms) },
            (None, Some((reason, passing))) => Runs::Failed { reason: reason.clone(), passing: *passing },
            (None, None) if self.is_here => Runs::Unready,
            (None, None) => Runs::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Version;
    use crate::spec::{Digest, Gates, Spec};

    fn spec(name: &[u8]) -> Spec {
        Spec::new(Digest::of(name))
    }

    fn rollout() -> Rollout {
        let version = |name| Version { revision: spec(name).revision(), state_schema: 0 };
        Rollout { from: version(b"old"), to: version(b"new"), gates: Gates::default(), forced: false }
    }

    fn figures(calls: u64) -> Option<Figures> {
        Some(Figures { calls, p99_ms: 1.0, ..Figures::default() })
    }

    /// What is seen of the old and the new version at a time.
    fn look(trials: &mut Trials, of: &str, sight: Sight<'_>, now_ms: u64) -> [Option<(Runs, u64)>; 2] {
        let workload: WorkloadName = "combat".parse().expect("a name");
        let versions = trials.observe((&workload, DeploymentId::of(of), &rollout()), sight, now_ms);
        [rollout().from, rollout().to]
            .map(|version| versions.get(&version.revision).map(|(runs, figures)| (runs.clone(), figures.calls)))
    }

    #[test]
    fn figures_outlast_their_version_and_begin_anew_with_the_next_deployment() {
        let mut trials = Trials::default();
        let (old, new) = (spec(b"old"), spec(b"new"));
        let ready = |spec: &Spec| Instance::made_from(spec, Phase::Ready);
        let (was, starting) = (ready(&old), Instance::made_from(&new, Phase::Starting));
        let sight = Sight { instance: Some(&was), serving: was.revision, figures: figures(100), ..Sight::default() };
        assert_eq!(look(&mut trials, "a", sight, 0), [Some((Runs::Ready { for_ms: 0 }, 100)), None]);
        let sight = Sight { instance: Some(&starting), ..sight };
        assert_eq!(
            look(&mut trials, "a", sight, 500),
            [Some((Runs::Ready { for_ms: 500 }, 100)), Some((Runs::Unready, 0))]
        );
        // The new one has been loaded, and that has yet to be noted.
        let sight = Sight { figures: figures(3), ..sight };
        assert_eq!(look(&mut trials, "a", sight, 600)[0], Some((Runs::Ready { for_ms: 600 }, 100)));
        let now = ready(&new);
        let sight = Sight { instance: Some(&now), serving: now.revision, figures: figures(5), ..Sight::default() };
        assert_eq!(look(&mut trials, "a", sight, 700), [Some((Runs::Gone, 100)), Some((Runs::Ready { for_ms: 0 }, 5))]);
        assert_eq!(trials.told(800).len(), 1);
        let sight = Sight { instance: Some(&was), serving: was.revision, figures: figures(1), ..Sight::default() };
        assert_eq!(look(&mut trials, "a", sight, 900)[1], Some((Runs::Gone, 5)), "what condemned it stays known");
        assert_eq!(look(&mut trials, "b", sight, 900), [Some((Runs::Ready { for_ms: 0 }, 1)), None]);
        trials.retain(|_| false, 1_000);
        assert_eq!(trials.told(1_000).len(), 1, "others have yet to hear of the verdict");
        trials.retain(|_| false, 1_000 + TOLD_AFTER_MS);
        assert!(trials.told(1_000 + TOLD_AFTER_MS).is_empty());
    }

    #[test]
    fn it_is_noted_for_how_long_a_host_is_asked_and_a_verdict_is_due() {
        let (mut trials, rollout, workload) = (Trials::default(), rollout(), "combat".parse().expect("a name"));
        let node = |number| NodeId([number; 32]);
        let mut look = |runs: &[(u8, Runs)], recorded: Option<&Verdict>, now_ms| {
            trials.observe((&workload, DeploymentId::of("a"), &rollout), Sight::default(), now_ms);
            let report = |(number, runs): &(u8, Runs)| {
                let versions = BTreeMap::from([(rollout.to.revision, (runs.clone(), Figures::default()))]);
                Report {
                    node: node(*number),
                    chosen: true,
                    tells: true,
                    asked_ms: 0,
                    old_ms: 0,
                    queued: false,
                    lost: 0,
                    lately: Figures::default(),
                    versions,
                }
            };
            let mut reports: Vec<Report> = runs.iter().map(report).collect();
            trials.remind(&workload, &mut reports, now_ms);
            let step = rollout::step(&rollout, &reports, recorded, |node| ((), *node));
            let due_ms = trials.note((&workload, &rollout), &reports, &step, now_ms);
            (reports.iter().map(|report| report.asked_ms).collect::<Vec<_>>(), due_ms)
        };
        let (ready, starts) = (Runs::Ready { for_ms: 9_000 }, Runs::Unready);
        let promoted = Some(&Verdict::Promoted);
        let hangs = [(1, ready.clone()), (2, starts.clone())];
        assert_eq!(look(&hangs, None, 1_000), (vec![0, 0], 0));
        assert_eq!(look(&hangs, None, 4_000), (vec![0, 3_000], 3_000), "it is to be promoted");
        assert_eq!(look(&hangs, promoted, 5_000), (vec![0, 4_000], 0));
        let both = [(1, ready.clone()), (2, ready.clone())];
        assert_eq!(look(&both, promoted, 6_000), (vec![0, 5_000], 0), "it is to be completed, since now");
        assert_eq!(look(&both, promoted, 7_000), (vec![0, 0], 1_000));
        assert_eq!(look(&[(1, ready), (2, starts)], promoted, 8_000).0, [0, 0], "it was ready meanwhile");
    }

    #[test]
    fn a_host_that_starts_others_first_is_not_late_for_a_quarter_of_an_hour() {
        let now_ms = |minutes: u64| minutes * 60_000;
        let mut asked = Asked::go_on(None, true, 0);
        for minutes in 1..15 {
            asked = Asked::go_on(Some(&asked), true, now_ms(minutes));
            assert_eq!(asked.free_since_ms, now_ms(minutes));
        }
        let begins = Asked::go_on(Some(&asked), false, now_ms(15) - 1);
        assert_eq!(begins.free_since_ms, now_ms(14), "from here on it has its minute");
        asked = Asked::go_on(Some(&asked), true, now_ms(20));
        assert_eq!(asked.free_since_ms, now_ms(14), "whoever waits for ever is late");
    }

    #[test]
    fn a_start_that_waits_is_told_though_nothing_is_here() {
        let (mut trials, workload) = (Trials::default(), "combat".parse::<WorkloadName>().expect("a name"));
        look(&mut trials, "a", Sight::default(), 0);
        assert!(trials.told(0).is_empty());
        trials.queue(&BTreeSet::from([workload.clone()]));
        let told = trials.told(0).remove(&workload).expect("told");
        assert!(told.queued && trials.own(&workload).1);
        trials.queue(&BTreeSet::new());
        assert!(trials.told(0).is_empty());
    }

    #[test]
    fn a_third_version_is_told_of_as_long_as_anything_of_it_is_here() {
        let (mut trials, third) = (Trials::default(), spec(b"third"));
        let workload: WorkloadName = "combat".parse().expect("a name");
        let mut look = |sight| {
            let versions = trials.observe((&workload, DeploymentId::of("a"), &rollout()), sight, 0);
            versions.get(&third.revision()).map(|(runs, _)| runs.clone())
        };
        let serving = Instance::made_from(&third, Phase::Ready);
        let sight = Sight { instance: Some(&serving), serving: serving.revision, ..Sight::default() };
        assert_eq!(look(sight), Some(Runs::Ready { for_ms: 0 }));
        let loading = Sight { loading: serving.revision, ..Sight::default() };
        assert_eq!(look(loading), Some(Runs::Unready), "a start that nobody wants any more may still come to serve");
        assert_eq!(look(Sight::default()), None);
    }

    #[test]
    fn a_start_that_fails_for_a_passing_reason_is_tried_for_a_while() {
        let mut trials = Trials::default();
        let failed = |permanent| Instance {
            permanent,
            ..Instance::made_from(&spec(b"new"), Phase::failed("nobody has it".to_owned()))
        };
        let (passing, lasting) = (failed(false), failed(true));
        let sight = Sight { instance: Some(&passing), ..Sight::default() };
        assert_eq!(look(&mut trials, "a", sight, 0)[1], Some((Runs::Unready, 0)));
        assert_eq!(look(&mut trials, "a", sight, FAILING_MS_MAX - 1)[1], Some((Runs::Unready, 0)));
        let is_failed = |seen: &[Option<(Runs, u64)>; 2]| matches!(seen[1], Some((Runs::Failed { .. }, _)));
        assert!(is_failed(&look(&mut trials, "a", sight, FAILING_MS_MAX)));
        assert!(
            is_failed(&look(&mut trials, "a", Sight::default(), FAILING_MS_MAX)),
            "though it has been cleared away"
        );
        let sight = Sight { instance: Some(&lasting), ..Sight::default() };
        assert!(is_failed(&look(&mut trials, "b", sight, 0)));
    }

    #[test]
    fn more_rollouts_than_a_record_holds_are_counted() {
        let mut trials = Trials::default();
        let was = Instance::made_from(&spec(b"old"), Phase::Ready);
        for number in 0..TOLD_MAX + 3 {
            let workload = format!("w{number:03}").parse().expect("a name");
            let sight = Sight { instance: Some(&was), serving: was.revision, ..Sight::default() };
            trials.observe((&workload, DeploymentId::of("a"), &rollout()), sight, 0);
        }
        assert_eq!((trials.told(0).len(), trials.untold()), (TOLD_MAX, 3));
        let first = |workload: &WorkloadName| workload.as_str() >= "w010";
        trials.retain(first, 0);
        trials.retain(first, TOLD_AFTER_MS);
        assert_eq!((trials.told(0).len(), trials.untold()), (TOLD_MAX + 3 - 10, 0));
    }

    #[test]
    fn it_is_noted_for_how_long_a_host_has_had_another_version() {
        let (mut trials, rollout, workload) = (Trials::default(), rollout(), "combat".parse().expect("a name"));
        let mut look = |runs: Runs, now_ms| {
            trials.observe((&workload, DeploymentId::of("a"), &rollout), Sight::default(), now_ms);
            let versions = BTreeMap::from([(rollout.from.revision, (runs, Figures::default()))]);
            let mut reports = [Report { versions, tells: true, ..Report::of_absent(NodeId([1; 32])) }];
            trials.remind(&workload, &mut reports, now_ms);
            let step = rollout::step(&rollout, &reports, None, |node| ((), *node));
            trials.note((&workload, &rollout), &reports, &step, now_ms);
            reports[0].old_ms
        };
        let ready = || Runs::Ready { for_ms: 0 };
        assert_eq!([look(ready(), 100), look(Runs::Unready, 400), look(Runs::Gone, 500)], [0, 300, 400]);
        assert_eq!([look(ready(), 600), look(ready(), 700)], [0, 100], "once it was gone it counts anew");
    }
}
