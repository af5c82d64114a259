//! The seed of a state's tables, and the order in which things came, show in nothing that leaves the state.

use std::collections::BTreeMap;

use selvedge_sync::causal::VersionVector;
use selvedge_sync::crdt::{Assign, Context, ObjectState, Op, Seeded};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::sim::Rng;
use selvedge_sync::state::State;

const ME: ReplicaId = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) };

/// A member or field put or taken away, in one of a few keys.
fn operation(rng: &mut Rng) -> (Key, Op) {
    let (name, member) = (rng.between(0, 9), rng.between(0, 200));
    let put = rng.chance(550);
    let key = |kind| Key::new(kind, &format!("k{name}")).expect("a key");
    match rng.between(0, 3) {
        0 => (key(Kind::GCounter), Op::GCounter(rng.between(0, 1_000).into())),
        1 => {
            let member = Scalar::from(format!("member {member}").as_str());
            (key(Kind::OrSet), Op::OrSet(vec![Assign { member, value: put.then_some(()), over: Vec::new() }]))
        }
        _ => {
            // Few fields, so that maps empty and fill again.
            let (member, value) = (format!("f{}", member % 3), put.then_some(Scalar::Null));
            (key(Kind::LwwMap), Op::LwwMap(vec![Assign { member, value, over: Vec::new() }]))
        }
    }
}

fn states(state: &State) -> Vec<(Key, ObjectState)> {
    state.objects_after(None).map(|(key, object)| (key.clone(), object.state())).collect()
}

#[test]
fn seeds_and_tables_show_in_nothing() {
    let mut rng = Rng::new(11);
    let seeds = [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15];
    let mut all = seeds.map(|seed| State::seeded(ME, Seeded(seed)));
    let mut stored: BTreeMap<Key, ObjectState> = BTreeMap::new();
    let (mut seen, mut forgotten) = (VersionVector::default(), 0);
    for seq in 1..20_000 {
        let (key, op) = operation(&mut rng);
        let dot = Dot { replica: ME, seq };
        for state in &mut all {
            state.apply(key.clone(), op.clone(), dot, Hlc(seq), Context::of(&seen));
        }
        seen.advance(Stream::global(ME), seq);
        if rng.chance(20) {
            all.iter_mut().for_each(State::forget_empty);
        }
        if !rng.chance(10) {
            continue;
        }
        let [dirty, others @ ..] = all.each_mut().map(State::take_dirty);
        assert!(others.iter().all(|other| *other == dirty));
        assert!(dirty.is_sorted_by(|(before, _), (after, _)| before < after));
        for (key, state) in dirty {
            forgotten += u64::from(state.is_none());
            match state {
                Some(row) => drop(stored.insert(key, row.state().expect("a row"))),
                None => drop(stored.remove(&key)),
            }
        }
        let [first, others @ ..] = &all;
        let expect = states(first);
        assert!(
            expect.iter().map(|(key, state)| (key, state)).eq(&stored),
            "what was handed out adds up to what is there"
        );
        for other in others {
            assert_eq!((states(other), other.root(), other.bytes()), (expect.clone(), first.root(), first.bytes()));
        }
        let mut restored = State::seeded(ME, Seeded(7));
        restored.restore(expect.clone());
        assert_eq!((states(&restored), restored.root()), (expect, first.root()));
        assert_eq!((restored.bytes(), restored.garbage(), restored.dirty_len()), (first.bytes(), first.garbage(), 0));
    }
    assert!(forgotten > 10, "{forgotten} objects were forgotten");
}
