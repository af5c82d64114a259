//! Whether something listens at an address, found without a connection of ours: for whoever looks for closed ports.
//!
//! Over TCP the port is opened and closed again, without a word. Over QUIC the first packet is of a version that nobody speaks, to which
//! a server answers with the versions that it does (RFC 9000, section 6), and remembers nothing. The invariants: an answer that does not
//! repeat what was asked is none, and hurries nothing; a knock takes no longer than [`PATIENCE`].

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::net::{TcpStream, UdpSocket};

use super::address;

/// Time for somebody to open. Whoever takes longer is as good as unreachable.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer to a datagram is waited for before it is sent again: it may be lost.
const ANSWER_PATIENCE: Duration = Duration::from_millis(600);

/// Most datagrams that one knock sends, whatever comes back: as many as there is time for.
const QUESTIONS_MAX: usize = 4;

/// A version that is kept free so that servers have something to refuse (RFC 9000, section 15).
const VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];

/// Bytes of a connection's identifiers, which the answer repeats.
const ID_BYTES: usize = 8;

/// The smallest first packet that is answered, in bytes (RFC 9000, section 14.1).
const DATAGRAM_BYTES: usize = 1_200;

/// An address to knock at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// Where.
    pub(crate) at: SocketAddr,
    /// Whether by QUIC; by TCP otherwise.
    pub(crate) is_quic: bool,
}

/// Why nobody opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    /// What the system says.
    #[error("{0}")]
    System(#[from] io::Error),
    /// Nothing came back.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
}

impl Door {
    /// The door of a multiaddress; `None` of a name, and of what is no address of ours.
    pub(crate) fn of(address: &str) -> Option<Self> {
        let address: Multiaddr = address.parse().ok()?;
        Some(Self { at: address::socket(&address)?, is_quic: address::is_quic(&address) })
    }

    /// Knocks.
    ///
    /// # Errors
    /// Nobody opens.
    pub(crate) async fn knock(self) -> Result<(), Closed> {
        let Self { at, is_quic } = self;
        let knocked = async {
            if is_quic {
                ask_for_versions(at).await
            } else {
                TcpStream::connect(at).await.map(drop).map_err(Closed::from)
            }
        };
        tokio::time::timeout(PATIENCE, knocked).await.unwrap_or(Err(Closed::Silent))
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.at, if self.is_quic { "QUIC (UDP)" } else { "TCP" })
    }
}

/// Asks until an answer comes, a few times at the most.
async fn ask_for_versions(at: SocketAddr) -> Result<(), Closed> {
    let any = if at.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    let mut ids = [0; 2 * ID_BYTES];
    getrandom::fill(&mut ids).map_err(io::Error::other)?;
    let (question, mut answer) = (question(&ids), [0; DATAGRAM_BYTES]);
    for _ in 0..QUESTIONS_MAX {
        socket.send(&question).await?;
        // Where none came in time, it is asked again.
        if let Ok(heard) = tokio::time::timeout(ANSWER_PATIENCE, hear(&socket, &mut answer, &ids)).await {
            return Ok(heard?);
        }
    }
    Err(Closed::Silent)
}

/// Hears whatever comes until it is the answer.
async fn hear(socket: &UdpSocket, answer: &mut [u8], ids: &[u8; 2 * ID_BYTES]) -> io::Result<()> {
    loop {
        let length = socket.recv(answer).await?;
        if is_answer(answer.get(..length).unwrap_or_default(), ids) {
            return Ok(());
        }
    }
}

/// A long header (RFC 8999, section 5.1) with the identifiers of both sides, and nothing behind it.
fn question(ids: &[u8; 2 * ID_BYTES]) -> Vec<u8> {
    let (theirs, ours) = ids.split_at(ID_BYTES);
    let length = [u8::try_from(ID_BYTES).expect("a few bytes")];
    let mut packet = [&[0xc0][..], &VERSION, &length, theirs, &length, ours].concat();
    packet.resize(DATAGRAM_BYTES, 0);
    packet
}

/// Whether a packet negotiates the version of a connection with these identifiers (RFC 8999, section 6).
fn is_answer(packet: &[u8], ids: &[u8; 2 * ID_BYTES]) -> bool {
    let (theirs, ours) = ids.split_at(ID_BYTES);
    let length = [u8::try_from(ID_BYTES).expect("a few bytes")];
    let head = [&[0; 4][..], &length, ours, &length, theirs].concat();
    packet.split_first().is_some_and(|(first, rest)| first & 0x80 != 0 && rest.starts_with(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_was_asked() {
        let ids: [u8; 2 * ID_BYTES] = std::array::from_fn(|at| u8::try_from(at).expect("few"));
        let asked = question(&ids);
        assert_eq!((asked.len(), asked[0], &asked[1..5]), (DATAGRAM_BYTES, 0xc0, &VERSION[..]));
        let (theirs, ours) = ids.split_at(ID_BYTES);
        let answer =
            |first: u8, to: &[u8], from: &[u8]| [&[first, 0, 0, 0, 0, 8], to, &[8], from, &[0, 0, 0, 1]].concat();
        assert!(is_answer(&answer(0x80, ours, theirs), &ids));
        for other in [answer(0x80, theirs, ours), answer(0x40, ours, theirs), asked, Vec::new(), vec![0x80]] {
            assert!(!is_answer(&other, &ids), "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_makes_nobody_ask_more_often() {
        // Whether an answer comes after what is none.
        for is_answered in [true, false] {
            let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let door = Door { at: theirs.local_addr().expect("an address"), is_quic: true };
            let mut asked = 0;
            let answers = async {
                let mut heard = [0; DATAGRAM_BYTES];
                for _ in 0..=QUESTIONS_MAX {
                    let (length, from) = theirs.recv_from(&mut heard).await.expect("is heard");
                    asked += 1;
                    theirs.send_to(b"no answer", from).await.expect("is sent");
                    theirs.send_to(b"", from).await.expect("is sent");
                    if is_answered {
                        let (to, by) = (&heard[6..6 + ID_BYTES], &heard[7 + ID_BYTES..7 + 2 * ID_BYTES]);
                        assert_eq!(length, DATAGRAM_BYTES);
                        let answer = [&[0x80, 0, 0, 0, 0, 8][..], by, &[8], to, &[0, 0, 0, 1]].concat();
                        theirs.send_to(&answer, from).await.expect("is sent");
                    }
                }
            };
            let knocked = tokio::select! {
                knocked = door.knock() => knocked,
                () = answers => panic!("it is asked too often"),
            };
            assert_eq!(knocked.is_ok(), is_answered, "{knocked:?}");
            assert!((1..=QUESTIONS_MAX).contains(&asked), "asked {asked} times");
        }
    }

    #[test]
    fn a_door_is_an_address_of_ours_without_a_name() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(Door::of(text).map(|door| door.to_string()).as_deref(), expect, "{text}");
        };
        check("/ip4/192.0.2.1/tcp/7412", Some("192.0.2.1:7412 over TCP"));
        check("/ip6/::1/udp/7412/quic-v1", Some("[::1]:7412 over QUIC (UDP)"));
        check("/dns4/edge/tcp/7412", None);
        check("192.0.2.1:7412", None);
        check("", None);
    }
}
