//! What the parts of a call say, in the words that its caller gets.

use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_sync::replica::CommitError;

use crate::driver::DriverError;
use crate::service::{Fault, ServiceError};

/// The odd constant of a Weyl sequence: the golden ratio in 64 bits, so that successive seeds are far apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed for each call, never the same twice in one life of the agent, and not to be guessed from outside.
#[derive(Debug)]
pub(super) struct Seeds {
    next: AtomicU64,
}

impl Seeds {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Self { next: AtomicU64::new(u64::from_le_bytes(bytes)) })
    }

    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(STEP, Ordering::Relaxed)
    }
}

/// Why what a call wrote was not committed. The guest ran, and nothing of it remains.
pub(super) fn commit_failed(error: DriverError) -> ServiceError {
    match error {
        DriverError::Refused(CommitError::Change { source, .. }) => {
            ServiceError::new(Fault::Internal, "change_refused", format!("what the call wrote was refused: {source}"))
        }
        DriverError::Refused(CommitError::TooLarge(what)) => {
            ServiceError::new(Fault::TooLarge, "commit_too_large", format!("the call wrote too much at once: {what}"))
        }
        DriverError::Refused(error @ (CommitError::ReadOnly | CommitError::Fenced)) => {
            ServiceError::new(Fault::Unavailable, "read_only", error.to_string())
        }
        DriverError::Busy => {
            ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", "too many writes are waiting on this agent")
        }
        DriverError::NotDurableInTime(_) | DriverError::NoAnswer => {
            ServiceError::new(Fault::TimedOut, "no_answer", error.to_string()).changed("the call may have been committed")
        }
    }
}
