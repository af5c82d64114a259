//! Strangers at the door: cut off, slow, many, guessing; and members get in all the same.

use std::net::SocketAddr;

use futures::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::rogue::Rogue;
use super::*;

/// What a member and a joiner say first at the gate, with the credentials of [`Word`].
fn greetings() -> [Vec<u8>; 2] {
    let say = |purpose: u8, body: &[u8]| {
        let head = [b"selvedge".as_slice(), &[3, purpose], &u32::try_from(body.len()).unwrap().to_be_bytes()].concat();
        [head, body.to_vec()].concat()
    };
    [say(1, &[&[0; 8][..], b"word"].concat()), say(2, b"let me in")]
}

async fn a_greeting_that_ends_anywhere_is_refused_and_counted(listen: &str) {
    let (net, mut events) = start(config(1, &[listen], vec![])).await;
    let mut refused = 0;
    for greeting in greetings() {
        for cut in 0..greeting.len() {
            let mut stranger = Rogue::stranger(9, &net).await;
            let mut stream = stranger.say(&greeting[..cut]).await.expect("a stream");
            stream.close().await.unwrap_or_default();
            stranger.ended().await;
            refused += 1;
            until("it is counted", || net.counters().of(NetReason::AdmissionRefusedIncoming) == refused).await;
        }
    }
    assert!(net.peers().is_empty() && events.try_recv().is_none());
    assert_eq!(lock(&net.shared.strangers).pending(), 0);
    let (member, _member_events) = start(config(2, &[], net.listen_addresses())).await;
    assert!(matches!(next(&mut events).await, NetEvent::Up { node } if node == member.node()));
}

#[tokio::test]
async fn a_greeting_that_ends_anywhere_is_refused_and_counted_over_quic() {
    a_greeting_that_ends_anywhere_is_refused_and_counted(QUIC).await;
}

#[tokio::test]
async fn a_greeting_that_ends_anywhere_is_refused_and_counted_over_tcp() {
    a_greeting_that_ends_anywhere_is_refused_and_counted(TCP).await;
}

