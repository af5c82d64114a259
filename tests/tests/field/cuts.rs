//! Wires that are cut: both ways between halves, and one way between two.

use selvedge_tests::field::{PATIENCE, Traffic, Witness, name};
use selvedge_tests::netns::Wires;
use selvedge_tests::{Field, eventually};
use serde_json::json;

#[test]
fn halves_go_on_by_themselves_and_become_one() {
    let Some(field) = Field::try_whole(5) else { return };
    let [witness, other_witness] = [0, 4].map(|host| Witness::start(&field.door(host)));
    let traffic = Traffic::start("halves", &field.doors(&field.running()));
    let (few, many) = ([0, 1], [2, 3, 4]);
    field.hosts.wire(&Wires::groups(&[&few, &many]));
    field.await_lost(&few, &many);
    field.await_lost(&many, &few);
    field.await_alive(&few, 2);
    field.await_alive(&many, 3);
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
    for host in field.running() {
        assert!(!field.claims_agreement(host), "{} cannot know what the other half holds", name(host));
    }
    field.hosts.wire(&Wires::default());
    field.await_alive(&field.running(), 5);
    field.note("healed");
    field.settle(traffic);
    for host in field.running() {
        assert_eq!(field.value(host, "orset/side"), json!(["few", "many"]));
        assert_eq!(field.value(host, "pncounter/balance"), json!(-4));
    }
    let last = field.value(0, "lwwmap/last");
    assert!(last == json!({"writer": "few"}) || last == json!({"writer": "many"}), "{last}");
    // Each half has said that the other was gone and came back, and nothing of its own.
    assert_eq!(witness.lost(), many.map(name), "{:?}", witness.all());
    assert_eq!(other_witness.lost(), few.map(name), "{:?}", other_witness.all());
    for (witness, hosts) in [(&witness, &many[..]), (&other_witness, &few[..])] {
        hosts.iter().for_each(|host| witness.await_return(&name(*host)));
    }
    field.note("done");
}

/// Who is linked over QUIC, and who over TCP. The first of each will hear the second, and not be heard by it.
const PAIRS: [(usize, usize); 2] = [(1, 3), (0, 4)];

#[test]
fn who_is_not_heard_by_one_is_heard_through_the_others() {
    let Some(mut field) = Field::try_whole(5) else { return };
    // 0 and 4 have no QUIC between them, 1 and 3 no TCP: they have to find each other anew by what there is.
    let transports = Wires::default().by_tcp(0, 4).by_quic(1, 3);
    field.hosts.wire(&transports);
    field.kill(&[3, 4]);
    field.start_all();
    for (one, other) in PAIRS {
        eventually("they are linked", PATIENCE, || {
            (field.linked(one, other) && field.linked(other, one)).then_some(())
        });
    }
    field.await_whole();
    field.note("linked over TCP, and over QUIC");
    let witnesses: Vec<Witness> = field.running().iter().map(|host| Witness::start(&field.door(*host))).collect();
    let traffic = Traffic::start("deaf", &field.doors(&field.running()));
    // From now on 3 and 4 do not hear 1 and 0, by whom they are heard.
    field.hosts.wire(&PAIRS.into_iter().fold(transports, |wires, (one, other)| wires.without(one, other)));
    for (one, other) in PAIRS {
        for (host, to) in [(one, other), (other, one)] {
            let what = format!("{} knows that its link to {} is no use", name(host), name(to));
            eventually(&what, PATIENCE, || (!field.linked(host, to)).then_some(()));
            field.note(&what);
        }
    }
    for (host, to) in [(0, 4), (4, 0), (1, 3), (3, 1)] {
        let key = format!("gset/from-{host}");
        field.put(host, &key, &json!({"add": ["a word"]}));
        let what = format!("{} reads what {} writes", name(to), name(host));
        eventually(&what, PATIENCE, || (field.value(to, &key) == json!(["a word"])).then_some(()));
    }
    field.await_alive(&field.running(), 5);
    field.note("news goes round the cuts");
    field.hosts.wire(&Wires::default());
    for (host, to) in PAIRS {
        eventually("the links are back", PATIENCE, || (field.linked(host, to) && field.linked(to, host)).then_some(()));
    }
    field.note("healed");
    field.settle(traffic);
    for witness in witnesses {
        assert!(witness.lost().is_empty(), "somebody who lived was called lost: {:?}", witness.all());
    }
    field.note("done");
}
