use super::*;

const OLD: Digest = Digest([1; 32]);
const NEW: Digest = Digest([2; 32]);

fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn rollout() -> Rollout {
    let version = |digest| Version { digest, state_schema: 1 };
    Rollout { from: version(OLD), to: version(NEW), gates: Gates::default() }
}

fn ready(for_ms: u64, calls: u64, traps: u64, p99_ms: f64) -> (Runs, Figures) {
    (Runs::Ready { for_ms }, Figures { calls, traps, p99_ms })
}

fn report(number: u8, versions: &[(Digest, (Runs, Figures))]) -> Report {
    Report { node: id(number), versions: versions.iter().cloned().collect() }
}

/// Hosts 1 to 3 with the old version, and on the first whatever `new` is.
fn with_canary(new: (Runs, Figures)) -> Vec<Report> {
    let old = || (OLD, ready(900_000, 1_000, 1, 4.0));
    vec![report(1, &[old(), (NEW, new)]), report(2, &[old()]), report(3, &[old()])]
}

fn stepped(reports: &[Report], recorded: Option<&Verdict>) -> Step {
    step(&rollout(), reports, recorded, |node| u64::from(10 - node.0[0]))
}

fn new_on(step: &Step) -> Vec<u8> {
    step.run.iter().filter(|(_, digest)| **digest == Some(NEW)).map(|(node, _)| node.0[0]).collect()
}

#[test]
fn one_replica_tries_it_first_and_stays_the_one() {
    let old = |number| report(number, &[(OLD, ready(900_000, 1_000, 0, 4.0))]);
    let begun = stepped(&[old(1), old(2), old(3)], None);
    assert_eq!((new_on(&begun), begun.record), (vec![3], None), "the first by rank");
    let goes_on = stepped(&with_canary(ready(5_000, 10, 0, 4.0)), None);
    assert_eq!(new_on(&goes_on), [1], "who has begun, whatever the rank");
    assert_eq!(goes_on.stage, Stage::Canary { node: id(1), calls: 10, remaining_ms: 55_000 });
}

#[test]
fn a_canary_that_is_no_worse_is_followed_one_at_a_time() {
    let passed = stepped(&with_canary(ready(60_000, 80, 0, 5.0)), None);
    assert_eq!(passed.record, Some((id(1), Verdict::Promoted)));
    assert_eq!(
        (passed.stage, new_on(&stepped(&with_canary(ready(60_000, 80, 0, 5.0)), Some(&Verdict::Promoted)))),
        (Stage::Following { done: 1, of: 3 }, vec![1, 3])
    );

    let mut reports = with_canary(ready(70_000, 90, 0, 5.0));
    reports[2].versions.insert(NEW, (Runs::Unready, Figures::default()));
    assert_eq!(new_on(&stepped(&reports, Some(&Verdict::Promoted))), [1, 3], "nobody else before it is ready");
    let done: Vec<Report> = (1..=3).map(|number| report(number, &[(NEW, ready(1, 0, 0, 0.0))])).collect();
    assert_eq!(stepped(&done, Some(&Verdict::Promoted)).stage, Stage::Done);
}

#[test]
fn a_canary_needs_its_time_and_its_calls_or_much_more_time() {
    let passes = |for_ms, calls| stepped(&with_canary(ready(for_ms, calls, 0, 4.0)), None).record.is_some();
    assert!(!passes(59_999, 5_000));
    assert!(!passes(60_000, 49) && passes(60_000, 50));
    assert!(!passes(299_999, 0) && passes(300_000, 0));
}

#[test]
fn what_is_worse_is_rolled_back_at_once_with_its_reason_and_for_good() {
    let check = |new: (Runs, Figures), message: &str| {
        let back = stepped(&with_canary(new), None);
        let Some((recorder, verdict @ Verdict::RolledBack { reason })) = &back.record else { panic!("{back:?}") };
        assert_eq!((*recorder, reason.to_string().as_str(), new_on(&back)), (id(1), message, vec![]));
        // The reports are gone, the verdict is not.
        let old: Vec<Report> = (1..=3).map(|number| report(number, &[(OLD, ready(9, 0, 0, 0.0))])).collect();
        let later = stepped(&old, Some(verdict));
        assert_eq!((later.stage, later.record), (Stage::RolledBack { reason: reason.clone() }, None));
        assert!(later.run.values().all(|digest| *digest == Some(OLD)));
    };
    check(ready(1_000, 20, 3, 4.0), "0.150 of the new version's calls trap, 0.001 of the old one's");
    check(ready(1_000, 60, 0, 6.1), "the new version's p99 is 6.1 ms, the old one's 4.0 ms");
    let failed = Runs::Failed { reason: "no import `x`".to_owned() };
    check((failed, Figures::default()), "the new version does not start: no import `x`");
}

#[test]
fn two_traps_or_few_calls_condemn_nobody() {
    for new in
        [ready(1_000, 2, 2, 4.0), ready(1_000, 10, 0, 400.0), ready(1_000, 60, 0, 5.9), ready(1_000, 60, 0, f64::NAN)]
    {
        assert!(matches!(stepped(&with_canary(new), None).stage, Stage::Canary { .. }));
    }
}

#[test]
fn one_that_fails_on_its_way_takes_all_back() {
    let mut reports = with_canary(ready(70_000, 900, 0, 5.0));
    reports[1].versions.insert(NEW, ready(1_000, 100, 40, 5.0));
    let back = stepped(&reports, Some(&Verdict::Promoted));
    assert!(matches!(back.stage, Stage::RolledBack { .. }) && new_on(&back).is_empty(), "{back:?}");
}

#[test]
fn versions_of_two_schemas_never_serve_together() {
    let mut rollout = rollout();
    rollout.to.state_schema = 2;
    let stepped = |reports: &[Report]| step(&rollout, reports, None, |node| u64::from(node.0[0]));
    let old = |number| report(number, &[(OLD, ready(9, 0, 0, 0.0))]);
    let gone = |number| report(number, &[]);
    let switching = stepped(&[old(1), gone(2)]);
    assert_eq!(switching.stage, Stage::Switching { old: 1 });
    assert!(switching.run.values().all(Option::is_none), "neither until the old one is gone");
    assert_eq!(new_on(&stepped(&[gone(1), gone(2)])), [1, 2]);
    let done = report(1, &[(NEW, ready(9, 0, 0, 0.0))]);
    assert_eq!(stepped(&[done]).stage, Stage::Done);
}

#[test]
fn an_older_schema_does_not_get_newer_state() {
    assert_eq!((fence(None, 1), fence(Some(1), 1), fence(Some(1), 2)), (Ok(()), Ok(()), Ok(())));
    let refused = fence(Some(3), 2).unwrap_err();
    assert!(refused.to_string().contains("written by schema 3"), "{refused}");
}

#[test]
fn without_hosts_nothing_happens() {
    assert_eq!(stepped(&[], None).run.len(), 0);
}
