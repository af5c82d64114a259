//! Documents about links: how things stand between this host and another, and what has gone over the link.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How things stand between this host and somebody whom it is connected to, or wants to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `connected`, `slowed` (connected, and read from slowly because of its conduct), `dialing`, `resting` (tried again after a
    /// pause), `refused` (because of its conduct, for a while), or `none` where nothing is tried.
    pub state: String,
    /// Why it is not connected: what happened the last time, or what it did.
    pub reason: Option<String>,
    /// Milliseconds until it is tried again, or let in again.
    pub next_try_ms: Option<u64>,
    /// Where it was heard to be.
    pub addresses: Vec<String>,
    /// What went over the link; `None` while it is not connected.
    pub traffic: Option<Traffic>,
}

/// A link that is up, since it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// `quic` or `tcp`.
    pub transport: String,
    /// The other end's address.
    pub remote: String,
    /// Whole seconds for which it has been up.
    pub connected_s: u64,
    /// The other side's conduct, from 100 (nothing against it) to 0 (about to be disconnected).
    pub score: u8,
    /// Bytes that came, without the headers of the transports.
    pub bytes_in: u64,
    /// Bytes that were sent.
    pub bytes_out: u64,
    /// Hints that wait to be sent.
    pub queued_hints: u64,
    /// Bytes of those.
    pub queued_bytes: u64,
    /// What was dropped between both, by reason.
    pub drops: BTreeMap<String, u64>,
}
