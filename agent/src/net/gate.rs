//! The gate on every connection: carries the admission handshake on its first stream and lets only members through.
//!
//! Owns the exchange of bytes, its time limit and the count of refusals; what makes a member is judged by an
//! [`Admission`]. It sits inside the transport, behind encryption and multiplexing and before the swarm. The
//! invariants: nothing of ours is negotiated on a connection that has not passed; streams that the other side opens early
//! stay queued in the multiplexer and are not lost.
//!
//! ```text
//! dialer → listener   greeting: magic, version, nonce
//! listener → dialer   greeting: magic, version, nonce
//! dialer → listener   proof
//! listener → dialer   verdict, and after a "welcome" its own proof
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use selvedge_sync::id::NodeId;

use super::admission::{ADMISSION_VERSION, Admission, Meeting, NONCE_BYTES, NoMember, Role};
use super::counters::{NetReason, Tally};
use super::identity::node_of;

/// The longest that the handshake may take. Two round trips of small frames: a second on the worst path, times a margin.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a refused dialer gets to read why, before the connection is cut.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// The first bytes on the first stream. Nothing of libp2p's own negotiation begins like this.
const MAGIC: [u8; 8] = *b"selvedge";

const GREETING_BYTES: usize = MAGIC.len() + 1 + NONCE_BYTES;

const WELCOME: u8 = 1;
const REFUSED: u8 = 0;

/// Why a connection did not pass the gate.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    #[error("it did not prove to be a member of this cluster")]
    NoMember,
    #[error("it does not take this agent for a member of its cluster")]
    TurnedAway,
    #[error("it speaks something else than Selvedge's admission")]
    Foreign,
    #[error("it speaks version {0} of the admission handshake, and this agent version {ADMISSION_VERSION}")]
    Version(u8),
    #[error("its identity is no ed25519 key")]
    Identity,
    #[error("admission took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the connection broke during admission")]
    Broken(#[source] io::Error),
    #[error("the system gives no randomness")]
    Randomness,
}

impl From<io::Error> for GateError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<NoMember> for GateError {
    fn from(NoMember: NoMember) -> Self {
        Self::NoMember
    }
}

/// Lets members through.
pub(super) struct Gate<A> {
    pub(super) own: NodeId,
    pub(super) admission: A,
    pub(super) tally: Arc<Tally>,
}

impl<A: Admission> Gate<A> {
    /// Runs the handshake on a fresh connection and gives the connection back if the other side is a member.
    pub(super) async fn pass(
        self: Arc<Self>,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        role: Role,
    ) -> Result<(PeerId, StreamMuxerBox), GateError> {
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(&peer, &mut muxer, role));
        match handshake.await.unwrap_or(Err(GateError::TimedOut)) {
            Ok(()) => Ok((peer, muxer)),
            Err(error) => {
                self.tally.count(match role {
                    Role::Dialer => NetReason::AdmissionRefusedOutgoing,
                    Role::Listener => NetReason::AdmissionRefusedIncoming,
                });
                Err(error)
            }
        }
    }

    async fn handshake(&self, peer: &PeerId, muxer: &mut StreamMuxerBox, role: Role) -> Result<(), GateError> {
        let other = node_of(peer).ok_or(GateError::Identity)?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| GateError::Randomness)?;
        match role {
            Role::Dialer => {
                let stream = poll_fn(|cx| attend(muxer, cx, StreamMuxerExt::poll_outbound_unpin)).await?;
                drive(muxer, self.knock(stream, other, nonce)).await
            }
            Role::Listener => {
                let stream = poll_fn(|cx| attend(muxer, cx, StreamMuxerExt::poll_inbound_unpin)).await?;
                drive(muxer, self.receive(stream, other, nonce)).await
            }
        }
    }

    /// The dialer's side.
    async fn knock(
        &self,
        mut stream: SubstreamBox,
        listener: NodeId,
        dialer_nonce: [u8; NONCE_BYTES],
    ) -> Result<(), GateError> {
        write_greeting(&mut stream, &dialer_nonce).await?;
        let listener_nonce = read_greeting(&mut stream).await?;
        let meeting = Meeting { dialer: self.own, listener, dialer_nonce, listener_nonce };
        stream.write_all(&self.admission.prove(&meeting, Role::Dialer)).await?;
        stream.flush().await?;
        let mut verdict = [0];
        stream.read_exact(&mut verdict).await?;
        match verdict[0] {
            WELCOME => {}
            REFUSED => return Err(GateError::TurnedAway),
            _ => return Err(GateError::Foreign),
        }
        let mut proof = vec![0; A::PROOF_BYTES];
        stream.read_exact(&mut proof).await?;
        Ok(self.admission.judge(&meeting, Role::Listener, &proof)?)
    }

    /// The listener's side. It shows a proof only to a dialer that has given one.
    async fn receive(
        &self,
        mut stream: SubstreamBox,
        dialer: NodeId,
        listener_nonce: [u8; NONCE_BYTES],
    ) -> Result<(), GateError> {
        let dialer_nonce = read_greeting(&mut stream).await?;
        write_greeting(&mut stream, &listener_nonce).await?;
        let meeting = Meeting { dialer, listener: self.own, dialer_nonce, listener_nonce };
        let mut proof = vec![0; A::PROOF_BYTES];
        stream.read_exact(&mut proof).await?;
        if let Err(refusal) = self.admission.judge(&meeting, Role::Dialer, &proof) {
            turn_away(&mut stream).await;
            return Err(refusal.into());
        }
        let mut welcome = vec![WELCOME];
        welcome.extend(self.admission.prove(&meeting, Role::Listener));
        stream.write_all(&welcome).await?;
        stream.flush().await?;
        Ok(())
    }
}

