//! Whether members reach this agent where it tells them that it is: they are asked to knock there, since nobody sees from inside
//! whether a port is open to others.
//!
//! Owns the question, its answer, and the bounds of whoever answers. The invariants: a member is made to knock only at the host of
//! whoever asks, as far as it sees that host itself, and there only where it would dial whoever asks of its own accord, so nobody has
//! others knock at strangers, nor at what else listens on a host that they share; and rarely.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use selvedge_sync::id::NodeId;
use tokio::sync::Semaphore;

use crate::net::{Door, KNOCK_PATIENCE, Lane, Net, Reply};
use crate::service::ReachReading;

/// What a member asks another on the members' lane, before the addresses, one a line. Earlier releases do not answer it.
const QUESTION: &[u8] = b"reach\n";
/// Addresses that are asked about: QUIC and TCP on four interfaces.
const ADDRESSES_MAX: usize = 8;
/// Bytes of an address that is looked at.
const ADDRESS_BYTES_MAX: usize = 128;
/// How often each member may ask.
const EVERY: Duration = Duration::from_secs(2);
/// Questions that are looked into at once, for all members together: each is a few sockets for two seconds.
const ANSWERED_MAX: usize = 4;
/// Members that are asked: a wall before this host is closed to most of them.
const ASKED_MAX: usize = 3;
/// How long an answer may take: the knocks, and a way back that is slow.
const PATIENCE: Duration = KNOCK_PATIENCE.saturating_add(Duration::from_secs(2));
/// What is said of an address behind which somebody opened.
const OPEN: &str = "open";
/// What is said of an address that is not the asker's, as far as can be seen, or was not heard to be.
const ELSEWHERE: &str = "elsewhere";
/// Letters of a member's reason that are kept.
const REASON_LETTERS_MAX: usize = 200;

/// Knocks for members. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Knocker {
    net: Net,
    asked: Arc<Mutex<BTreeMap<NodeId, Instant>>>,
    room: Arc<Semaphore>,
}

impl Knocker {
    pub(super) fn new(net: Net) -> Self {
        Self { net, asked: Arc::default(), room: Arc::new(Semaphore::new(ANSWERED_MAX)) }
    }

    /// Answers `from`, in a task of its own, or not at all if it asks too often, or too many ask.
    pub(super) fn answer(&self, from: NodeId, question: &[u8], reply: Reply) {
        let addresses = addresses(question);
        // Room first: whom there is none for has not been answered, and may ask again.
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return };
        if !self.may(from, Instant::now()) {
            return;
        }
        let hosts: Vec<IpAddr> = self.net.peers().iter().filter(|peer| peer.node == from).filter_map(host).collect();
        let links = self.net.links().into_iter().filter(|link| link.node == Some(from));
        let known: Vec<Door> = links.flat_map(|link| link.addresses).filter_map(|at| Door::of(&at)).collect();
        tokio::spawn(async move {
            let knocks = addresses.iter().map(|address| knock(address, &hosts, &known));
            reply.send(join_all(knocks).await.join("\n").into_bytes());
            drop(permit);
        });
    }

    /// Whether a member may ask now. Nobody is remembered for longer than that counts.
    fn may(&self, from: NodeId, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| now.saturating_duration_since(*at) < EVERY);
        let may = !asked.contains_key(&from);
        asked.entry(from).or_insert(now);
        may
    }
}

/// Whether somebody asks to be knocked at.
pub(super) fn is_asked(question: &[u8]) -> bool {
    question.starts_with(QUESTION)
}

/// The addresses of a question. What is no text, or too much, is left out.
fn addresses(question: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(question.strip_prefix(QUESTION).unwrap_or_default()).unwrap_or_default();
    let lines = text.lines().filter(|line| line.len() <= ADDRESS_BYTES_MAX);
    lines.take(ADDRESSES_MAX).map(str::to_owned).collect()
}

/// The host at the other end of a link.
fn host(link: &crate::net::PeerLink) -> Option<IpAddr> {
    Some(Door::of(&link.remote)?.at.ip())
}

/// What there is to say of an address of somebody who is seen at `hosts`, and is dialed at the doors `known`. Without those, whoever
/// shares a host with this agent, or comes through a forwarding on it, would learn what listens there for this host alone.
async fn knock(address: &str, hosts: &[IpAddr], known: &[Door]) -> String {
    match Door::of(address).filter(|door| hosts.contains(&door.at.ip()) && known.contains(door)) {
        None => ELSEWHERE.to_owned(),
        Some(door) => door.knock().await.map_or_else(|closed| closed.to_string(), |()| OPEN.to_owned()),
    }
}

