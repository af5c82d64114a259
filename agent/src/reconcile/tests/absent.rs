//! Hosts that were chosen and do not begin, or get no further.

use super::*;

#[test]
fn a_host_that_takes_it_and_never_begins_is_passed_over() {
    let mut cluster = Cluster::new(2, 1);
    cluster.host(2).load = 0.5;
    // The first host is chosen, and never decides anything.
    let began_ms = cluster.now_ms;
    while cluster.decide(2).is_empty() {
        cluster.now_ms += 1_000;
        assert!(cluster.now_ms - began_ms <= ABSENT_MS_MAX + 1_000, "nobody runs it");
    }
    assert!(cluster.now_ms - began_ms >= ABSENT_MS_MAX, "everybody has some time to begin");
    cluster.put(2, OLD, Phase::Ready);
    cluster.run(120);
    assert_eq!(cluster.running(), [2]);
}

#[test]
fn a_host_that_starts_it_for_ever_is_passed_over_until_it_gets_further() {
    let mut cluster = Cluster::new(2, 1);
    cluster.host(2).load = 0.5;
    let starts = |cluster: &mut Cluster, stage| {
        let starting = Instance { stage: Some(stage), ..Instance::new(OLD, Phase::Starting) };
        cluster.host(1).instances.insert(game(), starting);
    };
    let waits = |cluster: &mut Cluster| {
        let began_ms = cluster.now_ms;
        while cluster.decide(2).is_empty() {
            cluster.now_ms += 1_000;
            assert!(cluster.now_ms - began_ms <= STUCK_MS_MAX + 1_000, "nobody else runs it");
        }
        cluster.now_ms - began_ms
    };
    starts(&mut cluster, Stage::Fetching);
    assert_eq!(cluster.decide(2), []);
    cluster.now_ms += STUCK_MS_MAX / 2;
    starts(&mut cluster, Stage::Compiling);
    assert!(waits(&mut cluster) >= STUCK_MS_MAX, "it had got further");
    // To say that it is back at an earlier step does not help.
    starts(&mut cluster, Stage::Fetching);
    assert_eq!(cluster.decide(2), start(OLD));
    assert_eq!(cluster.decide(1), [], "it goes on for want of another");
    cluster.now_ms += 2 * PASSED_OVER_MS;
    assert_eq!(cluster.decide(2), start(OLD), "it has still got no further");
    // The first that is ready serves.
    cluster.put(1, OLD, Phase::Ready);
    assert_eq!(cluster.decide(2), []);
    starts(&mut cluster, Stage::Fetching);
    assert!(waits(&mut cluster) >= STUCK_MS_MAX, "that is another start");
    cluster.put(2, OLD, Phase::Ready);
    for _ in 0..2 * PASSED_OVER_MS / 1_000 {
        cluster.now_ms += 1_000;
        assert_eq!(cluster.decide(2), [], "what serves is not given up for what does not");
    }
}

#[test]
fn who_may_not_begin_is_not_absent() {
    let mut cluster = Cluster::new(2, 1);
    cluster.held.insert(game());
    for _ in 0..2 * ABSENT_MS_MAX / 1_000 {
        cluster.now_ms += 1_000;
        assert!(cluster.decide(1).is_empty() && cluster.decide(2).is_empty());
    }
    assert!((1..=2).all(|number| cluster.reconcilers[&id(number)].passed_over().is_empty()));
    cluster.held.clear();
    cluster.run(1);
    assert_eq!(cluster.running().len(), 1);
}

#[test]
fn who_was_lost_and_comes_back_is_not_passed_over_any_more() {
    let mut cluster = Cluster::new(2, 1);
    cluster.host(2).load = 0.5;
    while cluster.decide(2).is_empty() {
        cluster.now_ms += 1_000;
    }
    cluster.lose(1, true);
    assert_eq!(cluster.decide(2), start(OLD));
    cluster.lose(1, false);
    assert_eq!(cluster.decide(2), []);
    assert_eq!(cluster.decide(1), start(OLD));
}

#[test]
fn who_waits_to_take_over_is_not_absent() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.host(1).load = 0.8;
    for _ in 0..ABSENT_MS_MAX / 1_000 + 10 {
        cluster.now_ms += 1_000;
        assert_eq!(cluster.decide(1), []);
    }
    assert!(cluster.reconcilers[&id(1)].passed_over().is_empty());
}
