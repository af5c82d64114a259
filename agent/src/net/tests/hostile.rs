//! Members whose credentials are good and whose bytes are not: everybody else talks on, memory comes back, counters say why.

use futures::io::{AsyncReadExt, AsyncWriteExt};

use super::bounds::held;
use super::rogue::{Rogue, frame, negotiation};
use super::*;

/// Every protocol that a member is served, with a valid question or hint.
fn protocols() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("/selvedge/hints/1", frame(0, b"news")),
        ("/selvedge/sync/1", frame(1, b"what")),
        ("/selvedge/members/1", frame(1, b"who")),
        ("/selvedge/call/1", frame(1, b"do")),
        ("/selvedge/artifact/1", frame(1, b"give")),
    ]
}

/// A node that is attacked and a member that talks to it meanwhile.
struct Scene {
    target: Net,
    honest: Net,
    _honest_events: NetEvents,
}

impl Scene {
    async fn new(listen: &str) -> Self {
        let (target, mut events) = start(config(1, &[listen], vec![])).await;
        let (honest, mut honest_events) = start(config(2, &[], target.listen_addresses())).await;
        assert!(matches!(next(&mut events).await, NetEvent::Up { .. }));
        assert!(matches!(next(&mut honest_events).await, NetEvent::Up { .. }));
        echo(events);
        Self { target, honest, _honest_events: honest_events }
    }

    /// The honest member is heard and answered.
    async fn talk(&self) {
        for lane in Lane::ALL {
            let answer = self.honest.request(self.target.node(), lane, vec![1, 2], DEADLINE).await;
            assert_eq!(answer, Ok(vec![1, 2]), "{lane}");
        }
        let before = self.hints_from_honest();
        self.honest.send(self.target.node(), Lane::Sync, b"news".to_vec()).unwrap();
        until("the hint is heard", || self.hints_from_honest() > before).await;
    }

    fn hints_from_honest(&self) -> u64 {
        self.target.peers().iter().find(|link| link.node == self.honest.node()).map_or(0, |link| link.bytes_in)
    }

    /// Nothing of anybody's is held any more.
    async fn is_at_rest(&self, rogue: NodeId) {
        until("all room is given back", || {
            let peers = lock(&self.target.shared.peers);
            let of = |node| peers.desk(node).is_none_or(|desk| desk.held() == (0, 0));
            of(rogue) && of(self.honest.node())
        })
        .await;
        assert_eq!(held(&self.target, &self.honest), (0, 0));
        until("nobody is at the door", || lock(&self.target.shared.strangers).pending() == 0).await;
    }

    fn count(&self, reason: NetReason) -> u64 {
        self.target.counters().of(reason)
    }
}

fn node(seed: u8) -> NodeId {
    node_of_seed([seed; 32])
}

async fn exchanges_that_end_anywhere_do_no_harm(listen: &str) {
    let scene = Scene::new(listen).await;
    let rogue = Rogue::member(9, &scene.target).await;
    for (protocol, payload) in protocols() {
        let whole = [negotiation(protocol), payload].concat();
        for cut in 0..=whole.len() {
            let mut stream = rogue.say(&whole[..cut]).await.expect("who is cut off has done no wrong");
            // By turns it ends politely, and vanishes.
            if cut % 2 == 0 {
                stream.close().await.unwrap_or_default();
            }
        }
    }
    scene.talk().await;
    scene.is_at_rest(node(9)).await;
    assert!(scene.target.peers().iter().any(|link| link.node == node(9) && link.score == 100));
}

#[tokio::test]
async fn exchanges_that_end_anywhere_do_no_harm_over_quic() {
    exchanges_that_end_anywhere_do_no_harm(QUIC).await;
}

#[tokio::test]
async fn exchanges_that_end_anywhere_do_no_harm_over_tcp() {
    exchanges_that_end_anywhere_do_no_harm(TCP).await;
}

/// Says `bad` after each protocol's negotiation until it is thrown out, and checks that it stays out.
async fn is_thrown_out_for(listen: &str, bad: &[u8], offence: Offence, reason: NetReason) {
    let scene = Scene::new(listen).await;
    let mut changes = scene.target.changes();
    for (seed, (protocol, _)) in (9..).zip(protocols()) {
        let mut rogue = Rogue::member(seed, &scene.target).await;
        let before = scene.count(NetReason::ConductRefused);
        let bytes = [negotiation(protocol), bad.to_vec()].concat();
        let mut streams = Vec::new();
        while let Some(stream) = rogue.say(&bytes).await {
            streams.push(stream);
            assert!(streams.len() < 1_000, "{protocol}: it is never thrown out");
            if scene.count(NetReason::ConductRefused) > before {
                break;
            }
        }
        rogue.ended().await;
        assert_eq!(scene.count(NetReason::ConductRefused), before + 1, "{protocol}");
        assert!(Rogue::try_member(seed, &scene.target).await.is_none(), "{protocol}: it is let in again");
        scene.is_at_rest(node(seed)).await;
        let view = scene.target.links().into_iter().find(|link| link.node == Some(node(seed))).expect("it is listed");
        assert!(matches!(view.state, LinkState::Refused { .. }) && view.link.is_none(), "{view:?}");
        assert_eq!(view.last_error, Some(format!("for its conduct: {}", offence.name())));
    }
    scene.talk().await;
    assert!(scene.count(reason) > 0 && scene.target.counters().offences(offence) > 0);
    assert!(scene.count(NetReason::RefusedForConduct) > 0 && scene.count(NetReason::ConductSlowed) > 0);
    let told: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).map(|change| change.event.name()).collect();
    for event in ["up", "slowed", "refused", "down"] {
        assert!(told.contains(&event), "{event} in {told:?}");
    }
}

