//! Hosts that are being emptied, and what they keep.

use super::*;
use crate::placement::Reason;

#[test]
fn a_draining_host_keeps_what_too_few_others_can_take_until_they_can() {
    let mut cluster = Cluster::new(4, 3);
    cluster.host(4).healthy = false;
    cluster.run(1);
    assert_eq!(cluster.running(), [1, 2, 3]);
    cluster.host(3).draining = true;
    cluster.run(60);
    assert_eq!(cluster.running(), [1, 2, 3]);
    assert_eq!(cluster.waiting(3), Some(&Waiting::NowhereElse { why: Reason::Draining, wanted: 3, placed: 2 }));
    cluster.host(4).healthy = true;
    cluster.run(10);
    assert_eq!(cluster.running(), [1, 2, 4]);
}

#[test]
fn of_two_draining_hosts_one_keeps_what_nobody_else_may_run() {
    let mut cluster = Cluster::new(3, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.put(2, OLD, Phase::Ready);
    cluster.host(1).draining = true;
    cluster.host(2).draining = true;
    cluster.host(3).healthy = false;
    cluster.run(10);
    assert_eq!(cluster.running().len(), 1);
    cluster.host(3).healthy = true;
    cluster.run(10);
    assert_eq!(cluster.running(), [3]);
}

#[test]
fn after_a_restart_a_draining_host_starts_only_what_ran_and_can_run_nowhere_else() {
    let mut cluster = Cluster::new(2, 1);
    cluster.host(1).draining = true;
    cluster.host(2).draining = true;
    assert_eq!(cluster.decide(1), [], "it takes nothing new");
    cluster.host(1).resumes.insert(game());
    assert_eq!(cluster.decide(1), start(OLD));
    assert_eq!(cluster.decide(2), []);
    cluster.host(2).draining = false;
    assert_eq!(cluster.decide(1), []);
    assert_eq!(cluster.decide(2), start(OLD));
}
