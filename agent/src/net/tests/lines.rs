//! Calls on a line: small questions share a stream that stays open, and each still ends once, within its bounds.

use std::pin::pin;

use super::*;

/// A connected pair of which the second has a line to the first.
async fn lined(listen: &str) -> ((Net, NetEvents), (Net, NetEvents)) {
    let ((a, mut a_events), (b, b_events)) = pair(listen).await;
    let first = ask(&b, &a, vec![1]);
    let NetEvent::Message { bytes, reply, .. } = next(&mut a_events).await else { panic!() };
    reply.send(bytes);
    assert_eq!(first.await.unwrap(), Ok(vec![1]), "asked before there was a line");
    until("a line", || has_line(&b, &a)).await;
    ((a, a_events), (b, b_events))
}

fn has_line(b: &Net, a: &Net) -> bool {
    lock(&b.shared.peers).line(a.node()).is_some()
}

fn ask(b: &Net, a: &Net, bytes: Vec<u8>) -> tokio::task::JoinHandle<Result<Vec<u8>, RequestError>> {
    let (b, to) = (b.clone(), a.node());
    tokio::spawn(async move { b.request(to, Lane::Call, bytes, DEADLINE).await })
}

/// The next question, which is one of calls.
async fn question(events: &mut NetEvents) -> (Vec<u8>, Reply) {
    let NetEvent::Message { lane: Lane::Call, bytes, reply, .. } = next(events).await else { panic!() };
    (bytes, reply)
}

async fn answers_find_their_questions(listen: &str) {
    let ((a, mut a_events), (b, _b_events)) = lined(listen).await;
    let large = line::QUESTION_BYTES_MAX + 1;
    let asked: Vec<_> = [1, 2, 3, line::QUESTION_BYTES_MAX, large, Lane::Call.frame_bytes_max()]
        .into_iter()
        .map(|bytes| (bytes, ask(&b, &a, vec![u8::try_from(bytes % 251).unwrap(); bytes])))
        .collect();
    let mut held = Vec::new();
    for _ in &asked {
        held.push(question(&mut a_events).await);
    }
    // The last first: nobody's answer waits for another's.
    held.into_iter().rev().for_each(|(bytes, reply)| reply.send(bytes));
    for (bytes, answer) in asked {
        let answer = within("an answer", answer).await.unwrap();
        assert!(answer.is_ok_and(|answer| answer == vec![u8::try_from(bytes % 251).unwrap(); bytes]), "{bytes}");
    }
    let (out, back) = (b.counters().lane(Lane::Call), a.counters().lane(Lane::Call));
    assert_eq!((out.frames_out, out.bytes_out, out.bytes_in), (back.frames_in, back.bytes_in, back.bytes_out));
}

#[tokio::test]
async fn answers_find_their_questions_over_quic() {
    answers_find_their_questions(QUIC).await;
}

#[tokio::test]
async fn answers_find_their_questions_over_tcp() {
    answers_find_their_questions(TCP).await;
}

/// A small answer is not kept waiting by a large one that nobody has read yet: they take turns.
#[tokio::test]
async fn a_large_answer_holds_up_no_small_one() {
    let ((a, mut a_events), (b, _b_events)) = lined(QUIC).await;
    let (large, small) = (ask(&b, &a, vec![1]), ask(&b, &a, vec![2]));
    let ((first, one), (_, two)) = (question(&mut a_events).await, question(&mut a_events).await);
    let (one, two) = if first == [1] { (one, two) } else { (two, one) };
    one.send(vec![7; Lane::Call.frame_bytes_max()]);
    two.send(vec![8]);
    assert_eq!(within("the small one", small).await.unwrap(), Ok(vec![8]));
    assert!(!large.is_finished(), "all of the large one was written first");
    assert_eq!(within("the large one", large).await.unwrap().map(|answer| answer.len()), Ok(4 * 1024 * 1024));
}

