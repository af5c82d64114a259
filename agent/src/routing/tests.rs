mod shedding;

use super::breaker::{FAILURES_MAX, OPEN_MS_MAX, OPEN_MS_MIN, State};
use super::budget::RetryBudget;
use super::sim::{Race, race};
use super::*;

fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn target(number: u8) -> Target {
    Target { same_region: true, rtt_ms: Some(1.0), ..Target::new(id(number)) }
}

fn targets(count: u8) -> Vec<Target> {
    (1..=count).map(target).collect()
}

fn picks(router: &mut Router, targets: &[Target], times: usize) -> Vec<u8> {
    (0..times).filter_map(|_| router.pick(targets, Call::default(), &[], 0)).map(|node| node.0[0]).collect()
}

fn session(key: &str) -> Call<'_> {
    Call { caller: None, session: Some(key) }
}

#[test]
fn power_of_two_choices_keeps_the_tail_short_where_round_robin_does_not() {
    println!("{:24}{:>10}{:>10}{:>8}{:>8}", "strategy", "p50 ms", "p99 ms", "slow", "moved");
    let fared = |routing: Routing| {
        let fared = race(&Race::default(), routing);
        let (slow, moved) = (fared.slow_share * 100.0, fared.moved_share * 100.0);
        println!("{:24}{:>10.2}{:>10.2}{slow:>7.1}%{moved:>7.1}%", routing.name(), fared.p50_ms, fared.p99_ms);
        fared
    };
    let all: Vec<_> = Routing::ALL.into_iter().map(|routing| (routing, fared(routing))).collect();
    let of = |wanted: Routing| all.iter().find(|(routing, _)| *routing == wanted).unwrap().1;
    let round_robin = of(Routing::RoundRobin).p99_ms;
    for better in [Routing::LocalFirst, Routing::LeastResponseTime, Routing::Performance] {
        assert!(of(better).p99_ms <= 0.3 * round_robin, "{better}: {:?} against {round_robin}", of(better));
    }
    assert!(of(Routing::LeastConnections).p99_ms < round_robin && of(Routing::Session).p99_ms < round_robin);
    assert!(of(Routing::CallerHash).moved_share.abs() < 1e-9);
}

#[test]
fn what_runs_here_is_asked_here_and_else_in_the_own_region() {
    let mut router = Router::new(Routing::LocalFirst, 1);
    let mut all = targets(4);
    all[2].is_here = true;
    assert_eq!(picks(&mut router, &all, 3), [3, 3, 3]);
    all[2].is_here = false;
    all[0].same_region = false;
    assert!(!picks(&mut router, &all, 50).contains(&1));
    let abroad: Vec<Target> = all.iter().map(|target| Target { same_region: false, ..*target }).collect();
    assert!(picks(&mut router, &abroad, 50).contains(&1), "rather abroad than nowhere");
}

#[test]
fn who_is_suspected_or_overloaded_is_asked_last() {
    for routing in Routing::ALL {
        let mut router = Router::new(routing, 1);
        let mut all = targets(3);
        (all[0].suspect, all[2].overloaded) = (true, true);
        assert_eq!(picks(&mut router, &all, 4), [2, 2, 2, 2], "{routing}");
        let (one, three) = (all[0], Target { draining: true, overloaded: false, ..all[2] });
        assert_eq!(picks(&mut router, &[one, three], 2), [3, 3], "{routing}: who drains still answers");
        let busy = Target { overloaded: true, ..all[1] };
        assert_eq!(picks(&mut router, &[one, busy, three], 2), [2, 2], "{routing}: who is busy stays");
        assert_eq!(picks(&mut router, &all[..1], 1), [1], "{routing}: the last resort");
        assert_eq!(router.pick(&all, Call::default(), &[id(1), id(2), id(3)], 0), None);
        assert_eq!(router.pick(&[], Call::default(), &[], 0), None);
    }
}

