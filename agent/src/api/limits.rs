//! Every bound of the API, with its unit and its reason. Owns numbers only.

use std::time::Duration;

/// Largest JSON body, in bytes: twice the largest commit, since JSON is wordier than its encoding.
pub(super) const JSON_BYTES_MAX: usize = 1024 * 1024;

/// Largest artefact, in bytes: game logic is some hundred kilobytes, a whole interpreter some ten megabytes.
pub(super) const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a JSON body may take to arrive: it comes from this host, in one packet or a few.
pub(super) const JSON_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an artefact may take to arrive.
pub(super) const ARTIFACT_BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a connection may take for a request's head, and be idle between two requests.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Most header fields of a request. Browsers send about 20.
pub(super) const HEADERS_MAX: usize = 64;

/// Bytes that a connection buffers; a request's head has to fit. hyper wants at least 8 KiB.
pub(super) const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// Open connections over all addresses together. More wait in the kernel's queue; each costs a descriptor and a buffer.
pub(super) const CONNECTIONS_MAX: usize = 1024;

/// Requests in progress, over TCP and over unix sockets each. More are answered with "busy": together they hold at most this many JSON bodies.
pub(super) const REQUESTS_MAX: usize = 256;

/// Requests among them that wait for convergence, so that waiting cannot crowd out working.
pub(super) const WAITERS_MAX: usize = 64;

/// Artefacts received at once: each holds its whole body in memory.
pub(super) const UPLOADS_MAX: usize = 2;

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