#[tokio::test]
async fn a_question_on_a_line_ends_once_whatever_the_other_side_does() {
    let ((a, mut a_events), (b, _b_events)) = lined(TCP).await;
    let dropped = ask(&b, &a, vec![]);
    drop(question(&mut a_events).await);
    assert_eq!(dropped.await.unwrap(), Err(RequestError::Unanswered));

    let too_much = ask(&b, &a, vec![]);
    question(&mut a_events).await.1.send(vec![0; Lane::Call.frame_bytes_max() + 1]);
    assert_eq!(too_much.await.unwrap(), Err(RequestError::AnswerTooLarge));

    let patience = Duration::from_millis(50);
    assert_eq!(b.request(a.node(), Lane::Call, vec![], patience).await, Err(RequestError::TimedOut));
    question(&mut a_events).await.1.send(b"too late".to_vec());
    let next = ask(&b, &a, vec![3]);
    let (bytes, reply) = question(&mut a_events).await;
    reply.send(bytes);
    assert_eq!(next.await.unwrap(), Ok(vec![3]), "an answer that nobody waits for hurts nobody");

    let cut = ask(&b, &a, vec![]);
    let _held = question(&mut a_events).await;
    a.shutdown().await;
    let cut = cut.await.unwrap();
    assert!(matches!(cut, Err(RequestError::Closed)), "{cut:?}");
    until("no line is left", || !has_line(&b, &a)).await;
}

#[tokio::test]
async fn too_many_open_questions_on_a_line_are_refused_here() {
    let ((a, mut a_events), (b, _b_events)) = lined(QUIC).await;
    let open: Vec<_> = (0..Lane::Call.requests_in_flight_max()).map(|_| ask(&b, &a, vec![4])).collect();
    let mut held = Vec::new();
    for _ in &open {
        held.push(question(&mut a_events).await.1);
    }
    assert_eq!(ask(&b, &a, vec![]).await.unwrap(), Err(RequestError::Saturated));
    assert_eq!(bounds::held(&a, &b).0, open.len());
    held.into_iter().for_each(|reply| reply.send(vec![5]));
    for question in open {
        assert_eq!(question.await.unwrap(), Ok(vec![5]));
    }
    until("its room is given back", || bounds::held(&a, &b) == (0, 0)).await;
}

/// A peer that speaks no lines, as those of the version before: asked on a stream for each question, for ever.
#[tokio::test]
async fn whoever_knows_no_lines_is_asked_without() {
    let ((a, a_events), (b, _b_events)) = pair(QUIC).await;
    echo(a_events);
    lock(&b.shared.peers).line(a.node());
    for _ in 0..3 {
        let (large, small) = (vec![1; line::QUESTION_BYTES_MAX + 1], vec![2]);
        assert_eq!(b.request(a.node(), Lane::Call, large.clone(), DEADLINE).await, Ok(large));
        assert_eq!(b.request(a.node(), Lane::Call, small.clone(), DEADLINE).await, Ok(small));
    }
}

/// A peer that reads nothing of a line: callers give up one after the other, and what they asked does not stay.
async fn questions_that_nobody_waits_for_do_not_pile_up(listen: &str) {
    let (a, mut a_events) = start(config(1, &[listen], vec![])).await;
    let rogue = rogue::Rogue::member(6, &a).await;
    let NetEvent::Up { node } = next(&mut a_events).await else { panic!() };
    let line = || lock(&a.shared.peers).line(node);
    until("a line", || line().is_some()).await;
    rogue.turn_deaf();
    let line = line().expect("it was there");
    for _ in 0..10_000 {
        let mut question = pin!(a.request(node, Lane::Call, vec![7; line::QUESTION_BYTES_MAX], DEADLINE));
        assert!(futures::poll!(&mut question).is_pending());
    }
    assert_eq!(line.unwritten(), 0);
}

#[tokio::test]
async fn questions_that_nobody_waits_for_do_not_pile_up_over_quic() {
    questions_that_nobody_waits_for_do_not_pile_up(QUIC).await;
}

#[tokio::test]
async fn questions_that_nobody_waits_for_do_not_pile_up_over_tcp() {
    questions_that_nobody_waits_for_do_not_pile_up(TCP).await;
}
