//! What repair from state must not do: bring back what was removed, or count as seen what no answer showed.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::log::Range;
use selvedge_sync::replica::{Ask, Config, Event, Input, Message, Output, RepairEnd, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

fn id(byte: u8) -> ReplicaId {
    ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) }
}

fn at(ms: u64) -> Time {
    Time { wall_ms: 1_800_000_000_000 + ms, mono_ms: ms }
}

fn key(name: &str) -> Key {
    Key::new(Kind::OrSet, name).expect("a key")
}

/// Feeds an input; the disk reports at once. Returns what is sent.
fn feed(replica: &mut Replica, input: Input, now: Time) -> Vec<Message> {
    let (mut inputs, mut sent) = (vec![input], Vec::new());
    while let Some(input) = inputs.pop() {
        for output in replica.handle(input, now) {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    inputs.push(Input::Persisted { token });
                }
                Output::Send { message, .. } => sent.push(message),
                Output::Committed { .. } | Output::Rebirth { .. } | Output::Event(_) => {}
                Output::Watching { .. } | Output::Changed { .. } => {}
            }
        }
    }
    sent
}

fn commit(replica: &mut Replica, key: &Key, change: Change, now: Time) {
    feed(replica, Input::Commit { ticket: 0, changes: vec![(key.clone(), change)], request: None }, now);
}

/// Lets two replicas talk until neither has anything to say.
fn talk(one: &mut Replica, other: &mut Replica, now: Time) {
    let (to_one, to_other) = (one.me().node, other.me().node);
    let mut for_one = feed(other, Input::PeerUp(to_one), now);
    let mut for_other = feed(one, Input::PeerUp(to_other), now);
    for _ in 0..100 {
        let received = |from, message| Input::Receive { from, message };
        let answers: Vec<_> =
            for_one.drain(..).flat_map(|message| feed(one, received(to_other, message), now)).collect();
        for_one = for_other.drain(..).flat_map(|message| feed(other, received(to_one, message), now)).collect();
        for_other = answers;
    }
    assert!(for_one.is_empty() && for_other.is_empty(), "they talk without end");
}

/// The giver has forgotten the object altogether; its vector alone says that the element was removed.
#[test]
fn a_member_of_a_forgotten_object_does_not_return() {
    let config = Config { log_commits_kept: 0, ..Config::default() };
    let (mut giver, mut lagging) = (Replica::new(id(1), config.clone()), Replica::new(id(2), config));
    let member = Scalar::from("x");
    commit(&mut giver, &key("k"), Change::Add(vec![member.clone()]), at(0));
    talk(&mut giver, &mut lagging, at(0));
    assert!(lagging.state().object(&key("k")).is_some_and(|object| object.contains(&member)));
    giver.handle(Input::PeerDown(id(2).node), at(1));
    commit(&mut giver, &key("k"), Change::Remove(vec![member.clone()]), at(1));
    commit(&mut giver, &key("other"), Change::Add(vec![member.clone()]), at(1));
    // Nobody is a member but the giver: what it has durable is stable, and goes.
    feed(&mut giver, Input::Tick, at(10_000));
    assert!(giver.state().object(&key("k")).is_none() && giver.log().commits() == 1, "the last of a stream stays");
    talk(&mut giver, &mut lagging, at(10_000));
    assert!(!lagging.state().object(&key("k")).is_some_and(|object| object.contains(&member)));
    assert_eq!((lagging.counters().repairs, lagging.root()), (1, giver.root()));
    // The one has forgotten what the other has yet to forget; what there is to read is the same.
    assert_eq!((giver.state().len(), lagging.state().len()), (1, 2));
    assert_eq!((giver.state().filled(), lagging.state().filled()), (1, 1));
}

/// The questions among what is sent.
fn asks(sent: &[Message]) -> Vec<Ask> {
    let ask = |message: &Message| if let Message::StateRequest { asks } = message { Some(asks.clone()) } else { None };
    sent.iter().find_map(ask).expect("it asks for state")
}

/// Lets `receiver` hear that its past is forgotten; returns its first question.
fn begin(receiver: &mut Replica, giver: &Replica, now: Time) -> Vec<Message> {
    feed(receiver, Input::Receive { from: giver.me().node, message: Message::Forgotten }, now)
}

