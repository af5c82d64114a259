//! Every bound of the API, with its unit and its reason. Owns numbers only.
//!
//! Those that tests shorten are [`Waits`].

use std::time::Duration;

/// How long the other side of a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// That it reads what is written.
    pub(super) read: Duration,
    /// That it says all of a request's head.
    pub(super) head: Duration,
    /// The same, while half of all places are taken.
    pub(super) head_crowded: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { read: READ_PATIENCE, head: HEAD_TIMEOUT, head_crowded: HEAD_TIMEOUT_CROWDED }
    }
}

/// Largest JSON body, in bytes: twice the largest commit, since JSON is wordier than its encoding.
pub(super) const JSON_BYTES_MAX: usize = 1024 * 1024;

/// Largest artefact, in bytes: game logic is some hundred kilobytes, a whole interpreter some ten megabytes.
pub(super) const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a JSON body may take to arrive: it comes from this host, in one packet or a few.
pub(super) const JSON_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an artefact may take to arrive.
pub(super) const ARTIFACT_BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of a refused body up to which its connection is kept once they were read and dropped: what a call may bring, and whose caller
/// makes the next one. Who sends more than that for nothing begins anew.
pub(super) const LINGER_KEPT_BYTES_MAX: u64 = JSON_BYTES_MAX as u64;

/// Most bytes of a refused body that are read and dropped, so that its sender hears why: twice the largest that is ever taken.
pub(super) const LINGER_BYTES_MAX: u64 = 2 * ARTIFACT_BYTES_MAX as u64;

/// How long that may take. On this host a body of that size takes a part of a second.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take for a request's head, and be idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for connections that come while half of those that may be open are: who only holds a place gives it up soon.
const HEAD_TIMEOUT_CROWDED: Duration = Duration::from_secs(2);

/// Most header fields of a request. Browsers send about 20.
pub(super) const HEADERS_MAX: usize = 64;

/// Bytes that a connection buffers; a request's head has to fit. hyper wants at least 8 KiB.
pub(super) const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// Open connections, over TCP and over unix sockets each, so that who needs no right to connect takes no place from who needs one. More wait
/// in the kernel's queue; each costs a descriptor and a buffer. HTTP/1.1 has one request at a time on each.
pub(super) const CONNECTIONS_MAX: usize = 1024;

/// How long whoever was asked to give up its place may take before another one is asked: nothing keeps it but its task's turn.
pub(super) const ROOM_LOOK: Duration = Duration::from_millis(50);

/// Kibibytes of bodies that requests hold which have not been answered, over TCP and over unix sockets each: four artefacts of the largest.
pub(super) const BODIES_KIB_MAX: usize = 4 * ARTIFACT_BYTES_MAX / 1024;

/// Bytes of a body that is too small to count among them.
pub(super) const SMALL_BODY_BYTES: u64 = 16 * 1024;

/// Requests among them that wait for other members, over TCP and over unix sockets each, so that waiting cannot crowd out working.
pub(super) const WAITERS_MAX: usize = 64;

/// Artefacts received at once: each holds its whole body in memory.
pub(super) const UPLOADS_MAX: usize = 2;

/// Mebibytes of assets that answers hold which are being read from disk or are not sent yet, over TCP and over unix sockets each, each as if
/// it held its asset alone: four of the largest. Who reads slowly needs no token, and could else hold as many as there are connections.
pub(super) const ASSETS_IN_ANSWERS_MIB_MAX: usize = 256;

/// How long the other side of a connection may take nothing of what is written to it before the connection is closed. Who reads is on
/// this host; a program that is paused may go on within it.
pub(super) const READ_PATIENCE: Duration = Duration::from_secs(30);

/// Bytes a second that it has to take in the long run while it is waited for, so that reading drop by drop is no way around: what a thin
/// link carries, should the other side be a tunnel. The largest asset is out of memory within five minutes.
pub(super) const READ_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

/// Longest round trip that a caller is believed to have to this host, in milliseconds.
pub(super) const RTT_MS_MAX: f64 = 60_000.0;

/// Longest wait for convergence.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(300);

/// Longest deadline that a caller may give a call. A workload's own is in milliseconds.
pub(super) const CALL_DEADLINE_MS_MAX: u64 = 60_000;

/// How long requests in progress may take to finish when the agent stops.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to pause after the kernel refused us a connection, as when descriptors run out.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After how many seconds a caller that found us busy should try again.
pub(super) const RETRY_AFTER_S: u32 = 1;

/// Keys in one page unless the caller says otherwise.
pub(super) const PAGE_KEYS_DEFAULT: usize = 100;

/// Most keys in one page.
pub(super) const PAGE_KEYS_MAX: usize = 1000;

/// Longest `Idempotency-Key`, in bytes.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Most changes in one request: one for each key that a commit may touch, and then some that fold.
pub(super) const OPS_MAX: usize = 2 * selvedge_sync::limits::KEYS_PER_COMMIT_MAX;

/// Connections of the call stream that are open at once. A host has a few game servers, with a few connections each.
pub(super) const STREAMS_MAX: usize = 64;

/// Largest frame of the call stream, in bytes: what the body of a call may have.
pub(super) const FRAME_BYTES_MAX: usize = JSON_BYTES_MAX;

/// Largest id of a frame, in bytes, where it is text.
pub(super) const FRAME_ID_BYTES_MAX: usize = 64;

/// Calls of one stream that are made together: enough to share what each would cost alone, few enough that the first is answered
/// while the next are made.
pub(super) const CALLS_TOGETHER_MAX: usize = 8;

/// Frames of one connection that are being answered. Half of what may wait for one workload: two connections that give all they
/// can to one workload meet no "busy".
pub(super) const FRAMES_IN_FLIGHT_MAX: usize = 128;

/// Bytes of those frames together, unless one alone is larger: calls that are large wait for each other.
pub(super) const FRAMES_IN_FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Answers that are sent together while there are more frames to be read: enough that a write costs each of them little, few
/// enough that none waits long.
pub(super) const ANSWERS_TOGETHER_MAX: usize = 32;

/// Bytes of unsent answers above which no frame is read: whoever sends has to read as well.
pub(super) const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of unsent answers above which a connection is dropped. What was begun before reading stopped may come to this much.
pub(super) const UNSENT_BYTES_BEARABLE: usize = 16 * 1024 * 1024;

/// How long a connection may take no answer before it is dropped.
pub(super) const UNSENT_PATIENCE: Duration = Duration::from_secs(5);

/// How often a connection of the call stream is looked after: pings, and the patience above.
pub(super) const STREAM_LOOK: Duration = Duration::from_secs(1);

/// After how long a silence the other side is asked whether it is there.
pub(super) const PING_AFTER: Duration = Duration::from_secs(20);

/// After how long a silence the other side is taken for gone.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long the end of a connection of the call stream may take: calls that are being answered, and the goodbyes.
pub(super) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);
