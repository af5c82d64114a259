//! Where spans are sent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Where collectors listen for OTLP over HTTP, unless something else is said.
const PORT_DEFAULT: u16 = 4_318;

/// Longest address, in bytes: a DNS name, a port and a path fit.
const BYTES_MAX: usize = 512;

/// What of an address follows from the protocol.
const PATH: &str = "/v1/traces";

/// A collector's address. It need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    authority: String,
    path: String,
}

impl Collector {
    /// `HOST:PORT`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Where on that host, beginning with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no collector's address; write http://HOST:4318");
        let rest = text.strip_prefix("http://").ok_or_else(|| match text.starts_with("https://") {
            true => "traces are sent in the clear: name a collector on this host or in this network by http://, and let that one encrypt".to_owned(),
            false => wrong(),
        })?;
        let is_plain = |letter: char| letter.is_ascii_graphic() && !"@?#\"<>\\^`{|}".contains(letter);
        if text.len() > BYTES_MAX || !rest.chars().all(is_plain) {
            return Err(wrong());
        }
        let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The last colon of an address in brackets may be its own.
        let is_port = |(_, port): &(&str, &str)| !port.ends_with(']');
        let authority = match authority.rsplit_once(':').filter(is_port) {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                authority.to_owned()
            }
            None if !authority.is_empty() => format!("{authority}:{PORT_DEFAULT}"),
            Some(_) | None => return Err(wrong()),
        };
        Ok(Self { authority, path: format!("{}{PATH}", base.trim_end_matches('/')) })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl<'de> Deserialize<'de> for Collector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
