//! Connecting, staying connected, and what is told of it.

use super::*;

async fn nodes_exchange_requests(listen: &str, transport: &str) {
    let ((a, a_events), (b, b_events)) = pair(listen).await;
    echo(a_events);
    echo(b_events);
    for lane in Lane::ALL {
        let body = vec![7; 100_000];
        assert_eq!(b.request(a.node(), lane, body.clone(), DEADLINE).await, Ok(body.clone()), "{lane}");
        assert_eq!(a.request(b.node(), lane, body.clone(), DEADLINE).await, Ok(body), "{lane}, the other way");
    }
    let counters = a.counters();
    assert_eq!(counters.lane(Lane::Sync), counters.lane(Lane::Call));
    assert_eq!(counters.lane(Lane::Sync).bytes_in, 200_000);
    until("both round trips are measured", || [&a, &b].iter().all(|net| net.peers()[0].rtt.is_some())).await;
    let links = b.peers();
    assert_eq!((links.len(), links[0].node, links[0].transport), (1, a.node(), transport));
    assert_eq!(links[0].remote, a.listen_addresses()[0]);
    assert_eq!(a.counters().of(NetReason::DialFailed) + b.counters().of(NetReason::DialFailed), 0);
    assert!(b.unreached_bootstrap().is_empty());
}

#[tokio::test]
async fn nodes_exchange_requests_over_quic() {
    nodes_exchange_requests(QUIC, "quic").await;
}

#[tokio::test]
async fn nodes_exchange_requests_over_tcp() {
    nodes_exchange_requests(TCP, "tcp").await;
}

#[tokio::test]
async fn host_and_port_listens_on_both_transports_and_tcp_is_the_second_choice() {
    let (a, _events) = start(config(1, &["127.0.0.1:0"], vec![])).await;
    let addresses = a.listen_addresses();
    assert_eq!(addresses.len(), 2);
    assert!(addresses.iter().all(|address| !address.contains("/0")), "{addresses:?}");
    assert_eq!(a.advertised(), addresses);
    // As `host:port`, TCP's port leads to nobody over UDP: QUIC fails first.
    let port = addresses.iter().find_map(|address| address.strip_prefix("/ip4/127.0.0.1/tcp/")).unwrap();
    let (b, mut b_events) = start(config(2, &[], vec![format!("localhost:{port}")])).await;
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { node } if node == a.node()));
    assert_eq!(b.peers()[0].transport, "tcp");
}

#[tokio::test]
async fn a_hint_arrives_and_wants_no_answer() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    for lane in [Lane::Sync, Lane::Members] {
        b.send(a.node(), lane, b"news".to_vec()).unwrap();
        let NetEvent::Message { from, lane: got, bytes, reply } = next(&mut a_events).await else { panic!() };
        assert_eq!((from, got, bytes.as_slice()), (b.node(), lane, b"news".as_slice()));
        assert!(!reply.is_wanted());
        reply.send(b"into the void".to_vec());
    }
    assert_eq!(b.send(a.node(), Lane::Call, vec![]), Err(SendError::NoHints));
    assert_eq!(b.send(b.node(), Lane::Sync, vec![]), Err(SendError::NotConnected));
    assert_eq!(b.counters().of(NetReason::HintNotConnected), 1);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (a, _events) = start(config(1, &["127.0.0.1:0"], vec![])).await;
    for taken in a.listen_addresses() {
        let error = Net::start(config(2, &[&taken], vec![])).await.unwrap_err();
        assert!(matches!(&error, NetError::AddressInUse { address } if *address == taken), "{error}");
        assert!(error.to_string().contains(&taken), "{error}");
    }
    let not_ours = Net::start(config(2, &["192.0.2.1:0"], vec![])).await.unwrap_err();
    assert!(matches!(&not_ours, NetError::Listen { address, .. } if address == "192.0.2.1:0"), "{not_ours}");
}

#[tokio::test]
async fn text_that_is_no_address_is_named_at_start() {
    for (bootstrap, advertise) in [(vec!["nowhere".to_owned()], vec![]), (vec![], vec!["nowhere".to_owned()])] {
        let config = NetConfig { bootstrap, advertise, ..config(1, &[], vec![]) };
        let error = Net::start(config).await.unwrap_err();
        assert!(error.to_string().contains("`nowhere`"), "{error}");
    }
}

