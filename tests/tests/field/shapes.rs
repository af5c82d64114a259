//! Networks in which not everybody reaches everybody: members between two groups, a host with one neighbour, wires that lose.

use std::time::{Duration, Instant};

use selvedge_tests::field::{PATIENCE, Traffic, Witness, name};
use selvedge_tests::netns::Wires;
use selvedge_tests::{Field, eventually};
use serde_json::json;

/// For how long a link goes up and down: long enough for back-off to matter.
const FLAPPING: Duration = Duration::from_secs(10);

/// How long a link stays up, or down: too short for the detection of failures, and for many a handshake.
const FLAP: Duration = Duration::from_millis(300);

/// The figure of dials that failed.
const DIALS_FAILED: &str = "selvedge_drops_total{reason=\"dial_failed\"}";

/// Dials that may fail while a link flaps. It has three members behind it, each with two addresses, which makes ten for each address;
/// without back-off it would be one in each flap, or as many as the processor can make.
const DIALS_MAX: u64 = 60;

/// For how long packets are lost: longer than the patience with a member that is silent.
const LOSING: Duration = Duration::from_secs(15);

#[test]
fn state_flows_through_a_member_between_two_groups() {
    let Some(mut field) = Field::try_whole(6) else { return };
    // Only 2 reaches both 0 and 1, and 3 and 4. And only 4 reaches 5.
    let shape = Wires::groups(&[&[0, 1, 2], &[2, 3, 4], &[4, 5]]);
    field.hosts.wire(&shape);
    field.await_remembered();
    // All at once, as after a power cut, so that nothing is left of links that were.
    field.kill(&[0, 1, 2, 3, 4, 5]);
    field.hosts.wire(&shape);
    field.start_all();
    field.note("restarted");
    let traffic = Traffic::start("bridge", &field.doors(&field.running()));
    for (from, to) in [(0, 5), (5, 0), (1, 3)] {
        let key = format!("gset/from-{from}-to-{to}");
        field.put(from, &key, &json!({"add": ["a word"]}));
        let what = format!("{} reads what {} writes", name(to), name(from));
        eventually(&what, PATIENCE, || (field.value(to, &key) == json!(["a word"])).then_some(()));
        assert!(!field.linked(from, to), "the network is not what it was meant to be");
    }
    field.note("news goes from end to end");
    field.await_alive(&field.running(), 6);
    field.note("all count as alive");
    let taken = traffic.stop();
    for host in field.running() {
        eventually("all arrives everywhere", PATIENCE, || {
            (field.value(host, "gcounter/bridge") == json!(taken)).then_some(())
        });
        field.holds(host, "bridge", taken);
    }
    field.one_root();
    // Who cannot reach all members does not claim to agree with them; whoever reaches all does.
    field.hosts.wire(&Wires::default());
    field.await_whole();
    field.unharmed();
    field.note("done");
}

#[test]
fn a_flapping_link_and_lost_packets_lose_no_writes() {
    let Some(mut field) = Field::try_whole(4) else { return };
    let all = field.running();
    let dials = |field: &Field| all.iter().map(|host| field.figure(*host, DIALS_FAILED)).collect::<Vec<u64>>();
    // It starts anew while its link is down, so that it has to dial, and the others do not know that it was away.
    field.hosts.plug(3, false);
    field.kill(&[3]);
    field.start_all();
    let before = dials(&field);
    let traffic = Traffic::start("flapping", &field.doors(&all));
    let began = Instant::now();
    while began.elapsed() < FLAPPING {
        for is_in in [true, false] {
            field.hosts.plug(3, is_in);
            std::thread::park_timeout(FLAP);
        }
    }
    field.hosts.plug(3, true);
    field.note("flapped");
    field.settle(traffic);
    let dialed: Vec<u64> = dials(&field).iter().zip(before).map(|(now, before)| now - before).collect();
    field.note(&format!("agreed; dials that failed: {dialed:?}"));
    assert!(dialed.iter().all(|dialed| *dialed <= DIALS_MAX), "{dialed:?}");

    let witnesses: Vec<Witness> = all.iter().map(|host| Witness::start(&field.door(*host))).collect();
    field.hosts.wire(&Wires::losing(80));
    let traffic = Traffic::start("losing", &field.doors(&all));
    let began = Instant::now();
    while began.elapsed() < LOSING {
        std::thread::park_timeout(FLAP);
    }
    let taken = traffic.stop();
    // They agree although packets go on being lost.
    field.await_whole();
    all.iter().for_each(|host| field.holds(*host, "losing", taken));
    field.note("agreed in spite of losses");
    for witness in witnesses {
        assert!(witness.lost().is_empty(), "somebody who lived was called lost: {:?}", witness.all());
    }
    field.unharmed();
    field.note("done");
}
