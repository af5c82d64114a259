//! Who is no member reaches nothing; who was invited gets an answer.

use futures::StreamExt;
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{SwarmBuilder, noise, ping, tcp, yamux};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn another_cluster_is_refused(listen: &str) {
    let (a, mut a_events) = start(config(1, &[listen], vec![])).await;
    let stranger = NetConfig { admission: Arc::new(Word("guess")), ..config(2, &[], a.listen_addresses()) };
    let (b, mut b_events) = start(stranger).await;
    until("both have counted it, more than once", || {
        a.counters().of(NetReason::AdmissionRefusedIncoming) >= 2
            && b.counters().of(NetReason::AdmissionRefusedOutgoing) >= 2
    })
    .await;
    assert!(a.peers().is_empty() && b.peers().is_empty());
    assert!(a_events.try_recv().is_none() && b_events.try_recv().is_none(), "nobody was ever up");
    assert_eq!(b.unreached_bootstrap(), a.listen_addresses());
    assert_eq!((a.counters().of(NetReason::DialOk), b.counters().of(NetReason::DialOk)), (0, 0));

    // Nor is anybody else kept from connecting meanwhile.
    let (c, mut c_events) = start(config(3, &[], a.listen_addresses())).await;
    assert!(matches!(next(&mut c_events).await, NetEvent::Up { node } if node == a.node()));
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { node } if node == c.node()));
}

#[tokio::test]
async fn another_cluster_is_refused_over_quic() {
    another_cluster_is_refused(QUIC).await;
}

#[tokio::test]
async fn another_cluster_is_refused_over_tcp() {
    another_cluster_is_refused(TCP).await;
}

/// An ordinary libp2p node that knows nothing of admission.
fn foreigner() -> Swarm<ping::Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| ping::Behaviour::default())
        .unwrap()
        .build()
}

async fn a_foreigner_gets_nothing(listen: &str) {
    let (net, mut events) = start(config(1, &[listen], vec![])).await;
    let mut foreigner = foreigner();
    foreigner.dial(net.listen_addresses()[0].parse::<Multiaddr>().unwrap()).unwrap();
    within("it is thrown out", async {
        loop {
            match foreigner.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return,
                SwarmEvent::Behaviour(ping::Event { result, .. }) => assert!(result.is_err(), "it was served"),
                _ => {}
            }
        }
    })
    .await;
    until("it is counted", || net.counters().of(NetReason::AdmissionRefusedIncoming) == 1).await;
    assert!(net.peers().is_empty() && events.try_recv().is_none());
}

#[tokio::test]
async fn a_libp2p_node_without_admission_gets_nothing_over_quic() {
    a_foreigner_gets_nothing(QUIC).await;
}

#[tokio::test]
async fn a_libp2p_node_without_admission_gets_nothing_over_tcp() {
    a_foreigner_gets_nothing(TCP).await;
}

/// Believes everybody, and has no credentials itself.
struct Gullible;

impl Admission for Gullible {
    fn credentials(&self) -> Vec<u8> {
        Vec::new()
    }

    fn judge(&self, _: NodeId, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
}

async fn a_listener_that_welcomes_without_a_proof_is_refused(listen: &str) {
    let keypair = identity::keypair([9; 32]);
    let gate = Arc::new(gate::Gate::alone(Arc::new(Gullible)));
    let stack = transport::build(&keypair, gate).unwrap();
    let options = libp2p::swarm::Config::with_tokio_executor();
    let swarm = Swarm::new(stack, ping::Behaviour::default(), keypair.public().to_peer_id(), options);
    is_not_talked_to(swarm, listen).await;
}

#[tokio::test]
async fn a_listener_that_welcomes_without_a_proof_is_refused_over_quic() {
    a_listener_that_welcomes_without_a_proof_is_refused(QUIC).await;
}

#[tokio::test]
async fn a_listener_that_welcomes_without_a_proof_is_refused_over_tcp() {
    a_listener_that_welcomes_without_a_proof_is_refused(TCP).await;
}

async fn is_not_talked_to(mut foreigner: Swarm<ping::Behaviour>, listen: &str) {
    foreigner.listen_on(listen.parse().unwrap()).unwrap();
    let address = within("it listens", async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = foreigner.select_next_some().await {
                return address;
            }
        }
    })
    .await;
    let serving = tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(ping::Event { result: Ok(_), .. }) = foreigner.select_next_some().await {
                panic!("we served it");
            }
        }
    });
    let (net, _events) = start(config(1, &[], vec![address.to_string()])).await;
    until("it is counted", || net.counters().of(NetReason::AdmissionRefusedOutgoing) >= 1).await;
    assert!(net.peers().is_empty());
    assert!(!serving.is_finished());
    serving.abort();
}

#[tokio::test]
async fn a_foreign_listener_is_not_talked_to_over_quic() {
    is_not_talked_to(foreigner(), QUIC).await;
}