async fn comes_back_after_a_restart(listen: &str) {
    let ((a, a_events), (b, mut b_events)) = pair(listen).await;
    let (node, address) = (a.node(), a.listen_addresses().remove(0));
    a.shutdown().await;
    drop(a_events);
    assert!(matches!(next(&mut b_events).await, NetEvent::Down { node: gone } if gone == node));
    assert_eq!(b.unreached_bootstrap(), [address.as_str()]);
    assert_eq!(b.request(node, Lane::Call, vec![], DEADLINE).await, Err(RequestError::NotConnected));

    let (again, again_events) = within("the port is free again", async {
        loop {
            match Net::start(config(1, &[&address], vec![])).await {
                Ok(started) => return started,
                Err(NetError::AddressInUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    echo(again_events);
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { node: back } if back == node));
    assert_eq!(b.request(again.node(), Lane::Call, vec![1], DEADLINE).await, Ok(vec![1]));
    assert!(b.unreached_bootstrap().is_empty());
}

#[tokio::test]
async fn a_peer_that_was_restarted_is_found_again_over_quic() {
    comes_back_after_a_restart(QUIC).await;
}

#[tokio::test]
async fn a_peer_that_was_restarted_is_found_again_over_tcp() {
    comes_back_after_a_restart(TCP).await;
}

#[tokio::test]
async fn members_that_hear_of_each_other_connect_and_are_up_once() {
    let (a, mut a_events) = start(config(1, &["127.0.0.1:0"], vec![])).await;
    let (b, mut b_events) = start(config(2, &["127.0.0.1:0"], vec![])).await;
    a.learn(b.node(), b.advertised());
    b.learn(a.node(), a.advertised());
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { node } if node == b.node()));
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { node } if node == a.node()));
    assert_eq!((a.peers().len(), b.peers().len()), (1, 1));
    b.shutdown().await;
    assert!(matches!(next(&mut a_events).await, NetEvent::Down { node } if node == b.node()));
    assert!(a.peers().is_empty());
}

#[tokio::test]
async fn an_unreachable_bootstrap_address_is_no_error_and_shows() {
    let (gone, events) = start(config(1, &[TCP], vec![])).await;
    let address = gone.listen_addresses().remove(0);
    gone.shutdown().await;
    drop(events);
    let (net, _events) = start(config(2, &[], vec![address.clone()])).await;
    assert_eq!(net.unreached_bootstrap(), [address]);
    until("it is tried again and again", || net.counters().of(NetReason::DialFailed) >= 3).await;
}

#[tokio::test]
async fn our_own_address_among_the_bootstrap_addresses_does_no_harm() {
    let (first, events) = start(config(1, &[TCP], vec![])).await;
    let address = first.listen_addresses().remove(0);
    first.shutdown().await;
    drop((first, events));
    let (net, _events) = start(config(1, &[&address], vec![address.clone()])).await;
    until("it is recognised", || net.unreached_bootstrap().is_empty()).await;
    assert!(net.peers().is_empty());
}

#[tokio::test]
async fn a_network_without_handles_lets_go_of_its_port() {
    let (net, events) = start(config(1, &[TCP], vec![])).await;
    let address = net.listen_addresses().remove(0);
    drop(net);
    within("the port is free again", async {
        while Net::start(config(2, &[&address], vec![])).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(events);
}

/// A member that does not answer: its links are closed, what waits for it goes, and it is found again.
#[tokio::test]
async fn who_is_hung_up_on_is_dialed_again() {
    let ((a, mut a_events), (b, mut b_events)) = pair(QUIC).await;
    let changes = a.changes();
    a.hang_up(b.node());
    assert!(matches!(next(&mut a_events).await, NetEvent::Down { node } if node == b.node()));
    assert!(matches!(next(&mut b_events).await, NetEvent::Down { node } if node == a.node()));
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { node } if node == b.node()));
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { node } if node == a.node()));
    assert!(changes.len() >= 2, "it is told");
    a.hang_up(node_of_seed([9; 32]));
    assert_eq!(a.peers().len(), 1);
}
