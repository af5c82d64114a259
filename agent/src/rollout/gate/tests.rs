//! What condemns a new version, and what does not.

use super::super::tests::{id, new, new_on, old, ready, report, stepped, with_canary};
use super::super::{Stage, Verdict};
use super::*;

/// Calls of which none failed.
fn calls(calls: u64, p50_ms: f64, p99_ms: f64) -> Figures {
    Figures { calls, traps: 0, p50_ms, p99_ms }
}

fn tried(figures: Figures) -> (Runs, Figures) {
    (Runs::Ready { for_ms: 1_000 }, figures)
}

/// Why these are taken back, if they are.
fn reason(reports: &[Report]) -> Option<String> {
    match stepped(reports, None).stage {
        Stage::RolledBack { reason } => Some(reason),
        _ => None,
    }
}

#[test]
fn two_traps_or_few_calls_condemn_nobody() {
    for tried in
        [ready(1_000, 2, 2, 4.0), ready(1_000, 60, 0, 400.0), ready(1_000, 600, 0, 5.9), ready(1_000, 600, 0, f64::NAN)]
    {
        assert!(matches!(stepped(&with_canary(tried), None).stage, Stage::Canary { .. }));
    }
}

#[test]
fn latency_is_held_against_the_same_host_where_that_is_known() {
    let mut reports = with_canary(ready(1_000, 600, 0, 6.1));
    reports[0].versions.insert(old(), ready(900_000, 1_000, 0, 6.0));
    assert!(matches!(stepped(&reports, None).stage, Stage::Canary { .. }), "a slow host is slow with either");
    reports[0].versions.remove(&old());
    assert!(matches!(stepped(&reports, None).stage, Stage::RolledBack { .. }));
}

#[test]
fn what_may_lie_in_one_host_condemns_nothing_that_others_serve() {
    let failed = |passing| (Runs::Failed { reason: "the disk is full".to_owned(), passing }, Figures::default());
    let is_back =
        |reports: &[Report]| matches!(stepped(reports, Some(&Verdict::Promoted)).stage, Stage::RolledBack { .. });
    let mut reports = with_canary(ready(7_000, 90, 0, 5.0));
    reports[1].versions.insert(new(), failed(true));
    assert!(!is_back(&reports), "one host with a full disk");
    let step = stepped(&reports, Some(&Verdict::Promoted));
    assert_eq!(new_on(&step), [1, 2, 3], "it goes on trying, and holds nobody up");
    assert_eq!(step.stage, Stage::Following { done: 1, of: 3, behind: vec![id(2)] });
    reports[2].versions.insert(new(), failed(true));
    assert!(is_back(&reports), "two say the same");
    reports[2].versions.remove(&new());
    reports[1].versions.insert(new(), failed(false));
    assert!(is_back(&reports), "it lies in the version");
    assert!(is_back(&with_canary(failed(true))), "the canary's own");
}

#[test]
fn with_few_calls_medians_are_compared_coarsely() {
    let with = |old_calls: u64, new: Figures| {
        let mut reports = with_canary(tried(new));
        for report in &mut reports {
            report.versions.insert(old(), tried(calls(old_calls, 2.0, 4.0)));
        }
        reason(&reports)
    };
    let why = |ms: &str| Some(format!("the new version's p50 is {ms} ms, the old one's 2.0 ms"));
    assert_eq!(with(1_000, calls(20, 6.1, 90.0)), why("6.1"));
    assert_eq!(with(20, calls(9_000, 6.1, 90.0)), why("6.1"), "nor does the old one have to be called often");
    assert_eq!(with(1_000, calls(20, 5.9, 90.0)), None, "coarsely");
    assert_eq!(with(1_000, calls(19, 50.0, 90.0)), None);
    assert_eq!(with(19, calls(1_000, 50.0, 90.0)), None);
    assert_eq!(with(500, calls(500, 50.0, 4.0)), None, "and with many the slow ones");
    let quick = |new| {
        let mut reports = with_canary(tried(calls(20, new, 0.1)));
        reports.iter_mut().for_each(|report| {
            report.versions.insert(old(), tried(calls(20, 0.1, 0.2)));
        });
        reason(&reports)
    };
    assert_eq!((quick(1.0), quick(1.2).is_some()), (None, true), "the ratio of two small figures says nothing");
}