/// Carries what `receiver` says to `giver` and back, until nothing is said; `meanwhile` happens before each answer.
fn finish(
    receiver: &mut Replica,
    giver: &mut Replica,
    said: Vec<Message>,
    mut meanwhile: impl FnMut(&mut Replica, &mut Replica),
) {
    let (from, to) = (receiver.me().node, giver.me().node);
    let mut said = std::collections::VecDeque::from(said);
    while let Some(message) = said.pop_front() {
        meanwhile(receiver, giver);
        for answer in feed(giver, Input::Receive { from, message }, at(0)) {
            said.extend(feed(receiver, Input::Receive { from: to, message: answer }, at(0)));
        }
    }
}

/// The commits of `of` from `first` on, as it would push them.
fn push(of: &Replica, first: u64) -> Message {
    let own = Stream::global(of.me());
    match of.log().range(&own, first, of.seen().seq(&own), usize::MAX) {
        Range::Batch { batch, .. } => Message::Commits { batches: vec![batch], more: false, hops: None },
        other => panic!("the log holds what was committed just now: {other:?}"),
    }
}

fn has(replica: &Replica, name: &str, member: &str) -> bool {
    replica.state().object(&key(name)).is_some_and(|object| object.contains(&Scalar::from(member)))
}

fn add(member: &str) -> Change {
    Change::Add(vec![Scalar::from(member)])
}

fn remove(member: &str) -> Change {
    Change::Remove(vec![Scalar::from(member)])
}

/// Two replicas with the same 200 keys, which have no log in common; pages are small, so that repairs take many.
fn alike(page_bytes: usize) -> (Replica, Replica) {
    let config = Config { page_bytes, log_bytes: 4_000, log_commits_kept: 0, ..Config::default() };
    let (mut giver, mut receiver) = (Replica::new(id(1), config.clone()), Replica::new(id(2), config));
    for index in 0..200 {
        commit(&mut giver, &key(&format!("k{index}")), add("y"), at(0));
    }
    let said = begin(&mut receiver, &giver, at(0));
    finish(&mut receiver, &mut giver, said, |_, _| {});
    assert_eq!((receiver.root(), receiver.seen()), (giver.root(), giver.seen()));
    (giver, receiver)
}

/// A giver that restarted in the middle of a repair had lost what was not durable there, and its later answers showed less than
/// the first had promised.
#[test]
fn an_answer_that_shows_less_than_the_first_ends_the_repair() {
    let stream = Stream::global(id(1));
    let mut receiver = Replica::new(id(2), Config::default());
    let mut to = Ask::digest(&asks(&begin(&mut receiver, &Replica::new(id(1), Config::default()), at(0))));
    let mut receive = |seq: u64, last: u64, receiver: &mut Replica| {
        let (seen, ahead) = ([(stream, seq)].into_iter().collect(), VersionVector::default());
        let message = Message::StatePage {
            seen,
            ahead,
            latest: Hlc::default(),
            to,
            last,
            equal: Vec::new(),
            objects: Vec::new(),
        };
        let outputs = receiver.handle(Input::Receive { from: id(1).node, message }, at(0));
        for output in &outputs {
            if let Output::Send { message: Message::StateRequest { asks }, .. } = output {
                to = Ask::digest(asks);
            }
        }
        outputs
    };
    receive(5, 1 << 60, &mut receiver);
    assert_eq!(receiver.seen().seq(&stream), 0, "one answer is not all");
    receive(7, 1 << 61, &mut receiver);
    assert_eq!(receiver.repair_progress().map(|progress| (progress.done_permille, progress.answers)), Some((125, 2)));
    let outputs = receive(3, u64::MAX, &mut receiver);
    let why = RepairEnd::Regressed;
    assert!(outputs.contains(&Output::Event(Event::RepairAbandoned { from: id(1).node, why })), "{outputs:?}");
    assert_eq!((receiver.seen().seq(&stream), receiver.counters().repairs_abandoned), (0, 1));
    assert!(!receiver.is_settled(), "what the answers showed is remembered");
}

