//! Sockets that the API listens on: taking them, accepting on them, and leaving no stale file behind.
//!
//! The invariants: only loopback is listened on; a socket file is removed only if nobody answers on it, and at the end only
//! if it is still ours.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Endpoint;

/// Owner and group may connect: whoever is in the group `selvedge` has all rights.
const SOCKET_MODE: u32 = 0o660;

/// Why an address could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("the API cannot listen on {0}: the address is in use; is another agent running?")]
    InUse(Endpoint),
    /// The address can be reached from other hosts.
    #[error("the API cannot listen on {0}: only loopback addresses and unix sockets are allowed")]
    NotLoopback(Endpoint),
    /// There is something else where the socket should be.
    #[error("the API cannot listen on {0}: there is a file of that name, and it is no socket")]
    NoSocket(Endpoint),
    /// The operating system refuses.
    #[error("the API cannot listen on {endpoint}: {source}")]
    Io {
        /// The address.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
}

/// A socket that takes connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// A connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket's file, removed with its listener.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, which tell whether the file of this name is still the one that we made.
    identity: (u64, u64),
}

impl Listener {
    pub(super) async fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(endpoint.clone()),
            _ => BindError::Io { endpoint: endpoint.clone(), source },
        };
        match endpoint {
            Endpoint::Tcp(address) if !address.ip().is_loopback() => Err(BindError::NotLoopback(endpoint.clone())),
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(refused)?;
                let address = listener.local_addr().map_err(refused)?;
                Ok(Self::Tcp(listener, address))
            }
            Endpoint::Unix(path) => {
                make_room(endpoint, path).await?;
                let listener = UnixListener::bind(path).map_err(refused)?;
                let file = SocketFile::take(path).map_err(refused)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Tcp(_, address) => Endpoint::Tcp(*address),
            Self::Unix(_, file) => Endpoint::Unix(file.path.clone()),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and awaited: waiting to fill a packet would cost more than the call.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

impl SocketFile {
    fn take(path: &Path) -> io::Result<Self> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the API's socket file stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Removes the socket of an agent that is gone. One that answers stays, and so does anything that is no socket.
async fn make_room(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    let refused = |source| BindError::Io { endpoint: endpoint.clone(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NoSocket(endpoint.clone())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(refused),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(error)),
        Ok(_) => Err(BindError::InUse(endpoint.clone())),
    }
}
