use proptest::prelude::*;

use super::follow::READY_MS_MIN as LATE_MS;
use super::*;
use crate::spec::{Digest, Spec};

pub(super) fn old() -> Revision {
    Spec::new(Digest([1; 32])).revision()
}

pub(super) fn new() -> Revision {
    Spec::new(Digest([2; 32])).revision()
}

pub(super) fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

pub(super) fn rollout() -> Rollout {
    let version = |revision| Version { revision, state_schema: 1 };
    Rollout { from: version(old()), to: version(new()), gates: Gates { calls: 50, ..Gates::default() }, forced: false }
}

pub(super) fn ready(for_ms: u64, calls: u64, traps: u64, p99_ms: f64) -> (Runs, Figures) {
    (Runs::Ready { for_ms }, Figures { calls, traps, p50_ms: 0.0, p99_ms })
}

pub(super) fn report(number: u8, versions: &[(Revision, (Runs, Figures))]) -> Report {
    Report {
        node: id(number),
        chosen: true,
        tells: true,
        asked_ms: 0,
        old_ms: 0,
        queued: false,
        lost: 0,
        lately: Figures::default(),
        versions: versions.iter().cloned().collect(),
    }
}

/// Hosts 1 to 3 with the old version, and on the first whatever `tried` is.
pub(super) fn with_canary(tried: (Runs, Figures)) -> Vec<Report> {
    let had = || (old(), ready(900_000, 1_000, 1, 4.0));
    vec![report(1, &[had(), (new(), tried)]), report(2, &[had()]), report(3, &[had()])]
}

pub(super) fn stepped(reports: &[Report], recorded: Option<&Verdict>) -> Step {
    step_of(&rollout(), reports, recorded)
}

fn step_of(rollout: &Rollout, reports: &[Report], recorded: Option<&Verdict>) -> Step {
    step(rollout, reports, recorded, |node| ((), 10 - node.0[0]))
}

pub(super) fn new_on(step: &Step) -> Vec<u8> {
    step.run.iter().filter(|(_, revision)| **revision == Some(new())).map(|(node, _)| node.0[0]).collect()
}

#[test]
fn one_replica_tries_it_first_and_stays_the_one() {
    let had = |number| report(number, &[(old(), ready(900_000, 1_000, 0, 4.0))]);
    let begun = stepped(&[had(1), had(2), had(3)], None);
    assert_eq!((new_on(&begun), begun.record), (vec![3], None), "the first by rank");
    let goes_on = stepped(&with_canary(ready(2_000, 10, 0, 4.0)), None);
    assert_eq!(new_on(&goes_on), [1], "who has begun, whatever the rank");
    assert_eq!(
        goes_on.stage,
        Stage::Canary { node: id(1), calls: 10, remaining_ms: 3_000, latest_ms: 28_000, p99_us: Some((4_000, 4_000)) }
    );
}

#[test]
fn a_canary_that_is_no_worse_is_followed_by_as_many_at_once_as_serve_it() {
    let passed = stepped(&with_canary(ready(5_000, 80, 0, 5.0)), None);
    assert_eq!(passed.record, Some((id(1), Verdict::Promoted)));
    assert_eq!((&passed.stage, new_on(&passed)), (&Stage::Following { done: 1, of: 3, behind: vec![] }, vec![1, 3]));

    let mut reports = with_canary(ready(7_000, 90, 0, 5.0));
    reports[2].versions.insert(new(), (Runs::Unready, Figures::default()));
    assert_eq!(new_on(&stepped(&reports, Some(&Verdict::Promoted))), [1, 3], "nobody else before it is ready");
    let serve = |number| report(number, &[(new(), ready(1, 0, 0, 0.0))]);
    let had = |number| report(number, &[(old(), ready(1, 0, 0, 0.0))]);
    let six: Vec<Report> = (1..=2).map(serve).chain((3..=6).map(had)).collect();
    assert_eq!(new_on(&stepped(&six, Some(&Verdict::Promoted))), [1, 2, 5, 6]);
}