#[test]
fn round_robin_takes_turns_and_weights_are_kept_smoothly() {
    let mut all = targets(3);
    let turns = picks(&mut Router::new(Routing::RoundRobin, 1), &all, 6);
    assert_eq!(turns[..3], turns[3..]);
    (all[0].weight, all[1].weight, all[2].weight) = (5, 1, 1);
    // The example of the algorithm's author: a a b a c a a.
    assert_eq!(picks(&mut Router::new(Routing::WeightedRoundRobin, 1), &all, 7), [1, 1, 2, 1, 3, 1, 1]);
}

#[test]
fn the_least_of_each_kind_is_chosen() {
    let mut all = targets(3);
    for (target, km) in all.iter_mut().zip([700.0, 20.0, 300.0]) {
        target.distance_km = Some(km);
    }
    assert_eq!(picks(&mut Router::new(Routing::Nearest, 1), &all, 2), [2, 2]);

    let mut router = Router::new(Routing::LeastConnections, 1);
    router.begin(id(1), 0);
    router.begin(id(2), 0);
    assert_eq!(picks(&mut router, &all, 2), [3, 3]);

    for (routing, rounds) in [(Routing::LeastResponseTime, 1), (Routing::Performance, 20)] {
        let mut router = Router::new(routing, 1);
        for (number, took_ms) in [(1, 9.0), (2, 3.0), (3, 30.0)] {
            router.begin(id(number), 0);
            router.end(id(number), Ended::Answered, took_ms, 0);
        }
        let picked = picks(&mut router, &all, rounds);
        assert!(!picked.contains(&3) && picked.contains(&2), "{routing}: {picked:?}");
    }
}

#[test]
fn a_session_keeps_its_instance_and_a_lost_one_moves_only_its_own() {
    let keys: Vec<String> = (0..1_000).map(|number| format!("player-{number}")).collect();
    let mut router = Router::new(Routing::Session, 1);
    let mut owners = |targets: &[Target]| -> Vec<NodeId> {
        keys.iter().map(|key| router.pick(targets, session(key), &[], 0).unwrap()).collect()
    };
    let all = targets(5);
    let before = owners(&all);
    assert_eq!(owners(&all), before);
    let after = owners(&all[1..]);
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == id(1), "a key moved though its instance stayed");
    }
    let of = |number| before.iter().filter(|owner| **owner == id(number)).count();
    assert!((1..=5).all(|number| (130..=270).contains(&of(number))), "{:?}", (1..=5).map(of).collect::<Vec<_>>());

    let mut heavy = all;
    heavy[0].weight = 4;
    let owned = owners(&heavy).iter().filter(|owner| **owner == id(1)).count();
    assert!((400..=600).contains(&owned), "half of the weight: {owned} of 1000");
}

/// Hosts at full load, this one among them or not: what an operator has set goes over all of them, wherever the call comes in.
#[test]
fn a_strategy_that_was_set_is_followed_under_load_and_where_an_instance_is_here() {
    let mut all = targets(3);
    all[0].is_here = true;
    (all[1].saturated, all[2].saturated) = (true, true);
    assert_eq!(picks(&mut Router::new(Routing::LocalFirst, 1), &all, 3), [1, 1, 1]);
    all[0].saturated = true;
    all[2].saturated = false;
    assert_eq!(
        picks(&mut Router::new(Routing::LocalFirst, 1), &all, 3),
        [3, 3, 3],
        "the ordinary choice spares who is spent"
    );
    for routing in [Routing::RoundRobin, Routing::WeightedRoundRobin] {
        let mut turns = picks(&mut Router::new(routing, 1), &all, 6);
        turns.sort_unstable();
        assert_eq!(turns, [1, 1, 2, 2, 3, 3], "{routing}");
    }
    for routing in [Routing::Session, Routing::CallerHash] {
        let mut router = Router::new(routing, 1);
        let keys: Vec<String> = (0..300).map(|number| format!("player-{number}")).collect();
        let mut owners = |all: &[Target]| -> Vec<u8> {
            let caller = |key| Call { caller: Some("this host"), session: Some(key) };
            keys.iter().map(|key| router.pick(all, caller(key), &[], 0).unwrap().0[0]).collect()
        };
        let loaded = owners(&all);
        assert!(
            (1..=3).all(|number| loaded.iter().filter(|owner| **owner == number).count() > 50),
            "{routing}: {loaded:?}"
        );
        all.iter_mut().for_each(|target| target.saturated = !target.saturated);
        assert_eq!(owners(&all), loaded, "{routing}: no session moves with the load");
    }
}

