//! The gate on every connection: carries credentials on its first stream and lets only members through.
//!
//! Owns the exchange of bytes, its limits in size and time, and the count of refusals; what makes a member is judged by an
//! [`Admission`]. It sits inside the transport, behind encryption and multiplexing and before the swarm. The
//! invariants: nothing of ours is negotiated on a connection that has not passed; the dialer shows first, so that a stranger
//! learns nothing from us; streams that the other side opens early stay queued in the multiplexer and are not lost.
//!
//! ```text
//! dialer → listener   magic, version, purpose; a frame: its number and credentials, or a joiner's question
//! listener → dialer   magic, version, verdict; a frame: its number and credentials, or why not, or the proof that it is for
//!                     ever, or the answer to the question
//! ```
//!
//! A joiner may ask on, a frame for a frame; its connection ends without having passed.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use selvedge_sync::id::NodeId;
use tokio::sync::broadcast;

use super::admission::{Admission, CREDENTIALS_BYTES_MAX, JOIN_BYTES_MAX, Later, Refused, Registrar};
use super::conduct::Conduct;
use super::counters::{NetReason, Tally};
use super::identity::node_of;
use super::link::{LinkChange, LinkEvent};
use super::lives::Lives;
use super::lock;
use super::peers::PeerTable;
use super::strangers::{Origin, Strangers};

/// The longest that the handshake may take. Two round trips of small frames: a second on the worst path, times a margin.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that an invited stranger may take: an authority writes to its disk in between.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long whoever leaves without passing gets to read the last frame, before the connection is cut.
const LINGER: Duration = Duration::from_secs(1);

/// The first bytes on the first stream. Nothing of libp2p's own negotiation begins like this.
const MAGIC: [u8; 8] = *b"selvedge";

/// The version of the handshake. Version 3 shows the number of a process, and its members carry hints on long-lived streams.
const ADMISSION_VERSION: u8 = 3;

/// What a member shows at most: the number of its process, and its credentials.
const SHOWN_BYTES_MAX: usize = 8 + CREDENTIALS_BYTES_MAX;

/// Questions that one joiner may ask on one connection.
const QUESTIONS_MAX: usize = 2;

const PURPOSE_MEMBER: u8 = 1;
const PURPOSE_JOIN: u8 = 2;

const REFUSED: u8 = 0;
const WELCOME: u8 = 1;
const ANSWER: u8 = 2;
/// Refused, with a proof that it is for ever.
const PUT_OUT: u8 = 3;
/// Not looked at; the same may be asked again. A joiner of an earlier release takes it for a meeting that failed.
const LATER: u8 = 4;

/// Which side of a connection somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Dialer,
    Listener,
}

/// Why a connection did not pass the gate.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    #[error("it is no member of this cluster: {0}")]
    NoMember(Refused),
    #[error("it does not take this agent for a member of its cluster{0}")]
    TurnedAway(Why),
    #[error("it speaks something else than Selvedge's admission")]
    Foreign,
    #[error("it speaks version {0} of the admission handshake, and this agent version {ADMISSION_VERSION}")]
    Version(u8),
    #[error("its identity is no ed25519 key")]
    Identity,
    #[error("admission took too long")]
    TimedOut,
    #[error("the connection broke during admission")]
    Broken(#[source] io::Error),
    #[error("a frame of {0} bytes exceeds what admission takes")]
    TooLarge(usize),
    #[error("it came to join, and has its answer")]
    Joined,
    #[error("it came to join without an invitation of ours")]
    NotInvited,
    #[error("too many wrong invitations came of late; this one was not looked at")]
    NotHeard,
    #[error("invitations cannot be looked at there at present")]
    Later,
    #[error("it is refused for another {0} s, for its conduct: {1}")]
    Misbehaved(u64, &'static str),
    #[error("another process with the same key is connected")]
    TwoHolders,
}

/// What the other side said about a refusal, if it said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why(pub(super) String);

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0.escape_debug()) }
    }
}

