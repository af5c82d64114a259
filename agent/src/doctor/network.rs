//! Ports of our own, and addresses of others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;

use super::finding::{Finding, Outcome};
use super::place::Place;
use crate::config::ApiListen;

/// Time for somebody to accept a connection; a member that takes longer is as good as unreachable.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// Without an agent: whether its ports are free. With one: whether something answers at them.
pub(super) async fn ports(place: &Place, answers: bool) -> Outcome {
    if let Some(running) = &place.running {
        let tcp = running.listen.iter().filter_map(|address| tcp_of(address));
        let tried = join_all(tcp.map(async |(host, port)| {
            let host = if host == "0.0.0.0" || host == "::" { Ipv4Addr::LOCALHOST.to_string() } else { host };
            connect(&host, port).await.err().map(|why| (host, port, why))
        }));
        let closed = tried.await.into_iter().flatten();
        return Ok(closed
            .map(|(host, port, why)| {
                let mend =
                    format!("look for a firewall: nft list ruleset; and who holds it: ss -tlnp 'sport = :{port}'");
                Finding::error(
                    format!("the agent says that it listens on {host}:{port}, and it cannot be reached there: {why}"),
                    mend,
                )
            })
            .collect());
    }
    place.looked()?;
    if answers {
        return Err(format!("an agent answers at {}, and none runs in {}", place.api, place.data_dir.display()));
    }
    let config = place.config.as_ref().map_err(|_| "the configuration cannot be used".to_owned())?;
    let api = config.api.listen.iter().filter_map(|listen| match listen {
        ApiListen::Tcp(address) => Some((*address, false)),
        ApiListen::Unix(_) => None,
    });
    let wanted = config.net.listen.iter().map(|address| (*address, true)).chain(api);
    Ok(wanted.filter(|(address, _)| address.port() != 0).filter_map(|(address, udp)| free(address, udp)).collect())
}

/// Whether others reach this host, which nobody on it can see.
pub(super) fn ways_in() -> Outcome {
    let elsewhere =
        "`selvedge peers` on another member tells whether it reaches this one, by which transport, and why not";
    Err(format!("whether other hosts get through to these ports, and UDP at all, does not show from here; {elsewhere}"))
}

/// Whether a port can be had, which is tried and given up at once.
fn free(address: SocketAddr, udp: bool) -> Option<Finding> {
    let tcp = TcpListener::bind(address).map(drop);
    let both = if udp { tcp.and_then(|()| UdpSocket::bind(address).map(drop)) } else { tcp };
    let error = both.err()?;
    let mend = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("ss -tulnp 'sport = :{}' says who holds it; or change net.listen or api.listen", address.port())
        }
        std::io::ErrorKind::PermissionDenied => "take a port from 1024 up".to_owned(),
        _ => "ip address shows the addresses of this host; change net.listen or api.listen".to_owned(),
    };
    Some(Finding::error(format!("the agent could not listen on {address}: {error}"), mend))
}

/// Whether the members to begin with can be reached.
pub(super) async fn bootstrap(place: &Place) -> Outcome {
    let config = place.config.as_ref().map_err(|_| "the configuration cannot be used".to_owned())?;
    if config.net.bootstrap.is_empty() {
        return Err("none is configured".to_owned());
    }
    let tried = join_all(config.net.bootstrap.iter().map(async |address| Some((address, reach(address).await?))));
    let unreached = tried.await.into_iter().flatten();
    Ok(unreached
        .map(|(address, why)| {
            let mend = "is that agent up, and its port open in the firewalls between? Members that are known by now are tried anyway";
            Finding::warning(format!("no agent is reached at {address}: {why}"), mend)
        })
        .collect())
}

/// Why an address leads to nobody; `None` where it leads somewhere, or where that cannot be told.
async fn reach(address: &str) -> Option<String> {
    match tcp_of(address).or_else(|| udp_of(address)) {
        Some((host, port)) if address.contains("/udp/") => {
            // A datagram to a closed door often just vanishes; what can be told is whether the name leads anywhere.
            tokio::net::lookup_host((host.as_str(), port)).await.err().map(|error| error.to_string())
        }
        Some((host, port)) => connect(&host, port).await.err(),
        None => None,
    }
}

async fn connect(host: &str, port: u16) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECT_PATIENCE.as_secs())),
    }
}

/// Host and port of `HOST:PORT`, or of a multiaddress over TCP.
fn tcp_of(address: &str) -> Option<(String, u16)> {
    multi(address, "tcp").or_else(|| {
        let (host, port) = address.rsplit_once(':').filter(|_| !address.starts_with('/'))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?))
    })
}

fn udp_of(address: &str) -> Option<(String, u16)> {
    multi(address, "udp")
}

/// Host and port of a multiaddress such as `/ip4/192.0.2.1/tcp/7412`.
fn multi(address: &str, transport: &str) -> Option<(String, u16)> {
    let mut parts = address.strip_prefix('/')?.split('/');
    let (kind, host) = (parts.next()?, parts.next()?);
    let is_host = matches!(kind, "dns" | "dns4" | "dns6") || host.parse::<IpAddr>().is_ok();
    (is_host && parts.next()? == transport).then_some(())?;
    Some((host.to_owned(), parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_both_forms() {
        let check = |text: &str, tcp: Option<(&str, u16)>, udp: Option<(&str, u16)>| {
            let own = |one: Option<(&str, u16)>| one.map(|(host, port)| (host.to_owned(), port));
            assert_eq!((tcp_of(text), udp_of(text)), (own(tcp), own(udp)), "{text}");
        };
        check("edge-1.example:7412", Some(("edge-1.example", 7412)), None);
        check("[::1]:7412", Some(("::1", 7412)), None);
        check("/ip4/192.0.2.1/tcp/7412", Some(("192.0.2.1", 7412)), None);
        check("/dns4/edge/udp/7412/quic-v1", None, Some(("edge", 7412)));
        check("/ip4/192.0.2.1", None, None);
        check("nonsense", None, None);
    }

    #[test]
    fn a_port_that_is_taken_is_found() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = holder.local_addr().expect("an address");
        let finding = free(address, false).expect("it is taken");
        assert!(finding.mend.contains(&format!("sport = :{}", address.port())), "{finding:?}");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = datagrams.local_addr().expect("an address");
        assert!(free(address, true).is_some(), "QUIC needs the port, too");
        // A port of the system's choice can always be had. One that was just given up cannot: whoever is being started holds it a moment longer.
        assert!(free("127.0.0.1:0".parse().expect("an address"), true).is_none());
    }

    #[tokio::test]
    async fn nobody_behind_an_address_is_told() {
        assert!(reach("127.0.0.1:1").await.is_some());
        let open = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = open.local_addr().expect("an address").port();
        assert_eq!(reach(&format!("/ip4/127.0.0.1/tcp/{port}")).await, None);
        assert!(reach("/dns4/no-such-host.invalid/udp/7412/quic-v1").await.is_some());
    }
}
