//! Members that are out of sight, and what a host that is cut off runs.

use super::*;

/// Five hosts of which the first two see only each other, in the view of the first.
fn cut_off(partition: Partition) -> Cluster {
    let mut cluster = Cluster::new(5, 1);
    cluster.put(1, OLD, Phase::Ready);
    (3..=5).for_each(|number| cluster.lose(number, true));
    cluster.spec = Some(Spec { partition, ..Spec::new(OLD) });
    cluster
}

#[test]
fn a_workload_that_keeps_both_runs_on_though_most_members_are_out_of_sight() {
    let mut cluster = cut_off(Partition::KeepBoth);
    cluster.run(600);
    assert_eq!(cluster.running(), [1]);
}

#[test]
fn a_workload_that_may_not_run_twice_stops_on_the_smaller_side() {
    let mut cluster = cut_off(Partition::StopAfter(30_000));
    cluster.run(30);
    assert_eq!(cluster.decide(1), []);
    cluster.now_ms += 1_000;
    assert_eq!(cluster.decide(1), drain());
    cluster.host(1).instances.clear();
    assert_eq!(cluster.decide(1), []);
    let why = CutOff::Minority { seen: 2, members: 5 };
    assert_eq!(cluster.waiting(1), Some(&Waiting::CutOff { why }));
    cluster.lose(3, false);
    let started: Vec<u8> = (1..=3).filter(|number| cluster.decide(*number) == start(OLD)).collect();
    assert_eq!(started.len(), 1, "with most members in sight it runs again");
}

#[test]
fn who_is_ill_and_answers_is_in_sight() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(2, OLD, Phase::Ready);
    cluster.host(1).healthy = false;
    cluster.spec = Some(Spec { partition: Partition::StopAfter(0), ..Spec::new(OLD) });
    cluster.run(60);
    assert_eq!(cluster.running(), [2], "a full disk on the first host is no cut");
    cluster.host(1).region = Some("eu".to_owned());
    cluster.spec = Some(Spec { partition: Partition::HomeOnly("eu".to_owned()), ..Spec::new(OLD) });
    cluster.run(60);
    assert_eq!(cluster.running(), [2]);
    cluster.lose(1, true);
    assert_eq!(cluster.decide(2), drain());
}

#[test]
fn of_two_halves_one_goes_on_and_who_has_left_does_not_count() {
    let runs_on = |me: u8, others: &[u8], left: &[u8]| {
        let mut cluster = Cluster::new(4, 1);
        cluster.put(me, OLD, Phase::Ready);
        cluster.spec = Some(Spec { partition: Partition::StopAfter(0), ..Spec::new(OLD) });
        for number in 1..=4 {
            cluster.lose(number, number != me && !others.contains(&number));
            cluster.host(number).left = left.contains(&number);
        }
        cluster.decide(me).is_empty()
    };
    assert!(runs_on(1, &[2], &[]) && !runs_on(4, &[3], &[]));
    assert!(runs_on(4, &[3], &[1]));
}

#[test]
fn a_workload_with_a_home_runs_where_somebody_of_it_is_in_sight() {
    let mut cluster = cut_off(Partition::HomeOnly("eu".to_owned()));
    cluster.host(2).region = Some("eu".to_owned());
    assert_eq!(cluster.decide(1), []);
    cluster.lose(2, true);
    assert_eq!(cluster.decide(1), drain());
    cluster.host(1).region = Some("eu".to_owned());
    assert_eq!(cluster.decide(1), [], "whoever is at home needs nobody");
}

#[test]
fn after_a_cut_in_which_nobody_could_begin_the_chosen_host_begins_at_once() {
    let mut cluster = Cluster::new(3, 1);
    cluster.spec = Some(Spec { partition: Partition::StopAfter(0), ..Spec::new(OLD) });
    for _ in 0..2 * ABSENT_MS_MAX / 1_000 {
        cluster.now_ms += 1_000;
        for alone in 1..=3 {
            (1..=3).for_each(|number| cluster.lose(number, number != alone));
            assert_eq!(cluster.decide(alone), []);
            assert!(matches!(cluster.waiting(alone), Some(Waiting::CutOff { .. })));
        }
    }
    (1..=3).for_each(|number| cluster.lose(number, false));
    cluster.run(1);
    assert_eq!(cluster.running().len(), 1);
}
