//! Repairs from state and the agents' own sets: what no authority has signed does not get in that way either, and what one has does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use selvedge_sync::crdt::ObjectState;
use selvedge_sync::replica::{Ask, Guard, Judgement, RepairEnd};

use super::*;

/// What one authority says is fine; that of a second one is, once the first has been heard to introduce it; anything else is nothing.
#[derive(Debug, Default)]
struct Signed {
    is_introduced: AtomicBool,
}

impl Guard for Signed {
    fn judge(&self, _: &Key, op: &Op) -> Judgement {
        let Op::GSet(words) = op else { return Judgement::Never };
        let judge = |word: &Scalar| {
            if *word == Scalar::from("introduction") {
                self.is_introduced.store(true, Ordering::Relaxed);
                Judgement::Taken
            } else if *word == Scalar::from("by the second") && !self.is_introduced.load(Ordering::Relaxed) {
                Judgement::NotYet
            } else if [Scalar::from("by the first"), Scalar::from("by the second")].contains(word) {
                Judgement::Taken
            } else {
                Judgement::Never
            }
        };
        words.iter().map(judge).find(|judgement| *judgement != Judgement::Taken).unwrap_or(Judgement::Taken)
    }
}

/// Members with a guard each.
fn guarded(count: usize) -> (Members, Vec<Arc<Signed>>) {
    let mut members = Members::of(count);
    let guards: Vec<_> = (0..count).map(|_| Arc::<Signed>::default()).collect();
    for (index, guard) in guards.iter().enumerate() {
        let config = Config { guard: Arc::<Signed>::clone(guard), ..Config::default() };
        members.replicas[index] = Replica::new(members.replicas[index].me(), config);
    }
    members.heard.clear();
    (members, guards)
}

fn holds(members: &Members, index: usize, name: &str, word: &str) -> bool {
    members.replicas[index].state().object(&key(name)).is_some_and(|object| object.contains(&Scalar::from(word)))
}

/// The last question for state that the liar was asked.
fn asked(members: &mut Members) -> Option<Vec<Ask>> {
    let heard = std::mem::take(&mut members.heard);
    heard.into_iter().rev().find_map(|(_, message)| match message {
        Message::StateRequest { asks } => Some(asks),
        _ => None,
    })
}

const REVOKED: &str = "gset/selvedge:revoked";

/// Has the first member repair itself from the liar, which claims to have seen so much of its own stream and holds these words in each
/// of these sets. Returns how often it was asked.
fn repair(members: &mut Members, seq: u64, sets: &[(&str, &[&str])]) -> usize {
    let set = |words: &[&str]| ObjectState::GSet(words.iter().map(|word| Scalar::from(*word)).collect());
    let mut objects: Vec<_> = sets.iter().map(|(name, words)| (key(name), set(words))).collect();
    objects.sort_by_key(|(key, _)| key.position());
    members.lie(0, Message::Forgotten);
    let mut answers = 0;
    while let Some(asks) = asked(members) {
        let about = |key: &Key| asks.iter().any(|ask| (ask.start..=ask.last).contains(&key.position()));
        assert!(asks.iter().all(|ask| ask.words.is_empty() || ask.shift.is_none()), "there are but a few objects");
        let words: usize = asks.iter().map(|ask| ask.words.len()).sum();
        let page = Message::StatePage {
            seen: [(stream(LIAR), seq)].into_iter().collect(),
            ahead: VersionVector::default(),
            latest: Hlc::default(),
            to: Ask::digest(&asks),
            last: asks.last().expect("a question").last,
            equal: vec![0; words.div_ceil(8)],
            objects: objects.iter().filter(|(key, _)| about(key)).cloned().collect(),
        };
        members.lie(0, page);
        answers += 1;
    }
    answers
}

#[test]
fn a_repair_brings_nothing_that_nobody_may_put_there() {
    let (mut members, _) = guarded(1);
    members.join(0);
    let words = ["by the first", "junk"];
    assert_eq!(repair(&mut members, 1, &[(REVOKED, &words), ("gset/words", &words)]), 1);
    assert!(holds(&members, 0, REVOKED, "by the first") && !holds(&members, 0, REVOKED, "junk"));
    assert!(holds(&members, 0, "gset/words", "junk"), "what is not the agents' own is not judged");
    let counters = *members.replicas[0].counters();
    assert_eq!((counters.state_barred, members.offences(Offence::Barred)), (1, 1));
    assert_eq!((counters.repairs_abandoned, members.replicas[0].seen().seq(&stream(LIAR))), (0, 1));
}

#[test]
fn a_repair_that_brings_only_what_is_barred_has_not_helped() {
    for (seq, word) in [(1, "junk"), (2, "by the second")] {
        let (mut members, _) = guarded(1);
        members.join(0);
        repair(&mut members, 1, &[(REVOKED, &["by the first"])]);
        assert!(repair(&mut members, seq, &[(REVOKED, &["by the first", word])]) > 0, "the last one has helped");
        assert_eq!(repair(&mut members, seq, &[(REVOKED, &["by the first", word])]), 0, "this one has to wait");
        assert!(!holds(&members, 0, REVOKED, word));
    }
}

