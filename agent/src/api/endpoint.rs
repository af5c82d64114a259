//! Addresses of the API in their text form. Owns the syntax; binds nothing.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where an API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A loopback address, written `http://127.0.0.1:7411`.
    Tcp(SocketAddr),
    /// A unix socket, written `unix:/run/selvedge/api.sock`.
    Unix(PathBuf),
}

/// Text that is no address of an API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of an API; write http://127.0.0.1:7411 or unix:PATH")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        if let Some(port) = address.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| wrong())?;
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        address.parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(text.parse::<Endpoint>().ok().map(|endpoint| endpoint.to_string()).as_deref(), expect, "{text}");
        };
        check("http://127.0.0.1:7411", Some("http://127.0.0.1:7411"));
        check("http://127.0.0.1:7411/", Some("http://127.0.0.1:7411"));
        check("localhost:0", Some("http://127.0.0.1:0"));
        check("[::1]:7411", Some("http://[::1]:7411"));
        check("unix:/run/a.sock", Some("unix:/run/a.sock"));
        check("unix:///run/a.sock", Some("unix:/run/a.sock"));
        for wrong in ["", "unix:", "http://", "https://127.0.0.1:1", "127.0.0.1", "localhost:99999", "example.org:80"] {
            check(wrong, None);
        }
    }
}
