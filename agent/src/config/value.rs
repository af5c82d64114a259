//! Single values as people write them: names, durations, sizes, addresses.
//!
//! Owns their text forms and bounds; knows no keys and no defaults. The invariant: a value that exists is within its bounds.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::spec::{TOKEN_BYTES_MAX, parse_bytes, parse_millis};

/// Longest path of a unix socket, in bytes: what the kernel takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest address of a peer, in bytes: a DNS name, a port and a peer id fit.
const PEER_ADDRESS_BYTES_MAX: usize = 512;

/// A node's place on Earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawLocation")]
pub struct Location {
    /// Latitude, -90 (south) to 90 (north).
    pub lat: f64,
    /// Longitude, -180 (west) to 180 (east).
    pub lon: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocation {
    lat: f64,
    lon: f64,
}

impl TryFrom<RawLocation> for Location {
    type Error = &'static str;

    fn try_from(raw: RawLocation) -> Result<Self, Self::Error> {
        match raw {
            RawLocation { lat, .. } if !(-90.0..=90.0).contains(&lat) => Err("`lat` is -90 to 90 degrees"),
            RawLocation { lon, .. } if !(-180.0..=180.0).contains(&lon) => Err("`lon` is -180 to 180 degrees"),
            RawLocation { lat, lon } => Ok(Self { lat, lon }),
        }
    }
}

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiListen {
    /// A loopback address. Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl FromStr for ApiListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                1..=SOCKET_PATH_BYTES_MAX => Ok(Self::Unix(path.into())),
                bytes => Err(format!("a socket's path has 1 to {SOCKET_PATH_BYTES_MAX} bytes, not {bytes}")),
            };
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address: SocketAddr = address.strip_suffix('/').unwrap_or(address).parse().map_err(|_| {
            format!(
                "`{text}` is no address; write 127.0.0.1:7411, http://127.0.0.1:7411 or unix:/run/selvedge/api.sock"
            )
        })?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "the API listens on loopback only, and {address} is not; use 127.0.0.1, [::1] or unix:PATH, \
                 and let a proxy with its own access control serve other hosts"
            ));
        }
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for ApiListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The name of a node, a region, a cluster or a capability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(pub(super) String);

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=TOKEN_BYTES_MAX).contains(&text.len());
        if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("a name has 1 to {TOKEN_BYTES_MAX} bytes without blanks"))
    }
}

/// An address at which this node is reached or reaches another. The network layer reads it in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerAddress(pub(super) String);

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if text.len() <= PEER_ADDRESS_BYTES_MAX && (text.starts_with('/') || port(text)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{text}` is no address; write HOST:PORT, or a multiaddr such as /ip4/192.0.2.1/udp/7412/quic-v1"))
    }
}

/// Where the network layer listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetListen(pub(super) SocketAddr);

impl FromStr for NetListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is no address; write IP:PORT, as in 127.0.0.1:7412 or [::]:7412"))
    }
}

macro_rules! deserialize_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
deserialize_from_text!(ApiListen, Token, PeerAddress, NetListen);

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts<T>(PhantomData<T>);
        impl<'de, T: FromStr<Err = String>> Visitor<'de> for Texts<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                text.parse().map(|value| OneOrMany(vec![value])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<OneOrMany<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(text) = texts.next_element::<String>()? {
                    values.push(text.parse().map_err(A::Error::custom)?);
                }
                Ok(OneOrMany(values))
            }
        }
        deserializer.deserialize_any(Texts(PhantomData))
    }
}

/// A duration of `MIN` to `MAX` milliseconds, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millis<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Millis<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = parse_millis(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        if (MIN..=MAX).contains(&millis) {
            return Ok(Self(millis));
        }
        Err(D::Error::custom(format!("{} is out of range: {} to {} are allowed", show(millis), show(MIN), show(MAX))))
    }
}

/// A duration as one would write it: humantime counts days beyond 30 in months of 30.44.
fn show(millis: u64) -> String {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    match (millis / DAY_MS, millis % DAY_MS) {
        (days @ 2.., 0) => format!("{days} days"),
        _ => humantime::format_duration(std::time::Duration::from_millis(millis)).to_string(),
    }
}

/// A size of `MIN` to `MAX` bytes: a text with a unit, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bytes<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\", or a number of bytes")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
                u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                parse_bytes(text).map_err(E::custom)
            }
        }
        let bytes = deserializer.deserialize_any(Size)?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Self(bytes));
        }
        Err(D::Error::custom(format!("{bytes} bytes are out of range: {MIN} to {MAX} are allowed")))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count<const MIN: u16, const MAX: u16>(pub(super) u16);

impl<'de, const MIN: u16, const MAX: u16> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = i64::deserialize(deserializer)?;
        match u16::try_from(count) {
            Ok(count) if (MIN..=MAX).contains(&count) => Ok(Self(count)),
            Ok(_) | Err(_) => Err(D::Error::custom(format!("{count} is out of range: {MIN} to {MAX} are allowed"))),
        }
    }
}