#[test]
fn a_repair_ends_with_the_vector_of_its_first_answer() {
    let (mut giver, mut receiver) = alike(1 << 20);
    let stream = Stream::global(id(1));
    let said = begin(&mut receiver, &giver, at(0));
    let first = giver.seen().seq(&stream);
    let mut questions = 0;
    finish(&mut receiver, &mut giver, said, |receiver, giver| {
        questions += 1;
        assert!(receiver.seen().seq(&stream) <= first || receiver.repair_progress().is_none());
        if questions < 4 {
            // It changes what the questions have passed already, and what they have not.
            commit(giver, &key("k3"), add(&format!("z{questions}")), at(0));
            commit(giver, &key("k4"), add(&format!("z{questions}")), at(0));
        }
    });
    assert!(questions > 2, "{questions} questions");
    assert_eq!(receiver.root(), giver.root());
    assert!(receiver.is_settled() && receiver.seen() == giver.seen());
}

/// What was told of an object is still so at the giver, for there an element came and went; here it has only come. The answer
/// says that it has seen both commits, so here it would have stayed.
#[test]
fn an_object_that_changed_after_it_was_told_is_asked_for_again() {
    for page_bytes in [1 << 20, 300] {
        let (mut giver, mut receiver) = alike(page_bytes);
        let said = begin(&mut receiver, &giver, at(0));
        let mut done = false;
        finish(&mut receiver, &mut giver, said, |receiver, giver| {
            if !std::mem::replace(&mut done, true) {
                let first = giver.seen().seq(&Stream::global(id(1))) + 1;
                commit(giver, &key("k3"), add("x"), at(0));
                let added = push(giver, first);
                commit(giver, &key("k3"), remove("x"), at(0));
                feed(receiver, Input::Receive { from: id(1).node, message: added }, at(0));
                assert!(has(receiver, "k3", "x"));
            }
        });
        assert!(!has(&receiver, "k3", "x"));
        assert_eq!((receiver.root(), receiver.seen(), receiver.is_settled()), (giver.root(), giver.seen(), true));
    }
}

/// At its first answer the giver remembers a removal whose add it has not seen, and at its second it has seen both: the object
/// is equal to ours again. Our vector will cover the removal and not the add, which comes by the log afterwards.
#[test]
fn what_an_equal_answer_has_seen_is_not_taken_again() {
    for (page_bytes, index) in [1 << 20, 300].into_iter().flat_map(|bytes| (0..20).map(move |index| (bytes, index))) {
        let name = format!("k{index}");
        let (mut giver, mut receiver) = alike(page_bytes);
        let (added, removed) = removed_elsewhere(&name);
        feed(&mut giver, Input::Receive { from: id(4).node, message: removed }, at(0));
        let said = begin(&mut receiver, &giver, at(0));
        let mut answers = 0;
        finish(&mut receiver, &mut giver, said, |_, giver| {
            answers += 1;
            if answers == 2 {
                feed(giver, Input::Receive { from: id(3).node, message: added.clone() }, at(0));
            }
        });
        assert_eq!(receiver.seen(), giver.seen());
        assert!(!has(&receiver, &name, "x"), "{name} with pages of {page_bytes} bytes");
        assert_eq!((receiver.root(), receiver.state().garbage()), (giver.root(), 0));
    }
}

/// The pushes of a host that adds `x` and of another that removes it.
fn removed_elsewhere(name: &str) -> (Message, Message) {
    let (mut adder, mut remover) = (Replica::new(id(3), Config::default()), Replica::new(id(4), Config::default()));
    commit(&mut adder, &key(name), add("x"), at(0));
    let added = push(&adder, 1);
    feed(&mut remover, Input::Receive { from: id(3).node, message: added.clone() }, at(0));
    commit(&mut remover, &key(name), remove("x"), at(0));
    (added, push(&remover, 1))
}