#[test]
fn it_is_over_when_all_have_served_it_for_a_while() {
    let all = |for_ms| (1..=3).map(|number| report(number, &[(new(), ready(for_ms, 0, 0, 0.0))])).collect::<Vec<_>>();
    let early = stepped(&all(SOAK_MS - 1), Some(&Verdict::Promoted));
    assert_eq!((early.stage, early.record), (Stage::Following { done: 3, of: 3, behind: vec![] }, None));
    let over = stepped(&all(SOAK_MS), Some(&Verdict::Promoted));
    assert_eq!(over.record, Some((id(3), Verdict::Completed)));
    let worse_later = with_canary(ready(9_000, 100, 100, 4.0));
    assert_eq!(stepped(&worse_later, Some(&Verdict::Completed)).stage, Stage::Done, "what was completed is not judged");
}

#[test]
fn a_canary_needs_its_time_and_its_calls_or_none_or_much_more_time() {
    let passes = |for_ms, calls| stepped(&with_canary(ready(for_ms, calls, 0, 4.0)), None).record.is_some();
    assert!(!passes(4_999, 5_000));
    assert!(!passes(5_000, 49) && passes(5_000, 50));
    assert!(!passes(29_999, 1) && passes(30_000, 1));
    assert!(!passes(4_999, 0) && passes(5_000, 0), "whom nobody calls");
}

#[test]
fn what_is_worse_is_rolled_back_at_once_with_its_reason_and_for_good() {
    let check = |tried: (Runs, Figures), message: &str| {
        let back = stepped(&with_canary(tried), None);
        let Some((recorder, verdict @ Verdict::RolledBack { reason })) = &back.record else { panic!("{back:?}") };
        assert_eq!((*recorder, reason.as_str(), new_on(&back)), (id(1), message, vec![]));
        // The reports are gone, the verdict is not.
        let later: Vec<Report> = (1..=3).map(|number| report(number, &[(old(), ready(9, 0, 0, 0.0))])).collect();
        let later = stepped(&later, Some(verdict));
        assert_eq!((later.stage, later.record), (Stage::RolledBack { reason: reason.clone() }, None));
        assert!(later.run.values().all(|revision| *revision == Some(old())));
    };
    check(ready(1_000, 20, 3, 4.0), "3 of 20 calls of the new version failed, 3 of 3000 of the old one");
    check(ready(1_000, 600, 0, 6.1), "the new version's p99 is 6.1 ms, the old one's 4.0 ms");
    let failed = Runs::Failed { reason: "no import `x`".to_owned(), passing: false };
    check((failed, Figures::default()), "the new version does not start: no import `x`");
}

#[test]
fn one_that_fails_on_its_way_takes_all_back() {
    let mut reports = with_canary(ready(7_000, 900, 0, 5.0));
    reports[1].versions.insert(new(), ready(1_000, 100, 40, 5.0));
    let back = stepped(&reports, Some(&Verdict::Promoted));
    assert!(matches!(back.stage, Stage::RolledBack { .. }) && new_on(&back).is_empty(), "{back:?}");
}

#[test]
fn a_canary_that_is_lost_is_followed_by_another() {
    let begun = with_canary(ready(3_000, 10, 0, 4.0));
    let left = stepped(&begun[1..], None);
    assert_eq!((new_on(&left), left.record), (vec![3], None));
}

#[test]
fn a_version_whose_canary_is_lost_is_tried_by_another_and_after_two_no_more() {
    let lost = |lost: &[(u8, u32)], recorded| {
        let mut reports = with_canary(ready(3_000, 10, 0, 4.0));
        reports[0].versions.insert(new(), (Runs::Ready { for_ms: 9 }, Figures::default()));
        for (host, lost) in lost {
            reports.iter_mut().filter(|report| report.node == id(*host)).for_each(|report| report.lost = *lost);
        }
        // One of whom nothing else is known.
        let gone = lost.iter().filter(|(host, _)| *host > 3);
        reports.extend(gone.map(|(host, lost)| Report { lost: *lost, ..Report::of_absent(id(*host)) }));
        match stepped(&reports, recorded).stage {
            Stage::Canary { node, .. } => node.0[0].to_string(),
            Stage::RolledBack { reason } => reason,
            other => format!("{other:?}"),
        }
    };
    let back = "2 times a host was lost while it tried the new version";
    assert_eq!(lost(&[], None), "1");
    assert_eq!(lost(&[(1, 1)], None), "3", "it is back, serves, and is not tried again while others can");
    assert_eq!(lost(&[(4, 1)], None), "1");
    assert_eq!((lost(&[(1, 2)], None), lost(&[(1, 1), (4, 1)], None)), (back.to_owned(), back.to_owned()));
    assert!(lost(&[(1, 1), (4, 1)], Some(&Verdict::Promoted)).starts_with("Following"), "no longer a trial");
}