impl From<io::Error> for GateError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Lets members through.
pub(super) struct Gate {
    pub(super) admission: Arc<dyn Admission>,
    /// Answers joiners, where this agent can.
    pub(super) registrar: Option<Arc<dyn Registrar>>,
    pub(super) tally: Arc<Tally>,
    /// This node.
    pub(super) own: Option<NodeId>,
    /// The number of this process, which it shows to members.
    pub(super) life: u64,
    pub(super) lives: Arc<Mutex<Lives>>,
    pub(super) conduct: Arc<Mutex<Conduct>>,
    pub(super) strangers: Arc<Mutex<Strangers>>,
    pub(super) peers: Arc<Mutex<PeerTable>>,
    pub(super) changes: broadcast::Sender<LinkChange>,
}

impl Gate {
    /// A gate that knows nobody, for whoever plays a part in a test.
    #[cfg(test)]
    pub(super) fn alone(admission: Arc<dyn Admission>) -> Self {
        Self {
            admission,
            registrar: None,
            tally: Arc::default(),
            own: None,
            life: 1,
            lives: Arc::default(),
            conduct: Arc::default(),
            strangers: Arc::new(Mutex::new(Strangers::new(Instant::now()))),
            peers: Arc::new(Mutex::new(PeerTable::new(Arc::default(), super::inbox::Inboxes::joint()))),
            changes: broadcast::channel(1).0,
        }
    }

    /// Runs the handshake on a fresh connection and gives the connection back if the other side is a member.
    pub(super) async fn pass(
        self: Arc<Self>,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        role: Role,
        from: Option<Origin>,
    ) -> Result<(PeerId, StreamMuxerBox), GateError> {
        let error = match self.handshake(&peer, &mut muxer, role, from).await {
            Ok(()) => return Ok((peer, muxer)),
            Err(error) => error,
        };
        self.tally.count(match (&error, role) {
            (GateError::Joined, _) => NetReason::Joined,
            (GateError::NotHeard, _) => NetReason::JoinSlowed,
            (GateError::Misbehaved(..), _) => NetReason::RefusedForConduct,
            (GateError::TwoHolders, _) => NetReason::TwoHolders,
            (_, Role::Dialer) => NetReason::AdmissionRefusedOutgoing,
            (_, Role::Listener) => NetReason::AdmissionRefusedIncoming,
        });
        Err(error)
    }

    async fn handshake(
        &self,
        peer: &PeerId,
        muxer: &mut StreamMuxerBox,
        role: Role,
        from: Option<Origin>,
    ) -> Result<(), GateError> {
        let other = node_of(peer).ok_or(GateError::Identity)?;
        // One deadline for the whole of it: whoever sends a byte now and then gains nothing.
        let deadline = tokio::time::Instant::now() + HANDSHAKE_TIMEOUT;
        match role {
            Role::Dialer => by(deadline, self.knock(muxer, other)).await,
            Role::Listener => {
                let (mut stream, purpose, first) = by(deadline, opened(muxer)).await?;
                let mut outcome = None;
                let ended = if purpose == PURPOSE_JOIN {
                    let joining = self.register(&mut stream, other, first, from, &mut outcome);
                    in_time(JOIN_TIMEOUT, drive(muxer, joining)).await
                } else {
                    by(deadline, drive(muxer, self.receive(&mut stream, other, &first, &mut outcome))).await
                };
                // Who has heard it hangs up, and that is not why it did not pass.
                outcome.map_or(ended, Err)
            }
        }
    }

    /// What a member shows: the number of its process, and its credentials.
    fn shown(&self) -> Vec<u8> {
        [&self.life.to_be_bytes()[..], &self.admission.credentials()].concat()
    }

    /// Judges what the holder of `node`'s key shows.
    fn judge(&self, node: NodeId, shown: &[u8]) -> Result<(), GateError> {
        let (life, credentials) = shown.split_first_chunk().ok_or(GateError::Foreign)?;
        self.admission.judge(node, credentials).map_err(GateError::NoMember)?;
        self.check_life(node, u64::from_be_bytes(*life))
    }

    fn check_life(&self, node: NodeId, life: u64) -> Result<(), GateError> {
        let is_connected = lock(&self.peers).is_connected(node);
        let is_sole = match self.own == Some(node) {
            true => life == self.life,
            false => lock(&self.lives).meet(node, life, is_connected, Instant::now()).is_ok(),
        };
        if is_sole { Ok(()) } else { Err(self.another_is(node)) }
    }

