//! Ports of our own, and addresses of others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use futures::future::join_all;

use super::finding::{Finding, Outcome};
use super::place::Place;
use crate::config::ApiListen;
use crate::net::Door;

/// Time for a name to be found.
const NAME_PATIENCE: Duration = Duration::from_secs(3);
/// Hosts behind one name that are tried.
const HOSTS_MAX: usize = 4;

/// Without an agent: whether its ports are free. With one: whether something answers at them.
pub(super) async fn ports(place: &Place, answers: bool) -> Outcome {
    if let Some(running) = &place.running {
        let tried = join_all(running.listen.iter().filter_map(|address| Door::of(address)).map(async |door| {
            let door = Door { at: on_this_host(door.at), ..door };
            Some((door, door.knock().await.err()?))
        }));
        let closed = tried.await.into_iter().flatten();
        return Ok(closed
            .map(|(door, why)| {
                let (port, kind) = (door.at.port(), if door.is_quic { "u" } else { "t" });
                let mend =
                    format!("look for a firewall: nft list ruleset; and who holds it: ss -{kind}lnp 'sport = :{port}'");
                let what = format!("the agent says that it listens on {door}, and it cannot be reached there: {why}");
                Finding::error(what, mend)
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

/// Where an agent that listens everywhere is found on its own host.
fn on_this_host(at: SocketAddr) -> SocketAddr {
    let here = match at.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        bound => bound,
    };
    SocketAddr::new(here, at.port())
}

/// Why an address leads to nobody; `None` where it leads somewhere. Of several hosts behind a name, and of both transports where the
/// address leaves that open, one is enough.
async fn reach(address: &str) -> Option<String> {
    let (host, port, transports) = match (udp_of(address), tcp_of(address)) {
        (Some((host, port)), _) => (host, port, &[true][..]),
        (None, Some((host, port))) if address.starts_with('/') => (host, port, &[false][..]),
        (None, Some((host, port))) => (host, port, &[false, true][..]),
        // The configuration's check has a word for it.
        (None, None) => return None,
    };
    let found = match tokio::time::timeout(NAME_PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await {
        Ok(found) => found,
        Err(_) => return Some(format!("its name is not found within {} s", NAME_PATIENCE.as_secs())),
    };
    let hosts: Vec<SocketAddr> = match found {
        Ok(hosts) => hosts.take(HOSTS_MAX).collect(),
        Err(error) => return Some(error.to_string()),
    };
    let doors = hosts.iter().flat_map(|at| transports.iter().map(|is_quic| Door { at: *at, is_quic: *is_quic }));
    let closed: Vec<String> = join_all(doors.map(async |door| Some(format!("{door}: {}", door.knock().await.err()?))))
        .await
        .into_iter()
        .collect::<Option<_>>()?;
    Some(closed.join(", "))
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