#[test]
fn of_two_that_have_begun_the_canary_is_the_one_that_serves_whatever_rates_do() {
    let canary = |reports: &[Report], first: u8| {
        let rank = |node: &NodeId| (node.0[0] != first, node.0[0]);
        match step(&rollout(), reports, None, rank).stage {
            Stage::Canary { node, .. } => node.0[0],
            other => panic!("{other:?}"),
        }
    };
    let none = [report(1, &[]), report(2, &[]), report(3, &[])];
    assert_eq!((canary(&none, 2), canary(&none, 3)), (2, 3), "where calls enter, while nobody has begun");
    let on = |number, runs: &Runs| report(number, &[(new(), (runs.clone(), Figures::default()))]);
    let (serves, starts) = (Runs::Ready { for_ms: 9 }, Runs::Unready);
    let both = |one: &Runs, other: &Runs| [on(1, one), on(2, other), report(3, &[])];
    for first in 1..=3 {
        assert_eq!(canary(&both(&starts, &serves), first), 2, "whatever the rates");
        assert_eq!(canary(&both(&Runs::Gone, &starts), first), 2);
        assert_eq!(canary(&both(&serves, &serves), first), 1, "and then what does not change");
    }
}

#[test]
fn an_older_agent_runs_it_and_another_records_what_came_of_it() {
    let mut reports: Vec<Report> =
        (1..=3).map(|number| report(number, &[(new(), ready(u64::MAX, 0, 0, 0.0))])).collect();
    reports[2].tells = false;
    assert_eq!(stepped(&reports, None).record, Some((id(2), Verdict::Promoted)), "3 is the first by rank");
    assert_eq!(stepped(&reports, Some(&Verdict::Promoted)).record, Some((id(2), Verdict::Completed)));
}

#[test]
fn an_older_agent_is_no_canary() {
    let mut reports = with_canary(ready(u64::MAX, 0, 0, 0.0));
    reports[0].tells = false;
    let step = stepped(&reports, None);
    assert!(matches!(step.stage, Stage::Canary { node, .. } if node == id(3)), "{:?}", step.stage);
    assert_eq!(step.record, None, "what it runs has shown nothing");
}

#[test]
fn what_is_not_chosen_keeps_what_it_has() {
    let mut reports = with_canary(ready(3_000, 10, 0, 4.0));
    reports[0].chosen = false;
    let step = stepped(&reports, None);
    assert_eq!(new_on(&step), [1, 3], "it serves until it stops, and the canary is one that stays");
    reports[1].chosen = false;
    assert_eq!(stepped(&reports, None).run[&id(2)], Some(old()));
}