/// Asks a few connected members about the addresses that others are told.
pub(super) async fn ask(net: &Net, name: impl Fn(NodeId) -> String) -> Vec<ReachReading> {
    let mut addresses = net.advertised();
    addresses.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
    addresses.truncate(ADDRESSES_MAX);
    let question = [QUESTION, addresses.join("\n").as_bytes()].concat();
    let mut asked: Vec<NodeId> = net.peers().into_iter().map(|peer| peer.node).collect();
    // Not always the same ones. Without a source of randomness these are as good as any.
    asked.sort_by_cached_key(|_| getrandom::u32().unwrap_or_default());
    asked.truncate(ASKED_MAX);
    let asked = asked.into_iter().map(|node| ask_one(net, (node, name(node)), question.clone(), &addresses));
    join_all(asked).await.concat()
}

/// Asks one of them about the `addresses` of a question.
async fn ask_one(
    net: &Net,
    (node, name): (NodeId, String),
    question: Vec<u8>,
    addresses: &[String],
) -> Vec<ReachReading> {
    let answer = net.request(node, Lane::Members, question, PATIENCE).await;
    let said = answer.ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    told(addresses, said.as_deref()).map(|(address, said)| read(node, name.clone(), address, said)).collect()
}

/// Each address with what a member has said of it.
fn told<'a>(addresses: &'a [String], said: Option<&'a str>) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    let mut lines = said.into_iter().flat_map(str::lines);
    addresses.iter().map(move |address| (address.as_str(), lines.next()))
}

fn read(node: NodeId, name: String, address: &str, said: Option<&str>) -> ReachReading {
    let (reached, why) = match said {
        Some(OPEN) => (Some(true), None),
        Some(ELSEWHERE) => {
            (None, Some("it does not see this host at that address, or has not heard of it yet".to_owned()))
        }
        Some(why) => (Some(false), Some(why.chars().take(REASON_LETTERS_MAX).collect())),
        None => (None, Some("it did not answer: of an earlier release, or asked too often".to_owned())),
    };
    ReachReading { node, name, address: address.to_owned(), reached, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_host_of_whoever_asks_is_knocked_at() {
        let ours = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = format!("/ip4/127.0.0.1/tcp/{}", ours.local_addr().expect("an address").port());
        let (own, other) = ("127.0.0.1".parse().expect("an address"), "192.0.2.1".parse().expect("an address"));
        let door = Door::of(&at).expect("a door");
        assert_eq!(knock(&at, &[own], &[door]).await, OPEN);
        assert_eq!(knock(&at, &[other], &[door]).await, ELSEWHERE);
        assert_eq!(knock("/dns4/localhost/tcp/1", &[own], &[door]).await, ELSEWHERE);
        // Whatever else is on the host that they share.
        let by_quic = [Door { is_quic: true, ..door }];
        for known in [&by_quic[..0], &by_quic[..]] {
            assert_eq!(knock(&at, &[own], known).await, ELSEWHERE);
        }
        ours.set_nonblocking(true).expect("can be set");
        assert!(ours.accept().is_ok() && ours.accept().is_err(), "one knock for the one that was allowed");
        drop(ours);
        assert!(knock(&at, &[own], &[door]).await.contains("refused"));
    }

    #[test]
    fn a_question_is_bounded_whatever_it_holds() {
        let check = |body: &[u8], expect: usize| {
            let question = [QUESTION, body].concat();
            assert!(is_asked(&question));
            assert_eq!(addresses(&question).len(), expect, "{body:?}");
        };
        check(b"", 0);
        check(b"a\nb", 2);
        check(&b"a\n".repeat(1_000), ADDRESSES_MAX);
        check(&[b'a'; ADDRESS_BYTES_MAX + 1], 0);
        check(&[255, 254], 0);
        assert!(!is_asked(b"clock") && !is_asked(b""));
    }

    #[test]
    fn whatever_is_answered_there_is_one_reading_for_each_address() {
        let addresses = ["x".to_owned(), "y".to_owned()];
        let check = |said: Option<&str>, expect: [Option<bool>; 2]| {
            let reached: Vec<_> = told(&addresses, said)
                .map(|(address, said)| read(NodeId([1; 32]), "b".to_owned(), address, said).reached)
                .collect();
            assert_eq!(reached, expect, "{said:?}");
        };
        check(None, [None, None]);
        check(Some(""), [None, None]);
        check(Some("open\nelsewhere\nopen\nopen"), [Some(true), None]);
        check(Some("no answer within 2 s\nopen"), [Some(false), Some(true)]);
    }
}
