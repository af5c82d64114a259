//! A stranger's one visit: dial a member, ask to be let in, and go.
//!
//! Needs no swarm and serves nothing; what is asked and answered is the caller's.

use std::io;
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use selvedge_sync::id::NodeId;

use super::gate::GateError;
use super::identity::{keypair, node_of};
use super::{AddressError, address, gate, transport};

/// The longest that reaching one address may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nobody let us in. Nothing was changed here; whether the other side acted is known only from its answer.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailed<E> {
    /// The address is none.
    #[error(transparent)]
    Address(AddressError),
    /// Nobody answers there.
    #[error("nobody was reached: {0}")]
    Unreached(io::Error),
    /// Somebody answers, and does not know of an invitation.
    #[error("the member there knows of no such invitation: it was used, has expired, or another member made it")]
    NotInvited,
    /// Somebody answers, and did not look at the invitation.
    #[error(
        "the member there cannot look at invitations at present: it had too many wrong ones of late, or its disk refuses"
    )]
    Later,
    /// Somebody answers, and something went wrong on the way.
    #[error("the meeting failed: {0}")]
    Meeting(io::Error),
    /// The caller ended it.
    #[error(transparent)]
    Ended(E),
}

/// Dials `target` as the node of `seed` and lets `ask` talk to whoever is there: it gets the other node and its last answer,
/// and gives the next question, or `None` when it is content.
///
/// # Errors
/// Nobody was reached or nobody knows of us, or `ask` gave up.
pub async fn join<E>(
    seed: [u8; 32],
    target: &str,
    mut ask: impl FnMut(NodeId, Option<&[u8]>) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), JoinFailed<E>> {
    let mut stack = transport::named(&keypair(seed)).map_err(JoinFailed::Unreached)?;
    let mut failure = io::Error::other("it names no address");
    for address in address::parse(target).map_err(JoinFailed::Address)? {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dial = match stack.dial(address::split_peer(address).0, options) {
            Ok(dial) => dial,
            Err(error) => {
                failure = io::Error::other(error);
                continue;
            }
        };
        let (peer, mut muxer) = match tokio::time::timeout(DIAL_TIMEOUT, dial).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(error)) => {
                failure = error;
                continue;
            }
            Err(_) => {
                failure = io::ErrorKind::TimedOut.into();
                continue;
            }
        };
        let other = node_of(&peer).ok_or_else(|| JoinFailed::Meeting(io::Error::other(GateError::Identity)))?;
        return match gate::join(&mut muxer, |answer| ask(other, answer)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(JoinFailed::Ended(error)),
            Err(GateError::NotInvited) => Err(JoinFailed::NotInvited),
            Err(GateError::Later) => Err(JoinFailed::Later),
            Err(error) => Err(JoinFailed::Meeting(io::Error::other(error))),
        };
    }
    Err(JoinFailed::Unreached(failure))
}
