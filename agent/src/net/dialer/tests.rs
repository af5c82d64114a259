//! The dialer's promises, on a clock that the tests turn.

use super::*;

const OWN: NodeId = NodeId([5; 32]);

fn node(byte: u8) -> NodeId {
    node_of(&super::super::identity::keypair([byte; 32]).public().to_peer_id()).unwrap()
}

fn dialer(bootstrap: &[&str], now: Instant) -> Dialer {
    let bootstrap: Vec<_> = bootstrap.iter().map(ToString::to_string).collect();
    Dialer::new(OWN, &bootstrap, 7, now).unwrap()
}

#[test]
fn a_bootstrap_address_is_tried_over_quic_then_tcp_then_after_growing_pauses_for_ever() {
    let mut now = Instant::now();
    let mut dialer = dialer(&["192.0.2.1:7410"], now);
    let mut last = Duration::ZERO;
    for round in 0..40 {
        let quic = dialer.due(now);
        assert!(address::is_quic(&quic[0].address), "{round}");
        assert_eq!(dialer.failed(quic[0].target, "nobody".to_owned(), now), None);
        let tcp = dialer.due(now);
        assert!(!address::is_quic(&tcp[0].address), "{round}");
        let pause = dialer.failed(tcp[0].target, "nobody".to_owned(), now).unwrap();
        assert!(pause <= BACKOFF_MAX && (pause * 4 > last), "{round}: {pause:?} after {last:?}");
        assert_eq!(dialer.due(now), [], "it rests");
        assert_eq!(dialer.unreached(), ["192.0.2.1:7410"]);
        now = dialer.next_due().unwrap();
        last = pause;
    }
    assert!(last >= BACKOFF_MAX / 2);
}

#[test]
fn who_is_connected_is_not_dialed_and_who_is_lost_is() {
    let now = Instant::now();
    let mut dialer = dialer(&["192.0.2.1:7410"], now);
    let dial = dialer.due(now).remove(0);
    dialer.arrived(dial.target, node(1), now);
    assert!(dialer.unreached().is_empty());
    assert_eq!((dialer.due(now + BACKOFF_MAX), dialer.next_due()), (vec![], None));
    dialer.down(node(1), now + STABLE_LINK);
    assert_eq!(dialer.unreached().len(), 1);
    let due = dialer.next_due().unwrap();
    assert!(due <= now + STABLE_LINK + BACKOFF_MIN, "a good link that broke is tried again soon");
    assert_eq!(dialer.due(due).len(), 1);
}

#[test]
fn a_member_heard_of_is_dialed_by_name_and_forgotten_on_request() {
    let (now, tally) = (Instant::now(), Tally::default());
    let mut dialer = dialer(&[], now);
    let texts = ["/ip4/192.0.2.1/tcp/1".to_owned(), "nonsense".to_owned()];
    dialer.learn(node(1), &texts, false, &tally, now);
    let dials = dialer.due(now + COURTESY);
    assert_eq!(dials[0].peer, peer_of(node(1)));
    assert_eq!(tally.snapshot().of(NetReason::AddressRefused), 1);
    dialer.learn(node(1), &[], false, &tally, now);
    assert_eq!(dialer.failed(dials[0].target, "nobody".to_owned(), now), None);
    assert_eq!(dialer.next_due(), None);
}

#[test]
fn a_bootstrap_address_that_a_connected_member_owns_counts_as_reached() {
    let (now, tally) = (Instant::now(), Tally::default());
    let mut dialer = dialer(&["192.0.2.1:7410"], now);
    dialer.learn(node(1), &["192.0.2.1:7410".to_owned()], true, &tally, now);
    assert!(dialer.unreached().is_empty());
    assert_eq!(dialer.due(now + BACKOFF_MAX), []);
}

#[test]
fn our_own_address_is_left_alone() {
    let now = Instant::now();
    let mut dialer = dialer(&["192.0.2.1:7410"], now);
    let dial = dialer.due(now).remove(0);
    dialer.is_own(dial.target);
    assert!(dialer.unreached().is_empty());
    assert_eq!(dialer.next_due(), None);
}

#[test]
fn members_and_their_addresses_are_bounded() {
    let (now, tally) = (Instant::now(), Tally::default());
    let mut dialer = dialer(&[], now);
    let texts: Vec<_> = (1..100).map(|port| format!("192.0.2.1:{port}")).collect();
    dialer.learn(node(1), &texts, false, &tally, now);
    assert_eq!(dialer.courses[&Target::Member(node(1))].addresses.len(), ADDRESSES_PER_MEMBER_MAX);
    for n in 0..2 * u16::try_from(MEMBERS_MAX).unwrap() {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        dialer.learn(NodeId(id), &texts[..1], false, &tally, now);
    }
    assert_eq!(dialer.members(), MEMBERS_MAX);
    assert!(dialer.due(now + COURTESY).len() <= DIALS_MAX);
}

#[test]
fn text_that_is_no_address_is_an_error_that_names_it() {
    let error = Dialer::new(OWN, &["nowhere".to_owned()], 1, Instant::now()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}