/// Says that the dialer is refused, and waits a moment for it to hear that: cutting a QUIC connection drops what is unsent.
async fn turn_away(stream: &mut SubstreamBox) {
    let farewell = async {
        stream.write_all(&[REFUSED]).await?;
        stream.close().await?;
        stream.read(&mut [0]).await
    };
    // Whether it heard or not, it is refused.
    drop(tokio::time::timeout(REFUSAL_LINGER, farewell).await);
}

async fn write_greeting(stream: &mut SubstreamBox, nonce: &[u8; NONCE_BYTES]) -> Result<(), GateError> {
    let mut greeting = Vec::with_capacity(GREETING_BYTES);
    greeting.extend(MAGIC);
    greeting.push(ADMISSION_VERSION);
    greeting.extend(nonce);
    stream.write_all(&greeting).await?;
    Ok(stream.flush().await?)
}

async fn read_greeting(stream: &mut SubstreamBox) -> Result<[u8; NONCE_BYTES], GateError> {
    // The magic first, by itself: a stranger's shorter greeting is refused at once and not after a time-out.
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(GateError::Foreign);
    }
    let mut version = [0];
    stream.read_exact(&mut version).await?;
    if version[0] != ADMISSION_VERSION {
        return Err(GateError::Version(version[0]));
    }
    let mut nonce = [0; NONCE_BYTES];
    stream.read_exact(&mut nonce).await?;
    Ok(nonce)
}

/// Runs `work` while the multiplexer makes progress. Without that no byte of `work` would move.
async fn drive<T>(
    muxer: &mut StreamMuxerBox,
    work: impl Future<Output = Result<T, GateError>>,
) -> Result<T, GateError> {
    let mut work = pin!(work);
    poll_fn(|cx| attend(muxer, cx, |_, cx| work.as_mut().poll(cx))).await
}

/// One step of `step`, then one of the multiplexer, whose failure is the end of `step` too.
fn attend<T, E>(
    muxer: &mut StreamMuxerBox,
    cx: &mut std::task::Context<'_>,
    mut step: impl FnMut(&mut StreamMuxerBox, &mut std::task::Context<'_>) -> Poll<Result<T, E>>,
) -> Poll<Result<T, GateError>>
where
    GateError: From<E>,
{
    if let Poll::Ready(done) = step(muxer, cx) {
        return Poll::Ready(done.map_err(GateError::from));
    }
    loop {
        match StreamMuxer::poll(std::pin::Pin::new(&mut *muxer), cx) {
            // An address change does not matter before there is a connection to report it on.
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(GateError::Broken(error))),
            Poll::Pending => return Poll::Pending,
        }
    }
}
