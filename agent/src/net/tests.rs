//! The network's promises over real loopback sockets: ports are chosen by the system, and waits are for levels, with a deadline.

mod admission;
mod bounds;
mod conduct;
mod door;
mod hostile;
mod lines;
mod links;
mod rogue;
mod urgency;

use std::future::Future;
use std::time::Duration;

use libp2p::Multiaddr;

use super::*;

/// Far beyond what any step takes; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(30);

/// Members of a cluster that is known by a word.
pub(super) struct Word(pub(super) &'static str);

impl Admission for Word {
    fn credentials(&self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }

    fn judge(&self, _: NodeId, credentials: &[u8]) -> Result<(), Refused> {
        if credentials == self.0.as_bytes() {
            return Ok(());
        }
        let is_told = credentials.starts_with(b"former");
        Err(Refused { reason: "it does not know the word".to_owned(), is_told })
    }
}

/// What both transports are tested with.
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const TCP: &str = "/ip4/127.0.0.1/tcp/0";

fn config(seed: u8, listen: &[&str], bootstrap: Vec<String>) -> NetConfig {
    NetConfig {
        secret_key: [seed; 32],
        admission: Arc::new(Word("word")),
        registrar: None,
        listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
        bootstrap,
        advertise: Vec::new(),
    }
}

async fn start(config: NetConfig) -> (Net, NetEvents) {
    within("start", Net::start(config)).await.unwrap()
}

/// A connected pair: the second has dialed the first.
async fn pair(listen: &str) -> ((Net, NetEvents), (Net, NetEvents)) {
    let (a, mut a_events) = start(config(1, &[listen], vec![])).await;
    let (b, mut b_events) = start(config(2, &[], a.listen_addresses())).await;
    assert!(matches!(next(&mut a_events).await, NetEvent::Up { node } if node == b.node()));
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { node } if node == a.node()));
    ((a, a_events), (b, b_events))
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

async fn next(events: &mut NetEvents) -> NetEvent {
    within("an event", events.recv()).await.expect("the network runs")
}

/// Waits until `level` holds.
pub(crate) async fn until(what: &str, mut level: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    within(what, async {
        while !level() {
            look.tick().await;
        }
    })
    .await;
}

/// Answers every question with its own bytes, until the network stops.
fn echo(mut events: NetEvents) {
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                NetEvent::Message { bytes, reply, .. } => reply.send(bytes),
                NetEvent::Up { .. } | NetEvent::Down { .. } => {}
            }
        }
    });
}
