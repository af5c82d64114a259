//! The host's interfaces, natively: what the bindings are in WebAssembly, over the call that a test host has in progress.
//!
//! Owns the small interfaces; `state` is the large one. Decides nothing: limits and values are the test host's. The
//! invariant: names and types are those that the bindings have, so that a workload compiles for both unchanged.

pub mod state;

/// Lines for the operator; a test reads them with [`TestHost::log`](crate::TestHost::log).
pub mod log {
    use crate::testing::during;

    /// How much a line matters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Level {
        /// For whoever looks for a fault.
        Debug,
        /// Worth knowing.
        Info,
        /// Odd.
        Warn,
        /// Wrong.
        Error,
    }

    /// Writes a line. Lines above the workload's limit for one call are dropped and counted, never an error.
    pub fn write(level: Level, message: &str) {
        during(|call| call.log(level, message));
    }
}

/// The call's time. It stands still during a call.
pub mod clock {
    use crate::testing::during;

    /// Hybrid logical time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HybridTime {
        /// Milliseconds since the Unix epoch.
        pub millis: u64,
        /// Orders what happened within one millisecond.
        pub counter: u16,
    }

    /// The call's time.
    #[must_use]
    pub fn now() -> HybridTime {
        during(|call| Ok(HybridTime { millis: call.now_ms()?, counter: 0 }))
    }
}

/// Numbers drawn from the call's seed.
pub mod random {
    use crate::testing::during;

    /// The seed itself.
    #[must_use]
    pub fn seed() -> u64 {
        during(|call| call.seed())
    }

    /// The next number of the call's sequence.
    #[must_use]
    pub fn next() -> u64 {
        during(|call| call.next_random())
    }
}

/// What the operator set for this workload.
pub mod config {
    use crate::testing::during;

    /// The value of that name, if the operator set one.
    #[must_use]
    pub fn get(name: &str) -> Option<String> {
        during(|call| call.config(name))
    }
}

/// The assets that this host keeps for clients.
pub mod assets {
    use crate::testing::during;

    /// How many bytes an asset has; none when it is not on this host, or when the text is no digest.
    #[must_use]
    pub fn size(digest: &str) -> Option<u64> {
        during(|call| call.asset(digest))
    }

    /// Whether the asset is on this host.
    #[must_use]
    pub fn is_cached(digest: &str) -> bool {
        size(digest).is_some()
    }

    /// Asks the host to fetch an asset once the call has succeeded. False when the text is no digest, or when this call has asked
    /// for as many as it may.
    // Not `expect`: in a project that carries this file the lint may be off.
    #[allow(
        clippy::must_use_candidate,
        reason = "a wish may be made without asking whether it was taken, as in WebAssembly"
    )]
    pub fn preload(digest: &str) -> bool {
        during(|call| call.preload(digest))
    }
}
