//! How calls of a workload choose among its instances.

use std::fmt;
use std::str::FromStr;

/// The strategies, by the names that a spec uses. What each does, and when to choose it, is in `docs/placement.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Routing {
    /// Here if it runs here, else by power of two choices over latency and outstanding calls, the own region first.
    #[default]
    LocalFirst,
    /// Each instance in turn.
    RoundRobin,
    /// Each in turn, in proportion to its host's cores.
    WeightedRoundRobin,
    /// The fewest calls under way, now and in the next minutes.
    LeastConnections,
    /// The shortest mean response time.
    LeastResponseTime,
    /// The same instance for the same caller.
    CallerHash,
    /// The same instance for the same session key, without overloading any.
    Session,
    /// The least distance on Earth.
    Nearest,
    /// The better of two by 0.4 latency, 0.4 success and 0.2 throughput.
    Performance,
}

/// Text that names no strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a strategy is one of {}", Routing::ALL.map(Routing::name).join(", "))]
pub struct ParseRoutingError;

impl Routing {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LocalFirst,
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::LeastResponseTime,
        Self::CallerHash,
        Self::Session,
        Self::Nearest,
        Self::Performance,
    ];

    /// Its name in a spec.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LocalFirst => "local-first",
            Self::RoundRobin => "round-robin",
            Self::WeightedRoundRobin => "weighted-round-robin",
            Self::LeastConnections => "least-connections",
            Self::LeastResponseTime => "least-response-time",
            Self::CallerHash => "caller-hash",
            Self::Session => "session",
            Self::Nearest => "nearest",
            Self::Performance => "performance",
        }
    }
}

impl FromStr for Routing {
    type Err = ParseRoutingError;

    fn from_str(text: &str) -> Result<Self, ParseRoutingError> {
        Self::ALL.into_iter().find(|routing| routing.name() == text).ok_or(ParseRoutingError)
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
