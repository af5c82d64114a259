//! Nothing grows without a bound, and everything that is refused says why.

use super::*;

#[tokio::test]
async fn frames_above_the_limit_are_refused_on_either_way() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    let max = Lane::Members.frame_bytes_max();
    let too_large = RequestError::TooLarge { bytes: max + 1, max };
    assert_eq!(b.request(a.node(), Lane::Members, vec![0; max + 1], DEADLINE).await, Err(too_large));
    assert_eq!(b.send(a.node(), Lane::Members, vec![0; max + 1]), Err(SendError::TooLarge { bytes: max + 1, max }));
    assert_eq!(b.counters().of(NetReason::HintTooLarge), 1);

    let (answer, ()) = tokio::join!(b.request(a.node(), Lane::Members, vec![0; max], DEADLINE), async {
        let NetEvent::Message { bytes, reply, .. } = next(&mut a_events).await else { panic!() };
        reply.send(vec![0; bytes.len() + 1]);
    });
    assert_eq!(answer, Err(RequestError::AnswerTooLarge));
}

#[tokio::test]
async fn a_question_ends_once_whatever_the_other_side_does() {
    let ((a, mut a_events), (b, _b_events)) = pair(TCP).await;
    let (answer, ()) = tokio::join!(b.request(a.node(), Lane::Call, vec![], DEADLINE), async {
        let NetEvent::Message { reply, .. } = next(&mut a_events).await else { panic!() };
        drop(reply);
    });
    assert_eq!(answer, Err(RequestError::Unanswered));

    let patience = Duration::from_millis(50);
    assert_eq!(b.request(a.node(), Lane::Call, vec![], patience).await, Err(RequestError::TimedOut));
    let NetEvent::Message { reply, .. } = next(&mut a_events).await else { panic!() };
    reply.send(b"too late".to_vec());

    let (answer, ()) = tokio::join!(b.request(a.node(), Lane::Call, vec![], DEADLINE), async {
        let NetEvent::Message { .. } = next(&mut a_events).await else { panic!() };
        a.shutdown().await;
    });
    assert!(matches!(answer, Err(RequestError::Closed | RequestError::Unanswered)), "{answer:?}");
    assert_eq!(a.request(b.node(), Lane::Call, vec![], DEADLINE).await, Err(RequestError::Stopped));
}

#[tokio::test]
async fn too_many_open_questions_are_refused_here() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    let open: Vec<_> = (0..Lane::Artifact.requests_in_flight_max())
        .map(|_| {
            let (b, to) = (b.clone(), a.node());
            tokio::spawn(async move { b.request(to, Lane::Artifact, vec![], DEADLINE).await })
        })
        .collect();
    let mut replies = Vec::new();
    for _ in &open {
        let NetEvent::Message { reply, .. } = next(&mut a_events).await else { panic!() };
        replies.push(reply);
    }
    let refused = b.request(a.node(), Lane::Artifact, vec![], DEADLINE).await;
    assert_eq!(refused, Err(RequestError::Saturated));
    assert_eq!(b.counters().of(NetReason::RequestSaturated), 1);
    replies.into_iter().for_each(|reply| reply.send(vec![1]));
    for question in open {
        assert_eq!(question.await.unwrap(), Ok(vec![1]));
    }
}

/// Sends hints until the receiver's share, the way to it and the sender's own queue are full, and nothing moves any more.
async fn fill(b: &Net, a: &Net) -> usize {
    let (mut sent, mut moved) = (0, 0);
    until("nothing moves", || {
        (0..1_000).for_each(|_| sent += usize::from(b.send(a.node(), Lane::Sync, vec![7; 16 * 1024]).is_ok()));
        let (before, now) = (moved, b.peers()[0].bytes_out);
        moved = now;
        held(a, b).0 == backlog::HINTS_MAX && before == now
    })
    .await;
    sent
}