/// The content of both is equal, but the giver remembers a removal that overtook its add. The repair tells of the removal as
/// seen; it would never come again.
#[test]
fn an_equal_object_does_not_hide_a_removal_that_came_before_its_add() {
    let (mut giver, mut receiver) = alike(1 << 20);
    let (added, removed) = removed_elsewhere("k3");
    feed(&mut giver, Input::Receive { from: id(4).node, message: removed }, at(0));
    assert_eq!((giver.root(), giver.state().garbage()), (receiver.root(), 1), "the content is equal");
    let said = begin(&mut receiver, &giver, at(0));
    finish(&mut receiver, &mut giver, said, |_, _| {});
    assert_eq!(receiver.seen(), giver.seen());
    feed(&mut receiver, Input::Receive { from: id(3).node, message: added }, at(0));
    assert!(!has(&receiver, "k3", "x") && has(&receiver, "k3", "y"));
    assert_eq!((receiver.root(), receiver.state().garbage()), (giver.root(), 0));
}

/// The giver is in the middle of a repair itself: some of its ranges show more than it has seen.
#[test]
fn a_giver_that_is_being_repaired_tells_what_its_ranges_show() {
    for stopped_after in 1..12 {
        let (mut source, mut giver) = alike(600);
        let (_, mut receiver) = alike(600);
        receiver = {
            let config = Config { page_bytes: 600, ..Config::default() };
            let mut anew = Replica::new(id(3), config);
            let said = begin(&mut anew, &receiver, at(0));
            finish(&mut anew, &mut receiver, said, |_, _| {});
            anew
        };
        // The giver misses what the log of the source does not hold any more.
        for index in 0..120 {
            commit(&mut source, &key(&format!("k{index}")), add("v"), at(0));
        }
        let first = source.seen().seq(&Stream::global(id(1))) + 1;
        let mut said = begin(&mut giver, &source, at(0));
        let mut late = Vec::new();
        for round in 0..stopped_after {
            let Some(message) = said.pop() else { break };
            let name = key(&format!("k{}", round * 13));
            commit(&mut source, &name, add("x"), at(0));
            late.push(push(&source, first + 2 * round));
            commit(&mut source, &name, remove("x"), at(0));
            for answer in feed(&mut source, Input::Receive { from: id(2).node, message }, at(0)) {
                said.extend(feed(&mut giver, Input::Receive { from: id(1).node, message: answer }, at(0)));
            }
        }
        let said = begin(&mut receiver, &giver, at(0));
        finish(&mut receiver, &mut giver, said, |_, _| {});
        assert_eq!(receiver.seen(), giver.seen());
        // Now the receiver hears all that the giver was told of, and everything comes once more by the log, in part.
        let said = begin(&mut receiver, &source, at(0));
        finish(&mut receiver, &mut source, said, |_, _| {});
        for message in late {
            feed(&mut receiver, Input::Receive { from: id(1).node, message }, at(0));
        }
        talk(&mut receiver, &mut source, at(20_000));
        assert_eq!(receiver.root(), source.root(), "stopped after {stopped_after}");
        assert!(receiver.is_settled() && (0..200).all(|index| !has(&receiver, &format!("k{index}"), "x")));
    }
}

#[test]
fn a_repair_whose_stamps_wait_is_given_up_and_begun_with_another() {
    let far = Time { wall_ms: at(0).wall_ms + 3_600_000, mono_ms: 0 };
    let config = Config { log_bytes: 1, ..Config::default() };
    let (mut giver, mut other) = (Replica::new(id(1), config.clone()), Replica::new(id(3), config.clone()));
    let field = Key::new(Kind::LwwMap, "m").expect("a key");
    commit(&mut giver, &field, Change::Put(vec![("f".to_owned(), Scalar::Int(1))]), far);
    commit(&mut other, &key("k"), add("x"), at(0));
    let mut receiver = Replica::new(id(2), config);
    for peer in [&mut giver, &mut other] {
        receiver.handle(Input::PeerUp(peer.me().node), at(0));
        // Each says what it has.
        let digest = Message::Digest { root: receiver.root(), vector: [9; 16], durable: true, exact: true, tip: None };
        for message in feed(peer, Input::Receive { from: id(2).node, message: digest }, at(0)) {
            feed(&mut receiver, Input::Receive { from: peer.me().node, message }, at(0));
        }
    }
    let said = begin(&mut receiver, &giver, at(0));
    finish(&mut receiver, &mut giver, said, |_, _| {});
    assert_eq!(receiver.counters().held, 1);
    let outputs = receiver.handle(Input::Tick, at(6_000));
    let why = RepairEnd::Future;
    assert!(outputs.contains(&Output::Event(Event::RepairAbandoned { from: id(1).node, why })), "{outputs:?}");
    begin(&mut receiver, &giver, at(6_000));
    let progress = receiver.repair_progress().expect("another has begun");
    assert_eq!((progress.from, receiver.counters().repairs_abandoned), (id(3).node, 1), "with another");
}