/// An instance that says that it has too much to do gives its sessions away, each to one other, and has them back.
#[test]
fn only_the_sessions_of_a_full_instance_move_and_they_come_back() {
    let (mut all, mut router) = (targets(4), Router::new(Routing::Session, 1));
    let keys: Vec<String> = (0..400).map(|number| format!("player-{number}")).collect();
    let mut owners = |all: &[Target]| -> Vec<NodeId> {
        keys.iter().map(|key| router.pick(all, session(key), &[], 0).unwrap()).collect()
    };
    let before = owners(&all);
    all[1].overloaded = true;
    let meanwhile = owners(&all);
    assert!(!meanwhile.contains(&id(2)) && meanwhile == owners(&all));
    assert!(before.iter().zip(&meanwhile).all(|(before, now)| before == now || *before == id(2)));
    all[1].overloaded = false;
    assert_eq!(owners(&all), before);
    all.iter_mut().for_each(|target| target.overloaded = true);
    assert_eq!(owners(&all), before, "where all are full, each session stays");
}

#[test]
fn a_call_without_a_session_is_answered_here() {
    let mut all = targets(3);
    all[2].is_here = true;
    let mut router = Router::new(Routing::Session, 1);
    let without = Call { caller: Some("this host"), session: None };
    assert!((0..20).all(|_| router.pick(&all, without, &[], 0) == Some(id(3))));
}

#[test]
fn a_popular_session_spills_over_before_it_drowns_its_instance() {
    let (all, mut router) = (targets(4), Router::new(Routing::Session, 1));
    let mut calls = BTreeMap::<NodeId, u32>::new();
    for _ in 0..100 {
        let node = router.pick(&all, session("everybody"), &[], 0).unwrap();
        router.begin(node, 0);
        *calls.entry(node).or_default() += 1;
    }
    // A quarter of the calls, and a quarter more.
    assert!(calls.values().all(|count| *count <= 32), "{calls:?}");
}

#[test]
fn a_breaker_opens_probes_and_closes() {
    let (all, mut router) = (targets(2), Router::new(Routing::RoundRobin, 1));
    let fail = |router: &mut Router, ended: Ended, now_ms: u64| {
        router.begin(id(1), now_ms);
        router.end(id(1), ended, 1.0, now_ms);
    };
    (1..FAILURES_MAX).for_each(|_| fail(&mut router, Ended::Failed, 0));
    fail(&mut router, Ended::Busy, 0);
    assert_eq!(router.breaker(&id(1)).unwrap().state(), State::Closed);
    fail(&mut router, Ended::Failed, 0);
    assert_eq!(router.breaker(&id(1)).unwrap().state(), State::Open { until_ms: OPEN_MS_MIN });
    assert_eq!(picks(&mut router, &all, 4), [2, 2, 2, 2]);
    assert_eq!(router.pick(&all, Call::default(), &[id(2)], OPEN_MS_MIN - 1), None);

    // One probe at a time; each that fails doubles the wait, up to a bound.
    let mut now_ms = OPEN_MS_MIN;
    for wait_ms in [2_000, 4_000, 8_000, 16_000, OPEN_MS_MAX, OPEN_MS_MAX] {
        assert_eq!(router.pick(&all, Call::default(), &[id(2)], now_ms), Some(id(1)));
        router.begin(id(1), now_ms);
        assert_eq!(router.pick(&all, Call::default(), &[id(2)], now_ms), None);
        router.end(id(1), Ended::Failed, 1.0, now_ms);
        assert_eq!(router.breaker(&id(1)).unwrap().state(), State::Open { until_ms: now_ms + wait_ms });
        now_ms += wait_ms;
    }
    fail(&mut router, Ended::Answered, now_ms);
    assert!(matches!(router.breaker(&id(1)).unwrap().state(), State::HalfOpen { succeeded: 1, .. }));
    fail(&mut router, Ended::Answered, now_ms);
    assert_eq!(router.breaker(&id(1)).unwrap().state(), State::Closed);
    assert_eq!(router.breaker(&id(1)).unwrap().opened(), 7);
}

