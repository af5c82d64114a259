//! What becomes of records that a member passes on, with a network that reaches nobody and certificates of a real authority.

use ed25519_dalek::SigningKey;
use rand::SeedableRng as _;

use super::*;
use crate::cluster::{Authority, Certificate, Claims, Span, Trust};
use crate::members::tests::{at, record};
use crate::members::{Members, Uncertified};
use crate::net::{Admission, NetConfig, Refused, node_of_seed};

/// Whoever sends all this.
const LIAR: NodeId = NodeId([99; 32]);

/// Lets nobody in: nobody comes.
struct Closed;

impl Admission for Closed {
    fn credentials(&self) -> Vec<u8> {
        Vec::new()
    }

    fn judge(&self, _: NodeId, _: &[u8]) -> Result<(), Refused> {
        Err(Refused { reason: "nobody is expected".to_owned(), is_told: false })
    }
}

/// Believes the certificates of one authority, and has seen none.
struct Roll(Trust);

impl Register for Roll {
    fn own(&self) -> Option<Certificate> {
        None
    }

    fn vouch(&self, of: &NodeRecord, shown: Option<&Certificate>) -> Result<Option<Certificate>, Uncertified> {
        let certificate = shown.ok_or(Uncertified::Missing)?;
        self.0.vouch(certificate, of.node, false, 5)?;
        Ok(Some(certificate.clone()))
    }

    fn holds(&self, certificate: Option<&Certificate>) -> bool {
        certificate.is_some()
    }
}

struct Bench {
    exchange: Exchange,
    detector: Detector,
    members: SharedMembers,
    net: Net,
    authority: Authority,
}

impl Bench {
    async fn new() -> Self {
        let (listen, bootstrap, advertise) = Default::default();
        let config = NetConfig {
            secret_key: [1; 32],
            admission: Arc::new(Closed),
            registrar: None,
            listen,
            bootstrap,
            advertise,
        };
        let (net, _events) = Net::start(config).await.expect("starts");
        let members = SharedMembers::new(Members::new(net.node(), Vec::new(), at(0)));
        let authority = Authority::from_seed(&[1; 32]);
        let register = Arc::new(Roll(authority.found("games", Span { from: 0, to: u64::MAX })));
        let rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let exchange = Exchange::new(1, members.clone(), net.clone(), register, rng);
        Self { exchange, detector: Detector::new(net.node(), 1, 1, 0), members, net, authority }
    }

    /// A record that the holder of this key signed, certified by `by`.
    fn sealed(&self, seed: u8, beat: u64, by: Option<&Authority>) -> Sealed {
        let node = node_of_seed([seed; 32]);
        let (name, region, roles) = ("a".to_owned(), "eu".to_owned(), BTreeSet::new());
        let cluster = self.authority.id();
        let claims = Claims { cluster, node, name, region, roles, not_before: 0, not_after: u64::MAX };
        let sealed = Sealed::seal(&record(node, 1, beat), &SigningKey::from_bytes(&[seed; 32]));
        sealed.with(by.map(|by| by.certify(&claims)))
    }

    fn hear(&mut self, records: Vec<Sealed>) {
        let records = records.into_iter().map(|sealed| (0, sealed)).collect();
        let frame = Frame::Records(Records { news: true, records }).encode();
        self.exchange.take(LIAR, &frame, &mut self.detector, at(0));
    }

    fn is_listed(&self, seed: u8) -> bool {
        self.members.with(|members| members.get(&node_of_seed([seed; 32]), at(0)).is_some())
    }

    /// Whom the network is to reach.
    fn dialed(&self) -> Vec<NodeId> {
        self.net.links().iter().filter_map(|link| link.node).filter(|node| *node != LIAR).collect()
    }
}

#[tokio::test]
async fn invented_members_are_not_listed_dialed_or_waited_for() {
    let mut bench = Bench::new().await;
    let usurper = Authority::from_seed(&[2; 32]);
    for seed in 10..60 {
        let invented = [bench.sealed(seed, 1, None), bench.sealed(seed, 2, Some(&usurper))];
        invented.into_iter().for_each(|sealed| bench.hear(vec![sealed]));
        assert!(!bench.is_listed(seed));
    }
    let real = bench.sealed(7, 1, Some(&bench.authority));
    bench.hear(vec![real]);
    assert!(bench.is_listed(7));
    let known = node_of_seed([7; 32]);
    assert_eq!(bench.members.with(|members| members.others()), [known].into());
    crate::net::tests::until("the network hears of it", || bench.dialed() == [known]).await;
    assert_eq!(bench.members.counters().records_uncertified, 100);
    // Fifty frames would have been enough.
    assert_eq!(bench.net.counters().offences(Offence::Flood), 100);
    assert_eq!(bench.net.counters().of(crate::net::NetReason::ConductRefused), 1);
}

#[tokio::test]
async fn a_certificate_makes_nobody_elses_record_sound() {
    let mut bench = Bench::new().await;
    let (one, other) = (bench.sealed(7, 1, Some(&bench.authority)), bench.sealed(8, 1, Some(&bench.authority)));
    bench.hear(vec![one.clone().with(other.certificate().cloned())]);
    assert!(!bench.is_listed(7) && !bench.is_listed(8));
    assert_eq!((bench.members.counters().records_forged, bench.net.counters().offences(Offence::Forged)), (1, 1));
    let forged = Sealed::seal(&record(node_of_seed([7; 32]), 1, 1), &SigningKey::from_bytes(&[8; 32]));
    bench.hear(vec![forged.with(one.certificate().cloned())]);
    assert_eq!(bench.members.counters().records_forged, 2);
    bench.hear(vec![one]);
    assert!(bench.is_listed(7), "what it says itself is believed, whoever passes it on");
}

#[tokio::test]
async fn one_frame_holds_one_record_of_each() {
    let mut bench = Bench::new().await;
    let records = (1..=64).map(|beat| bench.sealed(7, beat, Some(&bench.authority))).collect();
    bench.hear(records);
    assert_eq!(bench.members.counters().records_unsound, 63);
    assert_eq!(bench.net.counters().of(crate::net::NetReason::ConductRefused), 1);
}

#[tokio::test]
async fn whoever_asks_without_end_is_given_so_many_records() {
    let mut bench = Bench::new().await;
    for seed in 10..60 {
        let sealed = bench.sealed(seed, 1, Some(&bench.authority));
        bench.hear(vec![sealed]);
    }
    let all: Vec<NodeId> = (10..60).map(|seed| node_of_seed([seed; 32])).collect();
    let frame = Frame::Wanted(all).encode();
    for _ in 0..1_000 {
        bench.exchange.take(LIAR, &frame, &mut bench.detector, at(0));
    }
    assert_eq!(bench.exchange.given[&LIAR], GIVEN_MAX);
    assert_eq!(bench.members.counters().records_withheld, 1_000 - (GIVEN_MAX / 50) as u64);
}
