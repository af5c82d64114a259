//! Where an agent's API is: `http://HOST:PORT` or `unix:PATH`.
//!
//! Owns the text form and the default address; connects to nothing. The invariant: an [`ApiAddr`] can be shown in the form
//! in which it was read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The unix socket of an agent that a package manager installed.
pub(crate) const DEFAULT_SOCKET: &str = "/run/selvedge/api.sock";
/// The port on loopback when there is no such socket.
pub(crate) const DEFAULT_PORT: u16 = 7411;

/// Address of an agent's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiAddr {
    /// HTTP over TCP.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// HTTP over a unix socket.
    Unix(PathBuf),
}

/// Text that is no address of an API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseApiAddrError {
    /// The CLI speaks to agents nearby; TLS would need certificates that they do not have.
    #[error("https is not served by agents; use http://HOST:PORT or unix:PATH")]
    Https,
    /// Anything else.
    #[error("an API address is http://HOST:PORT or unix:PATH")]
    Form,
}

impl ApiAddr {
    /// The unix socket when it exists, otherwise loopback.
    #[must_use]
    pub(crate) fn default_for_this_host() -> Self {
        Self::default_given(Path::new(DEFAULT_SOCKET))
    }

    fn default_given(socket: &Path) -> Self {
        if socket.exists() {
            Self::Unix(socket.to_owned())
        } else {
            Self::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT }
        }
    }

    /// Whether the agent is on this host for certain. Only such an agent may point us at files here.
    #[must_use]
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// The `Host` header to send.
    #[must_use]
    pub(crate) fn host_header(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl FromStr for ApiAddr {
    type Err = ParseApiAddrError;

    fn from_str(text: &str) -> Result<Self, ParseApiAddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(ParseApiAddrError::Form),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if text.starts_with("https:") {
            return Err(ParseApiAddrError::Https);
        }
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or(ParseApiAddrError::Form)?;
        let port = port.parse().map_err(|_| ParseApiAddrError::Form)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(bracketed) => bracketed,
            None if host.contains(':') => return Err(ParseApiAddrError::Form),
            None => host,
        };
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
        if host.is_empty() || !plain {
            return Err(ParseApiAddrError::Form);
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for ApiAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => write!(f, "http://{}", self.host_header()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_own_text() {
        for text in ["http://127.0.0.1:7411", "http://[::1]:7411", "http://edge-1.example:80", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<ApiAddr>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1:1".parse::<ApiAddr>().unwrap().to_string(), "http://127.0.0.1:1");
        assert_eq!("http://a:1/".parse::<ApiAddr>().unwrap().to_string(), "http://a:1");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "unix:",
            "http://",
            "http://:80",
            "http://a",
            "http://a:70000",
            "::1:80",
            "http://a b:1",
            "http://a/x:1",
        ] {
            assert_eq!(text.parse::<ApiAddr>(), Err(ParseApiAddrError::Form), "{text}");
        }
        assert_eq!("https://a:1".parse::<ApiAddr>(), Err(ParseApiAddrError::Https));
    }

    #[test]
    fn the_socket_wins_when_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        assert_eq!(ApiAddr::default_given(&socket).to_string(), "http://127.0.0.1:7411");
        std::fs::write(&socket, "").unwrap();
        assert_eq!(ApiAddr::default_given(&socket), ApiAddr::Unix(socket));
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        for (text, local) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("unix:/x", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.evil:1", false),
        ] {
            assert_eq!(text.parse::<ApiAddr>().unwrap().is_local(), local, "{text}");
        }
    }
}
