//! What others can do to a member by what they say of its own stream.

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