async fn a_greeting_that_is_none_is_refused(listen: &str) {
    let (net, mut events) = start(config(1, &[listen], vec![])).await;
    let [greeting, _] = greetings();
    let with = |position: usize, bytes: &[u8]| {
        let mut changed = greeting.clone();
        changed[position..position + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let wrong =
        [with(0, b"S"), with(8, &[2]), with(9, &[9]), with(10, &[255; 4]), with(14 + 8, b"W"), vec![0xFF; 100_000]];
    let count = wrong.len() as u64;
    for bytes in wrong {
        let mut stranger = Rogue::stranger(9, &net).await;
        let _stream = stranger.say(&bytes).await;
        stranger.ended().await;
    }
    until("all are counted", || net.counters().of(NetReason::AdmissionRefusedIncoming) == count).await;
    assert!(net.peers().is_empty() && events.try_recv().is_none());
}

#[tokio::test]
async fn a_greeting_that_is_none_is_refused_over_quic() {
    a_greeting_that_is_none_is_refused(QUIC).await;
}

#[tokio::test]
async fn a_greeting_that_is_none_is_refused_over_tcp() {
    a_greeting_that_is_none_is_refused(TCP).await;
}

/// Whoever sends a byte now and then is cut off by the same deadline as whoever sends nothing.
#[tokio::test]
async fn a_greeting_that_drips_is_cut_off() {
    let (net, _events) = start(config(1, &[TCP], vec![])).await;
    let mut stranger = Rogue::stranger(9, &net).await;
    let mut stream = stranger.open().await.expect("a stream");
    let dripping = tokio::spawn(async move {
        for byte in greetings()[0].repeat(1_000) {
            if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    });
    stranger.ended().await;
    assert_eq!(net.counters().of(NetReason::AdmissionRefusedIncoming), 1);
    dripping.abort();
}

/// A stranger that fills streams before it is admitted is cut off long before it has filled them.
#[tokio::test]
async fn a_stranger_cannot_fill_our_memory_before_it_is_admitted() {
    let (net, _events) = start(config(1, &[TCP], vec![])).await;
    let mut stranger = Rogue::stranger(9, &net).await;
    let mut streams = Vec::new();
    while let Some(stream) = stranger.say(&[0; 100_000]).await {
        streams.push(stream);
        assert!(streams.len() < 100, "it may go on for ever");
    }
    stranger.ended().await;
    until("it is gone", || lock(&net.shared.strangers).pending() == 0).await;
}

async fn connect_from(ip: [u8; 4], to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((ip, 0))).unwrap();
    socket.connect(to).await.ok()
}

/// All of 127.0.0.0/8 is this host, so a flood can come from another address than the member does.
#[tokio::test]
async fn a_flood_from_one_address_keeps_no_member_out() {
    let (net, mut events) = start(config(1, &[TCP], vec![])).await;
    let to = address::socket(&net.listen_addresses()[0].parse().unwrap()).unwrap();
    let mut flood = Vec::new();
    until("the flood is refused", || {
        net.counters().of(NetReason::StrangerLimit) > 0 || {
            flood.push(tokio::spawn(connect_from([127, 0, 0, 2], to)));
            false
        }
    })
    .await;
    assert!(lock(&net.shared.strangers).pending() <= strangers::PENDING_PER_ORIGIN_MAX);
    let (member, _member_events) = start(config(2, &[], net.listen_addresses())).await;
    assert!(matches!(next(&mut events).await, NetEvent::Up { node } if node == member.node()));
    for connection in flood {
        drop(connection.await);
    }
    until("they are gone", || lock(&net.shared.strangers).pending() == 0).await;
}

/// Knows no invitation.
struct Nobody;

impl Registrar for Nobody {
    fn answer(&self, _: NodeId, _: Vec<u8>) -> futures::future::BoxFuture<'static, Result<Option<Vec<u8>>, Later>> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::test]
async fn who_tries_invitations_is_slowed() {
    let registrar: Arc<dyn Registrar> = Arc::new(Nobody);
    let (net, mut events) = start(NetConfig { registrar: Some(registrar), ..config(1, &[TCP], vec![]) }).await;
    let address = net.listen_addresses().remove(0);
    let looked_at = u64::from(strangers::WRONG_FROM_ORIGIN.burst);
    for seed in 10..20_u8 {
        let guess = join([seed; 32], &address, |_, _| Ok::<_, std::convert::Infallible>(Some(vec![seed])));
        let told = within("it is sent away", guess).await;
        // Whoever comes from the same place with a good invitation has to know that it was not looked at.
        match u64::from(seed - 10) < looked_at {
            true => assert!(matches!(told, Err(JoinFailed::NotInvited)), "{told:?}"),
            false => assert!(matches!(told, Err(JoinFailed::Later)), "{told:?}"),
        }
    }
    until("the rest is counted", || net.counters().of(NetReason::JoinSlowed) == 10 - looked_at).await;
    assert_eq!(net.counters().of(NetReason::AdmissionRefusedIncoming), looked_at);
    let (member, _member_events) = start(config(2, &[], net.listen_addresses())).await;
    assert!(matches!(next(&mut events).await, NetEvent::Up { node } if node == member.node()), "a member gets in");
}

#[tokio::test]
async fn whoever_only_knocks_is_let_in_to_nothing_and_warned_of_nowhere() {
    let (net, _events) = start(config(1, &[QUIC, TCP], vec![])).await;
    let before = net.counters().of(NetReason::IncomingFailed);
    for address in net.listen_addresses() {
        let door = Door::of(&address).expect("it is bound to a number");
        within("it opens", door.knock()).await.unwrap_or_else(|closed| panic!("{door}: {closed}"));
    }
    until("the one over TCP is counted", || net.counters().of(NetReason::IncomingFailed) == before + 1).await;
    let gone = net.listen_addresses();
    net.shutdown().await;
    for address in gone {
        let door = Door::of(&address).expect("it was bound to a number");
        assert!(within("it is closed", door.knock()).await.is_err(), "{door}");
    }
}
