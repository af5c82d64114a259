//! Addresses as people write them and as libp2p dials them.
//!
//! Owns the parsing and the choice of what is worth telling others; binds and dials nothing. The invariant: every
//! [`Multiaddr`] that leaves here ends in QUIC version 1 or in TCP, with or without the name of a node behind it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};

/// The longest text that is looked at, in bytes: a DNS name (253), a port, and a peer id leave room below it.
const ADDRESS_BYTES_MAX: usize = 512;

/// Where an agent can listen: `IP:PORT` (QUIC and TCP both; port 0 lets the system choose) or one multiaddr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    text: String,
    addresses: Vec<Multiaddr>,
}

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{address}` is no address: {problem} (write HOST:PORT, or a multiaddr such as /ip4/192.0.2.1/udp/7410/quic-v1)"
)]
pub struct AddressError {
    /// The text as it was given, shortened.
    pub address: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl FromStr for ListenAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let addresses = parse(text)?;
        if addresses.iter().any(|address| socket(address).is_none()) {
            return Err(wrong(text, "to listen takes an IP address, not a name"));
        }
        Ok(Self { text: text.to_owned(), addresses })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl ListenAddr {
    /// What to bind, QUIC before TCP.
    pub(super) fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }
}

/// The addresses that `text` stands for, in the order in which to try them: for `host:port` QUIC, then TCP.
pub(super) fn parse(text: &str) -> Result<Vec<Multiaddr>, AddressError> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(wrong(text, "it is too long"));
    }
    if text.starts_with('/') {
        let address = text.parse().map_err(|_| wrong(text, "it begins like a multiaddr, and is none"))?;
        if !is_usable(&address) {
            return Err(wrong(text, "only …/udp/PORT/quic-v1 and …/tcp/PORT are spoken"));
        }
        return Ok(vec![address]);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(text, "the port is missing"))?;
    let port = port.parse().map_err(|_| wrong(text, "the port is no number from 0 to 65535"))?;
    let host = host_protocol(host).map_err(|problem| wrong(text, problem))?;
    let base = Multiaddr::empty().with(host);
    Ok(vec![base.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1), base.with(Protocol::Tcp(port))])
}

fn host_protocol(host: &str) -> Result<Protocol<'_>, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().map(Protocol::Ip6).map_err(|_| "what stands in brackets is no IPv6 address");
    }
    if let Ok(ip) = host.parse() {
        return Ok(Protocol::Ip4(ip));
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let digits_only = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match !digits_only && host.trim_end_matches('.').split('.').all(label_ok) {
        true => Ok(Protocol::Dns(host.into())),
        false if host.contains(':') => Err("an IPv6 address stands in brackets"),
        false => Err("the host is neither an IP address nor a name"),
    }
}

/// Whether one of our transports takes the address.
fn is_usable(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let transport = match parts.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => parts.next() == Some(Protocol::QuicV1),
        _ => false,
    };
    let end = match parts.next() {
        None => true,
        Some(Protocol::P2p(_)) => parts.next().is_none(),
        Some(_) => false,
    };
    host && transport && end
}

/// The socket that an address without a DNS name stands for.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Whether the address is spoken to over QUIC; otherwise it is TCP.
pub(super) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

/// The node that the address names, if it names one, and the address without it.
pub(super) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (address, Some(peer))
        }
        _ => (address, None),
    }
}

/// Of the addresses bound, those that others can use: loopback only where there is nothing else, link-local never.
pub(super) fn worth_telling<'a>(bound: impl Iterator<Item = &'a Multiaddr> + Clone) -> Vec<String> {
    let ip = |address: &Multiaddr| socket(address).map(|socket| socket.ip());
    let far = |address: &&Multiaddr| ip(address).is_some_and(|ip| !ip.is_loopback() && !is_link_local(ip));
    let elsewhere: Vec<_> = bound.clone().filter(far).map(ToString::to_string).collect();
    if !elsewhere.is_empty() {
        return elsewhere;
    }
    bound.filter(|&address| ip(address).is_some_and(|ip| ip.is_loopback())).map(ToString::to_string).collect()
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn wrong(text: &str, problem: &'static str) -> AddressError {
    AddressError { address: text.chars().take(120).collect(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_mean_quic_then_tcp() {
        let check = |text: &str, expect: [&str; 2]| {
            let got: Vec<_> = parse(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(got, expect, "{text}");
        };
        check("127.0.0.1:7410", ["/ip4/127.0.0.1/udp/7410/quic-v1", "/ip4/127.0.0.1/tcp/7410"]);
        check("[::1]:0", ["/ip6/::1/udp/0/quic-v1", "/ip6/::1/tcp/0"]);
        check("edge-1.example.org:9", ["/dns/edge-1.example.org/udp/9/quic-v1", "/dns/edge-1.example.org/tcp/9"]);
    }

    #[test]
    fn a_multiaddr_means_itself() {
        let peer = super::super::identity::keypair([1; 32]).public().to_peer_id();
        for text in ["/ip4/10.0.0.1/tcp/1".to_owned(), format!("/dns4/a.b/udp/2/quic-v1/p2p/{peer}")] {
            assert_eq!(parse(&text).unwrap(), [text.parse::<Multiaddr>().unwrap()]);
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        let wrong = [
            "",
            ":1",
            "localhost",
            "host:",
            "host:99999",
            "a b:1",
            "256.0.0.1:1",
            "::1:7410",
            "[::1:7410",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/5",
            "/ip4/1.2.3.4/tcp/5/ws",
            "/nonsense",
            "-\u{0}:4",
        ];
        for text in wrong {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!("localhost:7410".parse::<ListenAddr>().is_err(), "a name cannot be listened on");
    }

    #[test]
    fn loopback_is_told_only_where_there_is_nothing_else() {
        let all: Vec<Multiaddr> = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip6/fe80::1/tcp/1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(worth_telling(all.iter()), ["/ip4/10.0.0.1/tcp/1"]);
        assert_eq!(worth_telling(all[..1].iter()), ["/ip4/127.0.0.1/tcp/1"]);
    }
}
