//! Bugs that can be planted, so that the simulator is seen to find them.
//!
//! Without the feature `planted`, which only one test target asks for, every question here is answered "no" at compile time.
//! The invariant: a bug is planted on one thread, for the length of one closure.

/// A bug, named for what it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A stamp is what the wall shows, whatever was seen before.
    StampsFallBack,
    /// Stamps of others are not taken note of.
    StampsUnobserved,
    /// The log leaves out the second commit of what it serves.
    LogSkipsCommit,
    /// The log keeps what was before a gap, as if there were none.
    LogBridgesGap,
    /// The log is not bounded.
    LogUnbounded,
    /// What the log has forgotten is served as if it were nothing.
    LogDeniesForgetting,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::StampsFallBack,
        Self::StampsUnobserved,
        Self::LogSkipsCommit,
        Self::LogBridgesGap,
        Self::LogUnbounded,
        Self::LogDeniesForgetting,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Runs `act` with a bug planted on this thread.
#[cfg(feature = "planted")]
pub fn with<R>(bug: Bug, act: impl FnOnce() -> R) -> R {
    PLANTED.set(Some(bug));
    let result = act();
    PLANTED.set(None);
    result
}

/// Whether this bug is planted here.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted here: never.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
