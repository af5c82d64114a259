//! What offences lead to, who stands behind a key, and what is told of links.

use super::*;

#[tokio::test]
async fn who_is_refused_is_disconnected_and_not_let_in_whoever_dials() {
    let ((a, mut a_events), (b, mut b_events)) = pair(QUIC).await;
    let mut changes = a.changes();
    a.learn(b.node(), vec!["127.0.0.1:9".to_owned()]);
    a.penalise(b.node(), Offence::Undecodable);
    assert_eq!(a.peers()[0].score, 90);
    a.penalise(b.node(), Offence::Equivocation);
    assert!(matches!(next(&mut a_events).await, NetEvent::Down { node } if node == b.node()));
    assert!(matches!(next(&mut b_events).await, NetEvent::Down { node } if node == a.node()));
    until("it tries again and is turned away", || b.counters().of(NetReason::AdmissionRefusedOutgoing) > 0).await;
    until("it is counted", || a.counters().of(NetReason::RefusedForConduct) > 0).await;
    assert_eq!(a.counters().of(NetReason::Expelled), 0, "it is still a member");
    let dials = a.counters().of(NetReason::DialFailed);
    let view = &a.links()[0];
    assert!(matches!(view.state, LinkState::Refused { retry_in } if retry_in <= Duration::from_mins(1)), "{view:?}");
    assert_eq!(a.counters().of(NetReason::DialFailed), dials);
    let seen = within("the other side hears why", async {
        loop {
            let why = b.links().into_iter().find_map(|view| view.last_error);
            match why {
                Some(why) if why.contains("equivocation") => return b.links().remove(0),
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!(matches!(seen.state, LinkState::Resting { .. } | LinkState::Dialing), "{seen:?}");
    let told: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).map(|change| change.event.name()).collect();
    assert_eq!(told, ["refused", "down"]);
}

#[tokio::test]
async fn who_is_slowed_is_still_heard() {
    let ((a, mut a_events), (b, _b_events)) = pair(QUIC).await;
    (0..2).for_each(|_| a.penalise(b.node(), Offence::Forged));
    assert!(a.peers()[0].is_slowed && a.links()[0].state == LinkState::Slowed);
    for number in 0..10 {
        b.send(a.node(), Lane::Sync, vec![number]).unwrap();
    }
    for number in 0..10 {
        let NetEvent::Message { bytes, .. } = next(&mut a_events).await else { panic!() };
        assert_eq!(bytes, [number]);
    }
    assert_eq!(a.counters().of(NetReason::ConductSlowed), 1);
}

/// Two hosts with one key: the one that is connected stays, the other is refused and named, and the link does not flap.
#[tokio::test]
async fn of_two_hosts_with_one_key_one_is_kept() {
    let (a, mut a_events) = start(config(1, &[QUIC], vec![])).await;
    let (first, _first_events) = start(config(2, &[], a.listen_addresses())).await;
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { .. }));
    let (second, _second_events) = start(config(2, &[], a.listen_addresses())).await;
    until("they are told apart", || a.counters().of(NetReason::TwoHolders) >= 3).await;
    assert_eq!(a.two_holders(), [first.node()]);
    let presence = std::iter::from_fn(|| a_events.try_recv()).count();
    assert!(presence <= 2, "one change of hands at most: {presence} events");
    until("one is connected", || first.peers().len() + second.peers().len() == 1).await;
    until("the other goes on trying", || a.counters().of(NetReason::TwoHolders) >= 5).await;
    assert!(a_events.try_recv().is_none(), "and nothing changes any more");
    assert_eq!(a.peers().len(), 1);
}

#[tokio::test]
async fn a_copy_of_ourselves_is_noticed() {
    let (copy, _copy_events) = start(config(1, &[TCP], vec![])).await;
    let (net, _events) = start(config(1, &[], copy.listen_addresses())).await;
    until("both notice", || net.two_holders() == [net.node()] && copy.two_holders() == [net.node()]).await;
}

#[tokio::test]
async fn a_node_that_is_found_under_two_addresses_has_one_link_and_both_addresses() {
    let (a, mut a_events) = start(config(1, &["127.0.0.1:0", "127.0.0.2:0"], vec![])).await;
    let addresses = a.listen_addresses();
    let quic: Vec<_> = addresses.iter().filter(|address| address.contains("quic")).cloned().collect();
    assert_eq!(quic.len(), 2);
    let (b, mut b_events) = start(config(2, &[], quic.clone())).await;
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { .. }));
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { .. }));
    until("both lead to it", || b.unreached_bootstrap().is_empty()).await;
    let links = b.links();
    assert_eq!((links.len(), b.peers().len(), links[0].state), (1, 1, LinkState::Connected));
    assert!(quic.iter().all(|address| links[0].addresses.contains(address)), "{links:?}");
    assert!(a_events.try_recv().is_none() && b_events.try_recv().is_none(), "it is up once");
}

#[tokio::test]
async fn who_is_not_reached_is_listed_with_the_reason() {
    let (net, _events) = start(config(1, &[], vec!["127.0.0.1:9".to_owned()])).await;
    until("it rests", || {
        let links = net.links();
        let [view] = links.as_slice() else { panic!("{links:?}") };
        assert_eq!((view.node, view.addresses.len()), (None, 2));
        matches!(view.state, LinkState::Resting { .. }) && view.last_error.is_some()
    })
    .await;
}
