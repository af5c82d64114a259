//! A member of a later release in one mesh with this one, as a double that speaks the network's protocols: what it says that this release
//! does not know is left out, and held against nobody.

use std::sync::Arc;

use selvedge_sync::codec;
use selvedge_sync::commit::{Batch, Commit, CommitBytes};
use selvedge_sync::crdt::{Op, Raise};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::Key;
use selvedge_sync::replica::Message;
use serde::Serialize;

use super::super::standing::Development;
use super::*;
use crate::cluster::NodeKeys;
use crate::net::{Lane, Net, NetConfig, NetEvents, node_of_seed};
use crate::view::wall_ms;

const SEED: [u8; 32] = [77; 32];

/// More than an offender is forgiven.
const TIMES: u64 = 30;

/// A message that there is not yet.
#[derive(Serialize)]
enum Later {
    #[serde(rename = "zz")]
    Asked(u64, Vec<u64>),
}

/// The double.
struct Double {
    net: Net,
    /// Held, so that what it is told has somewhere to go.
    _events: NetEvents,
    to: NodeId,
}

impl Double {
    async fn beside(agent: &Running) -> Self {
        let config = NetConfig {
            secret_key: SEED,
            admission: Arc::new(Development),
            registrar: None,
            listen: Vec::new(),
            bootstrap: agent.info.listen.clone(),
            advertise: Vec::new(),
        };
        let (net, events) = Net::start(config).await.expect("starts");
        let double = Self { net, _events: events, to: agent.inside.net.node() };
        until("they are connected", || double.link_of(agent).is_some() && !double.net.peers().is_empty()).await;
        double
    }

    /// What the agent thinks of it, while they are connected.
    fn link_of(&self, agent: &Running) -> Option<u8> {
        let node = self.net.node();
        agent.inside.net.peers().into_iter().find(|link| link.node == node).map(|link| link.score)
    }

    fn say(&self, lane: Lane, bytes: Vec<u8>) {
        self.net.send(self.to, lane, bytes).expect("is queued");
    }

    fn send(&self, incarnation: u64, commit: CommitBytes) {
        let batch = Batch::new(stream(incarnation), 1, vec![commit]).sealed(&NodeKeys::of_seed(&SEED));
        self.say(Lane::Sync, Message::Commits { batches: vec![batch], more: false, hops: None }.encode());
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn stream(incarnation: u64) -> Stream {
    Stream::global(ReplicaId { node: node_of_seed(SEED), incarnation: Incarnation(incarnation) })
}

fn kills() -> Key {
    "gcounter/kills".parse().expect("a key")
}

/// The first commit of a life, which adds to a counter.
fn counted(incarnation: u64) -> CommitBytes {
    let ops = vec![(kills(), Op::GCounter(Raise { total: 7, step: 7 }))];
    Commit { stream: stream(incarnation), seq: 1, hlc: Hlc::from_millis(wall_ms()), request: None, ops }.encode()
}

/// The same to a key of a type that there is not yet.
fn of_a_new_type(incarnation: u64) -> CommitBytes {
    let bytes = counted(incarnation).as_bytes().to_vec();
    // The key as CBOR: an array of two, a number, and a text of five letters.
    let key = b"\x82\x00\x65kills";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("the key is there");
    let mut changed = bytes;
    changed[at + 1] = 23;
    CommitBytes::from_bytes(&changed)
}

/// The figure on the line that begins so.
fn figure(metrics: &str, line: &str) -> u64 {
    let line = metrics.lines().find_map(|told| told.strip_prefix(line));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_release_says_is_left_out_and_held_against_nobody() {
    let agent = Running::begin().await;
    let double = Double::beside(&agent).await;
    for number in 0..TIMES {
        double.send(1, of_a_new_type(1));
        double.say(Lane::Sync, codec::encode(&Later::Asked(number, vec![1, 2])));
        double.say(Lane::Sync, vec![codec::FORMAT_VERSION + 1, 0x80]);
        double.say(Lane::Members, vec![77, 1, 2]);
    }
    let begun = Instant::now();
    let (commits, messages) = (
        "selvedge_drops_total{reason=\"commit_later_release\"}",
        "selvedge_drops_total{reason=\"incoming_later_release\"}",
    );
    let metrics = loop {
        let (_, metrics) = look(&agent.address, "/metrics").await;
        if figure(&metrics, commits) >= TIMES && figure(&metrics, messages) >= 3 * TIMES {
            break metrics;
        }
        assert!(begun.elapsed() < DEADLINE, "{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let offences: Vec<&str> = metrics.lines().filter(|line| line.starts_with("selvedge_offences_total{")).collect();
    assert!(!offences.is_empty() && offences.iter().all(|line| line.ends_with("} 0")), "{offences:?}");
    assert_eq!(double.link_of(&agent), Some(100), "the link stays, and nothing is held against it");
    let (status, health) = look(&agent.address, "/healthz").await;
    assert!(status == 200 && health.contains("are of a later release"), "{status} {health}");

    // Whatever else it writes is taken.
    double.send(2, counted(2));
    until("its other stream is applied", || agent.inside.view.read(|replica| replica.seen().seq(&stream(2))) == 1)
        .await;
    assert_eq!(selvedge_sync::draft::ReadState::counter(&agent.inside.view, &kills()), Some(7));
    assert_eq!(agent.inside.view.read(|replica| replica.seen().seq(&stream(1))), 0, "and what it cannot read waits");
    agent.end().await;
}