#[test]
fn what_is_unsure_is_asked_about_again_and_keeps_a_repair_from_counting_as_whole() {
    let (mut members, guards) = guarded(1);
    members.join(0);
    let words = ["by the second", "by the first"];
    assert_eq!(repair(&mut members, 1, &[(REVOKED, &words)]), 2);
    assert!(holds(&members, 0, REVOKED, "by the first") && !holds(&members, 0, REVOKED, "by the second"));
    assert_eq!(members.replicas[0].seen().seq(&stream(LIAR)), 0, "it has not all of it, and does not say so");
    let barred = Event::RepairAbandoned { from: LIAR, why: RepairEnd::Barred };
    assert!(members.events.contains(&(0, barred)) && members.offences(Offence::Barred) == 0);
    guards[0].is_introduced.store(true, Ordering::Relaxed);
    assert_eq!(repair(&mut members, 1, &[(REVOKED, &words)]), 1);
    assert!(holds(&members, 0, REVOKED, "by the second"));
    assert_eq!(members.replicas[0].seen().seq(&stream(LIAR)), 1);
}

#[test]
fn what_an_honest_member_took_is_taken_from_its_state_whatever_the_order() {
    // Names on both sides of where the introduction lies.
    let names: Vec<String> = (0..16).map(|number| format!("gset/selvedge:revoked{number}")).collect();
    let introductions = key("gset/selvedge:authorities");
    assert!(names.iter().any(|name| key(name).position() < introductions.position()));
    let (mut members, guards) = guarded(2);
    guards[0].is_introduced.store(true, Ordering::Relaxed);
    let add = |members: &mut Members, name: &str, word: &str| {
        let changes = vec![(key(name), Change::Add(vec![Scalar::from(word)]))];
        members.feed(0, Input::Commit { ticket: 0, changes, request: None });
    };
    names.iter().for_each(|name| add(&mut members, name, "by the second"));
    add(&mut members, "gset/selvedge:authorities", "introduction");
    (0..2).for_each(|index| members.join(index));
    members.pass(2_000);
    assert_eq!(
        members.replicas[1].seen().seq(&stream(node(0))),
        0,
        "its first commit waits for what its last one says"
    );
    members.feed(1, Input::Receive { from: node(0), message: Message::Forgotten });
    members.pass(2_000);
    let counters = *members.replicas[1].counters();
    assert_eq!((counters.repairs, counters.repairs_abandoned, counters.diverged), (1, 0, 0));
    assert!(members.agree() && members.replicas[0].root() == members.replicas[1].root());
}

#[test]
fn what_is_verified_for_a_repair_in_vain_is_rationed() {
    let (mut members, _) = guarded(1);
    members.join(0);
    let junk: Vec<String> = (0..6_000).map(|number| format!("junk {number}")).collect();
    let junk: Vec<&str> = junk.iter().map(String::as_str).collect();
    repair(&mut members, 1, &[(REVOKED, &junk)]);
    assert!(members.replicas[0].state().object(&key(REVOKED)).is_none());
    // What was not looked at may be sound.
    let barred = Event::RepairAbandoned { from: LIAR, why: RepairEnd::Barred };
    assert!(members.events.contains(&(0, barred)) && members.offences(Offence::Flood) > 0);
}

#[test]
fn what_was_taken_before_there_was_a_guard_is_dropped_at_the_start_and_held_against_nobody() {
    let (mut members, _) = guarded(2);
    // Both have seen the same of the liar's stream, and the second has what came with it while nobody judged.
    for (index, words) in [&["by the first"][..], &["by the first", "junk"]].into_iter().enumerate() {
        let words = words.iter().map(|word| Scalar::from(*word)).collect();
        let recovery = Recovery {
            vector: [(stream(LIAR), 1)].into_iter().collect(),
            objects: vec![(key(REVOKED), ObjectState::GSet(words)), (key("gset/words"), ObjectState::GSet(Vec::new()))],
            ..Recovery::default()
        };
        let config = Config { guard: Arc::<Signed>::default(), ..Config::default() };
        let me = members.replicas[index].me();
        members.replicas[index] = Replica::recover(me, config, recovery).expect("recovers");
    }
    assert!(members.replicas[0].root() != members.replicas[1].root());
    let expelled: Vec<_> = members.replicas.iter_mut().map(Replica::expel_barred).collect();
    assert_eq!(expelled, [0, 1]);
    assert!(holds(&members, 1, REVOKED, "by the first") && !holds(&members, 1, REVOKED, "junk"));
    assert_eq!(members.replicas[0].root(), members.replicas[1].root());
    (0..2).for_each(|index| members.join(index));
    members.pass(5_000);
    let is_offence = |event: &Event| matches!(event, Event::Offence { .. } | Event::RepairBegun { .. });
    assert!(!members.events.iter().any(|(_, event)| is_offence(event)), "{:?}", members.events);
    assert!(members.replicas.iter().all(|replica| replica.counters().diverged == 0));
}