#[test]
fn unsound_questions_and_answers_are_refused() {
    let (mut giver, mut receiver) = alike(1 << 20);
    let ask = |start, last, shift, words: usize| Ask { start, last, shift, words: vec![0; words] };
    let refused = [
        vec![],
        vec![ask(1, 0, None, 0)],
        vec![ask(0, 9, None, 0), ask(9, 10, None, 0)],
        vec![ask(20, 30, None, 0), ask(0, 9, None, 0)],
        vec![ask(0, u64::MAX, Some(0), 0)],
        vec![ask(0, u64::MAX, Some(56), 255)],
        vec![ask(0, u64::MAX, Some(64), 1)],
        vec![ask(0, u64::MAX, Some(255), 1)],
        vec![ask(0, u64::MAX, Some(40), 1 << 24)],
        vec![Ask { words: vec![2, 1], ..ask(0, 9, None, 0) }],
        (0..5_000).map(|at| ask(2 * at, 2 * at, None, 0)).collect(),
    ];
    for (index, asks) in refused.into_iter().enumerate() {
        let sent =
            feed(&mut giver, Input::Receive { from: id(2).node, message: Message::StateRequest { asks } }, at(0));
        assert_eq!((sent, giver.counters().rejected), (vec![], index as u64 + 1));
    }
    let object = receiver.state().object(&key("k3")).expect("it is there").state();
    let elsewhere = Key::new(Kind::OrSet, "elsewhere").expect("a key");
    let sorted = {
        let mut keys = [key("k1"), key("k2")];
        keys.sort_by_key(Key::position);
        keys
    };
    type Damage<'a> = Box<dyn Fn(&mut u64, &mut Vec<u8>, &mut Vec<Key>) + 'a>;
    let damages: Vec<Damage<'_>> = vec![
        Box::new(|last, _, _| *last = 77),
        Box::new(|_, equal, _| equal.push(0)),
        Box::new(|_, equal, _| equal.truncate(equal.len() - 1)),
        Box::new(|_, _, objects| objects.push(elsewhere.clone())),
        Box::new(|_, _, objects| objects.extend([sorted[1].clone(), sorted[0].clone()])),
        Box::new(|_, _, objects| objects.extend([sorted[0].clone(), sorted[0].clone()])),
    ];
    for (index, damage) in damages.iter().enumerate() {
        // After an answer like these, the next repair from the same giver waits for a while.
        let now = at(100_000 * (index as u64 + 1));
        let asks = asks(&begin(&mut receiver, &giver, now));
        let message = Message::StateRequest { asks: asks.clone() };
        let sent = feed(&mut giver, Input::Receive { from: id(2).node, message }, now);
        let Some(Message::StatePage { seen, ahead, to, mut last, mut equal, .. }) = sent.into_iter().next() else {
            panic!("it answers")
        };
        let stray = Message::StatePage {
            latest: Hlc::default(),
            seen: seen.clone(),
            ahead: ahead.clone(),
            to: to ^ 1,
            last,
            equal: equal.clone(),
            objects: vec![],
        };
        feed(&mut receiver, Input::Receive { from: id(1).node, message: stray }, now);
        assert!(receiver.repair_progress().is_some(), "what was not asked for now is passed over");
        let mut keys = Vec::new();
        damage(&mut last, &mut equal, &mut keys);
        let objects = keys.into_iter().map(|key| (key, object.clone())).collect();
        let message = Message::StatePage { seen, ahead, latest: Hlc::default(), to, last, equal, objects };
        let outputs = receiver.handle(Input::Receive { from: id(1).node, message }, now);
        let why = RepairEnd::Unsound;
        assert!(outputs.contains(&Output::Event(Event::RepairAbandoned { from: id(1).node, why })), "damage {index}");
    }
    assert_eq!(receiver.root(), giver.root(), "nothing of that was taken");
}