#[test]
fn half_of_the_calls_failing_opens_a_breaker_too() {
    let mut router = Router::new(Routing::RoundRobin, 1);
    for number in 0..20 {
        router.begin(id(1), number);
        router.end(id(1), if number % 2 == 0 { Ended::Answered } else { Ended::Failed }, 1.0, number);
    }
    assert!(matches!(router.breaker(&id(1)).unwrap().state(), State::Open { .. }));
}

#[test]
fn retries_are_a_tenth_of_the_calls_and_a_few() {
    let mut budget = RetryBudget::default();
    let retries = |budget: &mut RetryBudget, now_ms| (0..1_000).filter(|_| budget.withdraw(now_ms)).count();
    assert_eq!(retries(&mut budget, 0), 1);
    (0..100).for_each(|_| budget.deposit(0));
    assert!((9..=10).contains(&retries(&mut budget, 0)));
    assert_eq!(retries(&mut budget, 3_000), 3, "one a second for whoever calls rarely");
    (0..10_000).for_each(|_| budget.deposit(3_000));
    assert_eq!(retries(&mut budget, 3_000), 50, "old calm does not pay for a storm");
}

#[test]
fn distances_are_along_the_great_circle() {
    let (frankfurt, tokyo) = ((50.11, 8.68), (35.68, 139.69));
    assert!((distance_km(frankfurt, tokyo) - 9_330.0).abs() < 50.0, "{}", distance_km(frankfurt, tokyo));
    assert!(distance_km(tokyo, tokyo).abs() < 1e-9 && distance_km((0.0, 0.0), (0.0, 180.0)) > 20_000.0);
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut router = Router::new(Routing::LocalFirst, 1);
    router.begin(id(1), 0);
    router.begin(id(2), 0);
    router.end(id(2), Ended::Answered, 1.0, 0);
    router.retain(|_| false);
    assert!(router.measured(&id(1)).is_some_and(|measured| measured.outstanding() == 1), "a call is under way");
    assert!(router.measured(&id(2)).is_none());
}

#[test]
fn a_call_that_nobody_waits_for_any_more_leaves_no_trace() {
    let mut router = Router::new(Routing::LocalFirst, 1);
    for _ in 0..2 * FAILURES_MAX {
        router.begin(id(1), 0);
        router.end(id(1), Ended::Abandoned, 900.0, 0);
    }
    let measured = router.measured(&id(1)).expect("it was called");
    assert_eq!((measured.outstanding(), measured.mean_ms()), (0, None));
    assert!((measured.success() - 1.0).abs() < 1e-9);
    assert_eq!(router.breaker(&id(1)).map(Breaker::state), Some(State::Closed));
}

#[test]
fn a_probe_that_nobody_waits_for_any_more_makes_room_for_the_next() {
    let mut router = Router::new(Routing::LocalFirst, 1);
    for _ in 0..FAILURES_MAX {
        router.begin(id(1), 0);
        router.end(id(1), Ended::Failed, 1.0, 0);
    }
    router.begin(id(1), OPEN_MS_MIN);
    assert!(!router.breaker(&id(1)).is_some_and(|breaker| breaker.admits(OPEN_MS_MIN)), "one at a time");
    router.end(id(1), Ended::Abandoned, 1.0, OPEN_MS_MIN);
    assert!(router.breaker(&id(1)).is_some_and(|breaker| breaker.admits(OPEN_MS_MIN)));
}