    /// Another process has `node`'s key, perhaps our own.
    fn another_is(&self, node: NodeId) -> GateError {
        if self.own == Some(node) {
            lock(&self.lives).meet_own(node, Instant::now());
        }
        // Nobody may be listening.
        drop(self.changes.send(LinkChange { node, event: LinkEvent::TwoHolders }));
        GateError::TwoHolders
    }

    /// Refuses whoever broke the rules not long ago.
    fn check_conduct(&self, node: NodeId) -> Result<(), GateError> {
        match lock(&self.conduct).refused(node, Instant::now()) {
            Some((rest, offence)) => Err(GateError::Misbehaved(rest.as_secs(), offence.name())),
            None => Ok(()),
        }
    }

    /// The dialer's side.
    async fn knock(&self, muxer: &mut StreamMuxerBox, listener: NodeId) -> Result<(), GateError> {
        self.check_conduct(listener)?;
        let mut stream = open(muxer).await?;
        let exchange = async {
            say(&mut stream, PURPOSE_MEMBER, &self.shown()).await?;
            match hear(&mut stream, SHOWN_BYTES_MAX).await? {
                (WELCOME, shown) => self.judge(listener, &shown),
                (PUT_OUT, verdict) => {
                    self.admission.hear_verdict(&verdict);
                    Err(GateError::TurnedAway(Why("it was revoked".to_owned())))
                }
                // We would not refuse ourselves: whoever is there has our key.
                (REFUSED, _) if self.own == Some(listener) => Err(self.another_is(listener)),
                (REFUSED, why) => Err(GateError::TurnedAway(Why(String::from_utf8_lossy(&why).into_owned()))),
                _ => Err(GateError::Foreign),
            }
        };
        drive(muxer, exchange).await
    }

    /// The listener's side. It shows its credentials only to a dialer whose own are good; what keeps another out stands in
    /// `outcome` before it is told.
    async fn receive(
        &self,
        stream: &mut SubstreamBox,
        dialer: NodeId,
        shown: &[u8],
        outcome: &mut Option<GateError>,
    ) -> Result<(), GateError> {
        if let Err(refusal) = self.check_conduct(dialer).and_then(|()| self.judge(dialer, shown)) {
            let is_told = matches!(&refusal, GateError::NoMember(refused) if refused.is_told);
            let why = match &refusal {
                GateError::NoMember(refused) if refused.is_told => refused.reason.clone(),
                // Only of members is anything remembered.
                GateError::Misbehaved(..) | GateError::TwoHolders => refusal.to_string(),
                _ => String::new(),
            };
            let verdict = self.admission.verdict(dialer).filter(|_| is_told);
            *outcome = Some(refusal);
            match verdict {
                Some(verdict) => part(stream, PUT_OUT, &verdict).await,
                None => part(stream, REFUSED, why.as_bytes()).await,
            }
            return Ok(());
        }
        say(stream, WELCOME, &self.shown()).await
    }

    /// The listener's side, for whoever comes to join. How it ended stands in `outcome` before it is told.
    async fn register(
        &self,
        stream: &mut SubstreamBox,
        joiner: NodeId,
        first: Vec<u8>,
        from: Option<Origin>,
        outcome: &mut Option<GateError>,
    ) -> Result<(), GateError> {
        if !lock(&self.strangers).may_guess(from, Instant::now()) {
            *outcome = Some(GateError::NotHeard);
            part(stream, LATER, b"").await;
            return Ok(());
        }
        let mut question = first;
        for asked in 1..=QUESTIONS_MAX {
            let answer = match &self.registrar {
                Some(registrar) => match registrar.answer(joiner, question).await {
                    Ok(answer) => answer,
                    Err(Later) => {
                        *outcome = Some(GateError::Later);
                        part(stream, LATER, b"").await;
                        return Ok(());
                    }
                },
                None => None,
            };
            let Some(answer) = answer else {
                lock(&self.strangers).guessed_wrong(from, Instant::now());
                *outcome = Some(GateError::NotInvited);
                part(stream, REFUSED, b"").await;
                return Ok(());
            };
            if asked == QUESTIONS_MAX {
                *outcome = Some(GateError::Joined);
                part(stream, ANSWER, &answer).await;
                break;
            }
            say(stream, ANSWER, &answer).await?;
            question = match hear(stream, JOIN_BYTES_MAX).await? {
                (PURPOSE_JOIN, question) => question,
                _ => return Err(GateError::Foreign),
            };
        }
        Err(GateError::Joined)
    }
}