#[test]
fn versions_of_two_schemas_never_serve_together() {
    let mut rollout = rollout();
    rollout.to.state_schema = 2;
    let stepped = |reports: &[Report]| step(&rollout, reports, None, |node| ((), node.0[0]));
    let had = |number| report(number, &[(old(), ready(9, 0, 0, 0.0))]);
    let gone = |number| report(number, &[(old(), (Runs::Gone, Figures::default()))]);
    let switching = stepped(&[had(1), gone(2)]);
    assert_eq!(switching.stage, Stage::Switching { old: vec![id(1)] });
    assert!(switching.run.values().all(Option::is_none), "neither until the old one is gone");
    let elsewhere = Report { chosen: false, ..had(3) };
    assert!(stepped(&[gone(1), elsewhere]).run.values().all(Option::is_none), "wherever it is");
    assert_eq!(new_on(&stepped(&[gone(1), gone(2)])), [1, 2]);
    let third = |runs| report(2, &[(Spec::new(Digest([3; 32])).revision(), (runs, Figures::default()))]);
    let waits = stepped(&[gone(1), third(Runs::Unready)]);
    assert_eq!(
        waits.stage,
        Stage::Switching { old: vec![id(2)] },
        "a switch that was not over has left a third version"
    );
    assert!(waits.run.values().all(Option::is_none), "{waits:?}");
    assert_eq!(new_on(&stepped(&[gone(1), third(Runs::Gone)])), [1, 2]);
    let all = report(1, &[(new(), ready(SOAK_MS, 0, 0, 0.0))]);
    assert_eq!(stepped(std::slice::from_ref(&all)).record, Some((id(1), Verdict::Completed)));
    let back = Verdict::RolledBack { reason: "it is forged".to_owned() };
    for verdict in [Verdict::Promoted, Verdict::Completed, back] {
        let told = |reports: &[Report]| step(&rollout, reports, Some(&verdict), |node| ((), node.0[0]));
        assert!(told(&[had(1), gone(2)]).run.values().all(Option::is_none), "{verdict:?}");
        assert_eq!(new_on(&told(&[gone(1), gone(2)])), [1, 2], "{verdict:?}");
    }
    let over = step(&rollout, std::slice::from_ref(&all), Some(&Verdict::Completed), |node| ((), node.0[0]));
    assert_eq!((over.stage, over.record), (Stage::Done, None));
    let traps = report(1, &[(new(), ready(9, 100, 100, 0.0))]);
    assert!(stepped(&[traps]).record.is_none(), "it is not taken back over a schema by itself");
}

#[test]
fn a_switch_is_over_without_a_host_that_cannot_finish_it_once_the_old_version_is_gone() {
    let mut rollout = rollout();
    rollout.to.state_schema = 2;
    let stepped = |reports: &[Report], recorded| step(&rollout, reports, recorded, |node| ((), node.0[0]));
    let serves = report(1, &[(new(), ready(SOAK_MS, 0, 0, 0.0))]);
    let fails =
        report(2, &[(new(), (Runs::Failed { reason: "no disk".to_owned(), passing: true }, Figures::default()))]);
    let hangs = Report { asked_ms: follow::READY_MS_MIN, ..report(2, &[(new(), (Runs::Unready, Figures::default()))]) };
    for behind in [&fails, &hangs] {
        let reports = [serves.clone(), behind.clone()];
        let step = stepped(&reports, None);
        assert_eq!(step.stage, Stage::Following { done: 1, of: 2, behind: vec![id(2)] });
        assert_eq!((step.record, new_on(&stepped(&reports, None))), (Some((id(1), Verdict::Completed)), vec![1, 2]));
        assert_eq!(stepped(&reports, Some(&Verdict::Completed)).stage, Stage::Done);
        let nobody = stepped(std::slice::from_ref(behind), None);
        assert_eq!(nobody.record, None, "where nobody serves it, it is not over");
        let old = report(3, &[(old(), ready(9, 0, 0, 0.0))]);
        let waits = stepped(&[serves.clone(), behind.clone(), old], Some(&Verdict::Completed));
        assert_eq!(
            (waits.stage, waits.record),
            (Stage::Switching { old: vec![id(3)] }, None),
            "whoever has the old one is waited for"
        );
    }
    let starts = report(2, &[(new(), (Runs::Unready, Figures::default()))]);
    assert_eq!(stepped(&[serves, starts], None).record, None, "who has time left is waited for");
}

#[test]
fn a_host_that_does_not_part_with_an_older_schema_is_passed_by_force_alone() {
    let mut rollout = rollout();
    rollout.to.state_schema = 2;
    let holds = |old_ms| Report { old_ms, ..report(2, &[(old(), ready(9, 0, 0, 0.0))]) };
    let stepped = |rollout: &Rollout, holder| {
        let gone = report(1, &[(old(), (Runs::Gone, Figures::default()))]);
        step(rollout, &[gone, holder], None, |node| ((), node.0[0]))
    };
    let waits = Stage::Switching { old: vec![id(2)] };
    assert_eq!(stepped(&rollout, holds(u64::MAX)).stage, waits, "nobody has said that both may serve");
    rollout.forced = true;
    assert_eq!(stepped(&rollout, holds(follow::READY_MS_MIN - 1)).stage, waits, "it has time to stop");
    let step = stepped(&rollout, holds(follow::READY_MS_MIN));
    assert_eq!((new_on(&step), &step.stage), (vec![1, 2], &Stage::Following { done: 0, of: 2, behind: Vec::new() }));
}