#[tokio::test]
async fn who_breaks_the_framing_is_thrown_out_over_quic() {
    is_thrown_out_for(QUIC, &frame(77, b"x"), Offence::Malformed, NetReason::IncomingMalformed).await;
}

#[tokio::test]
async fn who_breaks_the_framing_is_thrown_out_over_tcp() {
    is_thrown_out_for(TCP, &frame(77, b"x"), Offence::Malformed, NetReason::IncomingMalformed).await;
}

/// Tag 1 is a hint for the members on a stream of hints, and a question elsewhere.
const ENDLESS: [u8; 5] = [1, 255, 255, 255, 255];

#[tokio::test]
async fn who_announces_too_much_is_thrown_out_over_quic() {
    is_thrown_out_for(QUIC, &ENDLESS, Offence::Oversized, NetReason::IncomingTooLarge).await;
}

#[tokio::test]
async fn who_announces_too_much_is_thrown_out_over_tcp() {
    is_thrown_out_for(TCP, &ENDLESS, Offence::Oversized, NetReason::IncomingTooLarge).await;
}

async fn streams_without_end_and_without_answers_are_bounded(listen: &str) {
    let scene = Scene::new(listen).await;
    let rogue = Rogue::member(9, &scene.target).await;
    let mut streams = Vec::new();
    let attack = async {
        for number in 0..2_000 {
            let (protocol, payload) = &protocols()[number % 5];
            let bytes = match number % 3 {
                // Says nothing more; begins a frame and never ends it; asks and never reads the answer.
                0 => negotiation(protocol),
                1 => [negotiation(protocol), payload[..payload.len() - 1].to_vec()].concat(),
                _ => [negotiation(protocol), payload.clone()].concat(),
            };
            match tokio::time::timeout(Duration::from_millis(200), rogue.say(&bytes)).await {
                Ok(Some(stream)) => streams.push(stream),
                // It is thrown out, or gets no further stream: both are bounds.
                Ok(None) | Err(_) => return,
            }
        }
    };
    within("the attack is over", attack).await;
    scene.talk().await;
    drop((streams, rogue));
    scene.is_at_rest(node(9)).await;
    until("the rogue is gone", || scene.target.peers().len() == 1).await;
    scene.talk().await;
}

#[tokio::test]
async fn streams_without_end_and_without_answers_are_bounded_over_quic() {
    streams_without_end_and_without_answers_are_bounded(QUIC).await;
}

#[tokio::test]
async fn streams_without_end_and_without_answers_are_bounded_over_tcp() {
    streams_without_end_and_without_answers_are_bounded(TCP).await;
}

/// Whoever takes no hints loses them; the others do not notice.
async fn who_never_reads_loses_hints(listen: &str) {
    let scene = Scene::new(listen).await;
    let mut rogue = Rogue::member(9, &scene.target).await;
    rogue.turn_deaf();
    until("it is connected", || scene.target.peers().len() == 2).await;
    until("its queue is full", || {
        (0..100).for_each(|_| scene.target.send(node(9), Lane::Sync, vec![0; 60_000]).unwrap_or_default());
        scene.count(NetReason::HintQueueFull) > 0
    })
    .await;
    let link = scene.target.peers().into_iter().find(|link| link.node == node(9)).expect("it is connected");
    assert!(link.queued_bytes <= Class::Sync.queue_bytes_max());
    assert!(link.drops.iter().any(|(reason, times)| *reason == NetReason::HintQueueFull && *times > 0));
    scene.talk().await;
    scene.target.expel(node(9));
    rogue.ended().await;
    until("what waited is counted as lost", || scene.count(NetReason::HintLost) > 0).await;
    scene.talk().await;
}

#[tokio::test]
async fn who_never_reads_loses_hints_over_quic() {
    who_never_reads_loses_hints(QUIC).await;
}

#[tokio::test]
async fn who_never_reads_loses_hints_over_tcp() {
    who_never_reads_loses_hints(TCP).await;
}

/// A member that keeps its connection and says nothing on it any more, pings unanswered among the rest, is let go.
#[tokio::test]
async fn a_half_open_connection_is_closed() {
    let scene = Scene::new(TCP).await;
    let mut rogue = Rogue::member(9, &scene.target).await;
    until("it is connected", || scene.target.peers().len() == 2).await;
    rogue.fall_silent();
    rogue.ended().await;
    assert!(scene.count(NetReason::PingUnanswered) > 0);
    until("it is gone", || scene.target.peers().len() == 1).await;
    scene.talk().await;
}

/// A member that breaks off every stream of hints that we open gets new ones, ever more seldom, and nobody else notices.
#[tokio::test]
async fn streams_that_are_broken_are_opened_again() {
    let scene = Scene::new(TCP).await;
    let mut rogue = Rogue::member(9, &scene.target).await;
    until("it is connected", || scene.target.peers().len() == 2).await;
    rogue.break_hints();
    until("several streams broke", || {
        scene.target.send(node(9), Lane::Sync, vec![0; 16]).unwrap_or_default();
        rogue.broken() >= 3
    })
    .await;
    scene.talk().await;
    scene.target.expel(node(9));
    rogue.ended().await;
}

#[tokio::test]
async fn an_unknown_protocol_is_not_served() {
    let scene = Scene::new(TCP).await;
    let rogue = Rogue::member(9, &scene.target).await;
    let mut stream = rogue.say(&negotiation("/selvedge/nonsense/1")).await.unwrap();
    let mut heard = Vec::new();
    drop(within("it ends", stream.read_to_end(&mut heard)).await);
    assert!(heard.ends_with(b"na\n"), "{:?}", String::from_utf8_lossy(&heard));
    scene.talk().await;
}