#[test]
fn what_a_host_did_long_ago_is_set_right_by_how_others_have_fared_since() {
    // Host 1 has never been called since the deployment but with the new version; hosts 2 and 3 go on with the old one.
    let with = |lately_ms: f64, new_ms: f64| {
        let mut reports = with_canary(tried(calls(600, 1.0, new_ms)));
        reports[0].versions.insert(old(), tried(calls(90_000, 1.0, 8.0)));
        for report in &mut reports[1..] {
            report.lately = calls(600, 1.0, lately_ms);
        }
        reason(&reports).is_some()
    };
    // On the others it was 4 ms.
    assert_eq!((with(4.0, 11.9), with(4.0, 12.1)), (false, true), "as it was");
    assert_eq!((with(2.0, 5.9), with(2.0, 6.1)), (false, true), "the old one is twice as quick as it was");
    assert_eq!((with(8.0, 23.9), with(8.0, 24.1)), (false, true), "or half as quick");
    let mut reports = with_canary(tried(calls(600, 1.0, 6.1)));
    reports[0].versions.insert(old(), tried(calls(90_000, 1.0, 80.0)));
    reports[0].lately = calls(500, 1.0, 4.0);
    assert!(reason(&reports).is_some(), "what it did since the deployment counts first");
}

#[test]
fn failures_of_long_ago_spare_nothing_where_there_are_newer_figures() {
    let with = |lately: Figures| {
        let mut reports =
            with_canary((Runs::Ready { for_ms: 1_000 }, Figures { calls: 100, traps: 10, ..calls(0, 0.0, 0.0) }));
        for report in &mut reports {
            let before = Figures { calls: 1_000, traps: 300, ..Figures::default() };
            report.versions.insert(old(), tried(before));
            report.lately = lately;
        }
        reason(&reports).is_some()
    };
    assert!(!with(calls(499, 0.0, 0.0)) && with(calls(500, 0.0, 0.0)));
}

#[test]
fn one_host_that_lies_does_not_switch_the_gate_off() {
    let most = 1_000_000_000_000;
    let lies = [
        ("it always failed", Figures { calls: most, traps: most, p50_ms: 60_000.0, p99_ms: 60_000.0 }, None),
        ("the new one is fine", calls(1_000, 4.0, 4.0), Some(calls(most, 0.1, 0.1))),
    ];
    let bad =
        [Figures { calls: 100, traps: 20, p50_ms: 4.0, p99_ms: 4.0 }, calls(600, 4.0, 7.0), calls(100, 13.0, 13.0)];
    for ((lie, old_lie, new_lie), bad) in lies.iter().flat_map(|lie| bad.map(|bad| (lie, bad))) {
        let mut reports: Vec<Report> =
            (1..=4).map(|number| report(number, &[(old(), tried(calls(1_000, 4.0, 4.0)))])).collect();
        reports[0].versions.insert(new(), tried(bad));
        reports[3].versions.insert(old(), tried(*old_lie));
        reports[3].lately = *old_lie;
        reports[3].versions.extend(new_lie.map(|lie| (new(), tried(lie))));
        assert!(reason(&reports).is_some(), "{lie}: {bad:?}");
    }
}

#[test]
fn a_few_failures_on_one_host_of_many_are_chance() {
    let with = |traps| {
        let mut reports: Vec<Report> =
            (1..=9).map(|number| report(number, &[(new(), tried(calls(1_000, 1.0, 1.0)))])).collect();
        reports[0].versions.insert(new(), tried(Figures { traps, ..calls(1_000, 1.0, 1.0) }));
        reason(&reports).is_some()
    };
    // One in a hundred may fail.
    assert!(!with(19) && with(20));
}