#[tokio::test]
async fn a_foreign_listener_is_not_talked_to_over_tcp() {
    is_not_talked_to(foreigner(), TCP).await;
}

#[tokio::test]
async fn garbage_and_silence_on_the_socket_are_cut_off_in_time() {
    let (net, _events) = start(config(1, &[TCP], vec![])).await;
    let address = address::socket(&net.listen_addresses()[0].parse().unwrap()).unwrap();
    for said in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xFF; 4_096], b""] {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        // A peer that has already been cut off may not be able to write any more.
        drop(socket.write_all(said).await);
        let mut heard = Vec::new();
        let end = within("it is cut off", socket.read_to_end(&mut heard)).await;
        assert!(end.is_err() || heard.len() < 64, "it was told {} bytes", heard.len());
    }
    until("all are counted", || net.counters().of(NetReason::IncomingFailed) == 3).await;
    assert_eq!(net.counters().of(NetReason::AdmissionRefusedIncoming), 0, "none of them came as far as that");
    assert!(net.peers().is_empty());
}

/// Knows one invitation, and doubles what it is asked; another cannot be looked at.
struct Doubler;

impl Registrar for Doubler {
    fn answer(
        &self,
        _: NodeId,
        question: Vec<u8>,
    ) -> futures::future::BoxFuture<'static, Result<Option<Vec<u8>>, Later>> {
        Box::pin(async move {
            match question[0] {
                7 => Ok(Some(question.repeat(2))),
                9 => Err(Later),
                _ => Ok(None),
            }
        })
    }
}

async fn whoever_is_invited_is_answered(listen: &str) {
    let registrar: Arc<dyn Registrar> = Arc::new(Doubler);
    let (net, mut events) = start(NetConfig { registrar: Some(registrar), ..config(1, &[listen], vec![]) }).await;
    let address = net.listen_addresses()[0].clone();
    let mut heard = Vec::new();
    let joined = join([2; 32], &address, |other, answer| {
        assert_eq!(other, net.node(), "the transport tells who answers");
        heard.extend(answer.map(<[u8]>::to_vec));
        Ok::<_, std::convert::Infallible>((heard.len() < 2).then(|| vec![7; heard.len() + 1]))
    });
    assert!(within("it is answered", joined).await.is_ok());
    assert_eq!(heard, [vec![7; 2], vec![7; 4]]);
    until("it is counted", || net.counters().of(NetReason::Joined) == 1).await;

    let nothing = join([3; 32], &address, |_, _| Ok::<_, std::convert::Infallible>(Some(vec![8])));
    assert!(matches!(within("it is sent away", nothing).await, Err(JoinFailed::NotInvited)));
    let later = join([5; 32], &address, |_, _| Ok::<_, std::convert::Infallible>(Some(vec![9])));
    assert!(matches!(within("it is to come again", later).await, Err(JoinFailed::Later)));
    let endless = join([4; 32], &address, |_, _| Ok::<_, std::convert::Infallible>(Some(vec![7])));
    assert!(matches!(within("it is cut off", endless).await, Err(JoinFailed::Meeting(_))));
    until("they are counted", || net.counters().of(NetReason::AdmissionRefusedIncoming) == 2).await;
    assert!(net.peers().is_empty() && events.try_recv().is_none(), "a joiner is no member");
}

#[tokio::test]
async fn whoever_is_invited_is_answered_over_quic() {
    whoever_is_invited_is_answered(QUIC).await;
}

#[tokio::test]
async fn whoever_is_invited_is_answered_over_tcp() {
    whoever_is_invited_is_answered(TCP).await;
}

#[tokio::test]
async fn who_was_a_member_hears_why_it_is_none() {
    let (a, _a_events) = start(config(1, &[TCP], vec![])).await;
    let keypair = identity::keypair([2; 32]);
    let former = gate::Gate::alone(Arc::new(Word("former member")));
    let mut stack = transport::build(&keypair, Arc::new(former)).unwrap();
    let options = libp2p::core::transport::DialOpts {
        role: libp2p::core::Endpoint::Dialer,
        port_use: libp2p::core::transport::PortUse::New,
    };
    let address = a.listen_addresses()[0].parse().unwrap();
    let dial = libp2p::Transport::dial(&mut stack, address, options).unwrap();
    let error = within("it is refused", dial).await.err().unwrap().to_string();
    assert!(error.contains("it does not know the word"), "{error}");
}

#[tokio::test]
async fn who_is_expelled_is_disconnected_and_counted() {
    let ((a, mut a_events), (b, mut b_events)) = pair(QUIC).await;
    a.expel(b.node());
    assert!(matches!(next(&mut a_events).await, NetEvent::Down { node } if node == b.node()));
    assert!(matches!(next(&mut b_events).await, NetEvent::Down { node } if node == a.node()));
    assert_eq!(a.counters().of(NetReason::Expelled), 1);
    // Its credentials are still good here, so it comes back by itself.
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { node } if node == b.node()));
}
