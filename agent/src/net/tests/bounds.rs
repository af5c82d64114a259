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

/// A consumer that takes nothing makes its peers' hints drop and their questions end as busy, and recovers at once.
#[tokio::test]
async fn a_slow_consumer_is_bounded() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    let room = backlog::BACKLOG_FRAMES_MAX;
    let mut sent = 0;
    until("the hints overflow", || {
        if b.send(a.node(), Lane::Sync, vec![0; 16]).is_ok() {
            sent += 1;
        }
        a.counters().of(NetReason::IncomingHintDropped) > 0
    })
    .await;
    assert_eq!(b.request(a.node(), Lane::Call, vec![], DEADLINE).await, Err(RequestError::Busy));
    assert_eq!(a.counters().of(NetReason::IncomingRequestBusy), 1);
    until("every hint has come to its end", || {
        let dropped = b.counters().of(NetReason::HintPeerBusy);
        usize::try_from(dropped).unwrap() == sent - room
    })
    .await;
    let waiting = std::iter::from_fn(|| a_events.try_recv().ok()).count();
    assert_eq!(waiting, room, "what was not dropped is there, and no more");

    echo(a_events);
    assert_eq!(b.request(a.node(), Lane::Call, vec![1], DEADLINE).await, Ok(vec![1]));
}

/// Presence is told even when the queue was full while it changed.
#[tokio::test]
async fn a_slow_consumer_hears_of_departures() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    until("the hints overflow", || {
        b.send(a.node(), Lane::Sync, vec![0; 16]).unwrap_or_default();
        a.counters().of(NetReason::IncomingHintDropped) > 0
    })
    .await;
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
}
