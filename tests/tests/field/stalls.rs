//! Hosts that stall: they do nothing for a while, and then go on as if nothing had been.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use selvedge_tests::Field;
use selvedge_tests::field::{Traffic, Witness, name};

/// Longer than any patience with a member that is silent.
const STALL: Duration = Duration::from_secs(20);

/// How often it is seen whether the stall is over.
const LOOK: Duration = Duration::from_millis(100);

#[test]
fn a_stalled_host_holds_up_nobody_and_accuses_nobody() {
    let Some(field) = Field::try_whole(5) else { return };
    let all = field.running();
    let others = [0, 1, 3, 4];
    let witnesses: BTreeMap<usize, Witness> =
        all.iter().map(|host| (*host, Witness::start(&field.door(*host)))).collect();
    let traffic = Traffic::start("stall", &field.doors(&others));
    let began = Instant::now();
    field.agent(2).stall();
    field.await_lost(&others, &[2]);
    field.note("the stall is noticed");
    field.await_alive(&others, 4);
    while began.elapsed() < STALL {
        std::thread::park_timeout(LOOK);
    }
    field.agent(2).resume();
    field.await_alive(&all, 5);
    field.note("it is back");
    field.settle(traffic);
    others.iter().for_each(|host| witnesses[host].await_return(&name(2)));
    for (host, witness) in witnesses {
        // The one that stalled has heard of nobody in the meantime. That was its own fault, and it blames nobody for it.
        let expect = if host == 2 { Vec::new() } else { vec![name(2)] };
        assert_eq!(witness.lost(), expect, "{} said: {:?}", name(host), witness.all());
    }
    field.note("done");
}
