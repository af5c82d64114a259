//! What others can do to a member by what they say of its own stream.

use selvedge_sync::crdt::Value;
use selvedge_sync::replica::Head;

use super::*;

#[test]
fn what_is_not_durable_is_signed_and_shown_to_nobody() {
    let mut members = Members::of(1);
    members.write(0);
    let own = stream(node(0));
    // The next waits for the store.
    let now = Time { wall_ms: WALL_MS, mono_ms: 0 };
    let changes = vec![(key("gcounter/hits"), Change::Increment(1))];
    drop(members.replicas[0].handle(Input::Commit { ticket: 0, changes, request: None }, now));
    assert_eq!((members.replicas[0].seen().seq(&own), members.replicas[0].durable().seq(&own)), (2, 1));
    let mut witness_of = |seq| {
        members.heard.clear();
        members.lie(0, Message::Heads { heads: vec![Head(own, seq, vec![42])] });
        members.heard.iter().any(|(_, message)| matches!(message, Message::Witness { .. }))
    };
    assert!(witness_of(1), "of what is durable its writer says what it signed");
    assert!(
        !witness_of(2),
        "after a crash the name would be given again, and this would prove that it was given twice"
    );
}

/// What proves that a name of member 0 was given twice, by somebody who has its key.
fn proof_against(of: Stream, seq: u64) -> Message {
    let testimony = |text: &str| {
        let batch = Batch::new(of, seq, vec![word(of, seq, text)]).sealed(&HashKeys);
        let hashes = batch.commits.iter().map(CommitBytes::hash).collect();
        selvedge_sync::seal::Testimony { seal: batch.seals[0], hashes }
    };
    Message::Proof(Box::new(Proof { stream: of, one: testimony("one"), other: testimony("other") }))
}

/// What a member counts.
fn hits(replica: &Replica) -> Option<Value> {
    replica.state().object(&key("gcounter/hits")).map(|object| object.value())
}

#[test]
fn a_frozen_stream_is_left_although_the_teller_is_gone() {
    let mut members = Members::of(3);
    members.write(0);
    members.pass(1_000);
    let own = stream(node(0));
    // The last before it is told is on nobody's disk but its own.
    members.feed(0, Input::PeerDown(node(1)));
    members.feed(0, Input::PeerDown(node(2)));
    members.write(0);
    members.lie(0, proof_against(own, 9));
    members.feed(0, Input::PeerDown(LIAR));
    members.pass(10_000);
    assert!(members.replicas[0].is_fenced(), "nobody takes this stream any more, and nobody is there to ask");
    members.write(0);
    assert_eq!(members.replicas[0].seen().seq(&own), 2, "what would never leave is not acknowledged");
    members.feed(0, Input::PeerUp(node(1)));
    members.feed(0, Input::PeerUp(node(2)));
    members.pass(10_000);
    assert!(members.replicas[0].me().incarnation > Incarnation(1) && !members.replicas[0].is_fenced());
    members.write(0);
    members.pass(10_000);
    let roots: Vec<ContentHash> = members.replicas.iter().map(Replica::root).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "what it wrote before and after is everywhere");
    assert_eq!(hits(&members.replicas[1]), Some(Value::Counter(3)), "and once");
}

#[test]
fn a_frozen_stream_is_not_written_after_a_restart() {
    let mut members = Members::of(2);
    let own = stream(node(0));
    members.lie(1, proof_against(own, 1));
    let proofs: Vec<Proof> = members.replicas[1].proofs().cloned().collect();
    let recovery = Recovery { proofs, ..Recovery::default() };
    let me = ReplicaId { node: node(0), incarnation: Incarnation(1) };
    members.replicas[0] = Replica::recover(me, Config::default(), recovery).expect("sound");
    members.write(0);
    assert_eq!(members.replicas[0].seen().seq(&own), 0);
    members.feed(0, Input::PeerUp(node(1)));
    members.pass(2_000);
    assert!(members.replicas[0].me().incarnation > Incarnation(1) && !members.replicas[0].is_fenced());
}

#[test]
fn claims_that_nothing_is_shown_for_make_a_few_new_lives_and_no_more() {
    let mut members = Members::of(2);
    let mut lives = BTreeSet::new();
    for round in 0..600 {
        members.heard.clear();
        members.write(0);
        let own = Stream::global(members.replicas[0].me());
        lives.insert(own.replica.incarnation);
        let last = members.replicas[0].seen().seq(&own);
        let seen: VersionVector = [(own, last + 7)].into_iter().collect();
        let claim = Message::Vector { seen, behind: vec![], root: ContentHash::default(), answer: false, tip: None };
        let shown = members.heard.iter().find_map(|(_, message)| match message {
            Message::Commits { batches, .. } => batches.iter().find(|batch| batch.stream == own).cloned(),
            _ => None,
        });
        members.lie(0, claim);
        // All that was sent is shown, or nothing.
        let shown = shown.filter(|_| round % 2 == 0);
        let incarnation = own.replica.incarnation;
        members.lie(0, Message::Recalled { incarnation, known: last + 7, batch: shown });
        members.pass(1_000);
    }
    assert!(lives.len() <= 7, "{} lives in ten minutes", lives.len());
    assert!(members.offences(Offence::Unfounded) >= 1);
    members.pass(10_000);
    members.write(0);
    members.pass(2_000);
    assert!(!members.replicas[0].is_fenced() && members.replicas[0].root() == members.replicas[1].root());
}
