//! Who may speak to us at all: credentials, shown and judged before any protocol of ours exists on a connection.
//!
//! The network carries them and judges nothing: what credentials are, and whose are good, is for an [`Admission`] to say, and
//! what a stranger with an invitation gets is for a [`Registrar`]. The transport has proven whose key the other side holds
//! before either is asked, so that credentials about a key need not be secret.

use std::fmt;

use futures::future::BoxFuture;
use selvedge_sync::id::NodeId;

/// Longest credentials, in bytes. They are read from strangers.
pub const CREDENTIALS_BYTES_MAX: usize = 4_096;

/// Longest question of a joiner, and longest answer to it, in bytes.
pub const JOIN_BYTES_MAX: usize = 32 * 1_024;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason, for our log.
    pub reason: String,
    /// Whether the other side may hear the reason: only those whom an authority of ours once vouched for.
    pub is_told: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What we show to others, and how we judge what they show.
pub trait Admission: Send + Sync + 'static {
    /// Our credentials, at most [`CREDENTIALS_BYTES_MAX`] long.
    fn credentials(&self) -> Vec<u8>;

    /// Judges what the holder of `node`'s key shows.
    ///
    /// # Errors
    /// It is no member of ours now.
    fn judge(&self, node: NodeId, credentials: &[u8]) -> Result<(), Refused>;

    /// What proves to the holder of `node`'s key that it is refused for ever; at most [`CREDENTIALS_BYTES_MAX`] long.
    fn verdict(&self, node: NodeId) -> Option<Vec<u8>> {
        let _ = node;
        None
    }

    /// Somebody whom we dialed refuses us for ever, and says that this proves it. It may be lying.
    fn hear_verdict(&self, verdict: &[u8]) {
        let _ = verdict;
    }
}

/// Answers strangers who were invited.
pub trait Registrar: Send + Sync + 'static {
    /// Answers the question that the holder of `node`'s key asks, or says nothing. The first question of a meeting has to show
    /// an invitation; a stranger without one learns nothing from us.
    ///
    /// # Errors
    /// It cannot answer at present; nothing was changed, and the same question may be asked again.
    fn answer(&self, node: NodeId, question: Vec<u8>) -> BoxFuture<'static, Result<Option<Vec<u8>>, Later>>;
}

/// Whoever asks is to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later;
