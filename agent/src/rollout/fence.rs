//! The fence between versions that keep their state in different ways.
//!
//! A workload's spec says by number which schema its state has. What was written by a newer schema is not given to an older
//! version: it would misread it, and what it wrote would reach every host.

/// Why a version may not run on the state that is there. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the state has been written by schema {stored}, this version knows schema {offered}: deploy one with `state_schema` {stored} or above, or force it"
)]
pub struct FenceError {
    /// The newest schema that has served.
    pub stored: u32,
    /// The schema of the version that wants to.
    pub offered: u32,
}

/// Whether a version of schema `offered` may run where `stored` is the newest that has served.
///
/// # Errors
/// It is older than the state.
pub const fn fence(stored: Option<u32>, offered: u32) -> Result<(), FenceError> {
    match stored {
        Some(stored) if stored > offered => Err(FenceError { stored, offered }),
        Some(_) | None => Ok(()),
    }
}
