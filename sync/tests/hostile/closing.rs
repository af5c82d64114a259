//! Lies about what is closed, what cannot be given, and who is out.

use super::*;

#[test]
fn a_forged_closing_makes_nobody_forget() {
    let mut members = Members::of(3);
    for _ in 0..20 {
        (0..3).for_each(|index| members.write(index));
        members.pass(100);
    }
    members.pass(3_000);
    // Each of the streams is closed where they had been before, and where they are now.
    let own = stream(LIAR);
    let entry = |index: usize, through: u64| {
        let bytes = [&node(index).0[..], &1_u64.to_be_bytes(), &through.to_be_bytes()].concat();
        let over = Vec::new();
        (key("orset/selvedge:retired"), Op::OrSet(vec![Assign { member: Scalar::Bytes(bytes), value: Some(()), over }]))
    };
    for (seq, ops) in [(1, entry(0, 1)), (2, entry(1, 20))] {
        let commit = Commit { stream: own, seq, hlc: Hlc::from_millis(WALL_MS), request: None, ops: vec![ops] };
        let batch = Batch::new(own, seq, vec![commit.encode()]).sealed(&HashKeys);
        (0..3).for_each(|index| members.send(index, batch.clone()));
    }
    for _ in 0..20 {
        members.pass(500);
        (0..3).for_each(|index| members.write(index));
    }
    members.pass(10_000);
    let anew = |(_, event): &(usize, Event)| matches!(event, Event::BegunAnew { .. });
    assert!(!members.events.iter().any(anew), "{:?}", members.events);
    let streams: Vec<Stream> = (0..3).map(node).map(stream).collect();
    for replica in &members.replicas {
        assert_eq!(streams.iter().map(|of| replica.seen().seq(of)).collect::<Vec<_>>(), [40, 40, 40]);
    }
    assert!(members.replicas.iter().all(|replica| replica.counters().closings_denied >= 1));
}

#[test]
fn what_cannot_be_given_by_name_holds_up_no_other_stream_and_is_told_on() {
    let mut members = Members::of(1);
    let own = stream(LIAR);
    let other = stream(NodeId([7; 32]));
    members.send(0, Batch::new(other, 1, vec![word(other, 1, "sealed")]).sealed(&HashKeys));
    assert_eq!((members.replicas[0].counters().unsealed, members.offences(Offence::Unsealed)), (0, 0));
    members.send(0, Batch::new(own, 1, vec![word(own, 1, "unsealed")]));
    assert_eq!((members.replicas[0].counters().unsealed, members.offences(Offence::Unsealed)), (1, 1));
    members.heard.clear();
    let seen: VersionVector = [(stream(node(5)), 1)].into_iter().collect();
    members.now_ms += 5_000;
    members.lie(0, Message::Vector { seen, behind: vec![], root: ContentHash::default(), answer: false, tip: None });
    let gives = |message: &Message| matches!(message, Message::Commits { batches, .. } if batches[0].stream == other);
    let at = members.heard.iter().position(|(_, message)| gives(message)).expect("the other stream is given");
    assert_eq!(members.heard[at + 1].1, Message::Forgotten);
}

#[test]
fn a_full_set_of_revocations_takes_one_more() {
    let mut members = Members::of(1);
    let own = stream(LIAR);
    for seq in 1..=12 {
        let member =
            |index: u64| Scalar::Bytes([[7; 1_000].as_slice(), &[seq, index].map(u64::to_le_bytes).concat()].concat());
        let ops = vec![(key("gset/selvedge:revoked"), Op::GSet((0..200).map(member).collect()))];
        let commit = Commit { stream: own, seq, hlc: Hlc::from_millis(WALL_MS), request: None, ops };
        members.send(0, Batch::new(own, seq, vec![commit.encode()]).sealed(&HashKeys));
    }
    assert_eq!(members.replicas[0].seen().seq(&own), 12, "{:?}", members.events);
    let bytes = |members: &Members| {
        members.replicas[0].state().object(&key("gset/selvedge:revoked")).map(|object| object.content().bytes())
    };
    let before = bytes(&members);
    assert!(before > Some(selvedge_sync::limits::OBJECT_BYTES_MAX));
    let changes = vec![(key("gset/selvedge:revoked"), Change::Add(vec!["revoked".into()]))];
    members.feed(0, Input::Commit { ticket: 0, changes, request: None });
    assert!(bytes(&members) > before, "a revocation is refused");
}