/// What `b` has handed to `a` that is not dealt with.
pub(super) fn held(a: &Net, b: &Net) -> (usize, usize) {
    lock(&a.shared.peers).desk(b.node()).unwrap().held()
}

/// A consumer that takes nothing holds a peer's hints back, at the peer; everything else still gets through.
async fn a_slow_consumer_is_bounded(listen: &str) {
    let ((a, mut a_events), (b, _b_events)) = pair(listen).await;
    let sent = fill(&b, &a).await;
    assert!(b.peers()[0].queued_bytes > 3 * 1024 * 1024 && b.peers()[0].drops[0].0 == NetReason::HintQueueFull);
    assert_eq!(held(&a, &b), (backlog::HINTS_MAX, backlog::HINTS_MAX * 16 * 1024), "that much is held here");

    let asking = tokio::spawn({
        let (b, to) = (b.clone(), a.node());
        async move { b.request(to, Lane::Call, vec![1], DEADLINE).await }
    });
    b.send(a.node(), Lane::Members, vec![2]).unwrap();
    let (mut hints, mut gossip) = (0, 0);
    while hints < sent || gossip == 0 {
        match next(&mut a_events).await {
            NetEvent::Message { lane: Lane::Call, bytes, reply, .. } => reply.send(bytes),
            NetEvent::Message { lane: Lane::Members, .. } => {
                assert!(hints < sent, "gossip is ahead of what waits");
                gossip += 1;
            }
            NetEvent::Message { .. } => hints += 1,
            NetEvent::Up { .. } | NetEvent::Down { .. } => panic!("the link stays"),
        }
    }
    assert_eq!(within("the answer", asking).await.unwrap(), Ok(vec![1]));
    assert_eq!(held(&a, &b), (0, 0));
    assert_eq!(b.counters().of(NetReason::HintLost), 0);
}

#[tokio::test]
async fn a_slow_consumer_is_bounded_over_quic() {
    a_slow_consumer_is_bounded(QUIC).await;
}

#[tokio::test]
async fn a_slow_consumer_is_bounded_over_tcp() {
    a_slow_consumer_is_bounded(TCP).await;
}

/// Presence is told even when the share was full while it changed.
#[tokio::test]
async fn a_slow_consumer_hears_of_departures() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    fill(&b, &a).await;
    b.shutdown().await;
    let last = within("the queue's end", async {
        loop {
            match next(&mut a_events).await {
                NetEvent::Down { node } => return node,
                NetEvent::Message { .. } | NetEvent::Up { .. } => {}
            }
        }
    })
    .await;
    assert_eq!(last, b.node());
    until("what was lost is counted", || b.counters().of(NetReason::HintLost) > 0).await;
}

/// One member that sends as fast as it can costs another's hints one turn each, however slowly they are taken.
#[tokio::test]
async fn a_member_that_floods_delays_no_other() {
    let (a, mut a_events) = start(config(1, &[QUIC], vec![])).await;
    let (loud, _loud_events) = start(config(2, &[], a.listen_addresses())).await;
    let (quiet, _quiet_events) = start(config(3, &[], a.listen_addresses())).await;
    for _ in 0..2 {
        assert!(matches!(next(&mut a_events).await, NetEvent::Up { .. }));
    }
    until("both are connected", || loud.peers().len() + quiet.peers().len() == 2).await;
    fill(&loud, &a).await;
    for number in 0..100 {
        quiet.send(a.node(), Lane::Sync, vec![number]).unwrap();
        until("it is here", || held(&a, &quiet).0 == 1).await;
        let between = within("its turn", async {
            for taken in 0.. {
                let NetEvent::Message { from, .. } = next(&mut a_events).await else { panic!() };
                if from == quiet.node() {
                    return taken;
                }
                loud.send(a.node(), Lane::Sync, vec![7; 16 * 1024]).unwrap_or_default();
            }
            unreachable!()
        });
        assert!(between.await <= 1, "number {number}");
    }
}