/// Asks a member to let us join: `ask` makes each question from the last answer, until it has what it wants.
pub(super) async fn join<E>(
    muxer: &mut StreamMuxerBox,
    mut ask: impl FnMut(Option<&[u8]>) -> Result<Option<Vec<u8>>, E>,
) -> Result<Result<(), E>, GateError> {
    let work = async {
        let mut stream = open(muxer).await?;
        let exchange = async {
            let mut answer: Option<Vec<u8>> = None;
            loop {
                let question = match ask(answer.as_deref()) {
                    Ok(Some(question)) => question,
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                };
                say(&mut stream, PURPOSE_JOIN, &question).await?;
                answer = match hear(&mut stream, JOIN_BYTES_MAX).await? {
                    (ANSWER, bytes) => Some(bytes),
                    (REFUSED, _) => return Err(GateError::NotInvited),
                    (LATER, _) => return Err(GateError::Later),
                    _ => return Err(GateError::Foreign),
                };
            }
        };
        drive(muxer, exchange).await
    };
    in_time(JOIN_TIMEOUT, work).await
}

async fn by<T>(
    deadline: tokio::time::Instant,
    work: impl Future<Output = Result<T, GateError>>,
) -> Result<T, GateError> {
    tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(GateError::TimedOut))
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, GateError>>) -> Result<T, GateError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(GateError::TimedOut))
}

async fn open(muxer: &mut StreamMuxerBox) -> Result<SubstreamBox, GateError> {
    poll_fn(|cx| attend(muxer, cx, StreamMuxerExt::poll_outbound_unpin)).await
}

/// The stream that the other side opened, with its purpose and its first frame.
async fn opened(muxer: &mut StreamMuxerBox) -> Result<(SubstreamBox, u8, Vec<u8>), GateError> {
    let mut stream = poll_fn(|cx| attend(muxer, cx, StreamMuxerExt::poll_inbound_unpin)).await?;
    let (purpose, first) = drive(muxer, hear(&mut stream, SHOWN_BYTES_MAX)).await?;
    match purpose {
        PURPOSE_MEMBER | PURPOSE_JOIN => Ok((stream, purpose, first)),
        _ => Err(GateError::Foreign),
    }
}

/// Writes a frame: magic, version, what it is, its length in four bytes, its body.
async fn say(stream: &mut SubstreamBox, kind: u8, body: &[u8]) -> Result<(), GateError> {
    let length = u32::try_from(body.len()).map_err(|_| GateError::TooLarge(body.len()))?;
    let mut frame = Vec::with_capacity(MAGIC.len() + 6 + body.len());
    frame.extend(MAGIC);
    frame.extend([ADMISSION_VERSION, kind]);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).await?;
    Ok(stream.flush().await?)
}

/// Reads a frame whose body has at most `limit` bytes.
async fn hear(stream: &mut SubstreamBox, limit: usize) -> Result<(u8, Vec<u8>), GateError> {
    // The magic first, by itself: a stranger's shorter greeting is refused at once and not after a time-out.
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(GateError::Foreign);
    }
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let [version, kind] = head;
    if version != ADMISSION_VERSION {
        return Err(GateError::Version(version));
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(GateError::TooLarge(length));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// Says the last word, and waits a moment for the other side to hear it: cutting a QUIC connection drops what is unsent.
async fn part(stream: &mut SubstreamBox, kind: u8, body: &[u8]) {
    let farewell = async {
        say(stream, kind, body).await?;
        stream.close().await?;
        Ok::<_, GateError>(stream.read(&mut [0]).await?)
    };
    // Whether it was heard or not, this is the end.
    drop(tokio::time::timeout(LINGER, farewell).await);
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