#[test]
fn an_older_schema_does_not_get_newer_state() {
    assert_eq!((fence(None, 1), fence(Some(1), 1), fence(Some(1), 2)), (Ok(()), Ok(()), Ok(())));
    let refused = fence(Some(3), 2).unwrap_err();
    assert!(refused.to_string().contains("written by schema 3"), "{refused}");
}

#[test]
fn without_hosts_nothing_happens() {
    for recorded in [None, Some(&Verdict::Promoted)] {
        let step = stepped(&[], recorded);
        assert_eq!((step.run.len(), step.stage, step.record), (0, Stage::Nowhere, None));
    }
}

/// Hosts of which these have been asked for too long, and some of the first serve the new version.
fn with_late(serving: u8, late: &[u8], of: u8) -> Vec<Report> {
    let host = |number| match number {
        number if number <= serving => report(number, &[(new(), ready(7_000, 90, 0, 5.0))]),
        _ => report(number, &[(old(), ready(900_000, 1_000, 0, 4.0))]),
    };
    let with_time = |report: Report| {
        let asked_ms = if late.contains(&report.node.0[0]) { LATE_MS } else { 0 };
        Report { asked_ms, ..report }
    };
    (1..=of).map(host).map(with_time).collect()
}

#[test]
fn a_host_that_does_not_become_ready_is_passed_and_named() {
    let step = stepped(&with_late(1, &[3], 3), Some(&Verdict::Promoted));
    assert_eq!(step.stage, Stage::Following { done: 1, of: 3, behind: vec![id(3)] });
    assert_eq!(new_on(&step), [1, 2, 3], "the next begins, and it goes on trying");
    let mut early = with_late(1, &[3], 3);
    early[2].asked_ms -= 1;
    assert_eq!(new_on(&stepped(&early, Some(&Verdict::Promoted))), [1, 3], "it has a minute");
    let over = stepped(&with_late(2, &[3], 3), Some(&Verdict::Promoted));
    assert_eq!(over.record, Some((id(2), Verdict::Completed)), "all that can serve it do");
    assert_eq!(stepped(&with_late(2, &[], 3), Some(&Verdict::Promoted)).record, None);
    let long = Rollout { gates: Gates { canary_ms: 60_000, ..rollout().gates }, ..rollout() };
    let waits = step_of(&long, &with_late(1, &[3], 3), Some(&Verdict::Promoted));
    assert_eq!(new_on(&waits), [1, 3], "who watches a canary for a minute waits for six");
}

#[test]
fn a_canary_that_does_not_become_ready_is_followed_by_another() {
    let step = stepped(&with_late(0, &[3], 3), None);
    assert_eq!((new_on(&step), step.record), (vec![2, 3], None));
    assert!(matches!(step.stage, Stage::Canary { node, .. } if node == id(2)), "{:?}", step.stage);
}

#[test]
fn a_version_that_becomes_ready_on_fewer_hosts_than_not_is_taken_back() {
    let reason = |reports: &[Report], recorded| match stepped(reports, recorded).stage {
        Stage::RolledBack { reason } => Some(reason),
        _ => None,
    };
    let why = |hosts, of| Some(format!("the new version has not become ready within 60 s on {hosts} of {of} hosts"));
    assert_eq!(reason(&with_late(0, &[1], 1), None), why(1, 1));
    assert_eq!(reason(&with_late(0, &[2, 3], 3), None), why(2, 3));
    assert_eq!(reason(&with_late(1, &[2, 3], 3), Some(&Verdict::Promoted)), why(2, 3));
    assert_eq!(reason(&with_late(2, &[3, 4], 9), Some(&Verdict::Promoted)), None);
}