#[test]
fn whose_guest_breaks_down_is_less_successful_and_neither_quick_nor_left_alone() {
    let mut router = Router::new(Routing::Performance, 1);
    for _ in 0..2 * FAILURES_MAX {
        router.begin(id(1), 0);
        router.end(id(1), Ended::Broke, 0.01, 0);
    }
    let measured = router.measured(&id(1)).expect("it was called");
    assert!(measured.success() < 0.7 && measured.mean_ms().is_none(), "{measured:?}");
    assert_eq!(router.breaker(&id(1)).map(Breaker::state), Some(State::Closed));
}

#[test]
fn to_fail_at_once_makes_nobody_quick() {
    let mut router = Router::new(Routing::LeastResponseTime, 1);
    for (ended, took_ms) in [(Ended::Answered, 10.0), (Ended::Failed, 0.0), (Ended::Failed, 0.0)] {
        router.begin(id(1), 0);
        router.end(id(1), ended, took_ms, 0);
    }
    assert!(router.measured(&id(1)).and_then(Measured::mean_ms).is_some_and(|mean_ms| mean_ms >= 10.0));
}

#[test]
fn who_is_given_up_again_and_again_and_answers_nobody_is_not_asked() {
    let opened = |others_are_answered: bool, waited_ms: f64| {
        let mut router = Router::new(Routing::RoundRobin, 1);
        router.begin(id(1), 0);
        router.end(id(1), Ended::Answered, 5.0, 0);
        for round in 1..=10_u64 {
            let now_ms = round * 2_000;
            router.begin(id(1), now_ms - 1_500);
            if others_are_answered {
                router.begin(id(1), now_ms - 500);
                router.end(id(1), Ended::Busy, 1.0, now_ms - 500);
            }
            router.give_up(id(1), waited_ms, now_ms);
        }
        router.breaker(&id(1)).is_some_and(|breaker| breaker.opened() > 0)
    };
    assert!(opened(false, 1_500.0));
    assert!(!opened(true, 1_500.0), "it is heard: what was asked may just take long");
    assert!(!opened(false, 30.0), "whoever leaves so soon says nothing of it");
}

#[test]
fn who_claims_thousands_of_cores_gets_no_more_than_eight_times_its_part() {
    let weighed = |weights: &[u32]| -> Vec<u32> {
        let mut all = targets(u8::try_from(weights.len()).unwrap());
        all.iter_mut().zip(weights).for_each(|(target, weight)| target.weight = *weight);
        believe_weights(&mut all);
        all.iter().map(|target| target.weight).collect()
    };
    assert_eq!(weighed(&[4, 4_096, 4, 2]), [4, 32, 4, 2]);
    assert_eq!(weighed(&[4, 4_096]), [4, 32]);
    assert_eq!(weighed(&[64, 8, 8, 1]), [64, 8, 8, 1], "a large host among small ones is believed");
    assert!(weighed(&[]).is_empty());
}

#[test]
fn who_was_slow_once_is_tried_again_by_the_least_response_time() {
    let (mut router, all) = (Router::new(Routing::LeastResponseTime, 1), targets(2));
    let mut ask = |now_ms: u64, slow_ms: f64| {
        let node = router.pick(&all, Call::default(), &[], now_ms).unwrap();
        router.begin(node, now_ms);
        let during = router.pick(&all, Call::default(), &[], now_ms).unwrap();
        router.end(node, Ended::Answered, if node == id(1) { slow_ms } else { 5.0 }, now_ms);
        (node == id(1), node == during && node == id(1))
    };
    ask(0, 500.0);
    let slow: Vec<_> = (1..100).map(|second| ask(second * 1_000, 500.0)).filter(|(is_slow, _)| *is_slow).collect();
    assert!((1..=4).contains(&slow.len()), "now and then: {}", slow.len());
    assert!(slow.iter().all(|(_, twice)| !twice), "by one call at a time");
    let well = (100..200).filter(|second| ask(second * 1_000, 1.0).0).count();
    assert!(well > 40, "once it is well again it has its part: {well}");
}