#[test]
fn what_its_recorder_does_not_record_the_next_in_line_does() {
    let step = stepped(&with_late(3, &[], 4), None);
    assert_eq!((&step.record, &step.deputies), (&Some((id(3), Verdict::Promoted)), &vec![id(2), id(1), id(4)]));
    let who = |due_ms| (1..=5).filter(|host| step.falls_to(&id(*host), due_ms).is_some()).collect::<Vec<u8>>();
    assert_eq!((who(0), who(RECORD_MS - 1), who(RECORD_MS)), (vec![3], vec![3], vec![2, 3]));
    assert_eq!((who(3 * RECORD_MS), who(u64::MAX)), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
}

fn any_runs() -> impl Strategy<Value = (Runs, Figures)> {
    let runs = prop_oneof![
        Just(Runs::Unready),
        (0..40_000_u64).prop_map(|for_ms| Runs::Ready { for_ms }),
        Just(Runs::Gone),
        Just(Runs::Failed { reason: "x".to_owned(), passing: true }),
    ];
    (runs, 0..2_000_u64, 0..20_u64, 0.0..20.0_f64)
        .prop_map(|(runs, calls, traps, p99_ms)| (runs, Figures { calls, traps, p50_ms: p99_ms / 2.0, p99_ms }))
}

fn any_report() -> impl Strategy<Value = Report> {
    (1..9_u8, any::<[bool; 2]>(), proptest::option::of(any_runs()), proptest::option::of(any_runs())).prop_map(
        |(number, [chosen, late], had, tried)| {
            let versions = had.map(|had| (old(), had)).into_iter().chain(tried.map(|tried| (new(), tried)));
            Report {
                node: id(number),
                chosen,
                tells: true,
                asked_ms: if late { LATE_MS } else { 0 },
                old_ms: if late { LATE_MS } else { 0 },
                queued: false,
                lost: 0,
                lately: Figures::default(),
                versions: versions.collect(),
            }
        },
    )
}

fn any_reports() -> impl Strategy<Value = Vec<Report>> {
    proptest::collection::vec(any_report(), 0..8).prop_map(|mut reports| {
        reports.sort_by_key(|report| report.node);
        reports.dedup_by_key(|report| report.node);
        reports
    })
}

proptest! {
    #[test]
    fn the_order_of_reports_changes_nothing(reports in any_reports(), promoted in any::<bool>(), turn in 0..8_usize) {
        let recorded = promoted.then_some(&Verdict::Promoted);
        let mut turned = reports.clone();
        turned.rotate_left(turn.min(reports.len()));
        prop_assert_eq!(stepped(&reports, recorded), stepped(&turned, recorded));
    }

    #[test]
    fn no_more_begin_than_serve_it(reports in any_reports(), promoted in any::<bool>()) {
        let step = stepped(&reports, promoted.then_some(&Verdict::Promoted));
        let chosen = |report: &&Report| report.chosen;
        let serving = reports.iter().filter(chosen).filter(|report| serves(&rollout(), report).is_some()).count();
        let fails = |report: &&Report| matches!(report.versions.get(&new()), Some((Runs::Failed { .. }, _)));
        let passed = reports.iter().filter(chosen).filter(|report| fails(report) || is_late(&rollout(), report)).count();
        let run: Vec<&Report> = reports.iter().filter(chosen).filter(|report| step.run.get(&report.node) == Some(&Some(new()))).collect();
        prop_assert!(run.len() <= serving + serving.max(1) + passed, "{step:?}");
        prop_assert!(promoted || step.record.as_ref().is_some_and(|(_, verdict)| *verdict == Verdict::Promoted) || run.len() <= 1 + passed, "{step:?}");
    }

    #[test]
    fn whatever_else_is_reported_a_verdict_holds(reports in any_reports()) {
        let back = Verdict::RolledBack { reason: "it trapped".to_owned() };
        prop_assert!(stepped(&reports, Some(&back)).run.values().all(|revision| *revision == Some(old())));
        prop_assert!(stepped(&reports, Some(&Verdict::Completed)).run.values().all(|revision| *revision == Some(new())));
    }

    #[test]
    fn two_schemas_are_never_asked_for_at_once(reports in any_reports()) {
        let mut rollout = rollout();
        rollout.to.state_schema = 2;
        let step = step(&rollout, &reports, None, |node| ((), node.0[0]));
        prop_assert!(step.run.values().all(|revision| *revision != Some(old())), "{step:?}");
        let old_runs = reports.iter().any(|report| matches!(report.versions.get(&old()), Some((Runs::Ready { .. } | Runs::Unready, _))));
        prop_assert!(!old_runs || step.run.values().all(Option::is_none), "{step:?}");
    }
}
